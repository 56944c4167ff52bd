//! A data directory: whose it is, and that only one process works in it.
//!
//! ```text
//! identity     who the node is; written last by `underpin format`, never changed
//! started      exists once a process has run here
//! lock         held by the process that runs here
//! wal/         the write-ahead log
//! tables/      rows on disk
//! ```
//!
//! A server never makes a directory: it refuses one without an identity, one with an identity but
//! without a log, and one whose log or tables belong to another. Otherwise a disk that came back
//! empty would make its node forget its votes and carry on.
//!
//! The identity file is text, so that an operator can read it:
//!
//! ```text
//! underpin directory 1
//! cluster 7d0c0f6b6bb0f1f3a9a4e0c2d3b4a596
//! node 2
//! incarnation 91b0c6ff0d2ac1e7
//! founder yes
//! member 1 10.0.0.1:7400
//! member 2 10.0.0.2:7400
//! checksum 5d3f02aa
//! ```

use crate::disk::{Disk, RealDisk, is_full};
use crate::tables::{LsmOptions, LsmTables, TablesError};
use crate::wal::{Wal, WalError, WalOptions};
use base::checksum::crc32c;
use base::{ClusterId, Incarnation, NodeId};
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::Path;

/// The format of the directory that this version writes and knows.
pub const DIRECTORY_FORMAT: u32 = 1;
/// Where the tables are, below the data directory.
pub const TABLES_DIRECTORY: &str = "tables";

const IDENTITY: &str = "identity";
const STARTED: &str = "started";
const LOCK: &str = "lock";
const MAGIC: &str = "underpin directory";

/// Who the node is that lives in a directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The cluster.
    pub cluster: ClusterId,
    /// The node.
    pub node: NodeId,
    /// The directory's life.
    pub incarnation: Incarnation,
    /// Whether the directory was formatted for a new cluster, of which its node holds the first
    /// replicas; another joins with none.
    pub founder: bool,
    /// The founding members and their peer addresses.
    pub members: BTreeMap<NodeId, String>,
}

/// Why a directory can't be used.
#[derive(Debug)]
pub enum DirectoryError {
    /// It was never formatted, or not to the end.
    NotFormatted {
        /// The directory.
        path: String,
    },
    /// It is formatted already.
    Formatted {
        /// The directory.
        path: String,
        /// For whom.
        identity: Box<Identity>,
    },
    /// Another process works in it.
    Locked {
        /// The lock file.
        path: String,
        /// The process, as the file says.
        holder: String,
    },
    /// Its identity has changed on the disk.
    Damaged {
        /// The file.
        path: String,
        /// What should be there.
        expected: String,
        /// What is there.
        seen: String,
    },
    /// It was formatted by another version.
    Format {
        /// The file.
        path: String,
        /// The format that this version knows.
        known: u32,
        /// The format that it has.
        seen: u32,
    },
    /// An identity that no file can hold.
    Unusable {
        /// What about it.
        why: String,
    },
    /// The operating system failed.
    Io {
        /// What was being done.
        doing: String,
        /// What it said.
        error: io::Error,
    },
    /// The log could not be made.
    Wal(WalError),
    /// The tables could not be made.
    Tables(TablesError),
}

