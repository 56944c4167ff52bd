//! Both kinds of tables against a map, and the real ones against damage.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, clippy::print_stderr)]

use super::*;
use base::Random;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

/// A directory that goes away with the test.
pub(super) struct Scratch(pub PathBuf);

impl Scratch {
    fn new() -> Scratch {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("underpin-tables-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _ = std::fs::remove_dir_all(&path);
        Scratch(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn options() -> LsmOptions {
    LsmOptions {
        cache_bytes: 1 << 16,
        table_bytes: 4 << 10,
        fresh_runs: 3,
        ..LsmOptions::default()
    }
}

pub(super) fn key(id: u64, name: u64) -> Key {
    let mut key = id.to_be_bytes().to_vec();
    key.extend_from_slice(format!("k{name:03}").as_bytes());
    key.into()
}

pub(super) type Rows = BTreeMap<Key, Option<Bytes>>;

fn draw_run(random: &mut Random, step: u64) -> Rows {
    (0..random.below(40))
        .map(|_| {
            let value = random
                .chance(3, 4)
                .then(|| Bytes::from(vec![step as u8; random.below(300) as usize]));
            (key(random.between(1, 3), random.below(60)), value)
        })
        .collect()
}

pub(super) fn ingest(tables: &dyn Tables, run: &Rows) -> Result<u64, TablesError> {
    tables.ingest(&mut run.iter().map(|(key, value)| (key, value.as_ref())))
}

/// All rows of a range, slice by slice.
pub(super) fn scan(
    tables: &dyn Tables,
    range: &KeyRange,
    generation: u64,
    limit: RangeLimit,
) -> Vec<(Key, Bytes)> {
    let mut rows = Vec::new();
    let mut left = range.clone();
    loop {
        let slice = tables.range(&left, generation, limit).unwrap();
        assert!(slice.rows.len() <= limit.rows);
        rows.extend(slice.rows);
        match slice.covered_until {
            Some(until) => left.start = until,
            None => return rows,
        }
    }
}

/// The caller merges for as long as there is more to do, so there must be an end to it, whether dead
/// ids have rows left or not.
#[test]
fn merging_comes_to_an_end_while_ids_are_dead() {
    let scratch = Scratch::new();
    let tables = LsmTables::create(&scratch.0, options()).unwrap();
    for step in 0..5 {
        let row = |id, name| (key(id, name), Some(Bytes::from(vec![step; 200])));
        ingest(&tables, &[row(1, 1), row(2, u64::from(step))].into()).unwrap();
        ingest(&tables, &[row(2, 9)].into()).unwrap();
    }
    let dead: BTreeSet<u64> = [2, 7].into();
    let pieces = (1..50).find(|_| !tables.compact(tables.generation(), &dead).unwrap().more);
    assert!(pieces.is_some(), "still more to do after 50 pieces");
    let files = tables.stats();
    assert!(!tables.compact(tables.generation(), &dead).unwrap().more);
    assert_eq!(tables.stats(), files);
}

/// Runs go in, views read old generations, merging and restarts come in between: both kinds of
/// tables say what a map says, for every generation that may still be read.
fn matches_a_map(seed: u64) {
    let mut random = Random::new(seed);
    let scratch = Scratch::new();
    let mut real = LsmTables::create(&scratch.0, options()).unwrap();
    let model = ModelTables::new();
    let mut dead: BTreeSet<u64> = BTreeSet::new();
    // The map of each readable generation, by the generations of the two.
    let mut maps: Vec<(u64, u64, BTreeMap<Key, Bytes>)> = vec![(0, 0, BTreeMap::new())];
    for step in 0..120 {
        match random.below(12) {
            0..=3 => {
                let mut run = draw_run(&mut random, step);
                run.retain(|key, _| !dead.contains(&data_id(key).unwrap()));
                let (a, b) = (ingest(&real, &run).unwrap(), ingest(&model, &run).unwrap());
                let mut map = maps.last().unwrap().2.clone();
                for (key, value) in run {
                    match value {
                        Some(value) => map.insert(key, value),
                        None => map.remove(&key),
                    };
                }
                maps.push((a, b, map));
            }
            4 | 5 => {
                let kept = random.below(maps.len() as u64) as usize;
                maps.drain(..kept);
                if random.chance(1, 20) && !dead.contains(&3) {
                    dead.insert(3);
                    maps.drain(..maps.len() - 1);
                    maps[0].2.retain(|key, _| data_id(key) != Some(3));
                }
                let compacted = real.compact(maps[0].0, &dead).unwrap();
                model.compact(maps[0].1, &dead).unwrap();
                if !compacted.more && !dead.is_empty() {
                    assert_eq!(compacted.gone, dead, "seed {seed}");
                }
            }
            6 if random.chance(1, 3) => {
                drop(real);
                real = LsmTables::open(&scratch.0, options()).unwrap();
                let last = maps.pop().unwrap();
                maps = vec![(real.generation(), model.generation(), last.2)];
            }
            7 | 8 => {
                let (a, b, map) = random.pick(&maps).unwrap();
                let keys: Vec<Key> =
                    (0..5).map(|_| key(random.between(1, 2), random.below(60))).collect();
                let expected: Vec<Option<Bytes>> =
                    keys.iter().map(|key| map.get(key).cloned()).collect();
                assert_eq!(real.get(&keys, *a).unwrap(), expected, "seed {seed}, step {step}");
                assert_eq!(model.get(&keys, *b).unwrap(), expected);
            }
            _ => {
                let (a, b, map) = random.pick(&maps).unwrap();
                let start = key(random.between(1, 2), random.below(60));
                let end = random.chance(2, 3).then(|| key(2, random.below(60)));
                let end = end.or(Some(key(3, 0)));
                let range = KeyRange { start, end };
                let limit = RangeLimit {
                    rows: random.between(1, 50) as usize,
                    bytes: random.between(1, 5000) as usize,
                };
                let inside = map.iter().filter(|(key, _)| range.contains(key));
                let expected: Vec<(Key, Bytes)> =
                    inside.map(|(key, value)| (key.clone(), value.clone())).collect();
                assert_eq!(scan(&real, &range, *a, limit), expected, "seed {seed}, step {step}");
                assert_eq!(scan(&model, &range, *b, limit), expected);
            }
        }
    }
    real.verify().unwrap();
}

#[test]
fn both_kinds_match_a_map() {
    (0..12).for_each(matches_a_map);
}

#[test]
fn a_generation_that_was_given_up_is_refused() {
    let scratch = Scratch::new();
    let real = LsmTables::create(&scratch.0, options()).unwrap();
    let model = ModelTables::new();
    for tables in [&real as &dyn Tables, &model] {
        let mut random = Random::new(1);
        let old = ingest(tables, &draw_run(&mut random, 1)).unwrap();
        let new = ingest(tables, &draw_run(&mut random, 2)).unwrap();
        tables.get(&[key(1, 1)], old).unwrap();
        tables.compact(new, &BTreeSet::new()).unwrap();
        tables.get(&[key(1, 1)], new).unwrap();
        let refused = TablesError::NoSuchGeneration { asked: old, oldest: new, newest: new };
        assert_eq!(tables.get(&[key(1, 1)], old), Err(refused));
    }
}

#[test]
fn merging_gives_disk_space_back() {
    let scratch = Scratch::new();
    let tables = LsmTables::create(&scratch.0, options()).unwrap();
    let run: Rows = (0..200).map(|n| (key(1, n), Some(vec![n as u8; 500].into()))).collect();
    for _ in 0..12 {
        let generation = ingest(&tables, &run).unwrap();
        while tables.compact(generation, &BTreeSet::new()).unwrap().more {}
    }
    let on_disk: u64 = std::fs::read_dir(scratch.0.join("tables"))
        .unwrap()
        .map(|file| file.unwrap().metadata().unwrap().len())
        .sum();
    assert!(on_disk < 5 * 200 * 512, "{on_disk} bytes for 200 rows of 500");
}

/// Whatever bit flips in whatever file, reads bring what was written or an error that names a file.
#[test]
fn a_flipped_bit_in_a_table_is_an_error_and_never_wrong_data() {
    let scratch = Scratch::new();
    let mut map: BTreeMap<Key, Bytes> = BTreeMap::new();
    {
        let tables = LsmTables::create(&scratch.0, options()).unwrap();
        for round in 0..5u8 {
            let run: Rows =
                (0..60).map(|n| (key(1, n), Some(vec![round ^ n as u8; 100].into()))).collect();
            let generation = ingest(&tables, &run).unwrap();
            if round == 3 {
                while tables.compact(generation, &BTreeSet::new()).unwrap().more {}
            }
            map.extend(run.into_iter().map(|(key, value)| (key, value.unwrap())));
        }
    }
    let files: Vec<PathBuf> = [scratch.0.clone(), scratch.0.join("tables")]
        .iter()
        .flat_map(|dir| std::fs::read_dir(dir).unwrap())
        .map(|file| file.unwrap().path())
        // Nobody reads what is in the reserve.
        .filter(|path| path.is_file() && !path.ends_with("reserve"))
        .collect();
    let pristine: Vec<(PathBuf, Vec<u8>)> =
        files.iter().map(|path| (path.clone(), std::fs::read(path).unwrap())).collect();
    let mut random = Random::new(11);
    let (mut errors, mut harmless) = (0, 0);
    for _ in 0..300 {
        let (path, content) = random.pick(&pristine).unwrap();
        let at = random.below(content.len() as u64) as usize;
        let mut damaged = content.clone();
        damaged[at] ^= 1 << random.below(8);
        std::fs::write(path, &damaged).unwrap();
        match read_all(&scratch.0) {
            Ok(rows) => {
                assert_eq!(rows, map, "{} at {at}", path.display());
                harmless += 1;
            }
            Err(TablesError::Corrupt { path, .. }) => {
                assert!(path.contains("underpin-tables"), "{path}");
                errors += 1;
            }
            Err(other) => panic!("{} at {at}: {other}", path.display()),
        }
        // Opening may have tidied up: put everything back.
        for (path, content) in &pristine {
            std::fs::write(path, content).unwrap();
        }
    }
    assert!(errors > 150, "{errors} errors, {harmless} harmless");
}

fn read_all(path: &std::path::Path) -> Result<BTreeMap<Key, Bytes>, TablesError> {
    let tables = LsmTables::open(path, options())?;
    let generation = tables.generation();
    let keys: Vec<Key> = (0..60).map(|n| key(1, n)).collect();
    let got = tables.get(&keys, generation)?;
    let limit = RangeLimit { rows: 1000, bytes: 1 << 20 };
    let rows = tables.range(&KeyRange::all(), generation, limit)?.rows;
    let rows: BTreeMap<Key, Bytes> = rows.into_iter().collect();
    for (key, value) in keys.iter().zip(got) {
        assert_eq!(rows.get(key), value.as_ref());
    }
    Ok(rows)
}

#[test]
fn a_flipped_bit_names_its_file_and_the_way_out() {
    let scratch = Scratch::new();
    let tables = LsmTables::create(&scratch.0, options()).unwrap();
    let run: Rows = (0..60).map(|n| (key(1, n), Some(vec![n as u8; 100].into()))).collect();
    ingest(&tables, &run).unwrap();
    drop(tables);
    let mut files = std::fs::read_dir(scratch.0.join("tables")).unwrap();
    let file = files.next().unwrap().unwrap().path();
    let mut content = std::fs::read(&file).unwrap();
    content[1000] ^= 4;
    std::fs::write(&file, content).unwrap();
    let message = read_all(&scratch.0).unwrap_err().to_string();
    assert!(message.contains(&format!("{} at byte ", file.display())), "{message}");
    assert!(message.contains(": expected checksum"), "{message}");
    assert!(message.contains("underpin node rebuild"), "{message}");
}

/// Flushes, merges and reads on threads of their own, as in a running node.
#[test]
fn reads_stay_right_beside_flushes_and_merges() {
    let scratch = Scratch::new();
    let tables = LsmTables::create(&scratch.0, options()).unwrap();
    let rounds = 60u64;
    let value = |round: u64| Bytes::from(round.to_be_bytes().to_vec());
    let first: Rows = (0..50).map(|n| (key(1, n), Some(value(0)))).collect();
    let published = AtomicU64::new(ingest(&tables, &first).unwrap());
    let base = published.load(Ordering::SeqCst);
    let tables = &tables;
    let rounds_of = std::sync::Mutex::new(BTreeMap::from([(base, 0)]));
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for round in 1..=rounds {
                let run: Rows = (0..50).map(|n| (key(1, n), Some(value(round)))).collect();
                let generation = ingest(tables, &run).unwrap();
                rounds_of.lock().unwrap().insert(generation, round);
                published.store(generation, Ordering::SeqCst);
            }
        });
        let merger = scope.spawn(move || {
            while !writer.is_finished() {
                tables.compact(base, &BTreeSet::new()).unwrap();
            }
        });
        while !merger.is_finished() {
            let generation = published.load(Ordering::SeqCst);
            let round = rounds_of.lock().unwrap()[&generation];
            let keys: Vec<Key> = (0..50).map(|n| key(1, n)).collect();
            let rows = tables.get(&keys, generation).unwrap();
            assert!(rows.iter().all(|row| *row == Some(value(round))), "round {round}: {rows:?}");
            let limit = RangeLimit { rows: 100, bytes: 1 << 20 };
            let rows = tables.range(&KeyRange::all(), generation, limit).unwrap().rows;
            assert_eq!(rows.len(), 50);
            assert!(rows.iter().all(|row| row.1 == value(round)), "round {round}: {rows:?}");
        }
    });
    tables.verify().unwrap();
}

