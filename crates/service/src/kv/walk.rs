//! Collecting what a walk asks for, in slices.
//!
//! Whoever has the rows scans [`Walker::range`] a bit, feeds what it found, and goes on until the
//! walk is finished:
//!
//! ```text
//! loop {
//!     rows, covered_until = up to 1000 rows of walker.range() in walker.space()
//!     match walker.feed(rows, covered_until) { More => continue, Chunk => send, go on, Finished => send }
//! }
//! ```
//!
//! Between two slices the range begins where the last one stopped. All slices come from one read
//! view, so the walk is of one moment; keys that ended by that moment's stamp are passed over.
//!
//! A page stops after a slot, never within one: the cursor can only name slots. A page that holds
//! many bytes stops at the next slot too, though it looked at fewer keys than was asked.

use super::glob;
use super::scan::{Cursor, Found, Walk, WalkReply, WalkRequest};
use crate::row::{self, Row, TAG_KEY};
use crate::{RowKey, Space};
use base::key::prefix_end;
use base::{Bytes, KeyRange, Stamp};

/// Keys in one chunk of a walk over all keys.
pub const CHUNK_KEYS_MAX: usize = 1000;
/// Keys that a page looks at, at most, whatever was asked.
pub const PAGE_KEYS_MAX: u64 = 10_000;
/// Bytes of keys and values after which a page stops.
pub const PAGE_BYTES_MAX: usize = 4 << 20;

/// How a walk goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Feed the rows of the range that is left.
    More,
    /// A part of the answer; then as [`Progress::More`].
    Chunk(WalkReply),
    /// The answer, or its last part.
    Finished(WalkReply),
}

/// A walk under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Walker {
    request: WalkRequest,
    applied: Stamp,
    left: KeyRange,
    found: Vec<Found>,
    /// Bytes in `found`.
    bytes: usize,
    /// Keys looked at, or counted.
    looked: u64,
    /// The slot of the last key that was looked at.
    slot: u64,
    /// The walk began in the middle and goes on from the beginning now.
    wrapped: bool,
}

impl Walker {
    /// A walk over rows as of the stamp `applied`.
    pub fn new(request: WalkRequest, applied: Stamp) -> Walker {
        let from = match request.walk {
            Walk::Page { cursor, .. } => cursor.0,
            Walk::Any { from } => from,
            Walk::Keys { .. } | Walk::Count => 0,
        };
        Walker {
            left: KeyRange { start: place_of_slot(from), end: prefix_end(&[TAG_KEY]) },
            request,
            applied,
            found: Vec::new(),
            bytes: 0,
            looked: 0,
            slot: 0,
            wrapped: from == 0,
        }
    }

    /// Where the rows lie.
    pub fn space(&self) -> Space {
        row::space(self.request.bucket)
    }

    /// What is still to visit.
    pub fn range(&self) -> KeyRange {
        self.left.clone()
    }

    /// Takes rows of [`Walker::range`], in order, from its beginning. They are all that lie before
    /// `covered_until`, or in the whole range if that is `None`. Not all may be taken: afterwards the
    /// range begins at the first row that was not.
    pub fn feed(
        &mut self,
        rows: impl Iterator<Item = (Bytes, Bytes)>,
        covered_until: Option<Bytes>,
    ) -> Progress {
        for (place, row) in rows {
            if let Some(progress) = self.look(&place, row) {
                return progress;
            }
        }
        match covered_until {
            Some(place) => {
                self.left.start = place;
                More
            }
            None => self.at_the_end(),
        }
    }

    /// Looks at one row; says how the walk goes on if it does not just go on.
    fn look(&mut self, place: &Bytes, row: Bytes) -> Option<Progress> {
        let (slot, key) = match row::key_of_place(place) {
            Ok(parts) => parts,
            Err(error) => panic!("row {place:?} of space {}: {error}", self.space().0),
        };
        if slot != self.slot && self.page_is_full() {
            return Some(Finished(self.page(Cursor(slot))));
        }
        self.slot = slot;
        let row = Row::of_table(&RowKey { space: self.space(), key: place.clone() }, row);
        let live = row.live(self.applied);
        match &self.request.walk {
            Walk::Count => self.looked += u64::from(live),
            Walk::Any { .. } if live => {
                self.keep(key, None);
                return Some(Finished(self.page(Cursor(0))));
            }
            Walk::Any { .. } => {}
            Walk::Page { matching, values, .. } => {
                let values = *values;
                let matches = matching.as_ref().is_none_or(|glob| glob::matches(glob, &key));
                self.looked += 1;
                if live && matches {
                    self.keep(key, values.then_some(row));
                }
            }
            Walk::Keys { matching } if live && glob::matches(matching, &key) => {
                if self.chunk_is_full() {
                    self.left.start = place.clone();
                    return Some(Chunk(self.page(Cursor(0))));
                }
                self.keep(key, None);
            }
            Walk::Keys { .. } => {}
        }
        None
    }

