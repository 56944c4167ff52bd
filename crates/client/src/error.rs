//! What a caller may conclude when there is no answer.

use std::fmt;

/// One endpoint and how the last attempt there failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The endpoint, as it was given.
    pub endpoint: String,
    /// What went wrong there.
    pub reason: String,
}

/// Why there is no answer. A variant exists where a caller would act differently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// It did not happen; sending it again is safe.
    NotDone {
        /// What was tried, one entry per endpoint that failed.
        tried: Vec<Attempt>,
        /// The time given to the call is over (otherwise every endpoint failed and the call was
        /// not to be retried).
        timeout: bool,
    },
    /// It may have happened. Look, or send it again within a session, under the same number.
    Unknown {
        /// The endpoint it was sent to.
        sent_to: String,
        /// Why its outcome is not known.
        reason: String,
        /// What was tried besides.
        tried: Vec<Attempt>,
    },
    /// It cannot succeed as asked; nothing was changed.
    Refused {
        /// The first word of the server's text: `ERR`, `WRONGTYPE`, …
        code: String,
        /// The rest of the text.
        message: String,
    },
    /// The server wants another password, or any.
    Denied {
        /// The endpoint that said so.
        endpoint: String,
        /// The server's text.
        message: String,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NotDone { tried, timeout } => {
                f.write_str(if *timeout { "not done in time" } else { "not done" })?;
                write_tried(f, tried)
            }
            Error::Unknown { sent_to, reason, .. } => {
                write!(f, "outcome unknown: sent to {sent_to}, {reason}")
            }
            Error::Refused { code, message } => write!(f, "refused: {code} {message}"),
            Error::Denied { endpoint, message } => write!(f, "denied by {endpoint}: {message}"),
        }
    }
}

fn write_tried(f: &mut fmt::Formatter<'_>, tried: &[Attempt]) -> fmt::Result {
    for (n, attempt) in tried.iter().enumerate() {
        let before = if n == 0 { ": " } else { ", " };
        write!(f, "{before}{} {}", attempt.endpoint, attempt.reason)?;
    }
    Ok(())
}

impl std::error::Error for Error {}

/// What an error reply says about its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    NotDone,
    Unknown,
    Denied,
    Refused,
}

/// Reads the first word of an error reply. The codes are the server's promise (`docs/compat/redis.md`).
pub(crate) fn verdict(code: &str) -> Verdict {
    match code {
        "TRYAGAIN" | "CLUSTERDOWN" | "LOADING" | "BUSY" => Verdict::NotDone,
        "UNKNOWN" => Verdict::Unknown,
        "NOAUTH" | "WRONGPASS" | "NOPERM" => Verdict::Denied,
        _ => Verdict::Refused,
    }
}

/// Splits an error reply's text into its first word and the rest.
pub(crate) fn split(text: &str) -> (&str, &str) {
    text.split_once(' ').unwrap_or((text, ""))
}
