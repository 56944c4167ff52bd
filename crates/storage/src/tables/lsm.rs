//! Tables on disk, by the `lsm-tree` crate.
//!
//! That crate is used without its memtables and without any log: runs go in through its ingestion,
//! which writes whole files, syncs them, and then publishes them with one atomic switch of its
//! version file. What it does not do for us is done here:
//!
//! - It tells snapshots apart by sequence numbers, of which every ingestion and every compaction
//!   takes one. A *generation* is the number that was next when an ingestion had ended, and it is
//!   read at the highest number below the next ingestion's, so that a compaction in between gives
//!   its old files up. While an ingestion is under way that number must not move, see
//!   [`State::caught_up`].
//! - Its checksums say that a block is wrong but not in which file; after such an error every file
//!   is compared with the checksum that the version has of it, and the culprit is named.
//! - It does not verify its version file when opened, and would make a new tree where that file is
//!   missing; both are checked here before it is let near them.
//! - Its checksums are of blocks, its errors don't say of which: [`blocks`] finds it.
//! - After a failure it leaves unfinished files until the next start; on a full disk they would be
//!   in the way, so they are removed at once.
//!
//! # A full disk
//!
//! What is deleted is freed by merging, and before anything is freed there must be room for a table
//! and for what a merge leaves. That is what the [`reserve`](super::reserve) is lent for. As long as
//! some of it is missing, merging goes for space instead of speed: files of dead ids alone go first,
//! which takes no more room than the list of all files; then every delete meets what it deletes, in
//! merges of few files, as [`squeeze`] says. What that can't do, since it covers too much or a
//! reader had still to see what was deleted, rewriting everything may: it leaves what is live, and
//! on a full disk that may be little.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

use super::reserve::Reserve;
use super::{
    Compacted, DATA_ID_BYTES, RangeLimit, RangeSlice, Reserved, Run, Tables, TablesError,
    TablesStats, blocks, data_id, squeeze,
};
use crate::disk::is_full;
use base::key::prefix_end;
use base::{Key, KeyRange};
use bytes::Bytes;
use lsm_tree::compaction::filter::Context;
use lsm_tree::compaction::{CompactionFilter, Factory, ItemAccessor, Leveled, Verdict};
use lsm_tree::{
    AbstractTree, AnyTree, Cache, Checksum, Config, Error, Guard, SequenceNumberCounter, Slice,
    Table,
};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, RwLock, RwLockReadGuard};
use xxhash_rust::xxh3::xxh3_128;

/// How the tables are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LsmOptions {
    /// Bytes of the cache of blocks; default 32 MiB, as hot rows are in the engine's row cache.
    pub cache_bytes: u64,
    /// Bytes that a merged file aims at; default 64 MiB.
    pub table_bytes: u64,
    /// Fresh runs from which on they are merged; default 4.
    pub fresh_runs: u8,
    /// If rows of dead ids linger in files that nothing else causes to be merged, everything is
    /// rewritten, provided it takes no more than this; default 1 GiB.
    pub rewrite_bytes_max: u64,
    /// Bytes kept for a full disk: for a memtable that must be written out, and for the log if it
    /// can't go on before that. Default 48 MiB, a memtable and a segment.
    pub reserve_bytes: u64,
}

impl Default for LsmOptions {
    fn default() -> LsmOptions {
        LsmOptions {
            cache_bytes: 32 << 20,
            table_bytes: 64 << 20,
            fresh_runs: 4,
            rewrite_bytes_max: 1 << 30,
            reserve_bytes: 48 << 20,
        }
    }
}

const CURRENT: &str = "current";
const TABLES: &str = "tables";

/// What to do when the operating system failed.
const CHECK_DISK: &str = "check the disk, then start the node again; if the disk is broken, run \
                          \"underpin node replace\" on a new one";

/// Tables on disk, kept by the `lsm-tree` crate.
pub struct LsmTables {
    tree: AnyTree,
    path: PathBuf,
    options: LsmOptions,
    /// The next sequence number of the tree.
    next: SequenceNumberCounter,
    cache: Arc<Cache>,
    dead: Arc<Mutex<BTreeSet<u64>>>,
    ingesting: Mutex<()>,
    compacting: Mutex<()>,
    state: RwLock<State>,
    reserve: Mutex<Reserve>,
}

