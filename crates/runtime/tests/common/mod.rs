//! Three nodes on loopback, and a client protocol of lines: `get k`, `set k v`, `echo text`,
//! `flood bytes`, `quit`.

#![allow(dead_code, missing_docs)]

use base::{Bytes, ClusterId, ConnId, Failure, Incarnation, NodeId, Time};
use bytes::{BufMut, BytesMut};
use node::Identity;
use node::api::{Answer, Call, Consistency, FromConn, Gateway, Reply, Request};
use service::kv::{self, Batch, Bucket, Expiry, Op, Outcome, When};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use storage::wal::WalOptions;
use underpin_runtime::{Bind, DiskOptions, Limits, Secret, Server, ServerOptions, format, start};

/// Output beyond which the double stops taking input.
const OUTPUT_MAX: usize = 256 << 10;
/// The longest line that the double takes.
const LINE_MAX: usize = 8 << 20;

#[derive(Default)]
struct Lines {
    conns: BTreeMap<ConnId, Line>,
    touched: Vec<ConnId>,
}

#[derive(Default)]
struct Line {
    output: BytesMut,
    seq: u64,
    closing: bool,
    /// The request whose answer goes out next, and answers of later ones.
    next: u64,
    early: BTreeMap<u64, Vec<u8>>,
}

pub fn gateway() -> Box<dyn Gateway> {
    Box::new(Lines::default())
}

impl Gateway for Lines {
    fn open(&mut self, _: Time, conn: ConnId, _: String) {
        self.conns.insert(conn, Line::default());
    }

    fn receive(&mut self, now: Time, conn: ConnId, bytes: &[u8], out: &mut Vec<FromConn>) -> usize {
        let line = self.conns.get_mut(&conn).expect("bytes come from open connections");
        let mut taken = 0;
        while !line.closing && line.output.len() < OUTPUT_MAX {
            let Some(end) = bytes[taken..].iter().position(|&b| b == b'\n') else {
                line.closing = bytes.len() - taken > LINE_MAX;
                break;
            };
            let text = &bytes[taken..taken + end];
            taken += end + 1;
            let words: Vec<&[u8]> = text.splitn(3, |&b| b == b' ').collect();
            let op = match words[..] {
                [b"get", key] => Op::Get(Bytes::copy_from_slice(key)),
                [b"set", key, value] => Op::Set {
                    key: Bytes::copy_from_slice(key),
                    value: Bytes::copy_from_slice(value),
                    expiry: Expiry::Never,
                    when: When::Always,
                    old: false,
                },
                [b"echo", text] => {
                    line.output.put_slice(text);
                    line.output.put_u8(b'\n');
                    continue;
                }
                [b"flood", bytes] => {
                    let bytes = String::from_utf8_lossy(bytes).parse().unwrap();
                    line.output.put_bytes(b'x', bytes);
                    line.output.put_u8(b'\n');
                    continue;
                }
                [b"size", text, ..] => {
                    line.output.put_slice(format!("{}\n", text.len()).as_bytes());
                    continue;
                }
                _ => {
                    line.closing = true;
                    break;
                }
            };
            line.seq += 1;
            out.push(FromConn::Request(Request {
                conn,
                seq: line.seq,
                deadline: now.mono + Duration::from_secs(5),
                consistency: Consistency::Strong,
                call: Call::Kv(Batch { conditions: Vec::new(), ops: vec![(Bucket(0), op)] }),
            }));
        }
        self.touched.push(conn);
        taken
    }

    fn answer(&mut self, _: Time, answer: Answer, _: &mut Vec<FromConn>) {
        let Some(line) = self.conns.get_mut(&answer.conn) else { return };
        let text = match answer.result {
            Ok(Reply::Kv(Outcome::Answers(answers))) => match &answers[..] {
                [kv::Answer::Bytes(bytes)] => bytes.to_vec(),
                other => format!("{other:?}").into_bytes(),
            },
            other => format!("{other:?}").into_bytes(),
        };
        line.early.insert(answer.seq, text);
        while let Some(text) = line.early.remove(&(line.next + 1)) {
            line.next += 1;
            line.output.put_slice(&text);
            line.output.put_u8(b'\n');
        }
        self.touched.push(answer.conn);
    }

    fn output(&mut self, conn: ConnId) -> Option<&mut BytesMut> {
        self.conns.get_mut(&conn).map(|line| &mut line.output)
    }

    fn touched(&mut self) -> Vec<ConnId> {
        std::mem::take(&mut self.touched)
    }

    fn closing(&self, conn: ConnId) -> bool {
        self.conns.get(&conn).is_some_and(|line| line.closing)
    }

    fn close(&mut self, conn: ConnId, out: &mut Vec<FromConn>) {
        self.conns.remove(&conn);
        out.push(FromConn::Close(conn));
    }

    fn connections(&self) -> usize {
        self.conns.len()
    }
}

/// Three nodes with files below a directory of their own.
pub struct Trio {
    pub root: PathBuf,
    pub servers: BTreeMap<NodeId, Server>,
    pub members: BTreeMap<NodeId, String>,
    pub limits: Limits,
}

