//! The rows of a node as its thread sees them: memtables, read views and a row cache.
//!
//! # The problem
//!
//! The node thread must never wait for a disk, yet most rows are on one. So the engine answers from
//! memory, and says [`Lookup::Unknown`] when only the tables can tell; the node then sends a fetch
//! to a helper thread and goes on with other shards.
//!
//! # Versions
//!
//! Each [`Engine::write`] is one step of the store's history and gets the next number, its seq. The
//! active memtable takes it. When that is full, [`Engine::freeze`] puts it aside and hands it to
//! the flush thread; [`Engine::flushed`] says that the tables have it as one sorted run, and each
//! such run is the next *generation* of the tables.
//!
//! ```text
//!   writes -> active | frozen 3 | frozen 2 (being flushed) || tables of generation 1
//! ```
//!
//! A read view is a pair (seq, generation): it sees the versions of memtables up to its seq, from
//! tables that were not yet in its generation, and below them the tables as of its generation. So
//! a frozen memtable is kept until its flush is published *and* no view is open that is older. An
//! overwritten version is dropped at once when no view can see it.
//!
//! # What a fetch may bring
//!
//! A row read from the tables is the latest if the key was not written since the fetch began. The
//! engine watches the keys of every fetch under way: a write to one wins over what the fetch brings
//! later. What a fetch brought is held until [`Engine::fetch_ended`], however small the cache is,
//! so that whoever waited for it finds it.
//!
//! Rows handed to [`Engine::write`] should own their bytes: a slice of a large buffer keeps all of
//! it in memory.

mod cache;
mod memtable;
#[cfg(test)]
mod tests;

use base::{Key, KeyRange};
use bytes::Bytes;
use cache::Cache;
use memtable::Memtable;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// How memory is spent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineOptions {
    /// Bytes of the active memtable from which on it should be frozen; default 32 MiB, which a
    /// helper thread flushes in well under a second.
    pub memtable_bytes: usize,
    /// Bytes that the row cache may take; default 64 MiB.
    pub cache_bytes: usize,
    /// Seed of the cache's hash; drawn at random, so that clients can't make keys collide.
    pub cache_seed: u64,
}

impl Default for EngineOptions {
    fn default() -> EngineOptions {
        EngineOptions { memtable_bytes: 32 << 20, cache_bytes: 64 << 20, cache_seed: 0 }
    }
}

/// What is known of a row without reading the tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// The row's content.
    Found(Bytes),
    /// There is no such row.
    Absent,
    /// Only the tables can tell.
    Unknown,
}

impl Lookup {
    fn known(value: &Option<Bytes>) -> Lookup {
        match value {
            Some(value) => Lookup::Found(value.clone()),
            None => Lookup::Absent,
        }
    }
}

/// A value of a memtable, to be kept elsewhere: a copy, since it is a slice of many rows' memory.
fn owned(value: Option<Bytes>) -> Option<Bytes> {
    value.map(|value| match value.len() {
        0..=memtable::COPY_BYTES_MAX => Bytes::copy_from_slice(&value),
        _ => value,
    })
}

/// What a row's only version takes of a memtable.
pub fn version_bytes(key: usize, value: usize) -> usize {
    memtable::VERSION_BYTES + key + value
}

/// An open read view.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ViewId(pub u64);

/// A fetch under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FetchId(pub u64);

/// A frozen memtable to be written into the tables; jobs are published in order of their id.
#[derive(Clone, Debug)]
pub struct FlushJob {
    /// For [`Engine::flushed`].
    pub id: u64,
    /// What to write.
    pub rows: Arc<FrozenMemtable>,
}

/// A memtable that takes no more writes. Dropping the last handle of a large one takes a while:
/// let a helper thread do it.
#[derive(Debug)]
pub struct FrozenMemtable {
    table: Memtable,
    id: u64,
}

