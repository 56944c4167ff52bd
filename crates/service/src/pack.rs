//! Batches, answers and failures as bytes: in the log, in the rows of sessions, and between nodes
//! that forward for one another.
//!
//! A plain SET is the hot path: ten bytes over its key and value.
//!
//! ```text
//! SET k v in bucket 0, as a command:
//! 01        format of the command
//! 00        a batch
//! 00 01     no conditions, one operation
//! 00        bucket
//! 03        Op::Set
//! 00        flags: expiry never, always, without the old value
//! 01 6b     key with its length
//! 01 76     value with its length
//! ```
//!
//! Numbers that are mostly small are varints. Tags are part of the log's format: they are added,
//! never changed. Everything read back is bounded by the bytes that are left, and byte strings are
//! slices of the input. An operation of two bytes is fifty times as large in memory, so a batch has a
//! bound on its parts besides: the one that a client's batch meets before it is sent anywhere, so
//! that none of ours is ever refused here.

use crate::kv::scan::{Cursor, Found, Walk, WalkReply, WalkRequest};
use crate::kv::{
    Answer, Batch, Bucket, COST_MAX, Condition, Expiry, ExpiryWhen, LcsWant, Op, Outcome, When,
};
use base::codec::{DecodeError, Reader, Writer};
use base::{Bytes, Failure, Key, NotDone, Refusal};

/// Lists within lists that an answer may have. The deepest of ours, of `Op::Lcs`, has four.
const DEPTH_MAX: usize = 8;

/// The words that an [`Answer::Text`] or a [`Refusal`] may hold; a word's place is its encoding, so
/// words are added at the end.
pub const WORDS: &[&str] = &[
    "other",
    "key",
    "value",
    "request",
    "offset",
    "session ttl",
    "bucket",
    "word",
    "string",
    "none",
    "int",
    "embstr",
    "raw",
    "matches",
    "len",
    "OK",
    "PONG",
    "QUEUED",
    "RESET",
    "a copy onto itself",
    "command of another kind of shard",
    "answer",
    "cluster",
    "incarnation",
    "cluster: the node belongs to another one",
    "node: the cluster has none of that number",
    "incarnation: another one is pinned for the node",
    "incarnation: it was replaced and can't come back",
    "apply level: the cluster needs a newer version",
    "that node has no voting replica of the shard",
];

fn word_code(word: &str) -> Option<u64> {
    WORDS.iter().position(|known| *known == word).map(|at| at as u64)
}

/// Whether `word` may stand in an [`Answer::Text`].
pub fn is_word(word: &str) -> bool {
    word_code(word).is_some()
}

fn word(reader: &mut Reader) -> Result<&'static str, DecodeError> {
    let code = reader.varint()?;
    let known = usize::try_from(code).ok().and_then(|code| WORDS.get(code));
    known.copied().ok_or(DecodeError::Unknown { what: "word", seen: code })
}

/// A count of items that take at least one byte each.
fn count(reader: &mut Reader) -> Result<usize, DecodeError> {
    let count = usize::try_from(reader.varint()?).unwrap_or(usize::MAX);
    if count > reader.left() {
        return Err(DecodeError::Short { wanted: count, left: reader.left() });
    }
    Ok(count)
}

/// How many more parts may be read.
struct Parts(usize);

impl Parts {
    /// As many as a batch may have: each costs something.
    fn of_batch() -> Parts {
        Parts(COST_MAX as usize)
    }

    /// As many as there are bytes for.
    fn any() -> Parts {
        Parts(usize::MAX)
    }

    /// A count of parts, taken from what is left.
    fn count(&mut self, reader: &mut Reader) -> Result<usize, DecodeError> {
        let count = count(reader)?;
        let left = self.0.checked_sub(count);
        self.0 = left.ok_or(DecodeError::Invalid("batch: more parts than it may cost"))?;
        Ok(count)
    }

    fn many<T>(
        &mut self,
        reader: &mut Reader,
        mut read: impl FnMut(&mut Reader, &mut Parts) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        let count = self.count(reader)?;
        let mut items = Vec::with_capacity(count.min(64));
        for _ in 0..count {
            items.push(read(reader, self)?);
        }
        Ok(items)
    }

    fn keys(&mut self, reader: &mut Reader) -> Result<Vec<Key>, DecodeError> {
        self.many(reader, |reader, _| reader.blob())
    }
}

