//! Many keys on three servers: how fast they go in, what they take, how soon they are back after
//! `kill -9` of everything, and whether the nodes stay responsive meanwhile.
//!
//! A node is one thread that takes turns; while a turn goes on, nobody else is served and no
//! heartbeat answered. So the interesting number is how long turns are, in each of these phases:
//!
//! | phase | what happens |
//! | --- | --- |
//! | load | every key is set once, through all nodes, in pipelines; memtables are flushed meanwhile |
//! | flush | a part of the keys is set again until every node has flushed, beside reads of others |
//! | DBSIZE, KEYS, SCAN | each walks over all keys, at the leader and at a follower |
//! | FLUSHALL | all of it goes |
//!
//! A last line tells what the machine did to three threads that did the same again and again, a fifth
//! of a millisecond each time: so many turns are long for no reason of their own.
//!
//! Between load and flush all servers are killed at one moment and started again, so that the walks
//! find their rows on disk.

use crate::cluster::{self, Cluster, Servers};
use crate::control;
use crate::metrics::Metrics;
use crate::resp::{Conn, Reply, encode};
use crate::turns::{Counts, Turns};
use crate::wait;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};
use std::{fmt, fs, io, thread};

/// How long any one answer may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Nodes.
const NODES: usize = 3;
/// A bound on turns while memtables are written out and tables merged.
const FLUSHING_MS: u64 = 5;
/// A bound on turns otherwise.
const TURN_MS: u64 = 10;

/// How much to do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Keys, of 16 bytes.
    pub keys: u64,
    /// Bytes of a value.
    pub value: usize,
    /// Connections that set them, spread over the nodes.
    pub connections: u64,
    /// Requests in flight on each.
    pub pipeline: u64,
    /// How long to measure in the end what the machine itself adds to the processor's time, if that
    /// is to be known.
    pub control: Option<Duration>,
}

impl Default for Plan {
    fn default() -> Plan {
        Plan { keys: 1_000_000, value: 100, connections: 24, pipeline: 256, control: None }
    }
}

/// A stretch of work.
#[derive(Clone, Debug)]
pub struct Phase {
    /// What was done.
    pub name: &'static str,
    /// How long it took.
    pub took: Duration,
    /// The nodes' turns meanwhile.
    pub turns: Turns,
    /// No turn may take longer than this.
    pub bound_ms: u64,
    /// Memtables written out meanwhile, and pieces of merging done.
    pub flushes: (u64, u64),
    /// What nodes said of turns that took long.
    pub told: Vec<String>,
}

/// What it came to.
#[derive(Clone, Debug)]
pub struct Report {
    plan: Plan,
    /// The phases, in order.
    pub phases: Vec<Phase>,
    /// Resident memory of each node after the load, and the most it ever was until the end.
    memory: Vec<(u64, u64)>,
    /// Bytes on disk of each node after the load.
    disk: Vec<u64>,
    /// From the start of all servers to the first read and to the first write, the former through
    /// every node.
    restart: (Duration, Duration),
    /// The same work again and again, on as many threads as there are nodes.
    control: Option<Counts>,
}

/// Does all of it. The cluster's answers are checked on the way.
///
/// # Panics
///
/// When an answer is not what it must be.
pub fn run(plan: &Plan) -> Report {
    let mut servers = Servers::start(NODES as u16);
    // Whoever waited for the servers left a key of its own.
    assert_eq!(ask(servers.addresses()[0], &["FLUSHALL"]), "OK");
    let mut phases = vec![phase(&servers, "load", FLUSHING_MS, || set(&servers, plan, 1))];
    let mut memory = memory(&servers);
    let disk = (0..NODES).map(|node| bytes_below(&servers.home(node).join("data"))).collect();
    let restart = restart(&mut servers, plan);
    phases.push(phase(&servers, "flush", FLUSHING_MS, || rewrite(&servers, plan)));
    phases.extend(walks(&servers, plan));
    for (known, now) in memory.iter_mut().zip(self::memory(&servers)) {
        known.1 = known.1.max(now.1);
    }
    drop(servers);
    let control = plan.control.map(|time| control::measure(NODES, time));
    Report { plan: plan.clone(), phases, memory, disk, restart, control }
}

