//! What goes wrong, and how it ends.

use super::hosts::End;
use super::{Event, World};
use crate::marks::Mark;
use crate::profile::Fault;
use base::ConnId;
use base::time::{MILLISECOND, SECOND};
use node::api::{Call, Consistency, FromConn, Request};
use node::{Input, KV, META};
use std::collections::BTreeMap;

use super::hosts::{HostInput, OWN_CONNS};

const HOUR_NS: i64 = 3600 * SECOND as i64;

/// Faults under way: the directions that each one cut.
#[derive(Debug)]
pub struct Faults {
    cuts: BTreeMap<u64, Vec<(usize, usize)>>,
    next: u64,
    /// Whose wall clock was stepped, and may be again.
    steppers: Vec<usize>,
    nodes: usize,
    asked: u64,
    /// Hosts whose replacement was asked for, by the number of the request.
    pub replacing: BTreeMap<u64, usize>,
    /// Hosts whose disk others have filled, with the number of that fault.
    pub filled: BTreeMap<usize, u64>,
    pub fill_number: u64,
}

impl Faults {
    pub fn new(nodes: usize) -> Faults {
        Faults {
            cuts: BTreeMap::new(),
            next: 0,
            steppers: Vec::new(),
            nodes,
            asked: 0,
            replacing: BTreeMap::new(),
            filled: BTreeMap::new(),
            fill_number: 0,
        }
    }
}

