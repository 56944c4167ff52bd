//! The words of the command line.

use crate::worlds::{Kind, Size};
use std::path::PathBuf;

/// What `--help` prints.
pub const HELP: &str = "\
cargo xtask sim [OPTIONS]

  --seeds N        so many worlds of whole nodes; default 1000
  --raft-seeds N   and so many of Raft alone; default 0
  --from S         beginning with seed S; default 1
  --seed S         one world, told event by event
  --raft-seed S    one of Raft alone
  --script FILE    a run that was written down
  --beyond         worlds of whole nodes beyond the promise: majorities of disks are lost and old images
                   come back; nodes may lose and must not lie
  --quiet          with these three: only how it ended
  --shrink         with these three: what fails is made smaller, and written down
  --nodes N        nodes in each world; default 5
  --seconds N      seconds of faults in each world, in its own time; default 30
  --threads N      default 2
  --keep-going     do not stop at the first failure

  --hours H        a campaign: both worlds for so long, with a line of progress now and then. What
                   fails is shrunk, and its script written to target/sim/failures; results are
                   in target/sim/campaign.json, brought up to date every minute
  --raft-share P   so many percent of its time for Raft alone; default 20
  --beyond-share P and so many for worlds beyond the promise, which are counted apart; default 5
  --record         writes its results into docs/verification.md too

  --twice          runs everything in two processes and compares the traces
  --speed          seeds a minute, of 300 virtual seconds in Raft alone and 120 with whole nodes;
                   --measure N for how many seconds each; default 60

Exit code 1 says that some world failed; its seed, what was violated and the last events are shown.
";

/// What is wanted.
#[derive(Clone, Debug)]
pub struct Options {
    pub from: u64,
    pub seeds: u64,
    pub raft_seeds: u64,
    pub one: Option<u64>,
    pub raft_one: Option<u64>,
    pub script: Option<PathBuf>,
    pub quiet: bool,
    pub shrink: bool,
    pub size: Size,
    pub hours: Option<f64>,
    pub raft_share: u64,
    pub beyond: bool,
    beyond_share: u64,
    pub record: bool,
    pub threads: u64,
    pub keep_going: bool,
    pub twice: bool,
    pub hashes: bool,
    pub backwards: bool,
    pub speed: bool,
    pub measure_seconds: f64,
}

impl Options {
    fn new() -> Options {
        Options {
            from: 1,
            seeds: 1000,
            raft_seeds: 0,
            one: None,
            raft_one: None,
            script: None,
            quiet: false,
            shrink: false,
            size: Size { nodes: 5, seconds: 30, raft_seconds: None },
            hours: None,
            raft_share: 20,
            beyond: false,
            beyond_share: 5,
            record: false,
            threads: 2,
            keep_going: false,
            twice: false,
            hashes: false,
            backwards: false,
            speed: false,
            measure_seconds: 60.0,
        }
    }

    /// The kind of worlds of whole nodes.
    pub fn nodes(&self) -> Kind {
        if self.beyond { Kind::Beyond } else { Kind::Nodes }
    }

    /// How much of a campaign's time is for worlds beyond the promise, in percent.
    pub fn beyond_share(&self) -> u64 {
        if self.beyond { 100 - self.raft_share } else { self.beyond_share }
    }

    /// Reads the words of a command line.
    pub fn parse(words: &[String]) -> Result<Options, String> {
        let mut options = Options::new();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match word.as_str() {
                "--beyond" => options.beyond = true,
                "--beyond-share" => {
                    options.beyond_share = number::<u64>(word, words.next())?.min(100);
                }
                "--quiet" => options.quiet = true,
                "--shrink" => options.shrink = true,
                "--keep-going" => options.keep_going = true,
                "--record" => options.record = true,
                "--twice" => options.twice = true,
                "--hashes" => options.hashes = true,
                "--backwards" => options.backwards = true,
                "--speed" => options.speed = true,
                "--from" => options.from = number(word, words.next())?,
                "--seeds" => options.seeds = number(word, words.next())?,
                "--raft-seeds" => options.raft_seeds = number(word, words.next())?,
                "--seed" => options.one = Some(number(word, words.next())?),
                "--raft-seed" => options.raft_one = Some(number(word, words.next())?),
                "--script" => options.script = Some(number(word, words.next())?),
                "--nodes" => {
                    options.size.nodes = number::<u64>(word, words.next())?.clamp(1, 9);
                }
                "--seconds" => options.size.seconds = number(word, words.next())?,
                "--threads" => options.threads = number::<u64>(word, words.next())?.clamp(1, 64),
                "--hours" => options.hours = Some(number(word, words.next())?),
                "--raft-share" => {
                    options.raft_share = number::<u64>(word, words.next())?.min(100);
                }
                "--measure" => options.measure_seconds = number(word, words.next())?,
                _ => return Err(format!("{word}: there is no such option\n\n{HELP}")),
            }
        }
        Ok(options)
    }
}

fn number<T: std::str::FromStr>(option: &str, word: Option<&String>) -> Result<T, String> {
    let word = word.ok_or_else(|| format!("{option} needs a value"))?;
    word.parse().map_err(|_| format!("{option} {word}: not understood"))
}
