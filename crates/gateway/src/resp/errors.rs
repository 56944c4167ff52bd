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

/// An error's text, its first word included.
pub type Wrong = Cow<'static, str>;

pub(super) const SYNTAX: Wrong = Cow::Borrowed("ERR syntax error");
pub(super) const NOT_AN_INTEGER: Wrong =
    Cow::Borrowed("ERR value is not an integer or out of range");
pub(super) const NOT_A_NUMBER: Wrong = Cow::Borrowed("ERR value is not a valid float");
pub(super) const DB_RANGE: Wrong = Cow::Borrowed("ERR DB index is out of range");
pub(super) const SAME_OBJECT: Wrong =
    Cow::Borrowed("ERR source and destination objects are the same");
pub(super) const NO_AUTH: Wrong = Cow::Borrowed("NOAUTH Authentication required.");
pub(super) const WRONG_PASS: Wrong =
    Cow::Borrowed("WRONGPASS invalid username-password pair or user is disabled.");
pub(super) const NO_PASSWORD: Wrong = Cow::Borrowed(
    "ERR AUTH <password> called without any password configured for the default user. Are you \
     sure your configuration is correct?",
);
pub(super) const EXEC_ABORT: Wrong =
    Cow::Borrowed("EXECABORT Transaction discarded because of previous errors.");
pub(super) const NO_FREQUENCY: Wrong = Cow::Borrowed(
    "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Note that when \
     switching between policies at runtime LRU and LFU data will take some time to adjust.",
);
pub(super) const NO_ROOM: Wrong = Cow::Borrowed(
    "TRYAGAIN this node holds as many unfinished requests as it may; it was not done, send it again",
);

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
        Failure::Unknown => Cow::Borrowed(
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
        NotDone::LeaderChanged => {
            Cow::Borrowed("TRYAGAIN the leader changed: not done, send it again")
        }
        NotDone::NoQuorum => Cow::Borrowed(
            "CLUSTERDOWN no leader, as too few replicas can be reached: not done, send it again \
             later",
        ),
        NotDone::Deadline => {
            Cow::Borrowed("TRYAGAIN the deadline passed before it began: not done, send it again")
        }
        NotDone::DiskFull => Cow::Borrowed(
            "OOM the disk is full: not done; reads and deletes go on, writes do once space is free",
        ),
        NotDone::Stopping => {
            Cow::Borrowed("TRYAGAIN this node is stopping: not done, send it to another node")
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
            "incrbyfloat" => Cow::Borrowed("ERR increment would produce NaN or Infinity"),
            _ => Cow::Borrowed("ERR increment or decrement would overflow"),
        },
        Refusal::OutOfRange(what) => match spec.name {
            "setrange" => Cow::Borrowed("ERR offset is out of range"),
            _ => format!("ERR {what} is out of range").into(),
        },
        Refusal::InvalidExpiry => invalid_expire(spec),
        Refusal::NoSuchKey => Cow::Borrowed("ERR no such key"),
        Refusal::NoSuchSession => Cow::Borrowed(
            "NOSESSION no such session: it never was, it ended, or it was not used for too long",
        ),
        Refusal::NumberForgotten => Cow::Borrowed(
            "UNKNOWN whether this was done can't be told: its number lies below the session's window",
        ),
        Refusal::AnswerForgotten => {
            Cow::Borrowed("DONE this was done before, but its answer was too large to be kept")
        }
        Refusal::NumberReused => {
            Cow::Borrowed("ERR this number was used for another request of the session")
        }
        Refusal::TooCostly { seen, allowed } => {
            format!("ERR this would cost {seen} steps, and {allowed} are allowed").into()
        }
        Refusal::Unsupported(text) | Refusal::Invalid(text) => format!("ERR {text}").into(),
    }
}
