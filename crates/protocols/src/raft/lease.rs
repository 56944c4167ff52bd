//! Binding, lease and check-quorum.
//!
//! A follower *binds* a term to its node's support of the leader's node. From then on, and for as
//! long as that support lasts under the same epoch, it neither campaigns nor votes for anyone but
//! that leader. The leader knows a moment until which its node can rely on that support, which comes
//! before the support ends; the quorum-th latest of these moments is the end of its lease. Any other
//! candidate needs a vote from that quorum, and gets none before.
//!
//! What is promised is promised by a replica, in memory. It outlives a change of term: a follower
//! that learns of a later term from some stray answer still keeps its word to the leader it bound
//! to. It ends when
//!
//! * the support lapses; a renewed one has another epoch, and needs another binding;
//! * a leader of a later term shows up, whose election had to wait for the promises of a quorum;
//! * a vote is asked for with the transfer flag: the leader of the term before said that it gave up
//!   its lease, for the rest of its term;
//! * the leader itself releases it, having stepped down;
//! * the process restarts; which is why a started node grants no votes for a support period.
//!
//! Stepping down needs the release: a node that lives keeps its support alive for all its shards,
//! also for the one whose leader is gone, whose followers would wait for ever. So it is repeated
//! until acknowledged, or moot. A leader that is deaf steps down because it hears of no support; its
//! heartbeats may still be heard, and its followers be bound. So they are told as well, ever more
//! rarely, since most who are silent are down.

use super::message::Body;
use super::quorum::reached;
use super::{Context, Leader, Options, Raft, State, earliest};
use crate::liveness::SupportEpoch;
use base::{Mono, NodeId, ReplicaId, Term};

/// A follower's promise.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Binding {
    /// The term in which it was given.
    pub term: Term,
    /// To this leader.
    pub leader: ReplicaId,
    /// On this node.
    pub node: NodeId,
    /// For as long as this support of ours lasts.
    pub epoch: SupportEpoch,
}

impl Binding {
    /// Until when it holds unless the support is extended; none if it has lapsed.
    pub fn until(&self, ctx: Context) -> Option<Mono> {
        let grant = ctx.liveness.supports_under(self.node, self.epoch, ctx.now.mono)?;
        Some(grant.until)
    }
}

/// A follower that has to be told that we no longer lead.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Releasing {
    node: NodeId,
    led: Term,
    sent_at: Option<Mono>,
    /// How often it was told while its node was silent, as far as that matters.
    unheard: u32,
}

/// Told in silence, it waits no longer than this many doublings of an election timeout: 20 s.
const SILENT_DOUBLINGS: u32 = 6;

impl Releasing {
    /// Where it lives.
    pub fn node(&self) -> NodeId {
        self.node
    }

    fn due(&self, ctx: Context, options: &Options) -> Mono {
        let Some(sent_at) = self.sent_at else { return ctx.now.mono };
        let heard = ctx.liveness.supported_by(self.node, ctx.now.mono).is_some();
        // Never sooner to one that is silent: or else this could become due by silence alone.
        let silent = (options.election_ns_max << self.unheard).max(options.resend_ns);
        Mono(sent_at.0 + if heard { options.resend_ns } else { silent })
    }
}

impl Raft {
    /// Forgets a promise whose support has lapsed; an election may follow after a timeout.
    pub(super) fn check_binding(&mut self, ctx: Context) {
        if self.binding.as_ref().is_some_and(|binding| binding.until(ctx).is_none()) {
            self.binding = None;
            self.await_election(ctx.now.mono);
        }
    }

    /// Whether a promise, or a leader heard of just now, forbids a vote for `candidate`.
    pub(super) fn keeps_faith(&self, ctx: Context, candidate: ReplicaId) -> bool {
        let now = ctx.now.mono;
        if !ctx.liveness.grants_votes(now) {
            return true;
        }
        if let State::Leader(leader) = &self.state {
            let fresh = leader.alone_since.is_none_or(|since| self.is_recent(since, now));
            return !leader.lease_dropped && (self.lease_until(leader, ctx) > now || fresh);
        }
        let bound = self
            .binding
            .as_ref()
            .is_some_and(|binding| binding.leader != candidate && binding.until(ctx).is_some());
        let led = self.leader.is_some_and(|leader| leader != candidate);
        bound || led && self.is_recent(self.heard_at, now)
    }

    fn is_recent(&self, then: Mono, now: Mono) -> bool {
        now.since(then) < self.options.election_ns_min
    }

    /// The leader asks for our promise. If the support it means has lapsed there is nothing to bind
    /// to; it will ask again when it sees another. If it let us go before, the message is late.
    pub(super) fn bind(
        &mut self,
        ctx: Context,
        leader: ReplicaId,
        node: NodeId,
        epoch: SupportEpoch,
    ) {
        let grant = ctx.liveness.supports_under(node, epoch, ctx.now.mono);
        if grant.is_none() || self.term <= self.released {
            return;
        }
        self.binding = Some(Binding { term: self.term, leader, node, epoch });
        self.send(leader, Body::Bound { epoch });
    }

    /// A follower gave us its promise.
    pub(super) fn bound(&mut self, from: ReplicaId, epoch: SupportEpoch) {
        let State::Leader(leader) = &mut self.state else { return };
        if let Some(progress) = leader.progress.get_mut(&from)
            && progress.bound.is_none_or(|before| before.boot != epoch.boot || before <= epoch)
        {
            progress.bound = Some(epoch);
            progress.bind_sent_at = None;
        }
    }