#[derive(Debug)]
struct State {
    /// The generations that may be read, and at which sequence number. Never empty.
    readable: BTreeMap<u64, u64>,
    ingesting: bool,
}

impl State {
    fn newest(&self) -> u64 {
        *self.readable.last_key_value().expect("a generation is always readable").0
    }

    fn oldest(&self) -> u64 {
        *self.readable.first_key_value().expect("a generation is always readable").0
    }

    /// Lets readers of the newest generation see the files that a compaction left. Not during an
    /// ingestion: its number may have been taken already, and its rows are not of this generation.
    fn caught_up(&mut self, next: u64) {
        if !self.ingesting {
            let newest = self.newest();
            self.readable.insert(newest, next);
        }
    }
}

/// Drops rows of dead ids.
struct DeadRows(Arc<Mutex<BTreeSet<u64>>>);

struct DropDead(BTreeSet<u64>);

impl Factory for DeadRows {
    fn name(&self) -> &str {
        "dead data ids"
    }

    fn make_filter(&self, _: &Context) -> Box<dyn CompactionFilter> {
        Box::new(DropDead(lock(&self.0).clone()))
    }
}

impl CompactionFilter for DropDead {
    fn filter_item(&mut self, item: ItemAccessor<'_>, _: &Context) -> lsm_tree::Result<Verdict> {
        let dead = data_id(item.key()).is_some_and(|id| self.0.contains(&id));
        // Older contents of the row may come to light: nobody reads a dead id.
        Ok(if dead { Verdict::Destroy } else { Verdict::Keep })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no holder of this lock panics")
}

impl LsmTables {
    /// Makes empty tables in a new data directory.
    pub fn create(path: &Path, options: LsmOptions) -> Result<LsmTables, TablesError> {
        if path.join(CURRENT).exists() {
            return Err(TablesError::Io {
                doing: format!("creating tables in {}", path.display()),
                error: "tables are there already; choose an empty directory".to_owned(),
            });
        }
        LsmTables::open_tree(path, options)
    }

    /// Removes tables without any row, which a crash while a directory was formatted may leave.
    /// Others are an error.
    pub fn discard_empty(path: &Path) -> Result<(), TablesError> {
        let doing = || format!("removing the unfinished tables in {}", path.display());
        if !path.exists() {
            return Ok(());
        }
        let files = fs::read_dir(path.join(TABLES)).map(Iterator::count).unwrap_or(0);
        if files > 0 {
            let error = "there are rows in it; choose an empty directory".to_owned();
            return Err(TablesError::Io { doing: doing(), error });
        }
        fs::remove_dir_all(path).map_err(|error| io_error(doing(), &error))
    }

    /// Opens the tables of a data directory.
    pub fn open(path: &Path, options: LsmOptions) -> Result<LsmTables, TablesError> {
        check_version(path)?;
        LsmTables::open_tree(path, options)
    }

    fn open_tree(path: &Path, options: LsmOptions) -> Result<LsmTables, TablesError> {
        let next = SequenceNumberCounter::new(1);
        let cache = Arc::new(Cache::with_capacity_bytes(options.cache_bytes));
        let dead = Arc::new(Mutex::new(BTreeSet::new()));
        let opened = Config::new(path, next.clone(), SequenceNumberCounter::default())
            .use_cache(cache.clone())
            .with_compaction_filter_factory(Some(Arc::new(DeadRows(dead.clone()))))
            .open();
        let tree = opened.map_err(|error| unopened(path, &error))?;
        let newest = if tree.table_count() == 0 {
            0
        } else {
            tree.get_highest_persisted_seqno().unwrap_or(0) + 1
        };
        next.fetch_max(newest.max(1));
        let readable = [(newest, newest.max(1))].into();
        let reserve = Reserve::open(path, options.reserve_bytes).map_err(|error| {
            io_error(format!("opening the reserve in {}", path.display()), &error)
        })?;
        Ok(LsmTables {
            tree,
            path: path.to_owned(),
            options,
            next,
            cache,
            dead,
            ingesting: Mutex::new(()),
            compacting: Mutex::new(()),
            state: RwLock::new(State { readable, ingesting: false }),
            reserve: Mutex::new(reserve),
        })
    }

