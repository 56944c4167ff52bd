//! A child that cannot outlive its test, with signals and its output in a file.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use crate::wait;

/// A running child. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
    /// Bytes of the log that earlier lives wrote.
    before: u64,
}

impl Process {
    /// Starts a command; what it says on standard error is appended to `log`, what it prints on
    /// standard output to a file beside it.
    pub fn start(command: &mut Command, log: &Path) -> Process {
        Process::start_reading(command, log, Stdio::null())
    }

    /// The same, with something on standard input.
    pub fn start_reading(command: &mut Command, log: &Path, input: Stdio) -> Process {
        let open = |path: &Path| File::options().create(true).append(true).open(path);
        let out = open(&log.with_extension("out")).expect("a file for its output");
        let err = open(log).expect("a log file");
        let before = err.metadata().expect("a file has a length").len();
        command.stdin(input).stdout(out).stderr(err);
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Process { child, log: log.to_path_buf(), before }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it said on standard error, in all of its lives.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// What it said on standard error since it was started.
    pub fn said(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(log.get(self.before as usize..).unwrap_or_default()).into_owned()
    }

    /// What it printed on standard output.
    pub fn out(&self) -> String {
        let path = self.log.with_extension("out");
        String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
    }

    /// Sends a signal by name: `STOP`, `CONT`, `TERM`.
    pub fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.child.id());
        let status = Command::new("sh").args(["-c", &kill]).status().expect("a shell");
        assert!(status.success(), "{kill} failed");
    }

    /// A number of `/proc/PID/status`: `VmHWM` and `VmRSS` are in kilobytes.
    pub fn fact(&self, name: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        number.unwrap_or_else(|| panic!("process {} has no {name}", self.id()))
    }

    /// From now on `VmHWM` is the most memory that it had since now.
    pub fn forget_peak(&self) {
        fs::write(format!("/proc/{}/clear_refs", self.id()), "5").expect("a child of ours");
    }

    /// Milliseconds of processor time that it has used.
    pub fn busy_ms(&self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.id())).unwrap_or_default();
        let after = stat.rsplit_once(") ").expect("a running process").1;
        let ticks: u64 =
            after.split(' ').skip(11).take(2).filter_map(|n| n.parse::<u64>().ok()).sum();
        ticks * 10 // A hundred ticks a second, on every Linux that Debian supports.
    }

    /// The file descriptor that it would be given next.
    pub fn next_descriptor(&self) -> u64 {
        let open = |number: &u64| Path::new(&format!("/proc/{}/fd/{number}", self.id())).exists();
        (0..).find(|number| !open(number)).expect("some number is free")
    }

    /// It is given no descriptor from `most` on.
    pub fn limit_descriptors(&self, most: u64) {
        let (id, limit) = (self.id().to_string(), format!("--nofile={most}:"));
        let status = Command::new("prlimit").args(["--pid", &id, &limit]).status();
        assert!(status.expect("prlimit, of util-linux").success(), "prlimit failed");
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Sends the kill and does not wait, so that several die at one moment.
    pub fn kill_without_waiting(&mut self) {
        let _ = self.child.kill();
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be waited for")
    }

    /// Waits for its end.
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        let what = format!("the end of process {}", self.id());
        wait::until(&what, limit, || self.ended())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A stopped child dies of a kill too.
        self.kill();
        if thread::panicking() {
            let log = self.log();
            let tail: Vec<&str> = log.lines().rev().take(30).collect();
            eprintln!("the last lines of {}:", self.log.display());
            tail.iter().rev().for_each(|line| eprintln!("  {line}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::place::Folder;

    #[test]
    fn a_child_is_stopped_continued_and_killed() {
        let folder = Folder::new("child");
        let mut child = Process::start(
            Command::new("sh").args(["-c", "echo started; exec sleep 60"]),
            &folder.join("log"),
        );
        wait::until("its first line", wait::READY, || (child.out() == "started\n").then_some(()));
        let state = |id: u32| {
            let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap();
            stat.rsplit_once(") ").unwrap().1.chars().next().unwrap()
        };
        let id = child.id();
        child.signal("STOP");
        wait::until("a stop", wait::READY, || (state(id) == 'T').then_some(()));
        child.signal("CONT");
        wait::until("going on", wait::READY, || (state(id) != 'T').then_some(()));
        assert_eq!(child.ended(), None);
        child.kill();
        assert!(child.ended().is_some());
    }

    #[test]
    fn a_child_does_not_outlive_its_value() {
        let folder = Folder::new("outlive");
        let child = Process::start(Command::new("sleep").arg("60"), &folder.join("log"));
        let proc = format!("/proc/{}", child.id());
        assert!(Path::new(&proc).exists());
        drop(child);
        assert!(!Path::new(&proc).exists());
    }
}
