//! Writing replies.

use super::write_integer;
use bytes::{BufMut, BytesMut};

/// Writes replies of one protocol version onto a buffer.
pub struct Out<'a> {
    buffer: &'a mut BytesMut,
    three: bool,
}

impl<'a> Out<'a> {
    /// A writer onto `buffer`; of version 3 if `three`, of version 2 otherwise.
    pub fn new(buffer: &'a mut BytesMut, three: bool) -> Out<'a> {
        Out { buffer, three }
    }

    /// Whether this writes version 3.
    pub fn three(&self) -> bool {
        self.three
    }

    /// A short status without line breaks: `OK`.
    pub fn simple(&mut self, text: &str) {
        self.line(b'+', text.as_bytes());
    }

    /// An error: a word in capitals, then what a human should know. Line breaks become spaces.
    pub fn error(&mut self, text: &[u8]) {
        self.buffer.reserve(text.len() + 3);
        self.buffer.put_u8(b'-');
        let broken = |byte: u8| byte == b'\r' || byte == b'\n';
        self.buffer.extend(text.iter().map(|&byte| if broken(byte) { b' ' } else { byte }));
        self.buffer.put_slice(b"\r\n");
    }

    /// An integer.
    pub fn integer(&mut self, number: i64) {
        self.head(b':', number);
    }

    /// A byte string.
    pub fn bulk(&mut self, bytes: &[u8]) {
        self.buffer.reserve(bytes.len() + 16);
        self.head(b'$', bytes.len() as i64);
        self.buffer.put_slice(bytes);
        self.buffer.put_slice(b"\r\n");
    }

    /// An integer as a byte string.
    pub fn bulk_integer(&mut self, number: i64) {
        let digits = number.unsigned_abs().checked_ilog10().unwrap_or(0) as i64 + 1;
        self.head(b'$', digits + i64::from(number < 0));
        write_integer(self.buffer, number);
        self.buffer.put_slice(b"\r\n");
    }

    /// No value.
    pub fn null(&mut self) {
        self.buffer.put_slice(if self.three { b"_\r\n" } else { b"$-1\r\n" });
    }

    /// No array, where an array was to be expected.
    pub fn null_array(&mut self) {
        self.buffer.put_slice(if self.three { b"_\r\n" } else { b"*-1\r\n" });
    }

    /// Begins an array of `count` replies.
    pub fn array(&mut self, count: usize) {
        self.head(b'*', count as i64);
    }

    /// Begins a map of `count` pairs: key, value, key, value ... In version 2 it is an array.
    pub fn map(&mut self, count: usize) {
        match self.three {
            true => self.head(b'%', count as i64),
            false => self.head(b'*', 2 * count as i64),
        }
    }

    /// Begins a set of `count` replies. In version 2 it is an array.
    pub fn set(&mut self, count: usize) {
        self.head(if self.three { b'~' } else { b'*' }, count as i64);
    }

    /// Begins something that no request asked for, of `count` replies. In version 2 it is an array.
    pub fn push(&mut self, count: usize) {
        self.head(if self.three { b'>' } else { b'*' }, count as i64);
    }

    /// A truth. In version 2 it is the integer 1 or 0.
    pub fn boolean(&mut self, truth: bool) {
        match (self.three, truth) {
            (true, true) => self.buffer.put_slice(b"#t\r\n"),
            (true, false) => self.buffer.put_slice(b"#f\r\n"),
            (false, truth) => self.integer(i64::from(truth)),
        }
    }

    /// A floating-point number, in the shortest text that reads back the same. In version 2 it is a
    /// byte string.
    pub fn double(&mut self, number: f64) {
        let text = match number {
            number if number.is_nan() => "nan".to_owned(),
            f64::INFINITY => "inf".to_owned(),
            f64::NEG_INFINITY => "-inf".to_owned(),
            number => number.to_string(),
        };
        match self.three {
            true => self.line(b',', text.as_bytes()),
            false => self.bulk(text.as_bytes()),
        }
    }

    /// Text to be shown as it is. In version 2 it is a byte string.
    pub fn verbatim(&mut self, text: &[u8]) {
        if !self.three {
            return self.bulk(text);
        }
        self.head(b'=', text.len() as i64 + 4);
        self.buffer.put_slice(b"txt:");
        self.buffer.put_slice(text);
        self.buffer.put_slice(b"\r\n");
    }

    /// Replies that were written before, in this version.
    pub fn raw(&mut self, replies: &[u8]) {
        self.buffer.put_slice(replies);
    }

    fn head(&mut self, kind: u8, number: i64) {
        self.buffer.put_u8(kind);
        write_integer(self.buffer, number);
        self.buffer.put_slice(b"\r\n");
    }

    fn line(&mut self, kind: u8, text: &[u8]) {
        self.buffer.put_u8(kind);
        self.buffer.put_slice(text);
        self.buffer.put_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(three: bool, write: impl FnOnce(&mut Out)) -> String {
        let mut buffer = BytesMut::new();
        write(&mut Out::new(&mut buffer, three));
        String::from_utf8_lossy(&buffer).into_owned()
    }

    #[test]
    fn version_three_has_types_that_version_two_spells_out() {
        let all = |out: &mut Out| {
            out.null();
            out.null_array();
            out.map(1);
            out.set(2);
            out.push(3);
            out.boolean(true);
            out.double(0.5);
            out.verbatim(b"hi");
        };
        assert_eq!(
            written(false, all),
            "$-1\r\n*-1\r\n*2\r\n*2\r\n*3\r\n:1\r\n$3\r\n0.5\r\n$2\r\nhi\r\n"
        );
        assert_eq!(
            written(true, all),
            "_\r\n_\r\n%1\r\n~2\r\n>3\r\n#t\r\n,0.5\r\n=6\r\ntxt:hi\r\n"
        );
    }

    #[test]
    fn an_error_stays_on_its_line() {
        assert_eq!(written(false, |out| out.error(b"ERR a\r\nb")), "-ERR a  b\r\n");
    }

    #[test]
    fn integers_as_byte_strings_know_their_length() {
        for number in [0, 9, 10, -1, -10, i64::MAX, i64::MIN] {
            let text = number.to_string();
            let expected = format!("${}\r\n{text}\r\n", text.len());
            assert_eq!(written(false, |out| out.bulk_integer(number)), expected);
        }
    }
}
