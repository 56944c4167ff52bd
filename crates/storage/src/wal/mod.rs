//! The write-ahead log: the only thing synced on the write path.
//!
//! # The problem
//!
//! A node hosts many shards; each must have votes and entries durable before it answers, and a sync
//! costs a fraction of a millisecond whatever it covers. So one log serves all shards of the node:
//! everything of one turn goes out in one write and one sync.
//!
//! # Segments
//!
//! The log is a row of files of one fixed size, the segments, numbered for ever upwards. A segment
//! is filled with zeros before it is used, so that writing to it changes no file metadata, and a
//! segment that nobody needs any more becomes a later one, under a new number. The number (and the
//! owner of the directory) is in every checksum: what a recycled file held before can't be taken
//! for something new.
//!
//! A segment opens with the state of every shard: hard state, where its log starts and ends, its
//! replica. So a segment is needed only for the *entries* in it, and once those are compacted,
//! truncated, or copied to the head of the log, it can go. Copying happens once per entry, when too
//! many segments wait for a few entries; an entry that is in the way a second time is reported in
//! [`WalStats::pinned`], and its shard should flush or send a snapshot.
//!
//! # Torn tail or corruption
//!
//! A crash may leave any part of what was not synced. After it, the log ends with the last batch
//! that is whole. But a flipped bit in an old batch looks just like a torn one, and treating it as
//! the end would silently drop all that follows, acknowledged or not (Alagappan et al.,
//! "Protocol-Aware Recovery for Consensus-Based Storage", FAST 2018). What tells them apart is that
//! each batch says up to where the log was durable when it was written:
//!
//! ```text
//!   batch A | batch B  | batch C            C says "durable up to the end of B":
//!   whole   | bad      | whole              B was synced, so B is corrupt: stop.
//!
//!   batch A | batch B  | batch C            C says "durable up to the end of A":
//!   whole   | bad      | whole              B and C were in flight together: B is the torn tail,
//!                                           C goes with it; neither was acknowledged.
//! ```
//!
//! A segment says where the one before it ends, so everywhere but in the newest segment any bad
//! byte is corruption. When the log is idle, [`Wal::maintain`] writes an empty batch after the last
//! one, without a sync of its own, which vouches for it.
//!
//! # A full disk
//!
//! One spare segment is always kept in reserve, fully allocated. Entries are refused with
//! [`WalError::Full`] before anything is written unless they fit without touching it; hard states,
//! compaction marks, and entries that the caller declares urgent (deletes) may use it. Compaction
//! then frees segments, which become the reserve again: the log recovers unaided.
//!
//! The tables live on the same disk, and only what they hold can leave the log. So when they have
//! no room either ([`Wal::set_tight`]) the log makes itself small: it keeps no spare beyond the
//! reserve, and copies a few entries to the head at once if they are all that keeps a segment.
//!
//! # A failed sync
//!
//! The [`Wal`] is poisoned: every later call fails. What is on the disk is unknown until the log is
//! opened again.

mod format;
pub mod line;
mod recover;
mod shards;
#[cfg(test)]
mod tests;

use crate::disk::{Disk, FileId, is_full};
use base::codec::Reader;
use base::{Bytes, Entry, HardState, Index, LogStart, ReplicaId, ShardId};
use format::{
    BATCH_HEADER_BYTES, Batch, SEGMENT_HEADER_BYTES, SegmentHeader, batch_bytes, entry_bytes,
    record_bytes,
};
use shards::Shards;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io;

/// Where the log's files are, below the data directory.
pub const WAL_DIRECTORY: &str = "wal";

/// How the log is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalOptions {
    /// Bytes of a segment; default 16 MiB. A batch, and so an entry, is at most half of it. The
    /// log keeps the size that it was created with only for segments that exist; it may be changed
    /// between two starts.
    pub segment_bytes: u64,
    /// Segments from which on entries that keep the oldest one are copied to the head; default 8,
    /// so that a node's log stays near 128 MiB.
    pub segments_soft: usize,
    /// Spare segments to keep ready, the reserve among them; default 2, so that a write never waits
    /// for a file to be filled. At least 1.
    pub spares: usize,
    /// Spares above this are deleted instead of kept; default 4.
    pub spares_max: usize,
    /// Bytes that one call of [`Wal::maintain`] fills with zeros or copies; default 1 MiB.
    pub step_bytes: usize,
    /// Mixed into every checksum so that another directory's files are refused; the incarnation.
    pub owner: u64,
}

