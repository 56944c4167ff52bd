//! Whether the history of one register is linearizable.
//!
//! Each operation must have taken effect at one moment between its invocation and its return. The
//! search is Wing and Gong's with Lowe's memory ("Testing for Linearizability", 2017): try any
//! operation that no return precedes, take it back when stuck, and never visit the same set of
//! effects with the same value twice.
//!
//! An operation without an answer stays open: it may take effect at any later time, or never. Clients
//! that lose answers leave many of them, and each one doubles what a plain search has to try. Values
//! are used once (but for zero, a missing key), which tames them:
//!
//! - What somebody saw did happen, before the first who saw it had his answer; it is open no more.
//! - A write or exchange whose value nobody saw matters only to one who was told "it is not what you
//!   think" ([`Kind::IsNot`]), and a delete only to him and to one who saw nothing. So these *spares*
//!   are taken just before an operation that needs one, and of two alike the earlier: only how many
//!   were used has to be remembered.
//! - A value that somebody is still to see can't be replaced yet, since it never comes back.
//!
//! Requests that one connection sent without waiting overlap in time, and yet their order is promised.
//! [`check_in_lines`] is told which operations came on which connection: of each *line* nothing is
//! placed before what stands in front of it. Spares stand in no line.

use base::time::SECOND;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

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

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |ns: u64| format!("{}.{:06}", ns / SECOND, ns % SECOND / 1000);
        let returned = match self.returned {
            OPEN => "…".into(),
            at => seconds(at),
        };
        write!(f, "{} to {returned}: {:?}", seconds(self.invoked), self.kind)
    }
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
    let alone: Vec<(Op, u64)> = history.iter().map(|op| (*op, ALONE)).collect();
    check_in_lines(&alone)
}

/// The line of an operation that stands in none.
pub const ALONE: u64 = 0;

/// The same, where operations with the same number took effect in the order in which they stand here.
pub fn check_in_lines(history: &[(Op, u64)]) -> Verdict {
    let (ops, spares) = sorted_out(history);
    Search::new(ops, spares).run()
}

/// Open operations that nobody saw happen, by the time they were asked for.
#[derive(Debug, Default)]
struct Spares {
    writes: Vec<u64>,
    deletes: Vec<u64>,
    /// Exchanges by the value that they replace. It is replaced only once.
    swaps: BTreeMap<u64, u64>,
}

/// The value after a spare write or exchange: one that nobody ever saw.
const UNSEEN: u64 = u64::MAX;

/// Closes open operations that somebody saw, and sets those apart that nobody did.
fn sorted_out(history: &[(Op, u64)]) -> (Vec<(Op, u64)>, Spares) {
    let seen = first_seen(history);
    let (mut ops, mut spares) = (Vec::with_capacity(history.len()), Spares::default());
    for (op, line) in history {
        match op.kind {
            _ if op.returned != OPEN => ops.push((*op, *line)),
            Kind::Read(_) | Kind::IsNot(_) => {}
            Kind::Write(0) => spares.deletes.push(op.invoked),
            Kind::Write(value) | Kind::Cas { to: value, .. } if seen.contains_key(&value) => {
                ops.push((Op { returned: seen[&value], ..*op }, *line));
            }
            Kind::Write(_) => spares.writes.push(op.invoked),
            Kind::Cas { from, .. } => {
                let earliest = spares.swaps.entry(from).or_insert(op.invoked);
                *earliest = (*earliest).min(op.invoked);
            }
        }
    }
    // Stable: what a line asked for at one moment stays in its order.
    ops.sort_by_key(|(op, _)| op.invoked);
    spares.writes.sort_unstable();
    spares.deletes.sort_unstable();
    (ops, spares)
}

