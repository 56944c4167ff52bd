//! The kept corpus, replayed: inputs that once broke something, and those that reach each corner.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, clippy::print_stdout)]

use std::path::{Path, PathBuf};
use underpin_fuzz::BODIES;
use underpin_fuzz::allocation::Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn corpus(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpus").join(target)
}

fn inputs(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = corpus(target);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{folder:?}: {e}"));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

fn replay(target: &str) {
    let body = BODIES.iter().find(|(name, _)| *name == target).expect("a body of that name").1;
    let inputs = inputs(target);
    let mut past = 0;
    for (path, input) in &inputs {
        println!("{}", path.display());
        past += u64::from(body(input));
    }
    assert!(past * 4 > inputs.len() as u64, "{past} of {} get past the first parse", inputs.len());
}

#[test]
fn kept_requests_and_replies_are_read() {
    replay("resp_parser");
}

#[test]
fn kept_sessions_are_served() {
    replay("resp_session");
}

#[test]
fn kept_bytes_of_peers_are_read_or_refused() {
    replay("peer");
}

#[test]
fn kept_logs_are_recovered_or_refused() {
    replay("wal");
}

#[test]
fn kept_chunks_of_snapshots_are_read_or_refused() {
    replay("snapshot");
}

/// The bound on memory is no decoration: a body that takes too much fails.
#[test]
fn taking_more_memory_than_allowed_is_found() {
    use underpin_fuzz::allocation::bounded;
    bounded(1000, || vec![1u8; 60_000]);
    let greedy = std::panic::catch_unwind(|| bounded(1000, || vec![1u8; 80_000]));
    assert!(greedy.is_err());
}

#[test]
fn the_corpus_is_small_and_has_a_folder_for_each_body() {
    let sizes = BODIES.iter().flat_map(|(name, _)| inputs(name)).map(|(_, input)| input.len());
    assert!(sizes.sum::<usize>() < 1 << 20);
}
