//! The little of Markdown that the rules read.

/// The `code spans` of a text outside its code blocks, each with its line, counted from 1.
pub fn code_spans(text: &str) -> Vec<(&str, usize)> {
    let mut spans = Vec::new();
    let mut block = false;
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            block = !block;
        } else if !block {
            let pieces = line.split('`').skip(1).step_by(2);
            spans.extend(pieces.map(|span| (span, index + 1)));
        }
    }
    spans
}

/// The targets of a text's links within the repository, each with its line.
pub fn links(text: &str) -> Vec<(&str, usize)> {
    let mut links = Vec::new();
    for (index, line) in text.lines().enumerate() {
        for piece in line.split("](").skip(1) {
            let target = piece.split([')', '#']).next().unwrap_or_default();
            if !target.is_empty() && !target.contains("://") {
                links.push((target, index + 1));
            }
        }
    }
    links
}

/// The code blocks of a text that are marked with `language`, each with the line it begins at.
pub fn code_blocks<'a>(text: &'a str, language: &str) -> Vec<(Vec<&'a str>, usize)> {
    let mut blocks = Vec::new();
    let mut current: Option<(Vec<&str>, usize)> = None;
    let mut skipping = false;
    for (index, line) in text.lines().enumerate() {
        let fence = line.trim_start().strip_prefix("```");
        match (&mut current, fence) {
            (Some(_), Some(_)) => blocks.extend(current.take()),
            (Some((lines, _)), None) => lines.push(line),
            (None, Some(_)) if skipping => skipping = false,
            (None, Some(mark)) if mark.trim() == language => current = Some((vec![], index + 2)),
            (None, Some(_)) => skipping = true,
            (None, None) => {}
        }
    }
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "one `two` and `three`\n\n```sh\n`not this`\necho\n```\n[a](b.md#c) [d](https://e)\n```json\n{}\n```\n";

    #[test]
    fn spans_lie_outside_of_blocks() {
        assert_eq!(code_spans(TEXT), [("two", 1), ("three", 1)]);
    }

    #[test]
    fn links_within_the_repository() {
        assert_eq!(links(TEXT), [("b.md", 7)]);
    }

    #[test]
    fn blocks_of_one_language() {
        assert_eq!(code_blocks(TEXT, "sh"), [(vec!["`not this`", "echo"], 4)]);
    }
}