    /// Reads every file whole and compares it with its checksum.
    pub fn verify(&self) -> Result<(), TablesError> {
        for table in self.tree.current_version().iter_tables() {
            let path = table.path.display().to_string();
            let content = fs::read(&*table.path)
                .map_err(|error| io_error(format!("reading {path}"), &error))?;
            let (expected, seen) = (table.checksum().into_u128(), xxh3_128(&content));
            if expected != seen {
                let offset = Some(blocks::first_bad(&content));
                let expected = format!("checksum {expected:032x}");
                let seen = format!("{seen:032x}");
                return Err(TablesError::Corrupt { path, offset, expected, seen });
            }
        }
        Ok(())
    }

    fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().expect("no holder of this lock panics")
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.write().expect("no holder of this lock panics"))
    }

    /// The sequence number at which `generation` is read, valid while the guard is held.
    fn readable(&self, asked: u64) -> Result<(RwLockReadGuard<'_, State>, u64), TablesError> {
        let state = self.state();
        match state.readable.get(&asked) {
            Some(at) => {
                let at = *at;
                Ok((state, at))
            }
            None => {
                let (oldest, newest) = (state.oldest(), state.newest());
                Err(TablesError::NoSuchGeneration { asked, oldest, newest })
            }
        }
    }

    /// What an error of the tree means to us.
    fn explain(&self, doing: &str, error: Error) -> TablesError {
        if let Error::Io(cause) = &error
            && !misled(&error)
        {
            return io_error(format!("{doing} in {}", self.path.display()), cause);
        }
        match self.verify() {
            Err(culprit) => culprit,
            Ok(()) => TablesError::Corrupt {
                path: self.path.join(TABLES).display().to_string(),
                offset: None,
                expected: "readable tables".to_owned(),
                seen: error.to_string(),
            },
        }
    }

    fn write_run(&self, run: Run<'_, '_>) -> Result<bool, Error> {
        let mut ingestion = None;
        for (key, value) in run {
            let ingestion = match &mut ingestion {
                Some(ingestion) => ingestion,
                none => none.insert(self.tree.ingestion()?),
            };
            let key = Slice::from(key.clone());
            match value {
                Some(value) => ingestion.write(key, Slice::from(value.clone()))?,
                None => ingestion.write_tombstone(key)?,
            }
        }
        match ingestion {
            Some(ingestion) => ingestion.finish().map(|()| true),
            None => Ok(false),
        }
    }

    /// Removes files with numbers from `first` on that did not become part of the tables. Only
    /// while nothing is being written.
    fn sweep(&self, first: u64) {
        let version = self.tree.current_version();
        let kept: BTreeSet<u64> = version.iter_tables().map(|table| table.id()).collect();
        let last = self.tree.next_table_id();
        for number in (first..=last).filter(|number| !kept.contains(number)) {
            // It may never have been begun; what can't be removed goes with the next start.
            let _ = fs::remove_file(self.path.join(TABLES).join(number.to_string()));
        }
    }

    /// Lets files go that hold nothing but rows of dead ids, and does one merge.
    fn merge_once(&self, dead: &BTreeSet<u64>) -> Result<bool, Error> {
        let before = self.tree.current_version().id();
        for id in dead.iter().filter(|id| self.has_files_of(**id)) {
            let (start, end) = span(*id);
            self.tree.drop_range::<Bytes, _>((start, end))?;
        }
        // The merge may need the room that they leave.
        self.give_up_old()?;
        if self.is_short() {
            self.squeeze_once()?;
        } else {
            self.merge_levels(self.options.fresh_runs, self.options.table_bytes)?;
        }
        Ok(self.tree.current_version().id() != before)
    }

    /// Merges what a level has too much of with the next.
    fn merge_levels(&self, fresh_runs: u8, table_bytes: u64) -> Result<bool, Error> {
        let before = self.tree.current_version().id();
        let strategy =
            Leveled::default().with_l0_threshold(fresh_runs).with_table_target_size(table_bytes);
        self.tree.compact(Arc::new(strategy), self.watermark())?;
        Ok(self.tree.current_version().id() != before)
    }

    fn is_short(&self) -> bool {
        lock(&self.reserve).is_short()
    }

    /// Brings deletes nearer to what they delete.
    fn squeeze_once(&self) -> Result<(), Error> {
        if squeeze::must_be_cut(&self.tree) {
            self.cover_fresh()?;
        }
        squeeze::step(&self.tree, self.options.table_bytes, self.watermark()).map(drop)
    }

    /// Writes a row of the fresh run once more, as it is. Two runs with a row in common are merged,
    /// and cut thereby, where one would only be moved.
    fn cover_fresh(&self) -> Result<(), Error> {
        // Nobody may change the row meanwhile. Whoever has this lock may wait for a merge to end.
        let Ok(_nothing_else) = self.ingesting.try_lock() else { return Ok(()) };
        let version = self.tree.current_version();
        let Some(fresh) = version.l0().first_run().and_then(|run| run.first()) else {
            return Ok(());
        };
        let key = copied(fresh.metadata.key_range.min());
        let value = {
            let state = self.state();
            self.tree.get(&key, state.readable[&state.newest()])?.as_ref().map(copied)
        };
        self.write_run(&mut std::iter::once((&key, value.as_ref())))?;
        Ok(())
    }

    /// Rewrites everything, if that isn't too much and there is something to gain.
    fn rewrite(&self) -> Result<bool, Error> {
        let worth = squeeze::is_worth_rewriting(&self.tree)
            && self.tree.disk_space() <= self.options.rewrite_bytes_max;
        if worth {
            let table_bytes = squeeze::table_bytes(self.options.table_bytes);
            self.tree.major_compact(table_bytes, self.watermark())?;
            self.give_up_old()?;
        }
        Ok(worth)
    }

    /// One merge; on a full disk, if it has no room or there is none, whatever else may free some.
    fn merge_or_rewrite(&self, dead: &BTreeSet<u64>, first: u64) -> Result<bool, Error> {
        let merged = self.merge_once(dead);
        if !self.is_short() || !(has_no_room(&merged) || matches!(merged, Ok(false))) {
            return merged;
        }
        self.sweep_unless_ingesting(first);
        // Fresh deletes may end fresh rows before they come to the others.
        let table_bytes = squeeze::roomy_table_bytes(&self.tree, self.options.table_bytes);
        let fresh = self.merge_levels(1, table_bytes);
        if !(has_no_room(&fresh) || matches!(fresh, Ok(false))) {
            return fresh;
        }
        self.sweep_unless_ingesting(first);
        match self.rewrite()? {
            true => Ok(false),
            false => merged,
        }
    }

    fn sweep_unless_ingesting(&self, first: u64) {
        if let Ok(_nothing_else) = self.ingesting.try_lock() {
            self.sweep(first);
        }
    }

    /// What is older than this may be merged away.
    fn watermark(&self) -> u64 {
        let state = self.state();
        state.readable[&state.oldest()]
    }

    /// Whether some file has nothing but rows of `id`: it can go without being read. The tree makes
    /// a new version of itself even when asked to drop nothing, and merging would never end.
    fn has_files_of(&self, id: u64) -> bool {
        let version = self.tree.current_version();
        version.iter_tables().any(|table| {
            let keys = &table.metadata.key_range;
            data_id(keys.min()) == Some(id) && data_id(keys.max()) == Some(id)
        })
    }

    /// Dead ids of which no row is left in the newest generation.
    fn gone(&self, dead: &BTreeSet<u64>) -> Result<BTreeSet<u64>, Error> {
        let mut gone = BTreeSet::new();
        for id in dead {
            let mut rows = {
                let state = self.state();
                let at = state.readable[&state.newest()];
                self.tree.range::<Bytes, _>(span(*id), at, None)
            };
            if rows.next().map(Guard::into_inner).transpose()?.is_none() {
                gone.insert(*id);
            }
        }
        Ok(gone)
    }

    /// Lets the files go that no readable generation needs.
    fn give_up_old(&self) -> Result<(), Error> {
        let mut state = self.state.write().expect("no holder of this lock panics");
        // Asked for under the lock: outside, an ingestion could come and go in between.
        state.caught_up(self.next.get());
        let watermark = state.readable[&state.oldest()];
        // Readers take their version under the other side of this lock.
        self.tree.get_version_history_lock().maintenance(&self.path, watermark)
    }

    fn compact_locked(
        &self,
        oldest: u64,
        dead: &BTreeSet<u64>,
        first: u64,
    ) -> Result<Compacted, Error> {
        self.change(|state| {
            let newest = state.newest();
            state.readable.retain(|generation, _| *generation >= oldest || *generation == newest);
        });
        self.dead_are(dead);
        let mut more = self.merge_or_rewrite(dead, first)?;
        self.give_up_old()?;
        let mut gone = self.gone(dead)?;
        let lingering = gone.len() < dead.len();
        if !more && lingering && self.tree.disk_space() <= self.options.rewrite_bytes_max {
            self.tree.major_compact(self.options.table_bytes, self.watermark())?;
            self.give_up_old()?;
            gone = self.gone(dead)?;
            more = false;
        }
        Ok(Compacted { more, gone })
    }

    fn dead_are(&self, dead: &BTreeSet<u64>) {
        lock(&self.dead).clone_from(dead);
    }
}

