//! What happens on a full disk, with the log and tables of one node on it.

use super::tests::{Bench, SEGMENT};
use super::*;
use base::{Bytes, Index, Key, KeyRange, LogStart, ShardId, Term};
use std::collections::BTreeSet;
use std::sync::Mutex;
use storage::disk::SimDisk;
use storage::engine::{Engine, EngineOptions};
use storage::tables::{
    Compacted, ModelTables, RangeLimit, RangeSlice, Reserved, Run, TablesError, TablesStats,
};

/// Bytes of a table; the reserve has room for one, and for a segment.
const TABLE: u64 = 100 << 10;
const RESERVE: u64 = TABLE + SEGMENT;

/// Tables of a fixed size on the log's disk, which has so many bytes in all. A merge leaves nothing.
struct Shared {
    log: SimDisk,
    rows: ModelTables,
    state: Mutex<State>,
}

#[derive(Clone, Copy)]
struct State {
    bytes: u64,
    tables: u64,
    reserve: u64,
}

impl Shared {
    fn new(bytes: u64) -> Arc<Shared> {
        let state = Mutex::new(State { bytes, tables: 0, reserve: 0 });
        Arc::new(Shared { log: SimDisk::new(), rows: ModelTables::new(), state })
    }

    /// Changes what is on the disk, if there is room, and leaves the rest to the log.
    fn change(&self, change: impl FnOnce(&mut State)) -> Result<State, TablesError> {
        let mut state = self.state.lock().unwrap();
        let mut next = *state;
        change(&mut next);
        let taken = next.tables * TABLE + next.reserve;
        if taken + self.log.used() > next.bytes && taken > state.tables * TABLE + state.reserve {
            return Err(TablesError::Full);
        }
        *state = next;
        self.log.set_capacity(Some(next.bytes.saturating_sub(taken).max(self.log.used())));
        Ok(next)
    }

    /// Somebody else takes all the room there is.
    fn fill(&self) {
        let log = self.log.used();
        self.change(|state| state.bytes = log + state.tables * TABLE + state.reserve).unwrap();
    }

    fn state(&self) -> State {
        *self.state.lock().unwrap()
    }
}

impl Tables for Shared {
    fn ingest(&self, run: Run<'_, '_>) -> Result<u64, TablesError> {
        self.change(|state| state.tables += 1)?;
        self.rows.ingest(run)
    }

    fn get(&self, keys: &[Key], generation: u64) -> Result<Vec<Option<Bytes>>, TablesError> {
        self.rows.get(keys, generation)
    }

    fn range(
        &self,
        range: &KeyRange,
        generation: u64,
        limit: RangeLimit,
    ) -> Result<RangeSlice, TablesError> {
        self.rows.range(range, generation, limit)
    }

    fn compact(&self, oldest: u64, dead: &BTreeSet<u64>) -> Result<Compacted, TablesError> {
        self.change(|state| state.tables = 0)?;
        self.rows.compact(oldest, dead)
    }

    fn lend(&self, bytes: u64) -> Result<u64, TablesError> {
        let before = self.state().reserve;
        let after = self.change(|state| state.reserve = state.reserve.saturating_sub(bytes))?;
        Ok(before - after.reserve)
    }

    fn tend(&self) -> Result<Reserved, TablesError> {
        const STEP: u64 = 50 << 10;
        match self.change(|state| state.reserve = (state.reserve + STEP).min(RESERVE)) {
            Ok(state) if state.reserve == RESERVE => Ok(Reserved::Whole),
            Ok(_) => Ok(Reserved::Growing),
            Err(_) => Ok(Reserved::Short),
        }
    }

    fn generation(&self) -> u64 {
        self.rows.generation()
    }

    fn stats(&self) -> TablesStats {
        self.rows.stats()
    }
}

/// A node's helpers on a disk of so many bytes, with the reserve whole.
fn bench(bytes: u64) -> (Bench, Arc<Shared>) {
    let shared = Shared::new(bytes);
    let bench = Bench::with(shared.log.clone(), shared.clone());
    wait_for("a reserve, which the directory did not have", || shared.state().reserve == RESERVE);
    wait_for("the log's reserve", || shared.log.used() >= 2 * SEGMENT);
    (bench, shared)
}

fn wait_for(what: &str, mut there: impl FnMut() -> bool) {
    let started = std::time::Instant::now();
    while !there() {
        assert!(started.elapsed().as_secs() < 5, "{what} does not come");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

fn memtable(engine: &mut Engine) -> FlushJob {
    engine.write([(Bytes::from_static(b"12345678key"), Some(Bytes::from_static(b"value")))]);
    engine.freeze().expect("there is something to flush")
}

/// Takes reports in until a flush is told.
fn flushed(bench: &mut Bench) {
    loop {
        let report = bench.report().expect("the flush is told");
        if let Ok(Some(Input::Flushed { .. })) = bench.helpers().reported(report) {
            return;
        }
    }
}

fn until_room(bench: &mut Bench, room: Room) {
    while bench.helpers().room() != room {
        let report = bench.report().unwrap_or_else(|| panic!("nobody says that it is {room:?}"));
        bench.helpers().reported(report).unwrap();
    }
}

#[test]
fn a_memtable_that_does_not_fit_is_written_into_the_reserve_and_merging_brings_it_back() {
    let (mut bench, shared) = bench(4 << 20);
    let mut engine = Engine::new(EngineOptions::default(), 0);
    shared.fill();
    let first = memtable(&mut engine);
    bench.helpers().flush(first);
    flushed(&mut bench);
    until_room(&mut bench, Room::Reserve);
    assert_eq!(shared.state().tables, 1);
    // Not until all of it is there again are clients told to go on.
    bench.helpers().compact(1, Vec::new());
    until_room(&mut bench, Room::Ample);
    assert_eq!((shared.state().tables, shared.state().reserve), (0, RESERVE));
    bench.end();
}

/// The log is full to the end of its own reserve, and the flush that would free it may not go before
/// what waits there: the log is lent a segment, the flush the rest, and both go on unaided.
#[test]
fn a_flush_behind_a_blocked_log_gets_through_and_frees_it() {
    let (mut bench, shared) = bench(4 << 20);
    let mut engine = Engine::new(EngineOptions::default(), 0);
    shared.fill();
    bench.blocked();
    let last = bench.ticket;
    let job = memtable(&mut engine);
    bench.helpers().flush(job);
    assert_eq!(bench.helpers().waiting.len(), 1, "it waits for the log");
    bench.durable(last);
    flushed(&mut bench);
    // As the node does it: what the table holds may leave the log, and the table may be merged.
    let start = LogStart { index: Index(last), term: Term(1), ..LogStart::default() };
    bench.give(Record::LogStart { shard: ShardId(1), start });
    bench.helpers().compact(1, Vec::new());
    until_room(&mut bench, Room::Ample);
    bench.end();
}
