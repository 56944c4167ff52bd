//! What a disk may hold after a crash.
//!
//! A [`Platter`] follows the operations on a directory tree and keeps apart what is durable and
//! what was only asked for. Pulling the plug leaves an [`Image`]: all that is durable, and of the
//! rest whatever an adversary picks, each part by itself:
//!
//! - each sector of a file that was written and not synced has its old content or any it was given
//!   since;
//! - each file has its durable length or any it was given since; what lies beyond is gone;
//! - each change of a name (created, renamed, removed) that no sync of its directory covered
//!   happened or did not.
//!
//! That is more than most file systems do. Syncing a file keeps its content, not its name; names
//! are not kept in order. Sectors of 512 bytes are whole, old or new, unless torn ones are asked
//! for.

use base::Random;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const SECTOR: usize = underpin_storage::disk::SECTOR_BYTES as usize;

/// Which file, whatever it is called.
pub type Inode = u64;

/// One operation on the tree, as it succeeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    MakeDir { path: String },
    Create { path: String, inode: Inode },
    Rename { from: String, to: String },
    Remove { path: String },
    Write { inode: Inode, offset: u64, bytes: Vec<u8> },
    SetLen { inode: Inode, len: u64 },
    SyncFile { inode: Inode },
    SyncDir { path: String },
}

impl Op {
    /// Whether something is durable once it returned.
    pub fn is_sync(&self) -> bool {
        matches!(self, Op::SyncFile { .. } | Op::SyncDir { .. })
    }
}

/// The directory part of a path.
fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(directory, _)| directory)
}

/// Files and directories as somebody would find them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Image {
    pub directories: BTreeSet<String>,
    pub files: BTreeMap<String, Arc<Vec<u8>>>,
}

/// What a name leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    File(Inode),
    Directory,
}

/// A change of names that one crash keeps or loses as a whole.
#[derive(Clone, Debug)]
struct NameChange {
    gone: Option<String>,
    put: Option<(String, Target)>,
}

#[derive(Clone, Debug)]
enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    SetLen(usize),
}

#[derive(Clone, Debug, Default)]
struct File {
    durable: Arc<Vec<u8>>,
    pending: Vec<Change>,
}

#[derive(Clone, Debug, Default)]
struct Directory {
    durable: BTreeMap<String, Target>,
    pending: Vec<NameChange>,
}

/// A disk, with what is durable on it and what is not yet.
#[derive(Clone, Debug, Default)]
pub struct Platter {
    files: BTreeMap<Inode, File>,
    directories: BTreeMap<String, Directory>,
    /// What a running process sees.
    names: BTreeMap<String, Target>,
}

impl Platter {
    /// A disk on which all of `image` is durable. Files are numbered from 1 in order of their paths.
    pub fn of(image: &Image) -> Platter {
        let mut platter = Platter::default();
        platter.directories.insert(String::new(), Directory::default());
        for path in image.directories.iter().filter(|path| !path.is_empty()) {
            platter.apply(&Op::MakeDir { path: path.clone() });
        }
        for (inode, (path, content)) in (1..).zip(&image.files) {
            platter.apply(&Op::Create { path: path.clone(), inode });
            platter.files.insert(inode, File { durable: content.clone(), pending: Vec::new() });
        }
        platter.directories.values_mut().for_each(Directory::sync);
        platter
    }

    /// Follows an operation.
    pub fn apply(&mut self, op: &Op) {
        match op {
            Op::MakeDir { path } => {
                self.directories.entry(path.clone()).or_default();
                self.rename(None, Some((path.clone(), Target::Directory)));
            }
            Op::Create { path, inode } => {
                self.files.insert(*inode, File::default());
                self.rename(None, Some((path.clone(), Target::File(*inode))));
            }
            Op::Rename { from, to } => {
                let target = self.names.get(from);
                let target = *target.unwrap_or_else(|| panic!("{from} is renamed and not there"));
                self.rename(Some(from.clone()), Some((to.clone(), target)));
            }
            Op::Remove { path } => self.rename(Some(path.clone()), None),
            Op::Write { inode, offset, bytes } => {
                let (offset, bytes) = (*offset as usize, bytes.clone());
                self.file(*inode).pending.push(Change::Write { offset, bytes });
            }
            Op::SetLen { inode, len } => {
                self.file(*inode).pending.push(Change::SetLen(*len as usize));
            }
            Op::SyncFile { inode } => self.file(*inode).sync(),
            Op::SyncDir { path } => {
                let directory = self.directories.get_mut(path);
                directory.unwrap_or_else(|| panic!("no directory {path} to sync")).sync();
            }
        }
    }

