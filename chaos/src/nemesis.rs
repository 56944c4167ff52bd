//! What is done to the servers: drawn from a seed, written down, and undone in the end.

use crate::net::{Link, between};
use crate::options::{Case, Fault};
use crate::relay::{Relay, Weather};
use crate::servers::{Clock, Servers};
use base::Random;
use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::{Duration, Instant};

/// Calm between two faults, at most.
const CALM_MS_MAX: u64 = 2500;
/// A fault lasts from this to that.
const HOLD_MS: (u64, u64) = (300, 8000);
/// A node that was started so long ago has been told what time it is for its shards.
const FRESH: Duration = Duration::from_secs(5);
/// Where clocks are bent, this far at most, both ways.
const OFFSET_MS_MAX: u64 = 3_600_000;
/// The drift that leases allow for.
const DRIFT_PPM: u64 = 1000;

/// Somebody who wishes the servers ill.
pub struct Nemesis<'a, 'b> {
    case: Case,
    random: Random,
    servers: &'a mut Servers<'b>,
    relay: Option<&'a Relay>,
    started: Instant,
    /// Nodes whose wall clocks may be wrong: a minority.
    wrong: Vec<usize>,
    /// What was done, with its time.
    pub deeds: Vec<String>,
    /// Faults so far.
    pub faults: u64,
    /// When a majority began anew within a few seconds, in ns since the start.
    pub fresh_starts: Vec<u64>,
    /// When each node was last started.
    started_at: BTreeMap<usize, Instant>,
}

impl<'a, 'b> Nemesis<'a, 'b> {
    /// One for a run that started then.
    pub fn new(
        case: Case,
        servers: &'a mut Servers<'b>,
        relay: Option<&'a Relay>,
        started: Instant,
    ) -> Nemesis<'a, 'b> {
        let mut random = Random::new(case.seed.wrapping_add(1));
        let wrong = some_of(&mut random, case.nodes, (case.nodes - 1) / 2);
        Nemesis {
            case,
            random,
            servers,
            relay,
            started,
            wrong,
            deeds: Vec::new(),
            faults: 0,
            fresh_starts: Vec::new(),
            started_at: BTreeMap::new(),
        }
    }

    /// Hurts them until then, and stops with nothing mended.
    pub fn rage(&mut self, until: Instant) -> Result<(), String> {
        loop {
            let calm = Duration::from_millis(self.random.between(300, CALM_MS_MAX));
            if Instant::now() + calm >= until || self.case.fault == Fault::Calm {
                sleep_until(until);
                return Ok(());
            }
            thread::sleep(calm);
            let fault = match self.case.fault {
                Fault::Storm => self.any(),
                fault => fault,
            };
            self.faults += 1;
            let left = until.saturating_duration_since(Instant::now());
            let (low, high) = HOLD_MS;
            let hold = Duration::from_millis(self.random.between(low, high)).min(left);
            // In a storm, often bad weather besides.
            let besides = self.case.fault == Fault::Storm && self.random.chance(1, 2);
            if besides {
                let weather = if self.random.chance(1, 2) { Fault::Delay } else { Fault::Loss };
                self.weather(weather);
            }
            self.strike(fault, hold)?;
            if besides {
                self.fair();
            }
            self.servers.notice_deaths();
        }
    }

    fn any(&mut self) -> Fault {
        const ANY: [Fault; 11] = [
            Fault::Kill,
            Fault::Kill,
            Fault::KillAll,
            Fault::Pause,
            Fault::Isolate,
            Fault::Halves,
            Fault::OneWay,
            Fault::Bridge,
            Fault::Ring,
            Fault::Loss,
            Fault::Clock,
        ];
        ANY[self.random.below(ANY.len() as u64) as usize]
    }

    fn strike(&mut self, fault: Fault, hold: Duration) -> Result<(), String> {
        match fault {
            Fault::Calm | Fault::Storm => Ok(()),
            Fault::Kill => self.kill(hold),
            Fault::KillAll => self.kill_all(hold),
            Fault::Pause => self.pause(hold),
            Fault::Clock => self.bend(),
            Fault::Full => self.fill(hold),
            Fault::Delay | Fault::Loss => {
                self.weather(fault);
                thread::sleep(hold);
                self.fair();
                Ok(())
            }
            Fault::WrongClocks => self.isolate_the_slow(hold),
            _ => {
                let links = self.links(fault);
                self.note(&format!("{}: cut {}", fault.name(), shown(&links)));
                self.servers.place.net.cut(&links)?;
                thread::sleep(hold);
                self.note("healed");
                self.servers.place.net.cut(&BTreeSet::new())
            }
        }
    }

    fn note(&mut self, what: &str) {
        let at = self.started.elapsed().as_secs_f64();
        self.deeds.push(format!("{at:9.3} {what}"));
    }

    /// Mostly the leader.
    fn victim(&mut self) -> usize {
        let leader = self.servers.leader().filter(|_| self.random.chance(2, 3));
        leader.unwrap_or_else(|| self.random.below(self.case.nodes as u64) as usize)
    }

