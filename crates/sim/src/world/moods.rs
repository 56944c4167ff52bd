//! What moods do to a world of whole nodes while it runs; see `crate::moods`.

use super::hosts::End;
use super::{Event, World};
use crate::marks::Mark;
use base::time::MILLISECOND;
use node::KV;

impl World<'_> {
    /// Somebody was elected just now. Half of those who are cornered are so at once: their first
    /// messages are on the way, and arrive when nobody waits for them any more.
    pub(super) fn doom(&mut self, host: usize) {
        let (cornered, within) = (self.profile.moods.cornered, self.profile.moods.cornered_ns);
        let random = &mut self.random.moods;
        if cornered > 0 && !self.peace && random.chance(cornered, 100) {
            let pause = if random.chance(1, 2) { 0 } else { random.below(within) };
            self.after(pause, Event::Corner { host });
        }
    }

    /// Whoever leads is left with one other node, or nobody, or nothing reaches it; or it dies.
    pub(super) fn corner(&mut self, host: usize) {
        if self.peace || self.watch.leader_of(KV) != Some(host) {
            return;
        }
        // Whoever led before has most to lose.
        let former = self.watch.leader_before(KV);
        let random = &mut self.random.moods;
        let (how, any) = (random.below(6), random.below(self.hosts.len() as u64) as usize);
        let friend = former.filter(|_| random.chance(1, 2)).unwrap_or(any);
        let pause = random.between(10 * MILLISECOND, self.profile.moods.corner_ns_max);
        let others = (0..self.hosts.len()).filter(|other| *other != host);
        let both = |other: usize| [(host, other), (other, host)];
        let (cut, mark, how): (Vec<(usize, usize)>, _, _) = match how {
            0 => return self.end(host, End::Killed, Some(pause)),
            1 => (others.flat_map(both).collect(), Mark::Isolated, "isolated"),
            2 => (others.map(|other| (other, host)).collect(), Mark::Deafened, "deaf is"),
            _ => {
                let rest = others.filter(|other| *other != friend);
                (rest.flat_map(both).collect(), Mark::Cornered, "left with one other is")
            }
        };
        self.hit(mark);
        self.say(format!("{how} n{} for {} ms", host + 1, pause / MILLISECOND));
        self.cut_for(cut, pause);
    }
}
