//! The log alone: every history of up to three operations, cut off at every sync.

use crate::campaign::{Tally, histories};
use crate::memory::NotedDisk;
use crate::platter::{Image, Op, Plan, Platter};
use base::{
    Entry, EntryKind, HardState, Index, LogStart, Membership, NodeId, ReplicaId, ShardId, Stamp,
    Term,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use underpin_storage::wal::{Record, RecoveredShard, Wal, WalError, WalOptions};

/// Whose log it is.
pub const OWNER: u64 = 0x5eed;

/// Segments of 8 KiB, so that a history of three operations crosses into the next one.
pub fn options() -> WalOptions {
    WalOptions {
        segment_bytes: 8 << 10,
        segments_soft: 2,
        spares: 1,
        spares_max: 2,
        step_bytes: 4 << 10,
        owner: OWNER,
    }
}

/// One operation of a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A small entry, synced: acknowledged.
    Append,
    /// A small entry, not synced yet.
    AppendUnsynced,
    /// Three entries of several sectors, synced.
    AppendLarge,
    /// Entries of most of a segment, synced: the next segment opens.
    Fill,
    /// The last entry replaced by two of a higher term, synced.
    ReplaceSuffix,
    /// A vote, synced.
    HardState,
    /// A compaction mark at the last entry but one, synced.
    Compact,
    /// The log starts anew after a snapshot, synced.
    Reset,
    /// A second shard's replica is noted, or dropped if it is there.
    Replica,
    /// All housekeeping: segments released, spares filled, entries carried, the last batch vouched for.
    Settle,
    /// A stop and a start without a crash.
    Restart,
}

/// All of them.
pub const STEPS: [Step; 11] = [
    Step::Append,
    Step::AppendUnsynced,
    Step::AppendLarge,
    Step::Fill,
    Step::ReplaceSuffix,
    Step::HardState,
    Step::Compact,
    Step::Reset,
    Step::Replica,
    Step::Settle,
    Step::Restart,
];

type State = BTreeMap<ShardId, RecoveredShard>;

/// What the log should remember after `record`, and after each entry of it.
fn follow(state: &mut State, record: &Record, mut after: impl FnMut(&State)) {
    match record {
        Record::HardState { shard, state: hard } => {
            state.entry(*shard).or_default().hard_state = *hard;
        }
        Record::Replica { shard, replica, about } => {
            state.entry(*shard).or_default().replica = Some((*replica, about.clone()));
        }
        Record::Drop { shard } => {
            state.remove(shard);
        }
        Record::LogStart { shard, start } => {
            let log = state.entry(*shard).or_default();
            log.entries.retain(|entry| entry.index > start.index);
            log.log_start = start.clone();
        }
        Record::Reset { shard, start } => {
            let log = state.entry(*shard).or_default();
            log.entries.clear();
            log.log_start = start.clone();
        }
        Record::Entries { shard, entries } => {
            for entry in entries {
                let log = state.entry(*shard).or_default();
                log.entries.retain(|old| old.index < entry.index);
                log.entries.push(entry.clone());
                after(state);
            }
        }
    }
    after(state);
}

const SHARD: ShardId = ShardId(1);
const OTHER: ShardId = ShardId(2);

/// A log under way, with what is known of it at each operation of its disk.
pub struct Run {
    pub disk: NotedDisk,
    base: Platter,
    wal: Option<Wal>,
    /// Every state the log was brought into, with how many operations the disk had seen before.
    states: Vec<(usize, State)>,
    /// From how many operations on no earlier state than this one may come back.
    acknowledged: Vec<(usize, usize)>,
    term: u64,
    /// The acknowledgement comes before the sync: a defect that must be found.
    pub hasty: bool,
}

impl Run {
    /// A log that was just made, or one that has gone through several segments.
    pub fn begin(with_past: bool) -> Run {
        let mut disk = NotedDisk::of(&Image::default());
        Wal::create(&mut disk, &options()).expect("an empty disk takes a log");
        let mut run = Run::on(disk.image(), State::new());
        if with_past {
            run.live_through_several_segments();
            run = Run::on(run.disk.image(), run.state().clone());
        }
        run
    }

