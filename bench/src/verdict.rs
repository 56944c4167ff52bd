//! What must be shown, line by line, and whether it was: aims, ratios and what came of them.

use crate::case::{At, Case, Pace, Workload};
use crate::plan::{CONNECTIONS, MEMORY, SPEED, VALUES};
use crate::spread::Spread;
use crate::subject::Subject;
use crate::turn::{self, Of, Turn};
use std::fmt;

/// A line of "Must show", or a part of one.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// Which line.
    pub line: u8,
    /// What was compared.
    pub what: String,
    /// What was measured.
    pub got: Option<Spread>,
    /// What it should be.
    pub aim: Aim,
}

/// A bound on a median.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Aim {
    /// This or more.
    AtLeast(f64),
    /// Less than this.
    Below(f64),
}

impl Verdict {
    /// Whether the median is within the aim; what was not measured is not.
    pub fn holds(&self) -> bool {
        self.got.is_some_and(|got| match self.aim {
            Aim::AtLeast(bound) => got.median >= bound,
            Aim::Below(bound) => got.median < bound,
        })
    }
}

/// `1 pass  set …, underpin / etcd, ops/s: 6.10 [5.80–6.30], at least 5`.
impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}: ", self.line, if self.holds() { "pass" } else { "MISS" }, self.what)?;
        match self.got {
            Some(got) => write!(f, "{got}")?,
            None => f.write_str("not measured")?,
        }
        match self.aim {
            Aim::AtLeast(bound) => write!(f, ", at least {bound}"),
            Aim::Below(bound) => write!(f, ", below {bound}"),
        }
    }
}

/// Lines 1 to 7; the eighth is judged by the recovery benchmark.
pub fn judge(turns: &[Turn]) -> Vec<Verdict> {
    let mut verdicts = vec![];
    for at in At::ALL {
        speed(turns, at, &mut verdicts);
    }
    memory(turns, &mut verdicts);
    cliffs(turns, &mut verdicts);
    verdicts.sort_by_key(|verdict| verdict.line);
    verdicts
}

fn speed(turns: &[Turn], at: At, verdicts: &mut Vec<Verdict>) {
    let set = Case { at, ..Case::default() };
    let get = Case { workload: Workload::Get, ..set.clone() };
    let piped = |case: &Case| Case { pipeline: 16, ..case.clone() };
    let half = Case { pace: Pace::Half, ..set.clone() };
    let rate: Of<'_> = &Turn::throughput;
    let per_cpu: Of<'_> = &Turn::per_cpu_second;
    let p99: Of<'_> = &|turn| turn.latency_us[3] as f64;
    let mut compare = |line, case: &Case, peer: Subject, (name, number): (&str, Of<'_>), aim| {
        let got = turn::ratio(turns, SPEED, case, [Subject::Underpin, peer], number);
        let what = format!("{case}, underpin / {}, {name}", peer.name());
        verdicts.push(Verdict { line, what, got, aim });
    };
    let rate = ("ops/s", rate);
    compare(1, &set, Subject::Etcd, rate, Aim::AtLeast(5.0));
    compare(1, &set, Subject::ZooKeeper, rate, Aim::AtLeast(5.0));
    compare(1, &set, Subject::Redis, rate, Aim::AtLeast(1.0));
    compare(2, &piped(&set), Subject::Redis, rate, Aim::AtLeast(0.7));
    compare(3, &get, Subject::Redis, ("ops per server CPU second", per_cpu), Aim::AtLeast(0.8));
    let piped = piped(&get);
    compare(3, &piped, Subject::Redis, ("ops per server CPU second", per_cpu), Aim::AtLeast(0.5));
    compare(3, &get, Subject::Etcd, rate, Aim::AtLeast(5.0));
    compare(4, &half, Subject::Etcd, ("p99", p99), Aim::Below(1.0));
    compare(4, &half, Subject::ZooKeeper, ("p99", p99), Aim::Below(1.0));
    compare(5, &set, Subject::Nats, rate, Aim::AtLeast(1.0));
    // Only where a newer server was named.
    if turns.iter().any(|turn| turn.subject == Subject::NatsAlways) {
        compare(5, &set, Subject::NatsAlways, rate, Aim::AtLeast(1.5));
    }
}

fn memory(turns: &[Turn], verdicts: &mut Vec<Verdict>) {
    let case = turns.iter().find(|turn| turn.part == MEMORY).map(|turn| turn.case.clone());
    let case = case.unwrap_or_default();
    let pair = [Subject::Underpin, Subject::Etcd];
    let number: Of<'_> = &|turn| turn.memory_of_one as f64;
    verdicts.push(Verdict {
        line: 6,
        what: format!("{case}, underpin / etcd, peak memory of the largest process"),
        got: turn::ratio(turns, MEMORY, &case, pair, number),
        aim: Aim::Below(1.0),
    });
    let idle =
        turns.iter().filter(|turn| turn.subject == Subject::Underpin && turn.memory_idle > 0);
    verdicts.push(Verdict {
        line: 6,
        what: "memory of an idle process, MB".into(),
        got: Spread::of(idle.map(|turn| turn.memory_idle as f64 / 1e6)),
        aim: Aim::Below(40.0),
    });
}

