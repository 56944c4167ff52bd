//! The client's side: replies of either version, read from bytes that come in any pieces.
//!
//! A reply that is a long list is kept item by item as it arrives, so that reading it takes time in
//! proportion to its bytes and nothing is set aside for items that are only announced.

use bytes::{Buf, Bytes, BytesMut};
use std::fmt;

/// A value that a server sent.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Nothing there.
    Null,
    /// A short status, such as `OK`.
    Simple(String),
    /// A byte string.
    Bulk(Bytes),
    /// A whole number.
    Integer(i64),
    /// A decimal or a very large number, in the server's digits.
    Decimal(String),
    /// True or false (version 3).
    Boolean(bool),
    /// Values in order (also version 3's sets and pushes).
    Array(Vec<Value>),
    /// Pairs in order (version 3).
    Map(Vec<(Value, Value)>),
    /// An error: the whole reply, or inside one, such as one of `EXEC`'s answers.
    Error(String),
}

impl Value {
    /// Its bytes, if it is a string.
    pub fn bytes(&self) -> Option<&[u8]> {
        match self {
            Value::Bulk(bytes) => Some(bytes),
            Value::Simple(text) | Value::Decimal(text) => Some(text.as_bytes()),
            _ => None,
        }
    }

    /// Its text, if it is a string in UTF-8.
    pub fn text(&self) -> Option<&str> {
        self.bytes().and_then(|bytes| std::str::from_utf8(bytes).ok())
    }

    /// Its number, if it is one or reads as one.
    pub fn integer(&self) -> Option<i64> {
        match self {
            Value::Integer(number) => Some(*number),
            other => super::integer(other.bytes()?),
        }
    }

    /// Its items, if it is a list.
    pub fn items(&self) -> Option<&[Value]> {
        match self {
            Value::Array(items) => Some(items),
            _ => None,
        }
    }

    /// What stands under `name`, if it is a map, or a flat list of names and values (version 2).
    pub fn get(&self, name: &str) -> Option<&Value> {
        match self {
            Value::Map(pairs) => pairs.iter().find(|(k, _)| k.text() == Some(name)).map(|(_, v)| v),
            Value::Array(flat) => {
                let mut pairs = flat.chunks_exact(2);
                pairs.find(|pair| pair[0].text() == Some(name)).map(|pair| &pair[1])
            }
            _ => None,
        }
    }
}

/// Bounds on a reply: who sends more is no server of ours.
const LINE_BYTES_MAX: usize = 64 << 10;
const BULK_BYTES_MAX: i64 = 64 << 20;
const DEPTH_MAX: usize = 32;

/// Why bytes are no reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed(String);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Malformed {}

fn malformed<T>(text: String) -> Result<T, Malformed> {
    Err(Malformed(text))
}

/// Reads the replies of one connection.
#[derive(Clone, Debug, Default)]
pub struct Replies {
    /// Bytes that are not part of a value yet.
    buffer: BytesMut,
    /// Lists that miss items, the outermost first.
    open: Vec<Open>,
}

#[derive(Clone, Debug)]
struct Open {
    map: bool,
    missing: u64,
    items: Vec<Value>,
}

/// What the bytes at the front are.
enum Next {
    Whole(Value),
    List(Open),
}

impl Replies {
    /// Takes bytes that came.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Whether a reply has begun that is not whole: what a connection that ends now cuts off.
    pub fn is_partial(&self) -> bool {
        !self.buffer.is_empty() || !self.open.is_empty()
    }

    /// The next reply, once all of it came. After an error the connection is of no use.
    pub fn next_reply(&mut self) -> Result<Option<Value>, Malformed> {
        loop {
            let mut value = match self.next()? {
                None => return Ok(None),
                Some(Next::List(list)) if list.missing > 0 => {
                    if self.open.len() == DEPTH_MAX {
                        return malformed(format!("a reply nested more than {DEPTH_MAX} deep"));
                    }
                    self.open.push(list);
                    continue;
                }
                Some(Next::List(list)) => list.close(),
                Some(Next::Whole(value)) => value,
            };
            loop {
                let Some(list) = self.open.last_mut() else { return Ok(Some(value)) };
                list.items.push(value);
                list.missing -= 1;
                if list.missing > 0 {
                    break;
                }
                value = self.open.pop().expect("it was just looked at").close();
            }
        }
    }

    fn next(&mut self) -> Result<Option<Next>, Malformed> {
        let Some(end) = self.buffer.windows(2).position(|two| two == b"\r\n") else {
            if self.buffer.len() > LINE_BYTES_MAX {
                return malformed(format!("a line of more than {LINE_BYTES_MAX} bytes"));
            }
            return Ok(None);
        };
        let Some((&mark, rest)) = self.buffer[..end].split_first() else {
            return malformed("an empty line where a value was expected".into());
        };
        let text = || String::from_utf8_lossy(rest).into_owned();
        let whole = match mark {
            b'$' | b'=' | b'!' => return self.bulk(mark, length(rest)?, end + 2),
            b'*' | b'~' | b'>' | b'%' => {
                let next = list(mark == b'%', length(rest)?);
                self.buffer.advance(end + 2);
                return Ok(Some(next));
            }
            b'+' => Value::Simple(text()),
            b'-' => Value::Error(text()),
            b':' => Value::Integer(number(rest)?),
            b',' | b'(' => Value::Decimal(text()),
            b'_' => Value::Null,
            b'#' => Value::Boolean(rest == b"t"),
            other => return malformed(format!("byte {other:#04x} where a value was expected")),
        };
        self.buffer.advance(end + 2);
        Ok(Some(Next::Whole(whole)))
    }