    /// A log that is whole and durable on a disk.
    fn on(image: Image, state: State) -> Run {
        let disk = NotedDisk::of(&image);
        let (wal, recovered) =
            Wal::open(Box::new(disk.clone()), options()).expect("a whole log opens");
        assert_eq!(recovered.shards, state);
        Run {
            base: Platter::of(&image),
            wal: Some(wal),
            states: vec![(0, state)],
            acknowledged: vec![(0, 0)],
            term: 3,
            hasty: false,
            disk,
        }
    }

    fn live_through_several_segments(&mut self) {
        for step in [Step::HardState, Step::Fill, Step::Settle, Step::Fill, Step::Compact] {
            self.step(step);
        }
        for step in [Step::Settle, Step::Fill, Step::Replica, Step::Settle, Step::Append] {
            self.step(step);
        }
        self.step(Step::Settle);
    }

    fn wal(&mut self) -> &mut Wal {
        self.wal.as_mut().expect("the log is open")
    }

    fn state(&self) -> &State {
        &self.states.last().expect("there is a first state").1
    }

    /// The log of the first shard as it stands: where it starts, and its last entry.
    fn ends(&self) -> (u64, u64) {
        let Some(log) = self.state().get(&SHARD) else { return (0, 0) };
        let start = log.log_start.index.0;
        (start, start + log.entries.len() as u64)
    }

    pub fn step(&mut self, step: Step) {
        let (start, last) = self.ends();
        match step {
            Step::Append => self.write(vec![entries(self.term, last + 1, 1, 40)], true),
            Step::AppendUnsynced => self.write(vec![entries(self.term, last + 1, 1, 40)], false),
            Step::AppendLarge => {
                self.write(vec![hard_state(self.term), entries(self.term, last + 1, 3, 500)], true);
            }
            Step::Fill => {
                self.write(vec![entries(self.term, last + 1, 3, 900)], true);
                self.write(vec![entries(self.term, last + 4, 3, 900)], true);
            }
            Step::ReplaceSuffix => {
                self.term += 1;
                let from = last.max(start + 1);
                self.write(vec![hard_state(self.term), entries(self.term, from, 2, 60)], true);
            }
            Step::HardState => {
                self.term += 1;
                self.write(vec![hard_state(self.term)], true);
            }
            Step::Compact => {
                let to = last.saturating_sub(1).max(start);
                let log_start = self.start_at(to);
                self.write(vec![Record::LogStart { shard: SHARD, start: log_start }], true);
            }
            Step::Reset => {
                let start = start_of(self.term, last + 7);
                self.write(vec![Record::Reset { shard: SHARD, start }], true);
            }
            Step::Replica => self.replica(),
            Step::Settle => self.settle(),
            Step::Restart => self.restart(),
        }
    }

    fn replica(&mut self) {
        let record = match self.state().contains_key(&OTHER) {
            true => Record::Drop { shard: OTHER },
            false => {
                Record::Replica { shard: OTHER, replica: ReplicaId(9), about: vec![7; 20].into() }
            }
        };
        self.write(vec![record], true);
    }

    fn start_at(&self, index: u64) -> LogStart {
        let log = self.state().get(&SHARD).cloned().unwrap_or_default();
        match log.entries.iter().find(|entry| entry.index.0 == index) {
            Some(entry) => start_of(entry.term.0, index),
            None => LogStart { index: Index(index), ..log.log_start },
        }
    }

    fn write(&mut self, records: Vec<Record>, synced: bool) {
        let before = self.disk.noted();
        let mut state = self.state().clone();
        for record in &records {
            follow(&mut state, record, |after| self.states.push((before, after.clone())));
        }
        self.wal().append(&records).expect("the disk has room");
        if synced {
            if self.hasty {
                self.acknowledge();
            }
            self.wal().sync().expect("the disk is sound");
            self.acknowledge();
        }
    }

    fn settle(&mut self) {
        loop {
            self.wal().sync().expect("the disk is sound");
            self.acknowledge();
            if !self.wal().maintain().expect("the disk is sound") {
                return;
            }
        }
    }

    fn restart(&mut self) {
        self.wal = None;
        let (wal, recovered) =
            Wal::open(Box::new(self.disk.clone()), options()).expect("a stopped log opens");
        assert_eq!(&recovered.shards, self.state());
        self.wal = Some(wal);
        self.acknowledge();
    }

    /// Everything so far has been promised to somebody.
    fn acknowledge(&mut self) {
        self.acknowledged.push((self.disk.noted(), self.states.len() - 1));
    }

