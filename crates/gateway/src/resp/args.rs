//! Reading arguments.

use super::errors::{DB_RANGE, INT_RANGE, NOT_AN_INTEGER, Wrong, invalid_expire};
use super::table::Spec;
use base::Time;
use base::time::MILLISECOND;
use service::kv::{self, BUCKETS, Bucket, Expiry};

/// Whether `arg` is `word`, which is in lower case, in letters of any case.
pub(super) fn is(arg: &[u8], word: &str) -> bool {
    arg.eq_ignore_ascii_case(word.as_bytes())
}

/// Whether a word of ours matches a glob, in letters of any case.
pub(super) fn matches(pattern: &[u8], word: &str) -> bool {
    kv::glob::matches(&pattern.to_ascii_lowercase(), word.to_ascii_lowercase().as_bytes())
}

/// A 64-bit integer.
pub(super) fn integer(arg: &[u8]) -> Result<i64, Wrong> {
    wire::resp::integer(arg).ok_or(NOT_AN_INTEGER)
}

/// A number that is not negative.
pub(super) fn natural(arg: &[u8]) -> Result<u64, Wrong> {
    // Decimal, or hexadecimal as incarnations are shown.
    let text = std::str::from_utf8(arg).map_err(|_| NOT_AN_INTEGER)?;
    text.parse().map_err(|_| NOT_AN_INTEGER)
}

/// The number of a database.
pub(super) fn database(arg: &[u8]) -> Result<Bucket, Wrong> {
    let number = integer(arg)?;
    if i32::try_from(number).is_err() {
        return Err(INT_RANGE);
    }
    match u16::try_from(number) {
        Ok(number) if number < BUCKETS => Ok(Bucket(number)),
        _ => Err(DB_RANGE),
    }
}

/// Milliseconds since the Unix epoch.
pub(super) fn now_ms(now: Time) -> i64 {
    (now.wall.0 / MILLISECOND) as i64
}

/// How an option gives an expiry.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    /// EX: seconds from now.
    Seconds,
    /// PX: milliseconds from now.
    Millis,
    /// EXAT: seconds since the Unix epoch.
    AtSeconds,
    /// PXAT: milliseconds since the Unix epoch.
    AtMillis,
}

impl Unit {
    /// The unit that the option `arg` of SET and GETEX names.
    pub(super) fn of_option(arg: &[u8]) -> Option<Unit> {
        [
            ("ex", Unit::Seconds),
            ("px", Unit::Millis),
            ("exat", Unit::AtSeconds),
            ("pxat", Unit::AtMillis),
        ]
        .into_iter()
        .find_map(|(word, unit)| is(arg, word).then_some(unit))
    }

    /// An expiry that lies `number` of these away; anything that fits 64 bits of milliseconds.
    pub(super) fn expiry(self, number: i64, now: Time, spec: &Spec) -> Result<Expiry, Wrong> {
        let invalid = || invalid_expire(spec);
        let ms = match self {
            Unit::Seconds | Unit::AtSeconds => number.checked_mul(1000).ok_or_else(invalid)?,
            Unit::Millis | Unit::AtMillis => number,
        };
        match self {
            Unit::AtSeconds | Unit::AtMillis => Ok(Expiry::AtMs(ms)),
            Unit::Seconds | Unit::Millis => {
                if ms > 0 {
                    now_ms(now).checked_add(ms).ok_or_else(invalid)?;
                }
                Ok(Expiry::InMs(ms))
            }
        }
    }

    /// The same for a value that is being stored: it must lie ahead.
    pub(super) fn positive(self, arg: &[u8], now: Time, spec: &Spec) -> Result<Expiry, Wrong> {
        match integer(arg)? {
            number if number <= 0 => Err(invalid_expire(spec)),
            number => self.expiry(number, now, spec),
        }
    }
}
