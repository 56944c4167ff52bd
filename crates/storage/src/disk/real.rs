//! The operating system's files.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

use super::{Disk, FileId};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Bytes of zeros written at a time.
const ZEROS: usize = 256 << 10;

/// Files below a directory of the real file system. Handles are close-on-exec, as `std` opens them.
#[derive(Debug)]
pub struct RealDisk {
    root: PathBuf,
    files: BTreeMap<FileId, File>,
    opened: u64,
}

impl RealDisk {
    /// The disk below `root`, which need not exist yet.
    pub fn new(root: impl Into<PathBuf>) -> RealDisk {
        RealDisk { root: root.into(), files: BTreeMap::new(), opened: 0 }
    }

    /// The directory it lives in.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn keep(&mut self, file: File) -> FileId {
        self.opened += 1;
        let id = FileId(self.opened);
        self.files.insert(id, file);
        id
    }

    fn file(&self, id: FileId) -> io::Result<&File> {
        self.files.get(&id).ok_or_else(|| io::Error::other("the file was closed before"))
    }
}

impl Disk for RealDisk {
    fn open(&mut self, path: &str) -> io::Result<FileId> {
        let file = OpenOptions::new().read(true).write(true).open(self.root.join(path))?;
        Ok(self.keep(file))
    }

    fn create(&mut self, path: &str) -> io::Result<FileId> {
        let path = self.root.join(path);
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
        Ok(self.keep(file))
    }

    fn close(&mut self, file: FileId) {
        self.files.remove(&file);
    }

    fn len(&mut self, file: FileId) -> io::Result<u64> {
        Ok(self.file(file)?.metadata()?.len())
    }

    fn read(&mut self, file: FileId, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file(file)?.read_exact_at(buffer, offset)
    }

    fn write(&mut self, file: FileId, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file(file)?.write_all_at(bytes, offset)
    }

    fn write_zeros(&mut self, file: FileId, from: u64, to: u64) -> io::Result<()> {
        let zeros = vec![0; ZEROS.min(to.saturating_sub(from) as usize)];
        let mut at = from;
        while at < to {
            let bytes = zeros.len().min((to - at) as usize);
            self.write(file, at, &zeros[..bytes])?;
            at += bytes as u64;
        }
        Ok(())
    }

    fn sync_data(&mut self, file: FileId) -> io::Result<()> {
        self.file(file)?.sync_data()
    }

    fn sync_dir(&mut self, directory: &str) -> io::Result<()> {
        File::open(self.root.join(directory))?.sync_all()
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.root.join(from), self.root.join(to))
    }

    fn remove(&mut self, path: &str) -> io::Result<()> {
        fs::remove_file(self.root.join(path))
    }

    fn create_dir(&mut self, directory: &str) -> io::Result<()> {
        let path = self.root.join(directory);
        if path.is_dir() {
            return Ok(());
        }
        fs::create_dir_all(&path)?;
        // The new names live in the parents: make those durable up to one that must have existed.
        for parent in path.ancestors().skip(1).filter(|parent| !parent.as_os_str().is_empty()) {
            File::open(parent)?.sync_all()?;
            if !parent.starts_with(&self.root) {
                break;
            }
        }
        Ok(())
    }

    fn list(&mut self, directory: &str) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(self.root.join(directory))? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                names.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    fn describe(&self, path: &str) -> String {
        self.root.join(path).display().to_string()
    }
}
