//! The same seed is the same run, also in another process, in another order, on more threads.

use crate::options::Options;
use crate::worlds::{self, Job};
use crate::{each, jobs, sum};
use std::collections::BTreeMap;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Mutex;

/// Prints the hash of each run: what one of the two processes does.
pub fn hashes(options: &Options) -> ExitCode {
    let mut jobs = jobs(options);
    if options.backwards {
        jobs.reverse();
    }
    let lines = Mutex::new(Vec::new());
    each(&jobs, options.threads, &|job| {
        let outcome = worlds::run(job, options.size, None);
        let failed = if outcome.violation.is_some() { " failed" } else { "" };
        let (name, seed, hash) = (sum::name(job.kind), job.seed, outcome.hash);
        let line = format!("{name}: seed {seed}: {hash:016x}{failed}");
        lines.lock().expect("no thread panics with it").push(line);
        true
    });
    for line in lines.into_inner().expect("no thread panics with it") {
        println!("{line}");
    }
    ExitCode::SUCCESS
}

/// Lets two processes run everything, and compares.
pub fn compare(options: &Options, words: &[String]) -> ExitCode {
    let words: Vec<&String> = words.iter().filter(|word| *word != "--twice").collect();
    let start = |more: &[&str]| {
        let program = std::env::current_exe().expect("a program knows where it is");
        let mut command = Command::new(program);
        command.args(&words).arg("--hashes").args(more).stdout(Stdio::piped()).spawn()
    };
    let both = (start(&["--threads", "1"]), start(&["--threads", "2", "--backwards"]));
    let (Ok(one), Ok(other)) = both else {
        eprintln!("cannot start another process");
        return ExitCode::FAILURE;
    };
    // Read side by side: neither may wait for the other with a full pipe.
    let other = std::thread::spawn(move || other.wait_with_output());
    let one = one.wait_with_output();
    let other = other.join().expect("it only waits");
    let (Ok(one), Ok(other)) = (one, other) else {
        eprintln!("a process did not end well");
        return ExitCode::FAILURE;
    };
    let (one, other) = (read(&one.stdout), read(&other.stdout));
    let wanted = jobs(options).len();
    let differing: Vec<&String> = one
        .iter()
        .filter(|(seed, hash)| other.get(*seed) != Some(hash))
        .map(|(seed, _)| seed)
        .collect();
    for seed in differing.iter().take(20) {
        println!(
            "{seed}: {} and {}",
            one[*seed],
            other.get(*seed).map_or("nothing", String::as_str)
        );
    }
    let complete = one.len() == wanted && other.len() == wanted;
    println!(
        "{} of {wanted} seeds ran in one process, {} in another; {} trace hashes differ",
        one.len(),
        other.len(),
        differing.len()
    );
    if complete && differing.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn read(said: &[u8]) -> BTreeMap<String, String> {
    let text = String::from_utf8_lossy(said);
    let pairs = text.lines().filter_map(|line| line.rsplit_once(": "));
    pairs.map(|(seed, hash)| (seed.to_string(), hash.to_string())).collect()
}

/// How many runs are done in a minute.
pub fn speed(options: &Options) -> ExitCode {
    let aims = [(worlds::Kind::Raft, 300, 1000), (worlds::Kind::Nodes, 120, 100)];
    for (kind, seconds, aim) in aims {
        let size = worlds::Size { nodes: options.size.nodes, seconds, raft_seconds: Some(seconds) };
        let started = (std::time::Instant::now(), crate::processor_seconds());
        let all: Vec<Job> =
            (options.from..options.from + 1_000_000).map(|seed| Job { kind, seed }).collect();
        let done = Mutex::new((0, 0));
        each(&all, options.threads, &|job| {
            let outcome = worlds::run(job, size, None);
            let mut done = done.lock().expect("no thread panics with it");
            done.0 += 1;
            done.1 += outcome.counts.events;
            started.0.elapsed().as_secs_f64() < options.measure_seconds
        });
        let (seeds, events) = done.into_inner().expect("no thread panics with it");
        let minutes = started.0.elapsed().as_secs_f64() / 60.0;
        let used = (crate::processor_seconds() - started.1) / options.threads as f64 / 60.0;
        println!(
            "{}: {seeds} seeds of {seconds} virtual seconds, {events} events, on {} threads: {:.0} a \
             minute by the wall's clock, {:.0} by processor time (the aim is {aim})",
            sum::name(kind),
            options.threads,
            f64::from(seeds) / minutes,
            f64::from(seeds) / used
        );
    }
    ExitCode::SUCCESS
}
