//! What a committed command does. A service is deterministic: the same rows, stamp and command give
//! the same changes and the same answers on every replica, today and at every replay.
//!
//! A service never reads a clock, never waits and never touches a disk. It is handed the rows that a
//! command declared it would read ([`Rows`]) and pushes what must change onto [`Changes`]; whoever
//! hosts it (the node) turns those into writes of its engine, in one step with the applied index.
//!
//! All state is rows. A shard's rows are divided into [`Space`]s, each of which can be emptied at
//! once; space 0 belongs to the shard itself (sessions), the others to the service.

pub mod command;
pub mod kv;
pub mod meta;
pub mod row;
pub mod session;

use base::Bytes;

/// A part of a shard's rows that can be emptied at once, by giving it a fresh data id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Space(pub u32);

impl Space {
    /// The shard's own rows: sessions and their windows.
    pub const SHARD: Space = Space(0);
}

/// A row's place: its space and its key there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowKey {
    /// The space it lies in.
    pub space: Space,
    /// Its key there, in the service's own encoding.
    pub key: Bytes,
}

/// The rows a command declared, as they are when it is applied.
pub trait Rows {
    /// The row at `key`, or `None` if there is none. Asking for a key that was not declared is a
    /// bug of the service, and implementations panic on it where they can tell.
    fn get(&self, key: &RowKey) -> Option<Bytes>;
}

/// One change of a shard's rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The row is this now.
    Put(RowKey, Bytes),
    /// The row is gone, if it was there.
    Delete(RowKey),
    /// Every row of the space is gone.
    Reset(Space),
}

/// What a command changes, in order.
pub type Changes = Vec<Change>;
