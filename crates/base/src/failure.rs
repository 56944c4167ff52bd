//! What a client may conclude when its request did not succeed. Three outcomes are told apart
//! everywhere: done (an answer), not done, unknown.

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Failure {
    /// It did not happen; sending it again is safe.
    NotDone(NotDone),
    /// It may have happened: ask, or send it again under the same request number.
    Unknown,
    /// It cannot succeed as asked. Every replica reaches this same answer.
    Refused(Refusal),
}

/// Why a request did not happen, as far as the client would act differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NotDone {
    /// A queue is at its limit; try again after the pause.
    Busy {
        /// A pause, in milliseconds, after which trying again makes sense.
        retry_after_ms: u64,
    },
    /// The leader changed before the request reached the log; try again.
    LeaderChanged,
    /// No leader is known: a quorum of the shard's replicas can't be reached.
    NoQuorum,
    /// The request's deadline passed before it reached the log.
    Deadline,
    /// The disk is full: nothing that takes space is accepted until some is free again.
    DiskFull,
    /// The node is stopping; another node will take the request.
    Stopping,
}

/// Why a request can never succeed as asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// Larger than a bound: what, bytes seen, bytes allowed.
    TooLarge {
        /// "key", "value" or "request".
        what: &'static str,
        /// Bytes seen.
        seen: u64,
        /// Bytes allowed.
        allowed: u64,
    },
    /// The stored value or the argument is not an integer that fits 64 bits.
    NotAnInteger,
    /// The stored value or the argument is not a decimal number within our bounds.
    NotANumber,
    /// The result would leave the range of its type.
    Overflow,
    /// An offset or a time lies outside what the command takes.
    OutOfRange(&'static str),
    /// The expiry time is not one that the command takes.
    InvalidExpiry,
    /// The key does not exist, and the command needs it.
    NoSuchKey,
    /// The session is not open: it never was, it ended, or it expired.
    NoSuchSession,
    /// The request number lies below the session's window: whether it ran can no longer be told.
    NumberForgotten,
    /// The same request number was used before for a different request.
    NumberReused,
    /// The request ran under this number before, but its answer was too large to keep.
    AnswerForgotten,
    /// The command would cost more than one turn may spend: cost seen, cost allowed.
    TooCostly {
        /// The command's declared cost.
        seen: u64,
        /// The cost that is allowed.
        allowed: u64,
    },
    /// This version does not do that; the text says what does.
    Unsupported(&'static str),
    /// The command is malformed for the service that received it.
    Invalid(&'static str),
}
