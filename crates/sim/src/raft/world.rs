//! The world: one queue of events in true time, and what they do.

use super::history::History;
use super::node::{Disk, EPOCH, Machine, Node, Replica, Write};
use super::profile::Profile;
use super::queue::Queue;
use super::watch::Truth;
use super::{Run, Stats};
use crate::judge::{Judge, Violation};
use crate::mutant::Mutant;
use crate::script::{Planned, Script};
use crate::trace::Mixer;
use base::time::{MILLISECOND, SECOND};
use base::{Index, LogStart, Membership, Mono, NodeId, Random, ReplicaId};
use protocols::liveness::{self, Liveness};
use protocols::raft::{Body, Context, Effect, Input, Message, Raft, ReadId, Role, TimeSource};
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};

/// More than this is a storm.
const EVENTS_PER_MS: u64 = 50;

/// What happens to a node.
#[derive(Clone, Debug, Hash)]
pub enum Event {
    Wake,
    Restart,
    /// It dies at once.
    Die,
    Liveness {
        from: NodeId,
        message: liveness::Message,
    },
    Raft {
        from: ReplicaId,
        to: ReplicaId,
        message: Message,
    },
    Synced {
        boot: u64,
        replica: ReplicaId,
        ticket: u64,
    },
    /// A mutant: the replica is told before the sync is over.
    Told {
        boot: u64,
        replica: ReplicaId,
        ticket: u64,
    },
    Apply {
        boot: u64,
        replica: ReplicaId,
        index: Index,
    },
    Snapshot {
        from: ReplicaId,
        from_node: NodeId,
        to: ReplicaId,
        machine: Box<Machine>,
    },
    SnapshotOutcome {
        from: ReplicaId,
        to: ReplicaId,
        index: Index,
        delivered: bool,
    },
}

pub struct World<'a> {
    pub t: u64,
    pub random: Random,
    pub seed: u64,
    pub luck: u64,
    pub mutant: Option<Mutant>,
    /// What is done, when and to whom is drawn from this.
    pub plans: Random,
    /// What was done so far.
    pub planned: Vec<Planned>,
    /// The first words about the deed that is being done, if readers want to know.
    pub telling: Option<String>,
    /// When all was healed.
    pub faults_end: u64,
    queue: Queue,
    pub nodes: BTreeMap<NodeId, Node>,
    pub blocked: BTreeSet<(NodeId, NodeId)>,
    pub profile: Profile,
    pub watched: bool,
    pub truth: Truth,
    pub history: History,
    /// The latest membership that was applied anywhere.
    pub members: (Index, Membership),
    /// Replica ids given out.
    pub replicas: u64,
    /// Values given out.
    pub values: u64,
    pub healed: bool,
    /// Sent between members.
    pub raft_messages: u64,
    pub violation: Option<Violation>,
    over: bool,
    pub hash: u64,
    pub stats: Stats,
    reader: Option<&'a mut dyn FnMut(&str)>,
}

