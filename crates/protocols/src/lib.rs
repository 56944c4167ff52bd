//! Pure algorithms: Raft, store liveness, shard time; no I/O, no clock, no threads.
//!
//! Every core here has the same two verbs. `step(now, input, &mut effects)` takes in what happened
//! and says what must follow; `deadline()` says when to call it with a tick if nothing else happens
//! first. State is `Clone + Eq + Hash`, with timers as data, so that a test can fork a whole cluster
//! and a model checker can tell two states apart.
//!
//! * [`liveness`]: which nodes vouch for which, by heartbeats per pair of nodes.
//! * [`clock`]: the time that a shard's log entries carry.
//! * [`raft`]: one replica of one shard; leans on the other two.

pub mod clock;
pub mod liveness;
pub mod raft;
