//! Registers: SET, GET, DEL and UNDERPIN.CAS of values that are never used twice.

use super::{Histories, Outcome, Work, command, number_in, padded};
use crate::check::invented;
use crate::check::linear::{Kind, OPEN, Op};
use crate::marks::Mark;
use base::{Bytes, Random};
use std::collections::BTreeMap;
use wire::resp::Value;

/// A client of all registers.
pub struct Register {
    number: u64,
    keys: u64,
    value_bytes_max: u64,
    /// It never waits for a write, so that it goes on where only reads are answered.
    reads_only: bool,
    used: u64,
    under_way: Option<(u64, Asked, u64)>,
    /// A version that was just read, to be compared with.
    version: Option<(u64, i64, u64)>,
    seen: BTreeMap<u64, Vec<Op>>,
    wrong: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Get,
    GetVersion,
    Set(u64),
    Delete,
    Cas { from: u64, to: u64 },
}

impl Register {
    /// One of the clients of so many registers, with values padded by less than `value_bytes_max`.
    pub fn new(number: u64, keys: u64, value_bytes_max: u64) -> Register {
        Register {
            number,
            keys,
            value_bytes_max,
            reads_only: false,
            used: 0,
            under_way: None,
            version: None,
            seen: BTreeMap::new(),
            wrong: None,
        }
    }

    /// A client of so many registers that only reads.
    pub fn reader(keys: u64) -> Register {
        Register { reads_only: true, ..Register::new(0, keys, 1) }
    }

    fn fresh(&mut self) -> u64 {
        self.used += 1;
        invented::value(self.number, self.used)
    }

    fn choose(&mut self, random: &mut Random) -> (u64, Asked, Vec<Bytes>) {
        if let Some((key, version, from)) = self.version.take() {
            let to = self.fresh();
            let value = padded(to, random.below(self.value_bytes_max));
            let words = ["UNDERPIN.CAS", &name(key), &version.to_string(), "SET", &value];
            return (key, Asked::Cas { from, to }, command(&words));
        }
        let key = random.below(self.keys);
        match random.below(20) {
            _ if self.reads_only => (key, Asked::Get, command(&["GET", &name(key)])),
            0..8 => (key, Asked::Get, command(&["GET", &name(key)])),
            8..12 => (key, Asked::GetVersion, command(&["UNDERPIN.GET", &name(key)])),
            12 => (key, Asked::Delete, command(&["DEL", &name(key)])),
            _ => {
                let to = self.fresh();
                let value = padded(to, random.below(self.value_bytes_max));
                (key, Asked::Set(to), command(&["SET", &name(key), &value]))
            }
        }
    }

    fn answered(&mut self, key: u64, asked: Asked, reply: &Value) -> Option<Kind> {
        Some(match (asked, reply) {
            (Asked::Get | Asked::GetVersion, Value::Null) => Kind::Read(0),
            (Asked::Get, Value::Bulk(bytes)) => Kind::Read(number_in(bytes)?),
            (Asked::GetVersion, Value::Array(items)) => {
                let (version, value) =
                    (items.first()?.integer()?, number_in(items.get(1)?.bytes()?)?);
                self.version = Some((key, version, value));
                Kind::Read(value)
            }
            (Asked::Set(to), Value::Simple(_)) => Kind::Write(to),
            (Asked::Delete, Value::Integer(_)) => Kind::Write(0),
            (Asked::Cas { from, to }, Value::Integer(_)) => Kind::Cas { from, to },
            (Asked::Cas { from, .. }, Value::Error(text)) if text.starts_with("CONFLICT") => {
                Kind::IsNot(from)
            }
            _ => return None,
        })
    }
}

/// The key of a register.
pub fn name(key: u64) -> String {
    format!("register{key}")
}

impl Work for Register {
    fn next(&mut self, now: u64, peace: bool, random: &mut Random) -> Option<Vec<Bytes>> {
        if peace {
            return None;
        }
        let (key, asked, words) = self.choose(random);
        self.under_way = Some((key, asked, now));
        Some(words)
    }

    fn outcome(&mut self, now: u64, outcome: Outcome) {
        let (key, asked, invoked) = self.under_way.take().expect("a request was under way");
        let (kind, returned) = match outcome {
            Outcome::Reply(reply) => match self.answered(key, asked, &reply) {
                Some(kind) => (kind, now),
                None => {
                    self.wrong = Some(format!("{asked:?} of {} was answered {reply:?}", name(key)));
                    return;
                }
            },
            Outcome::NotDone => return,
            Outcome::Unknown => match asked {
                Asked::Get | Asked::GetVersion => return,
                Asked::Set(to) => (Kind::Write(to), OPEN),
                Asked::Delete => (Kind::Write(0), OPEN),
                Asked::Cas { from, to } => (Kind::Cas { from, to }, OPEN),
            },
        };
        self.seen.entry(key).or_default().push(Op { kind, invoked, returned });
    }

    fn finished(&self) -> bool {
        self.under_way.is_none()
    }

    fn wrong(&mut self) -> Option<String> {
        self.wrong.take()
    }

    fn report(&mut self, histories: &mut Histories) {
        if let Some((key, asked, now)) = self.under_way {
            self.under_way = Some((key, asked, now));
            self.outcome(now, Outcome::Unknown);
        }
        histories.values.insert(self.number, self.used);
        for (key, ops) in std::mem::take(&mut self.seen) {
            let conflicts = ops.iter().filter(|op| matches!(op.kind, Kind::IsNot(_))).count();
            histories.marks.hits(Mark::CasConflict, conflicts as u64);
            histories.registers.entry(key).or_default().extend(ops);
        }
    }
}
