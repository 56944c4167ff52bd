//! Logs and tables: what takes time, and what fails.

use super::hosts::{End, HostInput};
use super::{Event, World};
use crate::judge::Judge;
use crate::marks::Mark;
use crate::mutant::Mutant;
use base::time::MILLISECOND;
use node::{Fetch, Fetched, Input};
use storage::tables::{ModelTables, RangeLimit, Tables, TablesError};
use storage::wal::{Record, WAL_DIRECTORY, WalError};

/// What the tables say.
pub fn answer(tables: &ModelTables, fetch: Fetch) -> Result<Fetched, TablesError> {
    Ok(match fetch {
        Fetch::Keys { generation, keys } => Fetched::Keys(tables.get(&keys, generation)?),
        Fetch::Range { generation, range, rows_max, bytes_max } => {
            let limit = RangeLimit { rows: rows_max, bytes: bytes_max };
            let slice = tables.range(&range, generation, limit)?;
            Fetched::Range(slice.rows, slice.covered_until)
        }
    })
}

impl World<'_> {
    /// The node wants something written.
    pub(super) fn log(&mut self, number: usize, ticket: u64, records: Vec<Record>) {
        self.watch.logged(number, ticket, &records);
        let records = self.mutant.map_or(records.clone(), |mutant| mutant.written(records));
        if self.mutant == Some(Mutant::AcksBeforeDurable) {
            self.watch.durable(number, ticket);
            self.give(number, HostInput::Node(Input::Logged { ticket }));
        }
        self.hosts[number].log_queue.push_back((ticket, records));
        self.given(number, ticket);
        self.write_log(number);
    }

    /// Appends what waits, and begins a sync, unless one is under way.
    fn write_log(&mut self, number: usize) {
        if self.hosts[number].helpers.is_some() {
            return self.write_line(number);
        }
        let host = &mut self.hosts[number];
        if host.syncing.is_some() || host.log_queue.is_empty() {
            return;
        }
        let wal = host.wal.as_mut().expect("a process that is up has its log");
        let mut last = 0;
        for (ticket, records) in std::mem::take(&mut host.log_queue) {
            last = ticket;
            if let Err(error) = wal.append(&records) {
                return self.log_failed(number, &error);
            }
        }
        host.syncing = Some(last);
        self.plan_sync(number);
    }

    pub(super) fn plan_sync(&mut self, number: usize) {
        let sync_ns = self.profile.sync_ns;
        let mut pause = sync_ns + self.random.disks.below(3 * sync_ns);
        if self.random.disks.chance(1, 200) {
            pause *= 20;
        }
        let host = &self.hosts[number];
        let (factor, until) = host.slow;
        if self.now < until {
            pause = pause.saturating_mul(factor).min(2_000 * MILLISECOND);
        }
        let life = host.life;
        if host.harm.cut_in_sync {
            let before = self.random.disks.below(pause);
            self.after(before, Event::PowerCut { host: number, life });
        }
        self.after(pause, Event::Synced { host: number, life });
    }

    pub(super) fn power_cut(&mut self, number: usize, life: u64) {
        let host = &mut self.hosts[number];
        if host.life == life && std::mem::take(&mut host.harm.cut_in_sync) {
            self.end(number, End::PowerLoss, None);
        }
    }

    pub(super) fn synced(&mut self, number: usize, life: u64) {
        let host = &mut self.hosts[number];
        if host.life != life {
            return;
        }
        if host.paused_until > self.now {
            let at = host.paused_until;
            return self.at(at, Event::Synced { host: number, life });
        }
        let Some(ticket) = host.syncing.take() else { return };
        let wal = host.wal.as_mut().expect("a process that is up has its log");
        if let Err(error) = wal.sync() {
            return self.log_failed(number, &error);
        }
        self.note_synced(number);
        if ticket > 0 && self.mutant != Some(Mutant::AcksBeforeDurable) {
            self.note_logged(number, ticket);
            self.watch.durable(number, ticket);
            self.give(number, HostInput::Node(Input::Logged { ticket }));
            self.line_durable(number, ticket);
        }
        self.write_log(number);
        self.plan_maintenance(number);
    }

    fn plan_maintenance(&mut self, number: usize) {
        if !self.hosts[number].up() {
            return;
        }
        if self.hosts[number].helpers.is_some() {
            return self.plan_log(number, 0);
        }
        let host = &mut self.hosts[number];
        if !host.maintaining {
            host.maintaining = true;
            let life = host.life;
            let pause = self.random.disks.below(5 * MILLISECOND);
            self.after(pause, Event::Maintain { host: number, life });
        }
    }

    pub(super) fn maintain(&mut self, number: usize, life: u64) {
        let host = &mut self.hosts[number];
        if host.life != life {
            return;
        }
        host.maintaining = false;
        if host.syncing.is_some() {
            return;
        }
        let wal = host.wal.as_mut().expect("a process that is up has its log");
        match wal.maintain() {
            Ok(more) => {
                if wal.needs_sync() && more {
                    host.syncing = Some(0);
                    self.plan_sync(number);
                } else if more {
                    self.plan_maintenance(number);
                }
            }
            Err(error) => self.log_failed(number, &error),
        }
    }

    /// After an I/O error the process ends, as the runtime's does; anything else is a bug.
    pub(super) fn log_failed(&mut self, number: usize, error: &WalError) {
        let failing = self.hosts[number].harm.failing.take();
        let Some(mark) = failing.filter(|_| matches!(error, WalError::Io { .. })) else {
            if self.finds_damage(number, &error.to_string()) {
                return;
            }
            let what = format!("n{}: the log refuses: {error}", number + 1);
            return self.violated_for(Judge::Assertion, what);
        };
        self.hit(mark);
        self.say(format!("n{} stops: {error}", number + 1));
        let end = match self.random.crashes.chance(1, 2) {
            true => End::PowerLoss,
            false => End::Killed,
        };
        self.end(number, end, None);
    }

    /// The next sync of this host's log fails.
    pub(super) fn fail_sync(&mut self, number: usize) {
        if self.hosts[number].harm.failing.is_some() || !self.hosts[number].used {
            return;
        }
        self.hosts[number].harm.failing = Some(Mark::SyncFailed);
        let (faults, readable) = (self.random.disks.fork(), self.random.faults.chance(1, 2));
        let disk = &self.hosts[number].disk;
        disk.set_faults(faults);
        // As on Linux: what is lost can be read as long as the power stays.
        match readable {
            true => disk.forget_at_next_sync(WAL_DIRECTORY),
            false => disk.fail_next_sync(WAL_DIRECTORY),
        }
    }
}
