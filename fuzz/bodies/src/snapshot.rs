//! A chunk of a snapshot, as a follower gets it.

use crate::allocation::bounded;
use base::Bytes;

/// Reads the bytes as a chunk; what was understood is written and read again.
pub fn body(data: &[u8]) -> bool {
    let input = Bytes::copy_from_slice(data);
    let Ok(written) = bounded(data.len(), || node::rewrite_chunk(input)) else {
        return data.first() == Some(&1) && data.len() > 11;
    };
    let again = node::rewrite_chunk(written.clone()).expect("what was written can be read");
    assert_eq!(written, again);
    true
}
