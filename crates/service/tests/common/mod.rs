//! A shard without a log: commands go in, are written and read back as bytes, and change a map.
#![allow(dead_code)] // Each test binary uses its part of this.

use base::{Bytes, KeyRange, Stamp};
use std::collections::{BTreeMap, BTreeSet};
use underpin_service::kv::{self, Batch, Outcome, ReadOutcome};
use underpin_service::{Change, Changes, Command, Machine, Reply, RowKey, Rows, Space};

/// Nanoseconds in a millisecond.
pub const MS: u64 = 1_000_000;

/// The rows that were declared; asking for others panics.
pub struct Declared<'a> {
    declared: BTreeSet<RowKey>,
    rows: &'a BTreeMap<RowKey, Bytes>,
}

impl Rows for Declared<'_> {
    fn get(&self, key: &RowKey) -> Option<Bytes> {
        assert!(self.declared.contains(key), "{key:?} was not declared");
        self.rows.get(key).cloned()
    }
}

pub struct Shard {
    pub machine: Machine,
    pub rows: BTreeMap<RowKey, Bytes>,
    /// The stamp of the last command.
    pub applied: Stamp,
    /// The shard's time.
    pub now: Stamp,
}

impl Shard {
    /// A shard whose time begins at one second.
    pub fn new(machine: Machine) -> Shard {
        let now = Stamp(1_000 * MS);
        Shard { machine, rows: BTreeMap::new(), applied: Stamp(0), now }
    }

    /// Logs a command and applies it.
    pub fn log(&mut self, command: &Command) -> Reply {
        let command = Command::decode(command.encode()).expect("a command is read back");
        self.applied = Stamp(self.now.0.max(self.applied.0 + 1));
        self.now = self.applied;
        let (reply, changes) = self.apply(&command);
        for change in changes {
            match change {
                Change::Put(key, row) => {
                    self.rows.insert(key, row);
                }
                Change::Delete(key) => {
                    self.rows.remove(&key);
                }
                Change::Reset(space) => self.rows.retain(|key, _| key.space != space),
            }
        }
        reply
    }

    /// Applies a command twice over, as two replicas would.
    fn apply(&mut self, command: &Command) -> (Reply, Changes) {
        let declared = self.machine.reads(command).into_iter().collect();
        let rows = Declared { declared, rows: &self.rows };
        let mut other = self.machine.clone();
        let (mut changes, mut changes_of_other) = (Vec::new(), Vec::new());
        let reply = self.machine.apply(self.applied, command, &rows, &mut changes);
        let reply_of_other = other.apply(self.applied, command, &rows, &mut changes_of_other);
        assert_eq!((&reply, &changes), (&reply_of_other, &changes_of_other));
        (reply, changes)
    }

    /// A read at the shard's time; says also whether a stamp had to be committed first.
    pub fn read(&mut self, batch: &Batch) -> (Outcome, bool) {
        match self.try_read(batch) {
            ReadOutcome::Done(outcome) => (outcome, false),
            ReadOutcome::Due => {
                self.log(&Command::Stamp);
                match self.try_read(batch) {
                    ReadOutcome::Done(outcome) => (outcome, true),
                    ReadOutcome::Due => panic!("due again after a stamp"),
                }
            }
        }
    }

    fn try_read(&self, batch: &Batch) -> ReadOutcome {
        let declared = kv::reads(batch).into_iter().collect();
        let rows = Declared { declared, rows: &self.rows };
        kv::read(batch, self.applied, self.now, &rows)
    }

    /// What the leader would log to remove what is due.
    pub fn sweep_command(&self) -> Option<Command> {
        let spans = self.machine.due_spans(self.now);
        let found: Vec<_> =
            spans.iter().flat_map(|(space, span)| self.scan(*space, span)).collect();
        self.machine.sweep_command(found.into_iter().map(|(at, _)| (at.space, at.key)))
    }

    /// Rows of a span, in order.
    pub fn scan(&self, space: Space, span: &KeyRange) -> Vec<(RowKey, Bytes)> {
        let start = RowKey { space, key: span.start.clone() };
        let from = self.rows.range(start..).take_while(|(at, _)| at.space == space);
        let inside = from.take_while(|(at, _)| span.end.as_ref().is_none_or(|end| at.key < *end));
        inside.map(|(at, row)| (at.clone(), row.clone())).collect()
    }
}
