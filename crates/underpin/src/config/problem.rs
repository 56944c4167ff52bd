//! What is wrong with a configuration, where, and what was probably meant.

use super::settings::{SETTINGS, sections};
use std::fmt;
use std::ops::Range;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong.
    pub what: String,
    /// Where: the lines that show it.
    pub place: Option<Place>,
    /// What to do about it.
    pub help: Option<String>,
}

/// A place in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The character in it, from 1.
    pub column: usize,
    /// The line's text.
    pub text: String,
    /// How many characters are meant.
    pub width: usize,
    /// What stands behind the mark under them.
    pub remark: String,
}

impl Problem {
    /// A problem without a place.
    pub fn new(what: impl Into<String>) -> Problem {
        Problem { what: what.into(), place: None, help: None }
    }

    /// The same with advice.
    pub fn help(self, help: impl Into<String>) -> Problem {
        Problem { help: Some(help.into()), ..self }
    }

    /// The same at a place.
    pub fn at(self, place: Place) -> Problem {
        Problem { place: Some(place), ..self }
    }
}

impl Place {
    /// The place of `span`, bytes of `source`.
    pub fn new(file: &str, source: &str, span: Range<usize>, remark: impl Into<String>) -> Place {
        let before = &source[..span.start.min(source.len())];
        let start = before.rfind('\n').map_or(0, |at| at + 1);
        let text = source[start..].lines().next().unwrap_or_default();
        let end = span.end.min(start + text.len());
        let meant = source.get(span.start..end).unwrap_or_default();
        Place {
            file: file.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before[start..].chars().count() + 1,
            text: text.to_owned(),
            width: meant.chars().count().max(1),
            remark: remark.into(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if let Some(place) = &self.place {
            let number = place.line.to_string();
            let margin = " ".repeat(number.len());
            let indent = " ".repeat(place.column - 1);
            let mark = "^".repeat(place.width);
            writeln!(f, "\n{margin}--> {}:{}:{}", place.file, place.line, place.column)?;
            writeln!(f, "{margin} |\n{number} | {}", place.text)?;
            write!(f, "{}", format!("{margin} | {indent}{mark} {}", place.remark).trim_end())?;
        }
        match &self.help {
            Some(help) => write!(f, "\n  help   {help}"),
            None => Ok(()),
        }
    }
}

/// What an unknown section was probably meant to be.
pub fn suggest_section(section: &str) -> String {
    match nearest(section, sections().into_iter()) {
        Some(name) => format!("did you mean `{name}`?"),
        None => format!("the sections are {}", sections().join(", ")),
    }
}

/// What an unknown key of a known section was probably meant to be.
pub fn suggest_key(section: &str, key: &str) -> String {
    let here = || SETTINGS.iter().filter(|setting| setting.section == section);
    if let Some(name) = nearest(key, here().map(|setting| setting.key)) {
        return format!("did you mean `{name}`?");
    }
    if let Some(setting) = SETTINGS.iter().find(|setting| setting.key == key) {
        return format!("`{key}` belongs to [{}]", setting.section);
    }
    let keys: Vec<_> = here().map(|setting| setting.key).collect();
    format!("[{section}] takes {}", keys.join(", "))
}

/// The candidate closest to `word`, if one is close enough to be what was meant.
///
/// A name that only lacks its unit counts as close: `retention` for `retention_bytes`.
fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = (word.chars().count() / 3).max(1);
    let shortened =
        |candidate: &str| candidate.strip_prefix(word).is_some_and(|rest| rest.starts_with('_'));
    candidates
        .map(|candidate| match shortened(candidate) {
            true => (1, candidate),
            false => (distance(word, candidate), candidate),
        })
        .filter(|(distance, _)| *distance <= allowed)
        .min()
        .map(|(_, candidate)| candidate)
}

/// How many letters must be added, dropped, changed or swapped with a neighbour to get from one
/// word to the other.
fn distance(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
    let mut rows = vec![vec![0; to.len() + 1]; from.len() + 1];
    for i in 0..=from.len() {
        for j in 0..=to.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let change = usize::from(from[i - 1] != to[j - 1]);
                let mut best =
                    (rows[i - 1][j] + 1).min(rows[i][j - 1] + 1).min(rows[i - 1][j - 1] + change);
                if i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1] {
                    best = best.min(rows[i - 2][j - 2] + 1);
                }
                best
            };
        }
    }
    rows[from.len()][to.len()]
}
