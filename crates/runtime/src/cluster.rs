//! The async handle on a running node, for code that is not on the node's thread: HTTP, the CLI's
//! own commands, tests.
//!
//! A call crosses to the node's thread and back. There it looks like a connection with one request,
//! so it has the same contract as any client's: the answer, or a failure that says whether the
//! request was done, was not, or may have been.

use crate::metrics::Metrics;
use base::{Failure, NodeId, NotDone};
use node::api::{Call, Consistency, Reply, Status};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use wire::peer::LinkKind;

/// How much longer than its deadline a call waits for the node to say that it passed.
const GRACE: Duration = Duration::from_millis(500);

/// What crosses to the node's thread.
pub(crate) enum Command {
    /// A request.
    Call {
        call: Call,
        consistency: Consistency,
        within: Duration,
        reply: oneshot::Sender<Result<Reply, Failure>>,
    },
    /// How are you?
    Status(oneshot::Sender<Status>),
    /// Leave, in order.
    Stop,
    /// Leave, as if the power went.
    Kill,
}

/// How an outgoing link is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkStatus {
    /// The peer.
    pub peer: NodeId,
    /// What it is for.
    pub kind: LinkKind,
    /// Where it leads.
    pub address: String,
    /// Whether it is up.
    pub up: bool,
    /// Why it is not, or last was not.
    pub trouble: String,
}

/// A handle on one node of the cluster. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Cluster {
    pub(crate) node: NodeId,
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) links: Arc<Mutex<Vec<LinkStatus>>>,
}

impl Cluster {
    /// The node that it reaches.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// Asks for `call` to be done within the given time. A dropped future leaves the request
    /// running.
    pub async fn call(
        &self,
        call: Call,
        consistency: Consistency,
        within: Duration,
    ) -> Result<Reply, Failure> {
        let (reply, answer) = oneshot::channel();
        let command = Command::Call { call, consistency, within, reply };
        self.commands.try_send(command).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => {
                Failure::NotDone(NotDone::Busy { retry_after_ms: 50 })
            }
            mpsc::error::TrySendError::Closed(_) => Failure::NotDone(NotDone::Stopping),
        })?;
        match tokio::time::timeout(within + GRACE, answer).await {
            Ok(Ok(result)) => result,
            // The node went away with the request, or is too busy to say that it was late.
            Ok(Err(_)) | Err(_) => Err(Failure::Unknown),
        }
    }

    /// How the node is; `None` if it does not say so in time.
    pub async fn status(&self, within: Duration) -> Option<Status> {
        let (reply, answer) = oneshot::channel();
        self.commands.try_send(Command::Status(reply)).ok()?;
        tokio::time::timeout(within, answer).await.ok()?.ok()
    }

    /// What the node counts.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// How its links to the other nodes are.
    pub fn links(&self) -> Vec<LinkStatus> {
        self.links.lock().expect("nobody panics with the links").clone()
    }
}
