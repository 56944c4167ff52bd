//! What a run measures, as its command line says.

use crate::case::{At, Case, Distribution, Pace, Workload};
use crate::plan::{self, Part};
use crate::subject::Subject;
use std::env;

/// What `underpin-bench --help` prints.
pub const HELP: &str = "\
cargo xtask bench kv [OPTIONS]        throughput, latency, CPU and memory beside the peers
cargo xtask bench recovery [OPTIONS]  time without acknowledged writes after the leader is killed
cargo xtask bench plot FOLDER         page and plots of a folder's raw data again
cargo xtask million [--keys N]        a million keys: figures, and turns within their bounds

kv measures a cluster of three underpin servers, each syncing before it acknowledges, beside peers.
Subjects take turns, A B B A …; each turn starts fresh servers and runs every case: every workload
with every one of the numbers in the lists. Results go to bench/results/DATE-NAME/.

  --peers LIST        of redis, redis-everysec, etcd, zookeeper, nats, nats-always, echo; or none
                                                                        [redis]
  --suite NAME        must-show, ycsb or curves: cases of that name, instead of those below
  --workloads LIST    of set, get, mixed (half each), ycsb-a to ycsb-f  [set,get,mixed]
  --connections LIST  connections of the load generator                 [64]
  --pipeline LIST     requests in flight on each, at most               [1]
  --value LIST        bytes of a value                                  [100]
  --keys LIST         keys that are there before                        [100000]
  --dist LIST         how keys are drawn: uniform, zipfian              [uniform]
  --at LIST           where clients are: leader, spread (over all)      [spread]
  --pace LIST         closed; a number of requests a second; or half, of what the same subject does
                      in the closed loop                                [closed]
  --seconds N         measured seconds of each case                     [10]
  --warmup N          seconds before, not measured                      [2]
  --rounds N          turns of each subject                             [5]
  --floors yes|no     what the machine allows, measured beside: echo, one writer that syncs, look-ups
                      in a hash map                                     [yes]
  --name NAME         what the results are called                       [kv, or the suite]
  --out DIR           where they go                                     [bench/results]

must-show takes the peers that it needs, nats-always only if UNDERPIN_NATS_SERVER names a nats-server
that knows `sync_interval: always`, and recovery with it.

recovery kills the leader again and again, with each system's own election settings and with equal
ones, while eight clients write.

  --peers LIST        of etcd, zookeeper; or none                       [etcd,zookeeper]
  --times N           leaders killed, of each system and setting        [20]
  --name, --out       as above                                          [recovery]
";

/// Everything that can be chosen.
#[derive(Clone, Debug)]
pub struct Options {
    /// What is measured.
    pub parts: Vec<Part>,
    /// Whether these parts are those of "Must show".
    pub must_show: bool,
    /// Measured seconds of each case.
    pub seconds: u64,
    /// Seconds before, not measured.
    pub warmup: u64,
    /// Whether floors are measured.
    pub floors: bool,
    /// Whether recovery is measured as well, and how often.
    pub times: usize,
    /// What the results are called.
    pub name: String,
    /// Where they go.
    pub out: String,
}

impl Options {
    /// Reads the words after `kv`.
    pub fn parse(words: &[String]) -> Result<Options, String> {
        let mut draft = Draft::default();
        for (flag, value) in pairs(words)? {
            draft.take(flag, value)?;
        }
        draft.finish()
    }
}

/// Options while their words are read.
struct Draft {
    peers: Vec<Subject>,
    suite: Option<String>,
    workloads: Vec<Workload>,
    connections: Vec<usize>,
    pipelines: Vec<usize>,
    values: Vec<usize>,
    keys: Vec<usize>,
    distributions: Vec<Distribution>,
    places: Vec<At>,
    paces: Vec<Pace>,
    seconds: usize,
    warmup: usize,
    rounds: usize,
    times: usize,
    floors: bool,
    name: Option<String>,
    out: String,
}

impl Default for Draft {
    fn default() -> Draft {
        Draft {
            peers: vec![Subject::Redis],
            suite: None,
            workloads: vec![Workload::Set, Workload::Get, Workload::Mixed],
            connections: vec![64],
            pipelines: vec![1],
            values: vec![100],
            keys: vec![100_000],
            distributions: vec![Distribution::Uniform],
            places: vec![At::Spread],
            paces: vec![Pace::Closed],
            seconds: 10,
            warmup: 2,
            rounds: 5,
            times: 20,
            floors: true,
            name: None,
            out: OUT.into(),
        }
    }
}

/// Where results go.
const OUT: &str = "bench/results";

