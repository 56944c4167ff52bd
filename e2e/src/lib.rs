//! Real processes: the `underpin` binary, real clients, `kill -9`.
//!
//! This crate knows no other crate of ours: it starts binaries, speaks RESP over sockets and looks
//! at what comes back, as a user would. Its tests are one program, `tests/e2e`, and run one at
//! a time, because they measure how long a cluster was away.
//!
//! | module | what it gives |
//! | --- | --- |
//! | [`resp`] | a blocking client that never sends anything twice, and tells three outcomes apart |
//! | [`process`] | a child that cannot outlive its test, with signals and its output in a file |
//! | [`terminal`] | a program on a terminal, with keys to press |
//! | [`place`] | folders, free ports, and where the binaries are |
//! | [`wait`] | polling with a deadline, instead of sleeping and hoping |
//! | [`cluster`] | three `underpin server` processes, or one `underpin dev` |
//! | [`crowd`] | many connections that send and never read |
//! | [`redis`] | Redis as the oracle |
//! | [`writers`] | writers that remember what they were told |
//! | [`oracle`] | random requests to Redis and to Underpin, compared byte by byte |
//! | [`outage`] | how long nothing was acknowledged |
//! | [`metrics`] | a node's /metrics |
//! | [`turns`] | how long turns of nodes took |
//! | [`control`] | what the machine adds to a thread's processor time |
//! | [`million`] | a million keys: what they take, and how long turns are meanwhile |

#![allow(clippy::print_stdout, clippy::print_stderr)]

pub mod cluster;
pub mod control;
pub mod crowd;
pub mod metrics;
pub mod million;
pub mod oracle;
pub mod outage;
pub mod place;
pub mod process;
pub mod redis;
pub mod resp;
pub mod terminal;
pub mod turns;
pub mod wait;
pub mod writers;
