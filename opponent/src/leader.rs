//! One replica leads in both cores: it proposes, its disk is slow, its followers acknowledge and
//! refuse in any order, late and twice, also in terms that are over. When does it commit what?

use crate::differences::{Differences, Mischief};
use crate::ours::{self, BRISK_NS, Ours};
use crate::theirs::{self, Theirs};
use crate::words::{Asked, Content, Entry, Held, Position};
use base::Random;
use protocols::raft::Options;

const ME: u64 = 1;

/// The voters of a configuration, and of the one that is being left if a change is under way.
fn draw_voters(random: &mut Random) -> (Vec<u64>, Vec<u64>) {
    let some = |random: &mut Random| {
        let mut others: Vec<u64> = (2..=7).filter(|_| random.chance(1, 2)).collect();
        others.insert(0, ME);
        others
    };
    let voters = some(random);
    let outgoing = if random.chance(1, 3) { some(random) } else { Vec::new() };
    (voters, outgoing)
}

/// A log of earlier terms, none of it known to be committed but for a part.
fn draw_held(random: &mut Random) -> Held {
    let (mut log, mut term) = (Vec::new(), 1);
    for index in 1..=random.below(6) {
        term += random.below(2);
        log.push(Entry { term, index, content: Content::Value(1000 + index) });
    }
    let commit = random.below(log.len() as u64 + 1);
    Held { term: term + random.below(2), vote: None, commit, log }
}

/// Runs one schedule. The error tells what differs and why it should not.
pub fn run(
    seed: u64,
    mischief: Option<Mischief>,
    differences: &mut Differences,
) -> Result<(), String> {
    let mut random = Random::new(seed);
    let (voters, outgoing) = draw_voters(&mut random);
    let held = draw_held(&mut random);
    let mut told = vec![format!("voters {voters:?} beside {outgoing:?}, holding {held:?}")];
    let members = ours::membership(&voters, &outgoing);
    let brisk = Options { election_ns_min: 0, election_ns_max: BRISK_NS, ..Options::default() };
    let mut ours = Ours::start(ME, ours::Disk::with(&held, members), brisk, true, 0);
    let disk = theirs::Disk::with(&held, &voters, &outgoing);
    let mut theirs = Theirs::start(&theirs::config(ME, false), disk);
    let everybody: Vec<u64> = (1..=7).collect();
    if !ours.elect(&everybody) || !theirs.elect(&everybody) {
        let leads = (ours.leads(), theirs.leads());
        return Err(format!("leads: {leads:?}\n{}", told.join("\n")));
    }
    (ours.prompt, theirs.prompt) = (mischief == Some(Mischief::DurableTooEarly), false);
    let joint = !outgoing.is_empty();
    for value in 1..=60 {
        let (a, b) = (ours.held(), theirs.held());
        differences.compared += 1;
        // Once something of its term is committed ours ends the change; theirs leaves that to its owner.
        let ending = joint && a.commit.min(b.commit) > held.log.len() as u64;
        if a != b && !ending {
            return Err(format!("ours holds {a:?}\ntheirs holds {b:?}\n{}", told.join("\n")));
        }
        if ending {
            return Ok(());
        }
        let last = a.log.len() as u64;
        match random.below(8) {
            0 | 1 => {
                told.push(format!("propose {value}"));
                let taken = (ours.propose(value), theirs.propose(value));
                if taken.0 != taken.1 {
                    return Err(format!("taken by one: {taken:?}\n{}", told.join("\n")));
                }
            }
            2 => {
                told.push("all writes are durable".to_string());
                ours.sync();
                theirs.sync();
            }
            _ => {
                let from = random.between(2, 7);
                let asked = match random.chance(1, 5) {
                    true => {
                        let hint = random.below(last + 1);
                        let term = hint.checked_sub(1).map_or(0, |at| a.log[at as usize].term);
                        let hint = Position { term, index: hint };
                        Asked::Rejected { prev: random.between(hint.index, last), hint }
                    }
                    false => Asked::Appended(random.below(last + 1)),
                };
                let term = a.term - u64::from(random.chance(1, 10));
                told.push(format!("{from} in term {term}: {asked:?}"));
                ours.ask(from, term, &asked);
                theirs.ask(from, term, &asked);
            }
        }
        (ours.answers(0), theirs.answers(0));
    }
    Ok(())
}