    /// A follower that asks for votes is not bound, whatever we thought.
    pub(super) fn unbound(&mut self, from: ReplicaId) {
        if let State::Leader(leader) = &mut self.state
            && let Some(progress) = leader.progress.get_mut(&from)
        {
            progress.bound = None;
            progress.bind_sent_at = None;
        }
    }

    /// The first moment at which a quorum may listen to someone else.
    pub(super) fn lease_until(&self, leader: &Leader, ctx: Context) -> Mono {
        reached(self.log.membership(), |id, node| {
            if id == self.id {
                return Mono(u64::MAX);
            }
            let bound = leader.progress.get(&id).and_then(|progress| progress.bound);
            match ctx.liveness.supported_by(node, ctx.now.mono) {
                Some(grant) if bound == Some(grant.epoch) => grant.until,
                _ => Mono(0),
            }
        })
    }

    /// Asks followers whose node supports us for their promise, if we lack it.
    pub(super) fn ask_to_bind(&mut self, ctx: Context) {
        let (node, now, resend_ns) = (self.node, ctx.now.mono, self.options.resend_ns);
        let State::Leader(leader) = &mut self.state else { return };
        let mut asked = Vec::new();
        for (id, progress) in &mut leader.progress {
            let Some(grant) = ctx.liveness.supported_by(progress.node, now) else { continue };
            let due = progress.bind_sent_at.is_none_or(|at| now.since(at) >= resend_ns);
            if progress.bound != Some(grant.epoch) && due {
                progress.bind_sent_at = Some(now);
                asked.push((*id, grant.epoch));
            }
        }
        for (to, epoch) in asked {
            self.send(to, Body::Bind { node, epoch });
        }
    }

    /// Steps down if no quorum has supported us for an election timeout.
    pub(super) fn check_quorum(&mut self, ctx: Context) {
        let now = ctx.now.mono;
        let State::Leader(leader) = &self.state else { return };
        let supported = self.lease_until(leader, ctx) > now;
        let since = (!supported).then(|| leader.alone_since.unwrap_or(now));
        if since.is_some_and(|since| now.since(since) >= self.options.election_ns_max) {
            return self.step_down(ctx);
        }
        let State::Leader(leader) = &mut self.state else { return };
        leader.alone_since = since;
    }

    /// When support lapses, when being alone has lasted too long, when to ask again to bind.
    pub(super) fn lease_deadline(&self, ctx: Context, leader: &Leader) -> Option<Mono> {
        let now = ctx.now.mono;
        let until = self.lease_until(leader, ctx);
        let quorum = if until == Mono(u64::MAX) {
            None
        } else if until > now {
            Some(if leader.alone_since.is_some() { now } else { until })
        } else {
            let over = leader.alone_since.map(|at| Mono(at.0 + self.options.election_ns_max));
            Some(over.unwrap_or(now))
        };
        let binds = leader.progress.values().filter_map(|progress| {
            let grant = ctx.liveness.supported_by(progress.node, now)?;
            let asked = progress.bind_sent_at.map(|at| Mono(at.0 + self.options.resend_ns));
            (progress.bound != Some(grant.epoch)).then(|| asked.unwrap_or(now))
        });
        earliest([quorum, binds.min()])
    }

    /// All followers of a leader that stepped down have to be told.
    pub(super) fn release_all(&mut self, leader: &Leader) {
        let led = self.term;
        self.releasing = leader
            .progress
            .iter()
            .map(|(id, progress)| {
                let releasing = Releasing { node: progress.node, led, sent_at: None, unheard: 0 };
                (*id, releasing)
            })
            .collect();
    }

    /// Tells them, and again until they answer.
    pub(super) fn release(&mut self, ctx: Context) {
        let now = ctx.now.mono;
        let mut told = Vec::new();
        for (id, releasing) in &mut self.releasing {
            if releasing.due(ctx, &self.options) > now {
                continue;
            }
            if ctx.liveness.supported_by(releasing.node, now).is_some() {
                releasing.unheard = 0;
            } else if releasing.sent_at.is_some() {
                releasing.unheard = (releasing.unheard + 1).min(SILENT_DOUBLINGS);
            }
            releasing.sent_at = Some(now);
            told.push((*id, releasing.led));
        }
        for (to, led) in told {
            self.send(to, Body::Release { led });
        }
    }

    pub(super) fn release_deadline(&self, ctx: Context) -> Option<Mono> {
        self.releasing.values().map(|releasing| releasing.due(ctx, &self.options)).min()
    }

    /// A former leader lets us go.
    pub(super) fn release_asked(&mut self, ctx: Context, from: ReplicaId, led: Term) {
        self.released = self.released.max(led);
        let from_it = |binding: &Binding| binding.leader == from && binding.term <= led;
        if self.binding.as_ref().is_some_and(from_it) {
            self.binding = None;
            self.await_election(ctx.now.mono);
        }
        if self.leader == Some(from) && self.term <= led {
            self.leader = None;
        }
        self.send(from, Body::Released { led });
    }

    /// A follower knows.
    pub(super) fn released(&mut self, from: ReplicaId, led: Term) {
        if self.releasing.get(&from).is_some_and(|releasing| releasing.led == led) {
            self.releasing.remove(&from);
        }
    }
}
