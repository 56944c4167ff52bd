//! Redis as the judge: the same random requests to Redis and to Underpin, and every byte of the
//! replies compared.
//!
//! [`generate`] makes requests from a seed: each command of ours with arguments that mostly fit,
//! some that don't, broken frames, pipelines, transactions, watched keys that another connection
//! changes. [`compare`] sends each to both servers, on a few pairs of connections that come and go,
//! and reads the replies as bytes. Where they differ, [`explain`] must know why; each of its entries
//! stands in `docs/compat/redis.md`. Anything else is a difference, and printed so that it can be
//! sent again by hand.
//!
//! After a difference both servers are emptied, so that one mistake is told once.

pub mod explain;
pub mod generate;
mod random;
mod raw;

use generate::{Generator, Item};
use raw::Wire;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;

/// Pairs of connections that are open at a time.
const PAIRS: usize = 4;
/// Differences that are kept; more are only counted.
const KEPT_MAX: usize = 30;

/// How often a command was sent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Count {
    /// Requests.
    pub sent: u64,
    /// Those that Redis did not answer with an error.
    pub succeeded: u64,
}

/// What came out.
#[derive(Debug, Default)]
pub struct Report {
    /// For each command, how often it was sent.
    pub commands: BTreeMap<String, Count>,
    /// For each explanation, how often it was needed.
    pub explained: BTreeMap<&'static str, u64>,
    /// The first differences without an explanation.
    pub differences: Vec<String>,
    /// How many there were.
    pub different: u64,
}

impl Report {
    /// All commands together.
    pub fn total(&self) -> Count {
        self.commands.values().fold(Count::default(), |all, one| Count {
            sent: all.sent + one.sent,
            succeeded: all.succeeded + one.succeeded,
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<22} {:>8} {:>10}", "command", "sent", "succeeded")?;
        for (name, count) in &self.commands {
            writeln!(f, "{name:<22} {:>8} {:>10}", count.sent, count.succeeded)?;
        }
        let total = self.total();
        let share = 100.0 * total.succeeded as f64 / total.sent.max(1) as f64;
        writeln!(f, "{:<22} {:>8} {:>10} ({share:.1} %)", "all", total.sent, total.succeeded)?;
        for (reason, times) in &self.explained {
            writeln!(f, "explained {times} times: {reason}")?;
        }
        writeln!(f, "unexplained differences: {}", self.different)?;
        self.differences.iter().try_for_each(|difference| writeln!(f, "{difference}"))
    }
}

/// A connection to each server.
struct Pair {
    redis: Wire,
    ours: Wire,
}

impl Pair {
    fn open(redis: SocketAddr, ours: SocketAddr) -> io::Result<Pair> {
        Ok(Pair { redis: Wire::open(redis)?, ours: Wire::open(ours)? })
    }

