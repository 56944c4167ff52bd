//! A disk in memory that keeps to the contract of [`Disk`] as an adversary would.
//!
//! Every file has what is durable and what was written since. A crash decides for each sector that
//! was not synced whether one of its newer contents made it, for each directory how many of its
//! changes did, in order, and for each file whether its growth did. Everything is drawn from the
//! generator that [`SimDisk::crash`] is given, so a seed repeats a crash exactly.
//!
//! Beyond the contract, on request: a sync that fails and loses what it should have kept, bits that
//! flip at rest, a write that lands elsewhere, a disk that is full, a disk that is slow, and an old
//! image put back.

use super::{Disk, FileId, SECTOR_BYTES, parent};
use base::Random;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

const PAGE_BYTES: u64 = 4096;
const PAGE_SECTORS: u64 = PAGE_BYTES / SECTOR_BYTES;
/// Contents of one page that a crash may fall back to, besides the durable one.
const VERSIONS_MAX: usize = 3;

type Page = Arc<[u8; PAGE_BYTES as usize]>;

/// What operations cost, in nanoseconds; the driver of a simulation turns it into delay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskCosts {
    /// A sync of a file or a directory.
    pub sync_ns: u64,
    /// One write or read, whatever its size.
    pub access_ns: u64,
    /// Each KiB written or read.
    pub kib_ns: u64,
}

impl Default for DiskCosts {
    /// A fast disk: 0.2 ms a sync, as measured where the product was built.
    fn default() -> DiskCosts {
        DiskCosts { sync_ns: 200_000, access_ns: 2_000, kib_ns: 500 }
    }
}

/// A simulated disk. Clones are handles of the same disk.
#[derive(Clone, Debug)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

/// What a crash did to that which was not synced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Crash {
    /// Sectors that made it in their newest content.
    pub sectors_kept: u64,
    /// Sectors that fell back to an older one.
    pub sectors_lost: u64,
    /// Changes of directories that were lost.
    pub names_lost: u64,
    /// Files whose growth was lost.
    pub growths_lost: u64,
}

/// Everything that a disk holds at one moment, to be put back later.
#[derive(Clone, Debug)]
pub struct SimImage(State);

#[derive(Clone, Debug, Default)]
struct State {
    files: BTreeMap<u64, File>,
    names: BTreeMap<String, u64>,
    durable_names: BTreeMap<String, u64>,
    directories: BTreeSet<String>,
    /// Changes of names that no `sync_dir` covered yet, in order.
    renames: Vec<NameChange>,
    open: BTreeMap<FileId, u64>,
    next: u64,
    capacity: Option<u64>,
    beside: u64,
    costs: Option<DiskCosts>,
    cost_ns: u64,
    failing_syncs: Vec<String>,
    forgetful_syncs: Vec<String>,
    misdirected: Vec<String>,
    failing_reads: Vec<String>,
    faults: Option<Random>,
    syncs: u64,
}

#[derive(Clone, Debug)]
enum NameChange {
    Create { path: String, inode: u64 },
    Rename { from: String, to: String },
    Remove { path: String },
}

impl NameChange {
    fn directory(&self) -> &str {
        match self {
            NameChange::Create { path, .. } | NameChange::Remove { path } => parent(path),
            NameChange::Rename { from, .. } => parent(from),
        }
    }

    fn apply(&self, names: &mut BTreeMap<String, u64>) {
        match self {
            NameChange::Create { path, inode } => {
                names.insert(path.clone(), *inode);
            }
            NameChange::Rename { from, to } => {
                if let Some(inode) = names.remove(from) {
                    names.insert(to.clone(), inode);
                }
            }
            NameChange::Remove { path } => {
                names.remove(path);
            }
        }
    }
}

#[derive(Clone, Debug, Default)]
struct File {
    /// Pages that are not all zeros.
    pages: BTreeMap<u64, Page>,
    len: u64,
    durable_len: u64,
    unsynced: BTreeMap<u64, Unsynced>,
    /// Pages of which a sync failed: they can be read, and no sync covers them any more unless they
    /// are written again.
    forgotten: BTreeMap<u64, Unsynced>,
}

/// A page written since the last sync.
#[derive(Clone, Debug)]
struct Unsynced {
    durable: Option<Page>,
    /// Contents it had in between, oldest first; the newest is in `pages`.
    between: Vec<Option<Page>>,
    /// Sectors that were written, one bit each.
    sectors: u8,
}

