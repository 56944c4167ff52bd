//! What an Underpin node keeps, and how it comes back after a crash.
//!
//! A write takes this way through the crate: the entry goes to the [`wal`], which all shards of the
//! node share, and is durable after one sync. Once committed, its rows go to the [`engine`]'s
//! memtable, where the node thread reads them. A full memtable is frozen and handed to a helper
//! thread, which writes it as one sorted run into the [`tables`] on disk; after that the log may
//! let the entry go.
//!
//! After a crash the tables hold some whole number of runs, each with the applied index of every
//! shard in it, and the log holds everything after.
//!
//! All files but the tables' go through [`disk::Disk`], so that the simulator can break them. The
//! [`directory`] module says whose files they are.

pub mod directory;
pub mod disk;
pub mod engine;
pub mod tables;
pub mod wal;
