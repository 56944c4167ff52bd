//! Chaos: brings what the harness for real servers needs, and runs it.

use crate::{cargo, e2e, root, target};
use std::process::{Command, ExitCode};

/// What the harness says by its exit code when a machine does not let it make namespaces.
const CANNOT: i32 = 3;

/// Runs the harness with these words.
pub fn run(words: &[&str]) -> ExitCode {
    let packages = ["--package", "underpin", "--package", "underpin-chaos"];
    let mut build = cargo(&["build", "--quiet", "--locked"]);
    if !build.args(packages).status().is_ok_and(|status| status.success()) {
        return ExitCode::FAILURE;
    }
    match start(words) {
        Ok(code) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

/// What CI runs, of binaries that are built. A machine that can't do it says so, and is let pass.
pub fn quick() -> Result<(), String> {
    match start(&["--quick"])? {
        0 => Ok(()),
        CANNOT => {
            eprintln!("   skipped: this machine does not let us make network namespaces");
            Ok(())
        }
        _ => Err("see above".into()),
    }
}

fn start(words: &[&str]) -> Result<i32, String> {
    if !words.contains(&"--help") {
        // What is missing all the same, the harness says itself.
        let needs = [("ip", "-V", "iproute2"), ("nft", "--version", "nftables")];
        for (tool, word, package) in needs {
            let _ = e2e::need(tool, &[word], package);
        }
        if words.contains(&"etcd") {
            e2e::need("etcd", &["--version"], "etcd-server")?;
        }
        if words.contains(&"redis") || words.contains(&"--quick") {
            e2e::need("redis-server", &["--version"], "redis-server")?;
        }
    }
    let binaries = target().join("debug");
    let mut harness = Command::new(binaries.join("underpin-chaos"));
    harness.args(words).env("UNDERPIN_BIN", binaries.join("underpin")).current_dir(root());
    let status = harness.status().map_err(|error| format!("{harness:?}: {error}"))?;
    Ok(status.code().unwrap_or(1))
}
