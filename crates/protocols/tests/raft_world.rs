//! A small world under a seed: nodes with drifting clocks, lossy links, slow disks that forget what
//! they did not sync, crashes, pauses, network partitions, membership changes and transfers. After
//! every event the invariants of Raft are checked against what an omniscient observer saw:
//!
//! * election safety: one leader per term;
//! * log matching: one entry per (index, term), with one predecessor;
//! * leader completeness: a new leader holds everything that was ever committed;
//! * state machine safety: one entry per committed index;
//! * durability: what is committed is on the disks of a quorum at that moment;
//! * leases: whoever may read from its lease has everything that was committed;
//! * read rounds: a read sees everything that was committed when it began;
//! * stamps rise strictly, and a wrong clock on one node moves none of them ahead of true time.
//!
//! Then the world heals, and it must elect, commit and converge within seconds, and fall silent.
//!
//! `WORLD_SEEDS=from..to` runs other seeds; `WORLD_TRACE=1` prints every event.

use base::time::{MILLISECOND, SECOND};
use base::{
    Entry, EntryKind, HardState, Index, LogStart, Membership, Mono, NodeId, Random, ReplicaId,
    ShardId, Stamp, Term, Time, Wall,
};
use bytes::Bytes;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use underpin_protocols::liveness::{self, Liveness};
use underpin_protocols::raft::{
    Body, Change, Context, Effect, Input, Message, Options, Raft, ReadId, Restored, Role,
    TimeSource,
};

/// True wall time at the world's beginning.
const EPOCH: u64 = 1_700_000_000 * SECOND;
const NODES: u64 = 6;

/// What happens to a node.
#[derive(Clone, Debug)]
enum Event {
    Wake,
    Restart,
    Liveness { from: NodeId, message: liveness::Message },
    Raft { from: ReplicaId, to: ReplicaId, message: Message },
    Synced { boot: u64, replica: ReplicaId, ticket: u64 },
    Apply { boot: u64, replica: ReplicaId, index: Index },
    Snapshot { from: ReplicaId, from_node: NodeId, to: ReplicaId, log_start: LogStart },
    SnapshotOutcome { from: ReplicaId, to: ReplicaId, index: Index, delivered: bool },
}

/// One write on its way to the disk.
#[derive(Clone, Debug)]
enum Write {
    Persist { hard_state: Option<HardState>, reset: Option<LogStart>, entries: Vec<Entry> },
    Compact(LogStart),
}

/// What a replica's disk holds.
#[derive(Clone, Debug, Default)]
struct Disk {
    hard_state: HardState,
    log_start: LogStart,
    entries: Vec<Entry>,
    /// What the state machine holds durably.
    applied: Index,
}

impl Disk {
    fn write(&mut self, write: Write) {
        match write {
            Write::Persist { hard_state, reset, entries } => {
                self.hard_state = hard_state.unwrap_or(self.hard_state);
                if let Some(start) = reset {
                    self.applied = self.applied.max(start.index);
                    self.log_start = start;
                    self.entries.clear();
                }
                if let Some(first) = entries.first() {
                    self.entries.retain(|entry| entry.index < first.index);
                    assert!(first.index <= self.last().next(), "a gap before {}", first.index);
                }
                self.entries.extend(entries);
            }
            Write::Compact(start) => {
                if start.index > self.log_start.index {
                    assert!(start.index <= self.last(), "compacted past the durable log");
                    self.entries.retain(|entry| entry.index > start.index);
                    self.log_start = start;
                }
            }
        }
    }

    fn last(&self) -> Index {
        Index(self.log_start.index.0 + self.entries.len() as u64)
    }

    fn holds(&self, index: Index, term: Term) -> bool {
        index <= self.log_start.index
            || self.entries.iter().any(|entry| entry.index == index && entry.term == term)
    }
}

struct Replica {
    /// None while its node is down.
    raft: Option<Raft>,
    disk: Disk,
    writes: VecDeque<(u64, Write)>,
    applied: Index,
    /// Reads under way, with what was committed when they began.
    reads: Vec<(ReadId, Index)>,
}

struct Node {
    id: NodeId,
    /// None while it is down.
    liveness: Option<Liveness>,
    boots: u64,
    boot: u64,
    paused_until: u64,
    wake_at: u64,
    replicas: BTreeMap<ReplicaId, Replica>,
    /// The monotonic clock: origin and rate. The wall clock: an error.
    origin: u64,
    drift_ppm: i64,
    wall_error: i64,
    sync_ns: u64,
}

impl Node {
    fn mono(&self, t: u64) -> Mono {
        let drifted = i128::from(t) * i128::from(1_000_000 + self.drift_ppm) / 1_000_000;
        Mono(self.origin + drifted as u64)
    }