/// The keys of a data id.
fn span(id: u64) -> (Bound<Bytes>, Bound<Bytes>) {
    let start = Bytes::copy_from_slice(&id.to_be_bytes()[..DATA_ID_BYTES]);
    let end = prefix_end(&start).map_or(Bound::Unbounded, Bound::Excluded);
    (Bound::Included(start), end)
}

fn is_no_room(error: &Error) -> bool {
    matches!(error, Error::Io(error) if is_full(error))
}

fn has_no_room<T>(done: &Result<T, Error>) -> bool {
    done.as_ref().is_err_and(is_no_room)
}

/// Whether a system call failed because of what a damaged file made us ask for.
fn misled(error: &Error) -> bool {
    match error {
        Error::Io(error) => matches!(
            error.kind(),
            io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData
        ),
        _ => true,
    }
}

/// Why the tables can't be opened: the first file that can't be read alone, if there is one.
fn unopened(path: &Path, error: &Error) -> TablesError {
    if let Error::Io(cause) = error
        && !misled(error)
    {
        return io_error(format!("opening the tables in {}", path.display()), cause);
    }
    let corrupt = |path: PathBuf, error: &Error| TablesError::Corrupt {
        path: path.display().to_string(),
        offset: fs::read(&path).ok().map(|content| blocks::first_bad(&content)),
        expected: "a readable table".to_owned(),
        seen: error.to_string(),
    };
    let cache = Arc::new(Cache::with_capacity_bytes(0));
    let files = fs::read_dir(path.join(TABLES)).into_iter().flatten().flatten();
    for file in files.map(|file| file.path()) {
        // The checksum and the numbers are only noted, not looked at.
        let (checksum, cache) = (Checksum::from_raw(0), cache.clone());
        let table = Table::recover(file.clone(), checksum, 0, 0, cache, None, true, true);
        if let Err(error) = table {
            return corrupt(file, &error);
        }
    }
    corrupt(path.join(TABLES), error)
}

