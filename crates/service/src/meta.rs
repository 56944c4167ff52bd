//! The cluster's own records, kept by the `meta` shard: which nodes there are, which life of which
//! data directory each of them is, which shards there are, and which apply level all nodes share.
//!
//! A node's *incarnation* is drawn when its data directory is formatted. The first one that a node
//! registers with is pinned; another one is refused by name until an operator replaces the node,
//! which declares the old one dead for ever. So a wiped disk never comes back with a vote it forgot.
//!
//! The *apply level* says which commands may enter logs. It is the lowest level that every node
//! supports, it never sinks, and a node that does not reach it is refused.
//!
//! Everything is small and read on every step of a node, so the [`ClusterMap`] in memory is the
//! whole of it; rows are written for whoever starts next.

use crate::{Change, Changes, RowKey, Space};
use base::codec::{DecodeError, Reader, Writer};
use base::{Bytes, ClusterId, Incarnation, NodeId, ReplicaId, ShardId};
use std::collections::{BTreeMap, BTreeSet};

/// The space of the cluster's records.
pub const SPACE: Space = Space(1);

const FORMAT: u8 = 1;
const TAG_CLUSTER: u8 = 1;
const TAG_NODE: u8 = 2;
const TAG_SHARD: u8 = 3;
const TAG_DEAD: u8 = 4;

/// Longest address or name.
const TEXT_BYTES_MAX: usize = 1 << 10;

/// What the cluster knows of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct NodeRecord {
    /// Its id.
    pub node: NodeId,
    /// Its data directory's life; 0 until it registers.
    pub incarnation: Incarnation,
    /// Where peers reach it.
    pub peer_address: String,
    /// Where RESP clients reach it; empty if it did not say.
    pub client_address: String,
    /// Where HTTP clients reach it; empty if it did not say.
    pub http_address: String,
    /// The oldest peer protocol that it speaks.
    pub protocol_min: u32,
    /// The newest peer protocol that it speaks.
    pub protocol_max: u32,
    /// The highest apply level that it supports; 0 until it registers.
    pub apply_level: u32,
}

/// What a shard is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ShardKind {
    /// The cluster's own records.
    Meta,
    /// Key-value buckets and sessions.
    Kv,
}

impl ShardKind {
    /// "meta" or "kv".
    pub fn name(self) -> &'static str {
        match self {
            ShardKind::Meta => "meta",
            ShardKind::Kv => "kv",
        }
    }
}

/// What the cluster knows of a shard.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ShardRecord {
    /// Its id.
    pub shard: ShardId,
    /// What it is for.
    pub kind: ShardKind,
    /// Its name, for people.
    pub name: String,
}

/// A command of the `meta` shard.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    /// Makes the cluster; once. A repeat changes nothing.
    Init {
        /// The cluster.
        cluster: ClusterId,
        /// Its nodes; an incarnation of 0 is pinned when the node registers.
        nodes: Vec<NodeRecord>,
        /// Its shards.
        shards: Vec<ShardRecord>,
    },
    /// A node says how it is.
    Register(NodeRecord),
    /// An operator says that a node's data directory is a new one.
    Replace {
        /// The node.
        node: NodeId,
        /// The new directory's life.
        incarnation: Incarnation,
    },
}

/// What a command of the `meta` shard answers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// Done, or done before.
    Done,
    /// The cluster is another one.
    OtherCluster(ClusterId),
    /// There is no such node.
    UnknownNode(NodeId),
    /// The node is pinned to another life of its data directory.
    OtherIncarnation {
        /// The node.
        node: NodeId,
        /// The life that it is pinned to.
        pinned: Incarnation,
    },
    /// This life of the node's data directory was replaced; it never comes back.
    DeadIncarnation {
        /// The node.
        node: NodeId,
        /// The life that it is pinned to now.
        pinned: Incarnation,
    },
    /// The cluster's apply level is higher than what the node supports.
    LevelTooLow {
        /// The cluster's.
        needed: u32,
        /// The node's.
        supported: u32,
    },
    /// The record can't be right.
    Invalid(&'static str),
}

