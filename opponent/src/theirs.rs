//! raft-rs with the same surroundings: a disk, a clock, and a state machine that is a list of values.

use crate::words::{Answered, Asked, Content, Entry, Held, Position};
use protobuf::Message as _;
use raft::eraftpb::{
    ConfChangeSingle, ConfChangeType, ConfChangeV2, ConfState, EntryType, HardState, Message,
    MessageType, Snapshot,
};
use raft::{Config, GetEntriesContext, RaftState, RawNode, StateRole, Storage, StorageError};
use std::collections::{BTreeSet, VecDeque};

/// One tick of its clock.
pub const TICK_MS: u64 = 10;

/// What a crash leaves.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    hard_state: HardState,
    /// As of what was applied.
    members: ConfState,
    /// The first has index 1.
    entries: Vec<raft::eraftpb::Entry>,
    /// The state machine is as durable as the log.
    applied: u64,
    values: Vec<u64>,
}

impl Storage for Disk {
    fn initial_state(&self) -> raft::Result<RaftState> {
        Ok(RaftState::new(self.hard_state.clone(), self.members.clone()))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        _max_size: impl Into<Option<u64>>,
        _context: GetEntriesContext,
    ) -> raft::Result<Vec<raft::eraftpb::Entry>> {
        Ok(self.entries[low as usize - 1..high as usize - 1].to_vec())
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        match index.checked_sub(1) {
            None => Ok(0),
            Some(at) => match self.entries.get(at as usize) {
                Some(entry) => Ok(entry.term),
                None => Err(StorageError::Unavailable.into()),
            },
        }
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(1)
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.entries.len() as u64)
    }

    fn snapshot(&self, _index: u64, _to: u64) -> raft::Result<Snapshot> {
        unreachable!("nothing is compacted here")
    }
}

impl Disk {
    /// Of a replica that has never run.
    pub fn new(voters: &[u64], outgoing: &[u64]) -> Disk {
        let mut members = ConfState::default();
        members.set_voters(voters.to_vec());
        members.set_voters_outgoing(outgoing.to_vec());
        Disk { members, ..Disk::default() }
    }

    /// Of one with a past.
    pub fn with(held: &Held, voters: &[u64], outgoing: &[u64]) -> Disk {
        let mut disk = Disk::new(voters, outgoing);
        disk.hard_state.term = held.term;
        disk.hard_state.vote = held.vote.unwrap_or(0);
        disk.hard_state.commit = held.commit;
        disk.entries = held.log.iter().map(to_theirs).collect();
        disk
    }

    fn append(&mut self, entries: &[raft::eraftpb::Entry]) {
        if let Some(first) = entries.first() {
            self.entries.truncate(first.index as usize - 1);
            self.entries.extend_from_slice(entries);
        }
    }
}

fn to_theirs(entry: &Entry) -> raft::eraftpb::Entry {
    let mut theirs = raft::eraftpb::Entry::default();
    (theirs.term, theirs.index) = (entry.term, entry.index);
    if let Content::Value(value) = entry.content {
        theirs.data = value.to_le_bytes().to_vec().into();
    }
    theirs
}

fn to_word(entry: &raft::eraftpb::Entry) -> Entry {
    let content = match (entry.get_entry_type(), entry.data.first_chunk()) {
        (EntryType::EntryNormal, Some(bytes)) => Content::Value(u64::from_le_bytes(*bytes)),
        (EntryType::EntryNormal, None) => Content::Noop,
        _ => Content::Members,
    };
    Entry { term: entry.term, index: entry.index, content }
}

/// One replica.
pub struct Theirs {
    node: RawNode<Disk>,
    /// Writes under way: the number of the ready, and what may be said once it is durable.
    writes: VecDeque<(u64, Vec<Message>)>,
    /// Whether writes are durable at once.
    pub prompt: bool,
    /// For others.
    pub out: Vec<Message>,
    /// Milliseconds of its clock that were told so far.
    pub ticked: u64,
    /// Values that were proposed here: term and value.
    waiting: Vec<(u64, u64)>,
    /// Values whose proposer saw them committed.
    pub acknowledged: BTreeSet<u64>,
}

