//! Real tables for a world: `lsm-tree` in directories that are gone when the run is over.
//!
//! The simulator touches no files, and asks for tables only at moments of its own. Of every hundred
//! seeds one has them, so that a campaign meets them and is hardly slower.

use crate::record;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use storage::tables::{LsmOptions, LsmTables, Tables, TablesError};

/// Which seeds have them: those that leave this when divided by a hundred.
const TURN: u64 = 7;

/// The directory of one run.
pub struct Directory(PathBuf);

/// Whether a seed's world has real tables.
pub fn has_real(seed: u64) -> bool {
    seed % 100 == TURN
}

impl Directory {
    /// A fresh one: the same seed may run in two threads and in two processes.
    pub fn new(seed: u64) -> Directory {
        static RUNS: AtomicU64 = AtomicU64::new(0);
        let run = RUNS.fetch_add(1, Ordering::Relaxed);
        let name = format!("tables-{seed}-{}-{run}", std::process::id());
        Directory(record::target().join("tmp").join(name))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // What is left behind is in the way of nobody.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Small files and caches, as memtables are small too; no reserve, since no disk is full here.
fn options() -> LsmOptions {
    LsmOptions {
        cache_bytes: 64 << 10,
        table_bytes: 16 << 10,
        fresh_runs: 4,
        rewrite_bytes_max: 1 << 20,
        reserve_bytes: 0,
    }
}

impl sim::RealTables for Directory {
    fn open(&self, host: usize, disk: u64) -> Result<Box<dyn Tables>, TablesError> {
        let path = self.0.join(format!("host{host}-disk{disk}"));
        if path.exists() {
            return Ok(Box::new(LsmTables::open(&path, options())?));
        }
        fs::create_dir_all(&path).map_err(|error| TablesError::Io {
            doing: format!("creating {}", path.display()),
            error: error.to_string(),
        })?;
        Ok(Box::new(LsmTables::create(&path, options())?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sim::marks::Mark;
    use std::rc::Rc;

    #[test]
    fn a_world_with_real_tables_is_the_same_run_and_leaves_nothing_behind() {
        let (mut compared, mut opened) = (0, 0);
        for seed in 1..=7 {
            let run = sim::Run { seconds: 8, ..sim::Run::of(seed) };
            let directory = Rc::new(Directory::new(seed));
            let path = directory.0.clone();
            let report = sim::run_beside(run, directory.clone(), None);
            let (violation, tail) = (&report.violation, report.tail.join("\n"));
            assert_eq!(*violation, None, "seed {seed}\n{tail}");
            // Where disks become full there are none.
            opened += usize::from(path.exists());
            drop(directory);
            assert!(!path.exists());
            assert_eq!(report.hash, sim::run(run, None).hash, "seed {seed}");
            compared += report.totals.marks.count(Mark::RealTables);
        }
        assert!(opened >= 4, "{opened} of 7 worlds have real tables");
        assert!(compared > 500, "not felt: {}; {compared}", Mark::RealTables.about());
    }

    /// Tables that lose every second run, but for the number.
    struct Forgetful(Directory);

    struct Losing(Box<dyn Tables>, AtomicU64);

    impl sim::RealTables for Forgetful {
        fn open(&self, host: usize, disk: u64) -> Result<Box<dyn Tables>, TablesError> {
            Ok(Box::new(Losing(self.0.open(host, disk)?, AtomicU64::new(0))))
        }
    }

    impl Tables for Losing {
        fn ingest(&self, run: storage::tables::Run<'_, '_>) -> Result<u64, TablesError> {
            match self.1.fetch_add(1, Ordering::Relaxed) % 2 {
                0 => self.0.ingest(run),
                _ => self.0.ingest(&mut std::iter::empty()),
            }
        }
        fn get(
            &self,
            keys: &[base::Key],
            generation: u64,
        ) -> Result<Vec<Option<base::Bytes>>, TablesError> {
            self.0.get(keys, generation)
        }
        fn range(
            &self,
            range: &base::KeyRange,
            generation: u64,
            limit: storage::tables::RangeLimit,
        ) -> Result<storage::tables::RangeSlice, TablesError> {
            self.0.range(range, generation, limit)
        }
        fn compact(
            &self,
            oldest: u64,
            dead: &std::collections::BTreeSet<u64>,
        ) -> Result<storage::tables::Compacted, TablesError> {
            self.0.compact(oldest, dead)
        }
        fn generation(&self) -> u64 {
            self.0.generation()
        }
        fn stats(&self) -> storage::tables::TablesStats {
            self.0.stats()
        }
    }

    #[test]
    fn real_tables_that_lose_a_run_are_found() {
        let found = (1..=10).any(|seed| {
            let run = sim::Run { seconds: 8, ..sim::Run::of(seed) };
            let report = sim::run_beside(run, Rc::new(Forgetful(Directory::new(seed))), None);
            report.violation.is_some_and(|what| what.contains("tables of n"))
        });
        assert!(found, "ten worlds believe tables that lose what they are given");
    }
}
