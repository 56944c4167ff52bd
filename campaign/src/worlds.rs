//! One run of either world, and what is counted of it.

use crate::tables::{self, Directory};
use sim::Totals;
use sim::judge::Violation;
use sim::raft::Stats;
use sim::script::{Script, What};
use std::collections::BTreeMap;
use std::rc::Rc;

/// Which world, and what is promised in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Raft alone.
    Raft,
    /// Whole nodes.
    Nodes,
    /// Whole nodes to which more happens than they are promised to stand: they may lose, and must not
    /// lie.
    Beyond,
}

/// What to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Job {
    pub kind: Kind,
    pub seed: u64,
}

/// How large worlds are.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    pub nodes: u64,
    /// Seconds of faults in worlds of nodes.
    pub seconds: u64,
    /// In worlds of Raft alone; none for what the seed says.
    pub raft_seconds: Option<u64>,
}

/// What came of it.
pub struct Outcome {
    pub job: Job,
    pub hash: u64,
    pub violation: Option<Violation>,
    pub tail: Vec<String>,
    pub script: Script,
    pub counts: Counts,
}

/// What was seen, by group and name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub time_ns: u64,
    pub events: u64,
    pub unjudged: u64,
    /// Faults and deeds that came.
    pub faults: BTreeMap<String, u64>,
    /// States that some run should reach.
    pub marks: BTreeMap<String, u64>,
    /// What was done besides.
    pub work: BTreeMap<String, u64>,
}

impl Counts {
    /// Adds another run's.
    pub fn add(&mut self, other: &Counts) {
        self.time_ns += other.time_ns;
        self.events += other.events;
        self.unjudged += other.unjudged;
        for (mine, more) in [
            (&mut self.faults, &other.faults),
            (&mut self.marks, &other.marks),
            (&mut self.work, &other.work),
        ] {
            for (name, count) in more {
                *mine.entry(name.clone()).or_default() += count;
            }
        }
    }

    /// Whatever has a name and was never seen.
    pub fn unseen(&self) -> Vec<&str> {
        let all = self.faults.iter().chain(&self.marks);
        all.filter(|(_, count)| **count == 0).map(|(name, _)| name.as_str()).collect()
    }
}

/// Runs one.
pub fn run(job: Job, size: Size, reader: Option<&mut dyn FnMut(&str)>) -> Outcome {
    match job.kind {
        Kind::Nodes | Kind::Beyond => {
            let Size { nodes, seconds, .. } = size;
            let beyond = job.kind == Kind::Beyond;
            let run = sim::Run { nodes, seconds, beyond, ..sim::Run::of(job.seed) };
            let report = match tables::has_real(job.seed) && !beyond {
                true => sim::run_beside(run, Rc::new(Directory::new(job.seed)), reader),
                false => sim::run(run, reader),
            };
            let violation = report.finding();
            let counts = of_nodes(&report.totals, &report.script);
            let sim::Report { hash, tail, script, .. } = report;
            Outcome { job, hash, violation, tail, script, counts }
        }
        Kind::Raft => {
            let run = sim::raft::Run { seconds: size.raft_seconds, ..sim::raft::Run::of(job.seed) };
            let sim::raft::Report { hash, violation, stats, script, .. } =
                sim::raft::run(run, reader);
            let counts = of_raft(&stats, &script);
            Outcome { job, hash, violation, tail: Vec::new(), script, counts }
        }
    }
}

fn of_nodes(totals: &Totals, script: &Script) -> Counts {
    let named = |(name, count): (&str, u64)| (name.to_string(), count);
    let [answered, not_done, unknown] = totals.outcomes;
    let work = [
        ("turns of nodes", totals.turns),
        ("messages between nodes", totals.messages),
        ("entries applied", totals.entries),
        ("requests answered", answered),
        ("requests not done", not_done),
        ("requests unknown", unknown),
        ("pairs judged in sessions", totals.session_pairs.iter().sum()),
        ("looks at accounts", totals.looks),
        ("walks over all keys", totals.walks),
        ("keys ended", totals.ends.ends),
        ("keys ended early beside a step of time", totals.ends.excused),
    ];
    Counts {
        time_ns: totals.time_ns,
        events: totals.events,
        unjudged: totals.unjudged,
        faults: happened(script, &sim::profile::FAULTS.map(What::Fault)),
        marks: totals.marks.iter().map(|(mark, count)| (mark.name().into(), count)).collect(),
        work: work.map(named).into(),
    }
}

fn of_raft(stats: &Stats, script: &Script) -> Counts {
    let named = |(name, count): (&str, u64)| (name.to_string(), count);
    let marks = [
        ("leader-elected", stats.elections),
        ("membership-change-taken", stats.changes),
        ("snapshot-installed", stats.snapshots),
        ("conflicting-suffix-truncated", stats.truncations),
        ("time-by-quorum", stats.slow_steps),
        ("crashed", stats.crashes),
        ("transfer-asked", stats.transfers),
    ];
    let work = [
        ("appends acknowledged", stats.appends),
        ("reads by round or lease", stats.reads),
        ("looks from a lease", stats.lease_reads),
    ];
    Counts {
        time_ns: stats.time_ns,
        events: stats.events,
        unjudged: 0,
        faults: happened(script, &sim::raft::profile::DEEDS.map(What::Deed)),
        marks: marks.map(named).into(),
        work: work.map(named).into(),
    }
}

/// How often each of `all` stands in a script.
fn happened(script: &Script, all: &[What]) -> BTreeMap<String, u64> {
    let mut counts: BTreeMap<String, u64> = all.iter().map(|what| (what.to_string(), 0)).collect();
    for planned in &script.planned {
        *counts.entry(planned.what.to_string()).or_default() += 1;
    }
    counts
}