/// How it is set up: as near to ours as it can be.
pub fn config(id: u64, timers: bool) -> Config {
    Config {
        id,
        election_tick: 15,
        min_election_tick: 15,
        max_election_tick: 30,
        heartbeat_tick: 5,
        max_size_per_msg: 1 << 20,
        // Leases and stickiness have no part where time stands still.
        check_quorum: timers,
        pre_vote: true,
        ..Config::default()
    }
}

impl Theirs {
    /// Starts a replica from its disk.
    pub fn start(config: &Config, disk: Disk) -> Theirs {
        let config = Config { applied: disk.applied, ..config.clone() };
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let node = RawNode::new(&config, disk, &logger).expect("its settings are valid");
        let mut theirs = Theirs {
            node,
            writes: VecDeque::new(),
            prompt: true,
            out: Vec::new(),
            ticked: 0,
            waiting: Vec::new(),
            acknowledged: BTreeSet::new(),
        };
        theirs.follow();
        theirs
    }

    /// What a crash leaves of it.
    pub fn crash(self) -> Disk {
        self.node.store().clone()
    }

    /// Its clock shows so many milliseconds.
    pub fn tick(&mut self, ms: u64) {
        while self.ticked + TICK_MS <= ms {
            self.ticked += TICK_MS;
            self.node.tick();
            self.follow();
        }
    }

    /// A message arrives.
    pub fn receive(&mut self, message: Message) {
        // What it refuses it refuses; the outcome is compared.
        let _ = self.node.step(message);
        self.follow();
    }

    /// Says something to it in our words.
    pub fn ask(&mut self, from: u64, term: u64, asked: &Asked) {
        let mut message = Message::default();
        (message.from, message.to, message.term) = (from, self.node.raft.id, term);
        match asked {
            Asked::PreVote(last) | Asked::Vote(last) => {
                let kind = match asked {
                    Asked::PreVote(_) => MessageType::MsgRequestPreVote,
                    _ => MessageType::MsgRequestVote,
                };
                message.set_msg_type(kind);
                (message.log_term, message.index) = (last.term, last.index);
            }
            Asked::Append { prev, entries, commit } => {
                message.set_msg_type(MessageType::MsgAppend);
                (message.log_term, message.index) = (prev.term, prev.index);
                message.commit = *commit;
                message.entries = entries.iter().map(to_theirs).collect::<Vec<_>>().into();
            }
            Asked::Appended(matched) => {
                message.set_msg_type(MessageType::MsgAppendResponse);
                message.index = *matched;
            }
            Asked::Rejected { prev, hint } => {
                message.set_msg_type(MessageType::MsgAppendResponse);
                message.reject = true;
                message.index = *prev;
                (message.reject_hint, message.log_term) = (hint.index, hint.term);
            }
        }
        self.receive(message);
    }

    /// What it said to `to` since it was asked last.
    pub fn answers(&mut self, to: u64) -> Vec<(u64, Answered)> {
        let out = std::mem::take(&mut self.out);
        let to_me = out.into_iter().filter(|message| message.to == to);
        to_me.filter_map(|message| Some((message.term, answered(&message)?))).collect()
    }

    /// Makes it leader, with the consent of everybody. False if it would not.
    pub fn elect(&mut self, others: &[u64]) -> bool {
        let _ = self.node.campaign();
        self.follow();
        let kinds = [MessageType::MsgRequestPreVoteResponse, MessageType::MsgRequestVoteResponse];
        let me = self.node.raft.id;
        for kind in kinds {
            for from in others.iter().filter(|from| **from != me) {
                let mut message = Message::default();
                message.set_msg_type(kind);
                let next = u64::from(kind == MessageType::MsgRequestPreVoteResponse);
                (message.from, message.to) = (*from, me);
                message.term = self.node.raft.term + next;
                self.receive(message);
            }
        }
        self.leads()
    }

    /// Whether it leads.
    pub fn leads(&self) -> bool {
        self.node.raft.state == StateRole::Leader
    }

    /// Its term.
    pub fn term(&self) -> u64 {
        self.node.raft.term
    }

    /// The end of its log: term, index.
    pub fn last(&self) -> (u64, u64) {
        let log = &self.node.raft.raft_log;
        (log.last_term(), log.last_index())
    }

    /// Proposes a value. False if it is not taken.
    pub fn propose(&mut self, value: u64) -> bool {
        let leads = self.leads();
        let taken = leads && self.node.propose(Vec::new(), value.to_le_bytes().to_vec()).is_ok();
        if taken {
            self.waiting.push((self.term(), value));
        }
        self.follow();
        taken
    }