impl fmt::Display for DirectoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DirectoryError::NotFormatted { path } => write!(
                f,
                "{path} is not a data directory: run \"underpin format\" for a new node; if this \
                 node had its data here before, run \"underpin node replace\""
            ),
            DirectoryError::Formatted { path, identity } => write!(
                f,
                "{path} belongs to node {} of cluster {} already; choose an empty directory",
                identity.node, identity.cluster
            ),
            DirectoryError::Locked { path, holder } => write!(
                f,
                "{path} is held by {holder}: another server runs on this directory; stop it first"
            ),
            DirectoryError::Damaged { path, expected, seen } => write!(
                f,
                "{path}: expected {expected}, saw {seen}; the disk has changed what was durable, \
                 so run \"underpin node replace\" on this node"
            ),
            DirectoryError::Format { path, known, seen } => write!(
                f,
                "{path} has directory format {seen}, this version knows {known}; run the version \
                 that wrote it"
            ),
            DirectoryError::Unusable { why } => f.write_str(why),
            DirectoryError::Io { doing, error } if is_full(error) => {
                write!(f, "{doing}: the disk is full; free some space on it")
            }
            DirectoryError::Io { doing, error } => write!(f, "{doing}: {error}"),
            DirectoryError::Wal(error) => error.fmt(f),
            DirectoryError::Tables(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for DirectoryError {}

impl From<WalError> for DirectoryError {
    fn from(error: WalError) -> DirectoryError {
        DirectoryError::Wal(error)
    }
}

impl From<TablesError> for DirectoryError {
    fn from(error: TablesError) -> DirectoryError {
        DirectoryError::Tables(error)
    }
}

fn io_error(doing: String) -> impl FnOnce(io::Error) -> DirectoryError {
    move |error| DirectoryError::Io { doing, error }
}

/// Makes a data directory on the real disk: tables, log, and last the identity. A directory that a
/// crash left half made is made again.
pub fn format(
    path: &Path,
    identity: &Identity,
    wal: &WalOptions,
    tables: LsmOptions,
) -> Result<(), DirectoryError> {
    let mut disk = RealDisk::new(path);
    disk.create_dir("").map_err(io_error(format!("creating {}", path.display())))?;
    let _lock = DirectoryLock::take(path)?;
    unformatted(&mut disk)?;
    let tables_path = path.join(TABLES_DIRECTORY);
    LsmTables::discard_empty(&tables_path)?;
    drop(LsmTables::create(&tables_path, tables)?);
    format_disk(&mut disk, identity, wal)
}

/// Makes the log and the identity of a data directory, on any disk; the simulator's tables are
/// not on it.
pub fn format_disk(
    disk: &mut dyn Disk,
    identity: &Identity,
    wal: &WalOptions,
) -> Result<(), DirectoryError> {
    let content = encode(identity)?;
    unformatted(disk)?;
    Wal::create(disk, wal)?;
    let path = disk.describe(IDENTITY);
    disk.replace_file(IDENTITY, content.as_bytes())
        .and_then(|()| disk.sync_dir(""))
        .map_err(io_error(format!("writing {path}")))
}

fn unformatted(disk: &mut dyn Disk) -> Result<(), DirectoryError> {
    match read(disk) {
        Err(DirectoryError::NotFormatted { .. }) => Ok(()),
        Ok(identity) => {
            Err(DirectoryError::Formatted { path: disk.describe(""), identity: Box::new(identity) })
        }
        Err(other) => Err(other),
    }
}

/// Reads whose directory it is.
pub fn read(disk: &mut dyn Disk) -> Result<Identity, DirectoryError> {
    let path = disk.describe(IDENTITY);
    match disk.read_file(IDENTITY) {
        Ok(content) => decode(&path, &content),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(DirectoryError::NotFormatted { path: disk.describe("") })
        }
        Err(error) => Err(DirectoryError::Io { doing: format!("reading {path}"), error }),
    }
}

/// Notes durably that a process runs here; `true` if none ever did. Only a node that never ran may
/// vote before a support period has passed, so this comes before anything else.
pub fn start(disk: &mut dyn Disk) -> Result<bool, DirectoryError> {
    let path = disk.describe(STARTED);
    let doing = || io_error(format!("writing {path}"));
    let first = !disk.list("").map_err(doing())?.iter().any(|name| name == STARTED);
    if first {
        let content = format!("{MAGIC} {DIRECTORY_FORMAT}\n");
        disk.replace_file(STARTED, content.as_bytes()).map_err(doing())?;
    }
    Ok(first)
}

fn encode(identity: &Identity) -> Result<String, DirectoryError> {
    let mut text = format!("{MAGIC} {DIRECTORY_FORMAT}\n");
    text += &format!("cluster {}\n", identity.cluster);
    text += &format!("node {}\n", identity.node.0);
    text += &format!("incarnation {}\n", identity.incarnation);
    text += &format!("founder {}\n", if identity.founder { "yes" } else { "no" });
    for (node, address) in &identity.members {
        if address.is_empty() || address.contains(char::is_whitespace) {
            let why = format!("node {}'s address {address:?} is not one word", node.0);
            return Err(DirectoryError::Unusable { why });
        }
        text += &format!("member {} {address}\n", node.0);
    }
    text += &format!("checksum {:08x}\n", crc32c(text.as_bytes()));
    Ok(text)
}

