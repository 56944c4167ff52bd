//! How far it could go at best, measured in the same run, so that numbers can be held against what
//! the machine allows: a writer that does nothing but append and sync, and a map that does nothing
//! but look up. The floor of sockets is a subject of its own, [`crate::echo`].

use crate::op::{Random, write_key};
use std::collections::HashMap;
use std::fs::File;
use std::hint::black_box;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// A segment of zeros, as our log has them: its length is on the disk before it is written.
const SEGMENT: u64 = 16 << 20;
/// Bytes of an entry: a key of 16, a value of 100, and about as much around them as our log has.
const ENTRY: usize = 160;
/// Looked-up keys.
const KEYS: u64 = 100_000;

/// One round of all floors, each in operations a second.
#[derive(Clone, Copy, Debug)]
pub struct Floors {
    /// One entry, one sync.
    pub synced: f64,
    /// 64 entries, one sync.
    pub synced_by_64: f64,
    /// Looking up a key of 16 bytes among 100,000 in a hash map.
    pub looked_up: f64,
}

/// What each is called in results.
pub const NAMES: [&str; 3] =
    ["append and sync, one entry", "append and sync, 64 entries", "hash-map get"];

impl Floors {
    /// Measures each for so long.
    pub fn measure(folder: &Path, each: Duration) -> io::Result<Floors> {
        Ok(Floors {
            synced: writer(folder, 1, each)?,
            synced_by_64: writer(folder, 64, each)?,
            looked_up: map(each),
        })
    }

    /// In the order of [`NAMES`].
    pub fn values(&self) -> [f64; 3] {
        [self.synced, self.synced_by_64, self.looked_up]
    }
}

/// Entries a second that one thread makes durable, `batch` with each sync.
fn writer(folder: &Path, batch: usize, each: Duration) -> io::Result<f64> {
    let path = folder.join("floor");
    let file = File::create(&path)?;
    let zeros = vec![0; 1 << 20];
    for at in (0..SEGMENT).step_by(zeros.len()) {
        file.write_all_at(&zeros, at)?;
    }
    file.sync_all()?;
    let bytes = vec![0x5a; ENTRY * batch];
    let (started, mut at, mut syncs) = (Instant::now(), 0, 0u64);
    while started.elapsed() < each {
        if at + bytes.len() as u64 > SEGMENT {
            at = 0; // Segments are used again.
        }
        file.write_all_at(&bytes, at)?;
        file.sync_data()?;
        at += bytes.len() as u64;
        syncs += 1;
    }
    let rate = (syncs * batch as u64) as f64 / started.elapsed().as_secs_f64();
    drop(file);
    std::fs::remove_file(path)?;
    Ok(rate)
}

/// Look-ups a second of one thread, of keys drawn uniformly.
fn map(each: Duration) -> f64 {
    let key = |number| {
        let mut key = Vec::with_capacity(16);
        write_key(&mut key, number);
        key
    };
    let keys: Vec<Vec<u8>> = (0..KEYS).map(key).collect();
    let map: HashMap<&[u8], [u8; 100]> = keys.iter().map(|key| (&key[..], [1; 100])).collect();
    let mut random = Random::new(1);
    let (started, mut count) = (Instant::now(), 0u64);
    while started.elapsed() < each {
        for _ in 0..1_000 {
            black_box(map.get(&keys[(random.next() % KEYS) as usize][..]));
        }
        count += 1_000;
    }
    count as f64 / started.elapsed().as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;
    use underpin_e2e::place::Folder;

    #[test]
    fn floors_are_measured_and_leave_nothing_behind() {
        let folder = Folder::new("floors");
        let floors = Floors::measure(folder.path(), Duration::from_millis(30)).unwrap();
        assert!(floors.values().iter().all(|rate| *rate > 0.0), "{floors:?}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
