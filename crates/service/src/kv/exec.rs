//! What each operation does, once, for writes and for reads.
//!
//! A [`Turn`] runs a batch at a stamp over the rows that the batch declared. It never changes them:
//! it pushes [`Change`]s and remembers, in an overlay, what they did, so that a later operation of
//! the batch sees what an earlier one wrote.
//!
//! An operation decides everything before it changes anything, so one that is refused changed
//! nothing. Bounds that depend on rows are constants, not configuration: every replica must come to
//! the same answer.

use super::check::fits;
use super::lcs::lcs;
use super::number::{add_decimal, parse_integer};
use super::{
    Answer, BUCKETS, Batch, Bucket, Condition, Expiry, ExpiryWhen, LcsWant, Op, Outcome, When,
};
use crate::row::{self, Row};
use crate::{Change, Changes, RowKey, Rows, Space};
use base::key::VALUE_BYTES_MAX;
use base::{Bytes, Key, Refusal, Stamp};
use std::collections::{BTreeMap, BTreeSet};

/// Most bytes of values that one batch may copy, grow or answer by operations that are much shorter
/// than what they do.
pub const APPLY_BYTES_MAX: usize = 64 << 20;
/// Most cells of longest-common-subsequence tables in one batch: two values of 4 KiB.
pub const LCS_CELLS_MAX: u64 = 1 << 24;

/// What a batch of reads comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadOutcome {
    /// The answers.
    Done(Outcome),
    /// A key that it read ended by now, though no applied entry says so: commit a stamp, then read
    /// again.
    Due,
}

/// Applies a batch under its entry's stamp: pushes what changes, and says what to answer.
pub fn apply(stamp: Stamp, batch: &Batch, rows: &dyn Rows, changes: &mut Changes) -> Outcome {
    Turn::new(stamp, stamp, batch, rows, changes).run(batch)
}

/// Answers a batch of reads over rows as of the stamp `applied`, at the shard's time `now`.
pub fn read(batch: &Batch, applied: Stamp, now: Stamp, rows: &dyn Rows) -> ReadOutcome {
    assert!(!batch.writes(), "a batch that writes was taken for one that reads");
    let mut nothing = Changes::new();
    let mut turn = Turn::new(applied, now.max(applied), batch, rows, &mut nothing);
    let outcome = turn.run(batch);
    if turn.due { ReadOutcome::Due } else { ReadOutcome::Done(outcome) }
}

/// What earlier operations of the batch did.
#[derive(Default)]
struct Overlay {
    rows: BTreeMap<RowKey, Option<Row>>,
    emptied: BTreeSet<Space>,
}

struct Turn<'a> {
    /// Expiry is compared with this; writes carry it.
    stamp: Stamp,
    /// What remains until an expiry is counted from here.
    now: Stamp,
    rows: &'a dyn Rows,
    /// `None` where no operation can meet what another one did.
    overlay: Option<Overlay>,
    changes: &'a mut Changes,
    /// A row was read that is live at `stamp` and not at `now`.
    due: bool,
    bytes_left: usize,
    cells_left: u64,
}