fn keys(out: &mut Writer, keys: &[Key]) {
    out.varint(keys.len() as u64);
    keys.iter().for_each(|key| out.blob(key));
}

fn bucket(reader: &mut Reader) -> Result<Bucket, DecodeError> {
    let bucket = reader.varint()?;
    u16::try_from(bucket).map(Bucket).map_err(|_| DecodeError::unknown("bucket", bucket))
}

impl Batch {
    /// Appends the batch to `out`.
    pub fn encode(&self, out: &mut Writer) {
        out.varint(self.conditions.len() as u64);
        out.varint(self.ops.len() as u64);
        for condition in &self.conditions {
            out.varint(u64::from(condition.bucket.0));
            out.blob(&condition.key);
            out.u64(condition.version);
        }
        for (bucket, op) in &self.ops {
            out.varint(u64::from(bucket.0));
            encode_op(op, out);
        }
    }

    /// The inverse of [`Batch::encode`].
    pub fn decode(reader: &mut Reader) -> Result<Batch, DecodeError> {
        let mut parts = Parts::of_batch();
        let conditions = parts.count(reader)?;
        let ops = parts.count(reader)?;
        let mut batch = Batch {
            conditions: Vec::with_capacity(conditions.min(64)),
            ops: Vec::with_capacity(ops.min(64)),
        };
        for _ in 0..conditions {
            batch.conditions.push(Condition {
                bucket: bucket(reader)?,
                key: reader.blob()?,
                version: reader.u64()?,
            });
        }
        for _ in 0..ops {
            batch.ops.push((bucket(reader)?, decode_op(reader, &mut parts)?));
        }
        Ok(batch)
    }
}

/// How an expiry begins in a flags byte, two bits.
fn expiry_bits(expiry: Expiry) -> u8 {
    match expiry {
        Expiry::Never => 0,
        Expiry::Keep => 1,
        Expiry::InMs(_) => 2,
        Expiry::AtMs(_) => 3,
    }
}

fn expiry_ms(expiry: Expiry, out: &mut Writer) {
    match expiry {
        Expiry::Never | Expiry::Keep => {}
        Expiry::InMs(ms) | Expiry::AtMs(ms) => out.zigzag(ms),
    }
}

fn encode_expiry(expiry: Expiry, out: &mut Writer) {
    out.u8(expiry_bits(expiry));
    expiry_ms(expiry, out);
}

fn expiry_of(bits: u8, reader: &mut Reader) -> Result<Expiry, DecodeError> {
    Ok(match bits {
        0 => Expiry::Never,
        1 => Expiry::Keep,
        2 => Expiry::InMs(reader.zigzag()?),
        3 => Expiry::AtMs(reader.zigzag()?),
        seen => return Err(DecodeError::unknown("expiry", seen)),
    })
}

fn decode_expiry(reader: &mut Reader) -> Result<Expiry, DecodeError> {
    let bits = reader.u8()?;
    expiry_of(bits, reader)
}

/// Set's flags: two bits of expiry, two bits of condition, one for the old value.
fn encode_set(expiry: Expiry, when: When, old: bool, out: &mut Writer) {
    let when_bits = match when {
        When::Always => 0,
        When::Absent => 1,
        When::Present => 2,
        When::Version(_) => 3,
    };
    out.u8(expiry_bits(expiry) | when_bits << 2 | u8::from(old) << 4);
    expiry_ms(expiry, out);
    if let When::Version(version) = when {
        out.u64(version);
    }
}

fn decode_set(reader: &mut Reader) -> Result<(Expiry, When, bool), DecodeError> {
    let flags = reader.u8()?;
    if flags >= 1 << 5 {
        return Err(DecodeError::unknown("set flags", flags));
    }
    let expiry = expiry_of(flags & 3, reader)?;
    let when = match flags >> 2 & 3 {
        0 => When::Always,
        1 => When::Absent,
        2 => When::Present,
        _ => When::Version(reader.u64()?),
    };
    Ok((expiry, when, flags >> 4 != 0))
}

fn encode_expiry_when(when: &ExpiryWhen, out: &mut Writer) {
    out.u8(u8::from(when.none)
        | u8::from(when.some) << 1
        | u8::from(when.later) << 2
        | u8::from(when.earlier) << 3);
}

