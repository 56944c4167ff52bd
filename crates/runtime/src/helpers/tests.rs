use super::*;
use base::{Bytes, Entry, EntryKind, Index, Random, ShardId, Stamp, Term};
use std::time::{Duration, Instant};
use storage::disk::SimDisk;
use storage::engine::{Engine, EngineOptions};
use storage::tables::ModelTables;
use storage::wal::WalOptions;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

pub(super) const SEGMENT: u64 = 256 << 10;

pub(super) struct Bench {
    pub disk: SimDisk,
    helpers: Option<Helpers>,
    threads: Vec<JoinHandle<()>>,
    reports: UnboundedReceiver<Report>,
    killed: Arc<AtomicBool>,
    index: u64,
    pub ticket: u64,
}

impl Bench {
    fn new() -> Bench {
        Bench::with(SimDisk::new(), Arc::new(ModelTables::new()))
    }

    pub fn with(disk: SimDisk, tables: Arc<dyn Tables>) -> Bench {
        Wal::create(&mut disk.clone(), &Bench::options()).unwrap();
        let (wal, _) = Wal::open(Box::new(disk.clone()), Bench::options()).unwrap();
        let (reports_in, reports) = unbounded_channel();
        let killed = Arc::new(AtomicBool::new(false));
        let metrics = Arc::new(Metrics::default());
        let (helpers, threads) =
            Helpers::start("test", wal, tables, reports_in, metrics, Arc::clone(&killed)).unwrap();
        Bench { disk, helpers: Some(helpers), threads, reports, killed, index: 0, ticket: 0 }
    }

    fn options() -> WalOptions {
        WalOptions { segment_bytes: SEGMENT, spares: 1, ..WalOptions::default() }
    }

    pub fn helpers(&mut self) -> &mut Helpers {
        self.helpers.as_mut().unwrap()
    }

    pub fn log(&mut self, bytes: usize) -> u64 {
        self.index += 1;
        let entry = Entry {
            term: Term(1),
            index: Index(self.index),
            stamp: Stamp::default(),
            kind: EntryKind::Command,
            data: Bytes::from(vec![7; bytes]),
        };
        self.give(Record::Entries { shard: ShardId(1), entries: vec![entry] })
    }

    pub fn give(&mut self, record: Record) -> u64 {
        self.ticket += 1;
        let ticket = self.ticket;
        self.helpers().log(ticket, vec![record]);
        ticket
    }

    /// A disk without room for anything new, and entries that wait for more than the reserve has.
    pub fn blocked(&mut self) {
        let started = Instant::now();
        while self.disk.used() < 2 * SEGMENT {
            assert!(started.elapsed() < Duration::from_secs(5), "the log makes no reserve");
            std::thread::sleep(Duration::from_millis(1));
        }
        self.disk.set_capacity(Some(self.disk.used()));
        while self.helpers().room() != Room::None {
            let ticket = self.log(16 << 10);
            while self.helpers().durable < ticket && self.helpers().room() != Room::None {
                let report = self.report().expect("the log says nothing");
                self.helpers().reported(report).unwrap();
            }
        }
        for _ in 0..3 {
            self.log(16 << 10);
        }
    }

    /// The next report, within five seconds.
    pub fn report(&mut self) -> Option<Report> {
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(5) {
            match self.reports.try_recv() {
                Ok(report) => return Some(report),
                Err(_) => std::thread::sleep(Duration::from_millis(1)),
            }
        }
        None
    }

    /// Takes reports in until everything up to `ticket` is durable.
    pub fn durable(&mut self, ticket: u64) {
        while self.helpers().durable < ticket {
            let report = self.report().expect("the log says nothing");
            self.helpers().reported(report).unwrap();
        }
    }

    pub fn end(mut self) {
        drop(self.helpers.take());
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
    }
}

#[test]
fn what_is_reported_as_durable_survives_the_power_going() {
    let mut bench = Bench::new();
    for _ in 0..20 {
        bench.log(100);
    }
    bench.durable(20);
    for _ in 0..20 {
        bench.log(100); // Some of these may get through.
    }
    let disk = bench.disk.after_crash(&mut Random::new(9));
    let (_, recovered) = Wal::open(Box::new(disk), Bench::options()).unwrap();
    assert!(recovered.shards[&ShardId(1)].entries.len() >= 20);
    bench.end();
}

