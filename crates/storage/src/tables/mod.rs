//! Rows on disk: sorted runs, merged in the background.
//!
//! The rest of the product knows tables by the small trait [`Tables`] only. [`LsmTables`] keeps them
//! on disk with the `lsm-tree` crate; [`ModelTables`] keeps them in memory, with the same contract
//! after a crash, for the simulator and as the model that the real one is tested against.
//!
//! The contract:
//!
//! - A run goes in whole, or after a crash not at all; once [`Tables::ingest`] has returned it is
//!   durable. Each run is one *generation*, numbered upwards.
//! - A read names a generation and sees exactly the runs up to it, until [`Tables::compact`] was
//!   told that no older one than another is read any more.
//! - Row keys begin with a data id, eight bytes big-endian. Rows of a dead id are dropped whenever
//!   their file is rewritten; nobody may read them any more.

mod blocks;
#[cfg(test)]
mod full;
mod lsm;
mod model;
mod reserve;
mod squeeze;
#[cfg(test)]
mod tests;
pub mod upkeep;

pub use lsm::{LsmOptions, LsmTables};
pub use model::{ModelTables, Prepared, RUN_BYTES};

use base::{Key, KeyRange};
use bytes::Bytes;
use std::collections::BTreeSet;
use std::fmt;

/// Bytes of the data id that each row key begins with.
pub const DATA_ID_BYTES: usize = 8;

/// The data id that a row key begins with; `None` if it is too short to have one.
pub fn data_id(key: &[u8]) -> Option<u64> {
    key.first_chunk::<DATA_ID_BYTES>().map(|id| u64::from_be_bytes(*id))
}

/// A sorted run: rows in strictly ascending order of their keys; `None` deletes the row.
pub type Run<'r, 'a> = &'r mut (dyn Iterator<Item = (&'a Key, Option<&'a Bytes>)> + 'r);

/// How much one read of a range may bring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RangeLimit {
    /// Rows.
    pub rows: usize,
    /// Bytes of keys and values; one row may exceed it.
    pub bytes: usize,
}

/// A part of a range.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RangeSlice {
    /// Its rows, in order.
    pub rows: Vec<(Key, Bytes)>,
    /// All rows before this key are in; `None` if all of the range are.
    pub covered_until: Option<Key>,
}

/// What a compaction did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Compacted {
    /// Whether there is more to do right away.
    pub more: bool,
    /// Dead ids of which no row is left: they need not be named again.
    pub gone: BTreeSet<u64>,
}

/// How the room that is kept for a full disk stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reserved {
    /// All of it is there.
    Whole,
    /// Some of it is: another call makes it more.
    Growing,
    /// There is no room for more of it.
    Short,
}

/// The tables in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TablesStats {
    /// Files.
    pub tables: usize,
    /// Runs that were not merged with others yet; many of them make reads slow.
    pub fresh_runs: usize,
    /// Bytes on disk.
    pub disk_bytes: u64,
    /// Rows, versions and deletions counted each.
    pub rows: u64,
    /// Bytes of the cache of blocks.
    pub cache_bytes: u64,
}

/// Why the tables could not do something. Either way the node stops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TablesError {
    /// The disk has no room; nothing changed. The only one after which the node goes on.
    Full,
    /// The operating system failed.
    Io {
        /// What was being done.
        doing: String,
        /// What it said.
        error: String,
    },
    /// Bytes that were durable have changed.
    Corrupt {
        /// The file.
        path: String,
        /// The first byte of it that is known to be wrong, or the beginning of the block around it.
        offset: Option<u64>,
        /// What should be there.
        expected: String,
        /// What is there.
        seen: String,
    },
    /// The read's generation was given up, or does not exist.
    NoSuchGeneration {
        /// The one asked for.
        asked: u64,
        /// The oldest that can be read.
        oldest: u64,
        /// The newest.
        newest: u64,
    },
}

impl fmt::Display for TablesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TablesError::Full => {
                f.write_str("the disk is full: rows stay in memory; free some space on it")
            }
            TablesError::Io { doing, error } => write!(f, "{doing}: {error}"),
            TablesError::Corrupt { path, offset, expected, seen } => {
                let at = offset.map(|offset| format!(" at byte {offset}")).unwrap_or_default();
                write!(
                    f,
                    "{path}{at}: expected {expected}, saw {seen}; the disk has changed what was \
                     durable, so run \"underpin node rebuild\" on this node"
                )
            }
            TablesError::NoSuchGeneration { asked, oldest, newest } => write!(
                f,
                "a read of table generation {asked}, but those from {oldest} to {newest} are kept"
            ),
        }
    }
}

impl std::error::Error for TablesError {}

/// Rows on disk; see the [module](self). Every call may take long: none is made on a node's thread.
pub trait Tables: Send + Sync {
    /// Adds a run, durably and whole, and returns its generation. An empty run changes nothing but
    /// the number.
    fn ingest(&self, run: Run<'_, '_>) -> Result<u64, TablesError>;

    /// The rows of `keys` as of `generation`.
    fn get(&self, keys: &[Key], generation: u64) -> Result<Vec<Option<Bytes>>, TablesError>;

    /// The first rows of `range` as of `generation`.
    fn range(
        &self,
        range: &KeyRange,
        generation: u64,
        limit: RangeLimit,
    ) -> Result<RangeSlice, TablesError>;

    /// Does one piece of merging. Generations before `oldest` are read no more; rows of `dead` data
    /// ids are dropped where their file is rewritten.
    fn compact(&self, oldest: u64, dead: &BTreeSet<u64>) -> Result<Compacted, TablesError>;

    /// Gives up to `bytes` of what is kept for a full disk back to it, for whatever is done next;
    /// how many these were. Until the reserve is whole again, merging does what frees most.
    fn lend(&self, bytes: u64) -> Result<u64, TablesError> {
        let _ = bytes;
        Ok(0)
    }

    /// Puts back a piece of what was lent.
    fn tend(&self) -> Result<Reserved, TablesError> {
        Ok(Reserved::Whole)
    }

    /// The newest generation; zero says that there are no rows.
    fn generation(&self) -> u64;

    /// The tables in numbers.
    fn stats(&self) -> TablesStats;
}
