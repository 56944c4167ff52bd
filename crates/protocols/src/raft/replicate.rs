//! Entries to followers, their acknowledgement, and commit.

use super::message::{Body, Position};
use super::progress::{Feed, Progress};
use super::quorum::reached;
use super::{Context, Effect, Leader, Raft, State, earliest};
use base::{Entry, Index, Mono, ReplicaId};

impl Raft {
    /// Everything that a leader has to do by now.
    pub(super) fn lead(&mut self, ctx: Context) {
        self.settle_time(ctx);
        self.check_quorum(ctx);
        self.check_transfer(ctx);
        self.settle_membership(ctx);
        self.ask_to_bind(ctx);
        for to in self.followers() {
            self.feed(ctx, to);
        }
        self.tell_commit(ctx);
        self.hand_over_if_caught_up();
        self.retire_if_removed(ctx);
        self.serve_reads(ctx);
    }

    fn followers(&self) -> Vec<ReplicaId> {
        match &self.state {
            State::Leader(leader) => leader.progress.keys().copied().collect(),
            _ => Vec::new(),
        }
    }

    pub(super) fn progress_mut(&mut self, id: ReplicaId) -> Option<&mut Progress> {
        match &mut self.state {
            State::Leader(leader) => leader.progress.get_mut(&id),
            _ => None,
        }
    }

    pub(super) fn leader_deadline(&self, ctx: Context, leader: &Leader) -> Option<Mono> {
        let resend_ns = self.options.resend_ns;
        let awaited = leader
            .progress
            .values()
            .filter(|progress| progress.awaits_answer() && is_reachable(ctx, progress));
        earliest([
            self.lease_deadline(ctx, leader),
            awaited.map(|progress| Mono(progress.sent_at.0 + resend_ns)).min(),
            leader.commit_due,
            leader.transfer.as_ref().map(|transfer| transfer.until),
            self.reads_deadline(ctx, leader),
            self.time_deadline(ctx, leader),
        ])
    }

    /// Sends a follower what it lacks, as far as its window allows.
    fn feed(&mut self, ctx: Context, to: ReplicaId) {
        let last = self.log.last();
        let now = ctx.now.mono;
        let (messages_max, bytes_max, resend_ns) = (
            self.options.inflight_messages_max,
            self.options.inflight_bytes_max,
            self.options.resend_ns,
        );
        let Some(progress) = self.progress_mut(to) else { return };
        let overdue = progress.awaits_answer()
            && is_reachable(ctx, progress)
            && now.since(progress.sent_at) >= resend_ns;
        match progress.feed {
            Feed::Probe { sent } if !sent || overdue => self.send_append(ctx, to, true),
            // Where do you stand? If all arrived, the answer says so; if not, it starts a probe.
            Feed::Replicate if overdue => self.send_append(ctx, to, false),
            _ => {}
        }
        while self.progress_mut(to).is_some_and(|progress| {
            progress.feed == Feed::Replicate
                && progress.next <= last
                && progress.has_room(messages_max, bytes_max)
        }) {
            self.send_append(ctx, to, true);
        }
    }

    /// Sends a follower the entries from its `next` on, or none of them; or finds that it needs a
    /// snapshot.
    fn send_append(&mut self, ctx: Context, to: ReplicaId, with_entries: bool) {
        let Some(progress) = self.progress_mut(to) else { return };
        let (prev, reachable) = (progress.next.prev(), is_reachable(ctx, progress));
        progress.sent_at = ctx.now.mono;
        if let Feed::Probe { sent } = &mut progress.feed {
            *sent = true;
        }
        let Some(term) = self.log.term_at(prev) else {
            // Compacted. While the follower is away the probe counts as sent, and is overdue as soon
            // as it is back.
            let needed = Feed::Snapshot { index: None };
            let progress = self.progress_mut(to).expect("just seen");
            progress.feed = if reachable { needed } else { Feed::Probe { sent: true } };
            if reachable {
                self.out.push(Effect::NeedSnapshot { to });
            }
            return;
        };
        let entries = match with_entries {
            true => self.log.slice(prev, self.log.last(), self.options.append_bytes_max),
            false => Vec::new(),
        };
        let (commit, keep) = (self.commit, self.needed_after());
        let progress = self.progress_mut(to).expect("just seen");
        let last = entries.last().map_or(prev, |entry| entry.index);
        if !entries.is_empty() {
            progress.sent(last, entries.iter().map(Entry::cost).sum());
        }
        progress.commit_sent = progress.commit_sent.max(commit.min(last));
        self.send(to, Body::Append { prev: Position { term, index: prev }, commit, keep, entries });
    }

