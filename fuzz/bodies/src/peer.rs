//! What another node, or whoever has found its port, may send: frames, handshakes, messages.

use crate::allocation::bounded;
use crate::bytes::{Choices, pieces};
use base::{Bytes, ClusterId, Incarnation, NodeId};
use bytes::BytesMut;
use wire::peer::frame::{self, BODY_MAX, FrameError, HANDSHAKE_BODY_MAX, HEADER};
use wire::peer::{Frame, Handshake, Hello, Kind, LinkKind, Secret, Step};

/// The first byte says what the rest is.
pub fn body(data: &[u8]) -> bool {
    let mut choices = Choices::new(data);
    match choices.byte() % 4 {
        0 => frames(&mut choices),
        1 => handshake(&mut choices),
        2 => hello(choices.rest()),
        _ => message(choices.rest()),
    }
}

/// Frames that come in pieces are those that come at once.
fn frames(choices: &mut Choices<'_>) -> bool {
    let (seed, honest) = (choices.byte(), choices.byte() & 1 == 0);
    let body_max = if seed % 2 == 0 { BODY_MAX } else { HANDSHAKE_BODY_MAX };
    let mut input = choices.rest().to_vec();
    if honest {
        make_checksums_right(&mut input);
    }
    let whole = bounded(input.len(), || read_frames([&input[..]].into_iter(), body_max));
    let pieced = read_frames(pieces(&input, seed), body_max);
    assert_eq!(whole, pieced);
    for frame in &whole.0 {
        let mut out = BytesMut::new();
        frame::encode(frame.kind, &frame.body, &mut out);
        assert_eq!(frame::decode(&mut out, body_max), Ok(Some(frame.clone())));
        assert!(out.is_empty());
    }
    !whole.0.is_empty()
}

fn read_frames<'a>(
    pieces: impl Iterator<Item = &'a [u8]>,
    body_max: usize,
) -> (Vec<Frame>, Option<FrameError>) {
    let (mut input, mut frames) = (BytesMut::new(), Vec::new());
    for piece in pieces {
        input.extend_from_slice(piece);
        loop {
            match frame::decode(&mut input, body_max) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Some(error)),
            }
        }
        assert!(frame::missing(&input, body_max) <= body_max + HEADER);
    }
    (frames, None)
}

/// Makes the checksum of each frame right that is there whole.
fn make_checksums_right(input: &mut [u8]) {
    let mut at = 0;
    while let Some(length) = input.get(at..at + 4) {
        let length = u32::from_le_bytes(length.try_into().expect("four")) as usize;
        let Some(covered) = input.get(at + 8..at + 4 + length.max(5)) else { return };
        let crc = base::checksum::crc32c(covered);
        input[at + 4..at + 8].copy_from_slice(&crc.to_le_bytes());
        at += 4 + length.max(5);
    }
}

fn ours(node: u64) -> Hello {
    Hello {
        protocol: (1, 1),
        cluster: ClusterId(7),
        node: NodeId(node),
        incarnation: Incarnation(node),
        link: LinkKind::Normal,
        nonce: [node as u8; 32],
    }
}

/// Two sides shake hands, and somebody between them changes, repeats or makes up frames: a side is
/// convinced only by what the other side said.
fn handshake(choices: &mut Choices<'_>) -> bool {
    let secret = || Secret::new([9; 32]);
    let (mut to_listener, mut to_dialer) = (BytesMut::new(), BytesMut::new());
    let mut dialer = Handshake::dial(ours(1), secret(), NodeId(2), &mut to_listener);
    let mut listener = Handshake::listen(ours(2), secret());
    let (mut proven, mut meddled) = (false, false);
    for _ in 0..12 {
        let to_the_listener = choices.byte() & 1 == 0;
        let (side, input, out) = match to_the_listener {
            true => (&mut listener, &mut to_listener, &mut to_dialer),
            false => (&mut dialer, &mut to_dialer, &mut to_listener),
        };
        let Some(frame) = next_frame(choices, input, &mut meddled) else { continue };
        let bytes = frame.body.len();
        match bounded(bytes, || side.receive(frame, out)) {
            Ok(Step::Waiting) => {}
            Ok(Step::Proven(_)) => {
                assert!(!meddled, "convinced by what nobody said");
                side.admit(out);
                proven = true;
            }
            Err(refused) => {
                assert!(refused.text.len() <= 4 * HANDSHAKE_BODY_MAX);
                return bytes > 0;
            }
        }
    }
    proven
}

/// What comes next: the other side's frame, that frame with a byte changed, or one made up.
fn next_frame(
    choices: &mut Choices<'_>,
    input: &mut BytesMut,
    meddled: &mut bool,
) -> Option<Frame> {
    let what = choices.byte() % 4;
    if what == 3 {
        *meddled = true;
        let kinds = [Kind::Hello, Kind::Proof, Kind::Refuse, Kind::Message];
        let kind = kinds[usize::from(choices.byte() % 4)];
        return Some(Frame { kind, body: Bytes::copy_from_slice(choices.some()) });
    }
    let frame = frame::decode(input, HANDSHAKE_BODY_MAX).expect("a side sends frames")?;
    if what != 2 {
        return Some(frame);
    }
    let mut body = frame.body.to_vec();
    let (at, mask) = (usize::from(choices.byte()) % body.len().max(1), choices.byte());
    if let Some(byte) = body.get_mut(at) {
        *byte ^= mask;
        *meddled |= mask != 0;
    }
    Some(Frame { kind: frame.kind, body: body.into() })
}

fn hello(data: &[u8]) -> bool {
    let input = Bytes::copy_from_slice(data);
    let Ok(hello) = bounded(data.len(), || Hello::decode(input)) else { return false };
    assert_eq!(Hello::decode(hello.encode()).as_ref(), Ok(&hello));
    true
}

/// What was understood of a message is written and read again.
fn message(data: &[u8]) -> bool {
    let input = Bytes::copy_from_slice(data);
    let Ok(written) = bounded(data.len(), || node::rewrite_message(input.clone())) else {
        return matches!(data.first(), Some(1..=7)) && data.len() > 16;
    };
    let again = node::rewrite_message(written.clone()).expect("what was written can be read");
    assert_eq!(written, again);
    node::describe_message(input);
    true
}