    fn true_time(&self, mono: Mono) -> u64 {
        let elapsed = i128::from(mono.since(Mono(self.origin)));
        let mut t = (elapsed * 1_000_000 / i128::from(1_000_000 + self.drift_ppm)) as u64;
        while self.mono(t) < mono {
            t += 1;
        }
        t
    }

    fn time(&self, t: u64) -> Time {
        Time { mono: self.mono(t), wall: Wall((EPOCH + t).saturating_add_signed(self.wall_error)) }
    }
}

/// What the observer knows.
#[derive(Default)]
struct Truth {
    leaders: BTreeMap<Term, ReplicaId>,
    /// Entries by place, with the term before them.
    entries: BTreeMap<(Index, Term), (Entry, Term)>,
    committed: Vec<Entry>,
    memberships: BTreeMap<Index, Membership>,
}

impl Truth {
    fn commit(&self) -> Index {
        Index(self.committed.len() as u64)
    }

    fn log_start(&self, index: Index) -> LogStart {
        let membership = self.memberships.range(..=index).next_back().unwrap().1.clone();
        match index.0.checked_sub(1).map(|at| &self.committed[at as usize]) {
            None => LogStart { membership, ..LogStart::default() },
            Some(entry) => LogStart { index, term: entry.term, stamp: entry.stamp, membership },
        }
    }
}

/// What happened at all: a world in which nothing happens proves nothing.
#[derive(Default, Debug)]
struct Stats {
    events: u64,
    elections: u64,
    commits: u64,
    reads: u64,
    lease_reads: u64,
    changes: u64,
    transfers: u64,
    snapshots: u64,
    crashes: u64,
    truncations: u64,
    /// Leaders whose time is what a quorum of the clocks reached.
    slow_steps: u64,
}

impl Stats {
    fn add(&mut self, other: &Stats) {
        self.events += other.events;
        self.elections += other.elections;
        self.commits += other.commits;
        self.reads += other.reads;
        self.lease_reads += other.lease_reads;
        self.changes += other.changes;
        self.transfers += other.transfers;
        self.snapshots += other.snapshots;
        self.crashes += other.crashes;
        self.truncations += other.truncations;
        self.slow_steps += other.slow_steps;
    }
}

struct World {
    t: u64,
    random: Random,
    queue: BinaryHeap<Reverse<(u64, u64, NodeId)>>,
    events: BTreeMap<u64, Event>,
    sequence: u64,
    nodes: BTreeMap<NodeId, Node>,
    blocked: BTreeSet<(NodeId, NodeId)>,
    options: Options,
    truth: Truth,
    replicas: u64,
    proposals: u64,
    trace: bool,
    healed: bool,
    loss: u64,
    raft_messages: u64,
    stats: Stats,
}

impl World {
    fn new(seed: u64) -> World {
        let mut random = Random::new(seed);
        let options = Options {
            inflight_messages_max: random.between(1, 8) as usize,
            inflight_bytes_max: random.between(64, 4096) as usize,
            append_bytes_max: random.between(64, 1024) as usize,
            uncommitted_bytes_max: random.between(200, 8192) as usize,
            retain_bytes_max: random.between(0, 2048) as usize,
            resend_ns: random.between(20, 300) * MILLISECOND,
            commit_ns: random.between(0, 20) * MILLISECOND,
            ..Options::default()
        };
        let mut world = World {
            t: 0,
            queue: BinaryHeap::new(),
            events: BTreeMap::new(),
            sequence: 0,
            nodes: BTreeMap::new(),
            blocked: BTreeSet::new(),
            options,
            truth: Truth::default(),
            replicas: 0,
            proposals: 0,
            trace: std::env::var("WORLD_TRACE").is_ok(),
            healed: false,
            loss: random.below(10),
            raft_messages: 0,
            stats: Stats::default(),
            random,
        };
        let voters = [1, 3, 3, 4, 5][world.random.below(5) as usize];
        world.populate(voters);
        world
    }

    fn populate(&mut self, voters: u64) {
        let membership = Membership::of_voters((1..=voters).map(|id| (ReplicaId(id), NodeId(id))));
        self.replicas = voters;
        self.truth.memberships.insert(Index(0), membership.clone());
        let liar = NodeId(self.random.between(1, NODES));
        for id in (1..=NODES).map(NodeId) {
            let lies = id == liar && voters >= 3;
            let hour = [3600, -3600][self.random.below(2) as usize] * SECOND as i64;
            let mut node = Node {
                id,
                liveness: None,
                boots: 0,
                boot: 0,
                paused_until: 0,
                wake_at: u64::MAX,
                replicas: BTreeMap::new(),
                origin: self.random.below(1 << 50),
                drift_ppm: self.random.between(0, 2000) as i64 - 1000,
                wall_error: if lies { hour } else { 0 },
                sync_ns: self.random.between(1, 20) * MILLISECOND / 2,
            };
            if id.0 <= voters {
                let log_start = LogStart { membership: membership.clone(), ..LogStart::default() };
                let disk = Disk { log_start, ..Disk::default() };
                node.replicas.insert(ReplicaId(id.0), Replica::on(disk));
            }
            self.nodes.insert(id, node);
            self.start(id);
        }
    }

