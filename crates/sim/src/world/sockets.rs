//! Clients' connections: RESP bytes in both directions, in order, until one end is gone.

use super::hosts::HostInput;
use super::{Event, World};
use crate::marks::Mark;
use crate::trace::Line;
use crate::workload::{Outcome, encode};
use base::time::MILLISECOND;
use base::{Bytes, ConnId};
use node::api::Gateway;
use std::collections::BTreeMap;

/// One connection.
#[derive(Debug)]
struct Socket {
    client: usize,
    host: usize,
    life: u64,
    /// The host knows of it.
    opened: bool,
    to_host_at: u64,
    to_client_at: u64,
}

/// All of them.
#[derive(Debug, Default)]
pub struct Sockets {
    all: BTreeMap<ConnId, Socket>,
    next: u64,
}

impl World<'_> {
    fn client_latency(&mut self) -> u64 {
        let base = self.profile.latency_ns;
        base / 2 + self.random.clients.below(base + 1)
    }

    /// A client goes on: sends its next request, or gives up waiting for the answer.
    pub(super) fn client_step(&mut self, number: usize, step: u64) {
        let client = &mut self.clients[number];
        if client.step != step {
            return;
        }
        client.step += 1;
        if client.waiting {
            client.waiting = false;
            self.totals.outcomes[2] += 1;
            self.hit(Mark::ClientGaveUp);
            self.clients[number].work.outcome(self.now, Outcome::Unknown);
            self.leave(number);
            return self.think(number);
        }
        if client.rests() && !self.peace || client.conn.is_none() && !self.reach(number) {
            return self.think(number);
        }
        let client = &mut self.clients[number];
        match client.work.next(self.now, self.peace, &mut client.random) {
            Some(command) => {
                client.made += u64::from(!self.peace);
                self.request(number, &command);
            }
            None => self.think(number),
        }
    }

    fn think(&mut self, number: usize) {
        let client = &mut self.clients[number];
        let pause = client.work.pause(&mut client.random, self.profile.think_ns_max);
        let step = client.step;
        self.after(pause, Event::Client { client: number, step });
    }

    /// Connects to some node; whether it is up.
    fn reach(&mut self, number: usize) -> bool {
        let nodes = self.hosts.len() as u64;
        let client = &mut self.clients[number];
        let host = client.pinned.unwrap_or_else(|| client.random.below(nodes) as usize);
        if !self.hosts[host].up() {
            return false;
        }
        self.sockets.next += 1;
        let conn = ConnId(self.sockets.next);
        let socket = Socket {
            client: number,
            host,
            life: self.hosts[host].life,
            opened: false,
            to_host_at: 0,
            to_client_at: 0,
        };
        self.sockets.all.insert(conn, socket);
        self.clients[number].connected(conn);
        true
    }

    /// The client closes its connection.
    fn leave(&mut self, number: usize) {
        let Some(conn) = self.clients[number].conn.take() else { return };
        if let Some(socket) = self.sockets.all.remove(&conn)
            && socket.opened
            && self.hosts[socket.host].life == socket.life
        {
            self.give(socket.host, HostInput::Close(conn));
        }
    }

    fn request(&mut self, number: usize, command: &[Bytes]) {
        let bytes = encode(command);
        let latency = self.client_latency();
        let client = &mut self.clients[number];
        let conn = client.conn.expect("connected just before");
        client.waiting = true;
        let step = client.step;
        let socket = self.sockets.all.get_mut(&conn).expect("a connection that is held");
        let at = (self.now + latency).max(socket.to_host_at + 1);
        socket.to_host_at = at;
        let node = socket.host as u64 + 1;
        self.trace.mix([self.now, number as u64, node, 7]);
        self.trace.mix_bytes(&bytes);
        self.note(Line::Client { client: number, node, reply: false, bytes: bytes.clone() });
        if self.random.clients.chance(1, 150) && !self.peace {
            // The connection breaks on the way there, or the answer's on the way back.
            let lost = self.random.clients.below(30 * MILLISECOND);
            self.after(lost, Event::Hangup { conn });
            if self.random.clients.chance(1, 2) {
                self.at(at, Event::ToHost { conn, bytes });
            }
        } else {
            self.at(at, Event::ToHost { conn, bytes });
        }
        self.after(self.profile.patience_ns, Event::Client { client: number, step });
    }

    pub(super) fn reach_host(&mut self, conn: ConnId, bytes: Bytes) {
        let Some(socket) = self.sockets.all.get_mut(&conn) else { return };
        let host = socket.host;
        if self.hosts[host].life != socket.life {
            return;
        }
        if !std::mem::replace(&mut socket.opened, true) {
            self.give(host, HostInput::Open(conn));
        }
        self.give(host, HostInput::Bytes(conn, bytes));
    }

    /// Takes what a host's gateway has for its clients.
    pub(super) fn write_sockets(&mut self, number: usize) {
        if !self.hosts[number].up() {
            return;
        }
        for conn in self.hosts[number].gateway.touched() {
            let gateway = &mut self.hosts[number].gateway;
            let Some(output) = gateway.output(conn) else { continue };
            let bytes = output.split().freeze();
            let closing = gateway.closing(conn);
            let latency = self.client_latency();
            let Some(socket) = self.sockets.all.get_mut(&conn) else { continue };
            let at = (self.now + latency).max(socket.to_client_at + 1);
            socket.to_client_at = at;
            if !bytes.is_empty() {
                self.at(at, Event::ToClient { conn, bytes });
            }
            if closing {
                self.at(at, Event::Hangup { conn });
            }
        }
    }

    pub(super) fn reach_client(&mut self, conn: ConnId, bytes: Bytes) {
        let Some(socket) = self.sockets.all.get(&conn) else { return };
        let (number, node) = (socket.client, socket.host as u64 + 1);
        self.trace.mix([self.now, number as u64, node, 8]);
        self.trace.mix_bytes(&bytes);
        self.note(Line::Client { client: number, node, reply: true, bytes: bytes.clone() });
        let client = &mut self.clients[number];
        client.replies.push(&bytes);
        let reply = match client.replies.next_reply() {
            Ok(Some(reply)) => reply,
            Ok(None) => return,
            Err(error) => return self.violated(format!("client {number} was sent {error}")),
        };
        if !std::mem::take(&mut client.waiting) {
            return self.violated(format!("client {number} got an answer it did not ask for"));
        }
        client.step += 1;
        let outcome = Outcome::of(reply);
        let which = match &outcome {
            Outcome::Reply(_) => 0,
            Outcome::NotDone => 1,
            Outcome::Unknown => 2,
        };
        self.totals.outcomes[which] += 1;
        match which {
            1 => self.hit(Mark::NotDoneAnswered),
            2 => self.hit(Mark::UnknownAnswered),
            _ => {}
        }
        let leaves = which > 0 && self.clients[number].random.chance(1, 2);
        self.clients[number].work.outcome(self.now, outcome);
        if let Some(wrong) = self.clients[number].work.wrong() {
            return self.violated(format!("client {number}: {wrong}"));
        }
        if leaves {
            self.leave(number);
        }
        self.think(number);
    }

    /// The client's end of the connection is gone.
    pub(super) fn hangup(&mut self, conn: ConnId) {
        let Some(socket) = self.sockets.all.get(&conn) else { return };
        let number = socket.client;
        let waited = std::mem::take(&mut self.clients[number].waiting);
        self.leave(number);
        self.clients[number].step += 1;
        if waited {
            self.totals.outcomes[2] += 1;
            self.clients[number].work.outcome(self.now, Outcome::Unknown);
        }
        self.think(number);
    }

    pub(super) fn sockets_of_the_dead(&mut self, host: usize) {
        let dead: Vec<ConnId> = self
            .sockets
            .all
            .iter()
            .filter(|(_, socket)| socket.host == host)
            .map(|(conn, _)| *conn)
            .collect();
        for conn in dead {
            let latency = self.client_latency();
            self.after(latency, Event::Hangup { conn });
        }
    }
}
