//! The binary: flags, config and wiring. A noun of the command line is a file here.

mod cli;
mod completions;
mod config;
mod config_command;
mod connect;
mod init;
mod kv;
mod report;
mod status;
mod terminal;

fn main() -> std::process::ExitCode {
    cli::main()
}
