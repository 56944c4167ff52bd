//! What is to be done for tables, and when: memtables become tables, tables are merged, a full disk
//! is lived through.
//!
//! Writing a memtable out goes first, since memory waits for it; a merge is done in pieces so that it
//! never waits long. Whoever drives an [`Upkeep`] brings the time and lets it [work](Upkeep::work):
//! a thread of the runtime, or the simulator.
//!
//! # A full disk
//!
//! The tables keep some room in reserve. When a memtable does not fit, the disk is full: the node is
//! told so, which refuses what takes space from then on, and the reserve is lent to whatever goes on
//! here, until it is whole again.
//!
//! Writing a memtable out is a move more than a copy. When it is durable as a table, the log gives
//! up the segments with the same rows, and the reserve grows into the room that they leave. So one
//! memtable's room is enough for one memtable after the other. Those that hold deletes let merges
//! free what was deleted; that is what ends it, for both need nobody's help. The merges come before
//! the reserve is put back: what they free late would be room that nobody could use.
//!
//! The log may be blocked before that, if its own reserve is used up. Deletes and the flush that
//! frees the log are then behind what it can't write:
//!
//! ```text
//! log     waits for room: | entries | deletes |            needs a segment
//! flush   waits for the log to be durable past the rows    needs a memtable's room, later
//! ```
//!
//! So the reserve has a segment's room besides, which the log is lent. More than that does not wait
//! there: since the log has been in its own reserve, one segment long, this node has taken up
//! nothing but deletes and what others had under way to it, which is less than a segment.

use super::{Reserved, Tables, TablesError};
use crate::engine::FlushJob;
use base::Mono;
use std::collections::{BTreeSet, VecDeque};
use std::mem::ManuallyDrop;
use std::time::Duration;

/// A pause between two attempts on a full disk.
const FULL_PAUSE: Duration = Duration::from_millis(500);
/// On a full disk, the least pause between two merges; mostly it is as long as the last one.
const MERGE_PAUSE: Duration = Duration::from_millis(100);
/// There, a merge that did not fit is tried again after this, or once there is a new table.
const MERGE_RETRY: Duration = Duration::from_secs(30);
/// A pause between two pieces of a reserve that nobody waits for.
const TEND_PAUSE: Duration = Duration::from_millis(20);
/// On a full disk, the node's wish to merge comes this soon after a flush.
const WISH_PAUSE: Duration = Duration::from_millis(100);
/// What a table takes besides its rows, at least.
pub const TABLE_BYTES: u64 = 1 << 20;

/// Something that came of the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// A memtable is a table.
    Flushed {
        /// The job's id.
        id: u64,
        /// The generation that shows it.
        generation: u64,
        /// How long it took.
        took: Duration,
    },
    /// A memtable did not fit, or did so only into the reserve.
    Unfit,
    /// A piece was merged, or could not be for want of room.
    Merged {
        /// Whether there was room.
        fits: bool,
        /// How long it took.
        took: Duration,
    },
    /// So many bytes of the reserve were lent.
    Lent(u64),
    /// The disk is full, or is no longer.
    Full(bool),
}

/// What is done at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    /// Write a memtable out.
    Flush,
    /// Give the blocked log what it needs.
    Lend,
    /// Merge a piece.
    Merge,
    /// Put back a piece of the reserve.
    Tend,
}

/// What waits to be done for some tables.
#[derive(Debug)]
pub struct Upkeep {
    /// What a table takes besides its rows.
    table_bytes: u64,
    flushes: VecDeque<FlushJob>,
    /// The newest wish; it covers the ones before.
    compact: Option<(u64, BTreeSet<u64>)>,
    /// What the log needs, and whether it was lent that.
    log_needs: u64,
    log_has: bool,
    /// How the reserve stands.
    reserved: Reserved,
    full: bool,
    /// Not to be tried again before.
    flush_at: Mono,
    merge_at: Mono,
    tend_at: Mono,
    /// Until then the disk is for others.
    rest_until: Mono,
    /// The last merge did not fit.
    stuck: bool,
    done: Vec<Done>,
}

