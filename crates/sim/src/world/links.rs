//! The network between nodes: per direction and kind one TCP connection that its sender dials.
//!
//! A connection delivers what was sent, once and in order, until it breaks; then an unknown tail is
//! lost. While the way is cut, what was sent waits; cut for too long, the connection gives up. Who
//! has a connection broken under it learns so a little later, and dials again.

use super::hosts::HostInput;
use super::{CLUSTER, Event, World};
use crate::mutant::Mutant;
use crate::trace::Line;
use base::Bytes;
use base::time::MILLISECOND;
use node::Input;
use std::collections::{BTreeSet, VecDeque};

/// One direction between two nodes.
#[derive(Debug)]
pub struct Link {
    pub from: usize,
    pub to: usize,
    pub bulk: bool,
    pub up: bool,
    /// The sender believes that it is up.
    pub believed: bool,
    pub dialing: bool,
    pub wanted: bool,
    /// Counts connections; what belongs to an earlier one is void.
    pub epoch: u64,
    /// Sent and not arrived, in order.
    queue: VecDeque<Bytes>,
    /// How many of them have no arrival planned, because the way was cut when they came to it.
    stuck: usize,
    last_at: u64,
    /// How many faults cut the way.
    pub cuts: u32,
}

/// All of them.
pub struct Links {
    pub all: Vec<Link>,
    nodes: usize,
}

impl Links {
    pub fn new(nodes: usize) -> Links {
        let mut all = Vec::new();
        for from in 0..nodes {
            for to in 0..nodes {
                for bulk in [false, true] {
                    all.push(Link {
                        from,
                        to,
                        bulk,
                        up: false,
                        believed: false,
                        dialing: false,
                        wanted: false,
                        epoch: 0,
                        queue: VecDeque::new(),
                        stuck: 0,
                        last_at: 0,
                        cuts: 0,
                    });
                }
            }
        }
        Links { all, nodes }
    }

    fn index(&self, from: usize, to: usize, bulk: bool) -> usize {
        (from * self.nodes + to) * 2 + usize::from(bulk)
    }
}

