//! `cargo xtask`: the project's own commands. See [`xtask::cli::HELP`].

use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    xtask::cli::run(&words)
}
