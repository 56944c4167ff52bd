//! Random batches against a plain map that does what each operation says in the simplest way.

mod common;

use base::{Bytes, Random, Refusal, Stamp};
use common::{MS, Shard};
use std::collections::BTreeMap;
use underpin_service::kv::scan::{Cursor, Walk, WalkReply, WalkRequest};
use underpin_service::kv::{
    Answer, Batch, Bucket, Condition, Expiry, ExpiryWhen, Op, Outcome, Progress, Walker, When,
};
use underpin_service::{Command, Machine, Reply, Space, row};

#[derive(Clone, Debug)]
struct Item {
    value: Vec<u8>,
    end: Option<i64>,
    version: u64,
}

type Place = (Bucket, Vec<u8>);

#[derive(Default)]
struct Model {
    items: BTreeMap<Place, Item>,
    stamp: u64,
}

/// Absent keys have no version; refusals are what the operation says.
type Result = std::result::Result<Answer, Refusal>;

impl Model {
    /// Runs a batch at `stamp`; what ended by then goes first.
    fn run(&mut self, stamp: Stamp, batch: &Batch) -> Outcome {
        self.stamp = stamp.0;
        let now = self.now();
        self.items.retain(|_, item| item.end.is_none_or(|end| end > now));
        let holds = |c: &Condition| self.version(c.bucket, &c.key) == c.version;
        if !batch.conditions.iter().all(holds) {
            return Outcome::Aborted;
        }
        let run =
            |(bucket, op): &(Bucket, Op)| self.op(*bucket, op).unwrap_or_else(Answer::Refused);
        Outcome::Answers(batch.ops.iter().map(run).collect())
    }

    fn now(&self) -> i64 {
        (self.stamp / MS) as i64
    }

    fn version(&self, bucket: Bucket, key: &[u8]) -> u64 {
        self.get(bucket, key).map_or(0, |item| item.version)
    }

    fn get(&self, bucket: Bucket, key: &[u8]) -> Option<&Item> {
        self.items.get(&(bucket, key.to_vec()))
    }

    fn text(&self, bucket: Bucket, key: &[u8]) -> String {
        let value = self.get(bucket, key).map(|item| item.value.clone()).unwrap_or_default();
        String::from_utf8(value).expect("the test writes texts")
    }

    fn value(&self, bucket: Bucket, key: &[u8]) -> Answer {
        let item = self.get(bucket, key);
        item.map_or(Answer::Nil, |item| Answer::Bytes(item.value.clone().into()))
    }

    fn end(&self, bucket: Bucket, key: &[u8]) -> Option<i64> {
        self.get(bucket, key).and_then(|item| item.end)
    }

    fn put(&mut self, bucket: Bucket, key: &[u8], value: impl Into<Vec<u8>>, end: Option<i64>) {
        let item = Item { value: value.into(), end, version: self.stamp };
        self.items.insert((bucket, key.to_vec()), item);
        let now = self.now();
        self.items.retain(|_, item| item.end.is_none_or(|end| end > now));
    }

    fn remove(&mut self, bucket: Bucket, key: &[u8]) -> bool {
        self.items.remove(&(bucket, key.to_vec())).is_some()
    }

    fn new_end(&self, expiry: Expiry, old: Option<i64>) -> Option<i64> {
        match expiry {
            Expiry::Never => None,
            Expiry::Keep => old,
            Expiry::InMs(ms) => Some(self.now() + ms),
            Expiry::AtMs(ms) => Some(ms),
        }
    }