    fn log(&self, text: impl FnOnce() -> String) {
        if self.trace {
            #[allow(clippy::print_stderr)]
            {
                eprintln!("{:>12.6} {}", self.t as f64 / 1e9, text());
            }
        }
    }

    fn at(&mut self, t: u64, node: NodeId, event: Event) {
        self.sequence += 1;
        self.events.insert(self.sequence, event);
        self.queue.push(Reverse((t, self.sequence, node)));
    }

    fn node(&mut self, id: NodeId) -> &mut Node {
        self.nodes.get_mut(&id).unwrap()
    }

    fn replica(&mut self, id: NodeId, replica: ReplicaId) -> &mut Replica {
        self.node(id).replicas.get_mut(&replica).unwrap()
    }

    fn raft(&self, id: NodeId, replica: ReplicaId) -> &Raft {
        self.nodes[&id].replicas[&replica].raft.as_ref().unwrap()
    }

    fn is_up(&self, id: NodeId) -> bool {
        self.nodes[&id].liveness.is_some()
    }

    fn start(&mut self, id: NodeId) {
        let node = self.nodes.get_mut(&id).unwrap();
        let now = node.time(self.t);
        let fresh = node.boots == 0;
        node.boots += 1;
        node.boot = self.random.u64();
        let options = liveness::Options::default();
        let mut liveness = Liveness::new(options, id, node.boot, fresh, now.mono);
        let mut effects = Vec::new();
        let peers = (1..=NODES).map(NodeId).collect();
        liveness.step(now, liveness::Input::Peers(peers), &mut effects);
        node.liveness = Some(liveness);
        for (replica_id, replica) in &mut node.replicas {
            replica.start(&self.options, *replica_id, id, self.random.u64(), now);
        }
        self.log(|| format!("{id} starts"));
        self.send_liveness(id, effects);
        self.plan_wake(id);
    }

    fn crash(&mut self, id: NodeId) {
        let node = self.nodes.get_mut(&id).unwrap();
        node.liveness = None;
        node.wake_at = u64::MAX;
        node.paused_until = 0;
        for replica in node.replicas.values_mut() {
            replica.raft = None;
            replica.reads.clear();
            // Of what was being written, some prefix is there.
            let kept = self.random.below(replica.writes.len() as u64 + 1) as usize;
            for (_, write) in replica.writes.drain(..).take(kept) {
                replica.disk.write(write);
            }
        }
        self.stats.crashes += 1;
        self.log(|| format!("{id} crashes"));
        let delay = self.random.between(1, 1500) * MILLISECOND;
        self.at(self.t + delay, id, Event::Restart);
    }

    fn run_until(&mut self, until: u64) {
        while let Some(Reverse((t, sequence, node))) = self.queue.peek().copied() {
            if t > until {
                break;
            }
            self.queue.pop();
            let paused_until = self.nodes[&node].paused_until;
            if paused_until > t {
                self.queue.push(Reverse((paused_until, sequence, node)));
                continue;
            }
            self.t = t;
            self.stats.events += 1;
            let event = self.events.remove(&sequence).unwrap();
            self.handle(node, event);
            self.check_leases();
        }
        self.t = until;
    }

    fn handle(&mut self, id: NodeId, event: Event) {
        if let Event::Restart = event
            && !self.is_up(id)
        {
            self.start(id);
        }
        if !self.is_up(id) {
            return;
        }
        let boot_now = self.nodes[&id].boot;
        match event {
            Event::Restart => {}
            Event::Wake => self.wake(id),
            Event::Liveness { from, message } => {
                let t = self.t;
                let node = self.node(id);
                let now = node.time(t);
                let mut effects = Vec::new();
                let input = liveness::Input::Message { from, message };
                node.liveness.as_mut().unwrap().step(now, input, &mut effects);
                self.send_liveness(id, effects);
            }
            Event::Raft { from, to, message } => {
                self.ensure_replica(id, to);
                self.log(|| format!("{from} -> {to} {}", brief(&message)));
                self.step(id, to, Input::Message { from, message });
            }
            Event::Synced { boot, replica, ticket } if boot == boot_now => {
                self.synced(id, replica, ticket);
            }
            Event::Apply { boot, replica, index } if boot == boot_now => {
                self.apply(id, replica, index);
            }
            Event::Synced { .. } | Event::Apply { .. } => {}
            Event::Snapshot { from, from_node, to, log_start } => {
                self.install(id, from, from_node, to, log_start);
            }
            Event::SnapshotOutcome { from, to, index, delivered } => {
                self.call(id, from, |raft, ctx, effects| {
                    raft.snapshot_outcome(ctx, to, index, delivered, effects);
                });
            }
        }
        self.plan_wake(id);
    }

