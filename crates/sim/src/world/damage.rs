//! Disks that are damaged or lost, nodes that notice, and the operator who brings a new disk.
//!
//! A node that finds damage ends, and says what is to be done. The operator takes a moment, formats a
//! new directory, has the cluster pin its incarnation in place of the old one (`underpin node
//! replace`), and starts the node on it: empty, under a new replica id, a learner until it has caught
//! up. [`super::atlas`] says how much of this may go on at a time.

use super::atlas::Health;
use super::hosts::End;
use super::{Event, World};
use crate::judge::Judge;
use crate::marks::Mark;
use base::Incarnation;
use base::time::{MILLISECOND, SECOND};
use node::api::Call;
use storage::disk::SimDisk;
use storage::tables::ModelTables;
use storage::wal::{Position, WAL_DIRECTORY};

/// How often the operator asks the cluster.
const OPERATOR_PAUSE_NS: u64 = 700 * MILLISECOND;
/// Syncs until a write that landed elsewhere is sure to be found.
const VOUCHING_SYNCS: u8 = 3;

/// What was done to a disk.
#[derive(Debug, Default)]
pub struct Harm {
    /// The mark that its discovery sets.
    pub mark: Option<Mark>,
    /// The next read or sync fails; the mark that this sets.
    pub failing: Option<Mark>,
    /// So many syncs have to come before the damage is sure to be noticed.
    pub hidden: u8,
    /// The log was durable up to here, and before that sync up to there.
    pub durable: Position,
    pub vouched: Position,
    /// The power fails during the next sync.
    pub cut_in_sync: bool,
    /// An old image to come back to, and when it was taken.
    pub image: Option<(storage::disk::SimImage, ModelTables, Incarnation)>,
}