fn decode_expiry_when(reader: &mut Reader) -> Result<ExpiryWhen, DecodeError> {
    let flags = reader.u8()?;
    if flags >= 1 << 4 {
        return Err(DecodeError::unknown("expiry condition", flags));
    }
    let is = |bit: u8| flags >> bit & 1 != 0;
    Ok(ExpiryWhen { none: is(0), some: is(1), later: is(2), earlier: is(3) })
}

fn encode_op(op: &Op, out: &mut Writer) {
    match op {
        Op::Get(key) => {
            out.u8(0);
            out.blob(key);
        }
        Op::GetMany(many) => {
            out.u8(1);
            keys(out, many);
        }
        Op::GetVersioned(key) => {
            out.u8(2);
            out.blob(key);
        }
        Op::Set { key, value, expiry, when, old } => {
            out.u8(3);
            encode_set(*expiry, *when, *old, out);
            out.blob(key);
            out.blob(value);
        }
        Op::CompareAndSet { key, version, value, expiry } => {
            out.u8(4);
            out.blob(key);
            out.u64(*version);
            out.option(value.as_ref(), |out, value| out.blob(value));
            encode_expiry(*expiry, out);
        }
        Op::SetMany { pairs, absent } => {
            out.u8(5);
            out.bool(*absent);
            out.varint(pairs.len() as u64);
            for (key, value) in pairs {
                out.blob(key);
                out.blob(value);
            }
        }
        Op::GetDelete(key) => {
            out.u8(6);
            out.blob(key);
        }
        Op::GetExpire(key, expiry) => {
            out.u8(7);
            out.blob(key);
            encode_expiry(*expiry, out);
        }
        Op::Append(key, value) => {
            out.u8(8);
            out.blob(key);
            out.blob(value);
        }
        Op::Length(key) => {
            out.u8(9);
            out.blob(key);
        }
        Op::GetRange { key, start, end } => {
            out.u8(10);
            out.blob(key);
            out.zigzag(*start);
            out.zigzag(*end);
        }
        Op::SetRange { key, offset, value } => {
            out.u8(11);
            out.blob(key);
            out.zigzag(*offset);
            out.blob(value);
        }
        Op::Add(key, by) => {
            out.u8(12);
            out.blob(key);
            out.zigzag(*by);
        }
        Op::AddDecimal(key, by) => {
            out.u8(13);
            out.blob(key);
            out.blob(by);
        }
        Op::Lcs { a, b, want } => {
            out.u8(14);
            out.blob(a);
            out.blob(b);
            encode_want(want, out);
        }
        Op::Delete(many) => {
            out.u8(15);
            keys(out, many);
        }
        Op::Exists(many) => {
            out.u8(16);
            keys(out, many);
        }
        Op::Type(key) => {
            out.u8(17);
            out.blob(key);
        }
        Op::TimeToLive(key) => {
            out.u8(18);
            out.blob(key);
        }
        Op::ExpiresAt(key) => {
            out.u8(19);
            out.blob(key);
        }
        Op::Expire(key, expiry, when) => {
            out.u8(20);
            out.blob(key);
            encode_expiry(*expiry, out);
            encode_expiry_when(when, out);
        }
        Op::Rename { from, to, absent } => {
            out.u8(21);
            out.bool(*absent);
            out.blob(from);
            out.blob(to);
        }
        Op::Copy { from, bucket, to, replace } => {
            out.u8(22);
            out.bool(*replace);
            out.varint(u64::from(bucket.0));
            out.blob(from);
            out.blob(to);
        }
        Op::Versions(many) => {
            out.u8(23);
            keys(out, many);
        }
        Op::IdleTime(key) => {
            out.u8(24);
            out.blob(key);
        }
        Op::Encoding(key) => {
            out.u8(25);
            out.blob(key);
        }
        Op::Flush => out.u8(26),
        Op::FlushAll => out.u8(27),
        Op::Say(answer) => {
            out.u8(28);
            encode_answer(answer, out);
        }
    }
}

