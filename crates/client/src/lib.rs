//! The Rust SDK: a small blocking client that speaks RESP and never lies about an outcome.
//!
//! Ordinary Redis clients work with Underpin; this one adds what they lack. A request has three
//! outcomes, not two: it was **done** (there is an answer), it was **not done** or refused, or the
//! outcome is **unknown**, because the connection was lost after the request had left or the
//! cluster itself lost track of it. [`Error`] tells them apart, so that a caller never has to guess
//! whether it may send a write again.
//!
//! ```no_run
//! use underpin_client::{Client, Command, Error, Options};
//!
//! let options = Options::new(["127.0.0.1:6379", "127.0.0.1:6380", "127.0.0.1:6381"]);
//! let mut client = Client::new(options);
//!
//! match client.call(&Command::write(["INCR", "visits"])) {
//!     Ok(value) => println!("done: {value:?}"),
//!     Err(Error::Unknown { .. }) => println!("it may have been counted; look before sending again"),
//!     Err(error) => println!("it was not counted: {error}"),
//! }
//!
//! // With a session a write carries a number, and the cluster carries it out once per number. The
//! // client can then send an unknown write again until it knows: the answer is the first one's.
//! client.open_session(std::time::Duration::from_secs(60))?;
//! client.call(&Command::write(["INCR", "visits"]))?;
//! # Ok::<(), Error>(())
//! ```
//!
//! What happens to a call, in order:
//!
//! 1. Without a connection, the endpoints are tried in turn, starting with the one after the last
//!    failure. Every failure is kept per endpoint: an error shows all of them, not just the last.
//! 2. `-TRYAGAIN`, `-CLUSTERDOWN` and a lost connection *before* the request was whole on its way
//!    mean that nothing happened: the call goes on, after a short pause, until its deadline.
//! 3. A connection lost *after* that, or `-UNKNOWN`, leaves the outcome open. What may be repeated is
//!    sent again: a [read](Command::read), a write marked [repeatable](Command::repeatable), and any
//!    write of a session, under its old number. Everything else returns [`Error::Unknown`].
//! 4. Once an attempt's outcome was unknown, the call ends with an answer or as unknown: a later
//!    "not done" speaks only for its own attempt.
//!
//! The client is one connection used by one thread; it blocks, and it has no background work.

mod client;
mod command;
mod connection;
mod error;

pub use client::{Client, Options};
pub use command::Command;
pub use error::{Attempt, Error};
pub use wire::resp::Value;
