//! Notes what a process does to real files, by standing between the standard library and libc.
//!
//! `lsm-tree` writes through `std::fs`, which calls libc's `write`, `fsync` and so on by name. This
//! test binary defines functions of those names, and the linker prefers them; each calls the real
//! one and notes what it did if a [`Recording`] is under way and the file is in its directory.
//!
//! Not everything passes here: `tempfile` renames by a system call of its own. So before each sync
//! the directory is listed, and a name that changed unnoticed is noted then: between two syncs the
//! place in the order does not matter, as a crash may keep any of the changes and lose the others.
//! Content that changed unnoticed would show at the end, where [`Recording::end`] replays the notes
//! and compares every byte with the directory.
#![allow(unsafe_code)]

use crate::platter::{Image, Inode, Op, Platter};
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CStr, OsStr, c_char, c_int, c_uint, c_void};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

static RECORDER: Mutex<Option<Recorder>> = Mutex::new(None);
/// Held by whoever records, so that tests in one process take turns.
static TURN: Mutex<()> = Mutex::new(());

thread_local! {
    /// This thread records: the recorder's own calls are none of its business.
    static RECORDS: Cell<bool> = const { Cell::new(false) };
}

struct Recorder {
    root: PathBuf,
    directories: BTreeSet<String>,
    names: BTreeMap<String, Inode>,
    /// The file system's numbers of the files with names, and ours.
    numbers: BTreeMap<u64, Inode>,
    inodes: Inode,
    ops: Vec<Op>,
}

/// What happens in a directory, from [`Recording::begin`] on, on the thread that began it.
pub struct Recording {
    root: PathBuf,
    base: Image,
    _turn: MutexGuard<'static, ()>,
}

impl Recording {
    /// Begins to note what happens below `root`.
    pub fn begin(root: &Path) -> Recording {
        let turn = TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let base = read(root);
        let mut recorder = Recorder {
            root: root.to_owned(),
            directories: base.directories.clone(),
            names: BTreeMap::new(),
            numbers: BTreeMap::new(),
            inodes: 0,
            ops: Vec::new(),
        };
        recorder.directories.insert(String::new());
        for path in base.files.keys() {
            recorder.inodes += 1;
            recorder.names.insert(path.clone(), recorder.inodes);
            recorder.numbers.insert(number_of(&root.join(path)), recorder.inodes);
        }
        *lock() = Some(recorder);
        RECORDS.set(true);
        Recording { root: root.to_owned(), base, _turn: turn }
    }

    /// Ends it: the disk as it was at the beginning, and what was done.
    pub fn end(self) -> (Platter, Vec<Op>) {
        noted();
        RECORDS.set(false);
        let recorder = lock().take().expect("a recording is under way");
        let base = Platter::of(&self.base);
        let mut platter = base.clone();
        recorder.ops.iter().for_each(|op| platter.apply(op));
        assert!(platter.seen() == read(&self.root), "something was done to a file unnoticed");
        (base, recorder.ops)
    }
}

/// How many operations the recording of this thread has noted so far.
pub fn noted() -> usize {
    let noted = with(|recorder| {
        recorder.catch_up();
        recorder.ops.len()
    });
    noted.expect("a recording is under way")
}

impl Drop for Recording {
    fn drop(&mut self) {
        RECORDS.set(false);
        lock().take();
    }
}

fn lock() -> MutexGuard<'static, Option<Recorder>> {
    RECORDER.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Does something with the recorder if this thread records, unless it is the recorder itself that
/// calls.
fn with<T>(note: impl FnOnce(&mut Recorder) -> T) -> Option<T> {
    if !RECORDS.try_with(|records| records.replace(false)).unwrap_or(false) {
        return None;
    }
    let noted = lock().as_mut().map(note);
    RECORDS.set(true);
    noted
}

/// All that is in a directory.
pub fn read(root: &Path) -> Image {
    let mut image = Image::default();
    read_below(root, "", &mut image);
    image
}

fn read_below(root: &Path, directory: &str, image: &mut Image) {
    for entry in std::fs::read_dir(root.join(directory)).expect("a directory can be listed") {
        let entry = entry.expect("a directory can be listed");
        let name = entry.file_name().into_string().expect("names are text");
        let path = if directory.is_empty() { name } else { format!("{directory}/{name}") };
        if entry.file_type().expect("a file has a type").is_dir() {
            read_below(root, &path, image);
            image.directories.insert(path);
        } else {
            let content = std::fs::read(root.join(&path)).expect("a file can be read");
            image.files.insert(path, Arc::new(content));
        }
    }
}

