//! Rows in memory, in order, with as many versions as open views need.

use base::{Key, KeyRange};
use bytes::{Bytes, BytesMut};
use std::collections::BTreeMap;
use std::ops::Bound;

/// Bytes that a version takes besides key and value.
pub(super) const VERSION_BYTES: usize = 120;

/// Bytes of an arena's chunk.
const CHUNK_BYTES: usize = 64 << 10;
/// Longer keys and values are kept as they came.
pub(super) const COPY_BYTES_MAX: usize = 4 << 10;

/// Keys and values, many to an allocation. A table's rows are made one by one on the node's thread
/// and dropped all at once on another: with an allocation each, giving back a hundred thousand of
/// them to the thread that made them costs that one milliseconds in the middle of a turn.
#[derive(Clone, Debug, Default)]
struct Arena(BytesMut);

impl Arena {
    fn keep(&mut self, bytes: &Bytes) -> Bytes {
        if bytes.is_empty() || bytes.len() > COPY_BYTES_MAX {
            return bytes.clone();
        }
        if self.0.capacity() < bytes.len() {
            self.0 = BytesMut::with_capacity(CHUNK_BYTES);
        }
        self.0.extend_from_slice(bytes);
        self.0.split().freeze()
    }
}

/// A row's content from one point of the store's history on; `None` is a deletion.
#[derive(Clone, Debug)]
struct Version {
    seq: u64,
    value: Option<Bytes>,
}

/// A row: its latest version, and older ones that some view was open for, newest first.
#[derive(Clone, Debug)]
struct Row {
    latest: Version,
    older: Vec<Version>,
}

impl Row {
    fn at(&self, seq: u64) -> Option<&Option<Bytes>> {
        if self.latest.seq <= seq {
            return Some(&self.latest.value);
        }
        self.older.iter().find(|version| version.seq <= seq).map(|version| &version.value)
    }
}

/// An ordered map of rows.
#[derive(Clone, Debug, Default)]
pub(super) struct Memtable {
    rows: BTreeMap<Key, Row>,
    /// Holds new keys with their first values. Such a value stays here when it is overwritten; those
    /// that come later are on their own, so a row has one dead value at most.
    arena: Arena,
    pub bytes: usize,
    pub last_seq: u64,
}

impl Memtable {
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Writes a row's next version. `needed(from, to)` tells whether a view is open that sees the
    /// store as it was at some point from `from` on and before `to`.
    pub fn write(
        &mut self,
        seq: u64,
        key: Key,
        value: Option<Bytes>,
        needed: impl Fn(u64, u64) -> bool,
    ) {
        self.last_seq = seq;
        let key_bytes = key.len();
        self.bytes += VERSION_BYTES + value.as_ref().map_or(0, Bytes::len);
        let Some(row) = self.rows.get_mut(&key) else {
            self.bytes += key_bytes;
            let key = self.arena.keep(&key);
            let latest = Version { seq, value: value.map(|value| self.arena.keep(&value)) };
            self.rows.insert(key, Row { latest, older: Vec::new() });
            return;
        };
        let old = std::mem::replace(&mut row.latest, Version { seq, value });
        let versions = std::iter::once(old).chain(std::mem::take(&mut row.older));
        let mut until = seq;
        for version in versions {
            // A version is seen by views from its own point up to the next version's.
            if needed(version.seq, until) {
                until = version.seq;
                row.older.push(version);
            } else {
                self.bytes -= VERSION_BYTES + version.value.as_ref().map_or(0, Bytes::len);
                until = version.seq;
            }
        }
    }

    /// The row as of `seq`, if this table knows: `Some(None)` says that it was deleted.
    pub fn get(&self, key: &[u8], seq: u64) -> Option<&Option<Bytes>> {
        self.rows.get(key)?.at(seq)
    }

    /// Whether any version of `key` is here.
    pub fn contains(&self, key: &[u8]) -> bool {
        self.rows.contains_key(key)
    }

    /// The rows of a range as of `seq`, in order.
    pub fn range(
        &self,
        range: &KeyRange,
        seq: u64,
    ) -> impl Iterator<Item = (&Key, Option<&Option<Bytes>>)> {
        let end = range.end.as_ref().map_or(Bound::Unbounded, |end| Bound::Excluded(&end[..]));
        let bounds = (Bound::Included(&range.start[..]), end);
        let rows = (!range.is_empty()).then(|| self.rows.range::<[u8], _>(bounds));
        rows.into_iter().flatten().map(move |(key, row)| (key, row.at(seq)))
    }

    /// The latest version of every row, in order.
    pub fn latest(&self) -> impl ExactSizeIterator<Item = (&Key, &Option<Bytes>)> {
        self.rows.iter().map(|(key, row)| (key, &row.latest.value))
    }
}
