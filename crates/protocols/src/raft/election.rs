//! Who leads: pre-votes, votes, and when to ask for them.

use super::lease::Binding;
use super::message::{Body, Position};
use super::progress::Progress;
use super::quorum::reached;
use super::read::Reads;
use super::{Context, Leader, Raft, State};
use base::{EntryKind, Mono, Random, ReplicaId, Term};
use bytes::Bytes;
use std::collections::BTreeMap;

/// Election timeouts that a replica waits which was told that it is no member: about ten seconds.
const REMOVED_PAUSES: u64 = 30;

/// A candidate's tally.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Campaign {
    /// Its number, for answers to name.
    round: u64,
    /// The answers so far.
    votes: BTreeMap<ReplicaId, bool>,
}

impl Raft {
    /// Starts the generator of election timeouts anew. For a model checker, to which two states are
    /// one that differ only in how many timeouts were drawn on the way.
    pub fn reseed(&mut self, seed: u64) {
        self.random = Random::new(seed);
    }

    /// Draws a new election timeout, from now on.
    pub(super) fn await_election(&mut self, now: Mono) {
        let wait = self.random.between(self.options.election_ns_min, self.options.election_ns_max);
        self.election_at = Mono(now.0 + wait);
    }

    pub(super) fn election_deadline(&self, ctx: Context) -> Option<Mono> {
        if !self.has_a_say() {
            return None;
        }
        if self.asked_to_campaign && self.may_campaign(ctx) {
            return Some(ctx.now.mono);
        }
        Some(match &self.binding {
            Some(binding) => binding.until(ctx).unwrap_or(ctx.now.mono),
            None => self.election_at,
        })
    }

    /// Campaigns if the time has come and nothing forbids it, or if the leader asked for it.
    pub(super) fn campaign_if_due(&mut self, ctx: Context) {
        if self.asked_to_campaign && self.may_campaign(ctx) {
            self.campaigns += 1;
            return self.ask_for_votes(ctx, true);
        }
        if ctx.now.mono < self.election_at || self.binding.is_some() {
            return;
        }
        self.await_election(ctx.now.mono);
        if self.may_campaign(ctx) && ctx.liveness.grants_votes(ctx.now.mono) {
            self.ask_for_pre_votes(ctx);
        } else if !matches!(self.state, State::Follower) {
            self.state = State::Follower;
        }
    }

    /// Whether this replica votes, or did so by the last membership that it knows committed. One that
    /// leaves may be the only one that holds the entry by which it does, and then those who stay can't
    /// be elected against its vote (Ongaro's thesis, 4.2.2). Its own vote does not count then.
    fn has_a_say(&self) -> bool {
        self.log.membership().votes(self.id) || self.log.membership_at(self.commit).votes(self.id)
    }

    /// A replica that has a say, hears a quorum's nodes, and has applied every committed membership,
    /// may campaign. Hearing a quorum also means that it knows a quorum's clocks, should it need them.
    fn may_campaign(&self, ctx: Context) -> bool {
        !self.stopped
            && self.has_a_say()
            && !self.log.changes_within(self.applied, self.commit)
            && self.clocks(ctx).quorum.is_some()
    }

    fn ask_for_pre_votes(&mut self, ctx: Context) {
        self.leader = None;
        self.removed = false;
        self.campaigns += 1;
        let round = self.campaigns;
        let votes = [(self.id, true)].into();
        self.state = State::PreCandidate(Campaign { round, votes });
        let last = self.log.end();
        self.ask_voters(Body::PreVote { round, last });
        self.count_pre_votes(ctx);
    }

    /// Asks for votes in a new term. Our own is cast now, and counts once it is durable.
    fn ask_for_votes(&mut self, ctx: Context, transfer: bool) {
        self.enter_term(Term(self.term.0 + 1), Some(self.id));
        self.binding = None;
        self.state = State::Candidate(Campaign { round: self.campaigns, votes: BTreeMap::new() });
        self.await_election(ctx.now.mono);
        let last = self.log.end();
        self.ask_voters(Body::Vote { last, transfer });
    }

    fn ask_voters(&mut self, body: Body) {
        let membership = self.log.membership();
        let voters: Vec<ReplicaId> = membership
            .all()
            .into_keys()
            .filter(|id| membership.votes(*id) && *id != self.id)
            .collect();
        for to in voters {
            self.send(to, body.clone());
        }
    }

    /// A candidate that would be in the term after `term` asks how we would vote. A leader never
    /// answers yes: it would speak against itself.
    pub(super) fn pre_vote_asked(
        &mut self,
        ctx: Context,
        from: ReplicaId,
        term: Term,
        round: u64,
        last: Position,
    ) {
        let granted = term >= self.term
            && !matches!(self.state, State::Leader(_))
            && !self.keeps_faith(ctx, from)
            && last >= self.log.end();
        let removed = self.was_removed(from, last);
        self.send(from, Body::PreVoted { round, granted: granted && !removed, removed });
        self.unbound(from);
    }

    /// Whether the candidate's log falls short of what is committed, and the committed membership is
    /// without it: it was removed, or a change that was to add it came to nothing.
    fn was_removed(&self, candidate: ReplicaId, last: Position) -> bool {
        let term = self.log.term_at(self.commit).expect("what is committed is in the log");
        self.log.membership_index() <= self.commit
            && last < Position { term, index: self.commit }
            && self.log.membership().node_of(candidate).is_none()
    }

