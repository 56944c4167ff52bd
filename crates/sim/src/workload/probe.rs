//! One client per node that only wants to be served by it.

use super::{Histories, Outcome, Work, command};
use base::time::MILLISECOND;
use base::{Bytes, Random};

/// Sets a key of its own again and again.
pub struct Probe {
    number: u64,
    asked: u64,
    /// Asked for in peace.
    in_peace: bool,
    served: bool,
}

impl Probe {
    /// The probe of a node.
    pub fn new(number: u64) -> Probe {
        Probe { number, asked: 0, in_peace: false, served: false }
    }
}

impl Work for Probe {
    fn next(&mut self, _: u64, peace: bool, _: &mut Random) -> Option<Vec<Bytes>> {
        if self.served {
            return None;
        }
        self.in_peace = peace;
        self.asked += 1;
        let (key, value) = (format!("probe{}", self.number), self.asked.to_string());
        Some(command(&["SET", &key, &value]))
    }

    fn outcome(&mut self, _: u64, outcome: Outcome) {
        self.served |= self.in_peace && matches!(outcome, Outcome::Reply(_));
    }

    fn pause(&self, random: &mut Random, _: u64) -> u64 {
        match self.in_peace {
            true => random.below(100 * MILLISECOND) + 1,
            false => random.below(2000 * MILLISECOND) + 1,
        }
    }

    fn served(&self) -> bool {
        self.served
    }

    fn report(&mut self, _: &mut Histories) {}
}
