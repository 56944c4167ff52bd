//! What is on its way to other nodes for their clients, at the pace at which they take it.
//!
//! A link's queue is bounded, and a link whose queue is full is given up: for Raft's own messages,
//! which are bounded in flight, that never happens unless the peer is gone. Requests and answers are
//! as many and as large as clients like. Without a bound here, one client that asks a follower for
//! large values would cost the leader its link, and everyone behind it their answers.
//!
//! So the driver says how much waits in each link's queue ([`Input::Backlog`](crate::Input::Backlog)),
//! and requests and answers go out only while that is little:
//!
//! ```text
//! answer, small, normal link has room     -> normal link
//! any other answer                        -> the outbox, in order; from there over the bulk link,
//!                                            in parts, as room comes
//! ... and the outbox is full              -> "busy" instead, over the normal link
//! request, and the normal link has none   -> parked here, until there is room or its time is up
//! ```

use crate::api::{Answer, weight};
use crate::effect::Effect;
use crate::peer::{Message, PART_BYTES};
use base::{Bytes, ConnId, Failure, NodeId, NotDone};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Bytes on a normal link beyond which no request and no answer is added: much less than its queue
/// takes, for Raft's messages go there too.
const NORMAL_BYTES_MAX: usize = 16 << 20;
/// The same for a bulk link, which snapshots share.
const BULK_BYTES_MAX: usize = 4 << 20;
/// Bytes of answers that wait for one node's link. Beyond it the answer is "busy".
const WAITING_BYTES_MAX: usize = 96 << 20;

/// A link: a node, and whether it is the bulk one.
type Link = (NodeId, bool);

/// An answer, encoded, or what is left of it.
#[derive(Debug)]
struct Late {
    conn: ConnId,
    seq: u64,
    body: Bytes,
    /// A part of it is out already, so the rest follows as parts.
    begun: bool,
}

/// What waits for room.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    /// What links' queues held when the driver last said so.
    backlog: BTreeMap<Link, usize>,
    /// What was handed out since this turn began; the driver doesn't know of it yet.
    sent: BTreeMap<Link, usize>,
    late: BTreeMap<NodeId, VecDeque<Late>>,
    late_bytes: BTreeMap<NodeId, usize>,
    /// Nodes that a request waits for.
    wanted: BTreeSet<NodeId>,
}

impl Outbox {
    /// The driver has something new to say about a link.
    pub fn told(&mut self, to: NodeId, bulk: bool, bytes: usize) {
        match bytes {
            0 => self.backlog.remove(&(to, bulk)),
            _ => self.backlog.insert((to, bulk), bytes),
        };
    }

    /// A message is handed out.
    pub fn note(&mut self, to: NodeId, bulk: bool, bytes: usize) {
        *self.sent.entry((to, bulk)).or_default() += bytes;
    }

    /// The driver has everything that was handed out; it says so if it could not send it all.
    pub fn handed_over(&mut self) {
        self.sent.clear();
    }

    fn has_room(&self, to: NodeId, bulk: bool) -> bool {
        let of = |map: &BTreeMap<Link, usize>| map.get(&(to, bulk)).copied().unwrap_or(0);
        let most = if bulk { BULK_BYTES_MAX } else { NORMAL_BYTES_MAX };
        of(&self.backlog) + of(&self.sent) < most
    }

    /// Whether a request may go to this node now. If not, there is a turn once it may.
    pub fn takes_requests(&mut self, to: NodeId) -> bool {
        let takes = self.has_room(to, false);
        if !takes {
            self.wanted.insert(to);
        }
        takes
    }

    /// Whether requests that waited for room may go on; forgets that they waited.
    pub fn may_go_on(&mut self) -> bool {
        let room = self.wanted.iter().any(|to| self.has_room(*to, false));
        if room {
            self.wanted.clear();
        }
        room
    }

    /// Whether there is something that could go out at once.
    pub fn is_busy(&self) -> bool {
        self.late.keys().any(|to| self.has_room(*to, true))
            || self.wanted.iter().any(|to| self.has_room(*to, false))
    }

    /// An answer for a connection of another node.
    pub fn answer(&mut self, to: NodeId, answer: Answer, effects: &mut Vec<Effect>) {
        let (conn, seq) = (answer.conn, answer.seq);
        // The parts of a walk's answer stay in order on one link.
        let walk = matches!(answer.result, Ok(crate::api::Reply::Walk(_)));
        // Not encoded before it is known to go somewhere: copying it may take a millisecond.
        let bytes = weight(&answer.result);
        if !walk && bytes <= PART_BYTES && self.has_room(to, false) {
            return self.send(to, false, Message::Answered(answer).encode(), effects);
        }
        let waiting = self.late_bytes.get(&to).copied().unwrap_or(0);
        if waiting > 0 && waiting + bytes > WAITING_BYTES_MAX {
            let busy = Failure::NotDone(NotDone::Busy { retry_after_ms: 100 });
            let answer = Answer { conn, seq, more: false, result: Err(busy) };
            return self.send(to, false, Message::Answered(answer).encode(), effects);
        }
        let body = Message::Answered(answer).encode();
        *self.late_bytes.entry(to).or_default() += body.len();
        self.late.entry(to).or_default().push_back(Late { conn, seq, body, begun: false });
        self.send_late(to, effects);
    }

