//! How long nothing is acknowledged when the leader dies.
//!
//! Eight clients write one key each, as fast as they are answered, two or three of them at each node.
//! Whoever loses its connection, is told of an error or waits for 250 ms goes to the next node. The
//! leader is killed (`kill -9`), and the outage is the longest time without any acknowledged write
//! from then until the killed node is started again, some seconds after writes go on. Then the next
//! leader is killed.
//!
//! Systems notice a dead leader in different ways: by silence for longer than a timeout, or sooner
//! because its connections break, as they do when a process dies and do not when a machine does. So
//! each is measured with its own timeouts and with equal ones.

use crate::chart::lines::{self, Panel};
use crate::op::Op;
use crate::options::Recovery;
use crate::progress::Progress;
use crate::run;
use crate::servers::etcd::Etcd;
use crate::servers::zookeeper::{SAMPLE, ZooKeeper};
use crate::spread::Spread;
use crate::subject::{Running, Subject};
use crate::verdict::{Aim, Verdict};
use crate::wire::blocking::Caller;
use crate::wire::{Answer, Protocol};
use serde_json::{Value, json};
use std::fmt::Write;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};
use underpin_e2e::cluster::Servers;
use underpin_e2e::outage::Outages;

/// Writers.
const WRITERS: usize = 8;
/// Leaders killed of one start of a system, before the next has its turn.
const KILLS: usize = 5;
/// How long a client waits for an answer before it asks another node. etcd keeps what it had sent to a
/// dead leader for six seconds before it says that it does not know; a client that waits for that
/// would measure this, and not when writes go on.
const PATIENCE: Duration = Duration::from_millis(250);
/// How long a connection may take; for ZooKeeper's a session is written.
const GREETING: Duration = Duration::from_secs(1);
/// Writes go on again when this many were acknowledged within a second…
const FLOW: usize = 5;
/// … and so long after the kill, so that an outage that is still to come is not missed.
const AFTER: Duration = Duration::from_secs(3);
/// No outage is waited for longer.
const LIMIT: Duration = Duration::from_secs(60);

/// Whose timeouts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Setting {
    /// The system's own.
    Default,
    /// A leader silent for 500 ms is given up, which is Underpin's own.
    Equal,
}

impl Setting {
    const ALL: [Setting; 2] = [Setting::Default, Setting::Equal];

    fn name(self) -> &'static str {
        match self {
            Setting::Default => "default",
            Setting::Equal => "equal",
        }
    }
}

/// What a subject is told in a setting.
fn words(subject: Subject, setting: Setting) -> &'static str {
    match (subject, setting) {
        (Subject::Etcd, Setting::Default) => "heartbeats of 100 ms, election timeout 1000 ms",
        (Subject::Etcd, Setting::Equal) => "--heartbeat-interval=50 --election-timeout=500",
        (Subject::ZooKeeper, Setting::Default) => "tickTime=2000 syncLimit=5",
        (Subject::ZooKeeper, Setting::Equal) => "tickTime=100 initLimit=100 syncLimit=5",
        _ => "raft.support_ms=500 raft.election_ms=100",
    }
}

fn start(subject: Subject, setting: Setting) -> Running {
    match (subject, setting) {
        (Subject::Etcd, Setting::Equal) => {
            let words: Vec<&str> = words(subject, setting).split(' ').collect();
            Running::Etcd(Etcd::start(&words))
        }
        (Subject::Etcd, Setting::Default) => Running::Etcd(Etcd::start(&[])),
        (Subject::ZooKeeper, Setting::Equal) => Running::ZooKeeper(ZooKeeper::start(&[
            ("tickTime", 100),
            ("initLimit", 100),
            ("syncLimit", 5),
        ])),
        (Subject::ZooKeeper, Setting::Default) => Running::ZooKeeper(ZooKeeper::start(&SAMPLE)),
        _ => {
            let mut servers = Servers::formatted(3);
            for setting in words(subject, setting).split(' ') {
                servers = servers.set(setting);
            }
            Running::Underpin(servers.started())
        }
    }
}

/// One killed leader.
#[derive(Clone, Debug)]
pub struct Kill {
    subject: Subject,
    setting: Setting,
    turn: usize,
    outage: Duration,
}