impl<'a> World<'a> {
    pub fn new(
        run: &Run,
        script: Option<&Script>,
        reader: Option<&'a mut dyn FnMut(&str)>,
    ) -> World<'a> {
        let mut random = Random::new(run.seed);
        let mut profile = Profile::draw(&mut random.fork());
        if let Some(script) = script {
            profile.nodes = script.nodes.max(profile.voters);
        }
        let luck = script.map_or(0, |script| script.luck);
        if luck > 0 {
            random = Random::new(run.seed.rotate_left(32) ^ luck);
        }
        let plans = random.fork();
        let mut world = World {
            t: 0,
            queue: Queue::default(),
            nodes: BTreeMap::new(),
            blocked: BTreeSet::new(),
            watched: run.watched,
            truth: Truth::default(),
            history: History::default(),
            members: (Index(0), Membership::default()),
            replicas: profile.voters,
            values: 0,
            healed: false,
            raft_messages: 0,
            violation: None,
            seed: run.seed,
            luck,
            mutant: run.mutant,
            plans,
            planned: Vec::new(),
            telling: None,
            faults_end: 0,
            over: false,
            hash: run.seed,
            stats: Stats::default(),
            profile,
            random,
            reader,
        };
        world.populate();
        world
    }

    fn populate(&mut self) {
        let voters = self.profile.voters;
        let membership = Membership::of_voters((1..=voters).map(|id| (ReplicaId(id), NodeId(id))));
        self.members.1 = membership.clone();
        self.truth.first_members = membership.clone();
        let liar = NodeId(self.random.between(1, self.profile.nodes));
        for id in (1..=self.profile.nodes).map(NodeId) {
            let lies = id == liar && voters >= 3;
            let hour = [3600, -3600][self.random.below(2) as usize] * SECOND as i64;
            let drift = self.profile.liveness.drift_ppm;
            let slow = if self.random.chance(1, 3) { 10 } else { 1 };
            let mut node = Node {
                id,
                liveness: None,
                boots: 0,
                boot: 0,
                paused_until: 0,
                wake_at: u64::MAX,
                wake_by: Mono(0),
                replicas: BTreeMap::new(),
                origin: self.random.below(1 << 50),
                drift_ppm: self.random.between(0, 2 * drift) as i64 - drift as i64,
                wall_error: if lies { hour } else { 0 },
                sync_ns: self.random.between(MILLISECOND / 4, self.profile.sync_ns_max * slow),
            };
            if id.0 <= voters {
                let start = LogStart { membership: membership.clone(), ..LogStart::default() };
                let machine = Machine { applied: start.clone(), ..Machine::default() };
                let disk = Disk { log_start: start, machine, ..Disk::default() };
                node.replicas.insert(ReplicaId(id.0), Replica::on(disk));
            }
            self.nodes.insert(id, node);
            self.start(id);
        }
    }

    /// Something is not as promised; the first finding counts.
    pub fn fail(&mut self, judge: Judge, what: String) {
        if self.violation.is_none() && (self.watched || judge != Judge::Watch) {
            self.log(|| format!("VIOLATED ({judge}): {what}"));
            self.violation = Some(Violation { judge, what });
        }
    }

    /// Whether there is nothing more to find out.
    pub fn is_over(&self) -> bool {
        self.over || self.violation.is_some()
    }

    /// What a client holds against us.
    pub fn client(&mut self, judged: Result<(), String>) {
        if let Err(what) = judged {
            self.fail(Judge::Client, what);
        }
    }

    pub fn log(&mut self, text: impl FnOnce() -> String) {
        let silent = self.telling.as_ref().is_none_or(|words| !words.is_empty());
        if self.reader.is_none() && silent {
            return;
        }
        let text = text();
        if let Some(reader) = &mut self.reader {
            reader(&format!("{:>12.6} {text}", self.t as f64 / 1e9));
        }
        if !silent {
            self.telling = Some(text);
        }
    }

    pub(super) fn at(&mut self, t: u64, node: NodeId, event: Event) {
        self.queue.push(t, node, event);
    }

    /// The node comes back after a while.
    pub fn restart_after(&mut self, delay: u64, id: NodeId) {
        self.at(self.t + delay, id, Event::Restart);
    }

    pub fn node(&mut self, id: NodeId) -> &mut Node {
        self.nodes.get_mut(&id).expect("nodes stay")
    }

    pub fn replica(&mut self, id: NodeId, replica: ReplicaId) -> &mut Replica {
        self.node(id).replicas.get_mut(&replica).expect("replicas stay")
    }

    pub fn raft(&self, id: NodeId, replica: ReplicaId) -> &Raft {
        self.nodes[&id].replicas[&replica].raft.as_ref().expect("its node is up")
    }

    pub fn is_up(&self, id: NodeId) -> bool {
        self.nodes[&id].liveness.is_some()
    }

    pub fn start(&mut self, id: NodeId) {
        let node = self.nodes.get_mut(&id).expect("nodes stay");
        let now = node.time(self.t);
        let fresh = node.boots == 0;
        node.boots += 1;
        node.boot = self.random.u64();
        let options = self.profile.liveness.clone();
        let mut liveness = Liveness::new(options, id, node.boot, fresh, now.mono);
        let mut effects = Vec::new();
        let peers = (1..=self.profile.nodes).map(NodeId).collect();
        liveness.step(now, liveness::Input::Peers(peers), &mut effects);
        node.liveness = Some(liveness);
        for (replica_id, replica) in &mut node.replicas {
            replica.start(&self.profile, *replica_id, id, self.random.u64(), now);
        }
        self.log(|| format!("{id} starts"));
        self.send_liveness(id, effects);
        self.plan_wake(id);
    }

    pub fn run_until(&mut self, until: u64) {
        while let Some((t, node)) = self.queue.next() {
            if t > until || self.is_over() {
                break;
            }
            let paused_until = self.nodes[&node].paused_until;
            if paused_until > t {
                self.queue.put_off(paused_until);
                continue;
            }
            self.t = t;
            self.stats.events += 1;
            if self.stats.events > EVENTS_PER_MS * (t / MILLISECOND + 1000) {
                // Without an observer it ends here and nobody says why.
                self.over = true;
                return self.fail(Judge::Watch, "a storm of messages".into());
            }
            let event = self.queue.pop().expect("it was just seen");
            self.mix(node, &event);
            self.handle(node, event);
            self.read_by_leases();
        }
        self.t = until;
        self.stats.time_ns = until;
    }

    fn mix(&mut self, node: NodeId, event: &Event) {
        let mut mixer = Mixer(self.hash);
        (self.t, node, event).hash(&mut mixer);
        self.hash = mixer.finish();
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
            Event::Die if self.healed => {}
            Event::Die => return self.crash(id),
            Event::Wake => self.wake(id),
            Event::Liveness { from, message } => {
                let t = self.t;
                let node = self.node(id);
                let now = node.time(t);
                let mut effects = Vec::new();
                let input = liveness::Input::Message { from, message };
                node.liveness.as_mut().expect("it is up").step(now, input, &mut effects);
                self.send_liveness(id, effects);
            }
            Event::Raft { from, to, message } => {
                self.ensure_replica(id, to);
                self.log(|| format!("{from} -> {to} {}", brief(&message)));
                let late = message.term < self.raft(id, to).term();
                self.step(id, to, Input::Message { from, message });
                if late {
                    self.see_told_late(id, to);
                }
            }
            Event::Synced { boot, replica, ticket } if boot == boot_now => {
                self.synced(id, replica, ticket);
            }
            Event::Apply { boot, replica, index } if boot == boot_now => {
                self.apply(id, replica, index);
            }
            Event::Told { boot, replica, ticket } if boot == boot_now => {
                self.step(id, replica, Input::Persisted { ticket });
            }
            Event::Synced { .. } | Event::Told { .. } | Event::Apply { .. } => {}
            Event::Snapshot { from, from_node, to, machine } => {
                self.install(id, from, from_node, to, *machine);
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
        let node = self.nodes.get_mut(&id).expect("nodes stay");
        let now = node.time(self.t);
        node.replicas.entry(replica).or_insert_with(|| {
            let mut new = Replica::on(Disk::default());
            new.start(&self.profile, replica, id, seed, now);
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
        let liveness = node.liveness.as_mut().expect("it is up");
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
                if again.is_some_and(|deadline| deadline <= now.mono) {
                    let status = self.raft(id, replica).status();
                    let what = format!("{replica} is due again at once: {status:#?}");
                    return self.fail(Judge::Watch, what);
                }
            }
        }
    }

    fn deadline(&self, id: NodeId, replica: ReplicaId) -> Option<Mono> {
        let node = &self.nodes[&id];
        let ctx = Context { now: node.time(self.t), liveness: node.liveness.as_ref()? };
        node.replicas[&replica].raft.as_ref()?.deadline(ctx)
    }

    pub fn plan_wake(&mut self, id: NodeId) {
        let node = &self.nodes[&id];
        let Some(liveness) = &node.liveness else { return };
        let own = node.replicas.keys().filter_map(|replica| self.deadline(id, *replica));
        let Some(deadline) = own.chain(liveness.deadline()).min() else { return };
        if node.wake_at != u64::MAX && node.wake_by == deadline {
            return; // It is awaited already.
        }
        let at = node.true_time(deadline).max(self.t);
        let moved = at != node.wake_at;
        let node = self.node(id);
        (node.wake_at, node.wake_by) = (at, deadline);
        if moved {
            self.at(at, id, Event::Wake);
        }
    }

    fn step(&mut self, id: NodeId, replica: ReplicaId, input: Input) {
        self.call(id, replica, |raft, ctx, effects| raft.step(ctx, input, effects));
    }

    /// Calls a replica that is up and carries its effects out.
    pub fn call<T>(
        &mut self,
        id: NodeId,
        replica: ReplicaId,
        f: impl FnOnce(&mut Raft, Context, &mut Vec<Effect>) -> T,
    ) -> Option<T> {
        let node = self.nodes.get_mut(&id).expect("nodes stay");
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
                let reset = reset.map(|start| {
                    let machine = self.replica(id, replica).installing.take();
                    (start, machine.unwrap_or_default())
                });
                self.write(id, replica, ticket, Write::Persist { hard_state, reset, entries });
            }
            Effect::Compact { log_start } => {
                self.write(id, replica, 0, Write::Compact(log_start));
            }
            Effect::Send { to, message } => {
                match message.body {
                    Body::Voted { granted: true } => self.see_vote(replica, message.term, to),
                    Body::Appended { matched, .. } => self.see_acknowledged(id, replica, matched),
                    _ => {}
                }
                let known = self.raft(id, replica).membership().node_of(to);
                if let Some(node) = known.or_else(|| self.home_of(to)) {
                    if self.is_member(replica) && self.is_member(to) {
                        self.raft_messages += 1;
                    }
                    self.send(id, node, Event::Raft { from: replica, to, message });
                }
            }
            Effect::Truncated { from } => {
                self.stats.truncations += 1;
                // Their clients will never know.
                self.replica(id, replica).pending.retain(|pending| pending.index < from);
            }
            Effect::Commit { index } => {
                self.see_commit(id, replica, index);
                let boot = self.nodes[&id].boot;
                let lag = [0, 0, 0, self.profile.moods.apply_ns_max][self.random.below(4) as usize];
                let delay = self.random.below(lag + 1);
                self.at(self.t + delay, id, Event::Apply { boot, replica, index });
            }
            Effect::ReadReady { id: read, index } => self.read_ready(id, replica, read, index),
            Effect::ReadsFailed => self.replica(id, replica).asked.clear(),
            Effect::NeedSnapshot { to } => self.stream(id, replica, to),
            Effect::Role { role, term, leader } => {
                self.log(|| format!("{replica} is {role:?} in {term}, leader {leader:?}"));
                if role == Role::Leader {
                    self.see_leader(id, replica, term);
                    self.doom(id);
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
        self.members.1.node_of(replica).is_some()
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
            if self.mutant == Some(Mutant::AcksBeforeDurable) {
                self.at(self.t, id, Event::Told { boot, replica, ticket });
            }
        }
    }

    fn synced(&mut self, id: NodeId, replica: ReplicaId, ticket: u64) {
        let on_disk = self.replica(id, replica);
        if !on_disk.writes.iter().any(|(written, _)| *written == ticket) {
            return; // A later sync covered it.
        }
        while let Some((written, write)) = on_disk.writes.pop_front() {
            if let Err(refused) = on_disk.disk.write(write) {
                return self.fail(Judge::Assertion, refused);
            }
            if written == ticket {
                break;
            }
        }
        self.step(id, replica, Input::Persisted { ticket });
    }

    fn apply(&mut self, id: NodeId, replica: ReplicaId, index: Index) {
        let from = self.replica(id, replica).machine.applied.index;
        if index <= from {
            return; // A snapshot came first.
        }
        let entries = self.raft(id, replica).entries(from, index, usize::MAX);
        if entries.last().map(|entry| entry.index) != Some(index) {
            return self.fail(Judge::Watch, format!("{replica} has no entry {index} to apply"));
        }
        for entry in &entries {
            self.see_applied(replica, entry);
            self.replica(id, replica).machine.apply(entry);
            self.settle(id, replica, entry.index, entry.term);
        }
        self.replica(id, replica).raft.as_mut().expect("it is up").applied(index);
        self.run_ready(id, replica);
        self.call(id, replica, |raft, ctx, effects| raft.flush(ctx, effects));
    }

    /// An entry was applied: those whose appends were given its place, or one before, are told.
    fn settle(&mut self, id: NodeId, replica: ReplicaId, index: Index, term: base::Term) {
        let at = self.nodes.get_mut(&id).and_then(|node| node.replicas.get_mut(&replica));
        let at = at.expect("replicas stay");
        let mut told = Ok(());
        while let Some(pending) = at.pending.pop_front_if(|pending| pending.index <= index) {
            let answer = match (pending.index == index, pending.term == term) {
                (true, true) => self.history.acknowledge(&at.machine.list),
                (true, false) => self.history.not_done(pending.value),
                (false, _) => Ok(()), // Unknown.
            };
            told = told.and(answer);
        }
        self.client(told);
        self.check_stamp(id, replica);
    }

    /// One clock of three or more is wrong by an hour: what a client sees must not show it.
    fn check_stamp(&mut self, id: NodeId, replica: ReplicaId) {
        let stamp = self.replica(id, replica).machine.applied.stamp;
        let drift = self.t / 1_000_000 * self.profile.liveness.drift_ppm;
        if stamp.0 > EPOCH + self.t + drift + 50 * MILLISECOND {
            self.fail(Judge::Client, format!("stamp {stamp} lies ahead of true time"));
        }
    }

    fn stream(&mut self, id: NodeId, replica: ReplicaId, to: ReplicaId) {
        let machine = Box::new(self.replica(id, replica).machine.clone());
        let index = machine.applied.index;
        let home = self.raft(id, replica).membership().node_of(to);
        self.call(id, replica, |raft, _, _| raft.snapshot_started(to, index));
        let moods = &self.profile.moods;
        let patience_ns = moods.stream_patience_ns;
        let delay = self.random.below(moods.stream_ns_max);
        let broken = Event::SnapshotOutcome { from: replica, to, index, delivered: false };
        match home.filter(|home| !self.blocked.contains(&(id, *home))) {
            Some(home) => {
                let event = Event::Snapshot { from: replica, from_node: id, to, machine };
                self.repeat(home, event.clone());
                self.at(self.t + delay, home, event);
                // If the answer is lost the stream counts as broken.
                self.at(self.t + patience_ns, id, broken);
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
        machine: Machine,
    ) {
        self.ensure_replica(id, to);
        let start = machine.applied.clone();
        let index = start.index;
        self.replica(id, to).installing = Some(machine.clone());
        let before = self.ends_of(id, to);
        let installed =
            self.call(id, to, |raft, ctx, effects| raft.snapshot_received(ctx, start, effects));
        self.log(|| format!("snapshot {from} -> {to} at {index}: {installed:?}"));
        self.replica(id, to).installing = None;
        if installed == Some(true) {
            self.stats.snapshots += 1;
            self.see_installed(id, to, &before);
            let replica = self.replica(id, to);
            replica.pending.retain(|pending| pending.index > index);
            replica.machine = machine;
            self.run_ready(id, to);
        }
        let delivered = installed.is_some();
        self.send(id, from_node, Event::SnapshotOutcome { from, to, index, delivered });
    }

    fn read_ready(&mut self, id: NodeId, replica: ReplicaId, read: ReadId, index: Index) {
        let at = self.replica(id, replica);
        let (ready, waiting): (Vec<_>, Vec<_>) =
            at.asked.drain(..).partition(|asked| asked.id <= read);
        at.asked = waiting;
        at.ready.extend(ready.iter().map(|asked| (index, asked.floor)));
        for asked in ready {
            self.see_read(index, asked.committed);
        }
        self.run_ready(id, replica);
    }

    /// Answers the reads whose index is applied.
    fn run_ready(&mut self, id: NodeId, replica: ReplicaId) {
        let at = self.nodes.get_mut(&id).and_then(|node| node.replicas.get_mut(&replica));
        let at = at.expect("replicas stay");
        let applied = at.machine.applied.index;
        let mut told = Ok(());
        at.ready.retain(|(index, floor)| {
            let due = *index <= applied;
            if due {
                self.stats.reads += 1;
                let read = self.history.read(*floor, &at.machine.list);
                told = std::mem::replace(&mut told, Ok(())).and(read);
            }
            !due
        });
        self.client(told);
    }

    /// Whoever holds a lease is read from after every event.
    fn read_by_leases(&mut self) {
        let mut leases = Vec::new();
        for node in self.nodes.values().filter(|node| node.paused_until <= self.t) {
            let Some(liveness) = node.liveness.as_ref().filter(|_| node.leads()) else { continue };
            let ctx = Context { now: node.time(self.t), liveness };
            for (id, replica) in &node.replicas {
                let lease = replica.raft.as_ref().and_then(|raft| raft.lease_read(ctx));
                leases.extend(lease.map(|index| (node.id, *id, index)));
            }
        }
        for (node, replica, index) in leases {
            self.stats.lease_reads += 1;
            self.see_lease(replica, index);
            let machine = &self.nodes[&node].replicas[&replica].machine;
            if machine.applied.index >= index {
                let read = self.history.read(self.history.floor(), &machine.list);
                self.client(read);
            }
        }
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
