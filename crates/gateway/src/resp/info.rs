//! INFO: how this node is, in the form that monitoring of Redis reads.
//!
//! Fields have the names that Redis gives them where the meaning is the same, and are left out where
//! there is none. Underpin's own come in a section of their own.

use super::Resp;
use super::local::REDIS_VERSION;
use base::Bytes;
use node::api::Status;
use std::fmt::Write;

type Section = (&'static str, fn(&Status, &Resp, &mut String));

const SECTIONS: [Section; 7] = [
    ("Server", server),
    ("Clients", clients),
    ("Memory", memory),
    ("Persistence", persistence),
    ("Stats", stats),
    ("Replication", replication),
    ("Underpin", underpin),
];

/// The sections that the arguments of INFO name; all of them if there are none.
pub(super) fn sections(args: &[Bytes]) -> Vec<&'static str> {
    let all = ["all", "default", "everything"];
    let every =
        args.is_empty() || args.iter().any(|arg| all.iter().any(|word| super::args::is(arg, word)));
    SECTIONS
        .iter()
        .map(|(name, _)| *name)
        .filter(|name| every || args.iter().any(|arg| arg.eq_ignore_ascii_case(name.as_bytes())))
        .collect()
}

/// The text of those sections.
pub(super) fn text(wanted: &[&str], status: &Status, resp: &Resp) -> String {
    let mut text = String::new();
    for (name, write) in SECTIONS.iter().filter(|(name, _)| wanted.contains(name)) {
        if !text.is_empty() {
            text.push_str("\r\n");
        }
        line(&mut text, format_args!("# {name}"));
        write(status, resp, &mut text);
    }
    text
}

fn line(text: &mut String, content: std::fmt::Arguments) {
    let written = text.write_fmt(content);
    assert!(written.is_ok());
    text.push_str("\r\n");
}

fn server(status: &Status, resp: &Resp, text: &mut String) {
    let seconds = status.uptime_ms / 1000;
    line(text, format_args!("redis_version:{REDIS_VERSION}"));
    line(text, format_args!("redis_mode:standalone"));
    line(text, format_args!("underpin_version:{}", resp.options.version));
    line(text, format_args!("arch_bits:{}", usize::BITS));
    line(text, format_args!("run_id:{:016x}{:024x}", status.incarnation.0, status.node.0));
    line(text, format_args!("tcp_port:{}", resp.options.port));
    line(text, format_args!("uptime_in_seconds:{seconds}"));
    line(text, format_args!("uptime_in_days:{}", seconds / 86_400));
}

fn clients(_: &Status, resp: &Resp, text: &mut String) {
    line(text, format_args!("connected_clients:{}", resp.conns.len()));
    line(text, format_args!("maxclients:{}", resp.options.connections_max));
    line(text, format_args!("blocked_clients:0"));
}

fn memory(status: &Status, _: &Resp, text: &mut String) {
    line(text, format_args!("used_memory:{}", status.memory_bytes));
    line(text, format_args!("maxmemory:0"));
    line(text, format_args!("maxmemory_policy:noeviction"));
}

fn persistence(status: &Status, _: &Resp, text: &mut String) {
    let last = if status.disk_full { "err" } else { "ok" };
    line(text, format_args!("loading:0"));
    line(text, format_args!("aof_enabled:1"));
    line(text, format_args!("aof_last_write_status:{last}"));
}

fn stats(_: &Status, resp: &Resp, text: &mut String) {
    line(text, format_args!("total_connections_received:{}", resp.stats.connections));
    line(text, format_args!("total_commands_processed:{}", resp.stats.commands));
    line(text, format_args!("total_error_replies:{}", resp.stats.errors));
    line(text, format_args!("evicted_clients:{}", resp.stats.evicted));
}

/// Every node takes writes, so every node calls itself a master.
fn replication(status: &Status, _: &Resp, text: &mut String) {
    let others = status.nodes.iter().filter(|node| node.node != status.node && node.live).count();
    line(text, format_args!("role:master"));
    line(text, format_args!("connected_slaves:{others}"));
}

fn underpin(status: &Status, _: &Resp, text: &mut String) {
    line(text, format_args!("cluster:{}", status.cluster));
    line(text, format_args!("node:{}", status.node.0));
    line(text, format_args!("incarnation:{}", status.incarnation));
    line(text, format_args!("disk_full:{}", u8::from(status.disk_full)));
    line(text, format_args!("requests_waiting:{}", status.requests_waiting));
    for node in &status.nodes {
        let (id, live) = (node.node.0, u8::from(node.live));
        line(text, format_args!("node{id}:address={},live={live}", node.address));
    }
    for shard in &status.shards {
        let leader = shard.leader.map_or(0, |leader| leader.0);
        line(
            text,
            format_args!(
                "shard{}:kind={},role={},leader={leader},term={},commit={},applied={}",
                shard.shard.0, shard.kind, shard.role, shard.term, shard.commit, shard.applied
            ),
        );
    }
}
