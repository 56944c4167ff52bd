//! Files that changed, vanished, or belong to another: each time the node says what it saw, what it
//! expected and what to do, and what it says to do works.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use underpin_e2e::cluster::{self, Cluster, Servers, Setup};
use underpin_e2e::resp::{self, Conn, Reply};
use underpin_e2e::wait;

const SETTINGS: &str = "\n[log]\nsegment_bytes = \"10 MiB\"\n";

/// The files of a directory whose names end in `ending`, in order.
fn files(directory: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    files.retain(|path| path.to_string_lossy().ends_with(ending));
    files.sort();
    files
}

/// The log's segments in use, oldest first.
pub fn segments(cluster: &Servers, node: usize) -> Vec<PathBuf> {
    files(&cluster.data(node).join("wal"), ".log")
}

fn flip(path: &Path, offset: u64) {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ 16], offset).unwrap();
}

/// Asserts that a server ended by itself and said all this.
fn refused((status, said): (std::process::ExitStatus, String), parts: &[&str]) {
    assert_eq!(status.code(), Some(1), "{said}");
    for part in parts {
        assert!(said.contains(part), "no \"{part}\" in\n{said}");
    }
}

fn follower(cluster: &Servers) -> usize {
    (cluster::leader(cluster) + 1) % 3
}

/// Writes 31 MiB: the first half becomes a table, the second is only in the log, which takes more
/// than a segment.
fn fill(cluster: &Servers) {
    let mut conn = Conn::open(cluster.addresses()[0], Duration::from_secs(10)).unwrap();
    let value = "v".repeat(64 << 10);
    for key in 0..500 {
        assert_eq!(conn.call(&["SET", &format!("key{key}"), &value]).unwrap().text(), "OK");
    }
}

#[test]
fn a_flipped_bit_stops_the_node_and_rebuild_brings_it_back() {
    let mut cluster = Servers::start_with(3, &Setup { settings: SETTINGS, ..Setup::default() });
    fill(&cluster);
    let node = follower(&cluster);
    let tables = cluster.data(node).join("tables/tables");
    let largest = || {
        let sized = files(&tables, "").into_iter();
        sized.max_by_key(|path| fs::metadata(path).map_or(0, |data| data.len()))
    };
    wait::until("a table", wait::READY, largest);
    cluster::agree(&cluster);
    cluster.kill(node);

    let segments = segments(&cluster, node);
    assert!(segments.len() >= 2, "one segment is closed: {segments:?}");
    for (segment, offset) in [(&segments[0], 5 << 20), (segments.last().unwrap(), 64 << 10)] {
        flip(segment, offset);
        let path = segment.file_name().unwrap().to_string_lossy().into_owned();
        let advice = "run \"underpin node rebuild\"";
        let parts = [&path, " at byte ", "expected checksum ", ", saw ", advice];
        refused(cluster.start_in_vain(node), &parts);
        // Nothing was touched: with the bit as it was, the node would start.
        flip(segment, offset);
    }
    cluster.start(node);
    cluster::ready(&cluster);
    cluster::agree(&cluster);

    // A table is read when somebody asks for what is in it.
    cluster.kill(node);
    let table = largest().unwrap();
    flip(&table, fs::metadata(&table).unwrap().len() / 2);
    cluster.start(node);
    let others = cluster.addresses();
    wait::until("the damage to be found", wait::READY, || {
        let _ = resp::ask(others[(node + 1) % 3], &["UNDERPIN.STATUS", "HASH"]);
        cluster.ended(node).then_some(())
    });
    let place = format!("{} at byte ", table.display());
    let parts = [place.as_str(), "expected ", "saw ", "run \"underpin node rebuild\""];
    refused(cluster.end_of(node), &parts);

    let printed = cluster.bring_back(node, "rebuild");
    assert!(printed.contains("data.damaged-"), "the damaged directory is kept: {printed}");
    cluster.start(node);
    cluster::ready(&cluster);
    voters(&cluster);
    cluster::agree(&cluster);
}

/// Waits until all three nodes have a voting replica of the keys.
fn voters(cluster: &Servers) {
    wait::until("three voters", wait::READY, || {
        let leader = cluster::status(cluster.addresses()[cluster::leader(cluster)])?;
        let replicas = cluster::shard(&leader, "kv")?["replicas"].as_array()?.clone();
        let voters = replicas.iter().filter(|replica| replica["part"] == "voter").count();
        (voters == 3 && replicas.len() == 3).then_some(())
    });
}

#[test]
fn a_directory_belongs_to_one_process_and_one_life_of_a_node() {
    let mut cluster = Servers::start(3);
    cluster::registered(&cluster);
    let node = follower(&cluster);
    assert_eq!(resp::ask(cluster.addresses()[0], &["SET", "a", "1"]).unwrap().text(), "OK");

    let mut second = cluster.command(node, "server");
    for name in ["resp", "peer", "http"] {
        second.args(["--set", &format!("listen.{name}=127.0.0.1:0")]);
    }
    let second = second.output().unwrap();
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    refused((second.status, said), &["another server runs on this directory", "stop it first"]);

    // Its disk is lost: a server does not start an empty node by itself.
    cluster.kill(node);
    fs::remove_dir_all(cluster.data(node)).unwrap();
    refused(cluster.start_in_vain(node), &["run \"underpin node replace\""]);

    // Whoever formats it under its old identity is not let in: it has forgotten its promises.
    cluster.format(node);
    cluster.start(node);
    wait::until("the refusal", wait::READY, || {
        let said = cluster.process(node)?.said();
        said.contains("run \"underpin node replace\"").then_some(())
    });
    let answer = resp::ask(cluster.addresses()[node], &["GET", "a"]);
    assert_ne!(answer.ok(), Some(Reply::Nil), "an empty node answered for the cluster");
    cluster.kill(node);

    fs::remove_dir_all(cluster.data(node)).unwrap();
    fs::create_dir(cluster.data(node)).unwrap();
    cluster.bring_back(node, "replace");
    cluster.start(node);
    cluster::ready(&cluster);
    voters(&cluster);
    cluster::agree(&cluster);
    assert_eq!(resp::ask(cluster.addresses()[node], &["GET", "a"]).unwrap().text(), "1");
}
