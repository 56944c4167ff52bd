//! Frames from hell, at real servers: what strangers send costs a bounded amount of memory, and a
//! client among them is served.
//!
//! The bound, as `runtime::Limits` has it: what clients may hold together (`[limits]
//! client_bytes_max`) and a margin, 64 KiB ahead per connection, and what waits for other nodes. The
//! rest is the node's own: rows, caches, log, which are there before the crowds come, or have
//! settings of their own.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};
use underpin_e2e::cluster::{self, Cluster, Servers};
use underpin_e2e::crowd::{Crowd, Script};
use underpin_e2e::process::Process;
use underpin_e2e::resp::{Conn, Outcome, encode};
use underpin_e2e::{place, wait};

const MIB: u64 = 1 << 20;
/// What clients may hold together: a tenth of the default, so that the crowds go well beyond it.
const CLIENT_BYTES_MAX: u64 = 64 * MIB;
/// What may wait for one other node: 64 and 16 MiB in its links' queues, 96 MiB of answers.
const PER_PEER_MIB: u64 = 176;
/// What a node's own work may add while it is written to: a memtable that fills while another is
/// flushed (32 MiB each), entries that are not committed (32 MiB), and what the allocator keeps.
const OWN_MIB: u64 = 128;
/// Values of 4 MiB that are there to be asked for.
const LARGE: usize = 16;

/// A client that minds its own business on one node.
struct Bystander {
    over: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Duration>>,
}

impl Bystander {
    fn start(address: SocketAddr, name: String) -> Bystander {
        let over = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&over);
        let work = move || {
            let mut conn = Conn::open(address, wait::READY).unwrap();
            let (key, mut took) = (format!("bystander:{name}"), Vec::new());
            for n in 0_u64.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                let (began, value) = (Instant::now(), n.to_string());
                done(&mut conn, &["SET", &key, &value]);
                assert_eq!(done(&mut conn, &["GET", &key]), value, "{key}");
                took.push(began.elapsed());
                sleep(Duration::from_millis(5));
            }
            took
        };
        Bystander { over, thread: spawn(work) }
    }

    /// How long each of its rounds took, the longest last.
    fn leave(self) -> Vec<Duration> {
        self.over.store(true, Ordering::Relaxed);
        let mut took = self.thread.join().expect("every answer was right");
        took.sort();
        took
    }
}

/// Asks until it is done, as a client does that knows it may: a leader may change meanwhile. The
/// connection stays.
fn done(conn: &mut Conn, words: &[&str]) -> String {
    loop {
        match Outcome::of(conn.call(words).expect("nobody closes a bystander's connection")) {
            Outcome::Done(reply) => return reply.text(),
            Outcome::Refused(text) => panic!("{words:?}: {text}"),
            _ => sleep(Duration::from_millis(10)),
        }
    }
}

fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 88_172_645_463_325_252_u64;
    let next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    std::iter::repeat_with(next).take(bytes).collect()
}

fn set(value: usize) -> Vec<u8> {
    encode(&[b"SET".as_slice(), b"hell", &vec![b'x'; value]])
}

/// What strangers send to the port for clients.
fn to_clients() -> Vec<Script> {
    let mut half = set(4 << 20);
    half.truncate(3 << 20);
    let large: Vec<u8> =
        (0..400).flat_map(|n| encode(&["GET", &format!("large:{}", n % LARGE)])).collect();
    let mget: Vec<String> =
        std::iter::once("MGET".into()).chain((0..4).map(|n| format!("large:{n}"))).collect();
    let hoard = [encode(&["MULTI"]), set(4 << 20).repeat(3)].concat();
    vec![
        Script::fast("noise", noise(64 << 10)),
        Script::fast("huge counts", b"*1048577\r\n*1000000000\r\n".repeat(100)),
        Script::fast("huge lengths", b"*2\r\n$3\r\nGET\r\n$536870912\r\nxxxx".to_vec()),
        Script::fast("endless lines", vec![b'x'; 8 << 20]),
        Script::fast("half requests", half),
        Script::slow("byte by byte", encode(&["SET", "slow", "value"]).repeat(20)),
        Script::fast("large values, never read", large),
        Script::fast("large batches, never read", encode(&mget).repeat(50)),
        Script::fast("keys, never read", encode(&["KEYS", "*"]).repeat(200)),
        Script::fast("large writes, never read", set(4 << 20).repeat(4)),
        Script::fast("transactions without an end", hoard),
    ]
}

