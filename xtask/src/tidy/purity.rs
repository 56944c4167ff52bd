//! Pure crates all carry the same `clippy.toml`, and lift its rules only where listed here.
//!
//! A `clippy.toml` in a crate's folder replaces the workspace's, so a crate without its copy, or
//! with an edited one, would quietly play by other rules.

use super::{Problem, Source};

/// The crates that know no clock, thread, socket or file. `storage` is one of them but for the
/// modules in [`EXEMPT`].
pub const PURE: &[&str] =
    &["base", "protocols", "storage", "wire", "service", "node", "gateway", "sim"];

/// Files of pure crates that may lift a rule, each for its reason.
pub const EXEMPT: &[(&str, &str)] = &[
    ("crates/storage/src/disk/real.rs", "the one Disk that is made of files"),
    ("crates/storage/src/tables/lsm.rs", "lsm-tree opens its own files in a folder"),
    ("crates/storage/src/tables/squeeze.rs", "it tells lsm-tree how to merge those files"),
    ("crates/storage/src/tables/full.rs", "a test of them on a file system that is full"),
    ("crates/storage/src/tables/reserve.rs", "the reserve is a file beside those"),
    (
        "crates/storage/src/directory.rs",
        "the lock that keeps a second process out is a real file's",
    ),
];

/// Checks the copies, and that no other file lifts a rule. Tests may: they read scripts from files.
pub fn check(sources: &[Source]) -> Vec<Problem> {
    let mut problems = Vec::new();
    let copy = |room: &str| {
        let path = format!("crates/{room}/clippy.toml");
        sources.iter().find(|source| source.path == path).map(|source| &source.text)
    };
    let first = copy(PURE[0]);
    for room in PURE {
        let path = format!("crates/{room}/clippy.toml");
        match copy(room) {
            None => problems.push(Problem::in_file(&path, "missing: a pure crate carries it")),
            text if text != first => problems.push(Problem::in_file(
                &path,
                format!("differs from crates/{}/clippy.toml; pure crates share one", PURE[0]),
            )),
            Some(_) => {}
        }
    }
    problems.extend(sources.iter().filter(|source| bound(&source.path)).flat_map(lifted));
    problems
}

/// Whether a file must keep the rules.
fn bound(path: &str) -> bool {
    let pure = PURE.iter().any(|room| path.starts_with(&format!("crates/{room}/src/")));
    let test = path.ends_with("/tests.rs") || path.contains("/tests/");
    pure && !test && path.ends_with(".rs") && !EXEMPT.iter().any(|(exempt, _)| path == *exempt)
}

/// The lines where a file lifts a rule.
fn lifted(source: &Source) -> Vec<Problem> {
    let lifts = |line: &str| {
        (line.contains("allow(") || line.contains("expect(")) && line.contains("clippy::disallowed")
    };
    let tests = source.text.lines().position(|line| line.trim() == "#[cfg(test)]");
    let message = "lifts a rule of pure crates; move this out, or list the file in purity.rs";
    let lines = source.text.lines().enumerate();
    lines
        .filter(|(index, line)| lifts(line) && tests.is_none_or(|tests| *index < tests))
        .map(|(index, _)| Problem::in_line(&source.path, index + 1, message))
        .collect()
}

/// The paths that a `clippy.toml` disallows, with the table they are in.
pub fn rules(text: &str) -> Vec<(&str, &str)> {
    let mut table = "";
    let mut rules = Vec::new();
    for line in text.lines() {
        if let Some((key, _)) = line.split_once(" = [") {
            table = key;
        } else if let Some(path) = line.split("path = \"").nth(1).and_then(|s| s.split('"').next())
        {
            rules.push((table, path));
        }
    }
    rules
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copies() -> Vec<Source> {
        PURE.iter()
            .map(|room| Source::new(&format!("crates/{room}/clippy.toml"), "same = true\n"))
            .collect()
    }

    #[test]
    fn equal_copies_pass() {
        assert_eq!(check(&copies()), []);
    }

    #[test]
    fn an_edited_copy_is_a_problem() {
        let mut copies = copies();
        copies[3].text.push(' ');
        let found = check(&copies);
        assert_eq!(found.len(), 1);
        assert!(found[0].to_string().starts_with("crates/wire/clippy.toml: differs"));
    }

    #[test]
    fn a_missing_copy_is_a_problem() {
        let mut copies = copies();
        copies.remove(5);
        assert_eq!(check(&copies)[0].to_string().find("crates/node/clippy.toml: missing"), Some(0));
    }

    #[test]
    fn lifting_a_rule_is_a_problem_outside_of_the_list_and_of_tests() {
        let lift = "#![allow(clippy::disallowed_types)]\n";
        for (path, text, problems) in [
            ("crates/node/src/turn.rs", lift.to_string(), 1),
            ("crates/storage/src/disk/real.rs", lift.to_string(), 0),
            ("crates/node/tests/scripts.rs", lift.to_string(), 0),
            ("crates/node/src/turn/tests.rs", lift.to_string(), 0),
            ("crates/node/src/turn.rs", format!("#[cfg(test)]\nmod tests {{\n{lift}}}\n"), 0),
            ("crates/runtime/src/disk.rs", lift.to_string(), 0),
        ] {
            let mut sources = copies();
            sources.push(Source::new(path, &text));
            assert_eq!(check(&sources).len(), problems, "{path}");
        }
    }
}
