//! Log, memtables and tables together: every history of up to three operations, cut off at every
//! sync.

use crate::campaign::{Tally, histories};
use crate::history::{Defect, Run, STEPS, Step};
use crate::place::{Memory, Place, Scratch};
use crate::platter::{Image, Op, Plan, Platter};
use crate::record::{self, Recording};
use crate::store::{Rows, Store};
use underpin_storage::tables::ModelTables;
use underpin_storage::wal::Wal;

/// What tables a history runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The model in memory.
    Model,
    /// `lsm-tree`, in real files.
    Lsm,
}
/// What a store goes through before a history begins: runs that were merged, dead data ids, a log
/// of several segments.
const PAST: [Step; 12] = [
    Step::Put,
    Step::Flush,
    Step::PutLarge,
    Step::Put,
    Step::Flush,
    Step::FlushAll,
    Step::PutLarge,
    Step::Flush,
    Step::Merge,
    Step::PutLarge,
    Step::Settle,
    Step::Put,
];

/// A disk on which histories begin, and what is on it.
struct Beginning {
    image: Image,
    tables: ModelTables,
    rows: Rows,
}

fn beginning(kind: Kind, scratch: &Scratch, with_past: bool) -> Beginning {
    let past: &[Step] = if with_past { &PAST } else { &[] };
    match kind {
        Kind::Model => {
            let memory = Memory::of(&Image::default(), &ModelTables::new());
            Wal::create(&mut *memory.disk(), &crate::log::options()).expect("an empty disk");
            let mut run = Run::begin(Box::new(memory.clone()), Box::new(|| 0), Rows::new());
            past.iter().for_each(|step| run.step(*step));
            let rows = run.applied.clone();
            drop(run);
            Beginning { image: memory.disk.image(), tables: memory.tables.model.image(), rows }
        }
        Kind::Lsm => {
            let folder = scratch.folder("begin");
            folder.make();
            let path = folder.0.clone();
            let mut run = Run::begin(Box::new(folder), Box::new(|| 0), Rows::new());
            past.iter().for_each(|step| run.step(*step));
            let rows = run.applied.clone();
            drop(run);
            Beginning { image: record::read(&path), tables: ModelTables::new(), rows }
        }
    }
}

/// Checks histories one after the other.
pub struct Checker {
    kind: Kind,
    scratch: Scratch,
    beginnings: [Beginning; 2],
    pub defect: Defect,
}

impl Checker {
    pub fn new(kind: Kind) -> Checker {
        let scratch = Scratch::new();
        let beginnings = [false, true].map(|with_past| beginning(kind, &scratch, with_past));
        Checker { kind, scratch, beginnings, defect: Defect::default() }
    }

    /// Runs one history and checks every crash within its last step.
    pub fn check(
        &self,
        steps: &[Step],
        with_past: bool,
        plan: &Plan,
        tally: &mut Tally,
    ) -> Result<(), String> {
        let beginning = &self.beginnings[usize::from(with_past)];
        let (last, before) = steps.split_last().expect("a history has a step");
        let story = |run: &mut Run| {
            run.defect = self.defect;
            before.iter().for_each(|step| run.step(*step));
            let from = (run.noted)();
            run.step(*last);
            from
        };
        let (run, from, mut platter, ops, tables) = match self.kind {
            Kind::Model => {
                let memory = Memory::of(&beginning.image, &beginning.tables);
                let disk = memory.disk.clone();
                let (tables, noted) = (memory.tables.clone(), disk.clone());
                let noted = Box::new(move || noted.noted());
                let mut run = Run::begin(Box::new(memory), noted, beginning.rows.clone());
                let from = story(&mut run);
                (run, from, Platter::of(&beginning.image), disk.ops(), Some(tables))
            }
            Kind::Lsm => {
                let folder = self.scratch.folder("run");
                record::restore(&folder.0, &beginning.image);
                let recording = Recording::begin(&folder.0);
                let noted = Box::new(record::noted);
                let mut run = Run::begin(Box::new(folder), noted, beginning.rows.clone());
                let from = story(&mut run);
                let (platter, ops) = recording.end();
                (run, from, platter, ops, None)
            }
        };
        let cut = |platter: &Platter, done: usize, tally: &mut Tally| {
            tally.boundaries += 1;
            let mut failure = Ok(());
            platter.images(plan, |image| {
                let versions =
                    tables.as_ref().map_or(vec![ModelTables::new()], |t| t.possible(done));
                for tables in versions {
                    tally.images += 1;
                    if failure.is_ok() {
                        failure = self.judge(&run, &image, &tables, done, tally);
                    }
                }
            });
            let kind = self.kind;
            failure.map_err(|why| {
                let near = ops[done.saturating_sub(6)..(done + 1).min(ops.len())].iter();
                let near: String = near
                    .map(|op| format!("{op:?}").chars().take(90).chain(['\n']).collect::<String>())
                    .collect();
                format!("{kind:?} {steps:?}, past {with_past}, after {done}: {why}\n{near}")
            })
        };
        for (done, op) in ops.iter().enumerate() {
            if op.is_sync() && done > from {
                cut(&platter, done, tally)?;
            }
            if !self.defect.forgets.is_some_and(|forgets| forgets(op)) {
                platter.apply(op);
            }
        }
        cut(&platter, ops.len(), tally)
    }

