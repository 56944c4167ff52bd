//! The zoo: known bugs of other systems, rebuilt in ours, each of which has to be found.
//!
//! A checker that finds nothing is worth nothing, so here is what ours find. `zoo/mutants` holds one
//! file per bug ([`mutant`]). All of them go into one copy of the sources ([`copy`]), built once;
//! which one lives is chosen when a world is run, so that the build with no mutant chosen is the
//! control. Nothing of this is in the crates that we ship.
//!
//! Each mutant is hunted several times from different seeds: with everything that looks on, and with
//! nothing but what a client could check, the cores' own assertions switched off. Medians go to
//! `zoo/results.tsv`, and the page about verification shows them as a table ([`report`]).

pub mod copy;
pub mod mutant;
pub mod report;

use crate::{cargo, root, target};
use mutant::{Mutant, World};
use report::{Hunt, Line};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const HELP: &str = "\
cargo xtask zoo [OPTIONS]

  --only N[,N-M…]      only these mutants
  --rest               only mutants of which no result is kept yet, so that a count can be gone on with
  --starts N           how often each is hunted, from different seeds; default 5
  --budget-seconds S   longest hunt; default 600
  --clients-budget-seconds S
                       longest hunt by clients alone; default 15, since some bugs show by nothing that
                       clients see, and each would cost the whole budget several times
  --jobs N             so many mutants at a time, each on one core; default 2
  --stages A,B         of all, clients, tests; default all three
  --quick              what CI does: the copy builds, a few mutants are found, no mutant is not
  --check              only make the copy, and build it
";

/// Mutants that CI hunts: found within a few seeds, each by other means.
const QUICK: &[u32] = &[9, 11, 15, 17, 73];

/// Seeds of the control, which must find nothing.
const CONTROL_SEEDS: u64 = 300;

/// A test program of a mutant that hangs is ended after this.
const TESTS_MAX: Duration = Duration::from_secs(120);

/// What to do.
#[derive(Clone, Debug)]
struct Options {
    only: Vec<u32>,
    rest: bool,
    starts: u64,
    budget_seconds: u64,
    clients_budget_seconds: u64,
    jobs: u64,
    stages: Vec<String>,
    quick: bool,
    check: bool,
}

fn parse(words: &[&str]) -> Result<Options, String> {
    let mut options = Options {
        only: Vec::new(),
        rest: false,
        starts: 5,
        budget_seconds: 600,
        clients_budget_seconds: 15,
        jobs: 2,
        stages: ["all", "clients", "tests"].map(str::to_owned).to_vec(),
        quick: false,
        check: false,
    };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut next = || words.next().ok_or_else(|| format!("{word} needs a value\n\n{HELP}"));
        let number = |text: &str| text.parse::<u64>().map_err(|_| format!("{text}: no number"));
        match *word {
            "--quick" => options.quick = true,
            "--check" => options.check = true,
            "--rest" => options.rest = true,
            "--starts" => options.starts = number(next()?)?,
            "--budget-seconds" => options.budget_seconds = number(next()?)?,
            "--clients-budget-seconds" => options.clients_budget_seconds = number(next()?)?,
            "--jobs" => options.jobs = number(next()?)?.max(1),
            "--stages" => options.stages = next()?.split(',').map(str::to_owned).collect(),
            "--only" => {
                for range in next()?.split(',') {
                    let (first, last) = range.split_once('-').unwrap_or((range, range));
                    options.only.extend(number(first)? as u32..=number(last)? as u32);
                }
            }
            _ => return Err(HELP.to_owned()),
        }
    }
    Ok(options)
}

/// Runs what the words ask for.
pub fn run(words: &[&str]) -> ExitCode {
    let ended =
        parse(words).and_then(|options| if options.quick { quick() } else { full(&options) });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn mutants() -> Result<Vec<Mutant>, String> {
    mutant::read_all(&root().join("zoo/mutants"))
}

/// Builds a few packages of the copy into the ordinary target folder.
fn build(words: &[&str]) -> Result<String, String> {
    let mut command = cargo(words);
    command.current_dir(copy::folder()).env("CARGO_TARGET_DIR", target());
    // Unused things are no matter in a copy that is never shipped.
    let output = command.stderr(Stdio::inherit()).output().map_err(|e| e.to_string())?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err("the copy with the mutants does not build".into()),
    }
}

