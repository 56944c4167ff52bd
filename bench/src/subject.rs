//! What is measured: Underpin, its peers, and a floor.

use crate::case::{At, Workload};
use crate::echo::Echo;
use crate::machine::said;
use crate::servers::etcd::{self, Etcd};
use crate::servers::nats::{self, Nats};
use crate::servers::zookeeper::{self, SAMPLE, ZooKeeper};
use crate::wire::Protocol;
use std::net::SocketAddr;
use underpin_e2e::cluster::{self, Cluster, Servers};
use underpin_e2e::place;
use underpin_e2e::redis::Redis;

/// A kind of server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// Three underpin servers; each write is synced on two of them before it is acknowledged.
    Underpin,
    /// One Redis that syncs before it acknowledges.
    Redis,
    /// One Redis that syncs every second: weaker.
    RedisEverysec,
    /// Three etcd servers; as Underpin.
    Etcd,
    /// Three ZooKeeper servers; as Underpin, but reads may be old.
    ZooKeeper,
    /// Three NATS servers, which acknowledge before they sync: weaker.
    Nats,
    /// Three newer NATS servers that sync first.
    NatsAlways,
    /// No store at all: what sockets and the generator allow.
    Echo,
}

impl Subject {
    /// All of them.
    pub const ALL: [Subject; 8] = [
        Subject::Underpin,
        Subject::Redis,
        Subject::RedisEverysec,
        Subject::Etcd,
        Subject::ZooKeeper,
        Subject::Nats,
        Subject::NatsAlways,
        Subject::Echo,
    ];

    /// Its name on the command line and in results.
    pub fn name(self) -> &'static str {
        match self {
            Subject::Underpin => "underpin",
            Subject::Redis => "redis",
            Subject::RedisEverysec => "redis-everysec",
            Subject::Etcd => "etcd",
            Subject::ZooKeeper => "zookeeper",
            Subject::Nats => "nats",
            Subject::NatsAlways => "nats-always",
            Subject::Echo => "echo",
        }
    }

    /// The subject of a name.
    pub fn named(name: &str) -> Option<Subject> {
        Subject::ALL.into_iter().find(|subject| subject.name() == name)
    }

    /// What exactly runs, and what its acknowledgement means.
    pub fn description(self) -> String {
        let redis = || {
            let version = said(&place::redis_server().to_string_lossy(), &["--version"]);
            version.split(" sha").next().unwrap_or_default().to_string()
        };
        let nats = |syncs| said(&nats::binary(syncs).to_string_lossy(), &["--version"]);
        match self {
            Subject::Underpin => {
                let version = said(&place::underpin().to_string_lossy(), &["--version"]);
                format!(
                    "{version}, 3 servers, default settings: a write is synced on two of them \
                     before it is acknowledged; reads are linearizable"
                )
            }
            Subject::Redis => format!(
                "{}, 1 server, appendonly yes, appendfsync always, save \"\": a write is synced \
                 before it is acknowledged, and replicated to nobody",
                redis()
            ),
            Subject::RedisEverysec => format!(
                "{}, 1 server, appendonly yes, appendfsync everysec, save \"\": **weaker**, up to \
                 a second of acknowledged writes is lost when power fails",
                redis()
            ),
            Subject::Etcd => {
                let version =
                    said("etcd", &["--version"]).lines().next().unwrap_or_default().to_owned();
                format!(
                    "{version}, 3 servers, {}, otherwise default settings: as Underpin; ranges are \
                     linearizable",
                    etcd::SETTINGS
                )
            }
            Subject::ZooKeeper => format!(
                "{}, 3 servers, its sample's settings ({}), forceSync yes, heap of its scripts: \
                 writes as Underpin; reads are **weaker**, any server answers with what it has",
                said("dpkg-query", &["-W", "-f", "ZooKeeper ${Version}", "zookeeper"]),
                SAMPLE.map(|(name, value)| format!("{name}={value}")).join(" "),
            ),
            Subject::Nats => format!(
                "{}, 3 servers, JetStream, a stream of 3 replicas in files: **weaker**, a message \
                 is acknowledged before it is synced (every two minutes)",
                nats(false)
            ),
            Subject::NatsAlways => format!(
                "{}, 3 servers, JetStream, a stream of 3 replicas in files, sync_interval always",
                nats(true)
            ),
            Subject::Echo => "a floor: one thread with tokio's current-thread runtime that reads \
                              requests of RESP and answers, and keeps nothing"
                .into(),
        }
    }

    /// What it speaks.
    pub fn protocol(self) -> Protocol {
        match self {
            Subject::Underpin | Subject::Redis | Subject::RedisEverysec | Subject::Echo => {
                Protocol::Resp
            }
            Subject::Etcd => Protocol::Etcd,
            Subject::ZooKeeper => Protocol::ZooKeeper,
            Subject::Nats | Subject::NatsAlways => Protocol::Nats,
        }
    }

    /// Whether it can do what a workload does, and comparing that means something.
    ///
    /// Scans (YCSB's E) are etcd's alone: SCAN, which Redis and Underpin have, is a walk in no order
    /// that starts at no key, and an index beside the keys would be another workload.
    pub fn carries_out(self, workload: Workload) -> bool {
        match self {
            Subject::Etcd => true,
            Subject::Underpin | Subject::Redis | Subject::RedisEverysec => {
                workload != Workload::YcsbE
            }
            Subject::ZooKeeper => !workload.is_ycsb(),
            Subject::Echo => !workload.is_ycsb(),
            Subject::Nats | Subject::NatsAlways => workload == Workload::Set,
        }
    }

    /// Whether it is more than one server, so that clients may be at the leader or spread.
    pub fn is_cluster(self) -> bool {
        !matches!(self, Subject::Redis | Subject::RedisEverysec | Subject::Echo)
    }

    /// Starts it with nothing in it. `value` is the size of values to come.
    pub fn start(self, value: usize) -> Running {
        let redis = |sync| {
            let redis = Redis::start(&["--appendonly", "yes", "--appendfsync", sync]);
            Running::Redis(redis)
        };
        match self {
            Subject::Underpin => Running::Underpin(Servers::start(3)),
            Subject::Redis => redis("always"),
            Subject::RedisEverysec => redis("everysec"),
            Subject::Etcd => Running::Etcd(Etcd::start(&[])),
            Subject::ZooKeeper => Running::ZooKeeper(ZooKeeper::start(&zookeeper::SAMPLE)),
            Subject::Nats => Running::Nats(Nats::start(false)),
            Subject::NatsAlways => Running::Nats(Nats::start(true)),
            Subject::Echo => Running::Echo(Echo::start(value)),
        }
    }
}