    fn file(&mut self, inode: Inode) -> &mut File {
        self.files.get_mut(&inode).unwrap_or_else(|| panic!("no file {inode}"))
    }

    fn rename(&mut self, gone: Option<String>, put: Option<(String, Target)>) {
        let place = gone.as_ref().or(put.as_ref().map(|(path, _)| path)).expect("one of the two");
        let directory = parent(place).to_owned();
        let change = NameChange { gone, put };
        change.apply(&mut self.names);
        let directory = self.directories.get_mut(&directory);
        directory.expect("a file is in a directory").pending.push(change);
    }

    /// The tree as a running process sees it.
    pub fn seen(&self) -> Image {
        let content = |inode: &Inode| Arc::new(self.files[inode].newest());
        Image::of(&self.names, content)
    }

    /// How many images a crash may leave at most, if that can be counted.
    pub fn possibilities(&self) -> Option<u64> {
        let mut dice = Dice::All(Odometer::default());
        self.after_crash(&mut dice);
        let Dice::All(odometer) = dice else { unreachable!("it stays what it is") };
        odometer.digits.iter().try_fold(1u64, |product, (_, of)| product.checked_mul(*of))
    }

    /// Every image that a crash may leave if there are no more than `limit`; otherwise `samples` of
    /// them, those closest to nothing and to everything first. With `torn`, half as many follow in
    /// which sectors may be torn. No image comes twice.
    pub fn images(&self, plan: &Plan, mut visit: impl FnMut(Image)) {
        let mut seen = BTreeSet::new();
        let mut show = |image: Image| {
            if seen.insert(fingerprint(&image)) {
                visit(image);
            }
        };
        let mut random = Random::new(plan.seed);
        match self.possibilities() {
            Some(count) if count <= plan.limit => {
                let mut dice = Dice::All(Odometer::default());
                loop {
                    show(self.after_crash(&mut dice));
                    let Dice::All(odometer) = &mut dice else { unreachable!("it stays so") };
                    if !odometer.turn() {
                        break;
                    }
                }
            }
            _ => {
                for lean in [Lean::Nothing, Lean::Everything] {
                    show(self.after_crash(&mut Dice::Drawn(random.fork(), lean, false)));
                }
                for sample in 0..plan.samples {
                    let lean = [Lean::AlmostNothing, Lean::AlmostAll, Lean::Even, Lean::Names]
                        [sample as usize % 4];
                    show(self.after_crash(&mut Dice::Drawn(random.fork(), lean, false)));
                }
            }
        }
        if plan.torn {
            for _ in 0..(plan.samples / 2).min(self.possibilities().unwrap_or(u64::MAX)) {
                show(self.after_crash(&mut Dice::Drawn(random.fork(), Lean::Even, true)));
            }
        }
    }

    fn after_crash(&self, dice: &mut Dice) -> Image {
        let mut names: BTreeMap<String, Target> = BTreeMap::new();
        for directory in self.directories.values() {
            let mut inside = directory.durable.clone();
            for change in &directory.pending {
                if dice.pick(2, Kind::Name) == 1 {
                    change.apply(&mut inside);
                }
            }
            names.extend(inside);
        }
        // Whoever lost its directory is lost.
        let reachable = |path: &str| {
            let mut up = parent(path);
            while !up.is_empty() && names.get(up) == Some(&Target::Directory) {
                up = parent(up);
            }
            up.is_empty()
        };
        let found: BTreeMap<String, Target> = names
            .iter()
            .filter(|(path, _)| reachable(path))
            .map(|(p, t)| (p.clone(), *t))
            .collect();
        // Of every file that may have a name, so that each crash asks the dice the same questions.
        let contents: BTreeMap<Inode, Arc<Vec<u8>>> = self
            .nameable()
            .into_iter()
            .map(|inode| (inode, self.files[&inode].after_crash(dice)))
            .collect();
        Image::of(&found, |inode| contents[inode].clone())
    }

