//! Evidence is of the code that it was won from. A table of docs/verification.md says for each kind
//! on which commit that was, and on which folders of shipped code it rests; this says what has
//! changed there since.
//!
//! ```text
//! | evidence | commit | rests on |
//! | --- | --- | --- |
//! | model checking | 1234567 | `crates/base` `crates/protocols` |
//! ```

use crate::root;
use crate::tidy::markdown;
use std::fmt::{self, Display};
use std::process::{Command, ExitCode};

const PAGE: &str = "docs/verification.md";
const HEADING: &str = "| evidence | commit | rests on |";

/// A line of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Claim {
    what: String,
    commit: String,
    folders: Vec<String>,
}

/// What has become of it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Standing {
    claim: Claim,
    /// Files of shipped code that have changed since.
    changed: Vec<String>,
}

impl Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Claim { what, commit, .. } = &self.claim;
        match &self.changed[..] {
            [] => write!(f, "{what}: stands, on {commit}"),
            changed => write!(f, "{what}: {commit} is older than {}", changed.join(" ")),
        }
    }
}

/// Prints how each claim stands; fails if one does not, or can't be told.
pub fn run() -> ExitCode {
    match claims().and_then(|claims| claims.into_iter().map(standing).collect()) {
        Ok(standings) => {
            let standings: Vec<Standing> = standings;
            standings.iter().for_each(|standing| println!("{standing}"));
            let all = standings.iter().all(|standing| standing.changed.is_empty());
            if all { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn claims() -> Result<Vec<Claim>, String> {
    let text = std::fs::read_to_string(root().join(PAGE)).map_err(|e| format!("{PAGE}: {e}"))?;
    let claims = read(&text);
    if claims.is_empty() {
        return Err(format!("{PAGE} has no table that begins with \"{HEADING}\""));
    }
    Ok(claims)
}

fn read(text: &str) -> Vec<Claim> {
    let lines = text.lines().skip_while(|line| *line != HEADING).skip(2);
    let rows = lines.take_while(|line| line.starts_with('|'));
    rows.filter_map(|row| {
        let mut cells = row.trim_matches('|').split('|').map(str::trim);
        let (what, commit, rests) = (cells.next()?, cells.next()?, cells.next()?);
        let folders = markdown::code_spans(rests).into_iter().map(|(span, _)| span.to_owned());
        Some(Claim { what: what.into(), commit: commit.into(), folders: folders.collect() })
    })
    .collect()
}

fn standing(claim: Claim) -> Result<Standing, String> {
    let mut git = Command::new("git");
    git.current_dir(root()).args(["diff", "--name-only", &claim.commit, "--"]).args(&claim.folders);
    let output = git.output().map_err(|error| format!("git does not start: {error}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{}, on {}: {}", claim.what, claim.commit, said.trim()));
    }
    let changed = String::from_utf8_lossy(&output.stdout);
    let changed = changed.lines().filter(|path| is_shipped(path)).map(str::to_owned).collect();
    Ok(Standing { claim, changed })
}

/// Tests of a crate are nothing that it ships.
fn is_shipped(path: &str) -> bool {
    path.contains("/src/") && !path.ends_with("/tests.rs") && path.ends_with(".rs")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_says_what_its_evidence_rests_on() {
        let claims = claims().expect("the table");
        assert!(claims.len() >= 5, "{claims:?}");
        for claim in claims {
            assert!(claim.commit.len() >= 7, "{claim:?}");
            assert!(!claim.folders.is_empty(), "{claim:?}");
            for folder in &claim.folders {
                assert!(root().join(folder).is_dir(), "{folder} of {claim:?} is no folder");
            }
        }
    }

    #[test]
    fn only_shipped_code_makes_evidence_old() {
        let text =
            format!("# A\n\n{HEADING}\n| --- | --- | --- |\n| m | abc | `x` and `y` |\n\nend");
        let folders = vec!["x".to_owned(), "y".to_owned()];
        let claim = Claim { what: "m".into(), commit: "abc".into(), folders };
        assert_eq!(read(&text), std::slice::from_ref(&claim));
        assert!(is_shipped("crates/base/src/log.rs"));
        assert!(!is_shipped("crates/storage/src/wal/tests.rs"));
        assert!(!is_shipped("crates/storage/tests/crash/main.rs"));
        let standing = Standing { claim, changed: vec!["x/src/a.rs".into()] };
        assert_eq!(standing.to_string(), "m: abc is older than x/src/a.rs");
    }
}
