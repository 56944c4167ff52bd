//! What a run measures.

/// What `underpin-bench --help` prints.
pub const HELP: &str = "\
cargo xtask bench kv [OPTIONS]
cargo xtask million [--keys N]

Measures a cluster of three underpin servers, each syncing before it acknowledges, beside Redis with
appendfsync always. Subjects take turns, A B B A …; each turn starts fresh servers and runs every
workload. Results go to bench/results/DATE-NAME/.

  --peers LIST        redis, or none                                    [redis]
  --workloads LIST    set, get, mixed (half each)                       [set,get,mixed]
  --connections N     connections of the load generator                 [64]
  --pipeline N        requests in flight on each                        [1]
  --value N           bytes of a value                                  [100]
  --keys N            keys, drawn uniformly                             [100000]
  --seconds N         measured seconds of each workload                 [10]
  --warmup N          seconds before, not measured                      [2]
  --rounds N          turns of each subject                             [5]
  --name NAME         what the results are called                       [kv]
  --out DIR           where they go                                     [bench/results]
";

/// A kind of load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    /// Only SET.
    Set,
    /// Only GET, of keys that are there.
    Get,
    /// Half and half.
    Mixed,
}

impl Workload {
    /// Its name on the command line and in results.
    pub fn name(self) -> &'static str {
        match self {
            Workload::Set => "set",
            Workload::Get => "get",
            Workload::Mixed => "mixed",
        }
    }
}

/// Everything that can be chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Whether Redis is measured too.
    pub redis: bool,
    /// The workloads, in order.
    pub workloads: Vec<Workload>,
    /// Connections of the load generator.
    pub connections: usize,
    /// Requests in flight on each.
    pub pipeline: usize,
    /// Bytes of a value.
    pub value: usize,
    /// How many keys there are.
    pub keys: u64,
    /// Measured seconds of each workload.
    pub seconds: u64,
    /// Seconds before, not measured.
    pub warmup: u64,
    /// Turns of each subject.
    pub rounds: usize,
    /// What the results are called.
    pub name: String,
    /// Where they go.
    pub out: String,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            redis: true,
            workloads: vec![Workload::Set, Workload::Get, Workload::Mixed],
            connections: 64,
            pipeline: 1,
            value: 100,
            keys: 100_000,
            seconds: 10,
            warmup: 2,
            rounds: 5,
            name: "kv".into(),
            out: "bench/results".into(),
        }
    }
}

impl Options {
    /// Reads the words after `kv`.
    pub fn parse(words: &[String]) -> Result<Options, String> {
        let mut options = Options::default();
        let mut words = words.iter();
        while let Some(flag) = words.next() {
            let value = words.next().ok_or_else(|| format!("{flag} needs a value"))?;
            let number = || match value.parse::<usize>() {
                Ok(number) if number > 0 => Ok(number),
                _ => Err(format!("{flag} {value}: a number from 1 up is needed")),
            };
            match flag.as_str() {
                "--peers" => options.redis = peers(value)?,
                "--workloads" => {
                    options.workloads = value.split(',').map(workload).collect::<Result<_, _>>()?;
                }
                "--connections" => options.connections = number()?,
                "--pipeline" => options.pipeline = number()?,
                "--value" => options.value = number()?,
                "--keys" => options.keys = number()? as u64,
                "--seconds" => options.seconds = number()? as u64,
                "--warmup" => options.warmup = number()? as u64,
                "--rounds" => options.rounds = number()?,
                "--name" => options.name = value.clone(),
                "--out" => options.out = value.clone(),
                _ => return Err(format!("there is no option {flag}")),
            }
        }
        Ok(options)
    }
}

fn peers(value: &str) -> Result<bool, String> {
    match value {
        "redis" => Ok(true),
        "none" => Ok(false),
        _ => Err(format!("--peers {value}: redis or none")),
    }
}

fn workload(name: &str) -> Result<Workload, String> {
    let all = [Workload::Set, Workload::Get, Workload::Mixed];
    let found = all.into_iter().find(|workload| workload.name() == name);
    found.ok_or_else(|| format!("--workloads {name}: set, get or mixed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, String> {
        Options::parse(&line.split_whitespace().map(str::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn options_are_read() {
        let options = parse("--peers none --workloads get,set --pipeline 16 --name x").unwrap();
        assert!(!options.redis);
        assert_eq!(options.workloads, [Workload::Get, Workload::Set]);
        assert_eq!((options.pipeline, &options.name[..]), (16, "x"));
        assert_eq!(parse("").unwrap(), Options::default());
    }

    #[test]
    fn mistakes_are_told() {
        for line in ["--peers kafka", "--workloads scan", "--rounds 0", "--rounds", "--fast 1"] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
