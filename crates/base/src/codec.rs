//! Little-endian, length-prefixed encoding for what we write ourselves: log commands, peer
//! messages, records. Every read is bounded by the bytes that are left, so a hostile length never
//! allocates.

use bytes::{BufMut, Bytes, BytesMut};
use std::fmt;

/// Why bytes could not be read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// The bytes ended early.
    Short {
        /// Bytes that were asked for.
        wanted: usize,
        /// Bytes that were left.
        left: usize,
    },
    /// A discriminant that this version does not know.
    Unknown {
        /// What it should have discriminated.
        what: &'static str,
        /// The value seen.
        seen: u64,
    },
    /// The value ended but bytes remain.
    Trailing {
        /// How many.
        left: usize,
    },
    /// Something else that can't be right.
    Invalid(&'static str),
}

impl DecodeError {
    /// A discriminant that this version does not know.
    pub fn unknown(what: &'static str, seen: impl Into<u64>) -> DecodeError {
        DecodeError::Unknown { what, seen: seen.into() }
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DecodeError::Short { wanted, left } => {
                write!(f, "wanted {wanted} bytes where {left} are left")
            }
            DecodeError::Unknown { what, seen } => write!(f, "unknown {what} {seen}"),
            DecodeError::Trailing { left } => write!(f, "{left} bytes after the end"),
            DecodeError::Invalid(what) => write!(f, "invalid {what}"),
        }
    }
}

impl std::error::Error for DecodeError {}

/// Grows a byte string.
#[derive(Debug, Default)]
pub struct Writer {
    out: BytesMut,
}

impl Writer {
    /// An empty one.
    pub fn new() -> Writer {
        Writer::default()
    }
    /// An empty one with room for `bytes`.
    pub fn with_capacity(bytes: usize) -> Writer {
        Writer { out: BytesMut::with_capacity(bytes) }
    }
    /// One byte.
    pub fn u8(&mut self, value: u8) {
        self.out.put_u8(value);
    }
    /// Zero or one.
    pub fn bool(&mut self, value: bool) {
        self.out.put_u8(u8::from(value));
    }
    /// Two bytes, little-endian.
    pub fn u16(&mut self, value: u16) {
        self.out.put_u16_le(value);
    }
    /// Four bytes, little-endian.
    pub fn u32(&mut self, value: u32) {
        self.out.put_u32_le(value);
    }
    /// Eight bytes, little-endian.
    pub fn u64(&mut self, value: u64) {
        self.out.put_u64_le(value);
    }
    /// Eight bytes, little-endian, two's complement.
    pub fn i64(&mut self, value: i64) {
        self.out.put_i64_le(value);
    }
    /// Sixteen bytes, little-endian.
    pub fn u128(&mut self, value: u128) {
        self.out.put_u128_le(value);
    }
    /// A u32 length, then the bytes.
    pub fn bytes(&mut self, value: &[u8]) {
        self.u32(u32::try_from(value.len()).expect("no value of ours is 4 GiB long"));
        self.out.put_slice(value);
    }
    /// The bytes alone.
    pub fn raw(&mut self, value: &[u8]) {
        self.out.put_slice(value);
    }
    /// One to ten bytes, seven bits each, least significant first; small numbers take one byte.
    pub fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.out.put_u8(value as u8 | 0x80);
            value >>= 7;
        }
        self.out.put_u8(value as u8);
    }
    /// A [`Writer::varint`] in which small negative numbers are short too.
    pub fn zigzag(&mut self, value: i64) {
        self.varint(((value << 1) ^ (value >> 63)) as u64);
    }
    /// A [`Writer::varint`] length, then the bytes.
    pub fn blob(&mut self, value: &[u8]) {
        self.varint(value.len() as u64);
        self.out.put_slice(value);
    }
    /// A flag, then the value if there is one.
    pub fn option<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Writer, T)) {
        self.bool(value.is_some());
        if let Some(value) = value {
            write(self, value);
        }
    }
    /// Bytes written so far.
    pub fn len(&self) -> usize {
        self.out.len()
    }
    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.out.is_empty()
    }
    /// What was written.
    pub fn finish(self) -> Bytes {
        self.out.freeze()
    }
    /// The buffer itself, for a caller that patches a length or frames in place.
    pub fn buffer(&mut self) -> &mut BytesMut {
        &mut self.out
    }
}

/// Reads what a [`Writer`] wrote. Byte strings are slices of the input and share its memory.
#[derive(Clone, Debug)]
pub struct Reader {
    left: Bytes,
}

