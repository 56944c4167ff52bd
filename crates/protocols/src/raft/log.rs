//! The part of a shard's log that is in memory: everything since its start.

use super::message::Position;
use base::codec::{Reader, Writer};
use base::{Entry, EntryKind, Index, LogStart, Membership, Stamp, Term};
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::Arc;

/// The entries after `start`, without gaps, and the memberships among them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Log {
    start: LogStart,
    entries: VecDeque<Entry>,
    /// Memberships in `entries`, in order.
    memberships: VecDeque<(Index, Membership)>,
    /// The last of them, or the start's: shared with whoever wants to know whether it is another.
    latest: Arc<Membership>,
    /// What `entries` cost.
    bytes: usize,
}

impl Log {
    /// A log as storage kept it.
    pub fn new(start: LogStart, entries: Vec<Entry>) -> Log {
        let mut log = Log {
            latest: Arc::new(start.membership.clone()),
            start,
            entries: VecDeque::new(),
            memberships: VecDeque::new(),
            bytes: 0,
        };
        entries.into_iter().for_each(|entry| log.push(entry));
        log
    }

    /// Where it begins.
    pub fn start(&self) -> &LogStart {
        &self.start
    }

    /// The index of the last entry, or of the start.
    pub fn last(&self) -> Index {
        Index(self.start.index.0 + self.entries.len() as u64)
    }

    /// The last entry's term and index.
    pub fn end(&self) -> Position {
        self.entries.back().map_or(
            Position { term: self.start.term, index: self.start.index },
            |entry| Position { term: entry.term, index: entry.index },
        )
    }

    /// The last entry's stamp.
    pub fn last_stamp(&self) -> Stamp {
        self.entries.back().map_or(self.start.stamp, |entry| entry.stamp)
    }

    /// The term of the newest command, or of the start if it holds none: the leader of that term,
    /// or of a later one, is the last whose word on shard time has consequences here.
    pub fn command_term(&self) -> Term {
        let commands = |entry: &&Entry| entry.kind == EntryKind::Command;
        self.entries.iter().rev().find(commands).map_or(self.start.term, |entry| entry.term)
    }

    /// What the entries after the start cost.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// What the entries after `after` and up to `upto` cost.
    pub fn cost_between(&self, after: Index, upto: Index) -> usize {
        let skipped = after.0.saturating_sub(self.start.index.0) as usize;
        let wanted = upto.0.saturating_sub(after.0) as usize;
        self.entries.iter().skip(skipped).take(wanted).map(Entry::cost).sum()
    }

    /// The entry at `index`.
    pub fn get(&self, index: Index) -> Option<&Entry> {
        let offset = index.0.checked_sub(self.start.index.0 + 1)?;
        self.entries.get(usize::try_from(offset).ok()?)
    }

    /// The term of the entry at `index`; none before the start and after the end.
    pub fn term_at(&self, index: Index) -> Option<Term> {
        if index == self.start.index {
            return Some(self.start.term);
        }
        self.get(index).map(|entry| entry.term)
    }

    /// Entries after `after` and up to `upto`, together no more than `bytes_max` but at least one.
    pub fn slice(&self, after: Index, upto: Index, bytes_max: usize) -> Vec<Entry> {
        assert!(after >= self.start.index, "entries after {after} are compacted");
        let mut bytes = 0;
        let skipped = (after.0 - self.start.index.0) as usize;
        let wanted = upto.min(self.last()).0.saturating_sub(after.0) as usize;
        self.entries
            .iter()
            .skip(skipped)
            .take(wanted)
            .take_while(|entry| {
                let first = bytes == 0;
                bytes += entry.cost();
                first || bytes <= bytes_max
            })
            .cloned()
            .collect()
    }

