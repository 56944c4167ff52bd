//! The simulator's clients on real sockets: a thread each.

use crate::options::{Case, Fault, Kind, Workload};
use crate::servers::{Breed, Place};
use crate::speak::Speaker;
use crate::stuffer::Stuffer;
use base::Random;
use sim::workload::{
    CLIENTS_PER_KEY, Histories, Outcome, Work, bank, counter, expiry, probe, register, scan,
    session,
};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Registers of a run: with few clients on each at a time, histories stay easy to judge.
pub const REGISTERS: u64 = 12;
/// Largest padding of a value, exclusive.
const VALUE_BYTES_MAX: u64 = 600;
/// Longest pause of a client between two requests.
const THINK: Duration = Duration::from_millis(24);
/// The same when every workload is there at once.
const THINK_OF_ALL: Duration = Duration::from_millis(60);

/// A client's part, and the only node that it speaks to, if so.
type Part = (Box<dyn Work + Send>, Option<usize>);

/// Who works in a run. A probe at each node wants nothing but to be served.
fn parts(case: &Case) -> Vec<Part> {
    let Case { kind, workload, nodes, .. } = *case;
    let mut parts: Vec<Part> = Vec::new();
    if workload.has(Workload::Register) {
        for number in 0..CLIENTS_PER_KEY as u64 {
            let work = register::Register::new(number, REGISTERS, VALUE_BYTES_MAX);
            parts.push((Box::new(work), None));
        }
        // Others are stuck with a write where nothing can be written any more. Who only reads would
        // see what a leader that was replaced, and does not know it, takes for new.
        for node in 0..nodes {
            parts.push((Box::new(register::Register::reader(REGISTERS)), Some(node)));
        }
    }
    if workload.has(Workload::Counter) {
        for number in 0..4 {
            parts.push((Box::new(counter::Counter::new(number % 2, None)), None));
            parts.push((Box::new(counter::Counter::new(number % 2, Some(number))), None));
        }
    }
    if workload.has(Workload::Bank) {
        parts.extend((0..6).map(|_| (Box::new(bank::Bank::default()) as _, None)));
    }
    if workload.has(Workload::Session) {
        for number in 0..5 {
            parts.push((Box::new(session::InSession::new(number, 5, false)), None));
            parts.push((Box::new(session::InSession::new(number, 5, true)), None));
        }
    }
    if workload.has(Workload::Expiry) {
        parts.extend((0..8).map(|number| (Box::new(expiry::Expiring::new(number)) as _, None)));
    }
    if workload.has(Workload::Scan) {
        parts.extend((0..4).map(|number| (Box::new(scan::Scanner::new(number)) as _, None)));
        // Keys that come and go between those that stay.
        let work = |number: u64| expiry::Expiring::new(100 + number);
        parts.extend((0..4).map(|number| (Box::new(work(number)) as _, None)));
    }
    if case.fault == Fault::Full {
        parts.extend((0..2).map(|_| (Box::new(Stuffer) as _, None)));
    }
    // A replica of Redis never serves a write.
    let probed = if kind == Kind::Redis { 1 } else { nodes };
    parts.extend((0..probed).map(|node| {
        (Box::new(probe::Probe::new(node as u64)) as Box<dyn Work + Send>, Some(node))
    }));
    parts
}

/// What became of requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Answered.
    pub ok: u64,
    /// Not done, and said so.
    pub not_done: u64,
    /// May have been done.
    pub unknown: u64,
}

/// What all clients brought home.
#[derive(Debug, Default)]
pub struct Seen {
    /// For the judges.
    pub histories: Histories,
    /// When requests were answered, in order, in ns since the start.
    pub answered: Vec<u64>,
    /// How many.
    pub counts: Counts,
    /// What must never be seen and was.
    pub wrong: Vec<String>,
}

/// What a client has come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct State {
    served: bool,
    finished: bool,
}

struct Shared {
    started: Instant,
    peace: AtomicBool,
    ends: AtomicBool,
    states: Mutex<Vec<State>>,
}

/// A place and what is special of its servers, as clients see it.
#[derive(Clone)]
pub struct Target {
    /// Where nodes are.
    pub place: Arc<Place>,
    /// How they are spoken to.
    pub breed: Arc<dyn Breed>,
}

/// Clients at work.
pub struct Load {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<Client>>,
}

impl Load {
    /// Sends clients to work.
    pub fn start(target: &Target, case: &Case, random: &mut Random) -> Load {
        let think = if case.workload == Workload::All { THINK_OF_ALL } else { THINK };
        Load::with(target, parts(case), think, random)
    }

    /// Sends one client to work.
    pub fn one(target: &Target, work: Box<dyn Work + Send>, random: &mut Random) -> Load {
        Load::with(target, vec![(work, None)], THINK, random)
    }

