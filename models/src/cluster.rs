//! The model that the checker explores: what can happen in a state, and what must hold.

use crate::idle::Idle;
use crate::law::{LAWS, Law, MARKS, Mark, Reached, Truth};
use crate::node::{Disk, Machine, Node};
use crate::shared::{Pool, Shared};
use crate::turn::{Turn, is_due, started};
use crate::world::{Bounds, Clock, Mutation, Packet, Time, World};
use base::{LogStart, Membership, NodeId, Random, ReplicaId};
use protocols::liveness::{self, SupportEpoch};
use protocols::raft::{Body, Options, Role};
use stateright::{Model, Property};
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// What a clock adds in a step at its proper rate.
pub const STEP: u64 = 20;
/// How far clocks may be off, in millionths: one in twenty, so that it shows within a few steps.
const DRIFT_PPM: u64 = 50_000;

/// A cluster with its bounds.
#[derive(Clone)]
pub struct Cluster {
    /// What it covers.
    pub bounds: Bounds,
    /// What goes wrong on purpose.
    pub mutation: Option<Mutation>,
    /// The laws that are watched; all but for a mutation, which has to be caught by a certain one.
    pub laws: Vec<Law>,
    /// What must be reached.
    pub marks: Vec<Mark>,
    /// What was reached.
    pub reached: Arc<Reached>,
    /// Everything seen so far.
    pub pools: Arc<Pools>,
    /// The support under which the cluster began, by granter and requester.
    pub first_support: BTreeMap<(u64, u64), SupportEpoch>,
    /// Seeds whose first draws are an election timeout of one step, and of two.
    seeds: [u64; 2],
    start: Vec<World>,
}

/// Everything seen so far.
#[derive(Default)]
pub struct Pools {
    /// Nodes.
    pub nodes: Pool<Node>,
    /// Messages.
    pub packets: Pool<Packet>,
    /// All messages under way at a time.
    pub networks: Pool<Vec<Shared<Packet>>>,
    /// Observations.
    pub truths: Pool<Truth>,
    /// Arrivals that change nothing.
    pub idle: Idle,
}

/// Something that can happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// A message arrives, perhaps again.
    Deliver(Shared<Packet>),
    /// A snapshot is lost, and its sender notices.
    Fail(Shared<Packet>),
    /// One node's clock goes on, and its timers go off.
    Wait(u64),
    /// All clocks go on.
    Pass,
    /// A timer that is due goes off.
    Tick(u64),
    /// One node's heartbeat to another.
    Beat(u64, u64),
    /// The oldest write becomes durable.
    Sync(u64),
    /// A node crashes when so many of its writes have reached the disk, and starts.
    Crash(u64, usize),
    /// A leader is given a command.
    Propose(u64),
    /// A leader is asked for a strong read.
    Read(u64),
    /// A leader is asked to hand over.
    Transfer(u64, u64),
    /// A leader is asked for the change with this number.
    Change(u64, usize),
    /// A node makes its state durable and compacts its log.
    Compact(u64),
}

impl Cluster {
    /// A cluster at its beginning.
    pub fn new(bounds: Bounds, marks: &[Mark], mutation: Option<Mutation>) -> Cluster {
        let mut cluster = Cluster {
            mutation: None,
            laws: LAWS.iter().map(|(law, _)| *law).collect(),
            marks: marks.to_vec(),
            reached: Arc::default(),
            pools: Arc::default(),
            first_support: BTreeMap::new(),
            seeds: [seed_drawing(STEP), seed_drawing(2 * STEP)],
            start: Vec::new(),
            bounds,
        };
        let mut rates = cluster.bounds.rates.clone();
        if rates.is_empty() {
            rates.push(vec![STEP; cluster.bounds.nodes as usize]);
        }
        let start: Vec<World> = rates.iter().map(|rates| cluster.founded(rates)).collect();
        cluster.first_support = support_in(&start[0]);
        cluster.start = start;
        cluster.reached = Arc::default();
        cluster.mutation = mutation;
        if mutation == Some(Mutation::IgnoresDrift) {
            cluster.start = rates.iter().map(|rates| cluster.founded(rates)).collect();
        }
        cluster
    }

    /// Settings of the replicas: timers go off after whole steps. A leader that no quorum supports
    /// steps down after three; no election timeout that is drawn is as long.
    pub fn raft_options(&self) -> Options {
        Options {
            election_ns_min: STEP,
            election_ns_max: 3 * STEP,
            resend_ns: STEP,
            commit_ns: STEP,
            retain_bytes_max: 0,
            ..Options::default()
        }
    }

