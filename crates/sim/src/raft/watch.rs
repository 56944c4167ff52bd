//! The observer: sees every log, every commit index, every disk, and knows Raft's invariants.

use super::node::Replica;
use super::world::World;
use crate::judge::Judge;
use base::codec::Reader;
use base::{Entry, EntryKind, Index, Membership, NodeId, ReplicaId, Term};
use protocols::raft::{Context, Role};
use std::collections::BTreeMap;

/// What the observer knows.
#[derive(Default)]
pub struct Truth {
    leaders: BTreeMap<Term, ReplicaId>,
    /// Entries by place, with the term before them.
    entries: BTreeMap<(Index, Term), (Entry, Term)>,
    committed: Vec<Entry>,
    /// The term in which each was first seen to be. A leader of an earlier one may lack it: it was
    /// elected by votes that came late, and nobody listens to it.
    committed_in: Vec<Term>,
    /// Who voted in a term, and for whom.
    votes: BTreeMap<(Term, ReplicaId), ReplicaId>,
    /// Before any other.
    pub first_members: Membership,
}

impl Truth {
    pub fn commit(&self) -> Index {
        Index(self.committed.len() as u64)
    }
}

/// How many of how many voters are short of a majority, if they are.
fn short(membership: &Membership, of: impl Fn(ReplicaId, NodeId) -> bool) -> Option<[usize; 2]> {
    let sets = [&membership.voters, &membership.outgoing].into_iter();
    let counted = sets.filter(|voters| !voters.is_empty()).map(|voters| {
        let those = voters.iter().filter(|(replica, node)| of(**replica, **node));
        [those.count(), voters.len()]
    });
    counted.into_iter().find(|[those, all]| *those <= all / 2)
}

fn membership_in(entries: &[Entry]) -> Option<Membership> {
    let newest = entries.iter().rfind(|entry| entry.kind == EntryKind::Membership)?;
    let membership = Membership::decode(&mut Reader::new(newest.data.clone()));
    Some(membership.expect("a leader encoded it"))
}

