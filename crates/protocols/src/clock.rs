//! Shard time: the stamps in a shard's log.
//!
//! Expiry, versions and fences compare stamps, and every replica sees the same stamps, so none of
//! them ever consults a clock of its own. What is left to decide is where a leader takes the next
//! stamp from. Straight from its wall clock would be wrong: a leader whose clock is an hour ahead
//! would expire every lease at once, and its successor, an hour behind, would have to stand still
//! for an hour or bring the dead back.
//!
//! So shard time is a *line*: it was so much at some moment, and has run on at the rate of the
//! monotonic clock since. The leader's line is the shard's. Every message of a replica carries a
//! [`Reading`] of the line as it knows it, so followers keep time too; whoever leads next runs on from
//! there, and no wall clock is asked. A reading is never ahead of the line that it is of: it was true
//! when it was sent, and is carried on more slowly than the leader's clock can run.
//!
//! The wall clocks come in twice. The first line of all, and that of a leader who finds nobody that
//! kept time (everyone was restarted), *steps* up to the time that a quorum's clocks have reached,
//! before the leader takes its first command. After that a line is only *slewed* towards that time:
//! it gains 0.8 % of the time that passes, until it is there.
//!
//! ```text
//! line 12:00:00 5 s ago, the quorum's clocks say 12:00:05 -> 12:00:05    the ordinary case
//! the leader's own clock says 13:00, the quorum's 12:00:05 -> 12:00:05   one wrong clock: no matter
//! they say 11:00 (all clocks were set back)               -> 12:00:05    never back, never still
//! they say 12:01 (the line lagged)                        -> 12:00:05.04 and gains 8 ms a second
//! all were down for an hour, they say 13:00               -> 13:00:00    a step; time did pass
//! ```
//!
//! Why not step at any time? A key set at 12:00:05 with a minute to live would be gone with the
//! step to 12:01. By the slew it ends early by 0.8 % of its life at most.
//!
//! Whose word a reading is matters. A line of an earlier leader may lie above that of a later one
//! which had to start from slow clocks, and what was stamped on the later one would end early on the
//! earlier. So a reading names the leader whose line it is, a later leader's replaces an earlier's
//! even if it is lower, and a new leader runs on only from the line that the newest command in its
//! log was stamped on, or a later one ([`ShardClock::by`]).
//!
//! Invariants: stamps rise strictly and lie above every stamp in the log; a line gains on true time
//! by no more than the slew and the error of a monotonic clock; a minority of wrong clocks moves
//! nothing ahead. Caveat: monotonic clocks that run fast against wall time move shard time ahead of
//! it, a few seconds a day at worst on machines without NTP, and nothing moves it back but waiting.

use base::{Mono, Stamp, Term, Wall};

/// Shard time as a replica knows it, as it is told to others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Reading {
    /// The term of the leader whose line it is; term 0 if this replica has not heard of any since it
    /// was started.
    pub by: Term,
    /// What that line had at least reached.
    pub time: Stamp,
}

/// The clock of one shard as one replica knows it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ShardClock {
    /// Shard time was this much at `at`.
    line: Stamp,
    at: Mono,
    by: Term,
    /// How much more slowly than our clock the line of somebody else may run, in millionths.
    slack_ppm: u64,
    /// What a line that lags behind the quorum's clocks gains, in millionths of the time that passes.
    slew_ppm: u64,
}

impl ShardClock {
    /// The clock of a replica that was just started: `last` is the highest stamp in its log, and how
    /// long ago that was made nobody knows. A line that lags gains `slew_ppm` millionths.
    pub fn new(slew_ppm: u64, last: Stamp, now: Mono) -> ShardClock {
        ShardClock { line: last, at: now, by: Term(0), slack_ppm: 0, slew_ppm }
    }

    /// The term of the leader whose line this is; term 0 for nobody's.
    pub fn by(&self) -> Term {
        self.by
    }

