//! What one case of one turn showed, as a line of raw data and back.

use crate::case::{At, Case, Distribution, Pace, Workload};
use crate::spread::Spread;
use crate::subject::Subject;
use serde_json::{Value, json};

/// The percentiles that are kept of each latency; the last is the longest.
pub const PERCENTILES: [f64; 7] = [50.0, 90.0, 95.0, 99.0, 99.9, 99.99, 100.0];
/// Their names in raw data.
const NAMES: [&str; 7] = ["p50_us", "p90_us", "p95_us", "p99_us", "p999_us", "p9999_us", "max_us"];

/// What one case of one turn showed.
#[derive(Clone, Debug, PartialEq)]
pub struct Turn {
    /// Which part of the run.
    pub part: String,
    /// Which turn of its subject, from 1.
    pub round: usize,
    /// What was measured.
    pub subject: Subject,
    /// Under which load.
    pub case: Case,
    /// Operations a second that were due, in the open loop.
    pub rate: Option<f64>,
    /// Operations that were answered without an error.
    pub ops: u64,
    /// Error replies.
    pub errors: u64,
    /// What was due and never sent.
    pub unsent: u64,
    /// Seconds.
    pub seconds: f64,
    /// Latencies in microseconds, by [`PERCENTILES`].
    pub latency_us: [u64; 7],
    /// How late requests were sent, in microseconds: 99 of 100.
    pub late_us: u64,
    /// CPU seconds of all server processes.
    pub server_cpu: f64,
    /// CPU seconds of the load generator.
    pub generator_cpu: f64,
    /// Peak memory of all server processes since their start, in bytes.
    pub memory: u64,
    /// That of the process that took most.
    pub memory_of_one: u64,
    /// The most that one process had before anything was written.
    pub memory_idle: u64,
}

impl Turn {
    /// Answered operations a second.
    pub fn throughput(&self) -> f64 {
        self.ops as f64 / self.seconds
    }

    /// CPU of the servers per operation, in microseconds.
    pub fn cpu_us(&self) -> f64 {
        self.server_cpu * 1e6 / self.ops.max(1) as f64
    }

    /// Operations per CPU second of the servers.
    pub fn per_cpu_second(&self) -> f64 {
        self.ops as f64 / self.server_cpu.max(0.01)
    }

    /// CPU of the generator per operation, in microseconds.
    pub fn generator_us(&self) -> f64 {
        self.generator_cpu * 1e6 / self.ops.max(1) as f64
    }

    /// How much of one core the generator used.
    pub fn generator_share(&self) -> f64 {
        self.generator_cpu / self.seconds
    }

    /// A latency in milliseconds, by one of [`PERCENTILES`].
    pub fn latency_ms(&self, percent: f64) -> f64 {
        let at = PERCENTILES.iter().position(|known| *known == percent);
        self.latency_us[at.expect("one that is kept")] as f64 / 1e3
    }

    /// As a line of raw data.
    pub fn json(&self) -> String {
        let case = &self.case;
        let mut line = json!({
            "part": self.part,
            "round": self.round,
            "subject": self.subject.name(),
            "workload": case.workload.name(),
            "connections": case.connections,
            "pipeline": case.pipeline,
            "value": case.value,
            "keys": case.keys,
            "distribution": case.distribution.name(),
            "at": case.at.name(),
            "pace": case.pace.to_string(),
            "rate": self.rate,
            "ops": self.ops,
            "errors": self.errors,
            "unsent": self.unsent,
            "seconds": self.seconds,
            "ops_per_second": self.throughput(),
            "late_p99_us": self.late_us,
            "server_cpu_seconds": self.server_cpu,
            "generator_cpu_seconds": self.generator_cpu,
            "peak_memory_bytes": self.memory,
            "peak_memory_of_one_bytes": self.memory_of_one,
            "idle_memory_of_one_bytes": self.memory_idle,
        });
        for (name, us) in NAMES.iter().zip(self.latency_us) {
            line[*name] = us.into();
        }
        line.to_string()
    }

