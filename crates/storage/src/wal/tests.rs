//! The log against a model, crashes, damage and full disks.

#![allow(clippy::disallowed_methods)]

use super::*;
use crate::disk::{RealDisk, SimDisk};
use base::{EntryKind, HardState, Membership, NodeId, Random, Stamp, Term};

const OWNER: u64 = 0x5eed;

fn options() -> WalOptions {
    WalOptions {
        segment_bytes: 8 << 10,
        segments_soft: 3,
        spares: 2,
        spares_max: 3,
        step_bytes: 4 << 10,
        owner: OWNER,
    }
}

fn new_disk() -> SimDisk {
    let mut disk = SimDisk::new();
    Wal::create(&mut disk, &options()).unwrap();
    disk
}

fn reopen(disk: &SimDisk) -> Result<(Wal, Recovered), WalError> {
    Wal::open(Box::new(disk.clone()), options())
}

fn entry(term: u64, index: u64, data: Vec<u8>) -> Entry {
    Entry {
        term: Term(term),
        index: Index(index),
        stamp: Stamp(index * 10),
        kind: EntryKind::Command,
        data: data.into(),
    }
}

fn entries(shard: u64, term: u64, indexes: std::ops::RangeInclusive<u64>, bytes: usize) -> Record {
    let entries = indexes.map(|index| entry(term, index, vec![index as u8; bytes])).collect();
    Record::Entries { shard: ShardId(shard), entries }
}

fn log_start(shard: u64, term: u64, index: u64) -> Record {
    Record::LogStart { shard: ShardId(shard), start: start(term, index) }
}

fn start(term: u64, index: u64) -> LogStart {
    LogStart {
        index: Index(index),
        term: Term(term),
        stamp: Stamp(index * 10),
        membership: Membership::of_voters([(ReplicaId(1), NodeId(1))]),
    }
}

fn hard_state(shard: u64, term: u64) -> Record {
    let state = HardState { term: Term(term), vote: Some(ReplicaId(term)), commit: Index(0) };
    Record::HardState { shard: ShardId(shard), state }
}

/// Syncs, and does all housekeeping there is.
fn settle(wal: &mut Wal) {
    loop {
        wal.sync().unwrap();
        if !wal.maintain().unwrap() {
            return;
        }
    }
}

type State = BTreeMap<ShardId, RecoveredShard>;

/// What the log should remember after each record, and after each entry of it.
fn follow(state: &mut State, record: &Record, mut after: impl FnMut(&State)) {
    match record {
        Record::HardState { shard, state: hard } => {
            state.entry(*shard).or_default().hard_state = *hard;
        }
        Record::Replica { shard, replica, about } => {
            state.entry(*shard).or_default().replica = Some((*replica, about.clone()));
        }
        Record::Drop { shard } => {
            state.remove(shard);
        }
        Record::LogStart { shard, start } => {
            let log = state.entry(*shard).or_default();
            log.entries.retain(|entry| entry.index > start.index);
            log.log_start = start.clone();
        }
        Record::Reset { shard, start } => {
            let log = state.entry(*shard).or_default();
            log.entries.clear();
            log.log_start = start.clone();
        }
        Record::Entries { shard, entries } => {
            for entry in entries {
                let log = state.entry(*shard).or_default();
                log.entries.retain(|old| old.index < entry.index);
                log.entries.push(entry.clone());
                after(state);
            }
        }
    }
    after(state);
}

/// A record that Raft could write next.
fn draw_record(random: &mut Random, state: &State) -> Record {
    let shard = ShardId(random.between(1, 4));
    let empty = RecoveredShard::default();
    let log = state.get(&shard).unwrap_or(&empty);
    let first = log.log_start.index.0 + 1;
    let last = first + log.entries.len() as u64 - 1;
    match random.below(20) {
        0..=2 => hard_state(shard.0, random.below(100)),
        3..=6 => {
            let index = random.between(first - 1, last);
            let term = match log.entries.get(index.wrapping_sub(first) as usize) {
                Some(entry) => entry.term.0,
                None => log.log_start.term.0,
            };
            log_start(shard.0, term, index)
        }
        7 => Record::Reset { shard, start: start(random.below(100), last + random.below(9)) },
        8 => Record::Drop { shard },
        9 => Record::Replica {
            shard,
            replica: ReplicaId(random.below(9)),
            about: vec![7; random.below(40) as usize].into(),
        },
        _ => {
            let from = if random.chance(1, 5) { random.between(first, last + 1) } else { last + 1 };
            let term = random.below(100);
            let entries = (from..from + random.between(1, 6))
                .map(|index| entry(term, index, vec![term as u8; random.below(700) as usize]))
                .collect();
            Record::Entries { shard, entries }
        }
    }
}