    /// Settings of the nodes' support. Without binding nothing rests on it, and it never lapses.
    pub fn liveness_options(&self) -> liveness::Options {
        let drift_ppm = match self.mutation {
            Some(Mutation::IgnoresDrift) => 0,
            _ => DRIFT_PPM,
        };
        let steps = if self.bounds.binding { self.bounds.support_steps } else { 1000 };
        liveness::Options { heartbeat_ns: 0, support_ns: steps * STEP, drift_ppm }
    }

    /// Odd replicas wait short before they campaign, even ones long.
    pub fn seed_of(&self, id: u64) -> u64 {
        self.seeds[(id + 1) as usize % 2]
    }

    /// A cluster that was just founded, with a leader if there is to be one.
    fn founded(&self, rates: &[u64]) -> World {
        let ids = 1..=self.bounds.nodes;
        let voters = (1..=self.bounds.voters).map(|id| (ReplicaId(id), NodeId(id)));
        let mut membership = Membership::of_voters(voters);
        let learners =
            (self.bounds.voters + 1..=self.bounds.nodes).map(|n| (ReplicaId(n), NodeId(n)));
        membership.learners.extend(learners);
        let clocks: Vec<Clock> = rates.iter().map(|&rate| Clock { steps: 0, rate }).collect();
        let mut world = World {
            nodes: Vec::new(),
            clocks,
            network: self.pools.networks.share(Vec::new()),
            truth: self.pools.truths.share(Truth::default()),
            left: self.bounds.budget,
        };
        for id in ids {
            let at = LogStart { membership: membership.clone(), ..LogStart::default() };
            let machine = Machine { at: at.clone(), digest: 0 };
            let disk = Disk { log_start: at, machine, ..Disk::default() };
            let now = crate::turn::now_of(&world, id);
            world.nodes.push(self.pools.nodes.share(started(self, id, id * 10, disk, true, now)));
        }
        let mut turn = Turn::new(self, &world);
        turn.meet();
        let world = turn.end();
        match (self.bounds.led, self.bounds.handed_over) {
            (false, _) => world,
            (true, false) => self.hushed(self.led_by_first(world)),
            (true, true) => self.handed_over(&self.hushed(self.led_by_first(world))),
        }
    }

    /// Lets node 1 be elected, and everything be delivered until nothing moves.
    fn led_by_first(&self, mut world: World) -> World {
        while world.nodes[0].raft.role() != Role::Leader {
            let mut turn = Turn::new(self, &world);
            (1..=self.bounds.nodes).for_each(|id| turn.pass(id));
            turn.meet();
            if turn.is_due(1) {
                turn.tick(1);
            }
            world = self.settle(turn.end());
        }
        world
    }

    /// Delivers everything once and finishes all writes, until nothing moves.
    fn settle(&self, mut world: World) -> World {
        let mut arrived = BTreeSet::new();
        loop {
            let mut turn = Turn::new(self, &world);
            let next = world.network.iter().find(|packet| !arrived.contains(&packet.digest()));
            let busy = (1..).zip(&world.nodes).find(|(_, node)| !node.writes.is_empty());
            if let Some(packet) = next {
                arrived.insert(packet.digest());
                if !self.loses_bind(packet) {
                    turn.deliver(packet);
                }
            } else if let Some((id, _)) = busy {
                turn.sync(id);
            } else {
                return world;
            }
            world = turn.end();
        }
    }

    /// Lets node 1 hand over to node 3.
    fn handed_over(&self, world: &World) -> World {
        let mut turn = Turn::new(self, world);
        let asked =
            turn.call(1, |raft, ctx, effects| raft.transfer(ctx, Some(ReplicaId(3)), effects));
        asked.expect("node 1 leads, and node 3 is a voter");
        let world = self.settle(turn.end());
        assert_eq!(world.nodes[2].raft.role(), Role::Leader, "node 3 takes over");
        world
    }

    /// Forgets what was said so far: it will not come again.
    fn hushed(&self, mut world: World) -> World {
        world.network = self.pools.networks.share(Vec::new());
        world
    }

    /// Whether the founding is to lose this request to bind.
    fn loses_bind(&self, packet: &Packet) -> bool {
        let Packet::Raft { to, message, .. } = packet else { return false };
        matches!(message.body, Body::Bind { .. }) && self.bounds.unbound == Some(to.0)
    }

