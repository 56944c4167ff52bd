//! `cargo xtask models`: explores the models and prints what came of it.

#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::process::ExitCode;
use underpin_models::cases::{self, Case};
use underpin_models::cluster::Cluster;
use underpin_models::run::run;

const HELP: &str = "\
cargo xtask models [--bound small|large] [--model NAME] [--threads N] [--steps N]

  --bound    small (what the tests run; if not given) or large (minutes and gigabytes)
  --model    only this one
  --threads  2 if not given
  --steps    stop after about so many steps, instead of the bound's own number
";

struct Wanted {
    large: bool,
    model: Option<String>,
    threads: usize,
    steps: Option<usize>,
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.iter().any(|word| word == "--help") {
        print!("{HELP}");
        return ExitCode::SUCCESS;
    }
    let Some(wanted) = parse(&words) else {
        eprint!("{HELP}");
        return ExitCode::from(2);
    };
    let named = |case: &Case| wanted.model.as_ref().is_none_or(|name| name == case.name);
    let chosen: Vec<Case> = cases::all().into_iter().filter(named).collect();
    if chosen.is_empty() {
        let names: Vec<&str> = cases::all().iter().map(|case| case.name).collect();
        eprintln!("there is no such model; there are: {}", names.join(", "));
        return ExitCode::from(2);
    }
    let mut good = true;
    for case in chosen {
        let bounds = if wanted.large { &case.large } else { &case.small };
        let cluster = Cluster::new(bounds.clone(), &case.marks, None);
        let usual = if wanted.large { case.steps_max_large } else { case.steps_max_small };
        let outcome = run(cluster, wanted.threads, wanted.steps.unwrap_or(usual));
        println!("{}: {outcome}", case.name);
        good &= outcome.is_good();
    }
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn parse(words: &[String]) -> Option<Wanted> {
    let mut wanted = Wanted { large: false, model: None, threads: 2, steps: None };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let value = words.next()?;
        match word.as_str() {
            "--bound" => wanted.large = parse_bound(value)?,
            "--model" => wanted.model = Some(value.clone()),
            "--threads" => wanted.threads = value.parse().ok()?,
            "--steps" => wanted.steps = Some(value.parse().ok()?),
            _ => return None,
        }
    }
    Some(wanted)
}

fn parse_bound(word: &str) -> Option<bool> {
    match word {
        "small" => Some(false),
        "large" => Some(true),
        _ => None,
    }
}
