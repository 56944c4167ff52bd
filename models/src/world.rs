//! A state: the nodes, what is under way between them, and what may still happen.

use crate::law::Truth;
use crate::node::{Machine, Node};
use crate::shared::Shared;
use base::{Index, NodeId, ReplicaId};
use protocols::liveness;
use protocols::raft::{Change, Message};

/// A state of the whole cluster. Node `n` hosts replica `n` and nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    /// The nodes, node 1 first.
    pub nodes: Vec<Shared<Node>>,
    /// Their clocks.
    pub clocks: Vec<Clock>,
    /// All that was ever sent, in an order of its own: each message may arrive at any time, any
    /// number of times, or never. Answers that can mean nothing any more are left out.
    pub network: Shared<Vec<Shared<Packet>>>,
    /// What the observer saw.
    pub truth: Shared<Truth>,
    /// What may still happen.
    pub left: Budget,
}

impl World {
    /// Whether `packet` is under way.
    pub fn carries(&self, packet: &Shared<Packet>) -> bool {
        self.network.binary_search_by_key(&packet.digest(), Shared::digest).is_ok()
    }
}

/// A node's monotonic clock. It shows `STEP` more, or a little less or more, after each step of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Clock {
    /// Steps of time so far.
    pub steps: u64,
    /// What a step adds.
    pub rate: u64,
}

/// Something under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Packet {
    /// From replica to replica.
    Raft {
        /// The sender.
        from: ReplicaId,
        /// The receiver.
        to: ReplicaId,
        /// What it says.
        message: Message,
    },
    /// From node to node.
    Liveness {
        /// The sender.
        from: NodeId,
        /// The receiver.
        to: NodeId,
        /// What it says.
        message: liveness::Message,
    },
    /// A state machine sent whole.
    Snapshot {
        /// The sender.
        from: ReplicaId,
        /// The receiver.
        to: ReplicaId,
        /// The state.
        machine: Machine,
    },
    /// The receiver of a snapshot had it whole.
    Outcome {
        /// Who received it.
        from: ReplicaId,
        /// Who sent it.
        to: ReplicaId,
        /// Where it ended.
        index: Index,
    },
}

impl Packet {
    /// The node that it goes to.
    pub fn to(&self) -> u64 {
        match self {
            Packet::Liveness { to, .. } => to.0,
            Packet::Raft { to, .. } | Packet::Snapshot { to, .. } | Packet::Outcome { to, .. } => {
                to.0
            }
        }
    }
}

/// How often things happen at most: of a whole model, or what is left of that in a state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Budget {
    /// Steps of time: of one node's clock where clocks run apart, else of all together.
    pub steps: u8,
    /// Proposals.
    pub proposals: u8,
    /// Crashes, each followed by a start.
    pub crashes: u8,
    /// Reads asked for.
    pub reads: u8,
    /// Heartbeats from one node to one other.
    pub beats: u8,
    /// Changes of membership.
    pub changes: u8,
    /// Handovers.
    pub transfers: u8,
    /// Compactions, each of one node's whole applied log.
    pub compactions: u8,
}

/// How time passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Time {
    /// Each node's clock by itself, as fast as it likes: nothing may rest on clocks.
    Apart,
    /// All together, each at its own rate within the bound that leases rest on.
    Together,
}

/// What a model covers.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// Nodes.
    pub nodes: u64,
    /// The first of them are voters from the beginning, as many; the others are learners.
    pub voters: u64,
    /// How time passes.
    pub time: Time,
    /// The rates at which clocks may run, one list for each initial state, by node.
    pub rates: Vec<Vec<u64>>,
    /// Whether followers hear that they should bind themselves, so that there are leases.
    pub binding: bool,
    /// Whether a heartbeat and its answer travel one by one, or arrive at once.
    pub slow_beats: bool,
    /// Nodes whose timers go off.
    pub timers: Vec<u64>,
    /// Nodes that may crash.
    pub crashers: Vec<u64>,
    /// Nodes whose writes take time; those of others are durable at once.
    pub slow_disks: Vec<u64>,
    /// Steps that support lasts.
    pub support_steps: u64,
    /// Whether a leader is there from the beginning, node 1.
    pub led: bool,
    /// Whether it has handed over to node 3 before the model begins, and all that was said until
    /// then is still under way.
    pub handed_over: bool,
    /// A follower that lost the leader's first request to bind itself.
    pub unbound: Option<u64>,
    /// Highest term.
    pub term_max: u64,
    /// Changes that a leader may propose.
    pub changes: Vec<Change>,
    /// How often things happen.
    pub budget: Budget,
}

/// Something that goes wrong in the harness, which the checker must notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// A start forgets whom the replica voted for.
    ForgetsVotes,
    /// A write is reported durable before it is.
    ReportsEarly,
    /// A start forgets that there are other members.
    ForgetsOthers,
    /// A snapshot claims one entry more than it holds.
    SnapshotAhead,
    /// An answer to a read round counts for whatever round is under way.
    AnswersAnyRound,
    /// Clocks drift, and nobody allows for it.
    IgnoresDrift,
    /// A started node votes at once, whatever it promised before.
    ForgetsPromises,
    /// A handover is asked of the heir, behind the leader's back.
    BypassesLeader,
}