    /// The files that a crash may leave under some name.
    fn nameable(&self) -> BTreeSet<Inode> {
        let durable = self.directories.values().flat_map(|inside| inside.durable.values());
        let pending = self.directories.values().flat_map(|inside| &inside.pending);
        let put = pending.filter_map(|change| change.put.as_ref().map(|(_, target)| target));
        let file = |target: &Target| match target {
            Target::File(inode) => Some(*inode),
            Target::Directory => None,
        };
        durable.chain(put).filter_map(file).collect()
    }
}

impl Image {
    fn of(names: &BTreeMap<String, Target>, content: impl Fn(&Inode) -> Arc<Vec<u8>>) -> Image {
        let mut image = Image::default();
        for (path, target) in names {
            match target {
                Target::Directory => {
                    image.directories.insert(path.clone());
                }
                Target::File(inode) => {
                    image.files.insert(path.clone(), content(inode));
                }
            }
        }
        image
    }
}

fn fingerprint(image: &Image) -> u128 {
    let mut hash = xxhash_rust::xxh3::Xxh3::new();
    for path in &image.directories {
        hash.update(path.as_bytes());
        hash.update(b"/");
    }
    for (path, content) in &image.files {
        hash.update(path.as_bytes());
        hash.update(&(content.len() as u64).to_le_bytes());
        hash.update(content);
    }
    hash.digest128()
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, Target>) {
        if let Some(path) = &self.gone {
            names.remove(path);
        }
        if let Some((path, target)) = &self.put {
            names.insert(path.clone(), *target);
        }
    }
}

impl Directory {
    fn sync(&mut self) {
        for change in std::mem::take(&mut self.pending) {
            change.apply(&mut self.durable);
        }
    }
}

impl File {
    fn sync(&mut self) {
        if !self.pending.is_empty() {
            self.durable = Arc::new(self.newest());
            self.pending.clear();
        }
    }

    fn newest(&self) -> Vec<u8> {
        let mut content = (*self.durable).clone();
        self.pending.iter().for_each(|change| change.apply(&mut content));
        content
    }

    /// Every length it had, and every content that each sector had, since the last sync.
    fn versions(&self) -> (Vec<usize>, BTreeMap<usize, Vec<Vec<u8>>>) {
        let mut content = (*self.durable).clone();
        let mut lengths = vec![content.len()];
        let mut sectors: BTreeMap<usize, Vec<Vec<u8>>> = BTreeMap::new();
        for change in &self.pending {
            let (from, to) = change.touched(content.len());
            let before: Vec<Vec<u8>> = (from..to).map(|n| sector(&content, n)).collect();
            change.apply(&mut content);
            for (number, before) in (from..to).zip(before) {
                let now = sector(&content, number);
                let versions = sectors.entry(number).or_insert_with(|| vec![before]);
                if !versions.contains(&now) {
                    versions.push(now);
                }
            }
            if lengths.last() != Some(&content.len()) {
                lengths.push(content.len());
            }
        }
        (lengths, sectors)
    }

    fn after_crash(&self, dice: &mut Dice) -> Arc<Vec<u8>> {
        if self.pending.is_empty() {
            return self.durable.clone();
        }
        let (lengths, sectors) = self.versions();
        let len = lengths[dice.pick(lengths.len(), Kind::Length)];
        let longest = *lengths.iter().max().expect("it has a length");
        let mut content = (*self.durable).clone();
        content.resize(longest.next_multiple_of(SECTOR), 0);
        for (number, versions) in sectors.iter().filter(|(_, versions)| versions.len() > 1) {
            let chosen = dice.sector(versions);
            content[number * SECTOR..][..SECTOR].copy_from_slice(&chosen);
        }
        content.truncate(len);
        Arc::new(content)
    }
}