impl File {
    fn write(&mut self, offset: u64, bytes: &[u8]) {
        let mut done = 0;
        while done < bytes.len() {
            let at = offset + done as u64;
            let (number, within) = (at / PAGE_BYTES, (at % PAGE_BYTES) as usize);
            let part = (bytes.len() - done).min(PAGE_BYTES as usize - within);
            self.write_page(number, within, &bytes[done..done + part]);
            done += part;
        }
        self.len = self.len.max(offset + bytes.len() as u64);
    }

    fn write_page(&mut self, number: u64, within: usize, bytes: &[u8]) {
        let old = self.pages.get(&number).cloned();
        if old.is_none() && bytes.iter().all(|byte| *byte == 0) {
            return;
        }
        if let Some(forgotten) = self.forgotten.remove(&number) {
            self.unsynced.insert(number, forgotten);
        }
        match self.unsynced.get_mut(&number) {
            None => {
                let first = Unsynced { durable: old.clone(), between: Vec::new(), sectors: 0 };
                self.unsynced.insert(number, first);
            }
            Some(unsynced) if unsynced.between.len() < VERSIONS_MAX => {
                unsynced.between.push(old.clone());
            }
            Some(_) => {}
        }
        let unsynced = self.unsynced.get_mut(&number).expect("it was inserted above");
        let sector = SECTOR_BYTES as usize;
        for touched in within / sector..=(within + bytes.len() - 1) / sector {
            unsynced.sectors |= 1 << touched;
        }
        let page = self.pages.entry(number).or_insert_with(zero_page);
        Arc::make_mut(page)[within..within + bytes.len()].copy_from_slice(bytes);
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) {
        let mut done = 0;
        while done < buffer.len() {
            let at = offset + done as u64;
            let (number, within) = (at / PAGE_BYTES, (at % PAGE_BYTES) as usize);
            let part = (buffer.len() - done).min(PAGE_BYTES as usize - within);
            let target = &mut buffer[done..done + part];
            match self.pages.get(&number) {
                Some(page) => target.copy_from_slice(&page[within..within + part]),
                None => target.fill(0),
            }
            done += part;
        }
    }

    fn sync(&mut self) {
        self.unsynced.clear();
        self.durable_len = self.len;
    }

    /// A sync failed as it does on Linux: everything can still be read, and counts as clean.
    fn forget(&mut self) {
        let unsynced = std::mem::take(&mut self.unsynced);
        self.forgotten.extend(unsynced);
    }

    /// Decides the fate of everything that was not synced.
    fn crash(&mut self, random: &mut Random, crash: &mut Crash) {
        let forgotten = std::mem::take(&mut self.forgotten);
        self.unsynced.extend(forgotten);
        for (number, unsynced) in std::mem::take(&mut self.unsynced) {
            let newest = self.pages.get(&number).cloned();
            let mut page = unsynced.durable.clone().unwrap_or_else(zero_page);
            let versions: Vec<&Option<Page>> =
                [&unsynced.durable].into_iter().chain(&unsynced.between).chain([&newest]).collect();
            for sector in (0..PAGE_SECTORS).filter(|sector| unsynced.sectors & (1 << sector) != 0) {
                // Half of the sectors make it in their newest content.
                let kept = random.chance(1, 2);
                let chosen = match kept {
                    true => &newest,
                    false => versions[random.below(versions.len() as u64) as usize],
                };
                *if kept { &mut crash.sectors_kept } else { &mut crash.sectors_lost } += 1;
                let (from, to) = (sector * SECTOR_BYTES, (sector + 1) * SECTOR_BYTES);
                let target = &mut Arc::make_mut(&mut page)[from as usize..to as usize];
                match chosen {
                    Some(source) => target.copy_from_slice(&source[from as usize..to as usize]),
                    None => target.fill(0),
                }
            }
            if page.iter().all(|byte| *byte == 0) {
                self.pages.remove(&number);
            } else {
                self.pages.insert(number, page);
            }
        }
        if self.len != self.durable_len && random.chance(1, 2) {
            crash.growths_lost += 1;
            self.truncate(self.durable_len);
        }
        self.durable_len = self.len;
    }

