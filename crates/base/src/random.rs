//! Seeded random numbers: xoshiro256** (Blackman and Vigna, 2018), seeded through SplitMix64.
//! The same seed gives the same numbers on every machine and in every version.

/// A generator. Give each subject one of its own, so that a new draw in one leaves others alone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Random {
    state: [u64; 4],
}

impl Random {
    /// The generator of `seed`.
    pub fn new(seed: u64) -> Random {
        let mut x = seed;
        let state = std::array::from_fn(|_| {
            x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = x;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        });
        Random { state }
    }

    /// A generator for a subject of its own, derived from this one's next number.
    pub fn fork(&mut self) -> Random {
        Random::new(self.u64())
    }

    /// Any u64, evenly.
    pub fn u64(&mut self) -> u64 {
        let s = &mut self.state;
        let result = s[1].wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        result
    }

    /// A number below `bound`, which must not be zero (Lemire's multiply; bias below 2^-64 x bound).
    pub fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "a number below zero was asked for");
        ((u128::from(self.u64()) * u128::from(bound)) >> 64) as u64
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        assert!(low <= high, "range from {low} to {high} is empty");
        match (high - low).checked_add(1) {
            Some(span) => low + self.below(span),
            None => self.u64(),
        }
    }

    /// True in `numerator` of `denominator` cases.
    pub fn chance(&mut self, numerator: u64, denominator: u64) -> bool {
        self.below(denominator) < numerator
    }

    /// One of `items`, evenly; `None` if there are none.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        if items.is_empty() { None } else { items.get(self.below(items.len() as u64) as usize) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_numbers() {
        let (mut a, mut b) = (Random::new(7), Random::new(7));
        assert!((0..100).all(|_| a.u64() == b.u64()));
        assert_ne!(Random::new(7).u64(), Random::new(8).u64());
    }

    #[test]
    fn a_bounded_draw_reaches_both_ends() {
        let mut random = Random::new(1);
        let drawn: std::collections::BTreeSet<u64> =
            (0..200).map(|_| random.between(3, 6)).collect();
        assert_eq!(drawn, [3, 4, 5, 6].into());
    }
}
