//! When requests are due.
//!
//! In the closed loop a request is due as soon as a connection has room: the load slows down with
//! its server, so it says how much a server can do. In the open loop requests are due at a fixed
//! rate whatever the server does, and each latency is counted from when its request was *due*, not
//! from when a connection had room for it: a server that stalls for a second has kept everybody
//! waiting who came in that second (Tene's "coordinated omission").

use std::time::{Duration, Instant};

/// Says what is due during one stretch.
#[derive(Clone, Debug)]
pub struct Schedule {
    start: Instant,
    /// None: until the requests are all made.
    end: Option<Instant>,
    /// Requests a second; none in the closed loop.
    rate: Option<f64>,
    taken: u64,
}

impl Schedule {
    /// A stretch that begins now.
    pub fn new(start: Instant, limit: Option<Duration>, rate: Option<f64>) -> Schedule {
        Schedule { start, end: limit.map(|limit| start + limit), rate, taken: 0 }
    }

    /// When the next request was due, if it is by now; asking again asks for the same one.
    pub fn due(&self, now: Instant) -> Option<Instant> {
        match self.upcoming() {
            Some(due) => (due <= now && !self.ended(due)).then_some(due),
            None => (!self.ended(now)).then_some(now),
        }
    }

    /// The one that was due has been taken.
    pub fn take(&mut self) {
        self.taken += 1;
    }

    /// How long until the next request is due; nothing in the closed loop, and at the end.
    pub fn pause(&self, now: Instant) -> Option<Duration> {
        let due = self.upcoming().filter(|due| !self.ended(*due))?;
        Some(due.saturating_duration_since(now))
    }

    /// Whether nothing more becomes due. What was due before the end may still wait.
    pub fn over(&self, now: Instant) -> bool {
        self.ended(now)
    }

    /// When the next one is due, which may be behind the end.
    fn upcoming(&self) -> Option<Instant> {
        Some(self.start + Duration::from_secs_f64(self.taken as f64 / self.rate?))
    }

    fn ended(&self, at: Instant) -> bool {
        self.end.is_some_and(|end| at >= end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn an_open_loop_is_due_at_its_rate_whatever_happens() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start, Some(ms(50)), Some(100.0));
        assert_eq!(schedule.due(start), Some(start));
        schedule.take();
        assert_eq!(schedule.due(start + ms(9)), None);
        assert_eq!(schedule.pause(start + ms(4)), Some(ms(6)));
        // After a stall all that was due meanwhile is due when it was due.
        let late = start + ms(38);
        for at in [10, 20, 30] {
            assert_eq!(schedule.due(late), Some(start + ms(at)));
            schedule.take();
        }
        assert_eq!(schedule.due(late), None);
        assert!(!schedule.over(late));
        // What was due before the end still is, behind it; the next one never was.
        assert_eq!(schedule.due(start + ms(99)), Some(start + ms(40)));
        schedule.take();
        assert_eq!(schedule.due(start + ms(99)), None);
        assert_eq!(schedule.pause(start + ms(45)), None);
        assert!(schedule.over(start + ms(50)));
    }

    #[test]
    fn a_closed_loop_is_always_due_until_its_end() {
        let start = Instant::now();
        let schedule = Schedule::new(start, Some(ms(50)), None);
        assert_eq!(schedule.due(start + ms(7)), Some(start + ms(7)));
        assert_eq!(schedule.pause(start), None);
        assert_eq!(schedule.due(start + ms(50)), None);
        let endless = Schedule::new(start, None, None);
        assert!(endless.due(start + ms(1_000_000)).is_some() && !endless.over(start + ms(99)));
    }
}
