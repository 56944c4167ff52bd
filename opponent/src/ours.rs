//! Our core with a disk, a clock and a state machine that is a list of values.

use crate::words::{Answered, Asked, Content, Entry, Held, Position};
use base::codec::Reader;
use base::time::{MILLISECOND, SECOND};
use base::{
    EntryKind, HardState, Index, LogStart, Membership, Mono, NodeId, ReplicaId, ShardId, Stamp,
    Term, Time, Wall,
};
use bytes::Bytes;
use protocols::clock::Reading;
use protocols::liveness::{self, Liveness};
use protocols::raft::{
    self, Body, Change, Context, Effect, Input, Message, Options, Raft, Restored, Role,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// What a crash leaves.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    hard_state: HardState,
    /// In force before the first entry.
    membership: Membership,
    entries: Vec<base::Entry>,
}

/// The longest election timeout of a replica that is to be elected; clocks of others are known for
/// longer.
pub const BRISK_NS: u64 = 100 * MILLISECOND;

/// A write under way: its ticket, and what it brings.
type Write = (u64, Option<HardState>, Vec<base::Entry>);

/// Something for another node.
#[derive(Clone, Debug)]
pub enum Letter {
    /// From replica to replica.
    Raft(Message),
    /// From node to node.
    Liveness(liveness::Message),
}

/// One replica on a node of its own, both with the same number.
pub struct Ours {
    id: u64,
    raft: Raft,
    liveness: Liveness,
    now: Time,
    disk: Disk,
    writes: VecDeque<Write>,
    /// Whether writes are durable at once.
    pub prompt: bool,
    /// For others: whom, what.
    pub out: Vec<(u64, Letter)>,
    /// Values in the order in which they were committed.
    pub values: Vec<u64>,
    applied: Index,
    /// The membership that was applied last.
    pub members: Membership,
    /// Values that have a place in the log: index, term, value.
    waiting: Vec<(u64, u64, u64)>,
    /// Values whose proposer saw them committed.
    pub acknowledged: BTreeSet<u64>,
}

/// All voters of a cluster, each on the node with its number.
pub fn membership(voters: &[u64], outgoing: &[u64]) -> Membership {
    let set = |ids: &[u64]| ids.iter().map(|id| (ReplicaId(*id), NodeId(*id))).collect();
    Membership { voters: set(voters), outgoing: set(outgoing), ..Membership::default() }
}

impl Disk {
    /// Of a replica that has never run; later replicas begin without any members.
    pub fn new(membership: Membership) -> Disk {
        Disk { membership, ..Disk::default() }
    }

    /// The vote is gone.
    pub fn forget_vote(&mut self) {
        self.hard_state.vote = None;
    }

    /// The last entry is gone.
    pub fn lose_entry(&mut self) {
        self.entries.pop();
    }

    /// Of one with a past.
    pub fn with(held: &Held, membership: Membership) -> Disk {
        Disk {
            hard_state: HardState {
                term: Term(held.term),
                vote: held.vote.map(ReplicaId),
                commit: Index(held.commit),
            },
            membership,
            entries: held.log.iter().map(to_ours).collect(),
        }
    }
}

fn to_ours(entry: &Entry) -> base::Entry {
    let (kind, data) = match entry.content {
        Content::Noop => (EntryKind::Noop, Bytes::new()),
        Content::Value(value) => (EntryKind::Command, Bytes::copy_from_slice(&value.to_le_bytes())),
        Content::Members => unreachable!("made by a core"),
    };
    // Stamps rise with terms and indexes, in every log.
    let stamp = Stamp(entry.term * 1_000_000 + entry.index);
    base::Entry { term: Term(entry.term), index: Index(entry.index), stamp, kind, data }
}

fn value_of(entry: &base::Entry) -> u64 {
    u64::from_le_bytes(*entry.data.first_chunk().expect("commands hold a value"))
}

