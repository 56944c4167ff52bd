//! Compaction, and what to do about followers that need what was compacted.
//!
//! A snapshot's bytes never pass through here: the owner streams them from node to node, and the
//! receiver has it whole and durable before it says [`Raft::snapshot_received`]. What is decided
//! here is whether it may be installed. It must lie beyond our commit index, or else it would take
//! us back; and if our log agrees with it at its index, what follows in the log stays, for we may
//! have acknowledged it, and somebody may have committed by that.

use super::progress::Feed;
use super::{Context, Effect, Raft};
use base::{Index, LogStart, ReplicaId};

impl Raft {
    /// The owner's state is durable up to `to`: entries up to there may go, but for those that a
    /// follower still needs, as far as the budget allows.
    pub fn compact(&mut self, to: Index, effects: &mut Vec<Effect>) {
        let to = to.min(self.applied).min(self.storage.stable);
        let keep = self.needed_after();
        let budget = self.options.retain_bytes_max;
        let mut index = self.log.start().index;
        let mut excess = self.log.cost_between(index, to);
        while index < to && (index < keep || excess > budget) {
            index = index.next();
            excess -= self.log.get(index).expect("the log holds what was applied").cost();
        }
        if index > self.log.start().index {
            self.log.compact(index);
            effects.push(Effect::Compact { log_start: self.log.start().clone() });
        }
    }

    /// A snapshot for `to` was taken at `index`: what follows it should stay in the log.
    pub fn snapshot_started(&mut self, to: ReplicaId, index: Index) {
        if let Some(progress) = self.progress_mut(to)
            && matches!(progress.feed, Feed::Snapshot { .. })
        {
            progress.feed = Feed::Snapshot { index: Some(index) };
        }
    }

    /// The stream of a snapshot at `index` to `to` ended. If it was not delivered another one is
    /// asked for after a pause.
    pub fn snapshot_outcome(
        &mut self,
        ctx: Context,
        to: ReplicaId,
        index: Index,
        delivered: bool,
        effects: &mut Vec<Effect>,
    ) {
        let next = self.log.last().next();
        if let Some(progress) = self.progress_mut(to)
            && matches!(progress.feed, Feed::Snapshot { .. })
        {
            progress.probe(if delivered { index.next().min(next) } else { progress.next });
            if !delivered {
                progress.feed = Feed::Probe { sent: true };
                progress.sent_at = ctx.now.mono;
            }
        }
        self.finish(ctx, effects);
    }

    /// The owner holds a whole snapshot durably, but has not installed it. If the answer is yes it
    /// must install it, together with the [`Effect::Persist`] that starts the log anew.
    pub fn snapshot_received(
        &mut self,
        ctx: Context,
        log_start: LogStart,
        effects: &mut Vec<Effect>,
    ) -> bool {
        let leads = matches!(self.state, super::State::Leader(_));
        if self.stopped || leads || log_start.index <= self.commit {
            return false;
        }
        if log_start.term > self.term {
            self.adopt(ctx, log_start.term);
        }
        let index = log_start.index;
        let last = self.log.last();
        self.storage.stable = self.storage.stable.min(self.commit);
        self.storage.writes.iter_mut().for_each(|(_, last)| *last = (*last).min(self.commit));
        self.log.reset(log_start);
        self.storage.dirty_reset = true;
        if self.log.last() < last {
            self.out.push(Effect::Truncated { from: self.log.last().next() });
        }
        (self.commit, self.applied, self.told.commit) = (index, index, index);
        if let Some(leader) = self.leader.filter(|leader| *leader != self.id) {
            self.acknowledge(leader, index);
        }
        self.finish(ctx, effects);
        true
    }
}
