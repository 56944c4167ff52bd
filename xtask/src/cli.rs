//! The commands, their help, and what each runs.

use crate::steps::{Steps, has_nextest, tests};
use crate::{bench, cargo, chaos, e2e, evidence, exit, fuzz, root, target, tidy, zoo};
use std::process::{Command, ExitCode};

/// What `cargo xtask` and `cargo xtask help` print.
pub const HELP: &str = "\
cargo xtask COMMAND

  check            format, lints, tidy rules, and every test that needs no server. Changes nothing
  fix              format, and rewrite the expected outputs of script tests: read the diff
  ci               check, then 1,000 simulated clusters, a few bugs of the zoo, our Raft beside
                   another, two short storms over real servers, and the end-to-end tests: what
                   .ci/run runs
  tidy             only the repository's own rules: arrows between crates, map, status, leftovers
  evidence         which evidence of docs/verification.md is older than the code that it rests on
  sizes            lines by crate, and the long files
  sim ARGS…        the simulator; `cargo xtask sim --help` for its own options
  models ARGS…     the model checker; `cargo xtask models --help` for its own options
  zoo ARGS…        known bugs, built in, must be found; `cargo xtask zoo --help` for its options
  e2e [FILTER]     only the end-to-end tests, or those whose names contain FILTER
  chaos-kill       the end-to-end tests that kill servers, with the full count: leader killed 20
                   times, stopped 10 times, everything killed 10 times
  chaos ARGS…      real servers in network namespaces, hurt on purpose, and judged by the
                   simulator's checkers; `cargo xtask chaos --help` for its own options
  opponent ARGS…   the same schedules through our Raft and through raft-rs, compared;
                   `cargo xtask opponent --help` for its own options
  crash            crash images: every history of up to three operations on log and tables, cut off
                   at every sync, recovered and compared with a model; --images N for how many
  fuzz TARGET ARGS… a parser's body under libFuzzer, with its options (-runs=N); needs a nightly
                   toolchain. With --execs N [--seed N] instead: plain changes, on any toolchain.
                   Targets: resp_parser resp_session peer wal snapshot
  million          a million keys on three servers: figures, and every turn of a node within its
                   bound; `--keys N` for another number
  bench kv ARGS…   throughput, latency, CPU and memory beside Redis, etcd, ZooKeeper and NATS;
                   `cargo xtask bench kv --help` for its own options. --suite must-show measures
                   everything that must be shown, and says what holds
  bench recovery ARGS…  time without acknowledged writes after the leader is killed, beside etcd
                   and ZooKeeper
  help             this

ci and e2e install redis-server and python3-venv with apt-get when they are missing and they may,
and redis-py into a virtual environment below target/; ci and chaos install nftables and iproute2,
and chaos and bench the servers that they are told to compare with.
";

/// Runs what the words of a command line ask for.
pub fn run(words: &[String]) -> ExitCode {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        [] | ["help" | "--help" | "-h"] => {
            print!("{HELP}");
            ExitCode::SUCCESS
        }
        ["check"] => {
            let mut steps = Steps::default();
            check(&mut steps);
            steps.finish()
        }
        ["fix"] => fix(),
        ["ci"] => ci(),
        ["tidy"] => tidy_only(),
        ["evidence"] => evidence::run(),
        ["sizes"] => {
            print!("{}", tidy::sizes::report(&tidy::Repository::open().sources));
            ExitCode::SUCCESS
        }
        ["sim", ref rest @ ..] => forward("underpin-campaign", rest, &[]),
        ["models", ref rest @ ..] => forward("underpin-models", rest, &[]),
        ["zoo", ref rest @ ..] => zoo::run(rest),
        ["e2e"] => end_to_end("", &[]),
        ["e2e", filter] => end_to_end(filter, &[]),
        ["chaos", ref rest @ ..] => chaos::run(rest),
        ["chaos-kill"] => end_to_end("kill::", e2e::FULL_COUNTS),
        ["opponent", ref rest @ ..] => match opponent(rest).status() {
            Ok(status) if status.success() => ExitCode::SUCCESS,
            _ => ExitCode::FAILURE,
        },
        ["crash"] => crash("200000"),
        ["crash", "--images", images] => crash(images),
        ["fuzz", name, "--execs", executions] => fuzz::plain(name, executions, "1"),
        ["fuzz", name, "--execs", executions, "--seed", seed] => {
            fuzz::plain(name, executions, seed)
        }
        ["fuzz", name, ref rest @ ..] => fuzz::guided(name, rest),
        ["million", ref rest @ ..] => bench::run(&[&["million"], rest].concat()),
        ["bench", ref rest @ ..] => bench::run(rest),
        _ => {
            eprint!("cargo xtask {}: there is no such command\n\n{HELP}", words.join(" "));
            ExitCode::from(2)
        }
    }
}

