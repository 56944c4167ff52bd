//! What the log knows of every shard: its state, and where each of its entries stands.

use super::format::{Opening, Step};
use super::{Record, format};
use base::{Bytes, HardState, Index, LogStart, ReplicaId, ShardId, Term};
use std::collections::BTreeMap;

/// Where an entry stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Location {
    pub segment: u64,
    pub offset: u32,
    pub bytes: u32,
    pub term: Term,
    /// It was copied here once already and will not be copied again.
    pub carried: bool,
}

/// One shard's state.
#[derive(Clone, Debug, Default)]
pub(super) struct ShardLog {
    pub hard_state: HardState,
    pub start: LogStart,
    pub replica: Option<(ReplicaId, Bytes)>,
    /// By index, from `start.index.next()` on. One that is missing here stood in a segment before
    /// the first one that was replayed; it must be found or fall away before the log is whole.
    entries: BTreeMap<u64, Location>,
    /// The index of the last entry; that of the log's start if there is none.
    last: Index,
}

/// No log comes near this index; one that does is damaged. It leaves room to count on.
const INDEX_MAX: u64 = u64::MAX >> 1;

impl ShardLog {
    pub fn last(&self) -> Index {
        self.last
    }

    pub fn location(&self, index: Index) -> Option<Location> {
        self.entries.get(&index.0).copied()
    }
}

/// What a segment still holds for somebody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Live {
    pub entries: u64,
    pub bytes: u64,
}

/// Every shard of the log.
#[derive(Clone, Debug, Default)]
pub(super) struct Shards {
    pub shards: BTreeMap<ShardId, ShardLog>,
    live: BTreeMap<u64, Live>,
}

impl Shards {
    pub fn live(&self, segment: u64) -> Live {
        self.live.get(&segment).copied().unwrap_or_default()
    }

    pub fn live_bytes(&self) -> u64 {
        self.live.values().map(|live| live.bytes).sum()
    }

    fn gained(&mut self, location: Location) {
        let live = self.live.entry(location.segment).or_default();
        live.entries += 1;
        live.bytes += u64::from(location.bytes);
    }

    fn lost(&mut self, location: Location) {
        let live = self.live.get_mut(&location.segment).expect("a located entry is counted");
        live.entries -= 1;
        live.bytes -= u64::from(location.bytes);
        if live.entries == 0 {
            self.live.remove(&location.segment);
        }
    }

    /// Follows one step of a batch that stands at `base` of `segment`. An error is a sequence that
    /// no run of ours writes.
    pub fn apply(&mut self, step: &Step, segment: u64, base: u64) -> Result<(), String> {
        let at = |at: u32, bytes: u32, term: Term, carried: bool| Location {
            segment,
            offset: (base + u64::from(at)) as u32,
            bytes,
            term,
            carried,
        };
        match step {
            Step::Record(record) => self.record(record),
            Step::Entry { shard, index, term, at: offset, bytes } => {
                self.entry(*shard, *index, at(*offset, *bytes, *term, false))
            }
            Step::Carried { shard, index, term, at: offset, bytes } => {
                self.carried(*shard, *index, at(*offset, *bytes, *term, true))
            }
            Step::Opening(opening) => self.opening(opening),
        }
    }

    fn record(&mut self, record: &Record) -> Result<(), String> {
        match record {
            Record::HardState { shard, state } => self.shard(*shard).hard_state = *state,
            Record::Replica { shard, replica, about } => {
                self.shard(*shard).replica = Some((*replica, about.clone()));
            }
            Record::Reset { shard, start } => {
                sane(start.index)?;
                self.cut_from(*shard, Index(0));
                let log = self.shard(*shard);
                log.start = start.clone();
                log.last = start.index;
            }
            Record::LogStart { shard, start } => return self.compact(*shard, start),
            Record::Drop { shard } => {
                self.cut_from(*shard, Index(0));
                self.shards.remove(shard);
            }
            Record::Entries { .. } => unreachable!("entries come one by one"),
        }
        Ok(())
    }

    fn shard(&mut self, shard: ShardId) -> &mut ShardLog {
        self.shards.entry(shard).or_default()
    }

    /// Forgets the entries from `index` on.
    fn cut_from(&mut self, shard: ShardId, index: Index) {
        let log = self.shard(shard);
        let gone = log.entries.split_off(&index.0);
        log.last = log.last.min(Index(index.0.saturating_sub(1))).max(log.start.index);
        gone.into_values().for_each(|location| self.lost(location));
    }