    /// A replica that this node was never told of: someone wants it here.
    fn ensure_replica(&mut self, id: NodeId, replica: ReplicaId) {
        let seed = self.random.u64();
        let node = self.nodes.get_mut(&id).unwrap();
        let now = node.time(self.t);
        node.replicas.entry(replica).or_insert_with(|| {
            let mut new = Replica::on(Disk::default());
            new.start(&self.options, replica, id, seed, now);
            new
        });
    }

    fn wake(&mut self, id: NodeId) {
        let t = self.t;
        let node = self.node(id);
        if t < node.wake_at {
            return; // The deadline was moved on.
        }
        node.wake_at = u64::MAX;
        let now = node.time(t);
        let liveness = node.liveness.as_mut().unwrap();
        let mut effects = Vec::new();
        if liveness.deadline().is_some_and(|deadline| deadline <= now.mono) {
            liveness.step(now, liveness::Input::Tick, &mut effects);
        }
        let replicas: Vec<ReplicaId> = node.replicas.keys().copied().collect();
        self.send_liveness(id, effects);
        for replica in replicas {
            if self.deadline(id, replica).is_some_and(|deadline| deadline <= now.mono) {
                self.step(id, replica, Input::Tick);
                let again = self.deadline(id, replica);
                assert!(
                    again.is_none_or(|deadline| deadline > now.mono),
                    "{replica} is due again at once: {:#?}",
                    self.raft(id, replica)
                );
            }
        }
    }

    fn deadline(&self, id: NodeId, replica: ReplicaId) -> Option<Mono> {
        let node = &self.nodes[&id];
        let ctx = Context { now: node.time(self.t), liveness: node.liveness.as_ref()? };
        node.replicas[&replica].raft.as_ref()?.deadline(ctx)
    }

    fn plan_wake(&mut self, id: NodeId) {
        let node = &self.nodes[&id];
        let Some(liveness) = &node.liveness else { return };
        let own = node.replicas.keys().filter_map(|replica| self.deadline(id, *replica));
        let Some(deadline) = own.chain(liveness.deadline()).min() else { return };
        let at = node.true_time(deadline).max(self.t);
        if at != node.wake_at {
            self.node(id).wake_at = at;
            self.at(at, id, Event::Wake);
        }
    }

    fn step(&mut self, id: NodeId, replica: ReplicaId, input: Input) {
        self.call(id, replica, |raft, ctx, effects| raft.step(ctx, input, effects));
    }

    /// Calls a replica that is up and carries its effects out.
    fn call<T>(
        &mut self,
        id: NodeId,
        replica: ReplicaId,
        f: impl FnOnce(&mut Raft, Context, &mut Vec<Effect>) -> T,
    ) -> Option<T> {
        let node = self.nodes.get_mut(&id).unwrap();
        let now = node.time(self.t);
        let ctx = Context { now, liveness: node.liveness.as_ref()? };
        let raft = node.replicas.get_mut(&replica)?.raft.as_mut()?;
        let mut effects = Vec::new();
        let result = f(raft, ctx, &mut effects);
        for effect in effects {
            self.carry_out(id, replica, effect);
        }
        Some(result)
    }

    fn carry_out(&mut self, id: NodeId, replica: ReplicaId, effect: Effect) {
        match effect {
            Effect::Persist { ticket, hard_state, reset, entries } => {
                self.see_entries(id, replica, &entries);
                self.write(id, replica, ticket, Write::Persist { hard_state, reset, entries });
            }
            Effect::Compact { log_start } => {
                self.write(id, replica, 0, Write::Compact(log_start));
            }
            Effect::Send { to, message } => {
                let known = self.raft(id, replica).membership().node_of(to);
                if let Some(node) = known.or_else(|| self.home_of(to)) {
                    if self.is_member(replica) && self.is_member(to) {
                        self.raft_messages += 1;
                    }
                    self.send(id, node, Event::Raft { from: replica, to, message });
                }
            }
            Effect::Truncated { .. } => self.stats.truncations += 1,
            Effect::Commit { index } => {
                self.see_commit(id, replica, index);
                let boot = self.nodes[&id].boot;
                let lag = [0, 0, 0, 50 * MILLISECOND][self.random.below(4) as usize];
                let delay = self.random.below(lag + 1);
                self.at(self.t + delay, id, Event::Apply { boot, replica, index });
            }
            Effect::ReadReady { id: read, index } => self.see_read(id, replica, read, index),
            Effect::ReadsFailed => self.replica(id, replica).reads.clear(),
            Effect::NeedSnapshot { to } => self.stream(id, replica, to),
            Effect::Role { role, term, leader } => {
                self.log(|| format!("{replica} is {role:?} in {term}, leader {leader:?}"));
                if role == Role::Leader {
                    self.see_leader(id, replica, term);
                }
            }
            Effect::MembershipChanged(membership) => {
                self.log(|| format!("{replica} sees {membership:?}"));
            }
            Effect::TimeSet(source) => {
                self.log(|| format!("{replica} knows shard time: {source:?}"));
                self.stats.slow_steps += u64::from(source == TimeSource::QuorumClocks);
            }
        }
    }