/// What every change passes.
fn check(steps: &mut Steps) {
    steps.run("format", &mut cargo(&["fmt", "--all", "--", "--check"]));
    steps.run(
        "lints",
        &mut cargo(&[
            "clippy",
            "--workspace",
            "--all-targets",
            "--locked",
            "--quiet",
            "--",
            "-D",
            "warnings",
        ]),
    );
    // All tests and binaries in one build, so that later steps find each crate built once.
    if steps.run("build", &mut build()) {
        steps.run_tests("tests", &mut tests("not package(underpin-e2e)", &["underpin-e2e"]));
        steps.run_tests("documentation tests", &mut doc_tests());
    }
}

/// Builds every library, binary and test.
fn build() -> Command {
    cargo(&["build", "--workspace", "--all-targets", "--locked", "--quiet"])
}

/// The examples in doc comments.
fn doc_tests() -> Command {
    cargo(&["test", "--doc", "--workspace", "--locked", "--quiet"])
}

/// Our Raft beside raft-rs; a workspace of its own, so that nothing else sees what that brings.
fn opponent(words: &[&str]) -> Command {
    let mut run = cargo(&["run", "--quiet", "--locked", "--"]);
    run.args(words).current_dir(root().join("opponent"));
    run.env("CARGO_TARGET_DIR", target().join("opponent"));
    run
}

/// Check, simulation and end-to-end tests.
fn ci() -> ExitCode {
    let mut steps = Steps::default();
    check(&mut steps);
    if root().join("campaign").exists() {
        let mut sim = Command::new(target().join("debug/underpin-campaign"));
        steps.run("simulation", sim.args(["--seeds", "1000"]).current_dir(root()));
    }
    steps.run_own("zoo", zoo::quick);
    steps.run("opponent", &mut opponent(&["--schedules", "2000"]));
    steps.run_own("chaos", chaos::quick);
    if crate_exists("underpin", "src/main.rs") {
        match e2e::prepare() {
            Ok(strangers) => {
                let mut command = tests("package(underpin-e2e)", &[]);
                strangers.tell(&mut command);
                steps.run_tests("end to end", &mut command);
            }
            Err(reason) => steps.fail("end to end", &reason),
        }
    }
    steps.finish()
}

/// Whether a crate of the design has this file by now.
fn crate_exists(room: &str, file: &str) -> bool {
    root().join("crates").join(room).join(file).exists()
}

/// Formats, and lets script tests rewrite what they expect.
fn fix() -> ExitCode {
    let mut steps = Steps::default();
    steps.run("format", &mut cargo(&["fmt", "--all"]));
    let mut scripts = tests("not package(underpin-e2e) & not package(xtask)", &["underpin-e2e"]);
    steps.run_tests("expected outputs", scripts.env("UPDATE", "1"));
    steps.finish()
}

/// The repository's own rules.
fn tidy_only() -> ExitCode {
    let problems = tidy::run(&tidy::Repository::open());
    for problem in &problems {
        println!("{problem}");
    }
    println!("{} problems", problems.len());
    if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Only the end-to-end tests whose names contain `filter`.
fn end_to_end(filter: &str, variables: &[(&str, &str)]) -> ExitCode {
    let mut steps = Steps::default();
    if !steps.run("build", &mut build()) {
        return steps.finish();
    }
    match e2e::prepare() {
        Ok(strangers) => {
            let mut command = if has_nextest() {
                let mut command = tests("package(underpin-e2e)", &[]);
                command.args(["--no-capture", filter].iter().filter(|word| !word.is_empty()));
                command
            } else {
                let mut command = cargo(&["test", "--locked", "--package", "underpin-e2e"]);
                command.args(["--", "--nocapture", "--test-threads=1", filter]);
                command
            };
            strangers.tell(&mut command);
            steps.run_tests("end to end", command.envs(variables.iter().copied()));
        }
        Err(reason) => steps.fail("end to end", &reason),
    }
    steps.finish()
}

/// Looks at so many crash images, and prints what was looked at.
fn crash(images: &str) -> ExitCode {
    let mut steps = Steps::default();
    let words = ["test", "--locked", "--quiet", "--package", "underpin-storage", "--test", "crash"];
    let mut command = cargo(&words);
    command.args(["--", "--nocapture", "--test-threads=1"]).env("UNDERPIN_CRASH_IMAGES", images);
    steps.run_tests("crash images", &mut command);
    steps.finish()
}

/// Builds a binary of the workspace and runs it.
fn forward(package: &str, words: &[&str], variables: &[(&str, &str)]) -> ExitCode {
    let mut command = cargo(&["run", "--quiet", "--locked", "--package", package, "--"]);
    exit(command.args(words).envs(variables.iter().copied()).status())
}
