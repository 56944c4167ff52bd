//! Walks: keys that stay, and SCANs of all keys from beginning to end, on whatever node will answer.

use super::{Histories, Outcome, Work, command, number_in};
use base::{Bytes, Random};
use std::collections::BTreeSet;
use wire::resp::Value;

/// Keys that a client sets once and looks for.
const KEYS: u64 = 24;

/// A client whose keys stay while others' come and go.
pub struct Scanner {
    number: u64,
    /// Keys that are set.
    set: u64,
    cursor: u64,
    seen: BTreeSet<u64>,
    under_way: bool,
    walks: u64,
    wrong: Option<String>,
}

impl Scanner {
    /// One of the clients of a world.
    pub fn new(number: u64) -> Scanner {
        Scanner {
            number,
            set: 0,
            cursor: 0,
            seen: BTreeSet::new(),
            under_way: false,
            walks: 0,
            wrong: None,
        }
    }

    fn prefix(&self) -> String {
        format!("stays{}:", self.number)
    }

    fn answered(&mut self, reply: &Value) -> Option<()> {
        if self.set < KEYS {
            self.set += u64::from(matches!(reply, Value::Simple(_)));
            return matches!(reply, Value::Simple(_)).then_some(());
        }
        let Value::Array(parts) = reply else { return None };
        let [cursor, Value::Array(keys)] = parts.as_slice() else { return None };
        for key in keys {
            self.seen.insert(number_in(key.bytes()?.strip_prefix(self.prefix().as_bytes())?)?);
        }
        self.cursor = number_in(cursor.bytes()?)?;
        if self.cursor == 0 {
            let seen = std::mem::take(&mut self.seen);
            let missed: Vec<u64> = (0..KEYS).filter(|key| !seen.contains(key)).collect();
            if !missed.is_empty() {
                self.wrong = Some(format!("a walk missed keys {missed:?} of {}", self.prefix()));
            }
            self.walks += 1;
        }
        Some(())
    }
}

impl Work for Scanner {
    fn next(&mut self, _: u64, peace: bool, random: &mut Random) -> Option<Vec<Bytes>> {
        if peace {
            return None;
        }
        self.under_way = true;
        if self.set < KEYS {
            return Some(command(&["SET", &format!("{}{}", self.prefix(), self.set), "here"]));
        }
        let (cursor, count) = (self.cursor.to_string(), random.between(1, 60).to_string());
        let pattern = format!("{}*", self.prefix());
        Some(command(&["SCAN", &cursor, "MATCH", &pattern, "COUNT", &count]))
    }

    /// What was not answered is asked again, with the same cursor.
    fn outcome(&mut self, _: u64, outcome: Outcome) {
        self.under_way = false;
        if let Outcome::Reply(reply) = outcome
            && self.answered(&reply).is_none()
        {
            self.wrong = Some(format!("a walk was answered {reply:?}"));
        }
    }

    fn pause(&self, random: &mut Random, longest: u64) -> u64 {
        random.below(longest / 4) + 1
    }

    fn finished(&self) -> bool {
        !self.under_way
    }

    fn wrong(&mut self) -> Option<String> {
        self.wrong.take()
    }

    fn report(&mut self, histories: &mut Histories) {
        histories.walks += self.walks;
    }
}
