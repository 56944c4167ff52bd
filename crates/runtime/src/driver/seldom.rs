//! Things that strangers can make happen as often as they like, told of now and then.

use std::time::{Duration, Instant};

/// It is told again after so long, as a rule.
const REPEAT_AFTER: Duration = Duration::from_secs(60);

/// When something was last told of.
#[derive(Debug)]
pub(super) struct Seldom {
    every: Duration,
    told: Option<Instant>,
    untold: u64,
}

impl Default for Seldom {
    fn default() -> Seldom {
        Seldom::every(REPEAT_AFTER)
    }
}

impl Seldom {
    /// Told of so often at most.
    pub(super) fn every(every: Duration) -> Seldom {
        Seldom { every, told: None, untold: 0 }
    }

    /// It happened. If it is time to say so: how often it has since that was last said.
    pub(super) fn due(&mut self) -> Option<u64> {
        self.untold += 1;
        if self.told.is_some_and(|told| told.elapsed() < self.every) {
            return None;
        }
        self.told = Some(Instant::now());
        Some(std::mem::take(&mut self.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_told_once_a_minute_with_how_often_it_happened() {
        let mut seldom = Seldom::default();
        assert_eq!(seldom.due(), Some(1));
        assert_eq!((seldom.due(), seldom.due()), (None, None));
        seldom.told = Instant::now().checked_sub(REPEAT_AFTER);
        assert_eq!(seldom.due(), Some(3));
    }
}
