//! The commands about keys and strings: arguments to operations.
//!
//! Each function reads one command's arguments, as Redis does and in its order, so that a request
//! with two mistakes gets the same error from both. What the arguments do is the service's to say.

use super::args::{Unit, database, integer, is};
use super::errors::{NO_FREQUENCY, SAME_OBJECT, SYNTAX, Wrong, arity};
use super::shape::Shape;
use super::table::Spec;
use base::{Bytes, Time};
use service::kv::{Bucket, Expiry, ExpiryWhen, LcsWant, Op, When};

/// What a command's meaning may depend on.
pub(super) struct Context {
    pub(super) now: Time,
    pub(super) db: Bucket,
    pub(super) spec: &'static Spec,
}

/// An operation and how its answer is written.
pub(super) type Plan = Result<(Op, Shape), Wrong>;

/// `[command, key, ...]` to an operation on that key with a plain answer.
fn plain(op: Op) -> Plan {
    Ok((op, Shape::Plain))
}

pub(super) fn get(_: &Context, args: &[Bytes]) -> Plan {
    plain(Op::Get(args[1].clone()))
}

pub(super) fn getdel(_: &Context, args: &[Bytes]) -> Plan {
    plain(Op::GetDelete(args[1].clone()))
}

pub(super) fn strlen(_: &Context, args: &[Bytes]) -> Plan {
    plain(Op::Length(args[1].clone()))
}

pub(super) fn append(_: &Context, args: &[Bytes]) -> Plan {
    plain(Op::Append(args[1].clone(), args[2].clone()))
}

pub(super) fn mget(_: &Context, args: &[Bytes]) -> Plan {
    plain(Op::GetMany(args[1..].to_vec()))
}

fn store(args: &[Bytes], value: usize, expiry: Expiry, when: When, old: bool) -> Op {
    Op::Set { key: args[1].clone(), value: args[value].clone(), expiry, when, old }
}

/// SET key value [NX|XX] [GET] [EX|PX|EXAT|PXAT time|KEEPTTL]
pub(super) fn set(context: &Context, args: &[Bytes]) -> Plan {
    let (mut when, mut old, mut keep) = (When::Always, false, false);
    let mut time: Option<(Unit, &Bytes)> = None;
    let mut rest = args[3..].iter();
    while let Some(option) = rest.next() {
        if is(option, "nx") && when != When::Present {
            when = When::Absent;
        } else if is(option, "xx") && when != When::Absent {
            when = When::Present;
        } else if is(option, "get") {
            old = true;
        } else if is(option, "keepttl") && time.is_none() {
            keep = true;
        } else {
            let unit = Unit::of_option(option).ok_or(SYNTAX)?;
            if keep || time.is_some_and(|(before, _)| before != unit) {
                return Err(SYNTAX);
            }
            time = Some((unit, rest.next().ok_or(SYNTAX)?));
        }
    }
    let expiry = match time {
        Some((unit, number)) => unit.positive(number, context.now, context.spec)?,
        None if keep => Expiry::Keep,
        None => Expiry::Never,
    };
    plain(store(args, 2, expiry, when, old))
}

pub(super) fn setnx(_: &Context, args: &[Bytes]) -> Plan {
    Ok((store(args, 2, Expiry::Never, When::Absent, false), Shape::OneOrZero))
}

pub(super) fn setex(context: &Context, args: &[Bytes]) -> Plan {
    let expiry = Unit::Seconds.positive(&args[2], context.now, context.spec)?;
    plain(store(args, 3, expiry, When::Always, false))
}

pub(super) fn psetex(context: &Context, args: &[Bytes]) -> Plan {
    let expiry = Unit::Millis.positive(&args[2], context.now, context.spec)?;
    plain(store(args, 3, expiry, When::Always, false))
}

pub(super) fn getset(_: &Context, args: &[Bytes]) -> Plan {
    plain(store(args, 2, Expiry::Never, When::Always, true))
}

/// GETEX key [EX|PX|EXAT|PXAT time|PERSIST]
pub(super) fn getex(context: &Context, args: &[Bytes]) -> Plan {
    let (mut persist, mut time) = (false, None::<(Unit, &Bytes)>);
    let mut rest = args[2..].iter();
    while let Some(option) = rest.next() {
        if is(option, "persist") && time.is_none() {
            persist = true;
        } else {
            let unit = Unit::of_option(option).ok_or(SYNTAX)?;
            if persist || time.is_some_and(|(before, _)| before != unit) {
                return Err(SYNTAX);
            }
            time = Some((unit, rest.next().ok_or(SYNTAX)?));
        }
    }
    let expiry = match time {
        Some((unit, number)) => unit.positive(number, context.now, context.spec),
        None if persist => Ok(Expiry::Never),
        None => Ok(Expiry::Keep),
    };
    match expiry {
        // Without a change it is a read, and stays out of the log.
        Ok(Expiry::Keep) => plain(Op::Get(args[1].clone())),
        Ok(expiry) => plain(Op::GetExpire(args[1].clone(), expiry)),
        // Redis looks for the key before it looks at the time.
        Err(wrong) => Ok((Op::Exists(vec![args[1].clone()]), Shape::ErrorIfExists(wrong))),
    }
}

