//! Walking over many rows, a slice per turn.
//!
//! Everything that must see a shard's rows one after the other is a scan: a client's walk, a state
//! hash, a sweep for what is due, a snapshot, a machine's memory at start. A scan reads one view of
//! the engine from beginning to end. A slice asks the tables for the next rows (if there are tables
//! at all) and merges them with the memtables; between slices other work goes on.

use crate::core::{Asked, Core, Origin};
use crate::descriptor::{Descriptor, engine_key};
use crate::effect::Fetch;
use base::key::prefix_end;
use base::{Bytes, Index, KeyRange, ReplicaId, ShardId};
use service::Space;
use service::hash::StateHash;
use service::kv::scan::{Cursor, Walk, WalkReply, WalkRequest};
use service::kv::{Progress, Walker};
use std::collections::{BTreeMap, VecDeque};
use storage::engine::{Limit, ViewId};
use storage::tables::DATA_ID_BYTES;

/// Rows that one question to the tables asks for.
const SLICE_ROWS: usize = 1_000;
/// Bytes after which the tables stop a slice.
const SLICE_BYTES: usize = 1 << 20;

/// All scans of a node.
#[derive(Debug, Default)]
pub(crate) struct Scans {
    next: u64,
    scans: BTreeMap<u64, Scan>,
    /// Scans that can go on, next first.
    ready: VecDeque<u64>,
    /// Views of scans that nobody wants any more and whose question to the tables is under way: the
    /// tables have to keep what it reads until it is answered.
    asked: BTreeMap<u64, ViewId>,
}

#[derive(Debug)]
struct Scan {
    view: ViewId,
    /// What is left to visit: the space, its data id, the range of keys within it.
    left: VecDeque<(Space, u64, KeyRange)>,
    /// A question to the tables is under way.
    waits: bool,
    /// What they answered, not merged yet.
    arrived: Option<Arrived>,
    purpose: Purpose,
}

/// Rows in order, and where they end: everything before that key is covered.
type Arrived = (Vec<(Bytes, Bytes)>, Option<Bytes>);

#[derive(Debug)]
enum Purpose {
    Walk { origin: Origin, walker: Walker },
    Hash { shard: ShardId, index: Index, hash: StateHash },
    Load { shard: ShardId, rows: Vec<(Bytes, Bytes)> },
    Sweep { shard: ShardId, found: Vec<(Space, Bytes)> },
    Snapshot { shard: ShardId, to: ReplicaId },
}

/// Something that a scan has to say to the node.
#[derive(Debug)]
pub(crate) enum Found {
    /// Part of a client's answer.
    Walk { origin: Origin, more: bool, reply: WalkReply },
    /// A state hash.
    Hash { shard: ShardId, index: Index, hash: u64 },
    /// The rows that a machine keeps in memory.
    Load { shard: ShardId, rows: Vec<(Bytes, Bytes)> },
    /// Rows that are due.
    Sweep { shard: ShardId, found: Vec<(Space, Bytes)> },
    /// Rows of a snapshot; the scan pauses until [`Scans::resume`]. The last has `last` set.
    Snapshot {
        shard: ShardId,
        to: ReplicaId,
        scan: u64,
        rows: Vec<(Space, Bytes, Bytes)>,
        last: bool,
    },
}

impl Scans {
    /// Whether a scan could go on at once.
    pub fn busy(&self) -> bool {
        !self.ready.is_empty()
    }

    fn start(&mut self, view: ViewId, left: Vec<(Space, u64, KeyRange)>, purpose: Purpose) -> u64 {
        self.next += 1;
        let scan = Scan { view, left: left.into(), waits: false, arrived: None, purpose };
        self.scans.insert(self.next, scan);
        self.ready.push_back(self.next);
        self.next
    }

    /// A client's walk, over what is applied now.
    pub fn walk(
        &mut self,
        core: &mut Core,
        descriptor: &Descriptor,
        origin: Origin,
        request: WalkRequest,
    ) {
        let walker = Walker::new(request.clone(), descriptor.applied.stamp);
        let Some(data) = descriptor.spaces.get(&walker.space()) else {
            let empty = match request.walk {
                Walk::Count => WalkReply::Count(0),
                _ => WalkReply::Page { next: Cursor(0), found: Vec::new() },
            };
            return core.reply(origin, Ok(crate::api::Reply::Walk(empty)));
        };
        let left = vec![(walker.space(), *data, walker.range())];
        self.start(core.engine.open_view(), left, Purpose::Walk { origin, walker });
    }

