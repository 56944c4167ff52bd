//! The one contract that the gateways' connections, the `Cluster` handle and the simulator's clients
//! share: requests in, answers and pushes out.
//!
//! Per connection there is one FIFO stream: requests carry the connection's `seq`, writes take
//! effect in that order or are refused, a read waits for its connection's earlier writes. Answers
//! come back in any order and carry the request's `seq`; the gateway puts them in its protocol's
//! order. An answer may come in chunks (`more`).
//!
//! A connection has credits: at most [`REQUESTS_IN_FLIGHT_MAX`] requests and
//! [`BYTES_IN_FLIGHT_MAX`] request bytes may be unanswered. A gateway stops consuming bytes at its
//! limit, and the socket's back-pressure does the rest.

use base::{
    Bytes, ClusterId, ConnId, Failure, Incarnation, Index, Mono, NodeId, ReplicaId, ShardId,
};
use base::{Term, Time};
use service::kv;

/// Unanswered requests that one connection may have.
pub const REQUESTS_IN_FLIGHT_MAX: usize = 1024;
/// Unanswered request bytes that one connection may have.
pub const BYTES_IN_FLIGHT_MAX: usize = 16 << 20;

/// What a read must see (DESIGN section 7). More levels come with their issues.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Consistency {
    /// Everything that any client was told is done (linearizable).
    #[default]
    Strong,
    /// Whatever this node has.
    Eventual,
}

/// A client wants something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The connection it came on.
    pub conn: ConnId,
    /// Its number there, counting up.
    pub seq: u64,
    /// When nobody waits for the answer any more; it is answered by then, if only with "unknown".
    pub deadline: Mono,
    /// What a read must see.
    pub consistency: Consistency,
    /// What is wanted.
    pub call: Call,
}

/// What a client can want.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// Key-value operations that take effect together.
    Kv(kv::Batch),
    /// The same, once per session and number: a repeat gets the first one's answer.
    Once {
        /// The session.
        session: u64,
        /// The client's number for this request, counting up within a bounded window.
        number: u64,
        /// What to do.
        batch: kv::Batch,
    },
    /// A walk over a bucket.
    Walk(kv::scan::WalkRequest),
    /// Opens a session that ends when it was not used for so long, in milliseconds.
    SessionOpen {
        /// Milliseconds without use after which it ends.
        ttl_ms: u64,
    },
    /// Ends a session.
    SessionClose {
        /// The session.
        session: u64,
    },
    /// How this node and its shards are.
    Status,
    /// A state hash of every replica at one applied index: logs a mark; each replica hashes its rows
    /// there and shows it in its status. Answers [`Reply::Index`], the mark's place in the log of
    /// the `kv` shard.
    HashMark,
    /// Hand the leadership of a shard to a node (`None`: to the best of the others).
    Transfer {
        /// The shard.
        shard: ShardId,
        /// The node.
        to: Option<NodeId>,
    },
    /// A node tells the cluster who it is; no gateway makes this request.
    Register(service::meta::NodeRecord),
    /// A node's data directory was replaced by a fresh one: pins the new incarnation and gives the
    /// node new replicas of its shards, first as learners.
    NodeReplace {
        /// The node.
        node: NodeId,
        /// The incarnation of its new data directory.
        incarnation: Incarnation,
    },
}

/// What a request is answered with, or a part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The request's connection.
    pub conn: ConnId,
    /// The request's number.
    pub seq: u64,
    /// More parts follow.
    pub more: bool,
    /// The answer.
    pub result: Result<Reply, Failure>,
}

/// An answer that is not a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Of a batch.
    Kv(kv::Outcome),
    /// Of a walk.
    Walk(kv::scan::WalkReply),
    /// A session's id.
    Session(u64),
    /// Done, with nothing to say.
    Done,
    /// A place in a log.
    Index(Index),
    /// Of [`Call::Status`].
    Status(Box<Status>),
}

/// About how many bytes an answer takes while it waits for a client or for a link.
pub fn weight(result: &Result<Reply, Failure>) -> usize {
    const ITSELF: usize = 64;
    let inside = match result {
        Ok(Reply::Kv(kv::Outcome::Answers(answers))) => answers.iter().map(kv_weight).sum(),
        Ok(Reply::Walk(kv::scan::WalkReply::Page { found, .. })) => {
            let value = |found: &kv::scan::Found| found.value.as_ref().map_or(0, Bytes::len);
            found.iter().map(|found| ITSELF + found.key.len() + value(found)).sum()
        }
        _ => 0,
    };
    ITSELF + inside
}

fn kv_weight(answer: &kv::Answer) -> usize {
    let inside = match answer {
        kv::Answer::Bytes(bytes) => bytes.len(),
        kv::Answer::List(answers) => answers.iter().map(kv_weight).sum(),
        _ => 0,
    };
    std::mem::size_of::<kv::Answer>() + inside
}

