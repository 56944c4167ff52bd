//! Room that is kept for the day on which the disk is full.
//!
//! Deletes free nothing before they are in a table: only a merge can tell which rows they end. And a
//! table needs room before it frees any. So on a disk without room for one more table deletes would
//! be taken, kept in memory, and never free a byte. Against that there is a file of random bytes
//! beside the tables. When something does not fit the file is cut short, and it grows again as soon
//! as there is room, before clients may write what takes space.
//!
//! A disk that fails while the file grows ends the node, though nothing is lost by it: without the
//! file the node would refuse writes for want of room that it has, and what failed here is the disk
//! that the log is synced on.
//!
//! It is really written, not only announced, so that it holds blocks on any file system; with random
//! bytes, so that one that compresses can't make nothing of it.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

use super::Reserved;
use crate::disk::is_full;
use base::Random;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// The file's name, among those of the tables.
const NAME: &str = "reserve";
/// Bytes that it grows by at a time.
const STEP_BYTES: u64 = 4 << 20;

/// The file, and how it stands.
#[derive(Debug)]
pub(super) struct Reserve {
    path: PathBuf,
    /// Kept open, for a process without a free descriptor must be able to use it. None where a full
    /// disk had no room even for its name.
    file: Option<File>,
    /// Bytes that it should have.
    wanted: u64,
    /// Bytes that it has.
    held: u64,
    /// Since it was cut or could not grow it has not been whole.
    short: bool,
}

impl Reserve {
    /// The reserve in `directory` as it was left; older directories have none, and it grows like one
    /// that was cut.
    pub fn open(directory: &Path, wanted: u64) -> io::Result<Reserve> {
        let path = directory.join(NAME);
        let held = match path.metadata() {
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(error),
        };
        let mut reserve = Reserve { path, file: None, wanted, held, short: false };
        match reserve.file() {
            Err(error) if !is_full(&error) => return Err(error),
            _ => {}
        }
        if held > wanted {
            reserve.cut(wanted)?;
        }
        Ok(reserve)
    }

    /// Whether the disk has been full since it was last whole.
    pub fn is_short(&self) -> bool {
        self.short
    }

    /// Lets it grow by a piece.
    pub fn tend(&mut self) -> io::Result<Reserved> {
        if self.held < self.wanted
            && let Err(error) = self.grow()
        {
            if !is_full(&error) {
                return Err(error);
            }
            self.held = self.path.metadata().map_or(0, |metadata| metadata.len());
            self.short = true;
            return Ok(Reserved::Short);
        }
        self.short &= self.held < self.wanted;
        Ok(if self.held < self.wanted { Reserved::Growing } else { Reserved::Whole })
    }

    /// Gives up to `bytes` of it back to the disk; how many these were.
    pub fn lend(&mut self, bytes: u64) -> io::Result<u64> {
        self.short = true;
        let lent = bytes.min(self.held);
        if lent > 0 {
            self.cut(self.held - lent)?;
        }
        Ok(lent)
    }

    fn file(&mut self) -> io::Result<&File> {
        if self.file.is_none() {
            let file =
                OpenOptions::new().write(true).create(true).truncate(false).open(&self.path)?;
            self.file = Some(file);
        }
        Ok(self.file.as_ref().expect("it was just opened"))
    }

    fn grow(&mut self) -> io::Result<()> {
        let to = (self.held + STEP_BYTES).min(self.wanted);
        let mut random = Random::new(self.held);
        let words = (self.held..to).step_by(8).flat_map(|_| random.u64().to_le_bytes());
        let bytes: Vec<u8> = words.take((to - self.held) as usize).collect();
        let held = self.held;
        let file = self.file()?;
        file.write_all_at(&bytes, held)?;
        // Some file systems find out only now that there is no room.
        file.sync_data()?;
        self.held = to;
        Ok(())
    }

    fn cut(&mut self, to: u64) -> io::Result<()> {
        let file = self.file()?;
        file.set_len(to)?;
        // Some file systems give the blocks back only when this is durable.
        file.sync_all()?;
        self.held = to;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(reserve: &mut Reserve) -> usize {
        (1..100).find(|_| reserve.tend().unwrap() == Reserved::Whole).expect("it comes to an end")
    }

    #[test]
    fn it_grows_to_its_size_is_cut_and_grows_again() {
        let folder = std::env::temp_dir().join(format!("underpin-reserve-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let wanted = 2 * STEP_BYTES + 5;
        let mut reserve = Reserve::open(&folder, wanted).unwrap();
        assert_eq!(whole(&mut reserve), 3);
        let bytes = || folder.join(NAME).metadata().unwrap().len();
        assert_eq!(bytes(), wanted);
        assert!(!reserve.is_short());

        assert_eq!(reserve.lend(5).unwrap(), 5);
        assert_eq!((bytes(), reserve.is_short()), (wanted - 5, true));
        assert_eq!(reserve.lend(u64::MAX).unwrap(), wanted - 5);
        assert_eq!((bytes(), reserve.lend(1).unwrap()), (0, 0));
        assert_eq!(reserve.tend().unwrap(), Reserved::Growing);

        // As a crash may leave it; and one that became too large is cut when it is opened.
        let mut reserve = Reserve::open(&folder, wanted).unwrap();
        assert_eq!(whole(&mut reserve), 2);
        Reserve::open(&folder, 100).unwrap();
        assert_eq!(bytes(), 100);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
