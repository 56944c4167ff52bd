//! The engine over model tables, against the history of a map.

use super::*;
use crate::tables::{ModelTables, Prepared, RangeLimit, Tables};
use base::Random;

type Map = BTreeMap<Key, Bytes>;

fn key(n: u64) -> Key {
    Key::from(format!("datum-id/{n:03}"))
}

fn value(n: u64) -> Bytes {
    Bytes::from(n.to_be_bytes().to_vec())
}

struct World {
    random: Random,
    engine: Engine,
    tables: ModelTables,
    latest: Map,
    views: BTreeMap<ViewId, Map>,
    flushes: VecDeque<(u64, Prepared)>,
    fetches: Vec<(FetchId, Vec<Key>, u64, bool)>,
    unknown: u64,
    found: u64,
}

impl World {
    fn new(seed: u64) -> World {
        let mut random = Random::new(seed);
        let cache_bytes = random.pick(&[0, 500, 2000, 1 << 20]).copied().unwrap();
        let options = EngineOptions { memtable_bytes: 4000, cache_bytes, cache_seed: seed };
        World {
            engine: Engine::new(options, 0),
            tables: ModelTables::new(),
            latest: Map::new(),
            views: BTreeMap::new(),
            flushes: VecDeque::new(),
            fetches: Vec::new(),
            unknown: 0,
            found: 0,
            random,
        }
    }

    fn draw_key(&mut self) -> Key {
        key(self.random.below(60))
    }

    fn step(&mut self) {
        match self.random.below(20) {
            0..=5 => self.write(),
            6 => self.freeze(),
            7 => self.publish(),
            8 => {
                let id = self.engine.open_view();
                self.views.insert(id, self.latest.clone());
            }
            9 => {
                if let Some(id) = self.draw_view() {
                    self.engine.close_view(id);
                    self.views.remove(&id);
                }
            }
            10 => self.begin_fetch(),
            11 | 12 => self.go_on_with_fetch(),
            13 => {
                self.tables.compact(self.engine.oldest_generation(), &Default::default()).unwrap();
            }
            14 | 15 => self.check_latest(),
            16 | 17 => self.check_view(),
            _ => self.check_scan(),
        }
    }

    fn draw_view(&mut self) -> Option<ViewId> {
        let ids: Vec<ViewId> = self.views.keys().copied().collect();
        self.random.pick(&ids).copied()
    }

    fn write(&mut self) {
        let mut rows = Vec::new();
        for _ in 0..self.random.between(1, 5) {
            let key = self.draw_key();
            let value = self.random.chance(2, 3).then(|| value(self.random.u64()));
            match &value {
                Some(value) => self.latest.insert(key.clone(), value.clone()),
                None => self.latest.remove(&key),
            };
            rows.push((key, value));
        }
        self.engine.write(rows);
    }

    fn freeze(&mut self) {
        if let Some(job) = self.engine.freeze() {
            self.flushes.push_back((job.id, self.tables.prepare(&mut job.rows.rows())));
        }
    }

    fn publish(&mut self) {
        if let Some((id, run)) = self.flushes.pop_front() {
            let generation = self.tables.publish(run).unwrap();
            // Fetches may be answered between the two.
            if self.random.chance(1, 2) {
                self.go_on_with_fetch();
            }
            self.engine.flushed(id, generation);
        }
    }

    fn begin_fetch(&mut self) {
        let keys: Vec<Key> = (0..self.random.between(1, 4)).map(|_| self.draw_key()).collect();
        let (id, generation) = self.engine.fetch_started(keys.clone());
        self.fetches.push((id, keys, generation, false));
    }

