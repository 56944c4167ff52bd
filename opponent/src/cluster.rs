//! Whole clusters, one of each core, under the same schedule: crashes, cuts, changes of membership,
//! handovers. Their elections are their own; what a client sees once things have settled is compared.
//!
//! After each deed both clusters get time. Then each replica that leads is given a value, and after
//! a while both must have come to the same: either some replica serves, or none does. In the end all
//! is healed; then both must serve, have lost nothing that they acknowledged, hold the same log on
//! every replica, and have the same voters.

use crate::differences::{Differences, Mischief};
use crate::ours::{self, Letter, Ours};
use crate::theirs::{self, Theirs};
use base::Random;
use base::time::MILLISECOND;
use protocols::raft::Options;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// How long both clusters get after a deed: support, an election and a second one.
const SETTLE_MS: u64 = 4000;

/// How long a value gets to be committed where somebody serves.
const SERVE_MS: u64 = 1000;

/// What a replica of either core can do.
trait Replica: Sized {
    type Disk: Clone;
    type Letter;

    fn start(id: u64, disk: Self::Disk, again: bool, now_ms: u64) -> Self;
    fn crash(self) -> Self::Disk;
    fn tick(&mut self, now_ms: u64);
    fn receive(&mut self, from: u64, letter: Self::Letter);
    /// Letters to others.
    fn letters(&mut self) -> Vec<(u64, Self::Letter)>;
    fn leads(&self) -> bool;
    fn propose(&mut self, value: u64) -> bool;
    /// The end of its log: term, index.
    fn last(&self) -> (u64, u64);
    fn values(&self) -> &[u64];
    fn acknowledged(&self) -> &BTreeSet<u64>;
    /// Voters as applied; none while a joint change is under way.
    fn voters(&self) -> Option<Vec<u64>>;
}

impl Replica for Ours {
    type Disk = ours::Disk;
    type Letter = Letter;

    fn start(id: u64, disk: ours::Disk, again: bool, now_ms: u64) -> Ours {
        Ours::start(id, disk, Options::default(), !again, now_ms * MILLISECOND)
    }
    fn crash(self) -> ours::Disk {
        Ours::crash(self)
    }
    fn tick(&mut self, now_ms: u64) {
        Ours::tick(self, now_ms * MILLISECOND);
    }
    fn receive(&mut self, from: u64, letter: Letter) {
        Ours::receive(self, from, letter);
    }
    fn letters(&mut self) -> Vec<(u64, Letter)> {
        std::mem::take(&mut self.out)
    }
    fn leads(&self) -> bool {
        Ours::leads(self)
    }
    fn propose(&mut self, value: u64) -> bool {
        Ours::propose(self, value)
    }
    fn last(&self) -> (u64, u64) {
        Ours::last(self)
    }
    fn values(&self) -> &[u64] {
        &self.values
    }
    fn acknowledged(&self) -> &BTreeSet<u64> {
        &self.acknowledged
    }
    fn voters(&self) -> Option<Vec<u64>> {
        let voters = self.members.voters.keys().map(|id| id.0).collect();
        (!self.members.is_joint()).then_some(voters)
    }
}

impl Replica for Theirs {
    type Disk = theirs::Disk;
    type Letter = raft::eraftpb::Message;

    fn start(id: u64, disk: theirs::Disk, _again: bool, now_ms: u64) -> Theirs {
        let mut theirs = Theirs::start(&theirs::config(id, true), disk);
        theirs.ticked = now_ms;
        theirs
    }
    fn crash(self) -> theirs::Disk {
        Theirs::crash(self)
    }
    fn tick(&mut self, now_ms: u64) {
        Theirs::tick(self, now_ms);
    }
    fn receive(&mut self, _from: u64, letter: raft::eraftpb::Message) {
        Theirs::receive(self, letter);
    }
    fn letters(&mut self) -> Vec<(u64, raft::eraftpb::Message)> {
        std::mem::take(&mut self.out).into_iter().map(|letter| (letter.to, letter)).collect()
    }
    fn leads(&self) -> bool {
        Theirs::leads(self)
    }
    fn propose(&mut self, value: u64) -> bool {
        Theirs::propose(self, value)
    }
    fn last(&self) -> (u64, u64) {
        Theirs::last(self)
    }
    fn values(&self) -> &[u64] {
        Theirs::values(self)
    }
    fn acknowledged(&self) -> &BTreeSet<u64> {
        &self.acknowledged
    }
    fn voters(&self) -> Option<Vec<u64>> {
        (!self.is_joint()).then(|| Theirs::voters(self))
    }
}

