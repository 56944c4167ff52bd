//! All our own file I/O goes through [`Disk`], so that the simulator can pull the plug between any
//! two sectors.
//!
//! A disk is a small tree of files below one directory. Paths are relative and use `/`. The
//! contract is what a careful reader of the POSIX manual may rely on, and no more:
//!
//! - What [`Disk::write`] put in a file is there after a crash only if [`Disk::sync_data`] on that
//!   file returned `Ok` afterwards. Otherwise any subset of the written sectors may be there.
//! - A file created, renamed or removed is so after a crash only if [`Disk::sync_dir`] on its
//!   directory returned `Ok` afterwards.
//! - A failed sync says nothing about what is on the disk, and a later sync that succeeds says
//!   nothing about what the failed one was to cover (Rebello et al., "Can Applications Recover from
//!   fsync Failures?", ATC 2020). The only sound reaction is to stop.
//!
//! [`RealDisk`] is the operating system's; [`SimDisk`] is the adversary that keeps to this contract
//! and, on request, breaks it as broken hardware does.

mod real;
mod sim;

pub use real::RealDisk;
pub use sim::{Crash, DiskCosts, SimDisk, SimImage};

use std::io;

/// Sectors are written whole or not at all; nothing larger is.
pub const SECTOR_BYTES: u64 = 512;

/// An open file of one [`Disk`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(pub u64);

/// Files below one directory; see the [module](self) for what survives a crash.
pub trait Disk: Send + 'static {
    /// Opens an existing file for reading and writing.
    fn open(&mut self, path: &str) -> io::Result<FileId>;

    /// Creates an empty file; an existing one is an error.
    fn create(&mut self, path: &str) -> io::Result<FileId>;

    /// Forgets an open file. Says nothing about durability.
    fn close(&mut self, file: FileId);

    /// The file's length in bytes.
    fn len(&mut self, file: FileId) -> io::Result<u64>;

    /// Fills `buffer` from `offset`; a file that ends earlier is an `UnexpectedEof` error.
    fn read(&mut self, file: FileId, offset: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// Writes all of `bytes` at `offset`, extending the file if need be.
    fn write(&mut self, file: FileId, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Writes zeros from `from` to `to`, so that later writes there allocate nothing.
    fn write_zeros(&mut self, file: FileId, from: u64, to: u64) -> io::Result<()>;

    /// Makes the file's content durable.
    fn sync_data(&mut self, file: FileId) -> io::Result<()>;

    /// Makes durable which files are in `directory`, and under which names.
    fn sync_dir(&mut self, directory: &str) -> io::Result<()>;

    /// Gives a file another name in the same directory, replacing what had it. Open files stay open.
    fn rename(&mut self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    fn remove(&mut self, path: &str) -> io::Result<()>;

    /// Makes a directory, with its parents, unless it exists, and makes it durable.
    fn create_dir(&mut self, directory: &str) -> io::Result<()>;

    /// The names of the files in `directory`, in order.
    fn list(&mut self, directory: &str) -> io::Result<Vec<String>>;

    /// Where `path` is, as an operator would look for it.
    fn describe(&self, path: &str) -> String;

    /// Reads a whole file.
    fn read_file(&mut self, path: &str) -> io::Result<Vec<u8>> {
        let file = self.open(path)?;
        let read = self.len(file).and_then(|len| {
            let mut content = vec![0; len as usize];
            self.read(file, 0, &mut content)?;
            Ok(content)
        });
        self.close(file);
        read
    }

    /// Replaces a whole file, durably and at once: after a crash it holds the old content or the
    /// new one.
    fn replace_file(&mut self, path: &str, content: &[u8]) -> io::Result<()> {
        let temporary = format!("{path}.new");
        match self.remove(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = self.create(&temporary)?;
        let written = self.write(file, 0, content).and_then(|()| self.sync_data(file));
        self.close(file);
        written?;
        self.rename(&temporary, path)?;
        self.sync_dir(parent(path))
    }
}

/// The directory part of a path; empty for a file at the root.
pub fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(directory, _)| directory)
}

/// How much room there is on a node's disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Room {
    /// Enough.
    #[default]
    Ample,
    /// The log's reserve is left: for what frees space, and for what others hold already.
    Reserve,
    /// Not even that: records wait until there is room.
    None,
}

/// Whether the disk had no room.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
