//! Counters: INCR as ordinary clients do it, and with UNDERPIN.ONCE until there is an answer.

use super::{Histories, Outcome, Work, command};
use crate::check::counter::Increment;
use crate::marks::Mark;
use base::{Bytes, Random};
use wire::resp::Value;

/// A client of one counter.
pub struct Counter {
    key: u64,
    /// It has sessions and repeats what it does not know; the number tells such clients apart.
    once: Option<u64>,
    session: Option<i64>,
    used: u64,
    /// When the increment under way was first asked for, and whether it may have happened.
    under_way: Option<(u64, bool)>,
    opening: bool,
    seen: Vec<Increment>,
    /// Doubtful increments that were answered when they were repeated.
    repeated: u64,
    wrong: Option<String>,
}

/// So long that no clock may end it.
const SESSION_MS: u64 = 600_000;

impl Counter {
    /// A client of counter `key`.
    pub fn new(key: u64, once: Option<u64>) -> Counter {
        Counter {
            key,
            once,
            session: None,
            used: 0,
            under_way: None,
            opening: false,
            seen: Vec::new(),
            repeated: 0,
            wrong: None,
        }
    }

    fn end(&mut self, increment: Increment) {
        self.under_way = None;
        self.used += 1;
        self.seen.push(increment);
    }

    fn answered(&mut self, now: u64, reply: Value) {
        let (invoked, doubtful) = self.under_way.expect("an increment was under way");
        match reply {
            Value::Integer(value) => {
                self.repeated += u64::from(doubtful);
                self.end(Increment { invoked, returned: Some(now), value: value as u64 });
            }
            // Only when most clocks jumped: the session is over, and with it all knowledge.
            Value::Error(text) if text.starts_with("NOSESSION") => {
                self.session = None;
                if doubtful {
                    self.end(Increment { invoked, returned: None, value: 0 });
                } else {
                    self.under_way = None;
                }
            }
            other => self.wrong = Some(format!("INCR was answered {other:?}")),
        }
    }
}

/// The key of a counter.
pub fn name(key: u64, once: bool) -> String {
    format!("{}{key}", if once { "exact" } else { "counter" })
}

impl Work for Counter {
    fn next(&mut self, now: u64, peace: bool, _: &mut Random) -> Option<Vec<Bytes>> {
        let key = name(self.key, self.once.is_some());
        if self.under_way.is_none() && peace {
            return None;
        }
        if self.once.is_none() {
            self.under_way = Some((now, false));
            return Some(command(&["INCR", &key]));
        }
        let Some(session) = self.session else {
            self.opening = true;
            return Some(command(&["UNDERPIN.SESSION", "OPEN", &SESSION_MS.to_string()]));
        };
        self.under_way.get_or_insert((now, false));
        let (session, number) = (session.to_string(), (self.used + 1).to_string());
        Some(command(&["UNDERPIN.ONCE", &session, &number, "INCR", &key]))
    }

    fn outcome(&mut self, now: u64, outcome: Outcome) {
        if std::mem::take(&mut self.opening) {
            match outcome {
                Outcome::Reply(Value::Integer(session)) => {
                    self.session = Some(session);
                    self.used = 0;
                }
                Outcome::Reply(other) => {
                    self.wrong = Some(format!("a session was opened with {other:?}"));
                }
                Outcome::NotDone | Outcome::Unknown => {}
            }
            return;
        }
        match outcome {
            Outcome::Reply(reply) => self.answered(now, reply),
            Outcome::NotDone if self.once.is_none() => self.under_way = None,
            Outcome::Unknown if self.once.is_none() => {
                let (invoked, _) = self.under_way.expect("an increment was under way");
                self.end(Increment { invoked, returned: None, value: 0 });
            }
            Outcome::NotDone => {}
            Outcome::Unknown => {
                if let Some((_, doubtful)) = &mut self.under_way {
                    *doubtful = true;
                }
            }
        }
    }

    fn finished(&self) -> bool {
        self.under_way.is_none() && !self.opening
    }

    fn wrong(&mut self) -> Option<String> {
        self.wrong.take()
    }

    fn report(&mut self, histories: &mut Histories) {
        let all = match self.once {
            Some(_) => &mut histories.exact,
            None => &mut histories.counters,
        };
        histories.marks.hits(Mark::OnceRepeated, self.repeated);
        all.entry(self.key).or_default().0.append(&mut self.seen);
    }
}
