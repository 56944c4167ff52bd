//! The two clocks of a real node.
//!
//! `mono` is CLOCK_BOOTTIME: it runs on while the machine sleeps, so a leader that was suspended
//! knows that its lease is over. `wall` is the system's time; a test may shift it and let it run
//! fast or slow, to show that nothing safe rests on it. A test may let `mono` drift too: by as much
//! as leases allow for, nothing may break, and by far more, a test has to notice.

use base::time::MILLISECOND;
use base::{Mono, Time, Wall};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How a test bends the clocks of one node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClockTest {
    /// Milliseconds ahead of (or, negative, behind) the system's time. Default 0.
    pub offset_ms: i64,
    /// Parts per million that it runs too fast. Default 0.
    pub rate_ppm: i64,
    /// Parts per million that the monotonic clock runs too fast. Default 0.
    pub mono_ppm: i64,
}

/// Reads both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    test: ClockTest,
    started: Mono,
}

impl Clock {
    /// The system's clocks, bent by `test`.
    pub fn new(test: ClockTest) -> Clock {
        Clock { test, started: mono() }
    }

    /// The time now. Whoever handles bytes samples it after they arrived.
    pub fn now(&self) -> Time {
        let mono = mono();
        Time { mono: self.drift(mono), wall: Wall(self.bend(mono, system_wall())) }
    }

    /// What a monotonic clock shows that was right when the node started.
    fn drift(&self, mono: Mono) -> Mono {
        let drift =
            i128::from(mono.since(self.started)) * i128::from(self.test.mono_ppm) / 1_000_000;
        Mono((i128::from(mono.0) + drift) as u64)
    }

    fn bend(&self, mono: Mono, wall: u64) -> u64 {
        let run = i128::from(mono.since(self.started));
        let offset = i128::from(self.test.offset_ms) * i128::from(MILLISECOND);
        let drift = run * i128::from(self.test.rate_ppm) / 1_000_000;
        (i128::from(wall) + offset + drift).clamp(0, i128::from(u64::MAX)) as u64
    }
}

fn mono() -> Mono {
    #[cfg(target_os = "linux")]
    let id = rustix::time::ClockId::Boottime;
    #[cfg(not(target_os = "linux"))]
    let id = rustix::time::ClockId::Monotonic;
    let now = rustix::time::clock_gettime(id);
    Mono(now.tv_sec as u64 * base::time::SECOND + now.tv_nsec as u64)
}

/// Time that the processor spent on this thread so far.
pub(crate) fn thread_cpu() -> Duration {
    let spent = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(spent.tv_sec as u64, spent.tv_nsec as u32)
}

fn system_wall() -> u64 {
    // Before 1970 the shards' stamps hold the line; zero is as good as any wrong time.
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}

/// A random number of the operating system.
pub(crate) fn entropy_u64() -> u64 {
    u64::from_le_bytes(*entropy().first_chunk().expect("32 bytes hold 8"))
}

/// Random bytes of the operating system.
pub(crate) fn entropy() -> [u8; 32] {
    let mut bytes = [0; 32];
    // Up to 256 bytes come whole and can't fail once the system's generator is seeded.
    let got = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    assert_eq!(got, Ok(bytes.len()), "the operating system gives no random bytes");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_clocks_run_and_the_wall_clock_can_be_bent() {
        let (straight, ahead) = (
            Clock::new(ClockTest::default()),
            Clock::new(ClockTest { offset_ms: 3_600_000, ..ClockTest::default() }),
        );
        let (first, second) = (straight.now(), ahead.now());
        assert!(second.mono >= first.mono);
        let ahead_ms = (second.wall.0 - first.wall.0) / MILLISECOND;
        assert!((3_600_000..3_610_000).contains(&ahead_ms), "{ahead_ms}");
    }

    #[test]
    fn a_rate_adds_up_from_the_start() {
        let test = ClockTest { offset_ms: -1, rate_ppm: 500, mono_ppm: -250_000 };
        let clock = Clock { test, started: Mono(0) };
        assert_eq!(clock.bend(Mono(2_000_000_000), 10_000_000), 10_000_000 - 1_000_000 + 1_000_000);
        assert_eq!(clock.bend(Mono(0), 0), 0, "no time before 1970");
        assert_eq!(clock.drift(Mono(2_000_000_000)), Mono(1_500_000_000));
    }
}