/// Measures and writes the results.
pub fn run(recovery: &Recovery) -> io::Result<()> {
    let folder = run::folder(&recovery.out, &recovery.name)?;
    let kills = measure(recovery, &folder)?;
    println!("{}", page(&kills));
    verdicts(&kills).iter().for_each(|verdict| println!("{verdict}"));
    println!("written to {}", folder.display());
    Ok(())
}

/// The same into a folder, for a run that measures more than this.
pub fn measure(recovery: &Recovery, folder: &Path) -> io::Result<Vec<Kill>> {
    let subjects: Vec<Subject> =
        [Subject::Underpin].into_iter().chain(recovery.peers.clone()).collect();
    let runs = (subjects.len() * Setting::ALL.len() * recovery.times) as u64;
    let progress = Progress::new(runs);
    let mut kills = vec![];
    let turns = recovery.times.div_ceil(KILLS);
    for turn in 1..=turns {
        let count = KILLS.min(recovery.times - (turn - 1) * KILLS);
        for setting in Setting::ALL {
            let mut order = subjects.clone();
            if turn.is_multiple_of(2) {
                order.reverse();
            }
            for subject in order {
                progress.say(&format!("turn {turn} {} {}", subject.name(), setting.name()));
                let mut told = |outage: Duration| {
                    let (name, ms) = (subject.name(), outage.as_millis());
                    progress
                        .step(&format!("turn {turn} {name:<10} {:<8} {ms:>6} ms", setting.name()));
                    kills.push(Kill { subject, setting, turn, outage });
                };
                take(subject, setting, count, &mut told)?;
            }
        }
    }
    progress.end();
    let raw: String = kills.iter().map(|kill| kill.json() + "\n").collect();
    fs::write(folder.join(RAW), raw)?;
    fs::write(folder.join("recovery.svg"), plot(&kills))?;
    fs::write(folder.join("recovery.md"), page(&kills))?;
    Ok(kills)
}

/// The file of raw data.
const RAW: &str = "recovery.jsonl";

/// The kills of a folder; none if no leader was killed for it.
pub fn read(folder: &Path) -> io::Result<Vec<Kill>> {
    let Ok(raw) = fs::read_to_string(folder.join(RAW)) else { return Ok(vec![]) };
    let kills: Option<Vec<Kill>> = raw.lines().map(Kill::parse).collect();
    kills.ok_or_else(|| io::Error::other(format!("a line of {RAW} is no kill")))
}

/// Who was killed, in the order of [`Subject::ALL`].
fn subjects(kills: &[Kill]) -> Vec<Subject> {
    let killed = |subject: &Subject| kills.iter().any(|kill| kill.subject == *subject);
    Subject::ALL.into_iter().filter(killed).collect()
}

impl Kill {
    fn json(&self) -> String {
        json!({
            "subject": self.subject.name(),
            "setting": self.setting.name(),
            "turn": self.turn,
            "outage_ms": self.outage.as_secs_f64() * 1e3,
        })
        .to_string()
    }

    fn parse(line: &str) -> Option<Kill> {
        let line: Value = serde_json::from_str(line).ok()?;
        let setting = line["setting"].as_str()?;
        Some(Kill {
            subject: Subject::named(line["subject"].as_str()?)?,
            setting: Setting::ALL.into_iter().find(|known| known.name() == setting)?,
            turn: line["turn"].as_u64()? as usize,
            outage: Duration::try_from_secs_f64(line["outage_ms"].as_f64()? / 1e3).ok()?,
        })
    }
}

/// Starts a system and kills its leader so many times.
fn take(
    subject: Subject,
    setting: Setting,
    count: usize,
    told: &mut dyn FnMut(Duration),
) -> io::Result<()> {
    let mut running = start(subject, setting);
    let writers = Writers::start(&running.addresses(crate::case::At::Spread), subject.protocol());
    let mut acknowledged = vec![];
    writers.flow(&mut acknowledged, Instant::now())?;
    for _ in 0..count {
        acknowledged.clear();
        let leader = running.leader();
        let killed = Instant::now();
        running.kill(leader);
        writers.flow(&mut acknowledged, killed)?;
        let outage = Outages::find(&[killed], std::mem::take(&mut acknowledged), Instant::now());
        told(outage.percentile(100.0));
        running.restart(leader);
        writers.flow(&mut acknowledged, Instant::now())?;
    }
    Ok(())
}

