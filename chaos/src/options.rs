//! The command line, and the matrix of workloads and faults.

use base::Random;

/// What `--help` prints.
pub const HELP: &str = "\
cargo xtask chaos [OPTIONS]

Real servers in network namespaces, hurt on purpose, and judged by the simulator's checkers. Needs
root, iproute2 and nftables.

  --server NAME     underpin; or etcd, or redis (a primary and replicas that follow when they
                    like, without a log: must be found out), for the register   [underpin]
  --workload NAME   register counter bank session expiry scan, or all at once     [the matrix]
  --fault NAME      calm kill kill-all pause isolate halves one-way bridge ring delay loss clock
                    full storm; wrong-clocks, which breaks what leases rest on    [the matrix]
  --runs N          so many, from the matrix                            [each pair once]
  --seconds S       of faults in each run                               [60]
  --nodes 3|5       [3; 5 where a fault needs them, and in storms]
  --jobs N          runs side by side                                   [2]
  --seed N          decides order and faults, not what threads do       [1]
  --record          keep the results in chaos/results.json and show them in docs/verification.md
  --keep            keep logs, deeds and histories of runs without violations too
  --quick           what CI does: two short storms hold, and a store that loses writes is found
";

/// What clients do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Workload {
    /// SET, GET, DEL and compare-and-set; linearizable.
    Register,
    /// INCR, as it is and with UNDERPIN.ONCE; each counted at most, or exactly, once.
    Counter,
    /// Transfers by MULTI, EXEC and WATCH; no money made.
    Bank,
    /// Strong sessions, and ones that read the nearest replica.
    Session,
    /// Keys that end, neither early nor again.
    Expiry,
    /// SCANs that miss no key that stays.
    Scan,
    /// All of these at once.
    All,
}

/// The workloads of the matrix.
pub const WORKLOADS: [Workload; 6] = [
    Workload::Register,
    Workload::Counter,
    Workload::Bank,
    Workload::Session,
    Workload::Expiry,
    Workload::Scan,
];

impl Workload {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Workload::Register => "register",
            Workload::Counter => "counter",
            Workload::Bank => "bank",
            Workload::Session => "session",
            Workload::Expiry => "expiry",
            Workload::Scan => "scan",
            Workload::All => "all",
        }
    }

    /// Whether it takes part; `All` takes every part.
    pub fn has(self, part: Workload) -> bool {
        self == part || self == Workload::All
    }
}

/// What is done to servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// Nothing.
    Calm,
    /// `kill -9` of one, mostly the leader.
    Kill,
    /// `kill -9` of all at one moment.
    KillAll,
    /// SIGSTOP for a while, mostly of the leader.
    Pause,
    /// One is cut off from its peers, mostly the leader; its clients still reach it.
    Isolate,
    /// Two sides that do not hear each other.
    Halves,
    /// One hears nobody, or nobody hears it, or just one link is cut one way.
    OneWay,
    /// Two sides that both hear one node between them.
    Bridge,
    /// Each hears a majority, no two the same one.
    Ring,
    /// Packets between peers are late.
    Delay,
    /// Packets between peers are lost, doubled, out of order.
    Loss,
    /// A minority's wall clocks are off and run wrong, all monotonic ones drift as far as they may.
    Clock,
    /// Disks are full for a while.
    Full,
    /// All of it but full disks.
    Storm,
    /// Monotonic clocks that drift far more than leases allow. Not in the matrix: it must be found.
    WrongClocks,
}

/// The faults of the matrix.
pub const FAULTS: [Fault; 14] = [
    Fault::Calm,
    Fault::Kill,
    Fault::KillAll,
    Fault::Pause,
    Fault::Isolate,
    Fault::Halves,
    Fault::OneWay,
    Fault::Bridge,
    Fault::Ring,
    Fault::Delay,
    Fault::Loss,
    Fault::Clock,
    Fault::Full,
    Fault::Storm,
];

