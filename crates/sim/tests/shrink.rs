//! A run that fails under a bug becomes a short script, which fails under the bug and holds without.

use underpin_sim::judge::Violation;
use underpin_sim::mutant::Mutant;
use underpin_sim::script::Script;
use underpin_sim::shrink::{Shrunk, shrink};
use underpin_sim::{Run, raft, run};

/// Shrinks a run with at most so many others.
fn shrunk(script: &Script, violation: &Violation, watched: bool, runs: u64) -> Shrunk {
    let mut left = runs;
    let mut time = || {
        left = left.saturating_sub(1);
        left > 0
    };
    let small = shrink(script, violation, watched, &mut time);
    // As a text, too, it fails under the bug, and holds without it.
    let read: Script = small.script.to_string().parse().unwrap();
    let found = read.run(watched, None).0.expect("it fails");
    assert_eq!(found.kind(), violation.kind(), "{read}");
    let sound = Script { mutant: None, ..read.clone() };
    assert_eq!(sound.run(true, None).0, None, "{read}");
    small
}

/// The first whole run of nodes that fails under a bug, after at least so many deeds.
fn of_nodes(mutant: Mutant, deeds: usize) -> (Script, Violation) {
    let failing = (1..60).find_map(|seed| {
        let report = run(Run { seconds: 6, mutant: Some(mutant), ..Run::of(seed) }, None);
        let large = report.script.planned.len() >= deeds;
        report.finding().filter(|_| large).map(|violation| (report.script, violation))
    });
    failing.expect("some seed finds it")
}

/// The first run of Raft alone that clients find wrong.
fn of_raft(mutant: Mutant) -> (Script, Violation) {
    let failing = (1..400).find_map(|seed| {
        let run = raft::Run { mutant: Some(mutant), watched: false, ..raft::Run::of(seed) };
        let report = raft::run(run, None);
        report.violation.map(|violation| (report.script, violation))
    });
    failing.expect("some seed finds it")
}

#[test]
fn time_that_jumps_comes_down_to_one_clock_and_one_key() {
    let (script, violation) = of_nodes(Mutant::JumpsToClocks, 16);
    assert!(script.clients.len() > 12, "{script}");
    let small = shrunk(&script, &violation, true, 100).script;
    assert!(small.planned.len() <= 5 && small.clients.len() <= 5, "{small}");
    assert!(small.planned.iter().all(|planned| planned.words.contains("wall clock")), "{small}");
    assert!(small.clients.iter().any(|part| part.work == "expiry"), "{small}");
}

#[test]
fn a_log_that_acknowledges_too_early_comes_down_to_power_failures() {
    let (script, violation) = of_nodes(Mutant::AcksBeforeDurable, 1);
    let small = shrunk(&script, &violation, true, 200).script;
    assert!(small.planned.len() <= 2 && small.clients.len() <= 3, "{small}");
    assert!(small.planned.iter().all(|planned| planned.words.contains("power")), "{small}");
}

#[test]
fn in_raft_alone_it_comes_down_to_crashes_and_appends() {
    let (script, violation) = of_raft(Mutant::AcksBeforeDurable);
    assert!(script.planned.len() > 60, "{script}");
    let small = shrunk(&script, &violation, false, 2000).script;
    assert!(
        small.planned.len() <= 25,
        "{} of {}: {small}",
        small.planned.len(),
        script.planned.len()
    );
}
