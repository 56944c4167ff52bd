//! A shard's replicated log, as the protocol that orders it, the storage that keeps it and the
//! service that applies it all speak of it.

use crate::codec::{DecodeError, Reader, Writer};
use crate::{NodeId, ReplicaId};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::fmt;

/// A Raft term. Zero is before the first election.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Term(pub u64);

/// A position in a shard's log. The first entry is at 1; zero is before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Index(pub u64);

impl Index {
    /// The position after this one.
    pub fn next(self) -> Index {
        Index(self.0 + 1)
    }
    /// The position before this one; zero stays zero.
    pub fn prev(self) -> Index {
        Index(self.0.saturating_sub(1))
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
impl fmt::Display for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The time in a log entry: nanoseconds since the Unix epoch as the shard counts them. Given by the
/// leader, strictly above the stamp of every earlier entry of the shard. Versions, fences and expiry
/// are stamps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp(pub u64);

impl Stamp {
    /// Whole milliseconds since the Unix epoch, rounded down.
    pub fn millis(self) -> u64 {
        self.0 / 1_000_000
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What an entry is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum EntryKind {
    /// Opens a leader's term; changes nothing.
    Noop = 0,
    /// A command of the shard's service; `data` is the service's own encoding.
    Command = 1,
    /// A new membership; `data` is an encoded [`Membership`].
    Membership = 2,
}

/// One entry of a shard's log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    /// The term of the leader that appended it.
    pub term: Term,
    /// Its position.
    pub index: Index,
    /// When, in shard time.
    pub stamp: Stamp,
    /// What `data` is.
    pub kind: EntryKind,
    /// Its content.
    pub data: Bytes,
}

impl Entry {
    /// Bytes that this entry takes in limits and budgets: its data and a constant for the rest.
    pub fn cost(&self) -> usize {
        self.data.len() + 48
    }

    /// Appends the entry to `out`: term, index, stamp, kind, data with its length.
    pub fn encode(&self, out: &mut Writer) {
        out.u64(self.term.0);
        out.u64(self.index.0);
        out.u64(self.stamp.0);
        out.u8(self.kind as u8);
        out.bytes(&self.data);
    }

    /// The inverse of [`Entry::encode`].
    pub fn decode(reader: &mut Reader) -> Result<Entry, DecodeError> {
        Ok(Entry {
            term: Term(reader.u64()?),
            index: Index(reader.u64()?),
            stamp: Stamp(reader.u64()?),
            kind: match reader.u8()? {
                0 => EntryKind::Noop,
                1 => EntryKind::Command,
                2 => EntryKind::Membership,
                seen => return Err(DecodeError::unknown("entry kind", seen)),
            },
            data: reader.bytes()?,
        })
    }
}

/// What a replica must never forget: Raft's persistent state (Raft, figure 2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct HardState {
    /// The latest term this replica has seen.
    pub term: Term,
    /// Whom it voted for in that term.
    pub vote: Option<ReplicaId>,
    /// An index known to be committed; may lag behind the truth, never ahead of it.
    pub commit: Index,
}

impl HardState {
    /// Appends term, vote and commit to `out`.
    pub fn encode(&self, out: &mut Writer) {
        out.u64(self.term.0);
        out.option(self.vote, |out, vote| out.u64(vote.0));
        out.u64(self.commit.0);
    }

    /// The inverse of [`HardState::encode`].
    pub fn decode(reader: &mut Reader) -> Result<HardState, DecodeError> {
        Ok(HardState {
            term: Term(reader.u64()?),
            vote: reader.option(Reader::u64)?.map(ReplicaId),
            commit: Index(reader.u64()?),
        })
    }
}

/// Where a replica's log begins: everything up to `index` lives in the rows only, because it was
/// compacted away or came with a snapshot. The first entry that can be in the log is at
/// `index.next()`. The default is the start of a log that has everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct LogStart {
    /// The last index that is no longer in the log; zero if none ever left it.
    pub index: Index,
    /// The term of the entry at `index`.
    pub term: Term,
    /// The stamp of the entry at `index`.
    pub stamp: Stamp,
    /// The membership in force after the entry at `index`.
    pub membership: Membership,
}

impl LogStart {
    /// Appends index, term, stamp and membership to `out`.
    pub fn encode(&self, out: &mut Writer) {
        out.u64(self.index.0);
        out.u64(self.term.0);
        out.u64(self.stamp.0);
        self.membership.encode(out);
    }

