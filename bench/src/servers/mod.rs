//! Peers: three servers each on loopback, with their own configurations in temporary folders.
//!
//! They are programs of Debian's packages, started by hand and killed with their values; nothing of
//! theirs outlives a run.

pub mod etcd;
pub mod nats;
pub mod zookeeper;

use std::net::SocketAddr;
use underpin_e2e::place::{self, Folder};
use underpin_e2e::process::Process;

/// How many servers each peer that replicates has.
pub const NODES: usize = 3;

/// Three processes of one kind, each with a folder and ports.
pub struct Trio {
    folder: Folder,
    first_port: u16,
    ports: u16,
    processes: Vec<Option<Process>>,
}

impl Trio {
    /// Makes folders and ports, `ports` for each; the first is the clients'.
    pub fn new(name: &str, ports: u16) -> Trio {
        let first_port = place::ports(ports * NODES as u16);
        let processes = (0..NODES).map(|_| None).collect();
        Trio { folder: Folder::new(name), first_port, ports, processes }
    }

    /// A node's folder.
    pub fn home(&self, node: usize) -> std::path::PathBuf {
        let home = self.folder.join(&format!("node{}", node + 1));
        std::fs::create_dir_all(&home).expect("a node's folder");
        home
    }

    /// A node's port.
    pub fn port(&self, node: usize, which: u16) -> u16 {
        self.first_port + node as u16 * self.ports + which
    }

    /// A node's address by port.
    pub fn address(&self, node: usize, which: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port(node, which)))
    }

    /// Where clients reach each node.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        (0..NODES).map(|node| self.address(node, 0)).collect()
    }

    /// Starts a node's process.
    pub fn spawn(&mut self, node: usize, command: &mut std::process::Command) {
        let log = self.home(node).join("log");
        self.processes[node] = Some(Process::start(command.current_dir(self.home(node)), &log));
    }

    /// The running processes.
    pub fn processes(&self) -> Vec<u32> {
        self.processes.iter().flatten().map(Process::id).collect()
    }

    /// `kill -9`.
    pub fn kill(&mut self, node: usize) {
        self.processes[node].take().expect("a running node").kill();
    }
}
