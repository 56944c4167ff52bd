//! How a key's value lies in a row, and where the row lies.
//!
//! ```text
//! row of a key     format 1 | flags | stamp u64 | [expiry in ms u64] | value
//! its place        Space(1 + bucket): 01 | slot(key) u64 BE | key
//! expiry index     Space::SHARD:      02 | expiry in ms u64 BE | bucket u16 BE | key, empty
//! session          Space::SHARD:      03 | session u64 BE
//! session's answer Space::SHARD:      04 | session u64 BE | number u64 BE
//! session index    Space::SHARD:      05 | due in ms u64 BE | session u64 BE, empty
//! ```
//!
//! Example: `SET k v` under stamp 5 in bucket 0 puts the row `01 00 0500000000000000 76` at
//! `01 .. 6b` in space 1.
//!
//! A row is *live* until the shard's time reaches its expiry; from then on everybody treats it as
//! absent, though it takes space until a sweep removes it. The sweep finds it by the expiry index,
//! in which a row stands for every expiry that a key was ever written with. So an index row may be
//! stale (the key was overwritten, deleted, flushed or persisted meanwhile); it means "look here at
//! this time", never "this key ends then".

use crate::kv::{Bucket, scan::slot};
use crate::{RowKey, Space};
use base::codec::{DecodeError, Reader, Writer};
use base::{Bytes, Key, Stamp};

const FORMAT: u8 = 1;
const HAS_EXPIRY: u8 = 1 << 0;
/// The value belongs to a transaction that is not decided yet. No version writes it so far.
const INTENT: u8 = 1 << 1;

/// The first byte of a key's place in its bucket's space.
pub(crate) const TAG_KEY: u8 = 1;
/// The first byte of an expiry index row.
pub(crate) const TAG_EXPIRY: u8 = 2;
/// The first byte of a session's row.
pub(crate) const TAG_SESSION: u8 = 3;
/// The first byte of the row of an answer that a session keeps.
pub(crate) const TAG_ANSWER: u8 = 4;
/// The first byte of a session index row.
pub(crate) const TAG_SESSION_DUE: u8 = 5;

/// A key's value with what we know about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// When it was last written: the key's version.
    pub stamp: Stamp,
    /// When the key ends, in milliseconds since the Unix epoch; `None`: never.
    pub expires_at_ms: Option<u64>,
    /// The value.
    pub value: Bytes,
}

impl Row {
    /// Whether the key still exists when the shard's time is `stamp`.
    pub fn live(&self, stamp: Stamp) -> bool {
        self.expires_at_ms.is_none_or(|end| end > stamp.millis())
    }

    /// The row's bytes.
    pub fn encode(&self) -> Bytes {
        let expiry = if self.expires_at_ms.is_some() { 8 } else { 0 };
        let mut out = Writer::with_capacity(10 + expiry + self.value.len());
        out.u8(FORMAT);
        out.u8(if self.expires_at_ms.is_some() { HAS_EXPIRY } else { 0 });
        out.u64(self.stamp.0);
        if let Some(end) = self.expires_at_ms {
            out.u64(end);
        }
        out.raw(&self.value);
        out.finish()
    }

    /// The inverse of [`Row::encode`]; the value shares the memory of `bytes`.
    pub fn decode(bytes: Bytes) -> Result<Row, DecodeError> {
        let mut reader = Reader::new(bytes);
        let format = reader.u8()?;
        if format != FORMAT {
            return Err(DecodeError::unknown("row format", format));
        }
        let flags = reader.u8()?;
        if flags & INTENT != 0 {
            return Err(DecodeError::Invalid("row: an intent, which this version never writes"));
        }
        if flags & !HAS_EXPIRY != 0 {
            return Err(DecodeError::unknown("row flags", flags));
        }
        Ok(Row {
            stamp: Stamp(reader.u64()?),
            expires_at_ms: if flags & HAS_EXPIRY != 0 { Some(reader.u64()?) } else { None },
            value: reader.rest(),
        })
    }

