//! The upkeep thread: memtables become tables, tables are merged. Writing a memtable out goes
//! first, since memory waits for it; a merge is done in pieces so that it never waits long.
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

use super::{Post, Report};
use node::Input;
use std::collections::{BTreeSet, VecDeque};
use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};
use storage::engine::{FlushJob, FrozenMemtable};
use storage::tables::{Reserved, Tables, TablesError};

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
/// With nothing to do, a look at the queue is due after this; a job ends it sooner.
const IDLE: Duration = Duration::from_secs(60);
/// What a table takes besides its rows, at least.
const TABLE_BYTES: u64 = 1 << 20;

/// What there is to do.
pub(super) enum Job {
    Flush(FlushJob),
    Compact {
        oldest: u64,
        dead: BTreeSet<u64>,
    },
    Discard(Vec<Arc<FrozenMemtable>>),
    /// The log is blocked until there are so many bytes for it; zero says that it goes on.
    LogNeeds(u64),
}

/// Looks after the tables until the node is gone.
pub(super) fn run(tables: &dyn Tables, jobs: &Receiver<Job>, post: &Post) -> Result<(), String> {
    let mut upkeep = Upkeep::new(tables, post);
    loop {
        match jobs.recv_timeout(upkeep.patience()) {
            Ok(job) => upkeep.take(job),
            Err(RecvTimeoutError::Timeout) => {}
            // The node is gone: what was not done yet is in the log.
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
        loop {
            match jobs.try_recv() {
                Ok(job) => upkeep.take(job),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return Ok(()),
            }
        }
        if post.killed() {
            return Ok(());
        }
        upkeep.work().map_err(|error| error.to_string())?;
    }
}

/// What the thread does at a time.
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

struct Upkeep<'a> {
    tables: &'a dyn Tables,
    post: &'a Post,
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
    flush_at: Instant,
    merge_at: Instant,
    tend_at: Instant,
    /// Until then the disk is for others.
    rest_until: Instant,
    /// The last merge did not fit.
    stuck: bool,
}

