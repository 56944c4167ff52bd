//! Sessions: a client's request takes effect once, however often it is sent.
//!
//! A client whose connection broke does not know whether its last request happened. If it opened a
//! session and numbered its requests, it sends the request again under the same number and gets the
//! answer of the first time.
//!
//! A session is a row: how long it lives without use, when it was last used, the highest number seen
//! and the *floor*. Each answer is a row of its own. The last [`WINDOW`] numbers are remembered;
//! when a higher number moves the floor up, the answers below it go.
//!
//! ```text
//! once 7: SET k v     runs, answer kept
//! once 7: SET k v     the answer kept
//! once 7: DEL k       NumberReused: it is another request
//! once 300: ..        runs; the floor is 45 now
//! once 7: SET k v     NumberForgotten: whether it ran can no longer be told
//! ```
//!
//! Numbers inside the window may come in any order. An answer longer than [`ANSWER_BYTES_MAX`] is not
//! kept. The repeat of a batch that only reads then reads again, which harms nobody; the repeat of a
//! batch that writes is refused as AnswerForgotten, by which the client knows that it did run.
//!
//! A session ends when it is closed, or when its time without use is over by the stamps of the log;
//! it is never created by use. So that ended sessions go without anybody looking at all of them, each
//! has one row in an index by time. A use does not move it: when its time comes and the session was
//! used meanwhile, the sweep puts it to the new time.

use crate::kv::{self, Batch, Outcome};
use crate::row::{self, TAG_ANSWER, TAG_SESSION, TAG_SESSION_DUE};
use crate::{Change, Changes, Reply, RowKey, Rows, Space};
use base::checksum::hash64;
use base::codec::{DecodeError, Reader, Writer};
use base::{Bytes, Failure, Refusal, Stamp};

/// How many request numbers a session remembers.
pub const WINDOW: u64 = 256;
/// Longest encoded answer that is kept.
pub const ANSWER_BYTES_MAX: usize = 1 << 10;
/// Shortest time without use, in milliseconds, that a session may ask for.
pub const TTL_MS_MIN: u64 = 100;
/// Longest time without use, in milliseconds, that a session may ask for: 30 days.
pub const TTL_MS_MAX: u64 = 30 * 24 * 3600 * 1000;

const FORMAT: u8 = 1;

#[derive(Clone, Debug, PartialEq, Eq)]
struct Session {
    ttl_ms: u64,
    /// Numbers below it are forgotten.
    floor: u64,
    /// The highest number used.
    highest: u64,
    used: Stamp,
}

impl Session {
    fn encode(&self) -> Bytes {
        let mut out = Writer::with_capacity(33);
        out.u8(FORMAT);
        out.u64(self.ttl_ms);
        out.u64(self.floor);
        out.u64(self.highest);
        out.u64(self.used.0);
        out.finish()
    }

    fn decode(bytes: Bytes) -> Result<Session, DecodeError> {
        let mut reader = Reader::new(bytes);
        format(&mut reader)?;
        let session = Session {
            ttl_ms: reader.u64()?,
            floor: reader.u64()?,
            highest: reader.u64()?,
            used: Stamp(reader.u64()?),
        };
        reader.end()?;
        Ok(session)
    }

    /// The first millisecond at which it is over, unless it is used before.
    fn due_ms(&self) -> u64 {
        self.used.millis() + self.ttl_ms
    }

    fn live(&self, stamp: Stamp) -> bool {
        stamp.millis() < self.due_ms()
    }

    /// Numbers of which an answer may be kept.
    fn numbers(&self) -> std::ops::RangeInclusive<u64> {
        self.floor.max(self.highest.saturating_sub(WINDOW - 1))..=self.highest
    }

    /// Takes note of a use of `number` at `stamp`; returns the numbers whose answers go.
    fn touch(&mut self, number: u64, stamp: Stamp) -> std::ops::Range<u64> {
        let kept = self.numbers();
        self.used = stamp;
        self.highest = self.highest.max(number);
        self.floor = self.floor.max(self.highest.saturating_sub(WINDOW - 1));
        *kept.start()..self.floor.min(*kept.end() + 1)
    }
}

/// The row of an answer: a hash of the request, and the answer unless it was too long.
struct Kept {
    request: u64,
    outcome: Option<Outcome>,
}

impl Kept {
    fn encode(&self) -> Bytes {
        let mut out = Writer::new();
        if let Some(outcome) = &self.outcome {
            outcome.encode(&mut out);
        }
        let outcome = (self.outcome.is_some() && out.len() <= ANSWER_BYTES_MAX).then_some(out);
        let mut row = Writer::with_capacity(16);
        row.u8(FORMAT);
        row.u64(self.request);
        row.option(outcome, |row, outcome| row.raw(&outcome.finish()));
        row.finish()
    }

    fn decode(bytes: Bytes) -> Result<Kept, DecodeError> {
        let mut reader = Reader::new(bytes);
        format(&mut reader)?;
        let kept = Kept { request: reader.u64()?, outcome: reader.option(Outcome::decode)? };
        reader.end()?;
        Ok(kept)
    }
}

fn format(reader: &mut Reader) -> Result<(), DecodeError> {
    match reader.u8()? {
        FORMAT => Ok(()),
        seen => Err(DecodeError::unknown("session row format", seen)),
    }
}

/// Reads a row of our own tables; see [`row::Row`] for why one that can't be read stops the replica.
fn read<T>(
    rows: &dyn Rows,
    at: &RowKey,
    decode: impl FnOnce(Bytes) -> Result<T, DecodeError>,
) -> Option<T> {
    let row = decode(rows.get(at)?);
    Some(row.unwrap_or_else(|error| panic!("row {:?} of the shard's own: {error}", at.key)))
}

