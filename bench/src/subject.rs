//! What is measured.

use crate::machine;
use std::net::SocketAddr;
use underpin_e2e::cluster::{Cluster, Servers};
use underpin_e2e::place;
use underpin_e2e::redis::Redis;

/// A kind of server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// Three underpin servers; each write is synced on two of them before it is acknowledged.
    Underpin,
    /// One Redis that syncs before it acknowledges.
    Redis,
}

impl Subject {
    /// Its name in results.
    pub fn name(self) -> &'static str {
        match self {
            Subject::Underpin => "underpin",
            Subject::Redis => "redis",
        }
    }

    /// What exactly runs.
    pub fn description(self) -> String {
        match self {
            Subject::Underpin => {
                let version = machine::said(&place::underpin().to_string_lossy(), &["--version"]);
                format!("{version}, 3 servers on this machine, load spread over all three")
            }
            Subject::Redis => {
                let server = place::redis_server();
                let version = machine::said(&server.to_string_lossy(), &["--version"]);
                let version = version.split(" sha").next().unwrap_or_default().to_string();
                format!("{version}, 1 server, appendonly yes, appendfsync always")
            }
        }
    }

    /// Starts it with nothing in it.
    pub fn start(self) -> Running {
        match self {
            Subject::Underpin => Running::Underpin(Servers::start(3)),
            Subject::Redis => {
                Running::Redis(Redis::start(&["--appendonly", "yes", "--appendfsync", "always"]))
            }
        }
    }
}

/// A running subject; dropping it stops it.
pub enum Running {
    /// Three servers.
    Underpin(Servers),
    /// One.
    Redis(Redis),
}

impl Running {
    /// Where it is reached.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        match self {
            Running::Underpin(servers) => servers.addresses(),
            Running::Redis(redis) => vec![redis.address],
        }
    }

    /// Its processes.
    pub fn processes(&self) -> Vec<u32> {
        match self {
            Running::Underpin(servers) => {
                (0..3).filter_map(|node| Some(servers.process(node)?.id())).collect()
            }
            Running::Redis(redis) => vec![redis.process.id()],
        }
    }
}
