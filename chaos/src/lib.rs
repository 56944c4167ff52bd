//! Real servers, hurt on purpose: what the simulator can't reach.
//!
//! The simulator drives the very code of a node, but its disks, sockets, clocks and processes are
//! made up. Here they are Linux's. A run takes three or five servers, each in a network namespace of
//! its own, lets the simulator's clients ([`sim::workload`]) work on them over real sockets, hurts
//! them for a minute, mends everything, and asks the simulator's judges ([`sim::check`]) whether what
//! the clients saw can be true.
//!
//! ```text
//!              harness and clients, in a namespace of their own
//!                 │ bridge for clients: 10.1.slot.0/24
//!      ┌──────────┼──────────┐
//!   node 1     node 2     node 3        one namespace each; nftables inside drops what
//!      └──────────┼──────────┘          a network partition drops
//!                 │ peers: 10.2.slot.0/24, a bridge, or TUN devices whose other end is the
//!                 ▼ relay in this program, which delays, loses, doubles and reorders packets
//! ```
//!
//! | module | what it gives |
//! | --- | --- |
//! | [`options`] | the command line; workloads and faults, and which of them go together |
//! | [`room`] | namespaces for all of it, which end with this program however it ends |
//! | [`net`] | a run's network: namespaces, bridges, who may hear whom |
//! | [`tun`], [`relay`] | a network of packets that are late, lost, doubled and out of order |
//! | [`servers`] | Underpin; etcd and Redis as strangers; their processes |
//! | [`speak`] | a client's connection: a command in, a reply or nothing out |
//! | [`load`] | the simulator's clients in threads, and what they saw |
//! | [`stuffer`] | a client that fills disks |
//! | [`nemesis`] | what is done to the servers, drawn from a seed |
//! | [`run`] | one run from start to verdict |
//! | [`judge`] | histories to violations |
//! | [`report`] | lines, results, the page |
//!
//! What a run promises to notice is shown with servers that break their word: Redis with
//! asynchronous replication and no log loses writes and reads old values
//! (`cargo xtask chaos --server redis`), and Underpin whose clocks run wrong by far more than leases
//! allow (`--fault wrong-clocks`) reads stale values.

#![allow(clippy::print_stdout, clippy::print_stderr)]

pub mod judge;
pub mod load;
pub mod nemesis;
pub mod net;
pub mod options;
pub mod relay;
pub mod report;
pub mod room;
pub mod run;
pub mod servers;
pub mod speak;
pub mod stuffer;
pub mod tun;
