//! What is fuzzed, as plain functions of arbitrary bytes.
//!
//! Every byte parser that faces clients, peers or disks has a body here: it takes bytes, feeds them
//! to the parser in some arrangement that the bytes themselves choose, and panics if something is
//! wrong. libFuzzer calls the bodies by the million (`fuzz/fuzz_targets`, `cargo xtask fuzz`); the
//! inputs worth keeping lie in `fuzz/corpus`, and a plain test replays them on every change.
//!
//! What a body checks besides the absence of panics:
//!
//! - what was read, written again and read again, is the same;
//! - it does not matter in which pieces bytes come;
//! - reading takes no more memory than eight times the input and 64 KiB ([`allocation`]).
//!
//! A body says whether the input got past the first parse, so that a campaign can tell what share of
//! its inputs went deeper.

pub mod allocation;
pub mod bytes;
pub mod peer;
pub mod resp_parser;
pub mod resp_session;
pub mod share;
pub mod snapshot;
pub mod wal;

// The host of the gateway's own tests calls the crate by its full name.
extern crate gateway as underpin_gateway;

#[path = "../../../crates/gateway/tests/resp/host.rs"]
mod host;

/// Takes arbitrary bytes; says whether they got past the first parse.
pub type Body = fn(&[u8]) -> bool;

/// All bodies by the names of their targets.
pub const BODIES: &[(&str, Body)] = &[
    ("resp_parser", resp_parser::body),
    ("resp_session", resp_session::body),
    ("peer", peer::body),
    ("wal", wal::body),
    ("snapshot", snapshot::body),
];