    fn op(&mut self, bucket: Bucket, op: &Op) -> Result {
        let exists = |model: &Model, key: &[u8]| model.get(bucket, key).is_some();
        Ok(match op {
            Op::Get(key) => self.value(bucket, key),
            Op::GetMany(keys) => {
                Answer::List(keys.iter().map(|key| self.value(bucket, key)).collect())
            }
            Op::Set { key, value, expiry, when, old } => {
                let before = self.value(bucket, key);
                let holds = match when {
                    When::Always => true,
                    When::Absent => !exists(self, key),
                    When::Present => exists(self, key),
                    When::Version(version) => self.version(bucket, key) == *version,
                };
                if matches!(expiry, Expiry::InMs(ms) | Expiry::AtMs(ms) if *ms <= 0) {
                    return Err(Refusal::InvalidExpiry);
                }
                if holds {
                    let end = self.new_end(*expiry, self.end(bucket, key));
                    self.put(bucket, key, value.to_vec(), end);
                }
                match (old, holds) {
                    (true, _) => before,
                    (false, true) => Answer::Done,
                    (false, false) => Answer::Nil,
                }
            }
            Op::CompareAndSet { key, version, value, expiry } => {
                let seen = self.version(bucket, key);
                if seen != *version {
                    return Ok(Answer::Conflict(seen));
                }
                let end = self.new_end(*expiry, self.end(bucket, key));
                self.remove(bucket, key);
                if let Some(value) = value {
                    self.put(bucket, key, value.to_vec(), end);
                }
                Answer::Integer(self.version(bucket, key) as i64)
            }
            Op::SetMany { pairs, absent } => {
                if *absent && pairs.iter().any(|(key, _)| exists(self, key)) {
                    return Ok(Answer::Integer(0));
                }
                pairs.iter().for_each(|(key, value)| self.put(bucket, key, value.to_vec(), None));
                if *absent { Answer::Integer(1) } else { Answer::Done }
            }
            Op::GetDelete(key) => {
                let value = self.value(bucket, key);
                self.remove(bucket, key);
                value
            }
            Op::GetExpire(key, expiry) => {
                let value = self.value(bucket, key);
                if value != Answer::Nil
                    && self.new_end(*expiry, self.end(bucket, key)) != self.end(bucket, key)
                {
                    let end = self.new_end(*expiry, self.end(bucket, key));
                    self.put(bucket, key, self.text(bucket, key), end);
                }
                value
            }
            Op::Append(key, part) => {
                let text = [self.text(bucket, key).as_bytes(), part].concat();
                let length = text.len() as i64;
                self.put(bucket, key, text, self.end(bucket, key));
                Answer::Integer(length)
            }
            Op::Length(key) => Answer::Integer(self.text(bucket, key).len() as i64),
            Op::SetRange { key, offset, value } => {
                let mut text = self.text(bucket, key).into_bytes();
                if !value.is_empty() {
                    while text.len() < *offset as usize + value.len() {
                        text.push(0);
                    }
                    for (at, byte) in value.iter().enumerate() {
                        text[*offset as usize + at] = *byte;
                    }
                    self.put(bucket, key, text.clone(), self.end(bucket, key));
                }
                Answer::Integer(text.len() as i64)
            }
            Op::Add(key, by) => {
                let text = self.text(bucket, key);
                let value: i64 = match exists(self, key) {
                    true => text.parse().map_err(|_| Refusal::NotAnInteger)?,
                    false => 0,
                };
                if exists(self, key) && value.to_string() != text {
                    return Err(Refusal::NotAnInteger);
                }
                let value = value.checked_add(*by).ok_or(Refusal::Overflow)?;
                self.put(bucket, key, value.to_string(), self.end(bucket, key));
                Answer::Integer(value)
            }
            Op::Delete(keys) => {
                Answer::Integer(keys.iter().filter(|key| self.remove(bucket, key)).count() as i64)
            }
            Op::Exists(keys) => {
                Answer::Integer(keys.iter().filter(|key| exists(self, key)).count() as i64)
            }
            Op::TimeToLive(key) => Answer::Integer(match self.get(bucket, key) {
                None => -2,
                Some(item) => item.end.map_or(-1, |end| end - self.now()),
            }),
            Op::Expire(key, expiry, when) => {
                let old = self.end(bucket, key);
                let new = self.new_end(*expiry, old);
                let (old_ms, new_ms) = (old.unwrap_or(i64::MAX), new.unwrap_or(i64::MAX));
                let holds = exists(self, key)
                    && match expiry {
                        Expiry::Keep => false,
                        Expiry::Never => old.is_some(),
                        _ => {
                            !(when.none && old.is_some()
                                || when.some && old.is_none()
                                || when.later && new_ms <= old_ms
                                || when.earlier && new_ms >= old_ms)
                        }
                    };
                if holds {
                    self.put(bucket, key, self.text(bucket, key), new);
                }
                Answer::Integer(i64::from(holds))
            }
            Op::Rename { from, to, absent } => {
                if !exists(self, from) {
                    return Err(Refusal::NoSuchKey);
                }
                if *absent && exists(self, to) {
                    return Ok(Answer::Integer(0));
                }
                if from != to {
                    let (text, end) = (self.text(bucket, from), self.end(bucket, from));
                    self.remove(bucket, from);
                    self.put(bucket, to, text, end);
                }
                if *absent { Answer::Integer(1) } else { Answer::Done }
            }
            Op::Copy { from, bucket: other, to, replace } => {
                if (bucket, from) == (*other, to) {
                    return Err(Refusal::Invalid("a copy onto itself"));
                }
                let copies = exists(self, from) && (*replace || self.get(*other, to).is_none());
                if copies {
                    let (text, end) = (self.text(bucket, from), self.end(bucket, from));
                    self.put(*other, to, text, end);
                }
                Answer::Integer(i64::from(copies))
            }
            Op::Versions(keys) => Answer::List(
                keys.iter().map(|key| Answer::Integer(self.version(bucket, key) as i64)).collect(),
            ),
            Op::Flush => {
                self.items.retain(|(other, _), _| *other != bucket);
                Answer::Done
            }
            Op::FlushAll => {
                self.items.clear();
                Answer::Done
            }
            other => panic!("the model has no {other:?}"),
        })
    }
}

