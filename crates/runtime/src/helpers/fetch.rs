//! The fetch thread: rows that are not in memory.

use super::{Post, Report};
use node::{Fetch, FetchId, Fetched, Input};
use std::sync::mpsc::Receiver;
use std::time::Instant;
use storage::tables::{RangeLimit, Tables, TablesError};

/// Serves fetches until the node is gone.
pub(super) fn run(
    tables: &dyn Tables,
    jobs: &Receiver<(FetchId, Fetch)>,
    post: &Post,
) -> Result<(), String> {
    while let Ok((id, fetch)) = jobs.recv() {
        if post.killed() {
            return Ok(());
        }
        let started = Instant::now();
        let fetched =
            read(tables, fetch).unwrap_or_else(|error| Fetched::Damaged(error.to_string()));
        post.metrics.fetch.observe(started.elapsed());
        post.report(Report::Input(Input::Fetched(id, fetched)));
    }
    Ok(())
}

fn read(tables: &dyn Tables, fetch: Fetch) -> Result<Fetched, TablesError> {
    Ok(match fetch {
        Fetch::Keys { generation, keys } => Fetched::Keys(tables.get(&keys, generation)?),
        Fetch::Range { generation, range, rows_max, bytes_max } => {
            let limit = RangeLimit { rows: rows_max, bytes: bytes_max };
            let slice = tables.range(&range, generation, limit)?;
            Fetched::Range(slice.rows, slice.covered_until)
        }
    })
}
