//! What a turn did, in numbers: when a turn took long, this says why.

use std::fmt;

/// Work of a node since it was last asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Messages of peers that were read.
    pub messages: usize,
    /// Requests that other nodes forwarded here.
    pub forwarded: usize,
    /// Requests of own clients taken up.
    pub requests: usize,
    /// Log entries that were applied, wholly or in part.
    pub entries: usize,
    /// What applying them cost, in commands of a few bytes.
    pub applied: usize,
    /// Rows that scans visited.
    pub rows: usize,
    /// Bytes of log that were dropped from memory.
    pub dropped: usize,
    /// Memtables that were put aside to be written out.
    pub frozen: usize,
    /// Answers to clients and to other nodes.
    pub answers: usize,
    /// It did all that a turn may: there may be more to do.
    pub full: bool,
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = [
            ("messages", self.messages),
            ("forwarded", self.forwarded),
            ("requests", self.requests),
            ("entries", self.entries),
            ("applied", self.applied),
            ("rows", self.rows),
            ("dropped bytes", self.dropped),
            ("frozen", self.frozen),
            ("answers", self.answers),
        ];
        let mut between = "";
        for (what, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
            write!(f, "{between}{what} {count}")?;
            between = ", ";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_done_is_told() {
        let work = Work { requests: 512, answers: 7, ..Work::default() };
        assert_eq!(work.to_string(), "requests 512, answers 7");
    }
}
