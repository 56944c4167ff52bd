//! What clients were answered, held against itself.
//!
//! The state machine is a list; an append is answered with the length that the list has with it, a
//! read with the list. That makes judging exact and cheap: all answers, of reads and of appends, must
//! be beginnings of one list (one order for all), and each must be at least as long as any answer
//! that was given before its request was made (nothing goes back in real time). Together this is
//! linearizability; no search is needed, since an answer tells its place.
//!
//! ```text
//! append 7        -> 3 values now
//! read            -> [5 6 7]        fine
//! read            -> [5 6]          stale: the read began after "3 values now"
//! read            -> [5 8 7 9]      diverged: it does not begin like [5 6 7]
//! ```

use base::Stamp;
use std::collections::BTreeSet;

/// A value in the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Item {
    pub value: u64,
    pub stamp: Stamp,
    /// Of the list up to here.
    hash: u64,
}

/// The state machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct List(Vec<Item>);

impl List {
    pub fn append(&mut self, value: u64, stamp: Stamp) {
        let before = self.0.last().map_or(0, |item| item.hash);
        let hash = (before ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29) ^ stamp.0;
        self.0.push(Item { value, stamp, hash });
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }
}

/// All answers so far.
#[derive(Debug, Default)]
pub struct History {
    /// The longest list that was seen.
    seen: List,
    values: BTreeSet<u64>,
    /// Values that were answered "not done".
    not_done: BTreeSet<u64>,
    /// No answer to a request that is made now may be shorter.
    floor: usize,
    /// Appends acknowledged.
    pub acknowledged: u64,
}

impl History {
    /// To be asked when a request is made.
    pub fn floor(&self) -> usize {
        self.floor
    }

    /// The longest list that was seen.
    pub fn longest(&self) -> &List {
        &self.seen
    }

    /// A read that was asked for at `floor` was answered with `list`.
    pub fn read(&mut self, floor: usize, list: &List) -> Result<(), String> {
        if list.len() < floor {
            return Err(format!("a read saw {} values, {floor} had been shown", list.len()));
        }
        self.compare(list, list.len())?;
        self.floor = self.floor.max(list.len());
        Ok(())
    }

    /// An append was answered: the list is now `list`, its value is the last.
    pub fn acknowledge(&mut self, list: &List) -> Result<(), String> {
        self.acknowledged += 1;
        self.compare(list, list.len())?;
        self.floor = self.floor.max(list.len());
        Ok(())
    }

    /// A client was told that its value was not appended.
    pub fn not_done(&mut self, value: u64) -> Result<(), String> {
        self.not_done.insert(value);
        self.check_ghost(value)
    }

    fn check_ghost(&self, value: u64) -> Result<(), String> {
        let ghost = self.not_done.contains(&value) && self.values.contains(&value);
        if ghost { Err(format!("value {value} is there, it was not done")) } else { Ok(()) }
    }

    fn compare(&mut self, list: &List, length: usize) -> Result<(), String> {
        let common = length.min(self.seen.len());
        if common > 0 && list.0[common - 1].hash != self.seen.0[common - 1].hash {
            return Err(self.difference(list, common));
        }
        for item in &list.0[common..length] {
            self.show(*item)?;
        }
        Ok(())
    }

    /// Somebody sees a further value of the list.
    fn show(&mut self, item: Item) -> Result<(), String> {
        if let Some(before) = self.seen.0.last()
            && item.stamp <= before.stamp
        {
            return Err(format!("stamp {} follows stamp {}", item.stamp, before.stamp));
        }
        self.seen.0.push(item);
        if !self.values.insert(item.value) {
            return Err(format!("value {} was appended twice", item.value));
        }
        self.check_ghost(item.value)
    }

    fn difference(&self, list: &List, common: usize) -> String {
        let pairs = list.0.iter().zip(&self.seen.0).take(common);
        let first = pairs.clone().position(|(a, b)| a.hash != b.hash).unwrap_or_default();
        let (now, before) = (list.0[first], self.seen.0[first]);
        format!(
            "two lists were shown: at {first} value {} of {} and value {} of {}",
            now.value, now.stamp, before.value, before.stamp
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(values: &[u64]) -> List {
        let mut list = List::default();
        for (at, value) in values.iter().enumerate() {
            list.append(*value, Stamp(100 + at as u64));
        }
        list
    }

    #[test]
    fn answers_that_are_beginnings_of_one_list_are_fine() {
        let mut history = History::default();
        assert_eq!(history.acknowledge(&list(&[5])), Ok(()));
        let early = history.floor();
        assert_eq!(history.acknowledge(&list(&[5, 6, 7])), Ok(()));
        assert_eq!(history.read(history.floor(), &list(&[5, 6, 7])), Ok(()));
        assert_eq!(history.read(early, &list(&[5, 6])), Ok(()), "it began before the 7 was shown");
        assert_eq!(history.not_done(8), Ok(()));
    }

    #[test]
    fn a_lost_append_and_a_stale_read_are_found() {
        let mut history = History::default();
        history.acknowledge(&list(&[5, 6])).unwrap();
        let stale = history.read(history.floor(), &list(&[5])).unwrap_err();
        assert_eq!(stale, "a read saw 1 values, 2 had been shown");
        let lost = history.read(history.floor(), &list(&[5, 7])).unwrap_err();
        assert!(lost.starts_with("two lists were shown: at 1 value 7"), "{lost}");
    }

    #[test]
    fn a_value_read_before_may_not_go_either() {
        let mut history = History::default();
        history.read(0, &list(&[5, 6])).unwrap();
        assert!(history.read(history.floor(), &list(&[5])).is_err());
        assert!(history.acknowledge(&list(&[5, 8])).is_err());
    }

    #[test]
    fn a_value_that_comes_twice_or_was_not_done_is_found() {
        let mut history = History::default();
        assert!(history.read(0, &list(&[5, 5])).unwrap_err().contains("twice"));
        let mut history = History::default();
        history.not_done(6).unwrap();
        assert!(history.read(0, &list(&[5, 6])).unwrap_err().contains("not done"));
        let mut history = History::default();
        history.read(0, &list(&[5, 6])).unwrap();
        assert!(history.not_done(6).is_err());
    }

    #[test]
    fn stamps_that_do_not_rise_are_found() {
        let mut still = list(&[5]);
        still.append(6, Stamp(100));
        assert!(History::default().read(0, &still).unwrap_err().contains("stamp"));
    }
}
