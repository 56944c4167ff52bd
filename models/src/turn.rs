//! One step from a state to the next: what an action does to the cores, and what follows.

use crate::cluster::Cluster;
use crate::law::{Committed, Law, Mark, Truth, quorum_has};
use crate::node::{Disk, Machine, Node, Write, membership_in};
use crate::shared::Shared;
use crate::world::{Mutation, Packet, World};
use base::log::EntryKind;
use base::{Index, LogStart, Membership, Mono, NodeId, ReplicaId, Term, Time, Wall};
use protocols::clock::Reading;
use protocols::liveness::{self, Liveness};
use protocols::raft::{Body, Context, Effect, Input, Message, Raft, Restored, Role};
use std::collections::{BTreeSet, VecDeque};

/// What a clock shows before the first step.
const ORIGIN: u64 = 1_000;

/// A state being changed.
pub struct Turn<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) world: World,
    pub(crate) truth: Truth,
    /// The nodes that this step touched.
    pub(crate) touched: Vec<Option<Node>>,
    network: Vec<Shared<Packet>>,
    /// What this step sent.
    posted: Vec<Shared<Packet>>,
}

impl<'a> Turn<'a> {
    /// Begins a step at `world`.
    pub fn new(cluster: &'a Cluster, world: &World) -> Turn<'a> {
        let truth = (*world.truth).clone();
        let touched = world.nodes.iter().map(|_| None).collect();
        let network = world.network.to_vec();
        Turn { cluster, world: world.clone(), truth, touched, network, posted: Vec::new() }
    }

    /// Ends the step, and checks what can be seen at any time.
    pub fn end(mut self) -> World {
        self.check_logs();
        self.check_leases();
        let pools = &self.cluster.pools;
        for (at, node) in self.touched.into_iter().enumerate() {
            if let Some(mut node) = node {
                if node.writes.is_empty() {
                    node.heard.clear();
                }
                self.world.nodes[at] = pools.nodes.share(node);
            }
        }
        if self.truth != *self.world.truth {
            self.world.truth = pools.truths.share(self.truth);
        }
        let nodes = &self.world.nodes;
        self.network.retain(|packet| !is_over(packet, &nodes[packet.to() as usize - 1]));
        self.world.network = pools.networks.share(self.network);
        self.world
    }

    /// What this step sent so far.
    pub fn posted(&self) -> Vec<Shared<Packet>> {
        self.posted.clone()
    }

    /// What is left of the budget, for the action to pay.
    pub fn world(&mut self) -> &mut World {
        &mut self.world
    }

    /// Notes a broken law, if it is one to watch.
    pub fn breaks(&mut self, law: Law, seen: String) {
        if self.cluster.laws.contains(&law) {
            self.truth.breaks(law, seen);
        }
    }

    /// A node as it is by now.
    pub fn node(&self, id: u64) -> &Node {
        let at = id as usize - 1;
        self.touched[at].as_ref().unwrap_or(&self.world.nodes[at])
    }

    /// A node, to be changed.
    pub fn node_mut(&mut self, id: u64) -> &mut Node {
        let at = id as usize - 1;
        self.touched[at].get_or_insert_with(|| (*self.world.nodes[at]).clone())
    }

    fn now(&self, id: u64) -> Time {
        now_of(&self.world, id)
    }

    /// What surrounds a node's replica.
    pub fn context<'n>(&self, id: u64, node: &'n Node) -> Context<'n> {
        Context { now: self.now(id), liveness: &node.liveness }
    }

    /// Calls a replica and carries out what it wants.
    pub fn call<T>(
        &mut self,
        id: u64,
        f: impl FnOnce(&mut Raft, Context, &mut Vec<Effect>) -> T,
    ) -> T {
        let (now, seed, slow) =
            (self.now(id), self.cluster.seed_of(id), self.cluster.bounds.slow_disks.contains(&id));
        let node = self.node_mut(id);
        let before = node.raft.commit();
        let mut effects = Vec::new();
        let result = f(&mut node.raft, Context { now, liveness: &node.liveness }, &mut effects);
        node.raft.reseed(seed);
        node.note_log();
        if node.raft.commit() < before {
            self.breaks(Law::CommitStands, format!("replica {id} goes back from {before}"));
        }
        for effect in effects {
            self.carry_out(id, effect);
        }
        if !slow {
            while !self.node(id).writes.is_empty() {
                self.sync(id);
            }
        }
        result
    }

    fn carry_out(&mut self, id: u64, effect: Effect) {
        match effect {
            Effect::Persist { ticket, hard_state, reset, entries } => {
                let machine = self.node(id).machine.clone();
                let reset = reset.map(|start| Machine { at: start, ..machine });
                let ticket = Some(ticket);
                self.write(id, Write { ticket, hard_state, reset, entries, compact: None });
            }
            Effect::Compact { log_start } => {
                let write = Write {
                    ticket: None,
                    hard_state: None,
                    reset: None,
                    entries: Vec::new(),
                    compact: Some(log_start),
                };
                self.write(id, write);
            }
            Effect::Send { to, message } => self.send(id, to, message),
            Effect::Commit { index } => self.commit(id, index),
            Effect::ReadReady { id: read, index } => {
                for (asked, floor) in self.node(id).reads.clone() {
                    if asked <= read {
                        self.see_read(id, floor, index);
                    }
                }
                self.node_mut(id).reads.retain(|(asked, _)| *asked > read);
            }
            Effect::ReadsFailed => self.node_mut(id).reads.clear(),
            Effect::NeedSnapshot { to } => self.stream(id, to),
            Effect::Role { role: Role::Leader, term, .. } => self.see_leader(id, term),
            Effect::Truncated { .. } => self.cluster.reached.note(Mark::Truncated),
            Effect::Role { .. } | Effect::MembershipChanged(_) | Effect::TimeSet(_) => {}
        }
    }

    fn write(&mut self, id: u64, write: Write) {
        let early = self.cluster.mutation == Some(Mutation::ReportsEarly);
        let ticket = write.ticket;
        self.node_mut(id).writes.push_back(write);
        if let Some(ticket) = ticket.filter(|_| early) {
            self.call(id, |raft, ctx, effects| {
                raft.step(ctx, Input::Persisted { ticket }, effects);
            });
        }
    }

    /// The oldest write becomes durable.
    pub fn sync(&mut self, id: u64) {
        let node = self.node_mut(id);
        let Some(write) = node.writes.pop_front() else { return };
        let ticket = write.ticket;
        node.disk.take(write);
        if let Some(ticket) = ticket {
            self.call(id, |raft, ctx, effects| {
                raft.step(ctx, Input::Persisted { ticket }, effects);
            });
        }
    }

    fn send(&mut self, from: u64, to: ReplicaId, message: Message) {
        self.check_durable(from, to, &message);
        match &message.body {
            Body::Bind { .. } | Body::Release { .. } if !self.cluster.bounds.binding => return,
            Body::ReadRound { round } => self.node_mut(from).round = *round,
            Body::Vote { transfer, .. } if *transfer => {
                self.node_mut(from).heir_in = message.term;
            }
            _ => {}
        }
        // Shard time is no part of the models: each message would be another one at each moment.
        let message = Message { time: Reading::default(), ..message };
        self.post(Packet::Raft { from: ReplicaId(from), to, message });
    }

    /// Puts something under way.
    fn post(&mut self, packet: Packet) {
        let packet = self.cluster.pools.packets.share(packet);
        let place = self.network.binary_search_by_key(&packet.digest(), Shared::digest);
        self.posted.push(packet.clone());
        if let Err(place) = place {
            self.network.insert(place, packet);
        }
    }

    /// Something arrives.
    pub fn deliver(&mut self, packet: &Shared<Packet>) {
        if self.cluster.bounds.slow_disks.contains(&packet.to()) {
            self.node_mut(packet.to()).heard.insert(packet.digest());
        }
        match &**packet {
            Packet::Raft { from, to, message } => self.hear(to.0, *from, message.clone()),
            Packet::Liveness { from, to, message } => {
                let now = self.now(to.0);
                let mut effects = Vec::new();
                let input = liveness::Input::Message { from: *from, message: *message };
                self.node_mut(to.0).liveness.step(now, input, &mut effects);
                for liveness::Effect::Send { to: back, message } in effects {
                    self.post(Packet::Liveness { from: *to, to: back, message });
                }
            }
            Packet::Snapshot { from, to, machine } => self.install(*from, *to, machine),
            Packet::Outcome { from, to, index } => self.call(to.0, |raft, ctx, effects| {
                raft.snapshot_outcome(ctx, *from, *index, true, effects);
            }),
        }
    }

    fn hear(&mut self, to: u64, from: ReplicaId, mut message: Message) {
        let node = self.node(to);
        if let Body::ReadAnswer { round } = &mut message.body
            && self.cluster.mutation == Some(Mutation::AnswersAnyRound)
        {
            *round = node.round;
        }
        self.call(to, |raft, ctx, effects| {
            raft.step(ctx, Input::Message { from, message }, effects);
        });
    }

    /// The node's clock goes on by a step.
    pub fn pass(&mut self, id: u64) {
        self.world.clocks[id as usize - 1].steps += 1;
    }

    /// Whether a deadline of the replica came.
    pub fn is_due(&self, id: u64) -> bool {
        is_due(&self.world, id, self.node(id))
    }

    /// The deadline comes to the replica's notice.
    pub fn tick(&mut self, id: u64) {
        self.call(id, |raft, ctx, effects| raft.step(ctx, Input::Tick, effects));
    }

    /// The harness asks a replica to campaign as if its leader had.
    pub fn forge_handover(&mut self, from: u64, to: u64) {
        let term = self.node(from).raft.term();
        let message = Message { term, time: Reading::default(), body: Body::TimeoutNow };
        self.post(Packet::Raft { from: ReplicaId(from), to: ReplicaId(to), message });
    }

    /// A heartbeat from one node to another; if beats are not slow, also its answer.
    pub fn beat(&mut self, from: u64, to: u64) {
        let now = self.now(from);
        let mut effects = Vec::new();
        self.node_mut(from).liveness.step(now, liveness::Input::Tick, &mut effects);
        for liveness::Effect::Send { to: peer, message } in effects {
            let packet = Packet::Liveness { from: NodeId(from), to: peer, message };
            if peer.0 == to && self.cluster.bounds.slow_beats {
                self.post(packet);
            } else if peer.0 == to {
                self.round_trip(&packet);
            }
        }
    }

    fn round_trip(&mut self, packet: &Packet) {
        let Packet::Liveness { from, to, message } = packet else { return };
        let now = self.now(to.0);
        let mut effects = Vec::new();
        let input = liveness::Input::Message { from: *from, message: *message };
        self.node_mut(to.0).liveness.step(now, input, &mut effects);
        for liveness::Effect::Send { message, .. } in effects {
            let (from, to) = (*to, *from);
            self.round_trip(&Packet::Liveness { from, to, message });
        }
    }

    /// All nodes hear of each other at once.
    pub fn meet(&mut self) {
        let all = 1..=self.cluster.bounds.nodes;
        for from in all.clone() {
            let (now, peers) = (self.now(from), all.clone().map(NodeId).collect());
            let mut effects = Vec::new();
            let liveness = &mut self.node_mut(from).liveness;
            liveness.step(now, liveness::Input::Peers(peers), &mut effects);
            effects.clear();
            self.node_mut(from).liveness.step(now, liveness::Input::Tick, &mut effects);
            for liveness::Effect::Send { to, message } in effects {
                self.round_trip(&Packet::Liveness { from: NodeId(from), to, message });
            }
        }
    }

    /// The node crashes, of its writes the first `kept` are there, and it starts again.
    pub fn crash(&mut self, id: u64, kept: usize) {
        let node = self.node(id);
        if kept < node.writes.len() {
            self.cluster.reached.note(Mark::LostWrites);
        }
        let mut disk = node.disk.clone();
        node.writes.iter().take(kept).for_each(|write| disk.take(write.clone()));
        let boot = node.boot + 1;
        let (heir_in, mutation) = (node.heir_in, self.cluster.mutation);
        let mut read = disk.clone();
        match mutation {
            Some(Mutation::ForgetsVotes) => read.hard_state.vote = None,
            Some(Mutation::ForgetsOthers) => forget_others(&mut read, id),
            _ => {}
        }
        let fresh = !self.cluster.bounds.binding || mutation == Some(Mutation::ForgetsPromises);
        let mut new = started(self.cluster, id, boot, read, fresh, self.now(id));
        new.heir_in = heir_in;
        new.disk = disk;
        *self.node_mut(id) = new;
        self.meet_again(id);
    }

    /// A node that started hears of the others, and they of it; where leases are, by beats only.
    fn meet_again(&mut self, id: u64) {
        let (now, peers) = (self.now(id), (1..=self.cluster.bounds.nodes).map(NodeId).collect());
        let input = liveness::Input::Peers(peers);
        self.node_mut(id).liveness.step(now, input, &mut Vec::new());
        if !self.cluster.bounds.binding {
            for other in (1..=self.cluster.bounds.nodes).filter(|other| *other != id) {
                self.beat(id, other);
                self.beat(other, id);
            }
        }
    }

    /// Proposes a command that no other proposal equals; whether it was taken.
    pub fn propose(&mut self, id: u64) -> bool {
        let number = self.world.left.proposals;
        let data = vec![id as u8, number].into();
        let taken = self.call(id, |raft, ctx, _| raft.propose(ctx, data, 1).is_ok());
        self.flush(id);
        taken
    }

    /// Asks for a strong read.
    pub fn read(&mut self, id: u64) -> bool {
        let floor = Index(self.truth.committed.len() as u64);
        let Ok(read) = self.call(id, |raft, ctx, _| raft.read_index(ctx)) else { return false };
        self.node_mut(id).reads.push((read, floor));
        self.flush(id);
        true
    }

    fn flush(&mut self, id: u64) {
        self.call(id, |raft, ctx, effects| raft.flush(ctx, effects));
    }

    /// Makes the state machine durable, and compacts the log as far as that allows.
    pub fn compact(&mut self, id: u64) {
        let node = self.node_mut(id);
        node.disk.machine = node.machine.clone();
        let to = node.machine.at.index;
        self.call(id, |raft, _, effects| raft.compact(to, effects));
    }

    fn stream(&mut self, from: u64, to: ReplicaId) {
        let mut machine = self.node(from).machine.clone();
        if self.cluster.mutation == Some(Mutation::SnapshotAhead) {
            machine.at.index = machine.at.index.next();
        }
        let index = machine.at.index;
        self.call(from, |raft, _, _| raft.snapshot_started(to, index));
        self.post(Packet::Snapshot { from: ReplicaId(from), to, machine });
    }

    fn install(&mut self, from: ReplicaId, to: ReplicaId, machine: &Machine) {
        let before = self.node(to.0).machine.clone();
        // The write that follows carries it.
        self.node_mut(to.0).machine = machine.clone();
        let start: LogStart = machine.at.clone();
        let index = start.index;
        let taken =
            self.call(to.0, |raft, ctx, effects| raft.snapshot_received(ctx, start, effects));
        if taken {
            self.cluster.reached.note(Mark::SnapshotInstalled);
            self.check_machine(to.0);
        } else {
            self.node_mut(to.0).machine = before;
        }
        self.post(Packet::Outcome { from: to, to: from, index });
    }

    /// A snapshot is lost on the way, and its sender notices.
    pub fn fail(&mut self, packet: &Packet) {
        let Packet::Snapshot { from, to, machine } = packet else { return };
        self.call(from.0, |raft, ctx, effects| {
            raft.snapshot_outcome(ctx, *to, machine.at.index, false, effects);
        });
    }

    fn commit(&mut self, id: u64, index: Index) {
        let node = self.node_mut(id);
        let entries = node.raft.entries(node.machine.at.index, index, usize::MAX);
        let membership = node.raft.membership().clone();
        let was_joint = node.machine.at.membership.is_joint();
        let learners = node.machine.at.membership.learners.clone();
        entries.iter().for_each(|entry| node.machine.apply(entry));
        node.raft.applied(index);
        let known = self.truth.committed.len() as u64;
        let in_term = self.node(id).raft.term();
        let mut all = self.truth.committed.last().map_or(0, |entry| entry.digest);
        for entry in entries.iter().filter(|entry| entry.index.0 > known) {
            all = crate::shared::digest(&(all, entry));
            self.truth.committed.push(Committed { term: entry.term, in_term, digest: all });
            if !quorum_has(&membership, |id| self.node(id.0).disk.holds(entry.index, entry.term)) {
                let seen =
                    format!("{} is committed by {id}, and on no quorum's disks", entry.index);
                self.breaks(Law::DurableFirst, seen);
            }
        }
        self.check_machine(id);
        for entry in entries.iter().filter(|entry| entry.kind == EntryKind::Membership) {
            let now = membership_in(entry).expect("it is one");
            self.note_change(was_joint, &now, &learners);
        }
    }
}