impl World<'_> {
    fn latency(&mut self) -> u64 {
        let base = self.profile.latency_ns;
        let random = &mut self.random.network;
        let usual = base + random.below(base + 1);
        match random.chance(1, self.profile.tail_one_in) {
            true => usual + random.below(50 * base),
            false => usual,
        }
    }

    pub(super) fn set_peers(&mut self, host: usize, wanted: BTreeSet<usize>) {
        for to in 0..self.hosts.len() {
            for bulk in [false, true] {
                let index = self.links.index(host, to, bulk);
                self.links.all[index].wanted = wanted.contains(&to);
                self.dial_soon(index, 0);
            }
        }
    }

    fn dial_soon(&mut self, index: usize, pause: u64) {
        let link = &mut self.links.all[index];
        if link.wanted && !link.dialing && !link.believed && link.from != link.to {
            link.dialing = true;
            let life = self.hosts[link.from].life;
            self.after(pause, Event::Dial { link: index, life });
        }
    }

    pub(super) fn dial(&mut self, index: usize, life: u64) {
        let (from, to) = (self.links.all[index].from, self.links.all[index].to);
        if self.hosts[from].life != life {
            return;
        }
        let lives = (life, self.hosts[to].life);
        let round = 2 * self.latency();
        self.after(round, Event::Connect { link: index, lives });
    }

    pub(super) fn connect(&mut self, index: usize, lives: (u64, u64)) {
        let link = &self.links.all[index];
        let (from, to) = (link.from, link.to);
        if self.hosts[from].life != lives.0 {
            return;
        }
        let back = self.links.index(to, from, false);
        let open = link.cuts == 0 && self.links.all[back].cuts == 0;
        let still = |host: usize| self.hosts[host].paused_until > self.now;
        let alive = self.hosts[to].up() && self.hosts[to].life == lives.1;
        if !open || !alive || still(from) || still(to) || !self.admitted(from, to) {
            self.links.all[index].dialing = false;
            let pause = self.random.network.between(20 * MILLISECOND, 300 * MILLISECOND);
            return self.dial_soon(index, pause);
        }
        let link = &mut self.links.all[index];
        link.dialing = false;
        link.up = true;
        link.believed = true;
        link.epoch += 1;
        link.last_at = self.now;
        assert!(link.queue.is_empty(), "a link that was down holds nothing");
        let bulk = link.bulk;
        self.trace.mix([self.now, from as u64, to as u64, 4]);
        if !bulk {
            self.say(format!("n{} has a link to n{}", from + 1, to + 1));
            self.give(from, HostInput::Node(Input::PeerUp(World::node_of(to))));
        }
    }

    fn admitted(&mut self, from: usize, to: usize) -> bool {
        let admits = |me: usize, peer: usize| {
            let node = self.hosts[me].node.as_ref().expect("both are up");
            node.admits(CLUSTER, World::node_of(peer), self.hosts[peer].incarnation).is_ok()
        };
        admits(to, from) && admits(from, to)
    }

    pub(super) fn send(&mut self, from: usize, to: usize, bulk: bool, body: Bytes) {
        let latency = self.latency();
        let index = self.links.index(from, to, bulk);
        let link = &mut self.links.all[index];
        if !link.up {
            return;
        }
        link.queue.push_back(body);
        let (at, epoch) = ((self.now + latency).max(link.last_at + 1), link.epoch);
        link.last_at = at;
        self.at(at, Event::Arrive { link: index, epoch });
    }

    pub(super) fn arrive(&mut self, index: usize, epoch: u64) {
        let link = &mut self.links.all[index];
        if link.epoch != epoch {
            return;
        }
        if link.cuts > 0 {
            link.stuck += 1;
            return;
        }
        let body = link.queue.pop_front().expect("an arrival belongs to a message");
        let (from, to, bulk) = (link.from, link.to, link.bulk);
        let body = match self.mutant {
            Some(mutant) => mutant.arrived(body, self.random.network.u64()),
            None => body,
        };
        if self.mutant == Some(Mutant::Duplicates) && self.random.network.chance(1, 20) {
            let again = Input::Peer(World::node_of(from), body.clone());
            self.give(to, HostInput::Node(again));
        }
        self.totals.messages += 1;
        self.totals.bulk += u64::from(bulk);
        self.trace.mix([self.now, from as u64, to as u64, 5]);
        self.trace.mix_bytes(&body);
        self.note(Line::Message { from: from as u64 + 1, to: to as u64 + 1, body: body.clone() });
        self.give(to, HostInput::Node(Input::Peer(World::node_of(from), body)));
    }

    /// The connection is gone; the sender learns of it after `pause`.
    pub(super) fn break_link(&mut self, index: usize, pause: u64) {
        let link = &mut self.links.all[index];
        if !link.up {
            return;
        }
        link.up = false;
        link.epoch += 1;
        link.queue.clear();
        link.stuck = 0;
        let life = self.hosts[link.from].life;
        self.after(pause, Event::NoticeBreak { link: index, life });
    }

    pub(super) fn notice_break(&mut self, index: usize, life: u64) {
        let link = &mut self.links.all[index];
        let (from, to, bulk) = (link.from, link.to, link.bulk);
        if self.hosts[from].life != life || !link.believed || link.up {
            return;
        }
        link.believed = false;
        self.trace.mix([self.now, from as u64, to as u64, 6]);
        if !bulk {
            self.say(format!("n{} lost its link to n{}", from + 1, to + 1));
            self.give(from, HostInput::Node(Input::PeerDown(World::node_of(to))));
        }
        let pause = self.random.network.between(MILLISECOND, 200 * MILLISECOND);
        self.dial_soon(index, pause);
    }

    pub(super) fn links_of_the_dead(&mut self, host: usize, silent: bool) {
        for index in 0..self.links.all.len() {
            let link = &mut self.links.all[index];
            if link.from == host {
                link.epoch += u64::from(link.up);
                link.queue.clear();
                (link.up, link.believed, link.dialing, link.stuck) = (false, false, false, 0);
            } else if link.to == host {
                let mut pause = self.latency();
                if silent && self.random.network.chance(1, 2) {
                    pause += self.random.network.below(2000 * MILLISECOND);
                }
                self.break_link(index, pause);
            }
        }
    }

    /// Nothing gets from one node to another until [`World::mend`].
    pub(super) fn cut(&mut self, from: usize, to: usize) {
        for bulk in [false, true] {
            let index = self.links.index(from, to, bulk);
            let link = &mut self.links.all[index];
            link.cuts += 1;
            let epoch = link.epoch;
            if link.up && link.cuts == 1 {
                let pause = self.random.network.between(300 * MILLISECOND, 6_000 * MILLISECOND);
                self.after(pause, Event::GiveUp { link: index, epoch });
            }
            // Without the way back there are no acknowledgements, which the other direction's
            // sender stands for as long.
            let back = self.links.index(to, from, bulk);
            let epoch = self.links.all[back].epoch;
            if self.links.all[back].up && self.random.network.chance(1, 2) {
                let pause = self.random.network.between(300 * MILLISECOND, 6_000 * MILLISECOND);
                self.after(pause, Event::GiveUp { link: back, epoch });
            }
        }
    }

    /// Undoes one [`World::cut`].
    pub(super) fn mend(&mut self, from: usize, to: usize) {
        for bulk in [false, true] {
            let index = self.links.index(from, to, bulk);
            let link = &mut self.links.all[index];
            link.cuts -= 1;
            if link.cuts == 0 {
                let (stuck, epoch) = (std::mem::take(&mut link.stuck), link.epoch);
                for _ in 0..stuck {
                    let latency = self.latency();
                    let link = &mut self.links.all[index];
                    let at = (self.now + latency).max(link.last_at + 1);
                    link.last_at = at;
                    self.at(at, Event::Arrive { link: index, epoch });
                }
            }
        }
    }

    pub(super) fn give_up(&mut self, index: usize, epoch: u64) {
        let link = &self.links.all[index];
        let back = self.links.index(link.to, link.from, link.bulk);
        let cut = link.cuts > 0 || self.links.all[back].cuts > 0;
        if link.epoch == epoch && cut {
            self.break_link(index, 0);
        }
    }

    pub(super) fn reset_links(&mut self, host: usize) {
        for index in 0..self.links.all.len() {
            let link = &self.links.all[index];
            if (link.from == host || link.to == host) && self.random.network.chance(1, 2) {
                let pause = self.latency();
                self.break_link(index, pause);
            }
        }
    }
}