/// When each value was first known to have been there. An open exchange that happened saw one too.
fn first_seen(history: &[(Op, u64)]) -> BTreeMap<u64, u64> {
    let history = || history.iter().map(|(op, _)| op);
    let by_value = |op: &&Op| op.returned == OPEN && op.kind.saw().is_some();
    let open: BTreeMap<u64, u64> = history()
        .filter(by_value)
        .filter_map(|op| Some((op.kind.wrote()?, op.kind.saw()?)))
        .collect();
    let mut seen: BTreeMap<u64, u64> = BTreeMap::new();
    for op in history().filter(|op| op.returned != OPEN) {
        let mut next = op.kind.saw();
        while let Some(value) = next {
            let first = seen.entry(value).or_insert(OPEN);
            let earlier = op.returned < *first;
            *first = (*first).min(op.returned);
            next = open.get(&value).copied().filter(|_| earlier);
        }
    }
    seen
}

/// What stands right in front of each operation in its line.
fn in_front(ops: &[(Op, u64)]) -> Vec<Option<usize>> {
    let mut last = BTreeMap::new();
    let in_line = |(at, (_, line)): (usize, &(Op, u64))| match *line {
        ALONE => None,
        line => last.insert(line, at),
    };
    ops.iter().enumerate().map(in_line).collect()
}

#[derive(Clone, Copy)]
struct Node {
    op: usize,
    call: bool,
    at: u64,
    prev: usize,
    next: usize,
}

/// What an operation takes before it, so that it can happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Help {
    None,
    Swap,
    Delete,
    Write,
}

const HELPS: [Help; 4] = [Help::None, Help::Swap, Help::Delete, Help::Write];

/// Everything that decides how a search may go on, but for the operations that are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct State {
    value: u64,
    /// How many spares are used.
    deletes: usize,
    writes: usize,
}

/// A step of the search: an operation, with its help, and the state before both.
struct Step {
    op: usize,
    help: usize,
    before: State,
}

struct Search {
    ops: Vec<Op>,
    /// What stands right in front of each in its line, and which have their place.
    behind: Vec<Option<usize>>,
    placed: Vec<bool>,
    spares: Spares,
    /// How many operations that have no place yet saw a value.
    unseen: BTreeMap<u64, usize>,
    /// Calls and returns in order of time, as a list; the first one is its head.
    nodes: Vec<Node>,
    call_of: Vec<usize>,
    return_of: Vec<usize>,
    marks: Vec<u128>,
    furthest: usize,
    deepest: usize,
}

