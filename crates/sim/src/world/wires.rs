//! Connections of clients as TCP may have them: bytes come in pieces, and a connection ends after any
//! byte of either direction.
//!
//! What one side wrote at once the other reads in several pieces, cut anywhere, with pauses between
//! them. And a connection may end within what is on its way: the bytes before the place arrive, none
//! behind it do, and both sides learn of the end, the node by a close, the client a moment later by a
//! hangup. So a node sees halves of requests, halves of pipelines and halves of transactions, and a
//! client halves of answers; what it was not answered is open for the checkers.
//!
//! All of it is drawn from a generator of its own. Only a script with the line `wires` has it; older
//! ones go on to be the runs that they were.

use super::{Event, World};
use base::time::MILLISECOND;
use base::{Bytes, ConnId, Random};

/// How rough the wires of a world are.
#[derive(Clone, Copy, Debug)]
pub struct Wires {
    /// One write in so many comes in pieces.
    pieces_one_in: u64,
    /// One in so many is the last of its connection, and comes in part.
    breaks_one_in: u64,
    /// Longest pause between two pieces.
    gap_ns_max: u64,
}

/// Most cuts in one write.
const CUTS_MAX: u64 = 4;
/// A client learns of the end of its connection within this time.
const NOTICE_NS_MAX: u64 = 30 * MILLISECOND;

impl Wires {
    /// What a seed makes of it; half of the worlds have smooth wires.
    pub fn draw(random: &mut Random) -> Option<Wires> {
        let rough = random.chance(1, 2);
        let wires = Wires {
            pieces_one_in: random.between(1, 12),
            breaks_one_in: 4 << random.below(6),
            gap_ns_max: MILLISECOND << random.below(6),
        };
        rough.then_some(wires)
    }

    /// Rough ones.
    pub fn rough() -> Wires {
        Wires { pieces_one_in: 2, breaks_one_in: 12, gap_ns_max: 4 * MILLISECOND }
    }
}

/// What becomes of one write.
struct Fate {
    /// Its pieces, each with the pause before it.
    pieces: Vec<(u64, Bytes)>,
    /// After so many bytes the connection ends, and this long after the last piece the client knows.
    broken: Option<(usize, u64)>,
}

impl World<'_> {
    fn fate(&mut self, mut bytes: Bytes) -> Fate {
        let Some(wires) = self.wires else {
            return Fate { pieces: vec![(0, bytes)], broken: None };
        };
        let random = &mut self.random.wires;
        let breaks = random.chance(1, wires.breaks_one_in) && !self.peace;
        let broken = breaks.then(|| {
            let kept = random.below(bytes.len() as u64) as usize;
            bytes.truncate(kept);
            (kept, random.below(NOTICE_NS_MAX) + 1)
        });
        let mut pieces = Vec::new();
        if random.chance(1, wires.pieces_one_in) {
            for _ in 0..random.between(1, CUTS_MAX) {
                if bytes.len() > 1 {
                    let piece = bytes.split_to(random.between(1, bytes.len() as u64 - 1) as usize);
                    pieces.push((random.below(wires.gap_ns_max) + 1, piece));
                }
            }
        }
        pieces.push((random.below(wires.gap_ns_max) + 1, bytes));
        pieces.retain(|(_, bytes)| !bytes.is_empty());
        if let Some((pause, _)) = pieces.first_mut() {
            *pause = 0;
        }
        Fate { pieces, broken }
    }

    /// A client's requests go to its node, from `at` on.
    pub(super) fn carry_to_host(&mut self, conn: ConnId, mut at: u64, frames: &[Bytes]) {
        let all = Bytes::from(frames.concat());
        let Fate { pieces, broken } = self.fate(all.clone());
        for (pause, bytes) in pieces {
            at += pause;
            self.at(at, Event::ToHost { conn, bytes });
        }
        let socket = self.sockets.of(conn).expect("a connection that is held");
        socket.to_host_at = at;
        if let Some((kept, notice)) = broken {
            let ends = frames.iter().scan(0, |end, frame| {
                *end += frame.len();
                Some(*end)
            });
            let whole = ends.take_while(|end| *end <= kept).last().unwrap_or(0);
            socket.half_request = all.slice(whole..kept);
            self.at(at + notice, Event::Hangup { conn });
        }
    }

    /// What a node's gateway wrote goes to its client, from `at` on.
    pub(super) fn carry_to_client(&mut self, conn: ConnId, mut at: u64, bytes: Bytes) {
        let Fate { pieces, broken } = self.fate(bytes);
        for (pause, bytes) in pieces {
            at += pause;
            self.at(at, Event::ToClient { conn, bytes });
        }
        let socket = self.sockets.of(conn).expect("a connection that is held");
        socket.to_client_at = at;
        if let Some((_, notice)) = broken {
            socket.broken = true;
            self.at(at + notice, Event::Hangup { conn });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_worlds_have_rough_wires() {
        let mut random = Random::new(1);
        let rough = (0..1000).filter(|_| Wires::draw(&mut random).is_some()).count();
        assert!((400..600).contains(&rough), "{rough}");
    }
}
