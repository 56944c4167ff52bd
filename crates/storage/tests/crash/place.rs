//! Where a store lives: in memory, or in a directory of real files.

use crate::memory::NotedDisk;
use crate::platter::Image;
use crate::record;
use base::{Bytes, Key, KeyRange};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use underpin_storage::disk::{Disk, RealDisk};
use underpin_storage::tables::{
    Compacted, LsmOptions, LsmTables, ModelTables, RangeLimit, RangeSlice, Run, Tables,
    TablesError, TablesStats,
};
use underpin_storage::wal::Wal;

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
    fn ingest(&self, run: Run<'_, '_>) -> Result<u64, TablesError> {
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
    /// Makes it anew, with an empty store in it.
    pub fn make(&self) {
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
