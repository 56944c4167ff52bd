//! Sending a replica's state whole, and receiving it.

use crate::core::Core;
use crate::node::Node;
use base::{Bytes, NodeId, ReplicaId, ShardId};
use service::Space;

/// Snapshots under way in either direction.
#[derive(Debug, Default)]
pub(crate) struct Snapshots {}

impl Snapshots {
    pub fn link_up(&mut self, _core: &mut Core, _node: NodeId) {}
    pub fn acknowledged(&mut self, _shard: ShardId, _to: ReplicaId, _stream: u64, _next: u64) {}
}

impl Node {
    pub(crate) fn start_snapshot(&mut self, _shard: ShardId, _to: ReplicaId) {}
    pub(crate) fn send_rows(
        &mut self,
        _shard: ShardId,
        _to: ReplicaId,
        _scan: u64,
        _rows: Vec<(Space, Bytes, Bytes)>,
        _last: bool,
    ) {
    }
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn chunk(
        &mut self,
        _node: NodeId,
        _shard: ShardId,
        _from: ReplicaId,
        _to: ReplicaId,
        _stream: u64,
        _number: u64,
        _data: Bytes,
    ) {
    }
    pub(crate) fn installs_flushed(&mut self) {}
}
