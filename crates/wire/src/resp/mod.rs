//! RESP, the protocol of Redis clients: requests in, replies out.
//!
//! A request is an array of byte strings, each with its length in front, or a plain line that a
//! human typed into a terminal (*inline*):
//!
//! ```text
//! *2\r\n$3\r\nGET\r\n$1\r\nk\r\n        the same as        GET k\r\n
//! ```
//!
//! [`Parser`] takes bytes as a socket gives them, in pieces of any size, and hands out whole
//! requests. It never allocates for bytes that are only announced: `$4000000` costs nothing until
//! the four million bytes arrive. What is too large for us is read past without being kept, so the
//! connection stays usable and can be told what was wrong.
//!
//! [`Out`] writes replies, in version 2 or 3 of the protocol. Version 3 has types of its own for
//! null, maps, sets and so on; in version 2 they become what clients of that time expect.
//!
//! [`Replies`] is the client's side: it reads what `Out` writes.
//!
//! Specification: <https://redis.io/docs/latest/develop/reference/protocol-spec/>. Where it is
//! silent (the exact errors, what ends a line), Redis 7.0's behaviour is what we copy.

mod number;
mod out;
mod parser;
mod reply;

pub use number::{integer, write_integer};
pub use out::Out;
pub use parser::{Broken, Limits, Parser, Step};
pub use reply::{Malformed, Replies, Value};
