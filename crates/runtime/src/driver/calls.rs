//! Calls of the `Cluster` handle: each looks to the node like a connection with one request.

use super::{Core, Shared};
use base::{ConnId, Failure, Refusal};
use node::api::{Answer, Call, Consistency, FromConn, Reply, Request};
use service::kv::scan::{Found, WalkReply};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::oneshot;

/// What one call may find: it is answered in one piece, which must fit in memory.
const FOUND_MAX: usize = 100_000;

/// Who waits for which call.
pub(super) type Calls = BTreeMap<ConnId, Waiting>;

/// A call without its whole answer.
pub(super) struct Waiting {
    reply: oneshot::Sender<Result<Reply, Failure>>,
    /// What the parts of its answer brought so far.
    found: Vec<Found>,
}

impl Waiting {
    /// Takes in a part; the last one makes the answer whole.
    fn part(&mut self, result: Result<Reply, Failure>) -> Result<Reply, Failure> {
        let Ok(Reply::Walk(WalkReply::Page { next, found })) = result else { return result };
        self.found.extend(found);
        let seen = self.found.len();
        if seen > FOUND_MAX {
            let (seen, allowed) = (seen as u64, FOUND_MAX as u64);
            return Err(Failure::Refused(Refusal::TooLarge { what: "answer", seen, allowed }));
        }
        Ok(Reply::Walk(WalkReply::Page { next, found: std::mem::take(&mut self.found) }))
    }
}

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
        core.calls.insert(conn, Waiting { reply, found: Vec::new() });
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
        let Some(waiting) = self.calls.get_mut(&answer.conn) else { return Some(answer) };
        let result = waiting.part(answer.result);
        if answer.more && !waiting.reply.is_closed() {
            match result {
                Ok(Reply::Walk(WalkReply::Page { found, .. })) => {
                    waiting.found = found;
                    return None;
                }
                Ok(_) => return None,
                Err(_) => self.inputs.clients.push(FromConn::Cancel(answer.conn, answer.seq)),
            }
        }
        if let Some(waiting) = self.calls.remove(&answer.conn) {
            // Nobody waiting any more is fine.
            let _ = waiting.reply.send(result);
        }
        self.inputs.clients.push(FromConn::Close(answer.conn));
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::Bytes;
    use service::kv::scan::Cursor;

    fn keys(count: usize) -> Vec<Found> {
        vec![Found { key: Bytes::from_static(b"k"), value: None, expires_at_ms: None }; count]
    }

    #[test]
    fn an_answer_in_parts_is_put_together_and_bounded() {
        let page = |next, count| {
            Ok(Reply::Walk(WalkReply::Page { next: Cursor(next), found: keys(count) }))
        };
        let mut waiting = Waiting { reply: oneshot::channel().0, found: keys(3) };
        assert_eq!(waiting.part(page(9, 2)), page(9, 5));
        waiting.found = keys(FOUND_MAX);
        assert!(matches!(waiting.part(page(9, 1)), Err(Failure::Refused(_))));
    }
}
