//! What waits, off the node's thread.
//!
//! Three threads, so that no wait stands behind a longer one: `log` writes and syncs the log,
//! `fetch` reads rows from the tables, `upkeep` writes memtables out and merges tables. They take
//! jobs from queues and answer with [`Report`]s. A thread that meets a fault reports it as fatal and
//! ends: a node never goes on after a failed sync or a changed byte.
//!
//! # Order between log and tables
//!
//! A memtable may be visible in the tables only when the log is durable past all that it holds;
//! otherwise a crash could leave rows of an entry that this node's log never had, and that it
//! promised to nobody. [`Helpers`] sees to it: a flush waits here until everything that was given
//! to the log before it is durable.

mod fetch;
mod log;
mod upkeep;

use crate::metrics::Metrics;
use base::Mono;
use node::{Fetch, FetchId, Input, Room};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use storage::engine::{FlushJob, FrozenMemtable};
use storage::tables::Tables;
use storage::wal::{Record, Wal};
use tokio::sync::mpsc::UnboundedSender;

/// What a helper thread tells the node's thread.
#[derive(Debug)]
pub(crate) enum Report {
    /// Everything up to this ticket is durable.
    Logged(u64),
    /// How much room the log has.
    LogRoom(Room),
    /// The tables have no room, or have room again.
    TablesFull(bool),
    /// Something else for the node.
    Input(Input),
    /// The node can't go on.
    Fatal(String),
}

/// What each helper thread has.
#[derive(Clone)]
struct Post {
    reports: UnboundedSender<Report>,
    metrics: Arc<Metrics>,
    killed: Arc<AtomicBool>,
    /// The tables have no room: the log should leave them what it can.
    tables_full: Arc<AtomicBool>,
}

impl Post {
    /// Tells the node's thread; if that is gone, so will this one be.
    fn report(&self, report: Report) {
        let _ = self.reports.send(report);
    }

    /// The node is to vanish: nothing more may reach the disk.
    fn killed(&self) -> bool {
        self.killed.load(Ordering::Relaxed)
    }

    fn spawn(
        &self,
        name: String,
        work: impl FnOnce(&Post) -> Result<(), String> + Send + 'static,
    ) -> std::io::Result<JoinHandle<()>> {
        let post = self.clone();
        std::thread::Builder::new().name(name).spawn(move || {
            let done = catch_unwind(AssertUnwindSafe(|| work(&post)));
            match done.unwrap_or_else(|panic| Err(panic_text(&*panic))) {
                Ok(()) => {}
                Err(text) => post.report(Report::Fatal(text)),
            }
        })
    }
}

/// What a panic said.
pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message");
    format!("an assertion failed, which is a defect of this program: {text}")
}

/// Time as a helper thread tells it to what decides there.
struct Elapsed(Instant);

impl Elapsed {
    fn start() -> Elapsed {
        Elapsed(Instant::now())
    }

    fn now(&self) -> Mono {
        Mono::default() + self.0.elapsed()
    }

    fn until(&self, at: Mono) -> Duration {
        Duration::from_nanos(at.since(self.now()))
    }
}

/// The node's side of its helper threads. Dropping it ends them once their queues are empty.
pub(crate) struct Helpers {
    log: mpsc::Sender<log::Job>,
    fetch: mpsc::Sender<(FetchId, Fetch)>,
    upkeep: mpsc::Sender<upkeep::Job>,
    /// The newest ticket given to the log, and the newest that is durable.
    given: u64,
    durable: u64,
    /// Flushes that wait until a ticket is durable.
    waiting: VecDeque<(u64, FlushJob)>,
    /// Bytes without which a blocked log can't go on.
    segment_bytes: u64,
    log_room: Room,
    tables_full: bool,
}

