//! Frames: a length, a checksum, a kind and a body.
//!
//! ```text
//! 0        4        8    9
//! | length | crc32c | kind | body …            |     little-endian
//!          \________________ length __________/
//!                   \_______ covered by crc __/
//! ```
//!
//! The checksum catches what TCP's sixteen bits let through; it is not a proof of origin. A frame
//! that fails it means that the bytes can't be trusted from there on, so the connection ends.

use base::checksum::{crc32c, crc32c_append};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use std::fmt;

/// Bytes of a body after the handshake: the largest entry (8 MiB) with room for what surrounds it.
pub const BODY_MAX: usize = (8 << 20) + (64 << 10);
/// Bytes of a body during the handshake, when the sender has proved nothing yet.
pub const HANDSHAKE_BODY_MAX: usize = 1024;
/// Bytes before a body.
pub const HEADER: usize = 9;

/// Bodies up to this size are copied out of the receive buffer; larger ones share its memory. A
/// small message that is kept for long would otherwise keep a whole buffer alive.
const COPY_MAX: usize = 4096;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Who a side is.
    Hello,
    /// That it knows the cluster's secret.
    Proof,
    /// The connection is refused; the body is a text for the operator.
    Refuse,
    /// A message of the node.
    Message,
}

impl Kind {
    fn to_u8(self) -> u8 {
        match self {
            Kind::Hello => 1,
            Kind::Proof => 2,
            Kind::Refuse => 3,
            Kind::Message => 16,
        }
    }

    fn from_u8(value: u8) -> Option<Kind> {
        match value {
            1 => Some(Kind::Hello),
            2 => Some(Kind::Proof),
            3 => Some(Kind::Refuse),
            16 => Some(Kind::Message),
            _ => None,
        }
    }
}

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What it is.
    pub kind: Kind,
    /// What it carries.
    pub body: Bytes,
}

/// Why a connection's bytes can't be understood any further.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// A length that no frame has here.
    Length {
        /// The length seen, without the four bytes of the field itself.
        seen: u64,
        /// The largest one allowed.
        allowed: u64,
    },
    /// The bytes are not the ones that were sent.
    Checksum {
        /// What the frame says.
        expected: u32,
        /// What its bytes give.
        seen: u32,
    },
    /// A kind that this version does not know.
    Kind(u8),
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FrameError::Length { seen, allowed } => {
                write!(f, "frame of {seen} bytes where 5 to {allowed} are allowed")
            }
            FrameError::Checksum { expected, seen } => {
                write!(f, "frame checksum {seen:08x}, expected {expected:08x}")
            }
            FrameError::Kind(seen) => write!(f, "frame of unknown kind {seen}"),
        }
    }
}

impl std::error::Error for FrameError {}

/// Appends a whole frame to `out`.
///
/// # Panics
///
/// If the body is longer than [`BODY_MAX`]: whoever made the message had to bound it.
pub fn encode(kind: Kind, body: &[u8], out: &mut BytesMut) {
    out.reserve(HEADER + body.len());
    out.put_slice(&header(kind, body));
    out.put_slice(body);
}

/// The bytes that go before `body`, for a sender that does not want to copy a large one.
pub fn header(kind: Kind, body: &[u8]) -> [u8; HEADER] {
    assert!(body.len() <= BODY_MAX, "a frame body of {} bytes, {BODY_MAX} allowed", body.len());
    let kind = kind.to_u8();
    let crc = crc32c_append(crc32c(&[kind]), body);
    let mut header = [0; HEADER];
    header[..4].copy_from_slice(&(body.len() as u32 + 5).to_le_bytes());
    header[4..8].copy_from_slice(&crc.to_le_bytes());
    header[8] = kind;
    header
}

/// Takes the next whole frame off the front of `input`, if it is there. `body_max` is what the
/// sender may use at this point of the conversation.
pub fn decode(input: &mut BytesMut, body_max: usize) -> Result<Option<Frame>, FrameError> {
    let Some(length) = length(input, body_max)? else { return Ok(None) };
    if input.len() < 4 + length {
        return Ok(None);
    }
    let expected = u32::from_le_bytes(*input[4..].first_chunk().expect("length is 5 or more"));
    let seen = crc32c(&input[8..4 + length]);
    if seen != expected {
        return Err(FrameError::Checksum { expected, seen });
    }
    let kind = Kind::from_u8(input[8]).ok_or(FrameError::Kind(input[8]))?;
    let body = match length - 5 {
        small if small <= COPY_MAX => {
            let body = Bytes::copy_from_slice(&input[HEADER..4 + length]);
            input.advance(4 + length);
            body
        }
        large => {
            input.advance(HEADER);
            input.split_to(large).freeze()
        }
    };
    Ok(Some(Frame { kind, body }))
}