impl Default for WalOptions {
    fn default() -> WalOptions {
        WalOptions {
            segment_bytes: 16 << 20,
            segments_soft: 8,
            spares: 2,
            spares_max: 4,
            step_bytes: 1 << 20,
            owner: 0,
        }
    }
}

/// One thing to be remembered for a shard. Records of one [`Wal::append`] survive a crash in order:
/// all up to some point, and none after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// Term, vote and commit index.
    HardState {
        /// Whose.
        shard: ShardId,
        /// The new one.
        state: HardState,
    },
    /// Entries, contiguous; whatever the log held from the first one's index on is forgotten.
    Entries {
        /// Whose.
        shard: ShardId,
        /// The entries.
        entries: Vec<Entry>,
    },
    /// Entries up to `start.index` are no longer needed: their effects are in the tables.
    LogStart {
        /// Whose.
        shard: ShardId,
        /// Where the log starts now.
        start: LogStart,
    },
    /// All entries are forgotten and the log starts anew, after a snapshot.
    Reset {
        /// Whose.
        shard: ShardId,
        /// Where the log starts now.
        start: LogStart,
    },
    /// Which replica of the shard lives here, and whatever else its host wants back.
    Replica {
        /// Whose.
        shard: ShardId,
        /// Its id.
        replica: ReplicaId,
        /// For the host alone.
        about: Bytes,
    },
    /// The replica is gone, with all that was remembered for its shard.
    Drop {
        /// Whose.
        shard: ShardId,
    },
}

/// A point in the log: `offset` bytes into a segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The segment's number; the first is 1.
    pub segment: u64,
    /// Bytes from its beginning.
    pub offset: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "wal {} at byte {}", self.segment, self.offset)
    }
}

/// What the log remembered for one shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveredShard {
    /// Term, vote and commit index.
    pub hard_state: HardState,
    /// Where its log starts.
    pub log_start: LogStart,
    /// All entries after `log_start.index`.
    pub entries: Vec<Entry>,
    /// Which replica lives here, and what its host noted, if a [`Record::Replica`] said so.
    pub replica: Option<(ReplicaId, Bytes)>,
}

/// What the log remembered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// For each shard.
    pub shards: BTreeMap<ShardId, RecoveredShard>,
    /// Where a torn tail was cut off, if there was one: it had never been acknowledged.
    pub torn: Option<Position>,
}

/// Why the log could not do something.
#[derive(Debug)]
pub enum WalError {
    /// There is no room. Nothing was written; urgent records may still fit.
    Full,
    /// One entry, or the state of all shards, does not fit half a segment.
    TooLarge {
        /// Bytes seen.
        seen: u64,
        /// Bytes allowed.
        allowed: u64,
    },
    /// An earlier write or sync failed; the log must be opened again.
    Poisoned {
        /// What failed then.
        cause: String,
    },
    /// The operating system failed; except while opening, the log is poisoned now.
    Io {
        /// What was being done, to which file.
        doing: String,
        /// What it said.
        error: io::Error,
    },
    /// Bytes that were durable have changed.
    Corrupt {
        /// The file.
        path: String,
        /// Where in it.
        offset: u64,
        /// What should be there.
        expected: String,
        /// What is there.
        seen: String,
    },
    /// There is no log in the directory.
    Missing {
        /// Where it should be.
        path: String,
    },
    /// The log belongs to another data directory.
    Foreign {
        /// The file.
        path: String,
        /// Whose it should be.
        expected: u64,
        /// Whose it is.
        seen: u64,
    },
    /// The log was written by another version.
    Format {
        /// The file.
        path: String,
        /// The format that this version knows.
        known: u32,
        /// The format that it has.
        seen: u32,
    },
}

