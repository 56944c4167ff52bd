//! What a batch touches, and whether it is small enough for the log.

use super::{Answer, BUCKETS, Batch, Bucket, Expiry, Op, When};
use crate::{RowKey, pack, row};
use base::key::{KEY_BYTES_MAX, VALUE_BYTES_MAX};
use base::{Key, Refusal};

/// No batch costs more than this, whatever the configuration says: a log and a peer are believed no
/// more operations, keys and conditions than that.
pub const COST_MAX: u64 = 1 << 16;

/// Bounds on a batch, checked before it enters the log. A configuration may lower them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest key in bytes. Default 16 KiB.
    pub key_bytes_max: usize,
    /// Longest value in bytes. Default 4 MiB.
    pub value_bytes_max: usize,
    /// Most bytes of keys and values in a batch. Default 4 MiB and room for one longest key and its
    /// frame, so that the longest value fits.
    pub batch_bytes_max: usize,
    /// Most cost of a batch: one per operation and one per key. Default [`COST_MAX`], about a tenth
    /// of a second; may be set lower.
    pub cost_max: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            key_bytes_max: KEY_BYTES_MAX,
            value_bytes_max: VALUE_BYTES_MAX,
            batch_bytes_max: VALUE_BYTES_MAX + 4 * KEY_BYTES_MAX,
            cost_max: COST_MAX,
        }
    }
}

/// Refuses a batch that is larger or costlier than `limits`, or malformed. What only shows when the
/// rows are known (a value that grows, a longest common subsequence) is refused then.
pub fn check(batch: &Batch, limits: &Limits) -> Result<(), Refusal> {
    let (cost, allowed) = (batch.cost(), limits.cost_max.min(COST_MAX));
    if cost > allowed {
        return Err(Refusal::TooCostly { seen: cost, allowed });
    }
    fits("request", batch.bytes(), limits.batch_bytes_max)?;
    for condition in &batch.conditions {
        check_bucket(condition.bucket)?;
        fits("key", condition.key.len(), limits.key_bytes_max)?;
    }
    batch.ops.iter().try_for_each(|(bucket, op)| check_op(*bucket, op, limits))
}

fn check_op(bucket: Bucket, op: &Op, limits: &Limits) -> Result<(), Refusal> {
    check_bucket(bucket)?;
    for key in op.keys() {
        fits("key", key.len(), limits.key_bytes_max)?;
    }
    let value = |bytes: usize| fits("value", bytes, limits.value_bytes_max);
    match op {
        Op::Set { value: new, .. } => value(new.len()),
        Op::CompareAndSet { value: new, .. } => value(new.as_ref().map_or(0, |new| new.len())),
        Op::SetMany { pairs, .. } => pairs.iter().try_for_each(|(_, new)| value(new.len())),
        Op::Append(_, part) => value(part.len()),
        Op::SetRange { offset, value: part, .. } => match usize::try_from(*offset) {
            Ok(offset) if !part.is_empty() => value(offset.saturating_add(part.len())),
            _ => Ok(()),
        },
        Op::Copy { bucket, .. } => check_bucket(*bucket),
        Op::Say(answer) if !pack::can_say(answer) => Err(Refusal::Invalid("word")),
        _ => Ok(()),
    }
}

fn check_bucket(bucket: Bucket) -> Result<(), Refusal> {
    if bucket.0 < BUCKETS { Ok(()) } else { Err(Refusal::OutOfRange("bucket")) }
}

pub(super) fn fits(what: &'static str, seen: usize, allowed: usize) -> Result<(), Refusal> {
    if seen <= allowed {
        return Ok(());
    }
    Err(Refusal::TooLarge { what, seen: seen as u64, allowed: allowed as u64 })
}

/// The rows that the batch's answers and changes depend on; one may stand there twice. A batch of
/// blind writes has none.
pub fn reads(batch: &Batch) -> Vec<RowKey> {
    let mut rows = Vec::new();
    for condition in &batch.conditions {
        rows.push(row::place(condition.bucket, &condition.key));
    }
    for (bucket, op) in &batch.ops {
        if op.blind() {
            continue;
        }
        match op {
            Op::Copy { from, bucket: other, to, .. } => {
                rows.extend([row::place(*bucket, from), row::place(*other, to)]);
            }
            _ => rows.extend(op.keys().map(|key| row::place(*bucket, key))),
        }
    }
    rows
}

