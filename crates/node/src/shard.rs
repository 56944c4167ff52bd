//! A replica of a shard on this node: its Raft, its service, and the requests that wait for either.
//!
//! **Writes** are gathered during a turn and share log entries: an entry holds a list of commands
//! and its stamp is the last command's, so each command has a stamp of its own. When an entry is
//! applied, those who proposed it are answered. If an entry of another term is applied in its place
//! the command did not happen; if that can't be told (the entry was cut off, or skipped by a
//! snapshot) the outcome is unknown.
//!
//! **Reads** run at the leader, on a lease or after a round of ReadIndex, once everything up to the
//! read's index *and* every earlier write of the same connection is applied. An eventual read runs
//! at once on any replica.
//!
//! **Rows** that a command declares are fetched before its entry is applied; only this shard waits
//! for them. The engine holds what a fetch brought, and what was written since, until the fetch is
//! ended here.

use crate::api::{Consistency, Reply, ShardStatus};
use crate::core::{Asked, Core, Origin, Wish};
use crate::descriptor::{Descriptor, engine_key};
use crate::effect::Fetch;
use crate::peer::Message;
use crate::status::{Observed, ReadCounts};
use crate::timed::Timed;
use base::codec::{Reader, Writer};
use base::log::LogStart;
use base::{Bytes, ConnId, Entry, EntryKind, Failure, Index, Membership, NodeId, NotDone};
use base::{ReplicaId, ShardId, Stamp, Term};
use protocols::raft::{self, Raft, ReadId};
use service::command::Command;
use service::kv::{self, Batch, ReadOutcome};
use service::{Change, Changes, Machine, RowKey, Rows};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use storage::engine::{FetchId as RowFetch, Lookup};
use storage::wal::Record;

/// Keys that one question to the tables asks for, about.
const KEYS_AHEAD: usize = 1_024;
/// Answered fetches whose rows are held at most; the rows of older ones are in the row cache, or
/// are asked for again.
const FETCHES_HELD: usize = 32;

/// Bytes of an entry that cost as much as a command.
const APPLY_BYTES: usize = 1 << 10;

/// A command on its way into the log.
#[derive(Debug)]
struct Proposal {
    origin: Origin,
    command: Bytes,
}

/// An entry of ours whose fate is not known yet.
#[derive(Debug)]
struct Pending {
    term: Term,
    index: Index,
    origins: Vec<Origin>,
}

/// A read on its way.
#[derive(Debug)]
pub(crate) struct Read {
    pub origin: Origin,
    pub batch: Batch,
    pub consistency: Consistency,
}

/// Something that waits until the shard has applied an index: a read, or a walk that then begins.
#[derive(Debug)]
pub(crate) enum Waiter {
    Read(Read),
    Walk(Origin, kv::scan::WalkRequest),
}

/// A replica.
#[derive(Debug)]
pub(crate) struct Shard {
    pub id: ShardId,
    pub raft: Timed,
    pub machine: Machine,
    pub descriptor: Descriptor,
    /// A snapshot's rows are in place, but not durably; Raft does not know yet.
    pub installing: Option<LogStart>,
    /// The machine's memory is being rebuilt by a scan; nothing is applied meanwhile.
    pub loading: bool,
    committed: Index,
    proposals: Vec<Proposal>,
    pending: VecDeque<Pending>,
    turn_waiters: Vec<(Waiter, Consistency)>,
    confirming: BTreeMap<ReadId, Vec<(Waiter, Index)>>,
    waiting: BTreeMap<Index, Vec<Waiter>>,
    missing: Vec<Read>,
    /// The next entry to apply waits for rows.
    blocked: bool,
    /// Keys asked of the tables and not answered, so that nobody asks twice.
    asked: BTreeSet<Bytes>,
    /// Answered fetches whose rows are still needed.
    held: Vec<RowFetch>,
    last_writes: BTreeMap<(NodeId, ConnId), Index>,
    /// Replicas that sent something, and where they live.
    spoke: BTreeMap<ReplicaId, NodeId>,
    /// Walks that may begin now.
    pub walks: Vec<(Origin, kv::scan::WalkRequest)>,
    pub leader: Option<NodeId>,
    pub role: raft::Role,
    /// Applied through here as of the newest flush that is on disk.
    pub flushed: Index,
    pub hash: Option<(Index, u64)>,
    /// Snapshots delivered to others, and installed here, since the start.
    snapshots: (u64, u64),
    reads: ReadCounts,
    /// Requests without a leader to go to, oldest first.
    pub parked: VecDeque<crate::api::Request>,
    effects: Vec<raft::Effect>,
}