/// Appends, syncs, housekeeping, and crashes at any point of it: what comes back is what was there
/// after some record, and no earlier one than the last that was synced.
#[test]
fn a_crash_loses_nothing_synced_and_invents_nothing() {
    let (mut crashes, mut torn, mut rotations) = (0, 0, 0);
    for seed in 0..150 {
        let mut random = Random::new(seed);
        let disk = new_disk();
        let (mut wal, recovered) = reopen(&disk).unwrap();
        assert_eq!(recovered, Recovered::default());
        let mut state = State::new();
        // States that a crash may lead back to: the synced one, and those after it.
        let mut possible = vec![state.clone()];
        for _ in 0..random.between(50, 250) {
            match random.below(12) {
                0..=5 => {
                    let count = random.between(1, 4);
                    let mut records = Vec::new();
                    for _ in 0..count {
                        let record = draw_record(&mut random, &state);
                        follow(&mut state, &record, |after| possible.push(after.clone()));
                        records.push(record);
                    }
                    wal.append(&records).unwrap();
                }
                6..=8 => {
                    wal.sync().unwrap();
                    possible = vec![state.clone()];
                }
                9 | 10 => {
                    wal.maintain().unwrap();
                }
                _ => {
                    rotations += wal.stats().head.segment;
                    if random.chance(1, 4) {
                        // The plug is pulled again while the log is being read back.
                        let half = disk.after_crash(&mut random);
                        let (_, first) = reopen(&half).unwrap();
                        half.crash(&mut random);
                        let (_, second) = reopen(&half).unwrap();
                        assert!(possible.contains(&first.shards), "seed {seed}");
                        assert_eq!(first.shards, second.shards, "seed {seed}");
                    }
                    disk.crash(&mut random);
                    let (again, recovered) = reopen(&disk).unwrap();
                    assert!(
                        possible.contains(&recovered.shards),
                        "seed {seed}: {recovered:?} is none of {possible:#?}"
                    );
                    crashes += 1;
                    torn += u64::from(recovered.torn.is_some());
                    wal = again;
                    state = recovered.shards;
                    possible = vec![state.clone()];
                }
            }
        }
        check_reads(&mut wal, &state);
    }
    assert!(crashes > 500 && torn > 100 && rotations > 1000, "{crashes} {torn} {rotations}");
}

fn check_reads(wal: &mut Wal, state: &State) {
    for (shard, log) in state {
        let first = log.log_start.index.next();
        let read = wal.entries(*shard, first, Index(u64::MAX), usize::MAX).unwrap();
        assert_eq!(read, log.entries);
        let one = wal.entries(*shard, first, Index(u64::MAX), 1).unwrap();
        assert_eq!(one.len(), log.entries.len().min(1));
    }
}

/// A log of several segments that is durable and vouched for.
fn busy_log(random: &mut Random) -> (SimDisk, State) {
    let disk = new_disk();
    let (mut wal, _) = reopen(&disk).unwrap();
    let mut state = State::new();
    for _ in 0..60 {
        let record = draw_record(random, &state);
        follow(&mut state, &record, |_| ());
        wal.append(&[record]).unwrap();
        wal.sync().unwrap();
        wal.maintain().unwrap();
    }
    settle(&mut wal);
    (disk, state)
}