    /// The row that our own tables hold at `at`. Its bytes passed a checksum on the way here, so
    /// one that can't be read was written by a newer version: going on would be wrong, and the
    /// replica stops.
    pub(crate) fn of_table(at: &RowKey, bytes: Bytes) -> Row {
        match Row::decode(bytes) {
            Ok(row) => row,
            Err(error) => panic!("row {:?} of space {}: {error}", at.key, at.space.0),
        }
    }
}

/// The space of a bucket's keys.
pub fn space(bucket: Bucket) -> Space {
    Space(1 + u32::from(bucket.0))
}

/// Where the row of `key` lies.
pub fn place(bucket: Bucket, key: &[u8]) -> RowKey {
    let mut out = Writer::with_capacity(9 + key.len());
    out.u8(TAG_KEY);
    out.raw(&slot(key).to_be_bytes());
    out.raw(key);
    RowKey { space: space(bucket), key: out.finish() }
}

/// The slot and the key of a row's place in its bucket's space.
pub fn key_of_place(place: &Bytes) -> Result<(u64, Key), DecodeError> {
    let mut reader = Reader::new(place.clone());
    match reader.u8()? {
        TAG_KEY => {}
        seen => return Err(DecodeError::unknown("row of a bucket", seen)),
    }
    Ok((big_endian(&mut reader)?, reader.rest()))
}

/// The expiry index row of a key that ends at `expires_at_ms`.
pub(crate) fn expiry_index(expires_at_ms: u64, bucket: Bucket, key: &[u8]) -> RowKey {
    let mut out = Writer::with_capacity(11 + key.len());
    out.u8(TAG_EXPIRY);
    out.raw(&expires_at_ms.to_be_bytes());
    out.raw(&bucket.0.to_be_bytes());
    out.raw(key);
    RowKey { space: Space::SHARD, key: out.finish() }
}

/// What an expiry index row says: when to look, and at which key.
pub(crate) fn of_expiry_index(index: &Bytes) -> Result<(u64, Bucket, Key), DecodeError> {
    let mut reader = Reader::new(index.clone());
    match reader.u8()? {
        TAG_EXPIRY => {}
        seen => return Err(DecodeError::unknown("expiry index row", seen)),
    }
    let end = big_endian(&mut reader)?;
    let bucket = Bucket(reader.u16()?.swap_bytes());
    Ok((end, bucket, reader.rest()))
}

pub(crate) fn big_endian(reader: &mut Reader) -> Result<u64, DecodeError> {
    Ok(reader.u64()?.swap_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_read_back_and_shares_memory() {
        let plain = Row { stamp: Stamp(5), expires_at_ms: None, value: Bytes::from_static(b"v") };
        assert_eq!(plain.encode(), &b"\x01\x00\x05\0\0\0\0\0\0\0v"[..]);
        for row in [plain.clone(), Row { expires_at_ms: Some(9), ..plain }] {
            let bytes = row.encode();
            let read = Row::decode(bytes.clone()).unwrap();
            assert_eq!(read, row);
            assert_eq!(read.value.as_ptr(), bytes[bytes.len() - 1..].as_ptr());
        }
    }

    #[test]
    fn a_row_of_a_newer_version_is_refused() {
        for wrong in [&b"\x02\x00\x05\0\0\0\0\0\0\0"[..], b"\x01\x02\x05\0\0\0\0\0\0\0", b"\x01"] {
            assert!(Row::decode(Bytes::copy_from_slice(wrong)).is_err());
        }
    }

    #[test]
    fn a_key_ends_when_its_millisecond_begins() {
        let row = Row { stamp: Stamp(0), expires_at_ms: Some(2), value: Bytes::new() };
        assert!(row.live(Stamp(1_999_999)));
        assert!(!row.live(Stamp(2_000_000)));
    }

    #[test]
    fn places_are_read_back() {
        let at = place(Bucket(3), b"key");
        assert_eq!(at.space, Space(4));
        let (_, key) = key_of_place(&at.key).unwrap();
        assert_eq!(key, "key");
        let index = expiry_index(77, Bucket(258), b"key").key;
        assert_eq!(of_expiry_index(&index).unwrap(), (77, Bucket(258), Bytes::from_static(b"key")));
    }
}