/// Something that no request asked for right now (watch events, messages: later issues).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Push {
    /// The connection.
    pub conn: ConnId,
    /// Its place among the connection's answers: after the answer with this number.
    pub position: u64,
    /// Its content.
    pub data: Bytes,
}

/// What a connection sends to its node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromConn {
    /// A request.
    Request(Request),
    /// Nobody waits for this request's answer any more.
    Cancel(ConnId, u64),
    /// The connection is gone.
    Close(ConnId),
}

/// How a node is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// The cluster.
    pub cluster: ClusterId,
    /// The node.
    pub node: NodeId,
    /// Its data directory's life.
    pub incarnation: Incarnation,
    /// The version of the binary.
    pub version: String,
    /// Milliseconds since the node started.
    pub uptime_ms: u64,
    /// Every node of the cluster as this one sees it.
    pub nodes: Vec<NodeStatus>,
    /// The shards with a replica here.
    pub shards: Vec<ShardStatus>,
    /// The disk has no room: writes are refused until some is free.
    pub disk_full: bool,
    /// Requests waiting.
    pub requests_waiting: u64,
    /// Bytes in memtables and row cache.
    pub memory_bytes: u64,
    /// Bytes in memtables that are in no table yet.
    pub unflushed_bytes: u64,
    /// These are so many that writes are refused until some are written out.
    pub memtables_full: bool,
}

/// How another node is, seen from here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeStatus {
    /// The node.
    pub node: NodeId,
    /// Its pinned incarnation, once the cluster knows it.
    pub incarnation: Incarnation,
    /// Its peer address.
    pub address: String,
    /// Where clients reach it, if it said so (RESP).
    pub client_address: String,
    /// Whether it was heard of within a support period. This node itself: always.
    pub live: bool,
    /// The wall clock's offset against this node's, in milliseconds.
    pub clock_offset_ms: Option<i64>,
}

/// How a shard is, seen from its replica here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShardStatus {
    /// The shard.
    pub shard: ShardId,
    /// "meta" or "kv".
    pub kind: &'static str,
    /// The replica here.
    pub replica: ReplicaId,
    /// "leader", "follower", "candidate", "learner".
    pub role: &'static str,
    /// The leader's node, if one is known.
    pub leader: Option<NodeId>,
    /// Raft's term.
    pub term: Term,
    /// The highest index known to be committed.
    pub commit: Index,
    /// The highest index applied here.
    pub applied: Index,
    /// The highest index in the log here.
    pub last: Index,
    /// The first index in the log here.
    pub first: Index,
    /// On the leader: each replica with its node, part ("voter", "learner") and matched index.
    pub replicas: Vec<(ReplicaId, NodeId, &'static str, Index)>,
    /// The newest hash mark: its index and the hash of all rows there.
    pub hash: Option<(Index, u64)>,
    /// Snapshots that others received from here whole, since the node started.
    pub snapshots_sent: u64,
    /// Snapshots that took the place of this replica's state, since the node started.
    pub snapshots_installed: u64,
}

/// A framed client protocol on one node: all of its connections. It is a state machine without
/// sockets: bytes in, requests out; answers in, bytes out. Its own commands about connections
/// (a list of clients, killing one) stay inside.
pub trait Gateway {
    /// A client connected from `address`.
    fn open(&mut self, now: Time, conn: ConnId, address: String);

    /// Consumes bytes that `conn` sent, as many as its credits allow, and pushes what they ask for
    /// onto `out`. Returns how many were consumed; the caller keeps the rest and offers it again,
    /// with or without more, after the connection's next answer and whenever its output was drained.
    fn receive(&mut self, now: Time, conn: ConnId, bytes: &[u8], out: &mut Vec<FromConn>) -> usize;

    /// An answer to one of the requests.
    fn answer(&mut self, now: Time, answer: Answer, out: &mut Vec<FromConn>);

    /// Bytes to send to `conn`, to be drained by the caller as the socket takes them. Draining makes
    /// room for answers that wait, so the caller asks again until nothing is left. A gateway stops
    /// consuming input of a connection whose output is not drained.
    fn output(&mut self, conn: ConnId) -> Option<&mut bytes::BytesMut>;

    /// Connections that have new output or want to be closed since this was last asked.
    fn touched(&mut self) -> Vec<ConnId>;

    /// Whether `conn` is to be closed once its output is sent (QUIT, CLIENT KILL, a protocol error).
    fn closing(&self, conn: ConnId) -> bool;

    /// The connection is gone; its unanswered requests go on, and their answers are dropped.
    fn close(&mut self, conn: ConnId, out: &mut Vec<FromConn>);

    /// How many connections are open.
    fn connections(&self) -> usize;

    /// What a client is told that is turned away because the node has as many connections as it
    /// takes. It may be a client of any version of the protocol, and nothing of it was read.
    fn full(&self) -> &'static [u8] {
        b""
    }
}
