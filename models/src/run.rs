//! Runs a model and says what came of it.

use crate::cluster::{Action, Cluster};
use crate::law::{LAWS, Law, MARKS};
use crate::world::World;
use stateright::{Checker, HasDiscoveries, Model, Path};
use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

/// What came of a run.
#[derive(Debug)]
pub struct Outcome {
    /// Different states.
    pub unique: usize,
    /// Steps taken between them.
    pub steps: usize,
    /// The longest of the shortest ways to a state.
    pub depth: usize,
    /// How long it took.
    pub time: Duration,
    /// Whether every state within the bounds was seen.
    pub whole: bool,
    /// Different nodes, messages, observations, and sets of messages.
    pub parts: [usize; 4],
    /// Laws that were broken: the way there and what was seen.
    pub broken: BTreeMap<&'static str, String>,
    /// Marks that were not reached.
    pub missed: Vec<&'static str>,
}

impl Outcome {
    /// Whether all laws held and everything was reached.
    pub fn is_good(&self) -> bool {
        self.broken.is_empty() && self.missed.is_empty()
    }
}

/// Explores `cluster`, breadth first, with so many threads, for about so many steps at most.
pub fn run(cluster: Cluster, threads: usize, steps_max: usize) -> Outcome {
    quiet_checkers();
    let (pools, reached, marks) =
        (cluster.pools.clone(), cluster.reached.clone(), cluster.marks.clone());
    let started = Instant::now();
    let builder = cluster.checker().threads(threads).target_state_count(steps_max);
    let checker = builder.finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let time = started.elapsed();
    let laws = LAWS.iter().map(|(_, name)| *name);
    let broken = laws.filter_map(|name| Some((name, told(&checker.discovery(name)?)))).collect();
    let missed = MARKS.iter().filter(|(mark, _)| marks.contains(mark) && !reached.has(*mark));
    Outcome {
        unique: checker.unique_state_count(),
        steps: checker.state_count(),
        depth: checker.max_depth(),
        time,
        whole: checker.state_count() < steps_max,
        parts: [pools.nodes.len(), pools.packets.len(), pools.truths.len(), pools.networks.len()],
        broken,
        missed: missed.map(|(_, name)| *name).collect(),
    }
}

/// Watches one law only.
pub fn watching(mut cluster: Cluster, law: Law) -> Cluster {
    cluster.laws = vec![law];
    cluster.marks.clear();
    cluster
}

/// The way to a state, one action a line, and what is wrong there.
fn told(path: &Path<World, Action>) -> String {
    let mut text: String =
        path.clone().into_actions().iter().map(|action| format!("  {action:?}\n")).collect();
    for (_, seen) in &path.last_state().truth.broken {
        text.push_str(&format!("  => {seen}\n"));
    }
    text
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} unique states, {} steps, depth {}, {:.1} s{}; {} nodes, {} messages, {} truths, {} networks",
            self.unique,
            self.steps,
            self.depth,
            self.time.as_secs_f64(),
            if self.whole { "" } else { ", not whole" },
            self.parts[0],
            self.parts[1],
            self.parts[2],
            self.parts[3]
        )?;
        for (law, way) in &self.broken {
            writeln!(f, "BROKEN: {law}\n{way}")?;
        }
        for mark in &self.missed {
            writeln!(f, "NOT REACHED: {mark}")?;
        }
        Ok(())
    }
}

/// A core's assertion that fails is a broken law, and told as one: no need to print it each time.
fn quiet_checkers() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let name = std::thread::current().name().map(str::to_string);
            if !name.is_some_and(|name| name.starts_with("checker-")) {
                usual(info);
            }
        }));
    });
}
