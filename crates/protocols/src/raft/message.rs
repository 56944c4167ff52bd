//! What replicas of a shard say to each other, and its bytes.
//!
//! Every message carries its sender's term, and shard time as its sender knows it. The frame around it (shard, shard epoch, both replica
//! ids) is the peer protocol's. Decoding checks everything that the algorithm takes for granted, so
//! that a message that decodes is a message that a correct peer could have sent: entries follow
//! `prev` without gaps, terms and stamps do not go back, memberships can be read.

use crate::clock::Reading;
use crate::liveness::SupportEpoch;
use base::codec::{DecodeError, Reader, Writer};
use base::{Entry, EntryKind, Index, Membership, NodeId, Stamp, Term};

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
    /// Shard time as the sender knows it.
    pub time: Reading,
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
        out.u64(self.time.by.0);
        out.u64(self.time.time.0);
        self.body.encode(out);
    }

    /// The inverse of [`Message::encode`]. Allocates no more than the bytes that are left hold.
    pub fn decode(reader: &mut Reader) -> Result<Message, DecodeError> {
        let term = Term(number(reader)?);
        let time = Reading { by: Term(number(reader)?), time: Stamp(reader.u64()?) };
        let message = Message { term, time, body: Body::decode(reader)? };
        if time.by > term {
            return Err(DecodeError::Invalid("shard time by a leader of a later term"));
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use base::Random;
    use bytes::Bytes;

    fn entry(term: u64, index: u64) -> Entry {
        Entry {
            term: Term(term),
            index: Index(index),
            stamp: Stamp(index),
            kind: EntryKind::Command,
            data: Bytes::from_static(b"x"),
        }
    }

    fn message(body: Body) -> Message {
        Message { term: Term(5), time: Reading { by: Term(4), time: Stamp(12) }, body }
    }

    fn append(prev: (u64, u64), entries: Vec<Entry>) -> Message {
        let prev = Position { term: Term(prev.0), index: Index(prev.1) };
        let (commit, keep) = (Index(1), Index(2));
        message(Body::Append { prev, commit, keep, entries })
    }

    fn every_message() -> Vec<Message> {
        let last = Position { term: Term(3), index: Index(9) };
        let epoch = SupportEpoch { boot: 7, counter: 8 };
        let bodies = [
            Body::PreVote { round: 4, last },
            Body::PreVoted { round: 4, granted: true, removed: false },
            Body::Vote { last, transfer: true },
            Body::Voted { granted: false },
            Body::Appended { matched: Index(6), commit: Index(5) },
            Body::Rejected { prev: Index(6), hint: last },
            Body::ReadRound { round: 1 },
            Body::ReadAnswer { round: 1 },
            Body::Bind { node: NodeId(2), epoch },
            Body::Bound { epoch },
            Body::Release { led: Term(4) },
            Body::Released { led: Term(4) },
            Body::TimeoutNow,
            Body::Newer,
        ];
        let messages = bodies.into_iter().map(message);
        messages.chain([append((3, 9), vec![entry(4, 10), entry(5, 11)])]).collect()
    }

    fn encode(message: &Message) -> Bytes {
        let mut out = Writer::new();
        message.encode(&mut out);
        out.finish()
    }

    #[test]
    fn messages_read_back_and_no_prefix_of_them_does() {
        for message in every_message() {
            let bytes = encode(&message);
            let mut reader = Reader::new(bytes.clone());
            assert_eq!(Message::decode(&mut reader), Ok(message));
            reader.end().unwrap();
            for cut in 0..bytes.len() {
                assert!(Message::decode(&mut Reader::new(bytes.slice(..cut))).is_err());
            }
        }
    }

    #[test]
    fn these_bytes_are_what_peers_of_other_versions_expect() {
        let hex = |message: &Message| {
            let hex = encode(message).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
            hex.replace("00000000000000", "~")
        };
        let seen: Vec<String> = every_message().iter().map(hex).collect();
        // Seven zero bytes are written ~.
        assert_eq!(
            seen,
            [
                "05~04~0c~0004~03~09~",
                "05~04~0c~0104~0100",
                "05~04~0c~0203~09~01",
                "05~04~0c~0300",
                "05~04~0c~0506~05~",
                "05~04~0c~0606~03~09~",
                "05~04~0c~0701~",
                "05~04~0c~0801~",
                "05~04~0c~0902~07~08~",
                "05~04~0c~0a07~08~",
                "05~04~0c~0b04~",
                "05~04~0c~0c04~",
                "05~04~0c~0d",
                "05~04~0c~0e",
                "05~04~0c~0403~09~01~02~02000000\
                 04~0a~0a~010100000078\
                 05~0b~0b~010100000078",
            ]
        );
    }

    #[test]
    fn what_no_correct_peer_sends_is_refused() {
        let refused = |message: Message| Message::decode(&mut Reader::new(encode(&message)));
        assert!(refused(append((3, 9), vec![entry(4, 11)])).is_err(), "a gap");
        assert!(refused(append((3, 9), vec![entry(2, 10)])).is_err(), "a term that goes back");
        assert!(refused(append((3, 9), vec![entry(6, 10)])).is_err(), "a later term's entry");
        let mut twice = vec![entry(4, 10), entry(4, 11)];
        twice[1].stamp = twice[0].stamp;
        assert!(refused(append((3, 9), twice)).is_err(), "a stamp that stands still");
        let mut membership = entry(4, 10);
        membership.kind = EntryKind::Membership;
        assert!(refused(append((3, 9), vec![membership])).is_err(), "no membership");
        assert!(refused(append((3, u64::MAX), Vec::new())).is_err(), "an index out of bounds");
        let mut ahead = append((3, 9), Vec::new());
        ahead.time.by = Term(6);
        assert!(refused(ahead).is_err(), "a later leader's time");
    }

    #[test]
    fn random_bytes_are_refused_or_read_without_harm() {
        let mut random = Random::new(1);
        for _ in 0..20_000 {
            let length = random.below(80) as usize;
            let mut bytes: Vec<u8> = (0..length).map(|_| random.below(4) as u8).collect();
            if let Some(tag) = bytes.get_mut(24) {
                *tag = random.below(16) as u8;
            }
            let _ = Message::decode(&mut Reader::new(Bytes::from(bytes)));
        }
    }
}
