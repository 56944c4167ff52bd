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

/// The folder of a run's results.
pub fn folder(out: &str, name: &str) -> io::Result<PathBuf> {
    let folder = Path::new(out).join(format!("{}-{name}", machine::date()));
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// Takes all turns.
pub fn measure(options: &Options, folder: &Path) -> io::Result<Results> {
    let mut results = Results { facts: facts(options, folder), ..Results::default() };
    let mut raw = File::create(folder.join("turns.jsonl"))?;
    let progress = Progress::new(options.parts.iter().map(Part::steps).sum());
    for (index, part) in options.parts.iter().enumerate() {
        for round in 1..=part.rounds {
            if options.floors && index == 0 {
                progress.say(&format!("round {round}: what the machine allows"));
                results.floors.push(Floors::measure(folder, Duration::from_secs(1))?);
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
        self.progress.say(&format!("round {} {subject} {case}: {what}", self.round));
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