#[test]
fn tables_that_are_gone_are_not_made_anew() {
    let scratch = Scratch::new();
    drop(LsmTables::create(&scratch.0, options()).unwrap());
    LsmTables::open(&scratch.0, options()).unwrap();
    std::fs::remove_file(scratch.0.join("current")).unwrap();
    let error = LsmTables::open(&scratch.0, options()).err().unwrap();
    assert!(matches!(error, TablesError::Corrupt { .. }), "{error}");
}

#[test]
fn an_error_of_the_system_says_where_it_was_and_what_to_do() {
    let scratch = Scratch::new();
    drop(LsmTables::create(&scratch.0, options()).unwrap());
    let reserve = scratch.0.join("reserve");
    std::fs::remove_file(&reserve).unwrap();
    std::fs::create_dir(&reserve).unwrap();
    let message = LsmTables::open(&scratch.0, options()).err().unwrap().to_string();
    assert!(message.contains(&format!("the reserve in {}: ", scratch.0.display())), "{message}");
    assert!(message.contains("Is a directory"), "{message}");
    assert!(message.contains("check the disk, then start the node again"), "{message}");
}

/// Runs a test of this program again, with a file system of 4 MiB at `UNDERPIN_SMALL_DIR` that only
/// that run sees. Where the system grants nobody a mount of their own, says so and runs nothing.
pub(super) fn rerun_on_a_small_file_system(test: &str) {
    let scratch = Scratch::new();
    std::fs::create_dir_all(&scratch.0).unwrap();
    let unshared = |script: &str| {
        let mut command = std::process::Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script]);
        let script = command.env("UNDERPIN_SMALL_DIR", &scratch.0);
        script.arg("sh").arg(std::env::current_exe().unwrap()).status().is_ok_and(|s| s.success())
    };
    let mount = "mount -t tmpfs -o size=4m none \"$UNDERPIN_SMALL_DIR\"";
    if !unshared(mount) {
        return eprintln!("not run: no mounts here for a small file system");
    }
    let again = format!("{mount} && exec \"$1\" --exact tables::{test}");
    assert!(unshared(&again), "{test} on a file system of 4 MiB");
}