impl FrozenMemtable {
    /// The latest version of every row, in order; `None` deletes the row.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = (&Key, Option<&Bytes>)> {
        self.table.latest().map(|(key, value)| (key, value.as_ref()))
    }

    /// Bytes of memory that it takes.
    pub fn bytes(&self) -> usize {
        self.table.bytes
    }

    /// The seq of its last write.
    pub fn last_seq(&self) -> u64 {
        self.table.last_seq
    }
}

/// A frozen memtable and the generation in which the tables have it.
#[derive(Debug)]
struct Frozen {
    memtable: Arc<FrozenMemtable>,
    published: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
struct View {
    seq: u64,
    generation: u64,
}

/// A key that a fetch is under way for, or whose fetched row is held.
#[derive(Debug)]
struct Watched {
    fetches: usize,
    /// The latest content, once a fetch or a write has told.
    value: Option<Option<Bytes>>,
}

#[derive(Debug)]
struct Fetching {
    keys: Vec<Key>,
    generation: u64,
}

/// How much of a range one slice may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Rows in the answer.
    pub rows: usize,
    /// Bytes of keys and values in the answer; one row may exceed it.
    pub bytes: usize,
    /// Rows to look at, deleted ones too; it bounds the work.
    pub visits: usize,
}

impl Limit {
    /// `rows` and `bytes`, and eight times as many visits as rows.
    pub fn new(rows: usize, bytes: usize) -> Limit {
        Limit { rows, bytes, visits: rows.saturating_mul(8).max(64) }
    }
}

/// A part of a range.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slice {
    /// Its rows, in order.
    pub rows: Vec<(Key, Bytes)>,
    /// Where the next slice begins; `None` if the range has no more rows.
    pub next: Option<Key>,
}

/// The engine in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EngineStats {
    /// Bytes of the memtable that takes writes.
    pub active_bytes: usize,
    /// Rows in it.
    pub active_rows: usize,
    /// Memtables waiting for their flush.
    pub unflushed: usize,
    /// Bytes of frozen memtables, those kept for views among them.
    pub frozen_bytes: usize,
    /// Bytes of the row cache.
    pub cache_bytes: usize,
    /// Rows in it.
    pub cache_rows: usize,
    /// Views that are open.
    pub views: usize,
    /// Fetches whose rows are awaited or held.
    pub fetches: usize,
    /// Lookups of the latest version so far that the row cache answered.
    pub cache_hits: u64,
    /// Lookups of the latest version so far that had to ask elsewhere.
    pub cache_misses: u64,
}

/// Memtables, views and row cache of one node. See the [module](self).
#[derive(Debug)]
pub struct Engine {
    options: EngineOptions,
    seq: u64,
    generation: u64,
    active: Memtable,
    /// Oldest first.
    frozen: VecDeque<Frozen>,
    jobs: u64,
    views: BTreeMap<ViewId, View>,
    /// How many views are open at each seq.
    view_seqs: BTreeMap<u64, usize>,
    view_ids: u64,
    cache: Cache,
    watched: BTreeMap<Key, Watched>,
    fetches: BTreeMap<FetchId, Fetching>,
    fetch_ids: u64,
    garbage: Vec<Arc<FrozenMemtable>>,
    cache_hits: u64,
    cache_misses: u64,
}

impl Engine {
    /// An engine over tables of `generation`; zero says that there are none.
    pub fn new(options: EngineOptions, generation: u64) -> Engine {
        Engine {
            cache: Cache::new(options.cache_bytes, options.cache_seed),
            options,
            seq: 0,
            generation,
            active: Memtable::default(),
            frozen: VecDeque::new(),
            jobs: 0,
            views: BTreeMap::new(),
            view_seqs: BTreeMap::new(),
            view_ids: 0,
            watched: BTreeMap::new(),
            fetches: BTreeMap::new(),
            fetch_ids: 0,
            garbage: Vec::new(),
            cache_hits: 0,
            cache_misses: 0,
        }
    }

