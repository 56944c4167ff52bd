//! Whether the history of one register is linearizable.
//!
//! Each operation must have taken effect at one moment between its invocation and its return. The
//! search is Wing and Gong's with Lowe's memory ("Testing for Linearizability", 2017): try any
//! operation that no return precedes, take it back when stuck, and never visit the same set of
//! effects with the same value twice.
//!
//! An operation without an answer stays open: it may take effect at any later time, or never. Values
//! are used once, which cuts the search down: an open write that nobody ever saw may be left out, and
//! one that was seen took effect before the first who saw it had his answer.

use std::collections::{BTreeMap, BTreeSet};

/// The return of an operation that was never answered.
pub const OPEN: u64 = u64::MAX;

/// Steps after which a history counts as too hard to judge.
const STEPS_MAX: usize = 2_000_000;

/// What an operation did, as its client saw it. Zero is the value of a key that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Read this value.
    Read(u64),
    /// Wrote this value.
    Write(u64),
    /// Replaced the one by the other.
    Cas {
        /// The value before.
        from: u64,
        /// The value after.
        to: u64,
    },
    /// Saw that the value was another one.
    IsNot(u64),
}

/// One operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Op {
    /// What it did.
    pub kind: Kind,
    /// When it was asked for.
    pub invoked: u64,
    /// When the answer came, or [`OPEN`].
    pub returned: u64,
}

impl Kind {
    /// The value after it, if it can happen to `value`.
    fn apply(self, value: u64) -> Option<u64> {
        match self {
            Kind::Read(read) => (read == value).then_some(value),
            Kind::Write(to) => Some(to),
            Kind::Cas { from, to } => (from == value).then_some(to),
            Kind::IsNot(other) => (other != value).then_some(value),
        }
    }

    fn wrote(self) -> Option<u64> {
        match self {
            Kind::Write(to) | Kind::Cas { to, .. } => Some(to),
            Kind::Read(_) | Kind::IsNot(_) => None,
        }
    }

    fn saw(self) -> Option<u64> {
        match self {
            Kind::Read(value) | Kind::Cas { from: value, .. } => Some(value),
            Kind::Write(_) | Kind::IsNot(_) => None,
        }
    }
}

/// What the checker says of a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It can be true.
    Fine,
    /// It cannot; the operations around the place where every attempt fails.
    Impossible(Vec<Op>),
    /// The search was given up.
    TooHard,
}

/// Judges the history of one register, which begins as zero.
pub fn check(history: &[Op]) -> Verdict {
    let ops = narrowed(history);
    Search::new(&ops).run()
}

/// Leaves out open writes that nobody saw, and closes those that somebody did.
fn narrowed(history: &[Op]) -> Vec<Op> {
    let mut seen: BTreeMap<u64, u64> = BTreeMap::new();
    for op in history {
        if let Some(value) = op.kind.saw().filter(|_| op.returned != OPEN) {
            let first = seen.entry(value).or_insert(OPEN);
            *first = (*first).min(op.returned);
        }
    }
    let denials = history.iter().filter(|op| matches!(op.kind, Kind::IsNot(_)));
    let denied_last = denials.map(|op| op.returned).max().unwrap_or(0);
    let mut ops: Vec<Op> = Vec::with_capacity(history.len());
    for op in history {
        let mut op = *op;
        if op.returned == OPEN
            && let Some(value) = op.kind.wrote().filter(|value| *value != 0)
        {
            // An open exchange may see a value without anybody knowing, so it keeps what it saw.
            match seen.get(&value) {
                Some(at) => op.returned = *at,
                None if op.invoked < denied_last || saw_in_the_open(history, value) => {}
                None => continue,
            }
        }
        ops.push(op);
    }
    ops.sort_by_key(|op| op.invoked);
    ops
}

fn saw_in_the_open(history: &[Op], value: u64) -> bool {
    history.iter().any(|op| op.returned == OPEN && op.kind.saw() == Some(value))
}

#[derive(Clone, Copy)]
struct Node {
    op: usize,
    call: bool,
    prev: usize,
    next: usize,
}

struct Search<'a> {
    ops: &'a [Op],
    /// Calls and returns in order of time, as a list; the first one is its head.
    nodes: Vec<Node>,
    call_of: Vec<usize>,
    return_of: Vec<Option<usize>>,
    marks: Vec<u128>,
    /// Operations that returned and have no place yet.
    owed: usize,
    furthest: usize,
    deepest: u64,
}