fn ask(address: SocketAddr, words: &[&str]) -> String {
    let reply = Conn::open(address, PATIENCE).and_then(|mut conn| conn.call(words));
    reply.expect("an answer").text()
}

/// Works, and counts the turns meanwhile.
fn phase(servers: &Servers, name: &'static str, bound_ms: u64, work: impl FnOnce()) -> Phase {
    let look = || -> Vec<Metrics> {
        let of = |node| Metrics::of(servers.http(node)).expect("metrics");
        (0..NODES).map(of).collect()
    };
    let told_before: Vec<usize> = told(servers).iter().map(Vec::len).collect();
    let before = look();
    let started = Instant::now();
    work();
    let took = started.elapsed();
    let after = look();
    let more = |name| {
        let sum = |all: &[Metrics]| all.iter().map(|metrics| metrics.value(name)).sum::<f64>();
        (sum(&after) - sum(&before)) as u64
    };
    let flushes = (more("underpin_flushes_total"), more("underpin_compactions_total"));
    let turns = Turns::between(&before, &after);
    let told = told(servers).into_iter().zip(told_before);
    let told = told.flat_map(|(lines, before)| lines.into_iter().skip(before)).collect();
    Phase { name, took, turns, bound_ms, flushes, told }
}

/// Whether a line tells of such a turn; those that were long on the wall only are not for us.
fn is_long(line: &str) -> bool {
    let cpu_ms = || line.split("cpu_ms=").nth(1)?.split(' ').next()?.parse::<u64>().ok();
    line.contains("a turn took long") && cpu_ms().is_some_and(|ms| ms >= FLUSHING_MS)
}

/// What each node has said of turns that took long by the processor's time.
fn told(servers: &Servers) -> Vec<Vec<String>> {
    let of = |node| {
        let log = servers.process(node).map(|process| process.log()).unwrap_or_default();
        log.lines().filter(|line| is_long(line)).map(str::to_owned).collect()
    };
    (0..NODES).map(of).collect()
}

// ---- writes ------------------------------------------------------------------------------------

fn key(number: u64) -> String {
    format!("key:{number:012}")
}

/// A value that nothing can compress, different for every key and round.
fn value(number: u64, round: u64, bytes: usize) -> Vec<u8> {
    let mut state = (number << 8 | round).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    };
    (0..bytes).map(|_| next()).collect()
}

/// Sets every `step`th key, through all nodes.
fn set(servers: &Servers, plan: &Plan, step: u64) {
    let addresses = servers.addresses();
    thread::scope(|scope| {
        for number in 0..plan.connections {
            let address = addresses[number as usize % addresses.len()];
            let keys = (number..plan.keys / step).step_by(plan.connections as usize);
            let keys = keys.map(move |key| key * step);
            scope.spawn(move || set_some(address, plan, step, keys).expect("the load"));
        }
    });
}

/// Sets keys on one connection: two halves of the pipeline by turns, so that the server has work
/// while answers are read.
fn set_some(
    address: SocketAddr,
    plan: &Plan,
    round: u64,
    mut keys: impl Iterator<Item = u64>,
) -> io::Result<()> {
    let mut conn = Conn::open(address, PATIENCE)?;
    let half = (plan.pipeline / 2).max(1) as usize;
    let mut outstanding = 0;
    loop {
        let some: Vec<u64> = keys.by_ref().take(half).collect();
        let mut bytes = Vec::with_capacity(some.len() * (plan.value + 64));
        for number in &some {
            let value = value(*number, round, plan.value);
            bytes.extend(encode(&[b"SET", key(*number).as_bytes(), &value]));
        }
        conn.send_raw(&bytes)?;
        for _ in 0..outstanding {
            match conn.receive()? {
                Reply::Simple(_) => {}
                other => return Err(io::Error::other(format!("SET: {}", other.text()))),
            }
        }
        outstanding = some.len();
        if outstanding == 0 {
            return Ok(());
        }
    }
}

