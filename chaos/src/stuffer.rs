//! A client that only takes room. Logs keep some ahead, so that a full disk is noticed by nobody
//! until somebody writes more than that.

use base::{Bytes, Random};
use sim::workload::{Histories, Outcome, Work, command};

/// So many keys, written over and over.
const KEYS: u64 = 8;
const VALUE_BYTES: usize = 64 << 10;

/// Writes large values, and wants to know nothing.
#[derive(Default)]
pub struct Stuffer;

impl Work for Stuffer {
    fn next(&mut self, _: u64, peace: bool, random: &mut Random) -> Option<Vec<Bytes>> {
        let key = format!("stuff{}", random.below(KEYS));
        (!peace).then(|| command(&["SET", &key, &"x".repeat(VALUE_BYTES)]))
    }

    fn outcome(&mut self, _: u64, _: Outcome) {}

    fn report(&mut self, _: &mut Histories) {}
}
