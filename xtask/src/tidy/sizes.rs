//! How long the files are: a report, not a rule.

use super::Source;
use std::collections::BTreeMap;

/// Files longer than this many lines are listed.
const LONG: usize = 500;

/// Lines of Rust by crate, and the long files.
pub fn report(sources: &[Source]) -> String {
    let mut crates: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    let mut long = Vec::new();
    for source in sources.iter().filter(|source| source.is_rust()) {
        let lines = source.text.lines().count();
        let path = source.path.strip_prefix("crates/").unwrap_or(&source.path);
        let room = crates.entry(path.split('/').next().unwrap_or_default()).or_default();
        *room = (room.0 + 1, room.1 + lines);
        if lines > LONG {
            long.push((lines, &source.path));
        }
    }
    long.sort_by(|a, b| b.cmp(a));
    let mut report = format!("{:<12} {:>6} {:>7}\n", "crate", "files", "lines");
    for (room, (files, lines)) in &crates {
        report.push_str(&format!("{room:<12} {files:>6} {lines:>7}\n"));
    }
    let total: usize = crates.values().map(|(_, lines)| lines).sum();
    report.push_str(&format!("{:<12} {:>6} {total:>7}\n\n", "all", ""));
    report.push_str(&format!("files over {LONG} lines: {}\n", long.len()));
    for (lines, path) in long {
        report.push_str(&format!("{lines:>7} {path}\n"));
    }
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_files_are_listed() {
        let report = report(&[
            Source::new("crates/base/src/lib.rs", &"x\n".repeat(501)),
            Source::new("xtask/src/main.rs", "x\n"),
        ]);
        assert!(report.contains("base              1     501"), "{report}");
        assert!(report.ends_with("files over 500 lines: 1\n    501 crates/base/src/lib.rs\n"));
    }
}
