//! What waits to be written to a log, in order, and what may overtake it on a full disk.
//!
//! What the node has taken up may use the log's reserve, and it takes up no more once it hears that
//! the log is full. If even the reserve does not suffice, records wait here, in order, until there
//! is room. Room comes from compaction: a [`Record::LogStart`] says that entries are needed no more.
//! Such a mark would wait behind the very entries that wait for the room it brings, so it may
//! overtake them, into the last part of the reserve that the log keeps for it:
//!
//! ```text
//! waiting:  hard state s2 | entries s2 90.. | start s2 = 40 | entries s1 7.. | start s1 = 5
//! written:  start s2 = 40, start s1 = 5                  the others keep their order
//! ```
//!
//! That is safe because a mark only forgets entries that are durable already: 40 lies below
//! whatever waits, and no record between depends on the forgotten ones. A crash in between leaves a
//! log that starts later and otherwise is as if the waiting records had never been handed over. A
//! mark that does not lie below the waiting entries of its shard, or that stands behind a record
//! which makes the shard's log anew, keeps its place.
//!
//! Whoever drives a [`Line`] brings the time: a thread of the runtime, or the simulator.

use super::{Record, Space, Wal, WalError};
use crate::disk::Room;
use base::{Entry, Index, Mono, ShardId};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Bytes of entries in one append; the log takes half a segment at most.
const APPEND_BYTES: usize = 4 << 20;
/// A pause between two attempts on a full disk.
const FULL_PAUSE: Duration = Duration::from_millis(200);
/// Pieces of housekeeping to do at once when the log needs room.
const ROOM_STEPS: usize = 64;

/// What goes into the log by one append.
#[derive(Debug)]
struct Piece {
    records: Vec<Record>,
    /// The ticket that is fulfilled once this is durable, if a job ends here.
    ticket: Option<u64>,
}

/// What is not written yet, in order.
#[derive(Debug, Default)]
pub struct Line {
    waiting: VecDeque<Piece>,
    /// The first of it did not fit, and is tried again then.
    retry_at: Option<Mono>,
    room: Room,
}

impl Line {
    /// Puts records in line; once they are durable, so is everything up to this ticket.
    pub fn take_up(&mut self, ticket: u64, records: Vec<Record>) {
        let pieces = parts(records).into_iter();
        self.waiting.extend(pieces.map(|records| Piece { records, ticket: None }));
        self.waiting.back_mut().expect("at least one part").ticket = Some(ticket);
    }

    /// When to write again what did not fit.
    pub fn retry_at(&self) -> Option<Mono> {
        self.retry_at
    }

    /// How much room the log has, as far as it was found out.
    pub fn room(&self) -> Room {
        self.room
    }

    /// Writes what waits, as far as there is room; the last ticket that is fulfilled once the log
    /// was synced.
    pub fn write(&mut self, wal: &mut Wal, now: Mono) -> Result<Option<u64>, WalError> {
        let mut ticket = None;
        loop {
            ticket = self.write_in_order(wal, now)?.or(ticket);
            if self.waiting.is_empty() || !self.let_marks_overtake(wal)? {
                return Ok(ticket);
            }
            self.retry_at = None;
        }
    }

    /// Appends pieces from the front until one does not fit; the last ticket among them.
    fn write_in_order(&mut self, wal: &mut Wal, now: Mono) -> Result<Option<u64>, WalError> {
        let mut ticket = None;
        if self.retry_at.is_some_and(|at| now < at) {
            return Ok(ticket);
        }
        self.retry_at = None;
        while let Some(piece) = self.waiting.pop_front() {
            if !self.append(wal, &piece.records)? {
                self.waiting.push_front(piece);
                self.retry_at = Some(now + FULL_PAUSE);
                self.room = Room::None;
                break;
            }
            ticket = piece.ticket.or(ticket);
        }
        Ok(ticket)
    }

