//! One node of a model: the very cores, a disk, and the little that a node does around them.

use crate::shared::digest;
use base::codec::Reader;
use base::{Entry, EntryKind, HardState, Index, LogStart, Membership, Term};
use protocols::liveness::Liveness;
use protocols::raft::{Raft, ReadId};
use std::collections::{BTreeSet, VecDeque};

/// A node with one replica.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Node {
    /// The core under test.
    pub raft: Raft,
    /// The core that leases rest on.
    pub liveness: Liveness,
    /// Counts the node's starts.
    pub boot: u64,
    /// What survives a crash.
    pub disk: Disk,
    /// What is being written, and is lost by a crash.
    pub writes: VecDeque<Write>,
    /// The replica's state machine.
    pub machine: Machine,
    /// Reads that wait, with what was committed when they were asked for.
    pub reads: Vec<(ReadId, Index)>,
    /// The last round of reads that this node asked for.
    pub round: u64,
    /// The last term in which this node campaigned because a leader handed over to it.
    pub heir_in: Term,
    /// What arrived while writes were under way, by digest. It does not arrive again before they are
    /// done: the core keeps its answers until then, one more each time, without end.
    pub heard: BTreeSet<u64>,
    /// The entries of the replica's log after its start: their terms and digests.
    pub log: Vec<(Term, u64)>,
}

impl Node {
    /// The digest of the entry at `index` with its term.
    pub fn entry(&self, index: Index) -> Option<(Term, u64)> {
        let offset = index.0.checked_sub(self.raft.log_start().index.0 + 1)?;
        self.log.get(offset as usize).copied()
    }

    /// The end of the log.
    pub fn last(&self) -> Index {
        Index(self.raft.log_start().index.0 + self.log.len() as u64)
    }

    /// Notes the entries of the log anew.
    pub fn note_log(&mut self) {
        let start = self.raft.log_start().index;
        let entries = self.raft.entries(start, Index(u64::MAX), usize::MAX);
        self.log.clear();
        self.log.extend(entries.iter().map(|entry| (entry.term, digest(entry))));
    }
}

/// What is on a disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Disk {
    /// Term and vote.
    pub hard_state: HardState,
    /// Where the log starts.
    pub log_start: LogStart,
    /// What follows.
    pub entries: Vec<Entry>,
    /// The state machine when it was last made durable.
    pub machine: Machine,
}

/// What is on its way to a disk.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Write {
    /// To be reported once it is there; none for a mere release of old entries.
    pub ticket: Option<u64>,
    /// Replaces term and vote.
    pub hard_state: Option<HardState>,
    /// The log starts anew, with this state machine.
    pub reset: Option<Machine>,
    /// These replace what stood at their indexes and after them.
    pub entries: Vec<Entry>,
    /// Entries up to here may go.
    pub compact: Option<LogStart>,
}

impl Disk {
    /// A write arrives.
    pub fn take(&mut self, write: Write) {
        self.hard_state = write.hard_state.unwrap_or(self.hard_state);
        if let Some(machine) = write.reset {
            self.log_start = machine.at.clone();
            self.machine = machine;
            self.entries.clear();
        }
        if let Some(first) = write.entries.first() {
            assert!(first.index <= self.last().next(), "a gap before entry {}", first.index);
            self.entries.retain(|entry| entry.index < first.index);
        }
        self.entries.extend(write.entries);
        if let Some(start) = write.compact.filter(|start| start.index > self.log_start.index) {
            assert!(start.index <= self.last(), "compacted past the durable log");
            self.entries.retain(|entry| entry.index > start.index);
            self.log_start = start;
        }
    }

    /// The last index on it.
    pub fn last(&self) -> Index {
        Index(self.log_start.index.0 + self.entries.len() as u64)
    }

    /// Whether the entry of `term` at `index` is on it.
    pub fn holds(&self, index: Index, term: Term) -> bool {
        index <= self.log_start.index
            || self.entries.iter().any(|entry| (entry.index, entry.term) == (index, term))
    }
}

/// A state machine that remembers a digest of all that was applied to it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Machine {
    /// The last entry applied.
    pub at: LogStart,
    /// Of all entries so far.
    pub digest: u64,
}

impl Machine {
    /// Applies the next entry.
    pub fn apply(&mut self, entry: &Entry) {
        assert_eq!(entry.index, self.at.index.next(), "applied out of order");
        (self.at.index, self.at.term, self.at.stamp) = (entry.index, entry.term, entry.stamp);
        if let Some(membership) = membership_in(entry) {
            self.at.membership = membership;
        }
        self.digest = digest(&(self.digest, entry));
    }
}

/// The membership that an entry carries.
pub fn membership_in(entry: &Entry) -> Option<Membership> {
    let carries = entry.kind == EntryKind::Membership;
    let decode = || Membership::decode(&mut Reader::new(entry.data.clone()));
    carries.then(|| decode().expect("a leader wrote it"))
}
