//! etcd's third protocol: gRPC over HTTP/2, as far as Put and Range go.
//!
//! HTTP/2 is the `h2` crate's. It wants a socket and a runtime and gets neither: its bytes go through
//! a [`Pipe`] in memory, and whoever brings bytes polls it, so that it runs in the generator's loop
//! like every other protocol, without a task or a thread. Of gRPC there is only the frame in front
//! of a message (a flag and a length) and the status behind it; messages have two or three fields
//! each and are written by hand (`etcdserverpb.KV`, rpc.proto).
//!
//! Ranges are linearizable, etcd's default.

use super::{Answer, Wire, strange, unsupported};
use crate::op::{Op, write_key};
use bytes::{Bytes, BytesMut};
use h2::client::{Connection, ResponseFuture, SendRequest};
use h2::{RecvStream, client};
use http::{HeaderMap, Request};
use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// One connection.
#[derive(Default)]
pub struct Etcd {
    pipe: Pipe,
    open: Option<(SendRequest<Bytes>, Connection<Pipe, Bytes>)>,
    streams: Vec<Stream>,
}

/// A request and what has come of its answer.
struct Stream {
    ticket: u32,
    reads: bool,
    response: Result<RecvStream, ResponseFuture>,
    body: BytesMut,
}

impl Wire for Etcd {
    fn open(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        let builder = client::Builder::new();
        let mut handshake = Box::pin(builder.handshake(self.pipe.clone()));
        // It only writes; the server's settings come later.
        match handshake.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(opened) => self.open = Some(opened.map_err(io::Error::other)?),
            Poll::Pending => return Err(strange("a handshake that waits")),
        }
        self.turn(out, &mut vec![])
    }

    fn ready(&self) -> bool {
        self.open.is_some()
    }

    fn request(&mut self, ticket: u32, op: Op, value: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        let (method, body) = message(op, value)?;
        let (sender, connection) = self.open.as_mut().ok_or_else(|| strange("not open"))?;
        let request = Request::post(method)
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())
            .map_err(io::Error::other)?;
        let context = &mut Context::from_waker(Waker::noop());
        while sender.poll_ready(context).map_err(io::Error::other)?.is_pending() {
            // A stream that is not yet sent stands before this one.
            if connection.poll_unpin(context)?.is_ready() {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
        }
        let (response, mut stream) =
            sender.send_request(request, false).map_err(io::Error::other)?;
        stream.send_data(body, true).map_err(io::Error::other)?;
        let reads = matches!(op, Op::Get(_) | Op::Scan(..));
        self.streams.push(Stream { ticket, reads, response: Err(response), body: BytesMut::new() });
        self.turn(out, &mut vec![])
    }

    fn receive(
        &mut self,
        input: &[u8],
        out: &mut Vec<u8>,
        answers: &mut Vec<(u32, Answer)>,
    ) -> io::Result<usize> {
        self.pipe.0.borrow_mut().input.extend_from_slice(input);
        self.turn(out, answers)?;
        Ok(input.len())
    }
}

impl Etcd {
    /// Lets the connection and its streams go on as far as they get.
    fn turn(&mut self, out: &mut Vec<u8>, answers: &mut Vec<(u32, Answer)>) -> io::Result<()> {
        let Some((_, connection)) = &mut self.open else { return Ok(()) };
        let context = &mut Context::from_waker(Waker::noop());
        let closed = connection.poll_unpin(context)?.is_ready();
        let mut failure = None;
        let mut drained = false;
        self.streams.retain_mut(|stream| match stream.poll(context, &mut drained) {
            Poll::Ready(Ok(answer)) => {
                answers.push((stream.ticket, answer));
                false
            }
            Poll::Ready(Err(error)) => {
                failure = Some(error);
                false
            }
            Poll::Pending => true,
        });
        if let Some(error) = failure {
            return Err(error);
        }
        // Bodies that were read leave room that the server must hear of.
        if drained && connection.poll_unpin(context)?.is_ready() || closed {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        out.append(&mut self.pipe.0.borrow_mut().output);
        Ok(())
    }
}

/// `poll` for a future that lies somewhere for good.
trait PollUnpin {
    fn poll_unpin(&mut self, context: &mut Context<'_>) -> io::Result<Poll<()>>;
}

impl PollUnpin for Connection<Pipe, Bytes> {
    fn poll_unpin(&mut self, context: &mut Context<'_>) -> io::Result<Poll<()>> {
        match Pin::new(self).poll(context) {
            Poll::Ready(Ok(())) => Ok(Poll::Ready(())),
            Poll::Ready(Err(error)) => Err(io::Error::other(error)),
            Poll::Pending => Ok(Poll::Pending),
        }
    }
}

impl Stream {
    /// Reads headers, body and status as far as they have come; `drained` if some of a body has.
    fn poll(&mut self, context: &mut Context<'_>, drained: &mut bool) -> Poll<io::Result<Answer>> {
        if let Err(future) = &mut self.response {
            match Pin::new(future).poll(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(io::Error::other(error))),
                Poll::Ready(Ok(response)) => {
                    // A refusal at once has its status among the headers, and no body.
                    if let Some(answer) = status(response.headers()) {
                        return Poll::Ready(Ok(answer));
                    }
                    self.response = Ok(response.into_body());
                }
            }
        }
        let before = self.body.len();
        let rest = self.rest(context);
        *drained |= self.body.len() > before;
        match rest {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Err(error)) => Poll::Ready(Err(io::Error::other(error))),
            Poll::Ready(Ok(trailers)) => {
                let answer = trailers.as_ref().and_then(status).unwrap_or(Answer::Failed);
                let empty = self.reads && answer == Answer::Fine && !has_rows(&self.body);
                Poll::Ready(Ok(if empty { Answer::Missing } else { answer }))
            }
        }
    }

