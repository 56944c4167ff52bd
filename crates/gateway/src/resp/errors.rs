//! What went wrong, in the words that Redis clients know.
//!
//! Clients match on the first word and sometimes on the whole text, so refusals read as Redis 7
//! words them. Failures that a single Redis server does not have get the words of a Redis Cluster
//! where the meaning is the same, because clients already act rightly on them:
//!
//! | what happened | word | what clients do |
//! | --- | --- | --- |
//! | not done: busy, leader changed, deadline, stopping | `TRYAGAIN` | many send it again, which is safe |
//! | not done: no quorum | `CLUSTERDOWN` | many send it again later, which is safe |
//! | not done: the disk is full | `OOM` | report that the database is full; reads and DEL go on |
//! | unknown whether it was done | `UNKNOWN` | none sends it again by itself, which is right |
//!
//! `OOM` rather than `MISCONF` for a full disk: both stop writes only, but clients have a name for
//! `OOM` ("the database is full") and none sends such a request again at once.

use super::table::Spec;
use base::{Failure, NotDone, Refusal};
use std::borrow::Cow;

/// An error's text, its first word included. Bytes, since it may quote what a client sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wrong(Cow<'static, [u8]>);

impl Wrong {
    const fn of(text: &'static str) -> Wrong {
        Wrong(Cow::Borrowed(text.as_bytes()))
    }

