//! A node in this process: the one place where storage, node, gateway and runtime are put together.

use crate::report::{Exit, Failed};
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
    /// Bounds, each with its default if there is none.
    pub bounds: Bounds,
    /// How a test bends the clock.
    pub clock: ClockTest,
}

/// Bounds that a configuration may set.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// The largest value.
    pub value_bytes_max: usize,
    /// Client connections.
    pub connections_max: usize,
    /// Requests waiting in the node.
    pub requests_max: usize,
}

impl Default for Bounds {
    fn default() -> Bounds {
        let node = node::Options::default();
        Bounds {
            value_bytes_max: node.limits.value_bytes_max,
            connections_max: runtime::Limits::default().connections_max,
            requests_max: node.requests_max,
        }
    }
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
    let Bounds { value_bytes_max, connections_max, requests_max } = setup.bounds;
    let mut node = node::Options { requests_max, ..node::Options::default() };
    node.limits.value_bytes_max = value_bytes_max;
    let options = ServerOptions {
        data: setup.data,
        clients: vec![setup.resp],
        peer: setup.peer,
        peers: setup.peers,
        client_address: setup.client_address,
        secret: Secret::from_text(&setup.secret),
        clock: setup.clock,
        disk: DiskOptions::default(),
        node,
        limits: runtime::Limits { connections_max, ..runtime::Limits::default() },
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

/// The bounds that a configuration sets.
pub fn bounds(config: &crate::config::Config) -> Bounds {
    let number = |name| usize::try_from(config.number(name)).unwrap_or(usize::MAX);
    Bounds {
        value_bytes_max: number("limits.value_bytes_max"),
        connections_max: number("limits.connections_max"),
        requests_max: number("limits.requests_max"),
    }
}
