//! Real tables beside the model's.
//!
//! What nodes see comes from the model, in virtual time, in every world. In a few of them real tables
//! (`lsm-tree`, on files that lie outside of this crate) are kept beside it: whatever is flushed goes
//! into both, both are merged when the node asks for it, every read is made of both, and the answers
//! are compared. Real tables decide nothing and take no time of this world, so a seed is the same run
//! with and without them. A process that ends closes them, a start opens what is on their files, a new
//! disk is an empty directory.
//!
//! Their generations have other numbers; `generations` says which is which. Of data that are dead the
//! model drops every row at once, the real tables where a file happens to be merged; nobody may read
//! them, and they are not compared. Nor is what the model calls damaged.

use super::World;
use crate::judge::Judge;
use crate::marks::Mark;
use base::{Bytes, Key, KeyRange};
use node::{Boot, Fetch, Fetched};
use std::collections::{BTreeMap, BTreeSet};
use storage::tables::{RangeLimit, Tables, TablesError, data_id};

/// Real tables for the hosts of one world.
pub trait RealTables {
    /// Opens what is on a disk of a host, which counts its disks; a new one has no rows.
    fn open(&self, host: usize, disk: u64) -> Result<Box<dyn Tables>, TablesError>;
}

/// Those of one host.
#[derive(Default)]
pub struct Beside {
    /// Open while the process runs.
    tables: Option<Box<dyn Tables>>,
    disk: u64,
    /// Of the model, and the real ones that hold the same.
    generations: BTreeMap<u64, u64>,
    /// The run that is being written.
    run: Vec<(Key, Option<Bytes>)>,
    dead: BTreeSet<u64>,
}

/// Pieces of merging after which there must be an end to it.
const PIECES_MAX: usize = 10_000;

impl Beside {
    /// Its real generation that holds what the model's has.
    fn real(&self, generation: u64) -> Option<u64> {
        self.generations.get(&generation).copied()
    }

    /// The disk is gone, and the next one is empty.
    pub fn replace(&mut self) {
        *self = Beside { disk: self.disk + 1, ..Beside::default() };
    }

    /// The process ends; what was being written is lost.
    pub fn close(&mut self) {
        self.tables = None;
        self.generations.clear();
        self.run.clear();
    }

    /// What is to be written.
    pub fn prepare<'a>(&mut self, rows: impl Iterator<Item = (&'a Key, Option<&'a Bytes>)>) {
        if self.tables.is_some() {
            self.run = rows.map(|(key, value)| (key.clone(), value.cloned())).collect();
        }
    }

    fn publish(&mut self, generation: u64) -> Result<(), TablesError> {
        let Some(tables) = &self.tables else { return Ok(()) };
        let run = std::mem::take(&mut self.run);
        let mut rows = run.iter().map(|(key, value)| (key, value.as_ref()));
        let real = tables.ingest(&mut rows)?;
        self.generations.insert(generation, real);
        Ok(())
    }

    fn compact(&mut self, oldest: u64, dead: &BTreeSet<u64>) -> Result<(), TablesError> {
        self.dead.extend(dead);
        let Some(tables) = &self.tables else { return Ok(()) };
        let kept = self.generations.range(..=oldest).next_back();
        let Some((kept, real)) = kept.or(self.generations.first_key_value()) else { return Ok(()) };
        let (kept, real) = (*kept, *real);
        for _ in 0..PIECES_MAX {
            if !tables.compact(real, dead)?.more {
                self.generations = self.generations.split_off(&kept);
                return Ok(());
            }
        }
        panic!("merging comes to no end");
    }

    fn is_dead(&self, key: &[u8]) -> bool {
        data_id(key).is_some_and(|id| self.dead.contains(&id))
    }

    /// What the real tables say; none if there is nothing to be compared.
    fn answer(&self, fetch: &Fetch) -> Result<Option<Fetched>, TablesError> {
        let Some(tables) = &self.tables else { return Ok(None) };
        Ok(match fetch {
            Fetch::Keys { generation, keys } => match self.real(*generation) {
                Some(real) if !keys.iter().any(|key| self.is_dead(key)) => {
                    Some(Fetched::Keys(tables.get(keys, real)?))
                }
                _ => None,
            },
            Fetch::Range { generation, range, rows_max, bytes_max } => match self.real(*generation)
            {
                Some(real) if !self.is_dead(&range.start) => {
                    let limit = RangeLimit { rows: *rows_max, bytes: *bytes_max };
                    let slice = tables.range(range, real, limit)?;
                    Some(Fetched::Range(slice.rows, slice.covered_until))
                }
                _ => None,
            },
        })
    }
}