    fn with(target: &Target, parts: Vec<Part>, think: Duration, random: &mut Random) -> Load {
        let shared = Arc::new(Shared {
            started: Instant::now(),
            peace: AtomicBool::new(false),
            ends: AtomicBool::new(false),
            states: Mutex::new(vec![State::default(); parts.len()]),
        });
        let threads = parts.into_iter().enumerate().map(|(number, (work, pinned))| {
            let mut random = random.fork();
            let patience = Duration::from_millis(random.between(1000, 3000));
            let target = target.clone();
            let shared = Arc::clone(&shared);
            let client = Client {
                number,
                work,
                pinned,
                random,
                patience,
                think,
                conn: None,
                answered: Vec::new(),
                counts: Counts::default(),
                wrong: None,
            };
            thread::spawn(move || client.run(&target, &shared))
        });
        let threads = threads.collect();
        Load { shared, threads }
    }

    /// When it started.
    pub fn started(&self) -> Instant {
        self.shared.started
    }

    /// Nothing is wrong with the servers any more: what is begun must be finished.
    pub fn make_peace(&self) {
        self.shared.peace.store(true, Ordering::Relaxed);
    }

    /// Clients that were not served since peace.
    pub fn unserved(&self) -> Vec<usize> {
        self.without(|state| state.served)
    }

    /// Clients with something unfinished.
    pub fn unfinished(&self) -> Vec<usize> {
        self.without(|state| state.finished)
    }

    fn without(&self, fine: impl Fn(&State) -> bool) -> Vec<usize> {
        let states = self.shared.states.lock().unwrap_or_else(PoisonError::into_inner);
        (0..states.len()).filter(|number| !fine(&states[*number])).collect()
    }

    /// Calls all clients home.
    pub fn end(self, seen: &mut Seen) {
        self.shared.ends.store(true, Ordering::Relaxed);
        for thread in self.threads {
            match thread.join() {
                Ok(client) => client.report(seen),
                Err(_) => seen.wrong.push("a client panicked".into()),
            }
        }
        seen.answered.sort_unstable();
    }
}

struct Client {
    number: usize,
    work: Box<dyn Work + Send>,
    pinned: Option<usize>,
    random: Random,
    patience: Duration,
    think: Duration,
    conn: Option<Box<dyn Speaker>>,
    answered: Vec<u64>,
    counts: Counts,
    wrong: Option<String>,
}

impl Client {
    fn run(mut self, target: &Target, shared: &Shared) -> Client {
        while !shared.ends.load(Ordering::Relaxed) {
            let peace = shared.peace.load(Ordering::Relaxed);
            self.step(target, shared, peace);
            if peace {
                let state = State { served: self.work.served(), finished: self.work.finished() };
                let mut states = shared.states.lock().unwrap_or_else(PoisonError::into_inner);
                states[self.number] = state;
            }
            let longest = self.think.as_nanos() as u64;
            thread::sleep(Duration::from_nanos(self.work.pause(&mut self.random, longest)));
        }
        self
    }

    /// One request, if there is a connection for it.
    fn step(&mut self, target: &Target, shared: &Shared, peace: bool) {
        if self.conn.is_none() && !self.connect(target) {
            return;
        }
        let now = || shared.started.elapsed().as_nanos() as u64;
        let Some(words) = self.work.next(now(), peace, &mut self.random) else { return };
        let conn = self.conn.as_mut().expect("connected above");
        let outcome = match conn.call(&words) {
            Ok(reply) => Outcome::of(reply),
            Err(_) => {
                self.conn = None;
                Outcome::Unknown
            }
        };
        let at = now();
        match outcome {
            Outcome::Reply(_) => {
                self.counts.ok += 1;
                self.answered.push(at);
            }
            Outcome::NotDone => self.counts.not_done += 1,
            Outcome::Unknown => self.counts.unknown += 1,
        }
        if !matches!(outcome, Outcome::Reply(_)) && self.random.chance(1, 2) {
            self.conn = None;
        }
        self.work.outcome(at, outcome);
        if let Some(wrong) = self.work.wrong() {
            self.wrong.get_or_insert(wrong);
        }
    }

    fn connect(&mut self, target: &Target) -> bool {
        let nodes = target.place.nodes as u64;
        let node = self.pinned.unwrap_or_else(|| self.random.below(nodes) as usize);
        let dialled = target.breed.dial(&target.place, node, self.patience);
        self.conn = dialled.ok();
        if self.conn.is_some() {
            self.work.connected();
        }
        self.conn.is_some()
    }

    fn report(mut self, seen: &mut Seen) {
        self.work.report(&mut seen.histories);
        seen.answered.append(&mut self.answered);
        seen.counts.ok += self.counts.ok;
        seen.counts.not_done += self.counts.not_done;
        seen.counts.unknown += self.counts.unknown;
        seen.wrong.extend(self.wrong.map(|wrong| format!("client {}: {wrong}", self.number)));
    }
}
