//! HTTP beside the client protocols: health and metrics today, the REST API and the dashboard in
//! later issues.
//!
//! It runs on a thread and a runtime of its own, so that a scrape never stands in a node's way, and
//! reaches the nodes through [`runtime::Cluster`] handles.
//!
//! | path | answers |
//! | --- | --- |
//! | `/livez` | 200 if the node's thread answers: otherwise restart the process |
//! | `/startupz` | 200 once the node was ready for the first time |
//! | `/readyz` | 200 if requests can be served; `?verbose` lists every check |
//! | `/metrics` | numbers for Prometheus, in base units |
//!
//! Nothing here changes anything, and nothing needs a password; who must not see the numbers must
//! not reach the port. On a loopback port one thing is checked: the Host header. A web page that
//! has its own name resolve to 127.0.0.1 (DNS rebinding) would otherwise read what only local
//! programs should; its requests carry that name, and are refused.

mod health;
mod host;
mod metrics;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use runtime::Cluster;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{Semaphore, oneshot};

/// How long a client may take to send its request's head.
const HEAD_MAX: Duration = Duration::from_secs(5);
/// How long a connection may live: health checks and scrapes are short.
const CONNECTION_MAX: Duration = Duration::from_secs(300);
/// Bytes of a request's head.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// How HTTP is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Names besides localhost under which a loopback port may be asked. Default none.
    pub hosts: Vec<String>,
    /// Connections at a time. Default 256; further ones wait to be accepted.
    pub connections_max: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options { hosts: Vec::new(), connections_max: 256 }
    }
}

/// What every request handler has.
pub(crate) struct Site {
    nodes: Vec<Cluster>,
    /// Whether the Host header is checked, and which names pass.
    guarded: bool,
    hosts: Vec<String>,
    /// Every node was ready once.
    started: AtomicBool,
}

/// A running HTTP server. Dropping it ends it.
#[derive(Debug)]
pub struct Web {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Serves HTTP on `listener` about these nodes, which run in this process.
pub fn start(listener: TcpListener, nodes: Vec<Cluster>, options: Options) -> io::Result<Web> {
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let site = Arc::new(Site {
        nodes,
        guarded: address.ip().is_loopback(),
        hosts: options.hosts,
        started: AtomicBool::new(false),
    });
    let router = router(site);
    let (stop, stopped) = oneshot::channel();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let thread = std::thread::Builder::new().name("web".into()).spawn(move || {
        let served = runtime.block_on(async {
            tokio::select! {
                served = serve(listener, router, options.connections_max) => served,
                _ = stopped => Ok(()),
            }
        });
        if let Err(error) = served {
            tracing::error!(%error, "HTTP is not served any more");
        }
    })?;
    Ok(Web { address, stop: Some(stop), thread: Some(thread) })
}

impl Web {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn router(site: Arc<Site>) -> Router {
    Router::new()
        .route("/livez", get(health::live))
        .route("/startupz", get(health::started))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(metrics::all))
        .layer(from_fn_with_state(Arc::clone(&site), guard))
        .with_state(site)
}

/// Refuses requests under names that a loopback port does not have.
async fn guard(State(site): State<Arc<Site>>, request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let host = host.or(request.uri().host()).unwrap_or_default();
    if site.guarded && !host::is_local(host, &site.hosts) {
        let text = "this port is for local programs: ask it as localhost or by its address, or \
                    add the name to the hosts of the HTTP options\n";
        return (StatusCode::MISDIRECTED_REQUEST, text).into_response();
    }
    next.run(request).await
}

async fn serve(listener: TcpListener, router: Router, connections_max: usize) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let room = Arc::new(Semaphore::new(connections_max));
    loop {
        let Ok(place) = Arc::clone(&room).acquire_owned().await else { return Ok(()) };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "an HTTP client could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let service = TowerToHyperService::new(router.clone());
        tokio::spawn(async move {
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_MAX)
                .max_buf_size(HEAD_BYTES_MAX)
                .serve_connection(TokioIo::new(stream), service);
            // A client that breaks off or takes for ever is its own trouble.
            let _ = tokio::time::timeout(CONNECTION_MAX, connection).await;
            drop(place);
        });
    }
}