/// A running subject; dropping it stops it.
pub enum Running {
    /// Three servers.
    Underpin(Servers),
    /// One.
    Redis(Redis),
    /// Three servers.
    Etcd(Etcd),
    /// Three servers.
    ZooKeeper(ZooKeeper),
    /// Three servers.
    Nats(Nats),
    /// One.
    Echo(Echo),
}

impl Running {
    /// Where clients connect to.
    pub fn addresses(&self, at: At) -> Vec<SocketAddr> {
        let all = self.all_addresses();
        match at {
            At::Spread => all,
            At::Leader => vec![all[self.leader()]],
        }
    }

    fn all_addresses(&self) -> Vec<SocketAddr> {
        match self {
            Running::Underpin(servers) => servers.addresses(),
            Running::Redis(redis) => vec![redis.address],
            Running::Etcd(etcd) => etcd.addresses(),
            Running::ZooKeeper(zookeeper) => zookeeper.addresses(),
            Running::Nats(nats) => nats.addresses(),
            Running::Echo(echo) => vec![echo.address],
        }
    }

    /// Its processes.
    pub fn processes(&self) -> Vec<u32> {
        match self {
            Running::Underpin(servers) => {
                (0..3).filter_map(|node| Some(servers.process(node)?.id())).collect()
            }
            Running::Redis(redis) => vec![redis.process.id()],
            Running::Etcd(etcd) => etcd.processes(),
            Running::ZooKeeper(zookeeper) => zookeeper.processes(),
            Running::Nats(nats) => nats.processes(),
            Running::Echo(echo) => vec![echo.process.id()],
        }
    }

    /// `kill -9` of one of its servers.
    pub fn kill(&mut self, node: usize) {
        match self {
            Running::Underpin(servers) => servers.kill(node),
            Running::Etcd(etcd) => etcd.kill(node),
            Running::ZooKeeper(zookeeper) => zookeeper.kill(node),
            Running::Redis(_) | Running::Nats(_) | Running::Echo(_) => {
                unreachable!("only clusters that elect a leader for all are killed")
            }
        }
    }

    /// Starts a killed server again and waits until all serve.
    pub fn restart(&mut self, node: usize) {
        match self {
            Running::Underpin(servers) => {
                Cluster::start(servers, node);
                cluster::ready(servers);
            }
            Running::Etcd(etcd) => etcd.restart(node),
            Running::ZooKeeper(zookeeper) => zookeeper.restart(node),
            Running::Redis(_) | Running::Nats(_) | Running::Echo(_) => {
                unreachable!("nobody killed it")
            }
        }
    }

    /// Which of its addresses is the leader's.
    pub fn leader(&self) -> usize {
        match self {
            Running::Underpin(servers) => cluster::leader(servers),
            Running::Etcd(etcd) => etcd.leader(),
            Running::ZooKeeper(zookeeper) => zookeeper.leader(),
            Running::Nats(nats) => nats.leader(),
            Running::Redis(_) | Running::Echo(_) => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_again() {
        for subject in Subject::ALL {
            assert_eq!(Subject::named(subject.name()), Some(subject));
        }
        assert_eq!(Subject::named("kafka"), None);
    }
}
