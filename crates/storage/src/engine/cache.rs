//! The row cache: the latest value of recently used keys, or that a key has none.
//!
//! Hash tables with open addressing lead to slots in a ring; when the rows outgrow the budget, a
//! hand goes around the ring and takes the first row that was not used since it last came by
//! (CLOCK; Corbató, 1968). There are many small tables instead of a large one, each with a part of
//! the ring, since a table that doubles moves all of its rows while its caller waits. Nothing here
//! depends on the hash seed except speed, and no order of it can be seen.

use base::checksum::hash64;
use bytes::Bytes;

/// Bytes of a row besides its key and value.
const ROW_BYTES: usize = 112;
const FREE: u32 = u32::MAX;
/// The highest bits of a hash name the segment, so there are 2 to their power.
const SEGMENT_BITS: u32 = 6;

#[derive(Clone, Debug)]
struct Slot {
    key: Bytes,
    value: Option<Bytes>,
    used: bool,
}

/// A bounded map from keys to what their row is known to be.
#[derive(Clone, Debug)]
pub(super) struct Cache {
    segments: Vec<Segment>,
    /// The segment that the hand is in.
    hand: usize,
    bytes: usize,
    bytes_max: usize,
    seed: u64,
}

/// A part of the ring, and the table of its keys.
#[derive(Clone, Debug)]
struct Segment {
    /// Slot numbers, at the key's hash or the next free place after it. Its length is a power of 2.
    places: Vec<u32>,
    slots: Vec<Option<Slot>>,
    vacant: Vec<u32>,
    hand: usize,
    seed: u64,
}

fn cost(key: &[u8], value: &Option<Bytes>) -> usize {
    ROW_BYTES + key.len() + value.as_ref().map_or(0, Bytes::len)
}

impl Cache {
    pub fn new(bytes_max: usize, seed: u64) -> Cache {
        let segments = (0..1 << SEGMENT_BITS).map(|_| Segment::new(seed)).collect();
        Cache { segments, hand: 0, bytes: 0, bytes_max, seed }
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn len(&self) -> usize {
        self.segments.iter().map(Segment::len).sum()
    }

    fn segment(&mut self, key: &[u8]) -> &mut Segment {
        &mut self.segments[(hash64(key, self.seed) >> (64 - SEGMENT_BITS)) as usize]
    }

    /// What `key` is known to be; marks it as used.
    pub fn get(&mut self, key: &[u8]) -> Option<&Option<Bytes>> {
        let slot = self.segment(key).slot(key)?;
        slot.used = true;
        Some(&slot.value)
    }

    /// Notes what `key` is now, if it is cached.
    pub fn update(&mut self, key: &[u8], value: &Option<Bytes>) {
        let Some(slot) = self.segment(key).slot(key) else { return };
        let before = std::mem::replace(&mut slot.value, value.clone());
        self.bytes -= before.as_ref().map_or(0, Bytes::len);
        self.bytes += value.as_ref().map_or(0, Bytes::len);
        self.shrink();
    }

    /// Notes what `key` is, whether or not it is cached.
    pub fn insert(&mut self, key: &Bytes, value: Option<Bytes>) {
        let cost = cost(key, &value);
        let fits = cost <= self.bytes_max;
        let segment = self.segment(key);
        match segment.find(key) {
            Ok(_) => self.update(key, &value),
            Err(_) if !fits => {}
            Err(place) => {
                segment.insert(place, Slot { key: key.clone(), value, used: false });
                self.bytes += cost;
                self.shrink();
            }
        }
    }

    fn shrink(&mut self) {
        while self.bytes > self.bytes_max {
            let segment = &mut self.segments[self.hand];
            match segment.sweep() {
                Some(slot) => self.bytes -= cost(&slot.key, &slot.value),
                None if segment.hand == 0 => self.hand = (self.hand + 1) % self.segments.len(),
                None => {}
            }
        }
    }
}

impl Segment {
    fn new(seed: u64) -> Segment {
        Segment { places: vec![FREE; 8], slots: Vec::new(), vacant: Vec::new(), hand: 0, seed }
    }

    fn len(&self) -> usize {
        self.slots.len() - self.vacant.len()
    }

    fn slot(&mut self, key: &[u8]) -> Option<&mut Slot> {
        let place = self.find(key).ok()?;
        self.slots[self.places[place] as usize].as_mut()
    }

    fn insert(&mut self, place: usize, slot: Slot) {
        self.places[place] = self.keep(slot);
        if (self.len() + 1) * 4 > self.places.len() * 3 {
            self.grow();
        }
    }