/// A step up a curve multiplies connections, or bytes of a value, by some factor. It is a cliff when
/// operations (or bytes) a second fall below four fifths of what they were, or when p99 grows by more
/// than half again as much as the factor.
fn cliffs(turns: &[Turn], verdicts: &mut Vec<Verdict>) {
    for (part, what, size, bytes) in [
        (CONNECTIONS, "connections", (|case| case.connections) as fn(&Case) -> usize, false),
        (VALUES, "bytes of a value", |case| case.value, true),
    ] {
        for workload in [Workload::Set, Workload::Get] {
            let mut cases: Vec<&Case> = vec![];
            let of_part = turns.iter().filter(|turn| turn.part == part);
            for turn in of_part.filter(|turn| turn.case.workload == workload) {
                if !cases.contains(&&turn.case) {
                    cases.push(&turn.case);
                }
            }
            let median = |case: &Case, number: Of<'_>| {
                let of = turn::of(turns, part, case, Subject::Underpin).map(number);
                Spread::of(of).unwrap_or_default().median
            };
            let mut carried = vec![];
            let mut grown = vec![];
            for pair in cases.windows(2) {
                let factor = size(pair[1]) as f64 / size(pair[0]) as f64;
                let rate = median(pair[1], &Turn::throughput) / median(pair[0], &Turn::throughput);
                carried.push(if bytes { rate * factor } else { rate });
                let p99: Of<'_> = &|turn| turn.latency_us[3] as f64;
                grown.push(median(pair[1], p99) / median(pair[0], p99) / factor);
            }
            let name = workload.name();
            let unit = if bytes { "bytes" } else { "operations" };
            let lowest = |values: &[f64]| values.iter().copied().reduce(f64::min);
            let highest = |values: &[f64]| values.iter().copied().reduce(f64::max);
            let only = |value: Option<f64>| Spread::of(value);
            verdicts.push(Verdict {
                line: 7,
                what: format!("{name} by {what}, the worst step of {unit} a second"),
                got: only(lowest(&carried)),
                aim: Aim::AtLeast(0.8),
            });
            verdicts.push(Verdict {
                line: 7,
                what: format!("{name} by {what}, the worst step of p99 beside the step itself"),
                got: only(highest(&grown)),
                aim: Aim::Below(1.5),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::turn::tests::turn;

    fn within(part: &str, mut turn: Turn) -> Turn {
        turn.part = part.into();
        turn
    }

    fn find<'a>(verdicts: &'a [Verdict], line: u8, word: &str) -> &'a Verdict {
        let found =
            verdicts.iter().find(|verdict| verdict.line == line && verdict.what.contains(word));
        found.expect("a verdict")
    }

    #[test]
    fn each_line_is_judged_by_its_median_ratio() {
        let turns = [
            within(SPEED, turn(Subject::Underpin, 1, 500)),
            within(SPEED, turn(Subject::Etcd, 1, 100)),
            within(SPEED, turn(Subject::Redis, 1, 501)),
        ];
        let verdicts = judge(&turns);
        let etcd = find(&verdicts, 1, "spread, closed, underpin / etcd");
        assert!(etcd.holds(), "{etcd}");
        assert!(!find(&verdicts, 1, "/ redis").holds());
        let missing = find(&verdicts, 1, "/ zookeeper");
        assert!(!missing.holds());
        assert!(missing.to_string().ends_with("not measured, at least 5"), "{missing}");
        assert!(find(&verdicts, 6, "idle").holds());
        assert!(verdicts.iter().all(|verdict| !verdict.what.contains("nats-always")));
        assert!((1..=7).all(|line| verdicts.iter().any(|verdict| verdict.line == line)));
    }

    #[test]
    fn a_cliff_is_seen() {
        let at = |connections: usize, ops: u64, p99: u64| {
            let mut turn = within(CONNECTIONS, turn(Subject::Underpin, 1, ops));
            turn.case.connections = connections;
            turn.latency_us[3] = p99;
            turn
        };
        let fine = judge(&[at(1, 100, 100), at(4, 350, 120), at(16, 300, 600)]);
        assert!(find(&fine, 7, "set by connections, the worst step of operations").holds());
        assert!(find(&fine, 7, "set by connections, the worst step of p99").holds());
        let cliff = judge(&[at(1, 100, 100), at(4, 350, 120), at(16, 200, 900)]);
        assert!(!find(&cliff, 7, "set by connections, the worst step of operations").holds());
        assert!(!find(&cliff, 7, "set by connections, the worst step of p99").holds());
    }
}