/// Makes a directory hold exactly what an image does.
pub fn restore(root: &Path, image: &Image) {
    let _ = std::fs::remove_dir_all(root);
    std::fs::create_dir_all(root).expect("a directory can be made");
    for directory in &image.directories {
        std::fs::create_dir_all(root.join(directory)).expect("a directory can be made");
    }
    for (path, content) in &image.files {
        std::fs::write(root.join(path), &**content).expect("a file can be written");
    }
}

fn number_of(path: &Path) -> u64 {
    std::fs::symlink_metadata(path).expect("it is there").ino()
}

impl Recorder {
    /// The path of something below the root, as we call it.
    fn inside(&self, path: &Path) -> Option<String> {
        let below = path.strip_prefix(&self.root).ok()?;
        Some(below.to_str().expect("names are text").to_owned())
    }

    /// Notes names that changed by ways that do not lead past us.
    fn catch_up(&mut self) {
        let mut found: BTreeMap<String, u64> = BTreeMap::new();
        for directory in &self.directories {
            let Ok(entries) = std::fs::read_dir(self.root.join(directory)) else { continue };
            for entry in entries.flatten() {
                if entry.file_type().is_ok_and(|kind| kind.is_file()) {
                    let path = self.inside(&entry.path()).expect("it is below the root");
                    found.insert(path, number_of(&entry.path()));
                }
            }
        }
        for (path, number) in &found {
            let inode = self.numbers.get(number);
            let inode = *inode.unwrap_or_else(|| panic!("{path} appeared unnoticed"));
            if self.names.get(path) != Some(&inode) {
                let from = self.names.iter().find(|(_, of)| **of == inode);
                let from = from.expect("it had a name before").0.clone();
                self.renamed(&from, path);
            }
        }
        let gone: Vec<String> =
            self.names.keys().filter(|path| !found.contains_key(*path)).cloned().collect();
        gone.iter().for_each(|path| self.removed(path));
    }

    fn renamed(&mut self, from: &str, to: &str) {
        if let Some(inode) = self.names.remove(from) {
            self.names.insert(to.to_owned(), inode);
            self.ops.push(Op::Rename { from: from.to_owned(), to: to.to_owned() });
        }
    }

    fn removed(&mut self, path: &str) {
        if self.names.remove(path).is_some() {
            self.ops.push(Op::Remove { path: path.to_owned() });
        }
    }

    fn opened(&mut self, path: &Path, truncated: bool) {
        let Some(path) = self.inside(path) else { return };
        let full = self.root.join(&path);
        let metadata = std::fs::symlink_metadata(&full).expect("it was opened");
        if metadata.is_dir() {
            return;
        }
        match self.names.get(&path) {
            None => {
                self.inodes += 1;
                self.names.insert(path.clone(), self.inodes);
                self.numbers.insert(metadata.ino(), self.inodes);
                self.ops.push(Op::Create { path, inode: self.inodes });
            }
            Some(inode) if truncated => self.ops.push(Op::SetLen { inode: *inode, len: 0 }),
            Some(_) => {}
        }
    }

    /// What an open file is: its path when it is below the root.
    fn behind(&self, fd: c_int) -> Option<(String, std::fs::Metadata)> {
        let link = format!("/proc/self/fd/{fd}");
        let path = std::fs::read_link(&link).ok()?;
        let path = self.inside(&path)?;
        Some((path, std::fs::metadata(&link).ok()?))
    }

    fn file(&self, fd: c_int) -> Option<Inode> {
        let (_, metadata) = self.behind(fd)?;
        metadata.is_file().then(|| self.numbers.get(&metadata.ino()).copied())?
    }

    fn wrote(&mut self, fd: c_int, offset: i64, bytes: &[u8]) {
        if let Some(inode) = self.file(fd) {
            self.ops.push(Op::Write { inode, offset: offset as u64, bytes: bytes.to_vec() });
        }
    }

    fn syncs(&mut self, fd: c_int) {
        let Some((path, metadata)) = self.behind(fd) else { return };
        self.catch_up();
        if metadata.is_dir() {
            self.ops.push(Op::SyncDir { path });
        } else if let Some(inode) = self.file(fd) {
            self.ops.push(Op::SyncFile { inode });
        }
    }
}

// ---- libc ------------------------------------------------------------------------------------

unsafe extern "C" {
    fn dlsym(handle: *mut c_void, symbol: *const c_char) -> *mut c_void;
    fn lseek64(fd: c_int, offset: i64, whence: c_int) -> i64;
}

const NEXT: *mut c_void = -1isize as *mut c_void;
const SEEK_CUR: c_int = 1;
const O_CREAT: c_int = 0o100;
const O_TRUNC: c_int = 0o1000;