/// Clients that write until they are dropped.
struct Writers {
    done: Arc<AtomicBool>,
    acknowledged: Receiver<Instant>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Writers {
    fn start(addresses: &[SocketAddr], protocol: Protocol) -> Writers {
        let done = Arc::new(AtomicBool::new(false));
        let (sender, acknowledged) = mpsc::channel();
        let writer = |index: usize| {
            let (addresses, done, sender) = (addresses.to_vec(), done.clone(), sender.clone());
            thread::spawn(move || write(index, &addresses, protocol, &done, &sender))
        };
        let threads = (0..WRITERS).map(writer).collect();
        Writers { done, acknowledged, threads }
    }

    /// Waits until writes go on, and gathers when they were acknowledged.
    fn flow(&self, acknowledged: &mut Vec<Instant>, since: Instant) -> io::Result<()> {
        loop {
            thread::sleep(Duration::from_millis(50));
            acknowledged.extend(self.acknowledged.try_iter());
            let now = Instant::now();
            let lately = |at: &&Instant| now.duration_since(**at) < Duration::from_secs(1);
            let flows = acknowledged.iter().rev().filter(lately).count() >= FLOW;
            if flows && since.elapsed() >= AFTER {
                return Ok(());
            }
            if since.elapsed() > LIMIT {
                return Err(io::Error::other(format!("no writes for {} s", LIMIT.as_secs())));
            }
        }
    }
}

impl Drop for Writers {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // Who panicked has said so.
            let _ = thread.join();
        }
    }
}

