//! Sending a replica's state whole, and receiving it.
//!
//! A follower that needs entries which its leader no longer has gets the leader's rows instead, as
//! of one applied index. They travel over the bulk link in numbered chunks; a few are under way at
//! once, and after a broken link the stream goes on with the first chunk that was not acknowledged.
//!
//! The receiver writes the rows under fresh data ids, where nobody looks for them. When the last
//! chunk has come and the hash over all rows agrees, it *flips*: the descriptor points at the new
//! ids, and the applied index is the snapshot's. Both are one row, and only when a flush has made it
//! durable is Raft told, whose log then starts anew, and the last chunk acknowledged. A crash before
//! the flush leaves the old state, and garbage that compaction drops; a crash after it leaves rows
//! ahead of the log, and the next start begins the log where the rows are.
//!
//! Until the flip the disk holds the old rows and the new ones. On a full disk the new ones would
//! take up what it has in reserve, and then neither they nor anything else could become durable. So
//! there they are held in memory until all are here, and then go into one memtable together, for
//! which the reserve has room. A snapshot of more rows is refused, and leaves nothing; the leader
//! tries again until most rows are deleted, or the disk has room. If the disk became full on the way
//! the rows that came before that are garbage, and merging is asked to let them go.
//!
//! Format of a chunk: format, whether it is the last, then in the first chunk the [`LogStart`] of
//! the state, in the last one the hash, in all of them rows: space, key, row.

use crate::core::Core;
use crate::descriptor::engine_key;
use crate::node::Node;
use crate::peer::Message;
use base::codec::{DecodeError, Reader, Writer};
use base::log::LogStart;
use base::{Bytes, Index, Mono, NodeId, ReplicaId, ShardId};
use service::Space;
use service::hash::StateHash;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

const FORMAT: u8 = 1;
/// What a receiver acknowledges to refuse a stream.
const REFUSED: u64 = u64::MAX;
/// A stream that makes no progress for so long is given up.
const PATIENCE: Duration = Duration::from_secs(20);
/// A full disk that got too much of a snapshot takes none for so long.
const FULL_REST: Duration = Duration::from_secs(5);
/// Chunks without an answer for so long are sent again: the bulk link may have broken under them, or
/// not been up yet.
const RESEND: Duration = Duration::from_secs(2);

/// One row of a snapshot.
pub(crate) type Row = (Space, Bytes, Bytes);

/// Snapshots under way in either direction.
#[derive(Debug, Default)]
pub(crate) struct Snapshots {
    outgoing: BTreeMap<(ShardId, ReplicaId), Outgoing>,
    incoming: BTreeMap<ShardId, Incoming>,
    /// Snapshots that begin before that are refused.
    rest_until: Mono,
    /// Acknowledgements that wait until memtables have been flushed.
    owed: Vec<(NodeId, Message)>,
}

#[derive(Debug)]
struct Outgoing {
    stream: u64,
    from: ReplicaId,
    node: NodeId,
    scan: u64,
    index: Index,
    /// For the first chunk.
    log_start: Option<LogStart>,
    hash: StateHash,
    next: u64,
    /// Sent and not acknowledged.
    unacknowledged: VecDeque<(u64, Bytes)>,
    /// The scan waits for room in the window.
    paused: bool,
    progress_at: Mono,
    /// When chunks were last sent again.
    repeated_at: Mono,
}

#[derive(Debug)]
struct Incoming {
    stream: u64,
    next: u64,
    log_start: LogStart,
    hash: StateHash,
    spaces: BTreeMap<Space, u64>,
    /// What all its rows so far take of memtables.
    bytes: usize,
    /// Rows of which none is in a memtable yet, since the disk is full.
    held: Vec<Row>,
    /// All rows are here and the descriptor points at them; once that is durable, the answer to
    /// this node is due.
    flipped: Option<NodeId>,
}