impl Search {
    fn new(ops: Vec<(Op, u64)>, spares: Spares) -> Search {
        let behind = in_front(&ops);
        let ops: Vec<Op> = ops.into_iter().map(|(op, _)| op).collect();
        // At one moment calls come first: then two operations overlap rather than follow.
        let calls = ops.iter().enumerate().map(|(op, it)| (it.invoked, false, op));
        let returns = ops.iter().enumerate().map(|(op, it)| (it.returned, true, op));
        let mut moments: Vec<(u64, bool, usize)> = calls.chain(returns).collect();
        moments.sort_unstable();
        let mut nodes = vec![Node { op: usize::MAX, call: false, at: 0, prev: 0, next: 0 }];
        let (mut call_of, mut return_of) = (vec![0; ops.len()], vec![0; ops.len()]);
        for (at, returns, op) in moments {
            let place = nodes.len();
            nodes[place - 1].next = place;
            nodes.push(Node { op, call: !returns, at, prev: place - 1, next: 0 });
            match returns {
                true => return_of[op] = place,
                false => call_of[op] = place,
            }
        }
        let mut unseen = BTreeMap::new();
        for value in ops.iter().filter_map(|op| op.kind.saw()) {
            *unseen.entry(value).or_insert(0) += 1;
        }
        let mut random = base::Random::new(7);
        let marks = ops.iter().map(|_| u128::from(random.u64()) << 64 | u128::from(random.u64()));
        let marks = marks.collect();
        let placed = vec![false; ops.len()];
        let (furthest, deepest) = (0, 0);
        Search {
            ops,
            behind,
            placed,
            spares,
            unseen,
            nodes,
            call_of,
            return_of,
            marks,
            furthest,
            deepest,
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
        self.unlink(self.return_of[op]);
        self.placed[op] = true;
        self.count(op, |count| count - 1);
    }

    fn put_back(&mut self, op: usize) {
        self.relink(self.return_of[op]);
        self.relink(self.call_of[op]);
        self.placed[op] = false;
        self.count(op, |count| count + 1);
    }

    fn count(&mut self, op: usize, change: impl Fn(usize) -> usize) {
        if let Some(count) = self.ops[op].kind.saw().and_then(|value| self.unseen.get_mut(&value)) {
            *count = change(*count);
        }
    }

    fn run(mut self) -> Verdict {
        let (mut state, mut taken) = (State { value: 0, deletes: 0, writes: 0 }, 0u128);
        let mut memory: BTreeSet<(u128, State)> = BTreeSet::new();
        let mut path: Vec<Step> = Vec::new();
        let (mut place, mut help) = (self.nodes[0].next, 0);
        for _ in 0..STEPS_MAX {
            if self.nodes[0].next == 0 {
                return Verdict::Fine;
            }
            let Node { op, call, next, .. } = self.nodes[place];
            if place != 0 && call {
                if help == HELPS.len() {
                    (place, help) = (next, 0);
                } else if let Some(after) = self.after(place, HELPS[help], state)
                    && memory.insert((taken ^ self.marks[op], after))
                {
                    path.push(Step { op, help, before: state });
                    (state, taken) = (after, taken ^ self.marks[op]);
                    self.take(op);
                    (place, help) = (self.nodes[0].next, 0);
                } else {
                    help += 1;
                }
                continue;
            }
            if place != 0 && path.len() >= self.deepest {
                (self.deepest, self.furthest) = (path.len(), op);
            }
            let Some(step) = path.pop() else {
                return Verdict::Impossible(self.around(self.furthest));
            };
            self.put_back(step.op);
            (state, taken) = (step.before, taken ^ self.marks[step.op]);
            (place, help) = (self.call_of[step.op], step.help + 1);
        }
        Verdict::TooHard
    }

    /// The state after the operation whose call is at `place`, with a spare before it, if both can
    /// happen now and the spare does any good.
    fn after(&self, place: usize, help: Help, state: State) -> Option<State> {
        let op = self.nodes[place].op;
        if self.behind[op].is_some_and(|before| !self.placed[before]) {
            return None;
        }
        let kind = self.ops[op].kind;
        let helped = match help {
            Help::None => state,
            _ if kind.apply(state.value).is_some() => return None,
            Help::Swap => {
                let asked = self.spares.swaps.get(&state.value)?;
                self.is_due(place, *asked).then_some(State { value: UNSEEN, ..state })?
            }
            Help::Delete => {
                let asked = self.spares.deletes.get(state.deletes)?;
                let deletes = state.deletes + 1;
                self.is_due(place, *asked).then_some(State { value: 0, deletes, ..state })?
            }
            Help::Write => {
                let asked = self.spares.writes.get(state.writes)?;
                let writes = state.writes + 1;
                self.is_due(place, *asked).then_some(State { value: UNSEEN, writes, ..state })?
            }
        };
        let value = kind.apply(helped.value)?;
        // Who takes the value away may be the last to see it.
        let own = usize::from(kind.saw() == Some(state.value));
        let left = self.unseen.get(&state.value).copied().unwrap_or(0) - own;
        let replaced = state.value != 0 && (value != state.value || help != Help::None);
        (!replaced || left == 0).then_some(State { value, ..helped })
    }

    /// Whether something that was asked for then can happen before the next return.
    fn is_due(&self, place: usize, asked: u64) -> bool {
        let mut node = self.nodes[place];
        while node.call {
            node = self.nodes[node.next];
        }
        asked <= node.at
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
    fn what_stands_in_a_line_happens_in_its_order() {
        let (write, read) = (op(Kind::Write(1), 0, 9), op(Kind::Read(0), 0, 9));
        assert_eq!(check(&[write, read]), Verdict::Fine);
        assert_eq!(check_in_lines(&[(read, 7), (write, 7)]), Verdict::Fine);
        assert_eq!(check_in_lines(&[(write, 7), (read, 8)]), Verdict::Fine);
        let overtaken = check_in_lines(&[(write, 7), (read, 7)]);
        assert!(matches!(overtaken, Verdict::Impossible(_)), "{overtaken:?}");
        let swapped = [(op(Kind::Write(2), 0, 9), 7), (op(Kind::Read(2), 10, 11), ALONE)];
        assert_eq!(check_in_lines(&[&[(write, 7)], &swapped[..]].concat()), Verdict::Fine);
        let swapped = check_in_lines(&[&swapped[..1], &[(write, 7)], &swapped[1..]].concat());
        assert!(matches!(swapped, Verdict::Impossible(_)), "{swapped:?}");
        // An open write that somebody saw had its place in the line.
        let open = (op(Kind::Write(3), 0, OPEN), 7);
        let late = check_in_lines(&[open, (write, 7), (op(Kind::Read(3), 10, 11), ALONE)]);
        assert!(matches!(late, Verdict::Impossible(_)), "{late:?}");
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

    /// Thirty clients lose the answers of all they ask for, while one goes on. What each of them did
    /// or did not do is open to the end, and yet it is judged at once.
    #[test]
    fn many_lost_answers_are_no_obstacle() {
        let mut history = Vec::new();
        for round in 0..100 {
            let at = round * 100;
            let own = op(Kind::Write(1_000_000 + round), at, at + 1);
            history.extend([own, op(Kind::Read(1_000_000 + round), at + 2, at + 3)]);
            for lost in 0..10 {
                let kind = match lost % 3 {
                    0 => Kind::Write(2_000_000 + round * 10 + lost),
                    1 => Kind::Write(0),
                    _ => Kind::Cas { from: 1_000_000 + round, to: 3_000_000 + round * 10 + lost },
                };
                history.push(op(kind, at + 4, OPEN));
            }
            // Something has replaced the value; nobody knows what.
            history.push(op(Kind::IsNot(1_000_000 + round), at + 5, at + 6));
            history.push(op(Kind::Read(0), at + 7, at + 8));
        }
        passes(&history);
        let last = history.len() - 1;
        history[last].kind = Kind::Read(1_000_099);
        fails(&history);
    }

    #[test]
    fn a_spare_is_used_once_and_not_before_it_was_asked_for() {
        let (write, open) = (op(Kind::Write(1), 0, 1), op(Kind::Write(0), 6, OPEN));
        fails(&[write, op(Kind::Read(0), 4, 5), open]);
        passes(&[write, open, op(Kind::Read(0), 4, 7)]);
        let again = [op(Kind::Write(2), 10, 11), op(Kind::Read(0), 12, 13)];
        fails(&[write, open, op(Kind::Read(0), 8, 9), again[0], again[1]]);
        passes(&[write, open, op(Kind::Read(0), 8, 9), again[0], open, again[1]]);
    }

    #[test]
    fn an_exchange_that_one_saw_shows_the_value_before_it() {
        // Both exchanges and the write were lost, and the last value was seen.
        let chain = |from, to| op(Kind::Cas { from, to }, 2, OPEN);
        let write = op(Kind::Write(1), 0, OPEN);
        passes(&[write, chain(1, 2), chain(2, 3), op(Kind::Read(3), 5, 6)]);
        fails(&[write, chain(1, 2), chain(2, 3), op(Kind::Read(3), 5, 6), op(Kind::Read(1), 7, 8)]);
        fails(&[write, chain(2, 3), op(Kind::Read(3), 5, 6)]);
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
