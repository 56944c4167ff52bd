//! A node's two clocks, as functions of the world's true time.

use base::time::{MILLISECOND, SECOND};
use base::{Mono, Random, Time, Wall};

/// The true wall time at the world's beginning.
pub const EPOCH_NS: u64 = 1_700_000_000_000 * MILLISECOND;

/// The clocks of one machine.
#[derive(Clone, Debug)]
pub struct HostClock {
    /// The monotonic clock's value when true time was `since`.
    origin: u64,
    since: u64,
    /// How much faster it runs, in millionths.
    rate_ppm: i64,
    wall_offset_ns: i64,
}

impl HostClock {
    /// A clock that drifts by `rate_ppm` and whose wall clock is `wall_offset_ns` ahead.
    pub fn new(rate_ppm: i64, wall_offset_ns: i64) -> HostClock {
        HostClock { origin: SECOND, since: 0, rate_ppm, wall_offset_ns }
    }

    /// What it shows at a true time.
    pub fn at(&self, now: u64) -> Time {
        let elapsed = i128::from(now - self.since);
        let ran = elapsed + elapsed * i128::from(self.rate_ppm) / 1_000_000;
        let wall = (EPOCH_NS + now).saturating_add_signed(self.wall_offset_ns);
        Time { mono: Mono(self.origin + ran as u64), wall: Wall(wall) }
    }

    /// The first true time, not before `now`, at which the monotonic clock shows at least `mono`.
    pub fn when(&self, mono: Mono, now: u64) -> u64 {
        let ran = i128::from(mono.0.saturating_sub(self.origin));
        let rate = i128::from(1_000_000 + self.rate_ppm);
        let elapsed = (ran * 1_000_000 + rate - 1) / rate;
        let mut at = self.since.saturating_add(u64::try_from(elapsed).unwrap_or(u64::MAX));
        if at < 1 << 62 && self.at(at.max(self.since)).mono < mono {
            at += 1;
        }
        at.max(now)
    }

    /// The machine starts anew: its monotonic clock begins somewhere else.
    pub fn reboot(&mut self, now: u64, random: &mut Random) {
        (self.origin, self.since) = (random.below(1000 * SECOND), now);
    }

    /// Somebody sets the wall clock.
    pub fn step_wall(&mut self, by_ns: i64) {
        self.wall_offset_ns += by_ns;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_met_by_the_clock_that_set_it() {
        for rate in [-200_000, -1000, 0, 7, 20_000] {
            let mut clock = HostClock::new(rate, 0);
            clock.reboot(12345, &mut Random::new(1));
            for now in [12345, 20_000, 1_000_000_007] {
                let mono = clock.at(now).mono;
                assert!(clock.at(clock.when(mono, 12345)).mono >= mono);
                let later = Mono(mono.0 + 77_777_777);
                let at = clock.when(later, now);
                assert!(clock.at(at).mono >= later, "rate {rate} now {now}");
                assert!(clock.at(at - 2).mono < later, "rate {rate} now {now}");
            }
        }
    }
}
