//! Three nodes in one process, on real sockets and files.

#![allow(missing_docs)]

mod common;

use base::NodeId;
use common::{Trio, until};
use node::api::{Call, Consistency, Reply};
use std::time::Duration;
use underpin_runtime::Exit;

#[test]
fn every_node_serves_every_key() {
    let trio = Trio::start("serve");
    let mut clients: Vec<_> = (1..=3).map(|id| trio.client(NodeId(id))).collect();
    for (at, client) in clients.iter_mut().enumerate() {
        client.ask_until(&format!("set k{at} v{at}"), "[Done]");
    }
    for client in &mut clients {
        for at in 0..3 {
            assert_eq!(client.ask(&format!("get k{at}")), format!("v{at}"));
        }
    }
    let metrics = trio.servers[&trio.leader()].metrics();
    assert!(metrics.log_syncs.get() > 0);
    assert!(metrics.turn.count() > 0);
    assert_eq!(metrics.links_up.get(), 4);
}

#[test]
fn a_pipeline_is_answered_in_order_and_shares_syncs() {
    let trio = Trio::start("pipeline");
    let mut client = trio.client(trio.leader());
    client.ask_until("set k 0", "[Done]");
    let metrics = trio.servers[&trio.leader()].metrics();
    let before = metrics.log_syncs.get();
    let lines: String = (0..500).map(|n| format!("set k{n} {n}\nget k{n}\n")).collect();
    client.send(lines.trim_end());
    for n in 0..500 {
        assert_eq!(client.line(), "[Done]");
        assert_eq!(client.line(), n.to_string());
    }
    let syncs = metrics.log_syncs.get() - before;
    assert!(syncs < 500, "{syncs} syncs for 500 writes that came together");
}

#[test]
fn a_killed_leader_is_replaced_and_comes_back_with_everything() {
    let mut trio = Trio::start("kill");
    let leader = trio.leader();
    let other = NodeId(leader.0 % 3 + 1);
    let mut client = trio.client(other);
    for n in 0..50 {
        client.ask_until(&format!("set k{n} v{n}"), "[Done]");
    }
    let killed = trio.servers.remove(&leader).unwrap();
    killed.kill();
    assert_eq!(killed.wait(), Exit::Killed);
    client.ask_until("set after kill", "[Done]");
    trio.restart(leader);
    let mut back = trio.client(leader);
    back.ask_until("get after", "kill");
    for n in 0..50 {
        assert_eq!(back.ask(&format!("get k{n}")), format!("v{n}"));
    }
}

#[test]
fn all_killed_at_once_come_back_with_everything() {
    let mut trio = Trio::start("all");
    let mut client = trio.client(NodeId(1));
    for n in 0..50 {
        client.ask_until(&format!("set k{n} v{n}"), "[Done]");
    }
    for server in trio.servers.values() {
        server.kill();
    }
    trio.servers.clear();
    for id in 1..=3 {
        trio.restart(NodeId(id));
    }
    let mut client = trio.client(NodeId(2));
    client.ask_until("get k0", "v0");
    for n in 0..50 {
        assert_eq!(client.ask(&format!("get k{n}")), format!("v{n}"));
    }
}

#[test]
fn a_leader_that_is_stopped_hands_over() {
    let mut trio = Trio::start("stop");
    let leader = trio.leader();
    let mut client = trio.client(NodeId(leader.0 % 3 + 1));
    client.ask_until("set k v", "[Done]");
    let server = trio.servers.remove(&leader).unwrap();
    assert_eq!(server.stop(), Exit::Stopped);
    client.ask_until("get k", "v");
}

#[test]
fn a_node_with_another_secret_is_not_let_in_and_says_why() {
    let mut trio = Trio::start("secret");
    let mut client = trio.client(NodeId(1));
    client.ask_until("set k v", "[Done]");
    trio.servers.remove(&NodeId(3)).unwrap().kill();
    trio.restart_with(NodeId(3), underpin_runtime::Secret::from_text("something else"));
    let stranger = trio.servers[&NodeId(3)].cluster();
    until("a refusal", || {
        stranger.links().iter().any(|link| link.trouble.contains("same cluster secret"))
    });
    assert!(stranger.links().iter().all(|link| !link.up));
    assert_eq!(client.ask("get k"), "v");
}

#[test]
fn the_cluster_handle_reaches_the_node() {
    let trio = Trio::start("handle");
    let cluster = trio.servers[&NodeId(2)].cluster();
    trio.leader();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let reply =
        runtime.block_on(cluster.call(Call::Status, Consistency::Eventual, Duration::from_secs(5)));
    assert!(matches!(reply, Ok(Reply::Status(status)) if status.node == NodeId(2)));
    let status = runtime.block_on(cluster.status(Duration::from_secs(5))).unwrap();
    assert_eq!(status.shards.len(), 2);
    trio.servers[&NodeId(2)].kill();
    let reply =
        runtime.block_on(cluster.call(Call::Status, Consistency::Eventual, Duration::from_secs(5)));
    assert!(reply.is_err());
}
