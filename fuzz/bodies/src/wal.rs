//! The files of a log, as a disk gives them back.
//!
//! Checksums keep arbitrary bytes from going far, so most arrangements make them right again: what
//! is behind them must not break recovery either, however little sense it makes.

use crate::allocation::bounded;
use crate::bytes::Choices;
use base::checksum::{crc32c, crc32c_append};
use base::codec::Writer;
use base::{
    Bytes, Entry, EntryKind, HardState, Index, LogStart, Membership, NodeId, ReplicaId, ShardId,
    Stamp, Term,
};
use std::sync::OnceLock;
use storage::disk::{Disk, SimDisk, SimImage};
use storage::wal::{Record, Wal, WalError, WalOptions};

const OWNER: u64 = 0x5eed;
const SEGMENT: usize = 4 << 10;
const HEADER: usize = 48;
/// Where the first batch of a segment stands: the one that opens it.
const OPENING: usize = 512;
/// Where the first batch of news stands in a log that knows no shard.
const NEWS: usize = OPENING + 64;

fn options() -> WalOptions {
    WalOptions {
        segment_bytes: SEGMENT as u64,
        segments_soft: 2,
        spares: 1,
        spares_max: 2,
        step_bytes: 1 << 10,
        owner: OWNER,
    }
}

/// The first byte says what the rest is.
pub fn body(data: &[u8]) -> bool {
    let mut choices = Choices::new(data);
    match choices.byte() % 5 {
        0 => {
            let payload = choices.rest();
            recovered(fresh(), |files| files.batch(1, NEWS, payload))
        }
        1 => {
            let payload = records(&mut choices);
            recovered(fresh(), |files| files.batch(1, NEWS, &payload))
        }
        2 => {
            let payload = records(&mut choices);
            recovered(fresh(), |files| files.batch(1, OPENING, &payload))
        }
        3 => recovered(busy(), |files| files.edit(&mut choices, true)),
        _ => recovered(busy(), |files| files.edit(&mut choices, false)),
    }
}

/// Changes the files of a log, opens it, and goes on with what recovery made of them.
fn recovered(image: &SimImage, change: impl FnOnce(&mut Files)) -> bool {
    let disk = SimDisk::new();
    disk.restore(image);
    let mut files = Files { disk: disk.clone() };
    change(&mut files);
    let bytes = disk.used() as usize;
    let opened = bounded(bytes, || Wal::open(Box::new(disk.clone()), options()));
    let (mut wal, recovered) = match opened {
        Ok(opened) => opened,
        // Refused for what its records say, behind the checksums.
        Err(WalError::Corrupt { expected, .. }) => {
            return expected.starts_with("records that follow") || expected.contains("segment ");
        }
        Err(_) => return false,
    };
    for (shard, log) in &recovered.shards {
        let first = log.log_start.index.next();
        let read = wal.entries(*shard, first, Index(u64::MAX), usize::MAX).expect("they were read");
        assert_eq!(read, log.entries);
    }
    let state = HardState { term: Term(1 << 40), vote: None, commit: Index(0) };
    let record = Record::HardState { shard: ShardId(1 << 40), state };
    if wal.append(&[record]).and_then(|()| wal.sync()).is_ok() {
        drop(wal);
        let (_, mut again) = Wal::open(Box::new(disk), options()).expect("it was opened before");
        assert!(again.shards.remove(&ShardId(1 << 40)).is_some());
        let mut before = recovered.shards;
        before.remove(&ShardId(1 << 40));
        assert_eq!(again.shards, before);
    }
    true
}

/// A log that was just made.
fn fresh() -> &'static SimImage {
    static IMAGE: OnceLock<SimImage> = OnceLock::new();
    IMAGE.get_or_init(|| {
        let mut disk = SimDisk::new();
        Wal::create(&mut disk, &options()).expect("an empty disk takes a log");
        disk.image()
    })
}

/// A log that has gone through several segments.
fn busy() -> &'static SimImage {
    static IMAGE: OnceLock<SimImage> = OnceLock::new();
    IMAGE.get_or_init(|| {
        let disk = SimDisk::new();
        disk.restore(fresh());
        let (mut wal, _) = Wal::open(Box::new(disk.clone()), options()).expect("it is whole");
        let about = Bytes::from_static(b"about");
        let replica = Record::Replica { shard: ShardId(2), replica: ReplicaId(4), about };
        wal.append(&[replica]).expect("there is room");
        for index in 1..=12 {
            let entries = vec![entry(1 + index / 5, index, vec![index as u8; 400])];
            let state = HardState { term: Term(3), vote: Some(ReplicaId(2)), commit: Index(index) };
            let shard = ShardId(1);
            wal.append(&[Record::Entries { shard, entries }, Record::HardState { shard, state }])
                .expect("there is room");
            if index == 7 {
                wal.append(&[Record::LogStart { shard, start: start(1, 4) }]).expect("room");
            }
            wal.sync().expect("the disk is sound");
            wal.maintain().expect("the disk is sound");
        }
        disk.image()
    })
}

fn entry(term: u64, index: u64, data: Vec<u8>) -> Entry {
    let (term, index, stamp) = (Term(term), Index(index), Stamp(index));
    Entry { term, index, stamp, kind: EntryKind::Command, data: data.into() }
}

