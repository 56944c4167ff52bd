//! Servers of some kind, each a process in its node's namespace.

mod base64;
pub mod etcd;
pub mod redis;
pub mod underpin;

use crate::net::Net;
use crate::options::Kind;
use crate::speak::Speaker;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use underpin_e2e::process::Process;

/// Where a cluster is: its network and its files. Nodes are counted from 0.
#[derive(Debug)]
pub struct Place {
    /// Everything that is kept of a run.
    pub folder: PathBuf,
    /// Its network.
    pub net: Net,
    /// How many nodes.
    pub nodes: usize,
    /// Whether each node's data lie on a small disk of their own.
    pub small_disks: bool,
}

impl Place {
    /// A node's folder: its configuration, its data, its log.
    pub fn home(&self, node: usize) -> PathBuf {
        self.folder.join(format!("node{}", node + 1))
    }

    /// What is on a node's disk.
    pub fn disk(&self, node: usize) -> PathBuf {
        self.home(node).join("disk")
    }

    fn make(&self) -> Result<(), String> {
        for node in 0..self.nodes {
            let disk = self.disk(node);
            fs::create_dir_all(&disk).map_err(|error| format!("{}: {error}", disk.display()))?;
            if self.small_disks {
                let tmpfs = ["-t", "tmpfs", "-o", SMALL, "underpin-chaos"];
                crate::room::run(Command::new("mount").args(tmpfs).arg(&disk))?;
            }
        }
        Ok(())
    }

    /// Fills a node's disk to the last byte.
    pub fn fill(&self, node: usize) {
        let filler = File::create(filler(&self.disk(node)));
        let Ok(mut filler) = filler else { return };
        while filler.write_all(&[1; 4096]).is_ok() {}
    }

    /// Gives the room back.
    pub fn empty(&self, node: usize) {
        let _ = fs::remove_file(filler(&self.disk(node)));
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for node in 0..self.nodes {
            if self.small_disks {
                let mut unmount = Command::new("umount");
                let _ = crate::room::run(unmount.arg("--lazy").arg(self.disk(node)));
            }
        }
    }
}

/// A disk of this size fills in a moment.
const SMALL: &str = "size=96m";

fn filler(disk: &Path) -> PathBuf {
    disk.join("filler")
}

/// How the clocks of one node are bent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clock {
    /// The wall clock is ahead by so much.
    pub offset_ms: i64,
    /// The wall clock runs too fast by so many millionths.
    pub rate_ppm: i64,
    /// The monotonic clock runs too fast by so many millionths.
    pub mono_ppm: i64,
}

/// What is special of a kind of server.
pub trait Breed: Send + Sync {
    /// Writes configurations and makes data directories.
    fn prepare(&self, place: &Place) -> Result<(), String>;

    /// What starts a node.
    fn command(&self, place: &Place, node: usize, clock: Clock) -> Command;

    /// Connects to a node.
    fn dial(&self, place: &Place, node: usize, patience: Duration) -> io::Result<Box<dyn Speaker>>;

    /// Who leads, as far as can be told.
    fn leader(&self, place: &Place) -> Option<usize>;

    /// Whether all replicas come to hold the same within `limit`; nothing, where that can't be seen.
    fn agree(&self, _: &Place, _: Duration) -> Result<(), String> {
        Ok(())
    }
}

/// What is special of a kind of server.
pub fn breed(kind: Kind) -> Box<dyn Breed> {
    match kind {
        Kind::Underpin => Box::new(underpin::Underpin),
        Kind::Etcd => Box::new(etcd::Etcd),
        Kind::Redis => Box::new(redis::Redis),
    }
}

/// The processes of one cluster.
pub struct Servers<'a> {
    /// Where they are.
    pub place: &'a Place,
    breed: &'a dyn Breed,
    processes: Vec<Option<Process>>,
    frozen: Vec<bool>,
    full: Vec<bool>,
    /// The clocks that nodes are started with.
    pub clocks: Vec<Clock>,
    /// Nodes that ended by themselves, and what they said last.
    deaths: Vec<String>,
}

