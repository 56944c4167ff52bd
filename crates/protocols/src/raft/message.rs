//! What replicas of a shard say to each other, and its bytes.
//!
//! Every message carries its sender's term. The frame around it (shard, shard epoch, both replica
//! ids) is the peer protocol's. Decoding checks everything that the algorithm takes for granted, so
//! that a message that decodes is a message that a correct peer could have sent: entries follow
//! `prev` without gaps, terms and stamps do not go back, memberships can be read.

use crate::liveness::SupportEpoch;
use base::codec::{DecodeError, Reader, Writer};
use base::{Entry, EntryKind, Index, Membership, NodeId, Term};

/// A place in a log with the term of the entry there. Ordered as Raft compares logs: the later term
/// wins, then the longer log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The term of the entry at `index`.
    pub term: Term,
    /// The place.
    pub index: Index,
}

/// A message between two replicas of one shard.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Message {
    /// The sender's term.
    pub term: Term,
    /// What it says.
    pub body: Body,
}

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Body {
    /// Would you vote for me in the term after mine?
    PreVote {
        /// Numbers the sender's campaigns, for the answer to name.
        round: u64,
        /// The end of the sender's log.
        last: Position,
    },
    /// Answer to `PreVote`.
    PreVoted {
        /// The campaign that it answers.
        round: u64,
        /// Yes or no.
        granted: bool,
        /// The asker's log falls short of what is committed, and it is no member there.
        removed: bool,
    },
    /// Vote for me in this term.
    Vote {
        /// The end of the sender's log.
        last: Position,
        /// The leader of the term before gave up its lease and asked the sender to campaign, so
        /// nobody is bound to it any more.
        transfer: bool,
    },
    /// Answer to `Vote`.
    Voted {
        /// Yes or no.
        granted: bool,
    },
    /// Leader to follower: entries, or none, to tell `commit` or to ask where the follower stands.
    Append {
        /// What the follower's log must hold for the entries to fit.
        prev: Position,
        /// The leader's commit index.
        commit: Index,
        /// Entries after this one are still needed by some member: a retention hint.
        keep: Index,
        /// What follows `prev`.
        entries: Vec<Entry>,
    },
    /// The follower's log equals the leader's up to `matched`, durably.
    Appended {
        /// How far.
        matched: Index,
        /// The follower's commit index.
        commit: Index,
    },
    /// The follower's log does not hold the `prev` of an `Append`.
    Rejected {
        /// The index that did not fit.
        prev: Index,
        /// The last place at or before it where the two logs may agree, as the follower sees it.
        hint: Position,
    },
    /// Am I still the leader?
    ReadRound {
        /// Numbers the leader's rounds within its term.
        round: u64,
    },
    /// Yes, when this was sent you were.
    ReadAnswer {
        /// The round that it answers.
        round: u64,
    },
    /// Leader to follower: bind this shard and term to your node's support of mine.
    Bind {
        /// The leader's node.
        node: NodeId,
        /// Your node's support, as mine knows it: a message of an earlier life of either binds
        /// nothing.
        epoch: SupportEpoch,
    },
    /// Done.
    Bound {
        /// The support that the follower leans on.
        epoch: SupportEpoch,
    },
    /// I no longer lead in `led`: you are not bound to me any more.
    Release {
        /// The term whose bindings end.
        led: Term,
    },
    /// Answer to `Release`.
    Released {
        /// The term whose bindings ended.
        led: Term,
    },
    /// Leader to follower: I have given up my lease; campaign now.
    TimeoutNow,
    /// Answer to a request of an earlier term: that term is over.
    Newer,
}

/// Terms and indexes beyond this are no work of ours: it would take centuries to count there.
const NUMBER_MAX: u64 = 1 << 60;

fn number(reader: &mut Reader) -> Result<u64, DecodeError> {
    let number = reader.u64()?;
    if number > NUMBER_MAX {
        return Err(DecodeError::Invalid("term or index beyond bounds"));
    }
    Ok(number)
}

impl Position {
    fn encode(&self, out: &mut Writer) {
        out.u64(self.term.0);
        out.u64(self.index.0);
    }

    fn decode(reader: &mut Reader) -> Result<Position, DecodeError> {
        Ok(Position { term: Term(number(reader)?), index: Index(number(reader)?) })
    }
}

impl Message {
    /// Appends the message to `out`.
    pub fn encode(&self, out: &mut Writer) {
        out.u64(self.term.0);
        self.body.encode(out);
    }

    /// The inverse of [`Message::encode`]. Allocates no more than the bytes that are left hold.
    pub fn decode(reader: &mut Reader) -> Result<Message, DecodeError> {
        let message = Message { term: Term(number(reader)?), body: Body::decode(reader)? };
        if let Body::Append { prev, entries, .. } = &message.body {
            check_entries(message.term, *prev, entries)?;
        }
        Ok(message)
    }

