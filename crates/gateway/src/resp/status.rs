//! Commands that ask the node how it is or tell it what to do: INFO, WAIT, UNDERPIN.STATUS,
//! UNDERPIN.TRANSFER, UNDERPIN.REPLACE.

use super::args::{integer, is, natural};
use super::conn::Conn;
use super::errors::{SYNTAX, Wrong};
use super::kv::Context;
use super::slot::Want;
use super::{Resp, info};
use base::{Bytes, Incarnation, NodeId, ShardId};
use node::api::{Call, Status};
use std::fmt::Write;
use wire::resp::Out;

type Plan = Result<(Call, Want), Wrong>;

/// What of a node's status a command shows.
#[derive(Debug)]
pub(super) enum Shown {
    /// Sections of INFO.
    Info(Vec<&'static str>),
    /// Everything, as JSON.
    Json,
    /// How many other replicas have every acknowledged write, for WAIT.
    Copies,
}

impl Shown {
    pub(super) fn write(&self, status: &Status, resp: &Resp, out: &mut Out) {
        match self {
            Shown::Info(sections) => {
                out.verbatim(info::text(sections, status, resp).as_bytes());
            }
            Shown::Json => out.bulk(json(status).as_bytes()),
            Shown::Copies => out.integer(copies(status)),
        }
    }
}

/// INFO [section ...]
pub(super) fn info(_: &mut Conn, _: &mut Resp, _: &Context, args: &[Bytes]) -> Plan {
    Ok((Call::Status, Want::Status(Shown::Info(info::sections(&args[1..])))))
}

/// WAIT replicas milliseconds
///
/// A write is acknowledged once a quorum has it on disk, so there is nothing to wait for: the answer
/// is how many replicas beside the leader's are in every quorum.
pub(super) fn wait(_: &mut Conn, _: &mut Resp, _: &Context, args: &[Bytes]) -> Plan {
    integer(&args[1])?;
    match integer(&args[2]) {
        Ok(0..) => Ok((Call::Status, Want::Status(Shown::Copies))),
        Ok(_) => Err("ERR timeout is negative".into()),
        Err(_) => Err("ERR timeout is not an integer or out of range".into()),
    }
}

fn copies(status: &Status) -> i64 {
    let voters = |shard: &node::api::ShardStatus| {
        shard.replicas.iter().filter(|(_, _, part, _)| *part == "voter").count()
    };
    let known = status.shards.iter().filter(|shard| shard.kind == "kv").map(voters).max();
    (known.filter(|count| *count > 0).unwrap_or(status.nodes.len()) / 2) as i64
}

/// UNDERPIN.STATUS [JSON | HASH]
pub(super) fn status(_: &mut Conn, _: &mut Resp, _: &Context, args: &[Bytes]) -> Plan {
    match &args[1..] {
        [] => Ok((Call::Status, Want::Status(Shown::Info(info::sections(&[]))))),
        [word] if is(word, "json") => Ok((Call::Status, Want::Status(Shown::Json))),
        [word] if is(word, "hash") => Ok((Call::HashMark, Want::Plain)),
        _ => Err(SYNTAX),
    }
}

/// UNDERPIN.TRANSFER shard [node]
pub(super) fn transfer(_: &mut Conn, _: &mut Resp, _: &Context, args: &[Bytes]) -> Plan {
    let to = match &args[2..] {
        [] => None,
        [node] => Some(NodeId(natural(node)?)),
        _ => return Err(SYNTAX),
    };
    Ok((Call::Transfer { shard: ShardId(natural(&args[1])?), to }, Want::Plain))
}

/// UNDERPIN.REPLACE node incarnation, the latter in hexadecimal as it is shown everywhere.
pub(super) fn replace(_: &mut Conn, _: &mut Resp, _: &Context, args: &[Bytes]) -> Plan {
    let incarnation = std::str::from_utf8(&args[2])
        .ok()
        .and_then(|text| u64::from_str_radix(text, 16).ok())
        .ok_or("ERR an incarnation is a hexadecimal number of up to 16 digits")?;
    let node = NodeId(natural(&args[1])?);
    Ok((Call::NodeReplace { node, incarnation: Incarnation(incarnation) }, Want::Plain))
}

/// A node's status as JSON. Ids that are numbers of 64 bits drawn at random are texts, since many
/// readers of JSON keep 53 bits only.
fn json(status: &Status) -> String {
    let mut text = String::new();
    let nodes: Vec<String> = status.nodes.iter().map(json_node).collect();
    let shards: Vec<String> = status.shards.iter().map(json_shard).collect();
    let written = write!(
        text,
        "{{\"cluster\":\"{}\",\"node\":{},\"incarnation\":\"{}\",\"version\":{},\"uptime_ms\":{},\
         \"disk_full\":{},\"requests_waiting\":{},\"memory_bytes\":{},\"nodes\":[{}],\
         \"shards\":[{}]}}",
        status.cluster,
        status.node.0,
        status.incarnation,
        quoted(&status.version),
        status.uptime_ms,
        status.disk_full,
        status.requests_waiting,
        status.memory_bytes,
        nodes.join(","),
        shards.join(","),
    );
    debug_assert!(written.is_ok());
    text
}

fn json_node(node: &node::api::NodeStatus) -> String {
    format!(
        "{{\"node\":{},\"incarnation\":\"{}\",\"address\":{},\"client_address\":{},\"live\":{},\
         \"clock_offset_ms\":{}}}",
        node.node.0,
        node.incarnation,
        quoted(&node.address),
        quoted(&node.client_address),
        node.live,
        or_null(node.clock_offset_ms),
    )
}

fn json_shard(shard: &node::api::ShardStatus) -> String {
    let replicas: Vec<String> = shard
        .replicas
        .iter()
        .map(|(replica, node, part, matched)| {
            format!(
                "{{\"replica\":{},\"node\":{},\"part\":\"{part}\",\"matched\":{matched}}}",
                replica.0, node.0
            )
        })
        .collect();
    let hash = match shard.hash {
        Some((index, hash)) => format!("{{\"index\":{index},\"hash\":\"{hash:016x}\"}}"),
        None => "null".to_owned(),
    };
    format!(
        "{{\"shard\":{},\"kind\":\"{}\",\"replica\":{},\"role\":\"{}\",\"leader\":{},\"term\":{},\
         \"commit\":{},\"applied\":{},\"first\":{},\"last\":{},\"replicas\":[{}],\"hash\":{hash}}}",
        shard.shard.0,
        shard.kind,
        shard.replica.0,
        shard.role,
        or_null(shard.leader.map(|leader| leader.0)),
        shard.term,
        shard.commit,
        shard.applied,
        shard.first,
        shard.last,
        replicas.join(","),
    )
}

fn or_null(number: Option<impl std::fmt::Display>) -> String {
    number.map_or_else(|| "null".to_owned(), |number| number.to_string())
}

fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            character if u32::from(character) < 0x20 => {
                quoted.push_str(&format!("\\u{:04x}", u32::from(character)));
            }
            character => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}
