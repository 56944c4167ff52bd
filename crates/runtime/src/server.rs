//! Starting a node and ending it.

use crate::clock::{Clock, entropy_u64};
use crate::cluster::{Cluster, Command};
use crate::driver::{self, Setup, World};
use crate::helpers::{Helpers, panic_text};
use crate::metrics::Metrics;
use crate::open::{self, Opened};
use crate::options::{Bind, ServerOptions};
use base::{ClusterId, Incarnation, NodeId};
use node::api::{Gateway, Status};
use node::{Boot, Node};
use std::fmt;
use std::net::{SocketAddr, TcpListener};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, mpsc as std_mpsc};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// How a node ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    /// In order, as asked.
    Stopped,
    /// By [`Server::kill`], or because its `Server` was dropped.
    Killed,
    /// It could not go on; the message says what was seen and what to do.
    Fatal(String),
}

/// Why a node did not start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartError {
    /// The data directory is not usable as it is.
    Data {
        /// The directory.
        path: PathBuf,
        /// What was seen, what was expected and what to do.
        text: String,
    },
    /// A port can't be listened on.
    Listen {
        /// The address.
        address: String,
        /// For clients or for peers.
        what: &'static str,
        /// What the system said.
        error: String,
    },
    /// The system would not give what a node needs.
    System(String),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Data { path, text } => {
                write!(f, "data directory {}: {text}", path.display())
            }
            StartError::Listen { address, what, error } => write!(
                f,
                "listening for {what} on {address}: {error}; give another address, or end the \
                 process that has this one"
            ),
            StartError::System(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for StartError {}

/// What a gateway is told about its node.
#[derive(Clone, Debug)]
pub struct GatewaySetup {
    /// The cluster.
    pub cluster: ClusterId,
    /// The node.
    pub node: NodeId,
    /// Its data directory's life.
    pub incarnation: Incarnation,
    /// Where it listens for clients.
    pub clients: Vec<SocketAddr>,
    /// What the node counts.
    pub metrics: Arc<Metrics>,
    /// A random number for the gateway's own draws.
    pub seed: u64,
}

/// A running node. Dropping it kills the node.
#[derive(Debug)]
pub struct Server {
    cluster: Cluster,
    killed: Arc<AtomicBool>,
    end: Arc<End>,
    clients: Vec<SocketAddr>,
    peer: SocketAddr,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// Where a node's end is written down.
#[derive(Debug, Default)]
struct End {
    exit: Mutex<Option<Exit>>,
    changed: Condvar,
}

impl End {
    fn set(&self, exit: Exit) {
        *self.exit.lock().expect("nobody panics with the exit") = Some(exit);
        self.changed.notify_all();
    }

    fn wait(&self, limit: Option<Duration>) -> Option<Exit> {
        let exit = self.exit.lock().expect("nobody panics with the exit");
        let none = |exit: &mut Option<Exit>| exit.is_none();
        let exit = match limit {
            None => self.changed.wait_while(exit, none).expect("nobody panics with the exit"),
            Some(limit) => {
                let waited = self.changed.wait_timeout_while(exit, limit, none);
                waited.expect("nobody panics with the exit").0
            }
        };
        exit.clone()
    }
}

/// Starts a node on its formatted data directory. `gateway` is called on the node's thread.
pub fn start(
    options: ServerOptions,
    gateway: impl FnOnce(GatewaySetup) -> Box<dyn Gateway> + Send + 'static,
) -> Result<Server, StartError> {
    let opened = open::open(&options.data, &options.disk)
        .map_err(|text| StartError::Data { path: options.data.clone(), text })?;
    start_opened(opened, options, gateway)
}

/// Starts a node on what was opened. `gateway` is called on the node's thread.
pub fn start_opened(
    opened: Opened,
    options: ServerOptions,
    gateway: impl FnOnce(GatewaySetup) -> Box<dyn Gateway> + Send + 'static,
) -> Result<Server, StartError> {
    let (peer, peer_address) = bind(options.peer, "peers")?;
    let mut clients = Vec::new();
    for client in options.clients {
        clients.push(bind(client, "clients")?);
    }
    let (clients, client_addresses): (Vec<_>, Vec<_>) = clients.into_iter().unzip();
    let bad = |text| StartError::Data { path: options.data.clone(), text };
    let Opened { lock, identity, wal, recovered, tables, system_rows, fresh } = opened;

    let clock = Clock::new(options.clock);
    let metrics = Arc::new(Metrics::default());
    let killed = Arc::new(AtomicBool::new(false));
    let links = Arc::new(Mutex::new(Vec::new()));
    let (reports_in, reports) = mpsc::unbounded_channel();
    let (commands_in, commands) = mpsc::channel(options.limits.calls_max);
    let (cluster, node, incarnation) = (identity.cluster, identity.node, identity.incarnation);
    let boot = Boot {
        boot: entropy_u64(),
        seed: entropy_u64(),
        identity,
        recovered,
        system_rows,
        generation: tables.generation(),
        fresh,
        client_address: options.client_address,
        version: options.version,
    };
    let core = Node::new(options.node, boot, clock.now()).map_err(bad)?;
    let (helpers, threads) = Helpers::start(
        &node.to_string(),
        wal,
        tables,
        reports_in,
        Arc::clone(&metrics),
        Arc::clone(&killed),
    )
    .map_err(|error| StartError::System(format!("starting threads: {error}")))?;

    let gateway_setup = GatewaySetup {
        cluster,
        node,
        incarnation,
        clients: client_addresses.clone(),
        metrics: Arc::clone(&metrics),
        seed: entropy_u64(),
    };
    let world = World {
        clock,
        metrics: Arc::clone(&metrics),
        limits: options.limits,
        secret: options.secret,
        cluster,
        node,
        incarnation,
        peers: options.peers,
    };
    let end = Arc::new(End::default());
    let (ended, dead, shown) = (Arc::clone(&end), Arc::clone(&killed), Arc::clone(&links));
    let (started_in, started) = std_mpsc::channel();
    let life = move || {
        let gateway = gateway(gateway_setup);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let setup = Setup {
            node: core,
            gateway,
            clients,
            peer,
            helpers,
            reports,
            commands,
            links: shown,
            world,
        };
        // Whoever started this may be gone by now.
        let _ = started_in.send(());
        Ok::<Exit, std::io::Error>(runtime.block_on(driver::run(setup)))
    };
    let thread = move || {
        let lived = catch_unwind(AssertUnwindSafe(life));
        let exit = match lived {
            Ok(Ok(exit)) => exit,
            Ok(Err(error)) => Exit::Fatal(format!("starting the node's runtime: {error}")),
            Err(panic) => Exit::Fatal(panic_text(&*panic)),
        };
        if exit != Exit::Stopped {
            dead.store(true, Ordering::Relaxed);
        }
        match &exit {
            Exit::Stopped => tracing::info!(%node, "stopped"),
            Exit::Killed => tracing::info!(%node, "killed"),
            Exit::Fatal(text) => tracing::error!(%node, "the node stopped: {text}"),
        }
        for helper in threads {
            let _ = helper.join();
        }
        drop(lock); // Only now may another process have it.
        ended.set(exit);
    };
    let thread = std::thread::Builder::new()
        .name(format!("node-{node}"))
        .spawn(thread)
        .map_err(|error| StartError::System(format!("starting the node's thread: {error}")))?;
    let server = Server {
        cluster: Cluster { node, commands: commands_in, metrics, links },
        killed,
        end,
        clients: client_addresses,
        peer: peer_address,
        thread: Mutex::new(Some(thread)),
    };
    if started.recv().is_err() {
        let text = match server.wait() {
            Exit::Fatal(text) => text,
            other => format!("the node ended at once: {other:?}"),
        };
        return Err(StartError::System(text));
    }
    Ok(server)
}

impl Server {
    /// A handle for asking this node; it may outlive the server.
    pub fn cluster(&self) -> Cluster {
        self.cluster.clone()
    }

    /// The node's id.
    pub fn node(&self) -> NodeId {
        self.cluster.node
    }

    /// Where it listens for clients.
    pub fn client_addresses(&self) -> &[SocketAddr] {
        &self.clients
    }

    /// Where it listens for peers.
    pub fn peer_address(&self) -> SocketAddr {
        self.peer
    }

    /// What the node counts.
    pub fn metrics(&self) -> &Metrics {
        &self.cluster.metrics
    }

    /// How the node is; `None` if it has ended or is too busy to say. Not for async code, which
    /// asks [`Server::cluster`].
    pub fn status(&self) -> Option<Status> {
        let (reply, mut answer) = oneshot::channel();
        self.cluster.commands.try_send(Command::Status(reply)).ok()?;
        for _ in 0..2_000 {
            match answer.try_recv() {
                Ok(status) => return Some(status),
                Err(oneshot::error::TryRecvError::Empty) => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err(oneshot::error::TryRecvError::Closed) => return None,
            }
        }
        None
    }

    /// Ends the node in order: leaderships are handed over, what was begun is finished, within a
    /// bounded time. Returns how it ended.
    pub fn stop(&self) -> Exit {
        if self.order(|| Command::Stop) {
            return self.wait();
        }
        self.kill();
        self.wait()
    }

    /// Ends the node as if its process had been killed: sockets close, files stay as they are, the
    /// directory is free for the next start. Returns once that is so.
    pub fn kill(&self) {
        self.killed.store(true, Ordering::Relaxed);
        if self.order(|| Command::Kill) {
            self.wait();
        }
    }

    /// Gives an order even if calls fill the queue. False: the node is gone, or hears nothing.
    fn order(&self, command: impl Fn() -> Command) -> bool {
        for _ in 0..1_000 {
            match self.cluster.commands.try_send(command()) {
                Ok(()) => return true,
                Err(mpsc::error::TrySendError::Closed(_)) => return true,
                Err(mpsc::error::TrySendError::Full(_)) => {
                    std::thread::sleep(Duration::from_millis(10));
                }
            }
        }
        false
    }

    /// Waits until the node has ended.
    pub fn wait(&self) -> Exit {
        let exit = self.end.wait(None).expect("there is no limit to the waiting");
        if let Some(thread) = self.thread.lock().expect("nobody panics with the thread").take() {
            let _ = thread.join();
        }
        exit
    }

    /// Waits until the node has ended, but no longer than that.
    pub fn wait_for(&self, limit: Duration) -> Option<Exit> {
        self.end.wait(Some(limit))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.end.wait(Some(Duration::ZERO)).is_none() {
            self.kill();
        }
    }
}

fn bind(bind: Bind, what: &'static str) -> Result<(TcpListener, SocketAddr), StartError> {
    let failed = |address: String, error: std::io::Error| StartError::Listen {
        address,
        what,
        error: error.to_string(),
    };
    let listener = match bind {
        Bind::Listener(listener) => listener,
        Bind::Address(address) => {
            TcpListener::bind(address).map_err(|error| failed(address.to_string(), error))?
        }
    };
    let address = listener.local_addr().map_err(|error| failed("a socket".into(), error))?;
    Ok((listener, address))
}
