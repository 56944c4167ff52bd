//! What is done to a world, one deed after the other: drawn on the way, or read from a script.
//!
//! Each deed draws its own details from a number that stands in the script, so that a deed can be
//! left out without changing what the others are.

use super::profile::Deed;
use super::world::World;
use crate::script::{Kind, Planned, Script, What};
use base::time::SECOND;
use base::{NodeId, Random};

impl World<'_> {
    /// Does what comes to mind, for so long; then all must come right.
    pub(super) fn improvise(&mut self, seconds: Option<u64>) {
        let drawn = self.plans.between(1, 8);
        let until = seconds.unwrap_or(drawn) * SECOND;
        while self.t < until && !self.is_over() {
            let pause = self.plans.below(self.profile.deed_ns_max);
            self.run_until(self.t + pause / 1000 * 1000);
            let deed = self.profile.deed(&mut self.plans);
            let whom = self.aim(deed);
            let draw = self.plans.u64();
            let whom = whom.map(|node| node.0);
            let (what, words) = (What::Deed(deed), String::new());
            self.carry(Planned { at: self.t, what, whom, draw, words });
        }
        self.faults_end = self.t;
        self.check_progress();
    }

    /// Does what a script says; then all must come right.
    pub(super) fn replay(&mut self, script: &Script) {
        for planned in &script.planned {
            if self.is_over() {
                break;
            }
            self.run_until(planned.at);
            self.telling = Some(String::new());
            self.carry(planned.clone());
            let words = self.telling.take().unwrap_or_default();
            self.planned.last_mut().expect("just carried out").words = words;
        }
        if script.until > self.t {
            self.run_until(script.until);
        }
        self.faults_end = script.until.min(self.t);
        self.check_progress();
    }

    /// Carries out one line.
    fn carry(&mut self, planned: Planned) {
        let Planned { what: What::Deed(deed), whom, draw, .. } = planned else { return };
        self.planned.push(planned);
        if whom.is_some_and(|whom| whom > self.profile.nodes) {
            return;
        }
        let others = std::mem::replace(&mut self.random, Random::new(draw));
        self.meddle(deed, whom.map(NodeId));
        self.random = others;
    }

    /// Whom a deed hits: whoever leads, if it is for a leader, and more often than others if not.
    fn aim(&mut self, deed: Deed) -> Option<NodeId> {
        let leaders = self.leaders();
        let leader = self.plans.pick(&leaders).map(|(node, _)| *node);
        match deed {
            Deed::CrashAll | Deed::Mend => None,
            Deed::Transfer | Deed::Change | Deed::Read | Deed::Append => leader,
            Deed::Cut => leader.filter(|_| self.plans.chance(1, 3)),
            Deed::Crash | Deed::Pause | Deed::Compact => {
                let any = NodeId(self.plans.between(1, self.profile.nodes));
                Some(leader.filter(|_| self.plans.chance(1, 3)).unwrap_or(any))
            }
        }
    }

    /// The run so far, as it can be run again.
    pub(super) fn script(&mut self) -> Script {
        // A panic leaves no end behind; it lies a little later than what was last seen.
        let until = if self.faults_end > 0 { self.faults_end } else { (self.t / 1000 + 1) * 1000 };
        Script {
            luck: self.luck,
            mutant: self.mutant,
            until,
            planned: std::mem::take(&mut self.planned),
            ..Script::empty(Kind::Raft, self.seed, self.profile.nodes)
        }
    }
}