impl Op {
    /// Whether neither the answer nor the changes depend on any row.
    fn blind(&self) -> bool {
        match self {
            Op::Set { expiry, when, old, .. } => {
                *when == When::Always && *expiry != Expiry::Keep && !old
            }
            Op::SetMany { absent, .. } => !absent,
            Op::Flush | Op::FlushAll | Op::Say(_) => true,
            _ => false,
        }
    }

    /// Every key that the operation names.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        let none: &[Key] = &[];
        let (one, two, many, pairs) = match self {
            Op::Get(key)
            | Op::GetVersioned(key)
            | Op::Set { key, .. }
            | Op::CompareAndSet { key, .. }
            | Op::GetDelete(key)
            | Op::GetExpire(key, _)
            | Op::Append(key, _)
            | Op::Length(key)
            | Op::GetRange { key, .. }
            | Op::SetRange { key, .. }
            | Op::Add(key, _)
            | Op::AddDecimal(key, _)
            | Op::Type(key)
            | Op::TimeToLive(key)
            | Op::ExpiresAt(key)
            | Op::Expire(key, ..)
            | Op::IdleTime(key)
            | Op::Encoding(key) => (Some(key), None, none, &[][..]),
            Op::Lcs { a, b, .. } => (Some(a), Some(b), none, &[][..]),
            Op::Rename { from, to, .. } | Op::Copy { from, to, .. } => {
                (Some(from), Some(to), none, &[][..])
            }
            Op::GetMany(keys) | Op::Delete(keys) | Op::Exists(keys) | Op::Versions(keys) => {
                (None, None, &keys[..], &[][..])
            }
            Op::SetMany { pairs, .. } => (None, None, none, &pairs[..]),
            Op::Flush | Op::FlushAll | Op::Say(_) => (None, None, none, &[][..]),
        };
        one.into_iter().chain(two).chain(many).chain(pairs.iter().map(|(key, _)| key))
    }

    /// How many parts it has: keys, or answers within the one that it says.
    fn parts(&self) -> usize {
        match self {
            Op::Say(answer) => answer.parts(),
            _ => self.keys().count(),
        }
    }

    /// Bytes of values that the operation carries.
    fn value_bytes(&self) -> usize {
        match self {
            Op::Set { value, .. }
            | Op::Append(_, value)
            | Op::SetRange { value, .. }
            | Op::AddDecimal(_, value) => value.len(),
            Op::CompareAndSet { value, .. } => value.as_ref().map_or(0, |value| value.len()),
            Op::SetMany { pairs, .. } => pairs.iter().map(|(_, value)| value.len()).sum(),
            Op::Say(answer) => answer.bytes(),
            _ => 0,
        }
    }
}

impl Answer {
    /// How many answers are in it.
    fn parts(&self) -> usize {
        match self {
            Answer::List(items) => items.iter().map(|item| 1 + item.parts()).sum(),
            _ => 0,
        }
    }

    /// About how many bytes the answer takes.
    pub fn bytes(&self) -> usize {
        match self {
            Answer::Bytes(bytes) => 4 + bytes.len(),
            Answer::List(items) => 4 + items.iter().map(Answer::bytes).sum::<usize>(),
            _ => 12,
        }
    }
}

impl Batch {
    /// About how much work it is: one for each operation, key and condition. No fewer than the parts
    /// that [`pack`] counts when it reads the batch.
    pub fn cost(&self) -> u64 {
        let ops: usize = self.ops.iter().map(|(_, op)| 1 + op.parts()).sum();
        (ops + self.conditions.len()) as u64
    }

    /// About how many bytes the batch takes in the log.
    pub fn bytes(&self) -> usize {
        let conditions: usize = self.conditions.iter().map(|c| 16 + c.key.len()).sum();
        let op =
            |op: &Op| 12 + op.keys().map(|key| 4 + key.len()).sum::<usize>() + 4 + op.value_bytes();
        conditions + self.ops.iter().map(|(_, it)| op(it)).sum::<usize>()
    }
}
