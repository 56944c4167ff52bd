//! Runs simulated clusters from the command line: `cargo xtask sim --help`.
//!
//! Seeds are independent, so two threads share them; each seed itself runs in one.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line program prints")]
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "seeds run on two threads, and how long they took is worth knowing"
)]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use underpin_sim::{Report, Run, Totals, run};

const HELP: &str = "\
cargo xtask sim [OPTIONS]

  --seeds N      so many worlds; default 1000
  --from S       beginning with seed S; default 1
  --seed S       one world, told event by event
  --quiet        with --seed: only how it ended
  --nodes N      nodes in each world; default 5
  --seconds N    seconds of faults in each world, in its own time; default 30
  --hours H      keep going for so long, with a line of progress now and then
  --threads N    default 2
  --keep-going   do not stop at the first failure

Exit code 1 says that some world failed; its seed, what was violated and the last events are shown.
";

#[derive(Clone)]
struct Options {
    from: u64,
    seeds: u64,
    one: Option<u64>,
    quiet: bool,
    nodes: u64,
    seconds: u64,
    hours: Option<f64>,
    threads: u64,
    keep_going: bool,
}

fn parse(words: &[String]) -> Result<Options, String> {
    let mut options = Options {
        from: 1,
        seeds: 1000,
        one: None,
        quiet: false,
        nodes: 5,
        seconds: 30,
        hours: None,
        threads: 2,
        keep_going: false,
    };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--quiet" => options.quiet = true,
            "--keep-going" => options.keep_going = true,
            "--from" => options.from = number(word, words.next())?,
            "--seeds" => options.seeds = number(word, words.next())?,
            "--seed" => options.one = Some(number(word, words.next())?),
            "--nodes" => options.nodes = number::<u64>(word, words.next())?.clamp(1, 9),
            "--seconds" => options.seconds = number(word, words.next())?,
            "--threads" => options.threads = number::<u64>(word, words.next())?.clamp(1, 64),
            "--hours" => options.hours = Some(number(word, words.next())?),
            _ => return Err(format!("{word}: there is no such option\n\n{HELP}")),
        }
    }
    Ok(options)
}

fn number<T: std::str::FromStr>(option: &str, word: Option<&String>) -> Result<T, String> {
    let word = word.ok_or_else(|| format!("{option} needs a number"))?;
    word.parse().map_err(|_| format!("{option} {word}: not a number"))
}

thread_local! {
    /// Where the last panic of this thread was.
    static PLACE: RefCell<String> = const { RefCell::new(String::new()) };
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.iter().any(|word| word == "--help" || word == "-h") {
        print!("{HELP}");
        return ExitCode::SUCCESS;
    }
    let options = match parse(&words) {
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
    match options.one {
        Some(seed) => one(&options, seed),
        None => many(&options),
    }
}

fn of(options: &Options, seed: u64) -> Run {
    Run { seed, nodes: options.nodes, seconds: options.seconds, ..Run::of(seed) }
}

fn one(options: &Options, seed: u64) -> ExitCode {
    let mut print = |line: &str| println!("{line}");
    let reader: Option<&mut dyn FnMut(&str)> = match options.quiet {
        true => None,
        false => Some(&mut print),
    };
    let started = Instant::now();
    let mut report = run(of(options, seed), reader);
    if !options.quiet {
        report.tail.clear();
    }
    println!("seed {seed}: hash {:016x} in {:.2?}", report.hash, started.elapsed());
    println!("{}", shown(&report.totals));
    match &report.violation {
        Some(_) => {
            failed(&report);
            ExitCode::FAILURE
        }
        None => ExitCode::SUCCESS,
    }
}

/// What all threads add to.
struct Sum {
    totals: Totals,
    seeds: u64,
    hash: u64,
    /// Each kind of failure with its first seed and how many there were.
    failures: BTreeMap<String, (u64, u64)>,
}

fn many(options: &Options) -> ExitCode {
    let started = Instant::now();
    let until = options.hours.map(|hours| started + Duration::from_secs_f64(hours * 3600.0));
    let next = AtomicU64::new(options.from);
    let sum =
        Mutex::new(Sum { totals: Totals::default(), seeds: 0, hash: 0, failures: BTreeMap::new() });
    std::thread::scope(|scope| {
        for _ in 0..options.threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    let over = match until {
                        Some(until) => Instant::now() >= until,
                        None => seed >= options.from + options.seeds,
                    };
                    if over {
                        return;
                    }
                    let report = run(of(options, seed), None);
                    if !take(options, &sum, &report, started) {
                        next.store(u64::MAX / 2, Ordering::Relaxed);
                        return;
                    }
                }
            });
        }
    });
    let sum = sum.into_inner().expect("no thread panicked");
    let elapsed = started.elapsed();
    println!(
        "{} worlds of {} nodes in {:.1} s, hash {:016x}",
        sum.seeds,
        options.nodes,
        elapsed.as_secs_f64(),
        sum.hash
    );
    println!("{}", shown(&sum.totals));
    for (what, (seed, times)) in &sum.failures {
        println!("{times} times, first with seed {seed}: {what}");
    }
    match sum.failures.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// Adds a report; whether to go on.
