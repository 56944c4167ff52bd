//! Clusters made of processes.

use crate::place::{self, Folder};
use crate::process::Process;
use crate::resp::{self, Conn, Outcome};
use crate::wait;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

/// Some nodes, counted from 0, that clients can talk to and that a test can hurt.
pub trait Cluster {
    /// Where clients reach each node.
    fn addresses(&self) -> Vec<SocketAddr>;
    /// Whether a node's process runs (a stopped one does).
    fn runs(&self, node: usize) -> bool;
    /// `kill -9`.
    fn kill(&mut self, node: usize);
    /// `kill -9` of all nodes at one moment.
    fn kill_all(&mut self);
    /// Starts a killed node again.
    fn start(&mut self, node: usize);
    /// SIGSTOP: the node is frozen, its sockets stay open.
    fn freeze(&mut self, node: usize);
    /// SIGCONT.
    fn thaw(&mut self, node: usize);
}

/// What a node says about itself and its cluster.
pub fn status(address: SocketAddr) -> Option<Value> {
    let mut conn = Conn::open(address, Duration::from_millis(500)).ok()?;
    let reply = conn.call(&["UNDERPIN.STATUS", "JSON"]).ok()?;
    serde_json::from_str(&reply.text()).ok()
}

/// A node's shard of a kind (`meta`, `kv`) in its status.
pub fn shard<'a>(status: &'a Value, kind: &str) -> Option<&'a Value> {
    status["shards"].as_array()?.iter().find(|shard| shard["kind"] == kind)
}

/// The leader of the `kv` shard: the node that says so itself, in the highest term.
pub fn leader(cluster: &dyn Cluster) -> usize {
    wait::until("a leader", wait::READY, || {
        let addresses = cluster.addresses();
        let running = (0..addresses.len()).filter(|node| cluster.runs(*node));
        let leaders = running.filter_map(|node| {
            let status = status(addresses[node])?;
            let shard = shard(&status, "kv")?;
            (shard["role"] == "leader").then(|| (shard["term"].as_u64(), node))
        });
        leaders.max().map(|(_, node)| node)
    })
}

/// Waits until every running node carries out writes and reads.
pub fn ready(cluster: &dyn Cluster) {
    for (node, address) in cluster.addresses().into_iter().enumerate() {
        if !cluster.runs(node) {
            continue;
        }
        wait::until(&format!("node {} to serve", node + 1), wait::READY, || {
            let mut conn = Conn::open(address, Duration::from_secs(2)).ok()?;
            let word = format!("ready-{node}");
            let set = conn.once(&["SET", "e2e:ready", &word]);
            matches!(set, Outcome::Done(_)).then_some(())?;
            matches!(conn.once(&["GET", "e2e:ready"]), Outcome::Done(_)).then_some(())
        });
    }
}

/// Waits until every running node has applied what its `kv` leader had when this was called: what
/// was done to the cluster before is over.
pub fn caught_up(cluster: &dyn Cluster) {
    let addresses = cluster.addresses();
    let applied = |node: usize| shard(&status(addresses[node])?, "kv")?["applied"].as_u64();
    let goal = wait::until("the leader's index", wait::READY, || applied(leader(cluster)));
    for node in (0..addresses.len()).filter(|node| cluster.runs(*node)) {
        wait::until(&format!("node {} to catch up", node + 1), wait::READY, || {
            applied(node).filter(|index| *index >= goal)
        });
    }
}

/// Waits until all running nodes have applied the same entries, and asserts that they hold the same
/// rows. The writers must have ended.
pub fn agree(cluster: &dyn Cluster) {
    let addresses = cluster.addresses();
    let running: Vec<usize> = (0..addresses.len()).filter(|node| cluster.runs(*node)).collect();
    let kv = |node: usize| Some(shard(&status(addresses[node])?, "kv")?.clone());
    let all = |of: &dyn Fn(&Value) -> Option<Value>| {
        running.iter().map(|node| of(&kv(*node)?)).collect::<Option<Vec<Value>>>()
    };
    let equal = |values: &Vec<Value>| values.windows(2).all(|pair| pair[0] == pair[1]);
    wait::until("all replicas at one applied index", wait::READY, || {
        all(&|shard| Some(shard["applied"].clone())).filter(equal)
    });
    let mark = wait::until("a hash mark", wait::READY, || {
        resp::ask(addresses[running[0]], &["UNDERPIN.STATUS", "HASH"]).ok()?.number()
    });
    let hashes = wait::until("the hashes of all replicas", wait::READY, || {
        all(&|shard| (shard["hash"]["index"].as_i64()? >= mark).then(|| shard["hash"].clone()))
    });
    assert!(equal(&hashes), "the replicas differ: {hashes:?}");
}

/// Waits until the cluster knows every node by its incarnation.
pub fn registered(cluster: &dyn Cluster) {
    wait::until("all nodes to be known", wait::READY, || {
        let status = status(cluster.addresses()[leader(cluster)])?;
        let known = |node: &Value| node["incarnation"] != "0000000000000000";
        status["nodes"].as_array()?.iter().all(known).then_some(())
    });
}

