//! Log, memtables and tables together, as a node uses them: every history of up to three
//! operations, cut off at every sync.
//!
//! The store keeps one shard by the node's own rules (`node/flush.rs`, `node/snapshot.rs`,
//! `Node::restore`): an entry is durable in the log before it is applied; a flush writes the
//! descriptor (applied index, data id) into the memtable before freezing it, and the log is
//! compacted only when the tables have the run; a snapshot's rows go under a fresh data id, and
//! descriptor and applied index flip in one run; FLUSHALL is an entry that takes a fresh data id.
//! After a crash the tables say up to where rows are applied, and the log brings the rest.

use crate::campaign::{Tally, histories};
use crate::memory::NotedDisk;
use crate::platter::{Image, Op, Plan, Platter};
use crate::record::{self, Recording};
use base::codec::{Reader, Writer};
use base::key::prefix_end;
use base::{
    Bytes, Entry, EntryKind, HardState, Index, Key, KeyRange, LogStart, Membership, NodeId,
    ReplicaId, ShardId, Stamp, Term,
};
use std::collections::{BTreeMap, BTreeSet};
use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use underpin_storage::disk::{Disk, RealDisk};
use underpin_storage::engine::{Engine, EngineOptions, FlushJob, Limit};
use underpin_storage::tables::{
    Compacted, LsmOptions, LsmTables, ModelTables, RangeLimit, RangeSlice, Run as TableRun, Tables,
    TablesError, TablesStats,
};
use underpin_storage::wal::{Record, Recovered, Wal};

/// One operation of a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A key gets a value; acknowledged.
    Put,
    /// A value of several sectors.
    PutLarge,
    /// A key is deleted.
    Delete,
    /// All keys are deleted, by a fresh data id.
    FlushAll,
    /// An entry is durable here and committed nowhere; the next write of another term replaces it.
    Tail,
    /// A vote.
    Vote,
    /// The memtable becomes a run of the tables, and the log is compacted.
    Flush,
    /// Tables are merged, rows of dead data ids dropped.
    Merge,
    /// A snapshot takes the place of all that is there.
    Install,
    /// The log's housekeeping.
    Settle,
    /// A stop and a start without a crash.
    Restart,
}

/// All of them.
pub const STEPS: [Step; 11] = [
    Step::Flush,
    Step::Install,
    Step::Put,
    Step::Merge,
    Step::Delete,
    Step::FlushAll,
    Step::PutLarge,
    Step::Tail,
    Step::Vote,
    Step::Settle,
    Step::Restart,
];

/// What a client can see.
pub type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

const SHARD: ShardId = ShardId(1);

/// Small files that are merged early.
pub fn lsm_options() -> LsmOptions {
    LsmOptions {
        cache_bytes: 1 << 16,
        table_bytes: 4 << 10,
        fresh_runs: 2,
        ..LsmOptions::default()
    }
}

/// Where a store lives.
pub trait Place {
    fn disk(&self) -> Box<dyn Disk>;
    fn tables(&self) -> Result<Arc<dyn Tables>, String>;
}

/// Log and tables in memory.
#[derive(Clone)]
pub struct Memory {
    pub disk: NotedDisk,
    pub tables: NotedTables,
}

impl Memory {
    /// A disk and tables of this content.
    pub fn of(image: &Image, tables: &ModelTables) -> Memory {
        let disk = NotedDisk::of(image);
        let tables = NotedTables {
            disk: disk.clone(),
            versions: Arc::new(Mutex::new(vec![(0, tables.image())])),
            model: tables.image(),
        };
        Memory { disk, tables }
    }
}

impl Place for Memory {
    fn disk(&self) -> Box<dyn Disk> {
        Box::new(self.disk.clone())
    }

    fn tables(&self) -> Result<Arc<dyn Tables>, String> {
        Ok(Arc::new(self.tables.clone()))
    }
}

/// Tables in memory, and what they were after how many operations of the disk.
#[derive(Clone)]
pub struct NotedTables {
    pub model: ModelTables,
    disk: NotedDisk,
    versions: Arc<Mutex<Vec<(usize, ModelTables)>>>,
}

impl NotedTables {
    fn note(&self) {
        let version = (self.disk.noted(), self.model.image());
        self.versions.lock().expect("nobody panics with it").push(version);
    }