/// The function of this name that would have been called without us, as a `$type`.
macro_rules! real {
    ($name:literal, $type:ty) => {{
        // SAFETY: the name is a string that ends in zero.
        let found = unsafe { dlsym(NEXT, concat!($name, "\0").as_ptr().cast()) };
        assert!(!found.is_null(), concat!("libc has no ", $name));
        // SAFETY: libc declares the function so.
        unsafe { std::mem::transmute::<*mut c_void, $type>(found) }
    }};
}

/// A path that libc was given.
///
/// # Safety
/// It ends in zero.
unsafe fn path_of(path: *const c_char) -> PathBuf {
    // SAFETY: see above.
    let path = unsafe { CStr::from_ptr(path) };
    PathBuf::from(OsStr::from_bytes(path.to_bytes()))
}

type Open = extern "C" fn(*const c_char, c_int, c_uint) -> c_int;

/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn open64(path: *const c_char, flags: c_int, mode: c_uint) -> c_int {
    if flags & O_CREAT != 0 {
        with(Recorder::catch_up);
    }
    let fd = real!("open64", Open)(path, flags, mode);
    if fd >= 0 && flags & (O_CREAT | O_TRUNC) != 0 {
        // SAFETY: libc took it.
        let path = unsafe { path_of(path) };
        with(|recorder| recorder.opened(&path, flags & O_TRUNC != 0));
    }
    fd
}

/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn write(fd: c_int, bytes: *const c_void, count: usize) -> isize {
    // SAFETY: it takes and returns numbers.
    let offset = with(|_| unsafe { lseek64(fd, 0, SEEK_CUR) }).unwrap_or(-1);
    let written =
        real!("write", extern "C" fn(c_int, *const c_void, usize) -> isize)(fd, bytes, count);
    if written > 0 && offset >= 0 {
        // SAFETY: libc has just read so many bytes there.
        let bytes = unsafe { std::slice::from_raw_parts(bytes.cast::<u8>(), written as usize) };
        with(|recorder| recorder.wrote(fd, offset, bytes));
    }
    written
}

/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pwrite64(
    fd: c_int,
    bytes: *const c_void,
    count: usize,
    offset: i64,
) -> isize {
    type Pwrite = extern "C" fn(c_int, *const c_void, usize, i64) -> isize;
    let written = real!("pwrite64", Pwrite)(fd, bytes, count, offset);
    if written > 0 {
        // SAFETY: libc has just read so many bytes there.
        let bytes = unsafe { std::slice::from_raw_parts(bytes.cast::<u8>(), written as usize) };
        with(|recorder| recorder.wrote(fd, offset, bytes));
    }
    written
}

/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ftruncate64(fd: c_int, len: i64) -> c_int {
    let done = real!("ftruncate64", extern "C" fn(c_int, i64) -> c_int)(fd, len);
    if done == 0 {
        with(|recorder| {
            if let Some(inode) = recorder.file(fd) {
                recorder.ops.push(Op::SetLen { inode, len: len as u64 });
            }
        });
    }
    done
}

/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fsync(fd: c_int) -> c_int {
    let done = real!("fsync", extern "C" fn(c_int) -> c_int)(fd);
    if done == 0 {
        with(|recorder| recorder.syncs(fd));
    }
    done
}

/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fdatasync(fd: c_int) -> c_int {
    let done = real!("fdatasync", extern "C" fn(c_int) -> c_int)(fd);
    if done == 0 {
        with(|recorder| recorder.syncs(fd));
    }
    done
}

/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rename(from: *const c_char, to: *const c_char) -> c_int {
    with(Recorder::catch_up);
    let done = real!("rename", extern "C" fn(*const c_char, *const c_char) -> c_int)(from, to);
    if done == 0 {
        // SAFETY: libc took them.
        let (from, to) = unsafe { (path_of(from), path_of(to)) };
        with(|recorder| {
            if let (Some(from), Some(to)) = (recorder.inside(&from), recorder.inside(&to)) {
                recorder.renamed(&from, &to);
            }
        });
    }
    done
}

/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unlink(path: *const c_char) -> c_int {
    with(Recorder::catch_up);
    let done = real!("unlink", extern "C" fn(*const c_char) -> c_int)(path);
    if done == 0 {
        // SAFETY: libc took it.
        let path = unsafe { path_of(path) };
        with(|recorder| {
            if let Some(path) = recorder.inside(&path) {
                recorder.removed(&path);
            }
        });
    }
    done
}

/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mkdir(path: *const c_char, mode: c_uint) -> c_int {
    let done = real!("mkdir", extern "C" fn(*const c_char, c_uint) -> c_int)(path, mode);
    if done == 0 {
        // SAFETY: libc took it.
        let path = unsafe { path_of(path) };
        with(|recorder| {
            if let Some(path) = recorder.inside(&path).filter(|path| !path.is_empty()) {
                recorder.directories.insert(path.clone());
                recorder.ops.push(Op::MakeDir { path });
            }
        });
    }
    done
}