fn io_error(doing: String, error: &io::Error) -> TablesError {
    if is_full(error) {
        return TablesError::Full;
    }
    TablesError::Io { doing, error: format!("{error}; {CHECK_DISK}") }
}

/// Compares the version file with its checksum. It is what says which tables there are, and in
/// what order.
fn check_version(path: &Path) -> Result<(), TablesError> {
    let current = path.join(CURRENT);
    let corrupt = |path: &Path, expected: String, seen: String| {
        Err(TablesError::Corrupt { path: path.display().to_string(), offset: None, expected, seen })
    };
    let pointer = match fs::read(&current) {
        Ok(pointer) => pointer,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return corrupt(&current, "the tables of this directory".into(), "no file".into());
        }
        Err(error) => return Err(io_error(format!("reading {}", current.display()), &error)),
    };
    let (Some(number), Some(expected)) = (pointer.first_chunk(), pointer.get(8..24)) else {
        return corrupt(&current, "24 bytes".into(), format!("{} bytes", pointer.len()));
    };
    let number = u64::from_le_bytes(*number);
    let expected = u128::from_le_bytes(expected.try_into().expect("sixteen bytes"));
    let version = path.join(format!("v{number}"));
    let content = match fs::read(&version) {
        Ok(content) => content,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return corrupt(
                &version,
                "the version that \"current\" names".into(),
                "no file".into(),
            );
        }
        Err(error) => return Err(io_error(format!("reading {}", version.display()), &error)),
    };
    let seen = xxh3_128(&content);
    if seen != expected {
        return corrupt(&version, format!("checksum {expected:032x}"), format!("{seen:032x}"));
    }
    Ok(())
}