/// Rows that commands declared, as they are before the first of them; in order of their keys.
#[derive(Default)]
struct Loaded(Vec<(RowKey, Option<Bytes>)>);

impl Loaded {
    fn new(mut rows: Vec<(RowKey, Option<Bytes>)>) -> Loaded {
        rows.sort_by(|(a, _), (b, _)| a.cmp(b));
        rows.dedup_by(|(a, _), (b, _)| a == b);
        Loaded(rows)
    }

    fn find(&self, key: &RowKey) -> Option<usize> {
        self.0.binary_search_by(|(known, _)| known.cmp(key)).ok()
    }

    /// A command changed rows that later commands of the same entry may have declared.
    fn note(&mut self, changes: &Changes) {
        if self.0.is_empty() {
            return;
        }
        for change in changes {
            match change {
                Change::Put(key, row) => self.set(key, Some(row)),
                Change::Delete(key) => self.set(key, None),
                Change::Reset(space) => {
                    let gone = self.0.iter_mut().filter(|(known, _)| known.space == *space);
                    gone.for_each(|(_, row)| *row = None);
                }
            }
        }
    }

    fn set(&mut self, key: &RowKey, row: Option<&Bytes>) {
        if let Some(at) = self.find(key) {
            self.0[at].1 = row.cloned();
        }
    }
}

impl Rows for Loaded {
    fn get(&self, key: &RowKey) -> Option<Bytes> {
        match self.find(key) {
            Some(at) => self.0[at].1.clone(),
            None => panic!("a service asked for a row that it did not declare: {key:?}"),
        }
    }
}

impl Shard {
    pub fn new(raft: Raft, machine: Machine, descriptor: Descriptor, committed: Index) -> Shard {
        let flushed = descriptor.applied.index;
        Shard {
            id: descriptor.shard,
            raft: Timed::new(raft),
            machine,
            installing: None,
            loading: false,
            committed: committed.max(flushed),
            proposals: Vec::new(),
            pending: VecDeque::new(),
            turn_waiters: Vec::new(),
            confirming: BTreeMap::new(),
            blocked: false,
            waiting: BTreeMap::new(),
            missing: Vec::new(),
            asked: BTreeSet::new(),
            held: Vec::new(),
            last_writes: BTreeMap::new(),
            spoke: BTreeMap::new(),
            walks: Vec::new(),
            leader: None,
            role: raft::Role::Follower,
            flushed,
            hash: None,
            snapshots: (0, 0),
            reads: ReadCounts::default(),
            parked: VecDeque::new(),
            effects: Vec::new(),
            descriptor,
        }
    }

    /// Whether this replica leads.
    pub fn leads(&self) -> bool {
        self.role == raft::Role::Leader
    }

    /// The applied index.
    pub fn applied(&self) -> Index {
        self.descriptor.applied.index
    }

