//! The log's thread: whatever batches wait go out together, in one sync.
//!
//! While a sync runs, the node's turns go on and queue more batches; the next sync takes them all.
//! So under load each sync carries more, and its cost is shared by whoever came in between.
//!
//! # A full disk
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

use super::{Post, Report};
use base::{Entry, Index, ShardId};
use node::Room;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};
use storage::wal::{Record, Space, Wal, WalError};

/// Bytes of entries that share a sync: a larger pile would make its first batch wait too long.
const SYNC_BYTES: usize = 4 << 20;
/// Bytes of entries in one append; the log takes half a segment at most.
const APPEND_BYTES: usize = 4 << 20;
/// How long the log is idle before it does what only idleness allows.
const IDLE: Duration = Duration::from_millis(200);
/// A pause between two attempts on a full disk.
const FULL_PAUSE: Duration = Duration::from_millis(200);
/// Pieces of housekeeping to do at once when the log needs room.
const ROOM_STEPS: usize = 64;

/// A turn's records.
pub(super) struct Job {
    pub ticket: u64,
    pub records: Vec<Record>,
}

/// What goes into the log by one append.
struct Piece {
    records: Vec<Record>,
    /// The ticket that is fulfilled once this is durable, if a job ends here.
    ticket: Option<u64>,
}

/// Serves the log until the node is gone.
pub(super) fn run(wal: Wal, jobs: &Receiver<Job>, post: &Post) -> Result<(), String> {
    let mut log = Log { wal, post, waiting: VecDeque::new(), retry_at: None, room: Room::Ample };
    let mut tidy = false;
    loop {
        match jobs.recv_timeout(log.patience(tidy)) {
            Ok(job) => log.take_up(job, jobs),
            Err(RecvTimeoutError::Timeout) => {}
            // What still waits for room was promised to nobody.
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
        if post.killed() {
            return Ok(());
        }
        log.write()?;
        tidy = !log.maintain()?;
    }
}

struct Log<'a> {
    wal: Wal,
    post: &'a Post,
    /// What is not written yet, in order.
    waiting: VecDeque<Piece>,
    /// The first of it did not fit, and is tried again then.
    retry_at: Option<Instant>,
    room: Room,
}

impl Log<'_> {
    /// How long to wait for news before looking after something else.
    fn patience(&self, tidy: bool) -> Duration {
        match self.retry_at {
            Some(at) => at.saturating_duration_since(Instant::now()),
            None if tidy => IDLE,
            None => Duration::ZERO,
        }
    }

    /// Puts a job in line, and those behind it that may share its sync.
    fn take_up(&mut self, job: Job, jobs: &Receiver<Job>) {
        let mut bytes = cost(&job.records);
        let mut together = job;
        while bytes < SYNC_BYTES
            && let Ok(job) = jobs.try_recv()
        {
            bytes += cost(&job.records);
            together.records.extend(job.records);
            together.ticket = job.ticket;
        }
        let pieces = parts(together.records).into_iter();
        self.waiting.extend(pieces.map(|records| Piece { records, ticket: None }));
        self.waiting.back_mut().expect("at least one part").ticket = Some(together.ticket);
    }

    /// Writes what waits, as far as there is room, and makes it durable.
    fn write(&mut self) -> Result<(), String> {
        let started = Instant::now();
        let mut ticket = None;
        loop {
            ticket = self.write_in_order()?.or(ticket);
            if self.waiting.is_empty() || !self.let_marks_overtake()? {
                break;
            }
            self.retry_at = None;
        }
        if self.post.killed() {
            return Ok(());
        }
        if self.wal.needs_sync() {
            self.sync()?;
            self.post.metrics.log_syncs.one();
            self.post.metrics.log_sync.observe(started.elapsed());
        }
        if let Some(ticket) = ticket {
            self.post.report(Report::Logged(ticket));
        }
        Ok(())
    }

    /// Appends pieces from the front until one does not fit; the last ticket among them.
    fn write_in_order(&mut self) -> Result<Option<u64>, String> {
        let mut ticket = None;
        if self.retry_at.is_some_and(|at| Instant::now() < at) {
            return Ok(ticket);
        }
        self.retry_at = None;
        while let Some(piece) = self.waiting.pop_front() {
            if !self.append(&piece.records)? {
                self.waiting.push_front(piece);
                self.retry_at = Some(Instant::now() + FULL_PAUSE);
                self.set_room(Room::None);
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
    fn append(&mut self, records: &[Record]) -> Result<bool, String> {
        if fits(self.wal.append(records))? {
            return Ok(true);
        }
        self.make_room()?;
        if fits(self.wal.append(records))? {
            return Ok(true);
        }
        self.set_room(self.room.max(Room::Reserve));
        fits(self.wal.append_urgent(records))
    }

    /// Writes the marks that may go before what waits. True: they made room, or may have.
    fn let_marks_overtake(&mut self) -> Result<bool, String> {
        let marks = take_marks(&mut self.waiting);
        if marks.is_empty() {
            return Ok(false);
        }
        if !fits(self.wal.append(&marks))? {
            self.waiting.push_front(Piece { records: marks, ticket: None });
            return Ok(false);
        }
        self.make_room()?;
        Ok(true)
    }

    fn make_room(&mut self) -> Result<(), String> {
        for _ in 0..ROOM_STEPS {
            if self.wal.needs_sync() {
                self.sync()?;
            }
            if !self.wal.maintain().map_err(stopped)? {
                break;
            }
        }
        Ok(())
    }

    /// A piece of housekeeping. True: there is more to do.
    fn maintain(&mut self) -> Result<bool, String> {
        if self.wal.needs_sync() {
            self.sync()?;
        }
        self.wal.set_tight(self.post.tables_full.load(Ordering::Relaxed));
        let more = self.wal.maintain().map_err(stopped)?;
        match self.wal.space() {
            _ if self.retry_at.is_some() => {}
            Space::Ample => self.set_room(Room::Ample),
            Space::Full if !more => self.set_room(Room::Reserve),
            Space::Full => {}
        }
        Ok(more)
    }

    fn sync(&mut self) -> Result<(), String> {
        self.wal.sync().map_err(stopped)
    }

    fn set_room(&mut self, room: Room) {
        if self.room != room {
            self.room = room;
            self.post.metrics.log_full.set(u64::from(room != Room::Ample));
            self.post.report(Report::LogRoom(room));
        }
    }
}

/// Whether the log took it.
fn fits(appended: Result<(), WalError>) -> Result<bool, String> {
    match appended {
        Ok(()) => Ok(true),
        Err(WalError::Full) => Ok(false),
        Err(error) => Err(stopped(error)),
    }
}

/// Why the node stops, and what to do about it.
fn stopped(error: WalError) -> String {
    match error {
        WalError::Io { .. } => format!(
            "{error}; what of it reached the disk can't be known, so this node takes no further \
             part: check the disk, then start the node again. It reads back what is there and gets \
             the rest from the others; if the disk is broken, run \"underpin node replace\" on a new \
             one"
        ),
        error => error.to_string(),
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
fn cost(records: &[Record]) -> usize {
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
