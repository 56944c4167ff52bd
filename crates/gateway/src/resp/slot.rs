//! A request's place in the order of its connection's replies.

use super::errors;
use super::multi::Exec;
use super::shape::{self, Shape};
use super::status;
use super::table::Spec;
use super::{Resp, memory, walk};
use base::{Bytes, Failure, Key};
use bytes::BytesMut;
use node::api::{Call, Reply};
use service::kv::{Bucket, Outcome};
use std::collections::VecDeque;
use wire::resp::Out;

/// A reply that is still to be written.
#[derive(Debug)]
pub(super) struct Slot {
    /// The request's number on its connection.
    pub(super) seq: u64,
    /// The command.
    pub(super) spec: &'static Spec,
    /// The protocol version it came with is 3.
    pub(super) three: bool,
    /// The client asked for no reply.
    pub(super) silent: bool,
    /// Its bytes, counted as in flight until the answer comes.
    pub(super) cost: usize,
    /// What it means for the order of the connection's requests.
    pub(super) order: Order,
    /// What is known of the reply.
    pub(super) body: Body,
}

/// What a request means for the order in which a connection's requests take effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// It looks at rows, whenever the node gets to it.
    Reads,
    /// It has its place in the log.
    Logged,
    /// Nothing.
    None,
}

impl Order {
    /// What `call` means.
    pub(super) fn of(call: &Call) -> Order {
        match call {
            Call::Kv(batch) if !batch.writes() => Order::Reads,
            Call::Kv(_) | Call::Once { .. } => Order::Logged,
            Call::Walk(_) => Order::Reads,
            Call::SessionOpen { .. }
            | Call::SessionClose { .. }
            | Call::Status
            | Call::HashMark
            | Call::Transfer { .. }
            | Call::NodeReplace { .. }
            | Call::Register(_) => Order::None,
        }
    }
}

/// What is known of a reply.
#[derive(Debug)]
pub(super) enum Body {
    /// All of it: it is written already.
    Written(Bytes),
    /// Nothing yet.
    Waiting(Want),
    /// The answer.
    Answered(Want, Result<Reply, Failure>),
}

/// How an answer becomes a reply.
#[derive(Debug)]
pub(super) enum Want {
    /// One operation's answer.
    Kv(Shape),
    /// A transaction's.
    Exec(Box<Exec>),
    /// Versions of keys, to be remembered for EXEC if WATCH was not taken back meanwhile.
    Watch { generation: u64, keys: Vec<(Bucket, Key)> },
    /// A page of SCAN; without its keys if they are of no type that was asked for.
    Scan { keys: bool },
    /// All keys, in chunks.
    Keys(walk::Keys),
    /// How many keys.
    Count,
    /// A key or none.
    Any,
    /// A session's id or a place in a log.
    Plain,
    /// Nothing but that it is done.
    Done,
    /// How the node is.
    Status(status::Shown),
}

impl Want {
    fn weight(&self) -> usize {
        match self {
            Want::Keys(keys) => keys.bytes(),
            _ => 0,
        }
    }
}

impl Slot {
    /// Whether the reply can be written.
    pub(super) fn ready(&self) -> bool {
        !matches!(self.body, Body::Waiting(_))
    }

    /// Its answer has come.
    pub(super) fn answered(&mut self, result: Result<Reply, Failure>) {
        let body = std::mem::replace(&mut self.body, Body::Written(Bytes::new()));
        if let Body::Waiting(want) = body {
            self.body = Body::Answered(want, result);
        }
    }

    /// There will be no answer, but this error.
    pub(super) fn refused(&mut self, wrong: &errors::Wrong) {
        let mut buffer = BytesMut::new();
        Out::new(&mut buffer, self.three).error(wrong.as_bytes());
        self.body = Body::Written(buffer.freeze());
    }

    /// Lets go of a large answer that the client may ask for again.
    pub(super) fn take_back(&mut self) {
        const SMALL: usize = 1 << 10;
        if let Body::Answered(want, Ok(_)) = &self.body
            && memory::may_be_taken_back(self.spec, want)
            && self.weight() > SMALL
        {
            self.refused(&errors::NO_ROOM_FOR_ANSWERS);
        }
    }

    /// Bytes of its reply, as far as that is here.
    pub(super) fn weight(&self) -> usize {
        match &self.body {
            Body::Written(reply) => reply.len(),
            Body::Waiting(want) => want.weight(),
            Body::Answered(want, result) => want.weight() + node::api::weight(result),
        }
    }

    /// Writes the reply; of a long one, the head, with what follows it left in `rest`.
    pub(super) fn write(self, resp: &Resp, buffer: &mut BytesMut, rest: &mut VecDeque<Bytes>) {
        let spec = self.spec;
        let mut out = Out::new(buffer, self.three);
        match self.body {
            Body::Written(reply) => out.raw(&reply),
            Body::Waiting(_) => unreachable!("{} was written before its answer came", spec.name),
            Body::Answered(_, Err(failure)) => {
                out.error(errors::failure(spec, &failure).as_bytes());
            }
            Body::Answered(Want::Keys(keys), Ok(Reply::Walk(_))) => keys.write(&mut out, rest),
            Body::Answered(want, Ok(reply)) => write(want, reply, spec, resp, &mut out),
        }
    }
}

fn write(want: Want, reply: Reply, spec: &Spec, resp: &Resp, out: &mut Out) {
    match (want, reply) {
        (Want::Kv(shape), Reply::Kv(Outcome::Answers(answers))) if !answers.is_empty() => {
            shape::write(&shape, &answers[0], spec, out);
        }
        (Want::Exec(exec), Reply::Kv(outcome)) => exec.write(outcome, out),
        (Want::Watch { .. }, Reply::Kv(_)) => out.simple("OK"),
        (Want::Scan { keys }, Reply::Walk(reply)) => walk::write_page(reply, keys, out),
        (Want::Count, Reply::Walk(reply)) => walk::write_count(reply, out),
        (Want::Any, Reply::Walk(reply)) => walk::write_any(reply, out),
        (Want::Plain, Reply::Session(session)) => out.integer(session as i64),
        (Want::Plain, Reply::Index(index)) => out.integer(index.0 as i64),
        (Want::Done, Reply::Done | Reply::Index(_)) => out.simple("OK"),
        (Want::Status(shown), Reply::Status(status)) => shown.write(&status, resp, out),
        // The node answered something else than it was asked: better told than guessed.
        (_, reply) => {
            let text = format!("ERR unexpected answer to '{}': {reply:?}", spec.name);
            out.error(&text.as_bytes()[..text.len().min(200)]);
        }
    }
}
