//! Raft alone in a small world under a seed: nodes with drifting clocks, lossy links, slow disks that
//! forget what they did not sync, crashes, pauses, network partitions, membership changes, transfers,
//! snapshots. The world of whole nodes ([`crate::run`]) is nearer to what users run; this one is many
//! times faster and nastier: messages overtake each other and come twice, and memberships change
//! all the time.
//!
//! Three judges look on ([`crate::judge`]). The cores' own assertions are one. An observer who sees
//! everything is the second (`watch.rs`):
//!
//! * election safety: one leader per term, elected by a quorum of the membership in its log, of whom
//!   nobody voted twice, while nobody else had a lease;
//! * log matching: one entry per (index, term), with one predecessor;
//! * leader completeness: a new leader holds everything that was committed in earlier terms;
//! * state machine safety: one entry per committed index;
//! * durability: what is committed is on the disks of a quorum at that moment, what is acknowledged
//!   is on the disk of whoever says so, and no snapshot takes committed entries away;
//! * commit by count: a leader commits entries of its own term, and older ones by them;
//! * leases: whoever may read from its lease has everything that was committed;
//! * read rounds: a read sees everything that was committed when it began.
//!
//! Clients are the third (`history.rs`). They append values to one list and read it, through whoever
//! claims to lead, and hold the answers against each other: the list is linearizable, no value that
//! was acknowledged is lost, none comes twice, none appears that was answered "not done", stamps rise
//! and are not ahead of true time.
//!
//! Then the world heals, and it must serve, converge and fall silent within seconds.
//!
//! Every seed draws its own weights of what happens ([`profile`]) and its [`moods`], and is the same
//! run each time.

mod history;
mod meddle;
pub mod moods;
mod node;
mod plan;
mod post;
pub mod profile;
mod queue;
mod watch;
mod world;

use crate::judge::{Judge, Violation};
use crate::mutant::Mutant;
use crate::script::Script;
use std::panic::{AssertUnwindSafe, catch_unwind};
use world::World;

/// What to run.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// Decides everything.
    pub seed: u64,
    /// Seconds of faults; by default one to eight, as the seed says.
    pub seconds: Option<u64>,
    /// A bug to put in; of this world are only [`Mutant::RAFT`].
    pub mutant: Option<Mutant>,
    /// Whether the observer looks on.
    pub watched: bool,
}

impl Run {
    /// A few seconds with all judges.
    pub fn of(seed: u64) -> Run {
        Run { seed, seconds: None, mutant: None, watched: true }
    }
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// What was violated.
    pub violation: Option<Violation>,
    /// Over every event.
    pub hash: u64,
    /// What was done.
    pub stats: Stats,
    /// The run, so that it can be run again.
    pub script: Script,
}

/// What happened at all: a world in which nothing happens proves nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Events.
    pub events: u64,
    /// Leaders elected.
    pub elections: u64,
    /// Appends that were acknowledged to a client.
    pub appends: u64,
    /// Reads answered after a round or by the lease.
    pub reads: u64,
    /// Reads straight from a lease, one after each event.
    pub lease_reads: u64,
    /// Membership changes that were taken.
    pub changes: u64,
    /// Transfers asked for.
    pub transfers: u64,
    /// Snapshots installed.
    pub snapshots: u64,
    /// Crashes.
    pub crashes: u64,
    /// Conflicting suffixes dropped.
    pub truncations: u64,
    /// Leaders whose time is what a quorum of the clocks reached.
    pub slow_steps: u64,
    /// Nanoseconds of true time.
    pub time_ns: u64,
}

impl Stats {
    /// Adds another run's.
    pub fn add(&mut self, other: &Stats) {
        self.events += other.events;
        self.elections += other.elections;
        self.appends += other.appends;
        self.reads += other.reads;
        self.lease_reads += other.lease_reads;
        self.changes += other.changes;
        self.transfers += other.transfers;
        self.snapshots += other.snapshots;
        self.crashes += other.crashes;
        self.truncations += other.truncations;
        self.slow_steps += other.slow_steps;
        self.time_ns += other.time_ns;
    }
}

/// Runs one world. `reader` is given each event in words.
pub fn run(run: Run, reader: Option<&mut dyn FnMut(&str)>) -> Report {
    play(&run, None, reader)
}

/// Runs what a script of Raft alone says.
pub fn replay(script: &Script, watched: bool, reader: Option<&mut dyn FnMut(&str)>) -> Report {
    let run = Run { seed: script.seed, seconds: None, mutant: script.mutant, watched };
    play(&run, Some(script), reader)
}

fn play(run: &Run, script: Option<&Script>, reader: Option<&mut dyn FnMut(&str)>) -> Report {
    let mut world = World::new(run, script, reader);
    let ended = catch_unwind(AssertUnwindSafe(|| match script {
        Some(script) => world.replay(script),
        None => world.improvise(run.seconds),
    }));
    let violation = match ended {
        Ok(()) => world.violation.take(),
        Err(panic) => Some(Violation { judge: Judge::Assertion, what: crate::panicked(&*panic) }),
    };
    Report {
        seed: run.seed,
        violation,
        hash: world.hash,
        stats: world.stats,
        script: world.script(),
    }
}