fn place(tag: u8, numbers: &[u64]) -> RowKey {
    let mut out = Writer::with_capacity(17);
    out.u8(tag);
    numbers.iter().for_each(|number| out.raw(&number.to_be_bytes()));
    RowKey { space: Space::SHARD, key: out.finish() }
}

fn session_place(session: u64) -> RowKey {
    place(TAG_SESSION, &[session])
}

fn answer_place(session: u64, number: u64) -> RowKey {
    place(TAG_ANSWER, &[session, number])
}

fn due_place(due_ms: u64, session: u64) -> RowKey {
    place(TAG_SESSION_DUE, &[due_ms, session])
}

fn refused(refusal: Refusal) -> Reply {
    Reply::Failed(Failure::Refused(refusal))
}

/// Whether a session may live so long without use.
pub fn check_ttl(ttl_ms: u64) -> Result<(), Refusal> {
    let known = (TTL_MS_MIN..=TTL_MS_MAX).contains(&ttl_ms);
    if known { Ok(()) } else { Err(Refusal::OutOfRange("session ttl")) }
}

/// Opens a session under `stamp`, which becomes its id.
pub(crate) fn open(stamp: Stamp, ttl_ms: u64, changes: &mut Changes) -> Reply {
    if let Err(refusal) = check_ttl(ttl_ms) {
        return refused(refusal);
    }
    let session = Session { ttl_ms, floor: 0, highest: 0, used: stamp };
    changes.push(Change::Put(session_place(stamp.0), session.encode()));
    changes.push(Change::Put(due_place(session.due_ms(), stamp.0), Bytes::new()));
    Reply::Session(stamp.0)
}

/// The rows that [`close`] reads.
pub(crate) fn close_reads(session: u64) -> Vec<RowKey> {
    vec![session_place(session)]
}

/// Ends a session. Its row in the index stays until its time; it is harmless.
pub(crate) fn close(stamp: Stamp, id: u64, rows: &dyn Rows, changes: &mut Changes) -> Reply {
    match read(rows, &session_place(id), Session::decode) {
        Some(session) => {
            remove(id, &session, changes);
            if session.live(stamp) { Reply::Done } else { refused(Refusal::NoSuchSession) }
        }
        None => refused(Refusal::NoSuchSession),
    }
}

fn remove(id: u64, session: &Session, changes: &mut Changes) {
    changes.push(Change::Delete(session_place(id)));
    let answers = session.numbers().map(|number| Change::Delete(answer_place(id, number)));
    changes.extend(answers);
}

/// The rows that [`once`] reads.
pub(crate) fn once_reads(session: u64, number: u64, batch: &Batch) -> Vec<RowKey> {
    let mut rows = kv::reads(batch);
    rows.extend([session_place(session), answer_place(session, number)]);
    rows
}

/// Applies `batch` if `number` was not used in the session, else answers as the first time.
pub(crate) fn once(
    stamp: Stamp,
    (id, number): (u64, u64),
    batch: &Batch,
    rows: &dyn Rows,
    changes: &mut Changes,
) -> Reply {
    let session = read(rows, &session_place(id), Session::decode);
    let Some(mut session) = session.filter(|session| session.live(stamp)) else {
        return refused(Refusal::NoSuchSession);
    };
    if number < session.floor {
        return refused(Refusal::NumberForgotten);
    }
    let request = request_hash(batch);
    let at = answer_place(id, number);
    let kept = read(rows, &at, Kept::decode);
    if kept.as_ref().is_some_and(|kept| kept.request != request) {
        return refused(Refusal::NumberReused);
    }
    for gone in session.touch(number, stamp) {
        changes.push(Change::Delete(answer_place(id, gone)));
    }
    changes.push(Change::Put(session_place(id), session.encode()));
    match kept {
        Some(Kept { outcome: Some(outcome), .. }) => Reply::Kv(outcome),
        Some(_) if batch.writes() => refused(Refusal::AnswerForgotten),
        Some(_) => Reply::Kv(kv::apply(stamp, batch, rows, changes)),
        None => {
            let outcome = kv::apply(stamp, batch, rows, changes);
            let kept = Kept { request, outcome: Some(outcome.clone()) };
            changes.push(Change::Put(at, kept.encode()));
            Reply::Kv(outcome)
        }
    }
}

fn request_hash(batch: &Batch) -> u64 {
    let mut out = Writer::with_capacity(batch.bytes());
    batch.encode(&mut out);
    hash64(&out.finish(), 0)
}

/// The rows that the sweep of a session index row reads.
pub(crate) fn sweep_reads(index: &Bytes) -> Option<RowKey> {
    of_index(index).ok().map(|(_, session)| session_place(session))
}

/// The session's time came: it goes, or it is looked at again later.
pub(crate) fn sweep(stamp: Stamp, index: &Bytes, rows: &dyn Rows, changes: &mut Changes) {
    let Ok((due_ms, id)) = of_index(index) else { return };
    if due_ms > stamp.millis() {
        return;
    }
    changes.push(Change::Delete(due_place(due_ms, id)));
    let Some(session) = read(rows, &session_place(id), Session::decode) else { return };
    if session.live(stamp) {
        changes.push(Change::Put(due_place(session.due_ms(), id), Bytes::new()));
    } else {
        remove(id, &session, changes);
    }
}

fn of_index(index: &Bytes) -> Result<(u64, u64), DecodeError> {
    let mut reader = Reader::new(index.clone());
    match reader.u8()? {
        TAG_SESSION_DUE => {}
        seen => return Err(DecodeError::unknown("session index row", seen)),
    }
    let parts = (row::big_endian(&mut reader)?, row::big_endian(&mut reader)?);
    reader.end()?;
    Ok(parts)
}