/// Bits flip in closed segments and in the open one, in heads, records and padding: the log is read
/// back as it was, or refused; never cut short.
#[test]
fn a_flipped_bit_is_never_a_silent_loss() {
    let (mut refused, mut harmless) = (0, 0);
    for seed in 0..400 {
        let mut random = Random::new(seed);
        let (disk, state) = busy_log(&mut random);
        let paths = disk.paths();
        let logs: Vec<&String> = paths.iter().filter(|path| path.ends_with(".log")).collect();
        let path = *random.pick(&logs).unwrap();
        let offset = random.below(options().segment_bytes);
        disk.flip_bit(path, offset, random.below(8) as u8);
        match reopen(&disk) {
            Ok((mut wal, recovered)) => {
                assert_eq!(recovered.shards, state, "seed {seed}: {path} at {offset}");
                check_reads(&mut wal, &state);
                harmless += 1;
            }
            Err(error @ WalError::Corrupt { .. }) => {
                let message = error.to_string();
                assert!(message.contains(".log at byte"), "{message}");
                assert!(message.contains("underpin node rebuild"), "{message}");
                refused += 1;
            }
            Err(other) => panic!("seed {seed}: {other}"),
        }
    }
    assert!(refused > 150 && harmless > 50, "{refused} refused, {harmless} harmless");
}

#[test]
fn a_flipped_bit_in_the_last_batch_is_found_once_the_log_was_idle() {
    let disk = new_disk();
    let (mut wal, _) = reopen(&disk).unwrap();
    wal.append(&[entries(1, 1, 1..=3, 100)]).unwrap();
    wal.sync().unwrap();
    let at = wal.stats().head.offset - 100;
    settle(&mut wal);
    disk.flip_bit("wal/00000001.log", at, 3);
    let error = reopen(&disk).unwrap_err();
    assert!(matches!(error, WalError::Corrupt { .. }), "{error}");
}

#[test]
fn a_damaged_entry_is_not_copied_or_served() {
    let disk = new_disk();
    let (mut wal, _) = reopen(&disk).unwrap();
    wal.append(&[entries(1, 1, 1..=3, 100)]).unwrap();
    wal.sync().unwrap();
    disk.flip_bit("wal/00000001.log", wal.stats().head.offset - 100, 3);
    let error = wal.entries(ShardId(1), Index(1), Index(9), usize::MAX).unwrap_err();
    assert!(matches!(error, WalError::Corrupt { .. }), "{error}");
    assert!(matches!(wal.append(&[hard_state(1, 1)]), Err(WalError::Poisoned { .. })));
}

#[test]
fn a_write_that_landed_elsewhere_is_found() {
    for seed in 0..50 {
        let disk = new_disk();
        disk.set_faults(Random::new(seed));
        let (mut wal, _) = reopen(&disk).unwrap();
        settle(&mut wal);
        for index in 1..=10 {
            if index == 5 {
                disk.misdirect_next_write("wal/");
            }
            wal.append(&[entries(1, 1, index..=index, 300)]).unwrap();
            wal.sync().unwrap();
        }
        match reopen(&disk) {
            Err(WalError::Corrupt { .. }) => {}
            // It may have landed where it belongs.
            Ok((_, recovered)) => assert_eq!(recovered.shards[&ShardId(1)].entries.len(), 10),
            Err(other) => panic!("seed {seed}: {other}"),
        }
    }
}

#[test]
fn a_missing_segment_is_noticed() {
    for victim in 0..3 {
        let disk = new_disk();
        let (mut wal, _) = reopen(&disk).unwrap();
        for index in 1..=30 {
            wal.append(&[entries(1, 1, index..=index, 700)]).unwrap();
            wal.sync().unwrap();
        }
        drop(wal);
        let logs: Vec<String> =
            disk.paths().into_iter().filter(|path| path.ends_with(".log")).collect();
        assert!(logs.len() > 3);
        disk.clone().remove(&logs[victim]).unwrap();
        let error = reopen(&disk).unwrap_err();
        assert!(error.to_string().contains("a segment that was needed is gone"), "{error}");
    }
}

#[test]
fn another_directorys_log_is_refused_and_an_empty_one_is_not_filled() {
    let disk = new_disk();
    let other = WalOptions { owner: 1, ..options() };
    let error = Wal::open(Box::new(disk), other).unwrap_err();
    assert!(matches!(error, WalError::Foreign { expected: 1, seen: OWNER, .. }), "{error}");
    let error = reopen(&SimDisk::new()).unwrap_err();
    assert!(error.to_string().contains("underpin node replace"), "{error}");
}

