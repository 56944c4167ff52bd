//! Full disks: what takes a node's room, and what the node's helpers make of it.
//!
//! In a world in which disks become full, a host's tables stand on the same disk as its log, with a
//! reserve, and its log and tables are looked after by what looks after them in a real process:
//! [`Line`] and [`Upkeep`], which the runtime gives a thread each. Here they are given their time. What
//! the runtime's `Helpers` do between the two is done here once more: a flush waits until the log is
//! durable past its rows, the upkeep learns that the log is blocked, and the node how much room there
//! is.
//!
//! A disk becomes full because others take all its room, but for a little at times. They leave after
//! some seconds, at the latest when peace comes. What the node gives up meanwhile is its own again, so
//! deletes of clients (`workload::filler`) may end it sooner.
//!
//! What must hold besides everything else: no process ends for want of room, what was refused with
//! "the disk is full" did not happen (the judges of clients know it by that), and once there is room
//! everybody is served without anybody's help.

use super::atlas::Health;
use super::{Event, World};
use crate::judge::Judge;
use crate::marks::Mark;
use crate::mutant::Mutant;
use base::failure::{Failure, NotDone};
use base::time::{MILLISECOND, SECOND};
use base::{ConnId, Mono};
use node::api::{Answer, Call, FromConn};
use node::{Input, Room, RoomCounts};
use service::kv::Op;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use storage::engine::FlushJob;
use storage::tables::ModelTables;
use storage::tables::upkeep::{Done, Upkeep};
use storage::wal::WalOptions;
use storage::wal::line::Line;

use super::hosts::{Host, HostInput};

/// How long a log is idle before it does what only idleness allows.
const IDLE_NS: u64 = 200 * MILLISECOND;
/// There being room again, every node must know so after this long.
const ROOM_NS: u64 = 20 * SECOND;
/// What a table takes besides its rows.
const TABLE_BYTES: u64 = storage::tables::RUN_BYTES;

/// How many disks are full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FullDisks {
    None,
    Some,
    Most,
}

/// What is done for a process beside its node's thread.
pub struct Helpers {
    line: Line,
    upkeep: Upkeep,
    /// The newest ticket given to the log, and the newest that is durable.
    given: u64,
    durable: u64,
    /// Flushes that wait until a ticket is durable.
    waiting: VecDeque<(u64, FlushJob)>,
    log_room: Room,
    tables_full: bool,
    /// When each does something next.
    log_at: Option<u64>,
    upkeep_at: Option<u64>,
    /// As its node last counted, and whether it is handing over for want of room.
    counts: RoomCounts,
    leaving: bool,
    /// Writes of clients that were not answered yet; whether they only delete, and were asked for
    /// while most disks were full.
    writes: BTreeMap<(ConnId, u64), bool>,
}

impl Helpers {
    fn new(now: u64) -> Helpers {
        Helpers {
            line: Line::default(),
            upkeep: Upkeep::new(Mono(now), TABLE_BYTES),
            given: 0,
            durable: 0,
            waiting: VecDeque::new(),
            log_room: Room::Ample,
            tables_full: false,
            log_at: None,
            upkeep_at: None,
            counts: RoomCounts::default(),
            leaving: false,
            writes: BTreeMap::new(),
        }
    }

    /// A request goes into the node.
    pub fn asked(&mut self, from: &FromConn, full: FullDisks) {
        if let FromConn::Request(request) = from
            && let Call::Kv(batch) = &request.call
            && batch.writes()
            && full != FullDisks::None
        {
            let deletes = batch
                .ops
                .iter()
                .all(|(_, op)| matches!(op, Op::Delete(_) | Op::Flush | Op::FlushAll));
            let deletes = deletes && full == FullDisks::Most;
            self.writes.insert((request.conn, request.seq), deletes);
        }
    }

    fn room(&self) -> Room {
        self.log_room.max(if self.tables_full { Room::Reserve } else { Room::Ample })
    }
}

impl Host {
    /// Whether its node was told that its disk is full.
    fn knows_of_no_room(&self) -> bool {
        self.helpers.as_ref().is_some_and(|helpers| helpers.room() != Room::Ample)
    }
}