fn start(term: u64, index: u64) -> LogStart {
    let membership = Membership::of_voters([(ReplicaId(1), NodeId(1))]);
    LogStart { index: Index(index), term: Term(term), stamp: Stamp(index), membership }
}

/// The files of a log.
struct Files {
    disk: SimDisk,
}

impl Files {
    fn path(number: u64) -> String {
        format!("wal/{number:08}.log")
    }

    fn write(&mut self, path: &str, at: usize, bytes: &[u8]) {
        let file = self.disk.open(path).expect("it is there");
        self.disk.write(file, at as u64, bytes).expect("there is room");
        self.disk.close(file);
    }

    /// Puts a batch into a segment, with right checksums around `payload`.
    fn batch(&mut self, number: u64, at: usize, payload: &[u8]) {
        let payload = &payload[..payload.len().min(SEGMENT - at - HEADER)];
        let mut batch = vec![0; HEADER];
        batch[..4].copy_from_slice(&0x6c77_7055u32.to_le_bytes());
        batch[4..8].copy_from_slice(&(payload.len() as u32).to_le_bytes());
        batch[8..16].copy_from_slice(&number.to_le_bytes());
        batch[16..24].copy_from_slice(&(at as u64).to_le_bytes());
        batch.extend_from_slice(payload);
        make_checksums_right(&mut batch);
        self.write(&Files::path(number), at, &batch);
    }

    /// Changes bytes anywhere, and makes checksums right if `forged`.
    fn edit(&mut self, choices: &mut Choices<'_>, forged: bool) {
        let paths: Vec<String> = self.disk.paths();
        while !choices.is_over() {
            let path = &paths[usize::from(choices.byte()) % paths.len()];
            let at = usize::from(choices.pair()) % (SEGMENT - 16);
            let bytes = choices.some();
            let bytes = &bytes[..bytes.len().min(SEGMENT - at)];
            self.write(path, at, bytes);
            if forged {
                self.forge(path, at);
            }
        }
    }

    /// Makes the checksums of the batch right in which `at` lies.
    fn forge(&mut self, path: &str, at: usize) {
        let mut content = self.disk.read_file(path).expect("it is there");
        let magic = 0x6c77_7055u32.to_le_bytes();
        let heads = (OPENING..content.len()).step_by(64);
        let head = heads.take_while(|head| *head <= at).filter(|h| content[*h..*h + 4] == magic);
        let Some(head) = head.last() else { return };
        make_checksums_right(&mut content[head..]);
        self.write(path, head, &content[head..head + HEADER]);
    }
}

/// Makes the checksums right of the batch that stands at the front.
fn make_checksums_right(batch: &mut [u8]) {
    let bytes = u32::from_le_bytes(batch[4..8].try_into().expect("four")) as usize;
    let Some(payload) = batch.get(HEADER..HEADER.saturating_add(bytes)) else { return };
    let seed = crc32c(&OWNER.to_le_bytes());
    // It covers the segment and the offset, as the head has them.
    let crc = crc32c_append(crc32c_append(seed, &batch[8..24]), payload);
    batch[40..44].copy_from_slice(&crc.to_le_bytes());
    let crc = crc32c_append(seed, &batch[..44]);
    batch[44..48].copy_from_slice(&crc.to_le_bytes());
}

/// Records of all kinds, whole, with numbers that the input chooses.
fn records(choices: &mut Choices<'_>) -> Vec<u8> {
    let mut out = Writer::new();
    while !choices.is_over() && out.len() < SEGMENT {
        let tag = choices.byte() % 10;
        let shard = u64::from(choices.byte() % 4);
        out.u8(tag);
        out.u64(shard);
        match tag {
            1 => hard_state(choices).encode(&mut out),
            2 | 7 => {
                let count = choices.byte() % 6;
                out.u32(u32::from(count));
                (0..count).for_each(|_| raw_entry(shard, choices, &mut out));
            }
            3 | 4 => log_start(choices).encode(&mut out),
            5 => {
                out.u64(choices.number());
                out.bytes(choices.some());
            }
            8 => {
                hard_state(choices).encode(&mut out);
                log_start(choices).encode(&mut out);
                out.u64(choices.number());
                out.option((choices.byte() % 2 == 1).then_some(()), |out, ()| {
                    out.u64(choices.number());
                    out.bytes(choices.some());
                });
            }
            _ => {}
        }
    }
    out.finish().to_vec()
}

fn hard_state(choices: &mut Choices<'_>) -> HardState {
    let vote = (choices.byte() % 2 == 1).then(|| ReplicaId(choices.number()));
    HardState { term: Term(choices.number()), vote, commit: Index(choices.number()) }
}

fn log_start(choices: &mut Choices<'_>) -> LogStart {
    start(choices.number(), choices.number())
}

fn raw_entry(shard: u64, choices: &mut Choices<'_>, out: &mut Writer) {
    let mut bytes = Writer::new();
    entry(choices.number(), choices.number(), choices.some().to_vec()).encode(&mut bytes);
    let bytes = bytes.finish();
    let seed = crc32c_append(crc32c(&OWNER.to_le_bytes()), &shard.to_le_bytes());
    out.u32(bytes.len() as u32);
    out.u32(crc32c_append(seed, &bytes));
    out.raw(&bytes);
}
