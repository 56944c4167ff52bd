//! Which faults are still within what is promised.
//!
//! Underpin promises that nothing acknowledged is lost and that service comes back as long as at most
//! a minority of disks is lost or damaged at a time, where a disk counts from the moment that it was
//! hit until the node that got a new one votes again, in every shard, by a committed membership. Any
//! number of processes may die, and any number of machines may lose their power, at once and again:
//! what was synced is there afterwards. The atlas keeps the account of disks, and says no to a fault
//! that would go further. It also knows which damage nobody can be asked to notice, and has the
//! operator replace such a disk at once:
//!
//! - a bit that flips in the newest batch of a log looks like a torn tail; bits flip only in what a
//!   later batch vouches for;
//! - a write that landed elsewhere is found once two more syncs are through; a process that ends
//!   before has lost its disk;
//! - a disk that is put back to an old image has forgotten what it promised. That happens only beyond.
//!
//! A full disk has lost nothing, so it is not on this account: any number may be full at a time, all of
//! them too. Service to writes that take space is promised again once there is room, which it is in
//! peace at the latest; `world::room` says what is promised until then.
//!
//! # Beyond
//!
//! With `--beyond` the atlas says yes to everything: disks are lost by majorities, and old images
//! come back. Data and service may be gone then, so the run is judged by less, and ends when the
//! faults do, without a demand for service:
//!
//! - no assertion fails and nothing panics, in whatever state disks are: what comes from a disk is
//!   read or refused;
//! - a node that can't start or go on has a disk that was tampered with, and says what the operator
//!   is to do;
//! - no client reads a value that nobody ever asked to write (`check::invented`), and none gets an
//!   answer that does not fit its question.
//!
//! Not checked then: what is committed stays so, linearizability and sessions, that requests are
//! answered in time, that replicas agree.

use super::World;
use base::{NodeId, ReplicaId};
use node::{KV, META};

/// How a node's disk is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// Nothing was done to it.
    #[default]
    Sound,
    /// It was damaged, and its node does not know yet.
    Damaged,
    /// Its node does not start on it any more, or it is gone: the operator brings a new one.
    Gone,
    /// A new one, whose replicas do not all vote yet.
    New,
}

/// The account.
#[derive(Debug)]
pub struct Atlas {
    beyond: bool,
    health: Vec<Health>,
}

impl Atlas {
    /// All disks are sound.
    pub fn new(nodes: usize, beyond: bool) -> Atlas {
        Atlas { beyond, health: vec![Health::Sound; nodes] }
    }

    /// Whether nothing is promised any more.
    pub fn is_beyond(&self) -> bool {
        self.beyond
    }

    /// Whether a disk may be damaged or lost now.
    pub fn may_damage(&self, host: usize) -> bool {
        let hit = self.health.iter().filter(|health| **health != Health::Sound).count();
        match self.health[host] {
            Health::Sound => self.beyond || hit < (self.health.len() - 1) / 2,
            Health::Damaged | Health::New => self.beyond,
            Health::Gone => false,
        }
    }

    /// Whether more disks are gone than the cluster stands.
    pub fn too_many_gone(&self) -> bool {
        let gone = |health: &&Health| matches!(health, Health::Gone | Health::New);
        self.health.iter().filter(gone).count() > (self.health.len() - 1) / 2
    }

    /// How a disk is.
    pub fn health(&self, host: usize) -> Health {
        self.health[host]
    }

    /// It is so from now on.
    pub fn set(&mut self, host: usize, health: Health) {
        self.health[host] = health;
    }

    /// Hosts whose disk is so.
    pub fn those(&self, health: Health) -> Vec<usize> {
        (0..self.health.len()).filter(|host| self.health[*host] == health).collect()
    }
}

impl World<'_> {
    /// A new disk is sound once all its node's replicas vote.
    pub(super) fn look_at_new_disks(&mut self) {
        for host in self.atlas.those(Health::New) {
            if [META, KV].iter().all(|shard| self.votes(host, *shard)) {
                self.atlas.set(host, Health::Sound);
                self.hit(crate::marks::Mark::ReplacedVotes);
                self.say(format!("n{} has a sound disk again", host + 1));
            }
        }
    }

    /// Whether some leader knows a committed membership in which the newest replica of a host votes.
    fn votes(&self, host: usize, shard: base::ShardId) -> bool {
        let place: (ReplicaId, NodeId) =
            (ReplicaId(self.hosts[host].incarnation.0), World::node_of(host));
        self.hosts.iter().any(|leader| {
            let Some(node) = &leader.node else { return false };
            let joint = node.observe().any(|seen| seen.shard == shard && seen.joint);
            let status = node.status(leader.clock.at(self.now));
            let found = status.shards.iter().find(|status| status.shard == shard);
            found.is_some_and(|status| {
                let voter = |(replica, node, part, _): &(_, _, &str, _)| {
                    (*replica, *node) == place && *part == "voter"
                };
                !joint && status.commit == status.last && status.replicas.iter().any(voter)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_most_a_minority_of_disks_is_hit_until_new_ones_vote() {
        let mut atlas = Atlas::new(5, false);
        assert!(atlas.may_damage(0));
        atlas.set(0, Health::Damaged);
        assert!(!atlas.may_damage(0));
        atlas.set(1, Health::New);
        assert!(!atlas.may_damage(2));
        atlas.set(1, Health::Sound);
        assert!(atlas.may_damage(2));
        assert!(!Atlas::new(2, false).may_damage(0), "two nodes stand no loss");
    }

    #[test]
    fn beyond_everything_may_happen() {
        let mut atlas = Atlas::new(3, true);
        (0..3).for_each(|host| atlas.set(host, Health::Damaged));
        assert!(atlas.may_damage(1) && !atlas.too_many_gone());
        (0..2).for_each(|host| atlas.set(host, Health::Gone));
        assert!(atlas.too_many_gone() && !atlas.may_damage(0));
    }
}