impl Fault {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Fault::Calm => "calm",
            Fault::Kill => "kill",
            Fault::KillAll => "kill-all",
            Fault::Pause => "pause",
            Fault::Isolate => "isolate",
            Fault::Halves => "halves",
            Fault::OneWay => "one-way",
            Fault::Bridge => "bridge",
            Fault::Ring => "ring",
            Fault::Delay => "delay",
            Fault::Loss => "loss",
            Fault::Clock => "clock",
            Fault::Full => "full",
            Fault::Storm => "storm",
            Fault::WrongClocks => "wrong-clocks",
        }
    }

    /// How many nodes show it best.
    pub fn nodes(self) -> usize {
        match self {
            Fault::Halves | Fault::Ring | Fault::Storm => 5,
            _ => 3,
        }
    }

    /// Whether packets between peers go through the relay.
    pub fn needs_relay(self) -> bool {
        matches!(self, Fault::Delay | Fault::Loss | Fault::Storm)
    }

    /// Whether the wall clocks of some nodes are wrong.
    pub fn bends_clocks(self) -> bool {
        matches!(self, Fault::Clock | Fault::Storm)
    }
}

/// Which servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Ours.
    Underpin,
    /// etcd, by its gateway for JSON.
    Etcd,
    /// A Redis primary with replicas, none of which keeps a log.
    Redis,
}

impl Kind {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Underpin => "underpin",
            Kind::Etcd => "etcd",
            Kind::Redis => "redis",
        }
    }

    /// Whether it understands a workload's commands, and a fault is about it.
    pub fn takes(self, workload: Workload, fault: Fault) -> bool {
        let clocks = fault.bends_clocks() || fault == Fault::WrongClocks;
        match self {
            Kind::Underpin => true,
            Kind::Etcd | Kind::Redis => {
                workload == Workload::Register && !clocks && fault != Fault::Full
            }
        }
    }
}

/// One run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Case {
    /// Counted from 1.
    pub number: usize,
    /// Which servers.
    pub kind: Kind,
    /// How many.
    pub nodes: usize,
    /// What clients do.
    pub workload: Workload,
    /// What is done to servers.
    pub fault: Fault,
    /// For so long.
    pub seconds: u64,
    /// Decides what, to whom and when.
    pub seed: u64,
}

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Which servers.
    pub kind: Kind,
    /// Only this workload.
    pub workload: Option<Workload>,
    /// Only this fault.
    pub fault: Option<Fault>,
    /// So many runs.
    pub runs: Option<usize>,
    /// Seconds of faults.
    pub seconds: u64,
    /// Nodes of each cluster.
    pub nodes: Option<usize>,
    /// Runs side by side.
    pub jobs: usize,
    /// Of all that is drawn.
    pub seed: u64,
    /// Whether results are kept.
    pub record: bool,
    /// Whether everything is kept of every run.
    pub keep: bool,
    /// Only what CI does.
    pub quick: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            kind: Kind::Underpin,
            workload: None,
            fault: None,
            runs: None,
            seconds: 60,
            nodes: None,
            jobs: 2,
            seed: 1,
            record: false,
            keep: false,
            quick: false,
        }
    }
}

/// Networks are numbered by job.
const JOBS_MAX: usize = 16;

