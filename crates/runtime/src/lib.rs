//! The real world: sockets, threads, timers, files.
//!
//! [`start`] runs one node: it opens the data directory, and lives on one thread that owns the node
//! and its sockets, with three helper threads for what waits on a disk. The module `driver` is
//! that thread, `helpers` the others; [`clock`] and [`metrics`] are what their names say.
//!
//! ```text
//!   clients, peers      driver                    helpers
//!   ==============      ================          ==================
//!   socket  <-------->  gateway | links
//!                         |  inputs
//!                         v
//!                       Node::step, turn --Log--> log: one write, one sync
//!                         |     ^-------Logged----'
//!                         |------------Fetch----> fetch: rows from tables
//!                         |------------Flush----> upkeep: memtables out, merging
//!                         '--> answers, messages
//! ```
//!
//! The runtime knows no client protocol: whoever starts a node brings the gateway. HTTP and other
//! async code reach the node through a [`Cluster`] handle.

pub mod clock;
mod cluster;
mod driver;
mod helpers;
pub mod metrics;
mod open;
mod options;
mod queue;
mod server;

pub use clock::ClockTest;
pub use cluster::{Cluster, LinkStatus};
pub use metrics::Metrics;
pub use open::{DiskOptions, Opened, format};
pub use options::{Bind, Limits, ServerOptions};
pub use server::{Exit, GatewaySetup, Server, StartError, start, start_opened};
pub use wire::peer::{LinkKind, Secret};
