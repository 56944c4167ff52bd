//! How much was looked at, and in what order.

use base::Random;
use std::fmt;
use std::time::Instant;

/// What a campaign has seen.
#[derive(Debug)]
pub struct Tally {
    pub histories: u64,
    pub boundaries: u64,
    pub images: u64,
    /// Images in which the log ended in a torn tail.
    pub torn: u64,
    /// Images of a second crash, while the first one was being recovered from.
    pub second: u64,
    /// Images that were refused, rightly.
    pub refused: u64,
    begun: Instant,
    seconds: f64,
}

impl Tally {
    pub fn begin() -> Tally {
        Tally {
            histories: 0,
            boundaries: 0,
            images: 0,
            torn: 0,
            second: 0,
            refused: 0,
            begun: Instant::now(),
            seconds: 0.0,
        }
    }

    pub fn end(mut self) -> Tally {
        self.seconds = self.begun.elapsed().as_secs_f64();
        self
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} images at {} boundaries of {} histories",
            self.images, self.boundaries, self.histories
        )?;
        for (count, what) in [
            (self.torn, "with a torn tail"),
            (self.second, "of a second crash in recovery"),
            (self.refused, "rightly refused"),
        ] {
            if count > 0 {
                write!(f, ", {count} {what}")?;
            }
        }
        let per_minute = self.images as f64 / self.seconds.max(0.001) * 60.0;
        write!(f, "; {:.1} s, {per_minute:.0} images/min", self.seconds)
    }
}

/// How many images were asked for; otherwise what every run of the tests can afford.
pub fn wanted() -> u64 {
    let asked = std::env::var("UNDERPIN_CRASH_IMAGES").ok();
    asked.map_or(10_000, |text| text.parse().expect("a number of images"))
}

/// Every sequence of one, two and three of `steps`: those of one and of two in order, then those
/// of three in an order in which a beginning is a fair sample.
pub fn histories<S: Copy>(steps: &[S]) -> Vec<Vec<S>> {
    let longer = |shorter: &[Vec<S>]| -> Vec<Vec<S>> {
        let with = |history: &Vec<S>| {
            let history = history.clone();
            steps.iter().map(move |step| [&history[..], &[*step]].concat())
        };
        shorter.iter().flat_map(with).collect()
    };
    let one = longer(&[Vec::new()]);
    let two = longer(&one);
    let mut three = longer(&two);
    let mut random = Random::new(1);
    for left in (1..three.len()).rev() {
        three.swap(left, random.below(left as u64 + 1) as usize);
    }
    [one, two, three].concat()
}
