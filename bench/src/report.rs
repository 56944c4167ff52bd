//! The page that compares, and its plots.

use crate::case::{At, Case, Pace};
use crate::chart::bars::{self, Group};
use crate::chart::lines::{self, Panel};
use crate::floors;
use crate::plan;
use crate::recovery;
use crate::run::Results;
use crate::spread::Spread;
use crate::subject::Subject;
use crate::turn::{self, Of, PERCENTILES, Turn};
use crate::verdict::{self, Verdict};
use std::fmt::Write;
use std::fs;
use std::io;
use std::path::Path;

/// Writes page and plots into a folder; the page. Where leaders were killed in the same run, it tells
/// of that too, and where everything was measured that must be shown, of what holds.
pub fn write(folder: &Path, results: &Results) -> io::Result<String> {
    let kills = recovery::read(folder)?;
    let mut verdicts = vec![];
    if results.turns.iter().any(|turn| turn.part == plan::SPEED) {
        verdicts = verdict::judge(&results.turns);
        verdicts.extend(recovery::verdicts(&kills));
    }
    let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut page = page(&name, results, &verdicts);
    if !kills.is_empty() {
        page.push('\n');
        page.push_str(&recovery::page(&kills));
    }
    // Without facts a page would say less than the one that is there.
    if !results.facts.is_empty() {
        fs::write(folder.join("summary.md"), &page)?;
    }
    for (file, svg) in plots(folder, &results.turns) {
        fs::write(folder.join(file), svg)?;
    }
    Ok(page)
}

/// Parts and cases in the order in which they were measured first.
fn cases(turns: &[Turn]) -> Vec<(&str, &Case)> {
    let mut cases: Vec<(&str, &Case)> = vec![];
    for turn in turns {
        let case = (&turn.part[..], &turn.case);
        if !cases.contains(&case) {
            cases.push(case);
        }
    }
    cases
}

/// Subjects in the order of [`Subject::ALL`].
fn subjects(turns: &[Turn]) -> Vec<Subject> {
    let measured = |subject: &Subject| turns.iter().any(|turn| turn.subject == *subject);
    Subject::ALL.into_iter().filter(measured).collect()
}

/// The page.
fn page(name: &str, results: &Results, verdicts: &[Verdict]) -> String {
    let turns = &results.turns;
    let mut page = format!("# bench {name}\n\n");
    for (name, value) in &results.facts {
        line(&mut page, format_args!("- {name}: {value}"));
    }
    if !verdicts.is_empty() {
        page.push_str("\n## What must be shown\n\n");
        verdicts.iter().for_each(|verdict| line(&mut page, format_args!("- {verdict}")));
    }
    floors(&mut page, results);
    page.push_str(
        "\n## Measured\n\nMedian of the turns, with the lowest and the highest in brackets. CPU is \
         that of all processes of a subject; memory the most that they had since their start. The \
         generator's share is of one core.\n\n\
         | load | subject | ops/s | p50 ms | p99 ms | p99.9 ms | server CPU µs/op | peak memory MiB \
         | generator CPU µs/op | generator's share | errors | unsent |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for (part, case) in cases(turns) {
        for subject in subjects(turns) {
            let of: Vec<&Turn> = turn::of(turns, part, case, subject).collect();
            if !of.is_empty() {
                line(&mut page, format_args!("{}", row(case, subject, &of)));
            }
        }
    }
    ratios(&mut page, turns);
    limits(&mut page, turns);
    page
}

/// A row of the table.
fn row(case: &Case, subject: Subject, turns: &[&Turn]) -> String {
    let spread = |of: Of<'_>, digits: usize| {
        let spread = Spread::of(turns.iter().map(|turn| of(turn))).unwrap_or_default();
        format!("{spread:.digits$}")
    };
    let sum = |of: fn(&Turn) -> u64| turns.iter().map(|turn| of(turn)).sum::<u64>();
    format!(
        "| {case} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
        subject.name(),
        spread(&Turn::throughput, 0),
        spread(&|turn| turn.latency_ms(50.0), 2),
        spread(&|turn| turn.latency_ms(99.0), 2),
        spread(&|turn| turn.latency_ms(99.9), 2),
        spread(&Turn::cpu_us, 1),
        spread(&|turn| turn.memory as f64 / f64::from(1 << 20), 0),
        spread(&Turn::generator_us, 1),
        spread(&Turn::generator_share, 2),
        sum(|turn| turn.errors),
        sum(|turn| turn.unsent),
    )
}

