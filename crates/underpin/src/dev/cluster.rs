//! The nodes of a dev cluster: starting, killing, healing, stopping.

use super::Args;
use super::card::Card;
use super::events::{Lead, Watch};
use super::place::{NODES, Place};
use super::ports::{self, Bound};
use crate::descriptors;
use crate::local::{self, Local, Setup, Tuning};
use crate::report::{Exit, Failed};
use base::NodeId;
use node::api::Status;
use runtime::{Bind, ClockTest, Exit as End};
use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

/// A node of ours.
struct Member {
    resp: SocketAddr,
    peer: SocketAddr,
    http: SocketAddr,
    /// `None` while it is dead.
    local: Option<Local>,
}

/// All of them.
pub struct Cluster {
    members: BTreeMap<NodeId, Member>,
    password: Option<String>,
    notes: Vec<String>,
    watch: Watch,
    tuning: Tuning,
    /// Last, so that the data goes after the nodes.
    place: Place,
}

/// How long until every shard has a leader. Several elections, on a busy machine.
const READY_MAX: Duration = Duration::from_secs(30);

impl Cluster {
    /// Binds ports, makes or opens the data, starts the nodes.
    pub fn start(args: &Args) -> Result<Cluster, Failed> {
        let peers = Peers::bind()?;
        let known = peers.addresses.clone();
        let place = Place::open(args.data.as_deref(), args.nodes, |nodes| {
            known.iter().take(nodes as usize).map(|(id, at)| (*id, at.to_string())).collect()
        })?;
        let nodes = place.ids().count() as u64;
        let mut cluster = Cluster {
            members: BTreeMap::new(),
            password: args.password.clone(),
            notes: Vec::new(),
            watch: Watch::default(),
            tuning: Tuning::default().within(descriptors::raise(), nodes),
            place,
        };
        let mut listeners = Vec::new();
        for ((id, peer), offset) in cluster.place.ids().zip(peers.listeners).zip(0..) {
            let resp = cluster.bind(args.resp_port, offset, id, "Redis clients", "--resp-port")?;
            let http = cluster.bind(args.http_port, offset, id, "HTTP", "--http-port")?;
            let peer_address = peers.addresses[&id];
            let member =
                Member { resp: resp.address, peer: peer_address, http: http.address, local: None };
            cluster.members.insert(id, member);
            listeners.push((id, [resp.listener, peer, http.listener].map(Bind::Listener)));
        }
        for (id, binds) in listeners {
            cluster.start_node(id, binds)?;
        }
        Ok(cluster)
    }

    fn bind(
        &mut self,
        first: u16,
        offset: u16,
        id: NodeId,
        what: &str,
        flag: &str,
    ) -> Result<Bound, Failed> {
        // From 0 there is no next port: 0 is any free one.
        let wanted = if first == 0 { 0 } else { first.saturating_add(offset) };
        let bound = ports::bind(wanted, &format!("{id} ({what})"), flag)?;
        self.notes.extend(bound.note.clone());
        Ok(bound)
    }

    fn start_node(&mut self, id: NodeId, [resp, peer, http]: [Bind; 3]) -> Result<(), Failed> {
        let peers = self.members.iter().map(|(id, member)| (*id, member.peer.to_string()));
        let setup = Setup {
            data: self.place.data(id),
            resp,
            peer,
            http,
            peers: peers.collect(),
            client_address: self.members[&id].resp.to_string(),
            secret: self.place.secret.clone(),
            password: self.password.clone(),
            tuning: self.tuning.clone(),
            clock: ClockTest::default(),
        };
        let local = local::start(setup)?;
        self.members.get_mut(&id).expect("a node of this cluster").local = Some(local);
        Ok(())
    }

