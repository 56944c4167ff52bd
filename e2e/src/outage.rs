//! How long nothing was acknowledged.
//!
//! After each fault the outage is the longest time between two acknowledged writes, of whichever
//! writer, up to the next fault. A fault that nobody noticed counts too, with its small gap.

use std::fmt;
use std::time::{Duration, Instant};

/// The outages of a run, shortest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outages(Vec<Duration>);

impl Outages {
    /// Finds them: `faults` in order, `acknowledged` in any order, `end` of the run.
    pub fn find(faults: &[Instant], mut acknowledged: Vec<Instant>, end: Instant) -> Outages {
        acknowledged.sort();
        let ends = faults.iter().skip(1).copied().chain([end]);
        let mut outages: Vec<Duration> = faults
            .iter()
            .zip(ends)
            .map(|(start, end)| longest(&acknowledged, *start, end))
            .collect();
        outages.sort();
        Outages(outages)
    }

    /// The outage that `percent` of all do not exceed.
    pub fn percentile(&self, percent: f64) -> Duration {
        assert!(!self.0.is_empty(), "no faults, no outages");
        let rank = (percent / 100.0 * self.0.len() as f64).ceil() as usize;
        self.0[rank.clamp(1, self.0.len()) - 1]
    }
}

/// The longest gap between acknowledgements from `start` to `end`, both counted as such.
fn longest(acknowledged: &[Instant], start: Instant, end: Instant) -> Duration {
    let within = acknowledged.iter().copied().filter(|at| (start..end).contains(at));
    let mut last = start;
    let mut longest = Duration::ZERO;
    for at in within.chain([end]) {
        longest = longest.max(at - last);
        last = at;
    }
    longest
}

impl fmt::Display for Outages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "time without acknowledged writes, {} faults, ms:", self.0.len())?;
        for percent in [0.0, 25.0, 50.0, 75.0, 90.0, 99.0, 100.0] {
            write!(f, " p{percent} {}", self.percentile(percent).as_millis())?;
        }
        let all: Vec<String> = self.0.iter().map(|one| one.as_millis().to_string()).collect();
        write!(f, "\n  all: {}", all.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_gap_after_each_fault() {
        let zero = Instant::now();
        let at = |ms: u64| zero + Duration::from_millis(ms);
        let acknowledged = [5, 10, 15, 400, 410, 1000, 1005, 1030].map(at).to_vec();
        let outages = Outages::find(&[at(12), at(1000)], acknowledged, at(1040));
        assert_eq!(outages, Outages(vec![Duration::from_millis(25), Duration::from_millis(590)]));
        assert_eq!(outages.percentile(50.0), Duration::from_millis(25));
        assert_eq!(outages.percentile(99.0), Duration::from_millis(590));
    }

    #[test]
    fn an_outage_that_never_ends_is_as_long_as_the_run() {
        let zero = Instant::now();
        let outages = Outages::find(&[zero], vec![], zero + Duration::from_secs(9));
        assert_eq!(outages.percentile(50.0), Duration::from_secs(9));
    }
}