    /// Appends, or says that there is no room.
    ///
    /// The node counts on what it has already taken up, so that may use the reserve; it refuses new
    /// writes as soon as it hears that the log is full.
    fn append(&mut self, wal: &mut Wal, records: &[Record]) -> Result<bool, WalError> {
        if fits(wal.append(records))? {
            return Ok(true);
        }
        make_room(wal)?;
        if fits(wal.append(records))? {
            return Ok(true);
        }
        self.room = self.room.max(Room::Reserve);
        fits(wal.append_urgent(records))
    }

    /// Writes the marks that may go before what waits. True: they made room, or may have.
    fn let_marks_overtake(&mut self, wal: &mut Wal) -> Result<bool, WalError> {
        let marks = take_marks(&mut self.waiting);
        if marks.is_empty() {
            return Ok(false);
        }
        if !fits(wal.append(&marks))? {
            self.waiting.push_front(Piece { records: marks, ticket: None });
            return Ok(false);
        }
        make_room(wal)?;
        Ok(true)
    }

    /// A piece of housekeeping, for a log that takes as little as it can where others lack room
    /// (`tight`). True: there is more to do.
    pub fn maintain(&mut self, wal: &mut Wal, tight: bool) -> Result<bool, WalError> {
        if wal.needs_sync() {
            wal.sync()?;
        }
        wal.set_tight(tight);
        let more = wal.maintain()?;
        match wal.space() {
            _ if self.retry_at.is_some() => {}
            Space::Ample => self.room = Room::Ample,
            Space::Full if !more => self.room = Room::Reserve,
            Space::Full => {}
        }
        Ok(more)
    }
}

fn make_room(wal: &mut Wal) -> Result<(), WalError> {
    for _ in 0..ROOM_STEPS {
        if wal.needs_sync() {
            wal.sync()?;
        }
        if !wal.maintain()? {
            break;
        }
    }
    Ok(())
}