impl<'a> Search<'a> {
    fn new(ops: &'a [Op]) -> Search<'a> {
        // At one moment calls come first: then two operations overlap rather than follow.
        let mut moments: Vec<(u64, bool, usize)> = Vec::new();
        for (op, it) in ops.iter().enumerate() {
            moments.push((it.invoked, false, op));
            if it.returned != OPEN {
                moments.push((it.returned, true, op));
            }
        }
        moments.sort_unstable();
        let mut nodes = vec![Node { op: usize::MAX, call: false, prev: 0, next: 0 }];
        let mut call_of = vec![0; ops.len()];
        let mut return_of = vec![None; ops.len()];
        for (_, returns, op) in moments {
            let place = nodes.len();
            nodes[place - 1].next = place;
            nodes.push(Node { op, call: !returns, prev: place - 1, next: 0 });
            match returns {
                true => return_of[op] = Some(place),
                false => call_of[op] = place,
            }
        }
        let mut random = base::Random::new(7);
        let marks = ops.iter().map(|_| u128::from(random.u64()) << 64 | u128::from(random.u64()));
        Search {
            marks: marks.collect(),
            owed: return_of.iter().flatten().count(),
            furthest: 0,
            deepest: 0,
            ops,
            nodes,
            call_of,
            return_of,
        }
    }

    fn unlink(&mut self, place: usize) {
        let Node { prev, next, .. } = self.nodes[place];
        self.nodes[prev].next = next;
        if next != 0 {
            self.nodes[next].prev = prev;
        }
    }

    fn relink(&mut self, place: usize) {
        let Node { prev, next, .. } = self.nodes[place];
        self.nodes[prev].next = place;
        if next != 0 {
            self.nodes[next].prev = place;
        }
    }

    fn take(&mut self, op: usize) {
        self.unlink(self.call_of[op]);
        if let Some(place) = self.return_of[op] {
            self.unlink(place);
            self.owed -= 1;
        }
    }

    fn put_back(&mut self, op: usize) {
        if let Some(place) = self.return_of[op] {
            self.relink(place);
            self.owed += 1;
        }
        self.relink(self.call_of[op]);
    }

    fn run(mut self) -> Verdict {
        let (mut value, mut taken) = (0u64, 0u128);
        let mut memory: BTreeSet<(u128, u64)> = BTreeSet::new();
        let mut path: Vec<(usize, u64)> = Vec::new();
        let mut place = self.nodes[0].next;
        let mut steps = 0;
        while self.owed > 0 {
            steps += 1;
            if steps > STEPS_MAX {
                return Verdict::TooHard;
            }
            let node = self.nodes[place];
            if place != 0 && node.call {
                let after = self.ops[node.op].kind.apply(value);
                if let Some(after) = after
                    && memory.insert((taken ^ self.marks[node.op], after))
                {
                    path.push((node.op, value));
                    (value, taken) = (after, taken ^ self.marks[node.op]);
                    self.take(node.op);
                    place = self.nodes[0].next;
                } else {
                    place = node.next;
                }
                continue;
            }
            if place != 0 && path.len() as u64 >= self.deepest {
                (self.deepest, self.furthest) = (path.len() as u64, node.op);
            }
            let Some((op, before)) = path.pop() else {
                return Verdict::Impossible(self.around(self.furthest));
            };
            self.put_back(op);
            (value, taken) = (before, taken ^ self.marks[op]);
            place = self.nodes[self.call_of[op]].next;
        }
        Verdict::Fine
    }

    /// The operations that overlap the one that could not be placed, or came shortly before it.
    fn around(&self, op: usize) -> Vec<Op> {
        let stuck = self.ops[op];
        let mut near: Vec<Op> =
            self.ops.iter().filter(|it| it.invoked <= stuck.returned).copied().collect();
        near.sort_by_key(|it| it.returned);
        near.split_off(near.len().saturating_sub(16))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::Random;

    fn op(kind: Kind, invoked: u64, returned: u64) -> Op {
        Op { kind, invoked, returned }
    }

    fn fails(history: &[Op]) {
        assert!(matches!(check(history), Verdict::Impossible(_)), "{history:?} was let through");
    }

    fn passes(history: &[Op]) {
        assert_eq!(check(history), Verdict::Fine, "{history:?}");
    }

    #[test]
    fn a_read_after_a_write_sees_it() {
        passes(&[op(Kind::Write(1), 0, 1), op(Kind::Read(1), 2, 3)]);
        fails(&[op(Kind::Write(1), 0, 1), op(Kind::Read(0), 2, 3)]);
        fails(&[op(Kind::Read(5), 0, 1)]);
    }

    #[test]
    fn reads_that_overlap_a_write_see_either_value_but_never_go_back() {
        let write = op(Kind::Write(1), 0, 10);
        passes(&[write, op(Kind::Read(0), 1, 2), op(Kind::Read(1), 3, 4)]);
        fails(&[write, op(Kind::Read(1), 1, 2), op(Kind::Read(0), 3, 4)]);
    }

    #[test]
    fn a_lost_update_shows() {
        fails(&[
            op(Kind::Write(1), 0, 1),
            op(Kind::Cas { from: 1, to: 2 }, 2, 3),
            op(Kind::Cas { from: 1, to: 3 }, 4, 5),
        ]);
        passes(&[
            op(Kind::Write(1), 0, 1),
            op(Kind::Cas { from: 1, to: 2 }, 2, 3),
            op(Kind::IsNot(1), 4, 5),
        ]);
        fails(&[op(Kind::Write(1), 0, 1), op(Kind::IsNot(1), 4, 5)]);
    }

    #[test]
    fn an_unanswered_write_may_take_effect_late_or_never_but_not_twice() {
        let open = op(Kind::Write(1), 0, OPEN);
        passes(&[open, op(Kind::Read(0), 5, 6)]);
        passes(&[open, op(Kind::Read(0), 5, 6), op(Kind::Read(1), 7, 8)]);
        fails(&[open, op(Kind::Read(1), 5, 6), op(Kind::Read(0), 7, 8)]);
        let second = op(Kind::Write(2), 6, 7);
        fails(&[open, op(Kind::Read(1), 4, 5), second, op(Kind::Read(1), 8, 9)]);
    }

    #[test]
    fn an_unanswered_exchange_explains_what_follows_it() {
        let history = [
            op(Kind::Write(1), 0, OPEN),
            op(Kind::Cas { from: 1, to: 2 }, 3, OPEN),
            op(Kind::Read(2), 5, 6),
        ];
        passes(&history);
        fails(&[history[1], history[2]]);
    }

    #[test]
    fn an_unanswered_write_explains_why_an_exchange_failed() {
        let (write, open) = (op(Kind::Write(1), 0, 1), op(Kind::Write(2), 2, OPEN));
        passes(&[write, open, op(Kind::IsNot(1), 3, 4)]);
        fails(&[write, op(Kind::IsNot(1), 3, 4), op(Kind::Write(2), 5, OPEN)]);
        fails(&[write, open, op(Kind::IsNot(1), 3, 4), op(Kind::Read(1), 5, 6)]);
    }

    #[test]
    fn an_unanswered_delete_explains_a_missing_value_once() {
        let delete = op(Kind::Write(0), 2, OPEN);
        let (write, gone) = (op(Kind::Write(1), 0, 1), op(Kind::Read(0), 5, 6));
        passes(&[write, delete, gone]);
        fails(&[write, delete, gone, op(Kind::Write(2), 7, 8), op(Kind::Read(0), 9, 10)]);
    }

    /// Histories made by a real register with random delays pass; the same with one answer changed
    /// to another value's fail.
    #[test]
    fn true_histories_pass_and_broken_ones_fail() {
        for seed in 0..200 {
            let mut random = Random::new(seed);
            let (mut free, mut value, mut history) = ([0u64; 5], 0, Vec::new());
            for number in 1..200 {
                let client = random.below(5) as usize;
                let at = *free.iter().max().expect("five") + random.below(3);
                let invoked = free[client].max(at.saturating_sub(random.below(20)));
                let returned = at + 1 + random.below(20);
                // Effects happen in order of `at`, which lies within the operation.
                let kind = match random.below(3) {
                    0 => Kind::Write(number),
                    1 => Kind::Cas { from: value, to: number },
                    _ => Kind::Read(value),
                };
                value = kind.apply(value).expect("it follows from the value");
                free[client] = returned;
                history.push((at, op(kind, invoked.min(at), returned)));
            }
            let mut history: Vec<Op> = history.into_iter().map(|(_, op)| op).collect();
            passes(&history);
            let reads: Vec<usize> = (0..history.len())
                .filter(|index| matches!(history[*index].kind, Kind::Read(_)))
                .collect();
            history[reads[random.below(reads.len() as u64) as usize]].kind = Kind::Read(100_000);
            fails(&history);
        }
    }
}