    /// Sends what there is room for now.
    pub fn go_on(&mut self, effects: &mut Vec<Effect>) {
        let nodes: Vec<NodeId> = self.late.keys().copied().collect();
        nodes.into_iter().for_each(|to| self.send_late(to, effects));
    }

    fn send_late(&mut self, to: NodeId, effects: &mut Vec<Effect>) {
        while self.has_room(to, true) {
            let Some(body) = self.next_part(to) else {
                self.forget(to);
                return;
            };
            self.send(to, true, body, effects);
        }
    }

    /// The next message of what waits for a node.
    fn next_part(&mut self, to: NodeId) -> Option<Bytes> {
        let queue = self.late.get_mut(&to)?;
        let late = queue.front_mut()?;
        let data = late.body.split_to(late.body.len().min(PART_BYTES));
        let last = late.body.is_empty();
        *self.late_bytes.entry(to).or_default() -= data.len();
        let body = match last && !late.begun {
            true => data,
            false => Message::Part { conn: late.conn, seq: late.seq, last, data }.encode(),
        };
        late.begun = true;
        if last {
            queue.pop_front();
        }
        Some(body)
    }

    fn send(&mut self, to: NodeId, bulk: bool, body: Bytes, effects: &mut Vec<Effect>) {
        self.note(to, bulk, body.len());
        effects.push(Effect::Peer { to, bulk, body });
    }

    /// The node can't be reached: nobody there waits any more.
    pub fn forget(&mut self, to: NodeId) {
        self.late.remove(&to);
        self.late_bytes.remove(&to);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Reply;
    use service::kv::{self, Outcome};

    const PEER: NodeId = NodeId(2);
    const VALUE: usize = 4 << 20;

    fn answer(seq: u64, bytes: usize) -> Answer {
        let value = kv::Answer::Bytes(Bytes::from(vec![seq as u8; bytes]));
        let result = Ok(Reply::Kv(Outcome::Answers(vec![value])));
        Answer { conn: ConnId(1), seq, more: false, result }
    }

    /// What goes out, as (bulk, bytes), until the links are full; nothing is taken by the peer.
    fn sent(effects: &mut Vec<Effect>) -> Vec<(bool, usize)> {
        let size = |effect| match effect {
            Effect::Peer { bulk, body, .. } => (bulk, body.len()),
            other => panic!("{other:?}"),
        };
        effects.drain(..).map(size).collect()
    }

    #[test]
    fn large_answers_wait_for_the_link_and_small_ones_pass_them() {
        let (mut outbox, mut effects) = (Outbox::default(), Vec::new());
        (0..8).for_each(|seq| outbox.answer(PEER, answer(seq, VALUE), &mut effects));
        let first: usize =
            sent(&mut effects).iter().map(|(bulk, bytes)| bytes * usize::from(*bulk)).sum();
        assert!((BULK_BYTES_MAX..BULK_BYTES_MAX + 2 * PART_BYTES).contains(&first), "{first}");
        outbox.answer(PEER, answer(8, 10), &mut effects);
        assert!(matches!(sent(&mut effects)[..], [(false, 1..100)]));

        // The driver could send nothing: nothing more goes out.
        outbox.handed_over();
        outbox.told(PEER, true, first);
        assert!(!outbox.is_busy());
        outbox.go_on(&mut effects);
        assert_eq!(sent(&mut effects), []);
        // It has sent everything: the rest follows, bit by bit, and nothing is lost.
        let mut all = first;
        for _ in 0..100 {
            outbox.told(PEER, true, 0);
            outbox.handed_over();
            outbox.go_on(&mut effects);
            all += sent(&mut effects).iter().map(|(_, bytes)| bytes).sum::<usize>();
        }
        assert!((8 * VALUE..8 * VALUE + 10_000).contains(&all), "{all}");
        assert!(!outbox.is_busy() && outbox.late.is_empty());
    }

    #[test]
    fn beyond_the_bound_the_answer_is_busy() {
        let (mut outbox, mut effects) = (Outbox::default(), Vec::new());
        (0..100).for_each(|seq| outbox.answer(PEER, answer(seq, VALUE), &mut effects));
        assert!(outbox.late_bytes[&PEER] <= WAITING_BYTES_MAX);
        let busy = sent(&mut effects).iter().filter(|(bulk, _)| !bulk).count();
        assert!((70..80).contains(&busy), "{busy} of 100");
        outbox.forget(PEER);
        outbox.answer(PEER, answer(1, 10), &mut effects);
        assert!(outbox.late.is_empty());
    }

    #[test]
    fn requests_wait_for_room_and_have_a_turn_then() {
        let mut outbox = Outbox::default();
        assert!(outbox.takes_requests(PEER) && !outbox.may_go_on());
        outbox.note(PEER, false, NORMAL_BYTES_MAX);
        assert!(!outbox.takes_requests(PEER) && !outbox.is_busy());
        outbox.handed_over();
        assert!(outbox.is_busy() && outbox.may_go_on() && !outbox.may_go_on());
    }
}
