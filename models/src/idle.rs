//! Arrivals that change nothing.
//!
//! Messages may arrive again and again, so a state with thirty of them under way offers thirty
//! arrivals, and nearly all of them leave the receiver as it is. Whether one does depends on the
//! message, the receiver and its clock alone, so each is found out once. What such an arrival would
//! answer may still be news: it changes nothing only if all its answers are under way already, or mean nothing.

use crate::shared::{DigestMap, Shared};
use crate::turn::is_over;
use crate::world::{Packet, World};
use std::sync::Mutex;

const SHELVES: usize = 64;

type Answers = Box<[Shared<Packet>]>;

/// What is known of arrivals.
pub struct Idle {
    shelves: Vec<Mutex<DigestMap<Answers>>>,
}

impl Default for Idle {
    fn default() -> Idle {
        Idle { shelves: (0..SHELVES).map(|_| Mutex::default()).collect() }
    }
}

impl Idle {
    /// Whether it is known that the arrival of `packet` changes nothing.
    pub fn has(&self, world: &World, packet: &Shared<Packet>) -> bool {
        let key = key(world, packet);
        let shelf = self.shelves[key as usize % SHELVES].lock().expect("no panic inside");
        let known = |answer: &Shared<Packet>| {
            world.carries(answer) || is_over(answer, &world.nodes[answer.to() as usize - 1])
        };
        shelf.get(&key).is_some_and(|answers| answers.iter().all(known))
    }

    /// Notes that `packet` leaves its receiver as it is, and is answered by `answers`.
    pub fn note(&self, world: &World, packet: &Shared<Packet>, answers: Vec<Shared<Packet>>) {
        let key = key(world, packet);
        let mut shelf = self.shelves[key as usize % SHELVES].lock().expect("no panic inside");
        shelf.insert(key, answers.into());
    }
}

fn key(world: &World, packet: &Shared<Packet>) -> u64 {
    let at = packet.to() as usize - 1;
    let clock = world.clocks[at];
    let [packet, node] = [packet.digest(), world.nodes[at].digest()];
    let time = (clock.steps << 32 | clock.rate).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (packet.rotate_left(17) ^ node).wrapping_add(time)
}
