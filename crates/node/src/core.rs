//! What all shards of a node share: its engine, its support of other nodes, and the piles on which
//! a turn gathers what is to be done.

use crate::api::{Answer, Reply};
use crate::descriptor::DataIds;
use crate::effect::{Effect, Fetch, FetchId, Room};
use crate::options::Options;
use crate::outbox::Outbox;
use crate::peer::Message;
use crate::work::Work;
use base::{Bytes, ConnId, Failure, Index, NodeId, ReplicaId, ShardId, Time};
use protocols::liveness::{self, Liveness};
use protocols::raft;
use std::collections::BTreeMap;
use storage::engine::{Engine, FetchId as RowFetch, ViewId};
use storage::wal::Record;

/// Who waits for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Origin {
    /// A connection of this node.
    Client(ConnId, u64),
    /// A connection of another node, which forwarded the request.
    Peer(NodeId, ConnId, u64),
    /// Nobody: the node itself wanted it.
    Own,
}

impl Origin {
    /// The stream whose order counts, if any.
    pub fn stream(self, me: NodeId) -> Option<(NodeId, ConnId)> {
        match self {
            Origin::Client(conn, _) => Some((me, conn)),
            Origin::Peer(node, conn, _) => Some((node, conn)),
            Origin::Own => None,
        }
    }
}

/// What an outstanding question to the tables is for.
#[derive(Clone, Debug)]
pub(crate) enum Asked {
    /// Rows that commands or reads of a shard wait for.
    Rows { shard: ShardId, rows: RowFetch, keys: Vec<Bytes> },
    /// A slice for a scan.
    Slice { scan: u64 },
}

/// What a shard asks of the node around it.
#[derive(Debug)]
pub(crate) enum Wish {
    /// A follower needs a snapshot.
    Snapshot { shard: ShardId, to: ReplicaId },
    /// Hash all rows as this view shows them.
    Hash { shard: ShardId, index: Index, view: ViewId },
    /// The cluster map changed.
    Map,
    /// The shard has a new membership or leader: waiting requests may have somewhere to go.
    Routes,
}

/// The shared part of a node.
#[derive(Debug)]
pub(crate) struct Core {
    pub options: Options,
    pub me: NodeId,
    pub now: Time,
    pub liveness: Liveness,
    /// Steps of the liveness so far.
    pub heard: u64,
    pub engine: Engine,
    pub ids: DataIds,
    pub effects: Vec<Effect>,
    /// What goes to other nodes for clients.
    pub outbox: Outbox,
    /// Log records of this turn, and the persist tickets that they fulfil.
    pub records: Vec<Record>,
    pub owed: Vec<(ShardId, u64)>,
    pub replies: Vec<(Origin, bool, Result<Reply, Failure>)>,
    pub wishes: Vec<Wish>,
    pub fetches: BTreeMap<FetchId, Asked>,
    pub fetch_next: u64,
    pub room: Room,
    /// What was done since the driver last asked.
    pub work: Work,
    /// Percent of its usual work that a turn may do.
    pub share: usize,
    pub stopping: bool,
}

impl Core {
    /// Asks the tables.
    pub fn fetch(&mut self, asked: Asked, fetch: Fetch) {
        self.fetch_next += 1;
        let id = FetchId(self.fetch_next);
        self.fetches.insert(id, asked);
        self.effects.push(Effect::Fetch(id, fetch));
    }

    /// Sends to another node.
    pub fn send(&mut self, to: NodeId, message: &Message) {
        let bulk = matches!(message, Message::Chunk { .. } | Message::Part { .. });
        self.send_body(to, bulk, message.encode());
    }

    fn send_body(&mut self, to: NodeId, bulk: bool, body: Bytes) {
        assert_ne!(to, self.me, "{to} has nothing to say to itself");
        self.outbox.note(to, bulk, body.len());
        self.effects.push(Effect::Peer { to, bulk, body });
    }

    /// Answers whoever waits.
    pub fn reply(&mut self, origin: Origin, result: Result<Reply, Failure>) {
        if origin != Origin::Own {
            self.replies.push((origin, false, result));
        }
    }

    /// So much of a turn's usual work as may be done now.
    pub fn share_of(&self, usual: usize) -> usize {
        (usual * self.share / 100).max(1)
    }

    /// Whether memtables wait for their flush in such a number that nothing more may go into them.
    /// What is committed is applied all the same: the log holds only so much of that.
    pub fn memtables_full(&self) -> bool {
        self.engine.unflushed_bytes() >= self.options.memtables_bytes_max
    }

    /// Whether only what frees space may be taken up.
    pub fn disk_full(&self) -> bool {
        self.room != Room::Ample
    }

    /// What Raft needs to know besides its input.
    pub fn context(&self) -> raft::Context<'_> {
        raft::Context { now: self.now, liveness: &self.liveness }
    }

    /// The liveness takes a step; what it wants to say is said.
    pub fn step_liveness(&mut self, input: liveness::Input) {
        self.heard += 1;
        let mut sends = Vec::new();
        self.liveness.step(self.now, input, &mut sends);
        for liveness::Effect::Send { to, message } in sends {
            self.send(to, &Message::Liveness(message));
        }
    }

    /// An answer on its way to another node's connection.
    pub fn answer_peer(&mut self, to: NodeId, answer: Answer) {
        self.outbox.answer(to, answer, &mut self.effects);
    }
}
