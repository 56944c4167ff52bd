//! The node's thread: its turns, and the sockets between which they happen.
//!
//! # One thread, two kinds of tasks
//!
//! Every socket has a task, which does nothing but move bytes: a client's bytes go straight into the
//! gateway, a peer's are cut into frames, and what they mean is piled up as inputs. Whoever piled
//! something up wakes the one task that takes *turns*. It runs behind the sockets that were ready
//! at the same time, so a turn finds everything that had arrived and serves it together:
//!
//! ```text
//! sockets ready:  c7  c9  n2           turn:  step(n2's messages) step(c7) step(c9) turn()
//!   read c7 -> gateway -> requests            -> one batch to the log's thread
//!   read c9 -> gateway -> requests            -> one write per link, one per touched connection
//!   read n2 -> frames
//! ```
//!
//! No task is made for a request, and a request crosses no thread on its way to the log. While the
//! log syncs, the sockets go on being read, and the next turn's batch grows: batching needs no timer.
//!
//! # How long a turn may be
//!
//! While a turn goes on nobody else is served, so it has a budget of about 2 ms. The node bounds its
//! own work by counting it; this driver bounds by the clock what is handed in and what sockets bring
//! and take between two turns ([`pace`]). What is left over is the next turn's, after the sockets had
//! theirs.
//!
//! # What is bounded
//!
//! - A client's unread answers: the gateway stops taking its bytes while there are many, and then
//!   this driver stops reading from its socket.
//! - A client's bytes ahead: [`Limits::input_bytes`](crate::Limits), except that one unfinished frame
//!   may grow to `frame_bytes_max`, within a budget that all connections share and within
//!   `stall_ms`.
//! - A peer's unread messages: the link's queue; beyond it the link goes.
//! - Everyone who has proved nothing yet: `handshakes_max`, a kilobyte each, five seconds.
//!
//! All state is in one [`Core`] behind a `RefCell`; it is borrowed for straight runs of code only,
//! never across a wait.

mod accept;
mod calls;
mod conns;
mod links;
mod pace;
mod seldom;
mod tally;

use crate::clock::Clock;
use crate::cluster::{Command, LinkStatus};
use crate::helpers::{Helpers, Report};
use crate::metrics::Metrics;
use crate::options::Limits;
use crate::server::Exit;
use base::{Bytes, ClusterId, ConnId, Incarnation, Mono, NodeId, ShardId, Term, Time};
use calls::Calls;
use conns::Conn;
use links::{Incoming, Link};
use node::api::{FromConn, Gateway, Status};
use node::{Effect, Input, Node, Room};
use pace::{Pace, Share, some};
use seldom::Seldom;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::Context;
use std::time::{Duration, Instant};
use tally::{Part, Tally};
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc};
use wire::peer::{LinkKind, Secret};

/// Bytes that one read takes at most.
const READ_BYTES: usize = 64 << 10;
/// How often stalled connections are looked for.
const SWEEP: Duration = Duration::from_millis(500);

/// What the node's thread is given to work with.
pub(crate) struct Setup {
    pub node: Node,
    pub gateway: Box<dyn Gateway>,
    pub clients: Vec<std::net::TcpListener>,
    pub peer: std::net::TcpListener,
    pub helpers: Helpers,
    pub reports: mpsc::UnboundedReceiver<Report>,
    pub commands: mpsc::Receiver<Command>,
    pub links: Arc<Mutex<Vec<LinkStatus>>>,
    pub world: World,
}

/// What does not change while a node runs.
pub(crate) struct World {
    pub clock: Clock,
    pub metrics: Arc<Metrics>,
    pub limits: Limits,
    pub secret: Secret,
    pub cluster: ClusterId,
    pub node: NodeId,
    pub incarnation: Incarnation,
    /// Addresses of peers that override the cluster's.
    pub peers: BTreeMap<NodeId, String>,
}

/// What the tasks of the node's thread share.
pub(crate) struct Shared {
    core: RefCell<Core>,
    /// Something waits for a turn.
    wake: Notify,
    pace: Pace,
    world: World,
    link_status: Arc<Mutex<Vec<LinkStatus>>>,
}