    /// Entries after this one are still needed by some member.
    pub(super) fn needed_after(&self) -> Index {
        let State::Leader(leader) = &self.state else { return self.keep };
        let all = leader.progress.values().map(Progress::needs_after);
        all.min().unwrap_or(self.log.last())
    }

    /// Sends the commit index for its own sake, to whom no append has told it.
    fn tell_commit(&mut self, ctx: Context) {
        let (commit, now) = (self.commit, ctx.now.mono);
        let State::Leader(leader) = &mut self.state else { return };
        if leader.commit_due.is_none_or(|due| now < due) {
            return;
        }
        leader.commit_due = None;
        for to in self.followers() {
            self.tell_commit_to(ctx, to, commit);
        }
    }

    fn tell_commit_to(&mut self, ctx: Context, to: ReplicaId, commit: Index) {
        // An empty append tells no more than what lies before it: a follower that lags is told with
        // its entries, or else each of its answers would be answered by a message without news.
        if let Some(progress) = self.progress_mut(to)
            && progress.feed == Feed::Replicate
            && progress.commit_sent < commit.min(progress.next.prev())
        {
            self.send_append(ctx, to, false);
        }
    }

    /// Tells every follower the commit index now.
    pub(super) fn tell_commit_at_once(&mut self, ctx: Context) {
        for to in self.followers() {
            self.tell_commit_to(ctx, to, self.commit);
        }
    }

    /// The leader's entries, or a question where we stand.
    pub(super) fn append(
        &mut self,
        from: ReplicaId,
        prev: Position,
        commit: Index,
        keep: Index,
        entries: Vec<Entry>,
    ) {
        self.keep = keep;
        if prev.index < self.commit {
            // What is committed here is in the log of every later leader.
            return self.acknowledge(from, self.commit);
        }
        if self.log.term_at(prev.index) != Some(prev.term) {
            let index = self.log.agree_before(prev.index, prev.term);
            let term = self.log.term_at(index).unwrap_or_default();
            let hint = Position { term, index };
            return self.send(from, Body::Rejected { prev: prev.index, hint });
        }
        let matched = Index(prev.index.0 + entries.len() as u64);
        self.take_entries(entries);
        self.commit_to(commit.min(matched));
        self.acknowledge(from, matched);
    }

    /// Appends what is new. What stands already stays, and so does what follows it: a message may be
    /// older than what came after it.
    fn take_entries(&mut self, entries: Vec<Entry>) {
        let is_new = |entry: &Entry| self.log.term_at(entry.index) != Some(entry.term);
        let Some(first) = entries.iter().position(is_new) else { return };
        let from = entries[first].index;
        if from <= self.log.last() {
            self.truncate(from);
        }
        for entry in entries.into_iter().skip(first) {
            self.log.push(entry);
        }
        let dirty = &mut self.storage.dirty_from;
        *dirty = Some(dirty.map_or(from, |before| before.min(from)));
    }

    /// Drops entries of a leader that came to nothing. Writes of them that are under way vouch for
    /// them no more, even where the same indexes are written again.
    fn truncate(&mut self, from: Index) {
        assert!(from > self.commit, "entry {from} is committed and would be dropped");
        self.log.truncate(from);
        self.storage.stable = self.storage.stable.min(from.prev());
        for (_, last) in &mut self.storage.writes {
            *last = (*last).min(from.prev());
        }
        self.out.push(Effect::Truncated { from });
    }