    fn kill(&mut self, hold: Duration) -> Result<(), String> {
        let mut victims = vec![self.victim()];
        if self.case.nodes > 3 && self.random.chance(1, 3) {
            let other = self.random.below(self.case.nodes as u64) as usize;
            victims.push(other);
            victims.dedup();
        }
        self.note(&format!("kill -9 of {}", named(&victims)));
        self.servers.kill(&victims);
        // Often it comes back at once, before anybody was elected.
        thread::sleep(if self.random.chance(1, 3) { Duration::ZERO } else { hold });
        self.start(&victims);
        Ok(())
    }

    fn kill_all(&mut self, hold: Duration) -> Result<(), String> {
        let all: Vec<usize> = (0..self.case.nodes).collect();
        self.note("kill -9 of all");
        self.servers.kill(&all);
        thread::sleep(if self.random.chance(1, 2) { Duration::ZERO } else { hold / 4 });
        self.start(&all);
        // Until they serve again, further kills would only keep them down.
        thread::sleep(Duration::from_secs(2));
        Ok(())
    }

    fn start(&mut self, nodes: &[usize]) {
        self.note(&format!("start of {}", named(nodes)));
        nodes.iter().for_each(|node| self.servers.start(*node));
        let now = Instant::now();
        self.started_at.extend(nodes.iter().map(|node| (*node, now)));
        let fresh = self.started_at.values().filter(|at| now - **at < FRESH).count();
        if fresh > self.case.nodes / 2 {
            self.fresh_starts.push((now - self.started).as_nanos() as u64);
        }
    }

    fn pause(&mut self, hold: Duration) -> Result<(), String> {
        let victim = self.victim();
        self.note(&format!("SIGSTOP of {}", victim + 1));
        self.servers.freeze(victim, true);
        thread::sleep(hold);
        self.note(&format!("SIGCONT of {}", victim + 1));
        self.servers.freeze(victim, false);
        Ok(())
    }

    /// A start with other clocks: of all but a minority only a little off, on every node drifting as
    /// far as leases allow.
    fn bend(&mut self) -> Result<(), String> {
        let node = self.random.below(self.case.nodes as u64) as usize;
        self.servers.clocks[node] = self.clock(node);
        self.note(&format!("kill -9 of {}, with {:?}", node + 1, self.servers.clocks[node]));
        self.servers.kill(&[node]);
        self.start(&[node]);
        Ok(())
    }

    fn clock(&mut self, node: usize) -> Clock {
        let mut within = |most: u64| self.random.between(0, 2 * most) as i64 - most as i64;
        // A little less than the bound: the system's clock is not perfect either.
        let mono_ppm = within(DRIFT_PPM - 50);
        match self.wrong.contains(&node) {
            true => Clock { offset_ms: within(OFFSET_MS_MAX), rate_ppm: within(500_000), mono_ppm },
            false => Clock { offset_ms: within(20), rate_ppm: 0, mono_ppm },
        }
    }

    /// Draws the clocks that nodes begin with.
    pub fn first_clocks(case: Case, servers: &mut Servers) {
        let mut own = Nemesis::new(case, servers, None, Instant::now());
        for node in 0..case.nodes {
            own.servers.clocks[node] = match case.fault {
                Fault::WrongClocks => slow(node),
                fault if fault.bends_clocks() => own.clock(node),
                _ => Clock::default(),
            };
        }
    }

    fn fill(&mut self, hold: Duration) -> Result<(), String> {
        let victims = match self.random.below(4) {
            0 => (0..self.case.nodes).collect(),
            _ => vec![self.victim()],
        };
        self.note(&format!("full disks of {}", named(&victims)));
        victims.iter().for_each(|node| self.servers.fill(*node, true));
        thread::sleep(hold);
        self.note("room again");
        victims.iter().for_each(|node| self.servers.fill(*node, false));
        Ok(())
    }

    /// Bad weather on all links, or on those of one node.
    fn weather(&mut self, fault: Fault) {
        let Some(relay) = self.relay else { return };
        let random = &mut self.random;
        let weather = match fault {
            Fault::Delay => Weather {
                delay: Duration::from_millis(random.between(1, 120)),
                jitter: Duration::from_millis(random.between(0, 60)),
                ..Weather::default()
            },
            _ => Weather {
                delay: Duration::from_micros(random.between(0, 2000)),
                jitter: Duration::from_millis(random.between(0, 30)),
                reorders: true,
                lost: random.between(5, 200),
                doubled: random.between(0, 100),
            },
        };
        let nodes = self.case.nodes;
        let one = random.chance(1, 2).then(|| random.below(nodes as u64) as usize);
        let all = (0..nodes).flat_map(|a| (0..nodes).map(move |b| (a, b)));
        let bad = all.filter(|(a, b)| a != b && one.is_none_or(|one| *a == one || *b == one));
        relay.set(bad.map(|link| (link, weather)).collect());
        let where_to = one.map_or("all links".into(), |one| format!("links of {}", one + 1));
        self.note(&format!("{where_to}: {weather:?}"));
    }