impl Trio {
    pub fn start(name: &str) -> Trio {
        Trio::start_with(name, Limits::default())
    }

    pub fn start_with(name: &str, limits: Limits) -> Trio {
        let root = std::env::temp_dir().join(format!("underpin-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&root);
        let listeners: BTreeMap<NodeId, TcpListener> =
            (1..=3).map(|id| (NodeId(id), TcpListener::bind("127.0.0.1:0").unwrap())).collect();
        let members = listeners
            .iter()
            .map(|(id, listener)| (*id, listener.local_addr().unwrap().to_string()))
            .collect();
        let mut trio = Trio { root, servers: BTreeMap::new(), members, limits };
        for (id, listener) in listeners {
            format(&trio.directory(id), &trio.identity(id), &trio.disk()).unwrap();
            trio.run(id, Bind::Listener(listener), trio.secret());
        }
        trio
    }

    pub fn secret(&self) -> Secret {
        Secret::from_text("three nodes")
    }

    fn identity(&self, id: NodeId) -> Identity {
        Identity {
            cluster: ClusterId(7),
            node: id,
            incarnation: Incarnation(100 + id.0),
            founder: true,
            members: self.members.clone(),
        }
    }

    pub fn directory(&self, id: NodeId) -> PathBuf {
        self.root.join(id.to_string())
    }

    /// Small segments, so that starting is quick.
    fn disk(&self) -> DiskOptions {
        let wal = WalOptions { segment_bytes: 8 << 20, spares: 1, ..WalOptions::default() };
        DiskOptions { wal, ..DiskOptions::default() }
    }

    /// Starts a node that was ended on its old address.
    pub fn restart(&mut self, id: NodeId) {
        self.restart_with(id, self.secret());
    }

    pub fn restart_with(&mut self, id: NodeId, secret: Secret) {
        let address: SocketAddr = self.members[&id].parse().unwrap();
        self.run(id, Bind::Address(address), secret);
    }

    fn run(&mut self, id: NodeId, peer: Bind, secret: Secret) {
        self.servers.insert(id, start(self.options(id, peer, secret), |_| gateway()).unwrap());
    }

    pub fn options(&self, id: NodeId, peer: Bind, secret: Secret) -> ServerOptions {
        ServerOptions {
            data: self.directory(id),
            disk: self.disk(),
            clients: vec![Bind::Address("127.0.0.1:0".parse().unwrap())],
            peer,
            peers: BTreeMap::new(),
            client_address: String::new(),
            secret,
            clock: Default::default(),
            node: node::Options::default(),
            limits: self.limits.clone(),
            version: "test".into(),
        }
    }

    pub fn client(&self, id: NodeId) -> Client {
        Client::connect(self.servers[&id].client_addresses()[0])
    }

    /// The node that leads the `kv` shard according to the others, waiting for there to be one.
    pub fn leader(&self) -> NodeId {
        let mut seen = None;
        until("a leader", || {
            seen = self.servers.values().find_map(|server| {
                let status = server.status()?;
                let leads = |s: &node::api::ShardStatus| s.kind == "kv" && s.role == "leader";
                status.shards.iter().any(leads).then_some(status.node)
            });
            seen.is_some()
        });
        seen.unwrap()
    }
}

impl Drop for Trio {
    fn drop(&mut self) {
        self.servers.clear();
        if std::thread::panicking() {
            return; // What is left on the disk may explain it.
        }
        let _ = std::fs::remove_dir_all(&self.root);
    }
}

/// Waits until `so`, and no longer than ten seconds.
pub fn until(what: &str, mut so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !so() {
        assert!(started.elapsed() < Duration::from_secs(10), "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub struct Client {
    pub stream: TcpStream,
    reader: BufReader<TcpStream>,
}

impl Client {
    pub fn connect(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(10))).unwrap();
        stream.set_nodelay(true).unwrap();
        let reader = BufReader::new(stream.try_clone().unwrap());
        Client { stream, reader }
    }

    pub fn send(&mut self, line: &str) {
        self.stream.write_all(line.as_bytes()).unwrap();
        self.stream.write_all(b"\n").unwrap();
    }

    /// The next line of output; empty if the connection ended.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        match self.reader.read_line(&mut line) {
            Ok(_) => line.trim_end().to_string(),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => String::new(),
            Err(error) => panic!("{error}"),
        }
    }

    pub fn ask(&mut self, line: &str) -> String {
        self.send(line);
        self.line()
    }

    /// Asks until the answer is the one expected, as while a leader is being elected.
    pub fn ask_until(&mut self, line: &str, expected: &str) {
        let mut last = String::new();
        let started = Instant::now();
        while last != expected {
            assert!(started.elapsed() < Duration::from_secs(10), "{line}: {last}");
            last = self.ask(line);
        }
    }
}

/// Whether a failure leaves open if the request was done.
pub fn unknown(failure: &Failure) -> bool {
    matches!(failure, Failure::Unknown)
}