/// Which letters go where.
#[derive(Clone, Debug, Default)]
struct Network {
    /// From, to.
    cut: BTreeSet<(u64, u64)>,
}

/// One cluster.
struct Cluster<R: Replica> {
    now_ms: u64,
    random: Random,
    replicas: BTreeMap<u64, R>,
    disks: BTreeMap<u64, R::Disk>,
    /// Per link: due, letter; in the order in which they were sent.
    links: BTreeMap<(u64, u64), VecDeque<(u64, R::Letter)>>,
    /// Acknowledged by replicas that crashed since.
    acknowledged: BTreeSet<u64>,
}

impl<R: Replica> Cluster<R> {
    fn new(seed: u64, disks: BTreeMap<u64, R::Disk>) -> Cluster<R> {
        let (random, acknowledged) = (Random::new(seed), BTreeSet::new());
        let (replicas, links) = (BTreeMap::new(), BTreeMap::new());
        let mut cluster = Cluster { now_ms: 0, random, replicas, disks, links, acknowledged };
        for id in cluster.disks.keys().copied().collect::<Vec<_>>() {
            cluster.start(id, false);
        }
        cluster
    }

    fn start(&mut self, id: u64, again: bool) {
        if let Some(disk) = self.disks.remove(&id) {
            self.replicas.insert(id, R::start(id, disk, again, self.now_ms));
        }
    }

    fn crash(&mut self, id: u64) {
        if let Some(replica) = self.replicas.remove(&id) {
            self.acknowledged.extend(replica.acknowledged());
            self.disks.insert(id, replica.crash());
            self.links.retain(|(from, to), _| *from != id && *to != id);
        }
    }

    fn run(&mut self, ms: u64, network: &Network) {
        self.links.retain(|link, _| !network.cut.contains(link));
        for _ in 0..ms {
            self.now_ms += 1;
            let now = self.now_ms;
            for ((from, to), letters) in &mut self.links {
                while letters.front().is_some_and(|(due, _)| *due <= now) {
                    let (_, letter) = letters.pop_front().expect("it was just seen");
                    if let Some(replica) = self.replicas.get_mut(to) {
                        replica.receive(*from, letter);
                    }
                }
            }
            for (from, replica) in &mut self.replicas {
                replica.tick(now);
                for (to, letter) in replica.letters() {
                    if !network.cut.contains(&(*from, to)) {
                        let due = now + self.random.between(1, 4);
                        let link = self.links.entry((*from, to)).or_default();
                        link.push_back((due, letter));
                    }
                }
            }
        }
    }

    /// Whether somebody serves: a value given to whoever leads is committed there.
    fn serves(&mut self, value: u64, network: &Network) -> bool {
        let mut asked = Vec::new();
        for (id, replica) in &mut self.replicas {
            if replica.leads() && replica.propose(value * 100 + id) {
                asked.push(*id);
            }
        }
        self.run(SERVE_MS, network);
        asked.iter().any(|id| {
            let replica = self.replicas.get(id);
            replica.is_some_and(|replica| replica.acknowledged().contains(&(value * 100 + id)))
        })
    }

    fn leader(&mut self) -> Option<(&u64, &mut R)> {
        self.replicas.iter_mut().filter(|(_, replica)| replica.leads()).last()
    }

    /// Whether a replica could be elected and then commit: a majority hears it, is heard by it, and
    /// has no later log. Where links are cut one way it may be that none could.
    fn could_serve(&self, voters: &[u64], network: &Network) -> bool {
        let open = |a: u64, b: u64| {
            a == b || !network.cut.contains(&(a, b)) && !network.cut.contains(&(b, a))
        };
        let follows = |leader: (&u64, &R), id: &u64| {
            let last = self.replicas.get(id).map(Replica::last);
            open(*leader.0, *id) && last.is_some_and(|last| last <= leader.1.last())
        };
        let mut all = self.replicas.iter();
        all.any(|leader| {
            let followers = voters.iter().filter(|id| follows(leader, id)).count();
            voters.contains(leader.0) && followers > voters.len() / 2
        })
    }

    fn all_acknowledged(&self) -> BTreeSet<u64> {
        let mut all = self.acknowledged.clone();
        self.replicas.values().for_each(|replica| all.extend(replica.acknowledged()));
        all
    }