#[test]
fn a_full_disk_refuses_runs_and_goes_on_once_there_is_room() {
    let Some(small) = std::env::var_os("UNDERPIN_SMALL_DIR").map(PathBuf::from) else {
        return rerun_on_a_small_file_system(
            "tests::a_full_disk_refuses_runs_and_goes_on_once_there_is_room",
        );
    };
    let scratch = Scratch(small.join("tables-of-a-test"));
    let tables = LsmTables::create(&scratch.0, options()).unwrap();
    let mut random = Random::new(2);
    let mut run = |from: u64| -> Rows {
        let mut noise = || Bytes::from((0..100).map(|_| random.u64() as u8).collect::<Vec<u8>>());
        (from..from + 1000).map(|n| (key(1, n), Some(noise()))).collect()
    };
    let ballast = small.join("ballast");
    std::fs::write(&ballast, vec![1; 1 << 20]).unwrap();
    let mut from = 0;
    loop {
        match ingest(&tables, &run(from)) {
            Ok(_) => from += 1000,
            Err(TablesError::Full) => break,
            Err(other) => panic!("{other}"),
        }
    }
    let files = std::fs::read_dir(scratch.0.join("tables")).unwrap().count();
    assert_eq!(files, tables.stats().tables, "what was begun is gone");
    let newest = tables.generation();
    assert_eq!(tables.get(&[key(1, 1)], newest).unwrap().iter().flatten().count(), 1);
    assert_eq!(tables.compact(newest, &BTreeSet::new()).err(), Some(TablesError::Full));
    std::fs::remove_file(&ballast).unwrap();
    ingest(&tables, &run(from)).unwrap();
    drop(tables);
    LsmTables::open(&scratch.0, options()).unwrap().verify().unwrap();
}