    fn keep(&mut self, key: Bytes, row: Option<Row>) {
        self.bytes += key.len() + row.as_ref().map_or(0, |row| row.value.len());
        self.found.push(Found {
            key,
            expires_at_ms: row.as_ref().and_then(|row| row.expires_at_ms),
            value: row.map(|row| row.value),
        });
    }

    fn page_is_full(&self) -> bool {
        let Walk::Page { count, .. } = self.request.walk else { return false };
        self.looked >= count.clamp(1, PAGE_KEYS_MAX) || self.bytes >= PAGE_BYTES_MAX
    }

    fn chunk_is_full(&self) -> bool {
        self.found.len() >= CHUNK_KEYS_MAX || self.bytes >= PAGE_BYTES_MAX
    }

    /// The range is exhausted.
    fn at_the_end(&mut self) -> Progress {
        match self.request.walk {
            Walk::Count => Finished(WalkReply::Count(self.looked)),
            Walk::Any { from } if !self.wrapped => {
                self.wrapped = true;
                self.left = KeyRange { start: place_of_slot(0), end: Some(place_of_slot(from)) };
                More
            }
            _ => Finished(self.page(Cursor(0))),
        }
    }

    fn page(&mut self, next: Cursor) -> WalkReply {
        self.bytes = 0;
        WalkReply::Page { next, found: std::mem::take(&mut self.found) }
    }
}

use Progress::{Chunk, Finished, More};

fn place_of_slot(slot: u64) -> Bytes {
    let mut place = vec![TAG_KEY];
    place.extend(slot.to_be_bytes());
    place.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kv::Bucket;

    fn walker(walk: Walk) -> Walker {
        Walker::new(WalkRequest { bucket: Bucket(0), walk }, Stamp(0))
    }

    /// A row in a slot of our choice.
    fn row(slot: u64, key: &str, value: &[u8]) -> (Bytes, Bytes) {
        let mut place = place_of_slot(slot).to_vec();
        place.extend(key.as_bytes());
        let value = Bytes::copy_from_slice(value);
        let row = Row { stamp: Stamp(0), expires_at_ms: None, value };
        (place.into(), row.encode())
    }

    fn keys(reply: &WalkReply) -> (u64, Vec<&[u8]>) {
        let WalkReply::Page { next, found } = reply else { panic!("{reply:?}") };
        (next.0, found.iter().map(|found| &found.key[..]).collect())
    }

    #[test]
    fn a_page_holds_all_keys_of_a_slot_or_none() {
        let rows = [(3, "a"), (5, "b"), (5, "c"), (5, "d"), (9, "e")];
        let rows = rows.map(|(slot, key)| row(slot, key, b"v"));
        let page =
            |cursor| Walk::Page { cursor: Cursor(cursor), matching: None, count: 2, values: false };
        // In one slice, and cut in the middle of the slot.
        let mut whole = walker(page(0));
        let Finished(reply) = whole.feed(rows.clone().into_iter(), None) else { panic!("a page") };
        assert_eq!(keys(&reply), (9, vec![&b"a"[..], b"b", b"c", b"d"]));
        let mut cut = walker(page(0));
        let until = Some(rows[2].0.clone());
        assert_eq!(cut.feed(rows[..2].iter().cloned(), until.clone()), More);
        assert_eq!(Some(cut.range().start), until);
        assert_eq!(cut.feed(rows[2..].iter().cloned(), None), Finished(reply));
        let mut rest = walker(page(9));
        let Finished(reply) = rest.feed(rows[4..].iter().cloned(), None) else { panic!("a page") };
        assert_eq!(keys(&reply), (0, vec![&b"e"[..]]));
    }

    #[test]
    fn large_values_end_a_page_early() {
        let value = vec![0; PAGE_BYTES_MAX / 2];
        let rows = (1..=4).map(|slot| row(slot, "k", &value));
        let walk = Walk::Page { cursor: Cursor(0), matching: None, count: 100, values: true };
        let Finished(reply) = walker(walk).feed(rows, None) else { panic!("a page") };
        assert_eq!(keys(&reply).0, 3);
    }

    #[test]
    fn all_keys_come_in_chunks() {
        let rows: Vec<_> = (1..=2_500).map(|slot| row(slot, "k", b"v")).collect();
        let mut walker = walker(Walk::Keys { matching: Bytes::from_static(b"*") });
        let mut sizes = Vec::new();
        loop {
            let left = walker.range();
            let rows = rows.iter().filter(|(place, _)| left.contains(place)).cloned();
            match walker.feed(rows, None) {
                Chunk(reply) => sizes.push(keys(&reply).1.len()),
                Finished(reply) => {
                    sizes.push(keys(&reply).1.len());
                    break;
                }
                More => panic!("everything was fed"),
            }
        }
        assert_eq!(sizes, [1000, 1000, 500]);
    }
}