    /// What must hold when all is well.
    fn judge(&self, voters: &[u64]) -> Result<(), String> {
        let leader = self.replicas.values().find(|replica| replica.leads()).ok_or("no leader")?;
        let values = leader.values();
        let distinct: BTreeSet<u64> = values.iter().copied().collect();
        if distinct.len() != values.len() {
            return Err(format!("something was committed twice: {values:?}"));
        }
        if let Some(lost) = self.all_acknowledged().iter().find(|value| !distinct.contains(value)) {
            return Err(format!("{lost} was acknowledged and is lost; there are {values:?}"));
        }
        for id in voters {
            let replica = self.replicas.get(id).ok_or("a voter is down")?;
            if replica.values() != values || replica.voters().as_deref() != Some(voters) {
                let (held, members) = (replica.values(), replica.voters());
                return Err(format!("{id} has {held:?}, voters {members:?}; others {values:?}"));
            }
        }
        Ok(())
    }
}

/// Both clusters, and what was done to them.
struct Pair {
    ours: Cluster<Ours>,
    theirs: Cluster<Theirs>,
    network: Network,
    voters: Vec<u64>,
    down: BTreeSet<u64>,
    /// Replica ids that were ever given out.
    ids: u64,
    values: u64,
    told: Vec<String>,
    mischief: Option<Mischief>,
}

/// Runs one schedule. The error tells what differs and why it should not.
pub fn run(
    seed: u64,
    mischief: Option<Mischief>,
    differences: &mut Differences,
) -> Result<(), String> {
    let mut random = Random::new(seed);
    let ids = random.between(3, 5);
    let voters: Vec<u64> = (1..=ids).collect();
    let our_disks = voters.iter().map(|id| (*id, ours::Disk::new(ours::membership(&voters, &[]))));
    let their_disks = voters.iter().map(|id| (*id, theirs::Disk::new(&voters, &[])));
    let mut pair = Pair {
        ours: Cluster::new(seed, our_disks.collect()),
        theirs: Cluster::new(seed, their_disks.collect()),
        network: Network::default(),
        voters: voters.clone(),
        down: BTreeSet::new(),
        ids,
        values: 0,
        told: Vec::new(),
        mischief,
    };
    let told = |pair: &Pair, what: String| format!("{what}\n{}", pair.told.join("\n"));
    for _ in 0..12 {
        pair.deed(&mut random, differences).map_err(|what| told(&pair, what))?;
        let ms = random.between(1, SETTLE_MS);
        pair.run(ms);
        if random.chance(1, 2) {
            pair.compare(differences).map_err(|what| told(&pair, what))?;
        }
    }
    pair.heal();
    pair.compare(differences).map_err(|what| told(&pair, what))?;
    pair.judge().map_err(|what| told(&pair, what))
}

impl Pair {
    fn run(&mut self, ms: u64) {
        self.ours.run(ms, &self.network);
        self.theirs.run(ms, &self.network);
    }

    fn pick(&self, random: &mut Random) -> u64 {
        *random.pick(&self.voters).expect("there are voters")
    }

    fn deed(&mut self, random: &mut Random, differences: &mut Differences) -> Result<(), String> {
        match random.below(9) {
            0 | 1 => {
                let id = self.pick(random);
                self.told.push(format!("crash {id}"));
                self.ours.crash(id);
                self.theirs.crash(id);
                self.down.insert(id);
                if self.mischief == Some(Mischief::EntryLost)
                    && let Some(disk) = self.ours.disks.get_mut(&id)
                {
                    disk.lose_entry();
                }
            }
            2 => self.restart_all(),
            3 => {
                let side: BTreeSet<u64> =
                    self.voters.iter().copied().filter(|_| random.chance(1, 2)).collect();
                self.told.push(format!("cut off {side:?}"));
                let ids = self.voters.clone();
                let pairs = ids.iter().flat_map(|from| ids.iter().map(move |to| (*from, *to)));
                self.network.cut =
                    pairs.filter(|(from, to)| side.contains(from) != side.contains(to)).collect();
            }
            4 => {
                self.told.push("join".to_string());
                self.network.cut.clear();
            }
            5 => return self.hand_over(random, differences),
            6 => {
                self.told.push("propose some".to_string());
                for _ in 0..random.between(1, 20) {
                    self.values += 1;
                    let value = self.values * 100;
                    self.ours.leader().map(|(_, leader)| leader.propose(value));
                    self.theirs.leader().map(|(_, leader)| leader.propose(value));
                }
            }
            7 => {
                let ids = self.voters.clone();
                let pairs = ids.iter().flat_map(|from| ids.iter().map(move |to| (*from, *to)));
                let odds = random.between(1, 3);
                self.network.cut = pairs.filter(|_| random.chance(odds, 6)).collect();
                self.told.push(format!("cut one way {:?}", self.network.cut));
            }
            _ => self.change(random, differences),
        }
        Ok(())
    }