    fn judge(
        &self,
        run: &Run,
        image: &Image,
        tables: &ModelTables,
        done: usize,
        tally: &mut Tally,
    ) -> Result<(), String> {
        let possible = run.possible(done);
        let place = self.place(image, tables);
        let (store, rows) = recover(&*place, &possible)?;
        if tally.images.is_multiple_of(4) {
            go_on(store, &*place, rows)?;
        }
        if tally.images.is_multiple_of(32) {
            let second = self.crash_in_recovery(image, tables, &possible, tally);
            second.map_err(|why| format!("second crash: {why}"))?;
        }
        Ok(())
    }

    fn place(&self, image: &Image, tables: &ModelTables) -> Box<dyn Place> {
        match self.kind {
            Kind::Model => Box::new(Memory::of(image, tables)),
            Kind::Lsm => {
                let folder = self.scratch.folder("image");
                record::restore(&folder.0, image);
                Box::new(folder)
            }
        }
    }

    /// The plug is pulled again while the store is being read back.
    fn crash_in_recovery(
        &self,
        image: &Image,
        tables: &ModelTables,
        possible: &[&Rows],
        tally: &mut Tally,
    ) -> Result<(), String> {
        let (mut platter, ops) = match self.kind {
            Kind::Model => {
                let memory = Memory::of(image, tables);
                recover(&memory, possible)?;
                (Platter::of(image), memory.disk.ops())
            }
            Kind::Lsm => {
                let folder = self.scratch.folder("recovery");
                record::restore(&folder.0, image);
                let recording = Recording::begin(&folder.0);
                let recovered = recover(&folder, possible).map(drop);
                let noted = recording.end();
                recovered?;
                noted
            }
        };
        let plan = Plan { limit: 8, samples: 6, torn: false, seed: tally.images };
        // Recovery ends with syncs; what it did after them is cut off at the end.
        for (done, op) in ops.iter().map(Some).chain([None]).enumerate() {
            if done > 0 && op.is_none_or(Op::is_sync) {
                let mut failure = Ok(());
                platter.images(&plan, |image| {
                    tally.images += 1;
                    tally.second += 1;
                    if failure.is_ok() {
                        failure = recover(&*self.place(&image, tables), possible).map(drop);
                    }
                });
                failure?;
            }
            op.into_iter().for_each(|op| platter.apply(op));
        }
        Ok(())
    }
}

fn recover(place: &dyn Place, possible: &[&Rows]) -> Result<(Store, Rows), String> {
    let mut store = Store::open(place)?;
    let rows = store.rows()?;
    if possible.contains(&&rows) {
        return Ok((store, rows));
    }
    Err(format!("{rows:?} is none of {possible:?}"))
}

/// A store that came back takes more, and keeps it.
fn go_on(mut store: Store, place: &dyn Place, mut rows: Rows) -> Result<(), String> {
    store.write(vec![b'p', b'y', 1])?;
    store.flush()?;
    store.merge()?;
    store.write(vec![b'p', b'x', 2])?;
    store.settle()?;
    rows.extend([(vec![b'y'], vec![1]), (vec![b'x'], vec![2])]);
    let seen = store.rows()?;
    if seen != rows {
        return Err(format!("going on: {seen:?} instead of {rows:?}"));
    }
    drop(store);
    let seen = Store::open(place)?.rows()?;
    if seen != rows {
        return Err(format!("after going on and a restart: {seen:?} instead of {rows:?}"));
    }
    Ok(())
}

/// Runs histories until there are enough images.
pub fn campaign(kind: Kind, wanted: u64, samples: u64) -> Result<Tally, String> {
    let mut tally = Tally::begin();
    let checker = Checker::new(kind);
    for (n, history) in histories(&STEPS).iter().enumerate() {
        for with_past in [true, false] {
            let plan = Plan { limit: samples * 2, samples, torn: true, seed: n as u64 };
            checker.check(history, with_past, &plan, &mut tally)?;
        }
        tally.histories += 1;
        if tally.images >= wanted {
            break;
        }
    }
    Ok(tally.end())
}
