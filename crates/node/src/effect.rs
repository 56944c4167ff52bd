//! What goes into a node and what comes out of it.

use crate::api::{Answer, FromConn, Push};
use base::{Bytes, Incarnation, KeyRange, NodeId};
use std::collections::BTreeMap;
use storage::directory::Identity;
pub use storage::disk::Room;

/// What a node starts from, read by its driver from the data directory: first the tables are
/// opened, then the log.
#[derive(Debug)]
pub struct Boot {
    /// Drawn at random for every start of the process; tells one life of it from the next.
    pub boot: u64,
    /// Seed of the node's random numbers.
    pub seed: u64,
    /// Who the node is.
    pub identity: Identity,
    /// What the log held.
    pub recovered: storage::wal::Recovered,
    /// Every row of data id 0 in the tables ([`Boot::system_range`]).
    pub system_rows: Vec<(Bytes, Bytes)>,
    /// The newest generation of the tables; 0 if nothing was ever flushed.
    pub generation: u64,
    /// No process ever ran on this directory before, so this node can't have granted support or
    /// votes that it does not remember.
    pub fresh: bool,
    /// Where clients reach this node (RESP), to be told to the cluster; empty if unknown.
    pub client_address: String,
    /// The version of the binary, for status.
    pub version: String,
}

impl Boot {
    /// The rows that the driver reads from the tables before it starts a node.
    pub fn system_range() -> KeyRange {
        KeyRange::of_prefix(&0u64.to_be_bytes())
    }
}

/// A question to the tables, numbered by the node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FetchId(pub u64);

/// Something that a node should know.
#[derive(Debug)]
pub enum Input {
    /// [`Node::deadline`](crate::Node::deadline) has passed.
    Tick,
    /// A client's connection sent something.
    Client(FromConn),
    /// A link to a peer is up: its handshake proved node, cluster and incarnation, and
    /// [`Node::admits`](crate::Node::admits) let it in. Sent again after a reconnect.
    PeerUp(NodeId),
    /// The link to a peer is gone.
    PeerDown(NodeId),
    /// How many bytes wait in the queue of a link, if it can't be sent at once; told whenever that
    /// has changed after a turn's messages were queued.
    Backlog {
        /// The peer.
        peer: NodeId,
        /// Whether it is the bulk link.
        bulk: bool,
        /// Bytes.
        bytes: usize,
    },
    /// A peer's message, in order per link: the body of one frame.
    Peer(NodeId, Bytes),
    /// Everything up to this [`Effect::Log`] is durable.
    Logged {
        /// Its ticket.
        ticket: u64,
    },
    /// How much room the disk has now.
    Room(Room),
    /// An answer of the tables.
    Fetched(FetchId, Fetched),
    /// A memtable is a table now, durable and visible from this generation on.
    Flushed {
        /// The flush job's id.
        id: u64,
        /// The generation that shows it.
        generation: u64,
    },
    /// Leave: hand leaderships over; [`Effect::Stopped`] follows when that is done or hopeless.
    Stop,
}

/// Something that must be done for a node.
#[derive(Debug)]
pub enum Effect {
    /// Append these records in one batch, sync, then answer [`Input::Logged`]. Tickets count up;
    /// several may be outstanding and be synced together.
    Log {
        /// To be returned.
        ticket: u64,
        /// What to append.
        records: Vec<storage::wal::Record>,
    },
    /// Send to a peer; dropped if the link is down. Messages of one kind keep their order.
    Peer {
        /// To whom.
        to: NodeId,
        /// Over the bulk link (snapshots), so that votes and support never queue behind it.
        bulk: bool,
        /// The body of one frame.
        body: Bytes,
    },
    /// What a peer sent can't be read: end the links that it sends on. It may come again; Raft
    /// makes up for what is lost.
    Unreadable {
        /// The peer.
        from: NodeId,
        /// What was seen.
        text: String,
    },
    /// An answer for one of this node's connections.
    Answer(Answer),
    /// A push for one of this node's connections.
    Push(Push),
    /// Ask the tables; on a helper thread.
    Fetch(FetchId, Fetch),
    /// Write a frozen memtable out as a table; on a helper thread. Answered by
    /// [`Input::Flushed`].
    Flush(storage::engine::FlushJob),
    /// Compact tables when there is something to compact; on a helper thread, no answer. Rows of
    /// dead data ids are dropped; versions older than the generation need not be kept.
    Compact {
        /// The oldest generation that a view still reads.
        oldest: u64,
        /// Data ids whose rows are garbage.
        dead: Vec<u64>,
    },
    /// Memtables that nobody needs any more: to be dropped on a helper thread, since that takes a
    /// while.
    Garbage(Vec<std::sync::Arc<storage::engine::FrozenMemtable>>),
    /// Addresses of the peers, whenever they change: connect to these and to no others.
    Peers(BTreeMap<NodeId, (Incarnation, String)>),
    /// The node has handed over what it could: end the process now.
    Stopped,
    /// The node can't go on (corruption, a broken invariant of the disk): end the process with
    /// this message.
    Fatal(String),
}

/// What to ask the tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetch {
    /// Rows by key, as of a generation.
    Keys {
        /// The generation.
        generation: u64,
        /// Their keys.
        keys: Vec<Bytes>,
    },
    /// A slice of rows in order, as of a generation.
    Range {
        /// The generation.
        generation: u64,
        /// Where.
        range: KeyRange,
        /// At most so many rows.
        rows_max: usize,
        /// Stop after so many bytes.
        bytes_max: usize,
    },
}

/// What the tables answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// One per key, in order.
    Keys(Vec<Option<Bytes>>),
    /// Rows in order, and where the slice ended: everything before that key is covered; `None`:
    /// the whole range is.
    Range(Vec<(Bytes, Bytes)>, Option<Bytes>),
    /// A table is damaged; the message says which and what to do. The node stops.
    Damaged(String),
}