/// A node as it starts from `disk`.
pub fn started(cluster: &Cluster, id: u64, boot: u64, disk: Disk, fresh: bool, now: Time) -> Node {
    let restored = Restored {
        hard_state: disk.hard_state,
        log_start: disk.log_start.clone(),
        entries: disk.entries.clone(),
        applied: disk.machine.at.index,
    };
    let (shard, replica, node) = (base::ShardId(1), ReplicaId(id), NodeId(id));
    let seed = cluster.seed_of(id);
    let mut raft = Raft::new(cluster.raft_options(), shard, replica, node, seed, restored, now);
    raft.reseed(seed);
    let liveness = Liveness::new(cluster.liveness_options(), node, boot, fresh, now.mono);
    let mut node = Node {
        raft,
        liveness,
        boot,
        machine: disk.machine.clone(),
        disk,
        writes: VecDeque::new(),
        reads: Vec::new(),
        round: 0,
        heir_in: Term(0),
        heard: BTreeSet::new(),
        log: Vec::new(),
    };
    node.note_log();
    node
}

/// What a node's clock shows. Wall clocks stand still: they are the stamps' matter.
pub fn now_of(world: &World, id: u64) -> Time {
    let clock = world.clocks[id as usize - 1];
    Time { mono: Mono(ORIGIN + clock.steps * clock.rate), wall: Wall(0) }
}

