//! Bytes to frames and back: RESP and the peer protocol.

pub mod peer;
pub mod resp;
