//! Replies: RESP2 and RESP3 values, read from the bytes of a connection.

use bytes::Bytes;

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
    /// A decimal number, in the server's digits.
    Decimal(String),
    /// True or false (RESP3).
    Boolean(bool),
    /// Values in order (also RESP3's sets and pushes).
    Array(Vec<Value>),
    /// Pairs in order (RESP3).
    Map(Vec<(Value, Value)>),
    /// An error inside a reply, such as one of `EXEC`'s answers.
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
            other => other.text()?.parse().ok(),
        }
    }

    /// Its items, if it is a list.
    pub fn items(&self) -> Option<&[Value]> {
        match self {
            Value::Array(items) => Some(items),
            _ => None,
        }
    }

    /// What stands under `name`, if it is a map, or a flat list of names and values (RESP2).
    pub fn get(&self, name: &str) -> Option<&Value> {
        match self {
            Value::Map(pairs) => pairs.iter().find(|(k, _)| k.text() == Some(name)).map(|(_, v)| v),
            Value::Array(flat) => {
                flat.chunks_exact(2).find(|pair| pair[0].text() == Some(name)).map(|pair| &pair[1])
            }
            _ => None,
        }
    }
}

/// The longest line, the longest string and the deepest nesting that a reply may have: a server that
/// sends more is not ours.
const LINE_BYTES_MAX: usize = 64 << 10;
const BULK_BYTES_MAX: usize = 64 << 20;
const DEPTH_MAX: usize = 32;

/// Why bytes are not a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Malformed(pub String);

/// The value at the start of `bytes` and its length; `None` while it is not whole.
pub(crate) fn parse(bytes: &[u8]) -> Result<Option<(Value, usize)>, Malformed> {
    let mut at = 0;
    Ok(value(bytes, &mut at, 0)?.map(|value| (value, at)))
}

fn value(bytes: &[u8], at: &mut usize, depth: usize) -> Result<Option<Value>, Malformed> {
    if depth > DEPTH_MAX {
        return Err(Malformed(format!("nested more than {DEPTH_MAX} deep")));
    }
    let Some(line) = line(bytes, at)? else { return Ok(None) };
    let Some((&mark, rest)) = line.split_first() else {
        return Err(Malformed("an empty line where a value was expected".into()));
    };
    let rest = String::from_utf8_lossy(rest).into_owned();
    Ok(Some(match mark {
        b'+' => Value::Simple(rest),
        b'-' => Value::Error(rest),
        b':' => Value::Integer(number(&rest)?),
        b',' | b'(' => Value::Decimal(rest),
        b'_' => Value::Null,
        b'#' => Value::Boolean(rest == "t"),
        b'$' | b'=' | b'!' => return bulk(mark, number(&rest)?, bytes, at),
        b'*' | b'~' | b'>' => return array(number(&rest)?, bytes, at, depth),
        b'%' => return map(number(&rest)?, bytes, at, depth),
        other => return Err(Malformed(format!("byte {other:#04x} where a value was expected"))),
    }))
}

fn bulk(mark: u8, length: i64, bytes: &[u8], at: &mut usize) -> Result<Option<Value>, Malformed> {
    if length == -1 {
        return Ok(Some(Value::Null));
    }
    let length = bounded(length, BULK_BYTES_MAX)?;
    let Some(body) = bytes.get(*at..*at + length + 2) else { return Ok(None) };
    *at += length + 2;
    let (body, end) = body.split_at(length);
    if end != b"\r\n" {
        return Err(Malformed(format!("a string of {length} bytes does not end where it should")));
    }
    Ok(Some(match mark {
        b'!' => Value::Error(String::from_utf8_lossy(body).into_owned()),
        // RESP3's verbatim strings begin with their format, three letters and a colon.
        b'=' => Value::Bulk(Bytes::copy_from_slice(body.get(4..).unwrap_or_default())),
        _ => Value::Bulk(Bytes::copy_from_slice(body)),
    }))
}

fn array(
    length: i64,
    bytes: &[u8],
    at: &mut usize,
    depth: usize,
) -> Result<Option<Value>, Malformed> {
    if length == -1 {
        return Ok(Some(Value::Null));
    }
    // No room is set aside for what a length promises: items are taken as they are there.
    let mut items = Vec::new();
    for _ in 0..bounded(length, usize::MAX)? {
        let Some(item) = value(bytes, at, depth + 1)? else { return Ok(None) };
        items.push(item);
    }
    Ok(Some(Value::Array(items)))
}

fn map(
    length: i64,
    bytes: &[u8],
    at: &mut usize,
    depth: usize,
) -> Result<Option<Value>, Malformed> {
    let mut pairs = Vec::new();
    for _ in 0..bounded(length, usize::MAX)? {
        let Some(name) = value(bytes, at, depth + 1)? else { return Ok(None) };
        let Some(item) = value(bytes, at, depth + 1)? else { return Ok(None) };
        pairs.push((name, item));
    }
    Ok(Some(Value::Map(pairs)))
}

fn line<'a>(bytes: &'a [u8], at: &mut usize) -> Result<Option<&'a [u8]>, Malformed> {
    let rest = &bytes[*at..];
    match rest.windows(2).position(|two| two == b"\r\n") {
        Some(end) => {
            *at += end + 2;
            Ok(Some(&rest[..end]))
        }
        None if rest.len() > LINE_BYTES_MAX => {
            Err(Malformed(format!("a line of more than {LINE_BYTES_MAX} bytes")))
        }
        None => Ok(None),
    }
}

fn number(text: &str) -> Result<i64, Malformed> {
    text.parse().map_err(|_| Malformed(format!("`{text}` where a number was expected")))
}

fn bounded(length: i64, max: usize) -> Result<usize, Malformed> {
    match usize::try_from(length) {
        Ok(length) if length <= max => Ok(length),
        _ => Err(Malformed(format!("a length of {length}"))),
    }
}