impl World<'_> {
    /// Puts a host's empty tables on its disk, if disks become full here.
    pub(super) fn equip(&mut self, number: usize) {
        if self.profile.fills {
            let memtable = self.profile.options.engine.memtable_bytes as u64;
            let reserve = memtable + memtable / 4 + self.profile.wal.segment_bytes;
            let host = &mut self.hosts[number];
            host.wal_options = WalOptions { owner: host.incarnation.0, ..self.profile.wal.clone() };
            host.tables = ModelTables::on(host.disk.clone(), reserve);
        }
    }

    /// A process has started.
    pub(super) fn start_helpers(&mut self, number: usize) {
        if self.profile.fills {
            self.hosts[number].helpers = Some(Box::new(Helpers::new(self.now)));
            self.plan_upkeep(number);
            self.plan_log(number, 0);
        }
    }

    /// Others take all the room of this disk, or of some more.
    pub(super) fn fill_disks(&mut self, first: usize) {
        let nodes = self.hosts.len();
        let counts = [1, (nodes - 1) / 2, nodes / 2 + 1, nodes];
        let count = counts[self.random.faults.below(4) as usize].max(1);
        let pause = self.random.faults.between(500, 8000) * MILLISECOND;
        self.faults.fill_number += 1;
        let fault = self.faults.fill_number;
        let mut filled = Vec::new();
        for number in (first..first + count).map(|number| number % nodes) {
            let little = match self.random.faults.chance(1, 2) {
                true => self.random.faults.below(2 * self.profile.wal.segment_bytes),
                false => 0,
            };
            let host = &mut self.hosts[number];
            // A directory that is still to be made would be a matter between operator and installer.
            if !host.used || self.atlas.health(number) == Health::Gone {
                continue;
            }
            host.disk.set_capacity(Some(host.disk.used() + host.disk.beside() + little));
            self.faults.filled.insert(number, fault);
            filled.push(format!("n{}", number + 1));
        }
        let seconds = pause / MILLISECOND;
        self.say(format!("the disks of {} are full for {seconds} ms", filled.join(" ")));
        self.after(pause, Event::RoomBack { fault });
    }

    /// Those who took the room leave.
    pub(super) fn bring_room(&mut self, fault: Option<u64>) {
        let filled = self.faults.filled.iter();
        let filled = filled.filter(|(_, of)| fault.is_none_or(|fault| fault == **of));
        for number in filled.map(|(number, _)| *number).collect::<Vec<_>>() {
            self.faults.filled.remove(&number);
            self.hosts[number].disk.set_capacity(None);
            self.say(format!("there is room again on n{}", number + 1));
        }
    }

    /// Something was given to the log.
    pub(super) fn given(&mut self, number: usize, ticket: u64) {
        if let Some(helpers) = &mut self.hosts[number].helpers {
            helpers.given = ticket;
        }
    }

    /// Appends what waits as far as there is room, and begins a sync, unless one is under way.
    pub(super) fn write_line(&mut self, number: usize) {
        let now = Mono(self.now);
        let dropping =
            self.mutant == Some(Mutant::DropsWhenFull) && self.faults.filled.contains_key(&number);
        let host = &mut self.hosts[number];
        let (Some(helpers), None) = (&mut host.helpers, host.syncing) else { return };
        let mut dropped = None;
        for (ticket, records) in std::mem::take(&mut host.log_queue) {
            match dropping {
                true => dropped = Some(ticket),
                false => helpers.line.take_up(ticket, records),
            }
        }
        let wal = host.wal.as_mut().expect("a process that is up has its log");
        let written = helpers.line.write(wal, now);
        let unsynced = wal.needs_sync();
        match written {
            Err(error) => return self.log_failed(number, &error),
            Ok(None) if !unsynced && dropped.is_none() => {}
            Ok(ticket) => {
                host.syncing = Some(ticket.or(dropped).unwrap_or(0));
                self.plan_sync(number);
            }
        }
        self.log_has(number);
    }

    /// The log is durable up to a ticket.
    pub(super) fn line_durable(&mut self, number: usize, ticket: u64) {
        let Some(helpers) = &mut self.hosts[number].helpers else { return };
        helpers.durable = helpers.durable.max(ticket);
        self.release_flushes(number);
    }

    /// Plans when the log does its next work.
    pub(super) fn plan_log(&mut self, number: usize, pause: u64) {
        let at = self.now + pause;
        let host = &mut self.hosts[number];
        let Some(helpers) = &mut host.helpers else { return };
        if helpers.log_at.is_none_or(|planned| at < planned) {
            helpers.log_at = Some(at);
            let life = host.life;
            self.at(at, Event::LogWork { host: number, life });
        }
    }

    /// The log tries again what did not fit, and does a piece of housekeeping.
    pub(super) fn work_on_log(&mut self, number: usize, life: u64) {
        let (now, idle) = (self.now, self.random.disks.below(5 * MILLISECOND));
        let host = &mut self.hosts[number];
        let Some(helpers) = host.helpers.as_mut().filter(|_| host.life == life) else { return };
        if helpers.log_at != Some(now) {
            return;
        }
        helpers.log_at = None;
        if host.paused_until > now {
            let pause = host.paused_until - now;
            return self.plan_log(number, pause);
        }
        self.write_line(number);
        let host = &mut self.hosts[number];
        let (Some(helpers), None) = (&mut host.helpers, host.syncing) else { return };
        let wal = host.wal.as_mut().expect("a process that is up has its log");
        let more = match helpers.line.maintain(wal, helpers.tables_full) {
            Ok(more) => more,
            Err(error) => return self.log_failed(number, &error),
        };
        if wal.needs_sync() {
            host.syncing = Some(0);
            self.plan_sync(number);
        } else {
            let retry = helpers.line.retry_at().map_or(IDLE_NS, |at| at.since(Mono(now)));
            self.plan_log(number, if more { idle } else { retry.clamp(1, IDLE_NS) });
        }
        self.log_has(number);
    }

    /// A log that is blocked, or no longer, is told to the upkeep, which may have room for it.
    fn log_has(&mut self, number: usize) {
        let segment_bytes = self.profile.wal.segment_bytes;
        let Some(helpers) = &mut self.hosts[number].helpers else { return };
        let (before, room) = (helpers.room(), helpers.line.room());
        let was = std::mem::replace(&mut helpers.log_room, room);
        if (was == Room::None) != (room == Room::None) {
            helpers.upkeep.log_needs(if room == Room::None { segment_bytes } else { 0 });
            self.plan_upkeep(number);
        }
        if was != room && room != Room::Ample {
            self.hit(if room == Room::None { Mark::LogBlocked } else { Mark::DiskFull });
        }
        self.tell_room(number, before);
    }

    /// Tells a node how much room there is, if that has changed.
    fn tell_room(&mut self, number: usize, before: Room) {
        let Some(helpers) = &self.hosts[number].helpers else { return };
        let room = helpers.room();
        if room != before {
            if room == Room::Ample {
                self.hit(Mark::RoomBack);
                if self.faults.filled.contains_key(&number) {
                    self.hit(Mark::RoomMade);
                }
            }
            self.say(format!("n{} has room: {room:?}", number + 1));
            self.give(number, HostInput::Node(Input::Room(room)));
        }
    }

    /// A memtable is to become a table, once the log is durable past its rows.
    pub(super) fn queue_flush(&mut self, number: usize, job: FlushJob) {
        let Some(helpers) = &mut self.hosts[number].helpers else { return };
        helpers.waiting.push_back((helpers.given, job));
        self.release_flushes(number);
    }

    fn release_flushes(&mut self, number: usize) {
        let Some(helpers) = &mut self.hosts[number].helpers else { return };
        let durable = helpers.durable;
        while let Some((_, job)) = helpers.waiting.pop_front_if(|(after, _)| *after <= durable) {
            helpers.upkeep.flush(job);
        }
        self.plan_upkeep(number);
    }

    /// Tables may be merged.
    pub(super) fn queue_compaction(&mut self, number: usize, oldest: u64, dead: BTreeSet<u64>) {
        let Some(helpers) = &mut self.hosts[number].helpers else { return };
        helpers.upkeep.compact(oldest, dead);
        self.plan_upkeep(number);
    }

    /// Plans what is due next, after the time that it takes.
    fn plan_upkeep(&mut self, number: usize) {
        let host = &self.hosts[number];
        let Some(due) = host.helpers.as_ref().and_then(|helpers| helpers.upkeep.due()) else {
            return;
        };
        let at = due.0.max(self.now) + self.helper_pause();
        let host = &mut self.hosts[number];
        let helpers = host.helpers.as_mut().expect("just seen");
        if helpers.upkeep_at.is_none_or(|planned| at < planned) {
            helpers.upkeep_at = Some(at);
            let life = host.life;
            self.at(at, Event::Upkeep { host: number, life });
        }
    }

    /// Does one thing for the tables.
    pub(super) fn work_on_tables(&mut self, number: usize, life: u64) {
        let now = self.now;
        let host = &mut self.hosts[number];
        let Some(helpers) = host.helpers.as_mut().filter(|_| host.life == life) else { return };
        if helpers.upkeep_at != Some(now) {
            return;
        }
        helpers.upkeep_at = None;
        let worked = helpers.upkeep.work(&host.tables, &|| Mono(now));
        for done in helpers.upkeep.done() {
            self.upkeep_did(number, done);
        }
        match worked {
            Ok(()) => self.plan_upkeep(number),
            Err(error) => self.refused_start(number, &error),
        }
    }

    fn upkeep_did(&mut self, number: usize, done: Done) {
        match done {
            Done::Flushed { id, generation, .. } => self.told_flushed(number, id, generation),
            Done::Unfit => self.hit(Mark::TablesFull),
            Done::Merged { fits: true, .. } => self.hit(Mark::Compacted),
            Done::Merged { fits: false, .. } => {}
            Done::Lent(bytes) => {
                self.hit(Mark::ReserveLent);
                self.say(format!("n{} lends {bytes} bytes of its reserve", number + 1));
            }
            Done::Full(full) => {
                let Some(helpers) = &mut self.hosts[number].helpers else { return };
                let before = helpers.room();
                helpers.tables_full = full;
                if !full {
                    self.hit(Mark::ReserveWhole);
                }
                self.tell_room(number, before);
            }
        }
    }

    /// An answer comes out of a node; what its client is told.
    pub(super) fn answered_on_full_disks(&mut self, number: usize, mut answer: Answer) -> Answer {
        let full_disks = self.full_disks();
        let Some(helpers) = &mut self.hosts[number].helpers else { return answer };
        let asked = helpers.writes.remove(&(answer.conn, answer.seq));
        let full = Err(Failure::NotDone(NotDone::DiskFull));
        if asked == Some(true) && full_disks == FullDisks::Most && answer.result.is_ok() {
            self.hit(Mark::DeletePassedFull);
        }
        if answer.result == full {
            self.hit(Mark::WriteRefusedFull);
        }
        if self.mutant == Some(Mutant::RefusesAndLogs)
            && full_disks != FullDisks::None
            && asked.is_some()
            && answer.result.is_ok()
            && self.random.disks.chance(1, 4)
        {
            answer.result = full;
        }
        answer
    }

    /// How many disks are full, as far as their nodes know.
    pub(super) fn full_disks(&self) -> FullDisks {
        match self.hosts.iter().filter(|host| host.knows_of_no_room()).count() {
            0 => FullDisks::None,
            count if count > self.hosts.len() / 2 => FullDisks::Most,
            _ => FullDisks::Some,
        }
    }

    /// Looks at what a node did for want of room.
    pub(super) fn observe_room(&mut self, number: usize) {
        let host = &mut self.hosts[number];
        let (Some(helpers), Some(node)) = (&mut host.helpers, &host.node) else { return };
        let counts = node.room_counts();
        let before = std::mem::replace(&mut helpers.counts, counts);
        helpers.leaving |= counts.left > before.left;
        let left = helpers.leaving && node.observe().all(|seen| !seen.leads);
        helpers.leaving &= !left;
        if left {
            self.hit(Mark::LeaderLeftFull);
        }
        self.totals.marks.hits(Mark::SnapshotRefusedFull, counts.refused - before.refused);
    }

    /// In peace there is room, and whoever had none finds it before long.
    pub(super) fn expect_room(&mut self) {
        let until = self.now + ROOM_NS;
        self.run_until(until, |world| world.full_disks() == FullDisks::None);
        let without = self.hosts.iter().filter(|host| host.knows_of_no_room());
        let without: Vec<String> = without.map(|host| format!("n{}", host.number + 1)).collect();
        if !without.is_empty() {
            let what = format!("{} found no room though there is some", without.join(" "));
            self.violated_for(Judge::Assertion, what);
        }
    }
}
