//! Clients' connections: RESP bytes in both directions, in order, until one end is gone.

use super::hosts::HostInput;
use super::{Event, World};
use crate::marks::Mark;
use crate::mutant::Mutant;
use crate::trace::Line;
use crate::workload::{Outcome, encode};
use base::time::MILLISECOND;
use base::{Bytes, ConnId};
use node::api::Gateway;
use std::collections::BTreeMap;
use wire::resp::Value;

/// One connection.
#[derive(Debug)]
pub struct Socket {
    client: usize,
    host: usize,
    life: u64,
    /// The host knows of it.
    opened: bool,
    pub to_host_at: u64,
    pub to_client_at: u64,
    /// The beginning of a request that never comes whole, since the connection breaks within it.
    pub half_request: Bytes,
    /// Nothing more reaches the client.
    pub broken: bool,
}

/// All of them.
#[derive(Debug, Default)]
pub struct Sockets {
    all: BTreeMap<ConnId, Socket>,
    next: u64,
}

impl Sockets {
    /// The one of this connection, while it is held.
    pub fn of(&mut self, conn: ConnId) -> Option<&mut Socket> {
        self.all.get_mut(&conn)
    }
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
        if client.waiting > 0 {
            self.hit(Mark::ClientGaveUp);
            self.left_open(number);
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
                let mut frames = vec![encode(&command)];
                while let Some(command) = client.work.behind(self.now, &mut client.random) {
                    frames.push(encode(&command));
                }
                self.request(number, &frames);
            }
            None => self.think(number),
        }
    }

    /// What has no answer yet will get none.
    fn left_open(&mut self, number: usize) {
        let client = &mut self.clients[number];
        let (open, sent) = (std::mem::take(&mut client.waiting), client.sent);
        client.leaves = false;
        for _ in 0..open {
            client.work.outcome(self.now, Outcome::Unknown);
        }
        self.totals.outcomes[2] += open as u64;
        if 0 < open && open < sent {
            self.hit(Mark::PipelineCut);
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
            half_request: Bytes::new(),
            broken: false,
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

    fn request(&mut self, number: usize, frames: &[Bytes]) {
        let bytes = Bytes::from(frames.concat());
        let latency = self.client_latency();
        let client = &mut self.clients[number];
        let conn = client.conn.expect("connected just before");
        (client.waiting, client.sent) = (frames.len(), frames.len());
        let step = client.step;
        let socket = self.sockets.all.get_mut(&conn).expect("a connection that is held");
        let at = (self.now + latency).max(socket.to_host_at + 1);
        socket.to_host_at = at;
        let node = socket.host as u64 + 1;
        self.trace.mix([self.now, number as u64, node, 7]);
        self.trace.mix_bytes(&bytes);
        self.note(Line::Client { client: number, node, reply: false, bytes: bytes.clone() });
        if frames.len() > 1 {
            self.hit(Mark::Pipelined);
        }
        if self.random.clients.chance(1, 150) && !self.peace {
            // The connection breaks on the way there, or the answer's on the way back.
            let lost = self.random.clients.below(30 * MILLISECOND);
            self.after(lost, Event::Hangup { conn });
            if self.random.clients.chance(1, 2) {
                self.at(at, Event::ToHost { conn, bytes });
            }
        } else {
            self.carry_to_host(conn, at, frames);
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
            if let Some(left) = self.hosts[host].half_request.take() {
                self.give(host, HostInput::Bytes(conn, left));
            }
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
            if socket.broken {
                continue;
            }
            let at = (self.now + latency).max(socket.to_client_at + 1);
            socket.to_client_at = at;
            if !bytes.is_empty() {
                self.carry_to_client(conn, at, bytes);
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
        self.clients[number].replies.push(&bytes);
        let mut answered = 0;
        while self.sockets.all.contains_key(&conn) && self.violation.is_none() {
            match self.clients[number].replies.next_reply() {
                Ok(Some(reply)) => self.answered(number, reply),
                Ok(None) => break,
                Err(error) => return self.violated(format!("client {number} was sent {error}")),
            }
            answered += 1;
        }
        if answered > 1 {
            self.hit(Mark::PipelineAtOnce);
        }
    }

    /// A client got the next of the answers that it waits for.
    fn answered(&mut self, number: usize, reply: Value) {
        let client = &mut self.clients[number];
        let Some(waiting) = client.waiting.checked_sub(1) else {
            return self.violated(format!("client {number} got an answer it did not ask for"));
        };
        client.waiting = waiting;
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
        let client = &mut self.clients[number];
        client.leaves |= which > 0 && client.random.chance(1, 2);
        client.work.outcome(self.now, outcome);
        if let Some(wrong) = client.work.wrong() {
            return self.violated(format!("client {number}: {wrong}"));
        }
        if waiting == 0 {
            client.step += 1;
            if std::mem::take(&mut client.leaves) {
                self.leave(number);
            }
            self.think(number);
        }
    }

    /// The client's end of the connection is gone.
    pub(super) fn hangup(&mut self, conn: ConnId) {
        let Some(socket) = self.sockets.all.get(&conn) else { return };
        let number = socket.client;
        let (host, half) = (socket.host, socket.half_request.clone());
        if !half.is_empty() && socket.opened && self.hosts[host].life == socket.life {
            self.hit(Mark::ConnCutInRequest);
            self.hosts[host].half_request =
                Some(half).filter(|_| self.mutant == Some(Mutant::KeepsHalfRequest));
        }
        if self.clients[number].replies.is_partial() {
            self.hit(Mark::ConnCutInReply);
        }
        self.leave(number);
        self.clients[number].step += 1;
        self.left_open(number);
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
