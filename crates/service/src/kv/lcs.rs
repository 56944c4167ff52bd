//! The longest common subsequence of two values, as Redis finds it.
//!
//! The textbook table: a cell's length is its upper left neighbour's plus one where the bytes match,
//! else the larger of the upper and the left one. There are usually several longest subsequences;
//! which one is told depends on the way back from the table's last corner: where the bytes match, go
//! diagonally; else go up only if that is strictly longer, else left. The way back needs one bit of
//! each cell, so two rows of lengths and a bit set are all that is kept.

use super::{Answer, LcsWant};
use base::Bytes;

/// A run of bytes that both values share: where it begins in each, and how long it is.
struct Match {
    a: usize,
    b: usize,
    length: usize,
}

/// Answers `want` about `a` and `b`. The caller bounds the product of their lengths.
pub(super) fn lcs(a: &[u8], b: &[u8], want: &LcsWant) -> Answer {
    let table = Table::of(a, b);
    match want {
        LcsWant::Length => Answer::Integer(i64::from(table.length)),
        LcsWant::Text => Answer::Bytes(text(a, &matches(a, b, &table))),
        LcsWant::Matches { length_min, with_length } => {
            let kept = matches(a, b, &table).into_iter();
            let kept = kept.filter(|it| it.length as i64 >= *length_min);
            Answer::List(vec![
                Answer::Text("matches"),
                Answer::List(kept.map(|it| answer(&it, *with_length)).collect()),
                Answer::Text("len"),
                Answer::Integer(i64::from(table.length)),
            ])
        }
    }
}

struct Table {
    /// Of the whole values' longest common subsequence.
    length: u32,
    /// Cells, row by row, from which the way back goes up.
    up: Vec<u64>,
    width: usize,
}

impl Table {
    fn of(a: &[u8], b: &[u8]) -> Table {
        let width = b.len();
        let mut up = vec![0u64; (a.len() * width).div_ceil(64)];
        let mut above = vec![0u32; width + 1];
        let mut row = vec![0u32; width + 1];
        for (i, x) in a.iter().enumerate() {
            for (j, y) in b.iter().enumerate() {
                if x == y {
                    row[j + 1] = above[j] + 1;
                } else if above[j + 1] > row[j] {
                    let cell = i * width + j;
                    up[cell / 64] |= 1 << (cell % 64);
                    row[j + 1] = above[j + 1];
                } else {
                    row[j + 1] = row[j];
                }
            }
            std::mem::swap(&mut above, &mut row);
        }
        Table { length: above[width], up, width }
    }

    fn goes_up(&self, i: usize, j: usize) -> bool {
        let cell = i * self.width + j;
        self.up[cell / 64] >> (cell % 64) & 1 != 0
    }
}

/// The runs on the way back, last one first.
fn matches(a: &[u8], b: &[u8], table: &Table) -> Vec<Match> {
    let mut found: Vec<Match> = Vec::new();
    let (mut i, mut j) = (a.len(), b.len());
    while i > 0 && j > 0 {
        if a[i - 1] == b[j - 1] {
            (i, j) = (i - 1, j - 1);
            match found.last_mut() {
                Some(last) if last.a == i + 1 && last.b == j + 1 => {
                    *last = Match { a: i, b: j, length: last.length + 1 };
                }
                _ => found.push(Match { a: i, b: j, length: 1 }),
            }
        } else if table.goes_up(i - 1, j - 1) {
            i -= 1;
        } else {
            j -= 1;
        }
    }
    found
}

fn text(a: &[u8], matches: &[Match]) -> Bytes {
    let runs = matches.iter().rev().map(|it| &a[it.a..it.a + it.length]);
    Bytes::from(runs.collect::<Vec<_>>().concat())
}

fn answer(it: &Match, with_length: bool) -> Answer {
    let span = |start: usize| {
        let (first, last) = (start as i64, (start + it.length - 1) as i64);
        Answer::List(vec![Answer::Integer(first), Answer::Integer(last)])
    };
    let mut parts = vec![span(it.a), span(it.b)];
    if with_length {
        parts.push(Answer::Integer(it.length as i64));
    }
    Answer::List(parts)
}
