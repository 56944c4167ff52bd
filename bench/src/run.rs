//! Takes the turns of a plan and writes the results.
//!
//! Only one subject runs at a time, and each turn starts fresh servers: what was measured within one
//! turn of each other can be compared, and the spread over the turns says how far. Raw data are
//! written as they come, so a run that is broken off leaves what it had.

use crate::case::{Case, Pace};
use crate::floors::Floors;
use crate::load::{self, Stretch};
use crate::machine;
use crate::options::Options;
use crate::plan::Part;
use crate::progress::Progress;
use crate::subject::{Running, Subject};
use crate::turn::{PERCENTILES, Turn};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Everything that was measured.
#[derive(Clone, Debug, Default)]
pub struct Results {
    /// About the machine and the run, each with its name.
    pub facts: Vec<(String, String)>,
    /// In the order in which they were taken.
    pub turns: Vec<Turn>,
    /// One for each round of the first part.
    pub floors: Vec<Floors>,
}

impl Results {
    /// What a folder holds, also of a run that was broken off.
    pub fn read(folder: &Path) -> io::Result<Results> {
        let strange = |what: &str| io::Error::other(format!("{}: {what}", folder.display()));
        let raw = fs::read_to_string(folder.join("turns.jsonl"))?;
        let turns: Option<Vec<Turn>> = raw.lines().map(Turn::parse).collect();
        let turns = turns.ok_or_else(|| strange("a line of turns.jsonl is no turn"))?;
        // Older runs have none.
        let Ok(about) = fs::read_to_string(folder.join(ABOUT)) else {
            return Ok(Results { turns, ..Results::default() });
        };
        let about = about_of(&about).ok_or_else(|| strange("about.json can't be read"))?;
        Ok(Results { turns, ..about })
    }

    /// Keeps facts and floors; turns are kept as they come.
    fn keep_about(&self, folder: &Path) -> io::Result<()> {
        let floors: Vec<[f64; 3]> = self.floors.iter().map(Floors::values).collect();
        let about = json!({ "facts": self.facts, "floors": floors });
        fs::write(folder.join(ABOUT), format!("{about:#}\n"))
    }
}

/// The file of facts and floors.
const ABOUT: &str = "about.json";

/// Facts and floors, as they were kept.
fn about_of(text: &str) -> Option<Results> {
    let about: Value = serde_json::from_str(text).ok()?;
    let fact = |fact: &Value| Some((fact[0].as_str()?.to_owned(), fact[1].as_str()?.to_owned()));
    let floor = |values: &Value| {
        let value = |index: usize| values[index].as_f64();
        Some(Floors { synced: value(0)?, synced_by_64: value(1)?, looked_up: value(2)? })
    };
    let facts = about["facts"].as_array()?.iter().map(fact).collect::<Option<_>>()?;
    let floors = about["floors"].as_array()?.iter().map(floor).collect::<Option<_>>()?;
    Some(Results { facts, floors, turns: vec![] })
}

/// The folder of a run's results.
pub fn folder(out: &str, name: &str) -> io::Result<PathBuf> {
    let folder = Path::new(out).join(format!("{}-{name}", machine::date()));
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// Takes all turns.
pub fn measure(options: &Options, folder: &Path) -> io::Result<Results> {
    let mut results = Results { facts: facts(options, folder), ..Results::default() };
    results.keep_about(folder)?;
    let mut raw = File::create(folder.join("turns.jsonl"))?;
    let progress = Progress::new(options.parts.iter().map(Part::steps).sum());
    for (index, part) in options.parts.iter().enumerate() {
        for round in 1..=part.rounds {
            if options.floors && index == 0 {
                progress.say(&format!("round {round}: what the machine allows"));
                results.floors.push(Floors::measure(folder, Duration::from_secs(1))?);
                results.keep_about(folder)?;
            }
            for subject in part.order(round) {
                let from = results.turns.len();
                let turn = TakingTurn { options, part, round, subject, progress: &progress };
                turn.take(&mut results.turns).map_err(|error| {
                    io::Error::other(format!("{} in round {round}: {error}", subject.name()))
                })?;
                for turn in &results.turns[from..] {
                    writeln!(raw, "{}", turn.json())?;
                }
            }
        }
    }
    progress.end();
    Ok(results)
}

/// What is to be said about a run besides its numbers.
fn facts(options: &Options, folder: &Path) -> Vec<(String, String)> {
    let measured = |subject: &Subject| options.parts.iter().any(|p| p.subjects.contains(subject));
    let subjects = Subject::ALL.into_iter().filter(measured);
    let mut facts: Vec<(String, String)> =
        subjects.map(|subject| (subject.name().to_owned(), subject.description())).collect();
    facts.push((
        "turns".to_owned(),
        format!(
            "{} s measured after {} s of warm-up, subjects in turn, A B B A, each with fresh servers",
            options.seconds, options.warmup
        ),
    ));
    let machine = machine::facts(folder).into_iter();
    facts.extend(machine.map(|(name, value)| (name.to_owned(), value)));
    facts
}

/// One subject's turn.
struct TakingTurn<'a> {
    options: &'a Options,
    part: &'a Part,
    round: usize,
    subject: Subject,
    progress: &'a Progress,
}

