//! Walking over a bucket's keys.
//!
//! A bucket's rows lie in the order of a 63-bit hash of their keys (the *slot*), then of the keys.
//! So a position in a walk is a slot, which fits the 64 bits that a SCAN cursor has, means the same
//! on every replica and after every failover, and needs no memory on the server. A walk that stops
//! after a slot has returned all of its keys; a key that stays from the walk's beginning to its end
//! is therefore never missed.

use super::Bucket;
use base::{Bytes, Key};

/// A walk's position: 0 at the beginning, then the first slot not yet visited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cursor(pub u64);

/// The slot of a key: 1 to 2^63 - 1.
pub fn slot(key: &[u8]) -> u64 {
    (base::checksum::hash64(key, 0) >> 1).max(1)
}

/// What to collect on a walk.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Walk {
    /// Keys that match a glob, in pages. Answers [`WalkReply::Page`].
    Page {
        /// Where to begin.
        cursor: Cursor,
        /// Only keys that match this glob (Redis' KEYS syntax).
        matching: Option<Bytes>,
        /// About how many keys to look at, at least 1.
        count: u64,
        /// With their values and expiries, for `kv scan` and export.
        values: bool,
    },
    /// All keys that match a glob, in chunks ([`WalkReply::Page`] with `more` on the answer).
    Keys {
        /// The glob.
        matching: Bytes,
    },
    /// How many keys the bucket holds. Answers [`WalkReply::Count`].
    Count,
    /// Some key: the first at or after a slot drawn by the caller, wrapping around.
    /// Answers [`WalkReply::Page`] with one key or none.
    Any {
        /// The slot.
        from: u64,
    },
}

/// A walk over one bucket.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WalkRequest {
    /// The bucket.
    pub bucket: Bucket,
    /// What to collect.
    pub walk: Walk,
}

/// A key that a walk found.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Found {
    /// The key.
    pub key: Key,
    /// Its value, if it was asked for.
    pub value: Option<Bytes>,
    /// When it ends, ms since the Unix epoch, if its value was asked for and it ends.
    pub expires_at_ms: Option<u64>,
}

/// What a walk answers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum WalkReply {
    /// Keys, and where to go on: 0 if the walk is over.
    Page {
        /// The next position.
        next: Cursor,
        /// What was found.
        found: Vec<Found>,
    },
    /// How many keys there are.
    Count(u64),
}
