//! Shard time: the stamps in a shard's log.
//!
//! Expiry, versions and fences compare stamps, and every replica sees the same stamps, so none of
//! them ever consults a clock of its own. What is left to decide is where a leader takes the next
//! stamp from. Straight from its wall clock would be wrong: a leader whose clock is an hour ahead
//! would expire every lease at once, and its successor, an hour behind, would have to stand still
//! for an hour or bring the dead back.
//!
//! So the clock of a shard is its log. It runs on from the last stamp at the rate of the monotonic
//! clock, whoever leads, and it may be moved *up*, to the time that the wall clocks of a majority
//! of the voters have reached ([`crate::liveness::Liveness::clock_of`]), and no further:
//!
//! ```text
//! last stamp 12:00:00, 5 s ago, quorum clock 12:00:05   ->  12:00:05   the ordinary case
//! leader's own clock says 13:00, the quorum's 12:00:05  ->  12:00:05   one wrong clock: no matter
//! quorum clock 11:00 (all clocks were set back)         ->  12:00:05   never back, never still
//! every node was down for an hour, quorum clock 13:00   ->  13:00:00   time passed meanwhile
//! no quorum of clocks known                             ->  12:00:05   the monotonic clock carries
//! ```
//!
//! Invariants: stamps that [`ShardClock::next`] hands out rise strictly and lie strictly above every
//! stamp observed; a minority of wrong clocks moves nothing. Caveat: monotonic clocks that run fast
//! against wall time move shard time ahead of it, a few seconds a day at worst on machines without
//! NTP, and nothing moves it back but waiting.

use base::{Mono, Stamp, Wall};

/// The clock of one shard as one replica knows it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ShardClock {
    /// The highest stamp observed or handed out.
    last: Stamp,
    /// When that was.
    at: Mono,
}

impl ShardClock {
    /// A clock that continues after `last`, the highest stamp in the log, from `now` on.
    pub fn new(last: Stamp, now: Mono) -> ShardClock {
        ShardClock { last, at: now }
    }

    /// An entry with `stamp` was appended here. Older stamps than the highest change nothing.
    pub fn observe(&mut self, stamp: Stamp, now: Mono) {
        if stamp >= self.last {
            (self.last, self.at) = (stamp, now);
        }
    }

    /// A stamp for the next entry: strictly above every earlier one. `median` is the time that a
    /// quorum of wall clocks has reached, if it is known.
    pub fn next(&mut self, now: Mono, median: Option<Wall>) -> Stamp {
        let stamp = self.peek(now, median).max(Stamp(self.last.0 + 1));
        assert!(stamp > self.last, "shard time stood still at {stamp}");
        (self.last, self.at) = (stamp, now.max(self.at));
        stamp
    }

    /// As [`ShardClock::next`] for an entry that holds `count` commands, each with a stamp of its
    /// own: takes `count` stamps in a row and returns the last of them.
    pub fn next_of(&mut self, count: u64, now: Mono, median: Option<Wall>) -> Stamp {
        assert!(count > 0, "an entry has at least one stamp");
        self.next(now, median);
        self.last.0 += count - 1;
        self.last
    }

    /// The present shard time, without handing it out.
    pub fn peek(&self, now: Mono, median: Option<Wall>) -> Stamp {
        let carried = self.last.0.saturating_add(now.since(self.at));
        // A bound far in the future keeps arithmetic on a nonsense clock from overflowing.
        Stamp(carried.max(median.map_or(0, |wall| wall.0)).min(STAMP_MAX))
    }

    /// The highest stamp observed or handed out.
    pub fn last(&self) -> Stamp {
        self.last
    }
}

/// About the year 2262, where signed nanoseconds end as well.
const STAMP_MAX: u64 = i64::MAX as u64;

#[cfg(test)]
mod tests {
    use super::*;
    use base::time::SECOND;

    const HOUR: u64 = 3600 * SECOND;
    const NOON: u64 = 1_700_000_000 * SECOND;

    fn mono(seconds: u64) -> Mono {
        Mono(seconds * SECOND)
    }
    fn wall(seconds_after_noon: i64) -> Option<Wall> {
        Some(Wall(NOON.strict_add_signed(seconds_after_noon * SECOND as i64)))
    }

    #[test]
    fn stamps_rise_strictly_even_when_no_time_passes() {
        let mut clock = ShardClock::new(Stamp(NOON), mono(0));
        assert_eq!(clock.next(mono(0), None), Stamp(NOON + 1));
        assert_eq!(clock.next(mono(0), None), Stamp(NOON + 2));
        assert_eq!(clock.next(mono(0), wall(0)), Stamp(NOON + 3));
    }

    #[test]
    fn a_quorum_clock_an_hour_back_neither_stops_nor_turns_it() {
        let mut clock = ShardClock::new(Stamp(NOON), mono(0));
        assert_eq!(clock.next(mono(5), wall(-3600)), Stamp(NOON + 5 * SECOND));
        assert_eq!(clock.next(mono(7), wall(-3598)), Stamp(NOON + 7 * SECOND));
    }

    #[test]
    fn it_moves_up_to_the_quorum_clock_after_an_outage() {
        let mut clock = ShardClock::new(Stamp(NOON), mono(0));
        assert_eq!(clock.next(mono(1), None), Stamp(NOON + SECOND));
        assert_eq!(clock.next(mono(2), wall(3600)), Stamp(NOON + HOUR));
        // The clocks are set right again: what was handed out stands, and time runs on from it.
        assert_eq!(clock.next(mono(3), wall(3)), Stamp(NOON + HOUR + SECOND));
    }

    #[test]
    fn a_new_leader_runs_on_from_the_stamp_it_observed() {
        let mut follower = ShardClock::new(Stamp::default(), mono(0));
        follower.observe(Stamp(NOON), mono(100));
        follower.observe(Stamp(NOON - 5), mono(105));
        assert_eq!(follower.peek(mono(110), None), Stamp(NOON + 10 * SECOND));
        assert_eq!(follower.next(mono(110), wall(-3600)), Stamp(NOON + 10 * SECOND));
        assert_eq!(follower.last(), Stamp(NOON + 10 * SECOND));
    }

    #[test]
    fn peeking_hands_nothing_out() {
        let mut clock = ShardClock::new(Stamp(NOON), mono(0));
        assert_eq!(clock.peek(mono(1), None), clock.peek(mono(1), None));
        assert_eq!(clock.next(mono(1), None), Stamp(NOON + SECOND));
    }
}