/// How many bytes are missing from the frame at the front of `input`: a receiver may make that much
/// room (in steps of its own choice). Zero if nothing can be told yet.
pub fn missing(input: &[u8], body_max: usize) -> usize {
    match length(input, body_max) {
        Ok(Some(length)) => (4 + length).saturating_sub(input.len()),
        Ok(None) | Err(_) => 0,
    }
}

fn length(input: &[u8], body_max: usize) -> Result<Option<usize>, FrameError> {
    let Some(length) = input.first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_le_bytes(*length) as usize;
    if !(5..=body_max + 5).contains(&length) {
        return Err(FrameError::Length { seen: length as u64, allowed: body_max as u64 + 5 });
    }
    Ok(Some(length))
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::Random;

    fn encoded(kind: Kind, body: &[u8]) -> BytesMut {
        let mut out = BytesMut::new();
        encode(kind, body, &mut out);
        out
    }

    #[test]
    fn these_bytes_are_what_older_and_newer_versions_speak() {
        let golden = [
            (Kind::Hello, "08000000b27d0dc301616263"),
            (Kind::Proof, "080000008bf42fa102616263"),
            (Kind::Refuse, "08000000335e6a7c03616263"),
            (Kind::Message, "0800000037662cf710616263"),
        ];
        for (kind, expected) in golden {
            let hex: String = encoded(kind, b"abc").iter().map(|b| format!("{b:02x}")).collect();
            assert_eq!(hex, expected, "{kind:?}");
        }
    }

    #[test]
    fn frames_come_out_whole_however_their_bytes_arrive() {
        let mut sent = BytesMut::new();
        let bodies = [&b""[..], b"x", &[7; COPY_MAX], &[8; COPY_MAX + 1], &[9; 100_000]];
        for body in bodies {
            encode(Kind::Message, body, &mut sent);
        }
        let mut random = Random::new(3);
        for _ in 0..50 {
            let (mut left, mut input, mut got) = (sent.clone(), BytesMut::new(), Vec::new());
            while !left.is_empty() {
                let some = random.between(1, 30_000).min(left.len() as u64) as usize;
                input.extend_from_slice(&left.split_to(some));
                while let Some(frame) = decode(&mut input, BODY_MAX).unwrap() {
                    got.push(frame.body);
                }
            }
            assert_eq!(got, bodies);
            assert!(input.is_empty());
        }
    }

    #[test]
    fn a_hostile_length_is_refused_at_once_and_makes_no_room() {
        let mut input = BytesMut::from(&[0xff, 0xff, 0xff, 0xff][..]);
        let room = input.capacity();
        let error = decode(&mut input, HANDSHAKE_BODY_MAX).unwrap_err();
        assert_eq!(error, FrameError::Length { seen: 0xffff_ffff, allowed: 1029 });
        assert_eq!(input.capacity(), room);
        assert_eq!(missing(&input, HANDSHAKE_BODY_MAX), 0);

        let mut input = BytesMut::from(&[4, 0, 0, 0][..]);
        assert!(decode(&mut input, BODY_MAX).is_err(), "too short for a checksum and a kind");
    }

    #[test]
    fn a_message_is_too_large_for_a_handshake() {
        let mut input = encoded(Kind::Hello, &[0; HANDSHAKE_BODY_MAX + 1]);
        assert!(decode(&mut input.clone(), HANDSHAKE_BODY_MAX).is_err());
        assert!(decode(&mut input, BODY_MAX).unwrap().is_some());
    }

    #[test]
    fn any_flipped_bit_is_noticed() {
        let frame = encoded(Kind::Message, b"some body");
        for bit in 0..frame.len() * 8 {
            let mut bad = frame.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            // A flip in the length may also just ask for more bytes.
            match decode(&mut bad, BODY_MAX) {
                Ok(None) => assert!(bit < 32),
                Ok(Some(frame)) => panic!("bit {bit} went unnoticed: {frame:?}"),
                Err(_) => {}
            }
        }
    }

    #[test]
    fn random_bytes_never_make_a_frame() {
        let mut random = Random::new(11);
        for _ in 0..20_000 {
            let bytes = random.below(64) as usize;
            let mut input: BytesMut = (0..bytes).map(|_| random.u64() as u8).collect();
            if bytes >= 4 {
                input[1..4].fill(0); // Lengths that are possible, so that the checksum is reached.
            }
            assert!(!matches!(decode(&mut input, BODY_MAX), Ok(Some(_))));
        }
    }
}
