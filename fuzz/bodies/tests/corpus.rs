//! The kept corpus, replayed: inputs that once broke something, and those that reach each corner.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, clippy::print_stdout)]

use base::Bytes;
use base::codec::DecodeError;
use std::path::{Path, PathBuf};
use underpin_fuzz::BODIES;
use underpin_fuzz::allocation::{self, Counting};
use wire::resp::{Limits, Parser, Replies};

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
    allocation::bounded(1000, || vec![1u8; 60_000]);
    let greedy = std::panic::catch_unwind(|| allocation::bounded(1000, || vec![1u8; 80_000]));
    assert!(greedy.is_err());
}

#[test]
fn the_corpus_is_small_and_has_a_folder_for_each_body() {
    let sizes = BODIES.iter().flat_map(|(name, _)| inputs(name)).map(|(_, input)| input.len());
    assert!(sizes.sum::<usize>() < 1 << 20);
}

/// Inputs so large that 64 KiB are nothing, of the smallest parts there are. A row of a snapshot
/// keeps to the bound; other parts are larger in memory than that, and must not become larger still.
/// Requests are bounded by the gateway besides, forwarded batches by their number of parts; answers
/// come from nodes that know the cluster's secret, replies from a server that the client chose.
#[test]
fn large_inputs_of_many_small_parts_take_no_more_than_they_did() {
    let count = 200_000;
    let varint = [0xc0, 0x9a, 0x0c];
    let many = |head: &[u8], part: &[u8]| [head, &part.repeat(count)].concat();
    let arguments = many(b"*200000\r\n", b"$0\r\n\r\n");
    takes("request at once", &arguments, 10.0, || read_request(&arguments, arguments.len()));
    takes("request in pieces", &arguments, 11.0, || read_request(&arguments, 20));
    let reply = many(b"*200000\r\n", b"_\r\n");
    takes("reply", &reply, 28.0, || {
        let mut replies = Replies::default();
        replies.push(&reply);
        assert!(replies.next_reply().is_ok_and(|reply| reply.is_some()));
    });
    // Operations and answers of one byte or three.
    let forward = many(&[&[3][..], &[0; 40], &[0, 1, 0], &varint].concat(), &[0, 0, 0]);
    takes("forwarded batch", &forward, 1.0, || {
        node::rewrite_message(forward.clone().into()).expect_err("it has too many parts");
    });
    let answers = many(&[&[4][..], &[0; 16], &[0, 1, 0], &varint].concat(), &[1]);
    rewritten("answers", answers, 80.0, node::rewrite_message);
    let rows = many(&[&[1][..], &[0; 10], &(count as u32).to_le_bytes()].concat(), &[0; 12]);
    rewritten("chunk", rows, 8.0, node::rewrite_chunk);
}

/// A peer is believed no more parts of a batch than a client may send; those take at most 16 MiB,
/// whatever they are.
#[test]
fn a_batch_of_as_many_parts_as_it_may_cost_is_read() {
    let batch = |head: &[u8], parts: u32, part: &[u8]| {
        let count = [parts as u8 | 0x80, (parts >> 7) as u8 | 0x80, (parts >> 14) as u8];
        let start = [&[3][..], &[0; 40], &[0, 1, 0], head, &count].concat();
        Bytes::from([start, part.repeat(parts as usize)].concat())
    };
    let most = service::kv::COST_MAX as u32;
    let flushes = |parts| batch(&[], parts, &[0, 26]);
    let exists = |parts| batch(&[1, 0, 16], parts, &[0]);
    for (name, whole, longer) in
        [("operations", flushes(most), flushes(most + 1)), ("keys", exists(most - 1), exists(most))]
    {
        let bytes = allocation::taken(|| {
            let read = node::rewrite_message(whole.clone());
            assert_eq!(read, Ok(whole), "{name}");
        });
        println!("{name}: {} bytes", bytes.1);
        assert!(bytes.1 < 16 << 20, "{name}: {} bytes", bytes.1);
        assert!(node::rewrite_message(longer).is_err(), "{name}");
    }
}

/// Bytes taken for each byte of input are no more than `most`.
fn takes(name: &str, input: &[u8], most: f64, work: impl FnOnce()) {
    let ratio = allocation::taken(work).1 as f64 / input.len() as f64;
    println!("{name}: {ratio:.1} bytes for each of {}", input.len());
    assert!(ratio <= most, "{name}: {ratio:.1} bytes for each byte, at most {most} were expected");
}

fn rewritten(
    name: &str,
    input: Vec<u8>,
    most: f64,
    rewrite: impl Fn(Bytes) -> Result<Bytes, DecodeError>,
) {
    let bytes = Bytes::from(input.clone());
    takes(name, &input, most, || {
        let written = rewrite(bytes).expect("it can be read");
        assert_eq!(written.len(), input.len());
    });
}

fn read_request(request: &[u8], piece_bytes: usize) {
    let (mut parser, limits) = (Parser::default(), Limits::default());
    for mut piece in request.chunks(piece_bytes) {
        while !piece.is_empty() {
            parser.next(&mut piece, true, &limits);
        }
    }
    assert_eq!(parser.args().len(), 200_000);
}
