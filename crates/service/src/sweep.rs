//! Removing what is past due.
//!
//! Nothing goes by itself: the leader looks at the beginning of the two indexes by time (keys with an
//! expiry, sessions), which hold only rows past due, and logs their keys as a
//! [`Command::Sweep`](crate::Command::Sweep). Every replica then removes what the index rows point
//! at, if it is past due by the entry's stamp, and the index rows with it. A sweep may come late,
//! twice, or with rows that are stale by now: it never removes what is still alive.

use crate::row::{self, Row, TAG_EXPIRY, TAG_SESSION_DUE};
use crate::{Change, Changes, RowKey, Rows, Space, session};
use base::{Bytes, KeyRange, Stamp};

/// Where index rows lie that are past due at `now`.
pub(crate) fn spans(now: Stamp) -> Vec<(Space, KeyRange)> {
    let until = |tag: u8| {
        let mut end = vec![tag];
        end.extend((now.millis() + 1).to_be_bytes());
        (Space::SHARD, KeyRange { start: Bytes::from(vec![tag]), end: Some(end.into()) })
    };
    vec![until(TAG_EXPIRY), until(TAG_SESSION_DUE)]
}

/// The row that an index row points at.
pub(crate) fn reads(index: &Bytes) -> Option<RowKey> {
    match index.first() {
        Some(&TAG_SESSION_DUE) => session::sweep_reads(index),
        _ => row::of_expiry_index(index).ok().map(|(_, bucket, key)| row::place(bucket, &key)),
    }
}

/// Removes the index row and what it points at, as far as they are past due.
pub(crate) fn apply(stamp: Stamp, index: &Bytes, rows: &dyn Rows, changes: &mut Changes) {
    if index.first() == Some(&TAG_SESSION_DUE) {
        return session::sweep(stamp, index, rows, changes);
    }
    let Ok((end, bucket, key)) = row::of_expiry_index(index) else { return };
    if end > stamp.millis() {
        return;
    }
    changes.push(Change::Delete(RowKey { space: Space::SHARD, key: index.clone() }));
    let at = row::place(bucket, &key);
    if rows.get(&at).is_some_and(|bytes| !Row::of_table(&at, bytes).live(stamp)) {
        changes.push(Change::Delete(at));
    }
}