/// Draws operations on few keys, so that they meet.
struct Draw(Random);

impl Draw {
    fn key(&mut self) -> Bytes {
        let keys = ["a", "b", "c", "d", "e", ""];
        Bytes::from_static(keys[self.0.below(6) as usize].as_bytes())
    }
    fn keys(&mut self) -> Vec<Bytes> {
        (0..self.0.between(1, 4)).map(|_| self.key()).collect()
    }
    fn value(&mut self) -> Bytes {
        let values = ["", "0", "5", "-3", "9223372036854775807", "text", "05"];
        Bytes::from_static(values[self.0.below(7) as usize].as_bytes())
    }
    fn yes(&mut self) -> bool {
        self.0.chance(1, 2)
    }
    fn bucket(&mut self) -> Bucket {
        Bucket(self.0.below(2) as u16)
    }
    /// `lowest` tells whether times that are not positive may come.
    fn expiry(&mut self, now: Stamp, lowest: i64) -> Expiry {
        let ms = |draw: &mut Draw, from: i64| from.max(draw.0.below(40) as i64 - 5);
        match self.0.below(6) {
            0 => Expiry::Keep,
            1 | 2 => Expiry::InMs(ms(self, lowest)),
            3 => Expiry::AtMs(now.millis() as i64 + ms(self, -5)),
            _ => Expiry::Never,
        }
    }
    fn version(&mut self, model: &Model, key: &Bytes, bucket: Bucket) -> u64 {
        if self.0.chance(1, 4) { self.0.below(2) } else { model.version(bucket, key) }
    }
    fn op(&mut self, model: &Model, now: Stamp, bucket: Bucket) -> Op {
        let key = self.key();
        match self.0.below(24) {
            0 | 1 => Op::Get(key),
            2 => Op::GetMany(self.keys()),
            3..=6 => {
                let when = match self.0.below(6) {
                    0 => When::Absent,
                    1 => When::Present,
                    2 => When::Version(self.version(model, &key, bucket)),
                    _ => When::Always,
                };
                let expiry = self.expiry(now, -5);
                Op::Set { key, value: self.value(), expiry, when, old: self.yes() }
            }
            7 => {
                let version = self.version(model, &key, bucket);
                let value = self.yes().then(|| self.value());
                Op::CompareAndSet { key, version, value, expiry: self.expiry(now, 1) }
            }
            8 => {
                let pairs = self.keys().into_iter().map(|key| (key, self.value())).collect();
                Op::SetMany { pairs, absent: self.yes() }
            }
            9 => Op::GetDelete(key),
            10 => Op::GetExpire(key, self.expiry(now, 1)),
            11 => Op::Append(key, self.value()),
            12 => Op::Length(key),
            13 => Op::SetRange { key, offset: self.0.below(5) as i64, value: self.value() },
            14 | 15 => Op::Add(key, self.0.below(9) as i64 - 4),
            16 => Op::Delete(self.keys()),
            17 => Op::Exists(self.keys()),
            18 => Op::TimeToLive(key),
            19 => {
                let when = ExpiryWhen {
                    none: self.0.chance(1, 4),
                    some: self.0.chance(1, 4),
                    later: self.0.chance(1, 4),
                    earlier: self.0.chance(1, 4),
                };
                Op::Expire(key, self.expiry(now, -5), when)
            }
            20 => Op::Rename { from: key, to: self.key(), absent: self.yes() },
            21 => {
                let (bucket, to) = (self.bucket(), self.key());
                Op::Copy { from: key, bucket, to, replace: self.yes() }
            }
            22 => Op::Versions(self.keys()),
            _ if self.0.chance(1, 4) => {
                if self.yes() {
                    Op::Flush
                } else {
                    Op::FlushAll
                }
            }
            _ => Op::Get(key),
        }
    }
    fn batch(&mut self, model: &Model, now: Stamp) -> Batch {
        let mut batch = Batch::default();
        for _ in 0..self.0.below(3) / 2 {
            let (bucket, key) = (self.bucket(), self.key());
            let version = self.version(model, &key, bucket);
            batch.conditions.push(Condition { bucket, key, version });
        }
        let most = if self.yes() { 1 } else { 6 };
        for _ in 0..self.0.between(1, most) {
            let bucket = self.bucket();
            let op = self.op(model, now, bucket);
            batch.ops.push((bucket, op));
        }
        batch
    }
}

