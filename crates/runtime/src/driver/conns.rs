//! Client connections: bytes between sockets and the gateway.
//!
//! What a client sent is offered to the gateway at once. What the gateway does not take is *kept*
//! and offered again after the connection's next answer. There are two reasons not to take bytes,
//! and they are told apart without asking: while answers are outstanding or unread, the connection
//! is held back, and no more than `input_bytes` are read ahead; if nothing is outstanding, what is
//! kept must be an unfinished frame, and more of it may be read.

use super::accept::Trouble;
use super::{Core, READ_BYTES, Shared};
use base::{ConnId, Time};
use bytes::{Buf, BytesMut};
use node::api::{Answer, FromConn};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

/// Bytes of output that a connection writes before others have their turn.
const WRITE_BYTES: u64 = 256 << 10;

/// One client's connection.
pub(super) struct Conn {
    id: ConnId,
    write: OwnedWriteHalf,
    /// Bytes that the gateway did not take yet.
    kept: RefCell<BytesMut>,
    /// Unanswered requests.
    in_flight: RefCell<VecDeque<u64>>,
    /// There is output that the socket does not take.
    blocked: Cell<bool>,
    /// The client will send nothing more.
    ended: Cell<bool>,
    /// To be closed now.
    over: Cell<bool>,
    /// When the gateway last took something, or nothing was kept.
    taken: Cell<Time>,
    /// When the socket last took something, or there was nothing to send.
    sent: Cell<Time>,
    waker: RefCell<Option<Waker>>,
}

impl Conn {
    fn new(id: ConnId, write: OwnedWriteHalf, now: Time) -> Conn {
        Conn {
            id,
            write,
            kept: RefCell::default(),
            in_flight: RefCell::default(),
            blocked: Cell::new(false),
            ended: Cell::new(false),
            over: Cell::new(false),
            taken: Cell::new(now),
            sent: Cell::new(now),
            waker: RefCell::default(),
        }
    }

