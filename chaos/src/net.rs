//! A run's network: a namespace for each node, a bridge for clients, and one for peers (or the
//! relay's devices in its place).
//!
//! Clients always reach every node that runs: partitions are between peers only. That is the harder
//! case, for a node that is cut off from its peers and still talks to clients can tell them old news.

use crate::room::{run, run_with};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A directed link between peers: packets from the one to the other.
pub type Link = (usize, usize);

/// The network of one run. Nodes are counted from 0, their addresses from 1.
#[derive(Debug)]
pub struct Net {
    slot: usize,
    /// In every name: the kernel takes its time to take away a namespace with what is in it.
    serial: usize,
    nodes: usize,
}

static SERIALS: AtomicUsize = AtomicUsize::new(0);

/// Packets from these peers are dropped as they come in.
const TABLE: &str = "add table inet chaos\n\
                     add chain inet chaos heard { type filter hook input priority 0; }\n";

impl Net {
    /// Makes namespaces and the clients' bridge, and without a relay the peers' bridge.
    pub fn make(slot: usize, nodes: usize, relayed: bool) -> Result<Net, String> {
        let serial = SERIALS.fetch_add(1, Ordering::Relaxed);
        let net = Net { slot, serial, nodes };
        let mut batch = format!("link add c{serial} type bridge\n");
        let _ = writeln!(batch, "addr add 10.1.{slot}.254/24 dev c{serial}");
        let _ = writeln!(batch, "link set c{serial} up");
        if !relayed {
            let _ = writeln!(batch, "link add p{serial} type bridge");
            let _ = writeln!(batch, "link set p{serial} up");
        }
        let bridges: &[(&str, &str)] =
            if relayed { &[("c", "clients")] } else { &[("c", "clients"), ("p", "peers")] };
        for node in 0..nodes {
            let name = net.name(node);
            run(Command::new("ip").args(["netns", "add", &name]))?;
            for (bridge, inside) in bridges {
                let outside = format!("{bridge}{serial}n{node}");
                let _ =
                    writeln!(batch, "link add {outside} type veth peer name {inside} netns {name}");
                let _ = writeln!(batch, "link set {outside} master {bridge}{serial} up");
            }
        }
        run_with(Command::new("ip").args(["-batch", "-"]), &batch)?;
        for node in 0..nodes {
            let clients = net.client_address(node);
            let mut batch = format!("link set lo up\naddr add {clients}/24 dev clients\n");
            batch.push_str("link set clients up\n");
            if !relayed {
                batch.push_str(&net.peer_device(node));
            }
            net.inside(node, &batch)?;
            run_with(net.command(node, "nft").args(["-f", "-"]), TABLE)?;
        }
        Ok(net)
    }

    fn inside(&self, node: usize, batch: &str) -> Result<(), String> {
        let name = self.name(node);
        run_with(Command::new("ip").args(["-n", &name, "-batch", "-"]), batch)
    }

    /// What gives the peers' device its address, once it is there.
    fn peer_device(&self, node: usize) -> String {
        let address = self.peer_address(node);
        format!("addr add {address}/24 dev peers\nlink set peers up\n")
    }

    /// The peers' device is there now: the relay made it.
    pub fn relayed(&self, node: usize) -> Result<(), String> {
        self.inside(node, &self.peer_device(node))
    }

    /// The name of a node's namespace.
    pub fn name(&self, node: usize) -> String {
        format!("s{}n{node}", self.serial)
    }

    /// A program in a node's namespace.
    pub fn command(&self, node: usize, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name(node), program]);
        command
    }

    /// Where clients reach a node.
    pub fn client_address(&self, node: usize) -> Ipv4Addr {
        Ipv4Addr::new(10, 1, self.slot as u8, node as u8 + 1)
    }

    /// Where its peers reach it.
    pub fn peer_address(&self, node: usize) -> Ipv4Addr {
        Ipv4Addr::new(10, 2, self.slot as u8, node as u8 + 1)
    }

    /// From now on exactly these links are cut.
    pub fn cut(&self, links: &BTreeSet<Link>) -> Result<(), String> {
        for node in 0..self.nodes {
            run_with(self.command(node, "nft").args(["-f", "-"]), &self.rules(node, links))?;
        }
        Ok(())
    }

    /// What a node's filter says when these links are cut.
    fn rules(&self, node: usize, links: &BTreeSet<Link>) -> String {
        let mut rules = "flush chain inet chaos heard\n".to_owned();
        for (from, _) in links.iter().filter(|(_, to)| *to == node) {
            let address = self.peer_address(*from);
            let _ = writeln!(rules, "add rule inet chaos heard ip saddr {address} drop");
        }
        rules
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        // With a relay there is no bridge for peers; what is not there need not be taken away.
        for bridge in ["c", "p"] {
            let bridge = format!("{bridge}{}", self.serial);
            let _ = run(Command::new("ip").args(["link", "del", &bridge]));
        }
        for node in 0..self.nodes {
            let _ = run(Command::new("ip").args(["netns", "del", &self.name(node)]));
        }
    }
}

/// The links, both ways, between those of the one side and those of the other.
pub fn between(one: &[usize], other: &[usize]) -> BTreeSet<Link> {
    let pairs = one.iter().flat_map(|a| other.iter().map(move |b| (*a, *b)));
    pairs.flat_map(|(a, b)| [(a, b), (b, a)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_cut_off_drops_what_it_hears_of_the_other() {
        let net = Net { slot: 3, serial: 7, nodes: 0 };
        let cut = BTreeSet::from([(0, 1), (2, 1), (1, 2)]);
        assert_eq!(
            net.rules(1, &cut),
            "flush chain inet chaos heard\nadd rule inet chaos heard ip saddr 10.2.3.1 drop\n\
             add rule inet chaos heard ip saddr 10.2.3.3 drop\n"
        );
        assert_eq!(net.rules(0, &cut), "flush chain inet chaos heard\n");
    }

    #[test]
    fn two_sides_do_not_hear_each_other_either_way() {
        let cut = between(&[0], &[1, 2]);
        assert_eq!(cut, BTreeSet::from([(0, 1), (1, 0), (0, 2), (2, 0)]));
    }
}