    fn try_next(&self, world: &World, action: &Action) -> Option<World> {
        let mut turn = Turn::new(self, world);
        let left = &mut turn.world().left;
        match action {
            Action::Deliver(packet) => turn.deliver(packet),
            Action::Fail(packet) => turn.fail(packet),
            Action::Wait(id) => {
                left.steps -= 1;
                turn.pass(*id);
                if turn.is_due(*id) {
                    turn.tick(*id);
                }
            }
            Action::Pass => {
                left.steps -= 1;
                (1..=self.bounds.nodes).for_each(|id| turn.pass(id));
            }
            Action::Tick(id) => turn.tick(*id),
            Action::Beat(from, to) => {
                left.beats -= 1;
                turn.beat(*from, *to);
            }
            Action::Sync(id) => turn.sync(*id),
            Action::Crash(id, kept) => {
                left.crashes -= 1;
                turn.crash(*id, *kept);
            }
            Action::Propose(id) => {
                left.proposals -= 1;
                turn.propose(*id).then_some(())?;
            }
            Action::Read(id) => {
                left.reads -= 1;
                turn.read(*id).then_some(())?;
            }
            Action::Transfer(id, to) => {
                if self.mutation == Some(Mutation::BypassesLeader) {
                    turn.forge_handover(*id, *to);
                    return Some(turn.end());
                }
                left.transfers -= 1;
                let to = Some(ReplicaId(*to));
                turn.call(*id, |raft, ctx, effects| raft.transfer(ctx, to, effects)).ok()?;
            }
            Action::Change(id, which) => {
                left.changes -= 1;
                let change = &self.bounds.changes[*which];
                turn.call(*id, |raft, ctx, effects| {
                    raft.propose_membership(ctx, change)?;
                    raft.flush(ctx, effects);
                    Ok::<(), protocols::raft::ProposeError>(())
                })
                .ok()?;
            }
            Action::Compact(id) => {
                left.compactions -= 1;
                turn.compact(*id);
            }
        }
        let posted = turn.posted();
        let next = turn.end();
        if let Action::Deliver(packet) = action
            && (&next.nodes, &next.truth) == (&world.nodes, &world.truth)
        {
            self.pools.idle.note(world, packet, posted);
            if next.network == world.network {
                return None;
            }
        }
        Some(next)
    }

    /// What can happen to one node by itself.
    fn actions_of(&self, world: &World, id: u64, actions: &mut Vec<Action>) {
        let node = &world.nodes[id as usize - 1];
        let left = &world.left;
        if !node.writes.is_empty() {
            actions.push(Action::Sync(id));
        }
        if left.crashes > 0 && self.bounds.crashers.contains(&id) {
            actions.extend((0..=node.writes.len()).map(|kept| Action::Crash(id, kept)));
        }
        let applied = node.machine.at.index > node.raft.log_start().index;
        if left.compactions > 0 && applied && node.writes.is_empty() {
            actions.push(Action::Compact(id));
        }
        let timer = self.bounds.timers.contains(&id);
        match self.bounds.time {
            Time::Apart if timer && left.steps > 0 => actions.push(Action::Wait(id)),
            Time::Together if timer && is_due(world, id, node) => actions.push(Action::Tick(id)),
            _ => {}
        }
        if left.beats > 0 {
            let others = (1..=self.bounds.nodes).filter(|other| *other != id);
            actions.extend(others.map(|other| Action::Beat(id, other)));
        }
        if node.raft.role() == Role::Leader {
            self.actions_of_leader(world, id, actions);
        }
    }

    fn actions_of_leader(&self, world: &World, id: u64, actions: &mut Vec<Action>) {
        let left = &world.left;
        if left.proposals > 0 {
            actions.push(Action::Propose(id));
        }
        if left.reads > 0 {
            actions.push(Action::Read(id));
        }
        if left.transfers > 0 || self.mutation == Some(Mutation::BypassesLeader) {
            let others = (1..=self.bounds.nodes).filter(|other| *other != id);
            actions.extend(others.map(|other| Action::Transfer(id, other)));
        }
        if left.changes > 0 {
            actions.extend((0..self.bounds.changes.len()).map(|which| Action::Change(id, which)));
        }
    }
}

