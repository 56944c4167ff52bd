//! Keys that end: SET PX, then GET until it is gone, and a few times more.

use super::{Histories, Outcome, Work, command, number_in};
use crate::check::expiry::{Look, Spell};
use base::time::MILLISECOND;
use base::{Bytes, Random};
use wire::resp::Value;

/// A client with keys of its own. After a SET without an answer it takes a fresh key, since that SET
/// may take effect whenever it likes.
pub struct Expiring {
    number: u64,
    keys: u64,
    /// The SET of the last spell was not answered.
    doubtful: bool,
    used: u64,
    done: Vec<Vec<Spell>>,
    spells: Vec<Spell>,
    under_way: Option<(Asked, u64)>,
    /// Looks that are left for this spell once the key was seen to be gone.
    left: u64,
    wrong: Option<String>,
}

#[derive(Clone, Copy, Debug)]
enum Asked {
    Set,
    Get,
}

impl Expiring {
    /// One of the clients of a world.
    pub fn new(number: u64) -> Expiring {
        Expiring {
            number,
            keys: 1,
            doubtful: false,
            used: 0,
            done: Vec::new(),
            spells: Vec::new(),
            under_way: None,
            left: 0,
            wrong: None,
        }
    }

    fn key(&self) -> String {
        format!("ending{}:{}", self.number, self.keys)
    }

    fn take_fresh_key(&mut self) {
        self.keys += 1;
        self.done.push(std::mem::take(&mut self.spells));
        self.doubtful = false;
    }

    fn looked(&mut self, now: u64, invoked: u64, value: Option<u64>) {
        let spell = self.spells.last_mut().expect("a spell was begun");
        if value.is_none() {
            self.left = self.left.saturating_sub(1);
        }
        spell.looks.push(Look { invoked, returned: now, value });
    }
}

impl Work for Expiring {
    fn next(&mut self, now: u64, peace: bool, random: &mut Random) -> Option<Vec<Bytes>> {
        if peace {
            return None;
        }
        if self.left > 0 {
            self.under_way = Some((Asked::Get, now));
            return Some(command(&["GET", &self.key()]));
        }
        if self.doubtful {
            self.take_fresh_key();
        }
        self.used += 1;
        self.left = random.between(1, 5);
        let longest = [100, 1000, 4000][random.below(3) as usize];
        let ttl_ms = random.between(20, longest);
        self.under_way = Some((Asked::Set, now));
        let spell = Spell {
            value: self.used,
            ttl_ns: ttl_ms * MILLISECOND,
            invoked: now,
            returned: None,
            lag_ns: None,
            looks: Vec::new(),
        };
        self.spells.push(spell);
        Some(command(&["SET", &self.key(), &self.used.to_string(), "PX", &ttl_ms.to_string()]))
    }

    fn outcome(&mut self, now: u64, outcome: Outcome) {
        let (asked, invoked) = self.under_way.take().expect("a request was under way");
        match (asked, outcome) {
            (Asked::Set, Outcome::Reply(Value::Simple(_))) => {
                self.spells.last_mut().expect("begun").returned = Some(now);
            }
            (Asked::Set, Outcome::NotDone) => {
                // The spell before it goes on.
                self.spells.pop();
                self.left = u64::from(!self.spells.is_empty());
            }
            (Asked::Get, Outcome::Reply(Value::Null)) => self.looked(now, invoked, None),
            (Asked::Get, Outcome::Reply(Value::Bulk(bytes))) if number_in(&bytes).is_some() => {
                self.looked(now, invoked, number_in(&bytes));
            }
            (asked, Outcome::Reply(other)) => {
                self.wrong = Some(format!("{asked:?} of {} was answered {other:?}", self.key()));
            }
            (Asked::Set, Outcome::Unknown) => self.doubtful = true,
            (Asked::Get, Outcome::NotDone | Outcome::Unknown) => {}
        }
    }

    fn pause(&self, random: &mut Random, longest: u64) -> u64 {
        random.below(longest.min(300 * MILLISECOND)) + 1
    }

    fn finished(&self) -> bool {
        self.under_way.is_none()
    }

    fn wrong(&mut self) -> Option<String> {
        self.wrong.take()
    }

    fn report(&mut self, histories: &mut Histories) {
        self.take_fresh_key();
        histories.spells.append(&mut self.done);
    }
}
