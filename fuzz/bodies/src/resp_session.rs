//! Redis clients in front of a whole gateway, with a shard behind it that does what they ask for.

use crate::bytes::Choices;
use crate::host::Host;
use base::{Bytes, ConnId};
use gateway::resp::Options;
use std::collections::BTreeMap;
use wire::resp::Replies;

/// What one client has received.
#[derive(Default)]
struct Client {
    replies: Replies,
    count: u64,
    errors: u64,
}

/// Some clients send arbitrary bytes in arbitrary pieces, time passes, answers come when they come.
/// Whatever the gateway writes must be readable by our own client.
pub fn body(data: &[u8]) -> bool {
    let mut choices = Choices::new(data);
    let password = (choices.byte() % 8 == 7).then(|| Bytes::from_static(b"p"));
    let mut host = Host::new(Options { password, ..Options::default() });
    let mut clients: BTreeMap<ConnId, Client> = BTreeMap::new();
    let mut conn = ConnId(1);
    let mut answered = false;
    let connect = |host: &mut Host, clients: &mut BTreeMap<ConnId, Client>, conn| {
        if clients.insert(conn, Client::default()).is_none() {
            host.open(conn);
        }
    };
    connect(&mut host, &mut clients, conn);
    while !choices.is_over() {
        match choices.byte() {
            count @ 0..=239 => host.send(conn, choices.take(usize::from(count) + 1)),
            240..=243 => {
                conn = ConnId(1 + u64::from(choices.byte() % 3));
                connect(&mut host, &mut clients, conn);
            }
            244..=246 => host.advance(choices.number() % 100_000_000_000),
            247 => {
                host.close(conn);
                clients.remove(&conn);
                connect(&mut host, &mut clients, conn);
            }
            _ => answered |= listen(&mut host, &mut clients),
        }
    }
    listen(&mut host, &mut clients) || answered
}

/// Answers what waits and reads all that was written; whether some of it was no error.
fn listen(host: &mut Host, clients: &mut BTreeMap<ConnId, Client>) -> bool {
    host.work();
    for (conn, client) in clients.iter_mut() {
        client.replies.push(&host.received(*conn));
        loop {
            match client.replies.next_reply() {
                Ok(Some(value)) => {
                    client.count += 1;
                    client.errors += u64::from(matches!(value, wire::resp::Value::Error(_)));
                }
                Ok(None) => break,
                Err(error) => panic!("the gateway wrote what no client can read: {error}"),
            }
        }
    }
    clients.values().any(|client| client.count > client.errors)
}