fn sector(content: &[u8], number: usize) -> Vec<u8> {
    let start = (number * SECTOR).min(content.len());
    let mut sector = content[start..(start + SECTOR).min(content.len())].to_vec();
    sector.resize(SECTOR, 0);
    sector
}

impl Change {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Change::Write { offset, bytes } => {
                if content.len() < offset + bytes.len() {
                    content.resize(offset + bytes.len(), 0);
                }
                content[*offset..][..bytes.len()].copy_from_slice(bytes);
            }
            Change::SetLen(len) => content.resize(*len, 0),
        }
    }

    /// The sectors whose content it may change in a file of `len` bytes.
    fn touched(&self, len: usize) -> (usize, usize) {
        match self {
            Change::Write { bytes, .. } if bytes.is_empty() => (0, 0),
            Change::Write { offset, bytes } => {
                (offset / SECTOR, (offset + bytes.len()).div_ceil(SECTOR))
            }
            Change::SetLen(to) if *to < len => (to / SECTOR, len.div_ceil(SECTOR)),
            Change::SetLen(_) => (0, 0),
        }
    }
}

/// How many images to look at.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Up to so many possibilities are all looked at.
    pub limit: u64,
    /// Of more than that, so many are drawn.
    pub samples: u64,
    /// Whether to look at torn sectors too.
    pub torn: bool,
    /// Where the draw begins.
    pub seed: u64,
}

/// What a choice is about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Name,
    Length,
    Sector,
}

/// Towards what a draw leans.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lean {
    Nothing,
    Everything,
    AlmostNothing,
    AlmostAll,
    Even,
    /// All content is there, names are anyone's guess.
    Names,
}

/// Goes through all combinations of some choices, each crash asking for them in the same order.
#[derive(Default)]
struct Odometer {
    /// What was chosen, and of how many.
    digits: Vec<(u64, u64)>,
    asked: usize,
}

impl Odometer {
    fn pick(&mut self, of: usize) -> usize {
        if self.asked == self.digits.len() {
            self.digits.push((0, of as u64));
        }
        let (chosen, known) = self.digits[self.asked];
        assert_eq!(known, of as u64, "every crash asks the same questions");
        self.asked += 1;
        chosen as usize
    }

    /// On to the next combination; false after the last.
    fn turn(&mut self) -> bool {
        self.asked = 0;
        for (chosen, of) in &mut self.digits {
            *chosen += 1;
            if *chosen < *of {
                return true;
            }
            *chosen = 0;
        }
        false
    }
}

/// Makes the choices of a crash.
enum Dice {
    /// Each combination in turn.
    All(Odometer),
    Drawn(Random, Lean, bool),
}

impl Dice {
    /// One of `of` possibilities, oldest first.
    fn pick(&mut self, of: usize, kind: Kind) -> usize {
        match self {
            Dice::All(odometer) => odometer.pick(of),
            Dice::Drawn(random, lean, _) => {
                let newest = of - 1;
                let any = |random: &mut Random| random.below(of as u64) as usize;
                match lean {
                    Lean::Nothing => 0,
                    Lean::Everything => newest,
                    Lean::AlmostNothing if random.chance(7, 8) => 0,
                    Lean::AlmostAll if random.chance(7, 8) => newest,
                    Lean::Names if kind != Kind::Name => newest,
                    _ => any(random),
                }
            }
        }
    }

    fn sector(&mut self, versions: &[Vec<u8>]) -> Vec<u8> {
        let chosen = versions[self.pick(versions.len(), Kind::Sector)].clone();
        let Dice::Drawn(random, _, true) = self else { return chosen };
        if random.chance(1, 2) {
            return chosen;
        }
        let other = random.pick(versions).expect("there is one");
        let cut = random.below(SECTOR as u64) as usize;
        [&chosen[..cut], &other[cut..]].concat()
    }
}