impl TakingTurn<'_> {
    /// Starts servers for each group of cases, fills them, measures, stops them.
    fn take(&self, turns: &mut Vec<Turn>) -> io::Result<()> {
        let from = turns.len();
        for group in self.part.groups(self.subject) {
            self.say(group[0], "starting");
            let running = self.subject.start(group[0].value);
            let idle = machine::memory(&running.processes()).into_iter().max().unwrap_or(0);
            self.fill(&running, group[0])?;
            for case in group {
                let turn = self.measure(&running, case, idle, &turns[from..])?;
                self.tell(&turn);
                turns.push(turn);
            }
        }
        Ok(())
    }

    /// Makes the keys, where there will be keys.
    fn fill(&self, running: &Running, case: &Case) -> io::Result<()> {
        // A stream has no keys, and an echo has nothing.
        if matches!(self.subject, Subject::Nats | Subject::NatsAlways | Subject::Echo) {
            return Ok(());
        }
        self.say(case, "filling");
        let addresses = running.addresses(case.at);
        load::fill(&addresses, self.subject.protocol(), case, |keys| {
            if keys % 50_000 < 1_024 {
                self.say(case, &format!("filling, {keys} keys"));
            }
        })
    }

    fn measure(
        &self,
        running: &Running,
        case: &Case,
        idle: u64,
        before: &[Turn],
    ) -> io::Result<Turn> {
        let rate = match case.pace {
            Pace::Closed => None,
            Pace::Rate(rate) => Some(rate as f64),
            Pace::Half => Some(self.peak(running, case, before)? / 2.0),
        };
        self.say(case, "measuring");
        let servers = running.processes();
        let (mut server, mut own) = (0.0, 0.0);
        let measured = load::measure(
            &running.addresses(case.at),
            self.subject.protocol(),
            case,
            &self.stretch(rate),
            || {
                server = machine::cpu_seconds(&servers);
                own = machine::own_cpu_seconds();
            },
        )?;
        let memory = machine::peak_memory(&servers);
        Ok(Turn {
            part: self.part.name.clone(),
            round: self.round,
            subject: self.subject,
            case: case.clone(),
            rate,
            ops: measured.done,
            errors: measured.errors,
            unsent: measured.unsent,
            seconds: measured.elapsed.as_secs_f64(),
            latency_us: PERCENTILES.map(|percent| measured.latency.percentile(percent)),
            late_us: measured.late.percentile(99.0),
            server_cpu: machine::cpu_seconds(&servers) - server,
            generator_cpu: machine::own_cpu_seconds() - own,
            memory: memory.iter().sum(),
            memory_of_one: memory.into_iter().max().unwrap_or(0),
            memory_idle: idle,
        })
    }

    /// Operations a second in the closed loop: measured before in this turn, or now.
    fn peak(&self, running: &Running, case: &Case, before: &[Turn]) -> io::Result<f64> {
        let closed = case.closed();
        if let Some(turn) = before.iter().find(|turn| turn.case == closed) {
            return Ok(turn.throughput());
        }
        self.say(&closed, "looking for the peak");
        let addresses = running.addresses(case.at);
        let protocol = self.subject.protocol();
        let got = load::measure(&addresses, protocol, &closed, &self.stretch(None), || ())?;
        Ok(got.done as f64 / got.elapsed.as_secs_f64())
    }

    fn stretch(&self, rate: Option<f64>) -> Stretch {
        Stretch {
            warmup: Duration::from_secs(self.options.warmup),
            measured: Duration::from_secs(self.options.seconds),
            rate,
            seed: self.round as u64,
        }
    }

    fn say(&self, case: &Case, what: &str) {
        let subject = self.subject.name();
        self.progress.say(&format!("round {} {subject}, {what}: {case}", self.round));
    }

    fn tell(&self, turn: &Turn) {
        self.progress.step(&format!(
            "round {} {:<14} {:<52} {:>9.0} ops/s  p50 {:>7} µs  p99 {:>7} µs  {} errors{}",
            turn.round,
            turn.subject.name(),
            turn.case.to_string(),
            turn.throughput(),
            turn.latency_us[0],
            turn.latency_us[3],
            turn.errors,
            if turn.unsent > 0 { format!(", {} unsent", turn.unsent) } else { String::new() },
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::turn::tests::turn;
    use underpin_e2e::place::Folder;

    #[test]
    fn results_are_read_as_they_were_kept() {
        let folder = Folder::new("results");
        let turns = vec![turn(Subject::Underpin, 1, 10), turn(Subject::Etcd, 1, 5)];
        let raw: String = turns.iter().map(|turn| turn.json() + "\n").collect();
        fs::write(folder.join("turns.jsonl"), raw).unwrap();
        assert_eq!(Results::read(folder.path()).unwrap().facts, []);
        let floors = Floors { synced: 1.5, synced_by_64: 2.0, looked_up: 3.0 };
        let facts = vec![("kernel".to_owned(), "6 \"x\"".to_owned())];
        let kept = Results { facts, turns, floors: vec![floors] };
        kept.keep_about(folder.path()).unwrap();
        let read = Results::read(folder.path()).unwrap();
        assert_eq!((&read.facts, &read.turns), (&kept.facts, &kept.turns));
        assert_eq!(read.floors[0].values(), [1.5, 2.0, 3.0]);
        fs::write(folder.join("turns.jsonl"), "{}\n").unwrap();
        assert!(Results::read(folder.path()).is_err());
    }
}
