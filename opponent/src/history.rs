//! Histories: what the leaders of successive terms wrote, and what of it was committed, made without
//! any core. A replica that hears any part of it in any order is a slow replica of a sound cluster,
//! so both cores must take every message, and must make the same of it.

use crate::words::{Asked, Content, Entry, Position};
use base::Random;

/// The replica that listens. It belongs to no majority that mattered.
pub const LISTENER: u64 = 1;

/// All five.
pub const VOTERS: [u64; 5] = [1, 2, 3, 4, 5];

/// One leader.
#[derive(Clone, Debug)]
struct Leader {
    id: u64,
    term: u64,
    log: Vec<Entry>,
    /// What it knew committed when its log was so long: (length, commit), both rising.
    commits: Vec<(u64, u64)>,
}

/// Leaders of several terms.
#[derive(Clone, Debug)]
pub struct History {
    leaders: Vec<Leader>,
}

fn end(log: &[Entry]) -> Position {
    log.last()
        .map_or(Position::default(), |entry| Position { term: entry.term, index: entry.index })
}

fn at(log: &[Entry], index: u64) -> Position {
    end(&log[..index as usize])
}

impl History {
    /// A few terms, some without a leader.
    pub fn draw(random: &mut Random) -> History {
        let mut committed: Vec<Entry> = Vec::new();
        let mut leaders: Vec<Leader> = Vec::new();
        let (mut term, mut value) = (0, 0);
        for _ in 0..random.between(1, 5) {
            term += random.between(1, 2);
            // Whoever is elected holds what is committed, and perhaps more of some earlier leader's.
            let mut log = committed.clone();
            if let Some(before) = random.pick(&leaders)
                && before.log.len() >= committed.len()
                && before.log[..committed.len()] == committed[..]
            {
                let upto = random.between(committed.len() as u64, before.log.len() as u64);
                log = before.log[..upto as usize].to_vec();
            }
            let mut leader = Leader { id: random.between(2, 5), term, log, commits: vec![(0, 0)] };
            for place in 0..random.between(1, 4) {
                value += 1;
                let content = if place == 0 { Content::Noop } else { Content::Value(value) };
                let index = leader.log.len() as u64 + 1;
                leader.log.push(Entry { term, index, content });
                if random.chance(1, 2) {
                    let own = leader.log.iter().position(|entry| entry.term == term);
                    let first = own.expect("just pushed") as u64 + 1;
                    let upto = random.between(first.max(committed.len() as u64), index);
                    if upto > committed.len() as u64 {
                        committed = leader.log[..upto as usize].to_vec();
                    }
                }
                leader.commits.push((index, committed.len() as u64));
            }
            leaders.push(leader);
        }
        History { leaders }
    }

    /// Something that somebody said to the listener in the course of it: who, in which term, what.
    pub fn message(&self, random: &mut Random) -> (u64, u64, Asked) {
        let leader = random.pick(&self.leaders).expect("there is a leader");
        let last = leader.log.len() as u64;
        match random.below(8) {
            0 | 1 => {
                // Whoever would lead after somebody, with a log that somebody had.
                let other = random.pick(&self.leaders).expect("there is a leader");
                let upto = random.below(other.log.len() as u64 + 1);
                let position = at(&other.log, upto);
                let term = (leader.term + random.below(3)).max(position.term + 1);
                let from = random.between(2, 5);
                match random.chance(1, 2) {
                    true => (from, term, Asked::PreVote(position)),
                    false => (from, term, Asked::Vote(position)),
                }
            }
            _ => {
                let prev = random.below(last + 1);
                let upto = random.between(prev, last);
                let knew = |&&(length, _): &&(u64, u64)| length >= upto;
                let commit = leader.commits.iter().find(knew).map_or(0, |(_, commit)| *commit);
                let entries = leader.log[prev as usize..upto as usize].to_vec();
                let prev = at(&leader.log, prev);
                (leader.id, leader.term, Asked::Append { prev, entries, commit })
            }
        }
    }
}