#[test]
fn a_failed_sync_is_fatal() {
    let mut bench = Bench::new();
    let first = bench.log(100);
    bench.durable(first);
    bench.disk.fail_next_sync("wal");
    bench.log(100);
    let fatal = loop {
        match bench.report().expect("a failed sync is told") {
            Report::Fatal(text) => break text,
            Report::Logged(_) => panic!("a sync failed and the entries count as durable"),
            _ => {}
        }
    };
    assert!(fatal.contains("syncing wal 1"), "{fatal}");
    assert!(fatal.contains("check the disk, then start the node again"), "{fatal}");
    bench.end();
}

#[test]
fn a_full_disk_is_told_and_so_is_its_end() {
    let mut bench = Bench::new();
    let first = bench.log(100);
    bench.durable(first);
    bench.disk.set_capacity(Some(bench.disk.used()));
    // What the node has already taken up still goes to the reserve, if it fits there.
    for _ in 0..40 {
        bench.log(16 << 10);
        if bench.helpers().room() != Room::Ample {
            break;
        }
        while let Ok(report) = bench.reports.try_recv() {
            bench.helpers().reported(report).unwrap();
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let started = Instant::now();
    while bench.helpers().room() == Room::Ample {
        assert!(started.elapsed() < Duration::from_secs(5), "nobody says that the disk is full");
        let report = bench.report().expect("the log says nothing");
        bench.helpers().reported(report).unwrap();
    }
    bench.disk.set_capacity(None);
    let last = bench.log(100);
    bench.durable(last);
    while bench.helpers().room() != Room::Ample {
        let report = bench.report().expect("nobody says that there is room again");
        bench.helpers().reported(report).unwrap();
    }
    bench.end();
}

/// The reserve is used up and entries wait for room. The mark that brings it is handed over after
/// them: if it waited behind them, neither would ever be written.
#[test]
fn a_full_log_is_freed_by_the_mark_that_stands_behind_what_waits() {
    let mut bench = Bench::new();
    bench.blocked();
    let (last, durable) = (bench.ticket, bench.helpers().durable);
    assert!(durable < last);
    // All that is durable was flushed; ticket and index are the same number here.
    let start = base::LogStart { index: Index(durable), term: Term(1), ..Default::default() };
    let mark = bench.give(Record::LogStart { shard: ShardId(1), start });
    bench.durable(mark);
    assert_eq!(bench.helpers().durable, mark);
    let disk = bench.disk.clone();
    bench.end();
    let (_, recovered) = Wal::open(Box::new(disk), Bench::options()).unwrap();
    let log = &recovered.shards[&ShardId(1)];
    assert_eq!(log.log_start.index, Index(durable));
    let kept: Vec<u64> = log.entries.iter().map(|entry| entry.index.0).collect();
    assert_eq!(kept, (durable + 1..=last).collect::<Vec<_>>());
}

#[test]
fn a_node_with_a_full_log_can_be_stopped() {
    let mut bench = Bench::new();
    bench.blocked();
    let started = Instant::now();
    bench.end();
    assert!(started.elapsed() < Duration::from_secs(2), "took {:?}", started.elapsed());
}

#[test]
fn a_killed_node_writes_nothing_more() {
    let mut bench = Bench::new();
    let first = bench.log(100);
    bench.durable(first);
    bench.killed.store(true, Ordering::Relaxed);
    for _ in 0..5 {
        bench.log(100);
    }
    std::thread::sleep(Duration::from_millis(50));
    while let Ok(report) = bench.reports.try_recv() {
        assert!(!matches!(report, Report::Logged(_)));
    }
    bench.end();
}

#[test]
fn a_flush_waits_until_the_log_before_it_is_durable() {
    let mut bench = Bench::new();
    let mut engine = Engine::new(EngineOptions::default(), 0);
    engine.write([(Bytes::from_static(b"12345678key"), Some(Bytes::from_static(b"value")))]);
    let job = engine.freeze().expect("there is something to flush");
    let ticket = bench.log(100);
    bench.helpers().flush(job);
    assert_eq!(bench.helpers().waiting.len(), 1, "its entry may not be durable yet");
    bench.durable(ticket);
    assert!(bench.helpers().waiting.is_empty());
    let flushed = loop {
        if let Report::Input(input) = bench.report().expect("the flush is told") {
            break input;
        }
    };
    assert!(matches!(flushed, Input::Flushed { generation: 1, .. }), "{flushed:?}");
    bench.end();
}
