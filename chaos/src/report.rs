//! What came of runs: a line each, a file of results, and the table on the page.

use crate::options::{FAULTS, Kind, WORKLOADS};
use crate::run::Outcome;
use serde_json::{Map, Value as Json, json};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// One line for whoever waits.
pub fn line(outcome: &Outcome) -> String {
    let Outcome { case, counts, faults, .. } = outcome;
    let judged: Vec<String> =
        outcome.judged.iter().map(|(what, count)| format!("{count} {what}")).collect();
    let mut line = format!(
        "{:>3} {} {} nodes, {} x {}: {} answered, {} not done, {} unknown; {faults} faults, longest \
         time without an answer {:.2} s, back in {:.2} s",
        case.number,
        case.kind.name(),
        case.nodes,
        case.workload.name(),
        case.fault.name(),
        counts.ok,
        counts.not_done,
        counts.unknown,
        outcome.gap.as_secs_f64(),
        outcome.recovery.as_secs_f64(),
    );
    if outcome.packets.packets > 0 {
        let crate::relay::Counts { packets, lost, doubled, overtaken } = outcome.packets;
        let _ = write!(
            line,
            "; {packets} packets, {lost} lost, {doubled} doubled, {overtaken} overtaken"
        );
    }
    if outcome.unjudged > 0 {
        let _ = write!(line, "; {} histories too hard to judge", outcome.unjudged);
    }
    match outcome.violations.as_slice() {
        [] => {
            let _ = write!(line, "; fine: {}", judged.join(", "));
        }
        all => {
            let _ = write!(line, "; {} VIOLATIONS", all.len());
            // Redis is there to be found out.
            let most = if case.kind == Kind::Redis { 1 } else { 3 };
            for one in all.iter().take(most) {
                let _ = write!(line, "\n    {one}");
            }
        }
    }
    if let Some(kept) = &outcome.kept {
        let _ = write!(line, "\n    kept in {}", kept.display());
    }
    line
}

/// The last line.
pub fn summary(outcomes: &[Outcome]) -> String {
    let ok: u64 = outcomes.iter().map(|it| it.counts.ok).sum();
    let broken = outcomes.iter().filter(|it| !it.violations.is_empty()).count();
    let unjudged: u64 = outcomes.iter().map(|it| it.unjudged).sum();
    format!(
        "{} runs, {ok} operations answered, {broken} runs with violations, {unjudged} histories too \
         hard to judge",
        outcomes.len()
    )
}

/// A run as it is kept.
fn kept(outcome: &Outcome) -> Json {
    let Outcome { case, counts, .. } = outcome;
    json!({
        "workload": case.workload.name(),
        "fault": case.fault.name(),
        "nodes": case.nodes,
        "seconds": case.seconds,
        "seed": case.seed.to_string(),
        "answered": counts.ok,
        "not_done": counts.not_done,
        "unknown": counts.unknown,
        "faults": outcome.faults,
        "gap_ms": outcome.gap.as_millis() as u64,
        "recovery_ms": outcome.recovery.as_millis() as u64,
        "packets": outcome.packets.packets,
        "packets_lost": outcome.packets.lost,
        "judged": outcome.judged.iter().map(|(what, n)| (what.to_string(), json!(n)))
            .collect::<Map<String, Json>>(),
        "unjudged": outcome.unjudged,
        "violations": outcome.violations,
    })
}

/// The results of one campaign.
pub fn results(outcomes: &[Outcome], jobs: usize) -> Json {
    json!({
        "commit": said("git", &["describe", "--always", "--dirty", "--exclude", "*"]),
        "date": said("date", &["-u", "+%F"]),
        "jobs": jobs,
        "runs": outcomes.iter().map(kept).collect::<Vec<Json>>(),
    })
}

fn said(program: &str, words: &[&str]) -> String {
    let output = Command::new(program).args(words).current_dir(root()).output();
    output.map(|it| String::from_utf8_lossy(&it.stdout).trim().to_owned()).unwrap_or_default()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the repository")
}

