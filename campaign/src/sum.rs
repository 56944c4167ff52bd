//! What all runs of a campaign come to.

use crate::worlds::{Counts, Job, Kind, Outcome};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// One world's share.
#[derive(Default)]
pub struct World {
    pub seeds: u64,
    pub counts: Counts,
    /// What its runs took, over all threads.
    pub spent: Duration,
}

/// Runs that fail alike.
pub struct Failure {
    pub first: Job,
    pub times: u64,
    pub what: String,
    /// The shrunk script, once there is one.
    pub script: Option<String>,
}

/// Everything so far.
pub struct Sum {
    pub started: Instant,
    pub worlds: BTreeMap<Kind, World>,
    pub failures: BTreeMap<String, Failure>,
    pub hash: u64,
}

impl Sum {
    pub fn new() -> Sum {
        let worlds = [Kind::Nodes, Kind::Beyond, Kind::Raft].map(|kind| (kind, World::default()));
        let worlds = worlds.into();
        Sum { started: Instant::now(), worlds, failures: BTreeMap::new(), hash: 0 }
    }

    /// Adds a run; whether it is the first to fail in its way.
    pub fn take(&mut self, outcome: &Outcome, spent: Duration) -> bool {
        let Outcome { job, hash, violation, counts, .. } = outcome;
        let world = self.worlds.entry(job.kind).or_default();
        world.seeds += 1;
        world.counts.add(counts);
        world.spent += spent;
        self.hash ^= hash.rotate_left((job.seed % 64) as u32);
        let Some(violation) = violation else { return false };
        let failure = self.failures.entry(violation.kind()).or_insert_with(|| Failure {
            first: *job,
            times: 0,
            what: violation.what.lines().next().unwrap_or_default().to_string(),
            script: None,
        });
        failure.times += 1;
        failure.times == 1
    }

    /// Which world is behind its share of the time, in percent; all that is left is for whole nodes.
    pub fn next_kind(&self, raft_share: u64, beyond_share: u64) -> Kind {
        let spent = |kind: Kind| self.worlds[&kind].spent.as_secs_f64();
        let all: f64 = self.worlds.keys().map(|kind| spent(*kind)).sum();
        let behind = |kind, share: u64| spent(kind) * 100.0 < all * share as f64;
        match () {
            () if behind(Kind::Raft, raft_share) => Kind::Raft,
            () if behind(Kind::Beyond, beyond_share) => Kind::Beyond,
            () => Kind::Nodes,
        }
    }

    /// One line for whoever waits.
    pub fn progress(&self) -> String {
        let minutes = self.started.elapsed().as_secs_f64() / 60.0;
        let mut line = format!("{minutes:6.1} min");
        for (kind, world) in self.worlds.iter().filter(|(_, world)| world.seeds > 0) {
            line.push_str(&format!(
                "; {}: {} seeds, {:.0} a minute, {:.1} hours of their time, {} never seen",
                name(*kind),
                world.seeds,
                world.seeds as f64 / minutes,
                world.counts.time_ns as f64 / 3.6e12,
                world.counts.unseen().len()
            ));
        }
        line.push_str(&format!("; {} kinds of failure", self.failures.len()));
        line
    }
}

/// A world in words.
pub fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::Nodes => "whole nodes",
        Kind::Beyond => "whole nodes beyond the promise",
        Kind::Raft => "Raft alone",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sim::judge::{Judge, Violation};
    use sim::script::Script;

    fn outcome(kind: Kind, what: Option<&str>) -> Outcome {
        let violation = what.map(|what| Violation { judge: Judge::Client, what: what.into() });
        let script = Script::empty(sim::script::Kind::Nodes, 1, 3);
        let counts = Counts { time_ns: 5, ..Counts::default() };
        Outcome { job: Job { kind, seed: 1 }, hash: 1, violation, tail: vec![], script, counts }
    }

    #[test]
    fn failures_that_read_alike_are_one() {
        let mut sum = Sum::new();
        let lost = |n: u64| format!("register {n} is not linearizable near");
        assert!(sum.take(&outcome(Kind::Nodes, Some(&lost(1))), Duration::ZERO));
        assert!(!sum.take(&outcome(Kind::Nodes, Some(&lost(2))), Duration::ZERO));
        assert!(!sum.take(&outcome(Kind::Nodes, None), Duration::ZERO));
        assert_eq!((sum.failures.len(), sum.worlds[&Kind::Nodes].seeds), (1, 3));
        assert_eq!(sum.failures.values().next().map(|failure| failure.times), Some(2));
    }

    #[test]
    fn each_world_gets_its_share_of_the_time() {
        let mut sum = Sum::new();
        let second = Duration::from_secs(1);
        sum.take(&outcome(Kind::Nodes, None), 3 * second);
        assert_eq!(sum.next_kind(20, 5), Kind::Raft);
        sum.take(&outcome(Kind::Raft, None), second);
        assert_eq!(sum.next_kind(20, 5), Kind::Beyond);
        sum.take(&outcome(Kind::Beyond, None), second);
        assert_eq!(sum.next_kind(20, 5), Kind::Nodes);
        assert_eq!(sum.next_kind(0, 0), Kind::Nodes);
        assert_eq!(sum.next_kind(100, 0), Kind::Raft);
        assert_eq!(sum.next_kind(0, 100), Kind::Beyond);
        assert_eq!(sum.worlds[&Kind::Beyond].seeds, 1, "they are counted apart");
    }
}