/// What a row takes of a memtable.
fn memtable_bytes(key: &Bytes, row: &Bytes) -> usize {
    storage::engine::version_bytes(size_of::<u64>() + key.len(), row.len())
}

struct Chunk {
    last: bool,
    log_start: Option<LogStart>,
    hash: u64,
    rows: Vec<Row>,
}

impl Chunk {
    fn encode(&self) -> Bytes {
        let bytes: usize = self.rows.iter().map(|(_, key, row)| key.len() + row.len() + 12).sum();
        let mut out = Writer::with_capacity(bytes + 256);
        out.u8(FORMAT);
        out.bool(self.last);
        out.option(self.log_start.as_ref(), |out, start| start.encode(out));
        out.u64(self.hash);
        out.u32(self.rows.len() as u32);
        for (space, key, row) in &self.rows {
            out.u32(space.0);
            out.bytes(key);
            out.bytes(row);
        }
        out.finish()
    }

    fn decode(data: Bytes) -> Result<Chunk, DecodeError> {
        let mut r = Reader::new(data);
        match r.u8()? {
            FORMAT => {}
            seen => return Err(DecodeError::unknown("snapshot format", seen)),
        }
        let (last, log_start) = (r.bool()?, r.option(LogStart::decode)?);
        let hash = r.u64()?;
        let count = r.count(12)?;
        // No more than the bytes at hand allow, and no less: growing step by step takes twice that.
        let mut rows = Vec::with_capacity(count);
        for _ in 0..count {
            rows.push((Space(r.u32()?), r.bytes()?, r.bytes()?));
        }
        r.end()?;
        Ok(Chunk { last, log_start, hash, rows })
    }
}

/// A chunk of a snapshot, read and written again: what reading it understood, for tests that feed it
/// bytes of their own.
pub fn rewrite_chunk(data: Bytes) -> Result<Bytes, DecodeError> {
    Chunk::decode(data).map(|chunk| chunk.encode())
}

// ---- sending ---------------------------------------------------------------------------------

impl Snapshots {
    /// A link is up (again): whatever was not acknowledged is sent again.
    pub fn link_up(&mut self, core: &mut Core, node: NodeId) {
        for ((shard, to), outgoing) in &self.outgoing {
            if outgoing.node == node {
                outgoing.repeat(core, *shard, *to);
            }
        }
    }
}

impl Outgoing {
    fn repeat(&self, core: &mut Core, shard: ShardId, to: ReplicaId) {
        for (number, data) in &self.unacknowledged {
            self.send(core, shard, to, *number, data.clone());
        }
    }

    fn send(&self, core: &mut Core, shard: ShardId, to: ReplicaId, number: u64, data: Bytes) {
        let (from, stream) = (self.from, self.stream);
        core.send(self.node, &Message::Chunk { shard, from, to, stream, number, data });
    }
}

impl Node {
    /// Begins to send a replica the rows of its shard.
    pub(crate) fn start_snapshot(&mut self, id: ShardId, to: ReplicaId) {
        if self.snapshots.outgoing.contains_key(&(id, to)) {
            return;
        }
        let Some(shard) = self.shards.get_mut(&id) else { return };
        let node = shard.node_of(to).filter(|node| self.links.contains(node));
        let Some(node) = node.filter(|_| shard.leads() && !shard.loading) else {
            return shard.snapshot_outcome(&mut self.core, to, Index(0), false);
        };
        let log_start = shard.descriptor.applied.clone();
        let index = log_start.index;
        shard.raft.snapshot_started(to, index);
        let outgoing = Outgoing {
            stream: self.random.u64(),
            from: shard.descriptor.replica,
            node,
            scan: self.scans.snapshot(&mut self.core, &shard.descriptor, to),
            index,
            log_start: Some(log_start),
            hash: StateHash::new(),
            next: 0,
            unacknowledged: VecDeque::new(),
            paused: false,
            progress_at: self.core.now.mono,
            repeated_at: self.core.now.mono,
        };
        tracing::info!(node = %self.core.me, shard = %id, %index, "sending a snapshot to {to} on {node}");
        self.snapshots.outgoing.insert((id, to), outgoing);
    }