    fn keep(&mut self, slot: Slot) -> u32 {
        match self.vacant.pop() {
            Some(number) => {
                self.slots[number as usize] = Some(slot);
                number
            }
            None => {
                self.slots.push(Some(slot));
                (self.slots.len() - 1) as u32
            }
        }
    }

    fn home(&self, key: &[u8]) -> usize {
        hash64(key, self.seed) as usize & (self.places.len() - 1)
    }

    /// The place of `key`, or the free one where it would go.
    fn find(&self, key: &[u8]) -> Result<usize, usize> {
        let mask = self.places.len() - 1;
        let mut place = self.home(key);
        loop {
            match self.places[place] {
                FREE => return Err(place),
                number => {
                    let slot = self.slots[number as usize].as_ref();
                    if slot.expect("a place has a slot").key == key {
                        return Ok(place);
                    }
                }
            }
            place = (place + 1) & mask;
        }
    }

    fn grow(&mut self) {
        let places = vec![FREE; self.places.len() * 2];
        for number in std::mem::replace(&mut self.places, places) {
            if number != FREE {
                let key = self.slots[number as usize].as_ref().expect("a place has a slot");
                let place = self.find(&key.key).expect_err("each key has one place");
                self.places[place] = number;
            }
        }
    }

    /// Moves the hand on by one slot; what it takes out comes back. At 0 it has been around.
    fn sweep(&mut self) -> Option<Slot> {
        let number = self.hand;
        self.hand = if number + 1 < self.slots.len() { number + 1 } else { 0 };
        match self.slots.get_mut(number)? {
            Some(slot) if slot.used => {
                slot.used = false;
                None
            }
            Some(_) => Some(self.evict(number)),
            None => None,
        }
    }

    fn evict(&mut self, number: usize) -> Slot {
        let key = &self.slots[number].as_ref().expect("the hand points at a row").key;
        let place = self.find(key).expect("a cached key has a place");
        self.clear_place(place);
        self.vacant.push(number as u32);
        self.slots[number].take().expect("just seen")
    }

    /// Frees a place and moves back those that only stood behind because it was taken (Knuth,
    /// volume 3, algorithm 6.4R).
    fn clear_place(&mut self, place: usize) {
        let mask = self.places.len() - 1;
        let mut hole = place;
        let mut next = (hole + 1) & mask;
        while self.places[next] != FREE {
            let slot = self.slots[self.places[next] as usize].as_ref();
            let home = self.home(&slot.expect("a place has a slot").key);
            if (next.wrapping_sub(home) & mask) >= (next.wrapping_sub(hole) & mask) {
                self.places[hole] = self.places[next];
                hole = next;
            }
            next = (next + 1) & mask;
        }
        self.places[hole] = FREE;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::Random;
    use std::collections::BTreeMap;

    #[test]
    fn what_is_cached_is_what_was_noted_last() {
        let mut random = Random::new(3);
        let mut cache = Cache::new(40 * (ROW_BYTES + 8), 9);
        let mut model: BTreeMap<Bytes, Option<Bytes>> = BTreeMap::new();
        let mut hits = 0;
        for step in 0..50_000u64 {
            let key = Bytes::from(random.below(100).to_be_bytes()[6..].to_vec());
            let value = random
                .chance(3, 4)
                .then(|| Bytes::from(vec![step as u8; random.below(9) as usize]));
            match random.below(3) {
                0 => {
                    cache.update(&key, &value);
                    model.insert(key, value);
                }
                1 => {
                    cache.insert(&key, value.clone());
                    model.insert(key, value);
                }
                _ => {
                    if let Some(found) = cache.get(&key) {
                        assert_eq!(Some(found), model.get(&key));
                        hits += 1;
                    }
                }
            }
            assert!(cache.bytes() <= 40 * (ROW_BYTES + 8));
        }
        assert!(hits > 1000, "{hits} hits");
        let slots = cache.segments.iter().flat_map(|segment| segment.slots.iter().flatten());
        let counted: usize = slots.map(|slot| cost(&slot.key, &slot.value)).sum();
        assert_eq!(counted, cache.bytes());
    }

    #[test]
    fn rows_in_use_stay() {
        let mut cache = Cache::new(10 * (ROW_BYTES + 1), 0);
        let hot = Bytes::from_static(b"h");
        cache.insert(&hot, None);
        for n in 0..100u8 {
            assert!(cache.get(&hot).is_some(), "lost after {n}");
            cache.insert(&Bytes::from(vec![n + 128]), None);
        }
        assert!(cache.len() <= 10);
    }
}
