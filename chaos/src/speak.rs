//! A client's connection: one command in, one reply out, or nothing that could be relied on.

use base::Bytes;
use sim::workload::encode;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;
use wire::resp::{Replies, Value};

/// A connection on which commands are asked one after the other.
pub trait Speaker: Send {
    /// Asks. After an error nobody knows whether the command was carried out, and the connection is
    /// of no more use.
    fn call(&mut self, words: &[Bytes]) -> io::Result<Value>;
}

/// Connects; neither this nor a part of an answer takes longer than `patience`.
pub fn dial(address: SocketAddr, patience: Duration) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, patience.min(CONNECT_MAX))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    Ok(stream)
}

/// Nodes are near: who does not take a connection soon is down.
const CONNECT_MAX: Duration = Duration::from_secs(1);

/// RESP, with the simulator's own writer and the wire's own reader.
pub struct Resp {
    stream: TcpStream,
    replies: Replies,
}

impl Resp {
    /// A connection to a server that speaks it.
    pub fn open(address: SocketAddr, patience: Duration) -> io::Result<Resp> {
        Ok(Resp { stream: dial(address, patience)?, replies: Replies::default() })
    }

    /// The same with a password.
    pub fn open_with(address: SocketAddr, patience: Duration, word: &str) -> io::Result<Resp> {
        let mut conn = Resp::open(address, patience)?;
        match conn.ask(&["AUTH", word])? {
            Value::Simple(_) => Ok(conn),
            other => Err(io::Error::other(format!("AUTH was answered {other:?}"))),
        }
    }

    /// Asks in words.
    pub fn ask(&mut self, words: &[&str]) -> io::Result<Value> {
        self.call(&sim::workload::command(words))
    }
}

impl Speaker for Resp {
    fn call(&mut self, words: &[Bytes]) -> io::Result<Value> {
        self.stream.write_all(&encode(words))?;
        let mut buffer = [0; 4096];
        loop {
            if let Some(reply) = self.replies.next_reply().map_err(io::Error::other)? {
                return Ok(reply);
            }
            match self.stream.read(&mut buffer)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => self.replies.push(&buffer[..read]),
            }
        }
    }
}