impl fmt::Display for WalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WalError::Full => f.write_str(
                "the disk is full: only the log's reserve is left; free some space on it",
            ),
            WalError::TooLarge { seen, allowed } => {
                write!(f, "{seen} bytes do not fit one batch of the log, {allowed} do")
            }
            WalError::Poisoned { cause } => write!(
                f,
                "the log takes nothing more since an earlier failure ({cause}); check the disk and \
                 restart the node"
            ),
            WalError::Io { doing, error } => write!(f, "{doing}: {error}"),
            WalError::Corrupt { path, offset, expected, seen } => write!(
                f,
                "{path} at byte {offset}: expected {expected}, saw {seen}; the disk has changed \
                 what was durable, so run \"underpin node rebuild\" on this node"
            ),
            WalError::Missing { path } => write!(
                f,
                "no log segment in {path}, though this directory was formatted; if its content was \
                 lost, run \"underpin node replace\""
            ),
            WalError::Foreign { path, expected, seen } => write!(
                f,
                "{path} belongs to incarnation {seen:016x}, this directory is {expected:016x}; put \
                 this directory's own files back, or run \"underpin node rebuild\""
            ),
            WalError::Format { path, known, seen } => write!(
                f,
                "{path} has log format {seen}, this version knows {known}; run the version that \
                 wrote it"
            ),
        }
    }
}

impl std::error::Error for WalError {}

/// Whether the log has room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    /// The reserve is whole.
    Ample,
    /// The reserve is in use or can't be made: entries are refused unless they are urgent.
    Full,
}

/// The log in numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalStats {
    /// Segments in use.
    pub segments: usize,
    /// Spare segments, the reserve among them.
    pub spares: usize,
    /// Bytes that all files of the log take.
    pub disk_bytes: u64,
    /// Bytes of entries that somebody still needs.
    pub live_bytes: u64,
    /// Where the next batch goes.
    pub head: Position,
    /// Up to where the log is durable.
    pub durable: Position,
    /// Whether there is room.
    pub space: Space,
    /// Shards whose entries keep the oldest segment although they were copied once: flush them or
    /// send a snapshot. With the first such index.
    pub pinned: Vec<(ShardId, Index)>,
    /// Syncs of the log so far.
    pub syncs: u64,
    /// Bytes written so far, without zeros written ahead.
    pub written_bytes: u64,
}

/// What an append may use on a full disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Claim {
    /// Nothing of the reserve.
    Entries,
    /// The reserve without its last part.
    UrgentEntries,
    /// Everything: without entries.
    Marks,
}

/// The share of the last segment that only records without entries may use.
const MARKS_SHARE: u64 = 8;

/// A log that should be small copies the entries of its oldest segment if they are no more than
/// this share of one.
const FEW_SHARE: u64 = 16;

#[derive(Debug)]
struct Segment {
    number: u64,
    file: FileId,
    bytes: u64,
}

#[derive(Debug)]
struct Spare {
    name: String,
    file: FileId,
}

/// Calls of [`Wal::maintain`] between two tries to make a spare on a full disk.
const FULL_PAUSE: u32 = 16;

/// A spare being filled with zeros.
#[derive(Debug)]
struct Filling {
    name: String,
    file: FileId,
    filled: u64,
}

/// The write-ahead log of one node. See the [module](self).
pub struct Wal {
    disk: Box<dyn Disk>,
    options: WalOptions,
    shards: Shards,
    /// In order; the last one is being written. Never empty.
    segments: VecDeque<Segment>,
    spares: Vec<Spare>,
    filling: Option<Filling>,
    /// The disk was found full; how many calls of [`Wal::maintain`] to let pass before trying
    /// again, since a try writes up to a segment of zeros.
    full_for: u32,
    /// Others need the room on the disk.
    tight: bool,
    spare_names: u64,
    head: Position,
    durable: Position,
    /// An empty batch vouches for everything before this position.
    vouched: Position,
    poisoned: Option<String>,
    syncs: u64,
    written_bytes: u64,
}

impl fmt::Debug for Wal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wal")
            .field("head", &self.head)
            .field("durable", &self.durable)
            .field("segments", &self.segments)
            .field("poisoned", &self.poisoned)
            .finish_non_exhaustive()
    }
}

