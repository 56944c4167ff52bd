//! The binary: flags, config and wiring. A noun of the command line is a file here.

mod cli;
mod completions;
mod config;
mod config_command;
mod connect;
mod descriptors;
mod dev;
mod format;
mod init;
mod kv;
mod local;
mod logs;
mod node_command;
mod report;
mod server;
mod signals;
mod status;
mod table;
mod terminal;

fn main() -> std::process::ExitCode {
    cli::main()
}