/// The cluster's records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterMap {
    /// The cluster; `None` until it is made.
    pub cluster: Option<ClusterId>,
    /// What every node can apply.
    pub apply_level: u32,
    /// Its nodes.
    pub nodes: BTreeMap<NodeId, NodeRecord>,
    /// Its shards.
    pub shards: BTreeMap<ShardId, ShardRecord>,
    /// Lives of data directories that were replaced; 0 for a founder that never came.
    pub dead: BTreeSet<(NodeId, Incarnation)>,
}

impl ClusterMap {
    /// The map that `rows` (keys in [`SPACE`] with their rows) hold.
    pub fn load(rows: impl Iterator<Item = (Bytes, Bytes)>) -> Result<ClusterMap, DecodeError> {
        let mut map = ClusterMap::default();
        for (key, row) in rows {
            map.load_row(key, row)?;
        }
        Ok(map)
    }

    fn load_row(&mut self, key: Bytes, row: Bytes) -> Result<(), DecodeError> {
        let (mut key, mut row) = (Reader::new(key), Reader::new(row));
        let format = row.u8()?;
        if format != FORMAT {
            return Err(DecodeError::unknown("cluster record format", format));
        }
        match key.u8()? {
            TAG_CLUSTER => {
                self.cluster = Some(ClusterId(row.u128()?));
                self.apply_level = row.u32()?;
            }
            TAG_NODE => {
                let node = NodeRecord::decode(&mut row)?;
                self.nodes.insert(node.node, node);
            }
            TAG_SHARD => {
                let shard = ShardRecord::decode(&mut row)?;
                self.shards.insert(shard.shard, shard);
            }
            TAG_DEAD => {
                let (node, incarnation) = (crate::row::big_endian(&mut key)?, row.u64()?);
                self.dead.insert((NodeId(node), Incarnation(incarnation)));
            }
            seen => return Err(DecodeError::unknown("cluster record", seen)),
        }
        row.end()
    }

    /// Appends the whole map to `out`.
    pub fn encode(&self, out: &mut Writer) {
        out.option(self.cluster, |out, cluster| out.u128(cluster.0));
        out.u32(self.apply_level);
        out.u32(self.nodes.len() as u32);
        self.nodes.values().for_each(|node| node.encode(out));
        out.u32(self.shards.len() as u32);
        self.shards.values().for_each(|shard| shard.encode(out));
        out.u32(self.dead.len() as u32);
        for (node, incarnation) in &self.dead {
            out.u64(node.0);
            out.u64(incarnation.0);
        }
    }

    /// The inverse of [`ClusterMap::encode`].
    pub fn decode(r: &mut Reader) -> Result<ClusterMap, DecodeError> {
        let cluster = r.option(|r| Ok(ClusterId(r.u128()?)))?;
        let mut map = ClusterMap { cluster, apply_level: r.u32()?, ..ClusterMap::default() };
        for _ in 0..r.u32()? {
            let node = NodeRecord::decode(r)?;
            map.nodes.insert(node.node, node);
        }
        for _ in 0..r.u32()? {
            let shard = ShardRecord::decode(r)?;
            map.shards.insert(shard.shard, shard);
        }
        for _ in 0..r.u32()? {
            map.dead.insert((NodeId(r.u64()?), Incarnation(r.u64()?)));
        }
        Ok(map)
    }

    /// Whether a replica lived in a data directory that was replaced, and so is gone for good.
    /// Founders' replicas have their node's number, all later ones the directory's incarnation.
    pub fn is_gone(&self, replica: ReplicaId, node: NodeId) -> bool {
        let founder = replica.0 == node.0;
        let here = |incarnation: Incarnation| founder || incarnation.0 == replica.0;
        self.dead.iter().any(|(dead, incarnation)| *dead == node && here(*incarnation))
    }

    /// Whether `incarnation` is the life that `node` is pinned to. What is not pinned yet is.
    pub fn is_pinned(&self, node: NodeId, incarnation: Incarnation) -> bool {
        let pinned = self.nodes.get(&node).map(|record| record.incarnation);
        let dead = self.dead.contains(&(node, incarnation));
        !dead && pinned.is_some_and(|it| it == incarnation || it == Incarnation(0))
    }