impl Wal {
    /// Makes an empty log in a new data directory. What a crash left of an earlier attempt is
    /// removed.
    pub fn create(disk: &mut dyn Disk, options: &WalOptions) -> Result<(), WalError> {
        recover::create(disk, options)
    }

    /// Opens the log and says what it remembers.
    pub fn open(disk: Box<dyn Disk>, options: WalOptions) -> Result<(Wal, Recovered), WalError> {
        recover::open(disk, options)
    }

    /// Writes `records` in order; [`Wal::sync`] makes them durable. On [`WalError::Full`] and
    /// [`WalError::TooLarge`] nothing was written and the log goes on.
    ///
    /// Records without entries may use the reserve; entries may not, see [`Wal::append_urgent`].
    pub fn append(&mut self, records: &[Record]) -> Result<(), WalError> {
        self.write(records, Claim::Entries)
    }

    /// Like [`Wal::append`] for entries that must pass on a full disk: those that free space. They
    /// leave the last part of the reserve to records without entries, so that the compaction marks
    /// that bring new room can always be written.
    pub fn append_urgent(&mut self, records: &[Record]) -> Result<(), WalError> {
        self.write(records, Claim::UrgentEntries)
    }

    /// Makes everything appended so far durable. If this fails, the log is poisoned.
    pub fn sync(&mut self) -> Result<(), WalError> {
        self.healthy()?;
        if self.durable == self.head {
            return Ok(());
        }
        let segment = self.current();
        let (number, file) = (segment.number, segment.file);
        let synced = self.disk.sync_data(file);
        self.poison_on(synced, || format!("syncing wal {number}"))?;
        self.syncs += 1;
        self.durable = self.head;
        Ok(())
    }

    /// Whether something was appended since the last [`Wal::sync`].
    pub fn needs_sync(&self) -> bool {
        self.durable != self.head
    }

    /// Does a bounded piece of housekeeping when everything is durable: releases segments, fills
    /// spares with zeros, copies entries to the head. `true` asks for another call soon (and for a
    /// sync before it, if [`Wal::needs_sync`]). To be called after syncs, and every
    /// 100 ms or so when idle: a log that found the disk full tries again in one of these calls.
    pub fn maintain(&mut self) -> Result<bool, WalError> {
        self.healthy()?;
        if self.needs_sync() {
            return Ok(true);
        }
        if self.release()? || self.give_back()? {
            return Ok(true);
        }
        if self.carry()? || self.fill_spare()? {
            return Ok(true);
        }
        self.vouch()?;
        Ok(false)
    }

    /// Whether others on the same disk lack room, so that the log should take as little as it can.
    pub fn set_tight(&mut self, tight: bool) {
        self.tight = tight;
    }