    /// Hashes all rows of a replica as `view` shows them.
    pub fn hash(&mut self, descriptor: &Descriptor, index: Index, view: ViewId) {
        let hash = StateHash::new();
        self.start(view, all(descriptor), Purpose::Hash { shard: descriptor.shard, index, hash });
    }

    /// Reads what a machine keeps in memory.
    pub fn load(
        &mut self,
        core: &mut Core,
        descriptor: &Descriptor,
        spans: Vec<(Space, KeyRange)>,
    ) {
        let left = placed(descriptor, spans);
        let purpose = Purpose::Load { shard: descriptor.shard, rows: Vec::new() };
        self.start(core.engine.open_view(), left, purpose);
    }

    /// Looks for rows that are due.
    pub fn sweep(
        &mut self,
        core: &mut Core,
        descriptor: &Descriptor,
        spans: Vec<(Space, KeyRange)>,
    ) {
        let left = placed(descriptor, spans);
        if !left.is_empty() {
            let purpose = Purpose::Sweep { shard: descriptor.shard, found: Vec::new() };
            self.start(core.engine.open_view(), left, purpose);
        }
    }

    /// Reads a replica's rows for a snapshot, as of what is applied now.
    pub fn snapshot(&mut self, core: &mut Core, descriptor: &Descriptor, to: ReplicaId) -> u64 {
        let purpose = Purpose::Snapshot { shard: descriptor.shard, to };
        self.start(core.engine.open_view(), all(descriptor), purpose)
    }

    /// A paused snapshot goes on.
    pub fn resume(&mut self, scan: u64) {
        if self.scans.contains_key(&scan) && !self.ready.contains(&scan) {
            self.ready.push_back(scan);
        }
    }

    /// Whether the scan is still going on.
    pub fn contains(&self, scan: u64) -> bool {
        self.scans.contains_key(&scan)
    }

    /// Nobody wants the scan any more.
    pub fn cancel(&mut self, core: &mut Core, id: u64) {
        if let Some(scan) = self.scans.remove(&id) {
            self.ready.retain(|ready| *ready != id);
            match scan.waits {
                true => drop(self.asked.insert(id, scan.view)),
                false => core.engine.close_view(scan.view),
            }
        }
    }

    /// The tables answered a scan's question.
    pub fn sliced(
        &mut self,
        core: &mut Core,
        id: u64,
        rows: Vec<(Bytes, Bytes)>,
        until: Option<Bytes>,
    ) {
        if let Some(view) = self.asked.remove(&id) {
            core.engine.close_view(view);
        }
        if let Some(scan) = self.scans.get_mut(&id) {
            scan.waits = false;
            scan.arrived = Some((rows, until));
            self.ready.push_back(id);
        }
    }

    /// Lets the scans go on, one slice each in turn, for about `budget` rows.
    pub fn run(&mut self, core: &mut Core, mut budget: usize, out: &mut Vec<Found>) {
        while budget > 0 {
            let Some(id) = self.ready.pop_front() else { return };
            let scan = self.scans.get_mut(&id).expect("a ready scan exists");
            let (visited, next) = scan.go_on(core, id, out);
            budget = budget.saturating_sub(visited.max(1));
            core.work.rows += visited;
            match next {
                Next::Again => self.ready.push_back(id),
                Next::Wait => {}
                Next::Over => {
                    let scan = self.scans.remove(&id).expect("just run");
                    core.engine.close_view(scan.view);
                    scan.purpose.finish(id, out);
                }
            }
        }
    }
}

enum Next {
    Again,
    Wait,
    Over,
}

/// Every row of a replica.
fn all(descriptor: &Descriptor) -> Vec<(Space, u64, KeyRange)> {
    descriptor.spaces.iter().map(|(space, data)| (*space, *data, KeyRange::all())).collect()
}

fn placed(descriptor: &Descriptor, spans: Vec<(Space, KeyRange)>) -> Vec<(Space, u64, KeyRange)> {
    let spans = spans.into_iter();
    spans
        .filter_map(|(space, range)| Some((space, *descriptor.spaces.get(&space)?, range)))
        .collect()
}