    /// Sends `bytes` to both, and reads so many replies from each.
    fn ask(&mut self, bytes: &[u8], replies: usize) -> io::Result<(Replies, Replies)> {
        self.redis.send(bytes)?;
        self.ours.send(bytes)?;
        Ok((self.redis.receive(replies), self.ours.receive(replies)))
    }
}

/// Replies as bytes, one after the other; "closed" or "silent" stand for what did not come.
pub type Replies = Vec<Vec<u8>>;

/// Sends about `requests` random requests of `seed` to both servers.
pub fn compare(
    redis: SocketAddr,
    ours: SocketAddr,
    seed: u64,
    requests: u64,
) -> io::Result<Report> {
    let mut generator = Generator::new(seed);
    let mut report = Report::default();
    let mut pairs = (0..PAIRS).map(|_| Pair::open(redis, ours)).collect::<io::Result<Vec<_>>>()?;
    empty(&mut pairs)?;
    let mut sent = 0;
    while sent < requests {
        let item = generator.item();
        sent += item.names.len() as u64;
        let place = generator.random().below(PAIRS as u64) as usize;
        let same = run(&item, &mut pairs, place, &mut report)?;
        if !same {
            pairs.clear();
            pairs = (0..PAIRS).map(|_| Pair::open(redis, ours)).collect::<io::Result<Vec<_>>>()?;
            empty(&mut pairs)?;
        } else if item.closes || generator.random().below(200) == 0 {
            pairs[place] = Pair::open(redis, ours)?;
        }
    }
    Ok(report)
}

fn empty(pairs: &mut [Pair]) -> io::Result<()> {
    pairs[0].ask(b"FLUSHALL\r\n", 1)?;
    Ok(())
}

/// Sends one item; whether both answered alike, or unlike for a known reason.
fn run(item: &Item, pairs: &mut [Pair], place: usize, report: &mut Report) -> io::Result<bool> {
    let mut all = (Replies::new(), Replies::new());
    for step in &item.steps {
        let place = if step.elsewhere { (place + 1) % pairs.len() } else { place };
        let (redis, ours) = pairs[place].ask(&step.bytes, step.replies)?;
        all.0.extend(redis);
        all.1.extend(ours);
    }
    for (name, reply) in item.names.iter().zip(&all.0) {
        let count = report.commands.entry(name.clone()).or_default();
        count.sent += 1;
        count.succeeded += u64::from(reply.first() != Some(&b'-') && reply.first() != Some(&b'('));
    }
    if item.closes {
        all.0.push(pairs[place].redis.rest());
        all.1.push(pairs[place].ours.rest());
    }
    if all.0 == all.1 {
        return Ok(true);
    }
    match explain::explain(item, &all.0, &all.1) {
        Ok(reasons) => {
            reasons
                .into_iter()
                .for_each(|reason| *report.explained.entry(reason).or_default() += 1);
            make_equal(item, &mut pairs[place])?;
            Ok(true)
        }
        Err(_) if holds_hexadecimal(item, &all.1, &mut pairs[place])? => {
            *report.explained.entry(explain::DECIMALS).or_default() += 1;
            make_equal(item, &mut pairs[place])?;
            Ok(true)
        }
        Err(at) => {
            report.different += 1;
            if report.differences.len() < KEPT_MAX {
                report.differences.push(tell(item, at, &all.0, &all.1));
            }
            Ok(false)
        }
    }
}

/// Whether we refused to add to a value that earlier requests made a hexadecimal number, as Redis
/// would have read it: the refusal left it as it was.
fn holds_hexadecimal(item: &Item, ours: &Replies, pair: &mut Pair) -> io::Result<bool> {
    let [command, key, ..] = item.words.as_slice() else { return Ok(false) };
    let refused = ours.iter().any(|reply| reply == explain::NOT_A_FLOAT);
    if !refused || !command.eq_ignore_ascii_case(b"INCRBYFLOAT") {
        return Ok(false);
    }
    let (_, held) = pair.ask(&generate::frame(&[b"GET".to_vec(), key.clone()]), 1)?;
    let held = held.first().and_then(|reply| raw::bulk(reply));
    Ok(held.is_some_and(|held| {
        let digits = held.strip_prefix(b"-").unwrap_or(held);
        digits.len() > 2 && digits[..2].eq_ignore_ascii_case(b"0x")
    }))
}

/// After an explained difference of a value, both go on with that of Redis.
fn make_equal(item: &Item, pair: &mut Pair) -> io::Result<()> {
    let Some(key) = &item.unequal else { return Ok(()) };
    let get = generate::frame(&[b"GET".to_vec(), key.clone()]);
    let (redis, ours) = pair.ask(&get, 1)?;
    if redis != ours
        && let [reply] = redis.as_slice()
        && let Some(value) = raw::bulk(reply)
    {
        let words = [b"SET".to_vec(), key.clone(), value.to_vec(), b"KEEPTTL".to_vec()];
        pair.ours.send(&generate::frame(&words))?;
        pair.ours.receive(1);
    }
    Ok(())
}

fn tell(item: &Item, at: usize, redis: &Replies, ours: &Replies) -> String {
    let show = |bytes: &[u8]| {
        let end = bytes.len().min(300);
        format!("\"{}\"", bytes[..end].escape_ascii())
    };
    let sent: Vec<String> = item.steps.iter().map(|step| show(&step.bytes)).collect();
    let reply = |replies: &Replies| replies.get(at).map_or("nothing".into(), |reply| show(reply));
    format!(
        "sent     {}\n  reply {at} of Redis    {}\n  reply {at} of Underpin {}",
        sent.join("\n         "),
        reply(redis),
        reply(ours)
    )
}