/// Inputs that wait for the next turn, by where they come from.
#[derive(Default)]
struct Inputs {
    /// From this node's own threads and links.
    own: Vec<Input>,
    /// From peers, over normal links.
    normal: Vec<(NodeId, Bytes)>,
    /// From peers, over bulk links.
    bulk: Vec<(NodeId, Bytes)>,
    /// From clients.
    clients: Vec<FromConn>,
}

/// The state of the node's thread.
struct Core {
    node: Node,
    gateway: Box<dyn Gateway>,
    inputs: Inputs,
    effects: Vec<Effect>,
    helpers: Helpers,
    conns: BTreeMap<ConnId, Rc<Conn>>,
    conn_next: u64,
    /// Bytes kept beyond `input_bytes` over all connections: of unfinished frames.
    held: usize,
    /// The one connection whose frame may grow although the budget for them is spent.
    grows_first: Option<ConnId>,
    calls: Calls,
    links: BTreeMap<(NodeId, LinkKind), Rc<Link>>,
    incoming: BTreeMap<(NodeId, LinkKind), Incoming>,
    /// Connections on the peer port that have proved nothing yet.
    handshakes: usize,
    /// Strangers on the peer port that were refused.
    strangers: Seldom,
    /// Messages that could not be read.
    unreadable: Seldom,
    tally: Tally,
    share: Share,
    scratch: Box<[u8]>,
    /// Shards led from here, with the term, as last looked at.
    led: BTreeSet<(ShardId, Term)>,
    /// Set once the node is to end.
    exit: Option<Exit>,
}

/// Runs a node until it ends. Must be called on a thread of its own, inside a current-thread runtime.
pub(crate) async fn run(setup: Setup) -> Exit {
    let local = tokio::task::LocalSet::new();
    let exit = local.run_until(drive(setup)).await;
    // Sockets close with their tasks.
    drop(local);
    exit
}

async fn drive(setup: Setup) -> Exit {
    let Setup { node, gateway, clients, peer, helpers, reports, commands, links, world } = setup;
    let core = Core {
        node,
        gateway,
        inputs: Inputs::default(),
        effects: Vec::new(),
        helpers,
        conns: BTreeMap::new(),
        conn_next: 1,
        held: 0,
        grows_first: None,
        calls: Calls::default(),
        links: BTreeMap::new(),
        incoming: BTreeMap::new(),
        handshakes: 0,
        strangers: Seldom::default(),
        unreadable: Seldom::default(),
        tally: Tally::default(),
        share: Share::default(),
        scratch: vec![0; READ_BYTES].into_boxed_slice(),
        led: BTreeSet::new(),
        exit: None,
    };
    let shared = Rc::new(Shared {
        core: RefCell::new(core),
        wake: Notify::new(),
        pace: Pace::default(),
        world,
        link_status: links,
    });
    for listener in clients {
        match listen(listener) {
            Ok(listener) => {
                tokio::task::spawn_local(conns::accept(Rc::clone(&shared), listener));
            }
            Err(error) => return Exit::Fatal(format!("listening for clients: {error}")),
        }
    }
    match listen(peer) {
        Ok(listener) => {
            tokio::task::spawn_local(links::accept(Rc::clone(&shared), listener));
        }
        Err(error) => return Exit::Fatal(format!("listening for peers: {error}")),
    }
    turns(&shared, reports, commands).await
}

