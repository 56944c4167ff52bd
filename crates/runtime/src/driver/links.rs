//! Links to other nodes.
//!
//! This node dials every other node twice (normal messages, bulk) and sends on those connections
//! only; what the others send comes over the connections that they dialed. A link that breaks is
//! dialed again after a pause that doubles up to a second, with jitter, so that a restarted node is
//! not met by everyone at once.
//!
//! A message for a link that is down, or whose queue is full, is dropped: the protocols above send
//! again, and a message that waits for minutes helps nobody.

use super::accept;
use super::{Core, Inputs, READ_BYTES, Shared};
use crate::clock::entropy;
use crate::cluster::LinkStatus;
use crate::queue::SendQueue;
use base::{Bytes, Incarnation, NodeId};
use bytes::BytesMut;
use node::Input;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use wire::peer::{Handshake, Hello, Kind, LinkKind, Peer, Step, frame, handshake};

/// The peer protocol's versions that this binary speaks.
pub(crate) const PROTOCOL: (u16, u16) = (1, 1);

const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// A link that lasted so long is dialed again without much of a pause.
const STEADY_AFTER: Duration = Duration::from_secs(2);
const CONNECT_MAX: Duration = Duration::from_secs(3);
/// The same trouble with a link is told again after so long.
const REPEAT_AFTER: Duration = Duration::from_secs(60);
/// Bytes sent and not acknowledged for so long mean that the other side is gone. Longer than any
/// election, shorter than a stuck snapshot is a nuisance.
const UNACKNOWLEDGED_MS_MAX: u32 = 10_000;

/// A connection to a peer, which this node sends on; made again whenever it breaks.
pub(super) struct Link {
    peer: NodeId,
    kind: LinkKind,
    /// As the cluster knows it, or, before it does, as the peer said when it was last met.
    incarnation: Cell<Incarnation>,
    address: String,
    queue: RefCell<SendQueue>,
    /// While the link is up.
    write: RefCell<Option<OwnedWriteHalf>>,
    blocked: Cell<bool>,
    /// What the node was last told about the queue.
    backlog: Cell<usize>,
    /// Its queue was too full: to be dropped.
    overflowed: Cell<bool>,
    waker: RefCell<Option<Waker>>,
    trouble: RefCell<String>,
    task: RefCell<Option<JoinHandle<()>>>,
}

impl Link {
    fn wake(&self) {
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    fn stop(&self) {
        if let Some(task) = self.task.borrow_mut().take() {
            task.abort();
        }
    }
}

/// A connection from a peer, which it sends on.
pub(super) struct Incoming {
    incarnation: Incarnation,
    task: JoinHandle<()>,
    /// Tells it from an older one of the same peer.
    number: u64,
}

impl Drop for Incoming {
    fn drop(&mut self) {
        self.task.abort();
    }
}

// Sending.

impl Shared {
    /// The cluster's map changed: links to these peers, and to no others.
    pub(super) fn relink(
        self: &Rc<Self>,
        core: &mut Core,
        peers: BTreeMap<NodeId, (Incarnation, String)>,
    ) {
        let wanted: BTreeMap<NodeId, (Incarnation, String)> = peers
            .into_iter()
            .filter(|(peer, _)| *peer != self.world.node)
            .map(|(peer, (incarnation, address))| {
                let address = self.world.peers.get(&peer).cloned().unwrap_or(address);
                (peer, (incarnation, address))
            })
            .collect();
        let gone: Vec<(NodeId, LinkKind)> = core
            .links
            .iter()
            .filter(|((peer, _), link)| {
                wanted.get(peer).is_none_or(|(incarnation, address)| {
                    !same_life(*incarnation, link.incarnation.get()) || *address != link.address
                })
            })
            .map(|(&key, _)| key)
            .collect();
        for key in gone {
            if let Some(link) = core.links.remove(&key) {
                link.stop();
                self.down(core, &link);
            }
        }
        core.incoming.retain(|(peer, _), incoming| {
            wanted
                .get(peer)
                .is_some_and(|(incarnation, _)| same_life(*incarnation, incoming.incarnation))
        });
        for (peer, (incarnation, address)) in wanted {
            for kind in [LinkKind::Normal, LinkKind::Bulk] {
                core.links
                    .entry((peer, kind))
                    .or_insert_with(|| self.dial(peer, kind, incarnation, address.clone()));
            }
        }
        self.publish(core);
    }

