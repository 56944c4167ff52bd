//! Moods of a world of whole nodes: what a seed adds to an average one, so that several things that
//! are rare by themselves come together. Raft alone has its own (`raft::moods`).
//!
//! * *Cornered* leaders soon hear few others, or nobody: what they wrote last is on one more disk, or
//!   on all of them and they do not know; another leader replaces it, or a third one brings it back,
//!   while clients still wait for the first one's answer (figure 8 of the Raft paper).
//! * *Forgetful* nodes drop their logs early, so that who was away for a moment comes back by a
//!   snapshot; and tables are written slowly, so that much can happen while one is made durable.

use crate::profile::{Fault, Profile};
use base::Random;
use base::time::{MILLISECOND, SECOND};

/// What moods add; an average world has none of it.
#[derive(Clone, Debug)]
pub struct Moods {
    /// Of a hundred new leaders so many are cornered, half of them at once.
    pub cornered: u64,
    /// The others within this.
    pub cornered_ns: u64,
    /// And for no longer than this.
    pub corner_ns_max: u64,
    /// Flushes take so many times longer.
    pub slow_tables: u64,
}

/// Of so many worlds one has a mood; such worlds cost several times what others do.
const MOODY: u64 = 16;

impl Default for Moods {
    fn default() -> Moods {
        Moods { cornered: 0, cornered_ns: SECOND, corner_ns_max: SECOND, slow_tables: 1 }
    }
}

impl Profile {
    /// Gives the world its moods.
    pub(crate) fn be_moody(&mut self, random: &mut Random) {
        if random.chance(1, MOODY) {
            self.be_cornered(random);
        }
        if random.chance(1, MOODY) {
            self.be_forgetful(random);
        }
    }

    /// Nobody leads for long, and clients wait for what becomes of their requests.
    fn be_cornered(&mut self, random: &mut Random) {
        self.moods.cornered = random.between(40, 95);
        self.moods.cornered_ns = random.between(50, 1500) * MILLISECOND;
        self.moods.corner_ns_max = random.between(300, 3000) * MILLISECOND;
        self.hurry_elections(random);
        self.be_patient(random);
    }

    /// Leaders are replaced within a moment.
    fn hurry_elections(&mut self, random: &mut Random) {
        let options = &mut self.options;
        options.liveness.heartbeat_ns = random.between(20, 60) * MILLISECOND;
        options.liveness.support_ns = 3 * options.liveness.heartbeat_ns;
        options.raft.election_ns_min = random.between(30, 120) * MILLISECOND;
        options.raft.election_ns_max = 2 * options.raft.election_ns_min;
    }

    /// Clients ask often, and stay where they asked until they are told.
    fn be_patient(&mut self, random: &mut Random) {
        self.patience_ns = random.between(2, 8) * SECOND;
        self.think_ns_max = random.between(20, 100) * MILLISECOND;
    }

    /// Whoever misses a few entries needs all rows.
    fn be_forgetful(&mut self, random: &mut Random) {
        let options = &mut self.options;
        options.raft.retain_bytes_max = random.between(0, 2048) as usize;
        options.flush_log_bytes = random.between(512, 8192);
        options.engine.memtable_bytes = random.between(2 << 10, 16 << 10) as usize;
        options.memtables_bytes_max =
            options.engine.memtable_bytes * random.between(8, 64) as usize;
        self.moods.slow_tables = 1 << random.below(8);
        self.fault_every_ns = self.fault_every_ns.min(random.between(150, 1000) * MILLISECOND);
        self.down_ns_max = self.down_ns_max.min(random.between(50, 1000) * MILLISECOND);
        self.faults.extend([Fault::Isolate, Fault::Kill, Fault::Transfer]);
        self.be_patient(random);
        if self.moods.cornered == 0 && random.chance(1, 2) {
            self.be_cornered(random);
        }
    }
}
