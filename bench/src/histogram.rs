//! Durations counted in buckets: each power of two has 64 of them, so a percentile is off by less
//! than 2 %.

use std::time::Duration;

/// Buckets per power of two.
const FINE: u64 = 64;

/// Counted durations, in microseconds.
#[derive(Clone, Debug)]
pub struct Histogram {
    buckets: Vec<u64>,
    count: u64,
    max: u64,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { buckets: vec![0; (64 * FINE) as usize], count: 0, max: 0 }
    }
}

impl Histogram {
    /// Counts one.
    pub fn add(&mut self, duration: Duration) {
        let us = duration.as_micros() as u64;
        self.buckets[bucket(us)] += 1;
        self.count += 1;
        self.max = self.max.max(us);
    }

    /// How many were counted.
    #[cfg(test)]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// What `percent` of all do not exceed, in microseconds; 0 if there are none.
    pub fn percentile(&self, percent: f64) -> u64 {
        let rank = (percent / 100.0 * self.count as f64).ceil() as u64;
        let mut seen = 0;
        for (index, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= rank && seen > 0 {
                return highest(index).min(self.max);
            }
        }
        self.max
    }
}

/// The bucket of a value: exact below [`FINE`], then by its 7 highest bits.
fn bucket(value: u64) -> usize {
    if value < FINE {
        return value as usize;
    }
    let shift = 63 - u64::from(value.leading_zeros()) - 6;
    ((shift + 1) * FINE + (value >> shift) - FINE) as usize
}

/// The highest value of a bucket.
fn highest(bucket: usize) -> u64 {
    let (bucket, fine) = (bucket as u64, FINE);
    if bucket < fine {
        return bucket;
    }
    let shift = bucket / fine - 1;
    ((bucket % fine + fine + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_lies_in_its_bucket_and_close_to_its_end() {
        for value in (0..5_000).chain([65_535, 65_536, 1_000_000, 123_456_789]) {
            let high = highest(bucket(value));
            assert!(value <= high && high - value <= value / 60 + 1, "{value} {high}");
        }
    }

    #[test]
    fn no_value_is_overstated_by_more_than_a_sixty_fourth() {
        let mut value = 1u64;
        for _ in 0..200_000 {
            value = value.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            // All magnitudes, up to what a duration of months has.
            let us = value >> (20 + (value % 43));
            let high = highest(bucket(us));
            assert!(us <= high, "{us} {high}");
            assert!((high - us) * FINE <= us.max(FINE), "{us} {high}");
        }
    }

    #[test]
    fn percentiles_of_a_thousand() {
        let mut histogram = Histogram::default();
        (1..=1000).for_each(|ms| histogram.add(Duration::from_millis(ms)));
        let close = |got: u64, want: u64| got.abs_diff(want) <= want / 50;
        assert!(close(histogram.percentile(50.0), 500_000));
        assert!(close(histogram.percentile(99.0), 990_000));
        assert_eq!(histogram.percentile(100.0), 1_000_000);
        assert_eq!(histogram.count(), 1000);
    }
}