    /// Runs Raft and carries out what it wants.
    pub fn drive<R>(
        &mut self,
        core: &mut Core,
        run: impl FnOnce(&mut Raft, raft::Context<'_>, &mut Vec<raft::Effect>) -> R,
    ) -> R {
        let mut effects = std::mem::take(&mut self.effects);
        let result = run(&mut self.raft, core.context(), &mut effects);
        for effect in effects.drain(..) {
            self.carry_out(core, effect);
        }
        self.effects = effects;
        result
    }

    fn carry_out(&mut self, core: &mut Core, effect: raft::Effect) {
        match effect {
            raft::Effect::Persist { ticket, hard_state, entries, reset } => {
                self.persist(core, hard_state, entries, reset);
                core.owed.push((self.id, ticket));
            }
            raft::Effect::Send { to, message } => self.send(core, to, message),
            raft::Effect::Commit { index } => self.committed = self.committed.max(index),
            raft::Effect::ReadReady { id, index } => self.confirmed(id, index),
            raft::Effect::ReadsFailed => self.unconfirmed(core),
            raft::Effect::NeedSnapshot { to } => {
                core.wishes.push(Wish::Snapshot { shard: self.id, to });
            }
            raft::Effect::Role { role, leader, .. } => self.role_changed(core, role, leader),
            raft::Effect::MembershipChanged(_) => core.wishes.push(Wish::Routes),
            raft::Effect::TimeSet(source) => self.time_set(core, source),
            raft::Effect::Compact { log_start } => {
                core.records.push(Record::LogStart { shard: self.id, start: log_start });
            }
            raft::Effect::Truncated { from } => self.cut_off(core, from),
        }
    }

    fn persist(
        &mut self,
        core: &mut Core,
        hard_state: Option<base::HardState>,
        entries: Vec<Entry>,
        reset: Option<LogStart>,
    ) {
        let shard = self.id;
        if let Some(log_start) = reset {
            core.records.push(Record::Reset { shard, start: log_start });
        }
        if let Some(state) = hard_state {
            core.records.push(Record::HardState { shard, state });
        }
        if !entries.is_empty() {
            core.records.push(Record::Entries { shard, entries });
        }
    }

    /// Our own entries from `from` on are replaced in this log. Another replica may still hold them
    /// and win an election with them (Raft, figure 8), so nothing is known of them.
    fn cut_off(&mut self, core: &mut Core, from: Index) {
        while self.pending.back().is_some_and(|pending| pending.index >= from) {
            let pending = self.pending.pop_back().expect("just seen");
            for origin in pending.origins {
                core.reply(origin, Err(Failure::Unknown));
            }
        }
    }

    fn send(&mut self, core: &mut Core, to: ReplicaId, message: raft::Message) {
        let Some(node) = self.node_of(to) else { return };
        if node != core.me {
            let (from, meta) = (self.descriptor.replica, self.descriptor.meta);
            core.send(node, &Message::Raft { shard: self.id, meta, from, to, message });
        }
    }

    /// A replica's node. A replica that has just joined knows no membership yet, only who spoke.
    pub fn node_of(&self, replica: ReplicaId) -> Option<NodeId> {
        let member = self.raft.membership().node_of(replica);
        member.or_else(|| self.spoke.get(&replica).copied())
    }

    /// A replica on this node sent a message.
    pub fn heard(&mut self, replica: ReplicaId, node: NodeId) {
        if self.spoke.get(&replica) != Some(&node) {
            self.spoke.insert(replica, node);
        }
    }

    fn role_changed(&mut self, core: &mut Core, role: raft::Role, leader: Option<ReplicaId>) {
        let before = (self.role, self.leader);
        self.role = role;
        self.leader = leader.and_then(|replica| self.node_of(replica));
        if before != (self.role, self.leader) {
            let (role, term, leader) = (role_word(role), self.raft.term(), self.leader);
            let leader = leader.map_or_else(|| "none known".into(), |leader| leader.to_string());
            tracing::info!(node = %core.me, shard = %self.id, %term, role, leader, "role changed");
        }
        core.wishes.push(Wish::Routes);
    }

    fn time_set(&mut self, core: &mut Core, source: raft::TimeSource) {
        if source == raft::TimeSource::QuorumClocks {
            let (shard, term) = (self.id, self.raft.term());
            tracing::warn!(node = %core.me, %shard, %term, "no replica kept shard time, and not all \
                voters' clocks are known: if those that are run slow, keys will live longer");
        }
        core.wishes.push(Wish::Routes);
    }

    // ---- writes ------------------------------------------------------------------------------

    /// Takes a command for the log; it goes there with the turn's others.
    pub fn propose(&mut self, origin: Origin, command: &Command) {
        self.proposals.push(Proposal { origin, command: command.encode() });
    }

    /// Lets Raft write and send what was proposed and asked in this turn.
    pub fn flush(&mut self, core: &mut Core) {
        if self.raft.is_unflushed() {
            self.drive(core, |raft, context, effects| raft.flush(context, effects));
        }
    }

    /// Hands the leadership over, to a replica or to the best of the others.
    pub fn transfer(&mut self, core: &mut Core, to: Option<ReplicaId>) -> Result<(), Failure> {
        self.drive(core, |raft, context, effects| raft.transfer(context, to, effects))
            .map_err(|error| Failure::NotDone(not_done(&error)))
    }

    /// Packs the turn's commands into entries and appends them.
    pub fn flush_proposals(&mut self, core: &mut Core) {
        let proposals = std::mem::take(&mut self.proposals);
        let mut rest = proposals.into_iter().peekable();
        while rest.peek().is_some() {
            let (mut origins, mut commands, mut bytes) = (Vec::new(), Vec::new(), 0);
            while let Some(proposal) = rest.next_if(|next| {
                origins.is_empty()
                    || (origins.len() < core.options.entry_commands_max
                        && bytes + next.command.len() <= core.options.entry_bytes_max)
            }) {
                bytes += proposal.command.len() + 4;
                origins.push(proposal.origin);
                commands.push(proposal.command);
            }
            self.append(core, origins, &commands, bytes);
        }
    }

    fn append(&mut self, core: &mut Core, origins: Vec<Origin>, commands: &[Bytes], bytes: usize) {
        let mut data = Writer::with_capacity(bytes + 4);
        data.u32(commands.len() as u32);
        for command in commands {
            data.bytes(command);
        }
        let (data, stamps) = (data.finish(), commands.len() as u64);
        match self.raft.propose(core.context(), data, stamps) {
            Ok((index, _)) => {
                for stream in origins.iter().filter_map(|origin| origin.stream(core.me)) {
                    self.last_writes.insert(stream, index);
                }
                self.pending.push_back(Pending { term: self.raft.term(), index, origins });
            }
            Err(error) => {
                let failure = Failure::NotDone(not_done(&error));
                for origin in origins {
                    core.reply(origin, Err(failure.clone()));
                }
            }
        }
    }

    // ---- reads -------------------------------------------------------------------------------

    /// Takes a read or a walk; it is dealt with after the turn's writes are in the log.
    pub fn wait(&mut self, waiter: Waiter, consistency: Consistency) {
        self.turn_waiters.push((waiter, consistency));
    }

    /// Finds out from which index on the turn's reads may run.
    pub fn start_waiters(&mut self, core: &mut Core) {
        if self.turn_waiters.is_empty() {
            return;
        }
        let waiters = std::mem::take(&mut self.turn_waiters);
        let lease = self.raft.lease_read(core.context());
        let mut unconfirmed = Vec::new();
        for (waiter, consistency) in waiters {
            let own = waiter.origin().stream(core.me).and_then(|s| self.last_writes.get(&s));
            let own = own.copied().unwrap_or_default();
            match (consistency, lease) {
                (Consistency::Eventual, _) => self.run_at(core, waiter, Index(0)),
                (Consistency::Strong, Some(commit)) => {
                    self.reads.leased += 1;
                    self.run_at(core, waiter, commit.max(own));
                }
                (Consistency::Strong, None) => unconfirmed.push((waiter, own)),
            }
        }
        if !unconfirmed.is_empty() {
            self.confirm(core, unconfirmed);
        }
    }

    fn confirm(&mut self, core: &mut Core, waiters: Vec<(Waiter, Index)>) {
        match self.raft.read_index(core.context()) {
            Ok(id) => self.confirming.entry(id).or_default().extend(waiters),
            Err(error) => {
                for (waiter, _) in waiters {
                    core.reply(waiter.origin(), Err(Failure::NotDone(not_done(&error))));
                }
            }
        }
    }

    fn confirmed(&mut self, id: ReadId, index: Index) {
        self.reads.confirmed += 1;
        let later = self.confirming.split_off(&ReadId(id.0 + 1));
        for (waiter, own) in std::mem::replace(&mut self.confirming, later).into_values().flatten()
        {
            self.waiting.entry(index.max(own)).or_default().push(waiter);
        }
    }

    fn unconfirmed(&mut self, core: &mut Core) {
        for (waiter, _) in std::mem::take(&mut self.confirming).into_values().flatten() {
            self.reads.refused += 1;
            core.reply(waiter.origin(), Err(Failure::NotDone(NotDone::LeaderChanged)));
        }
    }

    fn run_at(&mut self, core: &mut Core, waiter: Waiter, index: Index) {
        if index <= self.applied() && !self.loading {
            self.run(core, waiter);
        } else {
            self.waiting.entry(index).or_default().push(waiter);
        }
    }

    fn run(&mut self, core: &mut Core, waiter: Waiter) {
        match waiter {
            Waiter::Read(read) => self.read(core, read),
            Waiter::Walk(origin, request) => self.walks.push((origin, request)),
        }
    }

    /// Runs what waited for an index that is applied now.
    pub fn run_waiting(&mut self, core: &mut Core) {
        if self.loading {
            return;
        }
        let applied = self.applied();
        while let Some(first) = self.waiting.first_entry() {
            if *first.key() > applied {
                return;
            }
            for waiter in first.remove() {
                self.run(core, waiter);
            }
        }
    }

    fn read(&mut self, core: &mut Core, read: Read) {
        let loaded = match self.resolve(core, kv::reads(&read.batch)) {
            Ok(loaded) => loaded,
            Err(missing) => {
                self.ask(core, missing);
                self.missing.push(read);
                return;
            }
        };
        let applied = self.descriptor.applied.stamp;
        let now = match read.consistency {
            Consistency::Strong => self.raft.shard_time(core.context()).max(applied),
            Consistency::Eventual => applied,
        };
        match kv::read(&read.batch, applied, now, &loaded) {
            ReadOutcome::Done(outcome) => core.reply(read.origin, Ok(Reply::Kv(outcome))),
            ReadOutcome::Due => self.stamp_first(core, read),
        }
    }

    /// A key is past due, but no committed stamp says so yet: commits one, then reads again.
    fn stamp_first(&mut self, core: &mut Core, read: Read) {
        let command = Command::Stamp.encode();
        self.append(core, vec![Origin::Own], &[command], 8);
        match self.pending.back() {
            Some(pending) if self.leads() => {
                let index = pending.index;
                self.waiting.entry(index).or_default().push(Waiter::Read(read));
            }
            _ => core.reply(read.origin, Err(Failure::NotDone(NotDone::LeaderChanged))),
        }
    }

    // ---- rows --------------------------------------------------------------------------------

    /// Looks the rows up in memory; the engine's keys of those that must be fetched otherwise.
    fn resolve(&self, core: &mut Core, keys: Vec<RowKey>) -> Result<Loaded, Vec<Bytes>> {
        let mut loaded = Vec::with_capacity(keys.len());
        let mut missing = Vec::new();
        for key in keys {
            let Some(full) = self.descriptor.engine_key(&key) else {
                loaded.push((key, None));
                continue;
            };
            match core.engine.get(&full) {
                Lookup::Found(row) => loaded.push((key, Some(row))),
                Lookup::Absent => loaded.push((key, None)),
                Lookup::Unknown => missing.push(full),
            }
        }
        if missing.is_empty() { Ok(Loaded::new(loaded)) } else { Err(missing) }
    }

    fn ask(&mut self, core: &mut Core, mut keys: Vec<Bytes>) {
        keys.retain(|key| self.asked.insert(key.clone()));
        if !keys.is_empty() {
            let (rows, generation) = core.engine.fetch_started(keys.clone());
            let asked = Asked::Rows { shard: self.id, rows, keys: keys.clone() };
            core.fetch(asked, Fetch::Keys { generation, keys });
        }
    }

    /// Rows arrived from the tables.
    pub fn fetched(
        &mut self,
        core: &mut Core,
        fetch: RowFetch,
        keys: Vec<Bytes>,
        rows: Vec<Option<Bytes>>,
    ) {
        core.engine.fetched(fetch, rows);
        for key in &keys {
            self.asked.remove(key);
        }
        self.held.push(fetch);
        if self.held.len() > FETCHES_HELD {
            core.engine.fetch_ended(self.held.remove(0));
        }
        self.blocked = false;
        for read in std::mem::take(&mut self.missing) {
            self.read(core, read);
        }
    }

    // ---- apply -------------------------------------------------------------------------------

    /// Whether committed entries wait to be applied.
    pub fn has_unapplied(&self) -> bool {
        !self.loading && self.installing.is_none() && self.applied() < self.committed
    }

    /// Whether there is something to do without waiting for anything.
    pub fn busy(&self) -> bool {
        self.has_unapplied() && !self.blocked
    }

    /// Applies committed entries, up to about `budget` of cost; what is left of the budget.
    /// Stops where a row must be fetched first.
    pub fn apply(&mut self, core: &mut Core, mut budget: usize) -> usize {
        if self.blocked {
            return budget;
        }
        'all: while self.has_unapplied() && budget > 0 {
            let entries = self.raft.entries(self.applied(), self.committed, 256 << 10);
            if entries.is_empty() {
                break;
            }
            for (at, entry) in entries.iter().enumerate() {
                match self.apply_entry(core, entry) {
                    Ok(cost) => {
                        core.work.entries += 1;
                        core.work.applied += cost;
                        budget = budget.saturating_sub(cost.max(1));
                    }
                    Err(mut missing) => {
                        self.blocked = true;
                        self.missing_ahead(core, &entries[at + 1..], &mut missing);
                        self.ask(core, missing);
                        break 'all;
                    }
                }
                if budget == 0 {
                    break;
                }
            }
        }
        if !self.blocked && self.missing.is_empty() {
            for fetch in self.held.drain(..) {
                core.engine.fetch_ended(fetch);
            }
        }
        let applied = self.applied();
        if self.installing.is_none() && applied > self.raft.applied_index() {
            self.raft.applied(applied);
        }
        budget
    }