impl<'a> Turn<'a> {
    fn new(
        stamp: Stamp,
        now: Stamp,
        batch: &Batch,
        rows: &'a dyn Rows,
        changes: &'a mut Changes,
    ) -> Turn<'a> {
        let alone = match &batch.ops[..] {
            [(_, Op::Delete(keys))] => keys.len() < 2,
            ops => ops.len() < 2,
        };
        Turn {
            stamp,
            now,
            rows,
            overlay: (!alone && batch.writes()).then(Overlay::default),
            changes,
            due: false,
            bytes_left: APPLY_BYTES_MAX,
            cells_left: LCS_CELLS_MAX,
        }
    }

    fn run(&mut self, batch: &Batch) -> Outcome {
        for Condition { bucket, key, version } in &batch.conditions {
            if self.version(*bucket, key) != *version {
                return Outcome::Aborted;
            }
        }
        let mut answers = Vec::with_capacity(batch.ops.len());
        for (bucket, op) in &batch.ops {
            answers.push(self.op(*bucket, op).unwrap_or_else(Answer::Refused));
        }
        Outcome::Answers(answers)
    }

    fn op(&mut self, bucket: Bucket, op: &Op) -> Result<Answer, Refusal> {
        match op {
            Op::Get(key) => self.get(bucket, key),
            Op::GetMany(keys) => self.get_many(bucket, keys),
            Op::GetVersioned(key) => self.get_versioned(bucket, key),
            Op::Set { key, value, expiry, when, old } => {
                self.set(bucket, key, value, *expiry, *when, *old)
            }
            Op::CompareAndSet { key, version, value, expiry } => {
                self.compare_and_set(bucket, key, *version, value.as_ref(), *expiry)
            }
            Op::SetMany { pairs, absent } => self.set_many(bucket, pairs, *absent),
            Op::GetDelete(key) => self.get_delete(bucket, key),
            Op::GetExpire(key, expiry) => self.get_expire(bucket, key, *expiry),
            Op::Append(key, part) => self.append(bucket, key, part),
            Op::Length(key) => Ok(integer(self.find(bucket, key).map_or(0, |row| row.value.len()))),
            Op::GetRange { key, start, end } => self.get_range(bucket, key, *start, *end),
            Op::SetRange { key, offset, value } => self.set_range(bucket, key, *offset, value),
            Op::Add(key, by) => self.add(bucket, key, *by),
            Op::AddDecimal(key, by) => self.add_decimal(bucket, key, by),
            Op::Lcs { a, b, want } => self.lcs(bucket, a, b, want),
            Op::Delete(keys) => self.delete_many(bucket, keys),
            Op::Exists(keys) => {
                let exist = keys.iter().filter(|key| self.find(bucket, key).is_some()).count();
                Ok(integer(exist))
            }
            Op::Type(key) => Ok(Answer::Text(match self.find(bucket, key) {
                Some(_) => "string",
                None => "none",
            })),
            Op::TimeToLive(key) => {
                let now = self.now.millis();
                Ok(self.ends(bucket, key, |end| end.saturating_sub(now)))
            }
            Op::ExpiresAt(key) => Ok(self.ends(bucket, key, |end| end)),
            Op::Expire(key, expiry, when) => self.expire(bucket, key, *expiry, *when),
            Op::Rename { from, to, absent } => self.rename(bucket, from, to, *absent),
            Op::Copy { from, bucket: other, to, replace } => {
                self.copy((bucket, from), (*other, to), *replace)
            }
            Op::Versions(keys) => {
                let version = |key: &Key| Answer::Integer(self.version(bucket, key) as i64);
                Ok(Answer::List(keys.iter().map(version).collect()))
            }
            Op::IdleTime(key) => Ok(match self.find(bucket, key) {
                Some(row) => {
                    Answer::Integer(self.now.millis().saturating_sub(row.stamp.millis()) as i64)
                }
                None => Answer::Nil,
            }),
            Op::Encoding(key) => Ok(match self.find(bucket, key) {
                Some(row) => Answer::Text(encoding(&row.value)),
                None => Answer::Nil,
            }),
            Op::Flush => {
                self.reset(row::space(bucket));
                Ok(Answer::Done)
            }
            Op::FlushAll => {
                (0..BUCKETS).for_each(|bucket| self.reset(row::space(Bucket(bucket))));
                Ok(Answer::Done)
            }
            Op::Say(answer) => Ok((**answer).clone()),
        }
    }
}

