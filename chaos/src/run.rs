//! One run: servers, clients, faults, peace, judgement.

use crate::judge::{self, Facts};
use crate::load::{Counts, Load, REGISTERS, Seen, Target};
use crate::nemesis::Nemesis;
use crate::net::Net;
use crate::options::{Case, Fault};
use crate::relay::{self, Relay};
use crate::servers::{self, Place, Servers};
use base::Random;
use sim::workload::Closer;
use std::fmt::Write;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use underpin_e2e::place;

/// Servers must come up within this.
const UP_MAX: Duration = Duration::from_secs(40);
/// Faults being over, every node must serve writes within this.
const RECOVERY_MAX: Duration = Duration::from_secs(20);
/// And whatever is under way must come to an end after so much more.
const SETTLING_MAX: Duration = Duration::from_secs(20);
/// Drift of monotonic clocks where they are bent.
const DRIFT_PPM: u64 = 1000;

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Which run.
    pub case: Case,
    /// Requests, by what became of them.
    pub counts: Counts,
    /// Faults.
    pub faults: u64,
    /// Longest time without an answer to anybody, while faults went on.
    pub gap: Duration,
    /// From peace until every node served.
    pub recovery: Duration,
    /// What the relay did.
    pub packets: relay::Counts,
    /// How much there was to judge.
    pub judged: Vec<(&'static str, u64)>,
    /// Histories too hard to judge.
    pub unjudged: u64,
    /// What is wrong.
    pub violations: Vec<String>,
    /// Where everything is kept, if something is.
    pub kept: Option<PathBuf>,
}

/// Runs a case in a network of its own. Files of a run without violations go, unless told to stay.
pub fn run(case: Case, slot: usize, keep: bool) -> Outcome {
    let folder = place::target().join("chaos").join(format!(
        "{}-{}-{}-{}-{}",
        case.number,
        case.kind.name(),
        case.workload.name(),
        case.fault.name(),
        case.seed
    ));
    let _ = fs::remove_dir_all(&folder);
    let mut outcome = Outcome {
        case,
        counts: Counts::default(),
        faults: 0,
        gap: Duration::ZERO,
        recovery: Duration::ZERO,
        packets: relay::Counts::default(),
        judged: Vec::new(),
        unjudged: 0,
        violations: Vec::new(),
        kept: None,
    };
    let mut story = String::new();
    if let Err(error) = carry_out(&mut outcome, slot, &folder, &mut story) {
        outcome.violations.push(error);
    }
    if outcome.violations.is_empty() && !keep {
        let _ = fs::remove_dir_all(&folder);
    } else {
        let text = format!("{case:?}\n\n{}\n\n{story}", outcome.violations.join("\n"));
        let _ = fs::write(folder.join("story.txt"), text);
        outcome.kept = Some(folder);
    }
    outcome
}