impl Upkeep {
    /// Nothing to do yet but to look after the reserve. A table takes so many bytes besides its rows;
    /// mostly [`TABLE_BYTES`].
    pub fn new(now: Mono, table_bytes: u64) -> Upkeep {
        Upkeep {
            table_bytes,
            flushes: VecDeque::new(),
            compact: None,
            log_needs: 0,
            log_has: false,
            // Not known yet; a directory of an older version has none.
            reserved: Reserved::Growing,
            full: false,
            flush_at: now,
            merge_at: now,
            tend_at: now,
            rest_until: now,
            stuck: false,
            done: Vec::new(),
        }
    }

    /// A memtable is to be written out.
    pub fn flush(&mut self, job: FlushJob) {
        self.flushes.push_back(job);
    }

    /// Tables may be merged: generations before `oldest` are read no more, rows of `dead` ids never.
    pub fn compact(&mut self, oldest: u64, dead: BTreeSet<u64>) {
        self.compact = Some((oldest, dead));
        self.stuck = false;
        self.merge_at = self.merge_at.min(self.rest_until);
    }

    /// The log is blocked until there are so many bytes for it; zero says that it goes on.
    pub fn log_needs(&mut self, bytes: u64) {
        (self.log_needs, self.log_has) = (bytes, false);
    }

    /// What came of the work since this was asked last.
    pub fn done(&mut self) -> Vec<Done> {
        std::mem::take(&mut self.done)
    }

    /// What there is to do, most urgent first, and when it may be done.
    ///
    /// The log comes after flushes, which free it without being lent anything. While it has room of
    /// the reserve's, or merges free some more, nothing is put back there.
    fn plan(&self) -> [Option<(Work, Mono)>; 4] {
        let flush = (!self.flushes.is_empty()).then_some((Work::Flush, self.flush_at));
        let blocked = self.log_needs > 0 && !self.log_has && self.flushes.is_empty();
        let lend = blocked.then_some((Work::Lend, self.flush_at));
        let merge = self.compact.is_some().then_some((Work::Merge, self.merge_at));
        let freeing = self.full && self.compact.is_some() && !self.stuck;
        let tend = self.reserved != Reserved::Whole && !self.log_has && !freeing;
        [flush, lend, merge, tend.then_some((Work::Tend, self.tend_at))]
    }

    /// When there is something to do, if nothing new comes.
    pub fn due(&self) -> Option<Mono> {
        self.plan().into_iter().flatten().map(|(_, at)| at).min()
    }

    /// Does one thing that is due; `clock` tells the time, as it goes on meanwhile.
    pub fn work(
        &mut self,
        tables: &dyn Tables,
        clock: &dyn Fn() -> Mono,
    ) -> Result<(), TablesError> {
        AtWork { upkeep: self, tables, clock }.work()
    }

    fn set_full(&mut self, full: bool, now: Mono) {
        if self.full != full {
            self.full = full;
            self.merge_at = now;
            self.done.push(Done::Full(full));
        }
    }
}

/// While something is done.
struct AtWork<'a> {
    upkeep: &'a mut Upkeep,
    tables: &'a dyn Tables,
    clock: &'a dyn Fn() -> Mono,
}

