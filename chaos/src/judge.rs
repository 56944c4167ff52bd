//! What clients saw, put to the simulator's judges.

use sim::check::{self, bank, counter, expiry, linear};
use sim::workload::Histories;

/// How far shard time may lag behind, by messages that waited for a process that stood still or a
/// link that was cut, in ns.
const LAG_NS_MAX: u64 = 8_000_000_000;
/// A leader may let shard time run so much fast to make up for a lag, in millionths.
const SLEW_PPM: u64 = 8000;
/// A leader may find everybody fresh, and step, for so long after that.
const STEPS_NS: u64 = 6_000_000_000;

/// What is known of a run besides histories.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// When a majority began anew within a few seconds.
    pub fresh_starts: Vec<u64>,
    /// How far monotonic clocks drift.
    pub drift_ppm: u64,
    /// Whether some wall clocks are wrong at will.
    pub wrong_clocks: bool,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// What can't be true.
    pub violations: Vec<String>,
    /// Histories of registers that were too hard to judge.
    pub unjudged: u64,
    /// How much there was to judge: operations on registers, increments, looks at the bank that saw
    /// money moved, pairs of events in sessions, ends of keys, walks.
    pub judged: Vec<(&'static str, u64)>,
}

/// Judges a run.
pub fn judge(histories: &mut Histories, facts: &Facts) -> Verdict {
    let mut verdict = Verdict::default();
    registers(histories, &mut verdict);
    counters(histories, &mut verdict);
    match bank::check(&histories.looks) {
        Ok(looks) => verdict.judged.push(("looks at the bank", looks)),
        Err(wrong) => verdict.violations.push(wrong),
    }
    let mut pairs = 0;
    for (name, found) in check::of_sessions(&histories.sessions) {
        match found {
            Ok(some) => pairs += some,
            Err(wrong) => verdict.violations.push(format!("{name}: {wrong}")),
        }
    }
    verdict.judged.push(("pairs in sessions", pairs));
    ends(histories, facts, &mut verdict);
    verdict.judged.push(("walks", histories.walks));
    verdict.judged.retain(|(_, count)| *count > 0);
    verdict
}

fn registers(histories: &Histories, verdict: &mut Verdict) {
    for (key, ops) in &histories.registers {
        match linear::check(ops) {
            linear::Verdict::Fine => {}
            linear::Verdict::TooHard => verdict.unjudged += 1,
            linear::Verdict::Impossible(near) => {
                let near: Vec<String> = near.iter().map(|op| format!("\n    {op}")).collect();
                let near = near.concat();
                let what = format!("register {key} is not linearizable near{near}");
                verdict.violations.push(what);
            }
        }
    }
    let ops = histories.registers.values().map(|ops| ops.len() as u64).sum();
    verdict.judged.push(("operations on registers", ops));
}

fn counters(histories: &Histories, verdict: &mut Verdict) {
    let plain = histories.counters.iter().map(|of| ("counter", of));
    let exact = histories.exact.iter().map(|of| ("counter with sessions", of));
    let mut all = 0;
    for (what, (key, (increments, last))) in plain.chain(exact) {
        all += increments.len() as u64;
        let found = match last {
            Some(last) => counter::check(increments, *last),
            None => Err("was never read in the end".into()),
        };
        if let Err(wrong) = found {
            verdict.violations.push(format!("{what} {key}: {wrong}"));
        }
    }
    verdict.judged.push(("increments", all));
}

/// Keys that end. Shard time is not seen from outside; it may only have stepped when all that voted
/// for a leader were fresh.
fn ends(histories: &mut Histories, facts: &Facts, verdict: &mut Verdict) {
    for spell in histories.spells.iter_mut().flatten() {
        spell.lag_ns = (!facts.wrong_clocks).then_some(LAG_NS_MAX);
    }
    let moments = |from: &u64| (*from..*from + STEPS_NS).step_by(10_000_000);
    let time = expiry::ShardTime {
        fast_ppm: SLEW_PPM + facts.drift_ppm,
        steps: facts.fresh_starts.iter().flat_map(moments).collect(),
        ahead_ns: 100_000_000,
    };
    let mut judged = expiry::Judged::default();
    for spells in &histories.spells {
        match expiry::check(spells, &time) {
            Ok(some) => judged.add(some),
            Err(wrong) => verdict.violations.push(format!("a key that ends: {wrong}")),
        }
    }
    verdict.judged.push(("ends of keys", judged.ends));
    verdict.judged.push(("ends excused by a step", judged.excused));
}

#[cfg(test)]
mod tests {
    use super::*;
    use sim::check::counter::Increment;
    use sim::check::expiry::{Look, Spell};
    use sim::check::linear::{Kind, Op};

    fn found(histories: &mut Histories) -> Vec<String> {
        judge(histories, &Facts::default()).violations
    }

    #[test]
    fn every_judge_is_asked() {
        assert_eq!(found(&mut Histories::default()), [""; 0]);

        let op = |kind, invoked| Op { kind, invoked, returned: invoked + 1 };
        let stale = vec![op(Kind::Write(1), 0), op(Kind::Read(0), 5)];
        let mut histories = Histories { registers: [(0, stale)].into(), ..Histories::default() };
        assert!(found(&mut histories)[0].contains("not linearizable"));

        let one = Increment { invoked: 0, returned: Some(1), value: 1 };
        let lost = [(0, (vec![one], Some(0)))].into();
        assert_eq!(found(&mut Histories { exact: lost, ..Histories::default() }).len(), 1);

        let looks = vec![vec![5, 0]];
        assert_eq!(found(&mut Histories { looks, ..Histories::default() }).len(), 1);
    }

    #[test]
    fn an_early_end_is_excused_only_after_most_began_anew() {
        let second = 1_000_000_000;
        let spell = Spell {
            value: 1,
            ttl_ns: 4 * second,
            invoked: second,
            returned: Some(second + 1),
            lag_ns: None,
            looks: vec![Look { invoked: 2 * second, returned: 2 * second + 1, value: None }],
        };
        let histories = || Histories { spells: vec![vec![spell.clone()]], ..Histories::default() };
        assert_eq!(found(&mut histories()).len(), 1);
        let facts = Facts { fresh_starts: vec![second / 2], ..Facts::default() };
        assert_eq!(judge(&mut histories(), &facts).violations, [""; 0]);
    }
}
