//! What a data directory holds, opened: first whose it is, then its tables, then its log.

use base::Bytes;
use node::{Boot, Identity};
use std::any::Any;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use storage::directory::{self, DirectoryLock, TABLES_DIRECTORY};
use storage::disk::RealDisk;
use storage::tables::{LsmOptions, LsmTables, RangeLimit, Tables, TablesError};
use storage::wal::{Recovered, Wal, WalOptions};

/// Rows and bytes of one read at the start.
const SLICE: RangeLimit = RangeLimit { rows: 10_000, bytes: 8 << 20 };

/// How the disk is used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DiskOptions {
    /// The log; its owner is filled in from the directory.
    pub wal: WalOptions,
    /// The tables.
    pub tables: LsmOptions,
}

/// Makes a data directory for a node that does not exist yet. A server never does this by itself.
/// The error says what is in the way.
pub fn format(path: &Path, identity: &Identity, disk: &DiskOptions) -> Result<(), String> {
    let stored = directory::Identity {
        cluster: identity.cluster,
        node: identity.node,
        incarnation: identity.incarnation,
        founder: identity.founder,
        members: identity.members.clone(),
    };
    let wal = owned(&disk.wal, identity);
    directory::format(path, &stored, &wal, disk.tables.clone()).map_err(|error| error.to_string())
}

/// Opens a data directory and keeps it locked. The error says what was seen, what was expected and
/// what to do.
pub(crate) fn open(path: &Path, options: &DiskOptions) -> Result<Opened, String> {
    fn text(error: impl fmt::Display) -> String {
        error.to_string()
    }
    if !path.is_dir() {
        return Err("there is no such directory: run \"underpin format\" for a new node; if this \
                    node had its data here before, run \"underpin node replace\""
            .into());
    }
    let lock = DirectoryLock::take(path).map_err(text)?;
    let mut disk = RealDisk::new(path);
    let stored = directory::read(&mut disk).map_err(text)?;
    let identity = Identity {
        cluster: stored.cluster,
        node: stored.node,
        incarnation: stored.incarnation,
        founder: stored.founder,
        members: stored.members,
    };
    let tables: Arc<dyn Tables> = Arc::new(
        LsmTables::open(&path.join(TABLES_DIRECTORY), options.tables.clone()).map_err(text)?,
    );
    let system_rows = system_rows(&*tables).map_err(text)?;
    let fresh = directory::start(&mut disk).map_err(text)?;
    let (wal, recovered) =
        Wal::open(Box::new(disk), owned(&options.wal, &identity)).map_err(text)?;
    if let Some(torn) = recovered.torn {
        let node = identity.node;
        tracing::info!(%node, at = %torn, "the log ended in a batch that was never finished");
    }
    Ok(Opened { lock: Box::new(lock), identity, wal, recovered, tables, system_rows, fresh })
}

fn owned(options: &WalOptions, identity: &Identity) -> WalOptions {
    WalOptions { owner: identity.incarnation.0, ..options.clone() }
}

/// What the node wants to know of the tables before it starts.
fn system_rows(tables: &dyn Tables) -> Result<Vec<(Bytes, Bytes)>, TablesError> {
    let mut range = Boot::system_range();
    let mut rows = Vec::new();
    loop {
        let slice = tables.range(&range, tables.generation(), SLICE)?;
        rows.extend(slice.rows);
        match slice.covered_until {
            Some(next) => range.start = next,
            None => return Ok(rows),
        }
    }
}

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
