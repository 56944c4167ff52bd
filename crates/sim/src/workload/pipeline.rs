//! Pipelines: several requests on one connection at once, without waiting for answers in between.
//!
//! SET, GET and DEL of a few keys that all such clients share, and now and then a transaction amid
//! them (MULTI, SET, GET, EXEC). Whatever was asked for together overlaps in time; what is promised
//! besides is the connection's own order: each request sees what those before it did and nothing of
//! those behind it. So every operation is written down with its connection, as a *line*
//! ([`crate::check::linear::check_in_lines`]). What was not answered when a connection broke may have
//! happened, from the first to the last.

use super::{Histories, Outcome, Work, command, number_in, padded};
use crate::check::invented;
use crate::check::linear::{Kind, OPEN, Op};
use base::{Bytes, Random};
use std::collections::{BTreeMap, VecDeque};
use wire::resp::Value;

/// Requests of the longest pipeline that holds no transaction.
const LONGEST: u64 = 8;
/// The first of these clients has this number among all that write values.
const FIRST: u64 = 100;

/// A client that does not wait.
pub struct Pipeline {
    number: u64,
    keys: u64,
    value_bytes_max: u64,
    used: u64,
    /// Connections that it had.
    conns: u64,
    /// What of the pipeline is not sent yet.
    unsent: VecDeque<Asked>,
    /// What has no answer yet, and when it was sent.
    under_way: VecDeque<(Asked, u64)>,
    seen: BTreeMap<u64, Vec<(Op, u64)>>,
    wrong: Option<String>,
}

/// What is done to one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deed {
    Get(u64),
    Set(u64, u64),
    Delete(u64),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Asked {
    Alone(Deed),
    Multi,
    Queued(Deed),
    Exec(Vec<Deed>),
}

impl Deed {
    fn key(self) -> u64 {
        match self {
            Deed::Get(key) | Deed::Set(key, _) | Deed::Delete(key) => key,
        }
    }

    /// What it did, if this is the answer.
    fn answered(self, reply: &Value) -> Option<Kind> {
        Some(match (self, reply) {
            (Deed::Get(_), Value::Null) => Kind::Read(0),
            (Deed::Get(_), Value::Bulk(bytes)) => Kind::Read(number_in(bytes)?),
            (Deed::Set(_, to), Value::Simple(_)) => Kind::Write(to),
            (Deed::Delete(_), Value::Integer(_)) => Kind::Write(0),
            _ => return None,
        })
    }

    /// What it may have done, if there is no answer.
    fn open(self) -> Option<Kind> {
        match self {
            Deed::Get(_) => None,
            Deed::Set(_, to) => Some(Kind::Write(to)),
            Deed::Delete(_) => Some(Kind::Write(0)),
        }
    }
}

impl Pipeline {
    /// One of the clients of so many keys, with values padded by less than `value_bytes_max`.
    pub fn new(number: u64, keys: u64, value_bytes_max: u64) -> Pipeline {
        Pipeline {
            number: FIRST + number,
            keys,
            value_bytes_max,
            used: 0,
            conns: 0,
            unsent: VecDeque::new(),
            under_way: VecDeque::new(),
            seen: BTreeMap::new(),
            wrong: None,
        }
    }

    fn plan(&mut self, random: &mut Random) {
        for _ in 0..random.between(1, LONGEST) {
            if random.chance(1, 12) {
                self.plan_transaction(random);
            } else {
                let deed = self.choose(random);
                self.unsent.push_back(Asked::Alone(deed));
            }
        }
    }

    /// What is written in it is read in it, too.
    fn plan_transaction(&mut self, random: &mut Random) {
        let (key, value) = (random.below(self.keys), self.fresh());
        let deeds = vec![Deed::Set(key, value), self.choose(random), Deed::Get(key)];
        self.unsent.push_back(Asked::Multi);
        self.unsent.extend(deeds.iter().map(|deed| Asked::Queued(*deed)));
        self.unsent.push_back(Asked::Exec(deeds));
    }

    fn choose(&mut self, random: &mut Random) -> Deed {
        let key = random.below(self.keys);
        match random.below(20) {
            0..9 => Deed::Get(key),
            9 => Deed::Delete(key),
            _ => Deed::Set(key, self.fresh()),
        }
    }

    fn fresh(&mut self) -> u64 {
        self.used += 1;
        invented::value(self.number, self.used)
    }

    fn send(&mut self, now: u64, random: &mut Random) -> Option<Vec<Bytes>> {
        let asked = self.unsent.pop_front()?;
        let words = match &asked {
            Asked::Multi => command(&["MULTI"]),
            Asked::Exec(_) => command(&["EXEC"]),
            Asked::Alone(deed) | Asked::Queued(deed) => {
                let key = name(deed.key());
                match *deed {
                    Deed::Get(_) => command(&["GET", &key]),
                    Deed::Delete(_) => command(&["DEL", &key]),
                    Deed::Set(_, to) => {
                        let value = padded(to, random.below(self.value_bytes_max));
                        command(&["SET", &key, &value])
                    }
                }
            }
        };
        self.under_way.push_back((asked, now));
        Some(words)
    }