    /// Adds what the entries behind a blocked one will miss, so that a replica that catches up asks
    /// the tables once for many entries.
    fn missing_ahead(&self, core: &mut Core, entries: &[Entry], missing: &mut Vec<Bytes>) {
        for entry in entries.iter().filter(|entry| entry.kind == EntryKind::Command) {
            if missing.len() >= KEYS_AHEAD {
                return;
            }
            let Ok(commands) = decode_commands(&entry.data) else { return };
            if let Err(more) = self.all_in_memory(core, &commands) {
                missing.extend(more);
            }
        }
    }

    fn apply_entry(&mut self, core: &mut Core, entry: &Entry) -> Result<usize, Vec<Bytes>> {
        let applied = &self.descriptor.applied;
        assert_eq!(entry.index, applied.index.next(), "{}: entries apply in order", self.id);
        assert!(entry.stamp > applied.stamp, "{}: stamps grow from entry to entry", self.id);
        let cost = match entry.kind {
            EntryKind::Noop => 1,
            EntryKind::Membership => {
                let membership = Membership::decode(&mut Reader::new(entry.data.clone()))
                    .unwrap_or_else(|e| panic!("{} entry {}: {e}", self.id, entry.index));
                self.descriptor.applied.membership = membership;
                1
            }
            EntryKind::Command => self.apply_commands(core, entry)?,
        };
        let applied = &mut self.descriptor.applied;
        (applied.index, applied.term, applied.stamp) = (entry.index, entry.term, entry.stamp);
        self.settle(core, entry);
        Ok(cost)
    }

