//! What a full disk changes, here or at a peer.
//!
//! A write that takes space is refused before it enters a log that could not hold it on a quorum of
//! disks. So every node tells its peers whether its disk is full, and a leader counts the disks that
//! have room. What entered a log before that was known, and what frees space (deletes), goes into
//! the reserve of each node's log, on followers too: if they dropped it, the deletes behind it could
//! not be committed, and nothing would ever be freed.
//!
//! A full follower of a leader that has a quorum without it takes entries until its reserve is gone.
//! Then it drops them, falls behind and is sent a snapshot once it has room. A leader whose own disk
//! stays full hands its shards to a node that has room, if a quorum does.
//!
//! Deletes free space when tables are merged with them, so on a full disk what was applied becomes a
//! table soon, however little it is. That lets the log's segments go too. And they pass where full
//! memtables hold other writes up: what refuses those is a disk that is too slow, and it has nothing
//! to do now. How many deletes wait in memory is bounded by what is left of the log.

use crate::api::Call;
use crate::effect::Room;
use crate::node::Node;
use crate::peer::Message;
use base::{Mono, NodeId, ReplicaId, ShardId};
use protocols::raft;
use service::kv::Op;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How long a leader's disk is full before it gives its leaderships away: a merge of tables may be
/// about to make room.
const FULL_PATIENCE: Duration = Duration::from_secs(2);
/// How often a full disk's memtable becomes a table.
const FULL_FLUSH: Duration = Duration::from_secs(1);

/// Full disks as far as they are known.
#[derive(Debug, Default)]
pub(crate) struct Rooms {
    /// Since when this node's own disk has been full.
    full_since: Option<Mono>,
    /// When to write its memtable out.
    flush_at: Mono,
    /// Peers that said so.
    full: BTreeSet<NodeId>,
    counts: RoomCounts,
}

/// What was done here for want of room, for those who watch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RoomCounts {
    /// Handovers that were begun.
    pub left: u64,
    /// Snapshots that were refused.
    pub refused: u64,
}

impl Rooms {
    /// A peer's link is gone, and with it what the peer said.
    pub fn link_down(&mut self, node: NodeId) {
        self.full.remove(&node);
    }

    /// A snapshot was refused.
    pub fn snapshot_refused(&mut self) {
        self.counts.refused += 1;
    }
}

impl Node {
    /// The driver found the disk full, or no longer full.
    pub(crate) fn room_changed(&mut self, room: Room) {
        let was_full = self.core.disk_full();
        self.core.room = room;
        if self.core.disk_full() == was_full {
            return;
        }
        self.rooms.full_since = self.core.disk_full().then_some(self.core.now.mono);
        self.rooms.flush_at = self.core.now.mono;
        let links: Vec<NodeId> = self.links.iter().copied().collect();
        for node in links {
            self.core.send(node, &Message::DiskFull(self.core.disk_full()));
        }
    }

    /// What was done here for want of room.
    pub fn room_counts(&self) -> RoomCounts {
        self.rooms.counts
    }

    /// A link to a peer is up: it does not know yet how this node is.
    pub(crate) fn tell_room(&mut self, node: NodeId) {
        self.core.send(node, &Message::DiskFull(self.core.disk_full()));
    }

    /// A peer says how its disk is.
    pub(crate) fn peer_room(&mut self, node: NodeId, full: bool) {
        match full {
            true => self.rooms.full.insert(node),
            false => self.rooms.full.remove(&node),
        };
    }

    /// Whether a shard led here may take writes that need space: this disk has some, and so has a
    /// quorum of them.
    pub(crate) fn has_room(&self, id: ShardId) -> bool {
        !self.core.disk_full() && self.quorum_has_room(id)
    }

    fn quorum_has_room(&self, id: ShardId) -> bool {
        let membership = self.shards[&id].raft.membership();
        let majority = |voters: &BTreeMap<ReplicaId, NodeId>| {
            let full = voters.values().filter(|node| self.is_full(**node)).count();
            voters.is_empty() || voters.len() - full > voters.len() / 2
        };
        majority(&membership.voters) && majority(&membership.outgoing)
    }