/// What the machine allows.
fn floors(page: &mut String, results: &Results) {
    if results.floors.is_empty() {
        return;
    }
    page.push_str(
        "\n## Floors\n\nWhat the machine allows to one thread that does nothing else, in operations a \
         second; the floor of sockets is the subject `echo`, where it was asked for.\n\n",
    );
    for (index, name) in floors::NAMES.iter().enumerate() {
        let spread = Spread::of(results.floors.iter().map(|floors| floors.values()[index]));
        line(page, format_args!("- {name}: {:.0}", spread.unwrap_or_default()));
    }
}

/// Underpin over each of the others, turn by turn.
fn ratios(page: &mut String, turns: &[Turn]) {
    let others: Vec<Subject> =
        subjects(turns).into_iter().filter(|subject| *subject != Subject::Underpin).collect();
    if others.is_empty() {
        return;
    }
    page.push_str(
        "\n## Underpin over its peers, turn by turn\n\n\
         | load | peer | ops/s | p50 | p99 | server CPU/op | peak memory |\n\
         | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for (part, case) in cases(turns) {
        for other in &others {
            let ratio = |number: Of<'_>| {
                let pair = [Subject::Underpin, *other];
                turn::ratio(turns, part, case, pair, number).map(|ratio| ratio.to_string())
            };
            let Some(rate) = ratio(&Turn::throughput) else { continue };
            let rest: [Of<'_>; 4] = [
                &|turn| turn.latency_us[0] as f64,
                &|turn| turn.latency_us[3] as f64,
                &Turn::cpu_us,
                &|turn| turn.memory as f64,
            ];
            let rest = rest.map(|number| ratio(number).unwrap_or_default()).join(" | ");
            line(page, format_args!("| {case} | {} | {rate} | {rest} |", other.name()));
        }
    }
}

/// Where the generator, not the server, may have decided.
fn limits(page: &mut String, turns: &[Turn]) {
    let busy = turns.iter().filter(|turn| turn.generator_share() > 0.9).count();
    let late = turns.iter().filter(|turn| turn.rate.is_some()).map(|turn| turn.late_us).max();
    page.push_str("\n## The generator\n\n");
    line(
        page,
        format_args!(
            "It is one thread. In {busy} of {} measured cases it was busy for more than 0.9 of the \
             time, and may have been the limit.",
            turns.len()
        ),
    );
    if let Some(late) = late {
        let ms = late as f64 / 1e3;
        let about = "In the open loop 99 of 100 requests were sent within";
        line(page, format_args!("{about} {ms:.2} ms of when they were due, in the worst case."));
    }
}

/// Names of files and their pictures. Curves over connections and sizes have a picture of their own.
pub fn plots(folder: &Path, turns: &[Turn]) -> Vec<(&'static str, String)> {
    let run = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let about = format!("{run}: medians, lines from the lowest to the highest turn");
    let is_curve = |turn: &&Turn| [plan::CONNECTIONS, plan::VALUES].contains(&&turn.part[..]);
    let (on_curves, others): (Vec<&Turn>, Vec<&Turn>) = turns.iter().partition(is_curve);
    let (on_curves, others): (Vec<Turn>, Vec<Turn>) =
        (on_curves.into_iter().cloned().collect(), others.into_iter().cloned().collect());
    let mut plots = vec![];
    if !others.is_empty() {
        let speed = groups(&others, |case| case.pace == Pace::Closed, &Turn::throughput);
        let cpu = groups(&others, |_| true, &Turn::cpu_us);
        let title = "CPU of all server processes, µs per operation";
        let latency = percentiles(&others);
        let medians = format!("{run}: medians");
        plots.extend([
            (FIRST, bars::draw("Operations a second", &about, &speed[..speed.len().min(4)])),
            ("throughput.svg", bars::draw("Operations a second", &about, &speed)),
            ("cpu.svg", bars::draw(title, &about, &cpu)),
            ("latency.svg", lines::draw("Latency by percentile", &medians, &latency)),
        ]);
    }
    if !on_curves.is_empty() {
        let about = format!("{run}: medians");
        let curves = curves(&on_curves);
        plots.push(("curves.svg", lines::draw("Without cliffs?", &about, &curves)));
    }
    plots
}

/// The picture of a run's first few cases, which the README shows of the newest.
pub const FIRST: &str = "first.svg";

/// Bars for each case.
fn groups(turns: &[Turn], wanted: impl Fn(&Case) -> bool, number: Of<'_>) -> Vec<Group> {
    let mut groups = vec![];
    for (part, case) in cases(turns).into_iter().filter(|(_, case)| wanted(case)) {
        let bar = |subject: Subject| {
            let spread = Spread::of(turn::of(turns, part, case, subject).map(number))?;
            Some((subject.name(), spread))
        };
        let bars = subjects(turns).into_iter().filter_map(bar).collect();
        groups.push(Group { name: case.to_string(), bars });
    }
    groups
}