    fn apply_commands(&mut self, core: &mut Core, entry: &Entry) -> Result<usize, Vec<Bytes>> {
        let commands = decode_commands(&entry.data)
            .unwrap_or_else(|e| panic!("{} entry {}: {e}", self.id, entry.index));
        let mut loaded = self.all_in_memory(core, &commands)?;
        let ours = self
            .pending
            .front()
            .is_some_and(|pending| pending.index == entry.index && pending.term == entry.term);
        let origins = match ours {
            true => self.pending.pop_front().expect("just seen").origins,
            false => Vec::new(),
        };
        let (count, mut changes) = (commands.len() as u64, Changes::new());
        for (position, command) in commands.iter().enumerate() {
            let stamp = Stamp(entry.stamp.0 - (count - 1 - position as u64));
            let reply = self.machine.apply(stamp, command, &loaded, &mut changes);
            if position + 1 < commands.len() {
                loaded.note(&changes);
            }
            self.write(core, &mut changes);
            if let Command::HashMark = command {
                let view = core.engine.open_view();
                core.wishes.push(Wish::Hash { shard: self.id, index: entry.index, view });
            }
            if let Some(origin) = origins.get(position) {
                core.reply(*origin, api_reply(reply, entry.index));
            }
        }
        if self.descriptor.meta {
            core.wishes.push(Wish::Map);
        }
        let cost: usize = commands.iter().map(Command::cost).sum();
        Ok(cost + entry.data.len() / APPLY_BYTES)
    }