    fn is_full(&self, node: NodeId) -> bool {
        match node == self.core.me {
            true => self.core.disk_full(),
            false => self.rooms.full.contains(&node),
        }
    }

    /// On a full disk, has what was applied become a table.
    pub(crate) fn flush_full_disk(&mut self) {
        let now = self.core.now.mono;
        if self.core.disk_full() && self.rooms.flush_at <= now && self.has_unflushed() {
            self.rooms.flush_at = now + FULL_FLUSH;
            self.flush.forced = true;
        }
    }

    /// Whether memtables are so full that a request must wait. On a full disk deletes need not.
    pub(crate) fn memtables_refuse(&self, call: &Call) -> bool {
        self.core.memtables_full() && fills(call) && (grows(call) || !self.core.disk_full())
    }

    /// Whether a leader's message brings more than this node can take now. The leader will ask again
    /// how far this log goes.
    pub(crate) fn too_much(&self, message: &raft::Message) -> bool {
        match self.core.room {
            Room::None => takes_space(message),
            // What memtables may hold besides is what still goes into the log.
            Room::Reserve => false,
            Room::Ample => self.core.memtables_full() && brings_entries(message),
        }
    }

    /// Hands over what is led here to nodes that have room.
    pub(crate) fn leave_full_disk(&mut self) {
        let since = self.rooms.full_since;
        if since.is_none_or(|since| self.core.now.mono < since + FULL_PATIENCE) {
            return;
        }
        let led = self.shards.iter().filter(|(_, shard)| shard.leads());
        let led: Vec<ShardId> = led.map(|(id, _)| *id).collect();
        for id in led.into_iter().filter(|id| self.quorum_has_room(*id)).collect::<Vec<_>>() {
            let Some(to) = self.roomy_voter(id) else { continue };
            let shard = self.shards.get_mut(&id).expect("just listed");
            if shard.transfer(&mut self.core, Some(to)).is_ok() {
                self.rooms.counts.left += 1;
                tracing::info!(node = %self.core.me, shard = %id, "the disk is full: {to} is to lead");
            }
        }
    }

    /// The voter that is furthest among those on live nodes with room.
    fn roomy_voter(&self, id: ShardId) -> Option<ReplicaId> {
        let status = self.shards[&id].raft.status();
        let fit = status.membership.voters.iter().filter(|(_, node)| {
            **node != self.core.me && self.links.contains(node) && !self.is_full(**node)
        });
        fit.map(|(replica, _)| *replica)
            .max_by_key(|replica| status.progress.get(replica).map(|progress| progress.matched))
    }
}

/// Whether a request may take more space than it frees: what a full disk refuses.
pub(crate) fn grows(call: &Call) -> bool {
    let frees = |op: &Op| !op.writes() || matches!(op, Op::Delete(_) | Op::Flush | Op::FlushAll);
    match call {
        Call::Kv(batch) | Call::Once { batch, .. } => !batch.ops.iter().all(|(_, op)| frees(op)),
        Call::SessionOpen { .. } => true,
        _ => false,
    }
}

/// Whether a request puts rows into memtables on a client's behalf.
fn fills(call: &Call) -> bool {
    match call {
        Call::Kv(batch) => batch.writes(),
        Call::Once { .. } | Call::SessionOpen { .. } => true,
        _ => false,
    }
}

/// Whether a message would put anything into this node's log.
fn brings_entries(message: &raft::Message) -> bool {
    matches!(&message.body, raft::Body::Append { entries, .. } if !entries.is_empty())
}

/// Whether a message would put more than a little into this node's log.
fn takes_space(message: &raft::Message) -> bool {
    const LITTLE: usize = 4 << 10;
    match &message.body {
        raft::Body::Append { entries, .. } => {
            entries.iter().map(base::Entry::cost).sum::<usize>() > LITTLE
        }
        _ => false,
    }
}