    /// Asks for other voters. False if it is not taken.
    pub fn change(&mut self, voters: &[u64]) -> bool {
        let now = self.voters();
        let mut change = ConfChangeV2::default();
        let changes = |ids: Vec<u64>, kind| {
            ids.into_iter().map(move |id| {
                let mut single = ConfChangeSingle::default();
                single.set_change_type(kind);
                single.node_id = id;
                single
            })
        };
        let new = voters.iter().filter(|id| !now.contains(id)).copied().collect();
        let old = now.iter().filter(|id| !voters.contains(id)).copied().collect();
        let all: Vec<_> = changes(new, ConfChangeType::AddNode)
            .chain(changes(old, ConfChangeType::RemoveNode))
            .collect();
        change.set_changes(all.into());
        let last = self.node.raft.raft_log.last_index();
        let taken = self.leads() && self.node.propose_conf_change(Vec::new(), change).is_ok();
        // A change beside another one is replaced by an entry that does nothing.
        let raft = &self.node.raft;
        let is_change = raft.raft_log.last_index() > last && raft.pending_conf_index > last;
        self.follow();
        taken && is_change
    }

    /// Asks to hand over.
    pub fn transfer(&mut self, to: u64) {
        if self.leads() {
            self.node.transfer_leader(to);
            self.follow();
        }
    }

    /// The voters as applied, during a joint change those that are to be.
    pub fn voters(&self) -> Vec<u64> {
        let mut voters = self.node.store().members.get_voters().to_vec();
        voters.sort_unstable();
        voters
    }

    /// Whether a joint change is under way.
    pub fn is_joint(&self) -> bool {
        !self.node.store().members.get_voters_outgoing().is_empty()
    }

    /// Values in the order in which they were committed.
    pub fn values(&self) -> &[u64] {
        &self.node.store().values
    }

    /// All writes under way are durable.
    pub fn sync(&mut self) {
        while let Some((number, messages)) = self.writes.pop_front() {
            self.node.on_persist_ready(number);
            self.out.extend(messages);
        }
        self.follow();
    }

    /// What it holds in memory.
    pub fn held(&self) -> Held {
        let raft = &self.node.raft;
        let log = raft.raft_log.all_entries();
        Held {
            term: raft.term,
            vote: (raft.vote != 0).then_some(raft.vote),
            commit: raft.raft_log.committed,
            log: log.iter().map(to_word).collect(),
        }
    }

    fn follow(&mut self) {
        while self.node.has_ready() {
            let mut ready = self.node.ready();
            self.out.extend(ready.take_messages());
            let disk = self.node.mut_store();
            disk.append(ready.entries());
            if let Some(hard_state) = ready.hs() {
                disk.hard_state = hard_state.clone();
            }
            self.apply(ready.take_committed_entries());
            self.writes.push_back((ready.number(), ready.take_persisted_messages()));
            self.node.advance_append_async(ready);
            self.node.advance_apply();
            if self.prompt {
                self.sync();
            }
        }
    }

    fn apply(&mut self, entries: Vec<raft::eraftpb::Entry>) {
        for entry in entries {
            if entry.get_entry_type() == EntryType::EntryConfChangeV2 {
                let mut change = ConfChangeV2::default();
                change.merge_from_bytes(&entry.data).expect("a leader encoded it");
                let members = self.node.apply_conf_change(&change).expect("a leader proposed it");
                self.node.mut_store().members = members;
            } else if let Content::Value(value) = to_word(&entry).content {
                if self.waiting.contains(&(entry.term, value)) {
                    self.acknowledged.insert(value);
                }
                self.node.mut_store().values.push(value);
            }
            self.node.mut_store().applied = entry.index;
        }
    }
}

fn answered(message: &Message) -> Option<Answered> {
    match message.get_msg_type() {
        MessageType::MsgRequestPreVoteResponse => Some(Answered::PreVoted(!message.reject)),
        MessageType::MsgRequestVoteResponse => Some(Answered::Voted(!message.reject)),
        MessageType::MsgAppendResponse if message.reject => Some(Answered::Rejected {
            prev: message.index,
            hint: Position { term: message.log_term, index: message.reject_hint },
        }),
        MessageType::MsgAppendResponse => Some(Answered::Appended(message.index)),
        _ => None,
    }
}
