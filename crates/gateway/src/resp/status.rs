//! Commands that ask the node how it is or tell it what to do: INFO, WAIT, UNDERPIN.STATUS,
//! UNDERPIN.TRANSFER, UNDERPIN.REPLACE.

use super::args::{integer, is, natural};
use super::conn::Conn;
use super::errors::{SYNTAX, Wrong};
use super::kv::Context;
use super::slot::Want;
use super::{Resp, info};
use base::{Bytes, Incarnation, Index, NodeId, ReplicaId, ShardId};
use node::api::{Call, NodeStatus, ShardStatus, Status};
use wire::resp::Out;

type Plan = Result<(Call, Want), Wrong>;

/// What of a node's status a command shows.
#[derive(Debug)]
pub(super) enum Shown {
    /// Sections of INFO.
    Info(Vec<&'static str>),
    /// Everything, as a map.
    Map,
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
            Shown::Map => tree(status).write(out),
            Shown::Json => out.bulk(tree(status).json().as_bytes()),
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
    let voters = |shard: &ShardStatus| {
        shard.replicas.iter().filter(|(_, _, part, _)| *part == "voter").count()
    };
    let known = status.shards.iter().filter(|shard| shard.kind == "kv").map(voters).max();
    (known.filter(|count| *count > 0).unwrap_or(status.nodes.len()) / 2) as i64
}

/// UNDERPIN.STATUS [JSON | HASH]
pub(super) fn status(_: &mut Conn, _: &mut Resp, _: &Context, args: &[Bytes]) -> Plan {
    match &args[1..] {
        [] => Ok((Call::Status, Want::Status(Shown::Map))),
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
    Ok((Call::Transfer { shard: ShardId(natural(&args[1])?), to }, Want::Done))
}

/// UNDERPIN.REPLACE node incarnation, the latter in hexadecimal as it is shown everywhere.
pub(super) fn replace(_: &mut Conn, _: &mut Resp, _: &Context, args: &[Bytes]) -> Plan {
    let incarnation = std::str::from_utf8(&args[2])
        .ok()
        .and_then(|text| u64::from_str_radix(text, 16).ok())
        .ok_or("ERR an incarnation is a hexadecimal number of up to 16 digits")?;
    let node = NodeId(natural(&args[1])?);
    Ok((Call::NodeReplace { node, incarnation: Incarnation(incarnation) }, Want::Done))
}

/// A node's status as a tree, to be shown as a reply or as JSON. Numbers of 64 bits that are drawn at
/// random are texts, since many readers of JSON keep 53 bits only.
enum Tree {
    Text(String),
    Number(i64),
    Truth(bool),
    Nothing,
    List(Vec<Tree>),
    Map(Vec<(&'static str, Tree)>),
}

use Tree::{List, Map, Nothing, Number, Text, Truth};

fn number(number: u64) -> Tree {
    Number(i64::try_from(number).unwrap_or(i64::MAX))
}

fn tree(status: &Status) -> Tree {
    Map(vec![
        ("cluster", Text(status.cluster.to_string())),
        ("node", number(status.node.0)),
        ("incarnation", Text(status.incarnation.to_string())),
        ("version", Text(status.version.clone())),
        ("uptime_ms", number(status.uptime_ms)),
        ("disk_full", Truth(status.disk_full)),
        ("requests_waiting", number(status.requests_waiting)),
        ("memory_bytes", number(status.memory_bytes)),
        ("nodes", List(status.nodes.iter().map(tree_of_node).collect())),
        ("shards", List(status.shards.iter().map(tree_of_shard).collect())),
    ])
}

fn tree_of_node(node: &NodeStatus) -> Tree {
    Map(vec![
        ("node", number(node.node.0)),
        ("incarnation", Text(node.incarnation.to_string())),
        ("address", Text(node.address.clone())),
        ("client_address", Text(node.client_address.clone())),
        ("live", Truth(node.live)),
        ("clock_offset_ms", node.clock_offset_ms.map_or(Nothing, Number)),
    ])
}

fn tree_of_shard(shard: &ShardStatus) -> Tree {
    let replica = |(replica, node, part, matched): &(ReplicaId, NodeId, &'static str, Index)| {
        Map(vec![
            ("replica", number(replica.0)),
            ("node", number(node.0)),
            ("part", Text((*part).to_owned())),
            ("matched", number(matched.0)),
        ])
    };
    let hash = |(index, hash): (Index, u64)| {
        Map(vec![("index", number(index.0)), ("hash", Text(format!("{hash:016x}")))])
    };
    Map(vec![
        ("shard", number(shard.shard.0)),
        ("kind", Text(shard.kind.to_owned())),
        ("replica", number(shard.replica.0)),
        ("role", Text(shard.role.to_owned())),
        ("leader", shard.leader.map_or(Nothing, |leader| number(leader.0))),
        ("term", number(shard.term.0)),
        ("commit", number(shard.commit.0)),
        ("applied", number(shard.applied.0)),
        ("first", number(shard.first.0)),
        ("last", number(shard.last.0)),
        ("replicas", List(shard.replicas.iter().map(replica).collect())),
        ("hash", shard.hash.map_or(Nothing, hash)),
        ("snapshots_sent", number(shard.snapshots_sent)),
        ("snapshots_installed", number(shard.snapshots_installed)),
    ])
}

impl Tree {
    fn write(&self, out: &mut Out) {
        match self {
            Text(text) => out.bulk(text.as_bytes()),
            Number(number) => out.integer(*number),
            Truth(truth) => out.boolean(*truth),
            Nothing => out.null(),
            List(list) => {
                out.array(list.len());
                list.iter().for_each(|tree| tree.write(out));
            }
            Map(pairs) => {
                out.map(pairs.len());
                for (name, tree) in pairs {
                    out.bulk(name.as_bytes());
                    tree.write(out);
                }
            }
        }
    }

    fn json(&self) -> String {
        match self {
            Text(text) => quoted(text),
            Number(number) => number.to_string(),
            Truth(truth) => truth.to_string(),
            Nothing => "null".to_owned(),
            List(list) => {
                let items: Vec<String> = list.iter().map(Tree::json).collect();
                format!("[{}]", items.join(","))
            }
            Map(pairs) => {
                let pair = |(name, tree): &(&str, Tree)| format!("\"{name}\":{}", tree.json());
                let items: Vec<String> = pairs.iter().map(pair).collect();
                format!("{{{}}}", items.join(","))
            }
        }
    }
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