    /// The rows that an entry's commands declare, or the engine's keys of those that must be
    /// fetched first.
    fn all_in_memory(&self, core: &mut Core, commands: &[Command]) -> Result<Loaded, Vec<Bytes>> {
        let mut reads = Vec::new();
        for command in commands {
            reads.append(&mut self.machine.reads(command));
        }
        self.resolve(core, reads)
    }

    fn write(&mut self, core: &mut Core, changes: &mut Changes) {
        if changes.is_empty() {
            return;
        }
        let mut rows = Vec::with_capacity(changes.len());
        for change in changes.drain(..) {
            match change {
                Change::Put(key, row) => {
                    let data = self.data_id(core, key.space);
                    rows.push((engine_key(data, &key.key), Some(row)));
                }
                Change::Delete(key) => {
                    if let Some(full) = self.descriptor.engine_key(&key) {
                        rows.push((full, None));
                    }
                }
                Change::Reset(space) => {
                    if let Some(old) = self.descriptor.spaces.remove(&space) {
                        core.ids.bury(old);
                    }
                }
            }
        }
        core.engine.write(rows);
    }

    fn data_id(&mut self, core: &mut Core, space: service::Space) -> u64 {
        *self.descriptor.spaces.entry(space).or_insert_with(|| core.ids.fresh())
    }