/// Rows of noise, 100 bytes each, that no compression makes small.
fn noise(random: &mut Random, id: u64, numbers: std::ops::Range<u64>) -> Rows {
    let mut noise = || Bytes::from((0..100).map(|_| random.u64() as u8).collect::<Vec<u8>>());
    numbers.map(|n| (key(id, n), Some(noise()))).collect()
}

/// Tables on a file system of 4 MiB, with a reserve, filled to the last byte; how many rows of each
/// of two ids they have.
fn filled_to_the_last_byte(small: &std::path::Path) -> (Scratch, LsmTables, u64) {
    let scratch = Scratch(small.join("tables-of-a-test"));
    let options = LsmOptions { reserve_bytes: 512 << 10, ..options() };
    let tables = LsmTables::create(&scratch.0, options).unwrap();
    while tables.tend().unwrap() == Reserved::Growing {}
    let mut random = Random::new(3);
    let mut rows = 0;
    loop {
        let mut run = noise(&mut random, 1, rows..rows + 1000);
        run.extend(noise(&mut random, 2, rows..rows + 1000));
        match ingest(&tables, &run) {
            Ok(_) => rows += 1000,
            Err(TablesError::Full) => break,
            Err(other) => panic!("{other}"),
        }
    }
    let mut filler = std::fs::File::create(small.join("filler")).unwrap();
    while std::io::Write::write_all(&mut filler, &[1; 512]).is_ok() {}
    assert_eq!(ingest(&tables, &[(key(3, 0), None)].into()), Err(TablesError::Full));
    (scratch, tables, rows)
}

