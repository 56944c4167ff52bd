//! Requests of Redis clients, and replies of servers, in whatever pieces they come.

use crate::allocation::bounded;
use crate::bytes::{Choices, pieces};
use base::Bytes;
use bytes::BytesMut;
use wire::resp::{Limits, Out, Parser, Replies, Step, Value};

/// The first byte says whether they are requests or replies, the second how they are cut.
pub fn body(data: &[u8]) -> bool {
    let mut choices = Choices::new(data);
    let (what, seed) = (choices.byte(), choices.byte());
    let input = choices.rest();
    if what % 4 == 3 { replies(input, seed) } else { requests(input, seed, what % 4) }
}

/// What one step of the parser came to, with the arguments of a request.
type Seen = (Step, Vec<Bytes>);

fn requests(input: &[u8], seed: u8, what: u8) -> bool {
    let small = Limits {
        args_max: 8,
        arg_bytes_max: 64,
        request_bytes_max: 128,
        announced_bytes_max: 1024,
        stranger: (3, 16),
    };
    let limits = if what == 0 { Limits::default() } else { small };
    let trusted = what < 2;
    let whole = bounded(input.len(), || read([input].into_iter(), trusted, &limits));
    let pieced = bounded(input.len(), || read(pieces(input, seed), trusted, &limits));
    assert_eq!(whole, pieced, "pieces of seed {seed}");
    let mut read_one = false;
    for (step, args) in whole {
        if let Step::Request(_) = step {
            assert!(!args.is_empty());
            read_one = true;
            written_again(&args, trusted, &limits);
        }
    }
    read_one
}

fn read<'a>(pieces: impl Iterator<Item = &'a [u8]>, trusted: bool, limits: &Limits) -> Vec<Seen> {
    let (mut parser, mut seen, mut sent) = (Parser::default(), Vec::new(), 0);
    for mut piece in pieces {
        sent += piece.len();
        while !piece.is_empty() {
            let step = parser.next(&mut piece, trusted, limits);
            assert!(parser.held() <= 2 * sent + 1024, "{} held of {sent}", parser.held());
            match step {
                Step::More => assert!(piece.is_empty()),
                // How many bytes it took depends on the pieces.
                Step::Request(_) => seen.push((Step::Request(0), parser.args().clone())),
                Step::Broken(_) => {
                    seen.push((step, Vec::new()));
                    return seen;
                }
                step => seen.push((step, Vec::new())),
            }
        }
    }
    seen
}

/// Arguments sent as an array are the same arguments.
fn written_again(args: &[Bytes], trusted: bool, limits: &Limits) {
    let mut request = BytesMut::new();
    let mut out = Out::new(&mut request, false);
    out.array(args.len());
    args.iter().for_each(|arg| out.bulk(arg));
    let seen = read([&request[..]].into_iter(), trusted, limits);
    // What an inline request may hold can be too large for an array of a stranger.
    if let [(Step::Request(_), again)] = &seen[..] {
        assert_eq!(again, args);
    } else {
        assert!(!matches!(seen[..], [] | [_, _, ..]), "{seen:?}");
    }
}

fn replies(input: &[u8], seed: u8) -> bool {
    let whole = bounded(input.len(), || read_replies([input].into_iter()));
    let pieced = bounded(input.len(), || read_replies(pieces(input, seed)));
    // A value may be no number: what it looks like decides.
    assert_eq!(format!("{whole:?}"), format!("{pieced:?}"), "pieces of seed {seed}");
    !whole.0.is_empty()
}

fn read_replies<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<Value>, bool) {
    let (mut replies, mut seen) = (Replies::default(), Vec::new());
    for piece in pieces {
        replies.push(piece);
        loop {
            match replies.next_reply() {
                Ok(Some(value)) => seen.push(value),
                Ok(None) => break,
                Err(_) => return (seen, true),
            }
        }
    }
    (seen, false)
}
