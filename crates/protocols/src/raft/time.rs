//! Shard time in a replica: whom it believes, and when a leader may stamp.
//!
//! Every message tells a [`Reading`] of the shard's line ([`crate::clock`]): the leader's own, or
//! what a follower made of it since. So when a leader dies, its successor runs on from the line at
//! once, if any replica that voted for it has been up since the newest command. That is every
//! failover of a live cluster.
//!
//! If there is none (all of them were restarted since), the line is lost, and the new leader has to
//! ask the wall clocks how much time has passed. With those of all voters the median is right unless
//! a majority of them is wrong. With those of a bare quorum a single slow clock makes for a lag,
//! which would be slewed away for days and would make a later step end keys early. So it waits for
//! all of them, for a bounded time, before it takes the first command. It still waits for a reading
//! too.

use super::{Context, Effect, Leader, Raft, State};
use crate::clock::Reading;
use crate::liveness;
use base::{Mono, NodeId, ReplicaId, Stamp, Term, Wall};
use std::collections::BTreeMap;

/// How a leader came to know the shard's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TimeSource {
    /// It ran on from the line of an earlier leader.
    Carried,
    /// It stepped up to the median of all voters' wall clocks.
    AllClocks,
    /// It stepped up to what a quorum's wall clocks had reached, others being unknown.
    QuorumClocks,
}

/// The wall clocks of the voters, as far as they are known.
pub(super) struct Clocks {
    /// The time that a quorum of them have reached.
    pub quorum: Option<Wall>,
    /// Every one of them is known.
    pub all: bool,
}

impl Raft {
    /// Present shard time at a leader; see [`crate::clock`].
    pub fn shard_time(&self, ctx: Context) -> Stamp {
        self.clock.peek(ctx.now.mono, self.slew_goal(ctx)).max(self.log.last_stamp())
    }

    /// How this leader came to know the shard's time, if it leads and does.
    pub fn time_source(&self) -> Option<TimeSource> {
        match &self.state {
            State::Leader(leader) => leader.time_source,
            _ => None,
        }
    }

    /// Somebody told shard time. A leader that knows it listens to nobody.
    pub(super) fn hear_time(&mut self, ctx: Context, reading: Reading) {
        if self.time_source().is_none() && reading.by <= self.term {
            self.clock.hear(reading, ctx.liveness.drift_ppm(), ctx.now.mono);
        }
    }

    /// Every message of this step tells shard time.
    pub(super) fn tell_time(&mut self, ctx: Context) {
        if !self.out.iter().any(|effect| matches!(effect, Effect::Send { .. })) {
            return;
        }
        if self.time_source().is_some() {
            let goal = self.slew_goal(ctx);
            self.clock.advance(ctx.now.mono, goal);
        }
        let reading = self.clock.reading(ctx.now.mono);
        for effect in &mut self.out {
            if let Effect::Send { message, .. } = effect {
                // A message that had to wait for the disk may be of an earlier term.
                message.time =
                    if reading.by <= message.term { reading } else { Reading::default() };
            }
        }
    }

    /// A new leader takes the line over once it knows it.
    pub(super) fn settle_time(&mut self, ctx: Context) {
        let State::Leader(leader) = &self.state else { return };
        if leader.time_source.is_some() {
            return;
        }
        let (clocks, now) = (self.clocks(ctx), ctx.now.mono);
        let Some(source) = self.time_known(leader, &clocks, now) else { return };
        let step = clocks.quorum.filter(|_| source != TimeSource::Carried);
        self.clock.lead(self.term, self.log.last_stamp(), step, now);
        if let State::Leader(leader) = &mut self.state {
            leader.time_source = Some(source);
        }
        self.out.push(Effect::TimeSet(source));
    }

    fn time_known(&self, leader: &Leader, clocks: &Clocks, now: Mono) -> Option<TimeSource> {
        let by = self.clock.by();
        let waited = now.since(leader.since) >= self.options.clock_wait_ns;
        match clocks.quorum {
            _ if by > Term(0) && by >= self.log.command_term() => Some(TimeSource::Carried),
            Some(_) if clocks.all => Some(TimeSource::AllClocks),
            Some(_) if waited => Some(TimeSource::QuorumClocks),
            _ => None,
        }
    }

    /// When a leader that waits for clocks goes without the rest of them. What it hears of before
    /// that comes with a step of this replica, or one of the liveness, after which this is asked anew.
    pub(super) fn time_deadline(&self, ctx: Context, leader: &Leader) -> Option<Mono> {
        if leader.time_source.is_some() {
            return None;
        }
        let now = ctx.now.mono;
        let until = Mono(leader.since.0 + self.options.clock_wait_ns);
        match self.time_known(leader, &self.clocks(ctx), now) {
            Some(_) => Some(now),
            None => (now < until).then_some(until),
        }
    }

    /// What a leader that knows shard time is slewed towards.
    pub(super) fn slew_goal(&self, ctx: Context) -> Option<Wall> {
        self.time_source().and_then(|_| self.clocks(ctx).quorum)
    }

    pub(super) fn clocks(&self, ctx: Context) -> Clocks {
        let membership = self.log.membership();
        let incoming = self.clocks_of(ctx, &membership.voters);
        if !membership.is_joint() {
            return incoming;
        }
        let outgoing = self.clocks_of(ctx, &membership.outgoing);
        Clocks {
            quorum: incoming.quorum.zip(outgoing.quorum).map(|(one, other)| one.min(other)),
            all: incoming.all && outgoing.all,
        }
    }

    fn clocks_of(&self, ctx: Context, voters: &BTreeMap<ReplicaId, NodeId>) -> Clocks {
        let clock_of = |node: &NodeId| match *node == self.node {
            true => Some(ctx.now.wall),
            false => ctx.liveness.clock_of(*node, ctx.now.mono),
        };
        let mut known: Vec<Wall> = voters.values().filter_map(clock_of).collect();
        let all = known.len() == voters.len();
        Clocks { quorum: liveness::median(&mut known, voters.len()), all }
    }
}