impl World<'_> {
    /// A bit of the log flips, in what a later batch vouches for.
    pub(super) fn flip_log(&mut self, number: usize) {
        if !self.atlas.may_damage(number) || !self.hosts[number].used {
            return;
        }
        let host = &self.hosts[number];
        let vouched = host.harm.vouched;
        let segment = |path: &String| {
            let name = path.strip_prefix(WAL_DIRECTORY)?.strip_prefix('/')?;
            name.strip_suffix(".log")?.parse::<u64>().ok()
        };
        let known = host.disk.paths().into_iter();
        let older: Vec<(String, u64)> = known
            .filter_map(|path| segment(&path).map(|number| (path, number)))
            .filter(|(_, number)| *number <= vouched.segment)
            .collect();
        let Some((path, segment)) = self.random.faults.pick(&older).cloned() else { return };
        let end = match segment == vouched.segment {
            true => vouched.offset,
            // How much of an older segment is in use is not known from outside.
            false => 16 << 10,
        };
        if end == 0 {
            return;
        }
        let (offset, bit) = (self.random.faults.below(end), self.random.faults.below(8) as u8);
        self.hosts[number].disk.flip_bit(&path, offset, bit);
        self.damaged(number, Mark::LogFlipFound);
        self.say(format!("a bit flips on n{}: {path} at byte {offset}", number + 1));
    }

    /// A bit of a table flips.
    pub(super) fn flip_table(&mut self, number: usize) {
        let share = self.random.faults.below(1 << 16) as u16;
        if self.atlas.may_damage(number) && self.hosts[number].tables.damage(share) {
            self.damaged(number, Mark::TableFlipFound);
            self.say(format!("a bit flips in a table of n{}", number + 1));
        }
    }

    /// The next write to the log lands elsewhere.
    pub(super) fn misdirect(&mut self, number: usize) {
        if !self.atlas.may_damage(number) || !self.hosts[number].up() {
            return;
        }
        let faults = self.random.faults.fork();
        let disk = &self.hosts[number].disk;
        disk.set_faults(faults);
        disk.misdirect_next_write(WAL_DIRECTORY);
        self.hosts[number].harm.hidden = VOUCHING_SYNCS;
        self.damaged(number, Mark::MisdirectedFound);
        self.say(format!("the next write of n{} lands elsewhere", number + 1));
    }

    /// A disk is gone, and with it the process that ran on it.
    pub(super) fn lose_disk(&mut self, number: usize) {
        if !self.atlas.may_damage(number) {
            return;
        }
        self.say(format!("the disk of n{} is lost", number + 1));
        self.hit(Mark::DiskLost);
        self.end(number, End::Killed, None);
        self.gone(number);
    }

    /// The next read of the log's disk fails.
    pub(super) fn fail_read(&mut self, number: usize) {
        let host = &mut self.hosts[number];
        if host.harm.failing.is_none() && host.used {
            host.harm.failing = Some(Mark::ReadFailed);
            host.disk.fail_next_read(WAL_DIRECTORY);
            self.say(format!("the next read of n{} fails", number + 1));
        }
    }

    /// An image is taken, or the one that was taken comes back. Only beyond what is promised.
    pub(super) fn roll_back(&mut self, number: usize) {
        if !self.atlas.is_beyond() || self.atlas.health(number) == Health::Gone {
            return;
        }
        let host = &mut self.hosts[number];
        let Some((disk, tables, incarnation)) = host.harm.image.take() else {
            let image =
                host.used.then(|| (host.disk.image(), host.tables.image(), host.incarnation));
            host.harm.image = image;
            return self.say(format!("an image of n{}'s disk is taken", number + 1));
        };
        self.say(format!("an old image comes back on n{}", number + 1));
        self.end(number, End::Killed, None);
        let host = &mut self.hosts[number];
        host.disk.restore(&disk);
        let _ = host.disk.crash(&mut self.random.crashes);
        host.tables = tables;
        host.incarnation = incarnation;
        host.wal_options.owner = incarnation.0;
        self.damaged(number, Mark::RolledBack);
        self.hit(Mark::RolledBack);
    }

    fn damaged(&mut self, number: usize, mark: Mark) {
        self.atlas.set(number, Health::Damaged);
        self.hosts[number].harm.mark = Some(mark);
    }

    /// A node does not go on, or does not start: its disk is not what it was. True if it is right.
    pub(super) fn finds_damage(&mut self, number: usize, says: &str) -> bool {
        if self.atlas.health(number) != Health::Damaged {
            return false;
        }
        self.say(format!("n{} finds its disk damaged: {says}", number + 1));
        if !says.contains("underpin node re") {
            let what = format!("n{} finds damage and does not say what to do: {says}", number + 1);
            self.violated_for(Judge::Assertion, what);
        }
        if let Some(mark) = self.hosts[number].harm.mark.take() {
            self.hit(mark);
        }
        self.hit(Mark::DamagedReplaced);
        self.end(number, End::Killed, None);
        self.gone(number);
        true
    }

    /// A process ended. What of its disk could not be noticed is as good as lost.
    pub(super) fn ended_in_hiding(&mut self, number: usize) {
        let hidden = std::mem::take(&mut self.hosts[number].harm.hidden);
        if hidden > 0 && self.atlas.health(number) == Health::Damaged && !self.atlas.is_beyond() {
            self.gone(number);
        }
    }

    /// A log was synced: what was durable before is vouched for now.
    pub(super) fn note_synced(&mut self, number: usize) {
        let host = &mut self.hosts[number];
        host.harm.hidden = host.harm.hidden.saturating_sub(1);
        if !self.profile.damages {
            return;
        }
        let Some(wal) = &host.wal else { return };
        let durable = wal.stats().durable;
        if durable != host.harm.durable {
            host.harm.vouched = std::mem::replace(&mut host.harm.durable, durable);
        }
    }

    /// The disk is of no use any more; the operator learns of it.
    fn gone(&mut self, number: usize) {
        self.atlas.set(number, Health::Gone);
        if self.atlas.too_many_gone() {
            self.hit(Mark::TooManyLost);
        }
        self.watch.forget(number);
        let host = &mut self.hosts[number];
        host.harm = Harm::default();
        host.disk = SimDisk::new();
        host.tables = ModelTables::new();
        host.beside.replace();
        host.older_tables = None;
        host.used = false;
        host.founder = false;
        host.incarnation = Incarnation(host.incarnation.0 + 1000);
        host.wal_options.owner = host.incarnation.0;
        self.faults.filled.remove(&number);
        self.equip(number);
        let pause = match self.peace {
            true => 0,
            false => self.random.crashes.below(3 * SECOND),
        };
        self.after(MILLISECOND + pause, Event::Operator { host: number });
    }

    /// The operator has the cluster replace a node whose disk is gone.
    pub(super) fn operate(&mut self, number: usize) {
        if self.atlas.health(number) != Health::Gone {
            return;
        }
        let others = (0..self.hosts.len()).filter(|other| self.hosts[*other].up());
        let others: Vec<usize> = others.collect();
        if let Some(asked) = self.random.crashes.pick(&others).copied() {
            let (node, incarnation) = (World::node_of(number), self.hosts[number].incarnation);
            let seq = self.ask_own(asked, Call::NodeReplace { node, incarnation });
            self.faults.replacing.insert(seq, number);
        }
        self.after(OPERATOR_PAUSE_NS, Event::Operator { host: number });
    }

    /// The cluster has pinned a node's new incarnation.
    pub(super) fn replaced(&mut self, number: usize) {
        if self.atlas.health(number) != Health::Gone {
            return;
        }
        self.atlas.set(number, Health::New);
        self.hit(Mark::NodeReplaced);
        self.say(format!("n{} is replaced by {}", number + 1, self.hosts[number].incarnation));
        self.after(MILLISECOND, Event::Start { host: number });
    }
}
