//! Rules about the repository that no compiler checks.
//!
//! Every rule is a function from text to [`Problem`]s, so that its tests can hand it a deliberate
//! violation; `tests/tidy.rs` applies each to the repository itself. A problem names its place and
//! what to do about it.

pub mod architecture;
pub mod arrows;
pub mod dependencies;
pub mod leftovers;
pub mod links;
pub mod machine;
pub mod manifest;
pub mod markdown;
pub mod purity;
pub mod sizes;
pub mod status;

use std::path::{Path, PathBuf};
use std::process::Command;

/// A rule that the repository breaks: where, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// A file, with its line where there is one.
    pub place: String,
    /// What is wrong and what to do about it.
    pub message: String,
}

impl Problem {
    /// A problem in a file as a whole.
    pub fn in_file(path: &str, message: impl Into<String>) -> Problem {
        Problem { place: path.to_string(), message: message.into() }
    }

    /// A problem in one line, counted from 1.
    pub fn in_line(path: &str, line: usize, message: impl Into<String>) -> Problem {
        Problem { place: format!("{path}:{line}"), message: message.into() }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

/// A text file of the repository, with its path from the root.
#[derive(Clone, Debug)]
pub struct Source {
    /// From the root, with `/`.
    pub path: String,
    /// Its text.
    pub text: String,
}

impl Source {
    /// A file that a test makes up.
    pub fn new(path: &str, text: &str) -> Source {
        Source { path: path.to_string(), text: text.to_string() }
    }

    /// Whether it is Rust.
    pub fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }
}

/// All files of the repository: what git tracks, and what is new and not ignored.
pub struct Repository {
    /// Where it lies.
    pub root: PathBuf,
    /// The paths of all files from the root.
    pub paths: Vec<String>,
    /// The text files among them.
    pub sources: Vec<Source>,
}

impl Repository {
    /// Reads the repository that this program was built in.
    pub fn open() -> Repository {
        let root = crate::root();
        let listed = Command::new("git")
            .args(["ls-files", "--cached", "--others", "--exclude-standard", "-z"])
            .current_dir(&root)
            .output()
            .expect("git lists the repository's files");
        assert!(listed.status.success(), "git ls-files failed; is this a git checkout?");
        let listed = String::from_utf8(listed.stdout).expect("paths are UTF-8");
        let paths: Vec<String> = listed
            .split('\0')
            .filter(|path| !path.is_empty() && root.join(path).is_file())
            .map(str::to_string)
            .collect();
        let sources = paths.iter().filter_map(|path| read(&root, path)).collect();
        Repository { root, paths, sources }
    }

    /// The text of a file that must be there.
    pub fn text(&self, path: &str) -> &str {
        let source = self.sources.iter().find(|source| source.path == path);
        &source.unwrap_or_else(|| panic!("{path} is missing")).text
    }

    /// The manifests of all crates, with their paths.
    pub fn manifests(&self) -> Vec<&Source> {
        self.sources.iter().filter(|source| source.path.ends_with("Cargo.toml")).collect()
    }

    /// Whether a file or a folder is there.
    pub fn has(&self, path: &str) -> bool {
        has(&self.paths, path)
    }
}

/// Whether `paths` hold the file or folder `path`.
pub fn has(paths: &[String], path: &str) -> bool {
    let path = path.trim_end_matches('/');
    paths.iter().any(|known| {
        known.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

/// A file's text; `None` if it is not text.
fn read(root: &Path, path: &str) -> Option<Source> {
    let text = String::from_utf8(std::fs::read(root.join(path)).ok()?).ok()?;
    Some(Source { path: path.to_string(), text })
}

/// Applies every rule to the repository.
pub fn run(repository: &Repository) -> Vec<Problem> {
    let sources = &repository.sources;
    let mut problems = Vec::new();
    problems.extend(arrows::check(&repository.manifests()));
    problems
        .extend(dependencies::check(&repository.manifests(), repository.text(dependencies::PAGE)));
    problems.extend(architecture::check(
        repository.text(architecture::PAGE),
        &repository.paths,
        sources,
    ));
    problems.extend(status::check(repository.text(status::PAGE), &repository.paths, sources));
    problems.extend(links::check(sources, &repository.paths));
    problems.extend(leftovers::check(sources));
    problems.extend(machine::check(sources));
    problems.extend(purity::check(sources));
    problems
}
