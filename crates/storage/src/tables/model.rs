//! Tables in memory.
//!
//! They may be put [on a disk](ModelTables::on) that has an end. Then they take room there as tables
//! on a real one do, and keep a reserve: a run needs room for its rows, a merge for what it leaves
//! before it gives anything back, piece by piece; only files of dead ids alone go without.

use super::{
    Compacted, RangeLimit, RangeSlice, Reserved, Run, Tables, TablesError, TablesStats, data_id,
};
use crate::disk::SimDisk;
use base::{Key, KeyRange};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard};

/// The contents of each row, newest first, with the generation each came with.
type Rows = BTreeMap<Key, Vec<(u64, Option<Bytes>)>>;

#[derive(Clone, Debug, Default)]
struct State {
    rows: Rows,
    newest: u64,
    oldest: u64,
    full: bool,
    place: Option<Place>,
    /// Runs that were not merged yet, with what they left.
    runs: u64,
    /// A row whose bytes have changed at rest.
    damaged: Option<Key>,
}

/// What a run takes besides its rows.
pub const RUN_BYTES: u64 = 1 << 10;
/// What a row takes besides its bytes.
const ROW_BYTES: u64 = 16;
/// A reserve grows to its size in so many pieces, and a piece of a merge takes as much.
const PIECES: u64 = 4;

/// Where tables take room.
#[derive(Clone, Debug)]
struct Place {
    disk: SimDisk,
    /// The reserve as it is, and as it should be.
    reserve: u64,
    wanted: u64,
}

/// Tables in memory. Clones are handles of the same tables, which outlive a simulated crash of
/// their node; what was only prepared does not.
#[derive(Clone, Debug, Default)]
pub struct ModelTables {
    state: Arc<Mutex<State>>,
}

/// A run that is not published yet: dropping it is what a crash does.
#[derive(Clone, Debug)]
pub struct Prepared {
    run: Vec<(Key, Option<Bytes>)>,
}

impl ModelTables {
    /// Empty tables.
    pub fn new() -> ModelTables {
        ModelTables::default()
    }

    /// Empty tables on a disk, beside its files, with so many bytes in reserve once there was time.
    pub fn on(disk: SimDisk, wanted: u64) -> ModelTables {
        let place = Some(Place { disk, reserve: 0, wanted });
        ModelTables { state: Arc::new(Mutex::new(State { place, ..State::default() })) }
    }

    /// Takes a run without publishing it.
    pub fn prepare(&self, run: Run<'_, '_>) -> Prepared {
        Prepared { run: run.map(|(key, value)| (key.clone(), value.cloned())).collect() }
    }

    /// Publishes a run at once and durably; returns its generation.
    pub fn publish(&self, prepared: Prepared) -> Result<u64, TablesError> {
        let mut state = self.state();
        if state.full {
            return Err(TablesError::Full);
        }
        let ascending = prepared.run.windows(2).all(|pair| pair[0].0 < pair[1].0);
        assert!(ascending, "a run is sorted and has each key once");
        let rows = prepared.run.iter().map(|(key, value)| row_bytes(key, value.as_ref()));
        let bytes = state.bytes() + RUN_BYTES + rows.sum::<u64>();
        if !state.take(bytes) {
            return Err(TablesError::Full);
        }
        state.runs += 1;
        state.newest += 1;
        let generation = state.newest;
        for (key, value) in prepared.run {
            state.rows.entry(key).or_default().insert(0, (generation, value));
        }
        Ok(generation)
    }

    /// Whether runs are refused from now on, as on a full disk.
    pub fn set_full(&self, full: bool) {
        self.state().full = full;
    }

    /// Changes a byte of the row at `share` of all, in 1/65536: whoever reads it, or merges it, is
    /// told. Whether there is a row.
    pub fn damage(&self, share: u16) -> bool {
        let mut state = self.state();
        let at = (state.rows.len() * usize::from(share)) >> 16;
        state.damaged = state.rows.keys().nth(at).cloned();
        state.damaged.is_some()
    }

    /// A copy that goes its own way, for instance as an old image to be put back.
    pub fn image(&self) -> ModelTables {
        ModelTables { state: Arc::new(Mutex::new(self.state().clone())) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no user of the model panics while holding it")
    }
}

fn row_bytes(key: &Key, value: Option<&Bytes>) -> u64 {
    ROW_BYTES + key.len() as u64 + value.map_or(0, |value| value.len() as u64)
}

impl State {
    /// Bytes of all runs.
    fn bytes(&self) -> u64 {
        if self.place.is_none() {
            return 0;
        }
        let versions = self.rows.iter().flat_map(|(key, versions)| {
            versions.iter().map(move |(_, value)| row_bytes(key, value.as_ref()))
        });
        self.runs * RUN_BYTES + versions.sum::<u64>()
    }

    /// Has runs take so many bytes, beside the reserve, if there is room.
    fn take(&self, bytes: u64) -> bool {
        let place = self.place.as_ref();
        place.is_none_or(|place| place.disk.take_beside(bytes + place.reserve))
    }