    fn truncate(&mut self, len: u64) {
        self.len = len;
        self.pages.retain(|number, _| number * PAGE_BYTES < len);
        let within = (len % PAGE_BYTES) as usize;
        if within != 0
            && let Some(page) = self.pages.get_mut(&(len / PAGE_BYTES))
        {
            Arc::make_mut(page)[within..].fill(0);
        }
    }
}

fn zero_page() -> Page {
    Arc::new([0; PAGE_BYTES as usize])
}

impl Default for SimDisk {
    fn default() -> SimDisk {
        SimDisk::new()
    }
}

impl SimDisk {
    /// An empty disk that is healthy, endless and costs nothing.
    pub fn new() -> SimDisk {
        let state = State { directories: [String::new()].into(), ..State::default() };
        SimDisk { state: Arc::new(Mutex::new(state)) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no user of a simulated disk panics while holding it")
    }

    /// Pulls the plug: unsynced sectors, names and lengths survive or not as `random` decides, and
    /// every open file is closed.
    pub fn crash(&self, random: &mut Random) -> Crash {
        self.state().crash(random)
    }

    /// The disk as one crash would leave it, while this one goes on.
    pub fn after_crash(&self, random: &mut Random) -> SimDisk {
        let mut state = self.state().clone();
        state.crash(random);
        SimDisk { state: Arc::new(Mutex::new(state)) }
    }

    /// Everything that is on the disk now.
    pub fn image(&self) -> SimImage {
        SimImage(self.state().clone())
    }

    /// Puts an old image back, as an operator does with a backup of a virtual disk.
    pub fn restore(&self, image: &SimImage) {
        *self.state() = image.0.clone();
    }

    /// Bytes that fit; files may not grow beyond. `None` is without limit.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.state().capacity = bytes;
    }

    /// Bytes that files take.
    pub fn used(&self) -> u64 {
        self.state().used()
    }

    /// Bytes that something takes which is on this disk and not among its files.
    pub fn beside(&self) -> u64 {
        self.state().beside
    }

    /// That something takes so many bytes now. Whether there is room: less than before always fits.
    pub fn take_beside(&self, bytes: u64) -> bool {
        let mut state = self.state();
        let taken = state.used() + bytes;
        let fits = bytes <= state.beside || state.capacity.is_none_or(|capacity| taken <= capacity);
        if fits {
            state.beside = bytes;
        }
        fits
    }

    /// What operations cost from now on; see [`SimDisk::take_cost`].
    pub fn set_costs(&self, costs: DiskCosts) {
        self.state().costs = Some(costs);
    }

    /// Nanoseconds that operations cost since the last call.
    pub fn take_cost(&self) -> u64 {
        std::mem::take(&mut self.state().cost_ns)
    }

    /// Syncs that were asked for so far, of files and of directories.
    pub fn syncs(&self) -> u64 {
        self.state().syncs
    }

    /// The next sync of a file whose path begins with `prefix` fails with an I/O error, and what it
    /// was to keep is lost in part. Later syncs succeed again and cover only what is written later.
    pub fn fail_next_sync(&self, prefix: &str) {
        self.state().failing_syncs.push(prefix.to_owned());
    }

    /// The same, except that the lost content can still be read until the power goes, as on Linux,
    /// where a failed sync leaves pages in memory and takes them for clean.
    pub fn forget_at_next_sync(&self, prefix: &str) {
        self.state().forgetful_syncs.push(prefix.to_owned());
    }

    /// The next write to a file whose path begins with `prefix` lands in another place of it.
    pub fn misdirect_next_write(&self, prefix: &str) {
        self.state().misdirected.push(prefix.to_owned());
    }

    /// The next read of a file whose path begins with `prefix` fails with an I/O error.
    pub fn fail_next_read(&self, prefix: &str) {
        self.state().failing_reads.push(prefix.to_owned());
    }

    /// The generator that injected faults draw from.
    pub fn set_faults(&self, random: Random) {
        self.state().faults = Some(random);
    }

    /// Flips one bit of a file at rest.
    pub fn flip_bit(&self, path: &str, offset: u64, bit: u8) {
        let mut state = self.state();
        let inode = *state.names.get(path).unwrap_or_else(|| panic!("no file {path} to damage"));
        let file = state.files.get_mut(&inode).expect("a name leads to a file");
        assert!(offset < file.len, "{path} ends at {} before {offset}", file.len);
        let page = file.pages.entry(offset / PAGE_BYTES).or_insert_with(zero_page);
        Arc::make_mut(page)[(offset % PAGE_BYTES) as usize] ^= 1 << (bit % 8);
    }

