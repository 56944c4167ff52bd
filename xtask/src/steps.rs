//! Runs programs one after the other, shows what they say, and counts.
//!
//! A step that fails does not keep the next from running: one run tells everything. The last line
//! is always `N passed, N failed`, where every test counts, and every step that is not a test run.

use crate::cargo;
use std::io::{BufRead, BufReader, IsTerminal, Read};
use std::process::{Command, ExitCode, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

/// What has run so far.
#[derive(Debug, Default)]
pub struct Steps {
    /// Tests and steps that passed.
    pub passed: u64,
    /// Tests and steps that failed.
    pub failed: u64,
    /// The names of the steps that did not pass whole.
    pub failures: Vec<String>,
}

impl Steps {
    /// Runs a program that counts as one; tells whether it succeeded.
    pub fn run(&mut self, name: &str, command: &mut Command) -> bool {
        let started = begin(name);
        let succeeded = match command.status() {
            Ok(status) => status.success(),
            Err(error) => {
                eprintln!("{command:?} does not start: {error}");
                false
            }
        };
        self.count(name, Counts { passed: succeeded.into(), failed: (!succeeded).into() });
        eprintln!("   {name}: {:.1} s", started.elapsed().as_secs_f64());
        succeeded
    }

    /// Runs something of this program that counts as one.
    pub fn run_own(&mut self, name: &str, own: impl FnOnce() -> Result<(), String>) {
        let started = begin(name);
        let ended = own();
        if let Err(reason) = &ended {
            eprintln!("{reason}");
        }
        self.count(name, Counts { passed: ended.is_ok().into(), failed: ended.is_err().into() });
        eprintln!("   {name}: {:.1} s", started.elapsed().as_secs_f64());
    }

    /// Runs a program that runs tests, and counts these.
    pub fn run_tests(&mut self, name: &str, command: &mut Command) {
        let started = begin(name);
        let (succeeded, mut counts) = match watch(command) {
            Ok(seen) => seen,
            Err(error) => {
                eprintln!("{command:?} does not start: {error}");
                (false, Counts::default())
            }
        };
        if !succeeded && counts.failed == 0 {
            counts.failed = 1;
        }
        self.count(name, counts);
        eprintln!("   {name}: {:.1} s", started.elapsed().as_secs_f64());
    }

    /// A step that could not even begin.
    pub fn fail(&mut self, name: &str, reason: &str) {
        begin(name);
        eprintln!("{reason}");
        self.count(name, Counts { passed: 0, failed: 1 });
    }

    /// Prints the last line.
    pub fn finish(self) -> ExitCode {
        for name in &self.failures {
            eprintln!("failed: {name}");
        }
        println!("{} passed, {} failed", self.passed, self.failed);
        if self.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    fn count(&mut self, name: &str, counts: Counts) {
        self.passed += counts.passed;
        self.failed += counts.failed;
        if counts.failed > 0 {
            self.failures.push(name.to_string());
        }
    }
}

/// Announces a step.
fn begin(name: &str) -> Instant {
    eprintln!("── {name}");
    Instant::now()
}

/// Tests run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    passed: u64,
    failed: u64,
}

/// The command that runs tests of the workspace: by nextest with its `filter`, or without it by
/// `cargo test` without the `excluded` packages.
pub fn tests(filter: &str, excluded: &[&str]) -> Command {
    if has_nextest() {
        let words = ["nextest", "run", "--workspace", "--locked", "--no-tests=pass"];
        let mut command = cargo(&words);
        command.args(["--status-level", "slow", "-E", filter]);
        return command;
    }
    let mut command = cargo(&["test", "--locked", "--all-targets", "--no-fail-fast"]);
    match filter {
        "package(underpin-e2e)" => {
            command.args(["--package", "underpin-e2e", "--", "--test-threads=1"]);
        }
        _ => {
            command.arg("--workspace");
            command.args(excluded.iter().flat_map(|package| ["--exclude", package]));
        }
    }
    command
}

/// Whether cargo-nextest is installed.
pub fn has_nextest() -> bool {
    let output = cargo(&["nextest", "--version"]).output();
    output.is_ok_and(|output| output.status.success())
}

/// Runs a test runner, passes on what it says, and reads its counts on the way.
fn watch(command: &mut Command) -> std::io::Result<(bool, Counts)> {
    if std::io::stderr().is_terminal() {
        command.env("CARGO_TERM_COLOR", "always");
    }
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let (lines, said) = mpsc::channel();
    read_lines(child.stdout.take().expect("piped"), lines.clone());
    read_lines(child.stderr.take().expect("piped"), lines);
    let mut tally = Tally::default();
    for line in said {
        if !is_empty_run(&line) {
            eprintln!("{line}");
        }
        tally.hear(&plain(&line));
    }
    Ok((child.wait()?.success(), tally.counts))
}

/// The counts of a run so far. Nextest may show what the harness of each test says; from its own
/// summary on, only that counts.
#[derive(Debug, Default)]
struct Tally {
    counts: Counts,
}

impl Tally {
    fn hear(&mut self, line: &str) {
        let Some(more) = counted(line) else { return };
        if line.trim_start().starts_with("Summary [") {
            self.counts = more;
        } else {
            self.counts.passed += more.passed;
            self.counts.failed += more.failed;
        }
    }
}

/// Whether a line only says that a crate has no tests of a kind.
fn is_empty_run(line: &str) -> bool {
    line.is_empty() || line == "running 0 tests" || line.starts_with("test result: ok. 0 passed; 0")
}

/// Sends a stream's lines from a thread of its own.
fn read_lines(stream: impl Read + Send + 'static, lines: mpsc::Sender<String>) {
    thread::spawn(move || {
        for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
            let _ = lines.send(String::from_utf8_lossy(&line).into_owned());
        }
    });
}

