//! The words that every crate uses: ids, time, keys, log entries, checksums, seeded random numbers,
//! and what a caller may conclude when something did not work.
//!
//! This crate knows no protocol, no file and no socket, and depends on next to nothing, so that
//! everything else may depend on it.

pub mod checksum;
pub mod codec;
pub mod failure;
pub mod id;
pub mod key;
pub mod log;
pub mod random;
pub mod time;

pub use failure::{Failure, NotDone, Refusal};
pub use id::{ClusterId, ConnId, Incarnation, NodeId, ReplicaId, ShardId};
pub use key::{Key, KeyRange};
pub use log::{Entry, EntryKind, HardState, Index, LogStart, Membership, Stamp, Term};
pub use random::Random;
pub use time::{Mono, Time, Wall};

pub use bytes::Bytes;