    /// Appends an entry at the end.
    pub fn push(&mut self, entry: Entry) {
        let end = self.end();
        assert!(
            entry.index == end.index.next() && entry.term >= end.term,
            "entry {} of term {} can't follow entry {} of term {}",
            entry.index,
            entry.term,
            end.index,
            end.term
        );
        self.bytes += entry.cost();
        if entry.kind == EntryKind::Membership {
            self.memberships.push_back((entry.index, membership_of(&entry)));
            self.find_latest();
        }
        self.entries.push_back(entry);
    }

    /// Drops `from` and everything after it.
    pub fn truncate(&mut self, from: Index) {
        assert!(from > self.start.index, "entry {from} is compacted and can't be dropped");
        while self.last() >= from {
            let entry = self.entries.pop_back().expect("the log reaches past `from`");
            self.bytes -= entry.cost();
        }
        while self.memberships.back().is_some_and(|(index, _)| *index >= from) {
            self.memberships.pop_back();
        }
        self.find_latest();
    }

    /// Moves the start up to `index`.
    pub fn compact(&mut self, index: Index) {
        assert!(index <= self.last(), "can't compact through {index}: the log ends before");
        while self.start.index < index {
            let entry = self.entries.pop_front().expect("the log reaches past its start");
            self.bytes -= entry.cost();
            if self.memberships.front().is_some_and(|(at, _)| *at == entry.index) {
                let (_, membership) = self.memberships.pop_front().expect("it was just seen");
                self.start.membership = membership;
            }
            self.start.index = entry.index;
            self.start.term = entry.term;
            self.start.stamp = entry.stamp;
        }
    }

    /// Starts anew at `start`; what follows it in the same history stays.
    pub fn reset(&mut self, start: LogStart) {
        if self.term_at(start.index) == Some(start.term) {
            self.compact(start.index);
            self.start = start;
            self.find_latest();
        } else {
            *self = Log::new(start, Vec::new());
        }
    }

    /// The latest membership, committed or not: Raft uses it as soon as it is in the log.
    pub fn membership(&self) -> &Membership {
        &self.latest
    }

    /// The same, to be kept: whether it is still in force is seen without going through it.
    pub fn membership_in_force(&self) -> &Arc<Membership> {
        &self.latest
    }

    fn find_latest(&mut self) {
        let last = self.memberships.back();
        let latest = last.map_or(&self.start.membership, |(_, membership)| membership);
        if *self.latest != *latest {
            self.latest = Arc::new(latest.clone());
        }
    }

    /// The membership as of `index`, which is not before the start.
    pub fn membership_at(&self, index: Index) -> &Membership {
        let before = self.memberships.iter().rfind(|(at, _)| *at <= index);
        before.map_or(&self.start.membership, |(_, membership)| membership)
    }

    /// Where the latest membership stands; the start's index if it is older.
    pub fn membership_index(&self) -> Index {
        self.memberships.back().map_or(self.start.index, |(index, _)| *index)
    }

    /// Whether a membership lies after `after` and not after `upto`.
    pub fn changes_within(&self, after: Index, upto: Index) -> bool {
        self.memberships.iter().any(|(index, _)| *index > after && *index <= upto)
    }

    /// The last index up to `index` whose entry's term is not above `term`: where two logs may agree
    /// at the latest. Stops before the start, whose past is unknown.
    pub fn agree_before(&self, index: Index, term: Term) -> Index {
        let mut index = index.min(self.last());
        while self.term_at(index).is_some_and(|seen| seen > term) {
            index = index.prev();
        }
        index
    }
}

/// The membership in an entry. Entries are checked where they come from: storage by checksum, peers
/// when a message is decoded.
fn membership_of(entry: &Entry) -> Membership {
    Membership::decode(&mut Reader::new(entry.data.clone()))
        .unwrap_or_else(|error| panic!("membership at {}: {error}", entry.index))
}

/// A membership as an entry's data.
pub fn membership_data(membership: &Membership) -> Bytes {
    let mut out = Writer::new();
    membership.encode(&mut out);
    out.finish()
}
