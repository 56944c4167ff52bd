//! Clients that do not wait for their answers, and connections that break between any two bytes: both
//! are felt, hold, and what goes wrong there is found.

use underpin_sim::marks::{Mark, Marks};
use underpin_sim::mutant::Mutant;
use underpin_sim::script::Script;
use underpin_sim::{Run, replay, run};

/// The worlds of a few seeds, in which all is well.
fn felt(expected: &[Mark]) {
    let mut marks = Marks::default();
    for seed in 1..=16 {
        let report = run(Run { seconds: 6, ..Run::of(seed) }, None);
        let (violation, tail) = (&report.violation, report.tail.join("\n"));
        assert_eq!(*violation, None, "seed {seed}\n{tail}");
        assert_eq!(report.totals.unjudged, 0, "seed {seed}");
        marks.add(&report.totals.marks);
    }
    for mark in expected {
        assert!(marks.count(*mark) > 0, "not felt: {}; {marks:?}", mark.about());
    }
}

#[test]
fn clients_have_several_requests_under_way_and_are_cut_off_half_way() {
    felt(&[Mark::Pipelined, Mark::PipelineAtOnce, Mark::PipelineCut]);
}

#[test]
fn connections_break_within_requests_and_within_replies() {
    felt(&[Mark::ConnCutInRequest, Mark::ConnCutInReply]);
}

/// An old script, which has no line for wires, is still the run that it was; so is one with it.
#[test]
fn wires_are_rough_only_where_a_script_says_so() {
    let rough = |report: &underpin_sim::Report| {
        let marks = &report.totals.marks;
        marks.count(Mark::ConnCutInRequest) + marks.count(Mark::ConnCutInReply)
    };
    let worlds = (1..=16).map(|seed| run(Run { seconds: 6, ..Run::of(seed) }, None));
    let drawn = worlds.into_iter().find(|report| rough(report) > 0).expect("some world is rough");
    let script: Script = drawn.script.to_string().parse().unwrap();
    assert_eq!(replay(&script, true, None).hash, drawn.hash, "{script}");
    let smooth = replay(&Script { wires: false, ..script.clone() }, true, None);
    assert_eq!((smooth.violation.as_deref(), rough(&smooth)), (None, 0), "{script}");
}

/// The first seed that finds a mutant, and what it finds.
fn found(mutant: Mutant) -> String {
    const BUDGET: u64 = 60;
    let reports = (1..=BUDGET)
        .map(|seed| run(Run { seconds: 6, mutant: Some(mutant), ..Run::of(seed) }, None));
    let found = reports.into_iter().find_map(|report| report.finding());
    let found = found.unwrap_or_else(|| panic!("{mutant:?} lives on after {BUDGET} worlds"));
    format!("{}: {}", found.judge, found.what)
}

#[test]
fn answers_of_a_pipeline_that_are_swapped_are_found() {
    let found = found(Mutant::SwapsAnswers);
    assert!(found.starts_with("client: ") && found.contains("pipeline"), "{found}");
}

#[test]
fn reads_that_overtake_their_connections_writes_are_found() {
    let found = found(Mutant::OvertakesWrites);
    assert!(found.contains("pipelined") && found.contains("in order"), "{found}");
}

#[test]
fn half_a_request_that_is_read_as_the_next_connections_is_found() {
    let found = found(Mutant::KeepsHalfRequest);
    assert!(found.starts_with("client: "), "{found}");
}