    /// The scan found rows for a snapshot.
    pub(crate) fn send_rows(
        &mut self,
        id: ShardId,
        to: ReplicaId,
        scan: u64,
        rows: Vec<Row>,
        last: bool,
    ) {
        let window = self.core.options.snapshot_chunks;
        let Some(outgoing) = self.snapshots.outgoing.get_mut(&(id, to)) else { return };
        if outgoing.scan != scan {
            return;
        }
        rows.iter().for_each(|(space, key, row)| outgoing.hash.add(*space, key, row));
        let (log_start, hash) = (outgoing.log_start.take(), outgoing.hash.finish());
        let data = Chunk { last, log_start, hash, rows }.encode();
        let number = outgoing.next;
        outgoing.next += 1;
        outgoing.unacknowledged.push_back((number, data.clone()));
        outgoing.send(&mut self.core, id, to, number, data);
        if outgoing.unacknowledged.len() < window {
            self.scans.resume(scan);
        } else {
            outgoing.paused = true;
        }
    }

    /// The receiver has all chunks before `next`.
    pub(crate) fn acknowledged(&mut self, id: ShardId, to: ReplicaId, stream: u64, next: u64) {
        let Some(outgoing) = self.snapshots.outgoing.get_mut(&(id, to)) else { return };
        if outgoing.stream != stream {
            return;
        }
        if next == REFUSED {
            return self.end_snapshot(id, to, false);
        }
        outgoing.progress_at = self.core.now.mono;
        while outgoing.unacknowledged.front().is_some_and(|(number, _)| *number < next) {
            outgoing.unacknowledged.pop_front();
        }
        // The last chunk may have filled the window: then the scan is paused and over.
        let (scan, paused) = (outgoing.scan, std::mem::take(&mut outgoing.paused));
        if outgoing.unacknowledged.is_empty() && !self.scans.contains(scan) {
            self.end_snapshot(id, to, true);
        } else if paused {
            self.scans.resume(scan);
        }
    }

    fn end_snapshot(&mut self, id: ShardId, to: ReplicaId, delivered: bool) {
        let Some(outgoing) = self.snapshots.outgoing.remove(&(id, to)) else { return };
        self.scans.cancel(&mut self.core, outgoing.scan);
        let index = outgoing.index;
        tracing::info!(node = %self.core.me, shard = %id, %index, delivered, "snapshot to {to} ended");
        if let Some(shard) = self.shards.get_mut(&id) {
            shard.snapshot_outcome(&mut self.core, to, index, delivered);
        }
    }

    /// Repeats what was not answered; gives up streams that nobody takes, or that are no longer ours
    /// to send.
    pub(crate) fn tend_snapshots(&mut self) {
        let now = self.core.now.mono;
        for ((shard, to), outgoing) in &mut self.snapshots.outgoing {
            if outgoing.progress_at.max(outgoing.repeated_at) + RESEND <= now {
                outgoing.repeated_at = now;
                outgoing.repeat(&mut self.core, *shard, *to);
            }
        }
        let over = self.snapshots.outgoing.iter().filter(|((shard, _), outgoing)| {
            outgoing.progress_at + PATIENCE <= now || !self.shards[shard].leads()
        });
        let over: Vec<_> = over.map(|(key, _)| *key).collect();
        for (shard, to) in over {
            self.end_snapshot(shard, to, false);
        }
    }
}

// ---- receiving -------------------------------------------------------------------------------

