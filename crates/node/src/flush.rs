//! When memtables become tables, and what that allows.
//!
//! Descriptors are written into the memtable, it is frozen, and the frozen one goes to the helper
//! thread once the log is durable past everything that it contains: entries are applied as soon as a
//! quorum has them, which this node's own disk may not be part of yet.
//!
//! One flush is under way at a time. If it takes long, full memtables behind it are frozen as well
//! and wait their turn, so that no table becomes larger than one memtable: for so much a full disk
//! keeps room in reserve.

use crate::core::Core;
use crate::effect::Effect;
use crate::node::Node;
use base::{Index, ShardId};
use std::collections::{BTreeSet, VecDeque};
use storage::engine::FlushJob;

/// Frozen memtables that are no tables yet.
#[derive(Debug, Default)]
pub(crate) struct Flush {
    /// The first of them is, or will be, with the helper thread.
    frozen: VecDeque<Frozen>,
    /// The newest log ticket that went out, and the newest that is durable.
    emitted: u64,
    durable: u64,
    /// Freeze at the next chance, however little there is.
    pub forced: bool,
    /// Data ids that died before any descriptor referred to them. Unlike others their rows may go
    /// at once.
    pub unused: BTreeSet<u64>,
    /// Data ids that nothing in the tables refers to, as of the last flush.
    dead: BTreeSet<u64>,
}

#[derive(Debug)]
struct Frozen {
    id: u64,
    /// Not handed out before this ticket is durable.
    job: Option<(u64, FlushJob)>,
    applied: Vec<(ShardId, Index)>,
    /// Data ids that nothing in it refers to. Those that died since then are still referred to by
    /// what is on the disk: after a crash their rows would be needed again.
    dead: BTreeSet<u64>,
    /// Shards whose installed snapshot becomes durable with this.
    installing: Vec<ShardId>,
}

impl Flush {
    pub fn logged_through(&mut self, ticket: u64) {
        self.emitted = ticket;
    }

    pub fn durable_through(&mut self, core: &mut Core, ticket: u64) {
        self.durable = ticket;
        self.hand_out(core);
    }

    fn hand_out(&mut self, core: &mut Core) {
        let Some(first) = self.frozen.front_mut() else { return };
        if let Some((_, job)) = first.job.take_if(|(ticket, _)| *ticket <= self.durable) {
            core.effects.push(Effect::Flush(job));
        }
    }
}

impl Node {
    /// Freezes the memtable when it is full or holds the log back.
    pub(crate) fn flush_if_due(&mut self) {
        let waited_for = self.flush.frozen.is_empty() && (self.flush.forced || self.log_is_held());
        if !(waited_for || self.core.engine.should_freeze()) {
            return;
        }
        self.flush.forced = false;
        let descriptors = self.shards.values().map(|shard| shard.descriptor.row());
        let rows: Vec<_> = descriptors.chain([self.core.ids.row()]).collect();
        self.core.engine.write(rows);
        let Some(job) = self.core.engine.freeze() else { return };
        let id = job.id;
        self.core.work.frozen += 1;
        let applied = self.shards.iter().map(|(id, shard)| (*id, shard.applied())).collect();
        // What this turn has gathered for the log goes out with the next ticket.
        let gathered = !self.core.records.is_empty() || !self.core.owed.is_empty();
        let ticket = self.flush.emitted + u64::from(gathered);
        let (dead, mut installing) = (self.core.ids.dead().clone(), self.installing());
        installing.retain(|shard| !self.flush.frozen.iter().any(|f| f.installing.contains(shard)));
        let job = Some((ticket, job));
        self.flush.frozen.push_back(Frozen { id, job, applied, dead, installing });
        self.flush.hand_out(&mut self.core);
    }

    /// Whether the log of some shard is long for want of a flush.
    fn log_is_held(&self) -> bool {
        let log_bytes = self.core.options.flush_log_bytes;
        self.shards.values().any(|shard| {
            shard.applied() > shard.flushed && shard.raft.log_bytes() as u64 > log_bytes
        })
    }

    /// Whether something was applied that is not in the tables yet.
    pub(crate) fn has_unflushed(&self) -> bool {
        self.shards.values().any(|shard| shard.applied() > shard.flushed)
    }

    /// A memtable is a table now.
    pub(crate) fn flushed(&mut self, id: u64, generation: u64) {
        let flushed = self.flush.frozen.pop_front().expect("a flush was under way");
        assert_eq!(flushed.id, id, "flushes end in order");
        self.core.engine.flushed(id, generation);
        for (shard, applied) in flushed.applied {
            let Some(shard) = self.shards.get_mut(&shard) else { continue };
            shard.flushed = shard.flushed.max(applied);
            let to = shard.flushed;
            let before = shard.raft.log_bytes();
            shard.drive(&mut self.core, |raft, _, effects| raft.compact(to, effects));
            self.core.work.dropped += before - shard.raft.log_bytes();
        }
        self.installs_flushed(flushed.installing);
        self.flush.unused.retain(|id| !flushed.dead.contains(id));
        self.flush.dead = flushed.dead;
        self.merge_unused();
        self.flush.hand_out(&mut self.core);
    }

    /// Has tables merged, without the rows that nothing on the disk refers to.
    pub(crate) fn merge_unused(&mut self) {
        let oldest = self.core.engine.oldest_generation();
        let dead = self.flush.dead.union(&self.flush.unused).copied().collect();
        self.core.effects.push(Effect::Compact { oldest, dead });
    }
}
