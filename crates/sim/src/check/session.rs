//! Whether sessions kept their promises: read your writes, monotonic reads, monotonic writes, writes
//! follow reads (Terry et al., "Session Guarantees for Weakly Consistent Replicated Data", 1994).
//!
//! Versions make this easy: every value has one, later writes have higher ones, of all keys, and a
//! read tells it. So each guarantee is one walk along each session with a table of the lowest versions
//! that it may still see:
//!
//! ```text
//! session 1: writes x at 10, reads x at 8                       lost its own write
//! session 1: reads x at 10, then x at 8                         went back
//! session 1: writes x at 10, y at 11; session 2: y at 11, x at 8    saw 1's writes out of order
//! session 1: reads x at 10, writes y at 11; session 2: as above     saw the answer before the question
//! ```
//!
//! Each check says how many pairs of events it had something to say about: a check of histories without
//! such pairs proves nothing.

use std::collections::BTreeMap;

/// What one request did. Values are used once, and keys are never deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Saw this value and version; zeros for a key that is not there.
    Read {
        /// Of this key.
        key: u64,
        /// The value.
        value: u64,
        /// Its version.
        version: u64,
    },
    /// Wrote this value.
    Wrote {
        /// To this key.
        key: u64,
        /// The value.
        value: u64,
        /// Its version; none if the answer was lost.
        version: Option<u64>,
    },
}

/// What one session did, in its order.
pub type Session = Vec<Event>;

/// How many pairs of events were looked at, or what was wrong.
pub type Verdict = Result<u64, String>;

/// The lowest version of each key that may still be seen.
type Floor = BTreeMap<u64, u64>;

/// A session's reads see its own earlier writes, or later ones.
pub fn read_your_writes(sessions: &[Session]) -> Verdict {
    above_floor(sessions, "did not see its own write", |floor, event| {
        if let Event::Wrote { key, version: Some(version), .. } = *event {
            raise(floor, key, version);
        }
    })
}

/// A session never sees an older version of a key than before.
pub fn monotonic_reads(sessions: &[Session]) -> Verdict {
    above_floor(sessions, "saw an older version than before", |floor, event| {
        if let Event::Read { key, version, .. } = *event {
            raise(floor, key, version);
        }
    })
}

/// A session's writes take effect in its order, and whoever sees one sees the earlier ones.
pub fn monotonic_writes(sessions: &[Session]) -> Verdict {
    let mut pairs = 0;
    for session in sessions {
        let versions = session.iter().filter_map(|event| match event {
            Event::Wrote { version, .. } => *version,
            Event::Read { .. } => None,
        });
        pairs += rising(versions, session)?;
    }
    let behind = what_is_behind(sessions, |event| match *event {
        Event::Wrote { key, version, .. } => Some((key, version?)),
        Event::Read { .. } => None,
    });
    Ok(pairs + with_what_is_behind(sessions, &behind, "saw a session's writes out of order")?)
}

/// A write takes effect after what its session had read, and whoever sees it sees that as well.
pub fn writes_follow_reads(sessions: &[Session]) -> Verdict {
    let mut pairs = 0;
    for session in sessions {
        let mut read = 0;
        for event in session {
            match *event {
                Event::Read { version, .. } => read = read.max(version),
                Event::Wrote { version: Some(version), .. } if version <= read => {
                    return Err(format!("{event:?} is older than version {read}, read before it"));
                }
                Event::Wrote { version, .. } => pairs += u64::from(version.is_some() && read > 0),
            }
        }
    }
    let behind = what_is_behind(sessions, |event| match *event {
        Event::Read { key, version, .. } => Some((key, version)),
        Event::Wrote { .. } => None,
    });
    Ok(pairs + with_what_is_behind(sessions, &behind, "saw a write, but not what it followed")?)
}

fn raise(floor: &mut Floor, key: u64, version: u64) {
    let lowest = floor.entry(key).or_insert(0);
    *lowest = (*lowest).max(version);
}

/// Every read sees what is on the floor or above; `lift` says what each event makes of it.
fn above_floor(sessions: &[Session], wrong: &str, lift: impl Fn(&mut Floor, &Event)) -> Verdict {
    let mut pairs = 0;
    for session in sessions {
        let mut floor = Floor::new();
        for event in session {
            pairs += look(&floor, event, wrong)?;
            lift(&mut floor, event);
        }
    }
    Ok(pairs)
}

fn look(floor: &Floor, event: &Event, wrong: &str) -> Verdict {
    let Event::Read { key, version, .. } = *event else { return Ok(0) };
    match floor.get(&key) {
        Some(lowest) if version < *lowest => {
            Err(format!("a session {wrong}: {event:?}, where version {lowest} was due"))
        }
        known => Ok(u64::from(known.is_some())),
    }
}