    /// The paths of all files, in order.
    pub fn paths(&self) -> Vec<String> {
        self.state().names.keys().cloned().collect()
    }
}

impl State {
    fn used(&self) -> u64 {
        self.files.values().map(|file| file.len).sum()
    }

    fn charge(&mut self, access: bool, bytes: usize) {
        if let Some(costs) = self.costs {
            let base = if access { costs.access_ns } else { costs.sync_ns };
            self.cost_ns += base + costs.kib_ns * (bytes as u64 >> 10);
        }
    }

    fn fault(&mut self) -> &mut Random {
        self.faults.get_or_insert_with(|| Random::new(1))
    }

    fn inode(&self, file: FileId) -> io::Result<u64> {
        self.open.get(&file).copied().ok_or_else(|| io::Error::other("the file was closed before"))
    }

    fn file(&mut self, file: FileId) -> io::Result<&mut File> {
        let inode = self.inode(file)?;
        Ok(self.files.get_mut(&inode).expect("an open file is kept"))
    }

    fn path_of(&self, inode: u64) -> String {
        let path = self.names.iter().find(|(_, of)| **of == inode);
        path.map_or_else(String::new, |(path, _)| path.clone())
    }

    /// Whether a fault that waits in `list` for a path prefix strikes `inode` now.
    fn strikes(&mut self, inode: u64, list: fn(&mut State) -> &mut Vec<String>) -> bool {
        if list(self).is_empty() {
            return false;
        }
        let path = self.path_of(inode);
        let waiting = list(self);
        match waiting.iter().position(|prefix| path.starts_with(prefix.as_str())) {
            Some(index) => {
                waiting.remove(index);
                true
            }
            None => false,
        }
    }

    fn grow(&mut self, inode: u64, to: u64) -> io::Result<()> {
        let now = self.files[&inode].len;
        if let Some(capacity) = self.capacity
            && to > now
            && self.used() + self.beside + (to - now) > capacity
        {
            return Err(io::Error::new(
                io::ErrorKind::StorageFull,
                format!("the simulated disk holds {capacity} bytes"),
            ));
        }
        Ok(())
    }

    fn crash(&mut self, random: &mut Random) -> Crash {
        let mut crash = Crash::default();
        self.open.clear();
        let directories: BTreeSet<String> =
            self.renames.iter().map(|change| change.directory().to_owned()).collect();
        for directory in directories {
            let changes: Vec<NameChange> =
                self.renames.iter().filter(|c| c.directory() == directory).cloned().collect();
            let kept = random.below(changes.len() as u64 + 1) as usize;
            changes[..kept].iter().for_each(|change| change.apply(&mut self.durable_names));
            crash.names_lost += (changes.len() - kept) as u64;
        }
        self.renames.clear();
        self.names = self.durable_names.clone();
        self.forget_nameless();
        self.files.values_mut().for_each(|file| file.crash(random, &mut crash));
        crash
    }

    fn forget_nameless(&mut self) {
        let kept: BTreeSet<u64> = self
            .names
            .values()
            .chain(self.durable_names.values())
            .chain(self.open.values())
            .copied()
            .collect();
        let waiting: BTreeSet<u64> = self
            .renames
            .iter()
            .filter_map(|change| match change {
                NameChange::Create { inode, .. } => Some(*inode),
                _ => None,
            })
            .collect();
        self.files.retain(|inode, _| kept.contains(inode) || waiting.contains(inode));
    }

    fn change(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.renames.push(change);
    }

    fn opened(&mut self, inode: u64) -> FileId {
        self.next += 1;
        self.open.insert(FileId(self.next), inode);
        FileId(self.next)
    }
}

fn missing(path: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("no file {path} on the simulated disk"))
}

impl Disk for SimDisk {
    fn open(&mut self, path: &str) -> io::Result<FileId> {
        let mut state = self.state();
        let inode = *state.names.get(path).ok_or_else(|| missing(path))?;
        Ok(state.opened(inode))
    }