    /// Waits until every shard has a leader.
    pub fn await_ready(&mut self) -> Result<(), Failed> {
        let started = Instant::now();
        while started.elapsed() < READY_MAX {
            let statuses = self.statuses();
            drop(self.watch.look(Instant::now(), &statuses));
            let led = |shard: &node::api::ShardStatus| self.watch.leader(shard.kind).is_some();
            let ready =
                |status: &Status| !status.shards.is_empty() && status.shards.iter().all(led);
            if statuses.len() == self.members.len() && statuses.iter().all(ready) {
                return Ok(());
            }
            if let Some(line) = self.bury().pop() {
                return Err(Failed::new(Exit::No, line));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let what = format!("no leader after {} s", READY_MAX.as_secs());
        Err(Failed::new(Exit::Unavailable, what).help("--log debug shows what the nodes wait for"))
    }

    /// What there is to say about it now that it is ready.
    pub fn card(&self, ready: Duration, keys: bool) -> Card {
        Card {
            ready,
            nodes: self
                .members
                .iter()
                .map(|(id, member)| (id.0, member.resp, member.http))
                .collect(),
            data: self.place.path.clone(),
            kept: self.place.kept,
            password: self.password.is_some(),
            notes: self.notes.clone(),
            leader: self.leader().map(|lead| (lead.node, lead.term)),
            keys,
        }
    }

    /// Kills the leader of the keys, or any node that lives.
    pub fn kill_leader(&mut self) -> Vec<String> {
        let leader = self.leader().map(|lead| NodeId(lead.node));
        let lives = |id: &NodeId| self.members[id].local.is_some();
        let victim = leader.filter(lives).or_else(|| self.members.keys().copied().find(lives));
        let Some(id) = victim else { return vec!["there is no node left to kill".into()] };
        let local = self.members.get_mut(&id).and_then(|member| member.local.take());
        if let Some(local) = local {
            local.server.kill();
        }
        vec![self.gone(id, "killed")]
    }

    /// Starts every node that is dead.
    pub fn heal(&mut self) -> Vec<String> {
        let dead: Vec<NodeId> = self
            .members
            .iter()
            .filter(|(_, member)| member.local.is_none())
            .map(|(id, _)| *id)
            .collect();
        if dead.is_empty() {
            return vec!["every node lives".into()];
        }
        let mut lines = Vec::new();
        for id in dead {
            let Member { resp, peer, http, .. } = self.members[&id];
            match self.start_node(id, [resp, peer, http].map(Bind::Address)) {
                Ok(()) => lines.push(format!("{id} started again")),
                Err(failed) => lines.push(format!("{id} does not start: {}", failed.what)),
            }
        }
        lines
    }

    /// Looks for what changed.
    pub fn look(&mut self) -> Vec<String> {
        let mut lines = self.bury();
        let statuses = self.statuses();
        lines.extend(self.watch.look(Instant::now(), &statuses));
        lines
    }

    /// Ends all nodes, removes temporary data, and says so. What was acknowledged is on disk, so
    /// there is nothing to wait for.
    pub fn stop(mut self) -> String {
        for member in self.members.values_mut() {
            if let Some(local) = member.local.take() {
                local.server.kill();
            }
        }
        match self.place.kept {
            false => "stopped · temporary data removed".to_owned(),
            true => {
                let path = self.place.path.display();
                format!("stopped · data kept, go on with:  underpin dev --data {path}")
            }
        }
    }

    /// Finds nodes that ended by themselves.
    fn bury(&mut self) -> Vec<String> {
        let ended = |member: &Member| member.local.as_ref()?.server.wait_for(Duration::ZERO);
        let dead: Vec<(NodeId, End)> =
            self.members.iter().filter_map(|(id, member)| Some((*id, ended(member)?))).collect();
        let mut lines = Vec::new();
        for (id, end) in dead {
            self.members.get_mut(&id).expect("it was just found").local = None;
            let why = match end {
                End::Fatal(text) => format!("stopped: {text}"),
                End::Stopped | End::Killed => "stopped".to_owned(),
            };
            lines.push(self.gone(id, &why));
        }
        lines
    }

    /// A node is gone: what that means.
    fn gone(&mut self, id: NodeId, how: &str) -> String {
        let led = self.watch.killed(Instant::now(), id.0);
        let led = match led.is_empty() {
            true => String::new(),
            false => format!(" (leader of {})", led.join(" and ")),
        };
        let all = self.members.len();
        let live = self.members.values().filter(|member| member.local.is_some()).count();
        let left = match live {
            0 => " · no node is left: `h` heals".to_owned(),
            _ if 2 * live > all => String::new(),
            _ => format!(" · {live} of {all} left is no quorum: nothing is done until `h` heals"),
        };
        format!("{id} {how}{led}{left}")
    }

    fn leader(&self) -> Option<Lead> {
        self.watch.leader("kv")
    }

    fn statuses(&self) -> Vec<Status> {
        let locals = self.members.values().filter_map(|member| member.local.as_ref());
        locals.filter_map(|local| local.server.status()).collect()
    }
}

/// Free ports for the nodes to reach each other, bound before anything is formatted with them.
struct Peers {
    addresses: BTreeMap<NodeId, SocketAddr>,
    listeners: Vec<TcpListener>,
}

impl Peers {
    fn bind() -> Result<Peers, Failed> {
        let mut peers = Peers { addresses: BTreeMap::new(), listeners: Vec::new() };
        for id in (1..=NODES_MAX).map(NodeId) {
            let listener = ports::any()?;
            let address = listener.local_addr().map_err(|error| {
                Failed::new(Exit::No, format!("a socket without an address: {error}"))
            })?;
            peers.addresses.insert(id, address);
            peers.listeners.push(listener);
        }
        Ok(peers)
    }
}

/// The most nodes that `--nodes` takes.
const NODES_MAX: u64 = 9;
const _: () = assert!(NODES <= NODES_MAX);
