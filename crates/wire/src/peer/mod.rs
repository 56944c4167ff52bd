//! The protocol between nodes: how two of them come to trust a connection, and how messages are cut
//! out of its bytes.
//!
//! A connection between nodes carries *frames*. The first few are a *handshake* in which both sides
//! say who they are and prove that they know the cluster's secret; after it every frame is a
//! message of the node, whose body this crate does not look into.
//!
//! ```text
//! dialer                                        listener
//!   | -- Hello: cluster, node, incarnation, … --> |   another cluster? no common version? Refuse
//!   | <-- Hello ----------------------------------|
//!   | -- Proof: HMAC(secret, dialer, both) -----> |   wrong? Refuse. Unknown incarnation? Refuse
//!   | <-- Proof: HMAC(secret, listener, both) ----|
//!   | == Message, Message, Message … ===========> |
//! ```
//!
//! A pair of nodes uses up to four connections: each node dials each other one twice, for its
//! normal messages and for bulk (snapshots), so that votes and support never wait behind a
//! snapshot. A connection carries messages from its dialer only. That costs a few idle sockets and
//! saves the question which of two simultaneous connections is to survive.
//!
//! [`frame`] cuts and checks frames; [`handshake`] is the state machine of the above. Both are
//! bounded: before the handshake is done a frame has at most [`frame::HANDSHAKE_BODY_MAX`] bytes, and
//! nothing is ever allocated because a length field says so.

pub mod frame;
pub mod handshake;

pub use frame::{Frame, FrameError, Kind};
pub use handshake::{Handshake, Hello, LinkKind, Peer, Refused, Secret, Step};