/// Sets a third of the keys again, beside reads of the others, until every node wrote a memtable
/// out.
fn rewrite(servers: &Servers, plan: &Plan) {
    let flushes = || -> Vec<u64> {
        let of = |node| Metrics::of(servers.http(node)).expect("metrics");
        (0..NODES).map(|node| of(node).value("underpin_flushes_total") as u64).collect()
    };
    let before = flushes();
    // Small loads fill no memtable, and need not.
    let most = 1 + plan.keys / 300_000;
    for _ in 0..most {
        thread::scope(|scope| {
            scope.spawn(|| set(servers, plan, 3));
            scope.spawn(|| read_some(servers.addresses()[0], plan));
        });
        if flushes().iter().zip(&before).all(|(now, before)| now > before) {
            return;
        }
    }
}

/// Reads keys that are not set again; their values must be those of the load.
fn read_some(address: SocketAddr, plan: &Plan) {
    let mut conn = Conn::open(address, PATIENCE).expect("a connection");
    let numbers: Vec<u64> = (0..2_000).map(|at| at * 7_919 % plan.keys / 3 * 3 + 1).collect();
    for number in numbers.into_iter().filter(|number| *number < plan.keys) {
        let reply = conn.call(&["GET", &key(number)]).expect("an answer");
        assert_eq!(reply, Reply::Bulk(value(number, 1, plan.value)), "{}", key(number));
    }
}

// ---- restart and walks -------------------------------------------------------------------------

/// Kills all servers at one moment and starts them again: how long until every one of them reads,
/// and until a write is done.
fn restart(servers: &mut Servers, plan: &Plan) -> (Duration, Duration) {
    servers.kill_all();
    let started = Instant::now();
    for node in 0..NODES {
        servers.start(node);
    }
    let last = key(plan.keys - 1);
    for address in servers.addresses() {
        wait::until("a read after the restart", PATIENCE, || {
            let mut conn = Conn::open(address, Duration::from_secs(2)).ok()?;
            matches!(conn.call(&["GET", &last]).ok()?, Reply::Bulk(_)).then_some(())
        });
    }
    let reads = started.elapsed();
    wait::until("a write after the restart", PATIENCE, || {
        let mut conn = Conn::open(servers.addresses()[0], Duration::from_secs(2)).ok()?;
        matches!(conn.call(&["SET", &last, "x"]).ok()?, Reply::Simple(_)).then_some(())
    });
    (reads, started.elapsed())
}

fn walks(servers: &Servers, plan: &Plan) -> Vec<Phase> {
    let leader = cluster::leader(servers);
    let addresses = servers.addresses();
    let (leads, follows) = (addresses[leader], addresses[(leader + 1) % NODES]);
    let open = |address| Conn::open(address, PATIENCE).expect("a connection");
    let size = || ask(leads, &["DBSIZE"]);
    let keys = |address| {
        let reply = open(address).call(&["KEYS", "*"]).expect("an answer");
        let found = reply.items().len() as u64;
        assert_eq!(found, plan.keys, "KEYS *: {}", &reply.text()[..reply.text().len().min(200)]);
    };
    vec![
        phase(servers, "DBSIZE", TURN_MS, || assert_eq!(size(), plan.keys.to_string())),
        phase(servers, "KEYS *, leader", TURN_MS, || keys(leads)),
        phase(servers, "KEYS *, follower", TURN_MS, || keys(follows)),
        phase(servers, "SCAN, leader", TURN_MS, || scan(&mut open(leads), plan)),
        phase(servers, "SCAN, follower", TURN_MS, || scan(&mut open(follows), plan)),
        phase(servers, "FLUSHALL", TURN_MS, || {
            assert_eq!(ask(follows, &["FLUSHALL"]), "OK");
            assert_eq!(size(), "0");
        }),
    ]
}

/// Walks over all keys in pages; none may be missing.
fn scan(conn: &mut Conn, plan: &Plan) {
    let (mut cursor, mut found) = (String::from("0"), BTreeSet::new());
    loop {
        let reply = conn.call(&["SCAN", &cursor, "COUNT", "1000"]).expect("a page");
        let [next, page] = reply.items() else { panic!("SCAN: {}", reply.text()) };
        for key in page.items() {
            found.insert(key.text());
        }
        cursor = next.text();
        if cursor == "0" {
            break;
        }
    }
    assert_eq!(found.len() as u64, plan.keys, "keys that SCAN found");
}

