//! Moods of a world: what a seed adds to an average one, so that several things that are rare by
//! themselves come together.
//!
//! Each mood is a kind of trouble that a bug of some Raft needed to show: a leader that dies when its
//! first entries have reached one follower (figure 8 of the Raft paper), an acknowledgement that
//! comes when its sender has lost what it spoke of, a snapshot that is on its way for so long that
//! the follower has gone on without it, a membership that is committed long before it is applied.
//! A world may have several moods, or none.

use super::profile::{Deed, Profile};
use base::Random;
use base::time::{MILLISECOND, SECOND};

/// What moods add; an average world has none of it.
#[derive(Clone, Debug)]
pub struct Moods {
    /// Of a hundred messages so many are delivered again, up to `repeat_ns` later.
    pub repeats: u64,
    /// See `repeats`.
    pub repeat_ns: u64,
    /// And so many times, if it carries no entries.
    pub echoes: u64,
    /// What is delivered again tells no time. No link brings a process what was said before it was
    /// started, and a replica that was started takes the first time that it hears for the present.
    pub timeless: bool,
    /// Of a hundred messages between replicas so many more are lost, while their nodes hear each other.
    pub muffled: u64,
    /// Of a hundred new leaders so many die within `fragile_ns`.
    pub fragile: u64,
    /// See `fragile`.
    pub fragile_ns: u64,
    /// One commit in four is applied up to this later.
    pub apply_ns_max: u64,
    /// A snapshot is on its way for up to this.
    pub stream_ns_max: u64,
    /// Its sender takes it for lost after this.
    pub stream_patience_ns: u64,
    /// Half of the cuts of the network are between pairs of nodes, whomever else they hear.
    pub frayed: bool,
}

impl Default for Moods {
    fn default() -> Moods {
        Moods {
            repeats: 0,
            repeat_ns: 0,
            echoes: 1,
            timeless: false,
            muffled: 0,
            fragile: 0,
            fragile_ns: 0,
            apply_ns_max: 50 * MILLISECOND,
            stream_ns_max: 200 * MILLISECOND,
            stream_patience_ns: SECOND,
            frayed: false,
        }
    }
}

impl Profile {
    /// Gives the world its moods.
    pub(super) fn be_moody(&mut self, random: &mut Random) {
        if random.chance(1, 4) {
            self.be_restless(random);
        }
        if random.chance(1, 6) {
            self.moods.repeats = random.between(2, 30);
            self.moods.repeat_ns = random.between(50, 2000) * MILLISECOND;
        }
        if random.chance(1, 8) {
            self.moods.muffled = random.between(5, 60);
        }
        if random.chance(1, 8) {
            self.be_fragile(random);
        }
        if random.chance(1, 8) {
            self.be_changeable(random);
        }
        if random.chance(1, 8) {
            self.be_forgetful(random);
        }
        if random.chance(1, 5) {
            self.be_haunted(random);
        }
        if random.chance(1, 8) {
            self.be_outrun(random);
        }
    }

    /// Leaders come and go: many elections at once, short promises, slow disks that have not kept the
    /// last vote when the next candidate asks, and messages of elections that are long over.
    fn be_restless(&mut self, random: &mut Random) {
        self.raft.election_ns_min = random.between(20, 60) * MILLISECOND;
        self.raft.election_ns_max = self.raft.election_ns_min + random.below(10 * MILLISECOND);
        self.liveness.heartbeat_ns = random.between(20, 40) * MILLISECOND;
        self.liveness.support_ns = 3 * self.liveness.heartbeat_ns;
        self.sync_ns_max = random.between(5, 40) * MILLISECOND;
        self.down_ns_max = random.between(30, 300) * MILLISECOND;
        self.deed_ns_max = random.between(5, 40) * MILLISECOND;
        self.tails = random.between(4, 16);
        self.weigh(&[Deed::Crash, Deed::Cut, Deed::Pause, Deed::Transfer], 3);
        for (deed, weight) in &mut self.weights {
            if matches!(deed, Deed::Append | Deed::Read) {
                *weight /= 2;
            }
        }
    }

