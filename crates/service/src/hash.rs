//! A hash of all of a replica's rows, so that replicas can be compared.
//!
//! At a hash mark in the log every replica hashes its rows as of that entry. Replicas apply the same
//! commands, so their rows, and with them the hashes, must agree; where they don't, one of them has
//! a broken disk or we have a bug. The hash is a sum of the rows' own hashes: rows may come in slices
//! and in any order.

use crate::Space;
use base::checksum::hash64;

/// A running hash of rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StateHash {
    sum: u64,
    rows: u64,
}

impl StateHash {
    /// Of no rows.
    pub fn new() -> StateHash {
        StateHash::default()
    }

    /// Adds a row. Each row of the state is added once.
    pub fn add(&mut self, space: Space, key: &[u8], row: &[u8]) {
        let place = hash64(key, u64::from(space.0));
        self.sum = self.sum.wrapping_add(hash64(row, place));
        self.rows += 1;
    }

    /// The hash of the rows so far.
    pub fn finish(self) -> u64 {
        hash64(&self.rows.to_le_bytes(), self.sum)
    }

    /// How many rows there were.
    pub fn rows(self) -> u64 {
        self.rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(rows: &[(u32, &str, &str)]) -> u64 {
        let mut hash = StateHash::new();
        rows.iter().for_each(|(s, k, v)| hash.add(Space(*s), k.as_bytes(), v.as_bytes()));
        hash.finish()
    }

    #[test]
    fn the_order_of_rows_does_not_matter_and_everything_else_does() {
        let rows = of(&[(0, "a", "1"), (1, "b", "2")]);
        assert_eq!(rows, of(&[(1, "b", "2"), (0, "a", "1")]));
        for other in [
            of(&[(0, "a", "2"), (1, "b", "1")]),
            of(&[(1, "a", "1"), (0, "b", "2")]),
            of(&[(0, "a", "1")]),
            of(&[]),
            of(&[(0, "a1", ""), (1, "b", "2")]),
        ] {
            assert_ne!(rows, other);
        }
    }
}