fn listen(listener: std::net::TcpListener) -> std::io::Result<TcpListener> {
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

/// Takes turns until the node ends.
async fn turns(
    shared: &Rc<Shared>,
    mut reports: mpsc::UnboundedReceiver<Report>,
    mut commands: mpsc::Receiver<Command>,
) -> Exit {
    let mut stop_by: Option<Instant> = None;
    let mut swept = Instant::now();
    shared.core.borrow_mut().tally.start(); // What it took to get here was no turn.
    loop {
        while let Ok(report) = reports.try_recv() {
            shared.reported(report);
        }
        while let Ok(command) = commands.try_recv() {
            shared.command(command, &mut stop_by);
        }
        shared.turn();
        if swept.elapsed() >= SWEEP {
            swept = Instant::now();
            shared.sweep();
        }
        if let Some(exit) = shared.core.borrow_mut().exit.take() {
            return exit;
        }
        if stop_by.is_some_and(|by| Instant::now() >= by) {
            tracing::warn!(node = %shared.world.node, "stopping took too long and was cut short");
            return Exit::Stopped;
        }
        let sleep = shared.until_deadline().min(SWEEP);
        if sleep.is_zero() {
            // There is more to do, but the sockets go first.
            tokio::task::yield_now().await;
            continue;
        }
        tokio::select! {
            biased;
            () = shared.wake.notified() => {}
            Some(report) = reports.recv() => shared.reported(report),
            command = commands.recv() => match command {
                Some(command) => shared.command(command, &mut stop_by),
                None => return Exit::Killed, // The server was dropped.
            },
            () = tokio::time::sleep(sleep) => {}
        }
    }
}

impl Shared {
    fn now(&self) -> Time {
        self.world.clock.now()
    }

    /// Whether a socket may be worked on before the next turn; otherwise it is woken after it.
    fn may_go_on(&self, cx: &Context<'_>) -> bool {
        let may = self.pace.go_on(cx);
        if !may {
            self.wake.notify_one();
        }
        may
    }

    /// One turn: what waits goes into the node, and what it wants done is done.
    fn turn(self: &Rc<Self>) {
        let core = &mut *self.core.borrow_mut();
        let (started, now) = (Instant::now(), self.now());
        let due = core.node.deadline().is_some_and(|deadline| deadline <= now.mono);
        let busy = due || !core.inputs.is_empty();
        core.tally.over(Part::Sockets);
        if busy {
            core.step(now, due);
            core.node.turn(now, &mut core.effects);
            core.tally.over(Part::Node);
            self.carry_out(core, now);
            core.tally.over(Part::Effects);
        }
        self.settle(core, now);
        let sockets = self.pace.turn_over();
        core.tally.over(Part::Answers);
        let wall = if busy { started.elapsed() } else { Duration::ZERO };
        let work = core.node.take_work();
        let full = work.full;
        let cpu = core.tally.turn_over(self.world.node, wall, work);
        if busy || sockets {
            self.world.metrics.turn_cpu.observe(cpu);
        }
        if busy {
            self.world.metrics.turn.observe(wall);
            core.node.set_share(core.share.after(cpu, full));
        }
    }

    fn carry_out(self: &Rc<Self>, core: &mut Core, now: Time) {
        let metrics = &self.world.metrics;
        for effect in std::mem::take(&mut core.effects) {
            match effect {
                Effect::Log { ticket, records } => {
                    metrics.log_batches.one();
                    metrics.log_records.add(records.len() as u64);
                    core.helpers.log(ticket, records);
                }
                Effect::Peer { to, bulk, body } => self.send(core, to, bulk, body),
                Effect::Unreadable { from, text } => self.end_incoming(core, from, &text),
                Effect::Answer(answer) => self.answer(core, now, answer),
                // Nothing that a client can ask for pushes anything yet.
                Effect::Push(push) => {
                    tracing::warn!(conn = %push.conn, "a push that nobody asked for was dropped");
                }
                Effect::Fetch(id, fetch) => {
                    metrics.fetches.one();
                    core.helpers.fetch(id, fetch);
                }
                Effect::Flush(job) => core.helpers.flush(job),
                Effect::Compact { oldest, dead } => core.helpers.compact(oldest, dead),
                Effect::Garbage(tables) => core.helpers.discard(tables),
                Effect::Peers(peers) => self.relink(core, peers),
                Effect::Stopped => core.exit = Some(Exit::Stopped),
                Effect::Fatal(message) => core.exit = Some(Exit::Fatal(message)),
            }
        }
    }

    /// Sends out what the turn gathered: a write per link, a write per connection.
    fn settle(&self, core: &mut Core, now: Time) {
        self.flush_links(core);
        core.tally.over(Part::Links);
        loop {
            let touched = core.gateway.touched();
            if touched.is_empty() {
                break;
            }
            for conn in touched {
                self.serve(core, now, conn);
            }
        }
        if !core.inputs.is_empty() {
            self.wake.notify_one();
        }
    }

    /// How long the node has nothing to do by itself.
    fn until_deadline(&self) -> Duration {
        let core = self.core.borrow();
        if !core.inputs.is_empty() {
            return Duration::ZERO;
        }
        match core.node.deadline() {
            Some(Mono(deadline)) => {
                Duration::from_nanos(deadline.saturating_sub(self.now().mono.0))
            }
            None => Duration::MAX,
        }
    }

    /// A helper thread has done something.
    fn reported(&self, report: Report) {
        let core = &mut *self.core.borrow_mut();
        match core.helpers.reported(report) {
            Ok(None) => {}
            Ok(Some(input)) => {
                if let Input::Room(room) = input {
                    let node = self.world.node;
                    match room {
                        Room::Ample => tracing::info!(%node, "the disk has room again"),
                        Room::Reserve => {
                            tracing::error!(%node, "the disk is full: writes are refused");
                        }
                        Room::None => tracing::error!(
                            %node,
                            "the disk is full, and so is the log's reserve: nothing can be written \
                             until some space on it is free"
                        ),
                    }
                }
                core.inputs.own.push(input);
            }
            Err(message) => core.exit = Some(Exit::Fatal(message)),
        }
    }

    fn command(self: &Rc<Self>, command: Command, stop_by: &mut Option<Instant>) {
        match command {
            Command::Kill => self.core.borrow_mut().exit = Some(Exit::Killed),
            Command::Stop => {
                if stop_by.is_none() {
                    let limit = Duration::from_millis(self.world.limits.stop_ms);
                    *stop_by = Some(Instant::now() + limit);
                    self.core.borrow_mut().inputs.own.push(Input::Stop);
                }
            }
            Command::Call { call, consistency, within, reply } => {
                self.call(call, consistency, within, reply);
            }
            Command::Status(reply) => {
                // Nobody waiting any more is fine.
                let _ = reply.send(self.core.borrow().node.status(self.now()));
            }
        }
    }

    /// Looks after what no event tells of.
    fn sweep(self: &Rc<Self>) {
        let now = self.now();
        self.sweep_conns(now);
        let core = &mut *self.core.borrow_mut();
        let status = core.node.status(now);
        core.count_elections(&status, &self.world.metrics);
    }
}

impl Inputs {
    fn is_empty(&self) -> bool {
        self.own.is_empty()
            && self.normal.is_empty()
            && self.bulk.is_empty()
            && self.clients.is_empty()
    }
}

impl Core {
    /// Consensus first, clients last; what there is no time for is left for the next turn.
    fn step(&mut self, now: Time, due: bool) {
        let Core { inputs, node, effects, tally, .. } = self;
        for input in inputs.own.drain(..) {
            node.step(now, input, effects);
        }
        if due {
            node.step(now, Input::Tick, effects);
        }
        tally.over(Part::Own);
        let peers = Instant::now() + pace::PEERS;
        for queue in [&mut inputs.normal, &mut inputs.bulk] {
            some(queue, peers, |(from, body)| node.step(now, Input::Peer(from, body), effects));
        }
        tally.over(Part::Peers);
        let clients = Instant::now() + pace::CLIENTS;
        some(&mut inputs.clients, clients, |from| node.step(now, Input::Client(from), effects));
        tally.over(Part::Clients);
    }

    fn count_elections(&mut self, status: &Status, metrics: &Metrics) {
        let led: BTreeSet<(ShardId, Term)> = status
            .shards
            .iter()
            .filter(|shard| shard.role == "leader")
            .map(|shard| (shard.shard, shard.term))
            .collect();
        metrics.elections_won.add(led.difference(&self.led).count() as u64);
        self.led = led;
    }
}
