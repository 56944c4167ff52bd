//! What clients, operators and fate do; and how a run ends.

use super::node::{Asked, Pending};
use super::profile::Deed;
use super::world::{Event, World};
use crate::judge::Judge;
use base::time::{MILLISECOND, SECOND};
use base::{Bytes, NodeId, ReplicaId};
use protocols::raft::{Change, Role};
use std::collections::BTreeSet;

/// After the faults, this many times a tenth of a second until there is service.
const RECOVERY_TENTHS: u64 = 80;
/// Appends that must be acknowledged by then.
const RECOVERED: u64 = 20;

impl World<'_> {
    /// Carries a deed out; what it leaves open is drawn.
    pub(super) fn meddle(&mut self, deed: Deed, whom: Option<NodeId>) {
        match (deed, whom) {
            (Deed::Crash, Some(victim)) if self.is_up(victim) => self.crash(victim),
            (Deed::CrashAll, _) => {
                let all = (1..=self.profile.nodes).map(NodeId);
                all.filter(|id| self.is_up(*id))
                    .collect::<Vec<_>>()
                    .into_iter()
                    .for_each(|id| self.crash(id));
            }
            (Deed::Pause, Some(victim)) if self.is_up(victim) => {
                let pause = self.random.between(MILLISECOND, self.profile.down_ns_max);
                self.node(victim).paused_until = self.t + pause;
                self.log(|| format!("{victim} pauses for {} ms", pause / MILLISECOND));
            }
            (Deed::Cut, alone) => self.cut(alone),
            (Deed::Mend, _) => {
                self.log(|| "all links are whole again".into());
                self.blocked.clear();
            }
            (Deed::Compact, Some(victim)) if self.is_up(victim) => self.compact(victim),
            (deed, Some(node)) => {
                let leaders = self.leaders();
                // In a script that was thinned out it may be another one that leads by now.
                let there = leaders.iter().find(|(home, _)| *home == node).or(leaders.first());
                if let Some((node, replica)) = there.copied() {
                    self.ask(deed, node, replica);
                }
            }
            _ => {}
        }
        for id in (1..=self.profile.nodes).map(NodeId) {
            self.plan_wake(id);
        }
    }

    /// Something for whoever believes to lead.
    fn ask(&mut self, deed: Deed, node: NodeId, replica: ReplicaId) {
        match deed {
            Deed::Transfer => {
                self.stats.transfers += 1;
                self.log(|| format!("{replica} is asked to hand over"));
                self.call(node, replica, |raft, ctx, effects| raft.transfer(ctx, None, effects));
            }
            Deed::Change => self.change(node, replica),
            Deed::Read => self.read(node, replica),
            Deed::Append => self.append(node, replica),
            _ => {}
        }
    }

    /// Whoever was just elected may not live for long.
    pub(super) fn doom(&mut self, id: NodeId) {
        let (fragile, within) = (self.profile.moods.fragile, self.profile.moods.fragile_ns);
        if fragile > 0 && self.random.chance(fragile, 100) {
            let delay = self.random.below(within);
            self.at(self.t + delay, id, Event::Die);
        }
    }

    pub(super) fn crash(&mut self, id: NodeId) {
        let node = self.nodes.get_mut(&id).expect("nodes stay");
        node.liveness = None;
        node.wake_at = u64::MAX;
        node.paused_until = 0;
        let mut refused = None;
        for replica in node.replicas.values_mut() {
            replica.end();
            // Of what was being written, some prefix is there.
            let kept = self.random.below(replica.writes.len() as u64 + 1) as usize;
            for (_, write) in replica.writes.drain(..).take(kept) {
                refused = replica.disk.write(write).err().or(refused);
            }
        }
        self.stats.crashes += 1;
        self.log(|| format!("{id} crashes"));
        if let Some(refused) = refused {
            self.fail(Judge::Assertion, refused);
        }
        let delay = self.random.between(MILLISECOND, self.profile.down_ns_max);
        self.restart_after(delay, id);
    }

    /// Whoever believes to lead.
    pub(super) fn leaders(&self) -> Vec<(NodeId, ReplicaId)> {
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

    /// One node is cut off, or any half.
    fn cut(&mut self, alone: Option<NodeId>) {
        self.blocked.clear();
        let all: Vec<NodeId> = (1..=self.profile.nodes).map(NodeId).collect();
        if self.profile.moods.frayed && self.random.chance(1, 2) {
            return self.fray(&all);
        }
        let side: BTreeSet<NodeId> = match alone {
            Some(alone) => [alone].into(),
            None => all.iter().copied().filter(|_| self.random.chance(1, 2)).collect(),
        };
        let (out, back) = [(true, true), (true, true), (true, false), (false, true)]
            [self.random.below(4) as usize];
        for a in side.iter() {
            for b in all.iter().filter(|b| !side.contains(b)) {
                if out {
                    self.blocked.insert((*a, *b));
                }
                if back {
                    self.blocked.insert((*b, *a));
                }
            }
        }
        self.log(|| format!("cut off {side:?}: out {out}, back {back}"));
    }

    /// Any pair may not hear each other.
    fn fray(&mut self, all: &[NodeId]) {
        for (at, a) in all.iter().enumerate() {
            for b in &all[at + 1..] {
                if self.random.chance(1, 3) {
                    self.blocked.extend([(*a, *b), (*b, *a)]);
                }
            }
        }
        self.log(|| "some pairs are cut off from each other".into());
    }

    fn append(&mut self, node: NodeId, replica: ReplicaId) {
        let values = self.random.between(1, 4);
        self.log(|| format!("{values} values for {replica}"));
        for _ in 0..values {
            self.values += 1;
            let value = self.values;
            let mut data = value.to_le_bytes().to_vec();
            data.resize(8 + self.random.below(100) as usize, 0);
            let taken = self.call(node, replica, |raft, ctx, _| {
                let (index, _) = raft.propose(ctx, Bytes::from(data), 1).ok()?;
                Some(Pending { index, term: raft.term(), value })
            });
            match taken.flatten() {
                Some(pending) => self.replica(node, replica).pending.push_back(pending),
                None => {
                    let told = self.history.not_done(value);
                    self.client(told);
                }
            }
        }
        self.call(node, replica, |raft, ctx, effects| raft.flush(ctx, effects));
        self.plan_wake(node);
    }

    fn read(&mut self, node: NodeId, replica: ReplicaId) {
        self.log(|| format!("{replica} is read from"));
        let (committed, floor) = (self.truth.commit(), self.history.floor());
        let asked = self.call(node, replica, |raft, ctx, _| raft.read_index(ctx));
        if let Some(Ok(id)) = asked {
            self.replica(node, replica).asked.push(Asked { id, committed, floor });
        }
        self.call(node, replica, |raft, ctx, effects| raft.flush(ctx, effects));
    }

    fn compact(&mut self, id: NodeId) {
        let mut wanted = Vec::new();
        for (id, replica) in &mut self.node(id).replicas {
            // The state machine is flushed no further than the log is durable.
            let (applied, durable) = (&replica.machine.applied, &mut replica.disk.machine);
            if applied.index <= replica.disk.log_start.index.max(last_of(&replica.disk.entries))
                && applied.index > durable.applied.index
            {
                *durable = replica.machine.clone();
            }
            wanted.push((*id, replica.disk.machine.applied.index));
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
            (1..=self.profile.nodes).map(NodeId).filter(|node| !homes.contains(node)).collect();
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
        for id in (1..=self.profile.nodes).map(NodeId) {
            self.node(id).paused_until = 0;
            self.node(id).sync_ns = MILLISECOND;
            if !self.is_up(id) {
                self.start(id);
            }
        }
    }

    /// With everything healed, the shard serves, converges and falls silent.
    pub(super) fn check_progress(&mut self) {
        self.heal();
        let enough = self.history.acknowledged + RECOVERED;
        for _ in 0..RECOVERY_TENTHS {
            self.run_until(self.t + 100 * MILLISECOND);
            if self.history.acknowledged >= enough || self.is_over() {
                break;
            }
            for (node, replica) in self.leaders() {
                self.append(node, replica);
            }
        }
        // Messages from before may still be on their way for a while; and a snapshot that came, but whose
        // answer was lost, is given up and sent again.
        let streams = 2 * self.profile.moods.stream_ns_max + self.profile.moods.stream_patience_ns;
        let calm = (streams + SECOND).max(3 * SECOND);
        self.run_until(self.t + calm);
        self.stats.appends = self.history.acknowledged;
        if self.is_over() {
            return;
        }
        if self.history.acknowledged < enough {
            let what = "appends are not served after all faults were gone".into();
            return self.fail(Judge::Client, what);
        }
        self.check_convergence(calm);
        let sent = self.raft_messages;
        self.run_until(self.t + SECOND);
        if self.raft_messages != sent {
            let what = format!("an idle shard sends {} messages", self.raft_messages - sent);
            self.fail(Judge::Watch, what);
        }
    }

    /// There is a leader, its members hold what it holds, and no change is left half-way, after so
    /// many nanoseconds in which nothing was asked for.
    fn check_convergence(&mut self, calm: u64) {
        let leaders = self.leaders();
        let highest = leaders.into_iter().max_by_key(|(node, id)| self.raft(*node, *id).term());
        let Some((node, id)) = highest else {
            return self.fail(Judge::Client, "nobody leads after all faults are gone".into());
        };
        let leader = self.raft(node, id);
        if leader.membership().is_joint() {
            return self.fail(Judge::Client, "a change of membership does not end".into());
        }
        let held = |(replica, home): &(ReplicaId, NodeId)| {
            let replica = self.nodes[home].replicas.get(replica);
            replica.is_some_and(|replica| replica.machine.list == *self.history.longest())
        };
        let behind = leader.membership().all().into_iter().find(|member| !held(member));
        if let Some((replica, _)) = behind {
            let known = leader.status().progress.get(&replica).cloned();
            let what = format!("{replica} does not catch up: {known:?}");
            return self.fail(Judge::Client, what);
        }
        let stamp = self.nodes[&node].replicas[&id].machine.applied.stamp;
        // A quorum's clocks may be slow, if the others are out of reach for long.
        let lags = stamp.0 + calm + 5 * SECOND <= super::node::EPOCH + self.t;
        if lags && self.stats.slow_steps == 0 {
            self.fail(Judge::Client, "stamps lag behind true time".into());
        }
    }
}

fn last_of(entries: &[base::Entry]) -> base::Index {
    entries.last().map(|entry| entry.index).unwrap_or_default()
}
