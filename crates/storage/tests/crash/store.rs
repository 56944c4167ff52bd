//! One shard's log, memtables and tables, kept by the node's own rules.
//!
//! As in `node/flush.rs`, `node/snapshot.rs` and `Node::restore`: an entry is durable in the log
//! before it is applied; a flush writes the descriptor (applied index, data id) into the memtable
//! before freezing it, and the log is compacted only when the tables have the run; a snapshot's rows
//! go under a fresh data id, and descriptor and applied index flip in one run; FLUSHALL is an entry
//! that takes a fresh data id. After a crash the tables say up to where rows are applied, and the
//! log brings the rest.

use crate::place::Place;
use base::codec::{Reader, Writer};
use base::key::prefix_end;
use base::{
    Bytes, Entry, EntryKind, HardState, Index, Key, KeyRange, LogStart, Membership, NodeId,
    ReplicaId, ShardId, Stamp, Term,
};
use std::collections::{BTreeMap, BTreeSet};
use std::mem::ManuallyDrop;
use std::sync::Arc;
use underpin_storage::engine::{Engine, EngineOptions, FlushJob, Limit};
use underpin_storage::tables::{RangeLimit, Tables};
use underpin_storage::wal::{Record, Recovered, Wal};

/// What a client can see.
pub type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// The one shard.
pub const SHARD: ShardId = ShardId(1);

/// What a shard's rows belong to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    pub applied: LogStart,
    data: u64,
    /// The next fresh data id.
    next: u64,
}

impl Descriptor {
    fn key() -> Key {
        Bytes::from_static(b"\0\0\0\0\0\0\0\0r")
    }

    fn row(&self) -> (Key, Option<Bytes>) {
        let mut out = Writer::new();
        self.applied.encode(&mut out);
        out.u64(self.data);
        out.u64(self.next);
        (Descriptor::key(), Some(out.finish()))
    }

    fn decode(row: Bytes) -> Descriptor {
        let mut reader = Reader::new(row);
        let decoded = LogStart::decode(&mut reader).and_then(|applied| {
            Ok(Descriptor { applied, data: reader.u64()?, next: reader.u64()? })
        });
        decoded.expect("a row that was read back is whole")
    }
}

fn log_start(term: u64, index: u64) -> LogStart {
    LogStart {
        index: Index(index),
        term: Term(term),
        stamp: Stamp(index * 10),
        membership: Membership::of_voters([(ReplicaId(1), NodeId(1))]),
    }
}

fn row_key(data: u64, key: &[u8]) -> Key {
    [&data.to_be_bytes()[..], key].concat().into()
}

/// Log, memtables and tables of one shard.
pub struct Store {
    wal: Wal,
    engine: Engine,
    tables: Arc<dyn Tables>,
    pub descriptor: Descriptor,
    dead: BTreeSet<u64>,
    /// The last entry of the log, applied or not.
    last: (u64, u64),
    pub term: u64,
}

impl Store {
    /// Opens what is there, as a node does when it starts.
    pub fn open(place: &dyn Place) -> Result<Store, String> {
        let tables = place.tables()?;
        let generation = tables.generation();
        let row = match generation {
            0 => None,
            _ => tables
                .get(&[Descriptor::key()], generation)
                .map_err(|error| error.to_string())?
                .remove(0),
        };
        let (wal, recovered) =
            Wal::open(place.disk(), crate::log::options()).map_err(|error| error.to_string())?;
        let descriptor = row.map(Descriptor::decode);
        let fresh = Descriptor { applied: log_start(0, 0), data: 1, next: 2 };
        let mut store = Store {
            engine: Engine::new(EngineOptions::default(), generation),
            dead: BTreeSet::new(),
            last: (0, 0),
            term: 1,
            descriptor: descriptor.unwrap_or(fresh),
            wal,
            tables,
        };
        store.dead = (1..store.descriptor.next).filter(|id| *id != store.descriptor.data).collect();
        store.restore(recovered)?;
        Ok(store)
    }

    fn restore(&mut self, recovered: Recovered) -> Result<(), String> {
        let log = recovered.shards.get(&SHARD).cloned().unwrap_or_default();
        let applied = self.descriptor.applied.clone();
        if applied.index < log.log_start.index {
            let start = log.log_start.index;
            return Err(format!("rows reach {}, the log begins after {start}", applied.index));
        }
        let reaches = applied.index <= log.log_start.index
            || log.entries.iter().any(|e| e.index == applied.index && e.term == applied.term);
        self.term = log.hard_state.term.0.max(applied.term.0).max(1);
        self.last = (applied.term.0, applied.index.0);
        if !reaches {
            self.log(vec![Record::Reset { shard: SHARD, start: applied }])?;
            return Ok(());
        }
        for entry in log.entries.iter().filter(|entry| entry.index > applied.index) {
            self.apply(entry);
            self.last = (entry.term.0, entry.index.0);
            self.term = self.term.max(entry.term.0);
        }
        Ok(())
    }