fn to_word(entry: &base::Entry) -> Entry {
    let content = match entry.kind {
        EntryKind::Noop => Content::Noop,
        EntryKind::Command => Content::Value(value_of(entry)),
        EntryKind::Membership => Content::Members,
    };
    Entry { term: entry.term.0, index: entry.index.0, content }
}

fn from_position(position: raft::Position) -> Position {
    Position { term: position.term.0, index: position.index.0 }
}

fn to_position(position: Position) -> raft::Position {
    raft::Position { term: Term(position.term), index: Index(position.index) }
}

impl Ours {
    /// Starts a replica from its disk at `now` nanoseconds. What it applied before is gone.
    pub fn start(id: u64, disk: Disk, options: Options, fresh: bool, now: u64) -> Ours {
        let now = time(now);
        let restored = Restored {
            hard_state: disk.hard_state,
            log_start: LogStart { membership: disk.membership.clone(), ..LogStart::default() },
            entries: disk.entries.clone(),
            applied: Index(0),
        };
        let seed = id ^ now.mono.0;
        let mut ours = Ours {
            id,
            raft: Raft::new(options, ShardId(1), ReplicaId(id), NodeId(id), seed, restored, now),
            liveness: Liveness::new(
                liveness::Options::default(),
                NodeId(id),
                seed,
                fresh,
                now.mono,
            ),
            now,
            members: disk.membership.clone(),
            disk,
            writes: VecDeque::new(),
            prompt: true,
            out: Vec::new(),
            values: Vec::new(),
            applied: Index(0),
            waiting: Vec::new(),
            acknowledged: BTreeSet::new(),
        };
        ours.apply(ours.raft.commit());
        ours.meet();
        ours
    }

    /// What a crash leaves of it.
    pub fn crash(self) -> Disk {
        self.disk
    }

    /// What a stop leaves of it. The commit index goes to the disk with the next write only; here it
    /// is written, so that both cores begin alike.
    pub fn stop(mut self) -> Disk {
        self.disk.hard_state.commit = self.raft.commit();
        self.disk
    }

    /// Its clock shows `now`; what is due by then happens.
    pub fn tick(&mut self, now: u64) {
        self.now = time(now);
        if self.liveness.deadline().is_some_and(|due| due <= self.now.mono) {
            self.live(liveness::Input::Tick);
        }
        let context = Context { now: self.now, liveness: &self.liveness };
        if self.raft.deadline(context).is_some_and(|due| due <= self.now.mono) {
            self.input(Input::Tick);
        }
    }

    /// A letter arrives.
    pub fn receive(&mut self, from: u64, letter: Letter) {
        match letter {
            Letter::Raft(message) => {
                self.input(Input::Message { from: ReplicaId(from), message });
            }
            Letter::Liveness(message) => {
                self.live(liveness::Input::Message { from: NodeId(from), message });
            }
        }
    }

    /// The other nodes are alive and tell their clocks, so that a leader knows the time.
    pub fn hear_all(&mut self, nodes: &[u64]) {
        let me = self.id;
        for node in nodes.iter().filter(|node| **node != me) {
            let wall = self.now.wall;
            let message = liveness::Message::Heartbeat { sent_at: Mono(1), boot: 1, wall };
            self.live(liveness::Input::Message { from: NodeId(*node), message });
        }
    }

    /// Says something to it in our words.
    pub fn ask(&mut self, from: u64, term: u64, asked: &Asked) {
        let (term, body) = match asked {
            // Ours carry the candidate's present term, theirs the one it would be in.
            Asked::PreVote(last) => {
                (term - 1, Body::PreVote { round: 1, last: to_position(*last) })
            }
            Asked::Vote(last) => (term, Body::Vote { last: to_position(*last), transfer: false }),
            Asked::Append { prev, entries, commit } => {
                let entries = entries.iter().map(to_ours).collect();
                let (commit, keep) = (Index(*commit), Index(0));
                (term, Body::Append { prev: to_position(*prev), commit, keep, entries })
            }
            Asked::Appended(matched) => {
                (term, Body::Appended { matched: Index(*matched), commit: Index(0) })
            }
            Asked::Rejected { prev, hint } => {
                (term, Body::Rejected { prev: Index(*prev), hint: to_position(*hint) })
            }
        };
        let message = Message { term: Term(term), time: Reading::default(), body };
        self.input(Input::Message { from: ReplicaId(from), message });
    }