/// Writes results for whoever asks later.
pub fn write(path: &Path, results: &Json) -> Result<(), String> {
    let text = serde_json::to_string_pretty(results).map_err(|error| error.to_string())?;
    fs::write(path, text + "\n").map_err(|error| format!("{}: {error}", path.display()))
}

const PAGE: &str = "docs/verification.md";
const BEGIN: &str = "<!-- chaos: written by `cargo xtask chaos --record` -->";
const END: &str = "<!-- end of chaos -->";

/// Keeps a campaign in place of the last one with such servers, and shows all of them.
pub fn record(kind: Kind, results: Json) -> Result<(), String> {
    let path: PathBuf = root().join("chaos/results.json");
    let text = fs::read_to_string(&path).unwrap_or_else(|_| "{}".into());
    let mut all: Map<String, Json> =
        serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
    all.insert(kind.name().into(), results);
    write(&path, &Json::Object(all.clone()))?;
    let page = root().join(PAGE);
    let text = fs::read_to_string(&page).map_err(|error| format!("{PAGE}: {error}"))?;
    let begin = text.find(BEGIN).ok_or_else(|| format!("{PAGE} lacks {BEGIN}"))?;
    let end = text.find(END).ok_or_else(|| format!("{PAGE} lacks {END}"))?;
    let made = format!("{}{BEGIN}\n\n{}\n{}", &text[..begin], tables(&all), &text[end..]);
    fs::write(page, made).map_err(|error| format!("{PAGE}: {error}"))
}

fn tables(all: &Map<String, Json>) -> String {
    let mut text = String::new();
    let none = json!({});
    let ours = all.get("underpin").unwrap_or(&none);
    if !runs(ours).is_empty() {
        let _ = writeln!(text, "{}\n\n{}", sums("Underpin", ours), matrix(ours));
    }
    if let Some(theirs) = all.get("etcd") {
        let _ = writeln!(text, "{}\n\n{}", sums("etcd 3.4", theirs), beside(ours, theirs));
    }
    text
}

fn runs(campaign: &Json) -> Vec<&Json> {
    campaign["runs"].as_array().map(|runs| runs.iter().collect()).unwrap_or_default()
}

fn total(runs: &[&Json], of: &str) -> u64 {
    runs.iter().filter_map(|run| run[of].as_u64()).sum()
}

fn broken(runs: &[&Json]) -> usize {
    runs.iter().filter(|run| run["violations"].as_array().is_some_and(|it| !it.is_empty())).count()
}

/// A campaign in one paragraph.
fn sums(name: &str, campaign: &Json) -> String {
    let runs = runs(campaign);
    let word = |of: &str| campaign[of].as_str().unwrap_or("?").to_owned();
    format!(
        "{name}, {}, commit {}, {} runs of {} s, {} side by side: {} faults; {} requests answered, {} \
         not done, {} unknown; {} runs with violations, {} histories too hard to judge.",
        word("date"),
        word("commit"),
        runs.len(),
        runs.first().map_or(0, |run| run["seconds"].as_u64().unwrap_or(0)),
        campaign["jobs"],
        total(&runs, "faults"),
        grouped(total(&runs, "answered")),
        grouped(total(&runs, "not_done")),
        grouped(total(&runs, "unknown")),
        broken(&runs),
        total(&runs, "unjudged"),
    )
}

/// Faults down, workloads across: requests answered.
fn matrix(campaign: &Json) -> String {
    let names: Vec<&str> = WORKLOADS.iter().map(|it| it.name()).collect();
    let mut text = format!(
        "| | nodes | faults | {} | longest time without an answer, s | back after, s |\n\
         | --- | --- | --- |{} --- | --- |\n",
        names.join(" | "),
        " --- |".repeat(names.len())
    );
    for fault in FAULTS {
        let of = |run: &&Json| run["fault"] == fault.name();
        let some: Vec<&Json> = runs(campaign).into_iter().filter(of).collect();
        if some.is_empty() {
            continue;
        }
        let cells: Vec<String> = names
            .iter()
            .map(|name| {
                let of = |run: &&Json| run["workload"] == *name;
                cell(&some.iter().copied().filter(of).collect::<Vec<_>>())
            })
            .collect();
        let mut nodes: Vec<u64> = some.iter().filter_map(|run| run["nodes"].as_u64()).collect();
        nodes.sort_unstable();
        nodes.dedup();
        let nodes: Vec<String> = nodes.iter().map(u64::to_string).collect();
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} |",
            fault.name(),
            nodes.join(", "),
            total(&some, "faults"),
            cells.join(" | "),
            spread(&some, "gap_ms"),
            spread(&some, "recovery_ms"),
        );
    }
    text
}

