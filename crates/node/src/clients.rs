//! Requests of this node's own connections, from arrival to answer.
//!
//! Each connection has a queue; a turn takes from the queues in round-robin, so that a connection
//! with a deep pipeline does not starve the others. A request taken up is *in flight* until its last
//! answer, wherever it is dealt with; what is known of its progress decides what its client is told
//! when time runs out or a link breaks: "not done" if it can't have reached a log, else "unknown".

use crate::api::Request;
use base::{ConnId, Failure, Mono, NodeId, NotDone, ShardId};
use std::collections::{BTreeMap, VecDeque};

/// Where a request in flight is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// On this node, not in a log: waiting for a leader, or a read.
    Here,
    /// In this node's log or on the way there.
    Logged,
    /// On its way to another node, which may log it.
    Sent {
        /// The node.
        to: NodeId,
        /// The shard that it leads, or led.
        shard: ShardId,
        /// Whether it may change something there.
        writes: bool,
    },
}

#[derive(Debug)]
struct InFlight {
    deadline: Mono,
    place: Place,
    /// What was sent to another node, to be sent elsewhere if that one did not take it.
    sent: Option<Request>,
}

#[derive(Debug, Default)]
struct Client {
    queue: VecDeque<Request>,
    in_flight: BTreeMap<u64, InFlight>,
}

/// All connections of a node.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    clients: BTreeMap<ConnId, Client>,
    /// Connections with queued requests, next first.
    ready: VecDeque<ConnId>,
    waiting: usize,
}

impl Clients {
    /// A request arrived.
    pub fn enqueue(&mut self, request: Request) {
        let client = self.clients.entry(request.conn).or_default();
        if client.queue.is_empty() {
            self.ready.push_back(request.conn);
        }
        client.queue.push_back(request);
        self.waiting += 1;
    }

    /// Requests queued or in flight.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// Whether requests are queued.
    pub fn has_queued(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Takes up the next few requests of the connection whose turn it is; they are in flight now.
    pub fn take(&mut self, most: usize, out: &mut Vec<Request>) -> usize {
        let Some(conn) = self.ready.pop_front() else { return 0 };
        let client = self.clients.get_mut(&conn).expect("a ready connection is known");
        let taken = client.queue.len().min(most);
        for request in client.queue.drain(..taken) {
            let flight = InFlight { deadline: request.deadline, place: Place::Here, sent: None };
            let before = client.in_flight.insert(request.seq, flight);
            assert!(before.is_none(), "{conn} used request number {} twice", request.seq);
            out.push(request);
        }
        if !client.queue.is_empty() {
            self.ready.push_back(conn);
        }
        taken
    }

    /// Notes where a request went.
    pub fn place(&mut self, conn: ConnId, seq: u64, place: Place) {
        if let Some(flight) = self.in_flight(conn, seq) {
            flight.place = place;
        }
    }

    /// Notes that a request was sent to another node.
    pub fn sent(&mut self, request: &Request, to: NodeId, shard: ShardId, writes: bool) {
        if let Some(flight) = self.in_flight(request.conn, request.seq) {
            flight.place = Place::Sent { to, shard, writes };
            flight.sent = Some(request.clone());
        }
    }

    /// A request that was sent did not happen there: it, if it may be sent elsewhere. That is so
    /// while there is time and no later request of its connection is under way, which it would
    /// follow then.
    pub fn redo(&mut self, conn: ConnId, seq: u64, now: Mono) -> Option<Request> {
        let client = self.clients.get_mut(&conn)?;
        let (newest, flight) = client.in_flight.iter_mut().next_back()?;
        if *newest != seq || flight.deadline <= now {
            return None;
        }
        flight.place = Place::Here;
        flight.sent.take()
    }

    fn in_flight(&mut self, conn: ConnId, seq: u64) -> Option<&mut InFlight> {
        self.clients.get_mut(&conn)?.in_flight.get_mut(&seq)
    }

    /// Whether an answer to this request is still wanted; with the last part it is forgotten.
    pub fn answered(&mut self, conn: ConnId, seq: u64, more: bool) -> bool {
        let Some(client) = self.clients.get_mut(&conn) else { return false };
        if more {
            return client.in_flight.contains_key(&seq);
        }
        let wanted = client.in_flight.remove(&seq).is_some();
        self.waiting -= usize::from(wanted);
        wanted
    }

    /// Whether anybody still waits for this request.
    pub fn wants(&self, conn: ConnId, seq: u64) -> bool {
        self.clients.get(&conn).is_some_and(|client| client.in_flight.contains_key(&seq))
    }

    /// The connection is gone, and with it every wish for its answers.
    pub fn close(&mut self, conn: ConnId) {
        if let Some(client) = self.clients.remove(&conn) {
            self.waiting -= client.queue.len() + client.in_flight.len();
            self.ready.retain(|ready| *ready != conn);
        }
    }

    /// Requests whose time is up, with what their clients may conclude; they stay in flight until
    /// answered.
    pub fn overdue(&mut self, now: Mono) -> Vec<(ConnId, u64, Failure)> {
        self.failing(|flight| {
            (flight.deadline <= now).then_some(match flight.place {
                Place::Here | Place::Sent { writes: false, .. } => {
                    Failure::NotDone(NotDone::Deadline)
                }
                Place::Logged | Place::Sent { writes: true, .. } => Failure::Unknown,
            })
        })
    }

    /// Requests sent to a node whose link broke, with what their clients may conclude.
    pub fn lost(&mut self, node: NodeId) -> Vec<(ConnId, u64, Failure)> {
        self.sent_where(|to, _| to == node)
    }

    /// Requests sent to a former leader of a shard, which may be frozen or cut off and never
    /// answer, with what their clients may conclude.
    pub fn outlived(&mut self, shard: ShardId, leader: NodeId) -> Vec<(ConnId, u64, Failure)> {
        self.sent_where(|to, of| of == shard && to != leader)
    }

    fn sent_where(&self, which: impl Fn(NodeId, ShardId) -> bool) -> Vec<(ConnId, u64, Failure)> {
        self.failing(|flight| match flight.place {
            Place::Sent { to, shard, writes } if which(to, shard) => Some(match writes {
                true => Failure::Unknown,
                false => Failure::NotDone(NotDone::LeaderChanged),
            }),
            _ => None,
        })
    }

    fn failing(
        &self,
        mut verdict: impl FnMut(&InFlight) -> Option<Failure>,
    ) -> Vec<(ConnId, u64, Failure)> {
        let mut failing = Vec::new();
        for (conn, client) in &self.clients {
            for (seq, flight) in &client.in_flight {
                if let Some(failure) = verdict(flight) {
                    failing.push((*conn, *seq, failure));
                }
            }
        }
        failing
    }
}
