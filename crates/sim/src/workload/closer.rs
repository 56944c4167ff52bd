//! Reads everything once more when all is over.

use super::{Histories, Outcome, Work, command, counter, number_in, register};
use crate::check::linear::{Kind, Op};
use base::time::MILLISECOND;
use base::{Bytes, Random};
use wire::resp::Value;

/// The keys that are left to read, and what was found.
pub struct Closer {
    left: Vec<Read>,
    invoked: u64,
    found: Vec<(Read, u64, u64, u64)>,
    wrong: Option<String>,
}

#[derive(Clone, Copy, Debug)]
enum Read {
    Register(u64),
    Counter(u64, bool),
}

impl Read {
    fn key(self) -> String {
        match self {
            Read::Register(key) => register::name(key),
            Read::Counter(key, once) => counter::name(key, once),
        }
    }
}

impl Closer {
    /// Reads so many registers, and all counters.
    pub fn new(registers: u64) -> Closer {
        let mut left: Vec<Read> = (0..registers).map(Read::Register).collect();
        left.extend([0, 1].map(|key| Read::Counter(key, false)));
        left.extend([0, 1].map(|key| Read::Counter(key, true)));
        Closer { left, invoked: 0, found: Vec::new(), wrong: None }
    }
}

impl Work for Closer {
    fn next(&mut self, now: u64, _: bool, _: &mut Random) -> Option<Vec<Bytes>> {
        let read = self.left.last()?;
        self.invoked = now;
        Some(command(&["GET", &read.key()]))
    }

    fn outcome(&mut self, now: u64, outcome: Outcome) {
        let value = match &outcome {
            Outcome::Reply(Value::Null) => Some(0),
            Outcome::Reply(Value::Bulk(bytes)) => number_in(bytes),
            Outcome::Reply(_) => None,
            Outcome::NotDone | Outcome::Unknown => return,
        };
        let read = self.left.pop().expect("a read was under way");
        match value {
            Some(value) => self.found.push((read, self.invoked, now, value)),
            None => self.wrong = Some(format!("the last read of {read:?} gave {outcome:?}")),
        }
    }

    fn pause(&self, random: &mut Random, _: u64) -> u64 {
        random.below(MILLISECOND) + 1
    }

    fn finished(&self) -> bool {
        self.left.is_empty()
    }

    fn wrong(&mut self) -> Option<String> {
        self.wrong.take()
    }

    fn report(&mut self, histories: &mut Histories) {
        for (read, invoked, returned, value) in std::mem::take(&mut self.found) {
            match read {
                Read::Register(key) => {
                    let op = Op { kind: Kind::Read(value), invoked, returned };
                    histories.registers.entry(key).or_default().push(op);
                }
                Read::Counter(key, false) => {
                    histories.counters.entry(key).or_default().1 = Some(value);
                }
                Read::Counter(key, true) => histories.exact.entry(key).or_default().1 = Some(value),
            }
        }
    }
}
