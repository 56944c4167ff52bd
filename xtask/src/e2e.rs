//! Brings what end-to-end tests need besides our own binary: Redis as the oracle and peer, and
//! redis-py as the client that nobody adapted to us.

use crate::{root, target};
use std::fs::{File, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// The counts that the issue asks for; in CI the tests' own, smaller ones hold.
pub const FULL_COUNTS: &[(&str, &str)] =
    &[("UNDERPIN_KILLS", "20"), ("UNDERPIN_STOPS", "10"), ("UNDERPIN_POWER_CUTS", "10")];

/// The client library, pinned: a newer one is a change to look at, not a surprise.
const REDIS_PY: &str = "redis==5.2.1";

/// Where the tests find what they need.
#[derive(Clone, Debug)]
pub struct Strangers {
    /// Our binary.
    underpin: PathBuf,
    /// Redis.
    redis_server: PathBuf,
    /// A Python that has redis-py.
    python: PathBuf,
}

impl Strangers {
    /// Hands the places to a program.
    pub fn tell(&self, command: &mut Command) {
        command
            .env("UNDERPIN_BIN", &self.underpin)
            .env("UNDERPIN_REDIS_SERVER", &self.redis_server)
            .env("UNDERPIN_PYTHON", &self.python);
    }
}

/// Finds or installs everything, or says what is missing and how to get it.
pub fn prepare() -> Result<Strangers, String> {
    need("redis-server", &["--version"], "redis-server")?;
    Ok(Strangers {
        underpin: target().join("debug/underpin"),
        redis_server: "redis-server".into(),
        python: python()?,
    })
}

/// A virtual environment with redis-py, made on first use.
fn python() -> Result<PathBuf, String> {
    let folder = target().join("e2e-python");
    let python = folder.join("bin/python");
    let script = format!("import redis; assert 'redis==' + redis.__version__ == '{REDIS_PY}'");
    if works(&python.to_string_lossy(), &["-c", &script]) {
        return Ok(python);
    }
    if !works("python3", &["-c", "import venv, ensurepip"]) {
        install("python3-venv")?;
    }
    let place = folder.to_string_lossy();
    let made = works("python3", &["-m", "venv", "--clear", &place])
        && shown(&python.to_string_lossy(), &["-m", "pip", "install", "--quiet", REDIS_PY]);
    if made {
        Ok(python)
    } else {
        Err(format!("cannot install {REDIS_PY} into {}; is PyPI reachable?", folder.display()))
    }
}

/// Installs the package of a program that is not there.
pub fn need(program: &str, words: &[&str], package: &str) -> Result<(), String> {
    if works(program, words) { Ok(()) } else { install(package) }
}

/// Installs a Debian package, where that is possible.
fn install(package: &str) -> Result<(), String> {
    let missing = format!("{package} is missing; install it: apt-get install {package}");
    if !works("sh", &["-c", "test \"$(id -u)\" = 0 && command -v apt-get"]) {
        return Err(missing);
    }
    eprintln!("   installing {package}");
    let _services = NoServices::now();
    let install = ["install", "--yes", "--quiet", "--no-install-recommends", package];
    if shown("apt-get", &install)
        || (shown("apt-get", &["update", "-q"]) && shown("apt-get", &install))
    {
        return Ok(());
    }
    Err(missing)
}

/// Whether a program runs and succeeds, without showing what it says.
fn works(program: &str, words: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(words).current_dir(root()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// While this lives, Debian's packages do not start their services: tests and benchmarks start
/// their own, and one more would take ports and processor time from them.
struct NoServices {
    /// Whether the policy is ours. Whoever has one already has decided.
    ours: bool,
}

/// What Debian's packages ask before they start anything; 101 is no.
const POLICY: &str = "/usr/sbin/policy-rc.d";

impl NoServices {
    fn now() -> NoServices {
        let Ok(mut policy) = File::create_new(POLICY) else { return NoServices { ours: false } };
        // A policy that can't be written or run is none, and RUNLEVEL has to do.
        let _ = policy.write_all(b"#!/bin/sh\nexit 101\n");
        let _ = policy.set_permissions(Permissions::from_mode(0o755));
        NoServices { ours: true }
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.ours {
            let _ = std::fs::remove_file(POLICY);
        }
    }
}

/// Runs a program; what it says goes to standard error. RUNLEVEL, besides the policy, keeps Debian's
/// packages from starting their services.
fn shown(program: &str, words: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(words).current_dir(root()).stdout(Stdio::null());
    command.env("DEBIAN_FRONTEND", "noninteractive").env("RUNLEVEL", "1");
    command.status().is_ok_and(|status| status.success())
}