    /// The states that a crash after `done` operations may lead to.
    fn possible(&self, done: usize) -> Vec<&State> {
        let promised = self.acknowledged.iter().filter(|(at, _)| *at <= done).map(|(_, n)| *n);
        let first = promised.max().expect("the first state is promised");
        let begun = self.states.iter().filter(|(at, _)| *at < done).count();
        self.states[first..begun.max(first + 1)].iter().map(|(_, state)| state).collect()
    }
}

fn entries(term: u64, from: u64, count: u64, bytes: usize) -> Record {
    let entry = |index| Entry {
        term: Term(term),
        index: Index(index),
        stamp: Stamp(index * 10),
        kind: EntryKind::Command,
        data: vec![(index + term) as u8; bytes].into(),
    };
    Record::Entries { shard: SHARD, entries: (from..from + count).map(entry).collect() }
}

fn start_of(term: u64, index: u64) -> LogStart {
    LogStart {
        index: Index(index),
        term: Term(term),
        stamp: Stamp(index * 10),
        membership: Membership::of_voters([(ReplicaId(1), NodeId(1))]),
    }
}

fn hard_state(term: u64) -> Record {
    let state = HardState { term: Term(term), vote: Some(ReplicaId(term)), commit: Index(0) };
    Record::HardState { shard: SHARD, state }
}

/// What is done to an image before the log is opened on it, and to the trace before images are made:
/// nothing, unless a defect is to be played.
#[derive(Clone, Copy, Default)]
pub struct Defect {
    /// Leaves operations out of the trace, as though the code had not asked for them.
    pub forgets: Option<fn(&Op) -> bool>,
    /// Changes an image, as though recovery did not mind what it then finds.
    pub overlooks: Option<fn(&mut Image)>,
    /// Promises before the sync.
    pub hasty: bool,
    /// Takes a torn tail for corruption.
    pub nervous: bool,
}

/// Runs one history and checks every crash within its last step.
pub fn check(
    steps: &[Step],
    with_past: bool,
    plan: &Plan,
    defect: &Defect,
    tally: &mut Tally,
) -> Result<(), String> {
    let mut run = Run::begin(with_past);
    run.hasty = defect.hasty;
    let (last, before) = steps.split_last().expect("a history has a step");
    before.iter().for_each(|step| run.step(*step));
    let from = run.disk.noted();
    run.step(*last);
    let ops = run.disk.ops();
    let mut platter = run.base.clone();
    let cut = |platter: &Platter, done: usize, tally: &mut Tally| {
        tally.boundaries += 1;
        let mut failure = Ok(());
        platter.images(plan, |image| {
            if failure.is_ok() {
                failure = judge(&run, image, done, plan, defect, tally);
            }
        });
        failure.map_err(|why| format!("{steps:?}, past {with_past}, after {done}: {why}"))
    };
    for (done, op) in ops.iter().enumerate() {
        if op.is_sync() && done > from {
            cut(&platter, done, tally)?;
        }
        if !defect.forgets.is_some_and(|forgets| forgets(op)) {
            platter.apply(op);
        }
    }
    cut(&platter, ops.len(), tally)
}

fn judge(
    run: &Run,
    mut image: Image,
    done: usize,
    plan: &Plan,
    defect: &Defect,
    tally: &mut Tally,
) -> Result<(), String> {
    tally.images += 1;
    if let Some(overlooks) = defect.overlooks {
        overlooks(&mut image);
    }
    let possible = run.possible(done);
    let disk = NotedDisk::of(&image);
    let (wal, state) = recover(&disk, &possible, defect, tally)?;
    // Every so often the plug is pulled again while the log is being read back.
    if tally.images.is_multiple_of(16) {
        crash_in_recovery(&image, &disk, &possible, plan, defect, tally)?;
    }
    go_on(wal, &disk, state)
}

fn recover(
    disk: &NotedDisk,
    possible: &[&State],
    defect: &Defect,
    tally: &mut Tally,
) -> Result<(Wal, State), String> {
    let (wal, recovered) =
        Wal::open(Box::new(disk.clone()), options()).map_err(|error| error.to_string())?;
    tally.torn += u64::from(recovered.torn.is_some());
    if defect.nervous && recovered.torn.is_some() {
        return Err("a torn tail was taken for corruption".into());
    }
    if !possible.contains(&&recovered.shards) {
        return Err(format!("{:?} is none of {possible:#?}", recovered.shards));
    }
    Ok((wal, recovered.shards))
}