    fn go_on_with_fetch(&mut self) {
        if self.fetches.is_empty() {
            return;
        }
        let which = self.random.below(self.fetches.len() as u64) as usize;
        let (id, keys, generation, answered) = self.fetches[which].clone();
        if !answered && self.random.chance(4, 5) {
            let rows = self.tables.get(&keys, generation).unwrap();
            self.engine.fetched(id, rows);
            self.fetches[which].3 = true;
            return;
        }
        if answered {
            for key in &keys {
                assert_ne!(self.engine.get(key), Lookup::Unknown, "a fetched row is held");
                assert_eq!(self.resolve(key), self.latest.get(key).cloned());
            }
        }
        self.engine.fetch_ended(id);
        self.fetches.remove(which);
    }

    fn resolve(&mut self, key: &Key) -> Option<Bytes> {
        match self.engine.get(key) {
            Lookup::Found(value) => Some(value),
            Lookup::Absent => None,
            Lookup::Unknown => {
                self.unknown += 1;
                let generation = self.engine.generation();
                self.tables.get(std::slice::from_ref(key), generation).unwrap().remove(0)
            }
        }
    }

    fn check_latest(&mut self) {
        let key = self.draw_key();
        assert_eq!(self.resolve(&key), self.latest.get(&key).cloned(), "{key:?}");
        self.found += 1;
    }

    fn check_view(&mut self) {
        let Some(id) = self.draw_view() else { return };
        let key = self.draw_key();
        let seen = match self.engine.get_at(id, &key) {
            Lookup::Found(value) => Some(value),
            Lookup::Absent => None,
            Lookup::Unknown => {
                let generation = self.engine.view_generation(id);
                self.tables.get(std::slice::from_ref(&key), generation).unwrap().remove(0)
            }
        };
        assert_eq!(seen, self.views[&id].get(&key).cloned(), "{key:?} at {id:?}");
    }

    fn check_scan(&mut self) {
        let Some(id) = self.draw_view() else { return };
        let start = self.draw_key();
        let end = self.random.chance(1, 2).then(|| self.draw_key());
        let range = KeyRange { start, end };
        let mut left = range.clone();
        let mut rows = Vec::new();
        loop {
            let limit = Limit {
                rows: self.random.between(1, 20) as usize,
                bytes: self.random.between(1, 400) as usize,
                visits: self.random.between(1, 20) as usize,
            };
            let generation = self.engine.view_generation(id);
            let table_limit = RangeLimit { rows: self.random.between(1, 20) as usize, bytes: 400 };
            let (table_rows, covered) = if generation == 0 {
                (Vec::new(), None)
            } else {
                let slice = self.tables.range(&left, generation, table_limit).unwrap();
                (slice.rows, slice.covered_until)
            };
            let slice = self.engine.merge(id, &left, table_rows, covered, limit);
            rows.extend(slice.rows);
            match slice.next {
                Some(next) => {
                    assert!(next > left.start || rows.is_empty(), "a slice makes progress");
                    left.start = next;
                }
                None => break,
            }
        }
        let inside = self.views[&id].iter().filter(|(key, _)| range.contains(key));
        let expected: Vec<(Key, Bytes)> =
            inside.map(|(key, value)| (key.clone(), value.clone())).collect();
        assert_eq!(rows, expected, "{range:?} at {id:?}");
    }

    /// With no view open and everything flushed, only the cache takes memory.
    fn wind_down(&mut self) {
        for id in std::mem::take(&mut self.views).into_keys() {
            self.engine.close_view(id);
        }
        self.freeze();
        while !self.flushes.is_empty() {
            self.publish();
        }
        let stats = self.engine.stats();
        assert_eq!((stats.active_bytes, stats.frozen_bytes, stats.unflushed), (0, 0, 0));
        (0..60).for_each(|n| {
            let key = key(n);
            assert_eq!(self.resolve(&key), self.latest.get(&key).cloned());
        });
    }
}

#[test]
fn every_read_is_what_a_map_says() {
    let (mut unknown, mut found) = (0, 0);
    for seed in 0..200 {
        let mut world = World::new(seed);
        (0..600).for_each(|_| world.step());
        world.wind_down();
        unknown += world.unknown;
        found += world.found;
    }
    assert!(unknown > 1000 && found > 1000, "{unknown} unknown, {found} found");
}

