//! What both cores can say, in words that belong to neither.

/// An entry of a log, as far as both cores have it: no stamp, no bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The term of its leader.
    pub term: u64,
    /// Its place.
    pub index: u64,
    /// Its content.
    pub content: Content,
}

/// What an entry is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Opens a leader's term.
    Noop,
    /// A client's value; never 0.
    Value(u64),
    /// A change of membership: what is in it differs between the cores, what follows from it must not.
    Members,
}

/// A place in a log with the term there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The term of the entry.
    pub term: u64,
    /// Its index.
    pub index: u64,
}

/// What is said to a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Would you vote for me in the term of this message?
    PreVote(Position),
    /// Vote for me.
    Vote(Position),
    /// Take these.
    Append {
        /// What stands before them.
        prev: Position,
        /// They follow it without a gap.
        entries: Vec<Entry>,
        /// Up to here all is committed.
        commit: u64,
    },
    /// Yours up to here are mine as well.
    Appended(u64),
    /// I lack the entry at `prev`; we may agree at `hint`.
    Rejected {
        /// What did not fit.
        prev: u64,
        /// Where both logs may agree.
        hint: Position,
    },
}

/// What a replica answers to the one that asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answered {
    /// To a pre-vote.
    PreVoted(bool),
    /// To a vote.
    Voted(bool),
    /// It holds our log up to here.
    Appended(u64),
    /// It does not hold `prev`.
    Rejected {
        /// What did not fit.
        prev: u64,
        /// Where both logs may agree.
        hint: Position,
    },
    /// Your term is over.
    Newer,
}

/// What a replica holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Its term.
    pub term: u64,
    /// Whom it voted for in it.
    pub vote: Option<u64>,
    /// Up to here it knows all to be committed.
    pub commit: u64,
    /// All its entries.
    pub log: Vec<Entry>,
}
