//! What a turn's time went to, so that a turn that took long can be explained.
//!
//! Looking at the thread's processor time is a system call of a fraction of a microsecond, and a turn
//! looks a handful of times. What came of it is kept for the turn under way only: a long one is told
//! of in the log, with its parts and what the node did in it, and then forgotten.
//!
//! ```text
//! a turn took long ms=7 cpu_ms=6 parts="sockets 812 us, peers 1003 us, node 3120 us, answers 1402 us"
//!     did="messages 3, requests 512, entries 2, applied 517, answers 511" times=1
//! ```

use super::seldom::Seldom;
use crate::clock::thread_cpu;
use base::NodeId;
use node::Work;
use std::fmt;
use std::time::Duration;

/// A turn that takes longer than this of the processor's time is told of.
const CPU_LONG: Duration = Duration::from_millis(5);
/// The same by the wall's clock, which counts what other processes do. Worse: it is a warning.
const WALL_LONG: Duration = Duration::from_millis(100);
/// How often, at most.
const REPEAT_AFTER: Duration = Duration::from_secs(1);

/// A part of a turn, in the order in which they come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// What sockets brought and took since the last turn.
    Sockets,
    /// Inputs of this node's own threads and links.
    Own,
    /// Messages of other nodes.
    Peers,
    /// Requests of clients, put in line.
    Clients,
    /// The node's turn.
    Node,
    /// Its effects, with answers put into words.
    Effects,
    /// Writes to other nodes.
    Links,
    /// Writes to clients.
    Answers,
}

const PARTS: [(Part, &str); 8] = [
    (Part::Sockets, "sockets"),
    (Part::Own, "own"),
    (Part::Peers, "peers"),
    (Part::Clients, "clients"),
    (Part::Node, "node"),
    (Part::Effects, "effects"),
    (Part::Links, "links"),
    (Part::Answers, "answers"),
];

/// The turn under way.
#[derive(Debug)]
pub(super) struct Tally {
    parts: Parts,
    /// The thread's processor time when the last part was over.
    seen: Duration,
    seldom: Seldom,
}

/// The processor's time by part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Parts([Duration; PARTS.len()]);

impl Default for Tally {
    fn default() -> Tally {
        Tally { parts: Parts::default(), seen: thread_cpu(), seldom: Seldom::every(REPEAT_AFTER) }
    }
}

impl Tally {
    /// What the thread did so far was no turn.
    pub fn start(&mut self) {
        self.seen = thread_cpu();
    }

    /// A part is over: the time since the last one was its.
    pub fn over(&mut self, part: Part) {
        let now = thread_cpu();
        self.parts.0[part as usize] += now.saturating_sub(self.seen);
        self.seen = now;
    }

    /// The turn is over. Returns the processor's time that it took, with what sockets had of it.
    pub fn turn_over(&mut self, node: NodeId, wall: Duration, work: Work) -> Duration {
        let parts = std::mem::take(&mut self.parts);
        let cpu = parts.0.iter().sum();
        if cpu > CPU_LONG || wall > WALL_LONG {
            self.tell(node, wall, cpu, parts, work);
        }
        cpu
    }

    fn tell(&mut self, node: NodeId, wall: Duration, cpu: Duration, parts: Parts, work: Work) {
        let Some(times) = self.seldom.due() else { return };
        let (ms, cpu_ms) = (wall.as_millis() as u64, cpu.as_millis() as u64);
        if wall > WALL_LONG {
            tracing::warn!(%node, ms, cpu_ms, %parts, did = %work, times, "a turn took long");
        } else {
            tracing::info!(%node, ms, cpu_ms, %parts, did = %work, times, "a turn took long");
        }
    }
}

impl fmt::Display for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut between = "";
        for (part, name) in PARTS {
            let us = self.0[part as usize].as_micros();
            if us > 0 {
                write!(f, "{between}{name} {us} us")?;
                between = ", ";
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_told_in_their_order() {
        let mut parts = Parts::default();
        parts.0[Part::Node as usize] = Duration::from_micros(3_120);
        parts.0[Part::Sockets as usize] = Duration::from_micros(812);
        assert_eq!(parts.to_string(), "sockets 812 us, node 3120 us");
        for (at, (part, _)) in PARTS.into_iter().enumerate() {
            assert_eq!(part as usize, at);
        }
    }

    #[test]
    fn a_turn_is_the_sum_of_its_parts_and_leaves_nothing_behind() {
        let mut tally = Tally::default();
        let spin = std::time::Instant::now();
        while spin.elapsed() < Duration::from_millis(2) {}
        tally.over(Part::Sockets);
        tally.over(Part::Node);
        let cpu = tally.turn_over(NodeId(1), Duration::ZERO, Work::default());
        assert!(cpu > Duration::ZERO);
        assert_eq!(tally.turn_over(NodeId(1), Duration::ZERO, Work::default()), Duration::ZERO);
    }
}