    fn answered(&mut self, asked: &Asked, times: (u64, u64), reply: &Value) -> Option<()> {
        match (asked, reply) {
            (Asked::Alone(deed), reply) => {
                let kind = deed.answered(reply)?;
                self.saw(deed.key(), kind, times);
            }
            (Asked::Multi | Asked::Queued(_), Value::Simple(_)) => {}
            // One of those that were queued was refused for want of room, and so was all of it.
            (Asked::Exec(_), Value::Error(text)) if text.starts_with("EXECABORT") => {}
            (Asked::Exec(deeds), Value::Array(items)) if items.len() == deeds.len() => {
                let kinds = deeds.iter().zip(items).map(|(deed, item)| deed.answered(item));
                let kinds: Vec<Kind> = kinds.collect::<Option<_>>()?;
                check_transaction(deeds, &kinds)?;
                for (deed, kind) in deeds.iter().zip(kinds) {
                    self.saw(deed.key(), kind, times);
                }
            }
            _ => return None,
        }
        Some(())
    }

    fn doubtful(&mut self, asked: &Asked, invoked: u64) {
        let deeds = match asked {
            Asked::Alone(deed) => std::slice::from_ref(deed),
            Asked::Exec(deeds) => deeds,
            Asked::Multi | Asked::Queued(_) => &[],
        };
        for deed in deeds {
            if let Some(kind) = deed.open() {
                self.saw(deed.key(), kind, (invoked, OPEN));
            }
        }
    }

    fn saw(&mut self, key: u64, kind: Kind, (invoked, returned): (u64, u64)) {
        let line = self.number << 32 | self.conns;
        self.seen.entry(key).or_default().push((Op { kind, invoked, returned }, line));
    }
}

/// Within a transaction nobody else comes between.
fn check_transaction(deeds: &[Deed], kinds: &[Kind]) -> Option<()> {
    let mut values = BTreeMap::new();
    for (deed, kind) in deeds.iter().zip(kinds) {
        let value = match *kind {
            Kind::Read(value) | Kind::Write(value) => value,
            Kind::Cas { .. } | Kind::IsNot(_) => return None,
        };
        let before = values.insert(deed.key(), value);
        if matches!(deed, Deed::Get(_)) && before.is_some_and(|before| before != value) {
            return None;
        }
    }
    Some(())
}

fn name(key: u64) -> String {
    format!("pipelined{key}")
}

impl Work for Pipeline {
    fn connected(&mut self) {
        self.conns += 1;
    }

    fn next(&mut self, now: u64, peace: bool, random: &mut Random) -> Option<Vec<Bytes>> {
        if peace {
            return None;
        }
        self.plan(random);
        self.send(now, random)
    }

    fn behind(&mut self, now: u64, random: &mut Random) -> Option<Vec<Bytes>> {
        self.send(now, random)
    }

    /// Each time it asks for as much as several others do.
    fn pause(&self, random: &mut Random, longest: u64) -> u64 {
        random.below(2 * longest) + 1
    }

    fn outcome(&mut self, now: u64, outcome: Outcome) {
        let (asked, invoked) = self.under_way.pop_front().expect("a request was under way");
        match outcome {
            Outcome::Reply(reply) => {
                if self.answered(&asked, (invoked, now), &reply).is_none() {
                    self.wrong = Some(format!("{asked:?} in a pipeline was answered {reply:?}"));
                }
            }
            Outcome::NotDone => {}
            Outcome::Unknown => self.doubtful(&asked, invoked),
        }
    }

    fn finished(&self) -> bool {
        self.under_way.is_empty()
    }

    fn wrong(&mut self) -> Option<String> {
        self.wrong.take()
    }

    fn report(&mut self, histories: &mut Histories) {
        for (asked, invoked) in std::mem::take(&mut self.under_way) {
            self.doubtful(&asked, invoked);
        }
        histories.values.insert(self.number, self.used);
        for (key, ops) in std::mem::take(&mut self.seen) {
            histories.pipelined.entry(key).or_default().extend(ops);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipeline_is_answered_one_by_one_and_what_is_not_stays_open() {
        let (mut pipeline, mut random) = (Pipeline::new(0, 1, 1), Random::new(3));
        pipeline.connected();
        pipeline.unsent = [Deed::Set(0, 5), Deed::Get(0), Deed::Set(0, 6)].map(Asked::Alone).into();
        while pipeline.behind(10, &mut random).is_some() {}
        pipeline.outcome(20, Outcome::Reply(Value::Simple("OK".into())));
        pipeline.outcome(30, Outcome::Reply(Value::Bulk(Bytes::from_static(b"5:"))));
        assert!(!pipeline.finished());
        pipeline.outcome(40, Outcome::Unknown);
        assert!(pipeline.finished() && pipeline.wrong().is_none());
        let returned: Vec<u64> = pipeline.seen[&0].iter().map(|(op, _)| op.returned).collect();
        assert_eq!(returned, [20, 30, OPEN]);
    }

    #[test]
    fn nothing_comes_between_the_operations_of_a_transaction() {
        let deeds = [Deed::Set(1, 7), Deed::Set(2, 8), Deed::Get(1)];
        let kinds = |read| [Kind::Write(7), Kind::Write(8), Kind::Read(read)];
        assert!(check_transaction(&deeds, &kinds(7)).is_some());
        assert!(check_transaction(&deeds, &kinds(9)).is_none());
    }
}
