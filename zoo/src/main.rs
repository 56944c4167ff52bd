//! Runs worlds from one seed on until somebody notices that something is wrong, or the time is up.
//!
//! `cargo xtask zoo` builds this program in its copy of the sources, in which every mutant is
//! present, and calls it once for each start of each mutant. The one line that it prints is for
//! that caller. It can be called by hand as well, also outside the copy, where there is no mutant
//! to choose:
//!
//! ```text
//! underpin-zoo --world raft --from 1 --seeds 1000
//! ```

#![allow(clippy::print_stdout, clippy::print_stderr)]

mod switch;

use sim::judge::Violation;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

const HELP: &str = "\
underpin-zoo [OPTIONS]

  --mutant N           the bug to put in; default 0, none
  --world raft|node    which world; default raft
  --clients-only       no assertions and no observer: only what clients can notice counts
  --from S             the first seed; default 1
  --seeds N            so many seeds at most
  --budget-seconds B   so long at most; default 600. Seconds are half of the processor time used: what
                       it takes on two cores with nothing else to do
  --threads N          default 2
  --keep-going         tell of every seed that fails, and go on
  --tell               with one seed: every event
";

/// What to run.
#[derive(Clone, Copy, Debug)]
struct Options {
    mutant: u32,
    node: bool,
    clients_only: bool,
    from: u64,
    seeds: u64,
    budget_seconds: f64,
    threads: u64,
    keep_going: bool,
    tell: bool,
}

fn parse(words: &[String]) -> Result<Options, String> {
    let mut options = Options {
        mutant: 0,
        node: false,
        clients_only: false,
        from: 1,
        seeds: u64::MAX / 2,
        budget_seconds: 600.0,
        threads: 2,
        keep_going: false,
        tell: false,
    };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--clients-only" => options.clients_only = true,
            "--keep-going" => options.keep_going = true,
            "--tell" => options.tell = true,
            "--world" => match words.next().map(String::as_str) {
                Some("raft") => options.node = false,
                Some("node") => options.node = true,
                _ => return Err("--world raft or --world node".into()),
            },
            "--mutant" => options.mutant = number(word, words.next())?,
            "--from" => options.from = number(word, words.next())?,
            "--seeds" => options.seeds = number(word, words.next())?,
            "--budget-seconds" => options.budget_seconds = number(word, words.next())?,
            "--threads" => options.threads = number(word, words.next())?,
            _ => return Err(format!("{word}: there is no such option\n\n{HELP}")),
        }
    }
    Ok(options)
}

fn number<T: std::str::FromStr>(option: &str, word: Option<&String>) -> Result<T, String> {
    let word = word.ok_or_else(|| format!("{option} needs a number"))?;
    word.parse().map_err(|_| format!("{option} {word}: not a number"))
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let options = match parse(&words) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    switch::choose(options.mutant);
    switch::silence(options.clients_only);
    std::panic::set_hook(Box::new(|panic| {
        // A finding like any other; it is told with the seed.
        if std::env::var_os("UNDERPIN_ZOO_PANICS").is_some() {
            eprintln!("{panic}");
        }
    }));
    let found = hunt(&options);
    let Found { seeds, seconds, caught } = &found;
    match caught {
        Some((seed, Violation { judge, what })) => {
            let what = what.lines().next().unwrap_or_default();
            println!("caught by {judge} after {seeds} seeds, {seconds:.3} s, seed {seed}: {what}");
        }
        None => println!("alive after {seeds} seeds, {seconds:.3} s"),
    }
    ExitCode::SUCCESS
}

/// How a hunt ended.
struct Found {
    seeds: u64,
    seconds: f64,
    /// The seed, and what was wrong.
    caught: Option<(u64, Violation)>,
}

/// Threads share the seeds; the first finding ends it.
fn hunt(options: &Options) -> Found {
    let started = Instant::now();
    let next = AtomicU64::new(options.from);
    let done = AtomicU64::new(0);
    let caught = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..options.threads {
            scope.spawn(|| {
                while seconds(started, options.threads) < options.budget_seconds {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= options.from.saturating_add(options.seeds) {
                        return;
                    }
                    let violation = run(options, seed);
                    done.fetch_add(1, Ordering::Relaxed);
                    let Some(violation) = violation else { continue };
                    if options.keep_going {
                        println!("seed {seed}: {}: {}", violation.judge, violation.what);
                        continue;
                    }
                    next.store(u64::MAX / 2, Ordering::Relaxed);
                    let mut caught = caught.lock().expect("no thread panics with it");
                    caught.get_or_insert((seed, violation));
                    return;
                }
            });
        }
    });
    let caught = caught.into_inner().expect("no thread panics with it");
    Found { seeds: done.into_inner(), seconds: seconds(started, options.threads), caught }
}

/// Half of the processor time of this process; where the system does not tell it, of the time that
/// its threads had.
fn seconds(started: Instant, threads: u64) -> f64 {
    const TICKS_PER_SECOND: f64 = 100.0;
    /// What results are told for, however many threads there are.
    const CORES: f64 = 2.0;
    let told = std::fs::read_to_string("/proc/self/stat").ok().and_then(|stat| {
        // Behind the name in parentheses; user and system time are fields 14 and 15.
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
        let (user, system) = (fields.next()?, fields.next()?);
        Some((user.parse::<f64>().ok()? + system.parse::<f64>().ok()?) / TICKS_PER_SECOND)
    });
    let used = told.unwrap_or_else(|| started.elapsed().as_secs_f64() * threads as f64);
    used / CORES
}

fn run(options: &Options, seed: u64) -> Option<Violation> {
    let watched = !options.clients_only;
    let mut print = |line: &str| println!("{line}");
    let reader: Option<&mut dyn FnMut(&str)> = if options.tell { Some(&mut print) } else { None };
    if options.node {
        let run = sim::Run { watched, seconds: 10, ..sim::Run::of(seed) };
        let report = sim::run(run, reader);
        let what = report.violation?;
        return report.judge.map(|judge| Violation { judge, what });
    }
    let run = sim::raft::Run { watched, ..sim::raft::Run::of(seed) };
    sim::raft::run(run, reader).violation
}