    /// Bytes that the message takes in queues and budgets: its entries and a constant for the rest.
    pub fn cost(&self) -> usize {
        match &self.body {
            Body::Append { entries, .. } => 64 + entries.iter().map(Entry::cost).sum::<usize>(),
            _ => 64,
        }
    }
}

impl Body {
    fn encode(&self, out: &mut Writer) {
        match self {
            Body::PreVote { round, last } => {
                out.u8(0);
                out.u64(*round);
                last.encode(out);
            }
            Body::PreVoted { round, granted, removed } => {
                out.u8(1);
                out.u64(*round);
                out.bool(*granted);
                out.bool(*removed);
            }
            Body::Vote { last, transfer } => {
                out.u8(2);
                last.encode(out);
                out.bool(*transfer);
            }
            Body::Voted { granted } => {
                out.u8(3);
                out.bool(*granted);
            }
            Body::Append { prev, commit, keep, entries } => {
                out.u8(4);
                prev.encode(out);
                out.u64(commit.0);
                out.u64(keep.0);
                out.u32(u32::try_from(entries.len()).expect("appends are bounded by bytes"));
                entries.iter().for_each(|entry| entry.encode(out));
            }
            Body::Appended { matched, commit } => {
                out.u8(5);
                out.u64(matched.0);
                out.u64(commit.0);
            }
            Body::Rejected { prev, hint } => {
                out.u8(6);
                out.u64(prev.0);
                hint.encode(out);
            }
            Body::ReadRound { round } => {
                out.u8(7);
                out.u64(*round);
            }
            Body::ReadAnswer { round } => {
                out.u8(8);
                out.u64(*round);
            }
            Body::Bind { node, epoch } => {
                out.u8(9);
                out.u64(node.0);
                epoch.encode(out);
            }
            Body::Bound { epoch } => {
                out.u8(10);
                epoch.encode(out);
            }
            Body::Release { led } => {
                out.u8(11);
                out.u64(led.0);
            }
            Body::Released { led } => {
                out.u8(12);
                out.u64(led.0);
            }
            Body::TimeoutNow => out.u8(13),
            Body::Newer => out.u8(14),
        }
    }

    fn decode(reader: &mut Reader) -> Result<Body, DecodeError> {
        Ok(match reader.u8()? {
            0 => Body::PreVote { round: reader.u64()?, last: Position::decode(reader)? },
            1 => Body::PreVoted {
                round: reader.u64()?,
                granted: reader.bool()?,
                removed: reader.bool()?,
            },
            2 => Body::Vote { last: Position::decode(reader)?, transfer: reader.bool()? },
            3 => Body::Voted { granted: reader.bool()? },
            4 => Body::Append {
                prev: Position::decode(reader)?,
                commit: Index(number(reader)?),
                keep: Index(number(reader)?),
                entries: decode_entries(reader)?,
            },
            5 => Body::Appended { matched: Index(number(reader)?), commit: Index(number(reader)?) },
            6 => Body::Rejected { prev: Index(number(reader)?), hint: Position::decode(reader)? },
            7 => Body::ReadRound { round: reader.u64()? },
            8 => Body::ReadAnswer { round: reader.u64()? },
            9 => Body::Bind { node: NodeId(reader.u64()?), epoch: SupportEpoch::decode(reader)? },
            10 => Body::Bound { epoch: SupportEpoch::decode(reader)? },
            11 => Body::Release { led: Term(number(reader)?) },
            12 => Body::Released { led: Term(number(reader)?) },
            13 => Body::TimeoutNow,
            14 => Body::Newer,
            seen => return Err(DecodeError::unknown("raft message", seen)),
        })
    }
}

/// Bytes of an entry without data: term, index, stamp, kind and the length of the data.
const ENTRY_BYTES_MIN: usize = 29;

fn decode_entries(reader: &mut Reader) -> Result<Vec<Entry>, DecodeError> {
    let count = reader.count(ENTRY_BYTES_MIN)?;
    (0..count).map(|_| Entry::decode(reader)).collect()
}

/// What the algorithm takes for granted about entries from a leader of `term`.
fn check_entries(term: Term, prev: Position, entries: &[Entry]) -> Result<(), DecodeError> {
    let mut before = prev;
    let mut stamp = None;
    for entry in entries {
        if entry.index != before.index.next() {
            return Err(DecodeError::Invalid("entries: indexes have gaps"));
        }
        if entry.term < before.term || entry.term > term {
            return Err(DecodeError::Invalid("entries: terms out of order"));
        }
        if stamp.is_some_and(|stamp| entry.stamp <= stamp) {
            return Err(DecodeError::Invalid("entries: stamps do not rise"));
        }
        if entry.kind == EntryKind::Membership {
            let mut reader = Reader::new(entry.data.clone());
            Membership::decode(&mut reader)?;
            reader.end()?;
        }
        before = Position { term: entry.term, index: entry.index };
        stamp = Some(entry.stamp);
    }
    Ok(())
}
