//! A room of its own for everything that a run leaves lying about.
//!
//! Namespaces, bridges, mounts and processes outlive the program that made them, and a harness that
//! is killed cleans up nothing. So the whole program runs in fresh namespaces: of network, of mounts,
//! and of processes. When its first process ends, however it ends, the kernel kills all others, and
//! with the last of them network and mounts are gone. Outside nothing was ever changed.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

/// Set inside.
const INSIDE: &str = "UNDERPIN_CHAOS_INSIDE";

/// What must be installed.
const TOOLS: [(&str, &str, &str); 3] =
    [("ip", "-V", "iproute2"), ("nft", "--version", "nftables"), ("unshare", "-V", "util-linux")];

/// Whether this process is inside.
pub fn entered() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// Why there can be no room here, if so.
pub fn missing() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("making network namespaces needs root".into());
    }
    for (tool, word, package) in TOOLS {
        if !quietly(Command::new(tool).arg(word)) {
            return Some(format!("`{tool}` is missing; install {package}"));
        }
    }
    if !quietly(unshare().arg("true")) {
        return Some("the kernel does not let us make namespaces (unshare fails)".into());
    }
    None
}

fn quietly(command: &mut Command) -> bool {
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

fn unshare() -> Command {
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--"]);
    command
}

/// Runs this program again, inside. The shell between is the first process there: it is deaf to
/// Ctrl-C, as first processes are, but ends when this program does.
pub fn enter() -> ExitCode {
    let program = std::env::current_exe().expect("a program knows where it is");
    let mut command = unshare();
    command.args(["sh", "-c", "\"$0\" \"$@\"; exit $?"]).arg(program);
    command.args(std::env::args().skip(1)).env(INSIDE, "1");
    // In place of this program, so that whoever ends it ends everything inside.
    let error = command.exec();
    eprintln!("unshare does not start: {error}");
    ExitCode::FAILURE
}

/// Makes the room ready: a place for names of namespaces that nobody else sees, and a loopback.
pub fn furnish() -> Result<(), String> {
    let names = Path::new("/run/netns");
    std::fs::create_dir_all(names).map_err(|error| format!("{}: {error}", names.display()))?;
    let tmpfs = ["-t", "tmpfs", "underpin-chaos", "/run/netns"];
    run(Command::new("mount").args(tmpfs))?;
    run(Command::new("ip").args(["link", "set", "lo", "up"]))
}

/// Runs a command that must succeed, or tells what it said.
pub fn run(command: &mut Command) -> Result<(), String> {
    run_with(command, "")
}

/// The same, with a text on standard input.
pub fn run_with(command: &mut Command, input: &str) -> Result<(), String> {
    use std::io::Write;
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().map_err(|error| format!("{command:?}: {error}"))?;
    let mut to_child = child.stdin.take().expect("piped");
    // Who does not read says why on standard error.
    let _ = to_child.write_all(input.as_bytes());
    drop(to_child);
    let output = child.wait_with_output().map_err(|error| format!("{command:?}: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            Err(format!("{command:?} with {input:?}: {said}"))
        }
    }
}