    /// Writes rows at once: every view sees all of them or none. Of several rows with one key the
    /// last one counts. Returns the seq of the write.
    pub fn write(&mut self, rows: impl IntoIterator<Item = (Key, Option<Bytes>)>) -> u64 {
        self.seq += 1;
        let view_seqs = &self.view_seqs;
        for (key, value) in rows {
            self.cache.update(&key, &value);
            if !self.watched.is_empty()
                && let Some(watched) = self.watched.get_mut(&key)
            {
                watched.value = Some(value.clone());
            }
            self.active.write(self.seq, key, value, |from, to| {
                from < to && view_seqs.range(from..to).next().is_some()
            });
        }
        self.seq
    }

    /// The latest version of a row.
    pub fn get(&mut self, key: &Key) -> Lookup {
        if let Some(value) = self.cache.get(key) {
            self.cache_hits += 1;
            return Lookup::known(value);
        }
        self.cache_misses += 1;
        let unflushed = self.frozen.iter().rev().filter(|frozen| frozen.published.is_none());
        let tables =
            [&self.active].into_iter().chain(unflushed.map(|frozen| &frozen.memtable.table));
        let in_memory = tables.into_iter().find_map(|table| table.get(key, u64::MAX));
        let known = in_memory.or_else(|| self.watched.get(key)?.value.as_ref()).cloned();
        match known {
            Some(value) => {
                let lookup = Lookup::known(&value);
                self.cache.insert(key, owned(value));
                lookup
            }
            None if self.generation == 0 => Lookup::Absent,
            None => Lookup::Unknown,
        }
    }

    /// A row as `view` sees it.
    pub fn get_at(&mut self, view: ViewId, key: &Key) -> Lookup {
        let view = self.view(view);
        let mut written_since = false;
        for table in self.tables_of(view) {
            if let Some(value) = table.get(key, view.seq) {
                return Lookup::known(value);
            }
            written_since |= table.contains(key);
        }
        if view.generation == 0 {
            return Lookup::Absent;
        }
        // Nothing was flushed and the key was not written since: what is latest was so then.
        if view.generation == self.generation && !written_since {
            if let Some(value) = self.cache.get(key) {
                return Lookup::known(value);
            }
            if let Some(value) = self.watched.get(key).and_then(|watched| watched.value.as_ref()) {
                return Lookup::known(value);
            }
        }
        Lookup::Unknown
    }

    /// Opens a view of the store as it is now; it keeps memory until it is closed.
    pub fn open_view(&mut self) -> ViewId {
        self.view_ids += 1;
        let id = ViewId(self.view_ids);
        self.views.insert(id, View { seq: self.seq, generation: self.generation });
        *self.view_seqs.entry(self.seq).or_default() += 1;
        id
    }

    /// Closes a view.
    pub fn close_view(&mut self, id: ViewId) {
        let view = self.view(id);
        self.views.remove(&id);
        let open = self.view_seqs.get_mut(&view.seq).expect("an open view is counted");
        *open -= 1;
        if *open == 0 {
            self.view_seqs.remove(&view.seq);
        }
        self.drop_published();
    }

    /// The generation of the tables that `view` reads; zero says that it needs none.
    pub fn view_generation(&self, view: ViewId) -> u64 {
        self.view(view).generation
    }

    /// The generation that reads of the latest rows go to; zero says that there are no tables.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The oldest generation that some view or fetch may still read: the tables must keep it.
    pub fn oldest_generation(&self) -> u64 {
        let views = self.views.values().map(|view| view.generation);
        let fetches = self.fetches.values().map(|fetch| fetch.generation);
        views.chain(fetches).min().unwrap_or(self.generation).min(self.generation)
    }