    fn compact(&mut self, shard: ShardId, start: &LogStart) -> Result<(), String> {
        sane(start.index)?;
        let log = self.shard(shard);
        if start.index < log.start.index {
            return Err(format!(
                "the log of {shard} starts after {} and can't start after {} again",
                log.start.index, start.index
            ));
        }
        let kept = log.entries.split_off(&start.index.next().0);
        let gone = std::mem::replace(&mut log.entries, kept);
        log.start = start.clone();
        log.last = log.last.max(start.index);
        gone.into_values().for_each(|location| self.lost(location));
        Ok(())
    }

    fn entry(&mut self, shard: ShardId, index: Index, location: Location) -> Result<(), String> {
        let log = self.shard(shard);
        if index <= log.start.index || index > log.last().next() {
            return Err(format!(
                "entry {index} of {shard} does not fit a log from {} to {}",
                log.start.index.next(),
                log.last()
            ));
        }
        sane(index)?;
        self.cut_from(shard, index);
        let log = self.shard(shard);
        log.entries.insert(index.0, location);
        log.last = index;
        self.gained(location);
        Ok(())
    }

    fn carried(&mut self, shard: ShardId, index: Index, to: Location) -> Result<(), String> {
        let log = self.shard(shard);
        if index <= log.start.index || index > log.last {
            return Err(format!("entry {index} of {shard} was copied though nobody needs it"));
        }
        if log.location(index).is_some_and(|from| from.term != to.term) {
            return Err(format!("entry {index} of {shard} changed its term while being copied"));
        }
        let from = log.entries.insert(index.0, to);
        from.into_iter().for_each(|from| self.lost(from));
        self.gained(to);
        Ok(())
    }

    fn opening(&mut self, opening: &Opening) -> Result<(), String> {
        let shard = opening.shard;
        let Some(log) = self.shards.get(&shard) else {
            sane(opening.last)?;
            if opening.last < opening.start.index {
                return Err(format!("the log of {shard} ends before it starts"));
            }
            let log = ShardLog {
                hard_state: opening.hard_state,
                start: opening.start.clone(),
                replica: opening.replica.clone(),
                entries: BTreeMap::new(),
                last: opening.last,
            };
            self.shards.insert(shard, log);
            return Ok(());
        };
        if log.hard_state != opening.hard_state
            || log.start != opening.start
            || log.last() != opening.last
            || log.replica != opening.replica
        {
            return Err(format!(
                "the segment opens with {shard} at {opening:?}, the one before ended with {log:?}"
            ));
        }
        Ok(())
    }

    /// What a segment that opens now begins with.
    pub fn openings(&self) -> impl Iterator<Item = Opening> + '_ {
        self.shards.iter().map(|(shard, log)| Opening {
            shard: *shard,
            hard_state: log.hard_state,
            start: log.start.clone(),
            last: log.last(),
            replica: log.replica.clone(),
        })
    }

    /// Bytes of the payload that a segment opening now begins with, at most.
    pub fn opening_bytes(&self) -> usize {
        let bytes = |log: &ShardLog| {
            let about = log.replica.as_ref().map_or(0, |(_, about)| about.len() + 12);
            1 + 8 + 25 + format::start_bytes(&log.start) + 8 + 1 + about
        };
        self.shards.values().map(bytes).sum()
    }

    /// The first entry that the replayed segments did not hold.
    pub fn first_hole(&self) -> Option<(ShardId, Index)> {
        self.shards.iter().find_map(|(shard, log)| {
            let first = log.start.index.next().0;
            let found = (first..).zip(log.entries.keys()).take_while(|(index, at)| index == *at);
            let missing = Index(first + found.count() as u64);
            (missing <= log.last).then_some((*shard, missing))
        })
    }

    /// Entries that keep `segment`, in order of shard and index.
    pub fn in_segment(
        &self,
        segment: u64,
    ) -> impl Iterator<Item = (ShardId, Index, Location)> + '_ {
        self.shards.iter().flat_map(move |(shard, log)| {
            let here = log.entries.iter().filter(move |(_, at)| at.segment == segment);
            here.map(|(index, location)| (*shard, Index(*index), *location))
        })
    }
}

/// An error if no log has this index.
fn sane(index: Index) -> Result<(), String> {
    if index.0 <= INDEX_MAX { Ok(()) } else { Err(format!("no log reaches entry {index}")) }
}
