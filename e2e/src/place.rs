//! Folders, free ports, and where the binaries are.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};
use std::{env, fs, process, thread};

/// A folder that is gone when its test passed, and kept when it failed.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// Makes a fresh one. It lies on the disk that the project is built on, not in memory, so that
    /// a sync costs what it costs.
    pub fn new(name: &str) -> Folder {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = target().join("e2e-data").join(format!("{name}-{}-{count}", process::id()));
        fs::create_dir_all(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Folder(path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The path of something in it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("kept for a look: {}", self.0.display());
        } else {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}

/// The folder that cargo built this program into; cargo marks it.
pub fn target() -> PathBuf {
    let program = env::current_exe().expect("a program knows where it is");
    let marked = program.ancestors().find(|folder| folder.join("CACHEDIR.TAG").exists());
    marked.expect("cargo built this program").to_path_buf()
}

/// The `underpin` binary: `UNDERPIN_BIN`, or built now.
pub fn underpin() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| match env::var_os("UNDERPIN_BIN") {
        Some(binary) => binary.into(),
        None => {
            let mut cargo = Command::new(env!("CARGO"));
            let words = ["build", "--quiet", "--package", "underpin"];
            let status = cargo.args(words).env("CARGO_TARGET_DIR", target()).status();
            assert!(status.expect("cargo runs").success(), "the binary does not build");
            target().join("debug/underpin")
        }
    })
}

/// The `redis-server` binary: `UNDERPIN_REDIS_SERVER`, or the system's.
pub fn redis_server() -> PathBuf {
    env::var_os("UNDERPIN_REDIS_SERVER").unwrap_or_else(|| "redis-server".into()).into()
}

/// A Python that has redis-py: `UNDERPIN_PYTHON`, or the system's.
pub fn python() -> PathBuf {
    env::var_os("UNDERPIN_PYTHON").unwrap_or_else(|| "python3".into()).into()
}

/// `count` consecutive loopback ports that nobody listens on, below the range that the system
/// hands out itself, so that nobody else is given one before its server starts.
pub fn ports(count: u16) -> u16 {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let mut given = GIVEN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let first = 20_000 + (process::id() % 1_000) as u16 * 12;
    let candidates = (first..32_000).chain(20_000..first);
    for port in candidates.step_by(usize::from(count)) {
        let all = port..port + count;
        let free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
        if all.clone().all(|port| !given.contains(&port) && free(port)) {
            given.extend(all);
            return port;
        }
    }
    panic!("no {count} free ports in a row");
}

/// A number from the environment, for counts that CI keeps small.
pub fn number(variable: &str, otherwise: u64) -> u64 {
    match env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{variable}={text} is no number")),
        Err(_) => otherwise,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_given_once() {
        let first = ports(3);
        let second = ports(3);
        assert!(second >= first + 3 || first >= second + 3, "{first} and {second}");
    }

    #[test]
    fn a_folder_is_gone_with_its_value() {
        let folder = Folder::new("gone");
        let path = folder.path().to_path_buf();
        assert!(path.is_dir());
        drop(folder);
        assert!(!path.exists());
    }
}