    /// Reads a line. What older lines do not have is taken as they were measured, or as zero.
    pub fn parse(line: &str) -> Option<Turn> {
        let line: Value = serde_json::from_str(line).ok()?;
        let number = |name: &str| line[name].as_u64();
        let seconds = |name: &str| line[name].as_f64();
        let word = |name: &str| line[name].as_str();
        let usual = Case::default();
        let case = Case {
            workload: Workload::ALL.into_iter().find(|w| Some(w.name()) == word("workload"))?,
            connections: number("connections").map_or(usual.connections, |n| n as usize),
            pipeline: number("pipeline").map_or(usual.pipeline, |n| n as usize),
            value: number("value").map_or(usual.value, |n| n as usize),
            keys: number("keys").unwrap_or(usual.keys),
            distribution: Distribution::ALL
                .into_iter()
                .find(|d| Some(d.name()) == word("distribution"))
                .unwrap_or(usual.distribution),
            at: At::ALL.into_iter().find(|a| Some(a.name()) == word("at")).unwrap_or(usual.at),
            pace: word("pace").and_then(Pace::named).unwrap_or(usual.pace),
        };
        Some(Turn {
            part: word("part").unwrap_or_default().to_owned(),
            round: number("round")? as usize,
            subject: Subject::named(word("subject")?)?,
            case,
            rate: seconds("rate"),
            ops: number("ops")?,
            errors: number("errors")?,
            unsent: number("unsent").unwrap_or(0),
            seconds: seconds("seconds")?,
            latency_us: NAMES.map(|name| number(name).unwrap_or(0)),
            late_us: number("late_p99_us").unwrap_or(0),
            server_cpu: seconds("server_cpu_seconds")?,
            generator_cpu: seconds("generator_cpu_seconds")?,
            memory: number("peak_memory_bytes")?,
            memory_of_one: number("peak_memory_of_one_bytes").unwrap_or(0),
            memory_idle: number("idle_memory_of_one_bytes").unwrap_or(0),
        })
    }
}

/// A number of every turn.
pub type Of<'a> = &'a dyn Fn(&Turn) -> f64;

/// The turns of a case and subject within a part, in their order.
pub fn of<'a>(
    turns: &'a [Turn],
    part: &'a str,
    case: &'a Case,
    subject: Subject,
) -> impl Iterator<Item = &'a Turn> {
    turns
        .iter()
        .filter(move |turn| turn.part == part && turn.subject == subject && turn.case == *case)
}

/// One subject over another, each turn over the other's turn of the same round.
pub fn ratio(
    turns: &[Turn],
    part: &str,
    case: &Case,
    [over, under]: [Subject; 2],
    number: Of<'_>,
) -> Option<Spread> {
    // A subject of one server is measured once, wherever clients of the other are.
    let spread = Case { at: At::Spread, ..case.clone() };
    let elsewhere = (!under.is_cluster()).then(|| of(turns, part, &spread, under));
    let theirs: Vec<&Turn> =
        of(turns, part, case, under).chain(elsewhere.into_iter().flatten()).collect();
    Spread::of(of(turns, part, case, over).filter_map(|turn| {
        let other = theirs.iter().find(|other| other.round == turn.round)?;
        Some(number(turn) / number(other)).filter(|ratio| ratio.is_finite())
    }))
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A turn with so many operations a second, for other tests too.
    pub fn turn(subject: Subject, round: usize, ops: u64) -> Turn {
        Turn {
            part: "kv".into(),
            round,
            subject,
            case: Case::default(),
            rate: None,
            ops: ops * 2,
            errors: 0,
            unsent: 0,
            seconds: 2.0,
            latency_us: [100, 200, 250, 900, 1_500, 2_000, 2_500],
            late_us: 9,
            server_cpu: 0.5,
            generator_cpu: 0.25,
            memory: 3 << 20,
            memory_of_one: 1 << 20,
            memory_idle: 1 << 19,
        }
    }

    #[test]
    fn a_line_is_read_as_it_was_written() {
        let mut turn = turn(Subject::RedisEverysec, 3, 500);
        turn.case.pace = Pace::Half;
        turn.rate = Some(250.0);
        assert_eq!(Turn::parse(&turn.json()), Some(turn));
    }

    #[test]
    fn older_lines_are_read_and_nonsense_is_not() {
        let line = "{\"round\":1,\"subject\":\"redis\",\"workload\":\"get\",\"ops\":1000,\
                    \"errors\":0,\"seconds\":2.0,\"ops_per_second\":500.0,\"p50_us\":1,\
                    \"p99_us\":2,\"p999_us\":3,\"max_us\":4,\"server_cpu_seconds\":0.5,\
                    \"generator_cpu_seconds\":0.25,\"peak_memory_bytes\":7}";
        let turn = Turn::parse(line).unwrap();
        assert_eq!((turn.throughput(), turn.latency_ms(99.0)), (500.0, 0.002));
        assert_eq!(turn.case, Case { workload: Workload::Get, ..Case::default() });
        assert_eq!(Turn::parse("{}"), None);
        assert_eq!(Turn::parse(&line.replace("redis", "kafka")), None);
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        let turns = [
            turn(Subject::Underpin, 1, 200),
            turn(Subject::Redis, 1, 100),
            turn(Subject::Redis, 2, 100),
            turn(Subject::Underpin, 2, 400),
            turn(Subject::Underpin, 3, 900),
        ];
        let pair = [Subject::Underpin, Subject::Redis];
        let ratio = |case: &Case| ratio(&turns, "kv", case, pair, &Turn::throughput);
        assert_eq!(
            ratio(&Case::default()),
            Some(Spread { median: 3.0, low: 2.0, high: 4.0 }),
            "round 3 has no pair"
        );
        assert_eq!(ratio(&Case { pipeline: 2, ..Case::default() }), None);
    }
}
