//! What clients do: single operations, and how they draw them.
//!
//! Keys are numbers here; each protocol writes them in its own way. Zipfian keys are drawn as YCSB
//! draws them (Gray et al., "Quickly generating billion-record synthetic databases", 1994, with a
//! constant of 0.99) and then scattered by a hash, so that hot keys are not neighbours.

use crate::case::{Case, Distribution, Workload};
use std::io::Write;

/// One operation of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Makes a key that is not there yet.
    Create(u64),
    /// Overwrites a key.
    Set(u64),
    /// Reads a key.
    Get(u64),
    /// Reads a key, and when that is answered overwrites it: one operation to its client.
    GetThenSet(u64),
    /// Reads up to so many keys in order, from this one on.
    Scan(u64, u32),
}

/// The 16 bytes of a key.
pub fn write_key(out: &mut Vec<u8>, key: u64) {
    write!(out, "key:{key:012}").expect("a Vec takes everything");
}

/// A small generator of numbers (xorshift64).
pub struct Random(u64);

impl Random {
    /// One of a seed; seeds that differ only in their lowest bit are one.
    pub fn new(seed: u64) -> Random {
        // Small seeds are spread out first, or their first draws are all small.
        Random((seed | 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// Any number but 0.
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// At least 0 and below 1.
    fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A number below `bound`.
    fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 8) % bound
    }
}

/// Ranks from 0 on, of which the first are drawn most often.
struct Zipfian {
    count: u64,
    zeta: f64,
    alpha: f64,
    eta: f64,
}

/// YCSB's constant.
const THETA: f64 = 0.99;

impl Zipfian {
    fn new(count: u64) -> Zipfian {
        let all = zeta(count);
        let alpha = 1.0 / (1.0 - THETA);
        let eta = (1.0 - (2.0 / count as f64).powf(1.0 - THETA)) / (1.0 - zeta(2.min(count)) / all);
        Zipfian { count, zeta: all, alpha, eta }
    }

    fn draw(&self, random: &mut Random) -> u64 {
        let fraction = random.fraction();
        let scaled = fraction * self.zeta;
        if scaled < 1.0 || self.count == 1 {
            return 0;
        }
        if scaled < 1.0 + 0.5f64.powf(THETA) {
            return 1;
        }
        let rank = self.count as f64 * (self.eta * fraction - self.eta + 1.0).powf(self.alpha);
        (rank as u64).min(self.count - 1)
    }
}

/// The sum that makes all ranks' shares one.
fn zeta(count: u64) -> f64 {
    (1..=count).map(|rank| 1.0 / (rank as f64).powf(THETA)).sum()
}

/// Scatters ranks over keys (FNV-1a, as YCSB does).
fn scatter(rank: u64, keys: u64) -> u64 {
    let hash = rank.to_le_bytes().iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    hash % keys
}

/// Draws the operations of a case.
pub struct Chooser {
    workload: Workload,
    distribution: Distribution,
    random: Random,
    zipfian: Option<Zipfian>,
    keys: u64,
}

impl Chooser {
    /// One for a case; the same seed draws the same.
    pub fn new(case: &Case, seed: u64) -> Chooser {
        let zipfian =
            case.distribution == Distribution::Zipfian || case.workload == Workload::YcsbD;
        Chooser {
            workload: case.workload,
            distribution: case.distribution,
            random: Random::new(seed),
            zipfian: zipfian.then(|| Zipfian::new(case.keys)),
            keys: case.keys,
        }
    }

    /// The next one.
    pub fn next(&mut self) -> Op {
        let percent = self.random.below(100);
        match self.workload {
            Workload::Set => Op::Set(self.key()),
            Workload::Get | Workload::YcsbC => Op::Get(self.key()),
            Workload::Mixed | Workload::YcsbA if percent < 50 => Op::Set(self.key()),
            Workload::YcsbB if percent < 5 => Op::Set(self.key()),
            Workload::Mixed | Workload::YcsbA | Workload::YcsbB => Op::Get(self.key()),
            Workload::YcsbD | Workload::YcsbE if percent < 5 => {
                self.keys += 1;
                Op::Create(self.keys - 1)
            }
            Workload::YcsbD => Op::Get(self.latest()),
            Workload::YcsbE => {
                let from = self.key();
                Op::Scan(from, 1 + self.random.below(100) as u32)
            }
            Workload::YcsbF if percent < 50 => Op::GetThenSet(self.key()),
            Workload::YcsbF => Op::Get(self.key()),
        }
    }