/// Rows in, changes out.
impl Turn<'_> {
    /// The key's row, if the key exists.
    fn find(&mut self, bucket: Bucket, key: &[u8]) -> Option<Row> {
        let row = self.look(&row::place(bucket, key))?;
        if !row.live(self.stamp) {
            return None;
        }
        self.due |= !row.live(self.now);
        Some(row)
    }

    fn look(&self, at: &RowKey) -> Option<Row> {
        if let Some(overlay) = &self.overlay {
            if let Some(row) = overlay.rows.get(at) {
                return row.clone();
            }
            if overlay.emptied.contains(&at.space) {
                return None;
            }
        }
        self.rows.get(at).map(|bytes| Row::of_table(at, bytes))
    }

    fn version(&mut self, bucket: Bucket, key: &[u8]) -> u64 {
        self.find(bucket, key).map_or(0, |row| row.stamp.0)
    }

    /// The key is this now; one that has ended already is deleted instead. Returns its version.
    fn put(&mut self, bucket: Bucket, key: &[u8], value: Bytes, end: Option<u64>) -> u64 {
        let row = Row { stamp: self.stamp, expires_at_ms: end, value };
        if !row.live(self.stamp) {
            self.delete(bucket, key);
            return 0;
        }
        if let Some(end) = end {
            let index = row::expiry_index(end, bucket, key);
            self.changes.push(Change::Put(index, Bytes::new()));
        }
        let (at, bytes) = (row::place(bucket, key), row.encode());
        if let Some(overlay) = &mut self.overlay {
            overlay.rows.insert(at.clone(), Some(row));
        }
        self.changes.push(Change::Put(at, bytes));
        self.stamp.0
    }

    fn delete(&mut self, bucket: Bucket, key: &[u8]) {
        let at = row::place(bucket, key);
        if let Some(overlay) = &mut self.overlay {
            overlay.rows.insert(at.clone(), None);
        }
        self.changes.push(Change::Delete(at));
    }

    fn reset(&mut self, space: Space) {
        self.changes.push(Change::Reset(space));
        if let Some(overlay) = &mut self.overlay {
            overlay.rows.retain(|at, _| at.space != space);
            overlay.emptied.insert(space);
        }
    }

    /// Takes `bytes` from what the batch may still copy or answer.
    fn spend(&mut self, bytes: usize) -> Result<(), Refusal> {
        match self.bytes_left.checked_sub(bytes) {
            Some(left) => {
                self.bytes_left = left;
                Ok(())
            }
            None => Err(Refusal::TooCostly {
                seen: (APPLY_BYTES_MAX - self.bytes_left + bytes) as u64,
                allowed: APPLY_BYTES_MAX as u64,
            }),
        }
    }

    /// When a key ends whose expiry is set to `expiry` now and was `kept` before.
    fn end(&self, expiry: Expiry, kept: Option<u64>) -> Result<Option<u64>, Refusal> {
        let at = match expiry {
            Expiry::Never => return Ok(None),
            Expiry::Keep => return Ok(kept),
            Expiry::AtMs(at) => at,
            Expiry::InMs(ms) => {
                let now = i64::try_from(self.stamp.millis()).map_err(|_| Refusal::InvalidExpiry)?;
                now.checked_add(ms).ok_or(Refusal::InvalidExpiry)?
            }
        };
        Ok(Some(u64::try_from(at).unwrap_or(0)))
    }

    /// The same for a command that stores or answers a value: zero and less is no time for it.
    fn end_of_value(&self, expiry: Expiry, kept: Option<u64>) -> Result<Option<u64>, Refusal> {
        match expiry {
            Expiry::InMs(ms) | Expiry::AtMs(ms) if ms <= 0 => Err(Refusal::InvalidExpiry),
            _ => self.end(expiry, kept),
        }
    }
}

