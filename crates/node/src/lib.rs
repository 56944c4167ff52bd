//! One deterministic node: hosts shards, routes requests, orders them through the shards' logs,
//! applies what was committed and answers.
//!
//! A node is a core like the protocols in it: inputs in, effects out, time as an argument. Whoever
//! drives it (the runtime with real sockets and disks, the simulator with seeded ones) follows one
//! cycle, a *turn*:
//!
//! 1. [`Node::step`] with every input that is ready (bytes from peers first, then clients);
//! 2. [`Node::turn`] once: queued client work in round-robin up to a budget, slices of scans,
//!    proposals, applies; everything that must be written is gathered into one [`Effect::Log`];
//! 3. carry out the effects: peer messages and the log write in parallel, answers to the gateways;
//! 4. sleep until the next input or [`Node::deadline`].
//!
//! Waiting happens at three seams: peer messages, log syncs ([`Effect::Log`] →
//! [`Input::Logged`]) and rows that are not in memory ([`Effect::Fetch`] → [`Input::Fetched`]).

pub mod api;
mod clients;
mod control;
mod core;
mod descriptor;
mod directory;
mod effect;
mod flush;
mod node;
mod options;
mod outbox;
mod peer;
mod room;
mod scan;
mod shard;
mod snapshot;
mod status;
mod timed;
mod work;

pub use effect::{Boot, Effect, Fetch, FetchId, Fetched, Input, Room};
pub use node::{KV, META, Node};
pub use options::Options;
pub use peer::{describe_message, rewrite_message};
pub use room::RoomCounts;
pub use snapshot::rewrite_chunk;
pub use status::{Observed, ReadCounts};
pub use storage::directory::Identity;
pub use work::Work;