impl Node {
    /// A chunk arrived.
    pub(crate) fn chunk(&mut self, from: NodeId, message: ChunkMessage) {
        let ChunkMessage { shard: id, to, stream, number, data } = message;
        let Some(shard) = self.shards.get(&id) else { return };
        if shard.descriptor.replica != to {
            return;
        }
        let next = match Chunk::decode(data) {
            Ok(chunk) => self.take_chunk(from, id, stream, number, chunk),
            Err(error) => {
                tracing::error!(node = %self.core.me, shard = %id, "snapshot chunk {number}: {error}");
                Some(REFUSED)
            }
        };
        if let Some(next) = next {
            self.acknowledge(from, Message::ChunkAck { shard: id, to, stream, next });
        }
    }

    /// While the memtables are behind, the sender has to wait.
    fn acknowledge(&mut self, to: NodeId, message: Message) {
        let stats = self.core.engine.stats();
        if stats.unflushed > 0 && self.core.engine.should_freeze() {
            self.snapshots.owed.push((to, message));
        } else {
            self.core.send(to, &message);
        }
    }

    /// Writes a chunk's rows; which chunk is wanted next, unless that can't be said yet.
    fn take_chunk(
        &mut self,
        from: NodeId,
        id: ShardId,
        stream: u64,
        number: u64,
        chunk: Chunk,
    ) -> Option<u64> {
        if let Some(log_start) = chunk.log_start.clone()
            && self.snapshots.incoming.get(&id).is_none_or(|incoming| incoming.stream != stream)
            && !self.begin_incoming(id, stream, log_start)
        {
            return Some(REFUSED);
        }
        let Some(incoming) = self.snapshots.incoming.get_mut(&id) else { return Some(REFUSED) };
        if incoming.stream != stream || number > incoming.next {
            return Some(REFUSED);
        }
        if number < incoming.next {
            return incoming.flipped.is_none().then_some(incoming.next);
        }
        let rows = chunk.rows.iter();
        incoming.bytes += rows.map(|(_, key, row)| memtable_bytes(key, row)).sum::<usize>();
        let (bytes, next) = (incoming.bytes, number + 1);
        if self.core.disk_full() && !self.fits_memtable(bytes) {
            self.refuse_for_room(id);
            return Some(REFUSED);
        }
        let incoming = self.snapshots.incoming.get_mut(&id).expect("just seen");
        incoming.next = next;
        chunk.rows.iter().for_each(|(space, key, row)| incoming.hash.add(*space, key, row));
        incoming.held.extend(chunk.rows);
        if chunk.last && incoming.hash.finish() != chunk.hash {
            tracing::error!(node = %self.core.me, shard = %id, "snapshot: the hash over its rows differs");
            self.drop_incoming(id);
            return Some(REFUSED);
        }
        if chunk.last || !self.core.disk_full() {
            self.write_held(id);
        }
        if !chunk.last {
            return Some(next);
        }
        self.flip(from, id);
        None
    }

    /// Puts rows that came into the memtable.
    fn write_held(&mut self, id: ShardId) {
        let incoming = self.snapshots.incoming.get_mut(&id).expect("the caller has it");
        let mut rows = Vec::with_capacity(incoming.held.len());
        for (space, key, row) in std::mem::take(&mut incoming.held) {
            let data = *incoming.spaces.entry(space).or_insert_with(|| self.core.ids.fresh());
            // A copy, so that the memtable does not keep the whole chunk.
            rows.push((engine_key(data, &key), Some(Bytes::copy_from_slice(&row))));
        }
        self.core.engine.write(rows);
    }

    /// Whether rows of so many bytes fit the memtable, with what is in it.
    fn fits_memtable(&self, bytes: usize) -> bool {
        let taken = self.core.engine.stats().active_bytes;
        taken + bytes <= self.core.options.engine.memtable_bytes
    }