    pub(super) fn pre_voted(
        &mut self,
        ctx: Context,
        from: ReplicaId,
        round: u64,
        granted: bool,
        removed: bool,
    ) {
        let State::PreCandidate(campaign) = &mut self.state else { return };
        if campaign.round != round {
            return;
        }
        campaign.votes.insert(from, granted);
        if removed {
            // Nobody will ever vote for us, nor feed us: keep quiet for long, unless a leader shows
            // up after all.
            self.removed = true;
            self.state = State::Follower;
            self.election_at = Mono(ctx.now.mono.0 + REMOVED_PAUSES * self.options.election_ns_max);
        }
        self.count_pre_votes(ctx);
    }

    fn count_pre_votes(&mut self, ctx: Context) {
        let State::PreCandidate(campaign) = &self.state else { return };
        match self.outcome(&campaign.votes) {
            Some(true) => self.ask_for_votes(ctx, false),
            Some(false) => self.state = State::Follower,
            None => {}
        }
    }

    /// A candidate of our term asks for our vote.
    pub(super) fn vote_asked(
        &mut self,
        ctx: Context,
        from: ReplicaId,
        last: Position,
        transfer: bool,
    ) {
        if transfer {
            // The leader of the term before gave up its lease, and all earlier leaders lost theirs
            // when it was elected. A promise of this very term stands: it was given to the candidate
            // once it was elected, and the request is late.
            self.binding.take_if(|binding| binding.term < self.term);
        }
        let free = self.vote.is_none() && self.leader.is_none();
        let granted = (self.vote == Some(from) || free)
            && (transfer || !self.keeps_faith(ctx, from))
            && last >= self.log.end();
        if granted && self.vote.is_none() {
            self.vote = Some(from);
            self.storage.dirty_hard = true;
        }
        if granted {
            self.await_election(ctx.now.mono);
        }
        self.send(from, Body::Voted { granted });
    }

    pub(super) fn voted(&mut self, ctx: Context, from: ReplicaId, granted: bool) {
        let State::Candidate(campaign) = &mut self.state else { return };
        campaign.votes.insert(from, granted);
        self.count_votes(ctx);
    }

    pub(super) fn count_own_vote(&mut self, ctx: Context) {
        let durable = !self.storage.dirty_hard && self.storage.hard_ticket <= self.storage.durable;
        let State::Candidate(campaign) = &mut self.state else { return };
        if durable {
            campaign.votes.insert(self.id, true);
            self.count_votes(ctx);
        }
    }

    fn count_votes(&mut self, ctx: Context) {
        let State::Candidate(campaign) = &self.state else { return };
        match self.outcome(&campaign.votes) {
            Some(true) => self.become_leader(ctx),
            Some(false) => self.state = State::Follower,
            None => {}
        }
    }

    /// Won, lost, or open.
    fn outcome(&self, votes: &BTreeMap<ReplicaId, bool>) -> Option<bool> {
        let membership = self.log.membership();
        if reached(membership, |id, _| votes.get(&id) == Some(&true)) {
            return Some(true);
        }
        let open = reached(membership, |id, _| votes.get(&id) != Some(&false));
        if open { None } else { Some(false) }
    }

    fn become_leader(&mut self, ctx: Context) {
        let term_start = self.log.last().next();
        let now = ctx.now.mono;
        let progress = self.log.membership().all().into_iter().filter(|(id, _)| *id != self.id);
        self.state = State::Leader(Box::new(Leader {
            term_start,
            progress: progress
                .map(|(id, node)| (id, Progress::new(node, term_start, now)))
                .collect(),
            reads: Reads::new(self.reads),
            transfer: None,
            lease_dropped: false,
            alone_since: None,
            uncommitted_bytes: self.log.cost_between(self.commit, self.log.last()),
            commit_due: None,
            since: now,
            time_source: None,
        }));
        self.leader = Some(self.id);
        self.binding = None;
        self.releasing.clear();
        self.settle_time(ctx);
        // Entries of earlier terms are committed by committing this one (Raft, figure 8).
        self.append_own(ctx, EntryKind::Noop, Bytes::new(), 1);
    }

    /// `from` leads in our term.
    pub(super) fn follow(&mut self, ctx: Context, from: ReplicaId) {
        assert!(
            !matches!(self.state, State::Leader(_)) && self.leader.is_none_or(|id| id == from),
            "replica {from} claims to lead in term {} beside {:?}",
            self.term,
            self.leader
        );
        self.state = State::Follower;
        self.leader = Some(from);
        self.heard_at = ctx.now.mono;
        self.await_election(ctx.now.mono);
        self.asked_to_campaign = false;
        self.removed = false;
        // A new leader has the votes of a quorum: what was promised to an earlier one is moot.
        if self.binding.as_ref().is_some_and(|binding: &Binding| binding.term < self.term) {
            self.binding = None;
        }
    }

    /// The leader asks us to take over at once, with its lease given up for the rest of the term.
    /// If a committed membership is not applied yet, we do so as soon as it is.
    pub(super) fn campaign_asked(&mut self, from: ReplicaId) {
        self.asked_to_campaign = self.leader == Some(from);
    }
}
