//! Deletes alone on a disk without a free byte, whatever it was filled with and in whatever order
//! they come.

#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

use super::tests::{Rows, Scratch, ingest, key, rerun_on_a_small_file_system, scan};
use super::*;
use base::Random;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Fillings that each test draws.
const SEEDS: u64 = 10;
/// Of so many keys one is kept.
const KEPT: usize = 10;

/// Tables that were filled to the last byte of their disk, and what is in them.
struct Filled {
    tables: LsmTables,
    options: LsmOptions,
    live: BTreeMap<Key, Bytes>,
    random: Random,
    scratch: Scratch,
    filler: PathBuf,
}

impl Drop for Filled {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.filler);
    }
}

fn noise(random: &mut Random, longest: u64) -> Bytes {
    (0..random.below(longest)).map(|_| random.u64() as u8).collect()
}

impl Filled {
    fn draw(small: &Path, seed: u64) -> Filled {
        let mut random = Random::new(seed);
        let scratch = Scratch(small.join("tables-of-a-test"));
        let options = LsmOptions {
            cache_bytes: 1 << 16,
            table_bytes: 4 << random.between(10, 15),
            fresh_runs: random.between(2, 4) as u8,
            reserve_bytes: random.between(400, 800) << 10,
            ..LsmOptions::default()
        };
        let tables = LsmTables::create(&scratch.0, options.clone()).unwrap();
        let filler = small.join("filler");
        let mut filled = Filled { tables, options, live: BTreeMap::new(), random, scratch, filler };
        while filled.tables.tend().unwrap() == Reserved::Growing {}
        filled.fill();
        let mut filler = std::fs::File::create(&filled.filler).unwrap();
        while filler.write_all(&[1; 512]).is_ok() {}
        filled
    }

    /// Runs that overlap, of which some are merged, until none fits.
    fn fill(&mut self) {
        let longest = 256 << self.random.below(5);
        let merged = self.random.between(2, 3);
        loop {
            let rows = self.random.between(10, 200_000 / (longest + 50));
            let run: Rows = (0..rows)
                .map(|_| {
                    let name = key(1, self.random.below(1_000_000));
                    (name, Some(noise(&mut self.random, longest)))
                })
                .collect();
            match ingest(&self.tables, &run) {
                Ok(_) => self.live.extend(run.into_iter().filter_map(|(k, v)| Some((k, v?)))),
                Err(TablesError::Full) => return,
                Err(other) => panic!("{other}"),
            }
            if self.random.chance(merged, 3) {
                self.merge();
            }
        }
    }

    /// Merges as long as there is more to do, and room for it.
    fn merge(&self) {
        let pieces = (0..10_000).find(|_| {
            match self.tables.compact(self.tables.generation(), &BTreeSet::new()) {
                Ok(compacted) => !compacted.more,
                Err(TablesError::Full) => true,
                Err(other) => panic!("{other}"),
            }
        });
        assert!(pieces.is_some(), "still more to do after 10,000 pieces");
    }

    /// Deletes, merges with all of the reserve, and puts back what there is room for, as a node does
    /// when a memtable was written out.
    fn delete(&mut self, keys: &[Key]) -> Reserved {
        let run: Rows = keys.iter().map(|key| (key.clone(), None)).collect();
        if ingest(&self.tables, &run) == Err(TablesError::Full) {
            self.tables.lend(u64::MAX).unwrap();
            ingest(&self.tables, &run).expect("the reserve has room for it");
        }
        keys.iter().for_each(|key| drop(self.live.remove(key)));
        self.tables.lend(u64::MAX).unwrap();
        self.merge();
        let mut stands = (0..100).map(|_| self.tables.tend().unwrap());
        stands.find(|stands| *stands != Reserved::Growing).unwrap()
    }

    /// Nine keys of ten, in any order.
    fn victims(&mut self) -> Vec<Key> {
        let mut keys: Vec<(u64, Key)> =
            self.live.keys().map(|key| (self.random.u64(), key.clone())).collect();
        keys.sort();
        keys.drain(..keys.len() / KEPT);
        keys.into_iter().map(|(_, key)| key).collect()
    }

    /// Deletes of a run: some, but as a memtable no more than the reserve has room for.
    fn run_of(&mut self, victims: usize) -> usize {
        let run = victims / self.random.between(1, 8) as usize + 1;
        run.min(self.options.reserve_bytes as usize / 64)
    }

    fn bytes(&self) -> u64 {
        self.live.iter().map(|(key, value)| (key.len() + value.len()) as u64).sum()
    }

    /// Exactly what is live is there, now and after a restart.
    fn check(self) {
        let check = |tables: &LsmTables| {
            let limit = RangeLimit { rows: 1000, bytes: 1 << 20 };
            let found = scan(tables, &KeyRange::all(), tables.generation(), limit);
            assert_eq!(found.into_iter().collect::<BTreeMap<_, _>>(), self.live);
            tables.verify().unwrap();
        };
        check(&self.tables);
        check(&LsmTables::open(&self.scratch.0, self.options.clone()).unwrap());
    }
}

#[test]
fn deletes_in_any_order_bring_the_reserve_back() {
    let Some(small) = std::env::var_os("UNDERPIN_SMALL_DIR").map(PathBuf::from) else {
        return rerun_on_a_small_file_system("full::deletes_in_any_order_bring_the_reserve_back");
    };
    let mut failed = Vec::new();
    for seed in 0..SEEDS {
        let mut filled = Filled::draw(&small, seed);
        let before = filled.tables.stats().disk_bytes;
        let victims = filled.victims();
        let run = filled.run_of(victims.len());
        let stands = victims.chunks(run).map(|keys| filled.delete(keys)).last();
        let (live, left) = (filled.bytes(), filled.tables.stats().disk_bytes);
        if stands != Some(Reserved::Whole) || left > live * 3 / 2 + (64 << 10) {
            let stats = filled.tables.stats();
            let seen = format!("{stands:?}, {before} bytes, {live} of them live, became {stats:?}");
            failed.push((seed, seen));
            continue;
        }
        filled.check();
    }
    assert!(failed.is_empty(), "{failed:?}");
}
