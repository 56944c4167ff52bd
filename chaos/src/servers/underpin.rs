//! Ours: `underpin server`, configured so that much happens in a minute: small memtables, a log that
//! forgets soon, so that who was away comes back by snapshot.

use super::{Breed, Clock, Place};
use crate::speak::{Resp, Speaker};
use serde_json::Value as Json;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};
use underpin_e2e::{cluster, place};
use wire::resp::Value;

/// `underpin server`.
pub struct Underpin;

const RESP: u16 = 6379;
const PEER: u16 = 7400;
/// Clients have to say it, since nodes listen off loopback.
const PASSWORD: &str = "chaos";
const SETTINGS: &str = "[log]\nsegment_bytes = \"10 MiB\"\nretention_bytes = \"256 KiB\"\n\
                        [storage]\nmemtable_bytes = \"256 KiB\"\nflush_log_bytes = \"512 KiB\"\n";

impl Breed for Underpin {
    fn prepare(&self, place: &Place) -> Result<(), String> {
        for node in 0..place.nodes {
            let home = place.home(node);
            let write = |name: &str, text: &str| {
                let path = home.join(name);
                fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))
            };
            write("underpin.secret", "chaos, not a secret: 0123456789abcdef\n")?;
            write("underpin.toml", &configuration(place, node))?;
            crate::room::run(&mut underpin(place, node, "format"))?;
        }
        Ok(())
    }

    fn command(&self, place: &Place, node: usize, clock: Clock) -> Command {
        let mut command = underpin(place, node, "server");
        let Clock { offset_ms, rate_ppm, mono_ppm } = clock;
        let flags = [("offset-ms", offset_ms), ("rate-ppm", rate_ppm), ("mono-ppm", mono_ppm)];
        for (flag, number) in flags.into_iter().filter(|(_, number)| *number != 0) {
            command.arg(format!("--test-clock-{flag}={number}"));
        }
        command
    }

    fn dial(&self, place: &Place, node: usize, patience: Duration) -> io::Result<Box<dyn Speaker>> {
        Ok(Box::new(open(place, node, patience)?))
    }

    fn leader(&self, place: &Place) -> Option<usize> {
        let leads = |node: usize| {
            let kv = kv(place, node)?;
            (kv["role"] == "leader").then(|| (kv["term"].as_u64(), node))
        };
        (0..place.nodes).filter_map(leads).max().map(|(_, node)| node)
    }

    fn agree(&self, place: &Place, limit: Duration) -> Result<(), String> {
        let until = Instant::now() + limit;
        let mut seen = Vec::new();
        let mut mark = None;
        while Instant::now() < until {
            // Whoever jumped over a mark by a snapshot has no hash of it: then there is another one.
            mark = self.leader(place).and_then(|leader| hash_mark(place, leader)).or(mark);
            std::thread::sleep(Duration::from_millis(300));
            seen = (0..place.nodes).map(|node| hash(place, node)).collect();
            let at = seen.iter().flatten().map(|(index, _)| *index).max();
            let reached = at.is_some() && at >= mark;
            let all = seen.iter().all(|hash| hash.as_ref().is_some_and(|it| Some(it.0) == at));
            if reached && all {
                return match seen.windows(2).all(|pair| pair[0] == pair[1]) {
                    true => Ok(()),
                    false => Err(format!("the replicas differ: {seen:?}")),
                };
            }
        }
        Err(format!("the replicas come to no common mark in {limit:?}: {mark:?}, {seen:?}"))
    }
}

fn configuration(place: &Place, node: usize) -> String {
    let peer = |node: usize| format!("{} = \"{}:{PEER}\"", node + 1, place.net.peer_address(node));
    let peers: Vec<String> = (0..place.nodes).map(peer).collect();
    format!(
        "[node]\nid = {}\ndata = \"disk/data\"\n\n[listen]\nresp = \"{}:{RESP}\"\n\
         peer = \"{}:{PEER}\"\nhttp = \"127.0.0.1:7480\"\n\n[cluster]\nid = \"{:032x}\"\n\
         peers = {{ {} }}\n\n[auth]\npassword = \"{PASSWORD}\"\n\n{SETTINGS}",
        node + 1,
        place.net.client_address(node),
        place.net.peer_address(node),
        0xc4a05,
        peers.join(", "),
    )
}

fn underpin(place: &Place, node: usize, verb: &str) -> Command {
    let binary = place::underpin().to_string_lossy();
    let mut command = place.net.command(node, &binary);
    command.args([verb, "--config", "underpin.toml"]).current_dir(place.home(node));
    command
}

fn open(place: &Place, node: usize, patience: Duration) -> io::Result<Resp> {
    let address = SocketAddr::from((place.net.client_address(node), RESP));
    Resp::open_with(address, patience, PASSWORD)
}

/// A node's `kv` shard in its status.
fn kv(place: &Place, node: usize) -> Option<Json> {
    let mut conn = open(place, node, Duration::from_millis(500)).ok()?;
    let reply = conn.ask(&["UNDERPIN.STATUS", "JSON"]).ok()?;
    let status: Json = serde_json::from_str(reply.text()?).ok()?;
    cluster::shard(&status, "kv").cloned()
}

fn hash_mark(place: &Place, node: usize) -> Option<i64> {
    let mut conn = open(place, node, Duration::from_secs(2)).ok()?;
    conn.ask(&["UNDERPIN.STATUS", "HASH"]).ok().as_ref().and_then(Value::integer)
}

/// A replica's last hash: at which index, and what.
fn hash(place: &Place, node: usize) -> Option<(i64, Json)> {
    let hash = kv(place, node)?["hash"].clone();
    Some((hash["index"].as_i64()?, hash))
}
