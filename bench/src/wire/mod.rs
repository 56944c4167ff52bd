//! The protocols of what is measured, each one a state machine without a socket.
//!
//! All of them serve the same generator: a [`Wire`] is one connection's side of a protocol, which
//! turns operations into bytes and bytes into answers. So connections, clocks, pipelines and open
//! loops are the same for every subject, and what a client library costs beyond its protocol does
//! not weigh on one peer alone.
//!
//! | protocol | whose | how it is written |
//! | --- | --- | --- |
//! | [`resp`] | Underpin, Redis, the echo floor | by hand |
//! | [`zookeeper`] | ZooKeeper | by hand: four requests of a plain format |
//! | [`nats`] | NATS | by hand: lines of text. The crate for it brings about sixty others, and a task per connection |
//! | [`etcd`] | etcd | HTTP/2 by the `h2` crate, driven without its sockets; messages of two fields by hand |

pub mod blocking;
pub mod etcd;
pub mod nats;
pub mod resp;
pub mod zookeeper;

use crate::op::Op;
use std::io;

/// How an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It was done.
    Fine,
    /// The key is not there.
    Missing,
    /// An error.
    Failed,
}

/// One connection's side of a protocol.
pub trait Wire {
    /// Adds what a connection says first.
    fn open(&mut self, out: &mut Vec<u8>) -> io::Result<()>;

    /// Whether requests may follow.
    fn ready(&self) -> bool;

    /// Adds a request, whose answer will bear the ticket. A ticket is used again once it has been
    /// answered. [`Op::GetThenSet`] never gets here.
    fn request(&mut self, ticket: u32, op: Op, value: &[u8], out: &mut Vec<u8>) -> io::Result<()>;

    /// Reads the answers at the start of `input`, in whatever order they come, and adds what the
    /// protocol wants said in return; the number of bytes that it is done with.
    fn receive(
        &mut self,
        input: &[u8],
        out: &mut Vec<u8>,
        answers: &mut Vec<(u32, Answer)>,
    ) -> io::Result<usize>;

    /// Adds what keeps a quiet connection open, if it needs that; called every few seconds.
    fn keep(&mut self, _out: &mut Vec<u8>) {}
}

/// A protocol by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Redis'.
    Resp,
    /// ZooKeeper's.
    ZooKeeper,
    /// NATS', publishing to a stream.
    Nats,
    /// etcd's third.
    Etcd,
}

impl Protocol {
    /// A connection's side.
    pub fn wire(self) -> Box<dyn Wire> {
        match self {
            Protocol::Resp => Box::new(resp::Resp::default()),
            Protocol::ZooKeeper => Box::new(zookeeper::ZooKeeper::default()),
            Protocol::Nats => Box::new(nats::Nats::default()),
            Protocol::Etcd => Box::new(etcd::Etcd::default()),
        }
    }
}

/// Bytes that no server of this protocol sends.
fn strange(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

/// An operation that a protocol has no word for.
fn unsupported(op: Op) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, format!("{op:?} has no word in this protocol"))
}