impl World<'_> {
    fn any_host(&mut self) -> usize {
        self.random.faults.below(self.hosts.len() as u64) as usize
    }

    /// Does one thing to a host; how and for how long is drawn.
    pub(super) fn strike(&mut self, fault: Fault, host: usize) {
        match fault {
            Fault::PowerLoss => self.end(host, End::PowerLoss, None),
            Fault::Kill => self.end(host, End::Killed, None),
            Fault::DieInTurn => {
                let effects = self.random.faults.below(40);
                self.hosts[host].doomed = Some(effects);
                self.say(format!("n{} is to die after {effects} effects", host + 1));
            }
            Fault::PowerLossOfAll => {
                self.hit(Mark::AllPowerLost);
                self.say("the power fails".into());
                for host in 0..self.hosts.len() {
                    self.end(host, End::PowerLoss, None);
                }
            }
            Fault::Stop => {
                self.say(format!("n{} is told to stop", host + 1));
                self.give(host, HostInput::Node(Input::Stop));
            }
            Fault::Pause => self.pause(host),
            Fault::Isolate => self.isolate(host),
            Fault::Halves => {
                let sides = self.sides();
                let cut = self.across(&sides, None);
                self.cut_all(cut, (Mark::Halved, "halves, one with"), host);
            }
            Fault::Bridge => {
                let sides = self.sides();
                let cut = self.across(&sides, Some(host));
                self.cut_all(cut, (Mark::Bridged, "halves, bridged by"), host);
            }
            Fault::OneWay => {
                let to = self.any_host();
                if to != host {
                    self.cut_all(vec![(host, to)], (Mark::CutOneWay, "one way is cut from"), host);
                }
            }
            Fault::Mute => {
                let others = (0..self.hosts.len()).filter(|other| *other != host);
                let cut = others.map(|other| (host, other)).collect();
                self.cut_all(cut, (Mark::Muted, "mute is"), host);
            }
            Fault::Reset => {
                self.hit(Mark::LinksReset);
                self.say(format!("links of n{} break", host + 1));
                self.reset_links(host);
            }
            Fault::SlowDisk => {
                let factor = self.random.faults.between(10, 500);
                let until = self.now + self.fault_duration();
                self.hosts[host].slow = (factor, until);
                self.hit(Mark::DiskSlow);
                self.say(format!("the disk of n{} is {factor} times slower", host + 1));
            }
            Fault::SyncError => {
                self.say(format!("the next sync of n{} fails", host + 1));
                self.fail_sync(host);
            }
            Fault::PowerLossInSync => {
                self.hosts[host].harm.cut_in_sync = true;
                self.say(format!("n{} is to lose its power during a sync", host + 1));
            }
            Fault::ReadError => self.fail_read(host),
            Fault::LogFlip => self.flip_log(host),
            Fault::TableFlip => self.flip_table(host),
            Fault::Misdirect => self.misdirect(host),
            Fault::DiskLoss => self.lose_disk(host),
            Fault::RollBack => self.roll_back(host),
            Fault::DiskFull => self.fill_disks(host),
            Fault::ClockStep => {
                let by = self.random.faults.between(0, 2 * HOUR_NS as u64) as i64 - HOUR_NS;
                self.step_clock(host, by);
            }
            Fault::ClockStepOfLeader => {
                let by = if self.random.faults.chance(1, 2) { HOUR_NS } else { -HOUR_NS };
                self.step_clock(host, by);
            }
            Fault::Transfer => self.ask_transfer(host),
            Fault::LeaderAlone => {
                self.hit(Mark::LeaderAlone);
                self.isolate(host);
                for other in (0..self.hosts.len()).filter(|other| *other != host) {
                    let down = self.random.faults.below(20 * MILLISECOND) + 1;
                    self.end(other, End::Killed, Some(down));
                }
            }
        }
    }

    fn isolate(&mut self, host: usize) {
        let others = (0..self.hosts.len()).filter(|other| *other != host);
        let cut = others.flat_map(|other| [(host, other), (other, host)]).collect();
        self.cut_all(cut, (Mark::Isolated, "isolated"), host);
    }

    fn fault_duration(&mut self) -> u64 {
        let longest = [300, 1500, 6000][self.random.faults.below(3) as usize];
        self.random.faults.between(10, longest) * MILLISECOND
    }

    fn pause(&mut self, host: usize) {
        let until = self.now + self.fault_duration() / 2;
        if self.hosts[host].up() {
            self.hosts[host].paused_until = until;
            self.hit(Mark::Paused);
            self.say(format!(
                "n{} stands still for {} ms",
                host + 1,
                (until - self.now) / MILLISECOND
            ));
            self.wake(host, until);
        }
    }

    fn sides(&mut self) -> Vec<bool> {
        (0..self.hosts.len()).map(|_| self.random.faults.chance(1, 2)).collect()
    }

    fn across(&self, sides: &[bool], bridge: Option<usize>) -> Vec<(usize, usize)> {
        let nodes = 0..self.faults.nodes;
        let pairs = nodes.clone().flat_map(|from| nodes.clone().map(move |to| (from, to)));
        pairs
            .filter(|(from, to)| sides[*from] != sides[*to])
            .filter(|(from, to)| bridge != Some(*from) && bridge != Some(*to))
            .collect()
    }

    fn cut_all(&mut self, cut: Vec<(usize, usize)>, (mark, how): (Mark, &str), host: usize) {
        if !cut.is_empty() {
            self.hit(mark);
        }
        let pause = self.fault_duration();
        self.say(format!("{how} n{} for {} ms", host + 1, pause / MILLISECOND));
        self.cut_for(cut, pause);
    }

    /// Nothing gets through these ways for so long.
    pub(super) fn cut_for(&mut self, cut: Vec<(usize, usize)>, pause: u64) {
        for (from, to) in &cut {
            self.cut(*from, *to);
        }
        self.faults.next += 1;
        let fault = self.faults.next;
        self.faults.cuts.insert(fault, cut);
        self.after(pause, Event::Heal { fault });
    }

    pub(super) fn heal(&mut self, fault: u64) {
        for (from, to) in self.faults.cuts.remove(&fault).unwrap_or_default() {
            self.mend(from, to);
        }
    }

    fn step_clock(&mut self, host: usize, by_ns: i64) {
        let known = self.faults.steppers.contains(&host);
        if !known && self.faults.steppers.len() as u64 >= self.profile.steppers {
            return;
        }
        if !known {
            self.faults.steppers.push(host);
        }
        self.hosts[host].clock.step_wall(by_ns);
        self.hit(Mark::ClockStepped);
        self.say(format!("n{}'s wall clock is set by {} s", host + 1, by_ns / SECOND as i64));
    }

    fn ask_transfer(&mut self, host: usize) {
        let shard = if self.random.faults.chance(3, 4) { KV } else { META };
        let to = self.any_host();
        let to = self.random.faults.chance(1, 2).then_some(to);
        self.say(format!("n{} is asked to hand {shard} over", host + 1));
        self.watch.wished(shard, to);
        self.ask_own(host, Call::Transfer { shard, to: to.map(World::node_of) });
    }

    /// The world itself asks a node for something.
    pub(super) fn ask_own(&mut self, host: usize, call: Call) -> u64 {
        self.faults.asked += 1;
        let seq = self.faults.asked;
        let now = self.hosts[host].clock.at(self.now).mono;
        let deadline = now + std::time::Duration::from_secs(2);
        let consistency = Consistency::Strong;
        let conn = ConnId(OWN_CONNS + host as u64);
        let request = Request { conn, seq, deadline, consistency, call };
        self.give(host, HostInput::Node(Input::Client(FromConn::Request(request))));
        seq
    }

    /// Everything is mended, whoever is down starts, and clocks run on as they are.
    pub(super) fn make_peace(&mut self) {
        self.peace = true;
        self.say("peace".into());
        let faults: Vec<u64> = self.faults.cuts.keys().copied().collect();
        for fault in faults {
            self.heal(fault);
        }
        self.bring_room(None);
        for number in 0..self.hosts.len() {
            let host = &mut self.hosts[number];
            host.slow = (1, 0);
            host.doomed = None;
            host.harm.cut_in_sync = false;
            if host.paused_until > self.now {
                host.paused_until = self.now;
                self.wake(number, self.now);
            } else if !host.up() {
                self.after(MILLISECOND, Event::Start { host: number });
            }
        }
    }
}