    /// A key by the case's distribution, among those that were there from the start.
    fn key(&mut self) -> u64 {
        match (&self.zipfian, self.distribution) {
            (Some(zipfian), Distribution::Zipfian) => {
                let keys = zipfian.count;
                scatter(zipfian.draw(&mut self.random), keys)
            }
            _ => self.random.below(self.keys),
        }
    }

    /// A key that was made lately, most often the last. Those on their way may be missing.
    fn latest(&mut self) -> u64 {
        let zipfian = self.zipfian.as_ref().expect("made for this workload");
        self.keys - 1 - zipfian.draw(&mut self.random)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(workload: Workload, distribution: Distribution, keys: u64) -> Case {
        Case { workload, distribution, keys, ..Case::default() }
    }

    #[test]
    fn keys_have_sixteen_bytes() {
        let mut out = vec![];
        write_key(&mut out, 42);
        assert_eq!(out, b"key:000000000042");
    }

    #[test]
    fn zipfian_ranks_come_as_often_as_they_should() {
        const DRAWS: u64 = 1_000_000;
        let zipfian = Zipfian::new(1_000);
        let mut random = Random::new(7);
        let mut counts = vec![0u64; 1_000];
        (0..DRAWS).for_each(|_| counts[zipfian.draw(&mut random) as usize] += 1);
        let zeta = zeta(1_000);
        // The first two ranks are exact, the rest follows a curve that is fitted to them.
        for rank in [0u64, 1] {
            let want = DRAWS as f64 / zeta / ((rank + 1) as f64).powf(THETA);
            let got = counts[rank as usize] as f64;
            assert!((got / want - 1.0).abs() < 0.02, "rank {rank}: {got} for {want}");
        }
        for (from, to) in [(2, 10), (10, 100), (100, 500), (500, 1_000)] {
            let want: f64 =
                (from..to).map(|rank| DRAWS as f64 / zeta / ((rank + 1) as f64).powf(THETA)).sum();
            let got: u64 = counts[from..to].iter().sum();
            assert!((got as f64 / want - 1.0).abs() < 0.15, "{from} to {to}: {got} for {want}");
        }
    }

    #[test]
    fn zipfian_of_one_and_two_keys() {
        let mut random = Random::new(1);
        for count in [1, 2, 3] {
            let zipfian = Zipfian::new(count);
            assert!((0..10_000).all(|_| zipfian.draw(&mut random) < count), "{count}");
        }
    }

    #[test]
    fn scattered_keys_stay_within_and_are_mostly_apart() {
        let keys: std::collections::BTreeSet<u64> =
            (0..100).map(|rank| scatter(rank, 100_000)).collect();
        assert!(keys.len() > 95 && keys.iter().all(|key| *key < 100_000));
    }

    #[test]
    fn uniform_keys_are_uniform() {
        let mut chooser = Chooser::new(&case(Workload::Get, Distribution::Uniform, 10), 3);
        let mut counts = [0u64; 10];
        for _ in 0..100_000 {
            let Op::Get(key) = chooser.next() else { panic!("only gets") };
            counts[key as usize] += 1;
        }
        assert!(counts.iter().all(|count| (9_500..10_500).contains(count)), "{counts:?}");
    }

    #[test]
    fn mixes_are_mixed_as_ycsb_says() {
        for (workload, share) in [
            (Workload::Mixed, 0.5),
            (Workload::YcsbA, 0.5),
            (Workload::YcsbB, 0.05),
            (Workload::YcsbC, 0.0),
            (Workload::YcsbD, 0.05),
            (Workload::YcsbE, 0.05),
            (Workload::YcsbF, 0.5),
        ] {
            let mut chooser = Chooser::new(&case(workload, Distribution::Zipfian, 1_000), 5);
            let writes = |op: Op| matches!(op, Op::Set(_) | Op::Create(_) | Op::GetThenSet(_));
            let count = (0..100_000).filter(|_| writes(chooser.next())).count();
            assert!((count as f64 / 1e5 - share).abs() < 0.01, "{workload:?}: {count}");
        }
    }

    #[test]
    fn the_latest_keys_are_read_most_and_none_that_was_never_made() {
        let mut chooser = Chooser::new(&case(Workload::YcsbD, Distribution::Zipfian, 1_000), 9);
        let (mut made, mut late, mut reads) = (1_000, 0, 0);
        for _ in 0..100_000 {
            match chooser.next() {
                Op::Create(key) => {
                    assert_eq!(key, made);
                    made += 1;
                }
                Op::Get(key) => {
                    assert!(key < made);
                    late += u64::from(made - key <= 10);
                    reads += 1;
                }
                other => panic!("{other:?}"),
            }
        }
        assert!(late * 3 > reads, "{late} of {reads}");
    }
}
