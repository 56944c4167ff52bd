//! The cluster's map as a node knows it, and how it learns of a newer one.
//!
//! The map (who the members are, and which life of which data directory each of them is) is the state
//! of the meta shard, and a node that keeps up knows it from there. But a node lets in only those lives
//! that it knows. So one that was away while another was replaced could learn of that only from a
//! leader that is not the newcomer:
//!
//! ```text
//! n3 is away; n2's disk is lost, and n2 is replaced: life 7 is dead, life 8 is pinned
//! n2 (life 8) leads the meta shard; n3 comes back and knows life 7
//! n2 -> n3   refused: "known with incarnation 7"          ... and so no append ever arrives
//! n1 -> n3   let in; Directory { index 41, n2 is life 8 } ... now n2 is let in as well
//! ```
//!
//! So whoever is let in says what it knows: when a link comes up, and whenever that has changed.
//!
//! What is sent was committed and applied somewhere, and is named by the index of the meta shard's log
//! that it was the state at. A higher index wins, whether it comes from the own replica or from a peer:
//! an older map never takes a newer one's place, and a life that is dead in one is dead in all that
//! follow it. What was learned from a peer is not kept on disk. Whoever starts again asks again.

use crate::effect::Effect;
use crate::node::{META, Node};
use crate::peer::Message;
use base::{Incarnation, Index, NodeId};
use protocols::liveness;
use service::Machine;
use service::meta::ClusterMap;
use std::collections::BTreeMap;

impl Node {
    /// The own replica of the meta shard has applied something, or was loaded.
    pub(crate) fn map_changed(&mut self) {
        let Some(meta) = self.shards.get(&META).filter(|meta| !meta.loading) else { return };
        if let Machine::Meta(map) = &meta.machine {
            self.learn_map(meta.applied(), map.clone());
        }
    }

    /// Somebody knows the map as of `index`.
    pub(crate) fn learn_map(&mut self, index: Index, map: ClusterMap) {
        if index < self.map_at {
            return;
        }
        self.map_at = index;
        if map == self.map {
            return;
        }
        self.map = map;
        self.tell_peers();
        let links: Vec<NodeId> = self.links.iter().copied().collect();
        links.into_iter().for_each(|node| self.tell_map(node));
    }

    /// Tells a peer what is known here, if anything is.
    pub(crate) fn tell_map(&mut self, node: NodeId) {
        if !self.map.nodes.is_empty() {
            let (index, map) = (self.map_at, self.map.clone());
            self.core.send(node, &Message::Directory { index, map });
        }
    }

    /// Tells the driver whom to connect with, and liveness whom to hear.
    pub(crate) fn tell_peers(&mut self) {
        let mut peers = BTreeMap::new();
        for (node, address) in &self.identity.members {
            peers.insert(*node, (Incarnation::default(), address.clone()));
        }
        for record in self.map.nodes.values() {
            peers.insert(record.node, (record.incarnation, record.peer_address.clone()));
        }
        peers.remove(&self.core.me);
        let nodes = peers.keys().copied().collect();
        self.core.step_liveness(liveness::Input::Peers(nodes));
        self.core.effects.push(Effect::Peers(peers));
    }
}
