//! The copy of the workspace in which every mutant is present.
//!
//! It lies in `target/zoo/src` and is brought up to date file by file, so that an unchanged source
//! is not built again. Dependencies are found built in the ordinary target folder. In it our crates have another version, see `rename`.

use super::mutant::Mutant;
use crate::{root, target};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Crates whose own assertions can be switched off.
const CORES: &[&str] = &["protocols", "storage", "service", "node"];

/// What is copied.
const PARTS: &[&str] = &[
    "Cargo.toml",
    "Cargo.lock",
    "crates",
    "zoo",
    "xtask",
    "e2e",
    "bench",
    "chaos",
    "models",
    "campaign",
    "fuzz/bodies",
];

/// Where the copy lies.
pub fn folder() -> PathBuf {
    target().join("zoo/src")
}

/// Makes the copy, or brings it up to date.
pub fn make(mutants: &[Mutant]) -> Result<(), String> {
    let mut files = BTreeMap::new();
    for part in PARTS {
        gather(&root(), Path::new(part), &mut files)?;
    }
    mutate(mutants, &mut files)?;
    add_switch(&mut files)?;
    rename(&mut files);
    for (path, text) in &mut files {
        if is_core(path) {
            *text = quiet(text);
        }
    }
    write(&folder(), &files)
}

type Files = BTreeMap<String, String>;

fn gather(root: &Path, path: &Path, files: &mut Files) -> Result<(), String> {
    let full = root.join(path);
    if full.is_file() {
        // Corpora and images are no sources.
        if let Ok(text) = fs::read_to_string(&full) {
            files.insert(path.to_string_lossy().into_owned(), text);
        }
        return Ok(());
    }
    let list = fs::read_dir(&full).map_err(|e| format!("{}: {e}", full.display()))?;
    for entry in list.map_while(Result::ok) {
        if entry.file_name() != "target" {
            gather(root, &path.join(entry.file_name()), files)?;
        }
    }
    Ok(())
}

fn mutate(mutants: &[Mutant], files: &mut Files) -> Result<(), String> {
    let originals = files.clone();
    for mutant in mutants {
        for edit in &mutant.edits {
            let missing = || format!("mutant {}: there is no {}", mutant.number, edit.file);
            let original = originals.get(&edit.file).ok_or_else(missing)?;
            let text = files.get_mut(&edit.file).ok_or_else(missing)?;
            *text = edit.apply(mutant.number, original, text)?;
        }
    }
    Ok(())
}

/// The switch becomes a module of `base`, which all crates see.
fn add_switch(files: &mut Files) -> Result<(), String> {
    let switch = files.get("zoo/src/switch.rs").ok_or("zoo/src/switch.rs is missing")?.clone();
    files.insert("crates/base/src/zoo.rs".into(), switch);
    let base = files.get_mut("crates/base/src/lib.rs").ok_or("base is missing")?;
    *base = base.replacen("pub mod time;", "pub mod time;\npub mod zoo;", 1);
    let runner = files.get_mut("zoo/src/main.rs").ok_or("zoo/src/main.rs is missing")?;
    *runner = runner.replacen("mod switch;", "use base::zoo as switch;", 1);
    Ok(())
}

/// Cargo tells crates of one name and version apart by their place within the workspace only, which
/// is the same here: without another version, this build and the ordinary one would each take the
/// other's crates for its own.
fn rename(files: &mut Files) {
    let version = |text: &mut String| {
        *text = text.replacen("\nversion = \"0.1.0\"", "\nversion = \"0.1.0-zoo\"", 1);
    };
    files.entry("Cargo.toml".into()).and_modify(version);
    if let Some(lock) = files.get_mut("Cargo.lock") {
        let ours = |block: &str| block.contains("name = \"underpin") || block.contains("\"xtask\"");
        let blocks = lock.split("\n\n").map(|block| {
            let mut block = block.to_owned();
            if ours(&block) && !block.contains("\nsource = ") {
                version(&mut block);
            }
            block
        });
        *lock = blocks.collect::<Vec<_>>().join("\n\n");
    }
    files.entry("zoo/Cargo.toml".into()).and_modify(|text| {
        text.push_str("\n[[bin]]\nname = \"underpin-zoo-mutants\"\npath = \"src/main.rs\"\n");
    });
}

fn is_core(path: &str) -> bool {
    path.ends_with(".rs")
        && CORES.iter().any(|core| path.starts_with(&format!("crates/{core}/src/")))
}

/// Assertions that can be switched off.
fn quiet(text: &str) -> String {
    let mut made = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("assert") {
        let (before, from) = rest.split_at(at);
        let word =
            ["assert!(", "assert_eq!(", "assert_ne!("].iter().find(|w| from.starts_with(**w));
        let alone = !before.ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':');
        made.push_str(before);
        if let Some(word) = word.filter(|_| alone) {
            made.push_str("base::zoo_");
            made.push_str(word);
            rest = &from[word.len()..];
        } else {
            made.push_str("assert");
            rest = &from["assert".len()..];
        }
    }
    made.push_str(rest);
    made
}

/// Writes what changed, and removes what is no more.
fn write(folder: &Path, files: &Files) -> Result<(), String> {
    for (path, text) in files {
        let path = folder.join(path);
        if fs::read_to_string(&path).is_ok_and(|there| there == *text) {
            continue;
        }
        let parent = path.parent().expect("it lies in the copy");
        fs::create_dir_all(parent).map_err(|e| format!("{}: {e}", parent.display()))?;
        fs::write(&path, text).map_err(|e| format!("{}: {e}", path.display()))?;
    }
    let wanted: BTreeSet<PathBuf> = files.keys().map(|path| folder.join(path)).collect();
    remove_others(folder, &wanted)
}

fn remove_others(folder: &Path, wanted: &BTreeSet<PathBuf>) -> Result<(), String> {
    let list = fs::read_dir(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    for path in list.map_while(Result::ok).map(|entry| entry.path()) {
        if path.is_dir() {
            remove_others(&path, wanted)?;
        } else if !wanted.contains(&path) {
            fs::remove_file(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_assertions_are_made_quiet() {
        let text = "assert!(a); prop_assert!(b); debug_assert!(c); assert_eq!(d, e); fn asserts()";
        let made = "base::zoo_assert!(a); prop_assert!(b); debug_assert!(c); \
                    base::zoo_assert_eq!(d, e); fn asserts()";
        assert_eq!(quiet(text), made);
    }

    /// What CI checks first: each mutant still fits the sources.
    #[test]
    fn every_mutant_applies() {
        let mutants = super::super::mutant::read_all(&root().join("zoo/mutants")).unwrap();
        assert!(mutants.len() >= 40, "{} mutants", mutants.len());
        let mut files = Files::new();
        for part in ["crates", "zoo"] {
            gather(&root(), Path::new(part), &mut files).unwrap();
        }
        mutate(&mutants, &mut files).unwrap();
        for mutant in &mutants {
            let asks = format!("base::zoo::is({})", mutant.number);
            let any = mutant.edits.iter().any(|edit| files[&edit.file].contains(&asks));
            assert!(any, "{} asks nothing", mutant.number);
        }
    }
}