/// How servers are to be.
pub struct Setup<'a> {
    /// More lines of every node's configuration.
    pub settings: &'a str,
    /// Done to every node's folder before its data directory is made.
    pub prepare: &'a dyn Fn(&Path),
    /// More variables of the servers' environment.
    pub environment: &'a [(&'a str, &'a Path)],
}

impl Default for Setup<'_> {
    fn default() -> Self {
        Setup { settings: "", prepare: &|_| (), environment: &[] }
    }
}

/// `underpin server` processes, each with a data directory and ports of its own.
pub struct Servers {
    folder: Folder,
    first_port: u16,
    processes: Vec<Option<Process>>,
    /// `section.key=value`, beyond the configurations' files.
    settings: Vec<String>,
    /// More variables of the servers that are started from now on.
    pub environment: BTreeMap<String, PathBuf>,
}

/// Ports of a node: clients, peers, HTTP.
const PORTS: u16 = 3;

impl Servers {
    /// Formats and starts `count` nodes and waits until they serve.
    pub fn start(count: u16) -> Servers {
        let servers = Servers::formatted(count);
        servers.started()
    }

    /// The same, with a setup of its own.
    pub fn start_with(count: u16, setup: &Setup) -> Servers {
        Servers::formatted_with(count, setup).started()
    }

    /// Formats `count` nodes, and starts none.
    pub fn formatted(count: u16) -> Servers {
        Servers::formatted_with(count, &Setup::default())
    }

    fn formatted_with(count: u16, setup: &Setup) -> Servers {
        let folder = Folder::new("servers");
        let first_port = place::ports(count * PORTS);
        let processes = (0..count).map(|_| None).collect();
        let variables = setup.environment.iter();
        let environment = variables.map(|(name, path)| ((*name).into(), (*path).into())).collect();
        let servers = Servers { folder, first_port, processes, settings: Vec::new(), environment };
        servers.configure(count, setup.settings);
        for node in 0..usize::from(count) {
            (setup.prepare)(&servers.home(node));
            servers.format(node);
        }
        servers
    }

    /// What holds for all of them from their next start on.
    #[must_use]
    pub fn set(mut self, setting: &str) -> Servers {
        self.settings.push(setting.to_owned());
        self
    }

    /// Starts those that do not run, and waits until they serve.
    pub fn started(mut self) -> Servers {
        for node in 0..self.processes.len() {
            if self.processes[node].is_none() {
                Cluster::start(&mut self, node);
            }
        }
        ready(&self);
        self
    }

    /// Starts a node that may have `most` file descriptors and no more.
    pub fn start_with_descriptors(&mut self, node: usize, most: usize) {
        let server = self.command(node, "server");
        let mut shell = Command::new("sh");
        shell.current_dir(self.home(node)).args(["-c", "ulimit -n $0; exec \"$@\""]);
        shell.arg(most.to_string()).arg(server.get_program()).args(server.get_args());
        let log = self.home(node).join("log");
        self.processes[node] = Some(Process::start(&mut shell, &log));
    }