#[test]
fn a_log_with_content_is_not_created_over() {
    let mut disk = new_disk();
    Wal::create(&mut disk, &options()).unwrap();
    let (mut wal, _) = reopen(&disk).unwrap();
    wal.append(&[hard_state(1, 1)]).unwrap();
    wal.sync().unwrap();
    let error = Wal::create(&mut disk, &options()).unwrap_err();
    assert!(error.to_string().contains("a log is there already"), "{error}");
}

/// A shard that is idle with a few entries does not hold up the log of the others: its entries move
/// to the head, once. When they are in the way again, the log names the shard.
#[test]
fn entries_of_an_idle_shard_are_carried_forward_once() {
    let disk = new_disk();
    let (mut wal, _) = reopen(&disk).unwrap();
    wal.append(&[hard_state(1, 3), entries(1, 3, 1..=3, 50)]).unwrap();
    let mut index = 1;
    let mut busy = |wal: &mut Wal| {
        wal.append(&[entries(2, 1, index..=index, 900), log_start(2, 1, index)]).unwrap();
        index += 1;
        settle(wal);
    };
    for _ in 0..30 {
        busy(&mut wal);
    }
    let stats = wal.stats();
    assert!(stats.head.segment > 4 && stats.segments <= 4, "{stats:?}");
    assert!(wal.shards.shards[&ShardId(1)].location(Index(1)).unwrap().carried);
    assert_eq!(stats.pinned, []);
    let (mut wal, recovered) = reopen(&disk).unwrap();
    let idle = &recovered.shards[&ShardId(1)];
    assert_eq!((idle.entries.len(), idle.hard_state.term), (3, Term(3)));
    for _ in 0..60 {
        busy(&mut wal);
    }
    assert_eq!(wal.stats().pinned, [(ShardId(1), Index(1))]);
    wal.append(&[log_start(1, 3, 3)]).unwrap();
    settle(&mut wal);
    let stats = wal.stats();
    assert!(stats.segments <= 2 && stats.pinned.is_empty(), "{stats:?}");
}

/// On a full disk entries are refused before anything is written; votes, compaction marks and
/// urgent entries pass; compaction then frees segments and entries are taken again.
#[test]
fn a_full_disk_is_survived_without_help() {
    let disk = new_disk();
    let (mut wal, _) = reopen(&disk).unwrap();
    settle(&mut wal);
    disk.set_capacity(Some(5 * options().segment_bytes));
    let mut index = 0;
    loop {
        match wal.append(&[entries(1, 1, index + 1..=index + 1, 900)]) {
            Ok(()) => index += 1,
            Err(WalError::Full) => break,
            Err(other) => panic!("{other}"),
        }
        settle(&mut wal);
    }
    assert!(index > 20, "{index} entries before the disk was full");
    let before = wal.stats();
    assert_eq!(before.spares, 1, "the reserve is untouched");
    assert!(matches!(
        wal.append(&[entries(1, 1, index + 1..=index + 3, 900)]),
        Err(WalError::Full)
    ));
    assert_eq!(wal.stats(), before, "a refused append changes nothing");

    // Urgent records go into the reserve; then nothing else may.
    index += 1;
    wal.append_urgent(&[entries(1, 1, index..=index, 900)]).unwrap();
    wal.append(&[hard_state(1, 2)]).unwrap();
    settle(&mut wal);
    assert_eq!(wal.space(), Space::Full);
    assert!(matches!(wal.append(&[entries(1, 1, index + 1..=index + 1, 1)]), Err(WalError::Full)));

    // A restart on the full disk changes nothing.
    drop(wal);
    let (mut wal, recovered) = reopen(&disk).unwrap();
    assert_eq!(recovered.shards[&ShardId(1)].entries.len() as u64, index);
    assert!(matches!(wal.append(&[entries(1, 1, index + 1..=index + 1, 1)]), Err(WalError::Full)));

    wal.append(&[log_start(1, 1, index - 2)]).unwrap();
    settle(&mut wal);
    assert_eq!(wal.space(), Space::Ample);
    wal.append(&[entries(1, 1, index + 1..=index + 3, 900)]).unwrap();
    wal.sync().unwrap();
    let (_, recovered) = reopen(&disk).unwrap();
    assert_eq!(recovered.shards[&ShardId(1)].entries.len(), 5);
}

