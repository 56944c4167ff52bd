//! As many connections as there may be, and one more.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread::sleep;
use std::time::Duration;
use underpin_e2e::cluster::{self, Cluster, Servers};
use underpin_e2e::resp::Conn;
use underpin_e2e::wait;

fn open(address: SocketAddr) -> Conn {
    let mut conn = Conn::open(address, wait::READY).unwrap();
    assert_eq!(conn.call(&["PING"]).unwrap().text(), "PONG");
    conn
}

/// All that the other side says until it closes.
fn last_words(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(wait::READY)).unwrap();
    let _ = stream.write_all(b"PING\r\n");
    let mut text = Vec::new();
    let _ = stream.read_to_end(&mut text);
    String::from_utf8_lossy(&text).into_owned()
}

/// A hundred descriptors, half of them kept for files and peers: the server says so when it starts,
/// and a client that finds no place is told so in the words that its library knows.
#[test]
fn a_client_too_many_is_told_so_and_the_others_go_on() {
    let mut servers = Servers::formatted(1);
    servers.start_with_descriptors(0, 100);
    let servers = servers.started();
    let address = servers.addresses()[0];
    let log = servers.process(0).unwrap().log();
    assert!(log.contains("room for 50 client connections of 10000"), "{log}");

    let mut inside: Vec<Conn> = (0..50).map(|_| open(address)).collect();
    for _ in 0..100 {
        assert_eq!(last_words(address), "-ERR max number of clients reached\r\n");
    }
    for conn in &mut inside {
        assert_eq!(conn.call(&["SET", "k", "v"]).unwrap().text(), "OK");
    }
    drop(inside.pop());
    wait::until("a place", wait::READY, || {
        Conn::open(address, wait::READY).ok()?.call(&["PING"]).ok().filter(|it| it.text() == "PONG")
    });
}

/// Descriptors can run out all the same. Then new clients wait at the door: the server neither ends
/// nor spins, those inside are served, and once there is a descriptor the next one comes in.
#[test]
fn without_a_descriptor_clients_wait_at_the_door_and_nothing_spins() {
    let servers = Servers::start(1);
    let address = servers.addresses()[0];
    let process = servers.process(0).unwrap();
    let mut inside = open(address);
    sleep(Duration::from_millis(300)); // Earlier clients are gone by then.
    let next = process.next_descriptor();
    process.limit_descriptors(next);

    let mut waiting = TcpStream::connect(address).unwrap();
    waiting.write_all(b"PING\r\n").unwrap();
    let from = process.busy_ms();
    for _ in 0..20 {
        assert!(inside.call(&["INCR", "n"]).unwrap().number().is_some());
        sleep(Duration::from_millis(100));
    }
    let busy_ms = process.busy_ms() - from;
    println!("{busy_ms} ms of processor time in 2 s at the limit");
    assert!(busy_ms < 1_000, "{busy_ms} ms of processor time in 2 s: it spins");
    waiting.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    assert!(waiting.read(&mut [0; 16]).is_err(), "somebody served it without a descriptor");

    process.limit_descriptors(next + 8);
    waiting.set_read_timeout(Some(wait::READY)).unwrap();
    let mut pong = [0; 7];
    waiting.read_exact(&mut pong).unwrap();
    assert_eq!(&pong, b"+PONG\r\n");
    let told = process.log().matches("could not be accepted").count();
    assert_eq!(told, 1, "{}", process.log());
}

/// Behind a port mapping, or on all interfaces, a node can't know under which address it is reached.
#[test]
fn status_tells_the_address_that_clients_should_use() {
    let servers = Servers::formatted(1).set("listen.resp_advertised=db1.example:7000").started();
    wait::until("the advertised address", wait::READY, || {
        let status = cluster::status(servers.addresses()[0])?;
        (status["nodes"][0]["client_address"] == "db1.example:7000").then_some(())
    });
}
