//! The grammar: `underpin <noun> <verb>`.

use crate::report::{Exit, Failed};
use crate::{
    completions, config_command, dev, format, init, kv, node_command, report, server, status,
};
use clap::{CommandFactory, Parser, Subcommand};
use std::process::ExitCode;

/// What a command ends with.
pub type Done = Result<(), Failed>;

/// The distributed foundation of a backend, in one binary.
#[derive(Debug, Parser)]
#[command(name = "underpin", version, max_term_width = 100, after_help = EXIT_CODES)]
#[command(disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    noun: Noun,
}

#[derive(Debug, Subcommand)]
enum Noun {
    Dev(dev::Args),
    Init(init::Args),
    Format(format::Args),
    Server(server::Args),
    #[command(subcommand)]
    Config(config_command::Verb),
    Status(status::Args),
    #[command(subcommand)]
    Node(node_command::Verb),
    #[command(subcommand)]
    Kv(kv::Verb),
    Completions(completions::Args),
}

/// Told wherever help is, since scripts rely on them.
const EXIT_CODES: &str = "\
Data goes to stdout, everything else to stderr.

Exit codes:
  0  done
  1  not found, or the answer is no; also a failure on this machine (a file, a disk)
  2  wrong usage or configuration, or the request cannot succeed as asked
  3  not done: the cluster was not reached, has no quorum, no room, or no time was left
  4  the password is missing or wrong
  5  conflict: something was not as the request wanted it
  6  outcome unknown: it may or may not have been done";

/// Reads the command line and carries it out.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version arrive here too; a reader that went away early is no failure.
            drop(error.print());
            return ExitCode::from(if error.use_stderr() { Exit::Usage.code() } else { 0 });
        }
    };
    match run(cli.noun) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failed) => {
            report::print(&failed);
            ExitCode::from(failed.exit.code())
        }
    }
}

fn run(noun: Noun) -> Done {
    match noun {
        Noun::Dev(args) => dev::run(&args),
        Noun::Init(args) => init::run(&args),
        Noun::Format(args) => format::run(&args),
        Noun::Server(args) => server::run(&args),
        Noun::Config(verb) => config_command::run(&verb),
        Noun::Status(args) => status::run(&args),
        Noun::Node(verb) => node_command::run(&verb),
        Noun::Kv(verb) => kv::run(&verb),
        Noun::Completions(args) => completions::run(&args),
    }
}

/// The whole grammar, for completions.
pub fn grammar() -> clap::Command {
    Cli::command()
}