    /// Makes the reserve so large, if there is room.
    fn set_reserve(&mut self, bytes: u64) -> bool {
        let rows = self.bytes();
        let Some(place) = &mut self.place else { return true };
        let fits = place.disk.take_beside(rows + bytes);
        if fits {
            place.reserve = bytes;
        }
        fits
    }

    /// What is gone takes no room any more.
    fn give_back(&self) {
        assert!(self.take(self.bytes()), "less than before always fits");
    }

    /// Whether there is room for one piece of what a merge leaves.
    fn has_room_to_merge(&self) -> bool {
        let Some(place) = &self.place else { return true };
        let before = self.bytes();
        let fits = self.take(before + before.min(place.wanted / PIECES));
        assert!(self.take(before), "less than before always fits");
        fits
    }

    fn check(&self, asked: u64) -> Result<(), TablesError> {
        let (oldest, newest) = (self.oldest, self.newest);
        if (oldest..=newest).contains(&asked) {
            return Ok(());
        }
        Err(TablesError::NoSuchGeneration { asked, oldest, newest })
    }

    fn is_whole(&self, met: impl FnOnce(&Key) -> bool) -> Result<(), TablesError> {
        if !self.damaged.as_ref().is_some_and(met) {
            return Ok(());
        }
        let (expected, seen) = ("checksum 9f3c0000".to_owned(), "1b770000".to_owned());
        Err(TablesError::Corrupt { path: "tables/1".to_owned(), offset: None, expected, seen })
    }
}

fn at(versions: &[(u64, Option<Bytes>)], generation: u64) -> Option<&Bytes> {
    versions.iter().find(|(from, _)| *from <= generation)?.1.as_ref()
}

impl Tables for ModelTables {
    fn ingest(&self, run: Run<'_, '_>) -> Result<u64, TablesError> {
        self.publish(self.prepare(run))
    }

    fn get(&self, keys: &[Key], generation: u64) -> Result<Vec<Option<Bytes>>, TablesError> {
        let state = self.state();
        state.check(generation)?;
        state.is_whole(|damaged| keys.contains(damaged))?;
        let row = |key: &Key| at(state.rows.get(key)?, generation).cloned();
        Ok(keys.iter().map(row).collect())
    }

    fn range(
        &self,
        range: &KeyRange,
        generation: u64,
        limit: RangeLimit,
    ) -> Result<RangeSlice, TablesError> {
        let state = self.state();
        state.check(generation)?;
        let mut slice = RangeSlice::default();
        if range.is_empty() {
            return Ok(slice);
        }
        state.is_whole(|damaged| range.contains(damaged))?;
        let end = range.end.as_ref().map_or(Bound::Unbounded, |end| Bound::Excluded(&end[..]));
        let mut bytes = 0;
        for (key, versions) in state.rows.range::<[u8], _>((Bound::Included(&range.start[..]), end))
        {
            let Some(value) = at(versions, generation) else { continue };
            if slice.rows.len() >= limit.rows || bytes >= limit.bytes {
                slice.covered_until = Some(key.clone());
                break;
            }
            bytes += key.len() + value.len();
            slice.rows.push((key.clone(), value.clone()));
        }
        Ok(slice)
    }

    fn compact(&self, oldest: u64, dead: &BTreeSet<u64>) -> Result<Compacted, TablesError> {
        let mut state = self.state();
        state.is_whole(|_| true)?;
        state.oldest = state.oldest.max(oldest.min(state.newest));
        let oldest = state.oldest;
        state.rows.retain(|key, _| data_id(key).is_none_or(|id| !dead.contains(&id)));
        if !state.has_room_to_merge() {
            state.give_back();
            return Err(TablesError::Full);
        }
        state.rows.retain(|_, versions| {
            let needed = versions.iter().position(|(from, _)| *from <= oldest);
            versions.truncate(needed.map_or(versions.len(), |needed| needed + 1));
            !matches!(&versions[..], [(from, None)] if *from <= oldest)
        });
        state.runs = u64::from(!state.rows.is_empty());
        state.give_back();
        Ok(Compacted { more: false, gone: dead.clone() })
    }

    fn lend(&self, bytes: u64) -> Result<u64, TablesError> {
        let mut state = self.state();
        let held = state.place.as_ref().map_or(0, |place| place.reserve);
        let lent = held.min(bytes);
        state.set_reserve(held - lent);
        Ok(lent)
    }

    fn tend(&self) -> Result<Reserved, TablesError> {
        let mut state = self.state();
        if state.full {
            return Ok(Reserved::Short);
        }
        let Some(Place { reserve, wanted, .. }) = state.place else { return Ok(Reserved::Whole) };
        let more = (reserve + wanted / PIECES + 1).min(wanted);
        Ok(match state.set_reserve(more) {
            true if more == wanted => Reserved::Whole,
            true => Reserved::Growing,
            false => Reserved::Short,
        })
    }

    fn generation(&self) -> u64 {
        self.state().newest
    }

    fn stats(&self) -> TablesStats {
        let state = self.state();
        TablesStats {
            tables: usize::from(!state.rows.is_empty()),
            rows: state.rows.values().map(|versions| versions.len() as u64).sum(),
            ..TablesStats::default()
        }
    }
}