fn engine() -> Engine {
    Engine::new(EngineOptions::default(), 0)
}

fn row(key: &'static str, value: &'static str) -> (Key, Option<Bytes>) {
    (Key::from(key), Some(Bytes::from(value)))
}

#[test]
fn an_overwritten_version_goes_at_once_unless_a_view_needs_it() {
    let mut engine = engine();
    engine.write([row("k", "first value")]);
    let one = engine.stats().active_bytes;
    engine.write([row("k", "other value")]);
    assert_eq!(engine.stats().active_bytes, one);
    let view = engine.open_view();
    engine.write([row("k", "third value")]);
    assert!(engine.stats().active_bytes > one);
    assert_eq!(engine.get_at(view, &Key::from("k")), Lookup::Found("other value".into()));
    engine.close_view(view);
    engine.write([row("k", "forth value")]);
    assert_eq!(engine.stats().active_bytes, one);
}

#[test]
fn without_tables_a_miss_is_an_answer() {
    let mut engine = engine();
    assert_eq!(engine.get(&Key::from("k")), Lookup::Absent);
    engine.write([row("k", "v")]);
    let job = engine.freeze().unwrap();
    assert_eq!(engine.get(&Key::from("other")), Lookup::Absent);
    engine.flushed(job.id, 2);
    assert_eq!(engine.get(&Key::from("other")), Lookup::Unknown);
}

#[test]
fn a_slow_fetch_does_not_bring_back_an_overwritten_row() {
    let mut engine = Engine::new(EngineOptions::default(), 7);
    let k = Key::from("k");
    let (fetch, generation) = engine.fetch_started(vec![k.clone()]);
    assert_eq!(generation, 7);
    engine.write([row("k", "new")]);
    let job = engine.freeze().unwrap();
    engine.flushed(job.id, 8);
    assert_eq!(engine.oldest_generation(), 7, "the fetch still reads it");
    engine.fetched(fetch, vec![Some("old".into())]);
    assert_eq!(engine.get(&k), Lookup::Found("new".into()));
    engine.fetch_ended(fetch);
    assert_eq!(engine.get(&k), Lookup::Found("new".into()));
    assert_eq!(engine.oldest_generation(), 8);
}

#[test]
fn a_frozen_memtable_is_kept_for_the_views_that_need_it_and_handed_out_to_be_dropped() {
    let mut engine = engine();
    engine.write([row("k", "v")]);
    let view = engine.open_view();
    let job = engine.freeze().unwrap();
    engine.flushed(job.id, 2);
    assert!(engine.take_garbage().is_empty());
    assert_eq!(engine.get_at(view, &Key::from("k")), Lookup::Found("v".into()));
    engine.close_view(view);
    assert_eq!(engine.take_garbage().len(), 1);
    assert_eq!(engine.stats().frozen_bytes, 0);
}

#[test]
fn a_hot_read_is_answered_by_the_row_cache() {
    let mut engine = engine();
    engine.write([row("k", "v")]);
    engine.get(&Key::from("k"));
    engine.write([row("k", "w")]);
    assert_eq!(engine.get(&Key::from("k")), Lookup::Found("w".into()));
    assert_eq!((engine.stats().cache_hits, engine.stats().cache_misses), (1, 1));
}

#[test]
fn deleted_rows_count_as_work_in_a_slice() {
    let mut engine = engine();
    engine.write((0..100).map(|n| (key(n), None)));
    engine.write([(key(100), Some(value(1)))]);
    let view = engine.open_view();
    let limit = Limit { rows: 10, bytes: 1000, visits: 40 };
    let slice = engine.merge(view, &KeyRange::all(), Vec::new(), None, limit);
    assert_eq!(slice, Slice { rows: vec![], next: Some(key(40)) });
}
