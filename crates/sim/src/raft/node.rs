//! A node with its clocks, and the replicas on it with their disks.

use super::history::List;
use super::profile::Profile;
use base::codec::Reader;
use base::time::SECOND;
use base::{
    Entry, EntryKind, HardState, Index, LogStart, Membership, Mono, NodeId, ReplicaId, ShardId,
    Term, Time, Wall,
};
use protocols::liveness::Liveness;
use protocols::raft::{Raft, ReadId, Restored, Role};
use std::collections::{BTreeMap, VecDeque};

/// True wall time at the world's beginning.
pub const EPOCH: u64 = 1_700_000_000 * SECOND;

/// One write on its way to the disk.
#[derive(Clone, Debug)]
pub enum Write {
    Persist {
        hard_state: Option<HardState>,
        /// The log starts anew behind this state.
        reset: Option<(LogStart, Machine)>,
        entries: Vec<Entry>,
    },
    Compact(LogStart),
}

/// The state machine, and the place in the log that it is at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Machine {
    pub applied: LogStart,
    pub list: List,
}

impl Machine {
    pub fn apply(&mut self, entry: &Entry) {
        match entry.kind {
            EntryKind::Command => self.list.append(value_of(entry), entry.stamp),
            EntryKind::Membership => {
                let membership = Membership::decode(&mut Reader::new(entry.data.clone()));
                self.applied.membership = membership.expect("a leader encoded it");
            }
            EntryKind::Noop => {}
        }
        let applied = &mut self.applied;
        (applied.index, applied.term, applied.stamp) = (entry.index, entry.term, entry.stamp);
    }
}

fn value_of(entry: &Entry) -> u64 {
    let bytes = entry.data.first_chunk::<8>().expect("commands hold a value");
    u64::from_le_bytes(*bytes)
}

/// What a replica's disk holds.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    pub hard_state: HardState,
    pub log_start: LogStart,
    pub entries: Vec<Entry>,
    /// The durable state machine.
    pub machine: Machine,
}

impl Disk {
    /// Carries a write out, as far as its order allows.
    pub fn write(&mut self, write: Write) -> Result<(), String> {
        match write {
            Write::Persist { hard_state, reset, entries } => {
                self.hard_state = hard_state.unwrap_or(self.hard_state);
                if let Some((start, machine)) = reset {
                    if machine.applied.index > self.machine.applied.index {
                        self.machine = machine;
                    }
                    self.log_start = start;
                    self.entries.clear();
                }
                if let Some(first) = entries.first() {
                    self.entries.retain(|entry| entry.index < first.index);
                    if first.index > self.last().next() {
                        return Err(format!("the log refuses a gap before {}", first.index));
                    }
                }
                self.entries.extend(entries);
            }
            Write::Compact(start) => {
                if start.index > self.log_start.index {
                    if start.index > self.last() {
                        return Err(format!(
                            "the log can't start at {}, past its end",
                            start.index
                        ));
                    }
                    self.entries.retain(|entry| entry.index > start.index);
                    self.log_start = start;
                }
            }
        }
        Ok(())
    }

    /// The last index.
    pub fn last(&self) -> Index {
        Index(self.log_start.index.0 + self.entries.len() as u64)
    }

    /// Whether this very entry, or a state behind it, is durable.
    pub fn holds(&self, index: Index, term: Term) -> bool {
        index <= self.log_start.index
            || self.entries.iter().any(|entry| entry.index == index && entry.term == term)
    }
}

/// A client's append that was given a place in the log.
#[derive(Clone, Copy, Debug)]
pub struct Pending {
    pub index: Index,
    pub term: Term,
    pub value: u64,
}

/// A read that waits for its round.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    pub id: ReadId,
    /// What was committed when it began.
    pub committed: Index,
    /// What clients had been shown by then.
    pub floor: usize,
}

pub struct Replica {
    /// None while its node is down.
    pub raft: Option<Raft>,
    pub disk: Disk,
    pub writes: VecDeque<(u64, Write)>,
    pub machine: Machine,
    /// A snapshot that Raft has accepted, until it is on its way to the disk.
    pub installing: Option<Machine>,
    pub pending: VecDeque<Pending>,
    pub asked: Vec<Asked>,
    /// Reads that may run once this much is applied, and their floors.
    pub ready: Vec<(Index, usize)>,
}

impl Replica {
    pub fn on(disk: Disk) -> Replica {
        Replica {
            raft: None,
            machine: disk.machine.clone(),
            disk,
            writes: VecDeque::new(),
            installing: None,
            pending: VecDeque::new(),
            asked: Vec::new(),
            ready: Vec::new(),
        }
    }

    pub fn start(&mut self, profile: &Profile, id: ReplicaId, node: NodeId, seed: u64, now: Time) {
        let restored = Restored {
            hard_state: self.disk.hard_state,
            log_start: self.disk.log_start.clone(),
            entries: self.disk.entries.clone(),
            applied: self.disk.machine.applied.index,
        };
        self.machine = self.disk.machine.clone();
        self.raft =
            Some(Raft::new(profile.raft.clone(), ShardId(1), id, node, seed, restored, now));
    }

    /// The process is gone. What clients wait for they never hear.
    pub fn end(&mut self) {
        self.raft = None;
        self.installing = None;
        self.pending.clear();
        self.asked.clear();
        self.ready.clear();
    }
}

pub struct Node {
    pub id: NodeId,
    /// None while it is down.
    pub liveness: Option<Liveness>,
    pub boots: u64,
    pub boot: u64,
    pub paused_until: u64,
    /// When it wakes next, in true time and by its clock; at the end of time if never.
    pub wake_at: u64,
    pub wake_by: Mono,
    pub replicas: BTreeMap<ReplicaId, Replica>,
    /// The monotonic clock: origin and rate. The wall clock: an error.
    pub origin: u64,
    pub drift_ppm: i64,
    pub wall_error: i64,
    pub sync_ns: u64,
}

impl Node {
    pub fn mono(&self, t: u64) -> Mono {
        let drift = t as i64 * self.drift_ppm / 1_000_000;
        Mono((self.origin + t).saturating_add_signed(drift))
    }

    /// Whether a replica here leads, or believes so.
    pub fn leads(&self) -> bool {
        let leads = |raft: &Raft| raft.role() == Role::Leader;
        self.replicas.values().any(|replica| replica.raft.as_ref().is_some_and(leads))
    }

    pub fn true_time(&self, mono: Mono) -> u64 {
        let (elapsed, rate) = (mono.since(Mono(self.origin)), (1_000_000 + self.drift_ppm) as u64);
        let mut t = match elapsed.checked_mul(1_000_000) {
            Some(millionths) => millionths / rate,
            None => (u128::from(elapsed) * 1_000_000 / u128::from(rate)) as u64,
        };
        while self.mono(t) < mono {
            t += 1;
        }
        t
    }

    pub fn time(&self, t: u64) -> Time {
        Time { mono: self.mono(t), wall: Wall((EPOCH + t).saturating_add_signed(self.wall_error)) }
    }
}
