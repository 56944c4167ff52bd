//! A node that was away for longer than the others keep their log comes back by a snapshot.

use std::ops::Range;
use std::time::Duration;
use underpin_e2e::cluster::{self, Cluster, Servers, Setup};
use underpin_e2e::place::number;
use underpin_e2e::resp::{Conn, Reply};
use underpin_e2e::wait;

/// Little is kept for those who are away, so that a short test outlives it.
const SETTINGS: &str = "\n[log]\nretention_bytes = \"256 KiB\"\n\
                        [storage]\nmemtable_bytes = \"4 MiB\"\nflush_log_bytes = \"1 MiB\"\n";
/// Keys per command.
const TOGETHER: u64 = 500;

/// Sets keys to values of so many bytes that tell the `round`.
fn set(cluster: &dyn Cluster, at: usize, keys: Range<u64>, round: u64, bytes: usize) {
    let mut conn = Conn::open(cluster.addresses()[at], Duration::from_secs(10)).unwrap();
    for first in keys.clone().step_by(TOGETHER as usize) {
        let mut words = vec!["MSET".to_string()];
        for key in first..(first + TOGETHER).min(keys.end) {
            words.push(format!("key:{key:08}"));
            words.push(format!("{round}:{key}:{}", "x".repeat(bytes)));
        }
        assert_eq!(conn.call(&words).unwrap(), Reply::Simple("OK".into()));
    }
}

/// Snapshots that the node's kv replica installed since it started.
fn installed(cluster: &dyn Cluster, node: usize) -> Option<u64> {
    let status = cluster::status(cluster.addresses()[node])?;
    cluster::shard(&status, "kv")?["snapshots_installed"].as_u64()
}

fn until_installed(cluster: &dyn Cluster, node: usize, count: u64) {
    wait::until(&format!("snapshot {count} on node {}", node + 1), wait::READY, || {
        (installed(cluster, node)? >= count).then_some(())
    });
}

#[test]
fn a_node_that_was_away_for_longer_than_the_log_comes_back_by_snapshot() {
    let rows = number("UNDERPIN_SNAPSHOT_ROWS", 120_000);
    let mut cluster = Servers::start_with(3, &Setup { settings: SETTINGS, ..Setup::default() });
    let leader = cluster::leader(&cluster);
    let (away, other) = ((leader + 1) % 3, (leader + 2) % 3);
    set(&cluster, leader, 0..1_000, 1, 100);

    // Killed: it has to get everything, and this is a lot.
    cluster.kill(away);
    set(&cluster, other, 0..rows, 2, 100);
    cluster.start(away);
    until_installed(&cluster, away, 1);
    cluster::agree(&cluster);

    // Frozen: its connections stay open, its memory stays old. More is written than what Raft has
    // under way to a follower (8 MiB), which it still gets when it thaws.
    cluster.freeze(away);
    set(&cluster, other, rows / 2..rows / 2 + 14_000, 3, 1_000);
    let mut conn = Conn::open(cluster.addresses()[other], Duration::from_secs(10)).unwrap();
    for key in 0..500 {
        assert_eq!(conn.call(&["DEL", &format!("key:{key:08}")]).unwrap(), Reply::Integer(1));
    }
    cluster.thaw(away);
    until_installed(&cluster, away, 2);
    cluster::agree(&cluster);

    // What it was sent is its own: it starts with it, and the others' is not needed for that.
    cluster.kill(away);
    cluster.start(away);
    cluster::ready(&cluster);
    cluster::agree(&cluster);
    assert_eq!(installed(&cluster, away), Some(0), "its own disk was to suffice");

    // And it is what was written: asked for at that node, of its own rows.
    let mut conn = Conn::open(cluster.addresses()[away], Duration::from_secs(30)).unwrap();
    assert_eq!(conn.call(&["DBSIZE"]).unwrap().number(), Some(rows as i64 - 500 + 1));
    conn.call(&["UNDERPIN.CONSISTENCY", "eventual"]).unwrap();
    for (key, round) in [(500, 2), (rows / 2 - 1, 2), (rows / 2, 3), (rows - 1, 2)] {
        let value = conn.call(&["GET", &format!("key:{key:08}")]).unwrap().text();
        assert!(value.starts_with(&format!("{round}:{key}:")), "key {key} holds {value}");
    }
    assert_eq!(conn.call(&["GET", "key:00000499"]).unwrap(), Reply::Nil);
}
