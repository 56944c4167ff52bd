//! NATS with JetStream: three servers of Debian's `nats-server`, and a stream of three replicas in
//! files.
//!
//! JetStream acknowledges a message when a majority has written it, and syncs files every two
//! minutes unless told otherwise: what it acknowledged may be lost when power fails. Debian's 2.9
//! can't be told; newer servers have `sync_interval: always`.

use super::{NODES, Trio};
use crate::wire::Wire;
use crate::wire::nats::{Nats as Client, SUBJECT, Said, said};
use serde_json::Value;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};
use underpin_e2e::wait;

/// The `nats-server` binary: Debian's, or for the one that syncs `UNDERPIN_NATS_SERVER`.
pub fn binary(syncs: bool) -> OsString {
    match env::var_os("UNDERPIN_NATS_SERVER").filter(|_| syncs) {
        // Servers start in folders of their own, where a path from here leads nowhere.
        Some(newer) => fs::canonicalize(&newer).map_or(newer, OsString::from),
        None => "nats-server".into(),
    }
}

/// A running cluster with its stream.
pub struct Nats {
    trio: Trio,
}

impl Nats {
    /// Starts one, with every message synced before its acknowledgement or without, and makes the
    /// stream.
    pub fn start(syncs: bool) -> Nats {
        let mut nats = Nats { trio: Trio::new("nats", 2) };
        for node in 0..NODES {
            nats.configure(node, syncs);
            let mut command = Command::new(binary(syncs));
            nats.trio.spawn(node, command.args(["-c", "nats.conf"]));
        }
        let config = serde_json::json!({
            "name": SUBJECT, "subjects": [format!("{SUBJECT}.>")], "storage": "file",
            "retention": "limits", "discard": "old", "num_replicas": NODES,
        });
        let create = format!("$JS.API.STREAM.CREATE.{SUBJECT}");
        wait::until("a stream", wait::READY, || {
            let made = nats.ask(&create, config.to_string().as_bytes()).ok()?;
            made["config"].is_object().then_some(())
        });
        nats.leader();
        nats
    }

    fn configure(&self, node: usize, syncs: bool) {
        let trio = &self.trio;
        let others = (0..NODES).filter(|other| *other != node);
        let routes: Vec<String> =
            others.map(|other| format!("nats://{}", trio.address(other, 1))).collect();
        let text = format!(
            "listen: \"{}\"\nserver_name: n{node}\n\
             jetstream {{ store_dir: \"data\"{} }}\n\
             cluster {{ name: bench, listen: \"{}\", routes: {routes:?} }}\n",
            trio.address(node, 0),
            if syncs { ", sync_interval: always" } else { "" },
            trio.address(node, 1),
        );
        fs::write(trio.home(node).join("nats.conf"), text).expect("a node's configuration");
    }

    /// Where clients reach each server.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.trio.addresses()
    }

    /// The running processes.
    pub fn processes(&self) -> Vec<u32> {
        self.trio.processes()
    }

    /// The server that leads the stream.
    pub fn leader(&self) -> usize {
        wait::until("a leader of the stream", wait::READY, || {
            let info = self.ask(&format!("$JS.API.STREAM.INFO.{SUBJECT}"), b"").ok()?;
            info["cluster"]["leader"].as_str()?.strip_prefix('n')?.parse().ok()
        })
    }

    /// Asks JetStream's own interface.
    fn ask(&self, subject: &str, body: &[u8]) -> io::Result<Value> {
        ask(self.trio.address(0, 0), subject, body)
    }
}

/// One request and its answer, on a connection of their own.
fn ask(address: SocketAddr, subject: &str, body: &[u8]) -> io::Result<Value> {
    let end = Instant::now() + Duration::from_secs(5);
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    let (mut client, mut out) = (Client::default(), vec![]);
    client.open(&mut out)?;
    client.publish(0, subject, body, &mut out);
    stream.write_all(&out)?;
    let (mut input, mut buffer) = (vec![], [0; 4096]);
    while Instant::now() < end {
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        input.extend_from_slice(&buffer[..count]);
        while let Some((length, what)) = said(&input)? {
            if let Said::Message { body, .. } = what {
                return serde_json::from_slice(body).map_err(io::Error::other);
            }
            input.drain(..length);
        }
    }
    Err(io::ErrorKind::TimedOut.into())
}
