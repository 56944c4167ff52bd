//! Every borrowed crate has its line in `docs/dependencies.md`, and no line outlives its crate.

use super::{Problem, Source, arrows, manifest};

/// The page: a table whose first column names a crate in backticks.
pub const PAGE: &str = "docs/dependencies.md";

/// Checks the manifests against the page.
pub fn check(manifests: &[&Source], page: &str) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut used = Vec::new();
    for source in manifests {
        for (name, line) in manifest::parse(&source.text).dependencies {
            if arrows::is_room(&name) {
                continue;
            }
            if !rows(page).any(|(known, _)| known == name) {
                let message = format!("{name} has no line in {PAGE}: what it saves, its license");
                problems.push(Problem::in_line(&source.path, line, message));
            }
            used.push(name);
        }
    }
    for (name, line) in rows(page) {
        if !used.iter().any(|known| known == name) {
            let message = format!("nothing uses {name} any more; remove its line");
            problems.push(Problem::in_line(PAGE, line, message));
        }
    }
    problems
}

/// The crates of the page's table, each with its line.
fn rows(page: &str) -> impl Iterator<Item = (&str, usize)> {
    page.lines().enumerate().filter_map(|(index, line)| {
        let name = line.strip_prefix("| `")?.split('`').next()?;
        Some((name, index + 1))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = "[dependencies]\nbase.workspace = true\nbytes = \"1\"\n";

    #[test]
    fn a_dependency_without_its_line_is_a_problem() {
        let found = check(&[&Source::new("Cargo.toml", MANIFEST)], "| `tokio` | … |\n");
        let found: Vec<String> = found.iter().map(Problem::to_string).collect();
        assert_eq!(
            found,
            [
                "Cargo.toml:3: bytes has no line in docs/dependencies.md: what it saves, its license",
                "docs/dependencies.md:1: nothing uses tokio any more; remove its line",
            ]
        );
    }

    #[test]
    fn a_dependency_with_its_line_passes() {
        let page = "| crate |\n| --- |\n| `bytes` | … |\n";
        assert_eq!(check(&[&Source::new("Cargo.toml", MANIFEST)], page), []);
    }
}
