//! The key-value service.

mod op;
pub mod scan;

pub use op::{
    Answer, BUCKETS, Batch, Bucket, Condition, Expiry, ExpiryWhen, LcsWant, Op, Outcome, When,
};
