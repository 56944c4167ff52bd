//! A replica's Raft that remembers when it wants to be called.
//!
//! A driver asks that of all shards after every turn, and a turn asks it again, though most turns
//! are about one shard or none. So the answer is kept until the replica is touched or the node hears
//! of another: no shard is gone through because another one is busy.

use crate::core::Core;
use base::Mono;
use protocols::raft::Raft;
use std::cell::Cell;
use std::ops::{Deref, DerefMut};

/// Raft, and its deadline as far as it is known.
#[derive(Debug)]
pub(crate) struct Timed {
    raft: Raft,
    /// As of so many steps of the liveness.
    deadline: Cell<Option<(u64, Option<Mono>)>>,
}

impl Timed {
    pub fn new(raft: Raft) -> Timed {
        Timed { raft, deadline: Cell::new(None) }
    }

    /// [`Raft::deadline`].
    ///
    /// One that lies ahead stands until something happens: as time alone goes on, support and clocks
    /// that were known can only lapse, and what hangs on that is in the deadline.
    pub fn deadline(&self, core: &Core) -> Option<Mono> {
        if let Some((heard, deadline)) = self.deadline.get()
            && heard == core.heard
            && deadline.is_none_or(|at| at > core.now.mono)
        {
            return deadline;
        }
        let deadline = self.raft.deadline(core.context());
        self.deadline.set(Some((core.heard, deadline)));
        deadline
    }
}

impl Deref for Timed {
    type Target = Raft;

    fn deref(&self) -> &Raft {
        &self.raft
    }
}

impl DerefMut for Timed {
    fn deref_mut(&mut self) -> &mut Raft {
        self.deadline.set(None);
        &mut self.raft
    }
}