    fn dial(
        self: &Rc<Self>,
        peer: NodeId,
        kind: LinkKind,
        incarnation: Incarnation,
        address: String,
    ) -> Rc<Link> {
        let bytes_max = match kind {
            LinkKind::Normal => self.world.limits.link_bytes,
            LinkKind::Bulk => self.world.limits.link_bulk_bytes,
        };
        let link = Rc::new(Link {
            peer,
            kind,
            incarnation: Cell::new(incarnation),
            address,
            queue: RefCell::new(SendQueue::new(bytes_max)),
            write: RefCell::default(),
            blocked: Cell::new(false),
            backlog: Cell::new(0),
            overflowed: Cell::new(false),
            waker: RefCell::default(),
            trouble: RefCell::new("not connected yet".into()),
            task: RefCell::default(),
        });
        let task = tokio::task::spawn_local(Rc::clone(self).keep_up(Rc::clone(&link)));
        *link.task.borrow_mut() = Some(task);
        link
    }

    /// Dials, stays, and dials again.
    async fn keep_up(self: Rc<Self>, link: Rc<Link>) {
        let mut random = base::Random::new(crate::clock::entropy_u64());
        let mut pause = PAUSE_MIN;
        let mut told: Option<(String, Instant)> = None;
        loop {
            let trouble = match self.connect(&link).await {
                Ok((read, write)) => {
                    let since = Instant::now();
                    self.up(&link, write);
                    let trouble = self.stay(&link, read).await;
                    self.down(&mut self.core.borrow_mut(), &link);
                    // A link that the other side ends at once is no better than none.
                    if since.elapsed() >= STEADY_AFTER {
                        pause = PAUSE_MIN;
                        told = None;
                    }
                    trouble
                }
                Err(trouble) => trouble,
            };
            self.tell(&link, &trouble, &mut told);
            *link.trouble.borrow_mut() = trouble.text;
            self.publish(&self.core.borrow());
            let jitter = random.between(500, 1_000) as u32;
            sleep(pause * jitter / 1_000).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    fn tell(&self, link: &Link, trouble: &Trouble, told: &mut Option<(String, Instant)>) {
        let repeated = told
            .as_ref()
            .is_some_and(|(text, when)| *text == trouble.text && when.elapsed() < REPEAT_AFTER);
        if repeated {
            return;
        }
        let (node, peer, text) = (self.world.node, link.peer, &trouble.text);
        let (kind, address) = (link.kind, &link.address);
        if trouble.refused {
            tracing::warn!(%node, %peer, %kind, address, "no link: {text}");
        } else {
            tracing::info!(%node, %peer, %kind, address, "no link: {text}");
        }
        *told = Some((trouble.text.clone(), Instant::now()));
    }

    async fn connect(&self, link: &Link) -> Result<(OwnedReadHalf, OwnedWriteHalf), Trouble> {
        let mut stream = timeout(CONNECT_MAX, TcpStream::connect(link.address.as_str()))
            .await
            .map_err(|_| Trouble::away("no answer to a connection attempt"))?
            .map_err(|error| Trouble::away(format!("connecting: {error}")))?;
        prepare(&stream)
            .map_err(|error| Trouble::away(format!("setting up the socket: {error}")))?;
        let (mut out, mut input) = (BytesMut::new(), BytesMut::new());
        let machine =
            Handshake::dial(self.hello(link.kind), self.world.secret.clone(), link.peer, &mut out);
        let peer = self.shake(&mut stream, machine, out, &mut input).await;
        let peer = peer.inspect_err(|trouble| {
            if trouble.refused {
                self.world.metrics.links_refused.one();
            }
        })?;
        if !same_life(link.incarnation.get(), peer.incarnation) {
            // Admitted, so the cluster knows it; this link is about to be replaced.
            return Err(Trouble::away("the node has a new incarnation"));
        }
        link.incarnation.set(peer.incarnation);
        Ok(stream.into_split())
    }

    fn up(&self, link: &Link, write: OwnedWriteHalf) {
        let core = &mut *self.core.borrow_mut();
        link.queue.borrow_mut().clear();
        link.blocked.set(false);
        link.overflowed.set(false);
        *link.write.borrow_mut() = Some(write);
        link.trouble.borrow_mut().clear();
        tracing::info!(
            node = %self.world.node, peer = %link.peer, kind = %link.kind, address = link.address,
            "link up"
        );
        self.world.metrics.links_connected.one();
        if link.kind == LinkKind::Normal {
            core.inputs.own.push(Input::PeerUp(link.peer));
            self.wake.notify_one();
        }
        self.publish(core);
    }

    fn down(&self, core: &mut Core, link: &Link) {
        link.queue.borrow_mut().clear();
        self.tell_backlog(&mut core.inputs, link);
        if link.write.borrow_mut().take().is_some() && link.kind == LinkKind::Normal {
            core.inputs.own.push(Input::PeerDown(link.peer));
            self.wake.notify_one();
        }
    }

    /// Watches a link that is up until it breaks; says why it did.
    async fn stay(&self, link: &Link, mut read: OwnedReadHalf) -> Trouble {
        let mut input = BytesMut::new();
        poll_fn(|cx| self.poll_link(cx, link, &mut read, &mut input)).await
    }

    fn poll_link(
        &self,
        cx: &mut Context<'_>,
        link: &Link,
        read: &mut OwnedReadHalf,
        input: &mut BytesMut,
    ) -> Poll<Trouble> {
        let core = &mut *self.core.borrow_mut();
        if link.overflowed.get() {
            self.world.metrics.links_overflowed.one();
            return Poll::Ready(Trouble::away("its queue was full: the peer reads too slowly"));
        }
        while link.blocked.get() {
            let writable = match &*link.write.borrow() {
                Some(write) => write.as_ref().poll_write_ready(cx).is_ready(),
                None => false,
            };
            if !writable {
                break;
            }
            link.blocked.set(false);
            if let Err(error) = self.flush(link) {
                return Poll::Ready(Trouble::away(format!("sending: {error}")));
            }
            self.tell_backlog(&mut core.inputs, link);
        }
        // The other side says nothing here, unless it is sorry.
        let mut buffer = ReadBuf::new(&mut core.scratch[..frame::HANDSHAKE_BODY_MAX]);
        while let Poll::Ready(result) = Pin::new(&mut *read).poll_read(cx, &mut buffer) {
            let filled = buffer.filled();
            if result.is_err() || filled.is_empty() {
                return Poll::Ready(Trouble::away("the other side closed the link"));
            }
            input.extend_from_slice(filled);
            match frame::decode(input, frame::HANDSHAKE_BODY_MAX) {
                Ok(None) => buffer.clear(),
                Ok(Some(frame)) if frame.kind == Kind::Refuse => {
                    let refused = handshake::refused_by_peer(&frame.body);
                    return Poll::Ready(Trouble::refused(refused.to_string()));
                }
                Ok(Some(_)) | Err(_) => {
                    return Poll::Ready(Trouble::refused("the other side broke the protocol"));
                }
            }
        }
        *link.waker.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }

    /// A message of the node for another one.
    pub(super) fn send(&self, core: &mut Core, to: NodeId, bulk: bool, body: Bytes) {
        let kind = if bulk { LinkKind::Bulk } else { LinkKind::Normal };
        let link = core.links.get(&(to, kind)).filter(|link| link.write.borrow().is_some());
        let Some(link) = link else {
            self.world.metrics.peer_messages_dropped.one();
            return;
        };
        if !link.queue.borrow_mut().message(body) {
            self.world.metrics.peer_messages_dropped.one();
            link.overflowed.set(true);
            link.wake();
            return;
        }
        self.world.metrics.peer_messages_sent.one();
    }

    /// One write per link that has something to send.
    pub(super) fn flush_links(&self, core: &mut Core) {
        for link in core.links.values() {
            let waiting = link.queue.borrow().bytes() > 0 && !link.blocked.get();
            if waiting && self.flush(link).is_err() {
                link.blocked.set(true); // Its task meets the same error and ends the link.
                link.wake();
            }
            self.tell_backlog(&mut core.inputs, link);
        }
    }

    /// Tells the node how much a link's queue holds, if that has changed.
    fn tell_backlog(&self, inputs: &mut Inputs, link: &Link) {
        let bytes = link.queue.borrow().bytes();
        if link.backlog.replace(bytes) != bytes {
            let bulk = link.kind == LinkKind::Bulk;
            inputs.own.push(Input::Backlog { peer: link.peer, bulk, bytes });
            self.wake.notify_one();
        }
    }

    fn flush(&self, link: &Link) -> std::io::Result<()> {
        let write = link.write.borrow();
        let Some(write) = &*write else { return Ok(()) };
        let mut queue = link.queue.borrow_mut();
        let before = queue.bytes();
        let done = queue.write(|slices| write.try_write_vectored(slices));
        self.world.metrics.peer_bytes_sent.add((before - queue.bytes()) as u64);
        if !done? {
            link.blocked.set(true);
            link.wake(); // It has to wait for the socket.
        }
        Ok(())
    }

    /// Shows how the links are to whoever holds a `Cluster`.
    fn publish(&self, core: &Core) {
        let links: Vec<LinkStatus> = core
            .links
            .values()
            .map(|link| LinkStatus {
                peer: link.peer,
                kind: link.kind,
                address: link.address.clone(),
                up: link.write.borrow().is_some(),
                trouble: link.trouble.borrow().clone(),
            })
            .collect();
        let up = links.iter().filter(|link| link.up).count();
        self.world.metrics.links_up.set(up as u64);
        *self.link_status.lock().expect("nobody panics with the links") = links;
    }
}

// Receiving.

/// Accepts peers for as long as the node runs.
pub(super) async fn accept(shared: Rc<Shared>, listener: TcpListener) {
    let mut number = 0;
    let mut trouble = accept::Trouble::new(shared.world.node, "a peer");
    loop {
        match listener.accept().await {
            Ok((stream, address)) => {
                let mut core = shared.core.borrow_mut();
                if core.handshakes >= shared.world.limits.handshakes_max {
                    shared.world.metrics.links_refused.one();
                    continue; // Dropping the socket closes it.
                }
                core.handshakes += 1;
                number += 1;
                tokio::task::spawn_local(Rc::clone(&shared).welcome(stream, address, number));
            }
            Err(error) => trouble.pause(&error).await,
        }
    }
}

impl Shared {
    /// Lets a peer prove itself and then listens to it.
    async fn welcome(self: Rc<Self>, mut stream: TcpStream, address: SocketAddr, number: u64) {
        let mut input = BytesMut::new();
        let machine = Handshake::listen(self.hello(LinkKind::Normal), self.world.secret.clone());
        let peer = match prepare(&stream) {
            Ok(()) => self.shake(&mut stream, machine, BytesMut::new(), &mut input).await,
            Err(error) => Err(Trouble::away(format!("setting up the socket: {error}"))),
        };
        self.core.borrow_mut().handshakes -= 1;
        let peer = match peer {
            Ok(peer) => peer,
            Err(Trouble { refused, text }) => {
                let node = self.world.node;
                if refused {
                    self.world.metrics.links_refused.one();
                    if let Some(times) = self.core.borrow_mut().strangers.due() {
                        tracing::warn!(%node, %address, times, "a peer was not let in: {text}");
                    }
                } else {
                    tracing::debug!(%node, %address, "a peer left: {text}");
                }
                return;
            }
        };
        let key = (peer.node, peer.link);
        let core = &mut *self.core.borrow_mut();
        let (read, write) = stream.into_split();
        let task =
            tokio::task::spawn_local(Rc::clone(&self).listen_to(peer, read, write, input, number));
        // A newer connection of the same peer takes the place of the older one.
        core.incoming.insert(key, Incoming { incarnation: peer.incarnation, task, number });
    }

    async fn listen_to(
        self: Rc<Self>,
        peer: Peer,
        mut read: OwnedReadHalf,
        _write: OwnedWriteHalf,
        mut input: BytesMut,
        number: u64,
    ) {
        let trouble = poll_fn(|cx| self.poll_incoming(cx, peer, &mut read, &mut input)).await;
        let node = self.world.node;
        tracing::info!(%node, peer = %peer.node, kind = %peer.link, "a peer's link ended: {trouble}");
        let core = &mut *self.core.borrow_mut();
        let key = (peer.node, peer.link);
        if core.incoming.get(&key).is_some_and(|incoming| incoming.number == number) {
            core.incoming.remove(&key);
        }
    }

    /// Ends the links that a peer sends on, since what it said can't be read.
    pub(super) fn end_incoming(&self, core: &mut Core, from: NodeId, text: &str) {
        self.world.metrics.peer_messages_unreadable.one();
        core.incoming.retain(|(peer, _), _| *peer != from);
        if let Some(times) = core.unreadable.due() {
            tracing::error!(
                node = %self.world.node, peer = %from, times,
                "a peer sent what can't be read, and its links were ended: {text}; do both run \
                 versions that go together?"
            );
        }
    }

    fn poll_incoming(
        &self,
        cx: &mut Context<'_>,
        peer: Peer,
        read: &mut OwnedReadHalf,
        input: &mut BytesMut,
    ) -> Poll<String> {
        let core = &mut *self.core.borrow_mut();
        loop {
            if !self.may_go_on(cx) {
                return Poll::Pending;
            }
            let mut buffer = ReadBuf::new(&mut core.scratch);
            match Pin::new(&mut *read).poll_read(cx, &mut buffer) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => return Poll::Ready(error.to_string()),
                Poll::Ready(Ok(())) => {}
            }
            let bytes = buffer.filled().len();
            if bytes == 0 {
                return Poll::Ready("closed by the peer".into());
            }
            self.world.metrics.peer_bytes_received.add(bytes as u64);
            self.pace.working();
            input.extend_from_slice(buffer.filled());
            if let Err(text) = self.cut(core, peer, input) {
                return Poll::Ready(text);
            }
            self.wake.notify_one();
            if bytes == READ_BYTES {
                // There may be more, but others have their turn first.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
    }

    /// Cuts what came into messages.
    fn cut(&self, core: &mut Core, peer: Peer, input: &mut BytesMut) -> Result<(), String> {
        let inputs = match peer.link {
            LinkKind::Normal => &mut core.inputs.normal,
            LinkKind::Bulk => &mut core.inputs.bulk,
        };
        while let Some(frame) =
            frame::decode(input, frame::BODY_MAX).map_err(|error| error.to_string())?
        {
            match frame.kind {
                Kind::Message => {
                    self.world.metrics.peer_messages_received.one();
                    inputs.push((peer.node, frame.body));
                }
                Kind::Refuse => return Err(handshake::refused_by_peer(&frame.body).to_string()),
                Kind::Hello | Kind::Proof => return Err("a second handshake on one link".into()),
            }
        }
        Ok(())
    }
}

// Shaking hands.

/// Why a link is not up.
struct Trouble {
    /// Somebody said no, so an operator should look; otherwise the peer is just not there.
    refused: bool,
    text: String,
}

impl Trouble {
    fn away(text: impl Into<String>) -> Trouble {
        Trouble { refused: false, text: text.into() }
    }
    fn refused(text: impl Into<String>) -> Trouble {
        Trouble { refused: true, text: text.into() }
    }
}

impl Shared {
    fn hello(&self, link: LinkKind) -> Hello {
        let world = &self.world;
        Hello {
            protocol: PROTOCOL,
            cluster: world.cluster,
            node: world.node,
            incarnation: world.incarnation,
            link,
            nonce: entropy(),
        }
    }

    async fn shake(
        &self,
        stream: &mut TcpStream,
        machine: Handshake,
        out: BytesMut,
        input: &mut BytesMut,
    ) -> Result<Peer, Trouble> {
        timeout(
            Duration::from_millis(handshake::TIMEOUT_MS),
            self.shake_patiently(stream, machine, out, input),
        )
        .await
        .unwrap_or_else(|_| Err(Trouble::away("the handshake took too long")))
    }

    async fn shake_patiently(
        &self,
        stream: &mut TcpStream,
        mut machine: Handshake,
        mut out: BytesMut,
        input: &mut BytesMut,
    ) -> Result<Peer, Trouble> {
        let lost = |error: std::io::Error| Trouble::away(format!("shaking hands: {error}"));
        let broken = |error: frame::FrameError| {
            Trouble::refused(format!("this is no Underpin node's peer port: {error}"))
        };
        loop {
            stream.write_all_buf(&mut out).await.map_err(lost)?;
            let Some(frame) = frame::decode(input, frame::HANDSHAKE_BODY_MAX).map_err(broken)?
            else {
                input.reserve(frame::HANDSHAKE_BODY_MAX);
                if stream.read_buf(input).await.map_err(lost)? == 0 {
                    return Err(Trouble::away("closed in the middle of the handshake"));
                }
                continue;
            };
            match machine.receive(frame, &mut out) {
                Ok(Step::Waiting) => {}
                Ok(Step::Proven(peer)) => {
                    let admitted = self.admits(peer);
                    let refused = match admitted {
                        Ok(()) => {
                            machine.admit(&mut out);
                            None
                        }
                        Err(text) => Some(machine.refuse(text, &mut out)),
                    };
                    stream.write_all_buf(&mut out).await.map_err(lost)?;
                    return match refused {
                        None => Ok(peer),
                        Some(refused) => Err(Trouble::refused(refused.to_string())),
                    };
                }
                Err(refused) => {
                    // The peer is told if it still listens.
                    let _ = stream.write_all_buf(&mut out).await;
                    let _ = stream.shutdown().await;
                    return Err(Trouble::refused(refused.to_string()));
                }
            }
        }
    }

    fn admits(&self, peer: Peer) -> Result<(), String> {
        self.core.borrow().node.admits(peer.cluster, peer.node, peer.incarnation)
    }
}

/// Whether both are one incarnation. Zero stands for one that the cluster has not pinned yet.
fn same_life(a: Incarnation, b: Incarnation) -> bool {
    let unknown = Incarnation::default();
    a == b || a == unknown || b == unknown
}

/// Small messages go out at once, and a peer that vanished is noticed.
fn prepare(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    rustix::net::sockopt::set_socket_keepalive(stream, true)?;
    #[cfg(target_os = "linux")]
    {
        use rustix::net::sockopt;
        sockopt::set_tcp_keepidle(stream, Duration::from_secs(5))?;
        sockopt::set_tcp_keepintvl(stream, Duration::from_secs(2))?;
        sockopt::set_tcp_user_timeout(stream, UNACKNOWLEDGED_MS_MAX)?;
    }
    Ok(())
}