    /// Tells those whose entries can't be applied any more.
    fn settle(&mut self, core: &mut Core, entry: &Entry) {
        while self.pending.front().is_some_and(|pending| pending.index <= entry.index) {
            let pending = self.pending.pop_front().expect("just seen");
            let failure = if pending.index == entry.index && pending.term != entry.term {
                Failure::NotDone(NotDone::LeaderChanged)
            } else {
                Failure::Unknown
            };
            for origin in pending.origins {
                core.reply(origin, Err(failure.clone()));
            }
        }
        if self.last_writes.len() > 64 {
            self.last_writes.retain(|_, index| *index > entry.index);
        }
    }

    /// The rows of an installed snapshot are durable: the log may start anew behind them.
    pub fn installed(&mut self, core: &mut Core) {
        let log_start = self.installing.take().expect("a snapshot is being installed");
        let applied = log_start.index;
        let accepted = self.drive(core, |raft, context, effects| {
            raft.snapshot_received(context, log_start, effects)
        });
        // If it was not accepted the log has moved past it by itself, to the very same rows.
        assert!(accepted || applied <= self.raft.commit(), "{}: snapshot refused", self.id);
        self.snapshots.1 += u64::from(accepted);
        self.committed = self.committed.max(applied);
        while self.pending.front().is_some_and(|pending| pending.index <= applied) {
            let pending = self.pending.pop_front().expect("just seen");
            for origin in pending.origins {
                core.reply(origin, Err(Failure::Unknown));
            }
        }
    }

    /// How sending a snapshot ended.
    pub fn snapshot_outcome(
        &mut self,
        core: &mut Core,
        to: ReplicaId,
        index: Index,
        delivered: bool,
    ) {
        self.snapshots.0 += u64::from(delivered);
        self.drive(core, |raft, context, effects| {
            raft.snapshot_outcome(context, to, index, delivered, effects);
        });
    }

    // ---- status ------------------------------------------------------------------------------

