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
mod memory;
mod node_command;
mod report;
mod server;
mod signals;
mod status;
mod table;
mod terminal;

fn main() -> std::process::ExitCode {
    // A huge page is cleared whole when it is first touched, 2 MiB in the middle of a turn. A system
    // that can't be asked not to does without them or lives with it.
    #[cfg(target_os = "linux")]
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    cli::main()
}