    /// Replicas that were removed while they were away may ask in vain; whoever places replicas
    /// cleans them up.
    fn is_member(&self, replica: ReplicaId) -> bool {
        let latest = self.truth.memberships.last_key_value();
        latest.is_some_and(|(_, membership)| membership.node_of(replica).is_some())
    }

    fn home_of(&self, replica: ReplicaId) -> Option<NodeId> {
        self.nodes.values().find(|node| node.replicas.contains_key(&replica)).map(|node| node.id)
    }

    fn write(&mut self, id: NodeId, replica: ReplicaId, ticket: u64, write: Write) {
        self.replica(id, replica).writes.push_back((ticket, write));
        if ticket > 0 {
            let (sync_ns, boot) = (self.nodes[&id].sync_ns, self.nodes[&id].boot);
            let delay = self.random.below(sync_ns);
            self.at(self.t + delay, id, Event::Synced { boot, replica, ticket });
        }
    }

    fn synced(&mut self, id: NodeId, replica: ReplicaId, ticket: u64) {
        let on_disk = self.replica(id, replica);
        if !on_disk.writes.iter().any(|(written, _)| *written == ticket) {
            return; // A later sync covered it.
        }
        while let Some((written, write)) = on_disk.writes.pop_front() {
            on_disk.disk.write(write);
            if written == ticket {
                break;
            }
        }
        self.step(id, replica, Input::Persisted { ticket });
    }

    fn apply(&mut self, id: NodeId, replica: ReplicaId, index: Index) {
        let at = self.nodes.get_mut(&id).unwrap().replicas.get_mut(&replica).unwrap();
        let Some(raft) = &mut at.raft else { return };
        if index <= at.applied {
            return; // A snapshot came first.
        }
        let entries = raft.entries(at.applied, index, usize::MAX);
        assert_eq!(entries.last().map(|entry| entry.index), Some(index));
        for entry in entries {
            assert_eq!(Some(&entry), self.truth.committed.get(entry.index.0 as usize - 1));
        }
        raft.applied(index);
        at.applied = index;
        self.call(id, replica, |raft, ctx, effects| raft.flush(ctx, effects));
    }

    fn stream(&mut self, id: NodeId, replica: ReplicaId, to: ReplicaId) {
        let index = self.nodes[&id].replicas[&replica].applied;
        let log_start = self.truth.log_start(index);
        let home = self.raft(id, replica).membership().node_of(to);
        self.call(id, replica, |raft, _, _| raft.snapshot_started(to, index));
        let delay = self.random.below(200 * MILLISECOND);
        let broken = Event::SnapshotOutcome { from: replica, to, index, delivered: false };
        match home.filter(|home| !self.blocked.contains(&(id, *home))) {
            Some(home) => {
                let event = Event::Snapshot { from: replica, from_node: id, to, log_start };
                self.at(self.t + delay, home, event);
                // If the answer is lost the stream counts as broken.
                self.at(self.t + SECOND, id, broken);
            }
            None => self.at(self.t + delay, id, broken),
        }
    }

    fn install(
        &mut self,
        id: NodeId,
        from: ReplicaId,
        from_node: NodeId,
        to: ReplicaId,
        log_start: LogStart,
    ) {
        self.ensure_replica(id, to);
        let index = log_start.index;
        let installed =
            self.call(id, to, |raft, ctx, effects| raft.snapshot_received(ctx, log_start, effects));
        self.log(|| format!("snapshot {from} -> {to} at {index}: {installed:?}"));
        if installed == Some(true) {
            self.stats.snapshots += 1;
            let replica = self.replica(id, to);
            assert!(replica.applied < index);
            replica.applied = index;
        }
        let delivered = installed.is_some();
        self.send(id, from_node, Event::SnapshotOutcome { from, to, index, delivered });
    }