/// The counts in a summary line of nextest or of the standard harness.
fn counted(line: &str) -> Option<Counts> {
    let summary = line.trim_start();
    let parts = if summary.starts_with("Summary [") {
        summary.split_once(" run: ")?.1.split(',').collect::<Vec<_>>()
    } else {
        // Not indented: that would be a harness quoted by nextest.
        line.strip_prefix("test result: ")?.split_once(". ")?.1.split(';').collect()
    };
    let mut counts = Counts::default();
    for part in parts {
        let mut words = part.split_whitespace();
        let (Some(number), Some(kind)) = (words.next(), words.next()) else { continue };
        let Ok(number) = number.parse::<u64>() else { continue };
        match kind {
            "passed" => counts.passed += number,
            "failed" | "timed" | "exec" => counts.failed += number,
            _ => {}
        }
    }
    Some(counts)
}

/// A line without its colours.
fn plain(line: &str) -> String {
    let mut plain = String::new();
    let mut pieces = line.split('\u{1b}');
    plain.push_str(pieces.next().unwrap_or_default());
    for piece in pieces {
        plain.push_str(piece.split_once('m').map_or("", |(_, rest)| rest));
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_counts_of_both_runners() {
        for (line, passed, failed) in [
            ("     Summary [   0.006s] 12 tests run: 12 passed, 3 skipped", 12, 0),
            (
                "     Summary [   9.1s] 7/9 tests run: 4 passed (1 slow), 2 failed, 1 timed out, 0 skipped",
                4,
                3,
            ),
            (
                "test result: ok. 5 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s",
                5,
                0,
            ),
            ("test result: FAILED. 5 passed; 2 failed; 0 ignored; 0 measured", 5, 2),
        ] {
            assert_eq!(counted(line), Some(Counts { passed, failed }), "{line}");
        }
        assert_eq!(counted("     Running 3 tests"), None);
        assert_eq!(counted("    test result: FAILED. 0 passed; 1 failed"), None);
    }

    #[test]
    fn a_test_that_nextest_quotes_counts_once() {
        let mut tally = Tally::default();
        tally.hear("test result: ok. 1 passed; 0 failed; 0 ignored");
        tally.hear("test result: FAILED. 0 passed; 1 failed; 0 ignored");
        assert_eq!(tally.counts, Counts { passed: 1, failed: 1 });
        tally.hear("     Summary [   0.006s] 2 tests run: 1 passed, 1 failed, 0 skipped");
        assert_eq!(tally.counts, Counts { passed: 1, failed: 1 });
    }

    #[test]
    fn colours_do_not_hide_the_counts() {
        let line = "\u{1b}[32;1m     Summary\u{1b}[0m [   0.006s] \u{1b}[1m2\u{1b}[0m tests run: \u{1b}[1m2\u{1b}[0m \u{1b}[32;1mpassed\u{1b}[0m, 0 skipped";
        assert_eq!(counted(&plain(line)), Some(Counts { passed: 2, failed: 0 }));
    }

    #[test]
    fn a_failing_step_counts_and_the_next_still_runs() {
        let mut steps = Steps::default();
        assert!(!steps.run("fails", &mut Command::new("false")));
        assert!(steps.run("passes", &mut Command::new("true")));
        steps.run_tests("breaks before its tests", &mut Command::new("false"));
        assert_eq!((steps.passed, steps.failed), (1, 2));
        assert_eq!(steps.failures, ["fails", "breaks before its tests"]);
    }
}
