//! The bytes of a segment.
//!
//! ```text
//! segment   header (one sector) | batch | batch | .. | zeros, or what the file held before
//! header    magic 8 | format 4 | segment bytes 8 | owner 8 | number 8 | end of the one before 16 | crc 4
//! batch     magic 4 | bytes 4 | segment 8 | offset 8 | durable before it 16 | payload crc 4 | crc 4
//!           payload | zeros up to a multiple of 64
//! payload   record | record | ..
//! entry     bytes 4 | crc 4 | the entry
//! ```
//!
//! Every checksum covers the owner and the segment's number, so neither another node's file nor a
//! recycled one is ever taken for this one. An entry has a checksum of its own because it may be
//! read alone, long after its batch was checked.

use super::{Position, Record};
use base::checksum::{crc32c, crc32c_append};
use base::codec::{DecodeError, Reader, Writer};
use base::{Bytes, Entry, HardState, Index, LogStart, ReplicaId, ShardId, Term};

pub(super) const FORMAT: u32 = 1;
pub(super) const SEGMENT_HEADER_BYTES: u64 = 512;
pub(super) const BATCH_HEADER_BYTES: usize = 48;
pub(super) const BATCH_ALIGN: u64 = 64;
pub(super) const ENTRY_HEADER_BYTES: usize = 8;
const SEGMENT_MAGIC: [u8; 8] = *b"UNDRPWAL";
const SEGMENT_HEADER_USED: usize = 8 + 4 + 8 + 8 + 8 + 16;
const BATCH_MAGIC: u32 = 0x6c77_7055;

/// What the first sector of a segment says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub segment_bytes: u64,
    pub owner: u64,
    pub number: u64,
    /// Where the segment before it ends; all of it was durable before this one was opened.
    pub before: Position,
}

/// Why a segment header can't be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum HeaderFault {
    /// It was not written, or not whole, or it is damaged.
    Bad { expected: String, seen: String },
    /// A format that this version does not know.
    Format(u32),
}

impl SegmentHeader {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::with_capacity(SEGMENT_HEADER_BYTES as usize);
        out.raw(&SEGMENT_MAGIC);
        out.u32(FORMAT);
        out.u64(self.segment_bytes);
        out.u64(self.owner);
        out.u64(self.number);
        out.u64(self.before.segment);
        out.u64(self.before.offset);
        let crc = crc32c(&out.buffer()[..]);
        out.u32(crc);
        let mut bytes = out.finish().to_vec();
        bytes.resize(SEGMENT_HEADER_BYTES as usize, 0);
        bytes
    }

    pub fn decode(sector: &[u8]) -> Result<SegmentHeader, HeaderFault> {
        let bad = |expected: String, seen: String| Err(HeaderFault::Bad { expected, seen });
        if sector.len() < SEGMENT_HEADER_BYTES as usize || sector[..8] != SEGMENT_MAGIC {
            let seen = sector.get(..8).unwrap_or_default();
            return bad("the magic of a log segment".into(), format!("{seen:02x?}"));
        }
        let (content, rest) = sector.split_at(SEGMENT_HEADER_USED);
        let number = |at: usize| u64_at(content, at);
        let (stored, computed) = (u32_at(rest, 0), crc32c(content));
        if stored != computed {
            return bad(format!("checksum {stored:08x}"), format!("{computed:08x}"));
        }
        match u32_at(content, 8) {
            FORMAT => Ok(SegmentHeader {
                segment_bytes: number(12),
                owner: number(20),
                number: number(28),
                before: Position { segment: number(36), offset: number(44) },
            }),
            format => Err(HeaderFault::Format(format)),
        }
    }
}

/// What the head of a batch says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BatchHeader {
    pub payload_bytes: u32,
    pub at: Position,
    /// Everything before this position was durable when the batch was written.
    pub durable: Position,
    pub payload_crc: u32,
}

impl BatchHeader {
    /// Bytes from this header to where the next may begin.
    pub fn bytes(&self) -> u64 {
        batch_bytes(self.payload_bytes as usize)
    }