/// Merges until there is nothing more to do, and lets the reserve grow as far as it can.
fn merge_and_tend(tables: &LsmTables, dead: &BTreeSet<u64>) -> Reserved {
    tables.lend(u64::MAX).unwrap();
    while tables.compact(tables.generation(), dead).unwrap().more {}
    (0..100).map(|_| tables.tend().unwrap()).find(|stands| *stands != Reserved::Growing).unwrap()
}

#[test]
fn on_a_disk_without_any_room_deletes_make_some() {
    let Some(small) = std::env::var_os("UNDERPIN_SMALL_DIR").map(PathBuf::from) else {
        return rerun_on_a_small_file_system("tests::on_a_disk_without_any_room_deletes_make_some");
    };
    let (scratch, tables, rows) = filled_to_the_last_byte(&small);
    // All but a few rows.
    let deletes: Rows =
        (1..=2).flat_map(|id| (100..rows).map(move |n| (key(id, n), None))).collect();
    assert_eq!(ingest(&tables, &deletes), Err(TablesError::Full));
    assert!(tables.lend(u64::MAX).unwrap() > 0);
    ingest(&tables, &deletes).unwrap();
    assert_eq!(merge_and_tend(&tables, &BTreeSet::new()), Reserved::Whole);
    assert_eq!(tables.lend(0), Ok(0));

    ingest(&tables, &noise(&mut Random::new(4), 1, rows..rows + 1000)).unwrap();
    drop(tables);
    let tables = LsmTables::open(&scratch.0, options()).unwrap();
    tables.verify().unwrap();
    let found = scan(
        &tables,
        &KeyRange::all(),
        tables.generation(),
        RangeLimit { rows: 1000, bytes: 1 << 20 },
    );
    assert_eq!(found.len(), 1200);
}