pub(super) fn mset(context: &Context, args: &[Bytes]) -> Plan {
    if args.len().is_multiple_of(2) {
        return Err(arity(context.spec.name));
    }
    let pairs = args[1..].chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect();
    plain(Op::SetMany { pairs, absent: context.spec.name == "msetnx" })
}

pub(super) fn getrange(_: &Context, args: &[Bytes]) -> Plan {
    let (start, end) = (integer(&args[2])?, integer(&args[3])?);
    plain(Op::GetRange { key: args[1].clone(), start, end })
}

pub(super) fn setrange(_: &Context, args: &[Bytes]) -> Plan {
    let offset = integer(&args[2])?;
    if offset < 0 {
        return Err("ERR offset is out of range".into());
    }
    plain(Op::SetRange { key: args[1].clone(), offset, value: args[3].clone() })
}

pub(super) fn incr(_: &Context, args: &[Bytes]) -> Plan {
    plain(Op::Add(args[1].clone(), 1))
}

pub(super) fn decr(_: &Context, args: &[Bytes]) -> Plan {
    plain(Op::Add(args[1].clone(), -1))
}

pub(super) fn incrby(_: &Context, args: &[Bytes]) -> Plan {
    plain(Op::Add(args[1].clone(), integer(&args[2])?))
}

pub(super) fn decrby(_: &Context, args: &[Bytes]) -> Plan {
    let by = integer(&args[2])?.checked_neg().ok_or("ERR decrement would overflow")?;
    plain(Op::Add(args[1].clone(), by))
}

pub(super) fn incrbyfloat(_: &Context, args: &[Bytes]) -> Plan {
    plain(Op::AddDecimal(args[1].clone(), args[2].clone()))
}

/// LCS a b [LEN] [IDX] [MINMATCHLEN length] [WITHMATCHLEN]
pub(super) fn lcs(_: &Context, args: &[Bytes]) -> Plan {
    let (mut length, mut matches, mut length_min, mut with_length) = (false, false, 0, false);
    let mut rest = args[3..].iter();
    while let Some(option) = rest.next() {
        if is(option, "idx") {
            matches = true;
        } else if is(option, "len") {
            length = true;
        } else if is(option, "withmatchlen") {
            with_length = true;
        } else if is(option, "minmatchlen") {
            length_min = integer(rest.next().ok_or(SYNTAX)?)?.max(0);
        } else {
            return Err(SYNTAX);
        }
    }
    let (want, shape) = match (length, matches) {
        (true, true) => {
            let text = "ERR If you want both the length and indexes, please just use IDX.";
            return Err(text.into());
        }
        (true, false) => (LcsWant::Length, Shape::Plain),
        (false, true) => (LcsWant::Matches { length_min, with_length }, Shape::Map),
        (false, false) => (LcsWant::Text, Shape::Plain),
    };
    Ok((Op::Lcs { a: args[1].clone(), b: args[2].clone(), want }, shape))
}

pub(super) fn del(_: &Context, args: &[Bytes]) -> Plan {
    plain(Op::Delete(args[1..].to_vec()))
}

/// EXISTS and TOUCH, which counts the same.
pub(super) fn exists(_: &Context, args: &[Bytes]) -> Plan {
    plain(Op::Exists(args[1..].to_vec()))
}

pub(super) fn kind(_: &Context, args: &[Bytes]) -> Plan {
    Ok((Op::Type(args[1].clone()), Shape::Status))
}

pub(super) fn ttl(_: &Context, args: &[Bytes]) -> Plan {
    Ok((Op::TimeToLive(args[1].clone()), Shape::Seconds))
}

pub(super) fn pttl(_: &Context, args: &[Bytes]) -> Plan {
    plain(Op::TimeToLive(args[1].clone()))
}

pub(super) fn expiretime(_: &Context, args: &[Bytes]) -> Plan {
    Ok((Op::ExpiresAt(args[1].clone()), Shape::Seconds))
}

pub(super) fn pexpiretime(_: &Context, args: &[Bytes]) -> Plan {
    plain(Op::ExpiresAt(args[1].clone()))
}

pub(super) fn persist(_: &Context, args: &[Bytes]) -> Plan {
    plain(Op::Expire(args[1].clone(), Expiry::Never, ExpiryWhen::default()))
}

