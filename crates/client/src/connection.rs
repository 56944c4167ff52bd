//! One socket to one endpoint: bytes out, replies in, each with a deadline.

use crate::command::Command;
use crate::error::{Verdict, split, verdict};
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};
use wire::resp::{Replies, Value};

/// A connection whose stream of replies is in step with its requests. After any failure it isn't
/// any more, and its owner drops it.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    /// Bytes received and not yet read as replies.
    received: Replies,
}

/// How far a lost request got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Lost {
    /// Not all of it left: the server can't have carried it out.
    BeforeSent(String),
    /// All of it left, and no whole reply came.
    AfterSent(String),
}

/// Why an endpoint can't be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unusable {
    /// No connection, or none that got through the greeting.
    Unreachable(String),
    /// It wants another password, or any.
    Denied(String),
}

impl Connection {
    /// Connects, authenticates and selects the bucket.
    pub fn open(
        endpoint: &str,
        password: Option<&str>,
        bucket: u8,
        deadline: Instant,
    ) -> Result<Connection, Unusable> {
        let stream = connect(endpoint, deadline).map_err(Unusable::Unreachable)?;
        let mut connection = Connection { stream, received: Replies::default() };
        if let Some(password) = password {
            connection.greet(&Command::read(["AUTH".to_owned(), password.to_owned()]), deadline)?;
        }
        if bucket != 0 {
            connection
                .greet(&Command::read(["SELECT".to_owned(), bucket.to_string()]), deadline)?;
        }
        Ok(connection)
    }

    fn greet(&mut self, command: &Command, deadline: Instant) -> Result<(), Unusable> {
        let mut bytes = Vec::new();
        command.encode(&[], &mut bytes);
        let reply = self.send(&bytes, deadline).and_then(|()| self.receive(deadline));
        match reply {
            Ok(Value::Error(text)) => match verdict(split(&text).0) {
                Verdict::Denied => Err(Unusable::Denied(text)),
                _ => Err(Unusable::Unreachable(text)),
            },
            Ok(_) => Ok(()),
            Err(Lost::BeforeSent(why) | Lost::AfterSent(why)) => Err(Unusable::Unreachable(why)),
        }
    }

    /// Sends `bytes`, which are whole requests.
    pub fn send(&mut self, bytes: &[u8], deadline: Instant) -> Result<(), Lost> {
        // A request is carried out only once its last byte has arrived, so a write that stopped
        // early says for certain that its last request was not.
        let mut rest = bytes;
        while !rest.is_empty() {
            let left = left(deadline).ok_or_else(|| Lost::BeforeSent(TIMEOUT.into()))?;
            self.stream.set_write_timeout(Some(left)).map_err(before_sent)?;
            match self.stream.write(rest) {
                Ok(0) => return Err(Lost::BeforeSent(CLOSED.into())),
                Ok(sent) => rest = &rest[sent..],
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(before_sent(error)),
            }
        }
        Ok(())
    }

    /// The next reply.
    pub fn receive(&mut self, deadline: Instant) -> Result<Value, Lost> {
        let mut buffer = [0; 16 << 10];
        loop {
            let reply = self.received.next_reply();
            let reply =
                reply.map_err(|why| Lost::AfterSent(format!("not a RESP server: {why}")))?;
            if let Some(value) = reply {
                return Ok(value);
            }
            let left = left(deadline).ok_or_else(|| Lost::AfterSent(TIMEOUT.into()))?;
            self.stream.set_read_timeout(Some(left)).map_err(after_sent)?;
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(Lost::AfterSent(CLOSED.into())),
                Ok(read) => self.received.push(&buffer[..read]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(after_sent(error)),
            }
        }
    }
}

const TIMEOUT: &str = "no reply in time";
const CLOSED: &str = "connection closed before the reply";

fn connect(endpoint: &str, deadline: Instant) -> Result<TcpStream, String> {
    let addresses = endpoint.to_socket_addrs().map_err(|error| match error.kind() {
        ErrorKind::InvalidInput => "is not an address of the form host:port".to_owned(),
        _ => format!("name not resolved: {error}"),
    })?;
    let mut reason = "name resolves to no address".to_owned();
    for address in addresses {
        let Some(left) = left(deadline) else { return Err("no connection in time".into()) };
        match TcpStream::connect_timeout(&address, left) {
            Ok(stream) => {
                // Requests are small and wait for their answers: never hold one back.
                stream.set_nodelay(true).map_err(|error| describe(&error))?;
                return Ok(stream);
            }
            Err(error) => reason = describe(&error),
        }
    }
    Err(reason)
}

fn left(deadline: Instant) -> Option<Duration> {
    deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
}

fn before_sent(error: std::io::Error) -> Lost {
    Lost::BeforeSent(describe(&error))
}

fn after_sent(error: std::io::Error) -> Lost {
    Lost::AfterSent(describe(&error))
}

/// The cause in a few plain words.
fn describe(error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::ConnectionRefused => "connection refused".into(),
        ErrorKind::TimedOut | ErrorKind::WouldBlock => TIMEOUT.into(),
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => {
            "connection reset before the reply".into()
        }
        _ => error.to_string(),
    }
}