    /// Where a node listens for the others.
    pub fn peer(&self, node: usize) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port(node, 1)))
    }

    /// A node's port; `which` of its three.
    fn port(&self, node: usize, which: u16) -> u16 {
        self.first_port + node as u16 * PORTS + which
    }

    /// Where a node answers HTTP.
    pub fn http(&self, node: usize) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port(node, 2)))
    }

    /// A node's folder: its configuration, its data, its log.
    pub fn home(&self, node: usize) -> PathBuf {
        self.folder.join(&format!("node{}", node + 1))
    }

    /// A node's process, while it runs.
    pub fn process(&self, node: usize) -> Option<&Process> {
        self.processes[node].as_ref()
    }

    /// A node's data directory.
    pub fn data(&self, node: usize) -> PathBuf {
        self.home(node).join("data")
    }

    /// Starts a node that is expected to end by itself: how it ended, and what it said.
    pub fn start_in_vain(&mut self, node: usize) -> (ExitStatus, String) {
        Cluster::start(self, node);
        self.end_of(node)
    }

    /// Whether a node that was started has ended by itself.
    pub fn ended(&mut self, node: usize) -> bool {
        self.processes[node].as_mut().is_some_and(|process| process.ended().is_some())
    }

    /// Waits for the end of a node that ends by itself: how it ended, and what it said.
    pub fn end_of(&mut self, node: usize) -> (ExitStatus, String) {
        let mut process = self.processes[node].take().expect("a running node");
        let status = process.wait(wait::READY);
        (status, process.said())
    }

    /// Runs `underpin node VERB` for a node, with the others to talk to; what it printed.
    pub fn bring_back(&self, node: usize, verb: &str) -> String {
        let others = (0..self.processes.len()).filter(|other| *other != node);
        let endpoints: Vec<String> =
            others.map(|other| format!("127.0.0.1:{}", self.port(other, 0))).collect();
        let mut command = Command::new(place::underpin());
        command.args(["node", verb, "--config", "underpin.toml"]).current_dir(self.home(node));
        command.env("UNDERPIN_ENDPOINT", endpoints.join(","));
        let output = command.output().expect("the binary runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "underpin node {verb} failed:\n{said}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Writes every node's configuration.
    fn configure(&self, count: u16, settings: &str) {
        let peer = |node: usize| format!("{} = \"127.0.0.1:{}\"", node + 1, self.port(node, 1));
        let peers: Vec<String> = (0..usize::from(count)).map(peer).collect();
        for node in 0..usize::from(count) {
            let home = self.home(node);
            fs::create_dir_all(&home).expect("a node's folder");
            fs::write(home.join("underpin.secret"), "e2e, not a secret: 0123456789abcdef\n")
                .expect("a node's secret");
            let config = format!(
                "[node]\nid = {}\ndata = \"data\"\n\n[listen]\nresp = \"127.0.0.1:{}\"\n\
                 peer = \"127.0.0.1:{}\"\nhttp = \"127.0.0.1:{}\"\n\n\
                 [cluster]\nid = \"{:032x}\"\npeers = {{ {} }}\n{settings}",
                node + 1,
                self.port(node, 0),
                self.port(node, 1),
                self.port(node, 2),
                0xe2e,
                peers.join(", "),
            );
            fs::write(home.join("underpin.toml"), config).expect("a node's configuration");
        }
    }

    /// Makes a node's data directory.
    pub fn format(&self, node: usize) {
        let output = self.command(node, "format").output().expect("the binary runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "underpin format failed:\n{said}");
    }

    /// A command with a node's configuration, in its folder.
    pub fn command(&self, node: usize, verb: &str) -> Command {
        let mut command = Command::new(place::underpin());
        command.args([verb, "--config", "underpin.toml"]).current_dir(self.home(node));
        for setting in &self.settings {
            command.args(["--set", setting]);
        }
        command
    }
}

impl Cluster for Servers {
    fn addresses(&self) -> Vec<SocketAddr> {
        let address = |node| SocketAddr::from(([127, 0, 0, 1], self.port(node, 0)));
        (0..self.processes.len()).map(address).collect()
    }

    fn runs(&self, node: usize) -> bool {
        self.processes[node].is_some()
    }

    fn kill(&mut self, node: usize) {
        self.processes[node].take().expect("a running node").kill();
    }

    fn kill_all(&mut self) {
        for process in self.processes.iter_mut().flatten() {
            process.kill_without_waiting();
        }
        for process in &mut self.processes {
            drop(process.take());
        }
    }

    fn start(&mut self, node: usize) {
        assert!(self.processes[node].is_none(), "node {} runs already", node + 1);
        let log = self.home(node).join("log");
        let mut command = self.command(node, "server");
        command.envs(&self.environment);
        self.processes[node] = Some(Process::start(&mut command, &log));
    }

    fn freeze(&mut self, node: usize) {
        self.processes[node].as_ref().expect("a running node").signal("STOP");
    }

    fn thaw(&mut self, node: usize) {
        self.processes[node].as_ref().expect("a running node").signal("CONT");
    }
}

/// `underpin dev`: three nodes in one process.
pub struct Dev {
    folder: Folder,
    process: Process,
    card: Value,
}

impl Dev {
    /// Starts one with an empty folder and waits until it serves.
    pub fn start() -> Dev {
        Dev::start_in(Folder::new("dev"))
    }

    /// Ends this one in good order and starts another with its data.
    pub fn restart(mut self) -> Dev {
        self.process.signal("TERM");
        let status = self.process.wait(wait::READY);
        assert!(status.success(), "underpin dev ended with {status}:\n{}", self.process.log());
        let Dev { folder, process, .. } = self;
        drop(process);
        std::fs::remove_file(folder.join("log").with_extension("out")).expect("the old card");
        Dev::start_in(folder)
    }

    fn start_in(folder: Folder) -> Dev {
        let port = place::ports(4).to_string();
        let mut command = Command::new(place::underpin());
        command.args(["dev", "--json", "--resp-port", &port, "--data"]);
        command.arg(folder.join("data"));
        let mut process = Process::start(&mut command, &folder.join("log"));
        let card = wait::until("the card of underpin dev", wait::READY, || {
            assert_eq!(process.ended(), None, "underpin dev ended");
            serde_json::Deserializer::from_str(&process.out()).into_iter().next()?.ok()
        });
        let dev = Dev { folder, process, card };
        for address in dev.addresses() {
            wait::until(&format!("{address} to serve"), wait::READY, || {
                let reply = resp::ask(address, &["SET", "e2e:ready", "1"]).ok()?;
                matches!(Outcome::of(reply), Outcome::Done(_)).then_some(())
            });
        }
        dev
    }

    /// What it printed when it was ready.
    pub fn card(&self) -> &Value {
        &self.card
    }

    /// Where clients reach each node.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let nodes = self.card["nodes"].as_array().expect("the card's nodes");
        let address = |node: &Value| node["resp"].as_str()?.parse().ok();
        nodes.iter().map(|node| address(node).expect("a node's address for clients")).collect()
    }

    /// Its folder.
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// Its process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}
