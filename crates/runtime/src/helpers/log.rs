//! The log's thread: whatever batches wait go out together, in one sync.
//!
//! While a sync runs, the node's turns go on and queue more batches; the next sync takes them all.
//! So under load each sync carries more, and its cost is shared by whoever came in between.

use super::{Post, Report};
use base::Entry;
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

/// Serves the log until the node is gone.
pub(super) fn run(wal: Wal, jobs: &Receiver<Job>, post: &Post) -> Result<(), String> {
    let mut log = Log { wal, post, full: false };
    let mut tidy = false;
    loop {
        let job = match jobs.recv_timeout(if tidy { IDLE } else { Duration::ZERO }) {
            Ok(job) => job,
            Err(RecvTimeoutError::Timeout) => {
                tidy = !log.maintain()?;
                continue;
            }
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        };
        if post.killed() {
            return Ok(());
        }
        let (mut ticket, mut records) = (job.ticket, job.records);
        let mut bytes = cost(&records);
        while bytes < SYNC_BYTES
            && let Ok(job) = jobs.try_recv()
        {
            bytes += cost(&job.records);
            records.extend(job.records);
            ticket = job.ticket;
        }
        let started = Instant::now();
        for part in parts(records) {
            if !log.append(&part)? {
                return Ok(()); // Killed while it waited for room.
            }
        }
        if post.killed() {
            return Ok(());
        }
        log.wal.sync().map_err(|error| error.to_string())?;
        post.metrics.log_syncs.one();
        post.metrics.log_sync.observe(started.elapsed());
        post.report(Report::Logged(ticket));
        tidy = !log.maintain()?;
    }
}

struct Log<'a> {
    wal: Wal,
    post: &'a Post,
    full: bool,
}

impl Log<'_> {
    /// Appends, and waits for room if there is none. False: the node was killed meanwhile.
    ///
    /// The node counts on what it has already taken up, so that may use the reserve; it refuses new
    /// writes as soon as it hears that the log is full.
    fn append(&mut self, records: &[Record]) -> Result<bool, String> {
        match self.wal.append(records) {
            Err(WalError::Full) => {}
            other => return other.map(|()| true).map_err(|error| error.to_string()),
        }
        self.make_room()?;
        let mut urgent = false;
        loop {
            let tried = match urgent {
                false => self.wal.append(records),
                true => self.wal.append_urgent(records),
            };
            match tried {
                Ok(()) => return Ok(true),
                Err(WalError::Full) => {}
                Err(error) => return Err(error.to_string()),
            }
            self.set_full(true);
            if urgent {
                std::thread::sleep(FULL_PAUSE);
                self.make_room()?;
            }
            urgent = true;
            if self.post.killed() {
                return Ok(false);
            }
        }
    }

    fn make_room(&mut self) -> Result<(), String> {
        for _ in 0..ROOM_STEPS {
            if self.wal.needs_sync() {
                self.wal.sync().map_err(|error| error.to_string())?;
            }
            if !self.wal.maintain().map_err(|error| error.to_string())? {
                break;
            }
        }
        Ok(())
    }

    /// A piece of housekeeping. True: there is more to do.
    fn maintain(&mut self) -> Result<bool, String> {
        if self.wal.needs_sync() {
            self.wal.sync().map_err(|error| error.to_string())?;
        }
        let more = self.wal.maintain().map_err(|error| error.to_string())?;
        match self.wal.space() {
            Space::Ample => self.set_full(false),
            Space::Full if !more => self.set_full(true),
            Space::Full => {}
        }
        Ok(more)
    }

    fn set_full(&mut self, full: bool) {
        if self.full != full {
            self.full = full;
            self.post.metrics.log_full.set(u64::from(full));
            self.post.report(Report::LogFull(full));
        }
    }
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
    use base::{Bytes, EntryKind, Index, ShardId, Stamp, Term};

    #[test]
    fn a_pile_too_large_for_the_log_is_cut_and_keeps_its_order() {
        let entries = |from: u64, bytes: usize| Record::Entries {
            shard: ShardId(1),
            entries: (from..from + 4)
                .map(|index| Entry {
                    term: Term(1),
                    index: Index(index),
                    stamp: Stamp::default(),
                    kind: EntryKind::Command,
                    data: Bytes::from(vec![0; bytes]),
                })
                .collect(),
        };
        let records = vec![entries(1, 100), entries(5, 3 << 20), entries(9, 5 << 20)];
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
}
