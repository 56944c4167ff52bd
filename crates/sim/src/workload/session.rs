//! Sessions: strong ones that write a key of their own and read all, and ones that read what the
//! nearest replica has, each on one connection.

use super::{Histories, Outcome, Work, command, number_in};
use crate::check::session::{Event, Session};
use crate::marks::Mark;
use base::{Bytes, Random};
use wire::resp::Value;

/// A client that remembers versions.
pub struct InSession {
    number: u64,
    /// There are so many keys, one for each client that writes.
    keys: u64,
    /// It only reads, at this level; then a session is a connection.
    eventual: bool,
    /// The connection's level is set.
    level_set: bool,
    /// The version of its own key.
    version: Option<u64>,
    used: u64,
    under_way: Option<Asked>,
    events: Session,
    done: Vec<Session>,
    conflicts: u64,
    wrong: Option<String>,
}

#[derive(Clone, Copy, Debug)]
enum Asked {
    Level,
    Get(u64),
    Cas(u64),
}

impl InSession {
    /// A client that writes key `number` of so many, or only reads.
    pub fn new(number: u64, keys: u64, eventual: bool) -> InSession {
        InSession {
            number,
            keys,
            eventual,
            level_set: !eventual,
            version: None,
            used: 0,
            under_way: None,
            events: Vec::new(),
            done: Vec::new(),
            conflicts: 0,
            wrong: None,
        }
    }

    fn choose(&mut self, random: &mut Random) -> (Asked, Vec<Bytes>) {
        if !self.level_set {
            return (Asked::Level, command(&["UNDERPIN.CONSISTENCY", "eventual"]));
        }
        let writes = !self.eventual && random.chance(1, 2);
        if let Some(version) = self.version.filter(|_| writes) {
            self.used += 1;
            let value = (self.number + 1) << 32 | self.used;
            let (version, text) = (version.to_string(), value.to_string());
            let words = ["UNDERPIN.CAS", &name(self.number), &version, "SET", &text];
            return (Asked::Cas(value), command(&words));
        }
        let key = if writes { self.number } else { random.below(self.keys) };
        (Asked::Get(key), command(&["UNDERPIN.GET", &name(key)]))
    }

    fn answered(&mut self, asked: Asked, reply: &Value) -> Option<()> {
        match (asked, reply) {
            (Asked::Level, Value::Simple(_)) => self.level_set = true,
            (Asked::Get(key), Value::Null) => self.read(key, 0, 0),
            (Asked::Get(key), Value::Array(items)) => {
                let version = items.first()?.integer()? as u64;
                self.read(key, number_in(items.get(1)?.bytes()?)?, version);
            }
            (Asked::Cas(value), Value::Integer(version)) => {
                let version = Some(*version as u64);
                self.version = version;
                self.events.push(Event::Wrote { key: self.number, value, version });
            }
            // A write of ours whose answer was lost came before it.
            (Asked::Cas(_), Value::Error(text)) if text.starts_with("CONFLICT") => {
                self.version = None;
                self.conflicts += 1;
            }
            _ => return None,
        }
        Some(())
    }

    fn read(&mut self, key: u64, value: u64, version: u64) {
        if key == self.number && !self.eventual {
            self.version = Some(version);
        }
        self.events.push(Event::Read { key, value, version });
    }
}

fn name(key: u64) -> String {
    format!("session{key}")
}

impl Work for InSession {
    fn connected(&mut self) {
        if self.eventual {
            self.level_set = false;
            self.done.push(std::mem::take(&mut self.events));
        }
    }

    fn next(&mut self, _: u64, peace: bool, random: &mut Random) -> Option<Vec<Bytes>> {
        if peace {
            return None;
        }
        let (asked, words) = self.choose(random);
        self.under_way = Some(asked);
        Some(words)
    }

    fn outcome(&mut self, _: u64, outcome: Outcome) {
        let asked = self.under_way.take().expect("a request was under way");
        if let Outcome::Reply(reply) = outcome {
            if self.answered(asked, &reply).is_none() {
                self.wrong = Some(format!("{asked:?} was answered {reply:?}"));
            }
        } else if let (Outcome::Unknown, Asked::Cas(value)) = (outcome, asked) {
            self.version = None;
            self.events.push(Event::Wrote { key: self.number, value, version: None });
        }
    }

    fn finished(&self) -> bool {
        self.under_way.is_none()
    }

    fn wrong(&mut self) -> Option<String> {
        self.wrong.take()
    }

    fn report(&mut self, histories: &mut Histories) {
        self.done.push(std::mem::take(&mut self.events));
        histories.sessions.append(&mut self.done);
        histories.marks.hits(Mark::CasConflict, self.conflicts);
    }
}