impl World<'_> {
    fn observe(&mut self, fine: bool, what: impl FnOnce() -> String) {
        if !fine {
            self.fail(Judge::Watch, what());
        }
    }

    /// A replica leads.
    pub(super) fn see_leader(&mut self, id: NodeId, replica: ReplicaId, term: Term) {
        self.stats.elections += 1;
        if !self.watched {
            return;
        }
        let leader = *self.truth.leaders.entry(term).or_insert(replica);
        self.observe(leader == replica, || format!("{leader} and {replica} lead in {term}"));
        let raft = self.raft(id, replica);
        let start = raft.log_start().index;
        let lacks = |(entry, by): &(&Entry, &Term)| {
            let due = entry.index > start && **by < term;
            due && raft.term_at(entry.index) != Some(entry.term)
        };
        let mut committed = self.truth.committed.iter().zip(&self.truth.committed_in);
        let lacking = committed.find(lacks).map(|(entry, _)| entry.index);
        self.observe(lacking.is_none(), || {
            format!("leader {replica} of {term} lacks the committed entry {lacking:?}")
        });
        self.see_election(id, replica, term);
        self.see_no_lease_before(id, replica, term);
    }

    /// Nobody who led before may still read from a lease: whoever voted had to be free to.
    fn see_no_lease_before(&mut self, id: NodeId, replica: ReplicaId, term: Term) {
        let mut leased = None;
        for node in self.nodes.values().filter(|node| node.id != id) {
            let Some(liveness) = &node.liveness else { continue };
            let ctx = Context { now: node.time(self.t), liveness };
            let leads = |other: &Replica| {
                let raft = other.raft.as_ref().filter(|raft| raft.term() < term);
                raft.is_some_and(|raft| raft.lease_read(ctx).is_some())
            };
            leased = leased.or(node.replicas.iter().find(|(_, other)| leads(other)));
        }
        let other = leased.map(|(other, _)| *other);
        self.observe(other.is_none(), || {
            format!("{replica} is elected while {other:?} has a lease")
        });
    }

    /// A replica says that it holds the leader's log up to here.
    pub(super) fn see_acknowledged(&mut self, id: NodeId, replica: ReplicaId, matched: Index) {
        let Some(term) = self.raft(id, replica).term_at(matched).filter(|_| self.watched) else {
            return;
        };
        let fine = self.nodes[&id].replicas[&replica].disk.holds(matched, term);
        self.observe(fine, || format!("{replica} acknowledges {matched}, its disk lacks it"));
    }

    /// A replica was told something of an earlier term: if it leads, what it knows of the others'
    /// logs must still be so, for those who have not gone on to a later term.
    pub(super) fn see_told_late(&mut self, id: NodeId, replica: ReplicaId) {
        if !self.watched || self.raft(id, replica).role() != Role::Leader {
            return;
        }
        let leader = self.raft(id, replica);
        let untrue = leader.status().progress.into_iter().find(|(other, progress)| {
            let term = leader.term_at(progress.matched);
            let at = self.nodes[&progress.node].replicas.get(other);
            let went_on = at.is_some_and(|at| at.disk.hard_state.term > leader.term());
            let holds = |term| at.is_some_and(|at| at.disk.holds(progress.matched, term));
            !went_on && term.is_some_and(|term| progress.matched > Index(0) && !holds(term))
        });
        let untrue = untrue.map(|(other, progress)| (other, progress.matched));
        self.observe(untrue.is_none(), || format!("{replica} counts on {untrue:?} in vain"));
    }

    /// What a replica holds beyond what it knows to be committed.
    pub(super) fn ends_of(&self, id: NodeId, replica: ReplicaId) -> Vec<Entry> {
        match &self.nodes[&id].replicas[&replica].raft {
            Some(raft) if self.watched => raft.entries(raft.commit(), Index(u64::MAX), usize::MAX),
            _ => Vec::new(),
        }
    }

    /// A snapshot was installed over these entries: those that are committed stay.
    pub(super) fn see_installed(&mut self, id: NodeId, replica: ReplicaId, before: &[Entry]) {
        let raft = self.raft(id, replica);
        let start = raft.log_start().index;
        let lost = before.iter().filter(|entry| entry.index > start).find(|entry| {
            let committed = self.truth.committed.get(entry.index.0 as usize - 1);
            committed == Some(entry) && raft.term_at(entry.index) != Some(entry.term)
        });
        let lost = lost.map(|entry| entry.index);
        self.observe(lost.is_none(), || {
            format!("{replica} drops the committed entry {lost:?} for a snapshot")
        });
    }

    /// It has the votes of a quorum, by the membership that its log says.
    fn see_election(&mut self, id: NodeId, replica: ReplicaId, term: Term) {
        let raft = self.raft(id, replica);
        let start = raft.log_start().index;
        let own = membership_in(&raft.entries(start, Index(u64::MAX), usize::MAX));
        let before = || membership_in(&self.truth.committed[..start.0 as usize]);
        let due = own.or_else(before).unwrap_or_else(|| self.truth.first_members.clone());
        let counts = raft.membership().clone();
        let disk = self.nodes[&id].replicas[&replica].disk.hard_state;
        let for_itself = disk.term == term && disk.vote == Some(replica);
        let lacking = short(&due, |voter, _| match voter == replica {
            true => for_itself,
            false => self.truth.votes.get(&(term, voter)) == Some(&replica),
        });
        self.observe(counts == due, || format!("{replica} counts by {counts:?}, not by {due:?}"));
        self.observe(lacking.is_none(), || format!("{replica} is elected by {lacking:?} voters"));
    }

    /// A replica's vote leaves its node.
    pub(super) fn see_vote(&mut self, voter: ReplicaId, term: Term, candidate: ReplicaId) {
        let first = *self.truth.votes.entry((term, voter)).or_insert(candidate);
        self.observe(!self.watched || first == candidate, || {
            format!("{voter} votes for {first} and {candidate} in {term}")
        });
    }

    /// A replica writes entries.
    pub(super) fn see_entries(&mut self, id: NodeId, replica: ReplicaId, entries: &[Entry]) {
        if !self.watched {
            return;
        }
        for entry in entries {
            let Some(before) = self.raft(id, replica).term_at(entry.index.prev()) else { continue };
            let place = (entry.index, entry.term);
            let seen = self.truth.entries.entry(place).or_insert_with(|| (entry.clone(), before));
            let matches = (&seen.0, seen.1) == (entry, before);
            self.observe(matches, || format!("two logs differ at {place:?}"));
        }
    }

    /// A replica's commit index moved up.
    pub(super) fn see_commit(&mut self, id: NodeId, replica: ReplicaId, index: Index) {
        let known = self.truth.commit();
        if !self.watched || index <= known {
            return; // What is known is checked when it is applied.
        }
        let raft = self.raft(id, replica);
        if raft.log_start().index > known {
            return self.observe(false, || format!("{index} is committed, nobody held {known}"));
        }
        let membership = raft.membership().clone();
        let counted = raft.role() == Role::Leader && raft.term_at(index) != Some(raft.term());
        self.observe(!counted, || format!("{replica} commits {index} of an earlier term"));
        let raft = self.raft(id, replica);
        let term = raft.term();
        self.truth.committed.extend(raft.entries(known, index, usize::MAX));
        self.truth.committed_in.resize(self.truth.committed.len(), term);
        let Some(last) = self.truth.committed.last() else { return };
        let (last_index, last_term) = (last.index, last.term);
        let lacking = short(&membership, |replica, node| {
            let replica = self.nodes[&node].replicas.get(&replica);
            replica.is_some_and(|replica| replica.disk.holds(last_index, last_term))
        });
        self.observe(lacking.is_none(), || {
            let [holding, all] = lacking.unwrap_or_default();
            format!("{last_index} is committed on {holding} of {all} disks")
        });
    }

    /// A replica applies an entry.
    pub(super) fn see_applied(&mut self, replica: ReplicaId, entry: &Entry) {
        if entry.kind == EntryKind::Membership && entry.index > self.members.0 {
            let membership = Membership::decode(&mut Reader::new(entry.data.clone()));
            self.members = (entry.index, membership.expect("a leader encoded it"));
        }
        if self.watched {
            let known = self.truth.committed.get(entry.index.0 as usize - 1);
            // Most are the very bytes that were committed.
            let very = |known: &Entry| {
                known.data.as_ptr() == entry.data.as_ptr() && known.data.len() == entry.data.len()
            };
            let header = |entry: &Entry| (entry.term, entry.index, entry.stamp, entry.kind);
            let same = known.is_some_and(|known| {
                header(known) == header(entry) && (very(known) || known.data == entry.data)
            });
            self.observe(same, || format!("{replica} applies another entry {}", entry.index));
        }
    }

    /// A read may run at `index`; `floor` was committed when it began.
    pub(super) fn see_read(&mut self, index: Index, floor: Index) {
        let fine = !self.watched || index >= floor;
        self.observe(fine, || format!("a read that began after {floor} sees only {index}"));
    }

    /// A replica would read at `index` now, by its lease.
    pub(super) fn see_lease(&mut self, replica: ReplicaId, index: Index) {
        let commit = self.truth.commit();
        let fine = !self.watched || index >= commit;
        self.observe(fine, || format!("{replica} has a lease at {index}, committed is {commit}"));
    }
}