    pub fn observe(&self) -> Observed {
        Observed {
            shard: self.id,
            leads: self.leads(),
            term: self.raft.term(),
            commit: self.committed,
            applied: self.applied(),
            stamp: self.descriptor.applied.stamp,
            time_source: self.raft.time_source(),
            joint: self.raft.membership().is_joint(),
            reads: self.reads,
        }
    }

    pub fn status(&self, core_me: NodeId) -> ShardStatus {
        let status = self.raft.status();
        ShardStatus {
            shard: self.id,
            kind: if self.descriptor.meta { "meta" } else { "kv" },
            replica: self.descriptor.replica,
            role: role_name(&status),
            leader: self.leader,
            term: status.term,
            commit: self.committed,
            applied: self.applied(),
            last: status.last,
            first: status.start.next(),
            replicas: replicas(&status, core_me),
            hash: self.hash,
            snapshots_sent: self.snapshots.0,
            snapshots_installed: self.snapshots.1,
        }
    }
}

fn role_word(role: raft::Role) -> &'static str {
    match role {
        raft::Role::Leader => "leader",
        raft::Role::PreCandidate | raft::Role::Candidate => "candidate",
        raft::Role::Follower => "follower",
    }
}

fn role_name(status: &raft::Status) -> &'static str {
    match status.role {
        raft::Role::Follower if !status.membership.votes(status.id) => "learner",
        role => role_word(role),
    }
}

fn replicas(status: &raft::Status, me: NodeId) -> Vec<(ReplicaId, NodeId, &'static str, Index)> {
    if status.role != raft::Role::Leader {
        return Vec::new();
    }
    let part = |replica| if status.membership.votes(replica) { "voter" } else { "learner" };
    let matched = |replica, node| match status.progress.get(&replica) {
        _ if node == me => status.last,
        Some(progress) => progress.matched,
        None => Index(0),
    };
    let all = status.membership.all().into_iter();
    all.map(|(replica, node)| (replica, node, part(replica), matched(replica, node))).collect()
}

impl Waiter {
    pub fn origin(&self) -> Origin {
        match self {
            Waiter::Read(read) => read.origin,
            Waiter::Walk(origin, _) => *origin,
        }
    }
}

fn decode_commands(data: &Bytes) -> Result<Vec<Command>, base::codec::DecodeError> {
    let mut reader = Reader::new(data.clone());
    let count = reader.count(4)?;
    (0..count).map(|_| Command::decode(reader.bytes()?)).collect()
}

fn not_done(error: &raft::ProposeError) -> NotDone {
    match error {
        raft::ProposeError::NotLeader { .. } | raft::ProposeError::Transferring => {
            NotDone::LeaderChanged
        }
        raft::ProposeError::Busy => NotDone::Busy { retry_after_ms: 50 },
        _ => NotDone::LeaderChanged,
    }
}

fn meta_failure(answer: &service::meta::Answer) -> Option<&'static str> {
    use service::meta::Answer;
    match answer {
        Answer::Done => None,
        Answer::OtherCluster(_) => Some("cluster: the node belongs to another one"),
        Answer::UnknownNode(_) => Some("node: the cluster has none of that number"),
        Answer::OtherIncarnation { .. } => Some("incarnation: another one is pinned for the node"),
        Answer::DeadIncarnation { .. } => Some("incarnation: it was replaced and can't come back"),
        Answer::LevelTooLow { .. } => Some("apply level: the cluster needs a newer version"),
        Answer::Invalid(what) => Some(what),
    }
}

fn api_reply(reply: service::Reply, index: Index) -> Result<Reply, Failure> {
    match reply {
        service::Reply::Kv(outcome) => Ok(Reply::Kv(outcome)),
        service::Reply::Session(session) => Ok(Reply::Session(session)),
        service::Reply::Done => Ok(Reply::Index(index)),
        service::Reply::Meta(answer) => match meta_failure(&answer) {
            None => Ok(Reply::Done),
            Some(why) => Err(Failure::Refused(base::Refusal::Invalid(why))),
        },
        service::Reply::Failed(failure) => Err(failure),
    }
}