    /// Has its task look at it again.
    fn wake(&self) {
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    fn end(&self) {
        self.over.set(true);
        self.wake();
    }

    /// Nothing is outstanding, so what is kept can only be an unfinished frame.
    fn quiet(&self) -> bool {
        self.in_flight.borrow().is_empty() && !self.blocked.get()
    }
}

/// Accepts clients for as long as the node runs.
pub(super) async fn accept(shared: Rc<Shared>, listener: TcpListener) {
    let mut trouble = Trouble::new(shared.world.node, "a client");
    loop {
        match listener.accept().await {
            Ok((stream, address)) => shared.connected(stream, address),
            Err(error) => trouble.pause(&error).await,
        }
    }
}

/// Tells a client that it is one too many. Best effort: nobody waits until it has heard it.
fn turn_away(stream: TcpStream, text: &[u8]) -> io::Result<()> {
    let mut stream = stream.into_std()?;
    stream.write_all(text)?;
    stream.shutdown(std::net::Shutdown::Write)?;
    // A socket that closes with bytes unread is reset, and its client may never see the text.
    stream.read(&mut [0; 4096]).map(|_| ())
}

impl Shared {
    fn connected(self: &Rc<Self>, stream: TcpStream, address: SocketAddr) {
        let metrics = &self.world.metrics;
        let core = &mut *self.core.borrow_mut();
        if core.conns.len() >= self.world.limits.connections_max {
            metrics.connections_refused.one();
            if let Err(error) = turn_away(stream, core.gateway.full()) {
                tracing::trace!(%address, %error, "a client was turned away");
            }
            return;
        }
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%address, %error, "a client left before it was served");
            return;
        }
        let now = self.now();
        let id = core.conn_id();
        let (read, write) = stream.into_split();
        let conn = Rc::new(Conn::new(id, write, now));
        core.conns.insert(id, Rc::clone(&conn));
        core.gateway.open(now, id, address.to_string());
        metrics.connections_accepted.one();
        metrics.connections.set(core.conns.len() as u64);
        tokio::task::spawn_local(Rc::clone(self).attend(conn, read));
    }

    /// Moves a connection's bytes until it is over.
    async fn attend(self: Rc<Self>, conn: Rc<Conn>, mut read: OwnedReadHalf) {
        poll_fn(|cx| self.poll_conn(cx, &conn, &mut read)).await;
        let core = &mut *self.core.borrow_mut();
        self.change_kept(core, &conn, |_, kept| *kept = BytesMut::new());
        core.conns.remove(&conn.id);
        core.gateway.close(conn.id, &mut core.inputs.clients);
        self.world.metrics.connections.set(core.conns.len() as u64);
        self.wake.notify_one();
    }

    /// Ready once the connection is over.
    fn poll_conn(
        &self,
        cx: &mut Context<'_>,
        conn: &Rc<Conn>,
        read: &mut OwnedReadHalf,
    ) -> Poll<()> {
        let core = &mut *self.core.borrow_mut();
        while conn.over.get() || self.may_go_on(cx) {
            if conn.over.get() {
                return Poll::Ready(());
            }
            if conn.blocked.get() && conn.write.as_ref().poll_write_ready(cx).is_ready() {
                self.pace.working();
                self.serve_conn(core, self.now(), conn);
                if conn.blocked.get() && !conn.over.get() {
                    cx.waker().wake_by_ref(); // To go on, or to hear that the socket takes nothing.
                    break;
                }
                continue;
            }
            if !self.wants_bytes(core, conn) {
                break;
            }
            let mut buffer = ReadBuf::new(&mut core.scratch);
            match Pin::new(&mut *read).poll_read(cx, &mut buffer) {
                Poll::Pending => break,
                Poll::Ready(Err(error)) => {
                    tracing::debug!(conn = %conn.id, %error, "a client's connection broke");
                    return Poll::Ready(());
                }
                Poll::Ready(Ok(())) => {
                    let bytes = buffer.filled().len();
                    self.received(core, conn, bytes);
                    if bytes == READ_BYTES {
                        // There may be more, but others have their turn first.
                        cx.waker().wake_by_ref();
                        break;
                    }
                }
            }
        }
        *conn.waker.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }

    fn wants_bytes(&self, core: &mut Core, conn: &Conn) -> bool {
        let limits = &self.world.limits;
        let kept = conn.kept.borrow().len();
        if conn.ended.get() || kept >= limits.frame_bytes_max {
            return false;
        }
        kept < limits.input_bytes || conn.quiet() && self.may_grow(core, conn)
    }

    /// Whether an unfinished frame may take more of the budget that all share. When that is spent,
    /// one connection at a time goes on regardless, or frames that are all half there would wait for
    /// each other for ever.
    fn may_grow(&self, core: &mut Core, conn: &Conn) -> bool {
        core.held < self.world.limits.input_bytes_all
            || *core.grows_first.get_or_insert(conn.id) == conn.id
    }

    /// The first `bytes` of the scratch buffer came from `conn`; none: it will send no more.
    fn received(&self, core: &mut Core, conn: &Rc<Conn>, bytes: usize) {
        self.world.metrics.client_bytes_received.add(bytes as u64);
        self.pace.working();
        let now = self.now();
        if bytes == 0 {
            conn.ended.set(true);
        } else if conn.kept.borrow().is_empty() {
            let from = core.inputs.clients.len();
            let Core { scratch, gateway, inputs, .. } = core;
            let taken = gateway.receive(now, conn.id, &scratch[..bytes], &mut inputs.clients);
            self.note_requests(core, from);
            if taken > 0 {
                conn.taken.set(now);
            }
            self.keep(core, conn, taken, bytes);
        } else {
            self.keep(core, conn, 0, bytes);
            self.offer(core, now, conn);
        }
        self.serve_conn(core, now, conn);
        self.wake.notify_one();
    }

    /// Keeps a part of the scratch buffer.
    fn keep(&self, core: &mut Core, conn: &Conn, from: usize, to: usize) {
        self.change_kept(core, conn, |core, kept| {
            kept.extend_from_slice(&core.scratch[from..to]);
        });
    }

    /// Offers the gateway what is kept.
    fn offer(&self, core: &mut Core, now: Time, conn: &Conn) {
        let from = core.inputs.clients.len();
        self.change_kept(core, conn, |core, kept| {
            let taken = core.gateway.receive(now, conn.id, kept, &mut core.inputs.clients);
            kept.advance(taken);
            if taken > 0 || kept.is_empty() {
                conn.taken.set(now);
            }
            if kept.is_empty() {
                *kept = BytesMut::new(); // A large frame's memory is not kept.
            }
        });
        self.note_requests(core, from);
    }

    /// Changes what is kept of a connection, and accounts for it.
    fn change_kept(
        &self,
        core: &mut Core,
        conn: &Conn,
        change: impl FnOnce(&mut Core, &mut BytesMut),
    ) {
        let limits = &self.world.limits;
        let beyond = |kept: &BytesMut| kept.len().saturating_sub(limits.input_bytes);
        let was_spent = core.held >= limits.input_bytes_all;
        {
            let mut kept = conn.kept.borrow_mut();
            core.held -= beyond(&kept);
            change(core, &mut kept);
            core.held += beyond(&kept);
            if beyond(&kept) == 0 && core.grows_first == Some(conn.id) {
                core.grows_first = None;
            }
        }
        self.world.metrics.client_bytes_held.set(core.held as u64);
        if was_spent && (core.held < limits.input_bytes_all || core.grows_first.is_none()) {
            for conn in core.conns.values() {
                conn.wake(); // It may be its turn to grow.
            }
        }
    }

    /// Remembers what the gateway asked for since the list had `from` entries.
    fn note_requests(&self, core: &mut Core, from: usize) {
        for client in &core.inputs.clients[from..] {
            match client {
                FromConn::Request(request) => {
                    self.world.metrics.requests.one();
                    if let Some(conn) = core.conns.get(&request.conn) {
                        conn.in_flight.borrow_mut().push_back(request.seq);
                    }
                }
                FromConn::Cancel(conn, seq) => core.settled(*conn, *seq),
                FromConn::Close(_) => {}
            }
        }
    }

    /// An answer of the node for a connection or a call.
    pub(super) fn answer(&self, core: &mut Core, now: Time, answer: Answer) {
        if !answer.more {
            self.world.metrics.answers.one();
            if answer.result.is_err() {
                self.world.metrics.failures.one();
            }
        }
        let Some(answer) = core.answer_call(answer) else { return };
        let id = answer.conn;
        if !answer.more {
            core.settled(id, answer.seq);
        }
        let from = core.inputs.clients.len();
        core.gateway.answer(now, answer, &mut core.inputs.clients);
        self.note_requests(core, from);
        if let Some(conn) = core.conns.get(&id).cloned()
            && !conn.kept.borrow().is_empty()
        {
            self.offer(core, now, &conn);
            conn.wake(); // It may read again.
        }
    }

    /// A connection has output or wants to be closed.
    pub(super) fn serve(&self, core: &mut Core, now: Time, id: ConnId) {
        if let Some(conn) = core.conns.get(&id).cloned() {
            self.serve_conn(core, now, &conn);
        }
    }

    /// Writes what is there to be written, and sees whether that lets the connection go on or end.
    fn serve_conn(&self, core: &mut Core, now: Time, conn: &Rc<Conn>) {
        loop {
            let wrote = match self.write(core, now, conn) {
                Ok(Some(bytes)) => bytes > 0,
                Ok(None) => {
                    if !conn.blocked.replace(true) {
                        conn.wake(); // It has to wait for the socket.
                    }
                    return;
                }
                Err(error) => {
                    tracing::debug!(conn = %conn.id, %error, "a client's connection broke");
                    conn.end();
                    return;
                }
            };
            let was_blocked = conn.blocked.replace(false);
            conn.sent.set(now);
            if core.gateway.closing(conn.id) {
                conn.end();
                return;
            }
            let kept = conn.kept.borrow().len();
            if kept > 0 && (wrote || was_blocked) {
                // The gateway may have stopped because of output that is gone now.
                self.offer(core, now, conn);
            }
            if conn.kept.borrow().len() == kept {
                // Nothing new to answer: a client that has finished, and has all its answers, goes.
                if conn.ended.get() && conn.in_flight.borrow().is_empty() {
                    conn.end();
                }
                if was_blocked {
                    conn.wake(); // It may read again.
                }
                return;
            }
        }
    }

    /// Writes a connection's output. How many bytes that was; `None`: the socket takes no more, or
    /// it had its share for now.
    fn write(&self, core: &mut Core, now: Time, conn: &Conn) -> io::Result<Option<u64>> {
        let mut written = 0;
        // A gateway hands out its answers bit by bit: what is taken makes room for more.
        while let Some(output) = core.gateway.output(conn.id) {
            if output.is_empty() {
                break;
            }
            if written >= WRITE_BYTES {
                return Ok(None);
            }
            match conn.write.try_write(output) {
                Ok(bytes) => {
                    output.advance(bytes);
                    written += bytes as u64;
                    conn.sent.set(now);
                    self.world.metrics.client_bytes_sent.add(bytes as u64);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        Ok(Some(written))
    }

    /// Ends connections that make no progress.
    pub(super) fn sweep_conns(&self, now: Time) {
        let core = &mut *self.core.borrow_mut();
        let stall_ns = self.world.limits.stall_ms * base::time::MILLISECOND;
        for conn in core.conns.values() {
            let large = conn.kept.borrow().len() > self.world.limits.input_bytes;
            let unfinished =
                large && conn.quiet() && now.mono.since(conn.taken.get().mono) > stall_ns;
            let unread = conn.blocked.get() && now.mono.since(conn.sent.get().mono) > stall_ns;
            if unfinished || unread {
                let why = if unread { "answers left unread" } else { "a request left unfinished" };
                tracing::info!(conn = %conn.id, why, "a client's connection was closed");
                self.world.metrics.connections_stalled.one();
                conn.end();
            }
        }
    }
}

impl Core {
    /// A request needs no answer any more.
    fn settled(&self, conn: ConnId, seq: u64) {
        if let Some(conn) = self.conns.get(&conn) {
            let mut in_flight = conn.in_flight.borrow_mut();
            if let Some(at) = in_flight.iter().position(|&flying| flying == seq) {
                in_flight.remove(at);
            }
        }
    }
}