/// The operations.
impl Turn<'_> {
    fn get(&mut self, bucket: Bucket, key: &[u8]) -> Result<Answer, Refusal> {
        match self.find(bucket, key) {
            Some(row) => {
                self.spend(row.value.len())?;
                Ok(Answer::Bytes(row.value))
            }
            None => Ok(Answer::Nil),
        }
    }

    fn get_many(&mut self, bucket: Bucket, keys: &[Key]) -> Result<Answer, Refusal> {
        let answers = keys.iter().map(|key| self.get(bucket, key));
        Ok(Answer::List(answers.collect::<Result<_, _>>()?))
    }

    fn get_versioned(&mut self, bucket: Bucket, key: &[u8]) -> Result<Answer, Refusal> {
        let Some(row) = self.find(bucket, key) else { return Ok(Answer::Nil) };
        self.spend(row.value.len())?;
        Ok(Answer::List(vec![
            Answer::Integer(row.stamp.0 as i64),
            Answer::Integer(row.expires_at_ms.map_or(-1, |end| end as i64)),
            Answer::Bytes(row.value),
        ]))
    }

    fn set(
        &mut self,
        bucket: Bucket,
        key: &[u8],
        value: &Bytes,
        expiry: Expiry,
        when: When,
        old: bool,
    ) -> Result<Answer, Refusal> {
        let blind = when == When::Always && expiry != Expiry::Keep && !old;
        let before = if blind { None } else { self.find(bucket, key) };
        let end = self.end_of_value(expiry, before.as_ref().and_then(|row| row.expires_at_ms))?;
        let holds = match when {
            When::Always => true,
            When::Absent => before.is_none(),
            When::Present => before.is_some(),
            When::Version(version) => before.as_ref().map_or(0, |row| row.stamp.0) == version,
        };
        if old {
            self.spend(before.as_ref().map_or(0, |row| row.value.len()))?;
        }
        if holds {
            self.put(bucket, key, value.clone(), end);
        }
        Ok(match (old, before) {
            (true, Some(row)) => Answer::Bytes(row.value),
            (true, None) => Answer::Nil,
            (false, _) => done_or(holds, Answer::Nil),
        })
    }

    fn compare_and_set(
        &mut self,
        bucket: Bucket,
        key: &[u8],
        version: u64,
        value: Option<&Bytes>,
        expiry: Expiry,
    ) -> Result<Answer, Refusal> {
        let before = self.find(bucket, key);
        let end = self.end_of_value(expiry, before.as_ref().and_then(|row| row.expires_at_ms))?;
        let seen = before.map_or(0, |row| row.stamp.0);
        if seen != version {
            return Ok(Answer::Conflict(seen));
        }
        Ok(Answer::Integer(match value {
            Some(value) => self.put(bucket, key, value.clone(), end) as i64,
            None => {
                if seen != 0 {
                    self.delete(bucket, key);
                }
                0
            }
        }))
    }

    fn set_many(
        &mut self,
        bucket: Bucket,
        pairs: &[(Key, Bytes)],
        absent: bool,
    ) -> Result<Answer, Refusal> {
        if absent && pairs.iter().any(|(key, _)| self.find(bucket, key).is_some()) {
            return Ok(Answer::Integer(0));
        }
        for (key, value) in pairs {
            self.put(bucket, key, value.clone(), None);
        }
        Ok(if absent { Answer::Integer(1) } else { Answer::Done })
    }

    fn get_delete(&mut self, bucket: Bucket, key: &[u8]) -> Result<Answer, Refusal> {
        let answer = self.get(bucket, key)?;
        if answer != Answer::Nil {
            self.delete(bucket, key);
        }
        Ok(answer)
    }

    fn get_expire(
        &mut self,
        bucket: Bucket,
        key: &[u8],
        expiry: Expiry,
    ) -> Result<Answer, Refusal> {
        let Some(row) = self.find(bucket, key) else { return Ok(Answer::Nil) };
        let end = self.end_of_value(expiry, row.expires_at_ms)?;
        self.spend(row.value.len())?;
        if end != row.expires_at_ms {
            self.put(bucket, key, row.value.clone(), end);
        }
        Ok(Answer::Bytes(row.value))
    }

    fn append(&mut self, bucket: Bucket, key: &[u8], part: &[u8]) -> Result<Answer, Refusal> {
        let (before, end) = self.find(bucket, key).map_or_else(Default::default, value_and_end);
        let bytes = before.len() + part.len();
        fits("value", bytes, VALUE_BYTES_MAX)?;
        self.spend(bytes)?;
        self.put(bucket, key, [&before[..], part].concat().into(), end);
        Ok(integer(bytes))
    }

    fn get_range(
        &mut self,
        bucket: Bucket,
        key: &[u8],
        start: i64,
        end: i64,
    ) -> Result<Answer, Refusal> {
        let Some(row) = self.find(bucket, key) else { return Ok(Answer::Bytes(Bytes::new())) };
        let part = range_of(row.value.len(), start, end);
        self.spend(part.len())?;
        Ok(Answer::Bytes(row.value.slice(part)))
    }

    fn set_range(
        &mut self,
        bucket: Bucket,
        key: &[u8],
        offset: i64,
        part: &[u8],
    ) -> Result<Answer, Refusal> {
        let offset = usize::try_from(offset).map_err(|_| Refusal::OutOfRange("offset"))?;
        let (before, end) = self.find(bucket, key).map_or_else(Default::default, value_and_end);
        if part.is_empty() {
            return Ok(integer(before.len()));
        }
        let part_end = offset.saturating_add(part.len());
        fits("value", part_end, VALUE_BYTES_MAX)?;
        let bytes = before.len().max(part_end);
        self.spend(bytes)?;
        let mut value = before.to_vec();
        value.resize(bytes, 0);
        value[offset..part_end].copy_from_slice(part);
        self.put(bucket, key, value.into(), end);
        Ok(integer(bytes))
    }

    fn add(&mut self, bucket: Bucket, key: &[u8], by: i64) -> Result<Answer, Refusal> {
        let (value, end) = match self.find(bucket, key) {
            Some(row) => {
                (parse_integer(&row.value).ok_or(Refusal::NotAnInteger)?, row.expires_at_ms)
            }
            None => (0, None),
        };
        let value = value.checked_add(by).ok_or(Refusal::Overflow)?;
        self.put(bucket, key, value.to_string().into(), end);
        Ok(Answer::Integer(value))
    }

    fn add_decimal(&mut self, bucket: Bucket, key: &[u8], by: &[u8]) -> Result<Answer, Refusal> {
        let (value, end) = match self.find(bucket, key) {
            Some(row) => value_and_end(row),
            None => (Bytes::from_static(b"0"), None),
        };
        let value = Bytes::from(add_decimal(&value, by)?);
        self.put(bucket, key, value.clone(), end);
        Ok(Answer::Bytes(value))
    }

    fn lcs(
        &mut self,
        bucket: Bucket,
        a: &[u8],
        b: &[u8],
        want: &LcsWant,
    ) -> Result<Answer, Refusal> {
        let mut value = |key| self.find(bucket, key).map_or_else(Bytes::new, |row| row.value);
        let (a, b) = (value(a), value(b));
        let cells = a.len() as u64 * b.len() as u64;
        self.cells_left = self.cells_left.checked_sub(cells).ok_or(Refusal::TooCostly {
            seen: LCS_CELLS_MAX - self.cells_left + cells,
            allowed: LCS_CELLS_MAX,
        })?;
        Ok(lcs(&a, &b, want))
    }

    fn delete_many(&mut self, bucket: Bucket, keys: &[Key]) -> Result<Answer, Refusal> {
        let mut gone = 0;
        for key in keys {
            if self.find(bucket, key).is_some() {
                self.delete(bucket, key);
                gone += 1;
            }
        }
        Ok(Answer::Integer(gone))
    }

    fn ends(&mut self, bucket: Bucket, key: &[u8], say: impl FnOnce(u64) -> u64) -> Answer {
        Answer::Integer(match self.find(bucket, key).map(|row| row.expires_at_ms) {
            None => -2,
            Some(None) => -1,
            Some(Some(end)) => i64::try_from(say(end)).unwrap_or(i64::MAX),
        })
    }

    fn expire(
        &mut self,
        bucket: Bucket,
        key: &[u8],
        expiry: Expiry,
        when: ExpiryWhen,
    ) -> Result<Answer, Refusal> {
        let new = self.end(expiry, None)?;
        let Some(row) = self.find(bucket, key) else { return Ok(Answer::Integer(0)) };
        let old = row.expires_at_ms;
        let changes = match expiry {
            Expiry::Keep => false,
            Expiry::Never => old.is_some(),
            Expiry::InMs(_) | Expiry::AtMs(_) => expiry_holds(when, old, new.unwrap_or(u64::MAX)),
        };
        if changes {
            self.spend(row.value.len())?;
            self.put(bucket, key, row.value, new);
        }
        Ok(Answer::Integer(i64::from(changes)))
    }

    fn rename(
        &mut self,
        bucket: Bucket,
        from: &Key,
        to: &Key,
        absent: bool,
    ) -> Result<Answer, Refusal> {
        let Some(row) = self.find(bucket, from) else { return Err(Refusal::NoSuchKey) };
        if absent && self.find(bucket, to).is_some() {
            return Ok(Answer::Integer(0));
        }
        if from != to {
            self.spend(row.value.len())?;
            self.delete(bucket, from);
            self.put(bucket, to, row.value, row.expires_at_ms);
        }
        Ok(if absent { Answer::Integer(1) } else { Answer::Done })
    }

    fn copy(
        &mut self,
        from: (Bucket, &Key),
        to: (Bucket, &Key),
        replace: bool,
    ) -> Result<Answer, Refusal> {
        if from == to {
            return Err(Refusal::Invalid("a copy onto itself"));
        }
        let Some(row) = self.find(from.0, from.1) else { return Ok(Answer::Integer(0)) };
        if !replace && self.find(to.0, to.1).is_some() {
            return Ok(Answer::Integer(0));
        }
        self.spend(row.value.len())?;
        self.put(to.0, to.1, row.value, row.expires_at_ms);
        Ok(Answer::Integer(1))
    }
}

