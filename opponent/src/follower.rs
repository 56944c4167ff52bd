//! One replica hears the same messages in both cores; what it holds and what it answers is compared
//! after each.

use crate::differences::{Differences, Mischief};
use crate::history::{History, LISTENER, VOTERS};
use crate::ours::{self, Ours};
use crate::theirs::{self, Theirs};
use crate::words::{Answered, Asked};
use base::Random;
use protocols::raft::Options;

/// Elections by timeout do not happen here.
pub fn patient() -> Options {
    Options { election_ns_min: 0, election_ns_max: 1 << 50, ..Options::default() }
}

/// Runs one schedule. The error tells what differs and why it should not.
pub fn run(
    seed: u64,
    mischief: Option<Mischief>,
    differences: &mut Differences,
) -> Result<(), String> {
    let mut random = Random::new(seed);
    let history = History::draw(&mut random);
    let mut ours = start_ours(ours::Disk::new(ours::membership(&VOTERS, &[])));
    let mut theirs = start_theirs(theirs::Disk::new(&VOTERS, &[]));
    let mut told = Vec::new();
    for _ in 0..40 {
        if random.chance(1, 12) {
            told.push("restart".to_string());
            let mut disk = ours.stop();
            if mischief == Some(Mischief::VoteForgotten) {
                disk.forget_vote();
            }
            ours = start_ours(disk);
            theirs = start_theirs(theirs.crash());
        } else {
            let (from, term, asked) = history.message(&mut random);
            told.push(format!("{from} in term {term}: {asked:?}"));
            let before = ours.held().term;
            ours.ask(from, term, &asked);
            theirs.ask(from, term, &asked);
            let said = (ours.answers(from), theirs.answers(from));
            compare_answers(before, term, &asked, &said, differences)
                .map_err(|what| format!("{what}\n{}", told.join("\n")))?;
        }
        differences.compared += 1;
        let (ours, theirs) = (ours.held(), theirs.held());
        if ours != theirs {
            let told = told.join("\n");
            return Err(format!("ours holds {ours:?}\ntheirs holds {theirs:?}\n{told}"));
        }
    }
    Ok(())
}

fn start_ours(disk: ours::Disk) -> Ours {
    Ours::start(LISTENER, disk, patient(), true, 0)
}

fn start_theirs(disk: theirs::Disk) -> Theirs {
    Theirs::start(&theirs::config(LISTENER, false), disk)
}

fn compare_answers(
    present: u64,
    term: u64,
    asked: &Asked,
    (ours, theirs): &(Vec<(u64, Answered)>, Vec<(u64, Answered)>),
    differences: &mut Differences,
) -> Result<(), String> {
    if ours == theirs {
        return Ok(());
    }
    let why = match (asked, &ours[..], &theirs[..]) {
        // Theirs leaves a candidate of an earlier term without an answer.
        (Asked::Vote(_), [(_, Answered::Voted(false))], []) if term < present => {
            "a vote of an earlier term is refused, and not ignored"
        }
        // Theirs has no word of its own for it.
        (Asked::Append { .. }, [(a, Answered::Newer)], [(b, Answered::Appended(0))])
            if a == b && term < present =>
        {
            return Ok(());
        }
        // A candidate in our term asks for the next one: theirs would grant what it can't keep.
        (Asked::PreVote(_), [(_, Answered::PreVoted(ours))], [(_, Answered::PreVoted(theirs))]) => {
            match (ours, theirs) {
                (true, true) | (false, false) => "a pre-vote's answer carries another term",
                (false, true) if term <= present => {
                    "a pre-vote for a term that we are in already is refused"
                }
                _ => return Err(format!("ours answers {ours:?}, theirs {theirs:?}")),
            }
        }
        _ => return Err(format!("ours answers {ours:?}, theirs {theirs:?}")),
    };
    differences.note(why);
    Ok(())
}