fn copied(bytes: &Slice) -> Bytes {
    // A copy, so that a row does not keep its whole block in memory.
    Bytes::copy_from_slice(bytes)
}

impl Tables for LsmTables {
    fn ingest(&self, run: Run<'_, '_>) -> Result<u64, TablesError> {
        let _one = lock(&self.ingesting);
        let first = self.tree.next_table_id();
        self.change(|state| state.ingesting = true);
        let written = self.write_run(run);
        let added = written.as_ref().is_ok_and(|added| *added);
        if !added {
            // An empty run is a generation too.
            let _taken = self.next.next();
        }
        let generation = self.next.get();
        self.change(|state| {
            state.ingesting = false;
            if written.is_ok() {
                state.readable.insert(generation, generation);
            }
        });
        match written {
            Ok(_) => Ok(generation),
            Err(error) => {
                let _nothing_else = lock(&self.compacting);
                self.sweep(first);
                Err(self.explain("flushing", error))
            }
        }
    }

    fn get(&self, keys: &[Key], generation: u64) -> Result<Vec<Option<Bytes>>, TablesError> {
        let (_guard, at) = self.readable(generation)?;
        keys.iter()
            .map(|key| Ok(self.tree.get(key, at)?.as_ref().map(copied)))
            .collect::<Result<_, Error>>()
            .map_err(|error| self.explain("reading rows", error))
    }

    fn range(
        &self,
        range: &KeyRange,
        generation: u64,
        limit: RangeLimit,
    ) -> Result<RangeSlice, TablesError> {
        let mut slice = RangeSlice::default();
        if range.is_empty() {
            return Ok(slice);
        }
        let end = range.end.clone().map_or(Bound::Unbounded, Bound::Excluded);
        let rows = {
            let (_guard, at) = self.readable(generation)?;
            self.tree.range::<Bytes, _>((Bound::Included(range.start.clone()), end), at, None)
        };
        let mut bytes = 0;
        for row in rows {
            let (key, value) =
                row.into_inner().map_err(|error| self.explain("reading a range", error))?;
            if slice.rows.len() >= limit.rows || bytes >= limit.bytes {
                slice.covered_until = Some(copied(&key));
                break;
            }
            bytes += key.len() + value.len();
            slice.rows.push((copied(&key), copied(&value)));
        }
        Ok(slice)
    }

    fn compact(&self, oldest: u64, dead: &BTreeSet<u64>) -> Result<Compacted, TablesError> {
        let _one = lock(&self.compacting);
        let first = self.tree.next_table_id();
        self.compact_locked(oldest, dead, first).map_err(|error| {
            self.sweep_unless_ingesting(first);
            self.explain("merging tables", error)
        })
    }

    fn lend(&self, bytes: u64) -> Result<u64, TablesError> {
        let lent = lock(&self.reserve).lend(bytes);
        lent.map_err(|error| io_error(format!("lending room in {}", self.path.display()), &error))
    }

    fn tend(&self) -> Result<Reserved, TablesError> {
        let stands = lock(&self.reserve).tend();
        stands.map_err(|error| {
            io_error(format!("writing the reserve in {}", self.path.display()), &error)
        })
    }

    fn generation(&self) -> u64 {
        self.state().newest()
    }

    fn stats(&self) -> TablesStats {
        TablesStats {
            tables: self.tree.table_count(),
            fresh_runs: self.tree.l0_run_count(),
            disk_bytes: self.tree.disk_space(),
            rows: self.tree.approximate_len() as u64,
            cache_bytes: self.cache.size(),
        }
    }
}