impl<'a> Servers<'a> {
    /// Makes data directories and starts nothing.
    pub fn prepare(place: &'a Place, breed: &'a dyn Breed) -> Result<Servers<'a>, String> {
        place.make()?;
        breed.prepare(place)?;
        Ok(Servers {
            place,
            breed,
            processes: (0..place.nodes).map(|_| None).collect(),
            frozen: vec![false; place.nodes],
            full: vec![false; place.nodes],
            clocks: vec![Clock::default(); place.nodes],
            deaths: Vec::new(),
        })
    }

    /// Who leads.
    pub fn leader(&self) -> Option<usize> {
        self.breed.leader(self.place)
    }

    /// Starts a node that does not run.
    pub fn start(&mut self, node: usize) {
        if self.processes[node].is_none() {
            let mut command = self.breed.command(self.place, node, self.clocks[node]);
            let log = self.place.home(node).join("log");
            self.processes[node] = Some(Process::start(&mut command, &log));
        }
    }

    /// `kill -9` of these at one moment.
    pub fn kill(&mut self, nodes: &[usize]) {
        self.notice_deaths();
        for node in nodes {
            if let Some(process) = &mut self.processes[*node] {
                process.kill_without_waiting();
            }
        }
        for node in nodes {
            drop(self.processes[*node].take());
            self.frozen[*node] = false;
        }
    }

    /// SIGSTOP, or SIGCONT.
    pub fn freeze(&mut self, node: usize, frozen: bool) {
        if let Some(process) = &self.processes[node]
            && self.frozen[node] != frozen
        {
            process.signal(if frozen { "STOP" } else { "CONT" });
            self.frozen[node] = frozen;
        }
    }

    /// Asks a node to stop in good order, and waits until it has.
    pub fn stop(&mut self, node: usize) {
        if let Some(mut process) = self.processes[node].take() {
            process.signal("TERM");
            process.wait(Duration::from_secs(20));
        }
    }

    /// Fills a node's disk, or gives the room back.
    pub fn fill(&mut self, node: usize, full: bool) {
        match full {
            true => self.place.fill(node),
            false => self.place.empty(node),
        }
        self.full[node] = full;
    }

    /// Starts and thaws whatever is down or frozen, and gives room back.
    pub fn mend(&mut self) {
        self.notice_deaths();
        for node in 0..self.place.nodes {
            if self.full[node] {
                self.fill(node, false);
            }
            self.freeze(node, false);
            self.start(node);
        }
    }

    /// Waits until every node carries out writes.
    pub fn ready(&mut self, limit: Duration) -> Result<(), String> {
        let until = Instant::now() + limit;
        for node in 0..self.place.nodes {
            while !self.serves(node) {
                self.notice_deaths();
                if let Some(death) = self.deaths.first() {
                    return Err(death.clone());
                }
                if Instant::now() > until {
                    return Err(format!("node {} serves nothing in {limit:?}", node + 1));
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        Ok(())
    }

    fn serves(&self, node: usize) -> bool {
        let patience = Duration::from_secs(2);
        let Ok(mut conn) = self.breed.dial(self.place, node, patience) else { return false };
        let reply = conn.call(&sim::workload::command(&["GET", "chaos:ready"]));
        reply.is_ok_and(|reply| !matches!(reply, wire::resp::Value::Error(_)))
    }

    /// Nodes that ended though nobody ended them.
    pub fn notice_deaths(&mut self) {
        for node in 0..self.place.nodes {
            let ended = self.processes[node].as_mut().and_then(Process::ended);
            if let Some(status) = ended {
                let said = self.processes[node].take().map(|it| it.said()).unwrap_or_default();
                let last: Vec<&str> = said.lines().rev().take(12).collect();
                let last: Vec<&str> = last.into_iter().rev().collect();
                let number = node + 1;
                self.deaths.push(format!(
                    "node {number} ended by itself ({status}):\n    {}",
                    last.join("\n    ")
                ));
            }
        }
    }

    /// What they said when they ended by themselves.
    pub fn deaths(&mut self) -> Vec<String> {
        self.notice_deaths();
        std::mem::take(&mut self.deaths)
    }
}
