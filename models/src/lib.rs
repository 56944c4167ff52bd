//! Model checking: every behaviour of a small cluster, within bounds.
//!
//! A test shows one way through a protocol and the simulator thousands; a model checker takes them
//! all, as long as the cluster is small: three replicas, a crash, two leaders, a handful of ticks.
//! What it explores is not a description of our Raft but our Raft: a state of the model holds the
//! very [`protocols::raft::Raft`] and [`protocols::liveness::Liveness`] values, which are made for
//! it (`Clone + Eq + Hash`, timers as data, no I/O), and a step calls one of them.
//!
//! ```text
//! state     three nodes (replica, support, disk, writes under way), their clocks,
//!           all messages ever sent, what an omniscient observer saw, what may still happen
//! step      a message arrives | a timer goes off | a write becomes durable | a crash and a start |
//!           a proposal, read, change, handover, compaction, heartbeat
//! always    election safety, leader completeness, log matching, state machine safety, commit
//!           never goes back, durable before acknowledged, no stale read, the cores' assertions
//! sometimes what a model is about was reached: a truncation, a joint change, a refused lease, ...
//! ```
//!
//! The network is as bad as the core's contract allows: whatever was sent may arrive at any time,
//! in any order, again and again, or never. Where nothing may rest on clocks, each node's runs by
//! itself; where leases do, all go on together, as fast and as slow as the bound on drift allows.
//!
//! That a model finds anything at all is shown by mistakes that are made in the harness on purpose
//! ([`world::Mutation`]): each has to be found, by the law that it breaks. What the models leave out
//! is in `docs/verification.md`.
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`cases`] | the models by name, with their bounds |
//! | [`cluster`] | what can happen in a state: the model as `stateright` sees it |
//! | [`world`], [`node`] | a state |
//! | [`turn`] | a step |
//! | [`law`], `check` | what must hold, and the observer who knows |
//! | [`run`] | running one, and what came of it |
//! | [`shared`], [`idle`] | what makes millions of states fit |

pub mod cases;
mod check;
pub mod cluster;
pub mod idle;
pub mod law;
pub mod node;
pub mod run;
pub mod shared;
pub mod turn;
pub mod world;
