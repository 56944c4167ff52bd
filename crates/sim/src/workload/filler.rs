//! What fills disks: values of some size, in a database of this client's own, which it deletes again
//! when it is told that there is no room.
//!
//! Nobody else writes there and no key is used twice, so this client knows what each GET has to say: a
//! value that was acknowledged is there, one that was deleted or whose write was refused is not. A key
//! whose write or deletion may have happened is asked for no more, and after a FLUSHDB that may yet
//! happen none is.

use super::{Histories, Outcome, Work, command, number_in, padded};
use base::time::MILLISECOND;
use base::{Bytes, Random};
use std::collections::{BTreeSet, VecDeque};
use wire::resp::Value;

/// Keys that it holds at most before it deletes the oldest.
const HELD_MAX: usize = 64;
/// Absent keys that it remembers.
const GONE_MAX: usize = 32;
/// Largest padding of a value.
const VALUE_BYTES_MAX: u64 = 4 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Select,
    Set(u64),
    Get(u64, bool),
    Delete(u64),
    Flush,
}

/// A client with its own database.
#[derive(Debug)]
pub struct Filler {
    database: u64,
    selected: bool,
    used: u64,
    /// Keys that are there; the value begins with the key's number.
    held: BTreeSet<u64>,
    /// Some that are not.
    gone: VecDeque<u64>,
    /// So many deletes come next, since there was no room.
    clearing: u64,
    /// Everything may be gone.
    doubtful: bool,
    under_way: Option<Asked>,
    /// It was asked for in peace.
    in_peace: bool,
    /// In peace: what is still to be looked at, and whether a write was done.
    to_see: Option<Vec<(u64, bool)>>,
    served: bool,
    wrong: Option<String>,
}

impl Filler {
    /// One of the clients of a world.
    pub fn new(number: u64) -> Filler {
        Filler {
            database: number + 1,
            selected: false,
            used: 0,
            held: BTreeSet::new(),
            gone: VecDeque::new(),
            clearing: 0,
            doubtful: false,
            under_way: None,
            in_peace: false,
            to_see: None,
            served: false,
            wrong: None,
        }
    }

    fn absent(&mut self, key: u64) {
        self.gone.push_back(key);
        if self.gone.len() > GONE_MAX {
            self.gone.pop_front();
        }
    }

    fn forget(&mut self, key: u64) {
        self.held.remove(&key);
    }

    fn oldest(&self) -> Option<u64> {
        self.held.first().copied()
    }

    fn choose(&mut self, random: &mut Random) -> Asked {
        if self.clearing > 0
            && let Some(key) = self.oldest()
        {
            self.clearing -= 1;
            return Asked::Delete(key);
        }
        let held: Vec<u64> = self.held.iter().copied().collect();
        let gone: Vec<u64> = self.gone.iter().copied().collect();
        match (random.below(10), random.pick(&held), random.pick(&gone)) {
            (0..2, Some(key), _) => Asked::Get(*key, true),
            (2, _, Some(key)) => Asked::Get(*key, false),
            _ if held.len() >= HELD_MAX => Asked::Delete(held[0]),
            _ => self.fresh(),
        }
    }

    fn fresh(&mut self) -> Asked {
        self.used += 1;
        Asked::Set(self.used)
    }

    fn last_look(&mut self) -> Option<Asked> {
        if !self.served {
            return Some(self.fresh());
        }
        let (held, gone) = (self.held.iter(), self.gone.iter());
        let all = || held.map(|key| (*key, true)).chain(gone.map(|key| (*key, false))).collect();
        let to_see = self.to_see.get_or_insert_with(all);
        to_see.last().map(|(key, there)| Asked::Get(*key, *there))
    }

    fn saw(&mut self, key: u64, there: bool, reply: &Value) {
        let seen = match reply {
            Value::Null => None,
            Value::Bulk(bytes) => number_in(bytes),
            other => return self.wrong = Some(format!("GET big{key} was answered {other:?}")),
        };
        if !self.doubtful && seen != there.then_some(key) {
            let was = if there { "acknowledged" } else { "deleted, or refused for want of room" };
            self.wrong = Some(format!("big{key} was {was}, and GET finds {seen:?}"));
        }
        if let Some(to_see) = &mut self.to_see {
            to_see.pop();
        }
    }

    fn done(&mut self, asked: Asked, reply: &Value) {
        match (asked, reply) {
            (Asked::Get(key, there), reply) => self.saw(key, there, reply),
            (Asked::Select, Value::Simple(_)) => self.selected = true,
            (Asked::Set(key), Value::Simple(_)) => {
                self.served |= self.in_peace;
                self.held.insert(key);
            }
            (Asked::Delete(key), Value::Integer(_)) => {
                self.held.remove(&key);
                self.absent(key);
            }
            (Asked::Flush, Value::Simple(_)) => {
                for key in std::mem::take(&mut self.held) {
                    self.absent(key);
                }
            }
            (asked, reply) => self.wrong = Some(format!("{asked:?} was answered {reply:?}")),
        }
    }
}

impl Work for Filler {
    fn connected(&mut self) {
        self.selected = false;
    }

    fn next(&mut self, _: u64, peace: bool, random: &mut Random) -> Option<Vec<Bytes>> {
        let asked = match peace {
            _ if !self.selected => Asked::Select,
            true => self.last_look()?,
            false if self.clearing > 0 && random.chance(1, 20) => Asked::Flush,
            false => self.choose(random),
        };
        self.under_way = Some(asked);
        self.in_peace = peace;
        Some(match asked {
            Asked::Select => command(&["SELECT", &self.database.to_string()]),
            Asked::Set(key) => {
                let value = padded(key, random.below(VALUE_BYTES_MAX));
                command(&["SET", &format!("big{key}"), &value])
            }
            Asked::Get(key, _) => command(&["GET", &format!("big{key}")]),
            Asked::Delete(key) => command(&["DEL", &format!("big{key}")]),
            Asked::Flush => command(&["FLUSHDB"]),
        })
    }

    fn outcome(&mut self, _: u64, outcome: Outcome) {
        let asked = self.under_way.take().expect("a request was under way");
        match (outcome, asked) {
            (Outcome::Reply(reply), asked) => self.done(asked, &reply),
            (Outcome::NotDone, Asked::Set(key)) => {
                self.absent(key);
                self.clearing = 8;
            }
            (Outcome::Unknown, Asked::Delete(key)) => self.forget(key),
            (Outcome::Unknown, Asked::Flush) => {
                self.doubtful = true;
                self.held.clear();
            }
            (Outcome::NotDone | Outcome::Unknown, _) => {}
        }
    }

    fn pause(&self, random: &mut Random, longest: u64) -> u64 {
        match self.served {
            true => random.below(5 * MILLISECOND) + 1,
            false => random.below(longest / 4) + 1,
        }
    }

    fn served(&self) -> bool {
        self.served
    }

    fn finished(&self) -> bool {
        self.under_way.is_none() && self.to_see.as_ref().is_some_and(Vec::is_empty)
    }

    fn wrong(&mut self) -> Option<String> {
        self.wrong.take()
    }

    fn report(&mut self, _: &mut Histories) {}
}
