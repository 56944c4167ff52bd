//! The key-value operations, as every protocol's gateway speaks of them.
//!
//! A [`Batch`] is the unit that a client sends: one operation, or several that take effect together
//! or, when a condition fails, not at all. A batch of reads never enters the log.

use base::{Bytes, Key, Refusal};

/// One of the buckets that a `kv` shard holds. The sixteen default buckets are 0 to 15.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bucket(pub u16);

/// How many default buckets there are.
pub const BUCKETS: u16 = 16;

/// Operations that take effect together, in order, each seeing what those before it did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Batch {
    /// All must hold, or the batch changes nothing and answers [`Outcome::Aborted`].
    pub conditions: Vec<Condition>,
    /// What to do, each in its bucket.
    pub ops: Vec<(Bucket, Op)>,
}

/// A key's version must be what the client last saw.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Condition {
    /// The key's bucket.
    pub bucket: Bucket,
    /// The key.
    pub key: Key,
    /// The version it must have: the stamp of its last write; 0 if it must not exist.
    pub version: u64,
}

/// When a key ends. An operation that stores or answers a value (Set, CompareAndSet, GetExpire)
/// refuses times that are not positive as InvalidExpiry, as Redis does; Expire takes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Expiry {
    /// Never.
    Never,
    /// As before the operation.
    Keep,
    /// So many milliseconds after the operation's stamp. Not positive: at once.
    InMs(i64),
    /// At this many milliseconds since the Unix epoch. In the past: at once.
    AtMs(i64),
}

/// When a write of a value takes place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum When {
    /// Always.
    Always,
    /// Only if the key does not exist.
    Absent,
    /// Only if the key exists.
    Present,
    /// Only if the key's version is this (0: it does not exist).
    Version(u64),
}

/// When a change of an expiry takes place, seen against the expiry that the key has. A key without
/// one counts as ending never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ExpiryWhen {
    /// Only if the key has no expiry.
    pub none: bool,
    /// Only if the key has an expiry.
    pub some: bool,
    /// Only if the new expiry is later.
    pub later: bool,
    /// Only if the new expiry is earlier.
    pub earlier: bool,
}

/// One operation on one bucket. In brackets: the answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// The value. [Bytes or Nil]
    Get(Key),
    /// The values of several keys. [List of Bytes or Nil]
    GetMany(Vec<Key>),
    /// The value with its version and expiry. [List(Integer version, Integer expiry in ms or -1,
    /// Bytes) or Nil]
    GetVersioned(Key),
    /// Stores a value. [Done, or Nil if `when` did not hold; with `old`: the old Bytes or Nil]
    Set {
        /// The key.
        key: Key,
        /// Its new value.
        value: Bytes,
        /// When it ends.
        expiry: Expiry,
        /// Under which condition.
        when: When,
        /// Answer the old value instead of Done or Nil.
        old: bool,
    },
    /// Compare and set on a version. [Integer: the new version; Conflict with the version that the
    /// key has if it is another]
    CompareAndSet {
        /// The key.
        key: Key,
        /// The version that it must have; 0 if it must not exist.
        version: u64,
        /// Its new value; `None` deletes it.
        value: Option<Bytes>,
        /// When it ends.
        expiry: Expiry,
    },
    /// Stores several values. With `absent`: only if none of the keys exists.
    /// [Done; with `absent`: Integer 1 or 0]
    SetMany {
        /// Keys with their values; of a key given twice the last counts.
        pairs: Vec<(Key, Bytes)>,
        /// Only if none of the keys exists.
        absent: bool,
    },
    /// The value, and the key is gone. [Bytes or Nil]
    GetDelete(Key),
    /// The value, and the key ends as told; [`Expiry::Keep`] changes nothing, `Never` persists.
    /// [Bytes or Nil]
    GetExpire(Key, Expiry),
    /// Appends to the value, an absent one being empty. [Integer: the new length in bytes]
    Append(Key, Bytes),
    /// Length in bytes; 0 if absent. [Integer]
    Length(Key),
    /// A part of the value from `start` to `end`, both included, negative from the end.
    /// [Bytes, empty if out of range or absent]
    GetRange {
        /// The key.
        key: Key,
        /// First byte.
        start: i64,
        /// Last byte.
        end: i64,
    },
    /// Overwrites a part of the value, padding with zero bytes. [Integer: the new length]
    SetRange {
        /// The key.
        key: Key,
        /// Where the part begins, not negative (Refused OutOfRange otherwise).
        offset: i64,
        /// The part; empty changes nothing.
        value: Bytes,
    },
    /// Adds to an integer; an absent one is 0. [Integer, or Refused NotAnInteger / Overflow]
    Add(Key, i64),
    /// Adds to a decimal number exactly; an absent one is 0. The text is the client's increment.
    /// [Bytes: the new value in plain notation, or Refused NotANumber / Overflow]
    AddDecimal(Key, Bytes),
    /// Longest common subsequence of two values (absent ones are empty), cost-limited.
    Lcs {
        /// The first key.
        a: Key,
        /// The second key.
        b: Key,
        /// What to answer.
        want: LcsWant,
    },
    /// Deletes keys. [Integer: how many existed]
    Delete(Vec<Key>),
    /// How many of the keys exist, a key given twice counting twice. [Integer]
    Exists(Vec<Key>),
    /// The type's name: "string" or "none". [Text]
    Type(Key),
    /// Milliseconds until the key ends; -1 if never, -2 if it does not exist. [Integer]
    TimeToLive(Key),
    /// When the key ends, ms since the Unix epoch; -1 if never, -2 if it does not exist. [Integer]
    ExpiresAt(Key),
    /// Changes when the key ends ([`Expiry::Never`] persists). [Integer 1, or 0 if it does not
    /// exist, `when` did not hold, or there was nothing to persist]
    Expire(Key, Expiry, ExpiryWhen),
    /// Gives the key another name, overwriting that. [Done, or Refused NoSuchKey;
    /// with `absent`: Integer 1, or 0 if the new name exists]
    Rename {
        /// The key.
        from: Key,
        /// Its new name.
        to: Key,
        /// Only if the new name does not exist.
        absent: bool,
    },
    /// Copies a key with its expiry. [Integer 1 or 0]
    Copy {
        /// The key.
        from: Key,
        /// The copy's bucket.
        bucket: Bucket,
        /// The copy's name.
        to: Key,
        /// Overwrite an existing one.
        replace: bool,
    },
    /// The key's version (0 if absent), for a later [`Condition`]. [Integer per key, in a List]
    Versions(Vec<Key>),
    /// Milliseconds of shard time since the key was last written. [Integer or Nil]
    IdleTime(Key),
    /// The encoding that Redis would name: "int", "embstr" or "raw". [Text or Nil]
    Encoding(Key),
    /// Empties the bucket by giving it fresh ground. [Done]
    Flush,
    /// Empties all buckets. [Done]
    FlushAll,
    /// An answer that needs no row but must keep its place in a batch (PING in MULTI). [as given]
    Say(Box<Answer>),
}

