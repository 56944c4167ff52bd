//! Every link from one page of the repository to another leads somewhere.

use super::{Problem, Source, has, markdown};

/// Checks all pages.
pub fn check(sources: &[Source], paths: &[String]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for page in sources.iter().filter(|source| source.path.ends_with(".md")) {
        for (link, line) in markdown::links(&page.text) {
            if !resolve(&page.path, link).is_some_and(|path| has(paths, &path)) {
                let message = format!("the link {link} leads nowhere");
                problems.push(Problem::in_line(&page.path, line, message));
            }
        }
    }
    problems
}

/// The path from the root that a link on a page means; `None` if it leaves the repository.
fn resolve(page: &str, link: &str) -> Option<String> {
    let mut parts: Vec<&str> = page.split('/').collect();
    parts.pop();
    for part in link.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<String> {
        let page = Source::new("docs/guide/redis.md", text);
        let paths = ["docs/guide/redis.md", "docs/status.md", "LICENSE"].map(str::to_string);
        check(&[page], &paths).iter().map(Problem::to_string).collect()
    }

    #[test]
    fn links_are_followed_from_their_page() {
        assert_eq!(problems("[a](redis.md#x) [b](../status.md) [c](../../LICENSE)"), [""; 0]);
        assert_eq!(problems("[d](https://example.org) [e](#here) [f](../guide)"), [""; 0]);
    }

    #[test]
    fn a_link_that_leads_nowhere_is_a_problem() {
        assert_eq!(
            problems("\n[a](status.md)"),
            ["docs/guide/redis.md:2: the link status.md leads nowhere"]
        );
        assert_eq!(problems("[a](../../../LICENSE)").len(), 1);
    }
}
