//! Bytes on their way to a peer: what a turn sends is gathered here and goes out in one write.
//!
//! Small messages are copied one behind the other; a large one is kept as it is between them, so
//! that a snapshot's chunk is never copied. The queue is bounded in bytes: a peer that does not read
//! fast enough loses its link, and the protocols above make up for what was lost.

use base::Bytes;
use bytes::{Buf, BytesMut};
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use wire::peer::{Kind, frame};

/// Bodies of this size and more are not copied.
const KEEP_MIN: usize = 16 << 10;
/// Pieces given to one write.
const PIECES_MAX: usize = 64;

/// The queue of one link.
#[derive(Debug)]
pub(crate) struct SendQueue {
    pieces: VecDeque<Bytes>,
    tail: BytesMut,
    /// Bytes in `pieces` and `tail` together.
    bytes: usize,
    bytes_max: usize,
}

impl SendQueue {
    pub(crate) fn new(bytes_max: usize) -> SendQueue {
        SendQueue { pieces: VecDeque::new(), tail: BytesMut::new(), bytes: 0, bytes_max }
    }

    /// Appends a message. False, and nothing appended, if the queue is too full for it.
    #[must_use]
    pub(crate) fn message(&mut self, body: Bytes) -> bool {
        let more = frame::HEADER + body.len();
        if self.bytes + more > self.bytes_max {
            return false;
        }
        self.bytes += more;
        if body.len() < KEEP_MIN {
            frame::encode(Kind::Message, &body, &mut self.tail);
        } else {
            self.tail.extend_from_slice(&frame::header(Kind::Message, &body));
            self.close_tail();
            self.pieces.push_back(body);
        }
        true
    }

    /// Writes as much as `write` takes. True if everything is out.
    pub(crate) fn write(
        &mut self,
        mut write: impl FnMut(&[IoSlice<'_>]) -> io::Result<usize>,
    ) -> io::Result<bool> {
        self.close_tail();
        while !self.pieces.is_empty() {
            let written = {
                let mut slices = [IoSlice::new(&[]); PIECES_MAX];
                let pieces = self.pieces.len().min(PIECES_MAX);
                for (slice, piece) in slices.iter_mut().zip(&self.pieces) {
                    *slice = IoSlice::new(piece);
                }
                match write(&slices[..pieces]) {
                    Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                    Ok(written) => written,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                    Err(error) => return Err(error),
                }
            };
            self.advance(written);
        }
        Ok(true)
    }

    /// Forgets everything: the link is gone.
    pub(crate) fn clear(&mut self) {
        self.pieces.clear();
        self.tail.clear();
        self.bytes = 0;
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    fn close_tail(&mut self) {
        if !self.tail.is_empty() {
            self.pieces.push_back(self.tail.split().freeze());
        }
    }

    fn advance(&mut self, mut written: usize) {
        self.bytes -= written;
        while written > 0 {
            let first = self.pieces.front_mut().expect("no more was written than was there");
            if first.len() > written {
                first.advance(written);
                return;
            }
            written -= first.len();
            self.pieces.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::Random;

    #[test]
    fn messages_come_out_in_order_however_little_is_taken() {
        let mut random = Random::new(1);
        let mut queue = SendQueue::new(1 << 20);
        let bodies: Vec<Bytes> = (0..40)
            .map(|_| Bytes::from(vec![random.u64() as u8; random.below(40_000) as usize]))
            .collect();
        let mut out = BytesMut::new();
        for body in &bodies {
            while !queue.message(body.clone()) {
                assert!(!queue.write(|slices| some(slices, &mut out, &mut random)).unwrap());
            }
        }
        while !queue.write(|slices| some(slices, &mut out, &mut random)).unwrap() {}
        assert_eq!(queue.bytes(), 0);
        for body in bodies {
            let frame = frame::decode(&mut out, frame::BODY_MAX).unwrap().unwrap();
            assert!(frame.body == body);
        }
        assert!(out.is_empty());
    }

    fn some(slices: &[IoSlice], out: &mut BytesMut, random: &mut Random) -> io::Result<usize> {
        if random.chance(1, 2) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let bytes = slices.iter().map(|slice| &**slice).collect::<Vec<&[u8]>>().concat();
        let taken = random.between(1, bytes.len() as u64) as usize;
        out.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    #[test]
    fn a_full_queue_takes_nothing_more() {
        let mut queue = SendQueue::new(100);
        assert!(queue.message(Bytes::from_static(&[0; 91])));
        assert!(!queue.message(Bytes::new()));
        queue.clear();
        assert!(queue.message(Bytes::new()));
    }
}
