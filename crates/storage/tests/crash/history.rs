//! What a store goes through, and what clients may see of it after a crash at any point.

use crate::place::Place;
use crate::platter::Op;
use crate::store::{Rows, SHARD, Store};
use base::{HardState, ReplicaId, Term};
use underpin_storage::wal::Record;

/// One operation of a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A key gets a value; acknowledged.
    Put,
    /// A value of several sectors.
    PutLarge,
    /// A key is deleted.
    Delete,
    /// All keys are deleted, by a fresh data id.
    FlushAll,
    /// An entry is durable here and committed nowhere; the next write of another term replaces it.
    Tail,
    /// A vote.
    Vote,
    /// The memtable becomes a run of the tables, and the log is compacted.
    Flush,
    /// Tables are merged, rows of dead data ids dropped.
    Merge,
    /// A snapshot takes the place of all that is there.
    Install,
    /// The log's housekeeping.
    Settle,
    /// A stop and a start without a crash.
    Restart,
}

/// All of them.
pub const STEPS: [Step; 11] = [
    Step::Flush,
    Step::Install,
    Step::Put,
    Step::Merge,
    Step::Delete,
    Step::FlushAll,
    Step::PutLarge,
    Step::Tail,
    Step::Vote,
    Step::Settle,
    Step::Restart,
];
/// Defects to be played, and found.
#[derive(Clone, Copy, Default)]
pub struct Defect {
    /// Leaves operations out of the trace, as though the code had not asked for them.
    pub forgets: Option<fn(&Op) -> bool>,
    /// Promises before the sync.
    pub hasty: bool,
    /// The log is compacted before the tables have the run.
    pub compacts_early: bool,
}
/// A store under way, with what is known of it at each operation of its disk.
pub struct Run {
    store: Option<Store>,
    place: Box<dyn Place>,
    pub noted: Box<dyn Fn() -> usize>,
    /// What clients may see, with how many operations the disk had seen before.
    states: Vec<(usize, Rows)>,
    acknowledged: Vec<(usize, usize)>,
    /// The rows of everything that was applied.
    pub applied: Rows,
    writes: u8,
    pub defect: Defect,
}

impl Run {
    /// A store that is whole, and what clients see of it.
    pub fn begin(place: Box<dyn Place>, noted: Box<dyn Fn() -> usize>, rows: Rows) -> Run {
        let store = Store::open(&*place).expect("a store that is whole opens");
        Run {
            store: Some(store),
            place,
            states: vec![(0, rows.clone())],
            acknowledged: vec![(0, 0)],
            applied: rows,
            writes: 0,
            noted,
            defect: Defect::default(),
        }
    }

    fn store(&mut self) -> &mut Store {
        self.store.as_mut().expect("the store is open")
    }

    fn acknowledge(&mut self) {
        self.acknowledged.push(((self.noted)(), self.states.len() - 1));
    }

    pub fn step(&mut self, step: Step) {
        self.writes += 1;
        let (n, key) = (self.writes, [b'a' + self.writes % 3]);
        match step {
            Step::Put => self.write(vec![b'p', key[0], n, n, n]),
            Step::PutLarge => self.write([&[b'p', key[0]][..], &[n; 1200]].concat()),
            Step::Delete => self.write(vec![b'd', key[0]]),
            Step::FlushAll => self.write(vec![b'f']),
            Step::Tail => self.tail(vec![b'p', key[0], n]),
            Step::Vote => {
                let store = self.store();
                store.term += 1;
                let commit = store.descriptor.applied.index;
                let state = HardState { term: Term(store.term), vote: Some(ReplicaId(1)), commit };
                store.log(vec![Record::HardState { shard: SHARD, state }]).expect("it is sound");
            }
            Step::Flush => self.flush(),
            Step::Merge => self.store().merge().expect("the tables are sound"),
            Step::Install => self.install(n),
            Step::Settle => self.store().settle().expect("the log is sound"),
            Step::Restart => {
                self.store = None;
                let store = Store::open(&*self.place).expect("a stopped store opens");
                self.store = Some(store);
                // What only the log had is applied now.
                self.applied = self.states.last().expect("there is a first").1.clone();
                self.acknowledge();
            }
        }
    }

    /// The rows after a command.
    fn after(&self, command: &[u8]) -> Rows {
        let mut rows = self.applied.clone();
        match command {
            [b'p', key, value @ ..] => {
                rows.insert(vec![*key], value.to_vec());
            }
            [b'd', key] => {
                rows.remove(&vec![*key]);
            }
            _ => rows.clear(),
        }
        rows
    }

    fn write(&mut self, command: Vec<u8>) {
        let rows = self.after(&command);
        self.states.push(((self.noted)(), rows.clone()));
        if self.defect.hasty {
            self.acknowledge();
        }
        self.store().write(command).expect("the log is sound");
        self.acknowledge();
        self.applied = rows;
    }

    fn tail(&mut self, command: Vec<u8>) {
        let rows = self.after(&command);
        self.states.push(((self.noted)(), rows));
        let store = self.store();
        let entry = store.entry(command);
        let records = vec![Record::Entries { shard: SHARD, entries: vec![entry] }];
        store.log(records).expect("the log is sound");
        self.acknowledge();
    }

    fn flush(&mut self) {
        let start = self.store().descriptor.applied.clone();
        let compacted = vec![Record::LogStart { shard: SHARD, start }];
        if self.defect.compacts_early {
            self.store().log(compacted.clone()).expect("the log is sound");
        }
        self.store().flush().expect("the tables are sound");
        self.store().log(compacted).expect("the log is sound");
    }

    fn install(&mut self, n: u8) {
        let rows: Rows = [(vec![b'a'], vec![n; 700]), (vec![b'z'], vec![n; 3])].into();
        self.states.push(((self.noted)(), rows.clone()));
        self.store().install(&rows).expect("log and tables are sound");
        self.acknowledge();
        self.applied = rows;
    }

    /// What clients may see after a crash after `done` operations.
    pub fn possible(&self, done: usize) -> Vec<&Rows> {
        let promised = self.acknowledged.iter().filter(|(at, _)| *at <= done).map(|(_, n)| *n);
        let first = promised.max().expect("the first state is promised");
        let begun = self.states.iter().filter(|(at, _)| *at < done).count();
        self.states[first..begun.max(first + 1)].iter().map(|(_, rows)| rows).collect()
    }
}
