//! What a failed command says on stderr, and its exit code.
//!
//! ```text
//! error: cannot reach the cluster
//!   tried  db1:6379   connection refused
//!          db2:6379   no reply in time
//!   help   is a node running there? `underpin dev` starts a cluster on this machine
//! ```

use crate::config::Problem;
use client::Attempt;
use std::io::{IsTerminal, Write};

/// Exit codes; `underpin --help` explains them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Not found, false, or a failure on this machine.
    No = 1,
    /// Wrong usage.
    Usage = 2,
    /// Not done.
    Unavailable = 3,
    /// Password missing or wrong.
    Denied = 4,
    /// Not as the request wanted it.
    Conflict = 5,
    /// It may or may not have been done.
    Unknown = 6,
}

impl Exit {
    /// Its number.
    pub fn code(self) -> u8 {
        self as u8
    }
}

/// A command that did not do what was asked.
#[derive(Debug)]
pub struct Failed {
    /// The exit code.
    pub exit: Exit,
    /// What happened; empty to say nothing.
    pub what: String,
    /// Labelled lines of evidence and advice: (label, text).
    pub lines: Vec<(&'static str, String)>,
}

impl Failed {
    /// A failure with this text.
    pub fn new(exit: Exit, what: impl Into<String>) -> Failed {
        Failed { exit, what: what.into(), lines: Vec::new() }
    }

    /// A failure that its exit code says all about.
    pub fn silent(exit: Exit) -> Failed {
        Failed::new(exit, "")
    }

    /// The same with one more line.
    pub fn line(mut self, label: &'static str, text: impl Into<String>) -> Failed {
        self.lines.push((label, text.into()));
        self
    }

    /// The same with advice.
    pub fn help(self, text: impl Into<String>) -> Failed {
        self.line("help", text)
    }

    /// Stdout could not be written. A reader that had enough (`| head`) is nothing to talk about.
    pub fn stdout(error: &std::io::Error) -> Failed {
        match error.kind() {
            std::io::ErrorKind::BrokenPipe => Failed::silent(Exit::No),
            _ => Failed::new(Exit::No, format!("cannot write to stdout: {error}")),
        }
    }

    /// A file could not be used.
    pub fn file(doing: &str, path: &std::path::Path, error: &std::io::Error) -> Failed {
        Failed::new(Exit::No, format!("cannot {doing} {}: {error}", path.display()))
    }

    /// A wrong configuration: all of its problems, the last line of each without its own "error".
    pub fn config(problems: &[Problem]) -> Failed {
        let texts: Vec<_> = problems.iter().map(|problem| problem.to_string()).collect();
        Failed::new(Exit::Usage, texts.join("\nerror: "))
    }

    /// What a client's call came to.
    pub fn call(error: client::Error) -> Failed {
        use client::Error;
        match error {
            Error::NotDone { tried, timeout } => not_done(&tried, timeout),
            Error::Unknown { sent_to, reason, tried } => {
                let what = "outcome unknown: the request may or may not have been done";
                let failed = Failed::new(Exit::Unknown, what)
                    .line("sent", format!("to {sent_to}: {reason}"));
                tried_lines(failed, tried.iter().filter(|attempt| attempt.endpoint != sent_to))
                    .help("look before sending it again; with --once a write is safe to repeat")
            }
            Error::Refused { code, message } => match code.as_str() {
                "CONFLICT" => Failed::new(Exit::Conflict, format!("conflict: {message}")),
                "OOM" => Failed::new(Exit::Unavailable, message),
                "NOSESSION" => Failed::new(Exit::Conflict, message),
                "ERR" => Failed::new(Exit::Usage, format!("refused: {message}")),
                _ => Failed::new(Exit::Usage, format!("refused: {code} {message}")),
            },
            Error::Denied { endpoint, message } => {
                let failed = Failed::new(Exit::Denied, "the password is missing or wrong");
                failed
                    .line("tried", format!("{endpoint}   {message}"))
                    .help("set UNDERPIN_PASSWORD, or name a file that holds it: --password-file")
            }
        }
    }
}

fn not_done(tried: &[Attempt], timeout: bool) -> Failed {
    // A node that answered was reached: then the cluster is the trouble, not the way to it.
    let answered = |attempt: &Attempt| {
        attempt.reason.starts_with("TRYAGAIN") || attempt.reason.starts_with("CLUSTERDOWN")
    };
    let reached = tried.iter().any(answered);
    let what = match (reached, timeout) {
        (true, _) => "the cluster could not do it in time; nothing was done",
        (false, true) => "no answer from the cluster in time; nothing was done",
        (false, false) => "cannot reach the cluster",
    };
    let failed = tried_lines(Failed::new(Exit::Unavailable, what), tried.iter());
    match reached {
        true => failed.help("`underpin status` shows which nodes live; more time: --timeout"),
        false => failed.help(
            "name its nodes with --endpoint or UNDERPIN_ENDPOINT; `underpin dev` starts a cluster here",
        ),
    }
}

fn tried_lines<'a>(failed: Failed, tried: impl Iterator<Item = &'a Attempt> + Clone) -> Failed {
    let width = tried.clone().map(|attempt| attempt.endpoint.len()).max().unwrap_or(0);
    tried.enumerate().fold(failed, |failed, (n, Attempt { endpoint, reason })| {
        failed.line(if n == 0 { "tried" } else { "" }, format!("{endpoint:width$}   {reason}"))
    })
}

/// Prints it to stderr.
pub fn print(failed: &Failed) {
    if failed.what.is_empty() {
        return;
    }
    let coloured = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let error = if coloured { "\x1b[1;31merror\x1b[0m" } else { "error" };
    say(&format!("{error}: {}", failed.what));
    for (label, text) in &failed.lines {
        say(&format!("  {label:6} {text}"));
    }
}

/// One line to stderr. If stderr is closed there is nobody to tell.
pub fn say(line: &str) {
    drop(writeln!(std::io::stderr(), "{line}"));
}

/// One line to stdout.
pub fn put(line: &str) -> Result<(), Failed> {
    writeln!(std::io::stdout(), "{line}").map_err(|error| Failed::stdout(&error))
}