    fn send_liveness(&mut self, from: NodeId, effects: Vec<liveness::Effect>) {
        for liveness::Effect::Send { to, message } in effects {
            self.send(from, to, Event::Liveness { from, message });
        }
    }

    fn send(&mut self, from: NodeId, to: NodeId, event: Event) {
        if self.blocked.contains(&(from, to)) {
            return;
        }
        let copies = match self.random.below(100) {
            n if self.healed || n >= self.loss + 3 => 1,
            n if n >= self.loss => 2,
            _ => 0,
        };
        for _ in 0..copies {
            let delay = match self.random.below(40) {
                0 if !self.healed => self.random.below(900 * MILLISECOND),
                1..4 if !self.healed => self.random.below(30 * MILLISECOND),
                _ => self.random.between(MILLISECOND / 10, MILLISECOND),
            };
            self.at(self.t + delay, to, event.clone());
        }
    }

    fn see_leader(&mut self, id: NodeId, replica: ReplicaId, term: Term) {
        let leader = *self.truth.leaders.entry(term).or_insert(replica);
        assert_eq!(leader, replica, "two leaders in term {term}");
        self.stats.elections += 1;
        let raft = self.raft(id, replica);
        let start = raft.log_start().index;
        for entry in &self.truth.committed {
            assert!(
                entry.index <= start || raft.term_at(entry.index) == Some(entry.term),
                "leader {replica} of {term} lacks committed entry {}",
                entry.index
            );
        }
    }

    fn see_entries(&mut self, id: NodeId, replica: ReplicaId, entries: &[Entry]) {
        for entry in entries {
            let before = self.raft(id, replica).term_at(entry.index.prev());
            let before = before.expect("what is written is in the log");
            let place = (entry.index, entry.term);
            let seen = self.truth.entries.entry(place).or_insert_with(|| (entry.clone(), before));
            assert_eq!(*seen, (entry.clone(), before), "logs do not match at {place:?}");
        }
    }

    fn see_commit(&mut self, id: NodeId, replica: ReplicaId, index: Index) {
        let known = self.truth.commit();
        if index <= known {
            return; // Checked when it is applied.
        }
        let raft = self.raft(id, replica);
        let membership = raft.membership().clone();
        for entry in raft.entries(known, index, usize::MAX) {
            self.stats.commits += 1;
            if let Some(last) = self.truth.committed.last() {
                assert!(entry.stamp > last.stamp, "stamps do not rise at {}", entry.index);
            }
            self.check_stamp(entry.stamp);
            if entry.kind == EntryKind::Membership {
                let mut reader = base::codec::Reader::new(entry.data.clone());
                let membership = Membership::decode(&mut reader).unwrap();
                self.truth.memberships.insert(entry.index, membership);
            }
            self.truth.committed.push(entry);
        }
        let last = self.truth.committed.last().unwrap();
        for voters in [&membership.voters, &membership.outgoing] {
            let holds = |(replica, node): &(&ReplicaId, &NodeId)| {
                let replica = self.nodes[*node].replicas.get(*replica);
                replica.is_some_and(|replica| replica.disk.holds(last.index, last.term))
            };
            let holding = voters.iter().filter(holds).count();
            assert!(
                voters.is_empty() || holding > voters.len() / 2,
                "{} is committed on {holding} of {} disks",
                last.index,
                voters.len()
            );
        }
    }

    /// One clock of three or more is wrong by an hour: stamps must not notice.
    fn check_stamp(&self, stamp: Stamp) {
        let slack = self.t / 1000 + 50 * MILLISECOND;
        assert!(stamp.0 <= EPOCH + self.t + slack, "stamp {stamp} lies ahead of true time");
    }

    fn see_read(&mut self, id: NodeId, replica: ReplicaId, read: ReadId, index: Index) {
        let replica = self.replica(id, replica);
        let (ready, waiting): (Vec<_>, Vec<_>) =
            replica.reads.drain(..).partition(|(waiting, _)| *waiting <= read);
        replica.reads = waiting;
        for (_, floor) in ready {
            self.stats.reads += 1;
            assert!(index >= floor, "a read that began after {floor} sees only {index}");
        }
    }

    fn check_leases(&mut self) {
        for node in self.nodes.values() {
            let Some(liveness) = &node.liveness else { continue };
            if node.paused_until > self.t {
                continue;
            }
            let ctx = Context { now: node.time(self.t), liveness };
            for (id, replica) in &node.replicas {
                let Some(raft) = &replica.raft else { continue };
                if let Some(index) = raft.lease_read(ctx) {
                    self.stats.lease_reads += 1;
                    assert!(
                        index >= self.truth.commit(),
                        "{id} would read {index} from its lease, committed is {}",
                        self.truth.commit()
                    );
                }
            }
        }
    }