    /// What it said to `to` since it was asked last.
    pub fn answers(&mut self, to: u64) -> Vec<(u64, Answered)> {
        let out = std::mem::take(&mut self.out);
        out.into_iter()
            .filter(|(whom, _)| *whom == to)
            .filter_map(|(_, letter)| match letter {
                Letter::Raft(message) => Some((message.term.0, answered(&message.body)?)),
                Letter::Liveness(_) => None,
            })
            .collect()
    }

    /// Makes it leader, with the consent of everybody. False if it would not.
    pub fn elect(&mut self, others: &[u64]) -> bool {
        self.hear_all(others);
        // Past every timeout that may have been drawn; then time stands still.
        self.now.mono.0 += BRISK_NS;
        self.input(Input::Tick);
        let me = self.id;
        let round_of = |(_, letter): &(u64, Letter)| match letter {
            Letter::Raft(Message { body: Body::PreVote { round, .. }, .. }) => Some(*round),
            _ => None,
        };
        let round = self.out.iter().rev().find_map(round_of).unwrap_or(0);
        for stage in 0..2 {
            for from in others.iter().filter(|from| **from != me) {
                let term = self.raft.term();
                let body = match stage {
                    0 => Body::PreVoted { round, granted: true, removed: false },
                    _ => Body::Voted { granted: true },
                };
                let message = Message { term, time: Reading::default(), body };
                self.input(Input::Message { from: ReplicaId(*from), message });
            }
        }
        self.leads()
    }

    /// Whether it leads and takes proposals.
    pub fn leads(&self) -> bool {
        self.raft.role() == Role::Leader && self.raft.takes_proposals()
    }

    /// The end of its log: term, index.
    pub fn last(&self) -> (u64, u64) {
        let last = self.raft.status().last;
        (self.raft.term_at(last).map_or(0, |term| term.0), last.0)
    }

    /// Proposes a value. False if it is not taken.
    pub fn propose(&mut self, value: u64) -> bool {
        let context = Context { now: self.now, liveness: &self.liveness };
        let data = Bytes::copy_from_slice(&value.to_le_bytes());
        let Ok((index, _)) = self.raft.propose(context, data, 1) else { return false };
        self.waiting.push((index.0, self.raft.term().0, value));
        self.flush();
        true
    }

    /// Asks for other voters. False if it is not taken.
    pub fn change(&mut self, voters: &[u64]) -> bool {
        let now = self.raft.membership();
        let wanted: BTreeMap<ReplicaId, NodeId> =
            voters.iter().map(|id| (ReplicaId(*id), NodeId(*id))).collect();
        let new = |id: &ReplicaId| !now.voters.contains_key(id);
        let change = Change {
            add_learners: wanted.iter().filter(|(id, _)| new(id)).map(|(k, v)| (*k, *v)).collect(),
            promote: wanted.keys().filter(|id| new(id)).copied().collect(),
            remove: now.voters.keys().filter(|id| !wanted.contains_key(id)).copied().collect(),
            demote: BTreeSet::new(),
        };
        let context = Context { now: self.now, liveness: &self.liveness };
        let taken = self.raft.propose_membership(context, &change).is_ok();
        self.flush();
        taken
    }

    /// Asks to hand over.
    pub fn transfer(&mut self, to: u64) {
        let context = Context { now: self.now, liveness: &self.liveness };
        let mut effects = Vec::new();
        // A refusal is an answer too: the outcome is compared later.
        let _ = self.raft.transfer(context, Some(ReplicaId(to)), &mut effects);
        self.follow(effects);
    }

