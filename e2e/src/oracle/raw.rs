//! Replies as the bytes that they are, of either protocol version.

use super::Replies;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long a reply may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// A connection.
pub struct Wire(BufReader<TcpStream>);

impl Wire {
    /// Connects.
    pub fn open(address: SocketAddr) -> io::Result<Wire> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Wire(BufReader::new(stream)))
    }

    /// Sends bytes; a connection that the server closed shows when its replies are read.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self.0.get_mut().write_all(bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(error),
            _ => Ok(()),
        }
    }

    /// So many replies, or what stands in their place.
    pub fn receive(&mut self, count: usize) -> Replies {
        let mut replies = Replies::new();
        for _ in 0..count {
            let mut reply = Vec::new();
            match read_reply(&mut self.0, &mut reply) {
                Ok(()) => replies.push(reply),
                Err(error) => {
                    replies.push(ended(&error));
                    break;
                }
            }
        }
        replies
    }

    /// What comes until the server closes the connection.
    pub fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        match self.0.read_to_end(&mut rest) {
            Ok(_) => rest.extend_from_slice(b"(closed)"),
            Err(error) => rest.extend(ended(&error)),
        }
        rest
    }
}

fn ended(error: &io::Error) -> Vec<u8> {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => b"(silent)".to_vec(),
        _ => b"(closed)".to_vec(),
    }
}

/// Appends one whole reply to `reply`.
fn read_reply(stream: &mut impl BufRead, reply: &mut Vec<u8>) -> io::Result<()> {
    let start = reply.len();
    if stream.read_until(b'\n', reply)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let line = &reply[start..];
    let number = || -> i64 {
        let digits = std::str::from_utf8(&line[1..]).unwrap_or_default().trim();
        digits.parse().unwrap_or(-1)
    };
    let parts = match line.first() {
        Some(b'$' | b'=' | b'!') => {
            if let Ok(length) = u64::try_from(number()) {
                let read = stream.take(length + 2).read_to_end(reply)?;
                if (read as u64) < length + 2 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
            0
        }
        Some(b'*' | b'~' | b'>') => number().max(0),
        Some(b'%') => 2 * number().max(0),
        _ => 0,
    };
    (0..parts).try_for_each(|_| read_reply(stream, reply))
}

/// The content of a byte string.
pub fn bulk(reply: &[u8]) -> Option<&[u8]> {
    if !matches!(reply.first(), Some(b'$' | b'=')) || reply.starts_with(b"$-") {
        return None;
    }
    let start = reply.iter().position(|byte| *byte == b'\n')? + 1;
    reply.get(start..reply.len().checked_sub(2)?)
}

/// The parts of an array, map or set, each with its own bytes.
pub fn parts(reply: &[u8]) -> Option<Vec<&[u8]>> {
    if !matches!(reply.first(), Some(b'*' | b'~' | b'%')) {
        return None;
    }
    let start = reply.iter().position(|byte| *byte == b'\n')? + 1;
    let mut rest = reply.get(start..)?;
    let mut parts = Vec::new();
    while !rest.is_empty() {
        let mut part = Vec::new();
        let mut stream = rest;
        read_reply(&mut stream, &mut part).ok()?;
        let (taken, after) = rest.split_at(part.len());
        parts.push(taken);
        rest = after;
    }
    Some(parts)
}

/// The integer that a reply is.
pub fn integer(reply: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(reply.strip_prefix(b":")?).ok()?;
    text.trim_end().parse().ok()
}
