//! etcd: three servers of Debian's `etcd-server`.

use super::{NODES, Trio};
use crate::op::Op;
use crate::wire::blocking::once;
use crate::wire::{Answer, Protocol};
use std::net::SocketAddr;
use std::process::Command;
use underpin_e2e::metrics::Metrics;
use underpin_e2e::wait;

/// Words of every server's command line that are not about its place.
///
/// The quota is etcd's largest: with the default of 2 GB a long run would end in refusals.
pub const SETTINGS: &str = "--quota-backend-bytes=8589934592";

/// A running cluster.
pub struct Etcd {
    trio: Trio,
    settings: Vec<String>,
}

impl Etcd {
    /// Starts one and waits until every server serves. `settings` are words of the command line.
    pub fn start(settings: &[&str]) -> Etcd {
        let settings = settings.iter().map(ToString::to_string).collect();
        let mut etcd = Etcd { trio: Trio::new("etcd", 2), settings };
        (0..NODES).for_each(|node| etcd.spawn(node));
        etcd.serves();
        etcd
    }

    fn spawn(&mut self, node: usize) {
        let trio = &self.trio;
        let url = |node, which| format!("http://{}", trio.address(node, which));
        let all = (0..NODES).map(|node| format!("n{node}={}", url(node, 1)));
        let mut command = Command::new("etcd");
        command.args(["--name", &format!("n{node}"), "--data-dir", "data"]);
        command.args(["--listen-client-urls", &url(node, 0)]);
        command.args(["--advertise-client-urls", &url(node, 0)]);
        command.args(["--listen-peer-urls", &url(node, 1)]);
        command.args(["--initial-advertise-peer-urls", &url(node, 1)]);
        command.args(["--initial-cluster", &all.collect::<Vec<_>>().join(",")]);
        command.args(["--initial-cluster-state", "new", SETTINGS]).args(&self.settings);
        self.trio.spawn(node, &mut command);
    }

    /// Waits until every server carries out writes.
    fn serves(&self) {
        for address in self.addresses() {
            wait::until(&format!("etcd at {address}"), wait::READY, || {
                matches!(once(address, Protocol::Etcd, Op::Set(0)), Ok(Answer::Fine)).then_some(())
            });
        }
    }

    /// Where clients reach each server.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.trio.addresses()
    }

    /// The running processes.
    pub fn processes(&self) -> Vec<u32> {
        self.trio.processes()
    }

    /// The server that says it leads; its metrics are on the clients' port.
    pub fn leader(&self) -> usize {
        wait::until("a leader of etcd", wait::READY, || {
            let leads = |node: &usize| {
                let metrics = Metrics::of(self.trio.address(*node, 0));
                metrics.is_ok_and(|metrics| metrics.value("etcd_server_is_leader") > 0.0)
            };
            (0..NODES).find(leads)
        })
    }

    /// `kill -9` of one.
    pub fn kill(&mut self, node: usize) {
        self.trio.kill(node);
    }

    /// Starts a killed one again and waits until all serve.
    pub fn restart(&mut self, node: usize) {
        self.spawn(node);
        self.serves();
    }
}
