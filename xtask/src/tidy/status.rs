//! `docs/status.md` names as evidence only what exists: tests as `crate::test`, files as paths.

use super::architecture::{defines, is_path, path_exists};
use super::{Problem, Source, markdown};

/// The page.
pub const PAGE: &str = "docs/status.md";

/// Checks the page's text against the repository's files.
pub fn check(text: &str, paths: &[String], sources: &[Source]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (span, line) in markdown::code_spans(text) {
        if is_path(span) && !path_exists(span, paths) {
            problems.push(Problem::in_line(PAGE, line, format!("there is no {span}")));
        }
        if let Some((room, test)) = test_name(span)
            && !test_exists(room, test, sources)
        {
            let message = format!("{room} has no test called {test}");
            problems.push(Problem::in_line(PAGE, line, message));
        }
    }
    problems
}

/// The crate and the last part of `storage::wal::a_torn_tail_is_cut`.
fn test_name(span: &str) -> Option<(&str, &str)> {
    let identifier = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':' || c == '-';
    if !span.chars().all(identifier) {
        return None;
    }
    let (room, _) = span.split_once("::")?;
    let (_, test) = span.rsplit_once("::")?;
    Some((room, test))
}

/// Whether a file of the crate defines a function of that name.
fn test_exists(room: &str, test: &str, sources: &[Source]) -> bool {
    let room = room.strip_prefix("underpin-").unwrap_or(room);
    let folders = [format!("crates/{room}/"), format!("{room}/")];
    sources
        .iter()
        .filter(|source| source.is_rust() && folders.iter().any(|f| source.path.starts_with(f)))
        .any(|source| defines(&source.text, test))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<String> {
        let sources =
            [Source::new("crates/storage/src/wal.rs", "#[test]\nfn a_torn_tail_is_cut() {}\n")];
        let paths = ["crates/storage/src/wal.rs".to_string()];
        check(text, &paths, &sources).iter().map(Problem::to_string).collect()
    }

    #[test]
    fn tests_and_files_that_exist_pass() {
        assert_eq!(
            problems("`storage::wal::a_torn_tail_is_cut` in `storage/src/wal.rs`; `GET`"),
            [""; 0]
        );
    }

    #[test]
    fn a_test_that_does_not_exist_is_a_problem() {
        assert_eq!(
            problems("`storage::wal::nothing_is_lost`"),
            ["docs/status.md:1: storage has no test called nothing_is_lost"]
        );
    }

    #[test]
    fn a_test_of_another_crate_is_a_problem() {
        assert_eq!(problems("`e2e::a_torn_tail_is_cut`").len(), 1);
    }

    #[test]
    fn a_file_that_is_gone_is_a_problem() {
        assert_eq!(problems("`bench/results/none`").len(), 1);
    }
}