impl Reader {
    /// Reads `bytes` from their beginning.
    pub fn new(bytes: Bytes) -> Reader {
        Reader { left: bytes }
    }
    fn take<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let left = self.left.len();
        let Some(head) = self.left.first_chunk::<N>() else {
            return Err(DecodeError::Short { wanted: N, left });
        };
        let head = *head;
        bytes::Buf::advance(&mut self.left, N);
        Ok(head)
    }
    /// One byte.
    pub fn u8(&mut self) -> Result<u8, DecodeError> {
        Ok(self.take::<1>()?[0])
    }
    /// Zero or one; anything else is an error.
    pub fn bool(&mut self) -> Result<bool, DecodeError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            seen => Err(DecodeError::unknown("flag", seen)),
        }
    }
    /// Two bytes, little-endian.
    pub fn u16(&mut self) -> Result<u16, DecodeError> {
        Ok(u16::from_le_bytes(self.take()?))
    }
    /// Four bytes, little-endian.
    pub fn u32(&mut self) -> Result<u32, DecodeError> {
        Ok(u32::from_le_bytes(self.take()?))
    }
    /// Eight bytes, little-endian.
    pub fn u64(&mut self) -> Result<u64, DecodeError> {
        Ok(u64::from_le_bytes(self.take()?))
    }
    /// Eight bytes, little-endian, two's complement.
    pub fn i64(&mut self) -> Result<i64, DecodeError> {
        Ok(i64::from_le_bytes(self.take()?))
    }
    /// Sixteen bytes, little-endian.
    pub fn u128(&mut self) -> Result<u128, DecodeError> {
        Ok(u128::from_le_bytes(self.take()?))
    }
    /// A u32 length, then that many bytes.
    pub fn bytes(&mut self) -> Result<Bytes, DecodeError> {
        let wanted = self.u32()? as usize;
        self.raw(wanted)
    }
    /// The inverse of [`Writer::varint`]; an encoding longer than needed is an error.
    pub fn varint(&mut self) -> Result<u64, DecodeError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if (shift == 63 && bits > 1) || (shift > 0 && byte == 0) {
                return Err(DecodeError::Invalid("varint"));
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(DecodeError::Invalid("varint"))
    }
    /// The inverse of [`Writer::zigzag`].
    pub fn zigzag(&mut self) -> Result<i64, DecodeError> {
        let value = self.varint()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }
    /// The inverse of [`Writer::blob`].
    pub fn blob(&mut self) -> Result<Bytes, DecodeError> {
        let wanted = self.varint()?;
        self.raw(usize::try_from(wanted).unwrap_or(usize::MAX))
    }
    /// Exactly `wanted` bytes.
    pub fn raw(&mut self, wanted: usize) -> Result<Bytes, DecodeError> {
        if self.left.len() < wanted {
            return Err(DecodeError::Short { wanted, left: self.left.len() });
        }
        Ok(self.left.split_to(wanted))
    }
    /// A u32 count of items that take at least `bytes_min` each; a count that can't fit is an error.
    pub fn count(&mut self, bytes_min: usize) -> Result<usize, DecodeError> {
        let count = self.u32()? as usize;
        let wanted = count.saturating_mul(bytes_min.max(1));
        if wanted > self.left.len() {
            return Err(DecodeError::Short { wanted, left: self.left.len() });
        }
        Ok(count)
    }
    /// A flag, then the value if there is one.
    pub fn option<T>(
        &mut self,
        read: impl FnOnce(&mut Reader) -> Result<T, DecodeError>,
    ) -> Result<Option<T>, DecodeError> {
        Ok(if self.bool()? { Some(read(self)?) } else { None })
    }
    /// Bytes not read yet.
    pub fn left(&self) -> usize {
        self.left.len()
    }
    /// Everything that is left.
    pub fn rest(&mut self) -> Bytes {
        self.left.split_to(self.left.len())
    }
    /// An error if bytes remain.
    pub fn end(self) -> Result<(), DecodeError> {
        match self.left.len() {
            0 => Ok(()),
            left => Err(DecodeError::Trailing { left }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_back() {
        let mut out = Writer::new();
        out.u8(7);
        out.u64(1 << 40);
        out.i64(-3);
        out.bytes(b"key");
        out.option(Some(5u32), Writer::u32);
        out.option(None::<u32>, Writer::u32);
        let mut reader = Reader::new(out.finish());
        assert_eq!(reader.u8(), Ok(7));
        assert_eq!(reader.u64(), Ok(1 << 40));
        assert_eq!(reader.i64(), Ok(-3));
        assert_eq!(reader.bytes().unwrap(), "key");
        assert_eq!(reader.option(Reader::u32), Ok(Some(5)));
        assert_eq!(reader.option(Reader::u32), Ok(None));
        reader.end().unwrap();
    }

    #[test]
    fn a_small_number_takes_one_byte_and_every_number_has_one_encoding() {
        for (value, bytes) in [(0, 1), (127, 1), (128, 2), (1 << 14, 3), (u64::MAX, 10)] {
            let mut out = Writer::new();
            out.varint(value);
            assert_eq!(out.len(), bytes);
            let mut reader = Reader::new(out.finish());
            assert_eq!(reader.varint(), Ok(value));
            reader.end().unwrap();
        }
        for value in [0, -1, 1, i64::MIN, i64::MAX] {
            let mut out = Writer::new();
            out.zigzag(value);
            assert_eq!(Reader::new(out.finish()).zigzag(), Ok(value));
        }
        for wrong in [&[0x80, 0][..], &[0xff; 11], &[0xff; 10], &[0x80]] {
            assert!(Reader::new(Bytes::copy_from_slice(wrong)).varint().is_err());
        }
    }

    #[test]
    fn a_hostile_length_is_an_error_and_allocates_nothing() {
        let mut reader = Reader::new(Bytes::from_static(&[0xff, 0xff, 0xff, 0xff, 1]));
        assert_eq!(
            reader.clone().bytes(),
            Err(DecodeError::Short { wanted: 0xffff_ffff, left: 1 })
        );
        assert!(reader.count(16).is_err());
    }
}
