//! The seeded world: whole clusters, their clients and everything that goes wrong, in one thread and
//! from one number.
//!
//! The nodes are the very [`node::Node`]s that the runtime drives; logs are real logs on simulated
//! disks, and clients speak real RESP. Only what lies outside is made up: time, network, sectors,
//! tables' files, clocks and power. A run has three parts:
//!
//! 1. *Faults*, for thirty seconds of true time unless told otherwise: processes die, power fails,
//!    links break, clocks jump, disks crawl ([`profile`] draws which), while clients work.
//! 2. *Peace*: everything is mended, and every node must serve writes within a bound, whatever is
//!    unfinished must end, and all replicas must come to hold the same rows.
//! 3. *Judgement*: what each client saw is checked by [`check`]: registers are linearizable, sessions
//!    keep their guarantees (also those that read the nearest replica, as far as they apply),
//!    acknowledged increments counted once, keys that end neither early nor come back. The harness for
//!    real processes (`chaos/`) has the same clients ([`workload`]) and asks the same judges.
//!
//! Throughout, after every turn of a node, the invariants of Raft and of requests are looked at from
//! outside. The first violation, or a panic of an assertion inside, ends the run with the last events.
//!
//! ```text
//! cargo xtask sim --seeds 1000          so many worlds
//! cargo xtask sim --seed 7411           one, told event by event
//! cargo xtask sim --hours 1             both worlds, what fails shrunk, results kept
//! cargo xtask sim --script FILE         a run that was written down ([`script`], [`shrink`])
//! ```
//!
//! The same seed is the same run, down to the hash of every event. [`mutant`] holds broken worlds
//! which a test lets this find.
//!
//! [`raft`] is a smaller world, of Raft alone: faster, nastier, and with membership changes.
//!
//! What is not simulated: bytes on the wire between nodes (frames and handshake are `wire::peer`'s
//! own tests), the runtime's queues, nodes that are added or removed. Real tables (`lsm-tree`) can be
//! kept beside the model's: [`run_beside`]. Disks are damaged and lost, and their nodes replaced, within
//! what is promised or beyond it: see `world::atlas`; they become full, see `world::room`. [`marks`]
//! says what a run has seen of all that.

pub mod check;
mod clock;
pub mod judge;
pub mod marks;
pub mod moods;
pub mod mutant;
pub mod profile;
pub mod raft;
pub mod script;
pub mod shrink;
mod trace;
pub mod workload;
mod world;

pub use world::{RealTables, Totals};

use judge::{Judge, Violation};
use mutant::Mutant;
use script::Script;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use world::{Setup, World};

/// What to run.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// Decides everything.
    pub seed: u64,
    /// How many nodes.
    pub nodes: u64,
    /// Seconds of faults.
    pub seconds: u64,
    /// A bug to put in.
    pub mutant: Option<Mutant>,
    /// Whether more may go wrong than is promised to be stood; see `world::atlas`.
    pub beyond: bool,
    /// Whether the observer of all logs looks on; without it only clients judge.
    pub watched: bool,
}

impl Run {
    /// Five nodes and thirty seconds.
    pub fn of(seed: u64) -> Run {
        Run { seed, nodes: 5, seconds: 30, mutant: None, beyond: false, watched: true }
    }
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// What was violated.
    pub violation: Option<String>,
    /// Who says so.
    pub judge: Option<Judge>,
    /// The last events, if something was.
    pub tail: Vec<String>,
    /// Over every event.
    pub hash: u64,
    /// What was done.
    pub totals: Totals,
    /// The run, so that it can be run again.
    pub script: Script,
}

impl Report {
    /// What was violated, and who says so.
    pub fn finding(&self) -> Option<Violation> {
        let what = self.violation.clone()?;
        Some(Violation { judge: self.judge?, what })
    }
}

/// How many of the last events a report shows.
const TAIL: usize = 60;

/// Runs one world. `reader` is given each event in words.
pub fn run(run: Run, reader: Option<&mut dyn FnMut(&str)>) -> Report {
    play(&setup(run, None), reader)
}

/// The same with real tables beside the model's, whose answers must not differ. Within what is
/// promised only: no old image of a disk comes back.
pub fn run_beside(
    run: Run,
    real: Rc<dyn RealTables>,
    reader: Option<&mut dyn FnMut(&str)>,
) -> Report {
    assert!(!run.beyond && run.mutant.is_none(), "old images of real tables are not kept");
    play(&setup(run, Some(real)), reader)
}

fn setup(run: Run, real: Option<Rc<dyn RealTables>>) -> Setup<'static> {
    let Run { seed, nodes, seconds, mutant, beyond, watched } = run;
    let fault_ns = seconds * base::time::SECOND;
    Setup { seed, nodes, fault_ns, mutant, beyond, watched, script: None, real }
}

/// Runs what a script of whole nodes says.
pub fn replay(script: &Script, watched: bool, reader: Option<&mut dyn FnMut(&str)>) -> Report {
    let Script { seed, nodes, mutant, beyond, until: fault_ns, .. } = *script;
    let script = Some(script);
    play(&Setup { seed, nodes, fault_ns, mutant, beyond, watched, script, real: None }, reader)
}

fn play(setup: &Setup<'_>, reader: Option<&mut dyn FnMut(&str)>) -> Report {
    let mut world = World::new(setup, reader);
    let fault_ns = setup.fault_ns;
    // A panic of an assertion inside a node is a finding like any other; the world is not used after
    // it but for its trace.
    let ended = catch_unwind(AssertUnwindSafe(|| world.run(fault_ns)));
    let (judge, violation) = match ended {
        Ok(violation) => (violation.is_some().then_some(world.judge), violation),
        Err(panic) => (Some(Judge::Assertion), Some(panicked(&*panic))),
    };
    let tail = if violation.is_some() { world.trace.tail(TAIL) } else { Vec::new() };
    let (hash, totals, script) = (world.trace.hash(), world.totals.clone(), world.script());
    Report { seed: setup.seed, violation, judge, tail, hash, totals, script }
}

fn panicked(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    format!("panic: {}", text.unwrap_or("without words"))
}