/// One writer: from node to node as they fail.
fn write(
    index: usize,
    addresses: &[SocketAddr],
    protocol: Protocol,
    done: &AtomicBool,
    acknowledged: &Sender<Instant>,
) {
    let key = index as u64 + 1;
    for turn in index.. {
        let address = addresses[turn % addresses.len()];
        let session = || -> io::Result<()> {
            let mut caller = Caller::open(address, protocol, GREETING)?.patient(PATIENCE);
            let mut op = Op::Create(key);
            while !done.load(Ordering::Relaxed) {
                if caller.call(op, &[b'x'; 100])? != Answer::Fine {
                    return Ok(()); // Another node may know better.
                }
                let _ = acknowledged.send(Instant::now());
                op = Op::Set(key);
            }
            Ok(())
        };
        let _ = session();
        if done.load(Ordering::Relaxed) {
            return;
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Outages of a subject and setting.
fn of(kills: &[Kill], subject: Subject, setting: Setting) -> impl Iterator<Item = &Kill> {
    kills.iter().filter(move |kill| (kill.subject, kill.setting) == (subject, setting))
}

/// The share of outages that a place on the curve stands for.
const PLACES: [f64; 5] = [0.0, 0.25, 0.5, 0.75, 1.0];

/// The outages at [`PLACES`], in milliseconds.
fn quantiles(kills: &[Kill], subject: Subject, setting: Setting) -> Vec<f64> {
    let ms = |kill: &Kill| kill.outage.as_secs_f64() * 1e3;
    let mut all: Vec<f64> = of(kills, subject, setting).map(ms).collect();
    all.sort_by(f64::total_cmp);
    let at = |place: &f64| all.get((place * (all.len().max(1) - 1) as f64).round() as usize);
    PLACES.iter().filter_map(at).copied().collect()
}

/// A table of outages.
pub fn page(kills: &[Kill]) -> String {
    let mut page = String::from(
        "## Recovery\n\nTime without an acknowledged write after the leader is killed, in ms.\n\n\
         | subject | setting | leaders killed | shortest | quarter | median | three quarters | longest |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for setting in Setting::ALL {
        for subject in subjects(kills) {
            let count = of(kills, subject, setting).count();
            let quantiles = quantiles(kills, subject, setting);
            let cells: Vec<String> = quantiles.iter().map(|ms| format!("{ms:.0}")).collect();
            let (name, words) = (subject.name(), words(subject, setting));
            let setting = setting.name();
            writeln!(page, "| {name} | {setting}: {words} | {count} | {} |", cells.join(" | "))
                .expect("a String takes everything");
        }
    }
    page
}

fn plot(kills: &[Kill]) -> String {
    let panel = |setting: Setting| Panel {
        name: format!("{} timeouts", setting.name()),
        axes: ("from the shortest to the longest outage".into(), "ms".into()),
        places: ["shortest", "quarter", "median", "three quarters", "longest"]
            .map(String::from)
            .to_vec(),
        curves: subjects(kills)
            .into_iter()
            .map(|subject| (subject.name(), quantiles(kills, subject, setting)))
            .collect(),
    };
    let about = "time without an acknowledged write";
    lines::draw("After the leader is killed", about, &Setting::ALL.map(panel))
}

/// Underpin's median over each peer's, turn by turn. "Must show" names no number here; who is not
/// slower has shown it.
pub fn verdicts(kills: &[Kill]) -> Vec<Verdict> {
    let turns = kills.iter().map(|kill| kill.turn).max().unwrap_or(0);
    let mut verdicts = vec![];
    for setting in Setting::ALL {
        for peer in Recovery::PEERS {
            let median = |subject: Subject, turn: usize| {
                let kills = of(kills, subject, setting).filter(|kill| kill.turn == turn);
                Spread::of(kills.map(|kill| kill.outage.as_secs_f64())).map(|ms| ms.median)
            };
            let ratio = |turn| Some(median(Subject::Underpin, turn)? / median(peer, turn)?);
            verdicts.push(Verdict {
                line: 8,
                what: format!("outage, {} timeouts, underpin / {}", setting.name(), peer.name()),
                got: Spread::of((1..=turns).filter_map(ratio)),
                aim: Aim::Below(1.0),
            });
        }
    }
    verdicts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chart::tests::assert_well_formed;
    use std::io::{BufReader, Write as _};
    use std::net::TcpListener;
    use underpin_e2e::resp::read_reply;

    fn kill(subject: Subject, turn: usize, ms: u64) -> Kill {
        Kill { subject, setting: Setting::Default, turn, outage: Duration::from_millis(ms) }
    }

    #[test]
    fn outages_are_compared_turn_by_turn() {
        let kills = [
            kill(Subject::Underpin, 1, 500),
            kill(Subject::Underpin, 1, 700),
            kill(Subject::Etcd, 1, 1_200),
            kill(Subject::Etcd, 2, 900),
            kill(Subject::Underpin, 2, 600),
        ];
        let verdicts = verdicts(&kills);
        let got = verdicts[0].got.unwrap();
        assert!((got.low - 0.5).abs() < 1e-9 && (got.high - 2.0 / 3.0).abs() < 1e-9, "{got}");
        assert!(
            verdicts[0].holds() && !verdicts[2].holds(),
            "nothing was measured with equal ones"
        );
        let read: Option<Vec<Kill>> = kills.iter().map(|kill| Kill::parse(&kill.json())).collect();
        assert_eq!(super::page(&read.unwrap()), super::page(&kills));
        let page = page(&kills);
        assert!(page.contains("| 3 | 500 | 600 | 600 | 700 | 700 |"), "{page}");
        assert_well_formed(&plot(&kills));
    }

    #[test]
    fn writers_go_from_a_node_that_fails_to_one_that_does_not() {
        let dead = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let alive = listener.local_addr().unwrap();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                thread::spawn(move || {
                    let mut input = BufReader::new(stream.try_clone().unwrap());
                    let mut stream = stream;
                    while read_reply(&mut input).is_ok() && stream.write_all(b"+OK\r\n").is_ok() {}
                });
            }
        });
        let writers = Writers::start(&[dead, alive], Protocol::Resp);
        let (mut acknowledged, started) = (vec![], Instant::now());
        writers.flow(&mut acknowledged, started).unwrap();
        assert!(started.elapsed() >= AFTER && acknowledged.len() >= FLOW);
    }
}