fn decode_op(reader: &mut Reader, parts: &mut Parts) -> Result<Op, DecodeError> {
    Ok(match reader.u8()? {
        0 => Op::Get(reader.blob()?),
        1 => Op::GetMany(parts.keys(reader)?),
        2 => Op::GetVersioned(reader.blob()?),
        3 => {
            let (expiry, when, old) = decode_set(reader)?;
            Op::Set { key: reader.blob()?, value: reader.blob()?, expiry, when, old }
        }
        4 => Op::CompareAndSet {
            key: reader.blob()?,
            version: reader.u64()?,
            value: reader.option(Reader::blob)?,
            expiry: decode_expiry(reader)?,
        },
        5 => {
            let absent = reader.bool()?;
            let pairs = parts.many(reader, |reader, _| Ok((reader.blob()?, reader.blob()?)))?;
            Op::SetMany { pairs, absent }
        }
        6 => Op::GetDelete(reader.blob()?),
        7 => Op::GetExpire(reader.blob()?, decode_expiry(reader)?),
        8 => Op::Append(reader.blob()?, reader.blob()?),
        9 => Op::Length(reader.blob()?),
        10 => Op::GetRange { key: reader.blob()?, start: reader.zigzag()?, end: reader.zigzag()? },
        11 => Op::SetRange { key: reader.blob()?, offset: reader.zigzag()?, value: reader.blob()? },
        12 => Op::Add(reader.blob()?, reader.zigzag()?),
        13 => Op::AddDecimal(reader.blob()?, reader.blob()?),
        14 => Op::Lcs { a: reader.blob()?, b: reader.blob()?, want: decode_want(reader)? },
        15 => Op::Delete(parts.keys(reader)?),
        16 => Op::Exists(parts.keys(reader)?),
        17 => Op::Type(reader.blob()?),
        18 => Op::TimeToLive(reader.blob()?),
        19 => Op::ExpiresAt(reader.blob()?),
        20 => Op::Expire(reader.blob()?, decode_expiry(reader)?, decode_expiry_when(reader)?),
        21 => {
            let absent = reader.bool()?;
            Op::Rename { from: reader.blob()?, to: reader.blob()?, absent }
        }
        22 => {
            let replace = reader.bool()?;
            let bucket = bucket(reader)?;
            Op::Copy { from: reader.blob()?, bucket, to: reader.blob()?, replace }
        }
        23 => Op::Versions(parts.keys(reader)?),
        24 => Op::IdleTime(reader.blob()?),
        25 => Op::Encoding(reader.blob()?),
        26 => Op::Flush,
        27 => Op::FlushAll,
        28 => Op::Say(Box::new(decode_answer(reader, DEPTH_MAX, parts)?)),
        seen => return Err(DecodeError::unknown("operation", seen)),
    })
}

fn encode_want(want: &LcsWant, out: &mut Writer) {
    match want {
        LcsWant::Text => out.u8(0),
        LcsWant::Length => out.u8(1),
        LcsWant::Matches { length_min, with_length } => {
            out.u8(2);
            out.zigzag(*length_min);
            out.bool(*with_length);
        }
    }
}

fn decode_want(reader: &mut Reader) -> Result<LcsWant, DecodeError> {
    Ok(match reader.u8()? {
        0 => LcsWant::Text,
        1 => LcsWant::Length,
        2 => LcsWant::Matches { length_min: reader.zigzag()?, with_length: reader.bool()? },
        seen => return Err(DecodeError::unknown("lcs answer", seen)),
    })
}

impl Outcome {
    /// Appends the outcome to `out`.
    pub fn encode(&self, out: &mut Writer) {
        match self {
            Outcome::Answers(answers) => {
                out.u8(0);
                out.varint(answers.len() as u64);
                answers.iter().for_each(|answer| encode_answer(answer, out));
            }
            Outcome::Aborted => out.u8(1),
        }
    }

    /// The inverse of [`Outcome::encode`].
    pub fn decode(reader: &mut Reader) -> Result<Outcome, DecodeError> {
        Ok(match reader.u8()? {
            0 => Outcome::Answers(
                Parts::any()
                    .many(reader, |reader, parts| decode_answer(reader, DEPTH_MAX, parts))?,
            ),
            1 => Outcome::Aborted,
            seen => return Err(DecodeError::unknown("outcome", seen)),
        })
    }
}

