//! The observer: what each step shows is held against the laws.

use crate::law::{Law, Mark};
use crate::node::{Disk, Node};
use crate::turn::Turn;
use base::{Index, Membership, NodeId, ReplicaId, Term};
use protocols::raft::{Body, Message, Raft, Role};
use std::collections::BTreeMap;

impl Turn<'_> {
    pub(crate) fn note_change(
        &self,
        was_joint: bool,
        now: &Membership,
        learners: &BTreeMap<ReplicaId, NodeId>,
    ) {
        let reached = &self.cluster.reached;
        if now.is_joint() {
            reached.note(Mark::JointCommitted);
        }
        if was_joint && !now.is_joint() {
            reached.note(Mark::JointLeft);
        }
        if learners.keys().any(|id| now.voters.contains_key(id)) {
            reached.note(Mark::Promoted);
        }
    }

    /// What the replica applied is what was committed.
    pub(crate) fn check_machine(&mut self, id: u64) {
        let machine = &self.node(id).machine;
        let index = machine.at.index;
        if self.truth.digest_at(index.0) != Some(machine.digest) {
            let seen = format!("replica {id} applied something else up to {index}");
            self.breaks(Law::StateMachineSafety, seen);
        }
    }

    pub(crate) fn see_leader(&mut self, id: u64, term: Term) {
        let leader = *self.truth.leaders.entry(term).or_insert(ReplicaId(id));
        let reached = &self.cluster.reached;
        reached.note(Mark::FirstLeader);
        if self.truth.leaders.len() > 1 {
            reached.note(Mark::LaterLeader);
        }
        let node = self.node(id);
        if node.heir_in == term {
            reached.note(Mark::Transferred);
        }
        let start = node.raft.log_start().index;
        let lacks = self.truth.committed.iter().zip(1..).find(|(entry, index)| {
            entry.in_term < term
                && *index > start.0
                && node.raft.term_at(Index(*index)) != Some(entry.term)
        });
        let lacks = lacks.map(|(_, index)| index);
        if leader.0 != id {
            let seen = format!("{leader} and {id} lead in term {term}");
            self.breaks(Law::ElectionSafety, seen);
        }
        if let Some(index) = lacks {
            let seen = format!("leader {id} of term {term} lacks committed entry {index}");
            self.breaks(Law::LeaderCompleteness, seen);
        }
    }

    pub(crate) fn see_read(&mut self, id: u64, floor: Index, index: Index) {
        self.cluster.reached.note(Mark::RoundRead);
        if index < floor {
            let seen = format!("a read at {id} that began after {floor} sees only {index}");
            self.breaks(Law::NoStaleRead, seen);
        }
    }

    /// What is acknowledged or voted is on the sender's disk.
    pub(crate) fn check_durable(&mut self, from: u64, to: ReplicaId, message: &Message) {
        let node = self.node(from);
        let durable = match message.body {
            Body::Voted { granted: true } => {
                let hard_state = node.disk.hard_state;
                hard_state.term == message.term && hard_state.vote == Some(to)
            }
            Body::Appended { matched, .. } => acknowledged(&node.disk, &node.raft, matched),
            _ => true,
        };
        if !durable {
            let seen = format!("{from} says {:?} before it is durable", message.body);
            self.breaks(Law::DurableFirst, seen);
        }
    }

    /// Each log that this step touched against all others.
    pub(crate) fn check_logs(&mut self) {
        let nodes = 1..=self.world.nodes.len() as u64;
        for id in nodes.clone() {
            let touched = self.touched[id as usize - 1].is_some();
            for other in nodes.clone().filter(|other| touched && *other != id) {
                if let Some(index) = mismatch(self.node(id), self.node(other)) {
                    let seen = format!("{id} and {other} differ at {index} and agree after it");
                    self.breaks(Law::LogMatching, seen);
                }
            }
        }
    }

    /// Whoever may read from its lease has everything that was committed.
    pub(crate) fn check_leases(&mut self) {
        let committed = Index(self.truth.committed.len() as u64);
        for id in 1..=self.world.nodes.len() as u64 {
            let node = self.node(id);
            if node.raft.role() != Role::Leader {
                continue;
            }
            let deposed = self.truth.leaders.keys().any(|term| *term > node.raft.term());
            let ctx = self.context(id, node);
            let lease = node.raft.lease_read(ctx);
            self.note_lease(id, deposed, lease);
            if lease.is_some_and(|index| index < committed) {
                let seen = format!("{id} would read {lease:?} from its lease, not {committed}");
                self.breaks(Law::NoStaleRead, seen);
            }
        }
    }

    fn note_lease(&self, id: u64, deposed: bool, lease: Option<Index>) {
        let reached = &self.cluster.reached;
        if deposed {
            reached.note(Mark::TwoLeaders);
        }
        match lease {
            Some(_) => {
                reached.note(Mark::LeaseRead);
                if !reached.has(Mark::SupportRegained) && self.was_bound_anew(id) {
                    reached.note(Mark::SupportRegained);
                }
            }
            None if deposed && self.cluster.bounds.binding => {
                reached.note(Mark::StaleLeaseRefused);
            }
            None => {}
        }
    }

    /// Whether a follower is bound to the leader by another support than at the beginning, of the
    /// same life.
    fn was_bound_anew(&self, id: u64) -> bool {
        self.node(id).raft.status().progress.iter().any(|(follower, progress)| {
            let first = self.cluster.first_support.get(&(follower.0, id));
            first.zip(progress.bound).is_some_and(|(first, bound)| {
                first.boot == bound.boot && first.counter < bound.counter
            })
        })
    }
}

fn acknowledged(disk: &Disk, raft: &Raft, matched: Index) -> bool {
    let start = disk.log_start.index.max(raft.log_start().index);
    (start.0 + 1..=matched.0)
        .all(|index| raft.term_at(Index(index)).is_some_and(|term| disk.holds(Index(index), term)))
}

/// Where two logs differ though they agree on a later entry's term.
fn mismatch(one: &Node, other: &Node) -> Option<Index> {
    let start = one.raft.log_start().index.max(other.raft.log_start().index);
    let mut agreed = false;
    for index in (start.0 + 1..=one.last().min(other.last()).0).rev().map(Index) {
        let (Some(a), Some(b)) = (one.entry(index), other.entry(index)) else { continue };
        agreed |= a.0 == b.0;
        if agreed && a != b {
            return Some(index);
        }
    }
    None
}