    /// All writes under way are durable.
    pub fn sync(&mut self) {
        while let Some((ticket, hard_state, entries)) = self.writes.pop_front() {
            self.disk.hard_state = hard_state.unwrap_or(self.disk.hard_state);
            if let Some(first) = entries.first() {
                self.disk.entries.truncate((first.index.0 - 1) as usize);
                self.disk.entries.extend(entries);
            }
            self.input(Input::Persisted { ticket });
        }
    }

    /// What it holds in memory.
    pub fn held(&self) -> Held {
        let status = self.raft.status();
        let log = self.raft.entries(Index(0), status.last, usize::MAX);
        Held {
            term: status.term.0,
            vote: status.vote.map(|vote| vote.0),
            commit: status.commit.0,
            log: log.iter().map(to_word).collect(),
        }
    }

    fn live(&mut self, input: liveness::Input) {
        let mut effects = Vec::new();
        self.liveness.step(self.now, input, &mut effects);
        for liveness::Effect::Send { to, message } in effects {
            self.out.push((to.0, Letter::Liveness(message)));
        }
        self.flush();
    }

    fn flush(&mut self) {
        let mut effects = Vec::new();
        let context = Context { now: self.now, liveness: &self.liveness };
        self.raft.flush(context, &mut effects);
        self.follow(effects);
    }

    fn input(&mut self, input: Input) {
        let mut effects = Vec::new();
        let context = Context { now: self.now, liveness: &self.liveness };
        self.raft.step(context, input, &mut effects);
        self.follow(effects);
    }

    fn follow(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Persist { ticket, hard_state, reset, entries } => {
                    assert!(reset.is_none(), "nothing is compacted here");
                    self.writes.push_back((ticket, hard_state, entries));
                }
                Effect::Send { to, message } => self.out.push((to.0, Letter::Raft(message))),
                Effect::Truncated { from } => self.waiting.retain(|(at, ..)| *at < from.0),
                Effect::Commit { index } => self.apply(index),
                Effect::MembershipChanged(_) => self.meet(),
                _ => {}
            }
        }
        if self.prompt {
            self.sync();
        }
    }

    fn apply(&mut self, upto: Index) {
        for entry in self.raft.entries(self.applied, upto, usize::MAX) {
            match entry.kind {
                EntryKind::Command => self.values.push(value_of(&entry)),
                EntryKind::Membership => {
                    let members = Membership::decode(&mut Reader::new(entry.data.clone()));
                    self.members = members.expect("a leader encoded it");
                }
                EntryKind::Noop => {}
            }
            let mine =
                |(at, term, _): &&(u64, u64, u64)| (*at, *term) == (entry.index.0, entry.term.0);
            if let Some((.., value)) = self.waiting.iter().find(mine) {
                self.acknowledged.insert(*value);
            }
        }
        self.applied = upto;
        self.raft.applied(upto);
    }

    /// Exchanges heartbeats with all members.
    fn meet(&mut self) {
        let peers: BTreeSet<NodeId> = self.raft.membership().all().into_values().collect();
        let mut effects = Vec::new();
        self.liveness.step(self.now, liveness::Input::Peers(peers), &mut effects);
        for liveness::Effect::Send { to, message } in effects {
            self.out.push((to.0, Letter::Liveness(message)));
        }
    }
}

fn answered(body: &Body) -> Option<Answered> {
    match body {
        Body::PreVoted { granted, .. } => Some(Answered::PreVoted(*granted)),
        Body::Voted { granted } => Some(Answered::Voted(*granted)),
        Body::Appended { matched, .. } => Some(Answered::Appended(matched.0)),
        Body::Rejected { prev, hint } => {
            Some(Answered::Rejected { prev: prev.0, hint: from_position(*hint) })
        }
        Body::Newer => Some(Answered::Newer),
        _ => None,
    }
}

fn time(now: u64) -> Time {
    Time { mono: Mono(now + SECOND), wall: Wall(1_700_000_000 * SECOND + now) }
}
