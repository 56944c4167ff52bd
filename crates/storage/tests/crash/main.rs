//! Crash images: what a disk may look like after the plug was pulled, and whether we read it right.
//!
//! Short histories of what storage does are run on a disk that notes every operation. At each
//! boundary (before every sync takes effect, and at the end) the crashes that are possible there
//! are played: any of the unsynced sectors, names and lengths may have made it or not
//! ([`platter`]). Our own recovery reads each resulting image, and what it says is compared with
//! a model that was kept beside the history: what was acknowledged is there, nothing is there that
//! was never written, and no crash is taken for damage.
//!
//! - [`log`]: the log alone, on a disk in memory.
//! - [`checker`]: log, memtables and tables together, kept by the [`store`] as a node does; the tables are the model in memory, or
//!   `lsm-tree`, whose system calls [`record`] notes and whose images are real files.
//! - [`format`]: making a data directory.
//!
//! How many images is said by `UNDERPIN_CRASH_IMAGES`; `cargo xtask crash` asks for the full number. A
//! checker that finds nothing is worth nothing, so [`broken`] plays known defects and expects each
//! to be found.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, clippy::print_stdout)]
#![allow(missing_docs)]

mod broken;
mod campaign;
mod checker;
mod format;
mod history;
mod log;
mod memory;
mod place;
mod platter;
mod record;
mod store;

use campaign::wanted;
use checker::Kind;

/// The share of all images that one test looks at.
fn share(percent: u64) -> u64 {
    wanted() * percent / 100
}

#[test]
fn every_crash_of_the_log_is_recovered_from() {
    let tally = log::campaign(share(60)).unwrap_or_else(|why| panic!("{why}"));
    println!("the log: {tally}");
    assert!(tally.torn > 100 && tally.second > 100, "{tally}");
}

#[test]
fn a_flipped_bit_in_a_log_is_never_taken_for_a_torn_tail() {
    let tally = log::damage_campaign(share(10)).unwrap_or_else(|why| panic!("{why}"));
    println!("damaged logs: {tally}");
    assert!(tally.refused > tally.images / 10, "{tally}");
}

#[test]
fn every_crash_of_log_and_model_tables_is_recovered_from() {
    let tally =
        checker::campaign(Kind::Model, share(10), 128).unwrap_or_else(|why| panic!("{why}"));
    println!("log and model tables: {tally}");
}

#[test]
fn every_crash_of_log_and_lsm_tree_is_recovered_from() {
    let tally = checker::campaign(Kind::Lsm, share(30), 32).unwrap_or_else(|why| panic!("{why}"));
    println!("log and lsm-tree: {tally}");
}

#[test]
fn every_crash_of_making_a_directory_leaves_it_formatted_or_free() {
    let tally = format::campaign(share(10).min(20_000)).unwrap_or_else(|why| panic!("{why}"));
    println!("making a directory: {tally}");
}
