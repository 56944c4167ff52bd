//! Each fault of disks is felt: a world with nothing but this fault reaches its mark, holds, and
//! gives its clients answers.

use underpin_sim::marks::{Mark, Marks};
use underpin_sim::script::Script;
use underpin_sim::{Report, replay};

/// A world of five nodes with some clients, in which this happens.
fn world(seed: u64, beyond: bool, faults: &[(&str, &str)]) -> Report {
    let mut text = format!("world nodes\nseed {seed}\nnodes 5\n");
    if beyond {
        text += "beyond\n";
    }
    text += "until 8.000000s\n";
    for client in 0..30 {
        text += &format!("client {client} any from 0.{client:02}0000s\n");
    }
    for (number, (at, what)) in faults.iter().enumerate() {
        let draw = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ number as u64;
        text += &format!("at {at}00000s {what} with {draw:016x}\n");
    }
    let script: Script = text.parse().unwrap_or_else(|wrong| panic!("{wrong}\n{text}"));
    replay(&script, true, None)
}

/// What these faults come to in a handful of worlds.
fn felt(faults: &[(&str, &str)], expected: &[Mark]) {
    let mut marks = Marks::default();
    for seed in 1..=6 {
        let report = world(seed, false, faults);
        let (violation, tail) = (&report.violation, report.tail.join("\n"));
        assert_eq!(*violation, None, "seed {seed}\n{tail}");
        assert!(report.totals.outcomes[0] > 200, "seed {seed}: {:?}", report.totals.outcomes);
        marks.add(&report.totals.marks);
    }
    for mark in expected {
        assert!(marks.count(*mark) > 0, "not felt: {}; {marks:?}", mark.about());
    }
}

#[test]
fn power_that_fails_during_a_sync_tears_sectors_and_tails() {
    let all = ["n1", "n2", "n3", "n4", "n5"].map(|node| format!("power-loss-in-sync {node}"));
    let faults: Vec<(&str, &str)> =
        ["2.0", "3.0", "4.0", "5.0", "6.0"].into_iter().zip(all.iter().map(|s| &s[..])).collect();
    felt(&faults, &[Mark::PowerLost, Mark::TornSector, Mark::TornTailCut]);
}

#[test]
fn a_sync_or_a_read_that_fails_ends_the_process_and_no_more() {
    let faults = [("2.0", "sync-error n1"), ("3.0", "read-error n2"), ("3.5", "kill n2")];
    felt(&faults, &[Mark::SyncFailed, Mark::ReadFailed]);
}

#[test]
fn a_bit_that_flips_in_a_log_is_found_and_the_node_replaced() {
    let faults = [("3.0", "log-flip n2"), ("3.5", "kill n2")];
    felt(&faults, &[Mark::LogFlipFound, Mark::NodeReplaced, Mark::ReplacedVotes, Mark::JointLeft]);
}

#[test]
fn a_bit_that_flips_in_a_table_is_found_and_the_node_replaced() {
    let faults = [("3.0", "table-flip n1"), ("3.1", "table-flip n2"), ("4.0", "kill n1")];
    felt(&faults, &[Mark::TableFlipFound, Mark::ReplacedVotes]);
}

#[test]
fn a_write_that_lands_elsewhere_is_found_and_the_node_replaced() {
    let faults = [("3.0", "misdirect n3"), ("5.0", "kill n3")];
    felt(&faults, &[Mark::MisdirectedFound, Mark::ReplacedVotes]);
}

#[test]
fn two_of_five_disks_may_be_lost_at_a_time() {
    let faults = [("3.0", "disk-loss n1"), ("3.1", "disk-loss n4"), ("3.2", "disk-loss n5")];
    felt(&faults, &[Mark::DiskLost, Mark::NodeReplaced, Mark::ReplacedVotes, Mark::JointEntered]);
}

/// Each draws how many disks become full, which may be one or all.
#[test]
fn disks_that_become_full_refuse_writes_take_deletes_and_recover_unaided() {
    let faults = [("1.5", "disk-full n1"), ("4.0", "disk-full n2"), ("6.5", "disk-full n4")];
    let expected = [
        Mark::DiskFull,
        Mark::TablesFull,
        Mark::WriteRefusedFull,
        Mark::DeletePassedFull,
        Mark::ReserveLent,
        Mark::ReserveWhole,
        Mark::RoomBack,
    ];
    felt(&faults, &expected);
}

#[test]
fn a_leader_whose_disk_stays_full_hands_over() {
    let faults = ["n1", "n2", "n3", "n4", "n5"].map(|node| format!("disk-full {node}"));
    let times = ["1.5", "2.5", "3.5", "4.5", "5.5"];
    let faults: Vec<(&str, &str)> = times.into_iter().zip(faults.iter().map(|s| &s[..])).collect();
    felt(&faults, &[Mark::LeaderLeftFull]);
}

#[test]
fn nodes_that_die_on_full_disks_start_there_and_go_on() {
    let faults = [
        ("1.5", "disk-full n1"),
        ("2.0", "kill n1"),
        ("2.5", "power-loss n2"),
        ("3.0", "power-loss-of-all n1"),
        ("4.0", "disk-full n2"),
        ("4.5", "power-loss-in-sync n3"),
        ("5.0", "power-loss-of-all n1"),
    ];
    felt(&faults, &[Mark::DiskFull, Mark::AllPowerLost, Mark::RoomBack]);
}

#[test]
fn beyond_the_promise_nodes_may_lose_and_do_not_lie() {
    let faults = [
        ("1.5", "roll-back n1"),
        ("1.6", "roll-back n2"),
        ("3.0", "disk-loss n3"),
        ("3.1", "disk-loss n4"),
        ("3.2", "disk-loss n5"),
        ("4.0", "roll-back n1"),
        ("4.1", "roll-back n2"),
    ];
    let mut marks = Marks::default();
    for seed in 1..=6 {
        let report = world(seed, true, &faults);
        assert_eq!(report.violation, None, "seed {seed}\n{}", report.tail.join("\n"));
        marks.add(&report.totals.marks);
    }
    assert!(marks.count(Mark::RolledBack) > 0 && marks.count(Mark::TooManyLost) > 0, "{marks:?}");
}