    fn encode(&self, owner: u64) -> [u8; BATCH_HEADER_BYTES] {
        let mut out = [0; BATCH_HEADER_BYTES];
        out[0..4].copy_from_slice(&BATCH_MAGIC.to_le_bytes());
        out[4..8].copy_from_slice(&self.payload_bytes.to_le_bytes());
        out[8..16].copy_from_slice(&self.at.segment.to_le_bytes());
        out[16..24].copy_from_slice(&self.at.offset.to_le_bytes());
        out[24..32].copy_from_slice(&self.durable.segment.to_le_bytes());
        out[32..40].copy_from_slice(&self.durable.offset.to_le_bytes());
        out[40..44].copy_from_slice(&self.payload_crc.to_le_bytes());
        let crc = crc32c_append(crc32c(&owner.to_le_bytes()), &out[..44]);
        out[44..48].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// The header at the beginning of `bytes` if one of segment `segment` was written there whole.
    pub fn decode(bytes: &[u8], owner: u64, segment: u64) -> Option<BatchHeader> {
        if bytes.len() < BATCH_HEADER_BYTES || u32_at(bytes, 0) != BATCH_MAGIC {
            return None;
        }
        if u64_at(bytes, 8) != segment {
            return None;
        }
        let crc = crc32c_append(crc32c(&owner.to_le_bytes()), &bytes[..44]);
        (crc == u32_at(bytes, 44)).then(|| BatchHeader {
            payload_bytes: u32_at(bytes, 4),
            at: Position { segment, offset: u64_at(bytes, 16) },
            durable: Position { segment: u64_at(bytes, 24), offset: u64_at(bytes, 32) },
            payload_crc: u32_at(bytes, 40),
        })
    }
}

/// Bytes that a batch takes in a segment.
pub(super) fn batch_bytes(payload: usize) -> u64 {
    ((BATCH_HEADER_BYTES + payload) as u64).next_multiple_of(BATCH_ALIGN)
}

/// The checksum of a payload that stands at `at`.
pub(super) fn payload_crc(owner: u64, at: Position, payload: &[u8]) -> u32 {
    let seed = crc32c(&owner.to_le_bytes());
    let seed = crc32c_append(seed, &at.segment.to_le_bytes());
    crc32c_append(crc32c_append(seed, &at.offset.to_le_bytes()), payload)
}

fn entry_crc(owner: u64, shard: ShardId, bytes: &[u8]) -> u32 {
    let seed = crc32c_append(crc32c(&owner.to_le_bytes()), &shard.0.to_le_bytes());
    crc32c_append(seed, bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// What one shard's state is when a segment opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Opening {
    pub shard: ShardId,
    pub hard_state: HardState,
    pub start: LogStart,
    /// The last index of its log.
    pub last: Index,
    pub replica: Option<(ReplicaId, Bytes)>,
}

/// What a record means for the state of its shard, entries without their content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Anything but entries.
    Record(Record),
    /// An entry stands `at` bytes into the batch and takes `bytes`; all from `index` on are gone.
    Entry { shard: ShardId, index: Index, term: Term, at: u32, bytes: u32 },
    /// The same for an entry that was copied here from a segment to be released.
    Carried { shard: ShardId, index: Index, term: Term, at: u32, bytes: u32 },
    /// A shard's state as the segment opens.
    Opening(Opening),
}

const HARD_STATE: u8 = 1;
const ENTRIES: u8 = 2;
const LOG_START: u8 = 3;
const RESET: u8 = 4;
const REPLICA: u8 = 5;
const DROP: u8 = 6;
const CARRIED: u8 = 7;
const OPENING: u8 = 8;

/// A batch being put together.
#[derive(Debug)]
pub(super) struct Batch {
    out: Writer,
    pub steps: Vec<Step>,
    owner: u64,
    opening_growth: usize,
}

impl Batch {
    pub fn new(owner: u64, capacity: usize) -> Batch {
        let mut out = Writer::with_capacity(BATCH_HEADER_BYTES + capacity);
        out.raw(&[0; BATCH_HEADER_BYTES]);
        Batch { out, steps: Vec::new(), owner, opening_growth: 0 }
    }

    pub fn payload_bytes(&self) -> usize {
        self.out.len() - BATCH_HEADER_BYTES
    }

    pub fn is_empty(&self) -> bool {
        self.payload_bytes() == 0
    }

    /// Bytes that the opening of a segment may grow by when this batch's records are followed.
    pub fn opening_growth(&self) -> usize {
        self.opening_growth
    }

