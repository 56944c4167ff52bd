//! Machines: a process with the node and its gateway, a disk, tables, clocks.
//!
//! A process takes turns as the runtime's thread does: whatever has arrived is stepped, then one
//! turn, then the effects. A turn takes time, in which inputs gather. While a process stands still
//! they gather too.

use super::atlas::Health;
use super::beside::Beside;
use super::damage::Harm;
use super::room::Helpers;
use super::{CLUSTER, Event, World};
use crate::clock::HostClock;
use crate::judge::Judge;
use crate::marks::Mark;
use crate::mutant::Mutant;
use crate::profile::Profile;
use crate::trace::Line;
use base::time::{MILLISECOND, SECOND};
use base::{Bytes, ConnId, Incarnation, NodeId};
use gateway::resp::Resp;
use node::api::{FromConn, Gateway};
use node::{Boot, Effect, Fetch, FetchId, Fetched, Identity, Input, Node};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;
use storage::disk::{Crash, SimDisk};
use storage::engine::FlushJob;
use storage::tables::{ModelTables, Prepared, RangeLimit, Tables};
use storage::wal::{Record, Wal, WalError, WalOptions};

/// Connections of the world itself, which speak to the node without a gateway.
pub const OWN_CONNS: u64 = 1 << 60;

/// Something that reached a process.
#[derive(Debug)]
pub enum HostInput {
    /// For the node.
    Node(Input),
    /// A client connected.
    Open(ConnId),
    /// A client's bytes.
    Bytes(ConnId, Bytes),
    /// A client is gone.
    Close(ConnId),
}

/// One machine.
pub struct Host {
    pub number: usize,
    pub clock: HostClock,
    pub disk: SimDisk,
    pub tables: ModelTables,
    pub beside: Beside,
    /// The running process' node; none while it is down.
    pub node: Option<Node>,
    pub gateway: Resp,
    /// Counts processes; events of an earlier one are void.
    pub life: u64,
    pub incarnation: Incarnation,
    /// A process ran on this directory before.
    pub used: bool,
    pub inbox: VecDeque<HostInput>,
    /// When the next turn is planned, in its place among what happens then, and from when on the
    /// thread is free.
    pub turn_at: Option<(u64, u64)>,
    pub free_at: u64,
    pub paused_until: u64,
    /// The log, and what waits for it.
    pub wal: Option<Wal>,
    pub wal_options: WalOptions,
    pub log_queue: VecDeque<(u64, Vec<Record>)>,
    pub syncing: Option<u64>,
    pub maintaining: bool,
    /// Syncs take so many times longer, until then.
    pub slow: (u64, u64),
    pub flushing: Option<(u64, Prepared)>,
    pub fetching: BTreeMap<FetchId, Fetch>,
    pub compacting: Option<(u64, Vec<u64>)>,
    /// What looks after log and tables where disks become full.
    pub helpers: Option<Box<Helpers>>,
    /// As they were before the last flush, for a mutant.
    pub older_tables: Option<ModelTables>,
    /// What was done to its disk.
    pub harm: Harm,
    /// Its directory is one of those that the cluster began with.
    pub founder: bool,
    /// Dies after so many effects.
    pub doomed: Option<u64>,
    /// Bytes of connections that the gateway did not take yet.
    pub unread: BTreeMap<ConnId, Vec<u8>>,
    /// What a connection that broke within a request left behind, for a mutant.
    pub half_request: Option<Bytes>,
    /// When a process that is down starts again.
    pub starting: bool,
}

impl Host {
    pub fn new(number: usize, clock: HostClock, profile: &Profile) -> Host {
        let incarnation = Incarnation(1000 + number as u64);
        Host {
            number,
            clock,
            disk: SimDisk::new(),
            tables: ModelTables::new(),
            beside: Beside::default(),
            node: None,
            gateway: Resp::new(gateway::resp::Options::default()),
            life: 0,
            used: false,
            inbox: VecDeque::new(),
            turn_at: None,
            free_at: 0,
            paused_until: 0,
            wal: None,
            wal_options: WalOptions { owner: incarnation.0, ..profile.wal.clone() },
            incarnation,
            log_queue: VecDeque::new(),
            syncing: None,
            maintaining: false,
            slow: (1, 0),
            flushing: None,
            fetching: BTreeMap::new(),
            compacting: None,
            helpers: None,
            older_tables: None,
            harm: Harm::default(),
            founder: true,
            doomed: None,
            unread: BTreeMap::new(),
            half_request: None,
            starting: true,
        }
    }

