//! Handing leadership over.
//!
//! The leader stops taking proposals and stops reading from its lease, waits until the target holds
//! its whole log, and then asks it to campaign at once. From that moment on, and for the rest of its
//! term, it has no lease: the target's request for votes carries a flag that releases everybody who
//! is bound, and that request may arrive at any time. If nothing comes of it within an election
//! timeout the leader takes proposals again; its reads go by rounds until the term ends.

use super::message::Body;
use super::progress::Feed;
use super::replicate::is_reachable;
use super::{Context, Effect, ProposeError, Raft, State};
use base::{Mono, ReplicaId};

/// A handover under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Transfer {
    /// Who is to take over.
    pub to: ReplicaId,
    /// When it is given up.
    pub until: Mono,
    /// Whether it was asked to campaign.
    pub asked: bool,
}

impl Raft {
    /// Hands leadership over to `to`, or to the voter that is furthest.
    pub fn transfer(
        &mut self,
        ctx: Context,
        to: Option<ReplicaId>,
        effects: &mut Vec<Effect>,
    ) -> Result<(), ProposeError> {
        let furthest = self.furthest_voter(ctx);
        let State::Leader(leader) = &mut self.state else {
            return Err(ProposeError::NotLeader { leader: self.leader });
        };
        if leader.transfer.is_some() {
            return Err(ProposeError::Transferring);
        }
        let to = to.or(furthest).ok_or(ProposeError::NoTarget)?;
        let voter = self.log.membership().voters.contains_key(&to);
        if to == self.id || !voter || !leader.progress.contains_key(&to) {
            return Err(ProposeError::NoTarget);
        }
        let until = Mono(ctx.now.mono.0 + self.options.election_ns_max);
        leader.transfer = Some(Transfer { to, until, asked: false });
        self.finish(ctx, effects);
        Ok(())
    }

    fn furthest_voter(&self, ctx: Context) -> Option<ReplicaId> {
        let State::Leader(leader) = &self.state else { return None };
        let voters = &self.log.membership().voters;
        let fit = leader.progress.iter().filter(|(id, progress)| {
            voters.contains_key(id)
                && progress.feed == Feed::Replicate
                && is_reachable(ctx, progress)
        });
        fit.max_by_key(|(_, progress)| progress.matched).map(|(id, _)| *id)
    }

    /// Gives a handover up whose time is over, or whose target is no voter any more.
    pub(super) fn check_transfer(&mut self, ctx: Context) {
        let voters = &self.log.membership().voters;
        let State::Leader(leader) = &mut self.state else { return };
        let over = |transfer: &mut Transfer| {
            ctx.now.mono >= transfer.until || !voters.contains_key(&transfer.to)
        };
        leader.transfer.take_if(over);
    }

    /// Asks the target to campaign once it holds the whole log.
    pub(super) fn hand_over_if_caught_up(&mut self) {
        let last = self.log.last();
        let State::Leader(leader) = &mut self.state else { return };
        let Some(transfer) = &mut leader.transfer else { return };
        let to = transfer.to;
        let caught_up = leader.progress.get(&to).is_some_and(|progress| progress.matched == last);
        if caught_up && !transfer.asked {
            transfer.asked = true;
            leader.lease_dropped = true;
            self.send(to, Body::TimeoutNow);
        }
    }
}