/// Even entries that may use the reserve leave room for the mark that frees the log again.
#[test]
fn compaction_marks_fit_when_urgent_entries_do_not() {
    for bytes in [30, 200, 900, 3000] {
        let disk = new_disk();
        let (mut wal, _) = reopen(&disk).unwrap();
        disk.set_capacity(Some(4 * options().segment_bytes));
        let mut index = 0;
        while wal.append_urgent(&[entries(1, 1, index + 1..=index + 1, bytes)]).is_ok() {
            index += 1;
        }
        for n in 0..4 {
            wal.append(&[hard_state(1, n), log_start(1, 1, index - 4 + n)]).unwrap();
        }
        settle(&mut wal);
        wal.append(&[entries(1, 1, index + 1..=index + 1, bytes)]).unwrap();
    }
}

/// Tables that have no room get what the log can do without: spares, and segments that stay for the
/// sake of a few entries.
#[test]
fn a_log_makes_itself_small_when_others_need_the_room() {
    let disk = new_disk();
    let (mut wal, _) = reopen(&disk).unwrap();
    wal.append(&[entries(2, 1, 1..=1, 10)]).unwrap();
    let mut index = 0;
    while wal.stats().segments < 3 {
        index += 1;
        wal.append(&[entries(1, 1, index..=index, 900)]).unwrap();
        settle(&mut wal);
    }
    wal.append(&[log_start(1, 1, index)]).unwrap();
    settle(&mut wal);
    let before = wal.stats();
    assert!(before.segments == 3 && before.spares > 1, "{before:?}");
    wal.set_tight(true);
    settle(&mut wal);
    let after = wal.stats();
    assert_eq!((after.segments, after.spares), (1, 1), "{after:?}");
    wal.set_tight(false);
    settle(&mut wal);
    assert_eq!(wal.stats().spares, options().spares);
    let (_, recovered) = reopen(&disk).unwrap();
    assert_eq!(recovered.shards[&ShardId(2)].entries, [entry(1, 1, vec![1; 10])]);
}

/// A refusal is cheap, and room that comes from elsewhere is found after a while.
#[test]
fn refusals_on_a_full_disk_write_nothing_and_new_room_is_found() {
    let disk = new_disk();
    let (mut wal, _) = reopen(&disk).unwrap();
    disk.set_capacity(Some(disk.used() + 1000));
    let news = [entries(1, 1, 1..=1, 900)];
    assert!(matches!(wal.append(&news), Err(WalError::Full)));
    disk.set_costs(crate::disk::DiskCosts { sync_ns: 1, access_ns: 1, kib_ns: 1 });
    assert!(matches!(wal.append(&news), Err(WalError::Full)));
    assert_eq!(disk.take_cost(), 0);
    disk.set_capacity(None);
    for _ in 0..100 {
        wal.maintain().unwrap();
    }
    wal.append(&news).unwrap();
}

/// What waits may want more than the spare that is left, and gets it once there is room, though one
/// is all that a tight log keeps.
#[test]
fn a_log_that_keeps_its_last_spare_finds_new_room_for_entries() {
    let disk = new_disk();
    let (mut wal, _) = reopen(&disk).unwrap();
    settle(&mut wal);
    wal.set_tight(true);
    settle(&mut wal);
    disk.set_capacity(Some(disk.used()));
    // More than the rest of this segment and all of the spare.
    let blocked = [entries(1, 1, 1..=16, 900)];
    assert!(matches!(wal.append_urgent(&blocked), Err(WalError::Full)));
    assert_eq!(wal.stats().spares, 1, "it is kept");
    disk.set_capacity(None);
    for _ in 0..100 {
        wal.maintain().unwrap();
    }
    wal.append_urgent(&blocked).unwrap();
}

/// A log lives on a thread of its own.
#[test]
fn a_log_can_be_sent_to_another_thread() {
    fn sendable<T: Send>() {}
    sendable::<Wal>();
}

