//! The same schedules through our Raft and through [raft-rs](https://crates.io/crates/raft), and what
//! differs. raft-rs has run under TiKV for years; where the two agree on a million messages, a mistake
//! of ours would have to be one of theirs as well.
//!
//! They are set side by side three times, from near and from far:
//!
//! * [`follower`]: the same messages, of a sound but nasty history, to one replica of each. After
//!   each, both must hold the same term, vote, log and commit index, and answer the same.
//! * [`leader`]: both lead, in plain and in joint configurations; the same acknowledgements and
//!   refusals must make both commit the same at the same moment.
//! * [`cluster`]: whole clusters with timers of their own, the same crashes, cuts, changes and
//!   handovers. What clients see when things have settled must be the same.
//!
//! A difference either has an explanation, which is counted, or ends the run. What has no place in
//! both is left out: snapshots, leases, shard time, stopping a replica.
//!
//! `cargo xtask opponent` runs it; exit code 1 says that something differs.

mod cluster;
mod differences;
mod follower;
mod history;
mod leader;
mod ours;
mod theirs;
mod words;

use differences::{Differences, Mischief};
use std::process::ExitCode;

const HELP: &str = "\
cargo xtask opponent [OPTIONS]

  --schedules N    so many to one replica and to one leader each; to clusters a twentieth of it.
                   Default 20000
  --from S         beginning with this seed; default 1
";

type Run = fn(u64, Option<Mischief>, &mut Differences) -> Result<(), String>;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let (mut schedules, mut from) = (20_000, 1);
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        let number = rest.next().and_then(|word| word.parse::<u64>().ok());
        match (word.as_str(), number) {
            ("--schedules", Some(number)) => schedules = number,
            ("--from", Some(number)) => from = number,
            ("--help" | "-h", _) => {
                print!("{HELP}");
                return ExitCode::SUCCESS;
            }
            _ => {
                eprint!("{word}: no such option, or it lacks its number\n\n{HELP}");
                return ExitCode::from(2);
            }
        }
    }
    let clusters = schedules.div_ceil(20);
    let sides: [(&str, u64, Run); 3] = [
        ("one replica", schedules, follower::run),
        ("one leader", schedules, leader::run),
        ("clusters", clusters, cluster::run),
    ];
    for (what, schedules, run) in sides {
        let mut differences = Differences::default();
        for seed in from..from + schedules {
            if let Err(why) = run(seed, None, &mut differences) {
                println!("{what}, seed {seed}: {why}");
                return ExitCode::FAILURE;
            }
        }
        differences.report(what, schedules);
    }
    ExitCode::SUCCESS
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The seed at which a mistake was found.
    fn found(run: Run, mischief: Mischief) -> Option<u64> {
        (1..=200).find(|seed| run(*seed, Some(mischief), &mut Differences::default()).is_err())
    }

    #[test]
    fn a_forgotten_vote_is_found() {
        assert!(found(follower::run, Mischief::VoteForgotten).is_some());
    }

    #[test]
    fn a_commit_before_the_own_copy_is_durable_is_found() {
        assert!(found(leader::run, Mischief::DurableTooEarly).is_some());
    }

    #[test]
    fn a_lost_entry_is_found() {
        let caught = std::panic::catch_unwind(|| found(cluster::run, Mischief::EntryLost));
        assert!(caught.is_err() || caught.is_ok_and(|seed| seed.is_some()));
    }

    #[test]
    fn without_a_mistake_nothing_is_found() {
        for seed in 1..=100 {
            for run in [follower::run as Run, leader::run] {
                assert_eq!(run(seed, None, &mut Differences::default()), Ok(()));
            }
        }
        for seed in 1..=10 {
            assert_eq!(cluster::run(seed, None, &mut Differences::default()), Ok(()));
        }
    }
}