    /// A text with a client's word in it: at most 128 bytes, and only those before a zero byte,
    /// as Redis quotes.
    pub(super) fn quoting(before: &str, word: &[u8], after: &str) -> Wrong {
        Wrong(Cow::Owned([before.as_bytes(), quotable(word, 128), after.as_bytes()].concat()))
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// What Redis shows of a word in an error.
pub(super) fn quotable(word: &[u8], most: usize) -> &[u8] {
    let word = &word[..word.len().min(most)];
    let end = word.iter().position(|&byte| byte == 0).unwrap_or(word.len());
    &word[..end]
}

impl From<&'static str> for Wrong {
    fn from(text: &'static str) -> Wrong {
        Wrong::of(text)
    }
}

impl From<String> for Wrong {
    fn from(text: String) -> Wrong {
        Wrong(Cow::Owned(text.into_bytes()))
    }
}

impl From<Vec<u8>> for Wrong {
    fn from(text: Vec<u8>) -> Wrong {
        Wrong(Cow::Owned(text))
    }
}

pub(super) const SYNTAX: Wrong = Wrong::of("ERR syntax error");
pub(super) const NOT_AN_INTEGER: Wrong = Wrong::of("ERR value is not an integer or out of range");
pub(super) const NOT_A_NUMBER: Wrong = Wrong::of("ERR value is not a valid float");
pub(super) const DB_RANGE: Wrong = Wrong::of("ERR DB index is out of range");
pub(super) const INT_RANGE: Wrong =
    Wrong::of("ERR value is out of range, value must between -2147483648 and 2147483647");
pub(super) const SAME_OBJECT: Wrong = Wrong::of("ERR source and destination objects are the same");
pub(super) const NO_AUTH: Wrong = Wrong::of("NOAUTH Authentication required.");
pub(super) const WRONG_PASS: Wrong =
    Wrong::of("WRONGPASS invalid username-password pair or user is disabled.");
pub(super) const NO_PASSWORD: Wrong = Wrong::of(
    "ERR AUTH <password> called without any password configured for the default user. Are you \
     sure your configuration is correct?",
);
pub(super) const EXEC_ABORT: Wrong =
    Wrong::of("EXECABORT Transaction discarded because of previous errors.");
pub(super) const NO_FREQUENCY: Wrong = Wrong::of(
    "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when \
     switching between policies at runtime LRU and LFU data will take some time to adjust.",
);
pub(super) const NO_ROOM: Wrong = Wrong::of(
    "TRYAGAIN this node holds as many unfinished requests as it may; it was not done, send it again",
);

pub(super) const NO_ROOM_FOR_ANSWERS: Wrong = Wrong::of(
    "TRYAGAIN clients of this node leave too many answers untaken, this one among them; read what is \
     there, then send it again",
);

/// What a client gets that is one too many, in Redis' words.
pub(super) const FULL: &[u8] = b"-ERR max number of clients reached\r\n";

/// EXEC itself was wrong.
pub(super) fn exec_abort(wrong: &Wrong) -> Wrong {
    let reason = wrong.as_bytes();
    let reason = reason.strip_prefix(b"ERR ").unwrap_or(reason);
    [b"EXECABORT Transaction discarded because of: ", reason].concat().into()
}

pub(super) fn arity(name: &str) -> Wrong {
    format!("ERR wrong number of arguments for '{name}' command").into()
}

pub(super) fn invalid_expire(spec: &Spec) -> Wrong {
    format!("ERR invalid expire time in '{}' command", spec.name).into()
}

pub(super) fn too_large(what: &str, seen: u64, allowed: u64) -> Wrong {
    format!("ERR {what} of {seen} bytes is larger than the {allowed} bytes allowed").into()
}

/// What `failure` of the command `spec` reads like.
pub(super) fn failure(spec: &Spec, failure: &Failure) -> Wrong {
    match failure {
        Failure::NotDone(reason) => not_done(reason),
        Failure::Unknown => Wrong::of(
            "UNKNOWN whether this was done can't be told; read before sending it again, or use \
             UNDERPIN.ONCE",
        ),
        Failure::Refused(refused) => refusal(spec, refused),
    }
}

fn not_done(reason: &NotDone) -> Wrong {
    match reason {
        NotDone::Busy { retry_after_ms } => {
            format!("TRYAGAIN busy: not done, send it again after {retry_after_ms} ms").into()
        }
        NotDone::LeaderChanged => Wrong::of("TRYAGAIN the leader changed: not done, send it again"),
        NotDone::NoQuorum => Wrong::of(
            "CLUSTERDOWN no leader, as too few replicas can be reached: not done, send it again \
             later",
        ),
        NotDone::Deadline => {
            Wrong::of("TRYAGAIN the deadline passed before it began: not done, send it again")
        }
        NotDone::DiskFull => Wrong::of(
            "OOM the disk is full: not done; reads and deletes go on, writes do once space is free",
        ),
        NotDone::Stopping => {
            Wrong::of("TRYAGAIN this node is stopping: not done, send it to another node")
        }
    }
}

/// What `refusal` of the command `spec` reads like.
pub(super) fn refusal(spec: &Spec, refusal: &Refusal) -> Wrong {
    match refusal {
        Refusal::TooLarge { what, seen, allowed } => match spec.name {
            "append" | "setrange" if *what == "value" => format!(
                "ERR string exceeds maximum allowed size (proto-max-bulk-len): {seen} bytes of \
                 {allowed}"
            )
            .into(),
            _ => too_large(what, *seen, *allowed),
        },
        Refusal::NotAnInteger => NOT_AN_INTEGER,
        Refusal::NotANumber => NOT_A_NUMBER,
        Refusal::Overflow => match spec.name {
            "incrbyfloat" => Wrong::of("ERR increment would produce NaN or Infinity"),
            _ => Wrong::of("ERR increment or decrement would overflow"),
        },
        Refusal::OutOfRange(what) => match spec.name {
            "setrange" => Wrong::of("ERR offset is out of range"),
            _ => format!("ERR {what} is out of range").into(),
        },
        Refusal::InvalidExpiry => invalid_expire(spec),
        Refusal::NoSuchKey => Wrong::of("ERR no such key"),
        Refusal::NoSuchSession => Wrong::of(
            "NOSESSION no such session: it never was, it ended, or it was not used for too long",
        ),
        Refusal::NumberForgotten => Wrong::of(
            "UNKNOWN whether this was done can't be told: its number lies below the session's window",
        ),
        Refusal::AnswerForgotten => {
            Wrong::of("DONE this was done before, but its answer was too large to be kept")
        }
        Refusal::NumberReused => {
            Wrong::of("ERR this number was used for another request of the session")
        }
        Refusal::TooCostly { seen, allowed } => {
            format!("ERR this would cost {seen} steps, and {allowed} are allowed").into()
        }
        Refusal::Unsupported(text) | Refusal::Invalid(text) => format!("ERR {text}").into(),
    }
}
