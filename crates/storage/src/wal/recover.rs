//! Making a log, and reading one back after whatever happened to it.

use super::format::{
    self, BATCH_ALIGN, BATCH_HEADER_BYTES, Batch, BatchHeader, HeaderFault, SEGMENT_HEADER_BYTES,
    SegmentHeader, Step, batch_bytes, payload_crc,
};
use super::shards::Shards;
use super::{
    Position, Record, Recovered, RecoveredShard, Segment, Spare, WAL_DIRECTORY, Wal, WalError,
    WalOptions, header,
};
use crate::disk::{Disk, FileId};
use base::{Bytes, Entry, ShardId};
use std::collections::{BTreeMap, VecDeque};
use std::io;

/// The first bytes of segment `number`, and where its first batch of news goes.
pub(super) fn opening(
    shards: &Shards,
    options: &WalOptions,
    number: u64,
    before: Position,
) -> (Position, Vec<u8>) {
    let at = Position { segment: number, offset: SEGMENT_HEADER_BYTES };
    let mut batch = Batch::new(options.owner, shards.opening_bytes());
    shards.openings().for_each(|opening| batch.opening(opening));
    let mut content = header(options, number, before).encode();
    content.extend_from_slice(batch.finish(at, before));
    let head = Position { segment: number, offset: content.len() as u64 };
    assert!(
        head.offset <= options.segment_bytes / 2,
        "the state of all shards takes {} bytes of a segment of {}",
        head.offset,
        options.segment_bytes
    );
    (head, content)
}

/// Bytes that are written again at a time when a log is opened.
const REWRITE_BYTES: usize = 1 << 20;

fn io_error(doing: String) -> impl FnOnce(io::Error) -> WalError {
    move |error| WalError::Io { doing, error }
}

/// See [`Wal::create`].
pub(super) fn create(disk: &mut dyn Disk, options: &WalOptions) -> Result<(), WalError> {
    let place = disk.describe(WAL_DIRECTORY);
    disk.create_dir(WAL_DIRECTORY).map_err(io_error(format!("creating {place}")))?;
    for name in disk.list(WAL_DIRECTORY).map_err(io_error(format!("listing {place}")))? {
        let path = format!("{WAL_DIRECTORY}/{name}");
        if holds_something(disk, &path, &name, options)? {
            let error = io::Error::new(
                io::ErrorKind::AlreadyExists,
                "a log is there already; choose an empty directory, or remove this one if its node \
                 was replaced",
            );
            return Err(WalError::Io { doing: format!("creating {place}"), error });
        }
        disk.remove(&path).map_err(io_error(format!("removing {}", disk.describe(&path))))?;
    }
    let path = Wal::segment_path(1);
    let (_, content) = opening(&Shards::default(), options, 1, Position::default());
    let mut write = || {
        let file = disk.create(&path)?;
        disk.write_zeros(file, 0, options.segment_bytes)?;
        disk.write(file, 0, &content)?;
        disk.sync_data(file)?;
        disk.close(file);
        disk.sync_dir(WAL_DIRECTORY)
    };
    write().map_err(io_error(format!("creating the log in {place}")))
}

/// Whether a file in a directory that was never formatted whole is more than a leftover.
fn holds_something(
    disk: &mut dyn Disk,
    path: &str,
    name: &str,
    options: &WalOptions,
) -> Result<bool, WalError> {
    match segment_number(name) {
        None => Ok(false),
        Some(1) => {
            let content = disk.read_file(path).map_err(io_error(format!("reading {path}")))?;
            let after = SEGMENT_HEADER_BYTES + batch_bytes(0);
            Ok(!headers(&content, options.owner, 1, after).is_empty())
        }
        Some(_) => Ok(true),
    }
}

fn segment_number(name: &str) -> Option<u64> {
    name.strip_suffix(".log")?.parse().ok()
}

/// Why bytes are not a batch.
struct Fault {
    offset: u64,
    expected: String,
    seen: String,
}

