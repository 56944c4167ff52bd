//! Raft alone, in worlds that must hold.

use underpin_sim::raft::{Run, Stats, replay, run};
use underpin_sim::script::Script;

/// `RAFT_SEEDS=from..to` runs other seeds; `RAFT_TRACE=1` tells every event.
#[test]
fn raft_keeps_its_promises_under_every_seed() {
    let seeds = std::env::var("RAFT_SEEDS").ok().and_then(|seeds| {
        let (from, to) = seeds.split_once("..")?;
        Some(from.parse().ok()?..to.parse().ok()?)
    });
    let mut stats = Stats::default();
    #[allow(clippy::print_stderr)]
    let mut tell = |line: &str| eprintln!("{line}");
    for seed in seeds.unwrap_or(0..500) {
        let traced = std::env::var("RAFT_TRACE").is_ok();
        let reader: Option<&mut dyn FnMut(&str)> = if traced { Some(&mut tell) } else { None };
        let report = run(Run::of(seed), reader);
        assert_eq!(report.violation, None, "seed {seed}");
        stats.add(&report.stats);
    }
    #[allow(clippy::print_stdout)]
    {
        println!("{stats:?}");
    }
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in 0..20 {
        let (once, again) = (run(Run::of(seed), None), run(Run::of(seed), None));
        assert_eq!(once, again);
        assert_ne!(once.hash, run(Run::of(seed + 1000), None).hash);
    }
}

#[test]
fn a_script_of_all_that_was_done_is_the_same_run() {
    for seed in 0..20 {
        let once = run(Run::of(seed), None);
        let script: Script = once.script.to_string().parse().unwrap();
        let again = replay(&script, true, None);
        assert_eq!((again.hash, again.stats), (once.hash, once.stats), "seed {seed}\n{script}");
    }
}