impl Draft {
    fn take(&mut self, flag: &str, value: &str) -> Result<(), String> {
        match flag {
            "--peers" => self.peers = peers(value, &Subject::ALL[1..])?,
            "--suite" => self.suite = Some(value.into()),
            "--workloads" => {
                self.workloads = list(flag, value, |name| {
                    Workload::ALL.into_iter().find(|workload| workload.name() == name)
                })?;
            }
            "--connections" => self.connections = numbers(flag, value)?,
            "--pipeline" => self.pipelines = numbers(flag, value)?,
            "--value" => self.values = numbers(flag, value)?,
            "--keys" => self.keys = numbers(flag, value)?,
            "--dist" => {
                let named = |name: &str| Distribution::ALL.into_iter().find(|d| d.name() == name);
                self.distributions = list(flag, value, named)?;
            }
            "--at" => {
                let named = |name: &str| At::ALL.into_iter().find(|at| at.name() == name);
                self.places = list(flag, value, named)?;
            }
            "--pace" => self.paces = list(flag, value, Pace::named)?,
            "--seconds" => self.seconds = number(flag, value)?,
            "--warmup" => self.warmup = number(flag, value)?,
            "--rounds" => self.rounds = number(flag, value)?,
            "--times" => self.times = number(flag, value)?,
            "--floors" => {
                let named = |word: &str| match word {
                    "yes" => Some(true),
                    "no" => Some(false),
                    _ => None,
                };
                self.floors = named(value).ok_or_else(|| format!("--floors {value}: yes or no"))?;
            }
            "--name" => self.name = Some(value.into()),
            "--out" => self.out = value.into(),
            _ => return Err(format!("there is no option {flag}")),
        }
        Ok(())
    }

    fn finish(self) -> Result<Options, String> {
        let mut subjects = vec![Subject::Underpin];
        subjects.extend(&self.peers);
        if self.floors && !subjects.contains(&Subject::Echo) {
            subjects.push(Subject::Echo);
        }
        let base = Case {
            connections: self.connections[0],
            value: self.values[0],
            keys: self.keys[0] as u64,
            ..Case::default()
        };
        let parts = match self.suite.as_deref() {
            None => vec![Part::new("kv", &subjects, self.cases(), self.rounds)],
            Some("ycsb") => plan::ycsb(&subjects, self.rounds, &base),
            Some("curves") => plan::curves(&subjects, self.rounds),
            Some("must-show") => {
                plan::must_show(env::var_os("UNDERPIN_NATS_SERVER").is_some(), self.rounds)
            }
            Some(other) => {
                return Err(format!("--suite {other}: must-show, ycsb or curves"));
            }
        };
        let must_show = self.suite.as_deref() == Some("must-show");
        Ok(Options {
            parts,
            must_show,
            seconds: self.seconds as u64,
            warmup: self.warmup as u64,
            floors: self.floors,
            times: self.times,
            name: self.name.or(self.suite).unwrap_or_else(|| "kv".into()),
            out: self.out,
        })
    }

    /// Every combination, those with the same keys one after the other.
    fn cases(&self) -> Vec<Case> {
        let mut cases = vec![Case::default()];
        let vary = |cases: &mut Vec<Case>, count: usize, set: &dyn Fn(&mut Case, usize)| {
            let each = |case: &Case| {
                let one = |index| {
                    let mut case = case.clone();
                    set(&mut case, index);
                    case
                };
                (0..count).map(one).collect::<Vec<_>>()
            };
            *cases = cases.iter().flat_map(each).collect();
        };
        vary(&mut cases, self.keys.len(), &|case, n| case.keys = self.keys[n] as u64);
        vary(&mut cases, self.values.len(), &|case, n| case.value = self.values[n]);
        vary(&mut cases, self.workloads.len(), &|case, n| case.workload = self.workloads[n]);
        vary(&mut cases, self.distributions.len(), &|case, n| {
            case.distribution = self.distributions[n];
        });
        vary(&mut cases, self.connections.len(), &|case, n| case.connections = self.connections[n]);
        vary(&mut cases, self.pipelines.len(), &|case, n| case.pipeline = self.pipelines[n]);
        vary(&mut cases, self.places.len(), &|case, n| case.at = self.places[n]);
        vary(&mut cases, self.paces.len(), &|case, n| case.pace = self.paces[n]);
        cases
    }
}

/// What `recovery` is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// Beside Underpin.
    pub peers: Vec<Subject>,
    /// Leaders killed, of each system and setting.
    pub times: usize,
    /// What the results are called.
    pub name: String,
    /// Where they go.
    pub out: String,
}