    /// One random thing that a client, an operator or fate does.
    fn meddle(&mut self) {
        let id = NodeId(self.random.between(1, NODES));
        let leaders = self.leaders();
        let leader = self.random.pick(&leaders).copied();
        match (self.random.below(100), leader) {
            (0..4, _) if self.is_up(id) => self.crash(id),
            (4..7, _) if self.is_up(id) => {
                let pause = self.random.between(1, 1500) * MILLISECOND;
                self.node(id).paused_until = self.t + pause;
                self.log(|| format!("{id} pauses"));
            }
            (7..9, _) => self.cut(),
            (9..12, _) => self.blocked.clear(),
            (12..17, Some((node, replica))) => {
                self.stats.transfers += 1;
                self.call(node, replica, |raft, ctx, effects| raft.transfer(ctx, None, effects));
            }
            (17..24, Some((node, replica))) => self.change(node, replica),
            (24..30, _) if self.is_up(id) => self.compact(id),
            (30..50, Some((node, replica))) => self.read(node, replica),
            (50.., Some((node, replica))) => self.propose(node, replica),
            _ => {}
        }
        for id in (1..=NODES).map(NodeId) {
            self.plan_wake(id);
        }
    }

    fn leaders(&self) -> Vec<(NodeId, ReplicaId)> {
        let mut leaders = Vec::new();
        for node in self.nodes.values().filter(|node| node.paused_until <= self.t) {
            for (id, replica) in &node.replicas {
                if replica.raft.as_ref().is_some_and(|raft| raft.role() == Role::Leader) {
                    leaders.push((node.id, *id));
                }
            }
        }
        leaders
    }

    fn cut(&mut self) {
        self.blocked.clear();
        let all: Vec<NodeId> = (1..=NODES).map(NodeId).collect();
        let side: BTreeSet<NodeId> =
            all.iter().copied().filter(|_| self.random.chance(1, 2)).collect();
        let one_way = self.random.chance(1, 3);
        for a in side.iter() {
            for b in all.iter().filter(|b| !side.contains(b)) {
                self.blocked.insert((*a, *b));
                if !one_way {
                    self.blocked.insert((*b, *a));
                }
            }
        }
        self.log(|| format!("cut off {side:?}, one way: {one_way}"));
    }

    fn propose(&mut self, node: NodeId, replica: ReplicaId) {
        for _ in 0..self.random.between(1, 4) {
            self.proposals += 1;
            let mut data = self.proposals.to_le_bytes().to_vec();
            data.resize(8 + self.random.below(100) as usize, 0);
            self.call(node, replica, |raft, ctx, _| {
                raft.propose(ctx, Bytes::from(data), 1).is_ok()
            });
        }
        self.call(node, replica, |raft, ctx, effects| raft.flush(ctx, effects));
        self.plan_wake(node);
    }

    fn read(&mut self, node: NodeId, replica: ReplicaId) {
        let floor = self.truth.commit();
        let asked = self.call(node, replica, |raft, ctx, _| raft.read_index(ctx));
        if let Some(Ok(read)) = asked {
            self.replica(node, replica).reads.push((read, floor));
        }
        self.call(node, replica, |raft, ctx, effects| raft.flush(ctx, effects));
    }

    fn compact(&mut self, id: NodeId) {
        let mut wanted = Vec::new();
        for (id, replica) in &mut self.node(id).replicas {
            // The state machine is flushed no further than the log is durable.
            let to = replica.applied.min(replica.disk.last());
            replica.disk.applied = replica.disk.applied.max(to);
            wanted.push((*id, replica.disk.applied));
        }
        for (replica, to) in wanted {
            self.call(id, replica, |raft, _, effects| raft.compact(to, effects));
        }
    }

    /// A random change that leaves three voters at least, if there were three.
    fn change(&mut self, node: NodeId, replica: ReplicaId) {
        let now = self.raft(node, replica).membership().clone();
        let mut change = Change::default();
        let voters: Vec<ReplicaId> = now.voters.keys().copied().collect();
        let learners: Vec<ReplicaId> = now.learners.keys().copied().collect();
        let homes: BTreeSet<NodeId> = now.all().into_values().collect();
        let free: Vec<NodeId> =
            (1..=NODES).map(NodeId).filter(|node| !homes.contains(node)).collect();
        let mut left = voters.len();
        if let Some(home) = self.random.pick(&free).copied().filter(|_| self.random.chance(1, 2)) {
            self.replicas += 1;
            change.add_learners.insert(ReplicaId(self.replicas), home);
            if self.random.chance(1, 4) {
                change.promote.insert(ReplicaId(self.replicas));
                left += 1;
            }
        }
        if let Some(id) = self.random.pick(&learners).copied() {
            match self.random.below(4) {
                0 => drop(change.remove.insert(id)),
                1..3 => {
                    change.promote.insert(id);
                    left += 1;
                }
                _ => {}
            }
        }
        for _ in 0..2 {
            let Some(id) = self.random.pick(&voters).copied().filter(|_| left > 3) else {
                continue;
            };
            left -= 1;
            match self.random.below(3) {
                0 if !change.demote.contains(&id) => drop(change.remove.insert(id)),
                1 if !change.remove.contains(&id) => drop(change.demote.insert(id)),
                _ => left += 1,
            }
        }
        let taken = self.call(node, replica, |raft, ctx, _| raft.propose_membership(ctx, &change));
        self.call(node, replica, |raft, ctx, effects| raft.flush(ctx, effects));
        if let Some(Ok(_)) = taken {
            self.stats.changes += 1;
            self.log(|| format!("{replica} proposes {change:?}"));
        }
    }

