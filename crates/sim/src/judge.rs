//! Who found out that something is wrong.
//!
//! A bug can be noticed from three distances. An assertion inside a core notices it at once and
//! knows the most. An observer who sees every log and every commit index notices it soon. A client
//! sees only answers, long after, but what it notices is what users would suffer from. Each has to
//! be able to stand alone: assertions are code that can be wrong or missing, and an observer knows
//! only the rules that somebody thought of.

use std::fmt;

/// A kind of check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Judge {
    /// An assertion, or a panic, inside the code that is tested.
    Assertion,
    /// The observer of all logs.
    Watch,
    /// Something that a client could check by what it is answered, or by getting no answer.
    Client,
}

impl fmt::Display for Judge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Judge::Assertion => "assertion",
            Judge::Watch => "watch",
            Judge::Client => "client",
        })
    }
}

/// Something is not as promised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Who says so.
    pub judge: Judge,
    /// What is wrong.
    pub what: String,
}