/// What strangers send to the port for peers.
fn to_peers() -> Vec<Script> {
    vec![
        Script::fast("noise to peers", noise(64 << 10)),
        Script::fast("huge frames to peers", vec![0xff; 64 << 10]),
        Script::fast("half frames to peers", vec![1, 0]),
        Script::slow("byte by byte to peers", noise(4_000)),
    ]
}

fn raise_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

/// Puts the large values in place, and asks for them once from each node.
fn load(servers: &Servers) {
    let value = vec![b'v'; 4 << 20];
    for address in servers.addresses() {
        let mut conn = Conn::open(address, wait::READY).unwrap();
        for n in 0..LARGE {
            let key = format!("large:{n}");
            let set = conn.call(&[b"SET", key.as_bytes(), &value]).unwrap();
            assert_eq!(set.text(), "OK");
            assert_eq!(conn.call(&["GET", &key]).unwrap().text().len(), value.len());
        }
    }
    sleep(Duration::from_secs(1));
}

fn mib(process: &Process, fact: &str) -> u64 {
    process.fact(fact) >> 10
}

#[test]
fn strangers_cost_a_bounded_amount_and_a_client_among_them_is_served() {
    raise_descriptors();
    let count = place::number("UNDERPIN_HELL_CROWD", 40) as usize;
    let ms = place::number("UNDERPIN_HELL_MS", 1_000);
    let setting = format!("limits.client_bytes_max={CLIENT_BYTES_MAX}");
    let servers = Servers::formatted(3).set(&setting).started();
    load(&servers);
    let leader = cluster::leader(&servers);
    let follower = (leader + 1) % 3;
    let processes: Vec<&Process> = (0..3).map(|node| servers.process(node).unwrap()).collect();
    let before: Vec<u64> = processes.iter().map(|it| mib(it, "VmRSS")).collect();
    println!("before: {before:?} MiB; n{} leads", leader + 1);

    let crowds = to_clients().len() as u64 * count as u64;
    let bound = CLIENT_BYTES_MAX / MIB * 5 / 4 + crowds * 72 / 1024 + 2 * PER_PEER_MIB + OWN_MIB;
    println!("bound: {bound} MiB more");
    let mut worst = Duration::ZERO;
    let mut highest = before.clone();
    for script in to_clients().into_iter().map(Some).chain([None]) {
        for (node, who) in [(leader, "leader"), (follower, "follower")] {
            processes.iter().for_each(|it| it.forget_peak());
            let bystanders: Vec<Bystander> =
                (0..3).map(|n| Bystander::start(servers.addresses()[n], format!("{n}"))).collect();
            let (address, peer) = (servers.addresses()[node], servers.peer(node));
            let gathered: Vec<Crowd> = match &script {
                Some(script) => vec![Crowd::gather(address, count, script.clone())],
                // All of them at once, and those at the other door.
                None => {
                    let clients = to_clients().into_iter();
                    let clients = clients.map(|it| Crowd::gather(address, count, it));
                    let peers = to_peers().into_iter().map(|it| Crowd::gather(peer, count, it));
                    clients.chain(peers).collect()
                }
            };
            sleep(Duration::from_millis(if script.is_some() { ms } else { 5 * ms }));
            let told: Vec<String> = gathered.iter().map(Crowd::to_string).collect();
            drop(gathered);
            let took: Vec<Vec<Duration>> = bystanders.into_iter().map(Bystander::leave).collect();
            let longest = took.iter().filter_map(|it| it.last()).max().copied().unwrap_or_default();
            worst = worst.max(longest);
            let peaks: Vec<u64> = processes.iter().map(|it| mib(it, "VmHWM")).collect();
            highest.iter_mut().zip(&peaks).for_each(|(most, peak)| *most = (*most).max(*peak));
            println!(
                "{who}: {}\n  peaks {peaks:?} MiB, {} rounds of others, longest {longest:?}",
                told.join("; "),
                took.iter().map(Vec::len).sum::<usize>()
            );
        }
    }
    println!("peaks {highest:?} MiB, before {before:?}; longest round {worst:?}");
    for (node, (peak, before)) in highest.iter().zip(&before).enumerate() {
        let most = before + bound;
        assert!(*peak <= most, "n{} took {peak} MiB, which should be below {most}", node + 1);
    }
    assert!(worst < Duration::from_secs(10), "a client among strangers waited {worst:?}");
}
