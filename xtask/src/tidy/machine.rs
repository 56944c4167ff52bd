//! No file names a path of somebody's machine.

use super::{Problem, Source};

/// Beginnings of such paths, in two pieces so that this file does not find itself.
const MACHINES: &[(&str, &str)] =
    &[("/ro", "ot/"), ("/ho", "me/"), ("/Us", "ers/"), ("/wo", "rk/"), ("C:\\", "Users")];

/// Checks all text files.
pub fn check(sources: &[Source]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for source in sources {
        for (index, line) in source.text.lines().enumerate() {
            for (head, tail) in MACHINES {
                if starts_a_path(line, &format!("{head}{tail}")) {
                    let message = format!("{head}{tail} is a place on one machine only");
                    problems.push(Problem::in_line(&source.path, index + 1, message));
                }
            }
        }
    }
    problems
}

/// Whether `beginning` occurs where a path may start: not within a longer one.
fn starts_a_path(line: &str, beginning: &str) -> bool {
    line.match_indices(beginning).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c.is_ascii_alphanumeric() || "._-*}".contains(c))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_machine_path_is_a_problem() {
        for (head, tail) in MACHINES {
            let text = format!("fine\nlet path = \"{head}{tail}me/x\";\n");
            let found = check(&[Source::new("docs/x.md", &text)]);
            assert_eq!(found.len(), 1, "{head}{tail}");
            assert_eq!(found[0].place, "docs/x.md:2");
        }
    }

    #[test]
    fn a_folder_of_that_name_elsewhere_is_none() {
        let text = format!("target{}{}x", "/wo", "rk/");
        assert_eq!(check(&[Source::new("docs/x.md", &text)]), []);
    }
}