fn decode(path: &str, content: &[u8]) -> Result<Identity, DirectoryError> {
    let damaged = |expected: &str, seen: &str| DirectoryError::Damaged {
        path: path.to_owned(),
        expected: expected.to_owned(),
        seen: format!("{seen:?}"),
    };
    let text = std::str::from_utf8(content).map_err(|_| damaged("text", "other bytes"))?;
    let first = text.lines().next().unwrap_or_default();
    let format = first.strip_prefix(MAGIC).and_then(|number| number.trim().parse::<u32>().ok());
    let seen = format.ok_or_else(|| damaged("\"underpin directory\" and a number", first))?;
    if seen != DIRECTORY_FORMAT {
        let path = path.to_owned();
        return Err(DirectoryError::Format { path, known: DIRECTORY_FORMAT, seen });
    }
    let (body, sum) = text
        .rsplit_once("checksum ")
        .ok_or_else(|| damaged("a checksum in the last line", text.lines().last().unwrap_or("")))?;
    let computed = format!("{:08x}\n", crc32c(body.as_bytes()));
    if sum != computed {
        return Err(damaged(&format!("checksum {}", sum.trim()), computed.trim()));
    }
    fields(body).ok_or_else(|| damaged("the lines of an identity", body))
}

/// The lines between the first and the checksum, which is known to be right.
fn fields(body: &str) -> Option<Identity> {
    let mut lines = body.lines().skip(1);
    let mut field = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ');
    let cluster = ClusterId(u128::from_str_radix(field("cluster")?, 16).ok()?);
    let node = NodeId(field("node")?.parse().ok()?);
    let incarnation = Incarnation(u64::from_str_radix(field("incarnation")?, 16).ok()?);
    let founder = match field("founder")? {
        "yes" => true,
        "no" => false,
        _ => return None,
    };
    let mut members = BTreeMap::new();
    for line in lines {
        let (node, address) = line.strip_prefix("member ")?.split_once(' ')?;
        members.insert(NodeId(node.parse().ok()?), address.to_owned());
    }
    Some(Identity { cluster, node, incarnation, founder, members })
}

pub use lock::DirectoryLock;

mod lock {
    //! Keeping a second process out.
    #![allow(clippy::disallowed_methods, clippy::disallowed_types)]

    use super::{DirectoryError, LOCK, io_error};
    use std::fs::{File, OpenOptions, TryLockError};
    use std::io::{Read, Write};
    use std::path::Path;

    /// Held while a process works in a data directory. The operating system lets it go when the
    /// process ends, however it ends.
    #[derive(Debug)]
    pub struct DirectoryLock {
        _file: File,
    }