impl<'a> Upkeep<'a> {
    fn new(tables: &'a dyn Tables, post: &'a Post) -> Upkeep<'a> {
        let now = Instant::now();
        Upkeep {
            tables,
            post,
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
        }
    }

    fn take(&mut self, job: Job) {
        match job {
            Job::Flush(job) => self.flushes.push_back(job),
            Job::Compact { oldest, dead } => {
                self.compact = Some((oldest, dead));
                self.stuck = false;
                self.merge_at = self.merge_at.min(self.rest_until);
            }
            Job::Discard(tables) => drop(tables),
            Job::LogNeeds(bytes) => (self.log_needs, self.log_has) = (bytes, false),
        }
    }

    /// What there is to do, most urgent first, and when it may be done.
    ///
    /// The log comes after flushes, which free it without being lent anything. While it has room of
    /// the reserve's, or merges free some more, nothing is put back there.
    fn plan(&self) -> [Option<(Work, Instant)>; 4] {
        let flush = (!self.flushes.is_empty()).then_some((Work::Flush, self.flush_at));
        let blocked = self.log_needs > 0 && !self.log_has && self.flushes.is_empty();
        let lend = blocked.then_some((Work::Lend, self.flush_at));
        let merge = self.compact.is_some().then_some((Work::Merge, self.merge_at));
        let freeing = self.full && self.compact.is_some() && !self.stuck;
        let tend = self.reserved != Reserved::Whole && !self.log_has && !freeing;
        [flush, lend, merge, tend.then_some((Work::Tend, self.tend_at))]
    }

    fn patience(&self) -> Duration {
        let first = self.plan().into_iter().flatten().map(|(_, at)| at).min();
        first.map_or(IDLE, |at| at.saturating_duration_since(Instant::now()))
    }

    /// Does one thing.
    fn work(&mut self) -> Result<(), TablesError> {
        let now = Instant::now();
        let due = self.plan().into_iter().flatten().find(|(_, at)| *at <= now);
        match due.map(|(work, _)| work) {
            Some(Work::Flush) => self.flush(),
            Some(Work::Lend) => self.lend_to_log(),
            Some(Work::Merge) => self.merge(),
            Some(Work::Tend) => self.tend(),
            None => Ok(()),
        }
    }

    fn flush(&mut self) -> Result<(), TablesError> {
        let Some(job) = self.flushes.front() else { return Ok(()) };
        let bytes = job.rows.bytes() as u64;
        if self.full {
            self.lend(bytes + bytes / 8 + TABLE_BYTES)?;
        }
        let mut written = self.write_out();
        if written == Err(TablesError::Full) && self.lend(u64::MAX)? > 0 {
            written = self.write_out();
        }
        if written == Err(TablesError::Full) {
            self.set_full(true);
            self.flush_at = Instant::now() + FULL_PAUSE;
            return Ok(());
        }
        self.tend_at = Instant::now() + WISH_PAUSE;
        written
    }

    fn write_out(&mut self) -> Result<(), TablesError> {
        let Some(job) = self.flushes.front() else { return Ok(()) };
        let started = Instant::now();
        // An iterator over a memtable owns nothing; only its type can't say so, and `ingest` asks
        // that the iterator lives no less than what it yields.
        let mut rows = ManuallyDrop::new(job.rows.rows());
        let generation = self.tables.ingest(&mut *rows)?;
        self.post.metrics.flushes.one();
        self.post.metrics.flush.observe(started.elapsed());
        self.post.report(Report::Input(Input::Flushed { id: job.id, generation }));
        self.flushes.pop_front();
        Ok(())
    }

    /// Merges a piece. A merge needs room for its outcome before it gives its sources back. One that
    /// does not fit is no reason to refuse writes: it is left until the next flush asks again. On a
    /// full disk it has the reserve, and what it takes of the disk's time is bounded.
    fn merge(&mut self) -> Result<(), TablesError> {
        let Some((oldest, dead)) = self.compact.take() else { return Ok(()) };
        if self.full {
            self.lend(u64::MAX)?;
        }
        let started = Instant::now();
        let compacted = self.tables.compact(oldest, &dead);
        let took = started.elapsed();
        self.post.metrics.compactions.one();
        self.post.metrics.compaction.observe(took);
        self.stuck = compacted == Err(TablesError::Full);
        let again = match compacted {
            Ok(compacted) => compacted.more,
            Err(TablesError::Full) => {
                tracing::warn!("tables stay as they are: there is no room to merge them");
                self.full
            }
            Err(error) => return Err(error),
        };
        self.compact = again.then_some((oldest, dead));
        if self.full {
            let now = Instant::now();
            self.rest_until = now + took.max(MERGE_PAUSE);
            self.merge_at = if self.stuck { now + MERGE_RETRY } else { self.rest_until };
            self.tend_at = now;
        }
        Ok(())
    }

    fn tend(&mut self) -> Result<(), TablesError> {
        self.reserved = self.tables.tend()?;
        let now = Instant::now();
        match self.reserved {
            Reserved::Whole => self.set_full(false),
            Reserved::Growing => self.tend_at = if self.full { now } else { now + TEND_PAUSE },
            Reserved::Short => {
                self.set_full(true);
                self.tend_at = now + FULL_PAUSE;
            }
        }
        Ok(())
    }

    fn lend_to_log(&mut self) -> Result<(), TablesError> {
        self.lend(self.log_needs)?;
        self.log_has = true;
        Ok(())
    }

    /// Gives so much of the reserve to what comes next, or to the log; how much it was.
    fn lend(&mut self, bytes: u64) -> Result<u64, TablesError> {
        let lent = self.tables.lend(bytes)?;
        self.reserved = Reserved::Growing;
        self.set_full(true);
        Ok(lent)
    }

    fn set_full(&mut self, full: bool) {
        if self.full != full {
            self.full = full;
            self.merge_at = Instant::now();
            self.post.tables_full.store(full, Ordering::Relaxed);
            self.post.report(Report::TablesFull(full));
        }
    }
}