    /// Applies `command`.
    pub fn apply(&mut self, command: &Command, changes: &mut Changes) -> Answer {
        let done = match command {
            Command::Init { cluster, nodes, shards } => self.init(*cluster, nodes, shards, changes),
            Command::Register(record) => self.register(record, changes),
            Command::Replace { node, incarnation } => self.replace(*node, *incarnation, changes),
        };
        done.err().unwrap_or(Answer::Done)
    }

    fn init(
        &mut self,
        cluster: ClusterId,
        nodes: &[NodeRecord],
        shards: &[ShardRecord],
        changes: &mut Changes,
    ) -> Result<(), Answer> {
        if let Some(known) = self.cluster {
            return if known == cluster { Ok(()) } else { Err(Answer::OtherCluster(known)) };
        }
        nodes.iter().try_for_each(check_node)?;
        if shards.iter().any(|shard| shard.name.len() > TEXT_BYTES_MAX) {
            return Err(Answer::Invalid("name"));
        }
        self.cluster = Some(cluster);
        for record in nodes {
            self.put_node(record.clone(), changes);
        }
        for record in shards {
            let row = encoded(|out| record.encode(out));
            changes.push(Change::Put(place(TAG_SHARD, &[record.shard.0]), row));
            self.shards.insert(record.shard, record.clone());
        }
        self.apply_level = self.shared_level();
        self.put_cluster(changes);
        Ok(())
    }

    fn register(&mut self, record: &NodeRecord, changes: &mut Changes) -> Result<(), Answer> {
        check_node(record)?;
        let node = record.node;
        let Some(known) = self.nodes.get(&node) else { return Err(Answer::UnknownNode(node)) };
        let pinned = known.incarnation;
        if self.dead.contains(&(node, record.incarnation)) {
            return Err(Answer::DeadIncarnation { node, pinned });
        }
        if pinned != Incarnation(0) && pinned != record.incarnation {
            return Err(Answer::OtherIncarnation { node, pinned });
        }
        if record.incarnation == Incarnation(0) {
            return Err(Answer::Invalid("incarnation"));
        }
        if record.apply_level < self.apply_level {
            let (needed, supported) = (self.apply_level, record.apply_level);
            return Err(Answer::LevelTooLow { needed, supported });
        }
        self.put_node(record.clone(), changes);
        if self.shared_level() > self.apply_level {
            self.apply_level = self.shared_level();
            self.put_cluster(changes);
        }
        Ok(())
    }

    fn replace(
        &mut self,
        node: NodeId,
        incarnation: Incarnation,
        changes: &mut Changes,
    ) -> Result<(), Answer> {
        let Some(known) = self.nodes.get(&node) else { return Err(Answer::UnknownNode(node)) };
        let pinned = known.incarnation;
        if pinned == incarnation {
            return Ok(());
        }
        if incarnation == Incarnation(0) {
            return Err(Answer::Invalid("incarnation"));
        }
        if self.dead.contains(&(node, incarnation)) {
            return Err(Answer::DeadIncarnation { node, pinned });
        }
        // Of a node that never came, it is the founder it would have been (0): its replicas, too,
        // must make way for fresh ones.
        self.dead.insert((node, pinned));
        let row = encoded(|out| out.u64(pinned.0));
        changes.push(Change::Put(place(TAG_DEAD, &[node.0, pinned.0]), row));
        let record = NodeRecord { incarnation, ..known.clone() };
        self.put_node(record, changes);
        Ok(())
    }

    /// The lowest level that every node supports.
    fn shared_level(&self) -> u32 {
        self.nodes.values().map(|record| record.apply_level).min().unwrap_or(0)
    }

    fn put_node(&mut self, record: NodeRecord, changes: &mut Changes) {
        let row = encoded(|out| record.encode(out));
        changes.push(Change::Put(place(TAG_NODE, &[record.node.0]), row));
        self.nodes.insert(record.node, record);
    }

    fn put_cluster(&self, changes: &mut Changes) {
        let Some(cluster) = self.cluster else { return };
        let row = encoded(|out| {
            out.u128(cluster.0);
            out.u32(self.apply_level);
        });
        changes.push(Change::Put(place(TAG_CLUSTER, &[]), row));
    }
}