    /// The inverse of [`LogStart::encode`].
    pub fn decode(reader: &mut Reader) -> Result<LogStart, DecodeError> {
        Ok(LogStart {
            index: Index(reader.u64()?),
            term: Term(reader.u64()?),
            stamp: Stamp(reader.u64()?),
            membership: Membership::decode(reader)?,
        })
    }
}

/// Who takes part in a shard, in one of Raft's configurations (Raft, section 6). During a joint
/// change `outgoing` holds the old voters and decisions need a majority of both sets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Membership {
    /// Voters and the nodes they live on.
    pub voters: BTreeMap<ReplicaId, NodeId>,
    /// Voters of the configuration being left; empty outside a joint change.
    pub outgoing: BTreeMap<ReplicaId, NodeId>,
    /// Replicas that receive the log without a vote.
    pub learners: BTreeMap<ReplicaId, NodeId>,
    /// Voters being left that become learners once the joint change ends.
    pub learners_next: BTreeMap<ReplicaId, NodeId>,
}

impl Membership {
    /// A configuration in which exactly `voters` vote.
    pub fn of_voters(voters: impl IntoIterator<Item = (ReplicaId, NodeId)>) -> Membership {
        Membership { voters: voters.into_iter().collect(), ..Membership::default() }
    }

    /// Whether a joint change is under way.
    pub fn is_joint(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Whether `replica` has a vote in either configuration.
    pub fn votes(&self, replica: ReplicaId) -> bool {
        self.voters.contains_key(&replica) || self.outgoing.contains_key(&replica)
    }

    /// The node that `replica` lives on, whatever its part.
    pub fn node_of(&self, replica: ReplicaId) -> Option<NodeId> {
        [&self.voters, &self.outgoing, &self.learners, &self.learners_next]
            .into_iter()
            .find_map(|set| set.get(&replica).copied())
    }

    /// Every other replica with its node, in no order; some may come twice.
    pub fn all_but(&self, replica: ReplicaId) -> impl Iterator<Item = (ReplicaId, NodeId)> {
        let sets = [&self.voters, &self.outgoing, &self.learners, &self.learners_next];
        let all = sets.into_iter().flatten().map(|(id, node)| (*id, *node));
        all.filter(move |(id, _)| *id != replica)
    }

    /// Every replica with its node, in order of id.
    pub fn all(&self) -> BTreeMap<ReplicaId, NodeId> {
        let mut all = self.learners_next.clone();
        all.extend(&self.learners);
        all.extend(&self.outgoing);
        all.extend(&self.voters);
        all
    }

    /// Appends the four sets to `out`.
    pub fn encode(&self, out: &mut Writer) {
        for set in [&self.voters, &self.outgoing, &self.learners, &self.learners_next] {
            out.u32(set.len() as u32);
            for (replica, node) in set {
                out.u64(replica.0);
                out.u64(node.0);
            }
        }
    }

    /// The inverse of [`Membership::encode`].
    pub fn decode(reader: &mut Reader) -> Result<Membership, DecodeError> {
        let mut set = || -> Result<BTreeMap<ReplicaId, NodeId>, DecodeError> {
            let count = reader.count(16)?;
            (0..count).map(|_| Ok((ReplicaId(reader.u64()?), NodeId(reader.u64()?)))).collect()
        };
        Ok(Membership { voters: set()?, outgoing: set()?, learners: set()?, learners_next: set()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_start_and_a_hard_state_are_read_back() {
        let start = LogStart {
            index: Index(7),
            term: Term(3),
            stamp: Stamp(99),
            membership: Membership::of_voters([(ReplicaId(1), NodeId(4))]),
        };
        let hard = HardState { term: Term(5), vote: Some(ReplicaId(2)), commit: Index(8) };
        let mut out = Writer::new();
        start.encode(&mut out);
        hard.encode(&mut out);
        let mut reader = Reader::new(out.finish());
        assert_eq!(LogStart::decode(&mut reader), Ok(start));
        assert_eq!(HardState::decode(&mut reader), Ok(hard));
        reader.end().unwrap();
    }
}
