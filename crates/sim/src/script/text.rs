//! Scripts as text. One line says one thing; `#` begins a comment.

use super::{Kind, Part, Planned, Script, What};
use crate::mutant::Mutant;
use crate::profile::FAULTS;
use crate::raft::profile::DEEDS;
use base::time::SECOND;
use std::fmt;
use std::str::FromStr;

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.comment {
            writeln!(f, "{}", format!("# {line}").trim_end())?;
        }
        let kind = match self.kind {
            Kind::Raft => "raft",
            Kind::Nodes => "nodes",
        };
        writeln!(f, "world {kind}")?;
        writeln!(f, "seed {}", self.seed)?;
        if self.luck > 0 {
            writeln!(f, "luck {}", self.luck)?;
        }
        writeln!(f, "nodes {}", self.nodes)?;
        if let Some(mutant) = self.mutant {
            writeln!(f, "mutant {}", hyphened(mutant))?;
        }
        if self.beyond {
            writeln!(f, "beyond")?;
        }
        if self.wires {
            writeln!(f, "wires")?;
        }
        writeln!(f, "until {}", Moment(self.until))?;
        for Part { client, work, from, requests, .. } in &self.clients {
            write!(f, "client {client} {work} from {}", Moment(*from))?;
            match requests {
                Some(requests) => writeln!(f, " requests {requests}")?,
                None => writeln!(f)?,
            }
        }
        self.planned.iter().try_for_each(|planned| writeln!(f, "{planned}"))
    }
}

impl fmt::Display for Planned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at {} {}", Moment(self.at), self.what)?;
        if let Some(whom) = self.whom {
            write!(f, " n{whom}")?;
        }
        write!(f, " with {:016x}", self.draw)?;
        match self.words.as_str() {
            "" => Ok(()),
            words => write!(f, "    # {words}"),
        }
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&match self {
            What::Fault(fault) => hyphened(fault),
            What::Deed(deed) => hyphened(deed),
        })
    }
}

/// A time in seconds, to the microsecond.
struct Moment(u64);

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}s", self.0 / SECOND, self.0 % SECOND / 1000)
    }
}

/// `PowerLoss` as `power-loss`.
pub fn hyphened(name: impl fmt::Debug) -> String {
    let mut text = String::new();
    for letter in format!("{name:?}").chars() {
        if letter.is_uppercase() && !text.is_empty() {
            text.push('-');
        }
        text.extend(letter.to_lowercase());
    }
    text
}

impl FromStr for Script {
    type Err = String;

    fn from_str(text: &str) -> Result<Script, String> {
        let mut script = Script::empty(Kind::Nodes, 0, 5);
        for (number, line) in text.lines().enumerate() {
            script.read(line).map_err(|wrong| format!("line {}: {wrong}: {line}", number + 1))?;
        }
        if !script.planned.is_sorted_by_key(|planned| planned.at) {
            return Err("what happens is not in order of time".into());
        }
        if !(1..=9).contains(&script.nodes) {
            return Err(format!("a world of {} nodes: one to nine", script.nodes));
        }
        Ok(script)
    }
}

impl Script {
    fn read(&mut self, line: &str) -> Result<(), String> {
        let (said, comment) = line.split_once('#').unwrap_or((line, ""));
        let words: Vec<&str> = said.split_whitespace().collect();
        match words[..] {
            [] if line.starts_with('#') => self.comment.push(comment.trim().into()),
            [] => {}
            ["world", "raft"] => self.kind = Kind::Raft,
            ["world", "nodes"] => self.kind = Kind::Nodes,
            ["seed", seed] => self.seed = number(seed)?,
            ["luck", luck] => self.luck = number(luck)?,
            ["nodes", nodes] => self.nodes = number(nodes)?,
            ["mutant", name] => self.mutant = Some(mutant(name)?),
            ["beyond"] => self.beyond = true,
            ["wires"] => self.wires = true,
            ["until", until] => self.until = moment(until)?,
            ["client", client, work, "from", from] => self.join(client, work, from, None)?,
            ["client", client, work, "from", from, "requests", requests] => {
                self.join(client, work, from, Some(number(requests)?))?;
            }
            ["at", at, what, "with", draw] => self.plan(at, what, None, draw, comment)?,
            ["at", at, what, whom, "with", draw] => {
                self.plan(at, what, Some(node(whom)?), draw, comment)?;
            }
            _ => return Err("not understood".into()),
        }
        Ok(())
    }