/// A panel for each case: latency by percentile.
fn percentiles(turns: &[Turn]) -> Vec<Panel> {
    let panel = |(part, case): (&str, &Case)| {
        let curve = |subject: Subject| {
            let values = PERCENTILES.map(|percent| {
                let ms = turn::of(turns, part, case, subject).map(|turn| turn.latency_ms(percent));
                Spread::of(ms).unwrap_or_default().median
            });
            values.iter().any(|value| *value > 0.0).then(|| (subject.name(), values.to_vec()))
        };
        let place =
            |percent: &f64| if *percent == 100.0 { "max".into() } else { percent.to_string() };
        Panel {
            name: case.to_string(),
            axes: ("percentile".into(), "ms".into()),
            places: PERCENTILES.iter().map(place).collect(),
            curves: subjects(turns).into_iter().filter_map(curve).collect(),
        }
    };
    cases(turns).into_iter().map(panel).collect()
}

/// Panels over connections and over sizes of values, where these were measured.
fn curves(turns: &[Turn]) -> Vec<Panel> {
    let mut panels = vec![];
    for (part, axis, place) in [
        (plan::CONNECTIONS, "connections", (|case| case.connections as f64) as fn(&Case) -> f64),
        (plan::VALUES, "bytes of a value", |case| case.value as f64),
    ] {
        let all: Vec<&Case> =
            cases(turns).into_iter().filter(|(of, _)| *of == part).map(|(_, case)| case).collect();
        let mut kinds: Vec<(crate::case::Workload, At)> = vec![];
        for case in &all {
            if !kinds.contains(&(case.workload, case.at)) {
                kinds.push((case.workload, case.at));
            }
        }
        for (workload, at) in kinds {
            let cases: Vec<&Case> = all
                .iter()
                .copied()
                .filter(|case| (case.workload, case.at) == (workload, at))
                .collect();
            let numbers: [(&str, Of<'_>); 2] = [
                ("operations a second", &Turn::throughput),
                ("p99, ms", &|turn| turn.latency_ms(99.0)),
            ];
            for (what, number) in numbers {
                let curve = |subject: Subject| {
                    let values: Vec<f64> = cases
                        .iter()
                        .map(|case| turn::of(turns, part, case, subject).map(number))
                        .map(|values| Spread::of(values).unwrap_or_default().median)
                        .collect();
                    values.iter().any(|value| *value > 0.0).then_some((subject.name(), values))
                };
                panels.push(Panel {
                    name: format!("{} by {axis}", workload.name()),
                    axes: (axis.into(), what.into()),
                    places: cases.iter().map(|case| place(case).to_string()).collect(),
                    curves: subjects(turns).into_iter().filter_map(curve).collect(),
                });
            }
        }
    }
    panels
}

fn line(page: &mut String, text: std::fmt::Arguments<'_>) {
    writeln!(page, "{text}").expect("a String takes everything");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chart::tests::assert_well_formed;
    use crate::floors::Floors;
    use crate::turn::tests::turn;

    fn results() -> Results {
        let mut turns = vec![
            turn(Subject::Underpin, 1, 300),
            turn(Subject::Redis, 1, 200),
            turn(Subject::Redis, 2, 100),
            turn(Subject::Underpin, 2, 100),
        ];
        for connections in [1, 4] {
            let mut curve = turn(Subject::Underpin, 1, 100 * connections as u64);
            curve.part = plan::CONNECTIONS.into();
            curve.case.connections = connections;
            turns.push(curve);
        }
        let floors = Floors { synced: 8_000.0, synced_by_64: 400_000.0, looked_up: 1e7 };
        let facts = vec![("kernel".into(), "6".into())];
        Results { facts, turns, floors: vec![floors] }
    }

    #[test]
    fn a_page_has_what_was_measured_and_ratios() {
        let page = page("kv", &results(), &[]);
        for want in [
            "- kernel: 6",
            "- append and sync, one entry: 8000 [8000–8000]",
            "| set 64x1, 100 B, 100k keys, uniform, spread, closed | underpin | 200 [100–300] | 0.10",
            "| set 64x1, 100 B, 100k keys, uniform, spread, closed | redis | 1.25 [1.00–1.50] |",
            "In 0 of 6 measured cases",
        ] {
            assert!(page.contains(want), "{want}\n{page}");
        }
    }

    #[test]
    fn plots_are_well_formed() {
        let plots = plots(Path::new("2026-01-01-kv"), &results().turns);
        assert_eq!(plots.len(), 5);
        for (name, svg) in plots {
            assert_well_formed(&svg);
            assert!(svg.contains("2026-01-01-kv"), "{name}");
        }
    }
}
