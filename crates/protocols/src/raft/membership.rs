//! Changes of membership, by joint consensus.
//!
//! A change of voters goes through a joint membership, in which every decision needs a majority of
//! the old voters *and* of the new ones. Once that is committed the leader leaves it by itself:
//!
//! ```text
//! voters 1 2 3                              change: promote 4, remove 1
//! voters 2 3 4 | outgoing 1 2 3             joint, committed by both majorities
//! voters 2 3 4                              left automatically; 1 steps down once it is committed
//! ```
//!
//! A membership counts as soon as it is in the log, committed or not, and stops counting if the
//! entry is truncated. Learners come and go without a joint phase, since no quorum changes. A voter
//! that is to become a learner is one only after the joint phase (`learners_next`).
//!
//! Two rules keep this sound, and both were learned from other implementations' lost logs: a leader
//! proposes no change before an entry of its own term is committed (or else two leaders' changes
//! could meet in disjoint majorities), and none while another is not yet applied.
//!
//! A member that is removed is fed until it knows of its removal, as long as it can be reached and is
//! not gone for good ([`Raft::forget`]). One that holds the membership without itself before it is
//! committed may still be elected, to commit it.

use super::message::Body;
use super::progress::{Feed, Progress};
use super::replicate::is_reachable;
use super::{Context, ProposeError, Raft, State, log};
use base::{EntryKind, Index, Membership, NodeId, ReplicaId, Stamp};
use std::collections::{BTreeMap, BTreeSet};

/// A change of membership.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Change {
    /// New replicas, which start as learners; also to be named in `promote` if they are to vote.
    /// Their ids were never used before in this shard.
    pub add_learners: BTreeMap<ReplicaId, NodeId>,
    /// Learners that become voters. They should have caught up.
    pub promote: BTreeSet<ReplicaId>,
    /// Voters or learners that leave.
    pub remove: BTreeSet<ReplicaId>,
    /// Voters that become learners.
    pub demote: BTreeSet<ReplicaId>,
}

impl Change {
    /// The membership that follows `now`: a joint one if the voters change.
    pub fn apply(&self, now: &Membership) -> Result<Membership, ProposeError> {
        let invalid = |why| Err(ProposeError::InvalidChange(why));
        let mut learners = now.learners.clone();
        for (id, node) in &self.add_learners {
            if now.node_of(*id).is_some() {
                return invalid("the replica to be added is a member");
            }
            learners.insert(*id, *node);
        }
        let mut voters = now.voters.clone();
        for id in &self.remove {
            if learners.remove(id).is_none() && voters.remove(id).is_none() {
                return invalid("the replica to be removed is no member");
            }
        }
        for id in &self.promote {
            match learners.remove(id) {
                Some(node) => voters.insert(*id, node),
                None => return invalid("the replica to be promoted is no learner"),
            };
        }
        let mut demoted = BTreeMap::new();
        for id in &self.demote {
            match now.voters.get(id).filter(|_| voters.remove(id).is_some()) {
                Some(node) => demoted.insert(*id, *node),
                None => return invalid("the replica to be demoted is no voter"),
            };
        }
        if voters.is_empty() {
            return invalid("no voter would be left");
        }
        let outgoing = if voters == now.voters { BTreeMap::new() } else { now.voters.clone() };
        let next = Membership { voters, outgoing, learners, learners_next: demoted };
        if next == *now { invalid("nothing would change") } else { Ok(next) }
    }
}

/// The membership after a joint one.
fn leave(joint: &Membership) -> Membership {
    let mut learners = joint.learners.clone();
    learners.extend(&joint.learners_next);
    Membership { voters: joint.voters.clone(), learners, ..Membership::default() }
}

impl Raft {
    /// Proposes a change of membership. It is over when a membership that is not joint is applied.
    pub fn propose_membership(
        &mut self,
        ctx: Context,
        change: &Change,
    ) -> Result<(Index, Stamp), ProposeError> {
        let State::Leader(leader) = &self.state else {
            return Err(ProposeError::NotLeader { leader: self.leader });
        };
        if leader.transfer.is_some() {
            return Err(ProposeError::Transferring);
        }
        if !self.committed_own_term() {
            return Err(ProposeError::NotReady);
        }
        let now = self.log.membership();
        if now.is_joint() || self.log.changes_within(self.applied, self.log.last()) {
            return Err(ProposeError::ChangeUnderWay);
        }
        let next = change.apply(now)?;
        Ok(self.append_membership(ctx, &next))
    }

    fn append_membership(&mut self, ctx: Context, next: &Membership) -> (Index, Stamp) {
        self.append_own(ctx, EntryKind::Membership, log::membership_data(next), 1)
    }

    /// Leaves a joint membership that is committed, and feeds exactly the members, and those who
    /// have yet to learn that they are none.
    pub(super) fn settle_membership(&mut self, ctx: Context) {
        let committed = self.log.membership_index() <= self.commit;
        if committed && self.log.membership().is_joint() && self.committed_own_term() {
            let next = leave(self.log.membership());
            self.append_membership(ctx, &next);
        }
        let (changed_at, next) = (self.log.membership_index(), self.log.last().next());
        let committed = changed_at <= self.commit;
        let members = self.log.membership();
        let State::Leader(leader) = &mut self.state else { return };
        leader.progress.retain(|id, progress| {
            let informed = progress.commit_known >= changed_at
                || !is_reachable(ctx, progress)
                || matches!(progress.feed, Feed::Snapshot { .. });
            members.node_of(*id).is_some() || !(committed && informed)
        });
        for (id, node) in members.all_but(self.id) {
            let new = || Progress::new(node, next, ctx.now.mono);
            leader.progress.entry(id).or_insert_with(new);
        }
    }

    /// Stops feeding removed replicas that are gone for good, which will never say that they know of
    /// their removal, and stops releasing them: whoever does not exist keeps no promise.
    pub fn forget(&mut self, gone: impl Fn(ReplicaId, NodeId) -> bool) {
        let committed = self.log.membership_index() <= self.commit;
        let members = self.log.membership().all();
        let over = |id: ReplicaId, node| committed && !members.contains_key(&id) && gone(id, node);
        if let State::Leader(leader) = &mut self.state {
            leader.progress.retain(|id, progress| !over(*id, progress.node));
        }
        self.releasing.retain(|id, releasing| !over(*id, releasing.node()));
    }

    /// A leader that is no voter any more, for certain, tells the others so and goes, asking the
    /// one that is furthest to take over at once.
    pub(super) fn retire_if_removed(&mut self, ctx: Context) {
        let membership = self.log.membership();
        let State::Leader(leader) = &self.state else { return };
        if membership.votes(self.id) || self.log.membership_index() > self.commit {
            return;
        }
        let voters = membership.voters.keys();
        let furthest = voters.max_by_key(|id| leader.progress.get(*id).map(|p| p.matched)).copied();
        self.tell_commit_at_once(ctx);
        if let Some(to) = furthest {
            self.send(to, Body::TimeoutNow);
        }
        self.step_down(ctx);
    }
}
