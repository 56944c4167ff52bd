//! Many keys: what goes in is all there after `kill -9` of everything, in every walk, and no node is
//! away for long meanwhile. `cargo xtask million` does it with a million keys on a release build and
//! holds every single turn to its bound.

use underpin_e2e::million::{self, Plan};

/// Of so many turns one may take longer than 10 ms of the processor's time. Not none: a kernel may
/// charge a thread for interrupts that came in its time, and machines that run tests have many.
const TURNS: u64 = 200;

#[test]
fn many_keys_are_all_there_and_turns_stay_short() {
    let plan = Plan { keys: 100_000, connections: 12, pipeline: 64, ..Plan::default() };
    let report = million::run(&plan);
    println!("{report}");
    let turns = |of: fn(&million::Phase) -> u64| report.phases.iter().map(of).sum::<u64>();
    let all = turns(|phase| phase.turns.cpu.all);
    let long = turns(|phase| phase.turns.cpu.over(10));
    assert!(all > 1_000, "{all} turns: /metrics does not count them");
    assert!(long <= all / TURNS, "{long} of {all} turns took over 10 ms of the processor's time");
}
