//! What can be set about a running node.

use crate::clock::ClockTest;
use crate::open::DiskOptions;
use base::NodeId;
use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use wire::peer::Secret;

/// Where to listen.
#[derive(Debug)]
pub enum Bind {
    /// On this address.
    Address(SocketAddr),
    /// On a socket that is bound already, so that nobody else can take the port in between.
    Listener(TcpListener),
}

/// Everything that a node needs to start.
#[derive(Debug)]
pub struct ServerOptions {
    /// The data directory, formatted before.
    pub data: PathBuf,
    /// Where clients connect.
    pub clients: Vec<Bind>,
    /// Where other nodes connect.
    pub peer: Bind,
    /// Addresses of other nodes that differ from what the cluster knows; empty as a rule.
    pub peers: BTreeMap<NodeId, String>,
    /// Where clients reach this node, to be told to the cluster; empty if that is not known.
    pub client_address: String,
    /// What the nodes of this cluster know and others don't.
    pub secret: Secret,
    /// Bends the wall clock, for tests.
    pub clock: ClockTest,
    /// How the disk is used.
    pub disk: DiskOptions,
    /// Settings of the node itself.
    pub node: node::Options,
    /// What a node spends on others at most.
    pub limits: Limits,
    /// The version of the binary, for status.
    pub version: String,
}

/// Bounds on what clients and peers can make a node spend. Beyond its own rows, caches and log a
/// node of `n` takes at most
///
/// ```text
/// client_bytes_max * 5/4                       what clients hold together, and a margin
/// + connections * input_bytes                  read ahead; a few kilobytes of state each
/// + input_bytes_all                            frames that a gateway leaves to the driver; RESP: none
/// + (n - 1) * (link_bytes + link_bulk_bytes + 96 MiB)   what waits for other nodes
/// + handshakes_max * 1 KiB                     strangers on the peer port
/// ```
///
/// With the defaults, three nodes and 10,000 clients that is 1.6 GiB, and without clients that mean
/// harm a small part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Client connections. Default 10,000, as Redis has it; further ones are closed at once.
    pub connections_max: usize,
    /// What the gateway may hold for all clients together: requests that are not whole or not
    /// answered, and answers that are not taken. Default 512 MiB: thirty clients that each use all
    /// of their credits. Those that hold most give way.
    pub client_bytes_max: usize,
    /// Bytes read ahead per client connection while it waits for answers. Default 64 KiB: keeps a
    /// pipelining client busy over a round trip.
    pub input_bytes: usize,
    /// Bytes of one unfinished request frame, which may exceed `input_bytes`. Default 20 MiB: what
    /// a connection may have in flight, with room for its framing.
    pub frame_bytes_max: usize,
    /// Bytes that unfinished frames of all client connections may take beyond `input_bytes` each.
    /// Default 256 MiB; at the limit large frames wait for each other.
    pub input_bytes_all: usize,
    /// Milliseconds that a frame larger than `input_bytes` may take to arrive, and that a client
    /// may leave its answers unread. Default 60,000; then the connection is closed.
    pub stall_ms: u64,
    /// Connections on the peer port that have not proved anything yet. Default 64.
    pub handshakes_max: usize,
    /// Bytes that wait for one peer on its normal link. Default 64 MiB: all that Raft may have in
    /// flight; beyond it the link is dropped and made anew.
    pub link_bytes: usize,
    /// The same for its bulk link. Default 16 MiB: snapshots are sent a few chunks at a time.
    pub link_bulk_bytes: usize,
    /// Requests of the `Cluster` handle that wait for the node. Default 1,024; beyond it "busy".
    pub calls_max: usize,
    /// Milliseconds for a graceful stop. Default 10,000.
    pub stop_ms: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections_max: 10_000,
            client_bytes_max: 512 << 20,
            input_bytes: 64 << 10,
            frame_bytes_max: 20 << 20,
            input_bytes_all: 256 << 20,
            stall_ms: 60_000,
            handshakes_max: 64,
            link_bytes: 64 << 20,
            link_bulk_bytes: 16 << 20,
            calls_max: 1_024,
            stop_ms: 10_000,
        }
    }
}