fn encode_answer(answer: &Answer, out: &mut Writer) {
    match answer {
        Answer::Done => out.u8(0),
        Answer::Nil => out.u8(1),
        Answer::Integer(value) => {
            out.u8(2);
            out.zigzag(*value);
        }
        Answer::Bytes(value) => {
            out.u8(3);
            out.blob(value);
        }
        Answer::Text(text) => {
            out.u8(4);
            out.varint(word_code(text).expect("a text is one of our words; a batch is checked"));
        }
        Answer::List(items) => {
            out.u8(5);
            out.varint(items.len() as u64);
            items.iter().for_each(|item| encode_answer(item, out));
        }
        Answer::Conflict(version) => {
            out.u8(6);
            out.u64(*version);
        }
        Answer::Refused(refusal) => {
            out.u8(7);
            encode_refusal(refusal, out);
        }
    }
}

fn decode_answer(
    reader: &mut Reader,
    depth: usize,
    parts: &mut Parts,
) -> Result<Answer, DecodeError> {
    Ok(match reader.u8()? {
        0 => Answer::Done,
        1 => Answer::Nil,
        2 => Answer::Integer(reader.zigzag()?),
        3 => Answer::Bytes(reader.blob()?),
        4 => Answer::Text(word(reader)?),
        5 if depth == 0 => return Err(DecodeError::Invalid("answer: too deep")),
        5 => Answer::List(
            parts.many(reader, |reader, parts| decode_answer(reader, depth - 1, parts))?,
        ),
        6 => Answer::Conflict(reader.u64()?),
        7 => Answer::Refused(decode_refusal(reader)?),
        seen => return Err(DecodeError::unknown("answer", seen)),
    })
}

/// Whether `answer` can be written and read back: only known words, not too deep.
pub(crate) fn packable(answer: &Answer, depth: usize) -> bool {
    match answer {
        Answer::Text(text) => is_word(text),
        Answer::List(items) => depth > 0 && items.iter().all(|item| packable(item, depth - 1)),
        _ => true,
    }
}

/// [`packable`], from the outside.
pub(crate) fn can_say(answer: &Answer) -> bool {
    packable(answer, DEPTH_MAX)
}

/// Appends a refusal to `out`. A text that is not among [`WORDS`] becomes "other".
pub fn encode_refusal(refusal: &Refusal, out: &mut Writer) {
    let text = |out: &mut Writer, tag: u8, text: &str| {
        out.u8(tag);
        out.varint(word_code(text).unwrap_or(0));
    };
    match refusal {
        Refusal::TooLarge { what, seen, allowed } => {
            text(out, 0, what);
            out.varint(*seen);
            out.varint(*allowed);
        }
        Refusal::NotAnInteger => out.u8(1),
        Refusal::NotANumber => out.u8(2),
        Refusal::Overflow => out.u8(3),
        Refusal::OutOfRange(what) => text(out, 4, what),
        Refusal::InvalidExpiry => out.u8(5),
        Refusal::NoSuchKey => out.u8(6),
        Refusal::NoSuchSession => out.u8(7),
        Refusal::NumberForgotten => out.u8(8),
        Refusal::NumberReused => out.u8(9),
        Refusal::TooCostly { seen, allowed } => {
            out.u8(10);
            out.varint(*seen);
            out.varint(*allowed);
        }
        Refusal::Unsupported(what) => text(out, 11, what),
        Refusal::Invalid(what) => text(out, 12, what),
        Refusal::AnswerForgotten => out.u8(13),
    }
}

/// The inverse of [`encode_refusal`].
pub fn decode_refusal(reader: &mut Reader) -> Result<Refusal, DecodeError> {
    Ok(match reader.u8()? {
        0 => Refusal::TooLarge {
            what: word(reader)?,
            seen: reader.varint()?,
            allowed: reader.varint()?,
        },
        1 => Refusal::NotAnInteger,
        2 => Refusal::NotANumber,
        3 => Refusal::Overflow,
        4 => Refusal::OutOfRange(word(reader)?),
        5 => Refusal::InvalidExpiry,
        6 => Refusal::NoSuchKey,
        7 => Refusal::NoSuchSession,
        8 => Refusal::NumberForgotten,
        9 => Refusal::NumberReused,
        10 => Refusal::TooCostly { seen: reader.varint()?, allowed: reader.varint()? },
        11 => Refusal::Unsupported(word(reader)?),
        12 => Refusal::Invalid(word(reader)?),
        13 => Refusal::AnswerForgotten,
        seen => return Err(DecodeError::unknown("refusal", seen)),
    })
}

