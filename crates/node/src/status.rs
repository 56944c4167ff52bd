//! How the node is, for those who ask.

use crate::api::{NodeStatus, Status};
use crate::node::Node;
use base::{Index, NodeId, ShardId, Stamp, Term, Time};
use protocols::raft::TimeSource;

/// A replica in numbers that are cheap to have, for those who watch every turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observed {
    /// The shard.
    pub shard: ShardId,
    /// Whether the replica here leads.
    pub leads: bool,
    /// Raft's term.
    pub term: Term,
    /// The highest index known to be committed.
    pub commit: Index,
    /// The highest index applied here.
    pub applied: Index,
    /// The stamp of the entry there.
    pub stamp: Stamp,
    /// How a leader came to know the shard's time, if it does.
    pub time_source: Option<TimeSource>,
    /// Whether a membership change has two majorities now.
    pub joint: bool,
    /// How reads were dealt with here so far.
    pub reads: ReadCounts,
}

/// How a replica's strong reads began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadCounts {
    /// Reads for which the leader's lease was enough.
    pub leased: u64,
    /// Rounds that confirmed the leadership.
    pub confirmed: u64,
    /// Reads that were refused because it had ended.
    pub refused: u64,
}

impl Node {
    /// How this node and its shards are.
    pub fn status(&self, now: Time) -> Status {
        Status {
            cluster: self.identity.cluster,
            node: self.core.me,
            incarnation: self.identity.incarnation,
            version: self.boot.version.clone(),
            uptime_ms: now.mono.since(self.boot.started) / base::time::MILLISECOND,
            nodes: self.node_statuses(now),
            shards: self.shards.values().map(|shard| shard.status(self.core.me)).collect(),
            disk_full: self.core.disk_full(),
            requests_waiting: self.clients.waiting() as u64,
            memory_bytes: self.core.engine.memory_bytes() as u64,
            unflushed_bytes: self.core.engine.unflushed_bytes() as u64,
            memtables_full: self.core.memtables_full(),
        }
    }

    /// Its replicas, in order of their shards.
    pub fn observe(&self) -> impl Iterator<Item = Observed> {
        self.shards.values().map(|shard| shard.observe())
    }

    fn node_statuses(&self, now: Time) -> Vec<NodeStatus> {
        let founders = self.identity.members.iter().map(|(node, address)| NodeStatus {
            node: *node,
            address: address.clone(),
            ..NodeStatus::default()
        });
        let mut nodes: Vec<NodeStatus> =
            founders.filter(|status| !self.map.nodes.contains_key(&status.node)).collect();
        nodes.extend(self.map.nodes.values().map(|record| NodeStatus {
            node: record.node,
            incarnation: record.incarnation,
            address: record.peer_address.clone(),
            client_address: record.client_address.clone(),
            ..NodeStatus::default()
        }));
        for status in &mut nodes {
            status.live = self.is_live(status.node, now);
            status.clock_offset_ms = self.clock_offset_ms(status.node, now);
        }
        nodes.sort_by_key(|status| status.node);
        nodes
    }

    fn is_live(&self, node: NodeId, now: Time) -> bool {
        node == self.core.me || self.core.liveness.supported_by(node, now.mono).is_some()
    }

    fn clock_offset_ms(&self, node: NodeId, now: Time) -> Option<i64> {
        let theirs = self.core.liveness.clock_of(node, now.mono)?.0 as i128;
        Some(((theirs - i128::from(now.wall.0)) / 1_000_000) as i64)
    }
}