    fn heal(&mut self) {
        self.log(|| "healed".to_string());
        self.healed = true;
        self.blocked.clear();
        for id in (1..=NODES).map(NodeId) {
            self.node(id).paused_until = 0;
            if !self.is_up(id) {
                self.start(id);
            }
        }
    }

    /// With everything healed, the shard serves, converges and falls silent.
    fn check_progress(&mut self) {
        self.heal();
        let before = self.truth.commit();
        for _ in 0..50 {
            self.run_until(self.t + 100 * MILLISECOND);
            for (node, replica) in self.leaders() {
                self.propose(node, replica);
            }
        }
        assert!(self.truth.commit().0 > before.0 + 20, "no progress after all faults are gone");
        self.run_until(self.t + 2 * SECOND);
        let leaders = self.leaders();
        let highest = leaders.iter().max_by_key(|(node, id)| self.raft(*node, *id).term());
        let (node, id) = *highest.expect("a leader");
        let leader = self.raft(node, id);
        assert!(!leader.membership().is_joint(), "a joint membership was not left");
        for (replica, node) in leader.membership().all() {
            assert_eq!(
                self.nodes[&node].replicas[&replica].applied,
                self.truth.commit(),
                "{replica} does not catch up: {:#?}\n{:#?}",
                leader.status(),
                self.raft(node, replica).status(),
            );
        }
        let last = self.truth.committed.last().unwrap().stamp;
        // A quorum's clocks may be slow, if the others are out of reach for long.
        let lags = last.0 + 4 * SECOND <= EPOCH + self.t;
        assert!(!lags || self.stats.slow_steps > 0, "stamps lag behind true time");
        let sent = self.raft_messages;
        self.run_until(self.t + SECOND);
        assert_eq!(self.raft_messages, sent, "an idle shard sends messages");
    }
}

impl Replica {
    fn on(disk: Disk) -> Replica {
        let applied = disk.applied;
        Replica { raft: None, applied, disk, writes: VecDeque::new(), reads: Vec::new() }
    }

    fn start(&mut self, options: &Options, id: ReplicaId, node: NodeId, seed: u64, now: Time) {
        let restored = Restored {
            hard_state: self.disk.hard_state,
            log_start: self.disk.log_start.clone(),
            entries: self.disk.entries.clone(),
            applied: self.disk.applied,
        };
        self.applied = self.disk.applied;
        self.raft = Some(Raft::new(options.clone(), ShardId(1), id, node, seed, restored, now));
    }
}

fn brief(message: &Message) -> String {
    match &message.body {
        Body::Append { prev, commit, entries, .. } => format!(
            "t{} Append after {}/{} commit {commit} {} entries",
            message.term,
            prev.index,
            prev.term,
            entries.len()
        ),
        body => format!("t{} {body:?}", message.term),
    }
}

/// Names the seed of a world that fails.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            #[allow(clippy::print_stderr)]
            {
                eprintln!("the world of seed {} failed", self.0);
            }
        }
    }
}

fn run(seed: u64) -> Stats {
    let _seed = Seed(seed);
    let mut world = World::new(seed);
    let until = world.random.between(1, 8) * SECOND;
    while world.t < until {
        let pause = world.random.below(60 * MILLISECOND);
        world.run_until(world.t + pause);
        world.meddle();
    }
    world.check_progress();
    world.stats
}

#[test]
fn raft_keeps_its_promises_under_every_seed() {
    let seeds = std::env::var("WORLD_SEEDS").ok().and_then(|seeds| {
        let (from, to) = seeds.split_once("..")?;
        Some(from.parse().ok()?..to.parse().ok()?)
    });
    let mut stats = Stats::default();
    for seed in seeds.unwrap_or(0..500) {
        stats.add(&run(seed));
    }
    #[allow(clippy::print_stdout)]
    {
        println!("{stats:?}");
    }
}
