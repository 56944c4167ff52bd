//! Redis clients: their bytes to requests of a node, and its answers to their bytes.
//!
//! [`Resp`] holds all of a node's connections. Follow one `GET k`:
//!
//! 1. [`Gateway::receive`] hands the bytes to the connection's parser (`wire::resp`), which finds
//!    `[GET, k]`.
//! 2. `table` finds the command's [`Spec`](table::Spec): its arity, its flags, its function.
//! 3. `kv` reads the arguments and makes `Op::Get(k)`; the connection takes a *slot* at the end of
//!    its queue and the request goes out with the slot's number.
//! 4. [`Gateway::answer`] puts the answer into that slot. Slots are written out from the front, so
//!    replies keep the order of requests, in whatever order answers come.
//!
//! Commands about the connection itself (HELLO, CLIENT, SELECT ...) are answered here; if slots
//! before them still wait, they take a slot as well.
//!
//! **Order.** A connection's requests take effect in the order in which they came: each sees what
//! those before it did, and nothing of those behind it. The node keeps the order of what it logs;
//! a read runs when the node gets to it, after the writes before it, but perhaps also after writes
//! behind it. So a write is not sent while reads wait for their answers, and a read behind a write
//! that has no answer yet is sent along the log, as a batch that deletes nothing. A pipeline in which
//! reads and writes take turns waits once, not at every turn.
//!
//! **Limits.** A connection stops consuming input while it has [`REQUESTS_IN_FLIGHT_MAX`] slots or
//! [`BYTES_IN_FLIGHT_MAX`] request bytes waiting, or more than [`Options::output_bytes_max`] bytes
//! of output that nobody takes. It then holds at most one whole request. What all connections
//! together hold of requests that are not whole yet is bounded too; beyond it such a request is read
//! past and refused. Answers that can't be written yet stay as they came, sharing the rows' memory.
//! One bound holds for everything that all clients hold together (`memory`).
//!
//! **Transactions.** MULTI queues; EXEC becomes one batch, with the versions that WATCH saw as its
//! conditions (`multi`).
//!
//! Behaviour and error texts are those of Redis 7.0.15; the differences are in
//! `docs/compat/redis.md`, and a randomized comparison with the real one shows that the list is
//! whole.
//!
//! [`REQUESTS_IN_FLIGHT_MAX`]: node::api::REQUESTS_IN_FLIGHT_MAX
//! [`BYTES_IN_FLIGHT_MAX`]: node::api::BYTES_IN_FLIGHT_MAX

mod args;
mod client;
mod command;
mod config;
mod conn;
mod errors;
mod info;
mod kv;
mod local;
mod memory;
mod multi;
mod once;
mod shape;
mod slot;
mod status;
mod table;
mod walk;

use base::{Bytes, ConnId, Mono, Random, Time};
use bytes::BytesMut;
use conn::Conn;
use node::api::{Answer, FromConn, Gateway};
use std::collections::BTreeMap;
use std::time::Duration;
use wire::resp::Limits;

/// What can be set about RESP on a node.
#[derive(Clone, Debug)]
pub struct Options {
    /// What clients must know to be let in (AUTH, HELLO). Default: none, everyone is let in.
    pub password: Option<Bytes>,
    /// How large requests may be. Default: values up to 4 MiB, requests up to 16 MiB.
    pub limits: Limits,
    /// How long a request may take, after which it is answered with what is known then.
    /// Default: 10 s, longer than an election and shorter than most clients' patience.
    pub deadline: Duration,
    /// Unsent output beyond which a connection's input waits. Default: 1 MiB.
    pub output_bytes_max: usize,
    /// Bytes that one answer to KEYS may have, since its length comes first and all of it must be
    /// held until then. Default: 64 MiB.
    pub keys_bytes_max: usize,
    /// Bytes that all connections together may hold of requests that are not whole yet.
    /// Default: 256 MiB.
    pub partial_bytes_max: usize,
    /// Bytes that all connections together may hold, of requests and of answers; see `memory`.
    /// Default: 512 MiB, which is thirty clients that each use all of their credits.
    pub held_bytes_max: usize,
    /// What CONFIG GET says beyond what this module knows itself: names and values.
    pub config: Vec<(String, String)>,
    /// The version of the binary, for INFO.
    pub version: String,
    /// The port, for INFO and CONFIG GET.
    pub port: u16,
    /// How many connections the node takes, for INFO and CONFIG GET. Default: 10,000.
    pub connections_max: usize,
    /// For RANDOMKEY.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            password: None,
            limits: Limits::default(),
            deadline: Duration::from_secs(10),
            output_bytes_max: 1 << 20,
            keys_bytes_max: 64 << 20,
            partial_bytes_max: 256 << 20,
            held_bytes_max: 512 << 20,
            config: Vec::new(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            port: 0,
            connections_max: 10_000,
            seed: 0,
        }
    }
}

