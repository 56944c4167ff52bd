//! `underpin status`: how the cluster is, as one of its nodes sees it.

use crate::cli::Done;
use crate::connect::Connect;
use crate::report::{Exit, Failed, put};
use crate::table::Table;
use client::Command;
use serde_json::Value;

/// Show how the cluster is, as one of its nodes sees it
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A table for people, or the node's whole answer for programs
    #[arg(short, long, value_enum, default_value = "table")]
    output: Output,
    #[command(flatten)]
    connect: Connect,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    Table,
    Json,
}

/// Carries it out.
pub fn run(args: &Args) -> Done {
    let mut client = args.connect.client(0)?;
    let answer = client.call(&Command::read(["UNDERPIN.STATUS", "JSON"])).map_err(Failed::call)?;
    let odd = || Failed::new(Exit::Usage, format!("{} is not an Underpin node", client.endpoint()));
    let status: Value =
        answer.text().and_then(|text| serde_json::from_str(text).ok()).ok_or_else(odd)?;
    match args.output {
        Output::Json => put(&status.to_string()),
        Output::Table => put(text(&status).trim_end()),
    }
}

/// The status as text.
fn text(status: &Value) -> String {
    let mut out = format!(
        "Cluster  {}   seen from n{}, version {}, up {}\n",
        word(&status["cluster"]),
        status["node"],
        word(&status["version"]),
        duration(status["uptime_ms"].as_u64().unwrap_or_default()),
    );
    if status["disk_full"] == true {
        out.push_str("Disk     full: writes are refused until some is free\n");
    }
    out.push_str(&format!(
        "Waiting  {} requests   Memory  {} MiB\n\n",
        status["requests_waiting"],
        status["memory_bytes"].as_u64().unwrap_or_default() >> 20,
    ));
    out.push_str(&nodes(status).text());
    out.push('\n');
    out.push_str(&shards(status).text());
    out.push_str(&replicas(status));
    out
}

fn nodes(status: &Value) -> Table {
    let mut table = Table::new(["NODE", "STATE", "CLIENTS", "PEERS", "INCARNATION", "CLOCK"]);
    for node in list(&status["nodes"]) {
        let clock = match (node["clock_offset_ms"].as_i64(), node["node"] == status["node"]) {
            (_, true) => "here".to_owned(),
            (Some(offset), _) => format!("{offset:+} ms"),
            (None, _) => "?".to_owned(),
        };
        table.row([
            format!("n{}", node["node"]),
            if node["live"] == true { "live".into() } else { "down".into() },
            word(&node["client_address"]),
            word(&node["address"]),
            word(&node["incarnation"]),
            clock,
        ]);
    }
    table
}

fn shards(status: &Value) -> Table {
    let mut table = Table::new(["SHARD", "KIND", "LEADER", "TERM", "COMMIT", "APPLIED", "HERE"]);
    for shard in list(&status["shards"]) {
        let leader = match shard["leader"].as_u64() {
            Some(leader) => format!("n{leader}"),
            None => "none".to_owned(),
        };
        table.row([
            format!("s{}", shard["shard"]),
            word(&shard["kind"]),
            leader,
            shard["term"].to_string(),
            shard["commit"].to_string(),
            shard["applied"].to_string(),
            word(&shard["role"]),
        ]);
    }
    table
}

/// What a leader knows of its followers.
fn replicas(status: &Value) -> String {
    let mut table = Table::new(["SHARD", "REPLICA", "NODE", "PART", "MATCHED", "BEHIND"]);
    for shard in list(&status["shards"]) {
        let last = shard["last"].as_u64().unwrap_or_default();
        for replica in list(&shard["replicas"]) {
            let matched = replica["matched"].as_u64().unwrap_or_default();
            table.row([
                format!("s{}", shard["shard"]),
                format!("r{}", replica["replica"]),
                format!("n{}", replica["node"]),
                word(&replica["part"]),
                matched.to_string(),
                last.saturating_sub(matched).to_string(),
            ]);
        }
    }
    if table.is_empty() { String::new() } else { format!("\n{}", table.text()) }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn word(value: &Value) -> String {
    match value.as_str() {
        Some("") | None => "-".to_owned(),
        Some(text) => text.to_owned(),
    }
}

/// The two largest units that say how long it is.
fn duration(ms: u64) -> String {
    let seconds = ms / 1_000;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_status_reads_like_this() {
        let status = json!({
            "cluster": "000102030405060708090a0b0c0d0e0f", "node": 1, "incarnation": "00000000000000aa",
            "version": "0.1.0", "uptime_ms": 61_000, "disk_full": false, "requests_waiting": 0,
            "memory_bytes": 3 << 20,
            "nodes": [
                { "node": 1, "incarnation": "00000000000000aa", "address": "127.0.0.1:7400",
                  "client_address": "127.0.0.1:6379", "live": true, "clock_offset_ms": null },
                { "node": 2, "incarnation": "00000000000000bb", "address": "127.0.0.1:7401",
                  "client_address": "", "live": false, "clock_offset_ms": -12 },
            ],
            "shards": [
                { "shard": 1, "kind": "kv", "replica": 1, "role": "leader", "leader": 1, "term": 3,
                  "commit": 90, "applied": 90, "first": 1, "last": 91, "hash": null,
                  "replicas": [
                      { "replica": 1, "node": 1, "part": "voter", "matched": 91 },
                      { "replica": 2, "node": 2, "part": "voter", "matched": 40 },
                  ] },
            ],
        });
        let expected = "\
Cluster  000102030405060708090a0b0c0d0e0f   seen from n1, version 0.1.0, up 1 min 1 s
Waiting  0 requests   Memory  3 MiB

NODE  STATE  CLIENTS         PEERS           INCARNATION       CLOCK
n1    live   127.0.0.1:6379  127.0.0.1:7400  00000000000000aa  here
n2    down   -               127.0.0.1:7401  00000000000000bb  -12 ms

SHARD  KIND  LEADER  TERM  COMMIT  APPLIED  HERE
s1     kv    n1      3     90      90       leader

SHARD  REPLICA  NODE  PART   MATCHED  BEHIND
s1     r1       n1    voter  91       0
s1     r2       n2    voter  40       51
";
        assert_eq!(text(&status), expected);
    }
}