/// The batch at `at`, and its payload.
fn batch_at(content: &Bytes, owner: u64, at: Position) -> Result<(BatchHeader, Bytes), Fault> {
    let fault = |expected: String, seen: String| Fault { offset: at.offset, expected, seen };
    let offset = at.offset as usize;
    let bytes = content.get(offset..).unwrap_or_default();
    let Some(header) = BatchHeader::decode(bytes, owner, at.segment) else {
        let seen = &bytes[..bytes.len().min(16)];
        return Err(fault("the head of a batch".into(), format!("{seen:02x?}")));
    };
    if header.at != at {
        return Err(fault(format!("the batch of {at}"), format!("the batch of {}", header.at)));
    }
    let start = offset + BATCH_HEADER_BYTES;
    let end = start + header.payload_bytes as usize;
    if end > content.len() {
        return Err(fault(format!("{} bytes", header.payload_bytes), "the segment's end".into()));
    }
    let payload = content.slice(start..end);
    let crc = payload_crc(owner, at, &payload);
    if crc != header.payload_crc {
        let expected = format!("checksum {:08x}", header.payload_crc);
        return Err(fault(expected, format!("{crc:08x}")));
    }
    Ok((header, payload))
}

/// Heads of batches of this segment that stand at or after `from`, whole or not behind their head.
fn headers(content: &[u8], owner: u64, number: u64, from: u64) -> Vec<(u64, BatchHeader)> {
    (from.next_multiple_of(BATCH_ALIGN)..content.len() as u64)
        .step_by(BATCH_ALIGN as usize)
        .filter_map(|at| Some((at, BatchHeader::decode(&content[at as usize..], owner, number)?)))
        .collect()
}

struct Recovery {
    disk: Box<dyn Disk>,
    options: WalOptions,
    shards: Shards,
    content: BTreeMap<ShardId, BTreeMap<u64, Entry>>,
    spares: Vec<Spare>,
    spare_names: u64,
    torn: Option<Position>,
}

/// A segment that was read.
struct Loaded {
    number: u64,
    file: FileId,
    content: Bytes,
    header: SegmentHeader,
}

/// The newest segment and its part that may not be durable.
struct Tail {
    number: u64,
    file: FileId,
    content: Bytes,
    /// Bytes that are durable, as the segment itself says.
    durable: u64,
    /// Where the last whole batch ends.
    end: u64,
}

/// See [`Wal::open`].
pub(super) fn open(disk: Box<dyn Disk>, options: WalOptions) -> Result<(Wal, Recovered), WalError> {
    let mut recovery = Recovery {
        disk,
        options,
        shards: Shards::default(),
        content: BTreeMap::new(),
        spares: Vec::new(),
        spare_names: 0,
        torn: None,
    };
    let numbers = recovery.take_inventory()?;
    let numbers = recovery.drop_unopened(numbers)?;
    let (segments, newest) = recovery.replay(&numbers)?;
    recovery.whole()?;
    recovery.keep(&newest)?;
    let head = Position { segment: newest.number, offset: newest.end };
    let recovered = recovery.recovered();
    let wal = Wal {
        disk: recovery.disk,
        options: recovery.options,
        shards: recovery.shards,
        segments,
        spares: recovery.spares,
        filling: None,
        full_for: 0,
        tight: false,
        spare_names: recovery.spare_names,
        head,
        durable: head,
        vouched: Position::default(),
        poisoned: None,
        syncs: 0,
        written_bytes: 0,
    };
    Ok((wal, recovered))
}

impl Recovery {
    fn io<T>(&self, doing: &str, path: &str, result: io::Result<T>) -> Result<T, WalError> {
        result.map_err(io_error(format!("{doing} {}", self.disk.describe(path))))
    }

    fn corrupt(&self, number: u64, fault: Fault) -> WalError {
        WalError::Corrupt {
            path: self.disk.describe(&Wal::segment_path(number)),
            offset: fault.offset,
            expected: fault.expected,
            seen: fault.seen,
        }
    }

