//! What differed and is understood.

use std::collections::BTreeMap;

/// Differences by their explanation.
#[derive(Debug, Default)]
pub struct Differences {
    seen: BTreeMap<&'static str, u64>,
    reached: BTreeMap<&'static str, u64>,
    /// How often the two were looked at side by side.
    pub compared: u64,
}

/// Something to do wrong on purpose, in ours: a comparison that can't fail compares nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mischief {
    /// A restart forgets the vote.
    VoteForgotten,
    /// What is being written counts as durable.
    DurableTooEarly,
    /// A crash loses the last entry.
    EntryLost,
}

impl Differences {
    /// One more.
    pub fn note(&mut self, why: &'static str) {
        *self.seen.entry(why).or_default() += 1;
    }

    /// Something happened without which the comparison would say little.
    pub fn reach(&mut self, what: &'static str) {
        *self.reached.entry(what).or_default() += 1;
    }

    /// What was seen, line by line.
    pub fn report(&self, what: &str, schedules: u64) {
        println!("{what}: {schedules} schedules, {} comparisons", self.compared);
        for (what, count) in &self.reached {
            println!("  {count:>8} x {what}");
        }
        for (why, count) in &self.seen {
            println!("  {count:>8} differences: {why}");
        }
    }
}