// ---- what it takes -----------------------------------------------------------------------------

/// Resident memory of each node, now and at most.
fn memory(servers: &Servers) -> Vec<(u64, u64)> {
    let of = |node| {
        let id = servers.process(node)?.id();
        let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
        let field = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name))?;
            Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
        };
        Some((field("VmRSS:")?, field("VmHWM:")?))
    };
    (0..NODES).map(|node| of(node).unwrap_or_default()).collect()
}

/// Bytes that a folder's files take on disk. Files that vanish meanwhile count nothing.
fn bytes_below(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let of = |entry: fs::DirEntry| match entry.metadata() {
        Ok(about) if about.is_dir() => bytes_below(&entry.path()),
        Ok(about) => about.blocks() * 512,
        Err(_) => 0,
    };
    entries.flatten().map(of).sum()
}

// ---- the report --------------------------------------------------------------------------------

impl Report {
    /// Phases in which turns exceeded their bound in processor's time.
    pub fn broken(&self) -> Vec<String> {
        let broken = self.phases.iter().filter(|phase| phase.turns.cpu.over(phase.bound_ms) > 0);
        let told = broken.map(|phase| {
            let (count, bound) = (phase.turns.cpu.over(phase.bound_ms), phase.bound_ms);
            format!("{}: {count} turns over {bound} ms of processor time", phase.name)
        });
        told.collect()
    }
}

fn mib(bytes: u64) -> u64 {
    bytes >> 20
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Plan { keys, value, connections, pipeline, control } = self.plan;
        let load = self.phases[0].took.as_secs_f64();
        writeln!(
            f,
            "{keys} keys of 16 B with {value} B, {connections} connections, pipelines of {pipeline}"
        )?;
        writeln!(f, "load        {:.0} keys/s", keys as f64 / load)?;
        let memory =
            self.memory.iter().map(|(now, most)| format!("{} ({})", mib(*now), mib(*most)));
        let memory: Vec<String> = memory.collect();
        writeln!(f, "memory      {} MiB a node after the load (at most)", memory.join(", "))?;
        let disk: Vec<String> = self.disk.iter().map(|bytes| mib(*bytes).to_string()).collect();
        writeln!(f, "disk        {} MiB a node", disk.join(", "))?;
        let (reads, writes) = self.restart;
        writeln!(f, "restart     {reads:.2?} to reads at every node, {writes:.2?} to a write\n")?;
        writeln!(f, "turns of all three nodes over 1, 2, 5, 10 ms:")?;
        writeln!(
            f,
            "{:<17} {:>8} {:>9} {:>8} {:>6}   {:<27}   {:<27}  bound",
            "phase", "seconds", "flushes", "merges", "turns", "   processor time", "   wall clock"
        )?;
        for phase in &self.phases {
            writeln!(
                f,
                "{:<17} {:>8.3} {:>9} {:>8} {:>6}   {}   {}   {:>2} ms",
                phase.name,
                phase.took.as_secs_f64(),
                phase.flushes.0,
                phase.flushes.1,
                phase.turns.cpu.all,
                phase.turns.cpu,
                phase.turns.wall,
                phase.bound_ms,
            )?;
        }
        if let (Some(time), Some(pieces)) = (control, self.control) {
            let seconds = time.as_secs_f64();
            let (name, all) = ("fixed work", pieces.all);
            writeln!(f, "{name:<17} {seconds:>8.3} {:>9} {:>8} {all:>6}   {pieces}", "", "")?;
        }
        for phase in self.phases.iter().filter(|phase| !phase.told.is_empty()) {
            writeln!(
                f,
                "\nlong turns in {}, as nodes told of them (one a second at most):",
                phase.name
            )?;
            phase.told.iter().try_for_each(|line| writeln!(f, "{line}"))?;
        }
        Ok(())
    }
}
