//! Calls of the `Cluster` handle: each looks to the node like a connection with one request.

use super::{Core, Shared};
use base::{ConnId, Failure};
use node::api::{Answer, Call, Consistency, FromConn, Reply, Request};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::oneshot;

/// Who waits for which call.
pub(super) type Calls = BTreeMap<ConnId, oneshot::Sender<Result<Reply, Failure>>>;

impl Shared {
    pub(super) fn call(
        &self,
        call: Call,
        consistency: Consistency,
        within: Duration,
        reply: oneshot::Sender<Result<Reply, Failure>>,
    ) {
        let core = &mut *self.core.borrow_mut();
        let conn = core.conn_id();
        core.calls.insert(conn, reply);
        let deadline = self.now().mono + within;
        let request = Request { conn, seq: 1, deadline, consistency, call };
        core.inputs.clients.push(FromConn::Request(request));
        self.world.metrics.requests.one();
    }
}

impl Core {
    /// A number for a connection that was never used before.
    pub(super) fn conn_id(&mut self) -> ConnId {
        let conn = ConnId(self.conn_next);
        self.conn_next += 1;
        conn
    }

    /// Hands an answer to the call that waits for it; gives it back if none does.
    pub(super) fn answer_call(&mut self, answer: Answer) -> Option<Answer> {
        if !self.calls.contains_key(&answer.conn) {
            return Some(answer);
        }
        assert!(!answer.more, "an answer to {} in parts, which no call is given", answer.conn);
        if let Some(reply) = self.calls.remove(&answer.conn) {
            // Nobody waiting any more is fine.
            let _ = reply.send(answer.result);
        }
        self.inputs.clients.push(FromConn::Close(answer.conn));
        None
    }
}
