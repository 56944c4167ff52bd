//! What strangers send, and what it costs: bounded memory, and nobody else notices.

#![allow(missing_docs)]

mod common;

use base::{ClusterId, Incarnation, NodeId, Random};
use bytes::BytesMut;
use common::{Client, Trio, until};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};
use underpin_runtime::{Bind, Limits, StartError, start};
use wire::peer::{Handshake, Hello, Kind, LinkKind, Step, frame};

fn peer_address(trio: &Trio, id: u64) -> SocketAddr {
    trio.servers[&NodeId(id)].peer_address()
}

/// Whether the other side closes the connection within `limit`.
fn closes(stream: &mut TcpStream, limit: Duration) -> bool {
    stream.set_read_timeout(Some(limit)).unwrap();
    let mut buffer = [0; 4096];
    let started = Instant::now();
    while started.elapsed() < limit {
        match stream.read(&mut buffer) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }
    false
}

#[test]
fn noise_on_the_peer_port_is_closed_and_the_cluster_goes_on() {
    let trio = Trio::start("noise");
    let mut client = trio.client(NodeId(1));
    client.ask_until("set k v", "[Done]");
    let mut random = Random::new(4);
    for _ in 0..50 {
        let mut stream = TcpStream::connect(peer_address(&trio, 1)).unwrap();
        let noise: Vec<u8> = (0..random.between(4, 3_000)).map(|_| random.u64() as u8).collect();
        let _ = stream.write_all(&noise);
        assert!(closes(&mut stream, Duration::from_secs(8)));
    }
    assert_eq!(client.ask("get k"), "v");
    assert_eq!(trio.servers[&NodeId(1)].metrics().links_up.get(), 4);
}

/// Dials node 1 as node 3, which it can prove: it knows the secret.
fn pretend(trio: &Trio) -> TcpStream {
    let mut stream = TcpStream::connect(peer_address(trio, 1)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(8))).unwrap();
    let hello = Hello {
        protocol: (1, 1),
        cluster: ClusterId(7),
        node: NodeId(3),
        incarnation: Incarnation(103),
        link: LinkKind::Bulk,
        nonce: [7; 32],
    };
    let (mut out, mut input) = (BytesMut::new(), BytesMut::new());
    let mut machine = Handshake::dial(hello, trio.secret(), NodeId(1), &mut out);
    loop {
        stream.write_all(&out.split()).unwrap();
        if let Some(frame) = frame::decode(&mut input, frame::HANDSHAKE_BODY_MAX).unwrap() {
            if machine.receive(frame, &mut out).unwrap() != Step::Waiting {
                machine.admit(&mut out);
                stream.write_all(&out).unwrap();
                return stream;
            }
            continue;
        }
        let mut bytes = [0; 2048];
        let count = stream.read(&mut bytes).unwrap();
        assert!(count > 0, "node 1 did not let node 3 in");
        input.extend_from_slice(&bytes[..count]);
    }
}

/// A peer of a version that does not go with ours, say: what it sends ends its links, each time, and
/// the real one's come back by themselves.
#[test]
fn a_peer_whose_message_can_not_be_read_loses_its_links_and_dials_again() {
    let trio = Trio::start("unreadable");
    let mut client = trio.client(NodeId(1));
    client.ask_until("set k v", "[Done]");
    until("all links", || trio.servers[&NodeId(3)].metrics().links_up.get() == 4);
    let metrics = trio.servers[&NodeId(1)].metrics();
    for times in 1..=3 {
        let mut stream = pretend(&trio);
        let mut message = BytesMut::new();
        frame::encode(Kind::Message, b"\xffno message", &mut message);
        stream.write_all(&message).unwrap();
        assert!(closes(&mut stream, Duration::from_secs(8)));
        assert_eq!(metrics.peer_messages_unreadable.get(), times);
    }
    until("the real links", || trio.servers[&NodeId(3)].metrics().links_up.get() == 4);
    client.ask_until("set k w", "[Done]");
    assert_eq!(client.ask("get k"), "w");
}

#[test]
fn silence_on_the_peer_port_is_bounded_in_number_and_time() {
    let limits = Limits { handshakes_max: 4, ..Limits::default() };
    let trio = Trio::start_with("silence", limits);
    let mut client = trio.client(NodeId(1));
    client.ask_until("set k v", "[Done]");
    until("all links", || trio.servers[&NodeId(1)].metrics().links_up.get() == 4);
    let mut silent: Vec<TcpStream> = Vec::new();
    for _ in 0..20 {
        silent.push(TcpStream::connect(peer_address(&trio, 1)).unwrap());
    }
    // Beyond the limit they are closed at once, the others when their time is over.
    let at_once = silent
        .iter_mut()
        .filter_map(|s| closes(s, Duration::from_millis(100)).then_some(()))
        .count();
    assert!(at_once >= 16, "{at_once} of 20 closed at once");
    for stream in &mut silent {
        assert!(closes(stream, Duration::from_secs(8)));
    }
    assert_eq!(client.ask("get k"), "v");
}