impl Recovery {
    /// Those that can be killed and compared.
    pub const PEERS: [Subject; 2] = [Subject::Etcd, Subject::ZooKeeper];

    /// Reads the words after `recovery`.
    pub fn parse(words: &[String]) -> Result<Recovery, String> {
        let mut recovery = Recovery {
            peers: Recovery::PEERS.to_vec(),
            times: 20,
            name: "recovery".into(),
            out: OUT.into(),
        };
        for (flag, value) in pairs(words)? {
            match flag {
                "--peers" => recovery.peers = peers(value, &Recovery::PEERS)?,
                "--times" => recovery.times = number(flag, value)?,
                "--name" => recovery.name = value.into(),
                "--out" => recovery.out = value.into(),
                _ => return Err(format!("there is no option {flag}")),
            }
        }
        Ok(recovery)
    }
}

/// Flags and their values.
fn pairs(words: &[String]) -> Result<Vec<(&str, &str)>, String> {
    words.chunks(2).map(pair).collect()
}

fn pair(pair: &[String]) -> Result<(&str, &str), String> {
    match pair {
        [flag, value] => Ok((flag, value)),
        _ => Err(format!("{} needs a value", pair[0])),
    }
}

fn number(flag: &str, value: &str) -> Result<usize, String> {
    match value.parse::<usize>() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(format!("{flag} {value}: a number from 1 up is needed")),
    }
}

fn numbers(flag: &str, value: &str) -> Result<Vec<usize>, String> {
    value.split(',').map(|value| number(flag, value)).collect()
}

fn list<T>(flag: &str, value: &str, named: impl Fn(&str) -> Option<T>) -> Result<Vec<T>, String> {
    let one = |name: &str| named(name).ok_or_else(|| format!("{flag}: there is no {name}"));
    value.split(',').map(one).collect()
}

fn peers(value: &str, known: &[Subject]) -> Result<Vec<Subject>, String> {
    if value == "none" {
        return Ok(vec![]);
    }
    list("--peers", value, |name| Subject::named(name).filter(|subject| known.contains(subject)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_string).collect()
    }

    fn parse(line: &str) -> Result<Options, String> {
        Options::parse(&words(line))
    }

    #[test]
    fn options_are_read() {
        let line = "--peers none --floors no --workloads get,set --pipeline 16 --name x";
        let options = parse(line).unwrap();
        let part = &options.parts[0];
        assert_eq!(part.subjects, [Subject::Underpin]);
        let kinds: Vec<_> = part.cases.iter().map(|case| (case.workload, case.pipeline)).collect();
        assert_eq!(kinds, [(Workload::Get, 16), (Workload::Set, 16)]);
        assert_eq!((&options.name[..], options.must_show), ("x", false));
        let usual = parse("").unwrap();
        assert_eq!(usual.parts[0].subjects, [Subject::Underpin, Subject::Redis, Subject::Echo]);
        assert_eq!((usual.parts[0].cases.len(), usual.parts[0].rounds), (3, 5));
    }

    #[test]
    fn lists_are_combined() {
        let options = parse("--connections 1,64,256 --keys 1000,1000000 --at leader,spread");
        let cases = options.unwrap().parts[0].cases.clone();
        assert_eq!(cases.len(), 3 * 2 * 2 * 3);
        let keys: Vec<u64> = cases.iter().map(|case| case.keys).collect();
        assert!(keys.is_sorted(), "one start of the servers after the other");
        let paces = parse("--pace closed,half,500 --workloads set").unwrap().parts[0].cases.clone();
        assert_eq!(paces[2].pace, Pace::Rate(500));
    }

    #[test]
    fn suites_have_names() {
        let options = parse("--suite must-show --rounds 2").unwrap();
        assert!(options.must_show && options.name == "must-show");
        assert!(options.parts.iter().all(|part| part.rounds == 2));
        assert_eq!(parse("--suite ycsb --peers etcd").unwrap().parts[0].cases.len(), 6);
    }

    #[test]
    fn recovery_is_read() {
        let recovery = Recovery::parse(&words("--peers etcd --times 3")).unwrap();
        assert_eq!((recovery.peers, recovery.times), (vec![Subject::Etcd], 3));
        assert!(Recovery::parse(&words("--peers redis")).is_err());
    }

    #[test]
    fn mistakes_are_told() {
        for line in [
            "--peers kafka",
            "--peers underpin",
            "--workloads scan",
            "--rounds 0",
            "--rounds",
            "--fast 1",
            "--suite all",
            "--pace 0",
            "--dist normal",
            "--floors maybe",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
