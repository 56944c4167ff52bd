//! Fuzzing: with libFuzzer where there is a nightly toolchain, or without it by plain changes.

use crate::{cargo, root, target};
use std::process::{Command, ExitCode};

/// What makes rustc count edges and tell libFuzzer of comparisons, as cargo-fuzz sets it.
const COVERAGE: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing";

/// Where libFuzzer runs.
const TRIPLE: &str = "x86_64-unknown-linux-gnu";

/// Runs a target with libFuzzer, which is built with the nightly toolchain and a C++ compiler. What
/// it finds is gathered below `target/fuzz`, apart from the kept corpus.
pub fn guided(name: &str, words: &[&str]) -> ExitCode {
    let folder = target().join("fuzz");
    let mut build = Command::new("cargo");
    build.args(["+nightly", "build", "--release", "--locked", "--quiet", "--target", TRIPLE]);
    build.args(["--bin", name]).current_dir(root().join("fuzz"));
    build.env("CARGO_TARGET_DIR", &folder).env("RUSTFLAGS", COVERAGE).env_remove("CARGO");
    // The nightly cargo is to find its own compiler.
    build.env_remove("RUSTC").env_remove("RUSTUP_TOOLCHAIN");
    if !build.status().is_ok_and(|status| status.success()) {
        eprintln!("libFuzzer needs a nightly toolchain and a C++ compiler; --execs N does without");
        return ExitCode::FAILURE;
    }
    let found = folder.join("found").join(name);
    if let Err(error) = std::fs::create_dir_all(&found) {
        eprintln!("creating {}: {error}", found.display());
        return ExitCode::FAILURE;
    }
    let mut run = Command::new(folder.join(TRIPLE).join("release").join(name));
    run.args(["-max_len=512", "-print_final_stats=1"]).args(words).arg(&found);
    finished(run.arg(kept(name)).current_dir(&folder))
}

/// Runs a target's body on so many changed inputs of the kept corpus, and of what libFuzzer found.
pub fn plain(name: &str, executions: &str, seed: &str) -> ExitCode {
    let mut run = cargo(&["run", "--quiet", "--locked", "--package", "underpin-fuzz", "--"]);
    run.args([name, executions, seed]).arg(kept(name));
    let found = target().join("fuzz").join("found").join(name);
    if found.is_dir() {
        run.arg(found);
    }
    finished(&mut run)
}

/// The kept corpus of a target.
fn kept(name: &str) -> std::path::PathBuf {
    root().join("fuzz").join("corpus").join(name)
}

fn finished(run: &mut Command) -> ExitCode {
    match run.status() {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("cannot start: {error}");
            ExitCode::FAILURE
        }
    }
}
