//! What a data directory holds, opened.

use base::Bytes;
use node::Identity;
use std::any::Any;
use std::fmt;
use std::sync::Arc;
use storage::tables::Tables;
use storage::wal::{Recovered, Wal};

/// An opened data directory. A test may put one together from other parts.
pub struct Opened {
    /// Keeps other processes out of the directory until it is dropped, after everything else.
    pub lock: Box<dyn Any + Send>,
    /// Whose it is.
    pub identity: Identity,
    /// Its log.
    pub wal: Wal,
    /// What the log held.
    pub recovered: Recovered,
    /// Its tables.
    pub tables: Arc<dyn Tables>,
    /// What the node reads from the tables before it starts.
    pub system_rows: Vec<(Bytes, Bytes)>,
    /// No process ever ran on it.
    pub fresh: bool,
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opened").field("identity", &self.identity).finish_non_exhaustive()
    }
}
