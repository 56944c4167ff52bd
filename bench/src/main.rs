//! Side-by-side measurements of Underpin and its peers, at equal durability.
//!
//! `kv` loads a cluster of three `underpin server` processes and a Redis that syncs before it
//! acknowledges, by the same generator and in turns, A B B A A B …, because machines drift: what
//! was measured within one turn of each other can be compared, and the spread over the turns says
//! how far. Each turn starts fresh servers. CPU of servers and generator is counted apart, since on
//! a small machine they take it from each other.

#![allow(clippy::print_stdout, clippy::print_stderr)]

mod histogram;
mod load;
mod machine;
mod options;
mod report;
mod subject;

use options::Options;
use report::Turn;
use std::path::Path;
use std::process::ExitCode;
use std::{fs, io};
use subject::Subject;
use underpin_e2e::million::{self, Plan};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.iter().any(|word| word == "--help" || word == "-h") {
        print!("{}", options::HELP);
        return ExitCode::SUCCESS;
    }
    let rest = match words.first().map(String::as_str) {
        Some("kv") => &words[1..],
        Some("million") => return million(&words[1..]),
        _ => {
            eprint!("{}", options::HELP);
            return ExitCode::from(2);
        }
    };
    let done = Options::parse(rest).map(|options| run(&options));
    match done {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
        Err(mistake) => usage(&mistake),
    }
}

/// Many keys: figures, and turns within their bounds.
fn million(words: &[String]) -> ExitCode {
    let mut plan = Plan::default();
    match words {
        [] => {}
        [flag, keys] if flag == "--keys" => match keys.parse() {
            Ok(keys) if keys > 0 => plan.keys = keys,
            _ => return usage(&format!("--keys {keys}: a number from 1 up is needed")),
        },
        _ => return usage(&format!("million {}: there is no such option", words.join(" "))),
    }
    let report = million::run(&plan);
    println!("{report}");
    let broken = report.broken();
    broken.iter().for_each(|line| println!("{line}"));
    if broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn usage(mistake: &str) -> ExitCode {
    eprint!("{mistake}\n\n{}", options::HELP);
    ExitCode::from(2)
}

/// Measures and writes the results.
fn run(options: &Options) -> io::Result<()> {
    let folder = Path::new(&options.out).join(format!("{}-{}", machine::date(), options.name));
    fs::create_dir_all(&folder)?;
    let mut subjects = vec![Subject::Underpin];
    if options.redis {
        subjects.push(Subject::Redis);
    }
    let facts = machine::facts(&folder);
    let mut turns = Vec::new();
    for round in 1..=options.rounds {
        // A B, B A, A B, …
        let mut order = subjects.clone();
        if round % 2 == 0 {
            order.reverse();
        }
        for subject in order {
            turns.extend(take_turn(options, subject, round)?);
        }
    }
    let raw: String = turns.iter().map(|turn| turn.json() + "\n").collect();
    fs::write(folder.join("turns.jsonl"), raw)?;
    let page = report::summary(options, &subjects, &facts, &turns);
    fs::write(folder.join("summary.md"), &page)?;
    println!("{page}\nwritten to {}", folder.display());
    Ok(())
}

/// Starts a subject, runs every workload, stops it.
fn take_turn(options: &Options, subject: Subject, round: usize) -> io::Result<Vec<Turn>> {
    let running = subject.start();
    let (addresses, servers) = (running.addresses(), running.processes());
    let generator = [std::process::id()];
    load::fill(&addresses, options)?;
    let mut turns = Vec::new();
    for workload in &options.workloads {
        let (mut server_before, mut generator_before) = (0.0, 0.0);
        let measured = load::measure(&addresses, options, *workload, round as u64, || {
            server_before = machine::cpu_seconds(&servers);
            generator_before = machine::cpu_seconds(&generator);
        })?;
        let latency = &measured.latency;
        let turn = Turn {
            round,
            subject,
            workload: *workload,
            ops: latency.count(),
            errors: measured.errors,
            seconds: measured.elapsed.as_secs_f64(),
            latency_us: [
                latency.percentile(50.0),
                latency.percentile(99.0),
                latency.percentile(99.9),
                latency.max(),
            ],
            server_cpu: machine::cpu_seconds(&servers) - server_before,
            generator_cpu: machine::cpu_seconds(&generator) - generator_before,
            memory: machine::peak_memory(&servers),
        };
        eprintln!(
            "round {round} {:<8} {:<5} {:>9.0} ops/s, p50 {} µs, p99 {} µs, {} errors",
            subject.name(),
            workload.name(),
            turn.rate(),
            turn.latency_us[0],
            turn.latency_us[1],
            turn.errors,
        );
        turns.push(turn);
    }
    Ok(turns)
}
