//! What must always hold, what must be reached, and the observer who knows.

use base::{Membership, ReplicaId, Term};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

/// What must hold in every state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Law {
    /// One leader in a term.
    ElectionSafety,
    /// A new leader holds everything that was ever committed.
    LeaderCompleteness,
    /// Logs that agree on an entry's term agree on it and on all before it.
    LogMatching,
    /// Replicas apply the same entries in the same order, also by way of snapshots.
    StateMachineSafety,
    /// Nothing that is committed changes or is taken back.
    CommitStands,
    /// What is committed is on the disks of a quorum; what is acknowledged, and a vote, on the disk
    /// of whoever says so.
    DurableFirst,
    /// A read sees at least what was committed when it was asked for, by whatever leader.
    NoStaleRead,
    /// The cores' own assertions hold.
    Assertions,
}

/// All laws with their names.
pub const LAWS: [(Law, &str); 8] = [
    (Law::ElectionSafety, "election safety"),
    (Law::LeaderCompleteness, "leader completeness"),
    (Law::LogMatching, "log matching"),
    (Law::StateMachineSafety, "state machine safety"),
    (Law::CommitStands, "commit never goes back"),
    (Law::DurableFirst, "durable before acknowledged"),
    (Law::NoStaleRead, "no stale read"),
    (Law::Assertions, "assertions of the cores"),
];

/// What a model must reach, or else it proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// A leader was elected.
    FirstLeader,
    /// A later leader than the first was elected.
    LaterLeader,
    /// A leader stood beside one of a later term.
    TwoLeaders,
    /// A crash lost something that was not synced.
    LostWrites,
    /// A follower dropped entries of a leader that came to nothing.
    Truncated,
    /// A joint membership was committed.
    JointCommitted,
    /// And left by itself.
    JointLeft,
    /// A learner became a voter.
    Promoted,
    /// A snapshot was installed.
    SnapshotInstalled,
    /// A read was answered after a round of questions.
    RoundRead,
    /// A read was answered from the lease.
    LeaseRead,
    /// A leader that is none any more had no lease to answer from.
    StaleLeaseRefused,
    /// A leader lost a follower's support, got it anew, and was bound again.
    SupportRegained,
    /// A leader handed over.
    Transferred,
}

/// All marks with their names.
pub const MARKS: [(Mark, &str); 14] = [
    (Mark::FirstLeader, "leader elected"),
    (Mark::LaterLeader, "later leader elected"),
    (Mark::TwoLeaders, "leader beside a later one"),
    (Mark::LostWrites, "unsynced write lost"),
    (Mark::Truncated, "conflicting suffix truncated"),
    (Mark::JointCommitted, "joint change committed"),
    (Mark::JointLeft, "joint change left"),
    (Mark::Promoted, "learner promoted"),
    (Mark::SnapshotInstalled, "snapshot installed"),
    (Mark::RoundRead, "read answered by a round"),
    (Mark::LeaseRead, "read answered from the lease"),
    (Mark::StaleLeaseRefused, "stale lease refused"),
    (Mark::SupportRegained, "support lost and regained"),
    (Mark::Transferred, "leadership transferred"),
];

/// Marks that were reached anywhere in a run. They belong to the run and not to a state: a state
/// would otherwise be another one for each way that leads to it.
#[derive(Debug, Default)]
pub struct Reached(AtomicU64);

impl Reached {
    /// Notes a mark.
    pub fn note(&self, mark: Mark) {
        self.0.fetch_or(1 << mark as u64, Ordering::Relaxed);
    }

    /// Whether it was reached.
    pub fn has(&self, mark: Mark) -> bool {
        self.0.load(Ordering::Relaxed) & (1 << mark as u64) != 0
    }
}

/// A committed entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Committed {
    /// Its term.
    pub term: Term,
    /// The term in which it was committed: leaders of later ones must hold it.
    pub in_term: Term,
    /// The digest of all up to it.
    pub digest: u64,
}

/// What an omniscient observer saw.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Truth {
    /// Who led in each term.
    pub leaders: BTreeMap<Term, ReplicaId>,
    /// The committed entries.
    pub committed: Vec<Committed>,
    /// The laws that were broken, with what was seen.
    pub broken: Vec<(u8, String)>,
}

impl Truth {
    /// Notes a broken law.
    pub fn breaks(&mut self, law: Law, seen: String) {
        self.broken.push((law as u8, seen));
    }

    /// Whether a law was never broken.
    pub fn keeps(&self, law: Law) -> bool {
        self.broken.iter().all(|(broken, _)| *broken != law as u8)
    }

    /// The digest of everything up to `index`, if that is committed.
    pub fn digest_at(&self, index: u64) -> Option<u64> {
        match index.checked_sub(1) {
            None => Some(0),
            Some(at) => self.committed.get(at as usize).map(|entry| entry.digest),
        }
    }
}

/// Whether a majority of the voters, and during a joint change of the old ones too, has something.
/// Written anew on purpose: the core's own count is under test.
pub fn quorum_has(membership: &Membership, has: impl Fn(ReplicaId) -> bool) -> bool {
    [&membership.voters, &membership.outgoing].into_iter().all(|voters| {
        let having = voters.keys().filter(|id| has(**id)).count();
        voters.is_empty() || 2 * having > voters.len()
    })
}