    fn join(
        &mut self,
        client: &str,
        work: &str,
        from: &str,
        requests: Option<u64>,
    ) -> Result<(), String> {
        let (client, from, work) = (number(client)? as usize, moment(from)?, work.to_string());
        self.clients.push(Part { client, work, from, requests, made: 0 });
        Ok(())
    }

    fn plan(
        &mut self,
        at: &str,
        what: &str,
        whom: Option<u64>,
        draw: &str,
        words: &str,
    ) -> Result<(), String> {
        let what = match self.kind {
            Kind::Nodes => {
                FAULTS.into_iter().find(|fault| hyphened(fault) == what).map(What::Fault)
            }
            Kind::Raft => DEEDS.into_iter().find(|deed| hyphened(deed) == what).map(What::Deed),
        };
        let what = what.ok_or("no such thing happens in this world")?;
        let draw = u64::from_str_radix(draw, 16).map_err(|_| "what is drawn is 16 digits")?;
        let words = words.trim().into();
        self.planned.push(Planned { at: moment(at)?, what, whom, draw, words });
        Ok(())
    }
}

fn number(word: &str) -> Result<u64, String> {
    word.parse().map_err(|_| format!("{word} is not a number"))
}

fn mutant(name: &str) -> Result<Mutant, String> {
    let found = Mutant::ALL.into_iter().find(|mutant| hyphened(mutant) == name);
    found.ok_or_else(|| format!("there is no mutant {name}"))
}

fn node(word: &str) -> Result<u64, String> {
    let number = word.strip_prefix('n').and_then(|number| number.parse().ok());
    number.filter(|number| *number > 0).ok_or_else(|| format!("{word} is not a node"))
}

fn moment(word: &str) -> Result<u64, String> {
    let parsed = word.strip_suffix('s').and_then(|seconds| {
        let (whole, micros) = seconds.split_once('.')?;
        let micros: u64 = (micros.len() == 6).then(|| micros.parse().ok())??;
        let whole: u64 = whole.parse().ok().filter(|whole| *whole < 1 << 32)?;
        Some(whole * SECOND + micros * 1000)
    });
    parsed.ok_or_else(|| format!("{word} is not a time like 3.201000s"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# Reads go back.
# Two lines.
world nodes
seed 17
luck 3
nodes 5
mutant stale-reads
beyond
wires
until 4.500000s
client 0 register from 0.412000s requests 12
client 7 bank from 0.000001s
at 3.201000s isolate n2 with 8f3a66d10e2b9c47    # isolated n2 for 300 ms
at 3.300000s power-loss-of-all with 0000000000000001
";

    #[test]
    fn a_script_is_read_as_it_was_written() {
        let script: Script = TEXT.parse().unwrap();
        assert_eq!(script.to_string(), TEXT);
        assert_eq!(script.part(7).map(|part| part.from), Some(1000));
        assert_eq!(script.planned[1].whom, None);
    }

    #[test]
    fn what_is_wrong_is_told_by_its_line() {
        let wrong = |line: &str| format!("{TEXT}{line}").parse::<Script>().unwrap_err();
        assert!(wrong("at 3.4s kill n1 with 1").starts_with("line 15: 3.4s is not a time"));
        assert!(wrong("at 3.400000s crash n1 with 1").contains("no such thing happens"));
        assert!(wrong("at 3.400000s kill 1 with 1").contains("not a node"));
        assert!(wrong("at 1.000000s kill n1 with 1").contains("order of time"));
        assert!(wrong("nodes 12").contains("one to nine"));
        assert!(wrong("every day a kill").contains("not understood"));
    }
}
