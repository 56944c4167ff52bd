//! Writers that remember what they were told, and the check that the cluster kept its word.
//!
//! Three kinds, each on a thread and a connection of its own. None sends a request again unless it
//! has learned that the first one was not carried out; only the third kind may, because its
//! requests are numbered:
//!
//! | kind | writes | afterwards must hold |
//! | --- | --- | --- |
//! | [`Kind::Keys`] | `SET` of a new key each time | every acknowledged key is there |
//! | [`Kind::Counter`] | `INCR`, never repeated | acknowledged ≤ counter ≤ acknowledged + unknown; its answers only grow |
//! | [`Kind::Once`] | `UNDERPIN.ONCE … INCR`, repeated until it is answered | counter = numbers used, and each answer is the number |

use crate::place::number;
use crate::resp::{Conn, Outcome, Reply};
use crate::wait;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How long a writer waits for an answer before it gives up on a connection.
const PATIENCE: Duration = Duration::from_millis(500);
/// How long it waits before it sends again what was not done.
const PAUSE: Duration = Duration::from_millis(5);

/// What a writer does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Sets new keys.
    Keys,
    /// Increments a counter.
    Counter,
    /// Increments a counter by numbered requests.
    Once,
}

/// What a writer remembers.
#[derive(Clone, Debug)]
pub struct Diary {
    /// What it did.
    pub kind: Kind,
    /// Its name, a part of its keys.
    pub name: String,
    /// The numbers of its acknowledged requests.
    pub acknowledged: Vec<u64>,
    /// When each was.
    pub times: Vec<Instant>,
    /// Requests whose outcome it never learned.
    pub unknown: u64,
    /// Answers that said "not done".
    pub not_done: u64,
    /// What should never have been answered.
    pub wrong: Vec<String>,
}

/// Running writers.
pub struct Writers {
    threads: Vec<JoinHandle<Diary>>,
    progress: Vec<Arc<AtomicU64>>,
    stop: Arc<AtomicBool>,
}

impl Writers {
    /// Starts `count` writers, of each kind by turns, spread over the nodes.
    pub fn start(addresses: &[SocketAddr], count: usize) -> Writers {
        let stop = Arc::new(AtomicBool::new(false));
        let mut writers = Writers { threads: vec![], progress: vec![], stop: stop.clone() };
        for index in 0..count {
            let progress = Arc::new(AtomicU64::new(0));
            writers.progress.push(progress.clone());
            let kind = [Kind::Keys, Kind::Counter, Kind::Once][index % 3];
            let writer = Writer {
                addresses: addresses.to_vec(),
                at: index / 3,
                step: 1 + index % 2,
                conn: None,
                stop: stop.clone(),
                progress,
                counted: 0,
                diary: Diary {
                    kind,
                    name: format!("{kind:?}{index}").to_lowercase(),
                    acknowledged: vec![],
                    times: vec![],
                    unknown: 0,
                    not_done: 0,
                    wrong: vec![],
                },
            };
            writers.threads.push(thread::spawn(move || writer.run()));
        }
        writers
    }

    /// Waits until every single writer has had `count` more acknowledged: nobody hangs for good.
    /// A writer that has met what should never be has ended; [`verify`] will tell.
    pub fn everyone(&self, count: u64) {
        let read = || self.progress.iter().map(|writer| writer.load(Ordering::Relaxed));
        let goals: Vec<u64> = read().map(|done| done + count).collect();
        wait::until(&format!("{count} more writes of every writer"), wait::READY, || {
            let mut writers = read().zip(&goals).zip(&self.threads);
            writers.all(|((done, goal), it)| done >= *goal || it.is_finished()).then_some(())
        });
    }

    /// Stops them. Numbered requests are first repeated until they are answered.
    pub fn finish(self) -> Vec<Diary> {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().map(|thread| thread.join().expect("a writer")).collect()
    }
}

/// One writer.
struct Writer {
    addresses: Vec<SocketAddr>,
    at: usize,
    /// Half of the writers leave a node for the next one and half for the one before, so that they
    /// do not end up all on the node that fails next.
    step: usize,
    conn: Option<Conn>,
    stop: Arc<AtomicBool>,
    progress: Arc<AtomicU64>,
    counted: i64,
    diary: Diary,
}