/// Appends a failure to `out`.
pub fn encode_failure(failure: &Failure, out: &mut Writer) {
    match failure {
        Failure::Unknown => out.u8(0),
        Failure::Refused(refusal) => {
            out.u8(1);
            encode_refusal(refusal, out);
        }
        Failure::NotDone(NotDone::Busy { retry_after_ms }) => {
            out.u8(2);
            out.varint(*retry_after_ms);
        }
        Failure::NotDone(NotDone::LeaderChanged) => out.u8(3),
        Failure::NotDone(NotDone::NoQuorum) => out.u8(4),
        Failure::NotDone(NotDone::Deadline) => out.u8(5),
        Failure::NotDone(NotDone::DiskFull) => out.u8(6),
        Failure::NotDone(NotDone::Stopping) => out.u8(7),
    }
}

/// The inverse of [`encode_failure`].
pub fn decode_failure(reader: &mut Reader) -> Result<Failure, DecodeError> {
    Ok(match reader.u8()? {
        0 => Failure::Unknown,
        1 => Failure::Refused(decode_refusal(reader)?),
        2 => Failure::NotDone(NotDone::Busy { retry_after_ms: reader.varint()? }),
        3 => Failure::NotDone(NotDone::LeaderChanged),
        4 => Failure::NotDone(NotDone::NoQuorum),
        5 => Failure::NotDone(NotDone::Deadline),
        6 => Failure::NotDone(NotDone::DiskFull),
        7 => Failure::NotDone(NotDone::Stopping),
        seen => return Err(DecodeError::unknown("failure", seen)),
    })
}

impl WalkRequest {
    /// Appends the request to `out`.
    pub fn encode(&self, out: &mut Writer) {
        out.varint(u64::from(self.bucket.0));
        match &self.walk {
            Walk::Page { cursor, matching, count, values } => {
                out.u8(0);
                out.u64(cursor.0);
                out.option(matching.as_ref(), |out, glob| out.blob(glob));
                out.varint(*count);
                out.bool(*values);
            }
            Walk::Keys { matching } => {
                out.u8(1);
                out.blob(matching);
            }
            Walk::Count => out.u8(2),
            Walk::Any { from } => {
                out.u8(3);
                out.u64(*from);
            }
        }
    }

    /// The inverse of [`WalkRequest::encode`].
    pub fn decode(reader: &mut Reader) -> Result<WalkRequest, DecodeError> {
        let bucket = bucket(reader)?;
        let walk = match reader.u8()? {
            0 => Walk::Page {
                cursor: Cursor(reader.u64()?),
                matching: reader.option(Reader::blob)?,
                count: reader.varint()?,
                values: reader.bool()?,
            },
            1 => Walk::Keys { matching: reader.blob()? },
            2 => Walk::Count,
            3 => Walk::Any { from: reader.u64()? },
            seen => return Err(DecodeError::unknown("walk", seen)),
        };
        Ok(WalkRequest { bucket, walk })
    }
}

impl WalkReply {
    /// Appends the reply to `out`.
    pub fn encode(&self, out: &mut Writer) {
        match self {
            WalkReply::Page { next, found } => {
                out.u8(0);
                out.u64(next.0);
                out.varint(found.len() as u64);
                for found in found {
                    out.blob(&found.key);
                    out.option(found.value.as_ref(), |out, value: &Bytes| out.blob(value));
                    out.option(found.expires_at_ms, Writer::u64);
                }
            }
            WalkReply::Count(count) => {
                out.u8(1);
                out.varint(*count);
            }
        }
    }

    /// The inverse of [`WalkReply::encode`].
    pub fn decode(reader: &mut Reader) -> Result<WalkReply, DecodeError> {
        Ok(match reader.u8()? {
            0 => WalkReply::Page {
                next: Cursor(reader.u64()?),
                found: Parts::any().many(reader, |reader, _| {
                    Ok(Found {
                        key: reader.blob()?,
                        value: reader.option(Reader::blob)?,
                        expires_at_ms: reader.option(Reader::u64)?,
                    })
                })?,
            },
            1 => WalkReply::Count(reader.varint()?),
            seen => return Err(DecodeError::unknown("walk reply", seen)),
        })
    }
}
