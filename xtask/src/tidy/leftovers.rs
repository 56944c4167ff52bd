//! Nothing half-done stays behind in Rust code: no placeholder, no debug print, no switched-off
//! test, no note to oneself.

use super::{Problem, Source};

/// What must not be found, in two pieces so that this file does not find itself.
const LEFTOVERS: &[(&str, &str)] = &[
    ("todo", "!("),
    ("unimplemented", "!("),
    ("dbg", "!("),
    ("#[", "ignore"),
    ("FIX", "ME"),
    ("TO", "DO"),
    ("XX", "X:"),
];

/// Checks all Rust files.
pub fn check(sources: &[Source]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for source in sources.iter().filter(|source| source.is_rust()) {
        for (index, line) in source.text.lines().enumerate() {
            for (head, tail) in LEFTOVERS {
                let leftover = format!("{head}{tail}");
                if line.contains(&leftover) {
                    let message = format!("{leftover} stayed behind; finish it or take it out");
                    problems.push(Problem::in_line(&source.path, index + 1, message));
                }
            }
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_leftover_is_a_problem() {
        for (head, tail) in LEFTOVERS {
            let text = format!("fn done() {{}}\nfn f() {{ {head}{tail} }}\n");
            let found = check(&[Source::new("crates/x/src/lib.rs", &text)]);
            assert_eq!(found.len(), 1, "{head}{tail}");
            assert_eq!(found[0].place, "crates/x/src/lib.rs:2");
        }
    }

    #[test]
    fn prose_may_speak_of_them() {
        let note = format!("no {}{} left", "todo", "!(");
        assert_eq!(check(&[Source::new("docs/notes.md", &note)]), []);
    }
}
