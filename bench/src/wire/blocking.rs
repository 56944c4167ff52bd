//! One operation after the other, on a socket that blocks: what waits for servers, and the writers
//! of the recovery benchmark.

use super::{Answer, Protocol, Wire};
use crate::op::Op;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// A connection that waits for each answer.
pub struct Caller {
    stream: TcpStream,
    wire: Box<dyn Wire>,
    input: Vec<u8>,
    patience: Duration,
}

impl Caller {
    /// Connects and says hello; nothing may take longer than `patience`.
    pub fn open(address: SocketAddr, protocol: Protocol, patience: Duration) -> io::Result<Caller> {
        let stream = TcpStream::connect_timeout(&address, patience)?;
        stream.set_nodelay(true)?;
        let mut caller = Caller { stream, wire: protocol.wire(), input: vec![], patience };
        let mut out = vec![];
        caller.wire.open(&mut out)?;
        caller.stream.write_all(&out)?;
        let end = Instant::now() + patience;
        while !caller.wire.ready() {
            caller.read(end, &mut vec![])?;
        }
        Ok(caller)
    }

    /// From now on no answer may take longer than this.
    pub fn patient(mut self, patience: Duration) -> Caller {
        self.patience = patience;
        self
    }

    /// Carries out one operation.
    pub fn call(&mut self, op: Op, value: &[u8]) -> io::Result<Answer> {
        let mut out = vec![];
        self.wire.request(0, op, value, &mut out)?;
        self.stream.write_all(&out)?;
        let (end, mut answers) = (Instant::now() + self.patience, vec![]);
        while answers.is_empty() {
            self.read(end, &mut answers)?;
        }
        Ok(answers[0].1)
    }

    /// Reads what comes next.
    fn read(&mut self, end: Instant, answers: &mut Vec<(u32, Answer)>) -> io::Result<()> {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.stream.set_read_timeout(Some(left))?;
        let mut buffer = [0; 16 * 1024];
        let count = self.stream.read(&mut buffer)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.input.extend_from_slice(&buffer[..count]);
        let mut out = vec![];
        let used = self.wire.receive(&self.input, &mut out, answers)?;
        self.input.drain(..used);
        self.stream.write_all(&out)
    }
}

/// A server's first look at us: an operation on a connection of its own.
pub fn once(address: SocketAddr, protocol: Protocol, op: Op) -> io::Result<Answer> {
    Caller::open(address, protocol, Duration::from_secs(2))?.call(op, b"hello")
}
