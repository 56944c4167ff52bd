//! `underpin-chaos`: see the library.

#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::process::ExitCode;
use std::sync::Mutex;
use std::thread;
use underpin_chaos::options::{Case, Fault, HELP, Kind, Options, Workload};
use underpin_chaos::run::{self, Outcome};
use underpin_chaos::{report, room};
use underpin_e2e::place;

/// This machine can't do it.
const CANNOT: u8 = 3;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.iter().any(|word| word == "--help" || word == "-h") {
        print!("{HELP}");
        return ExitCode::SUCCESS;
    }
    let options = match Options::parse(&words) {
        Ok(options) => options,
        Err(wrong) => {
            eprintln!("{wrong}");
            return ExitCode::from(2);
        }
    };
    if !room::entered() {
        if let Some(why) = room::missing() {
            eprintln!("chaos can't run here: {why}");
            return ExitCode::from(CANNOT);
        }
        // Outside, where cargo can write what it builds.
        place::underpin();
        return room::enter();
    }
    let ended = room::furnish().and_then(|()| match options.quick {
        true => quick(),
        false => full(&options),
    });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn full(options: &Options) -> Result<(), String> {
    let outcomes = all(&options.cases(), options.jobs, options.keep);
    println!("{}", report::summary(&outcomes));
    let results = report::results(&outcomes, options.jobs);
    let path = place::target().join("chaos").join(format!("{}.json", options.kind.name()));
    report::write(&path, &results)?;
    println!("results are in {}", path.display());
    if options.record {
        report::record(options.kind, results)?;
    }
    let broken = outcomes.iter().filter(|outcome| !outcome.violations.is_empty()).count();
    if broken > 0 { Err(format!("{broken} runs with violations")) } else { Ok(()) }
}

/// What CI does: ours holds in two storms, and a store that breaks its word is found.
fn quick() -> Result<(), String> {
    let storm = |number, nodes| Case {
        number,
        kind: Kind::Underpin,
        nodes,
        workload: Workload::All,
        fault: Fault::Storm,
        seconds: 10,
        seed: number as u64,
    };
    let liar = Case {
        kind: Kind::Redis,
        workload: Workload::Register,
        fault: Fault::Kill,
        seconds: 6,
        ..storm(3, 3)
    };
    let outcomes = all(&[storm(1, 3), storm(2, 5), liar], 2, false);
    let (liars, ours): (Vec<Outcome>, Vec<Outcome>) =
        outcomes.into_iter().partition(|outcome| outcome.case.kind == Kind::Redis);
    if let Some(outcome) = ours.iter().find(|outcome| !outcome.violations.is_empty()) {
        return Err(format!("run {} was violated", outcome.case.number));
    }
    match liars.iter().all(|outcome| outcome.violations.is_empty()) {
        true => Err("a store that loses writes and reads old values was not found".into()),
        false => Ok(()),
    }
}

/// Runs all, so many side by side, and tells of each when it is over.
fn all(cases: &[Case], jobs: usize, keep: bool) -> Vec<Outcome> {
    let waiting = Mutex::new(cases.iter());
    let done = Mutex::new(Vec::new());
    let (waiting, done_here) = (&waiting, &done);
    thread::scope(|scope| {
        for slot in 0..jobs.min(cases.len()) {
            scope.spawn(move || {
                while let Some(case) = next(waiting) {
                    let outcome = run::run(case, slot, keep);
                    println!("{}", report::line(&outcome));
                    done_here.lock().expect("no run panics while it holds this").push(outcome);
                }
            });
        }
    });
    let mut outcomes = done.into_inner().expect("all runs are over");
    outcomes.sort_by_key(|outcome: &Outcome| outcome.case.number);
    outcomes
}

fn next(waiting: &Mutex<std::slice::Iter<'_, Case>>) -> Option<Case> {
    waiting.lock().expect("no run panics while it holds this").next().copied()
}
