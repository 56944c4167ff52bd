//! What a committed command does. A service is deterministic: the same rows, stamp and command give
//! the same changes and the same answers on every replica, today and at every replay.
//!
//! A service never reads a clock, never waits and never touches a disk. It is handed the rows that a
//! command declared it would read ([`Rows`]) and pushes what must change onto [`Changes`]; whoever
//! hosts it (the node) turns those into writes of its engine, in one step with the applied index.
//!
//! All state is rows. A shard's rows are divided into [`Space`]s, each of which can be emptied at
//! once; space 0 belongs to the shard itself (sessions), the others to the service.

pub mod command;
pub mod hash;
pub mod kv;
pub mod meta;
pub mod pack;
pub mod row;
pub mod session;
mod sweep;

pub use command::Command;

use base::codec::DecodeError;
use base::{Bytes, Failure, KeyRange, Refusal, Stamp};

/// A part of a shard's rows that can be emptied at once, by giving it a fresh data id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Space(pub u32);

impl Space {
    /// The shard's own rows: sessions and their windows.
    pub const SHARD: Space = Space(0);
}

/// A row's place: its space and its key there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowKey {
    /// The space it lies in.
    pub space: Space,
    /// Its key there, in the service's own encoding.
    pub key: Bytes,
}

/// The rows a command declared, as they are when it is applied.
pub trait Rows {
    /// The row at `key`, or `None` if there is none. Asking for a key that was not declared is a
    /// bug of the service, and implementations panic on it where they can tell.
    fn get(&self, key: &RowKey) -> Option<Bytes>;
}

/// One change of a shard's rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The row is this now.
    Put(RowKey, Bytes),
    /// The row is gone, if it was there.
    Delete(RowKey),
    /// Every row of the space is gone.
    Reset(Space),
}

/// What a command changes, in order.
pub type Changes = Vec<Change>;

/// What a command answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Of a batch.
    Kv(kv::Outcome),
    /// A session's id.
    Session(u64),
    /// Done, with nothing to say.
    Done,
    /// Of the `meta` shard.
    Meta(meta::Answer),
    /// It can't be done as asked.
    Failed(Failure),
}

/// Rows that one sweep looks at, at most.
pub const SWEEP_ROWS_MAX: usize = 1000;

/// The service of one shard, with what it remembers beside its rows (all of it can be read back from
/// them).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Machine {
    /// Key-value buckets and sessions.
    Kv,
    /// The cluster's own records.
    Meta(meta::ClusterMap),
}

impl Machine {
    /// A `kv` shard's.
    pub fn kv() -> Machine {
        Machine::Kv
    }

    /// A `meta` shard's, before any command.
    pub fn meta() -> Machine {
        Machine::Meta(meta::ClusterMap::default())
    }

    /// Where the rows lie that the machine must be given by [`Machine::load`] when it starts or after
    /// a snapshot was installed.
    pub fn memory_spans(&self) -> Vec<(Space, KeyRange)> {
        match self {
            Machine::Kv => Vec::new(),
            Machine::Meta(_) => vec![(meta::SPACE, KeyRange::all())],
        }
    }

    /// Rebuilds what the machine remembers from the rows of [`Machine::memory_spans`].
    pub fn load(&mut self, rows: impl Iterator<Item = (Bytes, Bytes)>) -> Result<(), DecodeError> {
        if let Machine::Meta(map) = self {
            *map = meta::ClusterMap::load(rows)?;
        }
        Ok(())
    }

    /// The rows that `command` must be given; one may stand there twice.
    pub fn reads(&self, command: &Command) -> Vec<RowKey> {
        match command {
            Command::Kv(batch) => kv::reads(batch),
            Command::Once { session, number, batch } => {
                session::once_reads(*session, *number, batch)
            }
            Command::SessionClose { session } => session::close_reads(*session),
            Command::Sweep { index } => index.iter().filter_map(sweep::reads).collect(),
            Command::SessionOpen { .. } | Command::Stamp | Command::HashMark | Command::Meta(_) => {
                Vec::new()
            }
        }
    }

    /// Applies `command` under its entry's stamp: pushes what changes, and says what to answer.
    pub fn apply(
        &mut self,
        stamp: Stamp,
        command: &Command,
        rows: &dyn Rows,
        changes: &mut Changes,
    ) -> Reply {
        match (self, command) {
            (_, Command::Stamp | Command::HashMark) => Reply::Done,
            (Machine::Kv, Command::Kv(batch)) => Reply::Kv(kv::apply(stamp, batch, rows, changes)),
            (Machine::Kv, Command::Once { session, number, batch }) => {
                session::once(stamp, (*session, *number), batch, rows, changes)
            }
            (Machine::Kv, Command::SessionOpen { ttl_ms }) => {
                session::open(stamp, *ttl_ms, changes)
            }
            (Machine::Kv, Command::SessionClose { session }) => {
                session::close(stamp, *session, rows, changes)
            }
            (Machine::Kv, Command::Sweep { index }) => {
                index.iter().for_each(|index| sweep::apply(stamp, index, rows, changes));
                Reply::Done
            }
            (Machine::Meta(map), Command::Meta(command)) => {
                Reply::Meta(map.apply(command, changes))
            }
            (Machine::Kv, Command::Meta(_)) | (Machine::Meta(_), _) => Reply::Failed(
                Failure::Refused(Refusal::Invalid("command of another kind of shard")),
            ),
        }
    }

    /// Where rows lie that are past due at `now`; the leader's node scans there from time to time
    /// and logs what [`Machine::sweep_command`] makes of them.
    pub fn due_spans(&self, now: Stamp) -> Vec<(Space, KeyRange)> {
        match self {
            Machine::Kv => sweep::spans(now),
            Machine::Meta(_) => Vec::new(),
        }
    }

    /// The command that removes the rows found by a scan of [`Machine::due_spans`]: the keys, in
    /// their space. Looks at the first [`SWEEP_ROWS_MAX`]; `None` if there are none.
    pub fn sweep_command(
        &self,
        found: impl IntoIterator<Item = (Space, Bytes)>,
    ) -> Option<Command> {
        let shard = found.into_iter().filter(|(space, _)| *space == Space::SHARD);
        let index: Vec<Bytes> = shard.map(|(_, key)| key).take(SWEEP_ROWS_MAX).collect();
        (!index.is_empty()).then_some(Command::Sweep { index })
    }
}