fn carry_out(
    outcome: &mut Outcome,
    slot: usize,
    folder: &std::path::Path,
    story: &mut String,
) -> Result<(), String> {
    let case = outcome.case;
    let net = Net::make(slot, case.nodes, case.fault.needs_relay())?;
    let small_disks = case.fault == Fault::Full;
    let place = Place { folder: folder.into(), net, nodes: case.nodes, small_disks };
    let target = Target { place: Arc::new(place), breed: servers::breed(case.kind).into() };
    let relay = match case.fault.needs_relay() {
        true => Some(Relay::start(&target.place.net, case.nodes, case.seed)?),
        false => None,
    };
    let mut servers = Servers::prepare(&target.place, &*target.breed)?;
    Nemesis::first_clocks(case, &mut servers);
    (0..case.nodes).for_each(|node| servers.start(node));
    servers.ready(UP_MAX)?;

    let mut random = Random::new(case.seed);
    let load = Load::start(&target, &case, &mut random);
    let started = load.started();
    let mut nemesis = Nemesis::new(case, &mut servers, relay.as_ref(), started);
    nemesis.rage(started + Duration::from_secs(case.seconds))?;
    nemesis.mend()?;
    let until = started.elapsed();
    let (deeds, fresh_starts) = (nemesis.deeds, nemesis.fresh_starts);
    outcome.faults = nemesis.faults;

    let mut seen = Seen::default();
    outcome.violations.extend(come_to_rest(&load, &mut outcome.recovery));
    load.end(&mut seen);
    outcome.gap = longest_gap(&seen.answered, until);
    outcome.counts = seen.counts;
    if outcome.violations.is_empty() {
        outcome.violations.extend(read_all(&target, &mut random, &mut seen));
    }
    outcome.violations.append(&mut seen.wrong);
    outcome.violations.extend(servers.deaths());
    if outcome.violations.is_empty() {
        outcome.violations.extend(target.breed.agree(&target.place, RECOVERY_MAX).err());
    }
    let facts = Facts {
        fresh_starts,
        drift_ppm: if case.fault.bends_clocks() { DRIFT_PPM } else { 0 },
        wrong_clocks: case.fault.bends_clocks(),
    };
    let verdict = judge::judge(&mut seen.histories, &facts);
    outcome.violations.extend(verdict.violations);
    (outcome.judged, outcome.unjudged) = (verdict.judged, verdict.unjudged);
    let _ = writeln!(story, "{}\n\n{:#?}", deeds.join("\n"), seen.histories);
    drop(servers);
    outcome.packets = relay.map(Relay::end).unwrap_or_default();
    Ok(())
}

/// In peace every node serves, and what was begun is finished. What is not, in time, is a violation.
fn come_to_rest(load: &Load, recovery: &mut Duration) -> Option<String> {
    let peace = Instant::now();
    load.make_peace();
    let wait = |limit: Duration, left: &dyn Fn() -> Vec<usize>| loop {
        let late = left();
        if late.is_empty() || peace.elapsed() > limit {
            return late;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let late = wait(RECOVERY_MAX, &|| load.unserved());
    *recovery = peace.elapsed();
    if !late.is_empty() {
        return Some(format!("clients {late:?} have no service {RECOVERY_MAX:?} after peace"));
    }
    let late = wait(*recovery + SETTLING_MAX, &|| load.unfinished());
    (!late.is_empty()).then(|| format!("clients {late:?} can't finish what they began"))
}

/// Reads every register and counter once more.
fn read_all(target: &Target, random: &mut Random, seen: &mut Seen) -> Option<String> {
    let begun = seen.answered.last().copied().unwrap_or_default();
    let mut last = Seen::default();
    let load = Load::one(target, Box::new(Closer::new(REGISTERS)), random);
    let late = {
        let mut ignored = Duration::ZERO;
        come_to_rest(&load, &mut ignored)
    };
    load.end(&mut last);
    // Its clock began later than the others'.
    for (key, ops) in last.histories.registers {
        let moved = ops.into_iter().map(|op| sim::check::linear::Op {
            invoked: op.invoked + begun,
            returned: op.returned + begun,
            ..op
        });
        seen.histories.registers.entry(key).or_default().extend(moved);
    }
    for (key, (_, value)) in last.histories.counters {
        seen.histories.counters.entry(key).or_default().1 = value;
    }
    for (key, (_, value)) in last.histories.exact {
        seen.histories.exact.entry(key).or_default().1 = value;
    }
    seen.wrong.append(&mut last.wrong);
    late
}

/// The longest time until then in which nobody was answered.
fn longest_gap(answered: &[u64], until: Duration) -> Duration {
    let until = until.as_nanos() as u64;
    let within = answered.iter().copied().filter(|at| *at < until);
    let (mut last, mut longest) = (0, 0);
    for at in within.chain([until]) {
        longest = longest.max(at - last);
        last = at;
    }
    Duration::from_nanos(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_gap_ends_with_the_faults() {
        let at = Duration::from_nanos;
        assert_eq!(longest_gap(&[1, 4, 5, 30], at(12)), at(7));
        assert_eq!(longest_gap(&[], at(12)), at(12));
    }
}