    /// Adds a record that is not [`Record::Entries`].
    pub fn record(&mut self, record: &Record) {
        self.opening_growth += SHARD_BYTES + record_bytes(record);
        let out = &mut self.out;
        match record {
            Record::Entries { .. } => unreachable!("entries are added by Batch::entries"),
            Record::HardState { shard, state } => {
                out.u8(HARD_STATE);
                out.u64(shard.0);
                state.encode(out);
            }
            Record::LogStart { shard, start } => {
                out.u8(LOG_START);
                out.u64(shard.0);
                start.encode(out);
            }
            Record::Reset { shard, start } => {
                out.u8(RESET);
                out.u64(shard.0);
                start.encode(out);
            }
            Record::Replica { shard, replica, about } => {
                out.u8(REPLICA);
                out.u64(shard.0);
                out.u64(replica.0);
                out.bytes(about);
            }
            Record::Drop { shard } => {
                out.u8(DROP);
                out.u64(shard.0);
            }
        }
        self.steps.push(Step::Record(record.clone()));
    }

    /// Adds as many of `entries` as fit into `payload_max`; says how many did.
    pub fn entries(&mut self, shard: ShardId, entries: &[Entry], payload_max: usize) -> usize {
        let mut room = payload_max.saturating_sub(self.payload_bytes() + RECORD_HEAD_BYTES);
        let fits = entries.iter().take_while(|entry| {
            let bytes = entry_bytes(entry);
            let fits = bytes <= room;
            room = room.saturating_sub(bytes);
            fits
        });
        let count = fits.count();
        if count > 0 {
            self.head(ENTRIES, shard, count);
            entries[..count].iter().for_each(|entry| self.entry(shard, entry));
        }
        count
    }

    fn head(&mut self, tag: u8, shard: ShardId, count: usize) {
        self.opening_growth += SHARD_BYTES;
        self.out.u8(tag);
        self.out.u64(shard.0);
        self.out.u32(count as u32);
    }

    fn entry(&mut self, shard: ShardId, entry: &Entry) {
        let at = self.out.len();
        self.out.raw(&[0; ENTRY_HEADER_BYTES]);
        entry.encode(&mut self.out);
        let owner = self.owner;
        let buffer = self.out.buffer();
        let bytes = buffer.len() - at - ENTRY_HEADER_BYTES;
        let crc = entry_crc(owner, shard, &buffer[at + ENTRY_HEADER_BYTES..]);
        buffer[at..at + 4].copy_from_slice(&(bytes as u32).to_le_bytes());
        buffer[at + 4..at + 8].copy_from_slice(&crc.to_le_bytes());
        let (at, bytes) = (at as u32, (bytes + ENTRY_HEADER_BYTES) as u32);
        self.steps.push(Step::Entry { shard, index: entry.index, term: entry.term, at, bytes });
    }

    /// Adds entries read back from another segment, each with its header.
    pub fn carried(&mut self, shard: ShardId, entries: &[(Index, Term, Bytes)]) {
        self.head(CARRIED, shard, entries.len());
        for (index, term, raw) in entries {
            let (at, bytes) = (self.out.len() as u32, raw.len() as u32);
            self.out.raw(raw);
            self.steps.push(Step::Carried { shard, index: *index, term: *term, at, bytes });
        }
    }

    pub fn opening(&mut self, opening: Opening) {
        let out = &mut self.out;
        out.u8(OPENING);
        out.u64(opening.shard.0);
        opening.hard_state.encode(out);
        opening.start.encode(out);
        out.u64(opening.last.0);
        out.option(opening.replica.as_ref(), |out, (replica, about)| {
            out.u64(replica.0);
            out.bytes(about);
        });
        self.steps.push(Step::Opening(opening));
    }

