//! What a node knows of each replica it hosts, kept as rows of data id 0.
//!
//! A shard's spaces map to data ids, which prefix the engine's keys and mean something on this node
//! only. Emptying a space (FLUSHDB, an installed snapshot) gives it a fresh id, in one step with
//! the applied index; the old id is dead, and compaction drops its rows.
//!
//! Descriptors are written once per flush, right before the memtable is frozen, so a table always
//! carries the applied index that its rows belong to. What happened since is in the log and is
//! applied again after a crash, from that index.

use base::codec::{DecodeError, Reader, Writer};
use base::log::LogStart;
use base::{Bytes, ReplicaId, ShardId};
use service::{RowKey, Space};
use std::collections::{BTreeMap, BTreeSet};

/// One replica's descriptor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Descriptor {
    /// The shard.
    pub shard: ShardId,
    /// Whether it is the `meta` shard.
    pub meta: bool,
    /// The replica here.
    pub replica: ReplicaId,
    /// Everything up to here is in the rows; with the membership at that point.
    pub applied: LogStart,
    /// Where each space's rows are.
    pub spaces: BTreeMap<Space, u64>,
}

const FORMAT: u8 = 1;

impl Descriptor {
    fn row_key(shard: ShardId) -> Bytes {
        let mut out = Writer::with_capacity(17);
        out.raw(&0u64.to_be_bytes());
        out.raw(b"r");
        out.raw(&shard.0.to_be_bytes());
        out.finish()
    }

    /// The row that keeps this descriptor.
    pub fn row(&self) -> (Bytes, Option<Bytes>) {
        let mut out = Writer::new();
        out.u8(FORMAT);
        out.u64(self.shard.0);
        out.bool(self.meta);
        out.u64(self.replica.0);
        self.applied.encode(&mut out);
        out.u32(self.spaces.len() as u32);
        for (space, data) in &self.spaces {
            out.u32(space.0);
            out.u64(*data);
        }
        (Descriptor::row_key(self.shard), Some(out.finish()))
    }

    fn decode(row: Bytes) -> Result<Descriptor, DecodeError> {
        let mut r = Reader::new(row);
        match r.u8()? {
            FORMAT => {}
            seen => return Err(DecodeError::unknown("descriptor format", seen)),
        }
        let (shard, meta, replica) = (ShardId(r.u64()?), r.bool()?, ReplicaId(r.u64()?));
        let applied = LogStart::decode(&mut r)?;
        let count = r.count(12)?;
        let spaces = (0..count)
            .map(|_| Ok((Space(r.u32()?), r.u64()?)))
            .collect::<Result<_, DecodeError>>()?;
        r.end()?;
        Ok(Descriptor { shard, meta, replica, applied, spaces })
    }

    /// The engine's key of a row, if its space has rows at all.
    pub fn engine_key(&self, key: &RowKey) -> Option<Bytes> {
        self.spaces.get(&key.space).map(|data| engine_key(*data, &key.key))
    }
}

/// `data`, big-endian, then the key.
pub(crate) fn engine_key(data: u64, key: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(8 + key.len());
    out.extend_from_slice(&data.to_be_bytes());
    out.extend_from_slice(key);
    Bytes::from(out)
}

/// Hands out data ids and remembers which are dead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DataIds {
    next: u64,
    dead: BTreeSet<u64>,
}

impl DataIds {
    fn row_key() -> Bytes {
        let mut out = Writer::with_capacity(9);
        out.raw(&0u64.to_be_bytes());
        out.raw(b"n");
        out.finish()
    }

    /// The row that keeps the next id.
    pub fn row(&self) -> (Bytes, Option<Bytes>) {
        (DataIds::row_key(), Some(Bytes::copy_from_slice(&self.next.to_be_bytes())))
    }

    /// A fresh id.
    pub fn fresh(&mut self) -> u64 {
        let id = self.next;
        self.next += 1;
        id
    }

    /// Nothing refers to this id any more.
    pub fn bury(&mut self, id: u64) {
        assert!(id < self.next, "data id {id} was never handed out (next is {})", self.next);
        self.dead.insert(id);
    }

    /// Ids whose rows are garbage.
    pub fn dead(&self) -> &BTreeSet<u64> {
        &self.dead
    }
}

/// The descriptors and the data ids that a node's system rows hold.
pub(crate) fn load(
    rows: Vec<(Bytes, Bytes)>,
) -> Result<(BTreeMap<ShardId, Descriptor>, DataIds), String> {
    let mut descriptors = BTreeMap::new();
    let mut next = 1;
    for (key, row) in rows {
        if key == DataIds::row_key() {
            let bytes: [u8; 8] = row[..].try_into().map_err(|_| damaged("next data id"))?;
            next = u64::from_be_bytes(bytes);
        } else {
            let descriptor = Descriptor::decode(row).map_err(damaged)?;
            if key != Descriptor::row_key(descriptor.shard) {
                return Err(damaged(format!(
                    "descriptor of {} in another's place",
                    descriptor.shard
                )));
            }
            descriptors.insert(descriptor.shard, descriptor);
        }
    }
    let live: BTreeSet<u64> =
        descriptors.values().flat_map(|d: &Descriptor| d.spaces.values().copied()).collect();
    let dead = (1..next).filter(|id| !live.contains(id)).collect();
    Ok((descriptors, DataIds { next, dead }))
}

fn damaged(what: impl std::fmt::Display) -> String {
    format!("system rows: {what}; the tables are damaged: run \"underpin node rebuild\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_come_back_and_orphaned_data_ids_are_dead() {
        let mut ids = DataIds { next: 1, dead: BTreeSet::new() };
        let (kept, orphan) = (ids.fresh(), ids.fresh());
        let descriptor = Descriptor {
            shard: ShardId(2),
            meta: false,
            replica: ReplicaId(3),
            applied: LogStart::default(),
            spaces: [(Space(1), kept)].into(),
        };
        let rows = [descriptor.row(), ids.row()].map(|(key, row)| (key, row.unwrap()));
        let (descriptors, ids) = load(rows.to_vec()).unwrap();
        assert_eq!(descriptors[&ShardId(2)], descriptor);
        assert_eq!(*ids.dead(), [orphan].into());
    }

    #[test]
    fn a_damaged_descriptor_says_what_to_do() {
        let rows = vec![(Descriptor::row_key(ShardId(1)), Bytes::from_static(b"\x09"))];
        let error = load(rows).unwrap_err();
        assert!(error.contains("descriptor format 9"), "{error}");
        assert!(error.contains("node rebuild"), "{error}");
    }
}