/// What [`Op::Lcs`] answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LcsWant {
    /// The subsequence. [Bytes]
    Text,
    /// Its length. [Integer]
    Length,
    /// Where it matches. [List(Text "matches", List of matches, Text "len", Integer), each match
    /// List(List(a start, a end), List(b start, b end)[, length])], last match first
    Matches {
        /// Matches shorter than this are left out.
        length_min: i64,
        /// Each match with its length.
        with_length: bool,
    },
}

/// What one operation answers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// Done, with nothing to say.
    Done,
    /// There is no value.
    Nil,
    /// A number.
    Integer(i64),
    /// A value.
    Bytes(Bytes),
    /// A word of ours, one of [`crate::pack::WORDS`].
    Text(&'static str),
    /// Several answers.
    List(Vec<Answer>),
    /// The version is another: the one that the key has.
    Conflict(u64),
    /// This operation can't be done as asked and changed nothing; those beside it in the batch
    /// took effect.
    Refused(Refusal),
}

/// What a batch answers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// One answer per operation.
    Answers(Vec<Answer>),
    /// A condition did not hold; nothing changed.
    Aborted,
}

impl Op {
    /// Whether the operation may change rows.
    pub fn writes(&self) -> bool {
        match self {
            Op::Get(_)
            | Op::GetMany(_)
            | Op::GetVersioned(_)
            | Op::Length(_)
            | Op::GetRange { .. }
            | Op::Lcs { .. }
            | Op::Exists(_)
            | Op::Type(_)
            | Op::TimeToLive(_)
            | Op::ExpiresAt(_)
            | Op::Versions(_)
            | Op::IdleTime(_)
            | Op::Encoding(_)
            | Op::Say(_) => false,
            Op::Set { .. }
            | Op::CompareAndSet { .. }
            | Op::SetMany { .. }
            | Op::GetDelete(_)
            | Op::GetExpire(..)
            | Op::Append(..)
            | Op::SetRange { .. }
            | Op::Add(..)
            | Op::AddDecimal(..)
            | Op::Delete(_)
            | Op::Expire(..)
            | Op::Rename { .. }
            | Op::Copy { .. }
            | Op::Flush
            | Op::FlushAll => true,
        }
    }
}

impl Batch {
    /// A batch of one operation.
    pub fn one(bucket: Bucket, op: Op) -> Batch {
        Batch { conditions: Vec::new(), ops: vec![(bucket, op)] }
    }

    /// Whether the batch must enter the log.
    pub fn writes(&self) -> bool {
        self.ops.iter().any(|(_, op)| op.writes())
    }
}
