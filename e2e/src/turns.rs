//! How long turns of nodes took during some stretch, by the wall's clock and by the processor's.
//!
//! A node's turn is over when its thread has done it, but on a machine that more threads want than
//! it has cores, the thread may have to wait in the middle of one. What the node itself is to answer
//! for is the processor's time that its turns took; what a client felt is the wall's time. Both are
//! counted, and the bounds are on the former.

use crate::metrics::Metrics;
use std::fmt;

/// Bounds that turns are sorted by, in milliseconds; all of them are bounds of the nodes' own
/// histograms.
pub const BOUNDS_MS: [u64; 4] = [1, 2, 5, 10];

/// Turns of some nodes, by clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turns {
    /// By the wall's clock.
    pub wall: Counts,
    /// By the processor's time.
    pub cpu: Counts,
}

/// How many there were, and how many exceeded each bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// All of them.
    pub all: u64,
    /// Those over each of [`BOUNDS_MS`].
    pub over: [u64; BOUNDS_MS.len()],
}

impl Turns {
    /// Those between two looks at the same nodes.
    pub fn between(before: &[Metrics], after: &[Metrics]) -> Turns {
        let counts = |name| {
            let mut sum = Counts::default();
            for (before, after) in before.iter().zip(after) {
                sum.add(Counts::of(after, name), Counts::of(before, name));
            }
            sum
        };
        Turns { wall: counts("underpin_turn_seconds"), cpu: counts("underpin_turn_cpu_seconds") }
    }
}

impl Counts {
    fn of(metrics: &Metrics, name: &str) -> Counts {
        let buckets = metrics.histogram(name);
        let within = |seconds: f64| {
            let bucket = buckets.iter().find(|(bound, _)| *bound >= seconds * 0.999);
            bucket.map_or(0.0, |(_, count)| *count)
        };
        let all = within(f64::INFINITY);
        let over = BOUNDS_MS.map(|ms| (all - within(ms as f64 / 1_000.0)) as u64);
        Counts { all: all as u64, over }
    }

    /// Adds what came since.
    fn add(&mut self, after: Counts, before: Counts) {
        self.all += after.all - before.all;
        for (sum, (after, before)) in self.over.iter_mut().zip(after.over.iter().zip(before.over)) {
            *sum += after - before;
        }
    }

    /// How many took longer than one of [`BOUNDS_MS`].
    pub fn over(&self, ms: u64) -> u64 {
        let at = BOUNDS_MS.iter().position(|bound| *bound == ms).expect("one of the bounds");
        self.over[at]
    }
}

/// How many exceeded each bound.
impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [one, two, five, ten] = self.over;
        write!(f, "{one:>6} {two:>6} {five:>6} {ten:>6}")
    }
}
