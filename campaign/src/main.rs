//! Runs simulated clusters by the thousand: `cargo xtask sim --help`.
//!
//! The simulator (`crates/sim`) is pure: a seed in, a report out. This program gives it seeds, on as
//! many threads as are wanted, and keeps the books: what failed, shrunk to a script that a person can
//! read ([`sim::shrink`]), and what was seen of all that should be seen (`record`). `twice` compares
//! two processes, since a seed that is not the same run everywhere proves nothing.

#![allow(clippy::print_stdout, clippy::print_stderr)]

mod options;
mod record;
mod sum;
mod tables;
mod twice;
mod worlds;

use options::{HELP, Options};
use record::Origin;
use sim::judge::Violation;
use sim::script::Script;
use sim::shrink::{Shrunk, shrink};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use sum::Sum;
use worlds::{Job, Kind, Outcome};

/// Worlds are made of small things that do not live long.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
/// `mi_option_purge_delay` of its version 3, whose binding has no name for it.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;

/// A failure may take so long to shrink.
const SHRINKING: Duration = Duration::from_secs(60);
/// A campaign says how far it is, and writes its results.
const PROGRESS: Duration = Duration::from_secs(10);
const RESULTS: Duration = Duration::from_secs(60);

thread_local! {
    /// Where the last panic of this thread was.
    static PLACE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Worlds come and go: pages that one of them leaves are the next one's. Given back to the system
/// between them they would have to be cleared first, a tenth of all time.
#[allow(unsafe_code)]
fn keep_memory() {
    // SAFETY: sets a word of the allocator's own options, which it only reads. An option that it does
    // not know is ignored.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, -1) }
}

fn main() -> ExitCode {
    keep_memory();
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.iter().any(|word| word == "--help" || word == "-h") {
        print!("{HELP}");
        return ExitCode::SUCCESS;
    }
    let options = match Options::parse(&words) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        PLACE.with(|last| *last.borrow_mut() = place);
    }));
    match (&options.script, options.one, options.raft_one) {
        _ if options.hashes => twice::hashes(&options),
        _ if options.twice => twice::compare(&options, &words),
        _ if options.speed => twice::speed(&options),
        (Some(path), _, _) => scripted(&options, path),
        (_, Some(seed), _) => one(&options, Job { kind: options.nodes(), seed }),
        (_, _, Some(seed)) => one(&options, Job { kind: Kind::Raft, seed }),
        _ if options.hours.is_some() => campaign(&options, &words),
        _ => many(&options),
    }
}

/// The runs that were asked for.
fn jobs(options: &Options) -> Vec<Job> {
    let of = |kind, seeds| (options.from..options.from + seeds).map(move |seed| Job { kind, seed });
    of(options.nodes(), options.seeds).chain(of(Kind::Raft, options.raft_seeds)).collect()
}

/// Lets threads share jobs, until one says that it is enough.
fn each(jobs: &[Job], threads: u64, run: &(dyn Fn(Job) -> bool + Sync)) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if !run(*job) {
                        next.store(jobs.len(), Ordering::Relaxed);
                    }
                }
            });
        }
    });
}

/// Seconds of the processor that this process used; where the system does not tell, none.
fn processor_seconds() -> f64 {
    const TICKS_PER_SECOND: f64 = 100.0;
    let told = std::fs::read_to_string("/proc/self/stat").ok().and_then(|stat| {
        // Behind the name in parentheses; user and system time are fields 14 and 15.
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
        let (user, system) = (fields.next()?, fields.next()?);
        Some((user.parse::<f64>().ok()? + system.parse::<f64>().ok()?) / TICKS_PER_SECOND)
    });
    told.unwrap_or_default()
}

/// One run, told event by event.
fn one(options: &Options, job: Job) -> ExitCode {
    let mut print = |line: &str| println!("{line}");
    let reader: Option<&mut dyn FnMut(&str)> = if options.quiet { None } else { Some(&mut print) };
    let started = Instant::now();
    let outcome = worlds::run(job, options.size, reader);
    println!(
        "{}, seed {}: hash {:016x} in {:.2?}",
        sum::name(job.kind),
        job.seed,
        outcome.hash,
        started.elapsed()
    );
    ended(options, outcome.violation.as_ref(), &outcome.script, &outcome.tail)
}

/// A run that was written down.
fn scripted(options: &Options, path: &PathBuf) -> ExitCode {
    let read = std::fs::read_to_string(path).map_err(|error| error.to_string());
    let script: Script = match read.and_then(|text| text.parse()) {
        Ok(script) => script,
        Err(wrong) => {
            eprintln!("{}: {wrong}", path.display());
            return ExitCode::from(2);
        }
    };
    let mut print = |line: &str| println!("{line}");
    let reader: Option<&mut dyn FnMut(&str)> = if options.quiet { None } else { Some(&mut print) };
    let (violation, happened) = script.run(true, reader);
    ended(options, violation.as_ref(), &happened, &[])
}

fn ended(
    options: &Options,
    violation: Option<&Violation>,
    script: &Script,
    tail: &[String],
) -> ExitCode {
    let Some(violation) = violation else {
        println!("it holds");
        return ExitCode::SUCCESS;
    };
    if options.quiet {
        tail.iter().for_each(|line| println!("  {line}"));
    }
    println!("failed ({}): {}", violation.judge, violation.what);
    if options.shrink {
        keep(script, violation);
    }
    ExitCode::FAILURE
}