/// Whether a deadline of the replica came.
pub fn is_due(world: &World, id: u64, node: &Node) -> bool {
    let now = now_of(world, id);
    let deadline = node.raft.deadline(Context { now, liveness: &node.liveness });
    deadline.is_some_and(|deadline| deadline <= now.mono)
}

/// Whether a packet is an answer that can mean nothing any more, since its term is over, for good:
/// durably.
pub fn is_over(packet: &Packet, to: &Node) -> bool {
    let Packet::Raft { message, .. } = packet else { return false };
    let answer = matches!(
        message.body,
        Body::Voted { .. }
            | Body::Appended { .. }
            | Body::Rejected { .. }
            | Body::ReadAnswer { .. }
            | Body::Bound { .. }
            | Body::TimeoutNow
            | Body::Newer
    );
    answer && message.term < to.disk.hard_state.term
}

/// All memberships on the disk become the replica's own.
fn forget_others(disk: &mut Disk, id: u64) {
    let alone = Membership::of_voters([(ReplicaId(id), NodeId(id))]);
    disk.log_start.membership = alone.clone();
    let mut out = base::codec::Writer::new();
    alone.encode(&mut out);
    let data = out.finish();
    let changes = disk.entries.iter_mut().filter(|entry| entry.kind == EntryKind::Membership);
    changes.for_each(|entry| entry.data = data.clone());
}
