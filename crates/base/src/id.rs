//! Ids are types, so that a node is never taken for a shard.

use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }
    };
}

id!(
    /// A node of the cluster: one process' share of it with one data directory. Starts at 1.
    NodeId,
    "n"
);
id!(
    /// A replicated state machine, the unit of replication and placement.
    ShardId,
    "s"
);
id!(
    /// A shard's copy on a node. Never reused within a shard, so that a message for a replica that
    /// was removed can't be taken for its successor's.
    ReplicaId,
    "r"
);
id!(
    /// One client connection of one node, numbered by that node.
    ConnId,
    "c"
);

/// One life of one data directory, drawn at random when it is formatted. The cluster pins each
/// node's incarnation, so that a wiped disk can't come back under its old identity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(pub u64);

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Drawn at random when a cluster is formatted; nodes of different clusters never talk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterId(pub u128);

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}