    /// Makes durable what was read: a process that was killed may have left it to the operating
    /// system only, and from now on it is acted on and vouched for.
    ///
    /// It is written again first. If the last process ended since a sync failed, the system shows
    /// what that sync was to keep and takes it for clean, so that another sync would not keep it
    /// either. What a batch says was durable before it need not be written.
    fn keep(&mut self, newest: &Tail) -> Result<(), WalError> {
        let path = Wal::segment_path(newest.number);
        for at in (newest.durable..newest.end).step_by(REWRITE_BYTES) {
            let end = newest.end.min(at + REWRITE_BYTES as u64);
            let again = &newest.content[at as usize..end as usize];
            let written = self.disk.write(newest.file, at, again);
            self.io("writing again", &path, written)?;
        }
        let synced = self.disk.sync_data(newest.file);
        self.io("syncing", &path, synced)?;
        let synced = self.disk.sync_dir(WAL_DIRECTORY);
        self.io("syncing", WAL_DIRECTORY, synced)
    }

    /// Opens spares, removes half-made ones, and returns the newest unbroken row of segments;
    /// segments before a gap were released and only their removal was lost.
    fn take_inventory(&mut self) -> Result<Vec<u64>, WalError> {
        let place = self.disk.describe(WAL_DIRECTORY);
        let names = match self.disk.list(WAL_DIRECTORY) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            other => other.map_err(io_error(format!("listing {place}")))?,
        };
        let mut numbers: Vec<u64> = names.iter().filter_map(|name| segment_number(name)).collect();
        numbers.sort_unstable();
        if numbers.is_empty() {
            return Err(WalError::Missing { path: place });
        }
        for name in &names {
            let path = format!("{WAL_DIRECTORY}/{name}");
            if let Some(number) = name.strip_prefix("spare-") {
                self.spare_names = self.spare_names.max(number.parse().unwrap_or(0));
                self.keep_spare(path)?;
            } else if name.starts_with("new-") {
                let removed = self.disk.remove(&path);
                self.io("removing", &path, removed)?;
            }
        }
        let gap = (1..numbers.len()).rev().find(|i| numbers[i - 1] + 1 != numbers[*i]).unwrap_or(0);
        for number in numbers.drain(..gap).collect::<Vec<_>>() {
            self.retire(number)?;
        }
        Ok(numbers)
    }

    fn keep_spare(&mut self, path: String) -> Result<(), WalError> {
        let opened = self.disk.open(&path);
        let file = self.io("opening", &path, opened)?;
        let len = self.disk.len(file);
        let len = self.io("reading", &path, len)?;
        if len == self.options.segment_bytes && self.spares.len() < self.options.spares_max {
            self.spares.push(Spare { name: path, file });
            return Ok(());
        }
        self.disk.close(file);
        let removed = self.disk.remove(&path);
        self.io("removing", &path, removed)
    }

    /// Makes a segment that is not needed a spare.
    fn retire(&mut self, number: u64) -> Result<(), WalError> {
        let path = Wal::segment_path(number);
        self.spare_names += 1;
        let name = format!("{WAL_DIRECTORY}/spare-{:04}", self.spare_names);
        let renamed = self.disk.rename(&path, &name);
        self.io("renaming", &path, renamed)?;
        self.keep_spare(name)
    }

    fn load(&mut self, number: u64) -> Result<(FileId, Bytes), WalError> {
        let path = Wal::segment_path(number);
        let opened = self.disk.open(&path);
        let file = self.io("opening", &path, opened)?;
        let len = self.disk.len(file);
        let len = self.io("reading", &path, len)?;
        let mut content = vec![0; len as usize];
        let read = self.disk.read(file, 0, &mut content);
        self.io("reading", &path, read)?;
        Ok((file, Bytes::from(content)))
    }

    /// The header of a segment whose opening is whole.
    fn opened(&self, number: u64, content: &Bytes) -> Result<SegmentHeader, WalError> {
        let path = || self.disk.describe(&Wal::segment_path(number));
        let corrupt = |expected: String, seen: String| {
            self.corrupt(number, Fault { offset: 0, expected, seen })
        };
        let header = SegmentHeader::decode(content).map_err(|fault| match fault {
            HeaderFault::Bad { expected, seen } => corrupt(expected, seen),
            HeaderFault::Format(seen) => {
                WalError::Format { path: path(), known: format::FORMAT, seen }
            }
        })?;
        let (expected, seen) = (self.options.owner, header.owner);
        if expected != seen {
            return Err(WalError::Foreign { path: path(), expected, seen });
        }
        if header.number != number {
            return Err(corrupt(format!("segment {number}"), format!("segment {}", header.number)));
        }
        if header.segment_bytes != content.len() as u64 {
            let expected = format!("{} bytes", header.segment_bytes);
            return Err(corrupt(expected, format!("{} bytes", content.len())));
        }
        let at = Position { segment: number, offset: SEGMENT_HEADER_BYTES };
        batch_at(content, self.options.owner, at).map_err(|fault| self.corrupt(number, fault))?;
        Ok(header)
    }

    /// Puts the newest segment aside if a crash caught it being opened: its opening is not whole,
    /// and nothing in it says that anything of it was ever durable.
    fn drop_unopened(&mut self, mut numbers: Vec<u64>) -> Result<Vec<u64>, WalError> {
        let newest = *numbers.last().expect("an inventory has a segment");
        let (file, content) = self.load(newest)?;
        let broken = match self.opened(newest, &content) {
            Err(broken @ WalError::Corrupt { .. }) => broken,
            other => {
                self.disk.close(file);
                return other.map(|_| numbers);
            }
        };
        let news = headers(&content, self.options.owner, newest, 0);
        let start = Position { segment: newest, offset: 0 };
        if numbers.len() == 1 || news.iter().any(|(_, header)| header.durable > start) {
            return Err(broken);
        }
        let heads = news.iter().map(|(at, _)| *at).chain([0]);
        self.erase(newest, file, heads)?;
        self.disk.close(file);
        self.torn = Some(start);
        numbers.pop();
        self.retire(newest)?;
        Ok(numbers)
    }

    /// Overwrites heads that were never acknowledged, so that they can't come back to life behind
    /// what is written there next.
    fn erase(
        &mut self,
        number: u64,
        file: FileId,
        heads: impl Iterator<Item = u64>,
    ) -> Result<(), WalError> {
        let path = Wal::segment_path(number);
        for at in heads {
            let written = self.disk.write(file, at, &[0; BATCH_HEADER_BYTES]);
            self.io("cutting the torn tail of", &path, written)?;
        }
        let synced = self.disk.sync_data(file);
        self.io("cutting the torn tail of", &path, synced)
    }

    fn replay(&mut self, numbers: &[u64]) -> Result<(VecDeque<Segment>, Tail), WalError> {
        let mut segments = VecDeque::new();
        let mut ended: Option<Position> = None;
        let mut before: Option<Loaded> = None;
        for number in numbers {
            let (file, content) = self.load(*number)?;
            let header = self.opened(*number, &content)?;
            if let Some(closed) = before.take() {
                ended = Some(self.replay_closed(&closed, header.before)?);
            }
            if let Some(ended) = ended
                && header.before != ended
            {
                let fault = Fault {
                    offset: 0,
                    expected: format!("a segment that follows {ended}"),
                    seen: format!("one that follows {}", header.before),
                };
                return Err(self.corrupt(*number, fault));
            }
            segments.push_back(Segment { number: *number, file, bytes: content.len() as u64 });
            before = Some(Loaded { number: *number, file, content, header });
        }
        let newest = before.expect("there is a segment");
        let tail = self.replay_newest(&newest)?;
        Ok((segments, tail))
    }

    /// Follows the batch at `at`; says where the next one begins.
    fn follow(&mut self, number: u64, at: Position, payload: Bytes) -> Result<(), WalError> {
        let fault = |seen: String| Fault {
            offset: at.offset,
            expected: "records that follow from those before".into(),
            seen,
        };
        let mut payload = format::Payload::new(self.options.owner, payload);
        loop {
            let next = payload.next();
            let next = next.map_err(|error| self.corrupt(number, fault(error.to_string())))?;
            let Some((step, entry)) = next else { return Ok(()) };
            if let Err(why) = self.shards.apply(&step, number, at.offset) {
                return Err(self.corrupt(number, fault(why)));
            }
            self.keep_content(&step, entry);
        }
    }

    /// Keeps an entry's content, or drops what a record made useless.
    fn keep_content(&mut self, step: &Step, entry: Option<Entry>) {
        match step {
            Step::Entry { shard, index, .. } | Step::Carried { shard, index, .. } => {
                let entry = entry.expect("an entry has content");
                self.content.entry(*shard).or_default().insert(index.0, entry);
            }
            Step::Record(Record::LogStart { shard, start }) => {
                if let Some(content) = self.content.get_mut(shard) {
                    *content = content.split_off(&(start.index.0 + 1));
                }
            }
            Step::Record(Record::Reset { shard, .. } | Record::Drop { shard }) => {
                self.content.remove(shard);
            }
            _ => {}
        }
    }

    /// Follows a segment whose end is known: every byte up to it must be right.
    fn replay_closed(&mut self, segment: &Loaded, end: Position) -> Result<Position, WalError> {
        let number = segment.number;
        let mut at = Position { segment: number, offset: SEGMENT_HEADER_BYTES };
        while at.offset < end.offset && end.segment == number {
            let (header, payload) = batch_at(&segment.content, self.options.owner, at)
                .map_err(|fault| self.corrupt(number, fault))?;
            self.follow(number, at, payload)?;
            at.offset += header.bytes();
        }
        Ok(at)
    }

    /// Follows the newest segment up to its torn tail, which is cut off.
    fn replay_newest(&mut self, segment: &Loaded) -> Result<Tail, WalError> {
        let number = segment.number;
        let owner = self.options.owner;
        let mut at = Position { segment: number, offset: SEGMENT_HEADER_BYTES };
        let mut durable = Position { segment: number, offset: 0 };
        let tail = |durable: Position, end: Position| Tail {
            number,
            file: segment.file,
            content: segment.content.clone(),
            durable: durable.offset,
            end: end.offset,
        };
        let fault = loop {
            if at.offset + batch_bytes(0) > segment.header.segment_bytes {
                return Ok(tail(durable, at));
            }
            match batch_at(&segment.content, owner, at) {
                Ok((header, payload)) => {
                    durable = durable.max(header.durable);
                    self.follow(number, at, payload)?;
                    at.offset += header.bytes();
                }
                Err(fault) => break fault,
            }
        };
        let later = headers(&segment.content, owner, number, at.offset);
        for (offset, header) in &later {
            if header.durable > at {
                let expected = format!("{} (durable, says the batch at {offset})", fault.expected);
                return Err(self.corrupt(number, Fault { expected, ..fault }));
            }
            if header.at.offset != *offset {
                let expected = "no batch, or the one of this place".to_owned();
                let seen = format!("the batch of {}", header.at);
                return Err(self.corrupt(number, Fault { offset: *offset, expected, seen }));
            }
        }
        if !later.is_empty() {
            self.torn = Some(at);
            self.erase(number, segment.file, later.iter().map(|(offset, _)| *offset))?;
        }
        Ok(tail(durable, at))
    }

    /// Every entry that some shard should have was found.
    fn whole(&self) -> Result<(), WalError> {
        let Some((shard, index)) = self.shards.first_hole() else { return Ok(()) };
        Err(WalError::Corrupt {
            path: self.disk.describe(WAL_DIRECTORY),
            offset: 0,
            expected: format!("a segment with entry {index} of {shard}"),
            seen: "none: a segment that was needed is gone".to_owned(),
        })
    }

    fn recovered(&mut self) -> Recovered {
        let mut shards = BTreeMap::new();
        for (shard, log) in &self.shards.shards {
            let mut content = self.content.remove(shard).unwrap_or_default();
            let first = log.start.index.0 + 1;
            let entries = (first..=log.last().0)
                .map(|index| content.remove(&index).expect("a located entry was read"))
                .collect();
            let recovered = RecoveredShard {
                hard_state: log.hard_state,
                log_start: log.start.clone(),
                entries,
                replica: log.replica.clone(),
            };
            shards.insert(*shard, recovered);
        }
        Recovered { shards, torn: self.torn }
    }
}