    /// What to tell others.
    pub fn reading(&self, now: Mono) -> Reading {
        match self.by {
            Term(0) => Reading::default(),
            by => Reading { by, time: self.carried(now) },
        }
    }

    /// Somebody told a reading. Clocks run wrong by `drift_ppm` at most, in millionths: the leader's
    /// may be slow and ours fast.
    pub fn hear(&mut self, reading: Reading, drift_ppm: u64, now: Mono) {
        let time = Stamp(reading.time.0.min(STAMP_MAX));
        let later = reading.by > self.by;
        if later || reading.by == self.by && time > self.carried(now) {
            (self.line, self.at, self.by) = (time, now, reading.by);
            self.slack_ppm = 2 * drift_ppm;
        }
    }

    /// The line is ours from now on, as the leader of `term` whose log ends with the stamp `last`:
    /// it runs on, or else it steps up to what a quorum's clocks have reached.
    pub fn lead(&mut self, term: Term, last: Stamp, step: Option<Wall>, now: Mono) {
        assert!(term > self.by, "the line of {} can't become that of term {term}", self.by);
        let step = step.map_or(0, |wall| wall.0.min(STAMP_MAX));
        (self.line, self.by) = (Stamp(self.carried(now).0.max(last.0).max(step)), term);
        (self.at, self.slack_ppm) = (now, 0);
    }

    /// Moves the line on to `now`, with the slew towards `goal`, the quorum's clocks.
    pub fn advance(&mut self, now: Mono, goal: Option<Wall>) {
        (self.line, self.at) = (self.peek(now, goal), now.max(self.at));
    }

    /// Stamps for the next entry, one for each of its `count` commands and in a row: the last of
    /// them. All lie above `last`, the highest stamp in the log.
    pub fn next_of(&mut self, count: u64, now: Mono, goal: Option<Wall>, last: Stamp) -> Stamp {
        assert!(count > 0, "an entry has at least one stamp");
        let first = self.peek(now, goal).max(Stamp(last.0 + 1));
        (self.line, self.at) = (first, now.max(self.at));
        Stamp(first.0 + (count - 1))
    }

    /// Shard time at `now`, with the slew towards `goal`, and without moving the line.
    pub fn peek(&self, now: Mono, goal: Option<Wall>) -> Stamp {
        let carried = self.carried(now).0;
        let lag = goal.map_or(0, |wall| wall.0.min(STAMP_MAX).saturating_sub(carried));
        Stamp(carried + lag.min(millionths(now.since(self.at), self.slew_ppm)))
    }

    fn carried(&self, now: Mono) -> Stamp {
        let elapsed = now.since(self.at);
        let slack = millionths(elapsed, self.slack_ppm);
        // A bound far in the future keeps arithmetic on a nonsense clock from overflowing.
        Stamp(self.line.0.saturating_add(elapsed - slack).min(STAMP_MAX))
    }
}

/// About the year 2262, where signed nanoseconds end as well.
const STAMP_MAX: u64 = i64::MAX as u64;

