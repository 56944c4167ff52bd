//! A few worlds that must hold, twice the same, and broken ones that must be found out.

use underpin_sim::marks::Mark;
use underpin_sim::mutant::Mutant;
use underpin_sim::script::Script;
use underpin_sim::{Report, Run, replay, run};

fn worlds(seeds: std::ops::Range<u64>, seconds: u64, mutant: Option<Mutant>) -> Vec<Report> {
    seeds.map(|seed| run(Run { seconds, mutant, ..Run::of(seed) }, None)).collect()
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in [1, 7411] {
        let once = run(Run { seconds: 5, ..Run::of(seed) }, None);
        let mut lines = 0;
        let again = run(Run { seconds: 5, ..Run::of(seed) }, Some(&mut |_: &str| lines += 1));
        assert_eq!(once, again);
        assert!(lines > 1000, "a run is told in {lines} lines");
        assert_ne!(once.hash, run(Run { seconds: 5, ..Run::of(seed + 1) }, None).hash);
    }
}

/// In world 38 a disk is lost and its node replaced.
#[test]
fn a_script_of_all_that_happened_is_the_same_run() {
    for seed in [2, 3, 38, 7411] {
        let once = run(Run { seconds: 5, ..Run::of(seed) }, None);
        let script: Script = once.script.to_string().parse().unwrap();
        assert!(script.planned.len() > 1 && script.clients.len() > 10, "{script}");
        let again = replay(&script, true, None);
        assert!(seed != 38 || again.totals.marks.count(Mark::NodeReplaced) > 0, "{script}");
        assert_eq!((again.hash, again.totals), (once.hash, once.totals), "seed {seed}\n{script}");
    }
}

#[test]
fn a_few_worlds_hold_and_do_what_they_are_for() {
    let reports = worlds(1..16, 10, None);
    let mut sum = underpin_sim::Totals::default();
    for report in &reports {
        let (violation, tail) = (&report.violation, report.tail.join("\n"));
        assert_eq!(*violation, None, "seed {}\n{tail}", report.seed);
        sum.add(&report.totals);
    }
    assert!(sum.starts > 100 && sum.leaders > 60 && sum.flushes > 50, "{sum:?}");
    assert!(sum.fetches > 100 && sum.outcomes.iter().all(|count| *count > 20), "{sum:?}");
    assert_eq!(sum.unjudged, 0, "{sum:?}");
    assert!(sum.session_pairs.iter().all(|pairs| *pairs > 100), "{sum:?}");
    assert!(sum.looks > 100 && sum.walks > 10, "{sum:?}");
    assert!(sum.ends.ends > 150 && sum.ends.excused * 100 < sum.ends.ends, "{sum:?}");
    let usual = [
        Mark::PowerLost,
        Mark::SyncFailed,
        Mark::SuffixCut,
        Mark::ReadByLease,
        Mark::ReadByRound,
        Mark::ReadRefused,
        Mark::OnceRepeated,
        Mark::CasConflict,
    ];
    for mark in usual {
        assert!(sum.marks.count(mark) > 0, "never seen: {}; {:?}", mark.about(), sum.marks);
    }
}

/// The first seed that finds a mutant.
fn found(mutant: Mutant) {
    const BUDGET: u64 = 60;
    for seed in 1..=BUDGET {
        let report = run(Run { seconds: 10, mutant: Some(mutant), ..Run::of(seed) }, None);
        if report.violation.is_some() {
            return;
        }
    }
    panic!("{mutant:?} lives on after {BUDGET} worlds");
}

macro_rules! zoo {
    ($($name:ident $mutant:ident)*) => {$(
        #[test]
        fn $name() {
            found(Mutant::$mutant);
        }
    )*};
}

zoo! {
    a_log_that_acknowledges_too_early_is_found AcksBeforeDurable
    a_wiped_node_under_its_old_identity_is_found ForgetsVote
    a_log_that_loses_votes_is_found LosesHardState
    a_start_that_forgets_promises_is_found ForgetsPromise
    a_clock_beyond_the_drift_bound_is_found SlowLeaseClock
    tables_that_are_lost_are_found LosesTable
    a_network_that_changes_bytes_is_found Corrupts
    a_network_that_repeats_messages_is_found Duplicates
    reads_that_anyone_answers_are_found StaleReads
    shard_time_that_jumps_is_found JumpsToClocks
    writes_that_are_refused_for_room_and_done_are_found RefusesAndLogs
    a_full_disk_that_drops_what_it_acknowledges_is_found DropsWhenFull
}