/// EXPIRE and its three siblings: key time [NX|XX|GT|LT]
fn expire_in(unit: Unit, context: &Context, args: &[Bytes]) -> Plan {
    let mut when = ExpiryWhen::default();
    for option in &args[3..] {
        if is(option, "nx") {
            when.none = true;
        } else if is(option, "xx") {
            when.some = true;
        } else if is(option, "gt") {
            when.later = true;
        } else if is(option, "lt") {
            when.earlier = true;
        } else {
            return Err(Wrong::quoting("ERR Unsupported option ", option, ""));
        }
    }
    if when.none && (when.some || when.later || when.earlier) {
        let text = "ERR NX and XX, GT or LT options at the same time are not compatible";
        return Err(text.into());
    }
    if when.later && when.earlier {
        return Err("ERR GT and LT options at the same time are not compatible".into());
    }
    let number = integer(&args[2])?;
    let expiry = unit.expiry(number, context.now, context.spec)?;
    plain(Op::Expire(args[1].clone(), expiry, when))
}

pub(super) fn expire(context: &Context, args: &[Bytes]) -> Plan {
    expire_in(Unit::Seconds, context, args)
}

pub(super) fn pexpire(context: &Context, args: &[Bytes]) -> Plan {
    expire_in(Unit::Millis, context, args)
}

pub(super) fn expireat(context: &Context, args: &[Bytes]) -> Plan {
    expire_in(Unit::AtSeconds, context, args)
}

pub(super) fn pexpireat(context: &Context, args: &[Bytes]) -> Plan {
    expire_in(Unit::AtMillis, context, args)
}

/// RENAME and RENAMENX.
pub(super) fn rename(context: &Context, args: &[Bytes]) -> Plan {
    let absent = context.spec.name == "renamenx";
    plain(Op::Rename { from: args[1].clone(), to: args[2].clone(), absent })
}

/// COPY from to [DB number] [REPLACE]
pub(super) fn copy(context: &Context, args: &[Bytes]) -> Plan {
    let (mut bucket, mut replace) = (context.db, false);
    let mut rest = args[3..].iter();
    while let Some(option) = rest.next() {
        if is(option, "replace") {
            replace = true;
        } else if is(option, "db") {
            bucket = database(rest.next().ok_or(SYNTAX)?)?;
        } else {
            return Err(SYNTAX);
        }
    }
    if bucket == context.db && args[1] == args[2] {
        return Err(SAME_OBJECT);
    }
    plain(Op::Copy { from: args[1].clone(), bucket, to: args[2].clone(), replace })
}

pub(super) fn object_encoding(_: &Context, args: &[Bytes]) -> Plan {
    plain(Op::Encoding(args[2].clone()))
}

pub(super) fn object_idletime(_: &Context, args: &[Bytes]) -> Plan {
    Ok((Op::IdleTime(args[2].clone()), Shape::WholeSeconds))
}

pub(super) fn object_freq(_: &Context, args: &[Bytes]) -> Plan {
    Ok((Op::Exists(vec![args[2].clone()]), Shape::ErrorIfExists(NO_FREQUENCY)))
}

pub(super) fn object_refcount(_: &Context, args: &[Bytes]) -> Plan {
    Ok((Op::Exists(vec![args[2].clone()]), Shape::OneIfExists))
}

/// FLUSHDB and FLUSHALL [ASYNC|SYNC]: both are over when they answer.
pub(super) fn flush(context: &Context, args: &[Bytes]) -> Plan {
    match &args[1..] {
        [] => {}
        [how] if is(how, "async") || is(how, "sync") => {}
        _ => return Err(SYNTAX),
    }
    plain(if context.spec.name == "flushall" { Op::FlushAll } else { Op::Flush })
}

/// UNDERPIN.GET key: version and value.
pub(super) fn get_versioned(_: &Context, args: &[Bytes]) -> Plan {
    Ok((Op::GetVersioned(args[1].clone()), Shape::VersionAndValue))
}

/// UNDERPIN.CAS key version SET value [EX|PX|EXAT|PXAT time|KEEPTTL], or DEL.
pub(super) fn compare_and_set(context: &Context, args: &[Bytes]) -> Plan {
    let version = super::args::natural(&args[2])?;
    let (value, expiry) = match &args[3..] {
        [word] if is(word, "del") => (None, Expiry::Never),
        [word, value] if is(word, "set") => (Some(value), Expiry::Never),
        [word, value, keep] if is(word, "set") && is(keep, "keepttl") => {
            (Some(value), Expiry::Keep)
        }
        [word, value, unit, time] if is(word, "set") => {
            let unit = Unit::of_option(unit).ok_or(SYNTAX)?;
            (Some(value), unit.positive(time, context.now, context.spec)?)
        }
        _ => return Err(SYNTAX),
    };
    let (key, value) = (args[1].clone(), value.cloned());
    plain(Op::CompareAndSet { key, version, value, expiry })
}
