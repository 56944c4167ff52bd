//! The upkeep thread: memtables become tables, tables are merged. Writing a memtable out goes
//! first, since memory waits for it; a merge is done in pieces so that it never waits long.

use super::{Post, Report};
use node::Input;
use std::collections::{BTreeSet, VecDeque};
use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};
use storage::engine::{FlushJob, FrozenMemtable};
use storage::tables::{Tables, TablesError};

/// A pause between two attempts on a full disk.
const FULL_PAUSE: Duration = Duration::from_millis(500);

/// What there is to do.
pub(super) enum Job {
    Flush(FlushJob),
    Compact { oldest: u64, dead: BTreeSet<u64> },
    Discard(Vec<Arc<FrozenMemtable>>),
}

/// Looks after the tables until the node is gone.
pub(super) fn run(tables: &dyn Tables, jobs: &Receiver<Job>, post: &Post) -> Result<(), String> {
    let mut upkeep = Upkeep { tables, post, flushes: VecDeque::new(), compact: None, full: false };
    loop {
        let idle = upkeep.flushes.is_empty() && upkeep.compact.is_none();
        if idle {
            match jobs.recv() {
                Ok(job) => upkeep.take(job),
                Err(_) => return Ok(()),
            }
        }
        loop {
            match jobs.try_recv() {
                Ok(job) => upkeep.take(job),
                Err(TryRecvError::Empty) => break,
                // The node is gone: what was not done yet is in the log.
                Err(TryRecvError::Disconnected) => return Ok(()),
            }
        }
        if post.killed() {
            return Ok(());
        }
        upkeep.work()?;
    }
}

struct Upkeep<'a> {
    tables: &'a dyn Tables,
    post: &'a Post,
    flushes: VecDeque<FlushJob>,
    /// The newest wish; it covers the ones before.
    compact: Option<(u64, BTreeSet<u64>)>,
    full: bool,
}

impl Upkeep<'_> {
    fn take(&mut self, job: Job) {
        match job {
            Job::Flush(job) => self.flushes.push_back(job),
            Job::Compact { oldest, dead } => self.compact = Some((oldest, dead)),
            Job::Discard(tables) => drop(tables),
        }
    }

    /// Does one thing. While nothing can be written out, merging gets its turn too: it may make
    /// room.
    fn work(&mut self) -> Result<(), String> {
        if self.flushes.is_empty() {
            return self.compact();
        }
        match self.flush() {
            Ok(()) => self.set_full(false),
            Err(TablesError::Full) => {
                self.set_full(true);
                self.compact()?;
                std::thread::sleep(FULL_PAUSE);
            }
            Err(error) => return Err(error.to_string()),
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), TablesError> {
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

    /// Merges a piece. A merge needs room for its outcome before it gives its sources back; one that
    /// does not fit is left until the next flush asks again, and is no reason to refuse writes.
    fn compact(&mut self) -> Result<(), String> {
        let Some((oldest, dead)) = &self.compact else { return Ok(()) };
        let started = Instant::now();
        let more = match self.tables.compact(*oldest, dead) {
            Ok(compacted) => compacted.more,
            Err(TablesError::Full) => {
                tracing::warn!("tables stay as they are: there is no room to merge them");
                false
            }
            Err(error) => return Err(error.to_string()),
        };
        self.post.metrics.compactions.one();
        self.post.metrics.compaction.observe(started.elapsed());
        if !more {
            self.compact = None;
        }
        Ok(())
    }

    fn set_full(&mut self, full: bool) {
        if self.full != full {
            self.full = full;
            self.post.tables_full.store(full, Ordering::Relaxed);
            self.post.report(Report::TablesFull(full));
        }
    }
}
