//! What came of hunts: the kept results, and the table that people read.

use super::mutant::{Mutant, World};
use crate::root;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

/// Where results are kept.
pub const RESULTS: &str = "zoo/results.tsv";
const PAGE: &str = "docs/verification.md";
const BEGIN: &str = "<!-- zoo: written by `cargo xtask zoo` -->";
const END: &str = "<!-- end of zoo -->";

/// One start, or the median of several.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Hunt {
    /// Who noticed what; none if nobody did.
    pub caught: Option<String>,
    /// Seeds that it took.
    pub seeds: u64,
    /// Seconds that it took.
    pub seconds: f64,
}

/// All that is known of a mutant.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Line {
    /// With all judges.
    pub all: Hunt,
    /// With clients only.
    pub clients: Hunt,
    /// Tests that fail.
    pub tests: Vec<String>,
    /// How often it was hunted, by each; numbers are medians of so many.
    pub starts: u64,
    /// On which commit.
    pub commit: String,
}

/// What the runner said.
pub fn heard(said: &str) -> Option<Hunt> {
    let line =
        said.lines().rfind(|line| line.starts_with("caught") || line.starts_with("alive"))?;
    let (head, rest) = line.split_once(" after ")?;
    let (seeds, rest) = rest.split_once(" seeds, ")?;
    let (seconds, rest) = rest.split_once(" s")?;
    let what = rest.split_once(": ").map_or("", |(_, what)| what);
    let caught = head.strip_prefix("caught by ").map(|judge| format!("{judge}: {what}"));
    Some(Hunt { caught, seeds: seeds.parse().ok()?, seconds: seconds.parse().ok()? })
}

/// The median start; one that found nothing took longest.
pub fn median(mut hunts: Vec<Hunt>, starts: u64) -> Hunt {
    hunts.sort_by_key(|hunt| (hunt.caught.is_none(), hunt.seeds));
    // Starts that were spared would have come last: the median was lost already.
    let middle = (starts as usize / 2).min(hunts.len().saturating_sub(1));
    hunts.into_iter().nth(middle).unwrap_or_default()
}

/// Reads kept results.
pub fn read(path: &Path) -> BTreeMap<u32, Line> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().skip(1).filter_map(parse).collect()
}

fn parse(line: &str) -> Option<(u32, Line)> {
    let cells: Vec<&str> = line.split('\t').collect();
    let hunt = |at: usize| {
        let caught = cells.get(at).filter(|what| !what.is_empty()).map(|what| (*what).to_owned());
        Some(Hunt {
            caught,
            seeds: cells.get(at + 1)?.parse().ok()?,
            seconds: cells.get(at + 2)?.parse().ok()?,
        })
    };
    let tests = cells.get(7)?.split(' ').filter(|test| !test.is_empty()).map(str::to_owned);
    Some((
        cells[0].parse().ok()?,
        Line {
            all: hunt(1)?,
            clients: hunt(4)?,
            tests: tests.collect(),
            starts: cells.get(8)?.parse().ok()?,
            commit: (*cells.get(9)?).to_owned(),
        },
    ))
}

/// Keeps results.
pub fn write(path: &Path, lines: &BTreeMap<u32, Line>) -> Result<(), String> {
    let mut text =
        "mutant\tall judges\tseeds\tseconds\tclients only\tseeds\tseconds\ttests\tstarts\tcommit\n"
            .to_owned();
    for (number, Line { all, clients, tests, starts, commit }) in lines {
        let _ = write!(text, "{number}");
        for hunt in [all, clients] {
            let what: String = hunt.caught.iter().flat_map(|what| what.chars()).take(120).collect();
            let what = what.replace('\t', " ");
            let _ = write!(text, "\t{what}\t{}\t{:.2}", hunt.seeds, hunt.seconds);
        }
        let _ = writeln!(text, "\t{}\t{starts}\t{commit}", tests.join(" "));
    }
    std::fs::write(path, text).map_err(|e| format!("{}: {e}", path.display()))
}

/// One line for whoever waits.
pub fn shown(mutant: &Mutant, line: &Line) -> String {
    let hunt = |hunt: &Hunt| match &hunt.caught {
        Some(what) => format!("{what:.60} ({} seeds, {:.2} s)", hunt.seeds, hunt.seconds),
        None => format!("not found ({} seeds, {:.0} s)", hunt.seeds, hunt.seconds),
    };
    format!(
        "{:>3} {:.60}\n      all: {}\n      clients: {}\n      tests: {}",
        mutant.number,
        mutant.name,
        hunt(&line.all),
        hunt(&line.clients),
        line.tests.join(", ")
    )
}

/// Brings the table on the page up to date.
pub fn update_page(mutants: &[Mutant], lines: &BTreeMap<u32, Line>) -> Result<(), String> {
    let path = root().join(PAGE);
    let text = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    let begin = text.find(BEGIN).ok_or_else(|| format!("{PAGE} lacks {BEGIN}"))?;
    let end = text.find(END).ok_or_else(|| format!("{PAGE} lacks {END}"))?;
    let made = format!("{}{BEGIN}\n\n{}\n{}", &text[..begin], table(mutants, lines), &text[end..]);
    std::fs::write(&path, made).map_err(|e| format!("{}: {e}", path.display()))
}

