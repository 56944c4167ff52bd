//! Redis' globs: `*` any bytes, `?` one byte, `[abc]`, `[a-z]` and `[^x]` one byte of a set, `\` the
//! next byte as it is.
//!
//! The usual recursion tries every way to spread a text over several stars, which a pattern like
//! `a*a*a*b` makes exponential (CVE-2022-36021). It is not needed: when what follows a later star
//! can't be found, no other choice for an earlier star helps, because the later star could have
//! begun further left already. So only the last star is ever tried again, and the work is bounded by
//! the product of the two lengths.
//!
//! Odd cases are as Redis 7.0 answers them: an open `[` ends with the pattern, a range may stand
//! backwards (`[z-a]`), and the empty text matches nothing but the empty pattern and `*`.

/// Whether `text` matches `pattern`.
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    if text.is_empty() {
        return pattern.is_empty() || pattern == b"*";
    }
    let (mut p, mut t) = (0, 0);
    // Where to go on if what follows the last star does not fit: after the star, one byte further.
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            p += 1;
            retry = Some((p, t + 1));
            continue;
        }
        match step(&pattern[p..], text[t]) {
            Some(taken) => (p, t) = (p + taken, t + 1),
            None => match retry {
                Some((star, next)) => {
                    (p, t) = (star, next);
                    retry = Some((star, next + 1));
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

/// How many bytes of the pattern match `byte`; the pattern does not begin with a star.
fn step(pattern: &[u8], byte: u8) -> Option<usize> {
    match pattern {
        [] => None,
        [b'?', ..] => Some(1),
        [b'[', class @ ..] => {
            let (holds, taken) = class_holds(class, byte);
            holds.then_some(1 + taken)
        }
        [b'\\', literal, ..] => (*literal == byte).then_some(2),
        [literal, ..] => (*literal == byte).then_some(1),
    }
}

/// Whether a set, which begins after its `[`, holds `byte`; and how long it is.
fn class_holds(class: &[u8], byte: u8) -> (bool, usize) {
    let not = class.first() == Some(&b'^');
    let mut at = usize::from(not);
    let mut holds = false;
    loop {
        match &class[at..] {
            [] => break,
            [b'\\', literal, ..] => {
                holds |= *literal == byte;
                at += 2;
            }
            [b']', ..] => {
                at += 1;
                break;
            }
            [low, b'-', high, ..] => {
                let (low, high) = (low.min(high), low.max(high));
                holds |= (low..=high).contains(&&byte);
                at += 3;
            }
            [literal, ..] => {
                holds |= *literal == byte;
                at += 1;
            }
        }
    }
    (holds != not, at)
}