impl Helpers {
    /// Starts the threads of the node with this name.
    pub(crate) fn start(
        name: &str,
        wal: Wal,
        tables: Arc<dyn Tables>,
        reports: UnboundedSender<Report>,
        metrics: Arc<Metrics>,
        killed: Arc<AtomicBool>,
    ) -> std::io::Result<(Helpers, Vec<JoinHandle<()>>)> {
        let post = Post { reports, metrics, killed, tables_full: Arc::default() };
        let (log, log_jobs) = mpsc::channel();
        let (fetch, fetch_jobs) = mpsc::channel();
        let (upkeep, upkeep_jobs) = mpsc::channel();
        let fetch_tables = Arc::clone(&tables);
        let segment_bytes = wal.segment_bytes();
        let threads = vec![
            post.spawn(format!("log-{name}"), move |post| log::run(wal, &log_jobs, post))?,
            post.spawn(format!("fetch-{name}"), move |post| {
                fetch::run(&*fetch_tables, &fetch_jobs, post)
            })?,
            post.spawn(format!("upkeep-{name}"), move |post| {
                upkeep::run(&*tables, &upkeep_jobs, post)
            })?,
        ];
        let helpers = Helpers {
            log,
            fetch,
            upkeep,
            given: 0,
            durable: 0,
            waiting: VecDeque::new(),
            segment_bytes,
            log_room: Room::Ample,
            tables_full: false,
        };
        Ok((helpers, threads))
    }

    // A thread that is gone has reported why, so a job for it may be lost.

    pub(crate) fn log(&mut self, ticket: u64, records: Vec<Record>) {
        assert!(ticket > self.given, "log ticket {ticket} after {}", self.given);
        self.given = ticket;
        let _ = self.log.send(log::Job { ticket, records });
    }

    pub(crate) fn fetch(&self, id: FetchId, fetch: Fetch) {
        let _ = self.fetch.send((id, fetch));
    }

    pub(crate) fn flush(&mut self, job: FlushJob) {
        self.waiting.push_back((self.given, job));
        self.release();
    }

    pub(crate) fn compact(&self, oldest: u64, dead: Vec<u64>) {
        let _ = self.upkeep.send(upkeep::Job::Compact { oldest, dead: dead.into_iter().collect() });
    }

    /// Has memory freed elsewhere, since that takes a while.
    pub(crate) fn discard(&self, tables: Vec<Arc<FrozenMemtable>>) {
        let _ = self.upkeep.send(upkeep::Job::Discard(tables));
    }

    /// Takes a report in; what the node should know of it comes back.
    pub(crate) fn reported(&mut self, report: Report) -> Result<Option<Input>, String> {
        let before = self.room();
        match report {
            Report::Logged(ticket) => {
                assert!(self.durable < ticket && ticket <= self.given, "ticket {ticket} came back");
                self.durable = ticket;
                self.release();
                return Ok(Some(Input::Logged { ticket }));
            }
            Report::LogRoom(room) => self.log_has(room),
            Report::TablesFull(full) => self.tables_full = full,
            Report::Input(input) => return Ok(Some(input)),
            Report::Fatal(text) => return Err(text),
        }
        Ok((self.room() != before).then(|| Input::Room(self.room())))
    }

    /// A log that is blocked, or no longer, is told to the upkeep thread, which may have room for it.
    fn log_has(&mut self, room: Room) {
        let was = std::mem::replace(&mut self.log_room, room);
        if (was == Room::None) != (room == Room::None) {
            let needs = if room == Room::None { self.segment_bytes } else { 0 };
            let _ = self.upkeep.send(upkeep::Job::LogNeeds(needs));
        }
    }

    /// The log's room counts; tables without room are a full disk too.
    pub(crate) fn room(&self) -> Room {
        self.log_room.max(if self.tables_full { Room::Reserve } else { Room::Ample })
    }

    /// Sends on the flushes that need not wait for the log any more.
    fn release(&mut self) {
        while let Some((_, job)) = self.waiting.pop_front_if(|(after, _)| *after <= self.durable) {
            let _ = self.upkeep.send(upkeep::Job::Flush(job));
        }
    }
}

#[cfg(test)]
mod full;
#[cfg(test)]
mod tests;