    fn create(&mut self, path: &str) -> io::Result<FileId> {
        let mut state = self.state();
        if !state.directories.contains(parent(path)) {
            return Err(missing(parent(path)));
        }
        if state.names.contains_key(path) {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, path.to_owned()));
        }
        state.next += 1;
        let inode = state.next;
        state.files.insert(inode, File::default());
        state.change(NameChange::Create { path: path.to_owned(), inode });
        Ok(state.opened(inode))
    }

    fn close(&mut self, file: FileId) {
        self.state().open.remove(&file);
    }

    fn len(&mut self, file: FileId) -> io::Result<u64> {
        Ok(self.state().file(file)?.len)
    }

    fn read(&mut self, file: FileId, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let mut state = self.state();
        state.charge(true, buffer.len());
        let inode = state.inode(file)?;
        if state.strikes(inode, |state| &mut state.failing_reads) {
            return Err(io::Error::other("input/output error (simulated)"));
        }
        let file = state.file(file)?;
        if offset + buffer.len() as u64 > file.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        file.read(offset, buffer);
        Ok(())
    }

    fn write(&mut self, file: FileId, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        state.charge(true, bytes.len());
        let inode = state.inode(file)?;
        let mut offset = offset;
        if state.strikes(inode, |state| &mut state.misdirected) {
            let sectors = (state.files[&inode].len / SECTOR_BYTES).max(1);
            offset = state.fault().below(sectors) * SECTOR_BYTES;
        }
        state.grow(inode, offset + bytes.len() as u64)?;
        state.file(file)?.write(offset, bytes);
        Ok(())
    }

    fn write_zeros(&mut self, file: FileId, from: u64, to: u64) -> io::Result<()> {
        let mut state = self.state();
        state.charge(true, (to - from) as usize);
        let inode = state.inode(file)?;
        state.grow(inode, to)?;
        let file = state.file(file)?;
        const ZEROS: [u8; PAGE_BYTES as usize] = [0; PAGE_BYTES as usize];
        // Pages that were never written are zeros already.
        let written: Vec<u64> =
            file.pages.range(from / PAGE_BYTES..to.div_ceil(PAGE_BYTES)).map(|(n, _)| *n).collect();
        for number in written {
            let start = (number * PAGE_BYTES).max(from);
            let end = ((number + 1) * PAGE_BYTES).min(to);
            file.write(start, &ZEROS[..(end - start) as usize]);
        }
        file.len = file.len.max(to);
        Ok(())
    }

    fn sync_data(&mut self, file: FileId) -> io::Result<()> {
        let mut state = self.state();
        state.syncs += 1;
        state.charge(false, 0);
        let inode = state.inode(file)?;
        if state.strikes(inode, |state| &mut state.failing_syncs) {
            let mut random = state.fault().fork();
            state.file(file)?.crash(&mut random, &mut Crash::default());
            return Err(io::Error::other("input/output error (simulated)"));
        }
        if state.strikes(inode, |state| &mut state.forgetful_syncs) {
            state.file(file)?.forget();
            return Err(io::Error::other("input/output error (simulated)"));
        }
        state.file(file)?.sync();
        Ok(())
    }

    fn sync_dir(&mut self, directory: &str) -> io::Result<()> {
        let mut guard = self.state();
        let state = &mut *guard;
        state.syncs += 1;
        state.charge(false, 0);
        let (done, left) = std::mem::take(&mut state.renames)
            .into_iter()
            .partition(|change| change.directory() == directory);
        state.renames = left;
        let done: Vec<NameChange> = done;
        done.iter().for_each(|change| change.apply(&mut state.durable_names));
        state.forget_nameless();
        Ok(())
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        assert_eq!(parent(from), parent(to), "files are renamed within their directory");
        if !state.names.contains_key(from) {
            return Err(missing(from));
        }
        state.change(NameChange::Rename { from: from.to_owned(), to: to.to_owned() });
        Ok(())
    }

    fn remove(&mut self, path: &str) -> io::Result<()> {
        let mut state = self.state();
        if !state.names.contains_key(path) {
            return Err(missing(path));
        }
        state.change(NameChange::Remove { path: path.to_owned() });
        Ok(())
    }

    fn create_dir(&mut self, directory: &str) -> io::Result<()> {
        let mut state = self.state();
        let mut path = directory;
        while !path.is_empty() {
            state.directories.insert(path.to_owned());
            path = parent(path);
        }
        Ok(())
    }

    fn list(&mut self, directory: &str) -> io::Result<Vec<String>> {
        let state = self.state();
        if !state.directories.contains(directory) {
            return Err(missing(directory));
        }
        let inside = state.names.keys().filter(|path| parent(path) == directory);
        Ok(inside.map(|path| path.rsplit('/').next().unwrap_or(path).to_owned()).collect())
    }

    fn describe(&self, path: &str) -> String {
        path.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_synced_survives_and_the_rest_may_not() {
        let (mut kept, mut lost) = (0, 0);
        for seed in 0..64 {
            let mut disk = SimDisk::new();
            let file = disk.create("a").unwrap();
            disk.write(file, 0, &[1; 1024]).unwrap();
            disk.sync_data(file).unwrap();
            disk.sync_dir("").unwrap();
            disk.write(file, 512, &[2; 512]).unwrap();
            disk.crash(&mut Random::new(seed));
            let content = disk.read_file("a").unwrap();
            assert_eq!(content[..512], [1; 512]);
            match content[512] {
                1 => lost += 1,
                _ => kept += 1,
            }
            assert!(content[512..].iter().all(|byte| *byte == content[512]), "a torn sector");
        }
        assert!(kept > 0 && lost > 0, "{kept} kept, {lost} lost");
    }

    #[test]
    fn a_name_needs_a_directory_sync() {
        let outcomes: BTreeSet<Vec<String>> = (0..64)
            .map(|seed| {
                let mut disk = SimDisk::new();
                disk.create("a").unwrap();
                disk.sync_dir("").unwrap();
                disk.rename("a", "b").unwrap();
                disk.create("c").unwrap();
                disk.crash(&mut Random::new(seed));
                disk.paths()
            })
            .collect();
        let names = |list: &[&str]| list.iter().map(|n| n.to_string()).collect::<Vec<_>>();
        assert_eq!(outcomes, [names(&["a"]), names(&["b"]), names(&["b", "c"])].into());
    }

    #[test]
    fn a_failed_sync_loses_content_and_the_next_one_does_not_bring_it_back() {
        let mut disk = SimDisk::new();
        let file = disk.create("a").unwrap();
        disk.sync_dir("").unwrap();
        disk.write_zeros(file, 0, 1 << 16).unwrap();
        disk.sync_data(file).unwrap();
        disk.write(file, 0, &[1; 1 << 16]).unwrap();
        disk.fail_next_sync("a");
        assert!(disk.sync_data(file).is_err());
        disk.sync_data(file).unwrap();
        assert!(disk.read_file("a").unwrap().contains(&0));
    }

    #[test]
    fn what_a_failed_sync_forgot_is_kept_only_if_it_is_written_again() {
        let content = |again: bool| {
            let mut disk = SimDisk::new();
            let file = disk.create("a").unwrap();
            disk.sync_dir("").unwrap();
            disk.write_zeros(file, 0, 1 << 16).unwrap();
            disk.sync_data(file).unwrap();
            disk.write(file, 0, &[1; 1 << 16]).unwrap();
            disk.forget_at_next_sync("a");
            assert!(disk.sync_data(file).is_err());
            assert!(!disk.read_file("a").unwrap().contains(&0), "it can still be read");
            if again {
                disk.write(file, 0, &[1; 1 << 16]).unwrap();
            }
            disk.sync_data(file).unwrap();
            disk.crash(&mut Random::new(3));
            disk.read_file("a").unwrap()
        };
        assert!(content(false).contains(&0));
        assert!(!content(true).contains(&0));
    }

    #[test]
    fn a_read_that_fails_says_so_and_the_next_one_may_not() {
        let mut disk = SimDisk::new();
        let file = disk.create("a").unwrap();
        disk.write(file, 0, &[7; 512]).unwrap();
        disk.fail_next_read("a");
        assert!(disk.read_file("a").is_err());
        assert_eq!(disk.read_file("a").unwrap(), [7; 512]);
    }

    #[test]
    fn a_full_disk_refuses_growth_and_nothing_else() {
        let mut disk = SimDisk::new();
        disk.set_capacity(Some(1024));
        let file = disk.create("a").unwrap();
        disk.write_zeros(file, 0, 1024).unwrap();
        assert!(super::super::is_full(&disk.write(file, 1024, &[1]).unwrap_err()));
        disk.write(file, 1000, &[1; 24]).unwrap();
        disk.remove("a").unwrap();
        disk.close(file);
        disk.sync_dir("").unwrap();
        disk.create("b").unwrap();
        assert_eq!(disk.used(), 0);
    }
}