    /// The disk has no room for the snapshot that comes. What is there of it goes at once, since
    /// the next flush may need that room; and the memtable is emptied for the next one.
    fn refuse_for_room(&mut self, id: ShardId) {
        tracing::warn!(node = %self.core.me, shard = %id, "no room for a snapshot of all rows");
        self.snapshots.rest_until = self.core.now.mono + FULL_REST;
        self.rooms.snapshot_refused();
        let incoming = self.snapshots.incoming.get(&id);
        let garbage = incoming.is_some_and(|incoming| !incoming.spaces.is_empty());
        self.drop_incoming(id);
        if garbage {
            self.merge_unused();
        }
        self.flush.forced |= self.core.engine.stats().active_rows > 0;
    }

    fn begin_incoming(&mut self, id: ShardId, stream: u64, log_start: LogStart) -> bool {
        let shard = &self.shards[&id];
        if shard.installing.is_some() || log_start.index <= shard.applied() || shard.leads() {
            return false;
        }
        if self.core.now.mono < self.snapshots.rest_until {
            return false;
        }
        self.drop_incoming(id);
        let (hash, spaces) = (StateHash::new(), BTreeMap::new());
        let (bytes, held) = (0, Vec::new());
        let incoming =
            Incoming { stream, next: 0, log_start, hash, spaces, bytes, held, flipped: None };
        self.snapshots.incoming.insert(id, incoming);
        true
    }

    fn drop_incoming(&mut self, id: ShardId) {
        if let Some(incoming) = self.snapshots.incoming.remove(&id) {
            self.flush.unused.extend(incoming.spaces.values());
            incoming.spaces.into_values().for_each(|data| self.core.ids.bury(data));
        }
    }

    /// From now on the replica's rows are the snapshot's.
    fn flip(&mut self, from: NodeId, id: ShardId) {
        let incoming = self.snapshots.incoming.get_mut(&id).expect("the caller has it");
        incoming.flipped = Some(from);
        let shard = self.shards.get_mut(&id).expect("the caller has it");
        if incoming.log_start.index <= shard.applied() {
            // The log caught up by itself meanwhile.
            return self.finish_install(id);
        }
        let spaces = std::mem::take(&mut incoming.spaces);
        for old in std::mem::replace(&mut shard.descriptor.spaces, spaces).into_values() {
            self.core.ids.bury(old);
        }
        shard.descriptor.applied = incoming.log_start.clone();
        shard.installing = Some(incoming.log_start.clone());
        let spans = shard.machine.memory_spans();
        if !spans.is_empty() {
            shard.loading = true;
            self.scans.load(&mut self.core, &shard.descriptor, spans);
        }
        self.flush.forced = true;
    }

    /// Shards whose flip the memtable that is about to be frozen contains.
    pub(crate) fn installing(&self) -> Vec<ShardId> {
        let installing = self.shards.values().filter(|shard| shard.installing.is_some());
        installing.map(|shard| shard.id).collect()
    }

    /// A flush made flips durable, and memtables have room again.
    pub(crate) fn installs_flushed(&mut self, installed: Vec<ShardId>) {
        for id in installed {
            let shard = self.shards.get_mut(&id).expect("a shard that installs stays");
            shard.installed(&mut self.core);
            self.finish_install(id);
        }
        for (to, message) in std::mem::take(&mut self.snapshots.owed) {
            self.core.send(to, &message);
        }
    }

    fn finish_install(&mut self, id: ShardId) {
        let Some(incoming) = self.snapshots.incoming.remove(&id) else { return };
        incoming.spaces.into_values().for_each(|data| self.core.ids.bury(data));
        let to = self.shards[&id].descriptor.replica;
        if let Some(node) = incoming.flipped {
            let (stream, next) = (incoming.stream, incoming.next);
            self.core.send(node, &Message::ChunkAck { shard: id, to, stream, next });
        }
    }
}

/// What a [`Message::Chunk`] says, without its sender.
pub(crate) struct ChunkMessage {
    pub shard: ShardId,
    pub to: ReplicaId,
    pub stream: u64,
    pub number: u64,
    pub data: Bytes,
}