    /// What a crash after `done` operations leaves: a change just then happened or did not.
    pub fn possible(&self, done: usize) -> Vec<ModelTables> {
        let versions = self.versions.lock().expect("nobody panics with it");
        let sure = versions.iter().rev().find(|(at, _)| *at < done.max(1));
        let open = versions.iter().filter(|(at, _)| *at == done && done > 0);
        sure.into_iter().chain(open).map(|(_, tables)| tables.image()).collect()
    }
}

impl Tables for NotedTables {
    fn ingest(&self, run: TableRun<'_, '_>) -> Result<u64, TablesError> {
        let generation = self.model.ingest(run)?;
        self.note();
        Ok(generation)
    }

    fn get(&self, keys: &[Key], generation: u64) -> Result<Vec<Option<Bytes>>, TablesError> {
        self.model.get(keys, generation)
    }

    fn range(
        &self,
        range: &KeyRange,
        generation: u64,
        limit: RangeLimit,
    ) -> Result<RangeSlice, TablesError> {
        self.model.range(range, generation, limit)
    }

    fn compact(&self, oldest: u64, dead: &BTreeSet<u64>) -> Result<Compacted, TablesError> {
        let compacted = self.model.compact(oldest, dead)?;
        self.note();
        Ok(compacted)
    }

    fn generation(&self) -> u64 {
        self.model.generation()
    }

    fn stats(&self) -> TablesStats {
        self.model.stats()
    }
}

/// Log and tables in a directory.
pub struct Folder(pub PathBuf);

impl Folder {
    fn make(&self) {
        record::restore(&self.0, &Image::default());
        drop(LsmTables::create(&self.0.join("tables"), lsm_options()).expect("an empty folder"));
        Wal::create(&mut *self.disk(), &crate::log::options()).expect("an empty folder");
    }
}

impl Place for Folder {
    fn disk(&self) -> Box<dyn Disk> {
        Box::new(RealDisk::new(&self.0))
    }

    fn tables(&self) -> Result<Arc<dyn Tables>, String> {
        let tables = LsmTables::open(&self.0.join("tables"), lsm_options());
        Ok(Arc::new(tables.map_err(|error| error.to_string())?))
    }
}

