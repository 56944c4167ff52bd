//! A disk in memory that notes every operation, so that crashes can be made of them afterwards.

use crate::platter::{Image, Inode, Op};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use underpin_storage::disk::{Disk, FileId};

#[derive(Debug, Default)]
struct State {
    directories: BTreeSet<String>,
    names: BTreeMap<String, Inode>,
    files: BTreeMap<Inode, Arc<Vec<u8>>>,
    open: BTreeMap<FileId, Inode>,
    inodes: u64,
    opened: u64,
    ops: Vec<Op>,
}

/// A disk whose operations are noted. Clones are handles of the same disk.
#[derive(Clone, Debug, Default)]
pub struct NotedDisk(Arc<Mutex<State>>);

impl NotedDisk {
    /// A disk that holds `image`; its files are numbered as [`crate::platter::Platter::of`] does.
    pub fn of(image: &Image) -> NotedDisk {
        let mut state = State { directories: image.directories.clone(), ..State::default() };
        state.directories.insert(String::new());
        for (path, content) in &image.files {
            state.inodes += 1;
            state.names.insert(path.clone(), state.inodes);
            state.files.insert(state.inodes, content.clone());
        }
        NotedDisk(Arc::new(Mutex::new(state)))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no user of the disk panics while holding it")
    }

    /// How many operations were noted so far.
    pub fn noted(&self) -> usize {
        self.state().ops.len()
    }

    /// Everything that is on it now.
    pub fn image(&self) -> Image {
        let state = self.state();
        let files = state.names.iter().map(|(path, inode)| (path.clone(), &state.files[inode]));
        Image {
            directories: state
                .directories
                .iter()
                .filter(|path| !path.is_empty())
                .cloned()
                .collect(),
            files: files.map(|(path, content)| (path, content.clone())).collect(),
        }
    }

    /// What was done so far.
    pub fn ops(&self) -> Vec<Op> {
        self.state().ops.clone()
    }
}

impl State {
    fn inode(&self, file: FileId) -> io::Result<Inode> {
        self.open.get(&file).copied().ok_or_else(|| io::Error::other("not open"))
    }

    fn opened(&mut self, inode: Inode) -> FileId {
        self.opened += 1;
        self.open.insert(FileId(self.opened), inode);
        FileId(self.opened)
    }

    fn known(&self, path: &str) -> io::Result<Inode> {
        let missing = || io::Error::new(io::ErrorKind::NotFound, path.to_owned());
        self.names.get(path).copied().ok_or_else(missing)
    }

    fn content(&mut self, inode: Inode) -> &mut Vec<u8> {
        Arc::make_mut(self.files.get_mut(&inode).expect("a file has content"))
    }
}

impl Disk for NotedDisk {
    fn open(&mut self, path: &str) -> io::Result<FileId> {
        let mut state = self.state();
        let inode = state.known(path)?;
        Ok(state.opened(inode))
    }

    fn create(&mut self, path: &str) -> io::Result<FileId> {
        let mut state = self.state();
        if state.known(path).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        state.inodes += 1;
        let inode = state.inodes;
        state.names.insert(path.to_owned(), inode);
        state.files.insert(inode, Arc::default());
        state.ops.push(Op::Create { path: path.to_owned(), inode });
        Ok(state.opened(inode))
    }

    fn close(&mut self, file: FileId) {
        self.state().open.remove(&file);
    }

    fn len(&mut self, file: FileId) -> io::Result<u64> {
        let state = self.state();
        Ok(state.files[&state.inode(file)?].len() as u64)
    }

    fn read(&mut self, file: FileId, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let state = self.state();
        let content = &state.files[&state.inode(file)?];
        let found = content.get(offset as usize..offset as usize + buffer.len());
        buffer.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write(&mut self, file: FileId, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        let inode = state.inode(file)?;
        let end = offset as usize + bytes.len();
        let content = state.content(inode);
        content.resize(content.len().max(end), 0);
        content[offset as usize..end].copy_from_slice(bytes);
        state.ops.push(Op::Write { inode, offset, bytes: bytes.to_vec() });
        Ok(())
    }

    fn write_zeros(&mut self, file: FileId, from: u64, to: u64) -> io::Result<()> {
        let mut state = self.state();
        let inode = state.inode(file)?;
        let content = state.content(inode);
        if content.len() as u64 > from {
            drop(state);
            return self.write(file, from, &vec![0; (to - from) as usize]);
        }
        // Zeros beyond the end: all that a crash can tell is how long the file was.
        content.resize(to as usize, 0);
        state.ops.push(Op::SetLen { inode, len: to });
        Ok(())
    }

    fn sync_data(&mut self, file: FileId) -> io::Result<()> {
        let mut state = self.state();
        let inode = state.inode(file)?;
        state.ops.push(Op::SyncFile { inode });
        Ok(())
    }

    fn sync_dir(&mut self, directory: &str) -> io::Result<()> {
        self.state().ops.push(Op::SyncDir { path: directory.to_owned() });
        Ok(())
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        let inode = state.known(from)?;
        state.names.remove(from);
        state.names.insert(to.to_owned(), inode);
        state.ops.push(Op::Rename { from: from.to_owned(), to: to.to_owned() });
        Ok(())
    }

    fn remove(&mut self, path: &str) -> io::Result<()> {
        let mut state = self.state();
        state.known(path)?;
        state.names.remove(path);
        state.ops.push(Op::Remove { path: path.to_owned() });
        Ok(())
    }

    fn create_dir(&mut self, directory: &str) -> io::Result<()> {
        let mut state = self.state();
        let mut made = Vec::new();
        let mut path = directory;
        while !path.is_empty() && state.directories.insert(path.to_owned()) {
            made.push(path.to_owned());
            path = path.rsplit_once('/').map_or("", |(up, _)| up);
        }
        for path in made.into_iter().rev() {
            let up = path.rsplit_once('/').map_or("", |(up, _)| up).to_owned();
            state.ops.push(Op::MakeDir { path });
            state.ops.push(Op::SyncDir { path: up });
        }
        Ok(())
    }

    fn list(&mut self, directory: &str) -> io::Result<Vec<String>> {
        let state = self.state();
        if !state.directories.contains(directory) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let inside = state.names.keys().filter_map(|path| {
            let (up, name) = path.rsplit_once('/').unwrap_or(("", path));
            (up == directory).then(|| name.to_owned())
        });
        Ok(inside.collect())
    }

    fn describe(&self, path: &str) -> String {
        path.to_owned()
    }
}