/// The same workload on both.
fn beside(ours: &Json, theirs: &Json) -> String {
    let mut text =
        "| register | Underpin: answered | violations | longest time without an answer, s \
                    | etcd: answered | violations | longest time without an answer, s |\n\
                    | --- | --- | --- | --- | --- | --- | --- |\n"
            .to_owned();
    for fault in FAULTS {
        let of = |campaign| {
            let of = |run: &&Json| run["fault"] == fault.name() && run["workload"] == "register";
            runs(campaign).into_iter().filter(of).collect::<Vec<&Json>>()
        };
        let (one, other) = (of(ours), of(theirs));
        if other.is_empty() {
            continue;
        }
        let cells = |some: &[&Json]| match some.is_empty() {
            true => " | | ".to_owned(),
            false => {
                let gap = spread(some, "gap_ms");
                format!("{} | {} | {gap}", grouped(total(some, "answered")), broken(some))
            }
        };
        let _ = writeln!(text, "| {} | {} | {} |", fault.name(), cells(&one), cells(&other));
    }
    text
}

fn cell(runs: &[&Json]) -> String {
    match (runs.is_empty(), broken(runs)) {
        (true, _) => String::new(),
        (_, 0) => grouped(total(runs, "answered")),
        (_, some) => format!("{}, **{some} violated**", grouped(total(runs, "answered"))),
    }
}

/// Median and most, in seconds.
fn spread(runs: &[&Json], of: &str) -> String {
    let mut all: Vec<u64> = runs.iter().filter_map(|run| run[of].as_u64()).collect();
    all.sort_unstable();
    let seconds = |ms: Option<&u64>| {
        let ms = ms.copied().unwrap_or_default();
        format!("{:.2}", Duration::from_millis(ms).as_secs_f64())
    };
    match all.len() {
        0 | 1 => seconds(all.first()),
        count => {
            format!("{}, at most {}", seconds(all.get((count - 1) / 2)), seconds(all.last()))
        }
    }
}

fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(fault: &str, workload: &str, gap_ms: u64, violations: &[&str]) -> Json {
        json!({
            "workload": workload, "fault": fault, "nodes": 3, "seconds": 60, "answered": 12_345,
            "not_done": 1, "unknown": 2, "faults": 9, "gap_ms": gap_ms, "recovery_ms": 40,
            "unjudged": 0, "violations": violations,
        })
    }

    #[test]
    fn the_tables_tell_what_was_run() {
        let ours = json!({ "commit": "abc", "date": "2026-01-02", "jobs": 2, "runs": [
            run("pause", "register", 900, &[]),
            run("pause", "bank", 1100, &["money was made"]),
        ] });
        let theirs = json!({ "commit": "abc", "date": "2026-01-02", "jobs": 1, "runs": [
            run("pause", "register", 1500, &[]),
        ] });
        let all = [("underpin".to_owned(), ours), ("etcd".to_owned(), theirs)];
        let text = tables(&all.into_iter().collect());
        let row = "| pause | 3 | 18 | 12,345 |  | 12,345, **1 violated** |  |  |  | 0.90, at most 1.10 \
                   | 0.04, at most 0.04 |";
        assert!(text.contains(row), "{text}");
        assert!(text.contains("2 runs of 60 s, 2 side by side: 18 faults; 24,690"), "{text}");
        assert!(text.contains("| pause | 12,345 | 0 | 0.90 | 12,345 | 0 | 1.50 |"), "{text}");
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(grouped(7), "7");
        assert_eq!(grouped(1_234_567), "1,234,567");
    }
}