#[test]
fn a_failed_sync_is_the_end() {
    let disk = new_disk();
    let (mut wal, _) = reopen(&disk).unwrap();
    wal.append(&[entries(1, 1, 1..=1, 100)]).unwrap();
    wal.sync().unwrap();
    wal.append(&[entries(1, 1, 2..=9, 300)]).unwrap();
    disk.fail_next_sync("wal/");
    assert!(matches!(wal.sync(), Err(WalError::Io { .. })));
    assert!(matches!(wal.sync(), Err(WalError::Poisoned { .. })), "not even if it would succeed");
    let error = wal.append(&[hard_state(1, 1)]).unwrap_err();
    assert!(error.to_string().contains("restart the node"), "{error}");
    assert!(wal.maintain().is_err());
    let (_, recovered) = reopen(&disk).unwrap();
    let log = &recovered.shards[&ShardId(1)];
    assert_eq!(log.entries[0], entry(1, 1, vec![1; 100]));
}

/// After a failed sync the operating system may show what is not on the disk, and a sync that
/// succeeds then does not put it there. A log that is opened has to, before it is acted on.
#[test]
fn what_a_reopened_log_shows_is_on_the_disk_even_after_a_failed_sync() {
    for seed in 0..20 {
        let disk = new_disk();
        let (mut wal, _) = reopen(&disk).unwrap();
        let mut index = 0;
        for _ in 0..seed {
            index += 1;
            wal.append(&[entries(1, 1, index..=index, 300)]).unwrap();
            wal.sync().unwrap();
            wal.maintain().unwrap();
        }
        wal.append(&[entries(1, 1, index + 1..=index + 6, 300)]).unwrap();
        disk.forget_at_next_sync("wal/");
        assert!(matches!(wal.sync(), Err(WalError::Io { .. })));
        drop(wal);
        let (wal, shown) = reopen(&disk).unwrap();
        drop(wal);
        disk.crash(&mut Random::new(seed));
        let (_, kept) = reopen(&disk).unwrap();
        assert_eq!(kept.shards, shown.shards, "seed {seed}");
    }
}

#[test]
fn what_is_too_large_is_refused_before_anything_is_written() {
    let disk = new_disk();
    let (mut wal, _) = reopen(&disk).unwrap();
    let error = wal.append(&[hard_state(1, 1), entries(1, 1, 1..=1, 4000)]).unwrap_err();
    assert!(matches!(error, WalError::TooLarge { .. }), "{error}");
    assert!(!wal.needs_sync());
    // Many entries that fit one by one are split.
    wal.append(&[entries(1, 1, 1..=40, 900)]).unwrap();
    wal.sync().unwrap();
    let (_, recovered) = reopen(&disk).unwrap();
    assert_eq!(recovered.shards[&ShardId(1)].entries.len(), 40);
}

#[test]
fn one_append_costs_one_write_and_one_sync() {
    let disk = new_disk();
    let (mut wal, _) = reopen(&disk).unwrap();
    settle(&mut wal);
    let before = disk.syncs();
    wal.append(&[hard_state(1, 1), entries(1, 1, 1..=3, 50), entries(2, 1, 1..=3, 50)]).unwrap();
    wal.sync().unwrap();
    assert_eq!(disk.syncs() - before, 1);
}

#[test]
fn real_files_work_the_same() {
    let root = std::env::temp_dir().join(format!("underpin-wal-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&root);
    let mut disk = RealDisk::new(&root);
    Wal::create(&mut disk, &options()).unwrap();
    let mut random = Random::new(5);
    let mut state = State::new();
    for _ in 0..4 {
        let (mut wal, recovered) = Wal::open(Box::new(RealDisk::new(&root)), options()).unwrap();
        assert_eq!(recovered.shards, state);
        for _ in 0..60 {
            let record = draw_record(&mut random, &state);
            follow(&mut state, &record, |_| ());
            wal.append(&[record]).unwrap();
            wal.sync().unwrap();
            wal.maintain().unwrap();
        }
        settle(&mut wal);
        check_reads(&mut wal, &state);
    }
    std::fs::remove_dir_all(&root).unwrap();
}