    /// The batch as it stands in the segment at `at`.
    pub fn finish(&mut self, at: Position, durable: Position) -> &[u8] {
        let payload_bytes = self.payload_bytes() as u32;
        let buffer = self.out.buffer();
        let payload_crc = payload_crc(self.owner, at, &buffer[BATCH_HEADER_BYTES..]);
        let header = BatchHeader { payload_bytes, at, durable, payload_crc };
        buffer[..BATCH_HEADER_BYTES].copy_from_slice(&header.encode(self.owner));
        buffer.resize(batch_bytes(payload_bytes as usize) as usize, 0);
        buffer
    }
}

/// Bytes that a shard adds to an opening, besides replicas and notes.
const SHARD_BYTES: usize = 128;

/// Bytes of a record of entries besides the entries.
pub(super) const RECORD_HEAD_BYTES: usize = 1 + 8 + 4;

/// Bytes that `entry` takes in a payload.
pub(super) fn entry_bytes(entry: &Entry) -> usize {
    ENTRY_HEADER_BYTES + 8 + 8 + 8 + 1 + 4 + entry.data.len()
}

/// An upper bound of the bytes that `record` takes in a payload.
pub(super) fn record_bytes(record: &Record) -> usize {
    match record {
        Record::HardState { .. } => 1 + 8 + 25,
        Record::Entries { entries, .. } => {
            RECORD_HEAD_BYTES + entries.iter().map(entry_bytes).sum::<usize>()
        }
        Record::LogStart { start, .. } | Record::Reset { start, .. } => 9 + start_bytes(start),
        Record::Replica { about, .. } => 1 + 8 + 8 + 4 + about.len(),
        Record::Drop { .. } => 1 + 8,
    }
}

/// Bytes that a log start takes.
pub(super) fn start_bytes(start: &LogStart) -> usize {
    let membership = &start.membership;
    let replicas =
        [&membership.voters, &membership.outgoing, &membership.learners, &membership.learners_next];
    24 + replicas.iter().map(|set| 4 + 16 * set.len()).sum::<usize>()
}

/// Reads the records of a payload that stands `BATCH_HEADER_BYTES` into its batch, one by one, and
/// the content of each entry among them.
pub(super) struct Payload {
    reader: Reader,
    total: usize,
    owner: u64,
    /// Entries of the record that is being read: its tag, its shard, and how many are left.
    entries: (u8, ShardId, usize),
}

impl Payload {
    pub fn new(owner: u64, payload: Bytes) -> Payload {
        let total = payload.len();
        Payload { reader: Reader::new(payload), total, owner, entries: (0, ShardId(0), 0) }
    }

    /// The next step; `None` at the end.
    pub fn next(&mut self) -> Result<Option<(Step, Option<Entry>)>, DecodeError> {
        loop {
            if self.entries.2 > 0 {
                self.entries.2 -= 1;
                return self.entry().map(Some);
            }
            if self.reader.left() == 0 {
                return Ok(None);
            }
            let tag = self.reader.u8()?;
            let shard = ShardId(self.reader.u64()?);
            if !matches!(tag, ENTRIES | CARRIED) {
                return Ok(Some((self.record(tag, shard)?, None)));
            }
            self.entries = (tag, shard, self.reader.count(ENTRY_HEADER_BYTES)?);
        }
    }

    fn entry(&mut self) -> Result<(Step, Option<Entry>), DecodeError> {
        let (tag, shard, _) = self.entries;
        let at = (BATCH_HEADER_BYTES + self.total - self.reader.left()) as u32;
        let (read, bytes) = decode_entry(self.owner, shard, &mut self.reader)?;
        let (index, term) = (read.index, read.term);
        let step = match tag {
            ENTRIES => Step::Entry { shard, index, term, at, bytes },
            _ => Step::Carried { shard, index, term, at, bytes },
        };
        Ok((step, Some(read)))
    }

    fn record(&mut self, tag: u8, shard: ShardId) -> Result<Step, DecodeError> {
        let reader = &mut self.reader;
        Ok(Step::Record(match tag {
            HARD_STATE => Record::HardState { shard, state: HardState::decode(reader)? },
            LOG_START => Record::LogStart { shard, start: LogStart::decode(reader)? },
            RESET => Record::Reset { shard, start: LogStart::decode(reader)? },
            REPLICA => Record::Replica {
                shard,
                replica: ReplicaId(reader.u64()?),
                about: owned(&reader.bytes()?),
            },
            DROP => Record::Drop { shard },
            OPENING => {
                return Ok(Step::Opening(Opening {
                    shard,
                    hard_state: HardState::decode(reader)?,
                    start: LogStart::decode(reader)?,
                    last: Index(reader.u64()?),
                    replica: reader.option(|r| Ok((ReplicaId(r.u64()?), owned(&r.bytes()?))))?,
                }));
            }
            seen => return Err(DecodeError::unknown("log record", seen)),
        }))
    }
}

/// Reads one entry with its header; also says how many bytes it took.
pub(super) fn decode_entry(
    owner: u64,
    shard: ShardId,
    reader: &mut Reader,
) -> Result<(Entry, u32), DecodeError> {
    let bytes = reader.u32()?;
    let stored = reader.u32()?;
    let raw = reader.raw(bytes as usize)?;
    if entry_crc(owner, shard, &raw) != stored {
        return Err(DecodeError::Invalid("checksum of an entry"));
    }
    let mut inner = Reader::new(raw);
    let mut entry = Entry::decode(&mut inner)?;
    inner.end()?;
    // A copy, so that one small entry does not keep a whole segment in memory.
    entry.data = owned(&entry.data);
    Ok((entry, bytes + ENTRY_HEADER_BYTES as u32))
}

fn owned(bytes: &Bytes) -> Bytes {
    Bytes::copy_from_slice(bytes)
}
