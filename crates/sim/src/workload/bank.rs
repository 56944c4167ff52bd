//! Transfers between accounts: MULTI and EXEC with INCRBY, or with WATCH and SET of what was read.

use super::{Histories, Outcome, Work, command, number_in};
use crate::check::bank::Look;
use base::{Bytes, Random};
use wire::resp::Value;

/// Accounts of the bank.
const ACCOUNTS: u64 = 4;

/// A client that moves money.
#[derive(Default)]
pub struct Bank {
    /// What is left of the transfer under way, last first; on this connection only.
    left: Vec<Vec<String>>,
    /// What is to be done with the next look at all accounts: from, to, how much.
    planned: Option<(usize, usize, i64)>,
    under_way: Option<String>,
    looks: Vec<Look>,
    /// A look in peace was answered.
    closed: bool,
    in_peace: bool,
    wrong: Option<String>,
}

impl Bank {
    /// A look; blindly moved money; or money moved by what a look says, if nobody interferes.
    fn plan(&mut self, random: &mut Random) {
        let from = random.below(ACCOUNTS) as usize;
        let to = (from + 1 + random.below(ACCOUNTS - 1) as usize) % ACCOUNTS as usize;
        let sum = random.between(1, 100) as i64;
        self.planned = None;
        self.left = match random.below(4) {
            0 => vec![look()],
            1 => transaction([by("INCRBY", from, -sum), by("INCRBY", to, sum)]),
            _ => {
                self.planned = Some((from, to, sum));
                vec![look(), words(&["WATCH", &name(from), &name(to)])]
            }
        };
    }

    fn answered(&mut self, asked: &str, reply: &Value) -> Option<()> {
        match (asked, reply) {
            ("MGET", Value::Array(items)) => {
                let balance = |item: &Value| match item {
                    Value::Null => Some(0),
                    other => balance_in(other.bytes()?),
                };
                let look: Option<Look> = items.iter().map(balance).collect();
                let look = look.filter(|look| look.len() == ACCOUNTS as usize)?;
                if let Some((from, to, sum)) = self.planned.take() {
                    let sets = [by("SET", from, look[from] - sum), by("SET", to, look[to] + sum)];
                    self.left = transaction(sets);
                }
                self.closed |= self.in_peace;
                self.looks.push(look);
            }
            ("MULTI" | "WATCH" | "SET" | "INCRBY", Value::Simple(_)) => {}
            // Null: somebody wrote what was watched.
            ("EXEC", Value::Array(_) | Value::Null) => {}
            _ => return None,
        }
        Some(())
    }
}

/// From the last to the first.
fn transaction([one, other]: [Vec<String>; 2]) -> Vec<Vec<String>> {
    vec![words(&["EXEC"]), other, one, words(&["MULTI"])]
}

fn by(verb: &str, account: usize, number: i64) -> Vec<String> {
    words(&[verb, &name(account), &number.to_string()])
}

fn look() -> Vec<String> {
    let keys = (0..ACCOUNTS as usize).map(name);
    ["MGET".to_string()].into_iter().chain(keys).collect()
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(ToString::to_string).collect()
}

fn name(account: usize) -> String {
    format!("account{account}")
}

fn balance_in(bytes: &[u8]) -> Option<i64> {
    match bytes.strip_prefix(b"-") {
        Some(debt) => Some(-(number_in(debt)? as i64)),
        None => Some(number_in(bytes)? as i64),
    }
}

impl Work for Bank {
    /// What was watched or queued is forgotten with the connection.
    fn connected(&mut self) {
        self.left.clear();
    }

    fn next(&mut self, _: u64, peace: bool, random: &mut Random) -> Option<Vec<Bytes>> {
        self.in_peace = peace;
        if self.left.is_empty() && peace {
            if self.closed {
                return None;
            }
            self.planned = None;
            self.left = vec![look()];
        } else if self.left.is_empty() {
            self.plan(random);
        }
        let next = self.left.pop()?;
        self.under_way = Some(next[0].clone());
        Some(command(&next.iter().map(String::as_str).collect::<Vec<_>>()))
    }

    fn outcome(&mut self, _: u64, outcome: Outcome) {
        let asked = self.under_way.take().expect("a request was under way");
        match outcome {
            Outcome::Reply(reply) => {
                if self.answered(&asked, &reply).is_none() {
                    self.wrong = Some(format!("{asked} of the bank was answered {reply:?}"));
                }
            }
            // Nothing but EXEC changes anything, and EXEC is the end of a transfer. What is watched
            // stays so, and is watched once more by the next one.
            Outcome::NotDone | Outcome::Unknown => self.left.clear(),
        }
    }

    fn finished(&self) -> bool {
        self.closed && self.under_way.is_none() && self.left.is_empty()
    }

    fn wrong(&mut self) -> Option<String> {
        self.wrong.take()
    }

    fn report(&mut self, histories: &mut Histories) {
        histories.looks.append(&mut self.looks);
    }
}
