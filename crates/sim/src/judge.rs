//! Who found out that something is wrong.
//!
//! A bug can be noticed from three distances. An assertion inside a core notices it at once and
//! knows the most. An observer who sees every log and every commit index notices it soon. A client
//! sees only answers, long after, but what it notices is what users would suffer from. Each has to
//! be able to stand alone: assertions are code that can be wrong or missing, and an observer knows
//! only the rules that somebody thought of.

use std::fmt;

/// A kind of check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Judge {
    /// An assertion, or a panic, inside the code that is tested.
    Assertion,
    /// The observer of all logs.
    Watch,
    /// Something that a client could check by what it is answered, or by getting no answer.
    Client,
}

impl fmt::Display for Judge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Judge::Assertion => "assertion",
            Judge::Watch => "watch",
            Judge::Client => "client",
        })
    }
}

/// Something is not as promised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Who says so.
    pub judge: Judge,
    /// What is wrong.
    pub what: String,
}

impl Violation {
    /// Findings of one kind are told by the same judge in the same words, but for names and numbers.
    pub fn kind(&self) -> String {
        let first = self.what.lines().next().unwrap_or_default();
        let is_word = |word: &&str| word.len() > 1 && word.chars().all(|c| c.is_ascii_lowercase());
        let plain = first.split(|c: char| !c.is_alphanumeric()).filter(is_word);
        let words: Vec<&str> = plain.take(12).collect();
        format!("{}: {}", self.judge, words.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_the_judge_and_the_words() {
        let of = |what: &str| Violation { judge: Judge::Client, what: what.into() }.kind();
        assert_eq!(
            of("register 3 is not linearizable near\n  7"),
            of("register 12 is not linearizable near")
        );
        assert_eq!(of("clients [1, 2] are late"), "client: clients are late");
        assert_ne!(of("clients [1] are late"), of("clients [1] are lost"));
    }
}
