//! A node in this process: the one place where storage, node, gateway and runtime are put together.

use crate::config::Config;
use crate::descriptors;
use crate::report::{Exit, Failed};
use base::time::MILLISECOND;
use bytes::Bytes;
use gateway::resp::{self, Resp};
use runtime::{Bind, ClockTest, DiskOptions, Secret, Server, ServerOptions};
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use web::Web;

/// What a node is started with.
#[derive(Debug)]
pub struct Setup {
    /// Its data directory, formatted before.
    pub data: PathBuf,
    /// Where Redis clients connect.
    pub resp: Bind,
    /// Where the other nodes connect.
    pub peer: Bind,
    /// Health and metrics.
    pub http: Bind,
    /// Peer addresses that the cluster may not know.
    pub peers: BTreeMap<base::NodeId, String>,
    /// Where clients reach it, to be told to others.
    pub client_address: String,
    /// The cluster's secret.
    pub secret: String,
    /// What clients must say.
    pub password: Option<String>,
    /// Everything else that can be set.
    pub tuning: Tuning,
    /// How a test bends the clock.
    pub clock: ClockTest,
}

/// What a configuration may set of the parts that a node is made of.
#[derive(Clone, Debug, Default)]
pub struct Tuning {
    /// The node itself: raft, memory, bounds on requests.
    pub node: node::Options,
    /// Bounds on clients and peers.
    pub limits: runtime::Limits,
    /// Log and tables.
    pub disk: DiskOptions,
}

/// A running node with its HTTP.
#[derive(Debug)]
pub struct Local {
    /// The node.
    pub server: Arc<Server>,
    /// Health and metrics; ends when this is dropped.
    _web: Web,
}

/// Starts it.
pub fn start(setup: Setup) -> Result<Local, Failed> {
    let http = match setup.http {
        Bind::Listener(listener) => listener,
        Bind::Address(address) => TcpListener::bind(address).map_err(|error| {
            Failed::new(Exit::No, format!("listening for HTTP on {address}: {error}"))
                .help("give another address, or end the process that has this one")
        })?,
    };
    let Tuning { node, limits, disk } = setup.tuning;
    let (value_bytes_max, connections_max) = (node.limits.value_bytes_max, limits.connections_max);
    let client_bytes_max = limits.client_bytes_max;
    let options = ServerOptions {
        data: setup.data,
        clients: vec![setup.resp],
        peer: setup.peer,
        peers: setup.peers,
        client_address: setup.client_address,
        secret: Secret::from_text(&setup.secret),
        clock: setup.clock,
        disk,
        node,
        limits,
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let password = setup.password.map(Bytes::from);
    let gateway = move |facts: runtime::GatewaySetup| -> Box<dyn node::api::Gateway> {
        let limits = wire::resp::Limits {
            arg_bytes_max: value_bytes_max.max(base::key::KEY_BYTES_MAX),
            ..wire::resp::Limits::default()
        };
        Box::new(Resp::new(resp::Options {
            password,
            limits,
            held_bytes_max: client_bytes_max,
            partial_bytes_max: client_bytes_max / 2,
            connections_max,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            port: facts.clients.first().map(|address| address.port()).unwrap_or_default(),
            seed: facts.seed,
            ..resp::Options::default()
        }))
    };
    let server = runtime::start(options, gateway)
        .map_err(|error| Failed::new(Exit::No, error.to_string()))?;
    let server = Arc::new(server);
    let web = web::start(http, vec![server.cluster()], web::Options::default());
    let web = web.map_err(|error| Failed::new(Exit::No, format!("serving HTTP: {error}")))?;
    Ok(Local { server, _web: web })
}

impl Tuning {
    /// What a configuration says.
    pub fn of(config: &Config) -> Tuning {
        let size = |name| usize::try_from(config.number(name)).unwrap_or(usize::MAX);
        let ns = |name| config.number(name) * MILLISECOND;
        let mut tuning = Tuning::default();
        let Tuning { node, limits, disk } = &mut tuning;
        node.limits.value_bytes_max = size("limits.value_bytes_max");
        node.requests_max = size("limits.requests_max");
        limits.connections_max = size("limits.connections_max");
        limits.client_bytes_max = size("limits.client_bytes_max");
        disk.wal.segment_bytes = config.number("log.segment_bytes");
        node.raft.retain_bytes_max = size("log.retention_bytes");
        node.engine.memtable_bytes = size("storage.memtable_bytes");
        // One that gathers rows, and three that wait for the disk.
        node.memtables_bytes_max = node.engine.memtable_bytes.saturating_mul(4);
        node.engine.cache_bytes = size("storage.row_cache_bytes");
        node.flush_log_bytes = config.number("storage.flush_log_bytes");
        disk.tables.cache_bytes = config.number("storage.block_cache_bytes");
        // What a full disk must still take: the memtable that frees the log, and a segment if the
        // log can't go on before that.
        let memtable_bytes = config.number("storage.memtable_bytes");
        disk.tables.reserve_bytes = memtable_bytes.saturating_add(disk.wal.segment_bytes);
        node.liveness.support_ns = ns("raft.support_ms");
        node.raft.election_ns_min = ns("raft.election_ms");
        node.raft.election_ns_max = node.raft.election_ns_min * 5 / 2;
        tuning
    }

    /// This, as far as the file descriptors reach that `nodes` nodes share.
    pub fn within(mut self, descriptors: u64, nodes: u64) -> Tuning {
        let wanted = self.limits.connections_max;
        self.limits.connections_max = descriptors::connections(wanted, descriptors, nodes);
        self
    }
}
