//! Whole clusters, started and stopped as a user would.

mod support;

use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use support::{Folder, script};

const UNDERPIN: &str = env!("CARGO_BIN_EXE_underpin");

/// A running process of ours; killed if the test forgets it.
struct Running(Child);

impl Running {
    fn terminate(mut self) -> Option<i32> {
        let id = self.0.id().to_string();
        assert!(
            Command::new("sh")
                .args(["-c", &format!("kill -TERM {id}")])
                .status()
                .unwrap()
                .success()
        );
        self.0.wait().unwrap().code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Starts `dev` on free ports and waits for its JSON.
fn dev(arguments: &[&str]) -> (Running, Value) {
    let mut child = Command::new(UNDERPIN)
        .args(["dev", "--json", "--resp-port", "0", "--http-port", "0", "--log", "warn"])
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let running = Running(child);
    (running, serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}")))
}

fn endpoints(ready: &Value) -> String {
    let nodes = ready["nodes"].as_array().unwrap();
    let addresses: Vec<_> = nodes.iter().map(|node| node["resp"].as_str().unwrap()).collect();
    addresses.join(",")
}

fn underpin(endpoints: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(UNDERPIN);
    command
        .args(arguments)
        .env("UNDERPIN_ENDPOINT", endpoints)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[test]
fn the_key_value_commands_work_on_a_dev_cluster_which_leaves_nothing_behind() {
    let (running, ready) = dev(&[]);
    assert_eq!(ready["nodes"].as_array().unwrap().len(), 3);
    script("kv.txt", &[("UNDERPIN_ENDPOINT", &endpoints(&ready))]);
    let data = ready["data"].as_str().unwrap().to_owned();
    assert!(Path::new(&data).join("n1").exists());
    assert_eq!(running.terminate(), Some(0));
    assert!(!Path::new(&data).exists(), "{data} is still there");
}

#[test]
fn a_second_start_on_the_same_folder_goes_on_with_what_is_there() {
    let folder = Folder::new("dev-data");
    let data = folder.0.join("data").display().to_string();
    let (running, ready) = dev(&["--data", &data]);
    assert!(underpin(&endpoints(&ready), &["kv", "put", "hello", "world"]).status.success());
    assert_eq!(running.terminate(), Some(0));

    let (running, ready) = dev(&["--data", &data]);
    assert_eq!(stdout(&underpin(&endpoints(&ready), &["kv", "get", "hello"])), "world");
    assert_eq!(running.terminate(), Some(0));

    let other =
        Command::new(UNDERPIN).args(["dev", "--data", &data, "--nodes", "5"]).output().unwrap();
    assert_eq!(other.status.code(), Some(5), "{other:?}");
}

#[test]
fn a_password_keeps_strangers_out() {
    let (running, ready) = dev(&["--password", "sesame", "--nodes", "1"]);
    let endpoints = endpoints(&ready);
    assert_eq!(underpin(&endpoints, &["kv", "get", "hello"]).status.code(), Some(4));
    let folder = Folder::new("password");
    let file = folder.0.join("password");
    std::fs::write(&file, "sesame\n").unwrap();
    let with = ["kv", "get", "hello", "--password-file", file.to_str().unwrap()];
    assert_eq!(underpin(&endpoints, &with).status.code(), Some(1), "let in, and no such key");
    assert_eq!(running.terminate(), Some(0));
}

/// Three servers of separate processes in one folder, each node with ports of its own.
struct Servers {
    folder: Folder,
    /// Each node's ports: Redis clients, peers, HTTP.
    ports: Vec<[u16; 3]>,
}

impl Servers {
    fn new(name: &str) -> Servers {
        let folder = Folder::new(name);
        // Below the range from which the system gives outgoing connections theirs.
        let first = 10_000 + (std::process::id() % 2_000) as u16 * 10;
        let ports = (0..3).map(|n| [0, 1, 2].map(|m| first + 3 * n + m)).collect();
        let servers = Servers { folder, ports };
        assert!(servers.run(1, &["init", "--nodes", "3"]).status.success());
        servers
    }

    fn command(&self, node: usize) -> Command {
        let [resp, peer, http] = self.ports[node - 1];
        let mut command = Command::new(UNDERPIN);
        let peers: Vec<_> = self
            .ports
            .iter()
            .enumerate()
            .map(|(n, ports)| format!("{}=127.0.0.1:{}", n + 1, ports[1]))
            .collect();
        command
            .current_dir(&self.folder.0)
            .env("UNDERPIN_LISTEN__RESP", format!("127.0.0.1:{resp}"))
            .env("UNDERPIN_LISTEN__PEER", format!("127.0.0.1:{peer}"))
            .env("UNDERPIN_LISTEN__HTTP", format!("127.0.0.1:{http}"))
            .env("UNDERPIN_CLUSTER__PEERS", peers.join(","))
            .env("UNDERPIN_LOGGING__LEVEL", "warn")
            .env("UNDERPIN_ENDPOINT", self.endpoints())
            .stdin(Stdio::null());
        command
    }

    fn endpoints(&self) -> String {
        let addresses: Vec<_> =
            self.ports.iter().map(|ports| format!("127.0.0.1:{}", ports[0])).collect();
        addresses.join(",")
    }

    fn run(&self, node: usize, arguments: &[&str]) -> Output {
        self.command(node).args(arguments).output().unwrap()
    }

    /// Runs a command with the node's configuration.
    fn configured(&self, node: usize, arguments: &[&str]) -> Output {
        self.command(node)
            .args(arguments)
            .args(["--config", &format!("underpin-{node}.toml")])
            .output()
            .unwrap()
    }

    fn serve(&self, node: usize) -> Running {
        let config = format!("underpin-{node}.toml");
        Running(self.command(node).args(["server", "--config", &config]).spawn().unwrap())
    }

    /// Repeats a command until it succeeds.
    fn until(&self, arguments: &[&str], expected: impl Fn(&str) -> bool) {
        let limit = Instant::now() + Duration::from_secs(30);
        loop {
            let output = self.run(1, arguments);
            if output.status.success() && expected(&stdout(&output)) {
                return;
            }
            assert!(Instant::now() < limit, "{arguments:?}: {output:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until every shard has three voters.
    fn until_all_vote(&self) {
        self.until(&["status", "-o", "json"], |status| {
            let status: Value = serde_json::from_str(status).unwrap();
            let shards = status["shards"].as_array().unwrap();
            shards.iter().all(|shard| {
                let replicas = shard["replicas"].as_array().unwrap();
                let voters = replicas.iter().filter(|replica| replica["part"] == "voter").count();
                replicas.is_empty() || (replicas.len() == 3 && voters == 3)
            })
        });
    }
}

#[test]
fn a_damaged_node_is_rebuilt_under_a_new_incarnation() {
    let servers = Servers::new("rebuild");
    let refused = servers.configured(1, &["server"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("underpin format"), "{refused:?}");

    for node in 1..=3 {
        let formatted = servers.configured(node, &["format"]);
        assert!(formatted.status.success(), "{formatted:?}");
    }
    assert_eq!(servers.configured(1, &["format"]).status.code(), Some(5), "never twice");

    let (one, two, three) = (servers.serve(1), servers.serve(2), servers.serve(3));
    servers.until(&["kv", "put", "hello", "world"], |_| true);
    servers.until(&["status", "-o", "json"], |status| {
        let status: Value = serde_json::from_str(status).unwrap();
        let nodes = status["nodes"].as_array().unwrap();
        let known = |node: &Value| node["incarnation"] != "0000000000000000";
        nodes.len() == 3 && nodes.iter().all(known)
    });
    let held = servers.configured(3, &["node", "rebuild"]);
    assert_eq!(held.status.code(), Some(5), "a server runs on it: {held:?}");

    assert_eq!(three.terminate(), Some(0), "SIGTERM is a graceful end");
    let identity = servers.folder.0.join("data/n3/identity");
    let before = std::fs::read_to_string(&identity).unwrap();
    let rebuilt = servers.configured(3, &["node", "rebuild"]);
    assert!(rebuilt.status.success(), "{rebuilt:?}");
    assert_ne!(std::fs::read_to_string(&identity).unwrap(), before);
    let again = servers.configured(3, &["node", "replace"]);
    assert!(again.status.success(), "telling the cluster again does no harm: {again:?}");

    let three = servers.serve(3);
    let third = format!("127.0.0.1:{}", servers.ports[2][0]);
    servers.until(&["kv", "get", "hello", "--endpoint", &third], |value| value == "world");
    // Once it has caught up it is a voter again.
    servers.until_all_vote();
    for running in [one, two, three] {
        assert_eq!(running.terminate(), Some(0));
    }
}

/// The third founder never started, and its directory is lost.
#[test]
fn a_founder_that_never_started_is_replaced() {
    let servers = Servers::new("founder");
    for node in 1..=2 {
        assert!(servers.configured(node, &["format"]).status.success());
    }
    let (one, two) = (servers.serve(1), servers.serve(2));
    servers.until(&["kv", "put", "hello", "world"], |_| true);
    let replaced = servers.configured(3, &["node", "replace"]);
    assert!(replaced.status.success(), "{replaced:?}");
    let three = servers.serve(3);
    let third = format!("127.0.0.1:{}", servers.ports[2][0]);
    servers.until(&["kv", "get", "hello", "--endpoint", &third], |value| value == "world");
    servers.until_all_vote();
    for running in [one, two, three] {
        assert_eq!(running.terminate(), Some(0));
    }
}