impl Options {
    /// Reads the words of a command line.
    pub fn parse(words: &[String]) -> Result<Options, String> {
        let mut options = Options::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
            match word.as_str() {
                "--record" => options.record = true,
                "--keep" => options.keep = true,
                "--quick" => options.quick = true,
                "--server" => {
                    let kinds = [Kind::Underpin, Kind::Etcd, Kind::Redis];
                    options.kind = named(&kinds, Kind::name, value()?)?;
                }
                "--workload" => {
                    let known = [&WORKLOADS[..], &[Workload::All]].concat();
                    options.workload = Some(named(&known, Workload::name, value()?)?);
                }
                "--fault" => {
                    let known = [&FAULTS[..], &[Fault::WrongClocks]].concat();
                    options.fault = Some(named(&known, Fault::name, value()?)?);
                }
                "--runs" => options.runs = Some(number(value()?, 1, 100_000)? as usize),
                "--seconds" => options.seconds = number(value()?, 1, 86_400)?,
                "--nodes" => options.nodes = Some(number(value()?, 3, 5)? as usize),
                "--jobs" => options.jobs = number(value()?, 1, JOBS_MAX as u64)? as usize,
                "--seed" => options.seed = number(value()?, 0, u64::MAX)?,
                _ => return Err(format!("{word} is not an option\n\n{HELP}")),
            }
        }
        if options.cases().is_empty() {
            return Err(format!("{} can't take that", options.kind.name()));
        }
        Ok(options)
    }

    /// The runs, in an order drawn from the seed, so that a few of them are a sample of all.
    pub fn cases(&self) -> Vec<Case> {
        let workloads = self.workload.map_or(WORKLOADS.to_vec(), |workload| vec![workload]);
        let faults = self.fault.map_or(FAULTS.to_vec(), |fault| vec![fault]);
        let mut pairs: Vec<(Workload, Fault)> = workloads
            .iter()
            .flat_map(|workload| faults.iter().map(|fault| (*workload, *fault)))
            .filter(|(workload, fault)| self.kind.takes(*workload, *fault))
            .collect();
        let mut random = Random::new(self.seed);
        for last in (1..pairs.len()).rev() {
            pairs.swap(last, random.below(last as u64 + 1) as usize);
        }
        let runs = if pairs.is_empty() { 0 } else { self.runs.unwrap_or(pairs.len()) };
        let case = |(index, (workload, fault)): (usize, (Workload, Fault))| Case {
            number: index + 1,
            kind: self.kind,
            nodes: self.nodes.unwrap_or(fault.nodes()),
            workload,
            fault,
            seconds: self.seconds,
            seed: random.u64(),
        };
        pairs.into_iter().cycle().take(runs).enumerate().map(case).collect()
    }
}

fn named<T: Copy>(known: &[T], name: fn(T) -> &'static str, word: &str) -> Result<T, String> {
    let found = known.iter().copied().find(|one| name(*one) == word);
    let names: Vec<&str> = known.iter().map(|one| name(*one)).collect();
    found.ok_or_else(|| format!("{word} is none of: {}", names.join(" ")))
}

fn number(word: &str, low: u64, high: u64) -> Result<u64, String> {
    let number = word.parse().ok().filter(|number| (low..=high).contains(number));
    number.ok_or_else(|| format!("{word} is no number from {low} to {high}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, String> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        Options::parse(&words)
    }

    #[test]
    fn the_matrix_has_every_pair_once() {
        let cases = Options::default().cases();
        assert_eq!(cases.len(), WORKLOADS.len() * FAULTS.len());
        for workload in WORKLOADS {
            for fault in FAULTS {
                let of = |case: &&Case| (case.workload, case.fault) == (workload, fault);
                assert_eq!(cases.iter().filter(of).count(), 1, "{workload:?} {fault:?}");
            }
        }
        assert_eq!(cases, Options::default().cases(), "the same seed is the same plan");
    }

    #[test]
    fn more_runs_than_pairs_are_other_runs() {
        let options = parse("--workload bank --fault kill --runs 3 --nodes 5").unwrap();
        let cases = options.cases();
        assert_eq!(cases.len(), 3);
        assert!(cases.iter().all(|case| case.nodes == 5 && case.fault == Fault::Kill));
        assert_ne!(cases[0].seed, cases[1].seed);
    }

    #[test]
    fn strangers_are_only_asked_what_they_understand() {
        let options = parse("--server etcd").unwrap();
        assert!(options.cases().iter().all(|case| case.workload == Workload::Register));
        assert!(options.cases().iter().all(|case| case.fault != Fault::Clock));
        parse("--server etcd --workload bank").unwrap_err();
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for line in ["--fault fire", "--runs", "--runs 0", "--nodes 7", "--server", "fast"] {
            parse(line).unwrap_err();
        }
    }
}
