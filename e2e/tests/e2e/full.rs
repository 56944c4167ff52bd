//! A full disk: writes are refused, reads and deletes go on, and all is well again once there is
//! room, without a restart or a command.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use underpin_e2e::cluster::{self, Cluster, Servers, Setup};
use underpin_e2e::place::Folder;
use underpin_e2e::resp::{Conn, Reply};
use underpin_e2e::wait;

/// A disk of this size fills in a moment.
const DISK: &str = "size=96m";
const SETTINGS: &str = "\n[log]\nsegment_bytes = \"10 MiB\"\nretention_bytes = \"1 MiB\"\n\
                        [storage]\nmemtable_bytes = \"4 MiB\"\nflush_log_bytes = \"4 MiB\"\n";
const VALUE_BYTES: usize = 64 << 10;
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

    /// Sets keys until that is refused; how many there are now.
    fn fill(&self) -> usize {
        let mut keys = 0;
        let mut conn = self.conn(0);
        loop {
            assert!(keys < 4_000, "the disk does not fill");
            let reply = conn.call(&["SET", &key(keys), &value(keys)]).unwrap();
            match reply {
                Reply::Simple(_) => keys += 1,
                Reply::Error(text) if text.starts_with("OOM ") => return keys,
                other => println!("{keys}: {other:?}"),
            }
        }
    }
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
    println!("{keys} keys of {VALUE_BYTES} bytes");
    for node in 0..3 {
        let mut conn = small.conn(node);
        let refused = conn.call(&["SET", "more", "1"]).unwrap().text();
        assert!(refused.starts_with("OOM the disk is full: not done"), "{refused}");
        assert_eq!(conn.call(&["GET", &key(0)]).unwrap().text(), value(0));
        for number in 1..=10 {
            let deleted = conn.call(&["DEL", &key(node * 10 + number)]).unwrap();
            assert_eq!(deleted, Reply::Integer(1));
        }
    }
    for mount in &small.mounts {
        fs::remove_file(mount.0.join("ballast")).unwrap();
    }
    let mut conn = small.conn(1);
    wait::until("writes to go on", wait::READY, || {
        (conn.call(&["SET", "more", "1"]).ok()?.text() == "OK").then_some(())
    });
    for number in (0..keys).filter(|number| *number == 0 || *number > 30) {
        assert_eq!(conn.call(&["GET", &key(number)]).unwrap().text(), value(number));
    }
    cluster::agree(&small.cluster);
}
