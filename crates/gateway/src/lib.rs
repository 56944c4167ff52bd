//! One module per framed client protocol: bytes in to requests, answers to bytes out.
//!
//! A gateway is a state machine without sockets, so that the simulator can push a client's real
//! bytes through whole simulated clusters. It knows what a protocol's commands mean; what they
//! change is the service's business, and who agrees on it the node's.

pub mod resp;