    pub fn log(&mut self, records: Vec<Record>) -> Result<(), String> {
        self.wal.append(&records).and_then(|()| self.wal.sync()).map_err(|error| error.to_string())
    }

    /// The next entry, after everything that was applied: what else the log has is replaced.
    pub fn entry(&mut self, command: Vec<u8>) -> Entry {
        let index = self.descriptor.applied.index.0 + 1;
        if self.last.1 >= index {
            self.term += 1;
        }
        self.last = (self.term, index);
        Entry {
            term: Term(self.term),
            index: Index(index),
            stamp: Stamp(index * 10),
            kind: EntryKind::Command,
            data: command.into(),
        }
    }

    pub fn write(&mut self, command: Vec<u8>) -> Result<(), String> {
        let entry = self.entry(command);
        let commit = self.descriptor.applied.index;
        let hard = HardState { term: entry.term, vote: None, commit };
        self.log(vec![
            Record::HardState { shard: SHARD, state: hard },
            Record::Entries { shard: SHARD, entries: vec![entry.clone()] },
        ])?;
        self.apply(&entry);
        Ok(())
    }

    fn apply(&mut self, entry: &Entry) {
        match &entry.data[..] {
            [b'p', key, value @ ..] => {
                let row = (row_key(self.descriptor.data, &[*key]), Some(value.to_vec().into()));
                self.engine.write([row]);
            }
            [b'd', key] => {
                self.engine.write([(row_key(self.descriptor.data, &[*key]), None)]);
            }
            _ => self.take_fresh_data(),
        }
        self.descriptor.applied = log_start(entry.term.0, entry.index.0);
    }

    fn take_fresh_data(&mut self) {
        self.dead.insert(self.descriptor.data);
        self.descriptor.data = self.descriptor.next;
        self.descriptor.next += 1;
    }

    pub fn flush(&mut self) -> Result<(), String> {
        self.engine.write([self.descriptor.row()]);
        let Some(job) = self.engine.freeze() else { return Ok(()) };
        let generation = self.ingest(&job)?;
        self.engine.flushed(job.id, generation);
        Ok(())
    }

    fn ingest(&self, job: &FlushJob) -> Result<u64, String> {
        // An iterator over a memtable owns nothing, which its type can't say.
        let mut rows = ManuallyDrop::new(job.rows.rows());
        self.tables.ingest(&mut *rows).map_err(|error| error.to_string())
    }

    pub fn merge(&mut self) -> Result<(), String> {
        loop {
            let compacted = self.tables.compact(self.engine.oldest_generation(), &self.dead);
            if !compacted.map_err(|error| error.to_string())?.more {
                return Ok(());
            }
        }
    }

    /// The rows come in pieces, and a flush may fall between two of them.
    pub fn install(&mut self, rows: &Rows) -> Result<(), String> {
        let fresh = self.descriptor.next;
        self.descriptor.next += 1;
        for (piece, (key, value)) in rows.iter().enumerate() {
            self.engine.write([(row_key(fresh, key), Some(value.clone().into()))]);
            if piece == 0 {
                self.flush()?;
            }
        }
        self.term += 1;
        let start = log_start(self.term, self.descriptor.applied.index.0 + 5);
        self.dead.insert(std::mem::replace(&mut self.descriptor.data, fresh));
        self.descriptor.applied = start.clone();
        self.last = (self.term, start.index.0);
        self.flush()?;
        self.log(vec![Record::Reset { shard: SHARD, start }])
    }

    pub fn settle(&mut self) -> Result<(), String> {
        loop {
            let more = self.wal.sync().and_then(|()| self.wal.maintain());
            if !more.map_err(|error| error.to_string())? {
                return Ok(());
            }
        }
    }

    /// All rows, read as a client's scan reads them.
    pub fn rows(&mut self) -> Result<Rows, String> {
        let start = Bytes::copy_from_slice(&self.descriptor.data.to_be_bytes());
        let range = KeyRange { end: prefix_end(&start), start };
        let view = self.engine.open_view();
        let generation = self.engine.view_generation(view);
        let all = RangeLimit { rows: usize::MAX, bytes: usize::MAX };
        let below = match generation {
            0 => Vec::new(),
            _ => self.tables.range(&range, generation, all).map_err(|e| e.to_string())?.rows,
        };
        let limit = Limit { rows: usize::MAX, bytes: usize::MAX, visits: usize::MAX };
        let slice = self.engine.merge(view, &range, below, None, limit);
        self.engine.close_view(view);
        let plain = |(key, value): (Key, Bytes)| (key[8..].to_vec(), value.to_vec());
        Ok(slice.rows.into_iter().map(plain).collect())
    }
}