/// A range of keys of a space as a range of the engine's.
fn engine_range(data: u64, range: &KeyRange) -> KeyRange {
    let end = match &range.end {
        Some(end) => Some(engine_key(data, end)),
        None => prefix_end(&data.to_be_bytes()),
    };
    KeyRange { start: engine_key(data, &range.start), end }
}

impl Scan {
    fn go_on(&mut self, core: &mut Core, id: u64, out: &mut Vec<Found>) -> (usize, Next) {
        let Some((space, data, range)) = self.left.front().cloned() else { return (0, Next::Over) };
        let full = engine_range(data, &range);
        let (rows, until) = match self.arrived.take() {
            Some(arrived) => arrived,
            None if core.engine.view_generation(self.view) == 0 => (Vec::new(), None),
            None => {
                let fetch = Fetch::Range {
                    generation: core.engine.view_generation(self.view),
                    range: full,
                    rows_max: SLICE_ROWS,
                    bytes_max: SLICE_BYTES,
                };
                core.fetch(Asked::Slice { scan: id }, fetch);
                self.waits = true;
                return (0, Next::Wait);
            }
        };
        let limit = Limit::new(SLICE_ROWS, SLICE_BYTES);
        let slice = core.engine.merge(self.view, &full, rows, until, limit);
        let visited = slice.rows.len();
        let strip = |key: Bytes| key.slice(DATA_ID_BYTES..);
        let until = slice.next.map(strip);
        let rows = slice.rows.into_iter().map(|(key, row)| (strip(key), row));
        (visited, self.take(id, space, rows, until, out))
    }

    /// Takes a slice: all rows before `until`, or all that were left in this range.
    fn take(
        &mut self,
        id: u64,
        space: Space,
        rows: impl Iterator<Item = (Bytes, Bytes)>,
        until: Option<Bytes>,
        out: &mut Vec<Found>,
    ) -> Next {
        if let Purpose::Walk { origin, walker } = &mut self.purpose {
            let (more, reply) = match walker.feed(rows, until) {
                Progress::More => (true, None),
                Progress::Chunk(reply) => (true, Some(reply)),
                Progress::Finished(reply) => (false, Some(reply)),
            };
            out.extend(reply.map(|reply| Found::Walk { origin: *origin, more, reply }));
            match more {
                true => self.left[0].2 = walker.range(),
                false => self.left.clear(),
            }
            return if more { Next::Again } else { Next::Over };
        }
        match until {
            Some(key) => self.left[0].2.start = key,
            None => drop(self.left.pop_front()),
        }
        match &mut self.purpose {
            Purpose::Walk { .. } => unreachable!("dealt with above"),
            Purpose::Hash { hash, .. } => rows.for_each(|(key, row)| hash.add(space, &key, &row)),
            Purpose::Load { rows: loaded, .. } => loaded.extend(rows),
            Purpose::Sweep { found, .. } => {
                found.extend(rows.map(|(key, _)| (space, key)));
                if found.len() >= service::SWEEP_ROWS_MAX {
                    self.left.clear();
                }
            }
            Purpose::Snapshot { shard, to } => {
                let rows: Vec<_> = rows.map(|(key, row)| (space, key, row)).collect();
                if !rows.is_empty() {
                    let (shard, to) = (*shard, *to);
                    out.push(Found::Snapshot { shard, to, scan: id, rows, last: false });
                    return Next::Wait;
                }
            }
        }
        if self.left.is_empty() { Next::Over } else { Next::Again }
    }
}

impl Purpose {
    fn finish(self, id: u64, out: &mut Vec<Found>) {
        match self {
            Purpose::Walk { .. } => {}
            Purpose::Hash { shard, index, hash } => {
                out.push(Found::Hash { shard, index, hash: hash.finish() });
            }
            Purpose::Load { shard, rows } => out.push(Found::Load { shard, rows }),
            Purpose::Sweep { shard, found } => out.push(Found::Sweep { shard, found }),
            Purpose::Snapshot { shard, to } => {
                let rows = Vec::new();
                out.push(Found::Snapshot { shard, to, scan: id, rows, last: true });
            }
        }
    }
}
