//! Every path and every symbol that `ARCHITECTURE.md` names exists.
//!
//! A code span is a path if it has a slash or a file's ending (looked up from the root and from
//! `crates/`), and a symbol if it is `CamelCase`, `called()` or has `::` between its parts. Other
//! spans, commands and words, are not looked at.

use super::{Problem, Source, has, markdown};

/// The page.
pub const PAGE: &str = "ARCHITECTURE.md";

/// Checks the page's text against the repository's files.
pub fn check(text: &str, paths: &[String], sources: &[Source]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (span, line) in markdown::code_spans(text) {
        if is_path(span) {
            if !path_exists(span, paths) {
                problems.push(Problem::in_line(PAGE, line, format!("there is no {span}")));
            }
        } else if is_symbol(span) && !symbol_exists(span, sources) {
            problems.push(Problem::in_line(PAGE, line, format!("nothing is called {span}")));
        }
    }
    problems
}

/// Whether a code span is meant as a path.
pub fn is_path(span: &str) -> bool {
    let characters = span.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
    let ending = [".rs", ".md", ".toml", ".txt", ".yml"].iter().any(|end| span.ends_with(end));
    characters && !span.starts_with('/') && (span.contains('/') || ending)
}

/// Whether a path exists, from the root, in `crates/` or as a crate's source.
pub fn path_exists(span: &str, paths: &[String]) -> bool {
    let inside = match span.split_once('/') {
        Some((room, rest)) => format!("crates/{room}/src/{rest}"),
        None => format!("crates/{span}"),
    };
    has(paths, span) || has(paths, &format!("crates/{span}")) || has(paths, &inside)
}

/// Whether a code span is meant as a symbol.
fn is_symbol(span: &str) -> bool {
    let name = span.strip_suffix("()").unwrap_or(span);
    let word = |part: &str| {
        !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    let upper = name.starts_with(|c: char| c.is_ascii_uppercase());
    let camel = upper && name.chars().any(|c| c.is_ascii_lowercase());
    name.split("::").all(word) && (camel || name.contains("::") || span.ends_with("()"))
}

/// Whether the sources define the symbol; of `Type::member`, some file must define the type and
/// hold the member's word.
fn symbol_exists(span: &str, sources: &[Source]) -> bool {
    let name = span.strip_suffix("()").unwrap_or(span);
    let parts: Vec<&str> = name.split("::").collect();
    let last = parts[parts.len() - 1];
    let rust = || sources.iter().filter(|source| source.is_rust());
    if rust().any(|source| defines(&source.text, last)) {
        return true;
    }
    // An enum's variant, an associated constant, a field.
    parts.len() > 1
        && rust().any(|source| {
            defines(&source.text, parts[parts.len() - 2]) && words(&source.text).any(|w| w == last)
        })
}

/// Whether Rust text defines an item of this name.
pub fn defines(text: &str, name: &str) -> bool {
    const ITEMS: &[&str] = &[
        "struct",
        "enum",
        "trait",
        "fn",
        "type",
        "const",
        "static",
        "mod",
        "union",
        "macro_rules",
    ];
    text.lines().any(|line| {
        let mut words = words(line);
        while let Some(word) = words.next() {
            if ITEMS.contains(&word) {
                return words.next() == Some(name);
            }
        }
        false
    })
}

/// The identifiers of a text in order.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<String> {
        let sources = [Source::new(
            "crates/node/src/api.rs",
            "/// Doc\npub struct Request;\npub enum Call {\n    Walk,\n}\nimpl Request { pub(crate) async fn send(&self) {} }\n",
        )];
        let paths = ["crates/node/src/api.rs".to_string(), "docs/status.md".to_string()];
        check(text, &paths, &sources).iter().map(Problem::to_string).collect()
    }

    #[test]
    fn what_exists_passes() {
        let text = "`node/src/api.rs`, `node/api.rs`, `crates/node`, `Request`, `Request::send`, `send()`, `Call::Walk`, `SET k v`, `meta`, `base`";
        assert_eq!(problems(text), [""; 0]);
    }

    #[test]
    fn a_path_that_is_gone_is_a_problem() {
        assert_eq!(
            problems("\nsee `node/src/gone.rs`"),
            ["ARCHITECTURE.md:2: there is no node/src/gone.rs"]
        );
    }

    #[test]
    fn a_symbol_that_was_renamed_is_a_problem() {
        assert_eq!(problems("`Answer`"), ["ARCHITECTURE.md:1: nothing is called Answer"]);
        assert_eq!(problems("`Call::Run`"), ["ARCHITECTURE.md:1: nothing is called Call::Run"]);
        assert_eq!(problems("`receive()`"), ["ARCHITECTURE.md:1: nothing is called receive()"]);
    }
}
