//! What clients do, and what they remember of it.
//!
//! A client is one sequence of requests: it asks, waits, and concludes before it asks again, but for
//! those of [`pipeline`], who ask several things before they wait. It may
//! run out of patience, come back on another node, and try again where that is safe. What it saw is
//! written down in true time, and judged when the run is over (`crate::check`).

pub mod bank;
pub mod closer;
pub mod counter;
pub mod expiry;
pub mod filler;
pub mod pipeline;
pub mod probe;
pub mod register;
pub mod scan;
pub mod session;

pub use closer::Closer;

use crate::check::bank::Look;
use crate::check::counter::Increment;
use crate::check::expiry::Spell;
use crate::check::linear::Op;
use crate::check::session::Session;
use crate::marks::Marks;
use crate::profile::Profile;
use base::{Bytes, ConnId, Random};
use std::collections::BTreeMap;
use wire::resp::{Replies, Value};

/// Clients that may work on one register at a time; the checker's cost rises steeply with it.
pub const CLIENTS_PER_KEY: usize = 5;

/// What became of a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// An answer.
    Reply(Value),
    /// It did not happen.
    NotDone,
    /// It may have happened, or may yet.
    Unknown,
}

impl Outcome {
    /// What a reply lets the client conclude.
    pub fn of(reply: Value) -> Outcome {
        match &reply {
            Value::Error(text) => match text.split(' ').next() {
                Some("TRYAGAIN" | "CLUSTERDOWN" | "OOM") => Outcome::NotDone,
                Some("UNKNOWN") => Outcome::Unknown,
                _ => Outcome::Reply(reply),
            },
            _ => Outcome::Reply(reply),
        }
    }
}

/// One client's part.
pub trait Work {
    /// It has a new connection.
    fn connected(&mut self) {}

    /// The next request; none for now. In peace, what is not finished must be, and nothing new need
    /// begin.
    fn next(&mut self, now: u64, peace: bool, random: &mut Random) -> Option<Vec<Bytes>>;

    /// A request that is sent right behind the last one, without waiting for its answer, on the same
    /// connection; none if there is nothing more.
    fn behind(&mut self, now: u64, random: &mut Random) -> Option<Vec<Bytes>> {
        let _ = (now, random);
        None
    }

    /// What became of it; of several the first that has no outcome yet.
    fn outcome(&mut self, now: u64, outcome: Outcome);

    /// A pause before the next request.
    fn pause(&self, random: &mut Random, longest: u64) -> u64 {
        random.below(longest) + 1
    }

    /// Whether a request was answered since peace, for those who are asked.
    fn served(&self) -> bool {
        true
    }

    /// Whether nothing is left to be finished.
    fn finished(&self) -> bool {
        true
    }

    /// Something that must never be seen, if it was.
    fn wrong(&mut self) -> Option<String> {
        None
    }

    /// Hands over what it saw.
    fn report(&mut self, histories: &mut Histories);
}

/// What all clients saw.
#[derive(Debug, Default)]
pub struct Histories {
    /// Of each register.
    pub registers: BTreeMap<u64, Vec<Op>>,
    /// Of each register of clients that pipeline, with the line of each operation: its connection.
    pub pipelined: BTreeMap<u64, Vec<(Op, u64)>>,
    /// How many values each client of registers used.
    pub values: BTreeMap<u64, u64>,
    /// Of each counter without sessions, with its last value.
    pub counters: BTreeMap<u64, (Vec<Increment>, Option<u64>)>,
    /// Of each counter with sessions.
    pub exact: BTreeMap<u64, (Vec<Increment>, Option<u64>)>,
    /// Of each key that ends.
    pub spells: Vec<Vec<Spell>>,
    /// Of clients that remember versions.
    pub sessions: Vec<Session>,
    /// At the accounts of the bank.
    pub looks: Vec<Look>,
    /// Walks from beginning to end; none missed a key that stayed.
    pub walks: u64,
    /// States that they came to.
    pub marks: Marks,
}

/// A client.
pub struct Client {
    /// What it does, in a word.
    pub name: &'static str,
    /// What it does.
    pub work: Box<dyn Work>,
    /// The only node it speaks to, if so.
    pub pinned: Option<usize>,
    /// Its connection.
    pub conn: Option<ConnId>,
    /// What came on it.
    pub replies: Replies,
    /// It waits for so many answers.
    pub waiting: usize,
    /// So many requests it sent together.
    pub sent: usize,
    /// It leaves once all of them are answered.
    pub leaves: bool,
    /// Counts its steps; a timer of an earlier one is void.
    pub step: u64,
    /// Its own generator.
    pub random: Random,
    /// It has no part in this run.
    pub absent: bool,
    /// Before peace it makes so many requests at most.
    pub requests: Option<u64>,
    /// And has made so many.
    pub made: u64,
}

