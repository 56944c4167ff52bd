//! What a node does on its own account: tells the cluster who it is, follows the cluster's map,
//! replaces lost replicas where it leads, looks for what is due, and leaves in good order.

use crate::api::Call;
use crate::core::Origin;
use crate::effect::Effect;
use crate::node::{KV, META, Node};
use base::{Incarnation, NodeId, ReplicaId, ShardId};
use protocols::raft::{Change, Role};
use service::command::Command;
use service::meta::{self, NodeRecord, ShardKind, ShardRecord};
use std::time::Duration;

/// The peer protocol's and the log's versions that this build speaks.
const PROTOCOL: (u32, u32) = (1, 1);
/// The apply level that this build supports (DESIGN section 6, Versions).
const APPLY_LEVEL: u32 = 1;

impl Node {
    /// Called every housekeeping period.
    pub(crate) fn control(&mut self) {
        let now = self.core.now.mono;
        if now < self.control_at {
            return;
        }
        self.control_at = now + Duration::from_nanos(self.core.options.sweep_ns);
        self.tend_snapshots();
        self.register();
        self.replace_replicas();
        self.forget_gone_replicas();
        self.leave_full_disk();
        self.flush_full_disk();
        self.sweep();
    }

    /// The meta shard's leader writes the first map, and every node its own record, whenever the
    /// map does not say what is true.
    fn register(&mut self) {
        let Some(meta) = self.shards.get(&META) else { return };
        if meta.loading || self.core.stopping {
            return;
        }
        let own = self.own_record();
        if meta.leads() && self.map.nodes.is_empty() {
            self.propose_first_map();
        } else if !self.map.nodes.is_empty()
            && self.map.nodes.get(&self.core.me).is_none_or(|r| differs(r, &own))
        {
            self.ask_meta(Call::Register(own));
        }
    }

    /// A second one changes nothing.
    pub(crate) fn propose_first_map(&mut self) {
        let command = self.first_map();
        self.propose_own(META, &Command::Meta(command));
    }

    fn own_record(&self) -> NodeRecord {
        NodeRecord {
            node: self.core.me,
            incarnation: self.identity.incarnation,
            peer_address: self.identity.members.get(&self.core.me).cloned().unwrap_or_default(),
            client_address: self.boot.client_address.clone(),
            protocol_min: PROTOCOL.0,
            protocol_max: PROTOCOL.1,
            apply_level: APPLY_LEVEL,
            ..NodeRecord::default()
        }
    }

    fn first_map(&self) -> meta::Command {
        let nodes = self.identity.members.iter().map(|(node, address)| NodeRecord {
            node: *node,
            incarnation: Incarnation::default(),
            peer_address: address.clone(),
            protocol_min: PROTOCOL.0,
            protocol_max: PROTOCOL.1,
            apply_level: 0,
            ..NodeRecord::default()
        });
        meta::Command::Init {
            cluster: self.identity.cluster,
            nodes: nodes.collect(),
            shards: founding_shards(),
        }
    }

    fn propose_own(&mut self, id: ShardId, command: &Command) {
        if let Some(shard) = self.shards.get_mut(&id) {
            shard.propose(Origin::Own, command);
        }
    }

    /// A wish of this node for the meta shard; nobody waits, and the next round asks again.
    fn ask_meta(&mut self, call: Call) {
        let Some(meta) = self.shards.get(&META) else { return };
        match (meta.leads(), meta.leader) {
            (true, _) => {
                if let Call::Register(record) = call {
                    let command = Command::Meta(meta::Command::Register(record));
                    self.propose_own(META, &command);
                }
            }
            (false, Some(leader)) if leader != self.core.me => self.forward_own(META, leader, call),
            _ => {}
        }
    }

    /// Where this node leads: a replica whose node has a new data directory is replaced by a fresh
    /// one, which learns first and votes once it has caught up.
    fn replace_replicas(&mut self) {
        let ids: Vec<ShardId> = self.shards.keys().copied().collect();
        for id in ids {
            let shard = &self.shards[&id];
            if !shard.leads() {
                continue;
            }
            if let Some(change) = self.wanted_change(id) {
                let shard = self.shards.get_mut(&id).expect("just listed");
                match shard.raft.propose_membership(self.core.context(), &change) {
                    Ok((index, _)) => tracing::info!(
                        node = %self.core.me, shard = %id, %index, "changing the membership: {change:?}"
                    ),
                    Err(error) => tracing::debug!(shard = %id, "not now: {error:?}"),
                }
            }
        }
    }

    fn wanted_change(&self, id: ShardId) -> Option<Change> {
        let shard = &self.shards[&id];
        let membership = shard.raft.membership();
        if membership.is_joint() {
            return None;
        }
        for (replica, node) in membership.voters.iter().chain(&membership.learners) {
            if let Some(fresh) = self.successor(*replica, *node) {
                return Some(Change {
                    remove: [*replica].into(),
                    add_learners: [(fresh, *node)].into(),
                    ..Change::default()
                });
            }
        }
        let caught_up = |replica: &&ReplicaId| shard.raft.is_caught_up(**replica);
        let ready = membership.learners.keys().find(caught_up)?;
        Some(Change { promote: [*ready].into(), ..Change::default() })
    }

    /// The replica that follows one whose data directory was replaced. Its id is the new directory's
    /// incarnation, which is drawn at random and never comes again. Founders have their node's number.
    fn successor(&self, replica: ReplicaId, node: NodeId) -> Option<ReplicaId> {
        let gone = self.map.is_gone(replica, node);
        let record = self.map.nodes.get(&node).filter(|_| gone)?;
        Some(ReplicaId(record.incarnation.0))
    }

    /// Nobody waits for a replica whose data directory was replaced: it will not answer.
    fn forget_gone_replicas(&mut self) {
        if self.map.dead.is_empty() {
            return;
        }
        for shard in self.shards.values_mut() {
            shard.raft.forget(|replica, node| self.map.is_gone(replica, node));
        }
    }

    fn sweep(&mut self) {
        for shard in self.shards.values() {
            if shard.leads() && !shard.loading {
                let due = shard.machine.due_spans(shard.raft.shard_time(self.core.context()));
                self.scans.sweep(&mut self.core, &shard.descriptor, due);
            }
        }
    }

    /// Leaves: leaderships go to others first.
    pub(crate) fn stop(&mut self) {
        self.core.stopping = true;
        for shard in self.shards.values_mut().filter(|shard| shard.leads()) {
            if let Err(error) = shard.transfer(&mut self.core, None) {
                tracing::info!(shard = %shard.id, "leadership stays until the end: {error:?}");
            }
        }
        self.stop_by = Some(self.core.now.mono + Duration::from_secs(2));
    }

    /// Says so once nothing holds this node back any more.
    pub(crate) fn stop_if_ready(&mut self) {
        let Some(by) = self.stop_by else { return };
        let leads = self.shards.values().any(|shard| shard.role == Role::Leader);
        let alone = self.identity.members.len() == 1;
        if !leads || alone || self.core.now.mono >= by {
            self.stop_by = None;
            self.core.effects.push(Effect::Stopped);
        }
    }
}

fn differs(known: &NodeRecord, own: &NodeRecord) -> bool {
    known.incarnation != own.incarnation
        || known.client_address != own.client_address
        || known.apply_level != own.apply_level
}

fn founding_shards() -> Vec<ShardRecord> {
    [(META, ShardKind::Meta), (KV, ShardKind::Kv)]
        .map(|(shard, kind)| ShardRecord { shard, kind, name: kind.name().into() })
        .to_vec()
}