fn build_runner() -> Result<(), String> {
    build(&["build", "--quiet", "--locked", "--package", "underpin-zoo"]).map(drop)
}

/// What CI does: the copy builds, finds nothing without a mutant, and a few mutants.
pub fn quick() -> Result<(), String> {
    let mutants = mutants()?;
    copy::make(&mutants)?;
    build_runner()?;
    let control = hunt(0, World::Raft, true, 1, 60, Some(CONTROL_SEEDS))?;
    if let Some(what) = control.caught {
        return Err(format!("no mutant was chosen, and yet: {what}"));
    }
    for mutant in mutants.iter().filter(|mutant| QUICK.contains(&mutant.number)) {
        let hunt = hunt(mutant.number, mutant.world, false, 1, 60, None)?;
        let Some(what) = hunt.caught else {
            return Err(format!("mutant {} is not found: {}", mutant.number, mutant.name));
        };
        println!(
            "{:>3} {}: {what} ({} seeds, {:.1} s)",
            mutant.number, mutant.name, hunt.seeds, hunt.seconds
        );
    }
    Ok(())
}

fn full(options: &Options) -> Result<(), String> {
    let mutants = mutants()?;
    copy::make(&mutants)?;
    build_runner()?;
    let tests = options.stages.iter().any(|stage| stage == "tests");
    let programs = if tests { test_programs(&mutants)? } else { Vec::new() };
    if options.check {
        return Ok(());
    }
    let mut lines = report::read(&root().join(report::RESULTS));
    lines.retain(|number, _| mutants.iter().any(|mutant| mutant.number == *number));
    let chosen = |mutant: &&Mutant| {
        let named = options.only.is_empty() || options.only.contains(&mutant.number);
        named && !(options.rest && lines.contains_key(&mutant.number))
    };
    let chosen: Vec<&Mutant> = mutants.iter().filter(chosen).collect();
    let (next, lines) = (AtomicUsize::new(0), Mutex::new(lines));
    std::thread::scope(|scope| {
        let job = || examine_in_turn(&chosen, &next, options, &programs, &lines);
        let jobs: Vec<_> = (0..options.jobs).map(|_| scope.spawn(job)).collect();
        jobs.into_iter().try_for_each(|job| job.join().map_err(|_| "a job of the zoo panicked")?)
    })?;
    report::update_page(&mutants, &lines.into_inner().expect("no job panicked"))
}

/// Examines one chosen mutant after the other, as one of several that share them.
fn examine_in_turn(
    chosen: &[&Mutant],
    next: &AtomicUsize,
    options: &Options,
    programs: &[(String, PathBuf)],
    lines: &Mutex<BTreeMap<u32, Line>>,
) -> Result<(), String> {
    while let Some(mutant) = chosen.get(next.fetch_add(1, Ordering::Relaxed)) {
        let kept = || lines.lock().map_err(|_| "a job of the zoo panicked");
        let mut line = kept()?.get(&mutant.number).cloned().unwrap_or_default();
        (line.starts, line.commit) = (options.starts, commit());
        examine(mutant, options, programs, &mut line)?;
        println!("{}", report::shown(mutant, &line));
        let mut lines = kept()?;
        lines.insert(mutant.number, line);
        report::write(&root().join(report::RESULTS), &lines)?;
    }
    Ok(())
}

/// What is checked out.
fn commit() -> String {
    let mut git = Command::new("git");
    let told = git.args(["rev-parse", "--short", "HEAD"]).current_dir(root()).output();
    told.map(|told| String::from_utf8_lossy(&told.stdout).trim().to_owned()).unwrap_or_default()
}