    /// Begins a fetch of the latest rows of `keys`, to be read from the returned generation.
    pub fn fetch_started(&mut self, keys: Vec<Key>) -> (FetchId, u64) {
        self.fetch_ids += 1;
        let id = FetchId(self.fetch_ids);
        for key in &keys {
            if let Some(watched) = self.watched.get_mut(key) {
                watched.fetches += 1;
                continue;
            }
            let unflushed = self.frozen.iter().rev().filter(|frozen| frozen.published.is_none());
            let tables =
                [&self.active].into_iter().chain(unflushed.map(|frozen| &frozen.memtable.table));
            // The cache may have dropped a row that a memtable still has.
            let known = tables.into_iter().find_map(|table| table.get(key, u64::MAX)).cloned();
            let value = known.map(owned);
            self.watched.insert(key.clone(), Watched { fetches: 1, value });
        }
        self.fetches.insert(id, Fetching { keys, generation: self.generation });
        (id, self.generation)
    }

    /// What a fetch brought, one row for each of its keys. Rows written since it began stay.
    pub fn fetched(&mut self, id: FetchId, rows: Vec<Option<Bytes>>) {
        let fetch = self.fetches.get(&id).unwrap_or_else(|| panic!("{id:?} is not under way"));
        assert_eq!(fetch.keys.len(), rows.len(), "a fetch brings one row for each key");
        for (key, row) in fetch.keys.iter().zip(rows) {
            let watched = self.watched.get_mut(key).expect("the keys of a fetch are watched");
            let value = watched.value.get_or_insert(row);
            self.cache.insert(key, value.clone());
        }
    }

    /// Lets the rows of a fetch go; it need not have been answered.
    pub fn fetch_ended(&mut self, id: FetchId) {
        let fetch = self.fetches.remove(&id).unwrap_or_else(|| panic!("{id:?} is not under way"));
        for key in fetch.keys {
            let watched = self.watched.get_mut(&key).expect("the keys of a fetch are watched");
            watched.fetches -= 1;
            if watched.fetches == 0 {
                self.watched.remove(&key);
            }
        }
    }

    /// Whether the active memtable is large enough to be frozen.
    pub fn should_freeze(&self) -> bool {
        self.active.bytes >= self.options.memtable_bytes
    }

    /// Puts the active memtable aside for a flush; `None` if it is empty.
    pub fn freeze(&mut self) -> Option<FlushJob> {
        if self.active.is_empty() {
            return None;
        }
        self.jobs += 1;
        let table = std::mem::take(&mut self.active);
        let memtable = Arc::new(FrozenMemtable { table, id: self.jobs });
        self.frozen.push_back(Frozen { memtable: memtable.clone(), published: None });
        Some(FlushJob { id: self.jobs, rows: memtable })
    }

    /// The tables have the rows of flush `id` from `generation` on.
    pub fn flushed(&mut self, id: u64, generation: u64) {
        assert!(
            generation > self.generation,
            "generation {generation} does not follow {}",
            self.generation
        );
        let next = self.frozen.iter_mut().find(|frozen| frozen.published.is_none());
        let next = next.unwrap_or_else(|| panic!("flush {id} was published, none is under way"));
        assert_eq!(next.memtable.id, id, "flushes are published in order");
        next.published = Some(generation);
        self.generation = generation;
        self.drop_published();
    }

    /// Memtables that nobody needs any more, to be dropped by a helper thread.
    pub fn take_garbage(&mut self) -> Vec<Arc<FrozenMemtable>> {
        std::mem::take(&mut self.garbage)
    }