#[test]
fn random_batches_do_what_the_model_does() {
    for seed in 0..40 {
        let mut draw = Draw(Random::new(seed));
        let (mut shard, mut model) = (Shard::new(Machine::kv()), Model::default());
        for step in 0..400 {
            shard.now = Stamp(shard.now.0 + draw.0.below(3 * MS));
            let batch = draw.batch(&model, shard.now);
            let outcome = if batch.writes() {
                match shard.log(&Command::Kv(batch.clone())) {
                    Reply::Kv(outcome) => outcome,
                    other => panic!("{other:?}"),
                }
            } else {
                shard.read(&batch).0
            };
            // A read happens at the shard's time, a write made that its stamp.
            let expected = model.run(shard.now, &batch);
            assert_eq!(outcome, expected, "seed {seed} step {step}: {batch:?}");
            if draw.0.chance(1, 20)
                && let Some(sweep) = shard.sweep_command()
            {
                shard.log(&sweep);
            }
        }
        agrees(&shard, &model);
    }
}

/// Every key of the model is a live row and the other way round; what is dead is in the index.
fn agrees(shard: &Shard, model: &Model) {
    let mut live = 0;
    for (at, bytes) in shard.rows.iter().filter(|(at, _)| at.space != Space::SHARD) {
        let (_, key) = row::key_of_place(&at.key).expect("a key");
        let row = row::Row::decode(bytes.clone()).expect("a row");
        if row.live(shard.now) {
            live += 1;
            let bucket = Bucket(at.space.0 as u16 - 1);
            assert_eq!(model.get(bucket, &key).map(|item| &item.value[..]), Some(&row.value[..]));
        }
    }
    let now = shard.now.millis() as i64;
    assert_eq!(live, model.items.values().filter(|it| it.end.is_none_or(|end| end > now)).count());
    let mut swept = Shard { machine: Machine::kv(), rows: shard.rows.clone(), ..*shard };
    swept.now = Stamp(swept.now.0 + 1_000 * MS);
    while let Some(sweep) = swept.sweep_command() {
        swept.log(&sweep);
    }
    let forever = model.items.values().filter(|item| item.end.is_none()).count();
    assert_eq!(swept.rows.len(), forever, "what can end is gone in the end, with its index rows");
}

/// However pages are cut, and whatever is written meanwhile: a key that stays is found once.
#[test]
fn a_walk_in_pages_finds_every_key_that_stays() {
    for seed in 0..20 {
        let mut random = Random::new(seed);
        let mut shard = Shard::new(Machine::kv());
        let set = |key: String| {
            let pairs = vec![(Bytes::from(key), Bytes::from_static(b"v"))];
            let op = Op::SetMany { pairs, absent: false };
            Command::Kv(Batch::one(Bucket(0), op))
        };
        (0..300).for_each(|n| drop(shard.log(&set(format!("stays {n}")))));
        let mut seen = BTreeMap::new();
        let mut cursor = Cursor::default();
        loop {
            let count = random.between(1, 20);
            let walk = Walk::Page { cursor, matching: None, count, values: false };
            let WalkReply::Page { next, found } = page(&shard, walk, random.between(1, 30)) else {
                panic!("no page")
            };
            for found in found {
                *seen.entry(found.key).or_insert(0) += 1;
            }
            cursor = next;
            if cursor == Cursor(0) {
                break;
            }
            shard.log(&set(format!("comes {}", random.u64())));
        }
        for n in 0..300 {
            assert_eq!(seen.get(format!("stays {n}").as_bytes()), Some(&1), "seed {seed} key {n}");
        }
    }
}

fn page(shard: &Shard, walk: Walk, slice: u64) -> WalkReply {
    let request = WalkRequest { bucket: Bucket(0), walk };
    let mut walker = Walker::new(request, shard.applied);
    loop {
        let rows = shard.scan(walker.space(), &walker.range());
        let until = rows.get(slice as usize).map(|(at, _)| at.key.clone());
        let rows = rows.into_iter().take(slice as usize).map(|(at, row)| (at.key, row));
        match walker.feed(rows, until) {
            Progress::More => {}
            Progress::Chunk(reply) => panic!("{reply:?}"),
            Progress::Finished(reply) => return reply,
        }
    }
}