    pub fn up(&self) -> bool {
        self.node.is_some()
    }
}

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With its machine: what was not synced is torn.
    PowerLoss,
    /// Alone: the operating system keeps what was written.
    Killed,
}

/// No disk takes longer to write a table, so that whatever waits for one is done within a peace.
const SLOWEST_FLUSH: u64 = 2 * SECOND;

impl World<'_> {
    pub(super) fn identity(&self, host: usize) -> Identity {
        let members = (0..self.hosts.len())
            .map(|other| (World::node_of(other), format!("host{other}:1")))
            .collect::<BTreeMap<NodeId, String>>();
        Identity {
            cluster: CLUSTER,
            node: World::node_of(host),
            incarnation: self.hosts[host].incarnation,
            founder: self.hosts[host].founder,
            members,
        }
    }

    /// A process that has nothing to complain about its disk does not start.
    pub(super) fn refused_start(&mut self, number: usize, error: &dyn std::fmt::Display) {
        if !self.finds_damage(number, &error.to_string()) {
            self.violated_for(Judge::Assertion, format!("n{} can't start: {error}", number + 1));
        }
    }

    /// A process starts on its data directory.
    pub(super) fn start(&mut self, number: usize) {
        if self.hosts[number].up() || self.atlas.health(number) == Health::Gone {
            return;
        }
        self.totals.starts += 1;
        let identity = self.identity(number);
        let (now, boot, seed) = (self.now, self.random.nodes.u64(), self.random.nodes.u64());
        let options = self.profile.options.clone();
        let host = &mut self.hosts[number];
        host.life += 1;
        host.starting = false;
        if !host.used {
            Wal::create(&mut host.disk.clone(), &host.wal_options).expect("an empty disk is fine");
        }
        let opened = Wal::open(Box::new(host.disk.clone()), host.wal_options.clone());
        let (wal, recovered) = match opened {
            Ok(opened) => opened,
            Err(WalError::Io { .. }) if host.harm.failing.is_some() => {
                let mark = host.harm.failing.take().expect("just seen");
                self.hit(mark);
                self.say(format!("n{} can't start: its log's disk fails", number + 1));
                return self.after(100 * MILLISECOND, Event::Start { host: number });
            }
            Err(error) => return self.refused_start(number, &error),
        };
        let generation = host.tables.generation();
        let everything = RangeLimit { rows: usize::MAX, bytes: usize::MAX };
        let rows = match host.tables.range(&Boot::system_range(), generation, everything) {
            Ok(slice) => slice.rows,
            Err(error) => return self.refused_start(number, &error),
        };
        self.open_beside(number, &rows);
        let host = &mut self.hosts[number];
        let boot = Boot {
            boot,
            seed,
            identity,
            recovered,
            system_rows: rows,
            generation,
            fresh: !host.used || self.mutant == Some(Mutant::ForgetsPromise),
            client_address: format!("host{number}:2"),
            version: "sim".into(),
        };
        host.used = true;
        host.wal = Some(wal);
        host.maintaining = false;
        host.gateway = Resp::new(gateway::resp::Options {
            deadline: Duration::from_nanos(self.profile.patience_ns * 4 / 5),
            seed,
            ..gateway::resp::Options::default()
        });
        let watched = self.watch.started(number, &boot.recovered);
        let time = host.clock.at(now);
        let (fresh, torn) = (boot.fresh, boot.recovered.torn.is_some());
        match Node::new(options, boot, time) {
            Ok(node) => host.node = Some(node),
            Err(error) => return self.refused_start(number, &error),
        }
        if torn {
            self.hit(Mark::TornTailCut);
        }
        if let Err(wrong) = watched {
            self.violated_for(Judge::Watch, wrong);
        }
        self.say(format!(
            "n{} starts{}",
            number + 1,
            if fresh { " for the first time" } else { "" }
        ));
        self.start_helpers(number);
        self.give(number, HostInput::Node(Input::Tick));
    }

    /// Plans a turn, unless one comes earlier.
    pub(super) fn wake(&mut self, number: usize, at: u64) {
        let host = &mut self.hosts[number];
        let at = at.max(host.free_at).max(host.paused_until);
        let at = at.max(self.now);
        if host.turn_at.is_none_or(|(planned, _)| at < planned) {
            self.numbered += 1;
            host.turn_at = Some((at, self.numbered));
        }
    }

    pub(super) fn turn(&mut self, number: usize) {
        let now = self.now;
        let host = &mut self.hosts[number];
        host.turn_at = None;
        if !host.up() {
            return;
        }
        if host.paused_until > now {
            return self.wake(number, now);
        }
        let inputs = std::mem::take(&mut host.inbox);
        host.free_at = now + self.profile.turn_ns + inputs.len() as u64 * self.profile.turn_ns / 16;
        let time = host.clock.at(now);
        let mut effects = Vec::new();
        let mut asked = Vec::new();
        let full = self.full_disks();
        let host = &mut self.hosts[number];
        let node = host.node.as_mut().expect("it is up");
        for input in inputs {
            match input {
                HostInput::Node(input) => node.step(time, input, &mut effects),
                HostInput::Open(conn) => host.gateway.open(time, conn, "client:1".into()),
                HostInput::Bytes(conn, bytes) => {
                    host.unread.entry(conn).or_default().extend_from_slice(&bytes);
                    offer(&mut host.gateway, &mut host.unread, time, conn, &mut asked);
                }
                HostInput::Close(conn) => {
                    host.unread.remove(&conn);
                    host.gateway.close(conn, &mut asked);
                }
            }
            for from in asked.drain(..) {
                let from = self.mutant.map_or(from.clone(), |mutant| mutant.asked(from));
                self.watch.asked(number, &from);
                if let Some(helpers) = &mut host.helpers {
                    helpers.asked(&from, full);
                }
                node.step(time, Input::Client(from), &mut effects);
            }
        }
        node.turn(time, &mut effects);
        if let Some(mutant) = self.mutant {
            mutant.done(&mut effects);
        }
        self.totals.turns += 1;
        self.trace.mix([now, number as u64, effects.len() as u64, 1]);
        self.carry_out_all(number, effects);
        self.observe(number);
        self.observe_room(number);
        let host = &self.hosts[number];
        if let Some(deadline) = host.node.as_ref().and_then(Node::deadline) {
            let at = host.clock.when(deadline, now);
            self.wake(number, at);
        }
        self.write_sockets(number);
    }

    fn carry_out_all(&mut self, number: usize, effects: Vec<Effect>) {
        let life = self.hosts[number].life;
        for effect in effects {
            if let Some(doomed) = &mut self.hosts[number].doomed {
                if *doomed == 0 {
                    self.hosts[number].doomed = None;
                    let end = match self.random.crashes.chance(1, 2) {
                        true => End::PowerLoss,
                        false => End::Killed,
                    };
                    self.hit(Mark::DiedInTurn);
                    self.say(format!("n{} dies amid its effects", number + 1));
                    return self.end(number, end, None);
                }
                *doomed -= 1;
            }
            self.carry_out(number, effect);
            if self.hosts[number].life != life || !self.hosts[number].up() {
                return;
            }
        }
    }

    fn carry_out(&mut self, number: usize, effect: Effect) {
        match effect {
            Effect::Log { ticket, records } => self.log(number, ticket, records),
            Effect::Peer { to, bulk, body } => self.send(number, to.0 as usize - 1, bulk, body),
            Effect::Answer(answer) => {
                self.watch.answered(number, &answer);
                let answer = self.answered_on_full_disks(number, answer);
                if answer.conn.0 >= OWN_CONNS {
                    return self.own_answer(answer);
                }
                let host = &mut self.hosts[number];
                let time = host.clock.at(self.now);
                let (conn, mut asked) = (answer.conn, Vec::new());
                host.gateway.answer(time, answer, &mut asked);
                offer(&mut host.gateway, &mut host.unread, time, conn, &mut asked);
                for from in asked {
                    self.give(number, HostInput::Node(Input::Client(from.clone())));
                    self.watch.asked(number, &from);
                }
            }
            Effect::Push(_) | Effect::Garbage(_) => {}
            Effect::Fetch(id, fetch) => self.fetch(number, id, fetch),
            Effect::Flush(job) => self.flush(number, job),
            Effect::Compact { oldest, dead } => self.plan_compaction(number, oldest, dead),
            Effect::Peers(peers) => {
                let wanted = peers.keys().map(|node| node.0 as usize - 1).collect();
                self.set_peers(number, wanted);
            }
            Effect::Stopped => {
                self.hit(Mark::Stopped);
                self.say(format!("n{} stopped in good order", number + 1));
                let down = self.random.faults.below(self.profile.down_ns_max) + 1;
                self.end(number, End::Killed, Some(down));
            }
            Effect::Unreadable { from, text } => {
                self.violated(format!("n{} can't read what {from} sent: {text}", number + 1));
            }
            Effect::Fatal(message) => {
                if !self.finds_damage(number, &message) {
                    let what = format!("n{} can't go on: {message}", number + 1);
                    self.violated_for(Judge::Assertion, what);
                }
            }
        }
    }

    /// A process ends; it starts again after `down`, or else after a pause that is drawn.
    pub(super) fn end(&mut self, number: usize, end: End, down: Option<u64>) {
        let host = &mut self.hosts[number];
        if !host.up() {
            return;
        }
        host.node = None;
        host.wal = None;
        host.beside.close();
        host.life += 1;
        host.inbox.clear();
        host.turn_at = None;
        host.paused_until = 0;
        host.doomed = None;
        host.log_queue.clear();
        host.syncing = None;
        host.flushing = None;
        host.fetching.clear();
        host.compacting = None;
        host.helpers = None;
        host.unread.clear();
        if end == End::PowerLoss {
            let crash = host.disk.crash(&mut self.random.crashes);
            host.clock.reboot(self.now, &mut self.random.clocks);
            self.note_crash(&crash);
        } else {
            self.hit(Mark::Killed);
        }
        if let Some(mutant) = self.mutant {
            mutant.after_death(&mut self.hosts[number], end == End::PowerLoss);
        }
        self.watch.ended(number);
        self.ended_in_hiding(number);
        self.links_of_the_dead(number, end == End::PowerLoss);
        self.sockets_of_the_dead(number);
        let down = down
            .unwrap_or_else(|| MILLISECOND + self.random.faults.below(self.profile.down_ns_max));
        self.hosts[number].starting = true;
        self.say(format!("n{} is down ({end:?}) for {} ms", number + 1, down / MILLISECOND));
        self.after(down, Event::Start { host: number });
    }

    fn note_crash(&mut self, crash: &Crash) {
        self.hit(Mark::PowerLost);
        let marks = &mut self.totals.marks;
        if crash.sectors_kept > 0 && crash.sectors_lost > 0 {
            marks.hit(Mark::TornSector);
        }
        marks.hits(Mark::NameLost, crash.names_lost);
        marks.hits(Mark::GrowthLost, crash.growths_lost);
    }

    fn flush(&mut self, number: usize, job: FlushJob) {
        if self.hosts[number].helpers.is_some() {
            return self.queue_flush(number, job);
        }
        let slow = self.helper_pause() * self.profile.moods.slow_tables;
        let pause = slow.min(SLOWEST_FLUSH);
        let host = &mut self.hosts[number];
        let mut rows = job.rows.rows();
        let prepared = host.tables.prepare(&mut rows);
        drop(rows);
        host.beside.prepare(job.rows.rows());
        assert!(host.flushing.is_none(), "one flush at a time");
        host.flushing = Some((job.id, prepared));
        let life = host.life;
        self.after(pause, Event::Flushed { host: number, life });
    }

    pub(super) fn flushed(&mut self, number: usize, life: u64) {
        let host = &mut self.hosts[number];
        if host.life != life {
            return;
        }
        let Some((id, prepared)) = host.flushing.take() else { return };
        if self.mutant == Some(Mutant::LosesTable) {
            host.older_tables = Some(host.tables.image());
        }
        let generation = host.tables.publish(prepared).expect("the tables have room");
        self.flushed_beside(number, generation);
        self.told_flushed(number, id, generation);
    }

    /// A memtable is a table.
    pub(super) fn told_flushed(&mut self, number: usize, id: u64, generation: u64) {
        self.totals.flushes += 1;
        self.hit(Mark::Flushed);
        self.trace.mix([self.now, number as u64, generation, 2]);
        self.say(format!("n{} flushed, generation {generation}", number + 1));
        self.give(number, HostInput::Node(Input::Flushed { id, generation }));
    }

    pub(super) fn helper_pause(&mut self) -> u64 {
        let sync_ns = self.profile.sync_ns;
        match self.random.disks.chance(1, 50) {
            true => self.random.disks.below(sync_ns * 400),
            false => self.random.disks.below(sync_ns * 8),
        }
    }

    fn fetch(&mut self, number: usize, id: FetchId, fetch: Fetch) {
        let pause = self.helper_pause();
        let host = &mut self.hosts[number];
        host.fetching.insert(id, fetch);
        let life = host.life;
        self.after(pause, Event::Fetched { host: number, life, id });
    }

    pub(super) fn fetched(&mut self, number: usize, life: u64, id: FetchId) {
        let host = &mut self.hosts[number];
        if host.life != life {
            return;
        }
        let Some(fetch) = host.fetching.remove(&id) else { return };
        self.totals.fetches += 1;
        self.totals.marks.hit(Mark::Fetched);
        let fetched = crate::world::disks::answer(&host.tables, fetch.clone());
        match fetched {
            Ok(fetched) => {
                self.compare_beside(number, &fetch, &fetched);
                self.give(number, HostInput::Node(Input::Fetched(id, fetched)));
            }
            Err(error) => {
                let damaged = Fetched::Damaged(error.to_string());
                self.give(number, HostInput::Node(Input::Fetched(id, damaged)));
            }
        }
    }

    fn plan_compaction(&mut self, number: usize, oldest: u64, dead: Vec<u64>) {
        if self.hosts[number].helpers.is_some() {
            return self.queue_compaction(number, oldest, dead.into_iter().collect());
        }
        let pause = self.helper_pause();
        let host = &mut self.hosts[number];
        let idle = host.compacting.replace((oldest, dead)).is_none();
        let life = host.life;
        if idle {
            self.after(pause, Event::Compact { host: number, life });
        }
    }

    pub(super) fn compact(&mut self, number: usize, life: u64) {
        let host = &mut self.hosts[number];
        if host.life != life {
            return;
        }
        let Some((oldest, dead)) = host.compacting.take() else { return };
        let dead = dead.into_iter().collect();
        match host.tables.compact(oldest, &dead) {
            Ok(_) => {
                self.compact_beside(number, oldest, &dead);
                self.hit(Mark::Compacted);
            }
            Err(error) => self.refused_start(number, &error),
        }
    }

    pub(super) fn note_logged(&mut self, number: usize, ticket: u64) {
        self.trace.mix([self.now, number as u64, ticket, 3]);
        self.note(Line::Logged { node: number as u64 + 1, ticket });
    }
}

/// Offers a connection's bytes to the gateway, which takes as many as it may.
fn offer(
    gateway: &mut Resp,
    unread: &mut BTreeMap<ConnId, Vec<u8>>,
    time: base::Time,
    conn: ConnId,
    asked: &mut Vec<FromConn>,
) {
    let Some(bytes) = unread.get_mut(&conn) else { return };
    if bytes.is_empty() {
        return;
    }
    let taken = gateway.receive(time, conn, bytes, asked);
    bytes.drain(..taken);
}
