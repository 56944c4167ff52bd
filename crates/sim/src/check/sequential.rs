//! Whether sessions are sequentially consistent: there is one order of all that happened in which
//! every session's events keep their places (Lamport 1979). Unlike linearizability it says nothing of
//! events in different sessions: everybody may be late, but all see one film.
//!
//! In general that is hard to judge; with versions it is one walk. The writes have an order already,
//! their versions'. A read belongs between the write that it saw and the next write of its key. So each
//! session goes along the versions, and is never allowed to go back:
//!
//! ```text
//! writes:   x at 10, y at 11, x at 12
//! session:  reads x at 12   place 12
//!           reads y at 0    had to be before 11: not sequential
//! ```

use super::session::{Event, Session, Verdict};
use std::collections::{BTreeMap, BTreeSet};

/// Judges sessions whose values are used once and whose keys are never deleted.
pub fn check(sessions: &[Session]) -> Verdict {
    let versions = versions_of(sessions);
    let mut steps = 0;
    for session in sessions {
        let mut place = 0;
        for event in session {
            let (from, until) = match *event {
                Event::Read { key, version, .. } => (version, next_after(&versions, key, version)),
                Event::Wrote { version: Some(version), .. } => (version, version + 1),
                Event::Wrote { version: None, .. } => continue,
            };
            if place >= until {
                return Err(format!(
                    "a session came to {event:?}, which ended at {until}, when it was at {place}"
                ));
            }
            steps += u64::from(place > 0);
            place = place.max(from);
        }
    }
    Ok(steps)
}

/// All versions of each key that are known.
fn versions_of(sessions: &[Session]) -> BTreeMap<u64, BTreeSet<u64>> {
    let mut versions: BTreeMap<u64, BTreeSet<u64>> = BTreeMap::new();
    for event in sessions.iter().flatten() {
        match *event {
            Event::Read { key, version, .. } | Event::Wrote { key, version: Some(version), .. } => {
                versions.entry(key).or_default().insert(version);
            }
            Event::Wrote { version: None, .. } => {}
        }
    }
    versions
}

fn next_after(versions: &BTreeMap<u64, BTreeSet<u64>>, key: u64, version: u64) -> u64 {
    let later = versions.get(&key).and_then(|all| all.range(version + 1..).next());
    later.copied().unwrap_or(u64::MAX)
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
    fn everybody_may_be_late() {
        let writer = vec![wrote(X, 5, 10), wrote(Y, 6, 11), wrote(X, 7, 12)];
        let late = vec![read(X, 0, 0), read(X, 5, 10), read(Y, 0, 0), read(Y, 6, 11)];
        assert_eq!(check(&[writer, late]), Ok(4));
    }

    #[test]
    fn nobody_goes_back() {
        let writer = vec![wrote(X, 5, 10), wrote(Y, 6, 11), wrote(X, 7, 12)];
        let with = |reader: Vec<Event>| check(&[writer.clone(), reader]);
        with(vec![read(X, 7, 12), read(Y, 0, 0)]).unwrap_err();
        with(vec![read(Y, 6, 11), read(X, 0, 0)]).unwrap_err();
        with(vec![read(X, 7, 12), read(X, 5, 10)]).unwrap_err();
        with(vec![read(Y, 6, 11), read(X, 5, 10), read(X, 7, 12)]).unwrap();
    }

    #[test]
    fn own_writes_are_in_their_place() {
        check(&[vec![wrote(X, 5, 10), read(X, 0, 0)]]).unwrap_err();
        check(&[vec![wrote(X, 5, 10), wrote(Y, 6, 9)]]).unwrap_err();
        check(&[vec![wrote(X, 5, 10)], vec![wrote(Y, 6, 11), read(X, 0, 0)]]).unwrap_err();
        // The classic case: each writes, and misses the other's write.
        let (one, other) = (vec![wrote(X, 5, 10), read(Y, 0, 0)], vec![wrote(Y, 6, 11)]);
        assert_eq!(check(&[one.clone(), other.clone()]), Ok(1));
        let misses = vec![wrote(Y, 6, 11), read(X, 0, 0)];
        check(&[one, misses]).unwrap_err();
    }
}