impl Writer {
    fn run(mut self) -> Diary {
        match self.diary.kind {
            Kind::Keys | Kind::Counter => self.write_plainly(),
            Kind::Once => self.write_once(),
        }
        self.diary
    }

    fn write_plainly(&mut self) {
        let mut number = 0;
        while !self.stopped() {
            number += 1;
            let text = number.to_string();
            let words = match self.diary.kind {
                Kind::Keys => vec!["SET".into(), format!("{}:{number}", self.diary.name), text],
                _ => vec!["INCR".into(), self.diary.name.clone()],
            };
            match self.send(&words) {
                Some(Outcome::Done(reply)) => {
                    self.check_growth(&reply);
                    self.acknowledge(number);
                }
                Some(Outcome::Unknown(_)) => self.diary.unknown += 1,
                Some(Outcome::NotDone(_)) => {
                    self.diary.not_done += 1;
                    thread::sleep(PAUSE);
                }
                Some(Outcome::Refused(text)) => self.wrong(format!("{words:?}: {text}")),
                None => thread::sleep(PAUSE),
            }
        }
    }

    /// Nobody else writes to a writer's counter, so its answers only grow.
    fn check_growth(&mut self, reply: &Reply) {
        let Reply::Integer(value) = *reply else { return };
        if value <= self.counted {
            self.wrong(format!("counted {value} after {}", self.counted));
        }
        self.counted = value;
    }

    fn write_once(&mut self) {
        let Some(session) = self.open_session() else { return };
        let mut number = 0;
        while !self.stopped() {
            number += 1;
            let text = number.to_string();
            let words =
                ["UNDERPIN.ONCE", &session, &text, "INCR", &self.diary.name].map(str::to_string);
            match self.insist(&words) {
                Some(reply) if reply.number() == Some(number as i64) => self.acknowledge(number),
                Some(reply) => {
                    self.wrong(format!("number {number} was answered {}", reply.text()));
                    return;
                }
                None => return,
            }
        }
    }

    /// A session's id; `None` when the run is over before there is one.
    fn open_session(&mut self) -> Option<String> {
        let ttl_ms = number("UNDERPIN_SESSION_MS", 600_000).to_string();
        let words = ["UNDERPIN.SESSION", "OPEN", &ttl_ms].map(str::to_string);
        Some(self.insist(&words)?.text())
    }

    /// Sends again until there is an answer, also past the end of the run, but not forever.
    fn insist(&mut self, words: &[String]) -> Option<Reply> {
        let started = Instant::now();
        while started.elapsed() < wait::READY {
            match self.send(words) {
                Some(Outcome::Done(reply)) => return Some(reply),
                Some(Outcome::Refused(text)) => {
                    self.wrong(format!("{words:?}: {text}"));
                    return None;
                }
                Some(Outcome::NotDone(_)) => self.diary.not_done += 1,
                Some(Outcome::Unknown(_)) => self.diary.unknown += 1,
                None => {}
            }
            thread::sleep(PAUSE);
        }
        self.wrong(format!("{words:?}: no answer within {:?}", wait::READY));
        None
    }

    /// Sends once. `None`: there was no connection, so nothing was sent.
    fn send(&mut self, words: &[String]) -> Option<Outcome> {
        if self.conn.is_none() {
            self.at += self.step;
            let address = self.addresses[self.at % self.addresses.len()];
            self.conn = Conn::open(address, PATIENCE).ok();
        }
        match self.conn.as_mut()?.call(words) {
            Ok(reply) => Some(Outcome::of(reply)),
            Err(error) => {
                self.conn = None;
                Some(Outcome::Unknown(error.to_string()))
            }
        }
    }

    fn acknowledge(&mut self, number: u64) {
        self.diary.acknowledged.push(number);
        self.diary.times.push(Instant::now());
        self.progress.fetch_add(1, Ordering::Relaxed);
    }

    fn wrong(&mut self, what: String) {
        self.diary.wrong.push(what);
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed) || !self.diary.wrong.is_empty()
    }
}

/// Compares what the writers were told with what the cluster holds; the complaints.
pub fn verify(address: SocketAddr, diaries: &[Diary]) -> Vec<String> {
    let mut conn = Conn::open(address, Duration::from_secs(30)).expect("a connection to verify by");
    diaries.iter().flat_map(|diary| verify_one(&mut conn, diary)).collect()
}

