//! Fuzzing without libFuzzer: `underpin-fuzz TARGET EXECUTIONS SEED FOLDER…` changes the inputs that
//! lie in some folders, seeded, without looking at what they reach. It needs no nightly toolchain
//! and wastes no time on coverage; what a campaign of libFuzzer has found is the best start for it.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, clippy::print_stdout)]

use base::Random;
use std::process::ExitCode;
use std::time::Instant;
use underpin_fuzz::BODIES;
use underpin_fuzz::allocation::Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Longest input that changes may make.
const BYTES_MAX: usize = 1024;
/// Numbers that lengths and counts are changed to.
const EDGES: [u64; 12] = [
    0,
    1,
    2,
    0x7f,
    0xff,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0xffff_ffff,
    u64::MAX >> 1,
    u64::MAX - 1,
    u64::MAX,
];

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [target, executions, seed, folders @ ..] = &words[..] else {
        println!("underpin-fuzz TARGET EXECUTIONS SEED FOLDER…");
        return ExitCode::from(2);
    };
    let body = BODIES.iter().find(|(name, _)| name == target).expect("a target of that name").1;
    let executions: u64 = executions.parse().expect("a number of executions");
    let seed: u64 = seed.parse().expect("a number as seed");
    let pool: Vec<Vec<u8>> = folders.iter().flat_map(|folder| inputs(folder)).collect();
    assert!(!pool.is_empty(), "there is no input to begin with");
    let mut random = Random::new(seed);
    let (begun, mut past) = (Instant::now(), 0u64);
    for execution in 0..executions {
        let input = change(&mut random, &pool);
        let done = std::panic::catch_unwind(|| body(&input));
        let Ok(deep) = done else {
            let name = format!("crash-{target}-{seed}-{execution}");
            std::fs::write(&name, &input).expect("a file can be written");
            println!("{target}: execution {execution} of seed {seed} failed; kept as {name}");
            return ExitCode::FAILURE;
        };
        past += u64::from(deep);
    }
    let seconds = begun.elapsed().as_secs_f64();
    println!(
        "{target}: {executions} executions of seed {seed} from {} inputs, {:.1} % past the first \
         parse, {seconds:.0} s",
        pool.len(),
        100.0 * past as f64 / executions.max(1) as f64
    );
    ExitCode::SUCCESS
}

fn inputs(folder: &str) -> Vec<Vec<u8>> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{folder}: {e}"));
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths.into_iter().map(|path| std::fs::read(path).expect("a file can be read")).collect()
}

/// One of the inputs, changed in a few places.
fn change(random: &mut Random, pool: &[Vec<u8>]) -> Vec<u8> {
    let mut input = random.pick(pool).expect("there is one").clone();
    for _ in 0..random.between(1, 5) {
        change_once(random, pool, &mut input);
    }
    input.truncate(BYTES_MAX);
    input
}

fn change_once(random: &mut Random, pool: &[Vec<u8>], input: &mut Vec<u8>) {
    let at = random.below(input.len() as u64 + 1) as usize;
    let count = random.between(1, 16) as usize;
    let end = (at + count).min(input.len());
    match random.below(8) {
        0 | 1 => {
            if let Some(byte) = input.get_mut(at) {
                *byte ^= 1 << random.below(8);
            }
        }
        2 => {
            if let Some(byte) = input.get_mut(at) {
                *byte = random.u64() as u8;
            }
        }
        3 => {
            input.drain(at..end);
        }
        4 => {
            let copied = input[at..end].to_vec();
            let to = random.below(input.len() as u64 + 1) as usize;
            input.splice(to..to, copied);
        }
        5 => {
            let bytes: Vec<u8> = (0..count).map(|_| random.u64() as u8).collect();
            input.splice(at..at, bytes);
        }
        6 => {
            let number = random.pick(&EDGES).expect("there are some").to_le_bytes();
            let width = [1, 2, 4, 8][random.below(4) as usize];
            let end = (at + width).min(input.len());
            input[at..end].copy_from_slice(&number[..end - at]);
        }
        _ => {
            let other = random.pick(pool).expect("there is one");
            let from = random.below(other.len() as u64 + 1) as usize;
            let long = random.below((other.len() - from) as u64 + 1) as usize;
            let replaced = if random.chance(1, 2) { at..end } else { at..at };
            input.splice(replaced, other[from..from + long].iter().copied());
        }
    }
}