    /// Somebody is to lead: where all is well it must come to that.
    fn hand_over(
        &mut self,
        random: &mut Random,
        differences: &mut Differences,
    ) -> Result<(), String> {
        let to = self.pick(random);
        let well = random.chance(1, 2);
        if well {
            self.heal();
        }
        self.told.push(format!("hand over to {to}"));
        if let Some((_, leader)) = self.ours.leader() {
            leader.transfer(to);
        }
        if let Some((_, leader)) = self.theirs.leader() {
            leader.transfer(to);
        }
        if well {
            self.run(SERVE_MS);
            let ours = self.ours.leader().map(|(id, _)| *id);
            let theirs = self.theirs.leader().map(|(id, _)| *id);
            if (ours, theirs) != (Some(to), Some(to)) {
                return Err(format!("ours is led by {ours:?}, theirs by {theirs:?}"));
            }
            differences.reach("a handover was done");
        }
        Ok(())
    }

    fn restart_all(&mut self) {
        self.told.push("restart".to_string());
        for id in std::mem::take(&mut self.down) {
            self.ours.start(id, true);
            self.theirs.start(id, true);
        }
    }

    fn heal(&mut self) {
        self.told.push("heal".to_string());
        self.network.cut.clear();
        self.restart_all();
        self.run(2 * SETTLE_MS);
    }

    /// Whether clients are served must not depend on the core.
    fn compare(&mut self, differences: &mut Differences) -> Result<(), String> {
        self.run(SETTLE_MS);
        self.values += 1;
        let ours = self.ours.serves(self.values, &self.network);
        let theirs = self.theirs.serves(self.values, &self.network);
        self.told.push(format!("serves: ours {ours}, theirs {theirs}"));
        differences.compared += 1;
        differences.reach(if ours { "a cluster served" } else { "a cluster did not serve" });
        let could = match ours {
            true => self.theirs.could_serve(&self.voters, &self.network),
            false => self.ours.could_serve(&self.voters, &self.network),
        };
        match ours == theirs {
            true => Ok(()),
            false if could => Err("only one of them serves".to_string()),
            false => {
                differences.note("one cluster's logs leave nobody to elect until links are mended");
                Ok(())
            }
        }
    }

    /// Voters change while all is well: one or two leave or come, at a stroke.
    fn change(&mut self, random: &mut Random, differences: &mut Differences) {
        self.heal();
        let mut next: Vec<u64> =
            self.voters.iter().copied().filter(|_| random.chance(3, 4)).collect();
        let mut new = Vec::new();
        while next.len() < 3 || (next.len() < 5 && random.chance(1, 3)) {
            self.ids += 1;
            next.push(self.ids);
            new.push(self.ids);
        }
        if next == self.voters {
            return;
        }
        self.told.push(format!("voters {next:?} instead of {:?}", self.voters));
        for id in &new {
            self.ours.disks.insert(*id, ours::Disk::new(Default::default()));
            self.theirs.disks.insert(*id, theirs::Disk::new(&self.voters, &[]));
            self.ours.start(*id, false);
            self.theirs.start(*id, false);
        }
        let ours = self.ours.leader().is_some_and(|(_, leader)| leader.change(&next));
        let theirs = self.theirs.leader().is_some_and(|(_, leader)| leader.change(&next));
        self.told.push(format!("taken: ours {ours}, theirs {theirs}"));
        if ours && theirs {
            differences.reach("voters were changed");
        }
        self.run(2 * SETTLE_MS);
        let gone: Vec<u64> = self.voters.iter().copied().filter(|id| !next.contains(id)).collect();
        for id in gone {
            self.ours.crash(id);
            self.theirs.crash(id);
        }
        self.voters = next;
    }

    fn judge(&self) -> Result<(), String> {
        self.ours.judge(&self.voters).map_err(|what| format!("ours: {what}"))?;
        self.theirs.judge(&self.voters).map_err(|what| format!("theirs: {what}"))
    }
}
