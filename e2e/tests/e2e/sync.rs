//! A sync that fails: nobody knows what of it is on the disk, so the node ends, and says why.

use crate::damage::segments;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use underpin_e2e::cluster::{self, Cluster, Servers, Setup};
use underpin_e2e::place::Folder;
use underpin_e2e::wait;
use underpin_e2e::writers::{self, Diary, Writers};

/// What the tables keep in reserve unless told otherwise; it grows in synced pieces after a start.
const RESERVE_BYTES: u64 = 48 << 20;

/// Compiles the library that makes syncs fail in a server it is loaded into.
fn failing_sync(folder: &Folder) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/failing_sync.c");
    let library = folder.join("failing_sync.so");
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source).arg("-ldl");
    assert!(compiler.status().expect("a C compiler").success(), "{compiler:?} failed");
    library
}

fn switch(cluster: &Servers, node: usize) -> PathBuf {
    cluster.home(node).join("fail-sync")
}

/// Asserts that a node has ended since a sync failed, and says so with what to do.
fn ended(cluster: &mut Servers, node: usize) {
    let (status, said) = cluster.end_of(node);
    assert_eq!(status.code(), Some(1), "{said}");
    for part in ["syncing wal", "Input/output error", "check the disk, then start the node again"] {
        assert!(said.contains(part), "no \"{part}\" in\n{said}");
    }
}

/// Waits until a node syncs nothing but batches of its log: what it keeps in reserve is all there.
fn settled(cluster: &Servers, node: usize) {
    wait::until("a node that syncs nothing but batches", wait::READY, || {
        let data = cluster.data(node);
        let spares = fs::read_dir(data.join("wal")).ok()?.flatten();
        let whole = spares.filter(|file| file.file_name().to_string_lossy().starts_with("spare-"));
        let reserve = fs::metadata(data.join("tables/reserve")).ok()?;
        (whole.count() >= 2 && reserve.len() == RESERVE_BYTES).then_some(())
    });
}

/// Where batches of the log begin, and the bytes of their payload.
fn batches(segment: &Path) -> Vec<(usize, usize)> {
    let content = fs::read(segment).unwrap();
    let number = |at: usize, bytes: usize| {
        content[at..at + bytes].iter().rev().fold(0, |sum, byte| sum << 8 | usize::from(*byte))
    };
    let heads = (512..content.len() - 48).step_by(64);
    let found = heads.filter(|at| &content[*at..at + 4] == b"Upwl" && number(at + 16, 8) == *at);
    found.map(|at| (at, number(at + 4, 4))).collect()
}

/// Leaves of the last batch what a power cut may leave: its beginning. What was written after it,
/// an empty batch that nobody waits for, is gone.
fn tear(segment: &Path) {
    let mut batches = batches(segment);
    let file = File::options().write(true).open(segment).unwrap();
    while batches.last().is_some_and(|(_, payload)| *payload == 0) {
        let (at, _) = batches.pop().unwrap();
        file.write_all_at(&[0; 48], at as u64).unwrap();
    }
    let (at, payload) = batches.pop().expect("a batch to tear");
    let half = payload / 2;
    file.write_all_at(&vec![0; payload - half], (at + 48 + half) as u64).unwrap();
}

/// Asserts that nothing acknowledged is lost, wherever one asks.
fn kept(cluster: &Servers, diaries: Vec<Diary>) {
    println!("{}", writers::summary(&diaries));
    for address in cluster.addresses() {
        let wrong = writers::verify(address, &diaries);
        assert!(wrong.is_empty(), "asked at {address}:\n{}", wrong.join("\n"));
    }
    cluster::agree(cluster);
}

#[test]
fn a_failed_sync_ends_the_node_and_nothing_acknowledged_is_lost() {
    let folder = Folder::new("failing-sync");
    let library = failing_sync(&folder);
    let environment = &[("LD_PRELOAD", library.as_path())];
    let mut cluster = Servers::start_with(3, &Setup { environment, ..Setup::default() });
    let load = Writers::start(&cluster.addresses(), 12);
    load.everyone(20);

    // One disk: the others go on, and the node comes back with what is on its disk.
    let leader = cluster::leader(&cluster);
    settled(&cluster, leader);
    fs::write(switch(&cluster, leader), "").unwrap();
    ended(&mut cluster, leader);
    load.everyone(20);
    fs::remove_file(switch(&cluster, leader)).unwrap();
    cluster.start(leader);
    cluster::ready(&cluster);
    load.everyone(20);

    // All disks at once: nothing goes on until they are healthy again.
    for node in 0..3 {
        settled(&cluster, node);
    }
    for node in 0..3 {
        fs::write(switch(&cluster, node), "").unwrap();
    }
    for node in 0..3 {
        ended(&mut cluster, node);
        fs::remove_file(switch(&cluster, node)).unwrap();
    }
    for node in 0..3 {
        cluster.start(node);
    }
    cluster::ready(&cluster);
    load.everyone(20);
    kept(&cluster, load.finish());
}

/// The last batch was written and never synced; the power went, and half of it is on the disk.
#[test]
fn a_torn_tail_is_cut_off_and_nothing_acknowledged_is_lost() {
    let folder = Folder::new("torn");
    let library = failing_sync(&folder);
    let environment = &[("LD_PRELOAD", library.as_path())];
    let mut cluster = Servers::start_with(3, &Setup { environment, ..Setup::default() });
    let load = Writers::start(&cluster.addresses(), 6);
    load.everyone(20);
    let node = (cluster::leader(&cluster) + 1) % 3;
    settled(&cluster, node);
    fs::write(switch(&cluster, node), "").unwrap();
    ended(&mut cluster, node);
    fs::remove_file(switch(&cluster, node)).unwrap();
    tear(segments(&cluster, node).last().unwrap());
    load.everyone(20);

    cluster.start(node);
    cluster::ready(&cluster);
    load.everyone(20);
    let said = cluster.process(node).unwrap().said();
    assert!(said.contains("the log ended in a batch that was never finished"), "{said}");
    kept(&cluster, load.finish());
}
