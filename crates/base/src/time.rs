//! Time as an argument. A core never reads a clock: whoever drives it passes `now`.

use std::ops::{Add, Sub};
use std::time::Duration;

/// Monotonic time of one machine, nanoseconds since an origin of its own. For leases and timeouts;
/// on Linux it is CLOCK_BOOTTIME, which runs on while a machine sleeps. Never compared across nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mono(pub u64);

/// Wall-clock time, nanoseconds since the Unix epoch. For expiry and ids, through a shard's stamps;
/// it may be wrong, and jump, on any single machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Wall(pub u64);

/// The two times of one moment, sampled after the bytes being handled arrived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time {
    /// For leases and timeouts.
    pub mono: Mono,
    /// For expiry and ids.
    pub wall: Wall,
}

/// Nanoseconds in a millisecond.
pub const MILLISECOND: u64 = 1_000_000;
/// Nanoseconds in a second.
pub const SECOND: u64 = 1_000_000_000;

impl Mono {
    /// Nanoseconds from `earlier` until `self`; zero if `earlier` is the later one.
    pub fn since(self, earlier: Mono) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Mono {
    type Output = Mono;
    fn add(self, duration: Duration) -> Mono {
        Mono(self.0.saturating_add(duration.as_nanos().min(u128::from(u64::MAX)) as u64))
    }
}

impl Sub<Duration> for Mono {
    type Output = Mono;
    fn sub(self, duration: Duration) -> Mono {
        Mono(self.0.saturating_sub(duration.as_nanos().min(u128::from(u64::MAX)) as u64))
    }
}
