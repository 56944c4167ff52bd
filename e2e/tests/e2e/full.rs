//! A full disk: writes are refused, reads and deletes go on, and all is well again once there is
//! room, without a restart or a command. The room may come from outside, and from deletes alone.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};
use underpin_e2e::cluster::{self, Cluster, Servers, Setup};
use underpin_e2e::place::Folder;
use underpin_e2e::resp::{Conn, Reply};
use underpin_e2e::wait;

/// A disk of this size fills in a moment.
const DISK: &str = "size=96m";
const SETTINGS: &str = "\n[log]\nsegment_bytes = \"10 MiB\"\nretention_bytes = \"1 MiB\"\n\
                        [storage]\nmemtable_bytes = \"4 MiB\"\nflush_log_bytes = \"4 MiB\"\n";
const VALUE_BYTES: usize = 64 << 10;
/// More than fit such a disk.
const MOST_KEYS: usize = 1_600;
/// Refused for so long, writes stay refused: nothing that goes on in the background makes room.
const SETTLED: Duration = Duration::from_secs(3);
/// What an operator finds to delete.
const BALLAST: usize = 24 << 20;

/// A small file system in memory, gone with its value.
struct Mount(PathBuf);

impl Mount {
    /// Mounts one, if we may.
    fn new(at: &Path) -> Result<Mount, String> {
        fs::create_dir_all(at).unwrap();
        let mount = ["-t", "tmpfs", "-o", DISK, "underpin-e2e"];
        let output = Command::new("mount").args(mount).arg(at).output().expect("mount runs");
        match output.status.success() {
            true => Ok(Mount(at.to_path_buf())),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }
}

impl Mount {
    /// Fills it to the last byte.
    fn fill(&self) -> PathBuf {
        let path = self.0.join("filler");
        let mut filler = File::create(&path).unwrap();
        while filler.write_all(&[1; 4096]).is_ok() {}
        path
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily: a server that was just killed may still hold a file.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

/// Three servers, each with a small disk of its own.
struct Small {
    // In this order: the servers end before their disks go.
    cluster: Servers,
    mounts: Vec<Mount>,
    _folder: Folder,
}

impl Small {
    /// None, and a word about it, where nothing can be mounted.
    fn start() -> Option<Small> {
        let folder = Folder::new("disks");
        let mounts: Result<Vec<Mount>, String> =
            (1..=3).map(|node| Mount::new(&folder.join(&format!("disk{node}")))).collect();
        let mounts = mounts
            .inspect_err(|why| println!("skipped: no small disk can be mounted: {why}"))
            .ok()?;
        let disks: Vec<PathBuf> = mounts.iter().map(|mount| mount.0.clone()).collect();
        let link = |home: &Path| {
            let node = home.to_string_lossy().chars().last().and_then(|c| c.to_digit(10)).unwrap();
            let disk = &disks[node as usize - 1];
            fs::create_dir(disk.join("data")).unwrap();
            std::os::unix::fs::symlink(disk.join("data"), home.join("data")).unwrap();
            let mut ballast = File::create(disk.join("ballast")).unwrap();
            ballast.write_all(&vec![1; BALLAST]).unwrap();
        };
        let setup = Setup { settings: SETTINGS, prepare: &link, ..Setup::default() };
        Some(Small { cluster: Servers::start_with(3, &setup), mounts, _folder: folder })
    }

    fn conn(&self, node: usize) -> Conn {
        Conn::open(self.cluster.addresses()[node], Duration::from_secs(10)).unwrap()
    }

    /// Sets keys until that is refused and remains so; how many there are now.
    fn fill(&self) -> usize {
        let (mut keys, started) = (0, Instant::now());
        let mut conn = self.conn(0);
        let mut refused: Option<Instant> = None;
        while refused.is_none_or(|since| since.elapsed() < SETTLED) {
            assert!(keys < MOST_KEYS, "the disk does not fill");
            let reply = conn.call(&["SET", &key(keys), &value(keys)]).unwrap();
            match reply {
                Reply::Simple(_) => (keys, refused) = (keys + 1, None),
                Reply::Error(text) if text.starts_with("OOM ") => {
                    refused.get_or_insert_with(Instant::now);
                    thread::sleep(Duration::from_millis(5));
                }
                other => {
                    println!("{keys}: {other:?}");
                    thread::sleep(Duration::from_millis(50));
                }
            }
        }
        println!("{keys} keys of {VALUE_BYTES} bytes in {:?}", started.elapsed());
        keys
    }

    /// No byte is free on any disk, and there will be none unless the servers free it.
    fn fill_to_the_last_byte(&self) -> usize {
        let keys = self.fill();
        for mount in &self.mounts {
            mount.fill();
        }
        for node in 0..3 {
            let mut conn = self.conn(node);
            refuses(&mut conn);
            assert_eq!(conn.call(&["GET", &key(0)]).unwrap().text(), value(0));
        }
        keys
    }

    /// `kill -9` of all servers at once; they start again on disks without a free byte.
    fn kill_all_and_start(&mut self) {
        self.cluster.kill_all();
        (0..3).for_each(|node| self.cluster.start(node));
        wait::until("reads after a restart", wait::READY, || {
            let mut conn = Conn::open(self.cluster.addresses()[0], Duration::from_secs(2)).ok()?;
            (conn.call(&["EXISTS", "none"]).ok()?.number() == Some(0)).then_some(())
        });
    }

    /// Deletes keys until they are gone, by way of every node in turn.
    fn delete(&self, keys: std::ops::Range<usize>) {
        let mut conns: Vec<Conn> = (0..3).map(|node| self.conn(node)).collect();
        for number in keys {
            wait::until("a delete to go through", wait::READY, || {
                let reply = conns[number % 3].call(&["DEL", &key(number)]).ok()?;
                reply.number().map(drop)
            });
        }
    }

    /// Nobody helps, and writes go on.
    fn takes_writes_again(&self) {
        let started = Instant::now();
        for node in 0..3 {
            let mut conn = self.conn(node);
            wait::until("writes to go on unaided", wait::READY, || {
                (conn.call(&["SET", "more", "1"]).ok()?.text() == "OK").then_some(())
            });
        }
        println!("writes go on after {:?}", started.elapsed());
    }
}

/// A write is refused for want of room; on a busy machine there may be no leader for a moment first.
fn refuses(conn: &mut Conn) {
    let refused = wait::until("a word about the disk", wait::READY, || {
        let text = conn.call(&["SET", "more", "1"]).unwrap().text();
        let later =
            ["TRYAGAIN", "CLUSTERDOWN", "UNKNOWN"].iter().any(|word| text.starts_with(word));
        if later {
            println!("asked again: {text}");
        }
        (!later).then_some(text)
    });
    assert!(refused.starts_with("OOM the disk is full: not done"), "{refused}");
}

fn key(number: usize) -> String {
    format!("key{number}")
}

fn value(number: usize) -> String {
    format!("{number}:{}", "v".repeat(VALUE_BYTES))
}

/// One disk of three: the cluster goes on without it, whoever led.
#[test]
fn a_leader_with_a_full_disk_hands_over_to_a_node_with_room() {
    let Some(small) = Small::start() else { return };
    let leader = cluster::leader(&small.cluster);
    let filler = small.mounts[leader].fill();
    let mut conn = small.conn((leader + 1) % 3);
    // More than the log's reserve, so that the full node must do without some of it.
    for number in 0..300 {
        wait::until("the others to go on", wait::READY, || {
            let reply = conn.call(&["SET", &key(number), &value(number)]).ok()?;
            (reply.text() == "OK").then_some(())
        });
    }
    assert_ne!(cluster::leader(&small.cluster), leader);
    fs::remove_file(filler).unwrap();
    cluster::agree(&small.cluster);
}

#[test]
fn a_full_disk_refuses_writes_and_recovers_unaided() {
    let Some(small) = Small::start() else { return };
    let keys = small.fill();
    for node in 0..3 {
        let mut conn = small.conn(node);
        refuses(&mut conn);
        assert_eq!(conn.call(&["GET", &key(0)]).unwrap().text(), value(0));
        for number in 1..=10 {
            let deleted = conn.call(&["DEL", &key(node * 10 + number)]).unwrap();
            assert_eq!(deleted, Reply::Integer(1));
        }
    }
    for mount in &small.mounts {
        fs::remove_file(mount.0.join("ballast")).unwrap();
    }
    small.takes_writes_again();
    let (mut conn, started) = (small.conn(1), Instant::now());
    for number in (0..keys).filter(|number| *number == 0 || *number > 30) {
        assert_eq!(conn.call(&["GET", &key(number)]).unwrap().text(), value(number));
    }
    println!("all read in {:?}", started.elapsed());
    cluster::agree(&small.cluster);
}

/// Not one memtable fits the disk, and all servers are killed half way through.
#[test]
fn deletes_on_a_disk_without_a_free_byte_lose_nothing_and_writes_go_on() {
    let Some(mut small) = Small::start() else { return };
    let keys = small.fill_to_the_last_byte();
    let kept = keys / 10;
    let half = kept + (keys - kept) / 2;
    small.delete(kept..half);
    small.kill_all_and_start();
    small.delete(half..keys);
    small.takes_writes_again();

    let mut conn = small.conn(1);
    for number in 0..keys {
        let found = conn.call(&["GET", &key(number)]).unwrap();
        match number < kept {
            true => assert_eq!(found.text(), value(number)),
            false => assert_eq!(found, Reply::Nil, "{number} is back"),
        }
    }
    // There is room for as much again as was deleted, nearly.
    for number in keys..keys + (keys - kept) / 2 {
        wait::until("the room of what was deleted", wait::READY, || {
            let reply = conn.call(&["SET", &key(number), &value(number)]).ok()?;
            (reply.text() == "OK").then_some(())
        });
    }
    cluster::agree(&small.cluster);
}

#[test]
fn flushall_alone_frees_a_disk_without_a_free_byte() {
    let Some(mut small) = Small::start() else { return };
    let keys = small.fill_to_the_last_byte();
    let mut conn = small.conn(2);
    assert_eq!(conn.call(&["FLUSHALL"]).unwrap().text(), "OK");
    small.kill_all_and_start();
    small.takes_writes_again();
    let mut conn = small.conn(0);
    assert_eq!(conn.call(&["GET", &key(0)]).unwrap(), Reply::Nil);
    assert_eq!(conn.call(&["DBSIZE"]).unwrap().number(), Some(1));
    for number in 0..keys / 2 {
        wait::until("the room of what was flushed", wait::READY, || {
            let reply = conn.call(&["SET", &key(number), &value(number)]).ok()?;
            (reply.text() == "OK").then_some(())
        });
    }
    cluster::agree(&small.cluster);
}