fn rising(versions: impl Iterator<Item = u64>, session: &Session) -> Verdict {
    let (mut before, mut pairs) = (0, 0);
    for version in versions {
        if version <= before {
            return Err(format!("a session wrote version {version} after {before}: {session:?}"));
        }
        pairs += u64::from(before > 0);
        before = version;
    }
    Ok(pairs)
}

/// For each value written, what its session had done before that counts.
fn what_is_behind(
    sessions: &[Session],
    counts: impl Fn(&Event) -> Option<(u64, u64)>,
) -> BTreeMap<u64, Floor> {
    let mut behind = BTreeMap::new();
    for session in sessions {
        let mut floor = Floor::new();
        for event in session {
            if let Event::Wrote { value, .. } = event {
                behind.insert(*value, floor.clone());
            }
            if let Some((key, version)) = counts(event) {
                raise(&mut floor, key, version);
            }
        }
    }
    behind
}

/// Whoever sees a value sees what is behind it, from then on.
fn with_what_is_behind(
    sessions: &[Session],
    behind: &BTreeMap<u64, Floor>,
    wrong: &str,
) -> Verdict {
    above_floor(sessions, wrong, |floor, event| {
        if let Event::Read { value, .. } = event
            && let Some(due) = behind.get(value)
        {
            due.iter().for_each(|(key, version)| raise(floor, *key, *version));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(key: u64, value: u64, version: u64) -> Event {
        Event::Read { key, value, version }
    }
    fn wrote(key: u64, value: u64, version: u64) -> Event {
        Event::Wrote { key, value, version: Some(version) }
    }
    const X: u64 = 1;
    const Y: u64 = 2;

    #[test]
    fn a_session_that_misses_its_own_write_is_found() {
        let fine = [vec![wrote(X, 5, 10), read(X, 5, 10), read(X, 6, 12), read(Y, 0, 0)]];
        assert_eq!(read_your_writes(&fine), Ok(2));
        read_your_writes(&[vec![wrote(X, 5, 10), read(X, 4, 8)]]).unwrap_err();
        read_your_writes(&[vec![wrote(X, 5, 10), read(X, 0, 0)]]).unwrap_err();
        // Another session's write is not its own, and a lost answer tells no version.
        assert_eq!(read_your_writes(&[vec![wrote(X, 5, 10)], vec![read(X, 4, 8)]]), Ok(0));
        let lost = Event::Wrote { key: X, value: 5, version: None };
        assert_eq!(read_your_writes(&[vec![lost, read(X, 4, 8)]]), Ok(0));
    }

    #[test]
    fn a_session_that_goes_back_is_found() {
        assert_eq!(monotonic_reads(&[vec![read(X, 4, 8), read(Y, 0, 0), read(X, 5, 10)]]), Ok(1));
        monotonic_reads(&[vec![read(X, 5, 10), read(Y, 6, 9), read(X, 4, 8)]]).unwrap_err();
        monotonic_reads(&[vec![read(X, 5, 10), read(X, 0, 0)]]).unwrap_err();
        assert_eq!(monotonic_reads(&[vec![read(X, 5, 10)], vec![read(X, 4, 8)]]), Ok(0));
    }

    #[test]
    fn writes_that_are_seen_out_of_order_are_found() {
        let writer = vec![wrote(X, 5, 10), wrote(Y, 6, 11)];
        let seen = [writer.clone(), vec![read(X, 4, 8), read(Y, 6, 11), read(X, 5, 10)]];
        assert_eq!(monotonic_writes(&seen), Ok(2));
        let missed = vec![read(Y, 6, 11), read(X, 4, 8)];
        monotonic_writes(&[writer.clone(), missed.clone()]).unwrap_err();
        // Whatever became of an answer: the value was seen, and the writes before it are due.
        let lost = Event::Wrote { key: Y, value: 6, version: None };
        monotonic_writes(&[vec![wrote(X, 5, 10), lost], missed.clone()]).unwrap_err();
        assert_eq!(monotonic_writes(&[vec![lost, wrote(X, 5, 12)], missed]), Ok(0));
        monotonic_writes(&[vec![wrote(X, 5, 10), wrote(Y, 6, 9)]]).unwrap_err();
    }

    #[test]
    fn an_answer_that_is_seen_before_its_question_is_found() {
        let question = vec![wrote(X, 5, 10)];
        let answer = vec![read(X, 5, 10), wrote(Y, 6, 11)];
        let fine = vec![read(Y, 6, 11), read(X, 5, 10)];
        assert_eq!(writes_follow_reads(&[question.clone(), answer.clone(), fine]), Ok(2));
        let before = vec![read(Y, 6, 11), read(X, 0, 0)];
        writes_follow_reads(&[question, answer, before.clone()]).unwrap_err();
        writes_follow_reads(&[vec![read(X, 5, 10), wrote(Y, 6, 9)]]).unwrap_err();
        // It had not read it.
        assert_eq!(writes_follow_reads(&[vec![wrote(Y, 6, 11), read(X, 5, 10)], before]), Ok(0));
    }
}
