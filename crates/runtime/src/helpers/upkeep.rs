//! The upkeep thread: memtables become tables, tables are merged. What is done when, and what
//! happens on a full disk, is [`Upkeep`]'s.

use super::{Elapsed, Post, Report};
use node::Input;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::Duration;
use storage::engine::{FlushJob, FrozenMemtable};
use storage::tables::Tables;
use storage::tables::upkeep::{Done, TABLE_BYTES, Upkeep};

/// With nothing to do, a look at the queue is due after this; a job ends it sooner.
const IDLE: Duration = Duration::from_secs(60);

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
    let clock = Elapsed::start();
    let mut upkeep = Upkeep::new(clock.now(), TABLE_BYTES);
    loop {
        match jobs.recv_timeout(upkeep.due().map_or(IDLE, |at| clock.until(at))) {
            Ok(job) => take(&mut upkeep, job),
            Err(RecvTimeoutError::Timeout) => {}
            // The node is gone: what was not done yet is in the log.
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
        loop {
            match jobs.try_recv() {
                Ok(job) => take(&mut upkeep, job),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return Ok(()),
            }
        }
        if post.killed() {
            return Ok(());
        }
        let worked = upkeep.work(tables, &|| clock.now());
        upkeep.done().into_iter().for_each(|done| tell(done, post));
        worked.map_err(|error| error.to_string())?;
    }
}

fn take(upkeep: &mut Upkeep, job: Job) {
    match job {
        Job::Flush(job) => upkeep.flush(job),
        Job::Compact { oldest, dead } => upkeep.compact(oldest, dead),
        Job::Discard(tables) => drop(tables),
        Job::LogNeeds(bytes) => upkeep.log_needs(bytes),
    }
}

fn tell(done: Done, post: &Post) {
    match done {
        Done::Flushed { id, generation, took } => {
            post.metrics.flushes.one();
            post.metrics.flush.observe(took);
            post.report(Report::Input(Input::Flushed { id, generation }));
        }
        Done::Merged { fits, took } => {
            post.metrics.compactions.one();
            post.metrics.compaction.observe(took);
            if !fits {
                tracing::warn!("tables stay as they are: there is no room to merge them");
            }
        }
        Done::Full(full) => {
            post.tables_full.store(full, Ordering::Relaxed);
            post.report(Report::TablesFull(full));
        }
        Done::Unfit | Done::Lent(_) => {}
    }
}