/// All rows.
fn all(tables: &dyn Tables, generation: u64) -> Result<Vec<(Key, Bytes)>, TablesError> {
    let limit = RangeLimit { rows: usize::MAX, bytes: usize::MAX };
    Ok(tables.range(&KeyRange::all(), generation, limit)?.rows)
}

impl World<'_> {
    /// A process starts: its real tables are opened, and say of the node's own rows what the model says.
    pub(super) fn open_beside(&mut self, number: usize, rows: &[(Key, Bytes)]) {
        // Where disks become full the model's tables need room, which real ones would not lack.
        let Some(real) = self.real.clone().filter(|_| !self.profile.fills) else { return };
        let host = &mut self.hosts[number];
        let generation = host.tables.generation();
        let tables = match real.open(number, host.beside.disk) {
            Ok(tables) => tables,
            Err(error) => return self.fails_beside(number, &error),
        };
        host.beside.generations = [(generation, tables.generation())].into();
        host.beside.tables = Some(tables);
        let everything = Fetch::Range {
            generation,
            range: Boot::system_range(),
            rows_max: usize::MAX,
            bytes_max: usize::MAX,
        };
        self.compare_beside(number, &everything, &Fetched::Range(rows.to_vec(), None));
    }

    /// A run became a table of the model.
    pub(super) fn flushed_beside(&mut self, number: usize, generation: u64) {
        if let Err(error) = self.hosts[number].beside.publish(generation) {
            self.fails_beside(number, &error);
        }
    }

    /// The model merged; then both hold the same rows, but for dead ones.
    pub(super) fn compact_beside(&mut self, number: usize, oldest: u64, dead: &BTreeSet<u64>) {
        let host = &mut self.hosts[number];
        let merged = host.beside.compact(oldest, dead);
        let Beside { tables: Some(real), generations, .. } = &host.beside else { return };
        let Some((model, at)) = generations.last_key_value() else { return };
        let both = merged.and_then(|()| Ok((all(&host.tables, *model)?, all(&**real, *at)?)));
        match both {
            Ok((mut model, mut real)) => {
                model.retain(|(key, _)| !host.beside.is_dead(key));
                real.retain(|(key, _)| !host.beside.is_dead(key));
                if model != real {
                    let what = format!("tables of n{} hold other rows once merged", number + 1);
                    self.violated_for(Judge::Assertion, what);
                }
            }
            Err(error) => self.fails_beside(number, &error),
        }
    }

    /// The model answered; the real tables must say the same.
    pub(super) fn compare_beside(&mut self, number: usize, asked: &Fetch, model: &Fetched) {
        match self.hosts[number].beside.answer(asked) {
            Ok(None) => {}
            Ok(Some(real)) if real == *model => self.hit(Mark::RealTables),
            Ok(Some(real)) => {
                let n = number + 1;
                let what = format!("tables of n{n} answer {asked:?} with {real:?}, not {model:?}");
                self.violated_for(Judge::Assertion, what);
            }
            Err(error) => self.fails_beside(number, &error),
        }
    }

    fn fails_beside(&mut self, number: usize, error: &TablesError) {
        let what = format!("real tables of n{} fail: {error}", number + 1);
        self.violated_for(Judge::Assertion, what);
    }
}