fn integer(value: usize) -> Answer {
    Answer::Integer(value as i64)
}

fn done_or(done: bool, otherwise: Answer) -> Answer {
    if done { Answer::Done } else { otherwise }
}

fn value_and_end(row: Row) -> (Bytes, Option<u64>) {
    (row.value, row.expires_at_ms)
}

/// Whether an expiry may change from `old` to `new`.
fn expiry_holds(when: ExpiryWhen, old: Option<u64>, new: u64) -> bool {
    (!when.none || old.is_none())
        && (!when.some || old.is_some())
        && (!when.later || old.is_some_and(|old| new > old))
        && (!when.earlier || old.is_none_or(|old| new < old))
}

/// The bytes from `start` to `end` of a value of `length` bytes. An end before the first byte is
/// the first byte: Redis answers `h` to `GETRANGE hello 0 -100`.
fn range_of(length: usize, start: i64, end: i64) -> std::ops::Range<usize> {
    if length == 0 || (start < 0 && end < 0 && start > end) {
        return 0..0;
    }
    let length = length as i64;
    let from_end = |at: i64| if at < 0 { (length + at).max(0) } else { at };
    let (start, end) = (from_end(start), from_end(end).min(length - 1));
    if start > end { 0..0 } else { start as usize..end as usize + 1 }
}

fn encoding(value: &[u8]) -> &'static str {
    match value.len() {
        _ if parse_integer(value).is_some() => "int",
        0..=44 => "embstr",
        _ => "raw",
    }
}
