//! A blocking RESP 2 client that sends a request once, and tells three outcomes apart.

use std::fmt;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// What a server answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// `+OK`
    Simple(String),
    /// `-ERR …`
    Error(String),
    /// `:1`
    Integer(i64),
    /// `$3`
    Bulk(Vec<u8>),
    /// `$-1` or `*-1`
    Nil,
    /// `*2`
    Array(Vec<Reply>),
}

impl Reply {
    /// Its text; of an array, each element's on its own line.
    pub fn text(&self) -> String {
        match self {
            Reply::Simple(text) | Reply::Error(text) => text.clone(),
            Reply::Integer(number) => number.to_string(),
            Reply::Bulk(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            Reply::Nil => String::new(),
            Reply::Array(items) => items.iter().map(Reply::text).collect::<Vec<_>>().join("\n"),
        }
    }

    /// The number it is or spells.
    pub fn number(&self) -> Option<i64> {
        match self {
            Reply::Integer(number) => Some(*number),
            other => other.text().parse().ok(),
        }
    }

    /// The elements of an array.
    pub fn items(&self) -> &[Reply] {
        match self {
            Reply::Array(items) => items,
            _ => &[],
        }
    }

    /// In an array of names and values by turns, the value of a name.
    pub fn field(&self, name: &str) -> Option<&Reply> {
        let pair = self.items().chunks_exact(2).find(|pair| pair[0].text() == name)?;
        Some(&pair[1])
    }
}

/// What the sender of a request may conclude.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was carried out, and this is the answer.
    Done(Reply),
    /// It was refused: asking again will not help.
    Refused(String),
    /// It was not carried out: asking again is safe.
    NotDone(String),
    /// It may or may not have been carried out.
    Unknown(String),
}

impl Outcome {
    /// What a reply means.
    pub fn of(reply: Reply) -> Outcome {
        match reply {
            Reply::Error(text) => match text.split(' ').next() {
                // LOADING is Redis', on its way up.
                Some("TRYAGAIN" | "CLUSTERDOWN" | "LOADING") => Outcome::NotDone(text),
                Some("UNKNOWN") => Outcome::Unknown(text),
                _ => Outcome::Refused(text),
            },
            reply => Outcome::Done(reply),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Done(reply) => write!(f, "done: {}", reply.text()),
            Outcome::Refused(text) => write!(f, "refused: {text}"),
            Outcome::NotDone(text) => write!(f, "not done: {text}"),
            Outcome::Unknown(text) => write!(f, "unknown: {text}"),
        }
    }
}

/// A connection.
#[derive(Debug)]
pub struct Conn {
    stream: BufReader<TcpStream>,
}

impl Conn {
    /// Connects; neither this nor any answer takes longer than `patience`.
    pub fn open(address: SocketAddr, patience: Duration) -> io::Result<Conn> {
        let stream = TcpStream::connect_timeout(&address, patience)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        Ok(Conn { stream: BufReader::new(stream) })
    }

    /// Sends bytes as they are.
    pub fn send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    /// Sends a command.
    pub fn send<W: AsRef<[u8]>>(&mut self, words: &[W]) -> io::Result<()> {
        self.send_raw(&encode(words))
    }

    /// Reads the next answer.
    pub fn receive(&mut self) -> io::Result<Reply> {
        read_reply(&mut self.stream)
    }

    /// Sends a command and reads its answer, which may be an error reply.
    pub fn call<W: AsRef<[u8]>>(&mut self, words: &[W]) -> io::Result<Reply> {
        self.send(words)?;
        self.receive()
    }

    /// Sends a command once. A connection that breaks leaves the outcome unknown.
    pub fn once<W: AsRef<[u8]>>(&mut self, words: &[W]) -> Outcome {
        match self.call(words) {
            Ok(reply) => Outcome::of(reply),
            Err(error) => Outcome::Unknown(error.to_string()),
        }
    }
}

/// A command on a connection of its own.
pub fn ask<W: AsRef<[u8]>>(address: SocketAddr, words: &[W]) -> io::Result<Reply> {
    Conn::open(address, Duration::from_secs(2))?.call(words)
}

/// A command's bytes.
pub fn encode<W: AsRef<[u8]>>(words: &[W]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        let word = word.as_ref();
        bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// Reads one reply.
pub fn read_reply(stream: &mut impl BufRead) -> io::Result<Reply> {
    let line = read_line(stream)?;
    let bad = || io::Error::new(io::ErrorKind::InvalidData, format!("no reply: {line:?}"));
    let (kind, rest) = line.split_at_checked(1).ok_or_else(bad)?;
    let number = || rest.parse::<i64>().map_err(|_| bad());
    Ok(match kind {
        "+" => Reply::Simple(rest.to_string()),
        "-" => Reply::Error(rest.to_string()),
        ":" => Reply::Integer(number()?),
        "$" | "*" if number()? < 0 => Reply::Nil,
        "$" => {
            let mut bytes = vec![0; usize::try_from(number()?).map_err(|_| bad())? + 2];
            stream.read_exact(&mut bytes)?;
            bytes.truncate(bytes.len() - 2);
            Reply::Bulk(bytes)
        }
        "*" => Reply::Array((0..number()?).map(|_| read_reply(stream)).collect::<io::Result<_>>()?),
        _ => return Err(bad()),
    })
}

/// Reads a line without its end.
fn read_line(stream: &mut impl BufRead) -> io::Result<String> {
    let mut line = Vec::new();
    stream.read_until(b'\n', &mut line)?;
    if !line.ends_with(b"\r\n") {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the connection was closed"));
    }
    line.truncate(line.len() - 2);
    Ok(String::from_utf8_lossy(&line).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_kind_of_reply() {
        let mut bytes = &b"*6\r\n+OK\r\n-ERR no\r\n:-7\r\n$3\r\na\r\n\r\n$-1\r\n*0\r\n"[..];
        let reply = read_reply(&mut bytes).unwrap();
        assert_eq!(
            reply.items(),
            [
                Reply::Simple("OK".into()),
                Reply::Error("ERR no".into()),
                Reply::Integer(-7),
                Reply::Bulk(b"a\r\n".to_vec()),
                Reply::Nil,
                Reply::Array(vec![]),
            ]
        );
    }

    #[test]
    fn half_a_reply_is_an_error() {
        for half in [&b""[..], b"+OK", b"$5\r\nab", b"*2\r\n+OK\r\n", b"?\r\n"] {
            assert!(read_reply(&mut &half[..]).is_err(), "{half:?}");
        }
    }

    #[test]
    fn three_outcomes() {
        let error = |text: &str| Outcome::of(Reply::Error(text.into()));
        assert!(matches!(error("TRYAGAIN busy"), Outcome::NotDone(_)));
        assert!(matches!(error("CLUSTERDOWN no quorum"), Outcome::NotDone(_)));
        assert!(matches!(error("UNKNOWN maybe"), Outcome::Unknown(_)));
        assert!(matches!(error("WRONGTYPE x"), Outcome::Refused(_)));
        assert!(matches!(Outcome::of(Reply::Nil), Outcome::Done(_)));
    }

    #[test]
    fn a_field_of_a_flat_map() {
        let reply = Reply::Array(vec![Reply::Bulk(b"a".to_vec()), Reply::Integer(1)]);
        assert_eq!(reply.field("a").and_then(Reply::number), Some(1));
        assert_eq!(reply.field("b"), None);
    }
}
