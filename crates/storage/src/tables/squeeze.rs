//! Merging on a full disk: every delete meets what it deletes.
//!
//! Levels are there to make writes cheap: what is in one of them is merged with the next when the
//! level has become too large, so deletes may rest above what they delete for good. On a full disk
//! that is room which nobody has. There every level but the last counts as too large, and what is in
//! it goes down, the deepest level first:
//!
//! ```text
//! fresh      ─ deletes ────────────     cut into small tables while they go to level 5
//! level 5    ─d─ ─d─ ─d─ ─d─ ─d─ ─d─    each is merged with the few tables below it that it covers,
//! level 6    ─rows─ ─rows─ ─rows─       the smallest such merge first
//! ```
//!
//! A merge takes the room of what it leaves before it gives its sources back. So it must not cover
//! much at a time, and it is the deletes that would make it: a table of them alone covers as many
//! rows as it has, however large these are. Hence the cut, into so many deletes a table and not so
//! many bytes. `lsm-tree` cuts whatever it merges but moves what overlaps nothing, as a run of
//! deletes does that goes to an empty level; how it is made to merge it says
//! [`LsmTables`](super::LsmTables).
//!
//! The `lsm-tree` crate lets nobody else choose the files of a merge (its strategies are a public
//! trait, but the types of their arguments have no public name). Its own choice takes all that is
//! said here as numbers: levels of no size at all, and a size of tables. It refuses merges of more
//! than fifty such tables; then the size is doubled until it has one to do.
//!
//! Each step takes something one level down, so there is an end.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

use lsm_tree::compaction::{Leveled, MoveDown};
use lsm_tree::{AbstractTree, AnyTree, Error};
use std::sync::Arc;

/// The last level: below it there is nothing that a delete could delete.
const LAST: usize = 6;
const ABOVE_LAST: usize = LAST - 1;
/// While the disk is full, merged files of rows are so many times smaller.
const SHARE: u64 = 16;
/// And so large at least: files take whole pages of a disk, and a list says where each of them is.
const TABLE_BYTES_MIN: u64 = 32 << 10;
/// Deletes in a table of them, if that is large enough for a file.
const DELETES: u64 = 512;
const PIECE_BYTES_MIN: u64 = 16 << 10;

/// A level in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Level {
    tables: usize,
    runs: usize,
    bytes: u64,
    rows: u64,
    deletes: u64,
}

fn levels(tree: &AnyTree) -> Vec<Level> {
    let version = tree.current_version();
    let of_level = |tables: &mut dyn Iterator<Item = (u64, u64, u64)>, runs| {
        let none = Level { runs, ..Level::default() };
        tables.fold(none, |sum, (bytes, rows, deletes)| Level {
            tables: sum.tables + 1,
            runs,
            bytes: sum.bytes + bytes,
            rows: sum.rows + rows,
            deletes: sum.deletes + deletes,
        })
    };
    let levels = version.iter_levels().map(|level| {
        let tables = level.iter().flat_map(|run| run.iter()).map(|table| &table.metadata);
        let mut numbers = tables.map(|of| (of.file_size, of.item_count, of.tombstone_count));
        of_level(&mut numbers, level.run_count())
    });
    levels.collect()
}

/// Bytes of a table while the disk is full.
pub(super) fn table_bytes(usual: u64) -> u64 {
    (usual / SHARE).max(TABLE_BYTES_MIN)
}

/// Bytes of a table from `level` that has few enough deletes.
fn piece_bytes(level: Level, usual: u64) -> u64 {
    let by_deletes = level.bytes.saturating_mul(DELETES) / level.deletes.max(1);
    by_deletes.clamp(PIECE_BYTES_MIN, table_bytes(usual))
}

/// Whether the one fresh run has too many deletes in a table, and would be moved as it is.
pub(super) fn must_be_cut(tree: &AnyTree) -> bool {
    let levels = levels(tree);
    let fresh = levels[0];
    let alone = levels[1..LAST].iter().all(|level| level.tables == 0);
    let many = fresh.deletes > 2 * DELETES * fresh.tables as u64;
    fresh.runs == 1 && alone && many && levels[LAST].tables > 0
}

/// Whether deletes are left that free nothing where they are, so that rewriting everything would.
pub(super) fn is_worth_rewriting(tree: &AnyTree) -> bool {
    let levels = levels(tree);
    let (rows, deletes) =
        levels.iter().fold((0, 0), |(rows, deletes), of| (rows + of.rows, deletes + of.deletes));
    deletes * 8 > rows
}

/// Bytes of a table with which the highest level is not too large, so that what is fresh goes there.
pub(super) fn roomy_table_bytes(tree: &AnyTree, usual: u64) -> u64 {
    let levels = levels(tree);
    let highest = levels[1..].iter().find(|level| level.tables > 0);
    highest.map_or(0, |level| level.bytes).max(piece_bytes(levels[0], usual))
}

/// Merges the smallest piece one level down. False: all is in the last one, or the `lsm-tree` crate
/// finds no merge, as for a table that begins before all of the next level or ends after it.
pub(super) fn step(tree: &AnyTree, usual: u64, watermark: u64) -> Result<bool, Error> {
    let levels = levels(tree);
    let Some(from) = levels[..LAST].iter().rposition(|level| level.tables > 0) else {
        return Ok(false);
    };
    match from {
        0 => merge(tree, piece_bytes(levels[0], usual), watermark),
        ABOVE_LAST => merge(tree, table_bytes(usual), watermark),
        _ => {
            let whole = MoveDown(from as u8, ABOVE_LAST as u8);
            tree.compact(Arc::new(whole), watermark).map(|()| true)
        }
    }
}

/// Merges into tables of so many bytes, or of more if there is no merge of few enough of them.
fn merge(tree: &AnyTree, mut bytes: u64, watermark: u64) -> Result<bool, Error> {
    let before = tree.current_version().id();
    let most = tree.disk_space().max(bytes);
    while bytes <= most {
        let downwards = Leveled::default().with_l0_threshold(0).with_table_target_size(bytes);
        tree.compact(Arc::new(downwards), watermark)?;
        if tree.current_version().id() != before {
            return Ok(true);
        }
        bytes = bytes.saturating_mul(2);
    }
    Ok(false)
}
