//! `underpin completions`: what a shell needs to complete our commands.

use crate::cli::{Done, grammar};
use crate::report::Failed;
use clap_complete::Shell;
use std::io::Write;

/// Print a shell's completions
///
/// For bash:  underpin completions bash > ~/.local/share/bash-completion/completions/underpin
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The shell
    shell: Choice,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Choice {
    Bash,
    Zsh,
    Fish,
}

/// Prints them.
pub fn run(args: &Args) -> Done {
    let shell = match args.shell {
        Choice::Bash => Shell::Bash,
        Choice::Zsh => Shell::Zsh,
        Choice::Fish => Shell::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut grammar(), "underpin", &mut script);
    std::io::stdout().write_all(&script).map_err(|error| Failed::stdout(&error))
}
