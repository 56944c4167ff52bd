//! The log's thread: whatever batches wait go out together, in one sync.
//!
//! While a sync runs, the node's turns go on and queue more batches; the next sync takes them all.
//! So under load each sync carries more, and its cost is shared by whoever came in between.
//!
//! What happens on a full disk is decided by the [`Line`] that batches wait in.

use super::{Elapsed, Post, Report};
use node::Room;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};
use storage::wal::line::{Line, cost};
use storage::wal::{Record, Wal, WalError};

/// Bytes of entries that share a sync: a larger pile would make its first batch wait too long.
const SYNC_BYTES: usize = 4 << 20;
/// How long the log is idle before it does what only idleness allows.
const IDLE: Duration = Duration::from_millis(200);

/// A turn's records.
pub(super) struct Job {
    pub ticket: u64,
    pub records: Vec<Record>,
}

/// Serves the log until the node is gone.
pub(super) fn run(wal: Wal, jobs: &Receiver<Job>, post: &Post) -> Result<(), String> {
    let mut log =
        Log { wal, post, line: Line::default(), clock: Elapsed::start(), room: Room::Ample };
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
    line: Line,
    clock: Elapsed,
    /// As the node was told.
    room: Room,
}

impl Log<'_> {
    /// How long to wait for news before looking after something else.
    fn patience(&self, tidy: bool) -> Duration {
        match self.line.retry_at() {
            Some(at) => self.clock.until(at),
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
        self.line.take_up(together.ticket, together.records);
    }

    /// Writes what waits, as far as there is room, and makes it durable.
    fn write(&mut self) -> Result<(), String> {
        let started = Instant::now();
        let ticket = self.line.write(&mut self.wal, self.clock.now()).map_err(stopped)?;
        self.tell_room();
        if self.post.killed() {
            return Ok(());
        }
        if self.wal.needs_sync() {
            self.wal.sync().map_err(stopped)?;
            self.post.metrics.log_syncs.one();
            self.post.metrics.log_sync.observe(started.elapsed());
        }
        if let Some(ticket) = ticket {
            self.post.report(Report::Logged(ticket));
        }
        Ok(())
    }

    /// A piece of housekeeping. True: there is more to do.
    fn maintain(&mut self) -> Result<bool, String> {
        let tight = self.post.tables_full.load(Ordering::Relaxed);
        let more = self.line.maintain(&mut self.wal, tight).map_err(stopped)?;
        self.tell_room();
        Ok(more)
    }

    fn tell_room(&mut self) {
        let room = self.line.room();
        if self.room != room {
            self.room = room;
            self.post.metrics.log_full.set(u64::from(room != Room::Ample));
            self.post.report(Report::LogRoom(room));
        }
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