#[test]
fn on_a_disk_without_any_room_dead_ids_make_some() {
    let Some(small) = std::env::var_os("UNDERPIN_SMALL_DIR").map(PathBuf::from) else {
        return rerun_on_a_small_file_system(
            "tests::on_a_disk_without_any_room_dead_ids_make_some",
        );
    };
    let (_scratch, tables, _) = filled_to_the_last_byte(&small);
    assert_eq!(merge_and_tend(&tables, &[1, 2].into()), Reserved::Whole);
    assert_eq!(tables.stats().rows, 0);
}

/// The error names the block in which the bit flipped, or where the list behind the blocks begins.
#[test]
fn a_flipped_bit_in_a_table_is_found_to_the_block() {
    const BLOCK_BYTES: u64 = 5 << 10;
    let scratch = Scratch::new();
    let tables = LsmTables::create(&scratch.0, options()).unwrap();
    ingest(&tables, &noise(&mut Random::new(5), 1, 0..500)).unwrap();
    let mut files = std::fs::read_dir(scratch.0.join("tables")).unwrap();
    let file = files.next().unwrap().unwrap().path();
    let pristine = std::fs::read(&file).unwrap();
    let bytes = pristine.len() as u64;
    for at in (0..bytes).step_by(97) {
        let mut damaged = pristine.clone();
        damaged[at as usize] ^= 1;
        std::fs::write(&file, damaged).unwrap();
        let Err(TablesError::Corrupt { offset: Some(offset), .. }) = tables.verify() else {
            panic!("{at} was not seen");
        };
        assert!(offset <= at && at < offset + BLOCK_BYTES, "{offset} for {at} of {bytes}");
    }
}

#[test]
fn a_run_that_was_only_prepared_is_lost_in_a_crash() {
    let tables = ModelTables::new();
    let run: Rows = [(key(1, 1), Some(Bytes::from_static(b"v")))].into();
    let prepared = tables.prepare(&mut run.iter().map(|(key, value)| (key, value.as_ref())));
    assert_eq!(tables.generation(), 0);
    drop(prepared.clone());
    assert_eq!(tables.get(&[key(1, 1)], 0).unwrap(), [None]);
    let generation = tables.publish(prepared).unwrap();
    assert_eq!(tables.get(&[key(1, 1)], generation).unwrap(), [Some(Bytes::from_static(b"v"))]);
}
