//! What happened, told from two looks at the cluster.

use node::api::Status;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Who leads a shard, as far as anyone in this process says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lead {
    /// The leader's node.
    pub node: u64,
    /// Its term.
    pub term: u64,
}

/// Watches the shards' leaders and says what changed.
#[derive(Debug, Default)]
pub struct Watch {
    leads: BTreeMap<&'static str, Lead>,
    /// Since when a shard has no leader.
    lost: BTreeMap<&'static str, Instant>,
}

impl Watch {
    /// The leader of a kind of shard.
    pub fn leader(&self, kind: &str) -> Option<Lead> {
        self.leads.get(kind).copied()
    }

    /// A node was killed at `now`: the shards it led have no leader. Returns their kinds.
    pub fn killed(&mut self, now: Instant, node: u64) -> Vec<&'static str> {
        let led: Vec<_> = self
            .leads
            .iter()
            .filter(|(_, lead)| lead.node == node)
            .map(|(kind, _)| *kind)
            .collect();
        for kind in &led {
            self.leads.remove(kind);
            self.lost.insert(kind, now);
        }
        led
    }

    /// A look at the running nodes: a line for each change.
    pub fn look(&mut self, now: Instant, statuses: &[Status]) -> Vec<String> {
        let mut lines = Vec::new();
        for (kind, lead) in leads(statuses) {
            if self.leads.get(kind) == Some(&lead) {
                continue;
            }
            let after = self.lost.remove(kind).map(|since| now - since);
            self.leads.insert(kind, lead);
            lines.push(elected(kind, lead, after));
        }
        lines
    }
}

fn elected(kind: &str, lead: Lead, after: Option<Duration>) -> String {
    let after = after.map(|took| format!(", after {} ms", took.as_millis())).unwrap_or_default();
    format!("n{} leads {kind}, term {}{after}", lead.node, lead.term)
}

/// Per kind of shard the replica that says it leads, in the highest term.
fn leads(statuses: &[Status]) -> BTreeMap<&'static str, Lead> {
    let mut leads: BTreeMap<&'static str, Lead> = BTreeMap::new();
    for status in statuses {
        for shard in status.shards.iter().filter(|shard| shard.role == "leader") {
            let lead = Lead { node: status.node.0, term: shard.term.0 };
            let known = leads.entry(shard.kind).or_insert(lead);
            if known.term < lead.term {
                *known = lead;
            }
        }
    }
    leads
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::{NodeId, Term};
    use node::api::ShardStatus;

    fn leading(node: u64, term: u64) -> Status {
        let shard =
            ShardStatus { kind: "kv", role: "leader", term: Term(term), ..ShardStatus::default() };
        Status { node: NodeId(node), shards: vec![shard], ..Status::default() }
    }

    #[test]
    fn an_election_after_a_kill_is_told_with_how_long_it_took() {
        let mut watch = Watch::default();
        let start = Instant::now();
        assert_eq!(watch.look(start, &[leading(2, 1)]), ["n2 leads kv, term 1"]);
        assert_eq!(watch.look(start, &[leading(2, 1)]), [""; 0]);
        assert_eq!(watch.killed(start, 2), ["kv"]);
        assert_eq!(watch.leader("kv"), None);
        let later = start + Duration::from_millis(287);
        assert_eq!(watch.look(later, &[leading(1, 2)]), ["n1 leads kv, term 2, after 287 ms"]);
        assert_eq!(watch.killed(later, 2), [""; 0], "it led nothing any more");
    }

    #[test]
    fn of_two_that_say_they_lead_the_later_term_counts() {
        let mut watch = Watch::default();
        watch.look(Instant::now(), &[leading(1, 3), leading(2, 2)]);
        assert_eq!(watch.leader("kv"), Some(Lead { node: 1, term: 3 }));
    }
}