/// Whether the log took it.
fn fits(appended: Result<(), WalError>) -> Result<bool, WalError> {
    match appended {
        Ok(()) => Ok(true),
        Err(WalError::Full) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Takes out the marks that may be written before everything else that waits.
fn take_marks(waiting: &mut VecDeque<Piece>) -> Vec<Record> {
    let mut barriers: BTreeMap<ShardId, Index> = BTreeMap::new();
    let mut marks = Vec::new();
    for piece in waiting {
        let may_go = |record: &mut Record| overtakes(record, &mut barriers);
        marks.extend(piece.records.extract_if(.., may_go));
    }
    marks
}

/// Whether `record` is a mark that lies below all that waits before it. `barriers` says for each
/// shard what that is.
fn overtakes(record: &Record, barriers: &mut BTreeMap<ShardId, Index>) -> bool {
    let (shard, lowest) = match record {
        Record::LogStart { shard, start } => {
            return barriers.get(shard).is_none_or(|barrier| start.index < *barrier);
        }
        Record::HardState { .. } => return false,
        Record::Entries { shard, entries } => {
            (shard, entries.first().map_or(Index(0), |entry| entry.index))
        }
        Record::Reset { shard, .. } | Record::Replica { shard, .. } | Record::Drop { shard } => {
            (shard, Index(0))
        }
    };
    let barrier = barriers.entry(*shard).or_insert(lowest);
    *barrier = lowest.min(*barrier);
    false
}

/// Bytes of entries among `records`.
pub fn cost(records: &[Record]) -> usize {
    records.iter().map(record_cost).sum()
}

fn record_cost(record: &Record) -> usize {
    match record {
        Record::Entries { entries, .. } => entries.iter().map(Entry::cost).sum(),
        _ => 64,
    }
}

/// Cuts `records` into appends that fit the log, in their order. Mostly that is one.
fn parts(records: Vec<Record>) -> Vec<Vec<Record>> {
    if cost(&records) <= APPEND_BYTES {
        return vec![records];
    }
    let (mut parts, mut part, mut bytes) = (Vec::new(), Vec::new(), 0);
    for record in records.into_iter().flat_map(split) {
        let more = record_cost(&record);
        if bytes + more > APPEND_BYTES && !part.is_empty() {
            parts.push(std::mem::take(&mut part));
            bytes = 0;
        }
        bytes += more;
        part.push(record);
    }
    parts.push(part);
    parts
}

/// Cuts a record of many entries into some of fewer.
fn split(record: Record) -> Vec<Record> {
    let Record::Entries { shard, entries } = record else { return vec![record] };
    let (mut records, mut some, mut bytes) = (Vec::new(), Vec::new(), 0);
    for entry in entries {
        if bytes + entry.cost() > APPEND_BYTES && !some.is_empty() {
            records.push(Record::Entries { shard, entries: std::mem::take(&mut some) });
            bytes = 0;
        }
        bytes += entry.cost();
        some.push(entry);
    }
    records.push(Record::Entries { shard, entries: some });
    records
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::{Bytes, EntryKind, HardState, LogStart, ReplicaId, Stamp, Term};

    const ONE: ShardId = ShardId(1);
    const TWO: ShardId = ShardId(2);

    fn entries(shard: ShardId, from: u64, bytes: usize) -> Record {
        let entry = |index| Entry {
            term: Term(1),
            index: Index(index),
            stamp: Stamp::default(),
            kind: EntryKind::Command,
            data: Bytes::from(vec![0; bytes]),
        };
        Record::Entries { shard, entries: (from..from + 4).map(entry).collect() }
    }

    fn mark(shard: ShardId, index: u64) -> Record {
        let start = LogStart { index: Index(index), ..LogStart::default() };
        Record::LogStart { shard, start }
    }

    #[test]
    fn a_pile_too_large_for_the_log_is_cut_and_keeps_its_order() {
        let records =
            vec![entries(ONE, 1, 100), entries(ONE, 5, 3 << 20), entries(ONE, 9, 5 << 20)];
        let parts = parts(records);
        assert!(parts.iter().all(|part| part.len() == 1 || cost(part) <= APPEND_BYTES));
        let order: Vec<u64> = parts
            .iter()
            .flatten()
            .flat_map(|record| match record {
                Record::Entries { entries, .. } => entries.iter().map(|e| e.index.0),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(order, (1..=12).collect::<Vec<u64>>());
    }

    #[test]
    fn marks_overtake_what_they_do_not_touch_and_nothing_else_does() {
        let state = Record::HardState { shard: TWO, state: HardState::default() };
        let piece = |records| Piece { records, ticket: None };
        let mut waiting = VecDeque::from([
            piece(vec![state.clone(), entries(TWO, 90, 10), mark(TWO, 40)]),
            piece(vec![entries(ONE, 7, 10), state.clone(), mark(ONE, 5), mark(TWO, 41)]),
        ]);
        assert_eq!(take_marks(&mut waiting), [mark(TWO, 40), mark(ONE, 5), mark(TWO, 41)]);
        let left: Vec<_> = waiting.into_iter().flat_map(|piece| piece.records).collect();
        assert_eq!(left, [state.clone(), entries(TWO, 90, 10), entries(ONE, 7, 10), state]);
    }

    #[test]
    fn a_mark_that_touches_what_waits_keeps_its_place() {
        let start = LogStart { index: Index(30), ..LogStart::default() };
        let about = Bytes::new();
        let before: [&[Record]; 4] = [
            &[entries(ONE, 9, 10), entries(ONE, 31, 10)],
            &[Record::Reset { shard: ONE, start }],
            &[Record::Replica { shard: ONE, replica: ReplicaId(3), about }],
            &[Record::Drop { shard: ONE }],
        ];
        for before in before {
            let records = [before, &[mark(ONE, 30), mark(TWO, 30)]].concat();
            let mut waiting = VecDeque::from([Piece { records, ticket: None }]);
            assert_eq!(take_marks(&mut waiting), [mark(TWO, 30)], "behind {before:?}");
            assert_eq!(waiting[0].records, [before, &[mark(ONE, 30)]].concat());
        }
    }
}