    /// Gathers the body, then the trailers.
    fn rest(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<HeaderMap>, h2::Error>> {
        let Ok(body) = &mut self.response else { return Poll::Pending };
        loop {
            match body.poll_data(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Ok(bytes))) => {
                    let _ = body.flow_control().release_capacity(bytes.len());
                    self.body.extend_from_slice(&bytes);
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
                Poll::Ready(None) => return body.poll_trailers(context),
            }
        }
    }
}

/// What gRPC's status among these headers says, if it is there.
fn status(headers: &HeaderMap) -> Option<Answer> {
    let status = headers.get("grpc-status")?;
    Some(if status == "0" { Answer::Fine } else { Answer::Failed })
}

/// A method's path, and its message in gRPC's frame.
fn message(op: Op, value: &[u8]) -> io::Result<(&'static str, Bytes)> {
    let mut name = Vec::with_capacity(16);
    let mut frame = Vec::with_capacity(32 + value.len());
    frame.extend_from_slice(&[0; 5]); // not compressed; the length follows below
    let method = match op {
        Op::Create(key) | Op::Set(key) => {
            write_key(&mut name, key);
            field(&mut frame, 1, &name);
            field(&mut frame, 2, value);
            "http://bench/etcdserverpb.KV/Put"
        }
        Op::Get(key) => {
            write_key(&mut name, key);
            field(&mut frame, 1, &name);
            "http://bench/etcdserverpb.KV/Range"
        }
        Op::Scan(key, count) => {
            write_key(&mut name, key);
            field(&mut frame, 1, &name);
            field(&mut frame, 2, b"key;"); // behind every key
            frame.push(3 << 3); // the limit, a number
            number(&mut frame, u64::from(count));
            "http://bench/etcdserverpb.KV/Range"
        }
        Op::GetThenSet(_) => return Err(unsupported(op)),
    };
    let length = (frame.len() - 5) as u32;
    frame[1..5].copy_from_slice(&length.to_be_bytes());
    Ok((method, frame.into()))
}