    /// Says that we hold the leader's log up to `matched`, as soon as that is durable.
    pub(super) fn acknowledge(&mut self, to: ReplicaId, matched: Index) {
        let storage = &self.storage;
        let ticket = if matched <= storage.stable {
            0
        } else {
            let write = storage.writes.iter().find(|(_, last)| *last >= matched);
            write.map_or(storage.ticket + 1, |(ticket, _)| *ticket)
        };
        let commit = self.commit;
        self.send_after(ticket, to, Body::Appended { matched, commit });
    }

    /// A follower holds our log up to `matched`.
    pub(super) fn appended(
        &mut self,
        ctx: Context,
        from: ReplicaId,
        matched: Index,
        commit: Index,
    ) {
        let (start, last) = (self.log.start().index, self.log.last());
        let Some(progress) = self.progress_mut(from) else { return };
        if matched > last {
            return; // No correct peer says so; there is nothing it could mean.
        }
        progress.acknowledged(matched);
        progress.commit_known = progress.commit_known.max(commit);
        match progress.feed {
            Feed::Probe { .. } => progress.feed = Feed::Replicate,
            Feed::Snapshot { .. } if progress.matched >= start => {
                progress.probe(progress.matched.next());
                progress.feed = Feed::Replicate;
            }
            _ => {}
        }
        self.commit_if_reached(ctx);
        if self.commit > commit
            && let State::Leader(leader) = &mut self.state
        {
            let due = Mono(ctx.now.mono.0 + self.options.commit_ns);
            leader.commit_due.get_or_insert(due);
        }
    }

    /// A follower lacks the `prev` of an append.
    pub(super) fn rejected(&mut self, from: ReplicaId, prev: Index, hint: Position) {
        let agreed = self.log.agree_before(hint.index, hint.term);
        let Some(progress) = self.progress_mut(from) else { return };
        let awaited = match progress.feed {
            Feed::Probe { .. } => prev == progress.next.prev(),
            Feed::Replicate => prev > progress.matched,
            Feed::Snapshot { .. } => false,
        };
        if awaited {
            progress.probe(agreed.next().min(prev));
        }
    }

    /// Commits what a quorum holds, if it is of our term: entries of earlier terms that a quorum
    /// holds may still be overwritten (Raft, figure 8), unless one of ours stands above them.
    pub(super) fn commit_if_reached(&mut self, ctx: Context) {
        let State::Leader(leader) = &self.state else { return };
        let held = reached(self.log.membership(), |id, _| match id == self.id {
            true => self.storage.stable,
            false => leader.progress.get(&id).map_or(Index(0), |progress| progress.matched),
        });
        if held > self.commit && self.log.term_at(held) == Some(self.term) {
            self.commit_to(held);
            let due = Mono(ctx.now.mono.0 + self.options.commit_ns);
            if let State::Leader(leader) = &mut self.state
                && !leader.progress.is_empty()
            {
                leader.commit_due.get_or_insert(due);
            }
        }
    }

    fn commit_to(&mut self, index: Index) {
        if index <= self.commit {
            return;
        }
        assert!(
            index <= self.log.last(),
            "commit {index} lies past the end of the log at {}",
            self.log.last()
        );
        let freed = self.log.cost_between(self.commit, index);
        self.commit = index;
        if let State::Leader(leader) = &mut self.state {
            leader.uncommitted_bytes -= freed;
        }
    }

    /// The leader's own part of the log up to which `term` reaches.
    pub(super) fn committed_own_term(&self) -> bool {
        match &self.state {
            State::Leader(leader) => self.commit >= leader.term_start,
            _ => false,
        }
    }
}

/// Whether a follower's node hears us and we hear it: there is no use in asking again otherwise.
pub(super) fn is_reachable(ctx: Context, progress: &Progress) -> bool {
    ctx.liveness.supported_by(progress.node, ctx.now.mono).is_some()
}
