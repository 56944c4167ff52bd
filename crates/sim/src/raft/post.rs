//! What becomes of a message on its way: it may be lost, late, doubled, or come again long after.

use super::world::{Event, World};
use base::NodeId;
use base::time::MILLISECOND;
use protocols::clock::Reading;
use protocols::liveness;
use protocols::raft::Body;

impl World<'_> {
    pub(super) fn send_liveness(&mut self, from: NodeId, effects: Vec<liveness::Effect>) {
        for liveness::Effect::Send { to, message } in effects {
            self.send(from, to, Event::Liveness { from, message });
        }
    }

    pub(super) fn send(&mut self, from: NodeId, to: NodeId, event: Event) {
        if self.blocked.contains(&(from, to)) {
            return;
        }
        let loss = self.profile.loss;
        let copies = match self.random.below(100) {
            n if self.healed || n >= loss + 3 => 1,
            n if n >= loss => 2,
            _ => 0,
        };
        if copies > 0 && self.is_muffled(&event) {
            return;
        }
        for _ in 0..copies {
            let tails = self.profile.tails;
            let delay = match self.random.below(40) {
                n if !self.healed && n < tails => self.random.below(self.profile.tail_ns),
                _ => self.random.between(MILLISECOND / 10, MILLISECOND),
            };
            self.at(self.t + delay, to, event.clone());
        }
        self.repeat(to, event);
    }

    fn is_muffled(&mut self, event: &Event) -> bool {
        let muffled = self.profile.moods.muffled;
        let hit = muffled > 0 && !self.healed && matches!(event, Event::Raft { .. });
        hit && self.random.chance(muffled, 100)
    }

    /// The message comes again when nobody thinks of it any more.
    pub(super) fn repeat(&mut self, to: NodeId, mut event: Event) {
        let (repeats, repeat_ns) = (self.profile.moods.repeats, self.profile.moods.repeat_ns);
        if repeats > 0 && !self.healed && self.random.chance(repeats, 100) {
            let mut delay = self.random.below(repeat_ns);
            if let (true, Event::Raft { message, .. }) = (self.profile.moods.timeless, &mut event) {
                message.time = Reading::default();
            }
            if let Event::Raft { message, .. } = &event
                && !matches!(message.body, Body::Append { .. })
            {
                for _ in 1..self.profile.moods.echoes {
                    self.at(self.t + delay, to, event.clone());
                    delay = self.random.below(repeat_ns);
                }
            }
            self.at(self.t + delay, to, event);
        }
    }
}