/// All RESP connections of a node.
#[derive(Debug)]
pub struct Resp {
    options: Options,
    /// A connection that is being worked on is not in its place, so that it can look at the others.
    conns: BTreeMap<ConnId, Option<Box<Conn>>>,
    touched: Vec<ConnId>,
    random: Random,
    /// What all connections hold of requests that are not whole yet.
    partial_bytes: usize,
    /// What they hold altogether, as last counted.
    held: usize,
    /// What that was when room was last made.
    relieved_at: usize,
    started: Option<Mono>,
    stats: Stats,
}

/// Numbers for INFO.
#[derive(Clone, Debug, Default)]
struct Stats {
    commands: u64,
    connections: u64,
    errors: u64,
    evicted: u64,
}

impl Resp {
    /// No connections yet.
    pub fn new(options: Options) -> Resp {
        Resp {
            random: Random::new(options.seed),
            options,
            conns: BTreeMap::new(),
            touched: Vec::new(),
            partial_bytes: 0,
            held: 0,
            relieved_at: 0,
            started: None,
            stats: Stats::default(),
        }
    }

    /// Works on a connection, if it is there.
    fn with<T>(&mut self, id: ConnId, work: impl FnOnce(&mut Resp, &mut Conn) -> T) -> Option<T> {
        let mut conn = self.conns.get_mut(&id)?.take()?;
        let before = conn.look();
        let result = work(self, &mut conn);
        if conn.look() != before && !conn.touched {
            conn.touched = true;
            self.touched.push(id);
        }
        self.count(&mut conn);
        if let Some(place) = self.conns.get_mut(&id) {
            *place = Some(conn);
        }
        self.relieve();
        Some(result)
    }

    /// The connections other than the one that is being worked on.
    fn others(&mut self) -> impl Iterator<Item = &mut Conn> {
        self.conns.values_mut().filter_map(|conn| conn.as_deref_mut())
    }

    /// Closes another connection at once.
    fn kill(&mut self, id: ConnId) {
        if let Some(Some(conn)) = self.conns.get_mut(&id) {
            conn.kill();
            conn.touched = true;
            self.touched.push(id);
        }
    }
}

impl Gateway for Resp {
    fn open(&mut self, now: Time, conn: ConnId, address: String) {
        self.started.get_or_insert(now.mono);
        self.stats.connections += 1;
        let known = self.options.password.is_none();
        self.conns.insert(conn, Some(Box::new(Conn::new(now, conn, address, known))));
    }

    fn receive(&mut self, now: Time, conn: ConnId, bytes: &[u8], out: &mut Vec<FromConn>) -> usize {
        self.with(conn, |resp, conn| conn.receive(resp, now, bytes, out)).unwrap_or(bytes.len())
    }

    fn answer(&mut self, now: Time, answer: Answer, out: &mut Vec<FromConn>) {
        self.with(answer.conn, |resp, conn| conn.answer(resp, now, answer, out));
    }

    fn output(&mut self, conn: ConnId) -> Option<&mut BytesMut> {
        let mut taken = self.conns.get_mut(&conn)?.take()?;
        taken.write_answered(self);
        self.count(&mut taken);
        Some(self.conns.get_mut(&conn)?.insert(taken).output())
    }

    fn touched(&mut self) -> Vec<ConnId> {
        let touched = std::mem::take(&mut self.touched);
        for id in &touched {
            if let Some(Some(conn)) = self.conns.get_mut(id) {
                conn.touched = false;
            }
        }
        touched
    }

    fn closing(&self, conn: ConnId) -> bool {
        matches!(self.conns.get(&conn), Some(Some(conn)) if conn.closing())
    }

    fn close(&mut self, conn: ConnId, out: &mut Vec<FromConn>) {
        if let Some(Some(gone)) = self.conns.remove(&conn) {
            self.partial_bytes -= gone.partial_bytes();
            self.held -= gone.counted;
            out.push(FromConn::Close(conn));
        }
    }

    fn connections(&self) -> usize {
        self.conns.len()
    }

    fn full(&self) -> &'static [u8] {
        errors::FULL
    }
}
