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

/// Rows are allocated on a node's thread and freed on a helper's, a hundred thousand at a time. The
/// system's allocator (glibc's) puts those in order in one go, tens of milliseconds of a turn; this
/// one does it page by page.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    // A huge page is cleared whole when it is first touched, 2 MiB in the middle of a turn. A system
    // that can't be asked not to does without them or lives with it.
    #[cfg(target_os = "linux")]
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    cli::main()
}
