//! A case: a kind of load with everything that can be varied about it.

use std::fmt;

/// A kind of load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Workload {
    /// Only SET.
    Set,
    /// Only GET, of keys that are there.
    Get,
    /// Half and half.
    Mixed,
    /// YCSB's "update heavy": half and half.
    YcsbA,
    /// YCSB's "read mostly": one write in twenty.
    YcsbB,
    /// YCSB's "read only".
    YcsbC,
    /// YCSB's "read latest": one in twenty is a new key, and new keys are read most.
    YcsbD,
    /// YCSB's "short ranges": scans of up to a hundred keys, one in twenty a new key.
    YcsbE,
    /// YCSB's "read-modify-write": half of them are that, half are reads.
    YcsbF,
}

impl Workload {
    /// All of them.
    pub const ALL: [Workload; 9] = [
        Workload::Set,
        Workload::Get,
        Workload::Mixed,
        Workload::YcsbA,
        Workload::YcsbB,
        Workload::YcsbC,
        Workload::YcsbD,
        Workload::YcsbE,
        Workload::YcsbF,
    ];

    /// Its name on the command line and in results.
    pub fn name(self) -> &'static str {
        match self {
            Workload::Set => "set",
            Workload::Get => "get",
            Workload::Mixed => "mixed",
            Workload::YcsbA => "ycsb-a",
            Workload::YcsbB => "ycsb-b",
            Workload::YcsbC => "ycsb-c",
            Workload::YcsbD => "ycsb-d",
            Workload::YcsbE => "ycsb-e",
            Workload::YcsbF => "ycsb-f",
        }
    }

    /// Whether it is one of YCSB's.
    pub fn is_ycsb(self) -> bool {
        self >= Workload::YcsbA
    }
}

/// How keys are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distribution {
    /// Each as often as any other.
    Uniform,
    /// A few of them very often.
    Zipfian,
}

impl Distribution {
    /// All of them.
    pub const ALL: [Distribution; 2] = [Distribution::Uniform, Distribution::Zipfian];

    /// Its name on the command line and in results.
    pub fn name(self) -> &'static str {
        match self {
            Distribution::Uniform => "uniform",
            Distribution::Zipfian => "zipfian",
        }
    }
}

/// Which nodes clients are connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// The leader.
    Leader,
    /// All of them, in turn.
    Spread,
}

impl At {
    /// Both.
    pub const ALL: [At; 2] = [At::Leader, At::Spread];

    /// Its name on the command line and in results.
    pub fn name(self) -> &'static str {
        match self {
            At::Leader => "leader",
            At::Spread => "spread",
        }
    }
}

/// When requests are sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// When the one before is answered.
    Closed,
    /// So many a second, whether or not they are answered.
    Rate(u64),
    /// Half of what the same subject did in the same turn in the closed loop.
    Half,
}

impl Pace {
    /// The pace of a name: `closed`, `half` or a number.
    pub fn named(name: &str) -> Option<Pace> {
        match name {
            "closed" => Some(Pace::Closed),
            "half" => Some(Pace::Half),
            number => number.parse().ok().filter(|rate| *rate > 0).map(Pace::Rate),
        }
    }
}

impl fmt::Display for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pace::Closed => f.pad("closed"),
            Pace::Rate(rate) => f.pad(&rate.to_string()),
            Pace::Half => f.pad("half"),
        }
    }
}

/// A kind of load with everything that can be varied.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// What is done.
    pub workload: Workload,
    /// Connections of the generator.
    pub connections: usize,
    /// Requests in flight on each, at most.
    pub pipeline: usize,
    /// Bytes of a value.
    pub value: usize,
    /// Keys that are there before.
    pub keys: u64,
    /// How they are drawn.
    pub distribution: Distribution,
    /// Where clients are.
    pub at: At,
    /// When they send.
    pub pace: Pace,
}

impl Default for Case {
    fn default() -> Case {
        Case {
            workload: Workload::Set,
            connections: 64,
            pipeline: 1,
            value: 100,
            keys: 100_000,
            distribution: Distribution::Uniform,
            at: At::Spread,
            pace: Pace::Closed,
        }
    }
}

impl Case {
    /// How many requests a connection has room for. An open loop is not to wait for room, within
    /// reason.
    pub fn room(&self) -> usize {
        match self.pace {
            Pace::Closed => self.pipeline,
            Pace::Rate(_) | Pace::Half => self.pipeline.max(64),
        }
    }

    /// The same in the closed loop.
    pub fn closed(&self) -> Case {
        Case { pace: Pace::Closed, ..self.clone() }
    }
}

/// `set 64x1, 100 B, 100k keys, uniform, spread, closed`.
impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {}x{}, {} B, {} keys, {}, {}, {}",
            self.workload.name(),
            self.connections,
            self.pipeline,
            self.value,
            Short(self.keys),
            self.distribution.name(),
            self.at.name(),
            self.pace
        )
    }
}

/// A round number, shortened: 1k, 1M.
struct Short(u64);

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            n if n >= 1_000_000 && n % 1_000_000 == 0 => write!(f, "{}M", n / 1_000_000),
            n if n >= 1_000 && n % 1_000 == 0 => write!(f, "{}k", n / 1_000),
            n => write!(f, "{n}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_in_words() {
        let case = Case { keys: 1_000_000, pace: Pace::Half, ..Case::default() };
        assert_eq!(case.to_string(), "set 64x1, 100 B, 1M keys, uniform, spread, half");
        assert_eq!(case.closed().pace, Pace::Closed);
    }
}