/// What a shard's rows belong to.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Descriptor {
    applied: LogStart,
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
    descriptor: Descriptor,
    dead: BTreeSet<u64>,
    /// The last entry of the log, applied or not.
    last: (u64, u64),
    term: u64,
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

    fn log(&mut self, records: Vec<Record>) -> Result<(), String> {
        self.wal.append(&records).and_then(|()| self.wal.sync()).map_err(|error| error.to_string())
    }

    /// The next entry, after everything that was applied: what else the log has is replaced.
    fn entry(&mut self, command: Vec<u8>) -> Entry {
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

    fn write(&mut self, command: Vec<u8>) -> Result<(), String> {
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

    fn flush(&mut self) -> Result<(), String> {
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

    fn merge(&mut self) -> Result<(), String> {
        loop {
            let compacted = self.tables.compact(self.engine.oldest_generation(), &self.dead);
            if !compacted.map_err(|error| error.to_string())?.more {
                return Ok(());
            }
        }
    }

    /// The rows come in pieces, and a flush may fall between two of them.
    fn install(&mut self, rows: &Rows) -> Result<(), String> {
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

    fn settle(&mut self) -> Result<(), String> {
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

/// A store under way, with what is known of it at each operation of its disk.
pub struct Run {
    store: Option<Store>,
    place: Box<dyn Place>,
    noted: Box<dyn Fn() -> usize>,
    /// What clients may see, with how many operations the disk had seen before.
    states: Vec<(usize, Rows)>,
    acknowledged: Vec<(usize, usize)>,
    /// The rows of everything that was applied.
    applied: Rows,
    writes: u8,
    defect: Defect,
}

impl Run {
    fn begin(place: Box<dyn Place>, noted: Box<dyn Fn() -> usize>, rows: Rows) -> Run {
        let store = Store::open(&*place).expect("a store that is whole opens");
        Run {
            store: Some(store),
            place,
            states: vec![(0, rows.clone())],
            acknowledged: vec![(0, 0)],
            applied: rows,
            writes: 0,
            noted,
            defect: Defect::default(),
        }
    }

    fn store(&mut self) -> &mut Store {
        self.store.as_mut().expect("the store is open")
    }

    fn acknowledge(&mut self) {
        self.acknowledged.push(((self.noted)(), self.states.len() - 1));
    }

    pub fn step(&mut self, step: Step) {
        self.writes += 1;
        let (n, key) = (self.writes, [b'a' + self.writes % 3]);
        match step {
            Step::Put => self.write(vec![b'p', key[0], n, n, n]),
            Step::PutLarge => self.write([&[b'p', key[0]][..], &[n; 1200]].concat()),
            Step::Delete => self.write(vec![b'd', key[0]]),
            Step::FlushAll => self.write(vec![b'f']),
            Step::Tail => self.tail(vec![b'p', key[0], n]),
            Step::Vote => {
                let store = self.store();
                store.term += 1;
                let commit = store.descriptor.applied.index;
                let state = HardState { term: Term(store.term), vote: Some(ReplicaId(1)), commit };
                store.log(vec![Record::HardState { shard: SHARD, state }]).expect("it is sound");
            }
            Step::Flush => self.flush(),
            Step::Merge => self.store().merge().expect("the tables are sound"),
            Step::Install => self.install(n),
            Step::Settle => self.store().settle().expect("the log is sound"),
            Step::Restart => {
                self.store = None;
                let store = Store::open(&*self.place).expect("a stopped store opens");
                self.store = Some(store);
                // What only the log had is applied now.
                self.applied = self.states.last().expect("there is a first").1.clone();
                self.acknowledge();
            }
        }
    }

    /// The rows after a command.
    fn after(&self, command: &[u8]) -> Rows {
        let mut rows = self.applied.clone();
        match command {
            [b'p', key, value @ ..] => {
                rows.insert(vec![*key], value.to_vec());
            }
            [b'd', key] => {
                rows.remove(&vec![*key]);
            }
            _ => rows.clear(),
        }
        rows
    }

    fn write(&mut self, command: Vec<u8>) {
        let rows = self.after(&command);
        self.states.push(((self.noted)(), rows.clone()));
        if self.defect.hasty {
            self.acknowledge();
        }
        self.store().write(command).expect("the log is sound");
        self.acknowledge();
        self.applied = rows;
    }

    fn tail(&mut self, command: Vec<u8>) {
        let rows = self.after(&command);
        self.states.push(((self.noted)(), rows));
        let store = self.store();
        let entry = store.entry(command);
        let records = vec![Record::Entries { shard: SHARD, entries: vec![entry] }];
        store.log(records).expect("the log is sound");
        self.acknowledge();
    }

    fn flush(&mut self) {
        let start = self.store().descriptor.applied.clone();
        let compacted = vec![Record::LogStart { shard: SHARD, start }];
        if self.defect.compacts_early {
            self.store().log(compacted.clone()).expect("the log is sound");
        }
        self.store().flush().expect("the tables are sound");
        self.store().log(compacted).expect("the log is sound");
    }

    fn install(&mut self, n: u8) {
        let rows: Rows = [(vec![b'a'], vec![n; 700]), (vec![b'z'], vec![n; 3])].into();
        self.states.push(((self.noted)(), rows.clone()));
        self.store().install(&rows).expect("log and tables are sound");
        self.acknowledge();
        self.applied = rows;
    }

    /// What clients may see after a crash after `done` operations.
    fn possible(&self, done: usize) -> Vec<&Rows> {
        let promised = self.acknowledged.iter().filter(|(at, _)| *at <= done).map(|(_, n)| *n);
        let first = promised.max().expect("the first state is promised");
        let begun = self.states.iter().filter(|(at, _)| *at < done).count();
        self.states[first..begun.max(first + 1)].iter().map(|(_, rows)| rows).collect()
    }
}

/// Defects to be played, and found.
#[derive(Clone, Copy, Default)]
pub struct Defect {
    /// Leaves operations out of the trace, as though the code had not asked for them.
    pub forgets: Option<fn(&Op) -> bool>,
    /// Promises before the sync.
    pub hasty: bool,
    /// The log is compacted before the tables have the run.
    pub compacts_early: bool,
}

/// What tables a history runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The model in memory.
    Model,
    /// `lsm-tree`, in real files.
    Lsm,
}

/// Directories for real files, in memory where the system has such a place. They go away with it.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new() -> Scratch {
        let shared = Path::new("/dev/shm");
        let base = if shared.is_dir() { shared.to_owned() } else { std::env::temp_dir() };
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        Scratch(base.join(format!("underpin-crash-{}-{number}", std::process::id())))
    }

    /// A directory in it.
    pub fn folder(&self, name: &str) -> Folder {
        Folder(self.0.join(name))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What a store goes through before a history begins: runs that were merged, dead data ids, a log
/// of several segments.
const PAST: [Step; 12] = [
    Step::Put,
    Step::Flush,
    Step::PutLarge,
    Step::Put,
    Step::Flush,
    Step::FlushAll,
    Step::PutLarge,
    Step::Flush,
    Step::Merge,
    Step::PutLarge,
    Step::Settle,
    Step::Put,
];

/// A disk on which histories begin, and what is on it.
struct Beginning {
    image: Image,
    tables: ModelTables,
    rows: Rows,
}

fn beginning(kind: Kind, scratch: &Scratch, with_past: bool) -> Beginning {
    let past: &[Step] = if with_past { &PAST } else { &[] };
    match kind {
        Kind::Model => {
            let memory = Memory::of(&Image::default(), &ModelTables::new());
            Wal::create(&mut *memory.disk(), &crate::log::options()).expect("an empty disk");
            let mut run = Run::begin(Box::new(memory.clone()), Box::new(|| 0), Rows::new());
            past.iter().for_each(|step| run.step(*step));
            let rows = run.applied.clone();
            drop(run);
            Beginning { image: memory.disk.image(), tables: memory.tables.model.image(), rows }
        }
        Kind::Lsm => {
            let folder = scratch.folder("begin");
            folder.make();
            let path = folder.0.clone();
            let mut run = Run::begin(Box::new(folder), Box::new(|| 0), Rows::new());
            past.iter().for_each(|step| run.step(*step));
            let rows = run.applied.clone();
            drop(run);
            Beginning { image: record::read(&path), tables: ModelTables::new(), rows }
        }
    }
}

/// Checks histories one after the other.
pub struct Checker {
    kind: Kind,
    scratch: Scratch,
    beginnings: [Beginning; 2],
    pub defect: Defect,
}

impl Checker {
    pub fn new(kind: Kind) -> Checker {
        let scratch = Scratch::new();
        let beginnings = [false, true].map(|with_past| beginning(kind, &scratch, with_past));
        Checker { kind, scratch, beginnings, defect: Defect::default() }
    }

    /// Runs one history and checks every crash within its last step.
    pub fn check(
        &self,
        steps: &[Step],
        with_past: bool,
        plan: &Plan,
        tally: &mut Tally,
    ) -> Result<(), String> {
        let beginning = &self.beginnings[usize::from(with_past)];
        let (last, before) = steps.split_last().expect("a history has a step");
        let story = |run: &mut Run| {
            run.defect = self.defect;
            before.iter().for_each(|step| run.step(*step));
            let from = (run.noted)();
            run.step(*last);
            from
        };
        let (run, from, mut platter, ops, tables) = match self.kind {
            Kind::Model => {
                let memory = Memory::of(&beginning.image, &beginning.tables);
                let disk = memory.disk.clone();
                let (tables, noted) = (memory.tables.clone(), disk.clone());
                let noted = Box::new(move || noted.noted());
                let mut run = Run::begin(Box::new(memory), noted, beginning.rows.clone());
                let from = story(&mut run);
                (run, from, Platter::of(&beginning.image), disk.ops(), Some(tables))
            }
            Kind::Lsm => {
                let folder = self.scratch.folder("run");
                record::restore(&folder.0, &beginning.image);
                let recording = Recording::begin(&folder.0);
                let noted = Box::new(record::noted);
                let mut run = Run::begin(Box::new(folder), noted, beginning.rows.clone());
                let from = story(&mut run);
                let (platter, ops) = recording.end();
                (run, from, platter, ops, None)
            }
        };
        let cut = |platter: &Platter, done: usize, tally: &mut Tally| {
            tally.boundaries += 1;
            let mut failure = Ok(());
            platter.images(plan, |image| {
                let versions =
                    tables.as_ref().map_or(vec![ModelTables::new()], |t| t.possible(done));
                for tables in versions {
                    tally.images += 1;
                    if failure.is_ok() {
                        failure = self.judge(&run, &image, &tables, done, tally);
                    }
                }
            });
            let kind = self.kind;
            failure.map_err(|why| {
                let near = ops[done.saturating_sub(6)..(done + 1).min(ops.len())].iter();
                let near: String = near
                    .map(|op| format!("{op:?}").chars().take(90).chain(['\n']).collect::<String>())
                    .collect();
                format!("{kind:?} {steps:?}, past {with_past}, after {done}: {why}\n{near}")
            })
        };
        for (done, op) in ops.iter().enumerate() {
            if op.is_sync() && done > from {
                cut(&platter, done, tally)?;
            }
            if !self.defect.forgets.is_some_and(|forgets| forgets(op)) {
                platter.apply(op);
            }
        }
        cut(&platter, ops.len(), tally)
    }

    fn judge(
        &self,
        run: &Run,
        image: &Image,
        tables: &ModelTables,
        done: usize,
        tally: &mut Tally,
    ) -> Result<(), String> {
        let possible = run.possible(done);
        let place = self.place(image, tables);
        let (store, rows) = recover(&*place, &possible)?;
        if tally.images.is_multiple_of(4) {
            go_on(store, &*place, rows)?;
        }
        if tally.images.is_multiple_of(32) {
            let second = self.crash_in_recovery(image, tables, &possible, tally);
            second.map_err(|why| format!("second crash: {why}"))?;
        }
        Ok(())
    }

    fn place(&self, image: &Image, tables: &ModelTables) -> Box<dyn Place> {
        match self.kind {
            Kind::Model => Box::new(Memory::of(image, tables)),
            Kind::Lsm => {
                let folder = self.scratch.folder("image");
                record::restore(&folder.0, image);
                Box::new(folder)
            }
        }
    }

    /// The plug is pulled again while the store is being read back.
    fn crash_in_recovery(
        &self,
        image: &Image,
        tables: &ModelTables,
        possible: &[&Rows],
        tally: &mut Tally,
    ) -> Result<(), String> {
        let (mut platter, ops) = match self.kind {
            Kind::Model => {
                let memory = Memory::of(image, tables);
                recover(&memory, possible)?;
                (Platter::of(image), memory.disk.ops())
            }
            Kind::Lsm => {
                let folder = self.scratch.folder("recovery");
                record::restore(&folder.0, image);
                let recording = Recording::begin(&folder.0);
                let recovered = recover(&folder, possible).map(drop);
                let noted = recording.end();
                recovered?;
                noted
            }
        };
        let plan = Plan { limit: 8, samples: 6, torn: false, seed: tally.images };
        // Recovery ends with syncs; what it did after them is cut off at the end.
        for (done, op) in ops.iter().map(Some).chain([None]).enumerate() {
            if done > 0 && op.is_none_or(Op::is_sync) {
                let mut failure = Ok(());
                platter.images(&plan, |image| {
                    tally.images += 1;
                    tally.second += 1;
                    if failure.is_ok() {
                        failure = recover(&*self.place(&image, tables), possible).map(drop);
                    }
                });
                failure?;
            }
            op.into_iter().for_each(|op| platter.apply(op));
        }
        Ok(())
    }
}

fn recover(place: &dyn Place, possible: &[&Rows]) -> Result<(Store, Rows), String> {
    let mut store = Store::open(place)?;
    let rows = store.rows()?;
    if possible.contains(&&rows) {
        return Ok((store, rows));
    }
    Err(format!("{rows:?} is none of {possible:?}"))
}

/// A store that came back takes more, and keeps it.
fn go_on(mut store: Store, place: &dyn Place, mut rows: Rows) -> Result<(), String> {
    store.write(vec![b'p', b'y', 1])?;
    store.flush()?;
    store.merge()?;
    store.write(vec![b'p', b'x', 2])?;
    store.settle()?;
    rows.extend([(vec![b'y'], vec![1]), (vec![b'x'], vec![2])]);
    let seen = store.rows()?;
    if seen != rows {
        return Err(format!("going on: {seen:?} instead of {rows:?}"));
    }
    drop(store);
    let seen = Store::open(place)?.rows()?;
    if seen != rows {
        return Err(format!("after going on and a restart: {seen:?} instead of {rows:?}"));
    }
    Ok(())
}

/// Runs histories until there are enough images.
pub fn campaign(kind: Kind, wanted: u64, samples: u64) -> Result<Tally, String> {
    let mut tally = Tally::begin();
    let checker = Checker::new(kind);
    for (n, history) in histories(&STEPS).iter().enumerate() {
        for with_past in [true, false] {
            let plan = Plan { limit: samples * 2, samples, torn: true, seed: n as u64 };
            checker.check(history, with_past, &plan, &mut tally)?;
        }
        tally.histories += 1;
        if tally.images >= wanted {
            break;
        }
    }
    Ok(tally.end())
}