    impl DirectoryLock {
        /// Takes the lock of a directory that exists.
        pub fn take(directory: &Path) -> Result<DirectoryLock, DirectoryError> {
            let path = directory.join(LOCK);
            let doing = || io_error(format!("locking {}", path.display()));
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false);
            let mut file = options.open(&path).map_err(doing())?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::Error(error)) => return Err(doing()(error)),
                Err(TryLockError::WouldBlock) => {
                    let mut holder = String::new();
                    let read = file.read_to_string(&mut holder);
                    if read.is_err() || holder.trim().is_empty() {
                        holder = "another process".to_owned();
                    }
                    let holder = holder.trim().to_owned();
                    return Err(DirectoryError::Locked {
                        path: path.display().to_string(),
                        holder,
                    });
                }
            }
            let holder = format!("process {}\n", std::process::id());
            let written = file.set_len(0).and_then(|()| file.write_all(holder.as_bytes()));
            written.map_err(doing())?;
            Ok(DirectoryLock { _file: file })
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods)]

    use super::*;
    use crate::disk::SimDisk;
    use base::Random;

    fn identity() -> Identity {
        Identity {
            cluster: ClusterId(0x7d0c),
            node: NodeId(2),
            incarnation: Incarnation(0x91b0),
            founder: true,
            members: [(NodeId(1), "[::1]:7400".into()), (NodeId(2), "b.example:7400".into())]
                .into(),
        }
    }

    fn wal_options() -> WalOptions {
        WalOptions { segment_bytes: 8 << 10, owner: 0x91b0, ..WalOptions::default() }
    }

    #[test]
    fn a_formatted_directory_says_whose_it_is_and_is_not_formatted_again() {
        let mut disk = SimDisk::new();
        assert!(read(&mut disk).unwrap_err().to_string().contains("underpin format"));
        format_disk(&mut disk, &identity(), &wal_options()).unwrap();
        assert_eq!(read(&mut disk).unwrap(), identity());
        let error = format_disk(&mut disk, &identity(), &wal_options()).unwrap_err();
        assert!(matches!(error, DirectoryError::Formatted { .. }), "{error}");
        Wal::open(Box::new(disk), wal_options()).unwrap();
    }

    #[test]
    fn a_crash_amidst_formatting_leaves_nothing_or_all_and_it_can_be_done_again() {
        let mut whole = 0;
        for seed in 0..200 {
            let mut random = Random::new(seed);
            let mut disk = SimDisk::new();
            disk.set_capacity(random.chance(1, 2).then(|| random.below(20 << 10)));
            let formatted = format_disk(&mut disk, &identity(), &wal_options()).is_ok();
            disk.crash(&mut random);
            disk.set_capacity(None);
            match read(&mut disk) {
                Ok(seen) => {
                    assert_eq!(seen, identity());
                    Wal::open(Box::new(disk), wal_options()).unwrap();
                    whole += 1;
                }
                Err(DirectoryError::NotFormatted { .. }) => {
                    assert!(!formatted, "seed {seed}");
                    format_disk(&mut disk, &identity(), &wal_options()).unwrap();
                }
                Err(other) => panic!("seed {seed}: {other}"),
            }
        }
        assert!(whole > 50, "{whole} of 200 were whole");
    }

    #[test]
    fn a_damaged_identity_is_refused() {
        let mut disk = SimDisk::new();
        format_disk(&mut disk, &identity(), &wal_options()).unwrap();
        let bytes = disk.read_file(IDENTITY).unwrap().len() as u64;
        for offset in 0..bytes {
            let mut disk = disk.after_crash(&mut Random::new(0));
            disk.flip_bit(IDENTITY, offset, 2);
            let error = read(&mut disk).unwrap_err();
            let known =
                matches!(error, DirectoryError::Damaged { .. } | DirectoryError::Format { .. });
            assert!(known, "{offset}: {error}");
        }
    }

    #[test]
    fn the_first_start_is_told_from_later_ones() {
        let mut disk = SimDisk::new();
        format_disk(&mut disk, &identity(), &wal_options()).unwrap();
        assert!(start(&mut disk).unwrap());
        disk.crash(&mut Random::new(1));
        assert!(!start(&mut disk).unwrap());
    }

    #[test]
    fn a_real_directory_is_formatted_once_and_opened_by_one() {
        let path = std::env::temp_dir().join(format!("underpin-directory-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        format(&path, &identity(), &wal_options(), LsmOptions::default()).unwrap();
        let again = format(&path, &identity(), &wal_options(), LsmOptions::default());
        assert!(matches!(again, Err(DirectoryError::Formatted { .. })), "{again:?}");
        let held = DirectoryLock::take(&path).unwrap();
        let error = DirectoryLock::take(&path).unwrap_err().to_string();
        assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
        drop(held);
        drop(DirectoryLock::take(&path).unwrap());
        let mut disk = RealDisk::new(&path);
        assert_eq!(read(&mut disk).unwrap(), identity());
        // What is left when a crash came before the identity was written is made again.
        std::fs::remove_file(path.join(IDENTITY)).unwrap();
        format(&path, &identity(), &wal_options(), LsmOptions::default()).unwrap();
        LsmTables::open(&path.join(TABLES_DIRECTORY), LsmOptions::default()).unwrap();
        Wal::open(Box::new(disk), wal_options()).unwrap();
        std::fs::remove_dir_all(&path).unwrap();
    }
}