/// A field of bytes, as protobuf writes it.
fn field(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    out.push(tag << 3 | 2);
    number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// A number in groups of seven bits, the lowest first.
fn number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Whether a `RangeResponse` in its frame has a row: field 2, `kvs`.
fn has_rows(frame: &[u8]) -> bool {
    let mut rest = frame.get(5..).unwrap_or_default();
    while let Some(tag) = read_number(&mut rest) {
        let length = match tag & 7 {
            0 => read_number(&mut rest).map(|_| 0),
            2 => read_number(&mut rest),
            _ => None,
        };
        match length.and_then(|length| rest.get(length as usize..)) {
            Some(_) if tag >> 3 == 2 => return true,
            Some(next) => rest = next,
            None => return false,
        }
    }
    false
}

fn read_number(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// What h2 takes for a socket: it reads what was put in, and what it writes is fetched.
#[derive(Clone, Default)]
struct Pipe(Rc<RefCell<Both>>);

#[derive(Default)]
struct Both {
    input: BytesMut,
    output: Vec<u8>,
}

impl AsyncRead for Pipe {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let input = &mut self.0.borrow_mut().input;
        if input.is_empty() {
            return Poll::Pending;
        }
        let count = input.len().min(buffer.remaining());
        buffer.put_slice(&input.split_to(count));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().output.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_put_reads_like_this() {
        let (method, frame) = message(Op::Set(1), b"ab").unwrap();
        assert!(method.ends_with("/etcdserverpb.KV/Put"));
        assert_eq!(&frame[..], b"\0\0\0\0\x16\x0a\x10key:000000000001\x12\x02ab");
    }

    #[test]
    fn a_scan_ends_behind_the_last_key() {
        let (method, frame) = message(Op::Scan(1, 300), b"").unwrap();
        assert!(method.ends_with("/etcdserverpb.KV/Range"));
        assert_eq!(&frame[5..], b"\x0a\x10key:000000000001\x12\x04key;\x18\xac\x02");
        assert!(message(Op::GetThenSet(1), b"").is_err());
    }

    #[test]
    fn rows_are_seen() {
        let header = b"\x0a\x03\x08\x96\x01";
        let none = [&[0; 5][..], header].concat();
        let some = [&none[..], b"\x12\x02\x0a\x00\x20\x01"].concat();
        let half = [&none[..], b"\x12\x7f\x0a"].concat();
        assert!(!has_rows(&none) && has_rows(&some) && !has_rows(&half) && !has_rows(b""));
    }

    /// A server of h2's own, in memory: Put is done, and so is Range, of which key 1 has a row.
    struct Server {
        pipe: Pipe,
        connection: h2::server::Connection<Pipe, Bytes>,
        waiting: Vec<(RecvStream, bool, h2::server::SendResponse<Bytes>)>,
    }

    impl Server {
        fn of(client: &mut Etcd) -> Server {
            let (pipe, mut hello) = (Pipe::default(), vec![]);
            client.open(&mut hello).unwrap();
            let mut handshake = Box::pin(h2::server::handshake(pipe.clone()));
            let context = &mut Context::from_waker(Waker::noop());
            assert!(handshake.as_mut().poll(context).is_pending());
            pipe.0.borrow_mut().input.extend_from_slice(&hello);
            let Poll::Ready(Ok(connection)) = handshake.as_mut().poll(context) else {
                panic!("no handshake")
            };
            Server { pipe, connection, waiting: vec![] }
        }

        /// Takes what a client says and answers what is whole, the last request first.
        fn answer(&mut self, bytes: &[u8]) -> Vec<u8> {
            self.pipe.0.borrow_mut().input.extend_from_slice(bytes);
            let context = &mut Context::from_waker(Waker::noop());
            while let Poll::Ready(Some(Ok((request, respond)))) =
                self.connection.poll_accept(context)
            {
                let put = request.uri().path().ends_with("/Put");
                self.waiting.push((request.into_body(), put, respond));
            }
            while let Some((mut body, put, mut respond)) = self.waiting.pop() {
                let Poll::Ready(Some(Ok(frame))) = body.poll_data(context) else {
                    panic!("no body")
                };
                let head = http::Response::builder().header("content-type", "application/grpc");
                if frame.ends_with(b"9") {
                    let refusal = head.header("grpc-status", "14").body(()).unwrap();
                    respond.send_response(refusal, true).unwrap();
                    continue;
                }
                let mut message = vec![0; 5];
                if !put && frame.ends_with(b"1") {
                    message.extend_from_slice(b"\x12\x02\x0a\x00");
                } else if !put && frame.ends_with(b"8") {
                    // 1,000,000 bytes, many times what may be sent without being asked for more.
                    message.extend_from_slice(b"\x12\xc0\x84\x3d");
                    message.resize(message.len() + 1_000_000, 0);
                }
                let mut stream = respond.send_response(head.body(()).unwrap(), false).unwrap();
                stream.send_data(message.into(), false).unwrap();
                let mut trailers = HeaderMap::new();
                trailers.insert("grpc-status", "0".parse().unwrap());
                stream.send_trailers(trailers).unwrap();
            }
            assert!(self.connection.poll_accept(context).is_pending());
            std::mem::take(&mut self.pipe.0.borrow_mut().output)
        }
    }

    #[test]
    fn requests_are_answered_in_whatever_order() {
        let mut client = Etcd::default();
        let mut server = Server::of(&mut client);
        let mut out = vec![];
        for (ticket, op) in [Op::Set(5), Op::Get(1), Op::Get(2), Op::Get(9)].into_iter().enumerate()
        {
            client.request(ticket as u32, op, b"value", &mut out).unwrap();
        }
        let mut answers = vec![];
        let mut said = server.answer(&out);
        // In two pieces, to be patient with.
        let rest = said.split_off(said.len() / 2);
        for piece in [said, rest] {
            assert_eq!(client.receive(&piece, &mut vec![], &mut answers).unwrap(), piece.len());
        }
        answers.sort_by_key(|(ticket, _)| *ticket);
        assert_eq!(
            answers,
            [(0, Answer::Fine), (1, Answer::Fine), (2, Answer::Missing), (3, Answer::Failed)]
        );
    }

    #[test]
    fn an_answer_larger_than_a_window_comes_whole() {
        let mut client = Etcd::default();
        let mut server = Server::of(&mut client);
        let (mut out, mut answers, mut exchanges) = (vec![], vec![], 0);
        client.request(7, Op::Get(8), b"", &mut out).unwrap();
        while answers.is_empty() {
            let said = server.answer(&std::mem::take(&mut out));
            // The generator looks at a connection when something has come, and not otherwise.
            assert!(!said.is_empty(), "the server was never asked for more");
            client.receive(&said, &mut out, &mut answers).unwrap();
            exchanges += 1;
        }
        assert_eq!(answers, [(7, Answer::Fine)]);
        assert!(exchanges > 1, "it fitted into one window");
    }

    #[test]
    fn nonsense_is_an_error() {
        let mut client = Etcd::default();
        client.open(&mut vec![]).unwrap();
        assert!(client.receive(&[b'x'; 64], &mut vec![], &mut vec![]).is_err());
    }
}
