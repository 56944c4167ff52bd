//! The key-value service.
//!
//! A [`Batch`] comes from a client. Whoever leads the shard [`check`]s it against the bounds, appends
//! it to the log if it [`Batch::writes`], and every replica [`apply`]s it to the rows that it
//! [`reads`]. A batch of reads never enters the log: the leader answers it with [`read`].
//!
//! Both run the same code over the same rows, so a GET means the same alone, in a transaction, and
//! at a replay years later. What differs is time. A write happens at its entry's stamp. A read
//! happens after everything *applied*, at a moment of the shard's time that no entry carries yet; if
//! it meets a key that ended between the two, it says [`ReadOutcome::Due`], the leader commits a
//! stamp, and asks again. So a key is gone for everybody at one place in the log, and no later
//! leader, whatever its clock, can show it again.

mod check;
mod exec;
pub mod glob;
mod lcs;
pub mod number;
mod op;
pub mod scan;
mod walk;

pub use check::{COST_MAX, Limits, check, reads};
pub use exec::{APPLY_BYTES_MAX, LCS_CELLS_MAX, ReadOutcome, apply, read};
pub use op::{
    Answer, BUCKETS, Batch, Bucket, Condition, Expiry, ExpiryWhen, LcsWant, Op, Outcome, When,
};
pub use walk::{CHUNK_KEYS_MAX, PAGE_BYTES_MAX, PAGE_KEYS_MAX, Progress, Walker};
