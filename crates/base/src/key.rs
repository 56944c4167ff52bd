//! Keys and spans of keys, in byte order.

use bytes::Bytes;

/// A key: any bytes.
pub type Key = Bytes;

/// Longest key that a client may use, in bytes.
pub const KEY_BYTES_MAX: usize = 16 << 10;
/// Longest value that a client may store, in bytes, unless the configuration lowers it.
pub const VALUE_BYTES_MAX: usize = 4 << 20;

/// Keys from `start` (included) to `end` (excluded); no `end` means without bound.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeyRange {
    /// The first key of the range.
    pub start: Key,
    /// The first key after it.
    pub end: Option<Key>,
}

impl KeyRange {
    /// Every key.
    pub fn all() -> KeyRange {
        KeyRange { start: Bytes::new(), end: None }
    }

    /// Every key that begins with `prefix`.
    pub fn of_prefix(prefix: &[u8]) -> KeyRange {
        KeyRange { start: Bytes::copy_from_slice(prefix), end: prefix_end(prefix) }
    }

    /// Whether `key` lies in the range.
    pub fn contains(&self, key: &[u8]) -> bool {
        key >= &self.start[..] && self.end.as_ref().is_none_or(|end| key < &end[..])
    }

    /// Whether no key can lie in the range.
    pub fn is_empty(&self) -> bool {
        self.end.as_ref().is_some_and(|end| *end <= self.start)
    }
}

/// The first key after all that begin with `prefix`; `None` if there is no such key.
pub fn prefix_end(prefix: &[u8]) -> Option<Key> {
    let kept = prefix.iter().rposition(|byte| *byte != 0xff)?;
    let mut end = prefix[..=kept].to_vec();
    end[kept] += 1;
    Some(Bytes::from(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_of_ff_has_no_end() {
        assert_eq!(prefix_end(b"ab").as_deref(), Some(&b"ac"[..]));
        assert_eq!(prefix_end(b"a\xff").as_deref(), Some(&b"b"[..]));
        assert_eq!(prefix_end(b"\xff\xff"), None);
        assert!(KeyRange::of_prefix(b"a\xff").contains(b"a\xff\xff"));
        assert!(!KeyRange::of_prefix(b"a\xff").contains(b"b"));
    }
}