#[test]
fn a_client_that_never_reads_costs_a_bounded_amount_and_nobody_else_waits() {
    let limits = Limits { stall_ms: 1_500, ..Limits::default() };
    let trio = Trio::start_with("unread", limits);
    let mut other = trio.client(NodeId(1));
    other.ask_until("set k v", "[Done]");
    let mut greedy = trio.client(NodeId(1));
    greedy.stream.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    let mut sent = 0usize;
    let request = [b"flood 100000\n".as_slice(); 100].concat();
    while let Ok(bytes) = greedy.stream.write(&request) {
        sent += bytes;
        assert!(sent < 64 << 20, "the node reads on although nothing is taken from it");
    }
    for _ in 0..20 {
        assert_eq!(other.ask("get k"), "v");
    }
    // In the end the connection goes, with what it held.
    let metrics = trio.servers[&NodeId(1)].metrics();
    until("the stalled connection to go", || metrics.connections_stalled.get() == 1);
    until("its memory to go", || metrics.connections.get() == 1);
}

#[test]
fn an_unfinished_frame_is_bounded_in_size_and_time() {
    let limits = Limits { frame_bytes_max: 1 << 20, stall_ms: 1_000, ..Limits::default() };
    let trio = Trio::start_with("unfinished", limits);
    let mut endless = trio.client(NodeId(1));
    endless.stream.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    let metrics = trio.servers[&NodeId(1)].metrics();
    let mut sent = 0usize;
    while let Ok(bytes) = endless.stream.write(&[b'x'; 65536]) {
        sent += bytes;
        assert!(sent < 64 << 20, "the node reads an endless line");
        assert!(metrics.client_bytes_held.get() <= (1 << 20) + 65_536);
    }
    until("the stalled connection to go", || metrics.connections_stalled.get() == 1);
    until("its memory to go", || metrics.connections.get() == 0);
}

#[test]
fn large_frames_share_a_budget_and_all_get_through() {
    let limits = Limits { input_bytes_all: 2 << 20, ..Limits::default() };
    let trio = Trio::start_with("budget", limits);
    let address = trio.servers[&NodeId(1)].client_addresses()[0];
    let line = format!("size {}", "y".repeat(1 << 20));
    let workers: Vec<_> = (0..8)
        .map(|_| {
            let line = line.clone();
            std::thread::spawn(move || Client::connect(address).ask(&line))
        })
        .collect();
    for worker in workers {
        assert_eq!(worker.join().unwrap(), (1 << 20).to_string());
    }
}

#[test]
fn connections_beyond_the_limit_are_closed() {
    let limits = Limits { connections_max: 5, ..Limits::default() };
    let trio = Trio::start_with("many", limits);
    let mut kept: Vec<Client> = (0..5).map(|_| trio.client(NodeId(1))).collect();
    for client in &mut kept {
        assert_eq!(client.ask("echo a"), "a");
    }
    assert_eq!(trio.client(NodeId(1)).line(), "");
    kept.pop();
    until("a place", || {
        let mut client = trio.client(NodeId(1));
        let _ = client.stream.write_all(b"echo b\n");
        client.line() == "b"
    });
}

#[test]
fn half_closed_and_slow_clients_get_their_answers() {
    let trio = Trio::start("half");
    let mut client = trio.client(NodeId(1));
    client.ask_until("set k v", "[Done]");
    for byte in b"get k\n" {
        client.stream.write_all(&[*byte]).unwrap();
        std::thread::sleep(Duration::from_millis(2));
    }
    assert_eq!(client.line(), "v");
    client.send("get k\nget k");
    client.stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!((client.line(), client.line(), client.line()), ("v".into(), "v".into(), "".into()));
}

/// A few bytes ask for more than the gateway lets stand in its output, and there is no answer of the
/// node to wait for: what was taken must let it go on.
#[test]
fn requests_behind_a_full_output_are_served_once_it_is_taken() {
    let trio = Trio::start("behind");
    let mut client = trio.client(NodeId(1));
    client.send(&["flood 300000"; 20].join("\n"));
    for _ in 0..20 {
        assert_eq!(client.line().len(), 300_000);
    }
    client.ask_until("set k v", "[Done]");
}

#[test]
fn a_directory_in_use_and_one_that_is_none_are_refused_with_advice() {
    let trio = Trio::start("refused");
    let options = |directory: Option<&str>| {
        let mut options =
            trio.options(NodeId(1), Bind::Address("127.0.0.1:0".parse().unwrap()), trio.secret());
        if let Some(directory) = directory {
            options.data = trio.root.join(directory);
        }
        options
    };
    let refusal = |options| match start(options, |_| common::gateway()) {
        Err(StartError::Data { text, .. }) => text,
        other => panic!("{other:?}"),
    };
    let text = refusal(options(None));
    assert!(text.contains("another server runs on this directory"), "{text}");
    let text = refusal(options(Some("nowhere")));
    assert!(text.contains("underpin format"), "{text}");
    std::fs::create_dir(trio.root.join("empty")).unwrap();
    let text = refusal(options(Some("empty")));
    assert!(text.contains("underpin replace") || text.contains("underpin format"), "{text}");
}