/// One writer's complaints.
fn verify_one(conn: &mut Conn, diary: &Diary) -> Vec<String> {
    let mut wrong: Vec<String> =
        diary.wrong.iter().map(|what| format!("{}: {what}", diary.name)).collect();
    match diary.kind {
        Kind::Keys => {
            for numbers in diary.acknowledged.chunks(500) {
                let keys = numbers.iter().map(|number| format!("{}:{number}", diary.name));
                let words: Vec<String> = std::iter::once("MGET".to_string()).chain(keys).collect();
                let values = conn.call(&words).expect("an answer to MGET");
                let values: Vec<Option<i64>> = values.items().iter().map(Reply::number).collect();
                wrong.extend(missing(&diary.name, numbers, &values));
            }
        }
        Kind::Counter | Kind::Once => {
            let value = conn.call(&["GET", &diary.name]).expect("an answer to GET");
            let value = if value == Reply::Nil { Some(0) } else { value.number() };
            wrong.extend(miscounted(diary, value));
        }
    }
    wrong
}

/// The acknowledged keys that do not hold their number.
fn missing(name: &str, numbers: &[u64], values: &[Option<i64>]) -> Vec<String> {
    if values.len() != numbers.len() {
        return vec![format!("{name}: asked for {} keys, got {}", numbers.len(), values.len())];
    }
    let pairs = numbers.iter().zip(values);
    let bad = pairs.filter(|(number, value)| **value != Some(**number as i64));
    bad.map(|(number, value)| format!("{name}:{number} was acknowledged, and holds {value:?}"))
        .collect()
}

/// Whether a counter lies where it must.
fn miscounted(diary: &Diary, value: Option<i64>) -> Option<String> {
    let acknowledged = diary.acknowledged.len() as i64;
    let most = match diary.kind {
        Kind::Once => acknowledged,
        _ => acknowledged + diary.unknown as i64,
    };
    let fine = value.is_some_and(|value| (acknowledged..=most).contains(&value));
    let say = || {
        format!("{}: counter {value:?}, acknowledged {acknowledged}, at most {most}", diary.name)
    };
    (!fine).then(say)
}

/// A line on what the writers met.
pub fn summary(diaries: &[Diary]) -> String {
    let sum = |of: fn(&Diary) -> u64| diaries.iter().map(of).sum::<u64>();
    format!(
        "{} writers: {} acknowledged, {} not done, {} unknown",
        diaries.len(),
        sum(|diary| diary.acknowledged.len() as u64),
        sum(|diary| diary.not_done),
        sum(|diary| diary.unknown),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diary(kind: Kind, acknowledged: u64, unknown: u64) -> Diary {
        Diary {
            kind,
            name: "w".into(),
            acknowledged: (1..=acknowledged).collect(),
            times: vec![],
            unknown,
            not_done: 0,
            wrong: vec![],
        }
    }

    #[test]
    fn a_counter_must_lie_between_the_acknowledged_and_the_possible() {
        let counter = diary(Kind::Counter, 10, 2);
        for (value, fine) in [(9, false), (10, true), (12, true), (13, false)] {
            assert_eq!(miscounted(&counter, Some(value)).is_none(), fine, "{value}");
        }
        assert!(miscounted(&counter, None).is_some());
    }

    #[test]
    fn a_counter_of_numbered_requests_is_exact() {
        let once = diary(Kind::Once, 10, 2);
        for (value, fine) in [(9, false), (10, true), (11, false)] {
            assert_eq!(miscounted(&once, Some(value)).is_none(), fine, "{value}");
        }
    }

    #[test]
    fn a_lost_key_and_a_wrong_value_are_found() {
        assert_eq!(missing("w", &[1, 2], &[Some(1), Some(2)]), [""; 0]);
        assert_eq!(
            missing("w", &[1, 2], &[Some(1), None]),
            ["w:2 was acknowledged, and holds None"]
        );
        assert_eq!(missing("w", &[1, 2], &[Some(2), Some(2)]).len(), 1);
        assert_eq!(missing("w", &[1, 2], &[]).len(), 1);
    }
}