fn check_node(record: &NodeRecord) -> Result<(), Answer> {
    let texts = [&record.peer_address, &record.client_address, &record.http_address];
    if texts.iter().any(|text| text.len() > TEXT_BYTES_MAX) {
        return Err(Answer::Invalid("address"));
    }
    if record.protocol_min > record.protocol_max {
        return Err(Answer::Invalid("protocol range"));
    }
    Ok(())
}

fn place(tag: u8, numbers: &[u64]) -> RowKey {
    let mut out = Writer::with_capacity(17);
    out.u8(tag);
    numbers.iter().for_each(|number| out.raw(&number.to_be_bytes()));
    RowKey { space: SPACE, key: out.finish() }
}

fn encoded(write: impl FnOnce(&mut Writer)) -> Bytes {
    let mut out = Writer::new();
    out.u8(FORMAT);
    write(&mut out);
    out.finish()
}

fn text(reader: &mut Reader) -> Result<String, DecodeError> {
    String::from_utf8(reader.blob()?.to_vec()).map_err(|_| DecodeError::Invalid("text"))
}

impl NodeRecord {
    /// Appends the record to `out`.
    pub fn encode(&self, out: &mut Writer) {
        out.u64(self.node.0);
        out.u64(self.incarnation.0);
        out.blob(self.peer_address.as_bytes());
        out.blob(self.client_address.as_bytes());
        out.blob(self.http_address.as_bytes());
        out.u32(self.protocol_min);
        out.u32(self.protocol_max);
        out.u32(self.apply_level);
    }

    /// The inverse of [`NodeRecord::encode`].
    pub fn decode(reader: &mut Reader) -> Result<NodeRecord, DecodeError> {
        Ok(NodeRecord {
            node: NodeId(reader.u64()?),
            incarnation: Incarnation(reader.u64()?),
            peer_address: text(reader)?,
            client_address: text(reader)?,
            http_address: text(reader)?,
            protocol_min: reader.u32()?,
            protocol_max: reader.u32()?,
            apply_level: reader.u32()?,
        })
    }
}

impl ShardRecord {
    fn encode(&self, out: &mut Writer) {
        out.u64(self.shard.0);
        out.u8(match self.kind {
            ShardKind::Meta => 0,
            ShardKind::Kv => 1,
        });
        out.blob(self.name.as_bytes());
    }

    fn decode(reader: &mut Reader) -> Result<ShardRecord, DecodeError> {
        let shard = ShardId(reader.u64()?);
        let kind = match reader.u8()? {
            0 => ShardKind::Meta,
            1 => ShardKind::Kv,
            seen => return Err(DecodeError::unknown("shard kind", seen)),
        };
        Ok(ShardRecord { shard, kind, name: text(reader)? })
    }
}

impl Command {
    /// Appends the command to `out`.
    pub fn encode(&self, out: &mut Writer) {
        match self {
            Command::Init { cluster, nodes, shards } => {
                out.u8(0);
                out.u128(cluster.0);
                out.u32(nodes.len() as u32);
                nodes.iter().for_each(|node| node.encode(out));
                out.u32(shards.len() as u32);
                shards.iter().for_each(|shard| shard.encode(out));
            }
            Command::Register(record) => {
                out.u8(1);
                record.encode(out);
            }
            Command::Replace { node, incarnation } => {
                out.u8(2);
                out.u64(node.0);
                out.u64(incarnation.0);
            }
        }
    }

    /// The inverse of [`Command::encode`].
    pub fn decode(reader: &mut Reader) -> Result<Command, DecodeError> {
        Ok(match reader.u8()? {
            0 => {
                let cluster = ClusterId(reader.u128()?);
                let count = reader.count(31)?;
                let nodes = (0..count).map(|_| NodeRecord::decode(reader));
                let nodes = nodes.collect::<Result<_, _>>()?;
                let count = reader.count(10)?;
                let shards = (0..count).map(|_| ShardRecord::decode(reader));
                Command::Init { cluster, nodes, shards: shards.collect::<Result<_, _>>()? }
            }
            1 => Command::Register(NodeRecord::decode(reader)?),
            2 => Command::Replace {
                node: NodeId(reader.u64()?),
                incarnation: Incarnation(reader.u64()?),
            },
            seen => return Err(DecodeError::unknown("cluster command", seen)),
        })
    }
}