impl Client {
    /// A client that does this.
    pub fn new(
        name: &'static str,
        work: Box<dyn Work>,
        pinned: Option<usize>,
        random: Random,
    ) -> Client {
        Client {
            name,
            work,
            pinned,
            conn: None,
            replies: Replies::default(),
            waiting: 0,
            sent: 0,
            leaves: false,
            step: 0,
            random,
            absent: false,
            requests: None,
            made: 0,
        }
    }

    /// All clients of a world.
    pub fn draw_all(profile: &Profile, nodes: usize, random: &mut Random) -> Vec<Client> {
        let mut works: Vec<(&'static str, Box<dyn Work>, Option<usize>)> = Vec::new();
        let [registers, counters, exact, expiring] = profile.clients;
        for number in 0..registers.min(CLIENTS_PER_KEY) as u64 {
            let (keys, bytes_max) = (profile.registers, profile.value_bytes_max);
            works.push((
                "register",
                Box::new(register::Register::new(number, keys, bytes_max)),
                None,
            ));
        }
        for number in 0..counters as u64 {
            works.push(("counter", Box::new(counter::Counter::new(number % 2, None)), None));
        }
        for number in 0..exact as u64 {
            works.push((
                "exact-counter",
                Box::new(counter::Counter::new(number % 2, Some(number))),
                None,
            ));
        }
        for number in 0..expiring as u64 {
            works.push(("expiry", Box::new(expiry::Expiring::new(number)), None));
        }
        for number in 0..profile.sessions {
            let keys = profile.sessions;
            works.push(("session", Box::new(session::InSession::new(number, keys, false)), None));
            works.push((
                "near-session",
                Box::new(session::InSession::new(number, keys, true)),
                None,
            ));
        }
        for _ in 0..profile.bankers {
            works.push(("bank", Box::new(bank::Bank::default()), None));
        }
        for number in 0..profile.scanners {
            works.push(("scanner", Box::new(scan::Scanner::new(number)), None));
        }
        for node in 0..nodes {
            works.push(("probe", Box::new(probe::Probe::new(node as u64)), Some(node)));
        }
        // The last ones, so that the others are who they are without them.
        for number in 0..profile.fillers {
            works.push(("filler", Box::new(filler::Filler::new(number)), None));
        }
        let cast = works.into_iter();
        cast.map(|(name, work, pinned)| Client::new(name, work, pinned, random.fork())).collect()
    }

    /// Those who pipeline: so many on so many keys.
    pub fn draw_pipelines(
        count: u64,
        keys: u64,
        value_bytes_max: u64,
        random: &mut Random,
    ) -> Vec<Client> {
        let of = |number| {
            let work = Box::new(pipeline::Pipeline::new(number, keys, value_bytes_max));
            Client::new("pipeline", work, None, random.fork())
        };
        (0..count).map(of).collect()
    }

    /// Whether a request was answered since peace.
    pub fn served(&self) -> bool {
        self.absent || self.work.served()
    }

    /// Whether nothing is left to be finished.
    pub fn finished(&self) -> bool {
        self.absent || self.work.finished()
    }

    /// Whether it has made all the requests of its part.
    pub fn rests(&self) -> bool {
        self.requests.is_some_and(|requests| self.made >= requests)
    }

    /// It has a connection from now on.
    pub fn connected(&mut self, conn: ConnId) {
        self.conn = Some(conn);
        self.work.connected();
        self.replies = Replies::default();
    }
}

/// A command as bytes.
pub fn encode(command: &[Bytes]) -> Bytes {
    let mut out = format!("*{}\r\n", command.len()).into_bytes();
    for word in command {
        out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
    Bytes::from(out)
}

/// A command from its words.
pub fn command(words: &[&str]) -> Vec<Bytes> {
    words.iter().map(|word| Bytes::copy_from_slice(word.as_bytes())).collect()
}

/// The number that a stored value begins with; padding may follow.
pub fn number_in(bytes: &[u8]) -> Option<u64> {
    let end = bytes.iter().position(|byte| *byte == b':').unwrap_or(bytes.len());
    std::str::from_utf8(&bytes[..end]).ok()?.parse().ok()
}

/// A value that begins with a number.
pub fn padded(number: u64, bytes: u64) -> String {
    format!("{number}:{}", "x".repeat(bytes as usize))
}