impl Model for Cluster {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        self.start.clone()
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        if !world.truth.broken.is_empty() {
            return;
        }
        for packet in world.network.iter() {
            if !world.nodes[packet.to() as usize - 1].heard.contains(&packet.digest()) {
                actions.push(Action::Deliver(packet.clone()));
            }
            if matches!(**packet, Packet::Snapshot { .. }) {
                actions.push(Action::Fail(packet.clone()));
            }
        }
        if self.bounds.time == Time::Together && world.left.steps > 0 {
            actions.push(Action::Pass);
        }
        for id in 1..=self.bounds.nodes {
            self.actions_of(world, id, actions);
        }
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        if let Action::Deliver(packet) = &action
            && self.pools.idle.has(world, packet)
        {
            return None;
        }
        let next = catch_unwind(AssertUnwindSafe(|| self.try_next(world, &action)));
        next.unwrap_or_else(|panic| {
            let mut truth = (*world.truth).clone();
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
            truth.breaks(Law::Assertions, text.unwrap_or_default());
            Some(World { truth: self.pools.truths.share(truth), ..world.clone() })
        })
    }

    fn properties(&self) -> Vec<Property<Cluster>> {
        let laws = LAWS.iter().filter(|(law, _)| self.laws.contains(law));
        let laws = laws.map(|(law, name)| Property::always(name, watch(*law)));
        let marks = MARKS.iter().filter(|(mark, _)| self.marks.contains(mark));
        let marks = marks.map(|(mark, name)| Property::sometimes(name, look_for(*mark)));
        laws.chain(marks).collect()
    }

    fn within_boundary(&self, world: &World) -> bool {
        world.nodes.iter().all(|node| node.raft.term().0 <= self.bounds.term_max)
    }
}

type Condition = fn(&Cluster, &World) -> bool;

/// Properties are plain functions, one for each law.
fn watch(law: Law) -> Condition {
    match law {
        Law::ElectionSafety => |_, world| world.truth.keeps(Law::ElectionSafety),
        Law::LeaderCompleteness => |_, world| world.truth.keeps(Law::LeaderCompleteness),
        Law::LogMatching => |_, world| world.truth.keeps(Law::LogMatching),
        Law::StateMachineSafety => |_, world| world.truth.keeps(Law::StateMachineSafety),
        Law::CommitStands => |_, world| world.truth.keeps(Law::CommitStands),
        Law::DurableFirst => |_, world| world.truth.keeps(Law::DurableFirst),
        Law::NoStaleRead => |_, world| world.truth.keeps(Law::NoStaleRead),
        Law::Assertions => |_, world| world.truth.keeps(Law::Assertions),
    }
}

/// And one for each mark.
fn look_for(mark: Mark) -> Condition {
    match mark {
        Mark::FirstLeader => |cluster, _| cluster.reached.has(Mark::FirstLeader),
        Mark::LaterLeader => |cluster, _| cluster.reached.has(Mark::LaterLeader),
        Mark::TwoLeaders => |cluster, _| cluster.reached.has(Mark::TwoLeaders),
        Mark::LostWrites => |cluster, _| cluster.reached.has(Mark::LostWrites),
        Mark::Truncated => |cluster, _| cluster.reached.has(Mark::Truncated),
        Mark::JointCommitted => |cluster, _| cluster.reached.has(Mark::JointCommitted),
        Mark::JointLeft => |cluster, _| cluster.reached.has(Mark::JointLeft),
        Mark::Promoted => |cluster, _| cluster.reached.has(Mark::Promoted),
        Mark::SnapshotInstalled => |cluster, _| cluster.reached.has(Mark::SnapshotInstalled),
        Mark::RoundRead => |cluster, _| cluster.reached.has(Mark::RoundRead),
        Mark::LeaseRead => |cluster, _| cluster.reached.has(Mark::LeaseRead),
        Mark::StaleLeaseRefused => |cluster, _| cluster.reached.has(Mark::StaleLeaseRefused),
        Mark::SupportRegained => |cluster, _| cluster.reached.has(Mark::SupportRegained),
        Mark::Transferred => |cluster, _| cluster.reached.has(Mark::Transferred),
    }
}

/// The support that holds in a world, by granter and requester.
fn support_in(world: &World) -> BTreeMap<(u64, u64), SupportEpoch> {
    let mut support = BTreeMap::new();
    for (id, node) in (1..).zip(&world.nodes) {
        let now = crate::turn::now_of(world, id).mono;
        for other in 1..=world.nodes.len() as u64 {
            if let Some(grant) = node.liveness.supports(NodeId(other), now) {
                support.insert((id, other), grant.epoch);
            }
        }
    }
    support
}

/// A seed whose first two draws of an election timeout are `wait`.
fn seed_drawing(wait: u64) -> u64 {
    let draws = |seed: &u64| {
        let mut random = Random::new(*seed);
        (0..2).all(|_| random.between(STEP, 3 * STEP) == wait)
    };
    (0..).find(draws).expect("there are many")
}
