//! A node, asked over HTTP.

#![allow(missing_docs)]

use base::{ClusterId, ConnId, Incarnation, NodeId, Time};
use bytes::BytesMut;
use node::Identity;
use node::api::{Answer, FromConn, Gateway};
use runtime::{Bind, DiskOptions, Limits, Secret, Server, ServerOptions};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use underpin_web::{Options, Web};

/// A gateway that nobody connects to.
struct Nobody;

impl Gateway for Nobody {
    fn open(&mut self, _: Time, _: ConnId, _: String) {}
    fn receive(&mut self, _: Time, _: ConnId, bytes: &[u8], _: &mut Vec<FromConn>) -> usize {
        bytes.len()
    }
    fn answer(&mut self, _: Time, _: Answer, _: &mut Vec<FromConn>) {}
    fn output(&mut self, _: ConnId) -> Option<&mut BytesMut> {
        None
    }
    fn touched(&mut self) -> Vec<ConnId> {
        Vec::new()
    }
    fn closing(&self, _: ConnId) -> bool {
        false
    }
    fn close(&mut self, _: ConnId, _: &mut Vec<FromConn>) {}
    fn connections(&self) -> usize {
        0
    }
}

struct Site {
    web: Web,
    server: Server,
    directory: PathBuf,
}

impl Site {
    /// One node of a cluster of `members`, whose others never come.
    fn new(name: &str, members: u64) -> Site {
        let directory = std::env::temp_dir().join(format!("web-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&directory);
        let identity = Identity {
            cluster: ClusterId(1),
            node: NodeId(1),
            incarnation: Incarnation(1),
            founder: true,
            members: (1..=members).map(|id| (NodeId(id), format!("127.0.0.1:{id}"))).collect(),
        };
        runtime::format(&directory, &identity, &DiskOptions::default()).unwrap();
        let options = ServerOptions {
            data: directory.clone(),
            clients: Vec::new(),
            peer: Bind::Address("127.0.0.1:0".parse().unwrap()),
            peers: BTreeMap::new(),
            client_address: String::new(),
            secret: Secret::from_text("web"),
            clock: Default::default(),
            disk: DiskOptions::default(),
            node: node::Options::default(),
            limits: Limits::default(),
            version: "0.1.0".into(),
        };
        let server = runtime::start(options, |_| Box::new(Nobody)).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let web = underpin_web::start(listener, vec![server.cluster()], Options::default());
        Site { web: web.unwrap(), server, directory }
    }

    fn get(&self, path: &str, host: &str) -> (u16, String) {
        let mut stream = connect(self.web.address());
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        let body = answer.split_once("\r\n\r\n").unwrap().1;
        (status, body.to_string())
    }

    fn until(&self, path: &str, status: u16) -> String {
        let started = Instant::now();
        loop {
            let (seen, body) = self.get(path, "localhost");
            if seen == status {
                return body;
            }
            assert!(started.elapsed() < Duration::from_secs(10), "{path}: {seen}\n{body}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.server.kill();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream
}

#[test]
fn a_node_by_itself_is_ready_and_counts() {
    let site = Site::new("alone", 1);
    assert_eq!(site.until("/readyz", 200), "ok\n");
    assert_eq!(site.until("/startupz", 200), "ok\n");
    assert_eq!(site.until("/livez", 200), "ok\n");
    let checks = site.until("/readyz?verbose", 200);
    assert!(checks.contains("[+] n1 shard s2 (kv): leader n1\n"), "{checks}");
    assert!(checks.ends_with("readyz passed\n"), "{checks}");
    let metrics = site.until("/metrics", 200);
    assert!(metrics.contains("underpin_up{node=\"n1\"} 1\n"), "{metrics}");
    assert!(metrics.contains("underpin_shard_leader{node=\"n1\",shard=\"s2\",kind=\"kv\"} 1\n"));
    site.until("/nothing", 404);
}

#[test]
fn without_a_quorum_it_is_alive_and_not_ready_and_says_why() {
    let site = Site::new("minority", 3);
    site.until("/livez", 200);
    let checks = site.until("/readyz", 503);
    assert!(checks.contains("no leader is known"), "{checks}");
    assert!(checks.contains("[!] n1 link to n2 (normal): down"), "{checks}");
    site.until("/startupz", 503);
}

#[test]
fn a_dead_node_is_told() {
    let site = Site::new("dead", 1);
    site.until("/readyz", 200);
    site.server.kill();
    assert!(site.until("/livez", 503).contains("n1 does not answer"));
    site.until("/readyz", 503);
    assert!(site.until("/metrics", 200).contains("underpin_up{node=\"n1\"} 0\n"));
}

#[test]
fn a_name_that_was_made_to_point_here_is_refused() {
    let site = Site::new("rebinding", 1);
    assert_eq!(site.get("/metrics", "attacker.example").0, 421);
    assert_eq!(site.get("/metrics", "").0, 421);
    assert_eq!(site.get("/livez", "127.0.0.1:80").0, 200);
}

#[test]
fn a_client_that_never_finishes_its_request_is_let_go() {
    let site = Site::new("slow", 1);
    let mut slow = connect(site.web.address());
    slow.write_all(b"GET /livez HTTP/1.1\r\nHost: local").unwrap();
    let mut large = connect(site.web.address());
    let _ = large.write_all(&[b'x'; 100_000]);
    site.until("/livez", 200);
    let mut rest = Vec::new();
    let _ = large.read_to_end(&mut rest);
    let _ = slow.read_to_end(&mut rest); // Fails by its timeout if the server holds on.
    assert!(slow.read(&mut [0]).is_ok_and(|bytes| bytes == 0));
}
