//! Known defects, played on purpose. Each must be found, or the checker sees nothing.

use crate::campaign::{Tally, histories};
use crate::checker::{Checker, Kind};
use crate::history;
use crate::log::{self, Defect, OWNER, STEPS};
use crate::platter::{Image, Op, Plan};
use base::checksum::{crc32c, crc32c_append};
use std::sync::Arc;

/// Which operations are left out.
type Forgets = fn(&Op) -> bool;

/// Runs histories until the defect is found; says after how many images, and how it showed.
fn found(defect: &Defect) -> (u64, String) {
    let mut tally = Tally::begin();
    for (n, history) in histories(&STEPS).iter().enumerate() {
        for with_past in [false, true] {
            let plan = Plan { limit: 1024, samples: 32, torn: false, seed: n as u64 };
            if let Err(why) = log::check(history, with_past, &plan, defect, &mut tally) {
                return (tally.images, why);
            }
        }
    }
    panic!("not found in {} images", tally.images)
}

fn is_found(name: &str, defect: &Defect) {
    let (images, why) = found(defect);
    let why: String = why.chars().take(160).collect();
    println!("found after {images} images: {name}: {why}");
}

#[test]
fn an_acknowledgement_before_the_sync_is_found() {
    is_found("acknowledged before the sync", &Defect { hasty: true, ..Defect::default() });
}

#[test]
fn a_missing_sync_of_the_log_is_found() {
    let forgets = |op: &Op| matches!(op, Op::SyncFile { .. });
    is_found("no sync of files", &Defect { forgets: Some(forgets), ..Defect::default() });
}

#[test]
fn a_missing_sync_of_the_directory_is_found() {
    let forgets = |op: &Op| matches!(op, Op::SyncDir { .. });
    is_found("no sync of directories", &Defect { forgets: Some(forgets), ..Defect::default() });
}

#[test]
fn a_recovery_that_ignores_checksums_is_found() {
    is_found("checksums ignored", &Defect { overlooks: Some(forge), ..Defect::default() });
}

#[test]
fn a_recovery_that_takes_a_torn_tail_for_corruption_is_found() {
    is_found("torn tails refused", &Defect { nervous: true, ..Defect::default() });
}

#[test]
fn a_recovery_that_takes_corruption_for_a_torn_tail_is_found() {
    let why = log::damage(&histories(&STEPS)[..12], Some(cut_short), &mut Tally::begin());
    let why = why.expect_err("a log that was cut short passed");
    println!("found: corruption cut off: {}", why.chars().take(160).collect::<String>());
}

fn is_found_in_store(name: &str, kind: Kind, defect: history::Defect) {
    let mut checker = Checker::new(kind);
    checker.defect = defect;
    let mut tally = Tally::begin();
    let found = histories(&history::STEPS).iter().enumerate().find_map(|(n, history)| {
        let plan = Plan { limit: 64, samples: 32, torn: false, seed: n as u64 };
        [false, true].iter().find_map(|past| checker.check(history, *past, &plan, &mut tally).err())
    });
    let why: String = found.expect("it is found").chars().take(160).collect();
    println!("found after {} images: {name}: {why}", tally.images);
}

#[test]
fn a_log_compacted_before_the_tables_have_its_rows_is_found() {
    for kind in [Kind::Model, Kind::Lsm] {
        let defect = history::Defect { compacts_early: true, ..history::Defect::default() };
        is_found_in_store("log compacted before the flush", kind, defect);
    }
}

#[test]
fn an_acknowledgement_before_the_sync_is_found_in_a_store_too() {
    for kind in [Kind::Model, Kind::Lsm] {
        let defect = history::Defect { hasty: true, ..history::Defect::default() };
        is_found_in_store("acknowledged before the sync", kind, defect);
    }
}

#[test]
fn missing_syncs_of_the_tables_are_found() {
    let files = |op: &Op| matches!(op, Op::SyncFile { .. });
    let folder = |op: &Op| matches!(op, Op::SyncDir { path } if path == "tables/tables");
    let versions = |op: &Op| matches!(op, Op::SyncDir { path } if path == "tables");
    let forgetful: [(&str, Forgets); 3] = [
        ("no sync of files", files),
        ("no sync of the folder of tables", folder),
        ("no sync of the folder of versions", versions),
    ];
    for (name, forgets) in forgetful {
        let defect = history::Defect { forgets: Some(forgets), ..history::Defect::default() };
        is_found_in_store(name, Kind::Lsm, defect);
    }
}

/// Makes every batch's checksums right, whatever it holds.
fn forge(image: &mut Image) {
    for (path, content) in &mut image.files {
        let number = path.strip_prefix("wal/").and_then(|name| name.strip_suffix(".log"));
        let Some(number) = number.and_then(|digits| digits.parse::<u64>().ok()) else { continue };
        let content = Arc::make_mut(content);
        for at in (512..content.len()).step_by(64) {
            if content[at..at + 4] == 0x6c77_7055u32.to_le_bytes()
                && content[at + 8..at + 16] == number.to_le_bytes()
            {
                forge_batch(content, at);
            }
        }
    }
}

fn forge_batch(content: &mut [u8], at: usize) {
    let bytes = u32::from_le_bytes(content[at + 4..at + 8].try_into().expect("four")) as usize;
    let Some(payload) = content.get(at + 48..at + 48 + bytes) else { return };
    // The checksum covers the owner, then segment and offset as the header has them.
    let seed = crc32c_append(crc32c(&OWNER.to_le_bytes()), &content[at + 8..at + 24]);
    let crc = crc32c_append(seed, payload);
    content[at + 40..at + 44].copy_from_slice(&crc.to_le_bytes());
    let crc = crc32c_append(crc32c(&OWNER.to_le_bytes()), &content[at..at + 44]);
    content[at + 44..at + 48].copy_from_slice(&crc.to_le_bytes());
}

/// Ends a damaged segment where the damage is, as a recovery does that tolerates corruption.
fn cut_short(content: &mut [u8], damaged: usize) {
    let from = damaged / 64 * 64;
    content[from..].fill(0);
}