impl AtWork<'_> {
    fn now(&self) -> Mono {
        (self.clock)()
    }

    fn work(&mut self) -> Result<(), TablesError> {
        let now = self.now();
        let due = self.upkeep.plan().into_iter().flatten().find(|(_, at)| *at <= now);
        match due.map(|(work, _)| work) {
            Some(Work::Flush) => self.flush(),
            Some(Work::Lend) => self.lend_to_log(),
            Some(Work::Merge) => self.merge(),
            Some(Work::Tend) => self.tend(),
            None => Ok(()),
        }
    }

    fn flush(&mut self) -> Result<(), TablesError> {
        let Some(job) = self.upkeep.flushes.front() else { return Ok(()) };
        let bytes = job.rows.bytes() as u64;
        if self.upkeep.full {
            self.lend(bytes + bytes / 8 + self.upkeep.table_bytes)?;
        }
        let mut written = self.write_out();
        if written == Err(TablesError::Full) {
            self.upkeep.done.push(Done::Unfit);
            if self.lend(u64::MAX)? > 0 {
                written = self.write_out();
            }
        }
        if written == Err(TablesError::Full) {
            self.upkeep.set_full(true, self.now());
            self.upkeep.flush_at = self.now() + FULL_PAUSE;
            return Ok(());
        }
        self.upkeep.tend_at = self.now() + WISH_PAUSE;
        written
    }

    fn write_out(&mut self) -> Result<(), TablesError> {
        let Some(job) = self.upkeep.flushes.front() else { return Ok(()) };
        let started = self.now();
        // An iterator over a memtable owns nothing; only its type can't say so, and `ingest` asks
        // that the iterator lives no less than what it yields.
        let mut rows = ManuallyDrop::new(job.rows.rows());
        let generation = self.tables.ingest(&mut *rows)?;
        let took = Duration::from_nanos(self.now().since(started));
        self.upkeep.done.push(Done::Flushed { id: job.id, generation, took });
        self.upkeep.flushes.pop_front();
        Ok(())
    }

    /// Merges a piece. A merge needs room for its outcome before it gives its sources back. One that
    /// does not fit is no reason to refuse writes: it is left until the next flush asks again. On a
    /// full disk it has the reserve, and what it takes of the disk's time is bounded.
    fn merge(&mut self) -> Result<(), TablesError> {
        let Some((oldest, dead)) = self.upkeep.compact.take() else { return Ok(()) };
        if self.upkeep.full {
            self.lend(u64::MAX)?;
        }
        let started = self.now();
        let compacted = self.tables.compact(oldest, &dead);
        let took = Duration::from_nanos(self.now().since(started));
        let fits = compacted != Err(TablesError::Full);
        self.upkeep.done.push(Done::Merged { fits, took });
        self.upkeep.stuck = !fits;
        let again = match compacted {
            Ok(compacted) => compacted.more,
            Err(TablesError::Full) => self.upkeep.full,
            Err(error) => return Err(error),
        };
        self.upkeep.compact = again.then_some((oldest, dead));
        if self.upkeep.full {
            let now = self.now();
            let upkeep = &mut *self.upkeep;
            upkeep.rest_until = now + took.max(MERGE_PAUSE);
            upkeep.merge_at = if upkeep.stuck { now + MERGE_RETRY } else { upkeep.rest_until };
            upkeep.tend_at = now;
        }
        Ok(())
    }

    fn tend(&mut self) -> Result<(), TablesError> {
        let reserved = self.tables.tend()?;
        let (now, upkeep) = (self.now(), &mut *self.upkeep);
        upkeep.reserved = reserved;
        match reserved {
            Reserved::Whole => upkeep.set_full(false, now),
            Reserved::Growing => upkeep.tend_at = if upkeep.full { now } else { now + TEND_PAUSE },
            Reserved::Short => {
                upkeep.set_full(true, now);
                upkeep.tend_at = now + FULL_PAUSE;
            }
        }
        Ok(())
    }

    fn lend_to_log(&mut self) -> Result<(), TablesError> {
        self.lend(self.upkeep.log_needs)?;
        self.upkeep.log_has = true;
        Ok(())
    }

    /// Gives so much of the reserve to what comes next, or to the log; how much it was.
    fn lend(&mut self, bytes: u64) -> Result<u64, TablesError> {
        let lent = self.tables.lend(bytes)?;
        let (now, upkeep) = (self.now(), &mut *self.upkeep);
        upkeep.reserved = Reserved::Growing;
        upkeep.set_full(true, now);
        if lent > 0 {
            upkeep.done.push(Done::Lent(lent));
        }
        Ok(lent)
    }
}