fn table(mutants: &[Mutant], lines: &BTreeMap<u32, Line>) -> String {
    let mut text = "| | what goes wrong | seen in | world | found by | seeds | seconds | by clients alone: seeds | seconds | tests that fail |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n"
        .to_owned();
    for mutant in mutants {
        let Some(line) = lines.get(&mutant.number).cloned() else { continue };
        let world = match mutant.world {
            World::Raft => "Raft",
            World::Node => "nodes",
            World::Tests => "none",
        };
        let judge = line.all.caught.as_deref().and_then(|what| what.split(':').next());
        let judge = match (judge, line.tests.is_empty()) {
            (Some(judge), _) => judge,
            (None, false) => "tests",
            (None, true) => "nobody",
        };
        let [seeds, seconds] = cells(&line.all);
        let [client_seeds, client_seconds] = match &line.clients.caught {
            Some(what) if what.starts_with("client") => cells(&line.clients),
            Some(_) => ["crashes".into(), String::new()],
            None => cells(&line.clients),
        };
        let _ = writeln!(
            text,
            "| {} | {} | {} | {world} | {judge} | {seeds} | {seconds} | {client_seeds} | {client_seconds} | {} |",
            mutant.number,
            mutant.wrong,
            mutant.origin,
            match line.tests.len() {
                0 => String::new(),
                n => n.to_string(),
            }
        );
    }
    let by = |of: &dyn Fn(&Line) -> bool| lines.values().filter(|line| of(line)).count();
    let found = by(&|line| line.all.caught.is_some() || !line.tests.is_empty());
    let by_clients =
        by(&|line| line.clients.caught.as_ref().is_some_and(|what| what.starts_with("client")));
    let _ = write!(
        text,
        "\n{} mutants, {} examined, {found} found, {by_clients} of them by what clients see alone, with \
         the cores' assertions off. {}\n",
        mutants.len(),
        lines.len(),
        origin(lines)
    );
    text
}

/// Where the numbers come from.
fn origin(lines: &BTreeMap<u32, Line>) -> String {
    let commits: BTreeSet<&str> = lines.values().map(|line| line.commit.as_str()).collect();
    let commits: Vec<&str> = commits.into_iter().filter(|commit| !commit.is_empty()).collect();
    let starts = || lines.values().map(|line| line.starts);
    let (least, most) = (starts().min().unwrap_or(0), starts().max().unwrap_or(0));
    let starts = if least == most { most.to_string() } else { format!("{least} to {most}") };
    format!("`cargo xtask zoo` on {}, medians of {starts} starts.", commits.join(", "))
}

fn cells(hunt: &Hunt) -> [String; 2] {
    match (&hunt.caught, hunt.seeds) {
        (Some(_), seeds) => [seeds.to_string(), format!("{:.2}", hunt.seconds)],
        (None, 0) => [String::new(), String::new()],
        (None, _) => ["not found".into(), format!("{:.0}", hunt.seconds)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_runner_says_is_understood() {
        let hunt = heard("caught by watch after 12 seeds, 0.531 s, seed 7: two: logs\n").unwrap();
        assert_eq!((hunt.seeds, hunt.seconds), (12, 0.531));
        assert_eq!(hunt.caught.as_deref(), Some("watch: two: logs"));
        let hunt = heard("alive after 99 seeds, 600.001 s\n").unwrap();
        assert_eq!((hunt.seeds, hunt.caught), (99, None));
        assert_eq!(heard("nonsense"), None);
    }

    #[test]
    fn the_median_counts_what_was_not_found_as_longest() {
        let found = |seeds| Hunt { caught: Some("watch: x".into()), seeds, seconds: 1.0 };
        let lost = Hunt { caught: None, seeds: 9, seconds: 600.0 };
        assert_eq!(median(vec![found(5), found(1), found(3)], 3).seeds, 3);
        assert_eq!(median(vec![lost.clone(), found(5), found(1)], 3).seeds, 5);
        assert_eq!(median(vec![lost.clone(), lost.clone(), found(1)], 3), lost);
        assert_eq!(median(vec![lost.clone(), lost.clone(), lost.clone()], 5), lost);
    }

    #[test]
    fn kept_results_are_read_back() {
        let line = Line {
            all: Hunt { caught: Some("watch: x".into()), seeds: 3, seconds: 0.5 },
            clients: Hunt { caught: None, seeds: 7, seconds: 60.0 },
            tests: vec!["protocols::stories".into()],
            starts: 5,
            commit: "0123abc".into(),
        };
        let path = std::env::temp_dir().join(format!("zoo-results-{}", std::process::id()));
        write(&path, &[(4, line.clone())].into()).unwrap();
        assert_eq!(read(&path), [(4, line)].into());
        std::fs::remove_file(path).unwrap();
    }
}