fn millionths(span_ns: u64, ppm: u64) -> u64 {
    let share = u128::from(span_ns) * u128::from(ppm) / 1_000_000;
    u64::try_from(share).unwrap_or(u64::MAX)
}

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
    fn noon(seconds_after: u64) -> Stamp {
        Stamp(NOON + seconds_after * SECOND)
    }

    fn started(last: Stamp, now: Mono) -> ShardClock {
        ShardClock::new(8000, last, now)
    }

    /// A line of the leader of term 3, at noon when its monotonic clock shows 0.
    fn leading() -> ShardClock {
        let mut clock = started(Stamp(0), mono(0));
        clock.lead(Term(3), Stamp(0), wall(0), mono(0));
        clock
    }

    #[test]
    fn stamps_rise_strictly_even_when_no_time_passes() {
        let mut clock = leading();
        let first = clock.next_of(1, mono(0), None, Stamp(NOON));
        assert_eq!(first, Stamp(NOON + 1));
        let batch = clock.next_of(5, mono(0), None, first);
        assert_eq!(batch, Stamp(NOON + 6));
        assert_eq!(clock.next_of(1, mono(0), wall(0), batch), Stamp(NOON + 7));
    }

    #[test]
    fn a_quorum_clock_an_hour_back_neither_stops_nor_turns_it() {
        let mut clock = leading();
        assert_eq!(clock.next_of(1, mono(5), wall(-3600), noon(0)), noon(5));
        assert_eq!(clock.next_of(1, mono(7), wall(-3598), noon(5)), noon(7));
    }

    #[test]
    fn a_leader_steps_before_its_first_stamp_and_is_slewed_after_it() {
        let mut clock = started(noon(0), mono(100));
        clock.lead(Term(4), noon(0), wall(3600), mono(101));
        assert_eq!(clock.peek(mono(101), None), Stamp(NOON + HOUR));
        // The clocks were an hour slow, it shows now: the line gains a second in 125.
        let stamp = clock.next_of(1, mono(226), wall(7200), Stamp(NOON + HOUR));
        assert_eq!(stamp, Stamp(NOON + HOUR + 126 * SECOND));
        // And not more than what is missing.
        assert_eq!(clock.peek(mono(351), wall(3600 + 251)), Stamp(NOON + HOUR + 251 * SECOND));
        // What was stamped never comes back, whatever the clocks say.
        assert_eq!(clock.peek(mono(227), wall(0)), Stamp(NOON + HOUR + 127 * SECOND));
    }

    #[test]
    fn slewing_in_small_steps_gains_no_more_than_in_one() {
        let mut clock = leading();
        for tenth in 1..=1250 {
            clock.advance(Mono(tenth * SECOND / 10), wall(3600));
        }
        assert_eq!(clock.peek(mono(125), wall(3600)), noon(126));
    }

    #[test]
    fn a_new_leader_runs_on_from_the_line_it_heard_of() {
        let mut follower = started(noon(0), mono(100));
        assert_eq!(follower.reading(mono(100)), Reading::default());
        follower.hear(Reading { by: Term(3), time: noon(60) }, 0, mono(100));
        follower.lead(Term(5), noon(59), None, mono(110));
        assert_eq!(follower.next_of(1, mono(110), wall(-3600), noon(59)), noon(70));
        assert_eq!(follower.reading(mono(111)), Reading { by: Term(5), time: noon(71) });
    }

    /// Its clock runs fast and the leader's slow, by a thousandth each: what it makes of the leader's
    /// line is never ahead of it, however old the message is that told it.
    #[test]
    fn a_follower_is_never_ahead_of_its_leader() {
        let told = |after: u64| Reading { by: Term(3), time: Stamp(NOON + after * 999_000_000) };
        let fast = |seconds: u64| Mono(seconds * 1_001_000_000);
        let mut clock = started(Stamp(0), fast(0));
        clock.hear(told(0), 1000, fast(0));
        for (second, old) in [(100, 100), (200, 150), (5000, 0), (5001, 5001)] {
            clock.hear(told(old), 1000, fast(second));
            let (seen, line) = (clock.reading(fast(second)).time.0, told(second).time.0);
            assert!(seen <= line && line - seen < second * SECOND / 400, "{seen} {line}");
        }
    }

    #[test]
    fn a_later_leaders_line_counts_even_if_it_is_lower() {
        let mut clock = leading();
        clock.hear(Reading { by: Term(2), time: noon(60) }, 0, mono(1));
        assert_eq!(clock.peek(mono(1), None), noon(1), "an earlier one does not");
        clock.hear(Reading { by: Term(4), time: Stamp(NOON - HOUR) }, 0, mono(2));
        assert_eq!(clock.peek(mono(3), None), Stamp(NOON - HOUR + SECOND));
        // Stamps rise all the same.
        assert_eq!(clock.next_of(1, mono(3), None, noon(5)), Stamp(noon(5).0 + 1));
    }
}