    /// Who is elected dies when little of what it wrote has reached others: entries of several terms
    /// stand at the same place, each on a few disks.
    fn be_fragile(&mut self, random: &mut Random) {
        self.moods.fragile = random.between(30, 90);
        self.moods.fragile_ns = random.between(2, 60) * MILLISECOND;
        self.moods.muffled = random.between(5, 40);
        self.raft.append_bytes_max = 64;
        self.raft.inflight_messages_max = 1;
        self.raft.election_ns_min = random.between(20, 60) * MILLISECOND;
        self.raft.election_ns_max = 3 * self.raft.election_ns_min;
        self.liveness.heartbeat_ns = random.between(20, 40) * MILLISECOND;
        self.liveness.support_ns = 3 * self.liveness.heartbeat_ns;
        self.down_ns_max = random.between(20, 400) * MILLISECOND;
    }

    /// Members come and go all the time, replicas learn late that they did, and some of them by a
    /// snapshot.
    fn be_changeable(&mut self, random: &mut Random) {
        self.nodes = self.nodes.max(self.voters + 3);
        self.moods.apply_ns_max = random.between(50, 800) * MILLISECOND;
        self.weigh_at_least(Deed::Change, 40);
        self.weigh_at_least(Deed::Transfer, 15);
        self.weigh_at_least(Deed::Compact, 12);
    }

    /// Logs are short, so that whoever was away needs a snapshot; that is under way for long, another
    /// may overtake it, and commit indexes travel slowly.
    fn be_forgetful(&mut self, random: &mut Random) {
        self.raft.retain_bytes_max = random.below(200) as usize;
        self.raft.uncommitted_bytes_max = 8192;
        self.raft.commit_ns = random.between(1, 500) * MILLISECOND;
        self.moods.stream_ns_max = random.between(50, 2500) * MILLISECOND;
        self.moods.stream_patience_ns = random.between(50, 600) * MILLISECOND;
        self.weigh_at_least(Deed::Compact, 40);
        self.weigh_at_least(Deed::Cut, 6);
        self.weigh_at_least(Deed::Mend, 6);
    }

    /// What was said in one term is heard again in a later one: votes, answers and acknowledgements
    /// come long after the leader they were for, who may lead again by then, while some nodes hear
    /// each other only through others.
    fn be_haunted(&mut self, random: &mut Random) {
        self.be_restless(random);
        self.moods.frayed = true;
        self.moods.timeless = true;
        self.moods.repeats = random.between(20, 60);
        self.moods.repeat_ns = random.between(100, 2000) * MILLISECOND;
        self.moods.echoes = random.between(1, 10);
        self.moods.muffled = random.between(2, 30);
        if random.chance(1, 2) {
            // Two may hold what no majority does.
            self.voters = 5;
            self.nodes = self.nodes.max(5);
        }
        self.liveness.support_ns = self.liveness.heartbeat_ns * random.between(3, 10);
    }

    /// Snapshots are under way for longer than their senders lead. Whoever waits for one is fed by
    /// the next leader, whose log reaches further back, and who does not know yet how much of it is
    /// committed.
    fn be_outrun(&mut self, random: &mut Random) {
        self.be_forgetful(random);
        self.moods.fragile = random.between(20, 80);
        self.moods.fragile_ns = random.between(20, 500) * MILLISECOND;
        self.moods.muffled = random.between(1, 30);
        self.weigh(&[Deed::Crash, Deed::Pause], 2);
        self.weigh(&[Deed::Mend], 3);
        self.moods.timeless = true;
        self.moods.repeats = random.between(2, 30);
        self.moods.repeat_ns = random.between(50, 2000) * MILLISECOND;
        let compactions = random.between(6, 40);
        self.weights.retain(|(deed, _)| *deed != Deed::Compact);
        self.weights.push((Deed::Compact, compactions));
        self.tails = random.between(2, 16);
        self.raft.append_bytes_max = 1024;
        self.raft.election_ns_min = random.between(20, 80) * MILLISECOND;
        self.raft.election_ns_max = 2 * self.raft.election_ns_min;
        self.liveness.heartbeat_ns = random.between(20, 40) * MILLISECOND;
        self.liveness.support_ns = 3 * self.liveness.heartbeat_ns;
        self.down_ns_max = random.between(20, 400) * MILLISECOND;
    }

    fn weigh(&mut self, deeds: &[Deed], factor: u64) {
        let chosen = self.weights.iter_mut().filter(|(deed, _)| deeds.contains(deed));
        chosen.for_each(|(_, weight)| *weight *= factor);
    }

    fn weigh_at_least(&mut self, of: Deed, least: u64) {
        let chosen = self.weights.iter_mut().filter(|(deed, _)| *deed == of);
        chosen.for_each(|(_, weight)| *weight = (*weight).max(least));
    }
}
