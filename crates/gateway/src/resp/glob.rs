//! Patterns as KEYS, CONFIG GET and COMMAND LIST know them.

/// Whether `text` matches `pattern` in letters of any case: `*` is anything, `?` any one byte.
pub(super) fn matches(pattern: &[u8], text: &str) -> bool {
    let text = text.as_bytes();
    let (mut at, mut in_text) = (0, 0);
    // Where to go on if what follows the last star does not match here.
    let mut star: Option<(usize, usize)> = None;
    while in_text < text.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at + 1, in_text));
                at += 1;
            }
            Some(&byte) if byte == b'?' || byte.eq_ignore_ascii_case(&text[in_text]) => {
                (at, in_text) = (at + 1, in_text + 1);
            }
            _ => match star {
                Some((after, from)) => {
                    (at, in_text) = (after, from + 1);
                    star = Some((after, from + 1));
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|&byte| byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn stars_and_question_marks() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("max*", "maxmemory", true),
            ("MAX*y", "maxmemory", true),
            ("max?", "maxmemory", false),
            ("*m*y", "maxmemory", true),
            ("a", "b", false),
            ("", "a", false),
            ("", "", true),
            ("*a*b", "aXbXc", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), text), expected, "{pattern} {text}");
        }
    }
}