/// Shrinks what failed and writes it down; where to.
fn keep(script: &Script, violation: &Violation) -> Option<PathBuf> {
    let until = Instant::now() + SHRINKING;
    let Shrunk { script: small, runs, .. } =
        shrink(script, violation, true, &mut || Instant::now() < until);
    let kind = match script.kind {
        sim::script::Kind::Raft => "raft",
        sim::script::Kind::Nodes if script.beyond => "beyond",
        sim::script::Kind::Nodes => "nodes",
    };
    let path = record::folder().join("failures").join(format!("{kind}-{}.txt", script.seed));
    let written = std::fs::create_dir_all(path.parent().expect("it lies in a folder"))
        .and_then(|()| std::fs::write(&path, small.to_string()));
    println!(
        "\n{small}\n  {runs} runs made it so small; again: cargo xtask sim --script {}\n",
        path.display()
    );
    match written {
        Ok(()) => Some(path),
        Err(error) => {
            eprintln!("{}: {error}", path.display());
            None
        }
    }
}

fn failed(outcome: &Outcome) {
    let Some(violation) = &outcome.violation else { return };
    println!();
    outcome.tail.iter().for_each(|line| println!("  {line}"));
    let Job { kind, seed } = outcome.job;
    println!("\n{}, seed {seed} failed ({}): {}", sum::name(kind), violation.judge, violation.what);
    if violation.what.starts_with("panic") {
        println!("  at {}", PLACE.with(|last| last.borrow().clone()));
    }
    let option = match kind {
        Kind::Raft => "--raft-seed",
        Kind::Nodes => "--seed",
        Kind::Beyond => "--beyond --seed",
    };
    println!("  again: cargo xtask sim {option} {seed}\n");
}

/// So many runs, as CI has them.
fn many(options: &Options) -> ExitCode {
    let sum = Mutex::new(Sum::new());
    each(&jobs(options), options.threads, &|job| {
        let started = Instant::now();
        let outcome = worlds::run(job, options.size, None);
        let mut sum = sum.lock().expect("no thread panics with it");
        if sum.take(&outcome, started.elapsed()) {
            failed(&outcome);
        }
        if outcome.counts.unjudged > 0 {
            println!("seed {}: {} histories were not judged", job.seed, outcome.counts.unjudged);
        }
        if sum.worlds.values().map(|world| world.seeds).sum::<u64>().is_multiple_of(250) {
            println!("{}", sum.progress());
        }
        outcome.violation.is_none() || options.keep_going
    });
    let sum = sum.into_inner().expect("no thread panics with it");
    conclude(&sum)
}

/// All worlds, for hours.
fn campaign(options: &Options, words: &[String]) -> ExitCode {
    let origin = Origin::now(words);
    let started = Instant::now();
    let until = started + Duration::from_secs_f64(options.hours.unwrap_or_default() * 3600.0);
    let sum = Mutex::new(Sum::new());
    let next = [Kind::Raft, Kind::Nodes, Kind::Beyond].map(|kind| (kind, AtomicUsize::new(0)));
    let next = BTreeMap::from(next);
    let working = AtomicUsize::new(options.threads as usize);
    std::thread::scope(|scope| {
        for _ in 0..options.threads {
            scope.spawn(|| {
                while Instant::now() < until {
                    work(options, &sum, &next);
                }
                working.fetch_sub(1, Ordering::Release);
            });
        }
        let (mut shown, mut written) = (started, started);
        while working.load(Ordering::Acquire) > 0 {
            std::thread::sleep(Duration::from_millis(100));
            if shown.elapsed() >= PROGRESS {
                shown = Instant::now();
                println!("{}", sum.lock().expect("no thread panics with it").progress());
            }
            if written.elapsed() >= RESULTS {
                written = Instant::now();
                write(&sum.lock().expect("no thread panics with it"), &origin, false);
            }
        }
    });
    let sum = sum.into_inner().expect("no thread panics with it");
    write(&sum, &origin, options.record);
    conclude(&sum)
}

/// One run of a campaign; its failure is shrunk on the spot, if it is new.
fn work(options: &Options, sum: &Mutex<Sum>, next: &BTreeMap<Kind, AtomicUsize>) {
    let (raft, beyond) = (options.raft_share, options.beyond_share());
    let kind = sum.lock().expect("no thread panics with it").next_kind(raft, beyond);
    let count = next[&kind].fetch_add(1, Ordering::Relaxed);
    let job = Job { kind, seed: options.from + count as u64 };
    let started = Instant::now();
    let outcome = worlds::run(job, options.size, None);
    let first = sum.lock().expect("no thread panics with it").take(&outcome, started.elapsed());
    let Some(violation) = outcome.violation.as_ref().filter(|_| first) else { return };
    failed(&outcome);
    let script = keep(&outcome.script, violation).map(|path| path.display().to_string());
    let mut sum = sum.lock().expect("no thread panics with it");
    if let Some(failure) = sum.failures.get_mut(&violation.kind()) {
        failure.script = script;
    }
}

fn write(sum: &Sum, origin: &Origin, page: bool) {
    let written = record::write(sum, origin);
    let page = if page { record::update_page(sum, origin) } else { Ok(()) };
    for error in [written.err(), page.err()].into_iter().flatten() {
        eprintln!("{error}");
    }
}

fn conclude(sum: &Sum) -> ExitCode {
    println!("{}; hash {:016x}", sum.progress(), sum.hash);
    for (kind, world) in sum.worlds.iter().filter(|(_, world)| world.seeds > 0) {
        let counts = &world.counts;
        for group in [&counts.faults, &counts.marks, &counts.work] {
            let list: Vec<String> =
                group.iter().map(|(name, count)| format!("{name} {count}")).collect();
            println!("{}: {}", sum::name(*kind), list.join(", "));
        }
        println!("{}: never seen: {}", sum::name(*kind), counts.unseen().join(", "));
    }
    for failure in sum.failures.values() {
        let (world, seed) = (sum::name(failure.first.kind), failure.first.seed);
        println!("{} times, first {world}, seed {seed}: {}", failure.times, failure.what);
    }
    if sum.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
