//! Strong reads.
//!
//! A leader that answers a read from its own state must know that nobody else has led meanwhile. Its
//! lease tells it without a message ([`Raft::lease_read`]). Without one it asks: reads that arrived
//! are joined to a *round*, the commit index is noted, and once a quorum has answered this round in
//! this term, everything that any leader had committed when the reads arrived is covered by that
//! index. Reads that arrive during a round wait for the next: an answer to a question that was asked
//! before the read began proves nothing about it.
//!
//! Rounds and reads are numbered here. A client's own name for its request plays no part, since it
//! may come twice, and an answer to its first coming would then vouch for the second.
//!
//! Until an entry of its own term is committed, a leader does not know the true commit index; reads
//! wait for that, too.

use super::message::Body;
use super::quorum::reached;
use super::{Context, Effect, Leader, ProposeError, Raft, State};
use base::{Index, Mono, ReplicaId};
use std::collections::BTreeSet;

/// Names a read; later reads have greater ids.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReadId(pub u64);

/// A leader's reads.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reads {
    /// The last read that was asked for.
    asked: ReadId,
    /// The last read that was answered.
    answered: ReadId,
    /// Rounds begun in this term.
    rounds: u64,
    round: Option<Round>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Round {
    /// It answers all reads up to this one.
    id: ReadId,
    /// The commit index when it began.
    index: Index,
    acked: BTreeSet<ReplicaId>,
    sent_at: Mono,
}

impl Reads {
    /// No reads wait; the next has a greater id than `before`.
    pub fn new(before: u64) -> Reads {
        Reads { asked: ReadId(before), answered: ReadId(before), rounds: 0, round: None }
    }

    /// Whether a read has no answer yet.
    pub fn are_waiting(&self) -> bool {
        self.asked > self.answered
    }
}

impl Raft {
    /// The index that a strong read has to see applied, if the lease covers now.
    pub fn lease_read(&self, ctx: Context) -> Option<Index> {
        let State::Leader(leader) = &self.state else { return None };
        let held = leader.transfer.is_none() && !leader.lease_dropped && !self.stopped;
        let covers =
            held && self.committed_own_term() && ctx.now.mono < self.lease_until(leader, ctx);
        covers.then_some(self.commit)
    }

    /// Asks for a strong read; [`Effect::ReadReady`] or [`Effect::ReadsFailed`] will tell. Nothing is
    /// sent before the next step or [`Raft::flush`].
    pub fn read_index(&mut self, ctx: Context) -> Result<ReadId, ProposeError> {
        let _ = ctx;
        let State::Leader(leader) = &mut self.state else {
            return Err(ProposeError::NotLeader { leader: self.leader });
        };
        self.reads += 1;
        leader.reads.asked = ReadId(self.reads);
        self.unflushed = true;
        Ok(leader.reads.asked)
    }

    /// Answers reads by the lease, or begins a round for them, or repeats one.
    pub(super) fn serve_reads(&mut self, ctx: Context) {
        let State::Leader(leader) = &self.state else { return };
        if !leader.reads.are_waiting() || !self.committed_own_term() {
            return;
        }
        let (lease, commit) = (self.lease_read(ctx), self.commit);
        let (now, resend_ns) = (ctx.now.mono, self.options.resend_ns);
        let State::Leader(leader) = &mut self.state else { return };
        let reads = &mut leader.reads;
        if let Some(index) = lease {
            let id = reads.asked;
            (reads.answered, reads.round) = (id, None);
            return self.out.push(Effect::ReadReady { id, index });
        }
        if let Some(round) = &mut reads.round {
            if now.since(round.sent_at) < resend_ns {
                return;
            }
            round.sent_at = now;
        } else {
            let acked = [self.id].into();
            reads.rounds += 1;
            reads.round = Some(Round { id: reads.asked, index: commit, acked, sent_at: now });
        }
        self.ask_round();
        self.end_round_if_reached();
    }

    /// When the round under way is to be repeated, or the lease will do instead.
    pub(super) fn reads_deadline(&self, ctx: Context, leader: &Leader) -> Option<Mono> {
        let round = leader.reads.round.as_ref()?;
        let again = Mono(round.sent_at.0 + self.options.resend_ns);
        Some(if self.lease_read(ctx).is_some() { ctx.now.mono } else { again })
    }

    /// Asks the voters that have not answered the round under way.
    fn ask_round(&mut self) {
        let State::Leader(leader) = &self.state else { return };
        let Some(round) = &leader.reads.round else { return };
        let membership = self.log.membership();
        let missing = |id: &ReplicaId| membership.votes(*id) && !round.acked.contains(id);
        let missing: Vec<ReplicaId> = membership.all().into_keys().filter(missing).collect();
        let round = leader.reads.rounds;
        for to in missing {
            self.send(to, Body::ReadRound { round });
        }
    }

    pub(super) fn read_answered(&mut self, from: ReplicaId, round: u64) {
        let State::Leader(leader) = &mut self.state else { return };
        if round != leader.reads.rounds {
            return;
        }
        if let Some(round) = &mut leader.reads.round {
            round.acked.insert(from);
            self.end_round_if_reached();
        }
    }

    /// Ends the round under way if a quorum answered it. The next begins at the end of the step.
    fn end_round_if_reached(&mut self) {
        let State::Leader(leader) = &mut self.state else { return };
        let Some(round) = &leader.reads.round else { return };
        if !reached(self.log.membership(), |id, _| round.acked.contains(&id)) {
            return;
        }
        let Round { id, index, .. } = *round;
        leader.reads.answered = id;
        leader.reads.round = None;
        self.out.push(Effect::ReadReady { id, index });
    }
}
