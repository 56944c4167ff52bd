//! What is going to happen: drawn beforehand, or read from a script.
//!
//! When and what is drawn at the beginning, whom it hits when its moment comes, since that is often
//! whoever leads by then. Each fault draws the rest from a generator of its own. So the list of what
//! happened is a [`Script`]: see there.

use super::World;
use crate::profile::{Fault, Profile};
use crate::script::{Part, Planned, Script, What};
use base::Random;
use base::time::{MILLISECOND, SECOND};
use node::{KV, META};

/// The list, and how far it is filled in.
pub struct Plan {
    pub script: Script,
    /// Whom faults hit is drawn from this.
    aims: Random,
    /// The fault that happens right now.
    under_way: Option<usize>,
}

impl Plan {
    /// What a seed makes of a profile.
    pub fn draw(random: &mut Random, profile: &Profile, mut script: Script) -> Plan {
        let mut at = random.below(2 * SECOND);
        while at < script.until {
            at -= at % 1000;
            let Some(fault) = random.pick(&profile.faults).copied() else { break };
            let (what, draw) = (What::Fault(fault), random.u64());
            script.planned.push(Planned { at, what, whom: None, draw, words: String::new() });
            at += random.below(2 * profile.fault_every_ns) + MILLISECOND;
        }
        Plan { script, aims: random.fork(), under_way: None }
    }

    /// What a script says.
    pub fn read(script: &Script) -> Plan {
        let mut script = script.clone();
        script.planned.iter_mut().for_each(|planned| planned.words.clear());
        Plan { script, aims: Random::new(0), under_way: None }
    }

    /// Whether disks are damaged.
    pub fn damages(&self) -> bool {
        let damages = |what| matches!(what, What::Fault(fault) if fault.damages());
        self.script.planned.iter().any(|planned| damages(planned.what))
    }

    /// Whether disks become full.
    pub fn fills(&self) -> bool {
        let fills = |what| matches!(what, What::Fault(Fault::DiskFull));
        self.script.planned.iter().any(|planned| fills(planned.what))
    }

    /// What a fault has to say of itself; its first words count.
    pub fn tell(&mut self, text: &str) {
        let Some(number) = self.under_way else { return };
        let words = &mut self.script.planned[number].words;
        if words.is_empty() {
            *words = text.into();
        }
    }
}

impl World<'_> {
    /// The moment of a fault has come.
    pub(super) fn fault(&mut self, number: usize) {
        let Planned { what: What::Fault(fault), whom, draw, .. } = self.plan.script.planned[number]
        else {
            return;
        };
        if self.peace {
            return;
        }
        let host = whom.map_or_else(|| self.aim(fault), |whom| whom as usize - 1);
        if host >= self.hosts.len() {
            return;
        }
        self.plan.script.planned[number].whom = Some(host as u64 + 1);
        self.random.faults = Random::new(draw);
        self.totals.faults += 1;
        self.trace.mix([self.now, fault as u64, host as u64, 9]);
        self.plan.under_way = Some(number);
        self.strike(fault, host);
        self.plan.under_way = None;
    }

    /// Often a leader, since that is where it hurts.
    fn aim(&mut self, fault: Fault) -> usize {
        let any = self.plan.aims.below(self.hosts.len() as u64) as usize;
        let shard = if self.plan.aims.chance(3, 4) { KV } else { META };
        let often = self.plan.aims.chance(1, 2);
        match fault {
            Fault::ClockStep => any,
            Fault::LeaderAlone => self.watch.leader_of(KV).unwrap_or(any),
            _ => self.watch.leader_of(shard).filter(|_| often).unwrap_or(any),
        }
    }

    /// Gives each client its part, and plans its first step.
    pub(super) fn cast(&mut self, scripted: bool) {
        for client in 0..self.clients.len() {
            let drawn = self.random.clients.below(SECOND) / 1000 * 1000;
            if !scripted {
                let work = self.clients[client].name.to_string();
                let part = Part { client, work, from: drawn, requests: None, made: 0 };
                self.plan.script.clients.push(part);
            }
            let part = self.plan.script.part(client).cloned();
            let step = self.clients[client].step;
            match part {
                Some(part) => {
                    self.clients[client].requests = part.requests;
                    self.at(part.from, super::Event::Client { client, step });
                }
                None => self.clients[client].absent = true,
            }
        }
    }

    /// The whole run, as it can be run again.
    pub fn script(&self) -> Script {
        let mut script = self.plan.script.clone();
        for part in &mut script.clients {
            if let Some(client) = self.clients.get(part.client) {
                part.made = client.made;
            }
        }
        // A fault that never came has nobody whom it hits.
        script.planned.retain(|planned| planned.whom.is_some());
        if !self.peace {
            script.until = script.until.min((self.now / 1000 + 1) * 1000);
        }
        script
    }
}
