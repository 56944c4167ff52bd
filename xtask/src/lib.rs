//! The project's own commands. `cargo xtask` lists them.
//!
//! `check` is what every change passes and alters nothing; `ci` is `check`, simulation and
//! end-to-end tests, and is all that `.ci/run` calls. Everything is built once, in one profile
//! (the workspace's `dev`), and then run: [`steps`] runs things and counts, [`e2e`] brings the
//! strangers that end-to-end tests need (Redis, redis-py), [`bench`] the peers of benchmarks, [`tidy`] holds the rules of the
//! repository that no compiler checks; [`zoo`] builds known bugs in and lets them be found.

#![allow(clippy::print_stdout, clippy::print_stderr)]

pub mod bench;
pub mod chaos;
pub mod cli;
pub mod e2e;
pub mod evidence;
pub mod fuzz;
pub mod steps;
pub mod tidy;
pub mod zoo;

use std::path::PathBuf;
use std::process::{Command, ExitCode};

/// The folder of the repository that this program was built from.
pub fn root() -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    folder.parent().expect("xtask lies in the repository").to_path_buf()
}

/// A cargo command in the repository.
pub fn cargo(words: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(words).current_dir(root());
    command
}

/// The folder that cargo builds into.
pub fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => root().join(folder),
        None => root().join("target"),
    }
}

/// Passes on how a program ended.
pub fn exit(status: std::io::Result<std::process::ExitStatus>) -> ExitCode {
    match status {
        Ok(status) => ExitCode::from(u8::try_from(status.code().unwrap_or(1)).unwrap_or(1)),
        Err(error) => {
            eprintln!("cannot start: {error}");
            ExitCode::FAILURE
        }
    }
}