fn crash_in_recovery(
    image: &Image,
    disk: &NotedDisk,
    possible: &[&State],
    plan: &Plan,
    defect: &Defect,
    tally: &mut Tally,
) -> Result<(), String> {
    let mut platter = Platter::of(image);
    let plan = Plan { limit: 16, samples: 8, torn: false, ..*plan };
    for op in disk.ops() {
        if op.is_sync() {
            let mut failure = Ok(());
            platter.images(&plan, |image| {
                tally.images += 1;
                tally.second += 1;
                if failure.is_ok() {
                    failure = recover(&NotedDisk::of(&image), possible, defect, tally).map(|_| ());
                }
            });
            failure.map_err(|why| format!("second crash: {why}"))?;
        }
        platter.apply(&op);
    }
    Ok(())
}

/// A recovered log takes more, and remembers it.
fn go_on(mut wal: Wal, disk: &NotedDisk, mut state: State) -> Result<(), String> {
    let last = state.get(&SHARD).map_or(0, |log| log.log_start.index.0 + log.entries.len() as u64);
    let record = entries(90, last + 1, 1, 50);
    follow(&mut state, &record, |_| ());
    let wrote = |wal: &mut Wal| -> Result<(), WalError> {
        wal.append(&[record])?;
        wal.sync()
    };
    wrote(&mut wal).map_err(|error| format!("going on: {error}"))?;
    drop(wal);
    let (_, again) = Wal::open(Box::new(disk.clone()), options())
        .map_err(|error| format!("opening after going on: {error}"))?;
    if again.shards != state {
        return Err(format!("after going on: {:?} instead of {state:?}", again.shards));
    }
    Ok(())
}

/// What a recovery makes of a segment that is damaged at some byte, before it reads it.
type Tolerance = fn(&mut [u8], usize);

/// Flips bits of logs that are whole, durable and vouched for: each is read as it was, or refused.
pub fn damage(
    histories: &[Vec<Step>],
    tolerance: Option<Tolerance>,
    tally: &mut Tally,
) -> Result<(), String> {
    for history in histories {
        let mut run = Run::begin(true);
        history.iter().for_each(|step| run.step(*step));
        run.step(Step::Settle);
        let image = run.disk.image();
        let segments = image.files.iter().filter(|(path, _)| path.ends_with(".log"));
        for (path, content) in segments {
            for at in (tally.images as usize % 24..content.len()).step_by(24) {
                let mut content = (**content).clone();
                content[at] ^= 1 << (at % 8);
                if let Some(tolerance) = tolerance {
                    tolerance(&mut content, at);
                }
                let mut image = image.clone();
                image.files.insert(path.clone(), Arc::new(content));
                tally.images += 1;
                match Wal::open(Box::new(NotedDisk::of(&image)), options()) {
                    Ok((_, recovered)) if &recovered.shards == run.state() => {}
                    Ok(_) => return Err(format!("{history:?}: {path} at {at} was read otherwise")),
                    Err(WalError::Corrupt { .. }) => tally.refused += 1,
                    Err(other) => return Err(format!("{history:?}: {path} at {at}: {other}")),
                }
            }
        }
    }
    Ok(())
}

/// Damages as many logs as there are images wanted.
pub fn damage_campaign(wanted: u64) -> Result<Tally, String> {
    let mut tally = Tally::begin();
    for history in &histories(&STEPS) {
        damage(std::slice::from_ref(history), None, &mut tally)?;
        tally.histories += 1;
        if tally.images >= wanted {
            break;
        }
    }
    Ok(tally.end())
}

/// Runs histories until there are enough images.
pub fn campaign(wanted: u64) -> Result<Tally, String> {
    let mut tally = Tally::begin();
    for (n, history) in histories(&STEPS).iter().enumerate() {
        for with_past in [false, true] {
            let plan = Plan { limit: 1024, samples: 96, torn: true, seed: n as u64 };
            check(history, with_past, &plan, &Defect::default(), &mut tally)?;
        }
        tally.histories += 1;
        if tally.images >= wanted {
            break;
        }
    }
    Ok(tally.end())
}