    /// A string of `length` bytes that begins at `start`.
    fn bulk(&mut self, mark: u8, length: i64, start: usize) -> Result<Option<Next>, Malformed> {
        if length > BULK_BYTES_MAX {
            return malformed(format!("a string of {length} bytes"));
        }
        let Ok(length) = usize::try_from(length) else {
            self.buffer.advance(start);
            return Ok(Some(Next::Whole(Value::Null)));
        };
        if self.buffer.len() < start + length + 2 {
            return Ok(None);
        }
        self.buffer.advance(start);
        let bytes = self.buffer.split_to(length).freeze();
        if &self.buffer[..2] != b"\r\n" {
            return malformed(format!("a string of {length} bytes that goes on after its end"));
        }
        self.buffer.advance(2);
        Ok(Some(Next::Whole(match mark {
            b'!' => Value::Error(String::from_utf8_lossy(&bytes).into_owned()),
            // A verbatim string begins with its format, three letters and a colon.
            b'=' if bytes.len() >= 4 => Value::Bulk(bytes.slice(4..)),
            _ => Value::Bulk(bytes),
        })))
    }
}

impl Open {
    fn close(self) -> Value {
        if !self.map {
            return Value::Array(self.items);
        }
        let mut items = self.items.into_iter();
        let mut pairs = Vec::with_capacity(items.len() / 2);
        while let (Some(name), Some(value)) = (items.next(), items.next()) {
            pairs.push((name, value));
        }
        Value::Map(pairs)
    }
}

fn list(map: bool, length: i64) -> Next {
    match u64::try_from(length) {
        Ok(length) => {
            let missing = if map { length.saturating_mul(2) } else { length };
            Next::List(Open { map, missing, items: Vec::new() })
        }
        Err(_) => Next::Whole(Value::Null),
    }
}

fn number(text: &[u8]) -> Result<i64, Malformed> {
    super::integer(text).ok_or_else(|| {
        Malformed(format!("`{}` where a number was expected", String::from_utf8_lossy(text)))
    })
}

/// A length: -1 says that there is nothing.
fn length(text: &[u8]) -> Result<i64, Malformed> {
    match number(text)? {
        length @ -1.. => Ok(length),
        length => malformed(format!("a length of {length}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Vec<Value>, Malformed> {
        let mut replies = Replies::default();
        replies.push(bytes);
        let mut values = Vec::new();
        while let Some(value) = replies.next_reply()? {
            values.push(value);
        }
        Ok(values)
    }

    fn bulk(text: &'static str) -> Value {
        Value::Bulk(Bytes::from_static(text.as_bytes()))
    }

    const SESSION: &[u8] =
        b"+OK\r\n:-7\r\n$-1\r\n$0\r\n\r\n*-1\r\n*0\r\n*2\r\n$1\r\na\r\n*1\r\n_\r\n\
        %1\r\n+k\r\n#t\r\n,1.5\r\n-ERR no\r\n=6\r\ntxt:hi\r\n~1\r\n:1\r\n";

    fn session() -> Vec<Value> {
        vec![
            Value::Simple("OK".into()),
            Value::Integer(-7),
            Value::Null,
            bulk(""),
            Value::Null,
            Value::Array(vec![]),
            Value::Array(vec![bulk("a"), Value::Array(vec![Value::Null])]),
            Value::Map(vec![(Value::Simple("k".into()), Value::Boolean(true))]),
            Value::Decimal("1.5".into()),
            Value::Error("ERR no".into()),
            bulk("hi"),
            Value::Array(vec![Value::Integer(1)]),
        ]
    }

    #[test]
    fn every_kind_of_reply_is_read() {
        assert_eq!(read(SESSION), Ok(session()));
    }

    #[test]
    fn replies_may_come_byte_by_byte() {
        let mut replies = Replies::default();
        let mut values = Vec::new();
        for byte in SESSION {
            replies.push(&[*byte]);
            values.extend(replies.next_reply().unwrap());
        }
        assert_eq!(values, session());
    }

    #[test]
    fn what_is_no_reply_is_refused() {
        for bytes in
            ["HTTP/1.1 400\r\n", "\r\n", ":x\r\n", "$-2\r\n", "$99999999999\r\n", "$1\r\nabc"]
        {
            assert!(read(bytes.as_bytes()).is_err(), "{bytes:?}");
        }
        assert!(read("*1\r\n".repeat(100).as_bytes()).is_err(), "nested too deep");
        assert!(read(&vec![b'+'; LINE_BYTES_MAX + 1]).is_err(), "a line without an end");
        assert_eq!(read(b"*1000000000000\r\n"), Ok(vec![]), "announced items cost nothing");
    }

    #[test]
    fn what_a_server_of_ours_writes_is_read_as_it_was_meant() {
        for three in [false, true] {
            let mut buffer = BytesMut::new();
            let mut out = super::super::Out::new(&mut buffer, three);
            out.map(1);
            out.bulk(b"version");
            out.integer(7);
            assert_eq!(read(&buffer).unwrap()[0].get("version"), Some(&Value::Integer(7)));
        }
    }
}