    fn fair(&mut self) {
        if let Some(relay) = self.relay {
            relay.set(BTreeMap::new());
            self.note("fair weather");
        }
    }

    /// The links that a network partition cuts.
    fn links(&mut self, fault: Fault) -> BTreeSet<Link> {
        let nodes = self.case.nodes;
        let all: Vec<usize> = (0..nodes).collect();
        let others = |of: &[usize]| -> Vec<usize> {
            all.iter().copied().filter(|node| !of.contains(node)).collect()
        };
        match fault {
            Fault::Halves => {
                let side = some_of(&mut self.random, nodes, nodes / 2);
                between(&side, &others(&side))
            }
            Fault::OneWay => {
                let one = self.victim();
                let away: Vec<Link> = others(&[one]).iter().map(|other| (one, *other)).collect();
                match self.random.below(3) {
                    0 => away.into_iter().collect(),
                    1 => away.into_iter().map(|(a, b)| (b, a)).collect(),
                    _ => away.into_iter().take(1).collect(),
                }
            }
            Fault::Bridge => {
                let bridge = self.random.below(nodes as u64) as usize;
                let rest = others(&[bridge]);
                between(&rest[..rest.len() / 2], &rest[rest.len() / 2..])
            }
            Fault::Ring => ring(nodes),
            _ => {
                let one = self.victim();
                between(&[one], &others(&[one]))
            }
        }
    }

    /// Hands leadership on until the slow node has it, and cuts it off.
    fn isolate_the_slow(&mut self, hold: Duration) -> Result<(), String> {
        for _ in 0..12 {
            match self.servers.leader() {
                Some(0) => break,
                Some(other) => {
                    self.servers.stop(other);
                    self.servers.start(other);
                }
                None => {}
            }
            thread::sleep(Duration::from_millis(1500));
        }
        let others: Vec<usize> = (1..self.case.nodes).collect();
        let leads = self.servers.leader() == Some(0);
        self.note(&format!("1 is cut off, leader or not: {leads}"));
        self.servers.place.net.cut(&between(&[0], &others))?;
        thread::sleep(hold.max(Duration::from_secs(4)));
        self.servers.place.net.cut(&BTreeSet::new())
    }

    /// Undoes everything.
    pub fn mend(&mut self) -> Result<(), String> {
        self.note("peace");
        self.servers.place.net.cut(&BTreeSet::new())?;
        if let Some(relay) = self.relay {
            relay.set(BTreeMap::new());
        }
        self.servers.mend();
        Ok(())
    }
}

/// The first node's time runs at a third of the others': its lease lasts three times as long.
fn slow(node: usize) -> Clock {
    let mono_ppm = if node == 0 { -660_000 } else { 0 };
    Clock { mono_ppm, ..Clock::default() }
}

/// Cut so that each node hears those beside it in a ring, as many as make a majority with itself.
fn ring(nodes: usize) -> BTreeSet<Link> {
    let reach = nodes / 4;
    let near = |a: usize, b: usize| {
        let way = (a + nodes - b) % nodes;
        way.min(nodes - way) <= reach.max(1)
    };
    let all = (0..nodes).flat_map(|a| (0..nodes).map(move |b| (a, b)));
    all.filter(|(a, b)| a != b && !near(*a, *b)).collect()
}

fn some_of(random: &mut Random, nodes: usize, count: usize) -> Vec<usize> {
    let mut all: Vec<usize> = (0..nodes).collect();
    for place in 0..count {
        all.swap(place, random.between(place as u64, nodes as u64 - 1) as usize);
    }
    all.truncate(count);
    all
}

fn sleep_until(until: Instant) {
    thread::sleep(until.saturating_duration_since(Instant::now()));
}

fn named(nodes: &[usize]) -> String {
    nodes.iter().map(|node| (node + 1).to_string()).collect::<Vec<_>>().join(" and ")
}

fn shown(links: &BTreeSet<Link>) -> String {
    let link = |(from, to): &Link| format!("{}>{}", from + 1, to + 1);
    links.iter().map(link).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_a_ring_each_hears_a_majority_and_no_two_the_same() {
        let cut = ring(5);
        let heard = |node: usize| -> BTreeSet<usize> {
            (0..5).filter(|other| !cut.contains(&(*other, node))).collect()
        };
        let all: BTreeSet<BTreeSet<usize>> = (0..5).map(heard).collect();
        assert_eq!(all.len(), 5);
        assert!(all.iter().all(|those| those.len() == 3));
    }

    #[test]
    fn a_side_is_drawn_without_putting_back() {
        let mut random = Random::new(7);
        for _ in 0..100 {
            let side: BTreeSet<usize> = some_of(&mut random, 5, 2).into_iter().collect();
            assert_eq!(side.len(), 2);
            assert!(side.iter().all(|node| *node < 5));
        }
    }
}