fn take(options: &Options, sum: &Mutex<Sum>, report: &Report, started: Instant) -> bool {
    let mut sum = sum.lock().expect("no thread panicked");
    sum.seeds += 1;
    sum.hash ^= report.hash.rotate_left((report.seed % 64) as u32);
    sum.totals.add(&report.totals);
    let every = if options.hours.is_some() { 500 } else { 250 };
    if sum.seeds.is_multiple_of(every) {
        let minutes = started.elapsed().as_secs_f64() / 60.0;
        println!(
            "{} worlds, {:.0} a minute, {:.1} hours of their time, {} kinds of failure",
            sum.seeds,
            sum.seeds as f64 / minutes,
            sum.totals.time_ns as f64 / 3.6e12,
            sum.failures.len()
        );
    }
    if report.totals.unjudged > 0 {
        println!("seed {}: {} histories were not judged", report.seed, report.totals.unjudged);
    }
    let Some(violation) = &report.violation else { return true };
    // The same failure reads the same but for its numbers.
    let first = violation.lines().next().unwrap_or_default();
    let kind: String = first.chars().filter(|c| !c.is_ascii_digit()).collect();
    let known = sum.failures.entry(kind).or_insert((report.seed, 0));
    known.1 += 1;
    known.0 = known.0.min(report.seed);
    if known.1 == 1 {
        failed(report);
    }
    options.keep_going || options.hours.is_some()
}

fn failed(report: &Report) {
    let violation = report.violation.as_deref().unwrap_or_default();
    println!();
    for line in &report.tail {
        println!("  {line}");
    }
    println!("\nseed {} failed: {violation}", report.seed);
    if violation.starts_with("panic") {
        println!("  at {}", PLACE.with(|last| last.borrow().clone()));
    }
    println!("  again: cargo xtask sim --seed {}\n", report.seed);
}

fn shown(totals: &Totals) -> String {
    let [answered, not_done, unknown] = totals.outcomes;
    let [carried, all, few] = totals.time_sources;
    format!(
        "{:.0} s of their time, {} events, {} turns, {} messages ({} bulk), {} starts, {} faults, \
         {} leaders, {} entries, {} flushes, {} fetches; requests: {answered} answered, {not_done} \
         not done, {unknown} unknown; {} histories not judged; shard time: {carried} carried on, \
         {all} by all clocks, {few} by a quorum's; keys: {} ended in time, {} early beside a step; pairs in sessions: {:?}; {} looks \
         at accounts, {} walks",
        totals.time_ns as f64 / 1e9,
        totals.events,
        totals.turns,
        totals.messages,
        totals.bulk,
        totals.starts,
        totals.faults,
        totals.leaders,
        totals.entries,
        totals.flushes,
        totals.fetches,
        totals.unjudged,
        totals.ends.ends,
        totals.ends.excused,
        totals.session_pairs,
        totals.looks,
        totals.walks
    )
}