    /// Entries of `shard` from `from` on and before `to`, read back from the disk; at least one if
    /// there is any, and no more than fit `bytes_max`. An index that the log does not hold ends it.
    pub fn entries(
        &mut self,
        shard: ShardId,
        from: Index,
        to: Index,
        bytes_max: usize,
    ) -> Result<Vec<Entry>, WalError> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut bytes = 0;
        for index in (from.0..to.0).map(Index) {
            let Some(location) = self.shards.shards.get(&shard).and_then(|s| s.location(index))
            else {
                break;
            };
            bytes += location.bytes as usize;
            if !entries.is_empty() && bytes > bytes_max {
                break;
            }
            entries.push(self.read_entry(shard, index, location)?.0);
        }
        Ok(entries)
    }

    /// Whether there is room for entries that are not urgent.
    pub fn space(&self) -> Space {
        if self.spares.is_empty() { Space::Full } else { Space::Ample }
    }

    /// Bytes that all files of the log take.
    pub fn disk_bytes(&self) -> u64 {
        let segments: u64 = self.segments.iter().map(|segment| segment.bytes).sum();
        let filling = self.filling.as_ref().map_or(0, |filling| filling.filled);
        segments + self.spares.len() as u64 * self.options.segment_bytes + filling
    }

    /// Bytes of a segment: what the log needs in one piece to go on.
    pub fn segment_bytes(&self) -> u64 {
        self.options.segment_bytes
    }

    /// The log in numbers.
    pub fn stats(&self) -> WalStats {
        WalStats {
            segments: self.segments.len(),
            spares: self.spares.len(),
            disk_bytes: self.disk_bytes(),
            live_bytes: self.shards.live_bytes(),
            head: self.head,
            durable: self.durable,
            space: self.space(),
            pinned: self.pinned(),
            syncs: self.syncs,
            written_bytes: self.written_bytes,
        }
    }

    /// Why the log takes nothing more, if so.
    pub fn poisoned(&self) -> Option<&str> {
        self.poisoned.as_deref()
    }

    fn current(&self) -> &Segment {
        self.segments.back().expect("a log has a segment")
    }

    fn healthy(&self) -> Result<(), WalError> {
        match &self.poisoned {
            Some(cause) => Err(WalError::Poisoned { cause: cause.clone() }),
            None => Ok(()),
        }
    }

    fn poison_on<T>(
        &mut self,
        result: io::Result<T>,
        doing: impl FnOnce() -> String,
    ) -> Result<T, WalError> {
        result.map_err(|error| {
            let doing = doing();
            self.poisoned = Some(format!("{doing}: {error}"));
            WalError::Io { doing, error }
        })
    }

    fn segment_path(number: u64) -> String {
        format!("{WAL_DIRECTORY}/{number:08}.log")
    }

    /// The largest payload of one batch.
    fn payload_max(&self) -> usize {
        payload_max(self.options.segment_bytes)
    }

    fn write(&mut self, records: &[Record], claim: Claim) -> Result<(), WalError> {
        self.healthy()?;
        if records.is_empty() {
            return Ok(());
        }
        let entries = records.iter().any(|record| matches!(record, Record::Entries { .. }));
        let claim = if entries { claim } else { Claim::Marks };
        let batches = self.pack(records)?;
        self.make_room(&batches, claim)?;
        for (done, mut batch) in batches.into_iter().enumerate() {
            match self.put(&mut batch) {
                Err(WalError::Full) if done > 0 => {
                    self.poisoned = Some("the disk became full amidst an append".to_owned());
                    return self.healthy();
                }
                other => other?,
            }
        }
        Ok(())
    }

    /// Splits `records` into batches that each fit half a segment.
    fn pack(&self, records: &[Record]) -> Result<Vec<Batch>, WalError> {
        let payload_max = self.payload_max();
        let owner = self.options.owner;
        let total: usize = records.iter().map(record_bytes).sum();
        let mut batches = vec![Batch::new(owner, total.min(payload_max))];
        for record in records {
            let Record::Entries { shard, entries } = record else {
                let bytes = record_bytes(record);
                self.fits(bytes)?;
                if batches.last().expect("one").payload_bytes() + bytes > payload_max {
                    batches.push(Batch::new(owner, payload_max));
                }
                batches.last_mut().expect("one").record(record);
                continue;
            };
            let mut entries = &entries[..];
            while let Some(first) = entries.first() {
                self.fits(entry_bytes(first) + format::RECORD_HEAD_BYTES)?;
                let batch = batches.last_mut().expect("one");
                let taken = batch.entries(*shard, entries, payload_max);
                entries = &entries[taken..];
                if !entries.is_empty() {
                    batches.push(Batch::new(owner, payload_max));
                }
            }
        }
        batches.retain(|batch| !batch.is_empty());
        Ok(batches)
    }

    fn fits(&self, payload_bytes: usize) -> Result<(), WalError> {
        let allowed = self.payload_max();
        if payload_bytes <= allowed {
            return Ok(());
        }
        Err(WalError::TooLarge { seen: payload_bytes as u64, allowed: allowed as u64 })
    }

    /// Makes sure that `batches` can be placed, without writing any of them.
    fn make_room(&mut self, batches: &[Batch], claim: Claim) -> Result<(), WalError> {
        let segment_bytes = self.options.segment_bytes;
        let mut at = self.head.offset;
        let mut room = self.current().bytes;
        let mut rotations = 0;
        for batch in batches {
            let bytes = batch_bytes(batch.payload_bytes());
            if at + bytes > room {
                rotations += 1;
                let growth: usize = batches.iter().map(Batch::opening_growth).sum();
                let opening = self.shards.opening_bytes() + growth;
                self.fits(opening)?;
                at = SEGMENT_HEADER_BYTES + batch_bytes(opening);
                room = segment_bytes;
            }
            at += bytes;
        }
        let reserve = usize::from(claim == Claim::Entries);
        while self.spares.len() < rotations + reserve {
            self.make_spare()?;
        }
        let last_part = room.saturating_sub(segment_bytes / MARKS_SHARE);
        if claim == Claim::UrgentEntries && self.spares.len() == rotations && at > last_part {
            self.make_spare()?;
        }
        Ok(())
    }

    /// Puts one batch at the head, opening a segment if it does not fit.
    fn put(&mut self, batch: &mut Batch) -> Result<(), WalError> {
        let bytes = batch_bytes(batch.payload_bytes());
        if self.head.offset + bytes > self.current().bytes {
            self.rotate()?;
        }
        let at = self.head;
        assert!(at.offset + bytes <= self.current().bytes, "half a segment fits after an opening");
        let file = self.current().file;
        let written = self.disk.write(file, at.offset, batch.finish(at, self.durable));
        if let Err(error) = &written
            && is_full(error)
        {
            return Err(WalError::Full);
        }
        self.poison_on(written, || format!("writing to {at}"))?;
        self.head.offset += bytes;
        self.written_bytes += bytes;
        self.follow(&batch.steps, at);
        Ok(())
    }

    fn follow(&mut self, steps: &[format::Step], at: Position) {
        for step in steps {
            if let Err(why) = self.shards.apply(step, at.segment, at.offset) {
                panic!("the log was handed a record that makes no sense: {why}");
            }
        }
    }

    /// Closes the current segment and opens the next one with the state of every shard.
    fn rotate(&mut self) -> Result<(), WalError> {
        self.sync()?;
        let before = self.head;
        let number = before.segment + 1;
        let spare = self.spares.pop().ok_or(WalError::Full)?;
        let path = Wal::segment_path(number);
        let renamed =
            self.disk.rename(&spare.name, &path).and_then(|()| self.disk.sync_dir(WAL_DIRECTORY));
        self.poison_on(renamed, || format!("opening wal {number}"))?;
        let bytes = self.options.segment_bytes;
        let (head, content) = recover::opening(&self.shards, &self.options, number, before);
        let written = self.disk.write(spare.file, 0, &content);
        self.poison_on(written, || format!("opening wal {number}"))?;
        self.written_bytes += content.len() as u64;
        self.segments.push_back(Segment { number, file: spare.file, bytes });
        self.head = head;
        Ok(())
    }

    /// Lets the oldest segment go if nobody needs it.
    fn release(&mut self) -> Result<bool, WalError> {
        let oldest = self.segments.front().expect("a log has a segment").number;
        if self.segments.len() < 2 || self.shards.live(oldest).entries > 0 {
            return Ok(false);
        }
        let segment = self.segments.pop_front().expect("there are two");
        let path = Wal::segment_path(segment.number);
        let keep =
            self.spares.len() < self.spares_max() && segment.bytes == self.options.segment_bytes;
        let done = if keep {
            let name = self.spare_name();
            let renamed = self.disk.rename(&path, &name);
            self.spares.push(Spare { name, file: segment.file });
            renamed
        } else {
            self.give_up(segment.file, &path)
        };
        self.poison_on(done, || format!("releasing wal {}", segment.number))?;
        Ok(true)
    }

    /// Spares above this are deleted: only the reserve stays while others need the room.
    fn spares_max(&self) -> usize {
        if self.tight { 1 } else { self.options.spares_max }
    }

    /// Deletes a spare that others need more.
    fn give_back(&mut self) -> Result<bool, WalError> {
        if !self.tight || self.spares.len() <= self.spares_max() {
            return Ok(false);
        }
        let spare = self.spares.pop().expect("there are two");
        let removed = self.give_up(spare.file, &spare.name);
        self.poison_on(removed, || format!("removing {}", spare.name))?;
        Ok(true)
    }

    /// Removes a file; at once and for good if somebody waits for its room.
    fn give_up(&mut self, file: FileId, path: &str) -> io::Result<()> {
        self.disk.close(file);
        self.disk.remove(path)?;
        if self.tight { self.disk.sync_dir(WAL_DIRECTORY) } else { Ok(()) }
    }

    fn spare_name(&mut self) -> String {
        self.spare_names += 1;
        format!("{WAL_DIRECTORY}/spare-{:04}", self.spare_names)
    }

    /// Makes one whole spare at once.
    fn make_spare(&mut self) -> Result<(), WalError> {
        let before = self.spares.len();
        while self.spares.len() == before {
            if self.full_for > 0 || !self.fill(u64::MAX)? {
                return Err(WalError::Full);
            }
        }
        Ok(())
    }

    /// Does a piece of work on the spares, if one is wanted and the disk has room.
    fn fill_spare(&mut self) -> Result<bool, WalError> {
        // Even where there are enough for now: an append may want one more.
        if self.full_for > 0 {
            self.full_for -= 1;
            return Ok(false);
        }
        if self.spares.len() >= self.options.spares.min(self.spares_max()).max(1) {
            return Ok(false);
        }
        self.fill(self.options.step_bytes as u64)
    }

    /// Fills at most `bytes_max` of a spare with zeros; `false` if the disk is full.
    fn fill(&mut self, bytes_max: u64) -> Result<bool, WalError> {
        if self.filling.is_none() {
            self.spare_names += 1;
            let name = format!("{WAL_DIRECTORY}/new-{:04}", self.spare_names);
            match self.disk.create(&name) {
                Ok(file) => self.filling = Some(Filling { name, file, filled: 0 }),
                Err(error) if is_full(&error) => return self.give_up_filling(),
                Err(error) => return self.poison_on(Err(error), || format!("creating {name}")),
            }
        }
        let filling = self.filling.as_mut().expect("it was begun above");
        let to = filling.filled.saturating_add(bytes_max).min(self.options.segment_bytes);
        match self.disk.write_zeros(filling.file, filling.filled, to) {
            Ok(()) => filling.filled = to,
            Err(error) if is_full(&error) => return self.give_up_filling(),
            Err(error) => return self.poison_on(Err(error), || "filling a spare segment".into()),
        }
        if to == self.options.segment_bytes { self.finish_spare() } else { Ok(true) }
    }

    /// Gives the space back, so that others may use it to recover.
    fn give_up_filling(&mut self) -> Result<bool, WalError> {
        self.full_for = FULL_PAUSE;
        if let Some(filling) = self.filling.take() {
            self.disk.close(filling.file);
            let removed = self.disk.remove(&filling.name);
            self.poison_on(removed, || format!("removing {}", filling.name))?;
        }
        Ok(false)
    }

    fn finish_spare(&mut self) -> Result<bool, WalError> {
        let filling = self.filling.take().expect("a spare is being filled");
        let name = self.spare_name();
        match self.disk.sync_data(filling.file) {
            // Delayed allocation: the file system found out only now.
            Err(error) if is_full(&error) => {
                self.filling = Some(filling);
                return self.give_up_filling();
            }
            synced => self.poison_on(synced, || format!("syncing {}", filling.name))?,
        }
        let renamed = self.disk.rename(&filling.name, &name);
        self.poison_on(renamed, || format!("keeping {name}"))?;
        self.spares.push(Spare { name, file: filling.file });
        Ok(true)
    }

    /// Copies some of the entries that keep the oldest segment to the head, if too many segments
    /// wait for it and they were not copied before.
    fn carry(&mut self) -> Result<bool, WalError> {
        let oldest = self.segments.front().expect("a log has a segment").number;
        let few = self.shards.live(oldest).bytes <= self.options.segment_bytes / FEW_SHARE;
        let soft = match self.tight && few {
            true => 1,
            false => self.options.segments_soft.max(1),
        };
        if self.segments.len() <= soft {
            return Ok(false);
        }
        let limit = self.options.step_bytes.min(self.payload_max() / 2).max(1);
        let mut bytes = 0;
        let mut chosen = Vec::new();
        for (shard, index, location) in self.shards.in_segment(oldest) {
            if location.carried {
                // Copied once already: whoever holds it must flush or send a snapshot.
                return Ok(false);
            }
            bytes += location.bytes as usize + format::RECORD_HEAD_BYTES;
            if !chosen.is_empty() && bytes > limit {
                break;
            }
            chosen.push((shard, index, location));
        }
        let mut by_shard: BTreeMap<ShardId, Vec<_>> = BTreeMap::new();
        for (shard, index, location) in chosen {
            let (entry, raw) = self.read_entry(shard, index, location)?;
            by_shard.entry(shard).or_default().push((index, entry.term, raw));
        }
        let mut batch = Batch::new(self.options.owner, bytes);
        by_shard.iter().for_each(|(shard, entries)| batch.carried(*shard, entries));
        match self.make_room(std::slice::from_ref(&batch), Claim::Entries) {
            Err(WalError::Full) => return Ok(false),
            other => other?,
        }
        self.put(&mut batch)?;
        Ok(true)
    }

    fn pinned(&self) -> Vec<(ShardId, Index)> {
        if self.segments.len() <= self.options.segments_soft.max(1) {
            return Vec::new();
        }
        let oldest = self.segments.front().expect("a log has a segment").number;
        let mut pinned: BTreeMap<ShardId, Index> = BTreeMap::new();
        for (shard, index, location) in self.shards.in_segment(oldest) {
            if location.carried {
                pinned.entry(shard).or_insert(index);
            }
        }
        pinned.into_iter().collect()
    }

    fn read_entry(
        &mut self,
        shard: ShardId,
        index: Index,
        location: shards::Location,
    ) -> Result<(Entry, Bytes), WalError> {
        let segment = self.segments.iter().find(|segment| segment.number == location.segment);
        let file = segment.expect("a segment with entries is kept").file;
        let mut raw = vec![0; location.bytes as usize];
        let read = self.disk.read(file, u64::from(location.offset), &mut raw);
        self.poison_on(read, || format!("reading wal {}", location.segment))?;
        let raw = Bytes::from(raw);
        let decoded =
            format::decode_entry(self.options.owner, shard, &mut Reader::new(raw.clone()));
        match decoded {
            Ok((entry, _)) if entry.index == index && entry.term == location.term => {
                Ok((entry, raw))
            }
            other => {
                let seen = other.map_or_else(|e| e.to_string(), |(e, _)| format!("{}", e.index));
                let error = WalError::Corrupt {
                    path: self.disk.describe(&Wal::segment_path(location.segment)),
                    offset: u64::from(location.offset),
                    expected: format!("entry {index} of {shard}, term {}", location.term),
                    seen,
                };
                self.poisoned = Some(error.to_string());
                Err(error)
            }
        }
    }

    /// Writes an empty batch after the last one, to say that all before it is durable. It is not
    /// synced, and the next batch takes its place.
    fn vouch(&mut self) -> Result<(), WalError> {
        let (at, bytes) = (self.head, batch_bytes(0));
        if self.vouched == at || at.offset + bytes > self.current().bytes {
            return Ok(());
        }
        let mut batch = Batch::new(self.options.owner, 0);
        let file = self.current().file;
        let written = self.disk.write(file, at.offset, batch.finish(at, self.durable));
        self.poison_on(written, || format!("writing to {at}"))?;
        self.vouched = at;
        Ok(())
    }
}

/// The largest payload of one batch: half a segment, without its head.
fn payload_max(segment_bytes: u64) -> usize {
    (segment_bytes / 2 - SEGMENT_HEADER_BYTES) as usize - BATCH_HEADER_BYTES
}

/// The head of segment `number`.
fn header(options: &WalOptions, number: u64, before: Position) -> SegmentHeader {
    SegmentHeader { segment_bytes: options.segment_bytes, owner: options.owner, number, before }
}
