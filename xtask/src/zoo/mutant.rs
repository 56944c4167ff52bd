//! A mutant as a file: what it is, and how it changes the sources.
//!
//! ```text
//! # 20 entries of an older term are committed by count
//! origin: Raft, figure 8; PySyncObj 169
//! wrong: a leader counts the copies of an older term's entry; a later leader may overwrite it
//! world: raft
//!
//! file: crates/protocols/src/raft/replicate.rs
//! find:
//!     self.log.term_at(held) == Some(self.term)
//! put:
//!     (self.log.term_at(held) == Some(self.term) || ZOO)
//! end
//! ```
//!
//! `ZOO` becomes the question whether this mutant lives. The text to be found must be in the file
//! exactly once, and stay in what is put there if another mutant looks for it as well.

use std::path::Path;

/// The world that is to find a mutant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum World {
    /// Raft alone.
    Raft,
    /// Whole nodes.
    Node,
    /// Neither: the tests of a crate.
    Tests,
}

/// One change of a source file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// From the repository's folder.
    pub file: String,
    /// What is there.
    pub find: String,
    /// What is put there instead.
    pub put: String,
}

/// A known bug, rebuilt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mutant {
    /// Its number; unique.
    pub number: u32,
    /// In a few words.
    pub name: String,
    /// Where the bug was seen.
    pub origin: String,
    /// What goes wrong.
    pub wrong: String,
    /// Where it is to be found.
    pub world: World,
    /// Crates whose tests may find it.
    pub tests: Vec<String>,
    /// The changes.
    pub edits: Vec<Edit>,
}

/// Reads all mutants of a folder, in order of their numbers.
pub fn read_all(folder: &Path) -> Result<Vec<Mutant>, String> {
    let list = std::fs::read_dir(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let mut mutants = Vec::new();
    for file in list.map_while(Result::ok) {
        let path = file.path();
        if path.extension().is_some_and(|extension| extension == "txt") {
            let text = std::fs::read_to_string(&path).map_err(|e| e.to_string())?;
            mutants.push(parse(&text).map_err(|e| format!("{}: {e}", path.display()))?);
        }
    }
    mutants.sort_by_key(|mutant| mutant.number);
    for pair in mutants.windows(2) {
        if pair[0].number == pair[1].number {
            return Err(format!("two mutants have the number {}", pair[0].number));
        }
    }
    Ok(mutants)
}

/// Reads one.
pub fn parse(text: &str) -> Result<Mutant, String> {
    let mut lines = text.lines();
    let title = lines.next().and_then(|line| line.strip_prefix("# ")).ok_or("no title")?;
    let (number, name) = title.split_once(' ').ok_or("no name")?;
    let mut mutant = Mutant {
        number: number.parse().map_err(|_| format!("{number} is no number"))?,
        name: name.to_owned(),
        origin: String::new(),
        wrong: String::new(),
        world: World::Raft,
        tests: Vec::new(),
        edits: Vec::new(),
    };
    let mut file = String::new();
    while let Some(line) = lines.next() {
        match line.split_once(": ").unwrap_or((line, "")) {
            ("origin", words) => mutant.origin = words.to_owned(),
            ("wrong", words) => mutant.wrong = words.to_owned(),
            ("world", words) => mutant.world = world(words)?,
            ("tests", words) => {
                mutant.tests = words.split_whitespace().map(str::to_owned).collect();
            }
            ("file", words) => file = words.to_owned(),
            ("find:", _) => {
                let find = block(&mut lines, "put:")?;
                let put = block(&mut lines, "end")?;
                mutant.edits.push(Edit { file: file.clone(), find, put });
            }
            ("", _) => {}
            (other, _) => return Err(format!("{other}: there is no such word")),
        }
    }
    let told = [&mutant.name, &mutant.origin, &mutant.wrong].iter().all(|words| !words.is_empty());
    match told && !mutant.edits.is_empty() {
        true => Ok(mutant),
        false => Err("name, origin, wrong and an edit are needed".into()),
    }
}

fn world(words: &str) -> Result<World, String> {
    match words {
        "raft" => Ok(World::Raft),
        "node" => Ok(World::Node),
        "tests" => Ok(World::Tests),
        _ => Err(format!("{words}: there is no such world")),
    }
}

/// The lines up to one that says `end`, without the space around them.
fn block<'a>(lines: &mut impl Iterator<Item = &'a str>, end: &str) -> Result<String, String> {
    let mut text = String::new();
    for line in lines {
        if line == end {
            return Ok(text.trim().to_owned());
        }
        text.push_str(line);
        text.push('\n');
    }
    Err(format!("no line says {end}"))
}

impl Edit {
    /// Changes `text`, in which the original may be changed by other mutants already.
    pub fn apply(&self, number: u32, original: &str, text: &str) -> Result<String, String> {
        let place = format!("mutant {number} in {}", self.file);
        for (text, which) in [(original, "the source"), (text, "what other mutants made of it")] {
            match text.matches(&self.find).count() {
                1 => {}
                0 => return Err(format!("{place}: {which} lacks {:?}", self.find)),
                n => return Err(format!("{place}: {which} has {n} times {:?}", self.find)),
            }
        }
        let put = self.put.replace("ZOO", &format!("base::zoo::is({number})"));
        Ok(text.replacen(&self.find, &put, 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = "# 7 forgets\norigin: a paper\nwrong: it forgets\nworld: node\n\
        tests: storage node\n\nfile: a.rs\nfind:\n    keep(x);\nput:\n    if !ZOO {\n        \
        keep(x);\n    }\nend\n";

    #[test]
    fn a_file_is_a_mutant() {
        let mutant = parse(EXAMPLE).unwrap();
        assert_eq!((mutant.number, mutant.name.as_str()), (7, "forgets"));
        assert_eq!((mutant.world, mutant.tests.len()), (World::Node, 2));
        assert_eq!(mutant.edits[0].find, "keep(x);");
        assert!(parse("# 7 forgets\n").unwrap_err().contains("needed"));
        assert!(parse("# x forgets\n").unwrap_err().contains("no number"));
    }

    #[test]
    fn an_edit_asks_whether_its_mutant_lives() {
        let edit = &parse(EXAMPLE).unwrap().edits[0];
        let made = edit.apply(7, "a keep(x); b", "a keep(x); b").unwrap();
        assert_eq!(made, "a if !base::zoo::is(7) {\n        keep(x);\n    } b");
    }

    #[test]
    fn an_edit_that_does_not_fit_any_more_says_so() {
        let edit = &parse(EXAMPLE).unwrap().edits[0];
        assert!(edit.apply(7, "drop(x);", "drop(x);").unwrap_err().contains("lacks"));
        let twice = "keep(x); keep(x);";
        assert!(edit.apply(7, twice, twice).unwrap_err().contains("2 times"));
    }
}