/// Hunts one mutant by all means.
fn examine(
    mutant: &Mutant,
    options: &Options,
    programs: &[(String, PathBuf)],
    line: &mut Line,
) -> Result<(), String> {
    let stage = |name: &str| options.stages.iter().any(|stage| stage == name);
    for (name, clients_only) in [("all", false), ("clients", true)] {
        if !stage(name) || mutant.world == World::Tests {
            continue;
        }
        let mut hunts = Vec::new();
        for start in 0..options.starts {
            let from = 1 + start * 1_000_000;
            let budget = match clients_only {
                true => options.clients_budget_seconds,
                false => options.budget_seconds,
            };
            hunts.push(hunt(mutant.number, mutant.world, clients_only, from, budget, None)?);
            if hunts.iter().filter(|hunt| hunt.caught.is_none()).count() as u64 > options.starts / 2
            {
                break; // The median is not found.
            }
        }
        let median = report::median(hunts, options.starts);
        if clients_only {
            line.clients = median
        } else {
            line.all = median
        };
    }
    if stage("tests") {
        line.tests = run_tests(mutant, programs)?;
    }
    Ok(())
}

/// One start, on one core.
fn hunt(
    mutant: u32,
    world: World,
    clients_only: bool,
    from: u64,
    budget_seconds: u64,
    seeds: Option<u64>,
) -> Result<Hunt, String> {
    let mut command = Command::new(target().join("debug/underpin-zoo-mutants"));
    let world = if world == World::Node { "node" } else { "raft" };
    command.args(["--mutant", &mutant.to_string(), "--world", world]);
    command.args(["--from", &from.to_string(), "--budget-seconds", &budget_seconds.to_string()]);
    // So the seeds that a hunt takes are the same each time.
    command.args(["--threads", "1"]);
    if clients_only {
        command.arg("--clients-only");
    }
    if let Some(seeds) = seeds {
        command.args(["--seeds", &seeds.to_string()]);
    }
    let output = command.output().map_err(|e| format!("{command:?}: {e}"))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    report::heard(&said).ok_or_else(|| format!("{command:?} said {said:?}"))
}

/// The test programs of the crates that mutants name, and of protocols, whose stories take no time.
fn test_programs(mutants: &[Mutant]) -> Result<Vec<(String, PathBuf)>, String> {
    let mut rooms: Vec<&str> = vec!["protocols"];
    rooms.extend(mutants.iter().flat_map(|mutant| mutant.tests.iter().map(String::as_str)));
    rooms.sort_unstable();
    rooms.dedup();
    let mut programs = Vec::new();
    for room in rooms {
        let package = format!("underpin-{room}");
        let said = build(&[
            "test",
            "--no-run",
            "--quiet",
            "--locked",
            "--message-format=json",
            "--package",
            &package,
        ])?;
        for line in said.lines().filter(|line| line.contains(r#""test":true"#)) {
            let program =
                line.split(r#""executable":""#).nth(1).and_then(|rest| rest.split('"').next());
            programs.extend(program.map(|program| (room.to_owned(), PathBuf::from(program))));
        }
    }
    Ok(programs)
}

/// The tests that a mutant makes fail.
fn run_tests(mutant: &Mutant, programs: &[(String, PathBuf)]) -> Result<Vec<String>, String> {
    let mut failed = Vec::new();
    let named = |room: &String| {
        mutant.tests.contains(room) || mutant.world == World::Raft && room == "protocols"
    };
    for (room, program) in programs.iter().filter(|(room, _)| named(room)) {
        let folder = copy::folder().join("crates").join(room);
        let mut child = Command::new(program)
            .args(["--test-threads", "1"])
            .current_dir(folder)
            .env("UNDERPIN_ZOO", mutant.number.to_string())
            .env("CARGO_MANIFEST_DIR", copy::folder().join("crates").join(room))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|e| format!("{}: {e}", program.display()))?;
        let mut said = child.stdout.take().expect("piped");
        let reader = std::thread::spawn(move || {
            let mut text = String::new();
            std::io::Read::read_to_string(&mut said, &mut text).map(|_| text)
        });
        let started = Instant::now();
        while child.try_wait().map_err(|e| e.to_string())?.is_none() {
            if started.elapsed() > TESTS_MAX {
                child.kill().map_err(|e| e.to_string())?;
                failed.push(format!("{room}: hangs"));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let text = reader.join().map_err(|_| "a reader of test output failed")?;
        let text = text.map_err(|e| e.to_string())?;
        let lines = text.lines().filter_map(|line| line.strip_suffix(" ... FAILED"));
        failed.extend(
            lines.filter_map(|line| line.strip_prefix("test ")).map(|t| format!("{room}::{t}")),
        );
    }
    Ok(failed)
}