    /// The next part of `range` as `view` sees it, from what the tables said and what the memtables
    /// know better.
    ///
    /// `table_rows` are all rows from `range.start` up to `covered_until` (or the range's end) in
    /// the tables of the view's generation; a view of generation zero needs none. The work is
    /// bounded by `limit`; where it stops early, the next slice begins at [`Slice::next`].
    pub fn merge(
        &self,
        view: ViewId,
        range: &KeyRange,
        table_rows: Vec<(Key, Bytes)>,
        covered_until: Option<Key>,
        limit: Limit,
    ) -> Slice {
        let view = self.view(view);
        let mut covered = range.clone();
        if let Some(until) = &covered_until
            && covered.end.as_ref().is_none_or(|end| until < end)
        {
            covered.end = Some(until.clone());
        }
        let mut sources: Vec<_> =
            self.tables_of(view).map(|table| table.range(&covered, view.seq).peekable()).collect();
        let mut table_rows =
            table_rows.into_iter().filter(|(key, _)| covered.contains(key)).peekable();
        let mut slice = Slice::default();
        let (mut visits, mut bytes) = (0, 0);
        loop {
            let heads = sources.iter_mut().filter_map(|source| source.peek().map(|row| row.0));
            let Some(key) = heads.chain(table_rows.peek().map(|row| &row.0)).min().cloned() else {
                break;
            };
            if slice.rows.len() >= limit.rows || bytes >= limit.bytes || visits >= limit.visits {
                slice.next = Some(key);
                return slice;
            }
            visits += 1;
            let mut value: Option<Option<Bytes>> = None;
            for source in &mut sources {
                if let Some((_, version)) = source.next_if(|row| *row.0 == key)
                    && value.is_none()
                {
                    value = version.cloned();
                }
            }
            if let Some((_, below)) = table_rows.next_if(|row| row.0 == key)
                && value.is_none()
            {
                value = Some(Some(below));
            }
            if let Some(Some(value)) = value {
                bytes += key.len() + value.len();
                slice.rows.push((key, value));
            }
        }
        slice.next = covered_until.filter(|until| range.end.as_ref().is_none_or(|end| until < end));
        slice
    }

    /// Bytes of memtables that are not in the tables yet, the active one among them.
    pub fn unflushed_bytes(&self) -> usize {
        let unflushed = self.frozen.iter().rev().take_while(|frozen| frozen.published.is_none());
        self.active.bytes + unflushed.map(|frozen| frozen.memtable.bytes()).sum::<usize>()
    }

    /// Bytes of memory that all this takes.
    pub fn memory_bytes(&self) -> usize {
        let stats = self.stats();
        stats.active_bytes + stats.frozen_bytes + stats.cache_bytes
    }

    /// The engine in numbers.
    pub fn stats(&self) -> EngineStats {
        EngineStats {
            active_bytes: self.active.bytes,
            active_rows: self.active.len(),
            unflushed: self.frozen.iter().filter(|frozen| frozen.published.is_none()).count(),
            frozen_bytes: self.frozen.iter().map(|frozen| frozen.memtable.bytes()).sum(),
            cache_bytes: self.cache.bytes(),
            cache_rows: self.cache.len(),
            views: self.views.len(),
            fetches: self.fetches.len(),
            cache_hits: self.cache_hits,
            cache_misses: self.cache_misses,
        }
    }

    fn view(&self, id: ViewId) -> View {
        *self.views.get(&id).unwrap_or_else(|| panic!("{id:?} is not open"))
    }

    /// The memtables that are not in the tables of the view's generation, newest first.
    fn tables_of(&self, view: View) -> impl Iterator<Item = &Memtable> {
        let above = move |frozen: &&Frozen| frozen.published.is_none_or(|g| g > view.generation);
        let frozen = self.frozen.iter().rev().filter(above);
        [&self.active].into_iter().chain(frozen.map(|frozen| &frozen.memtable.table))
    }

    /// Lets go of memtables that are in the tables of every open view's generation.
    fn drop_published(&mut self) {
        let oldest = self.views.values().map(|view| view.generation).min();
        while let Some(first) = self.frozen.front() {
            let Some(published) = first.published else { break };
            if oldest.is_some_and(|oldest| oldest < published) {
                break;
            }
            let gone = self.frozen.pop_front().expect("it is the first");
            self.garbage.push(gone.memtable);
        }
    }
}
