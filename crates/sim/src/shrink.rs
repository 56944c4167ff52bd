//! Makes a failing run small: what is left when everything is gone that the failure does without.
//!
//! A run that fails is full of things that have nothing to do with it. So things are left out, many
//! at a time and then fewer, and the run is repeated: if the same judge still says the same, they are
//! not needed ("delta debugging", Zeller and Hildebrandt, 2002). First what goes wrong, then clients,
//! then the requests of those who are left, then time and nodes.
//!
//! Whatever is left out changes the rest a little: messages meet otherwise. Where a failure needs
//! luck, a smaller script is tried with several draws of all that no script holds, before what was
//! left out counts as needed.

use crate::judge::Violation;
use crate::raft::profile::Deed;
use crate::script::{Kind, Script, What};
use base::time::{MILLISECOND, SECOND};

/// A smaller script that fails alike.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// The script; its comment says what fails, and how large it was.
    pub script: Script,
    /// How it fails.
    pub violation: Violation,
    /// Runs that it took.
    pub runs: u64,
}

/// How often a smaller script of whole nodes may try its luck, and one of Raft alone, which costs a
/// hundredth.
const LUCK: [u64; 2] = [4, 16];

/// Shrinks a script that fails with `violation`, as long as there is `time`.
pub fn shrink(
    script: &Script,
    violation: &Violation,
    watched: bool,
    time: &mut dyn FnMut() -> bool,
) -> Shrunk {
    let (kind, kept) = (violation.kind(), script.clone());
    let mut small = Smaller { kept, violation: violation.clone(), kind, watched, time, runs: 0 };
    // A first run writes down whom each fault hit, and nothing that lies behind the failure.
    small.accept(script);
    loop {
        let before = small.size();
        small.drop_deeds();
        small.drop_clients();
        small.drop_requests();
        small.end_early();
        small.drop_nodes();
        if small.size() == before || !(small.time)() {
            break;
        }
    }
    let Smaller { mut kept, violation, runs, .. } = small;
    kept.comment = comment(script, &kept, &violation);
    Shrunk { script: kept, violation, runs }
}

/// What a reader wants to know first.
fn comment(large: &Script, small: &Script, violation: &Violation) -> Vec<String> {
    let short = |line: &str| line.trim_end().chars().take(160).collect();
    let mut comment: Vec<String> = violation.what.lines().take(6).map(short).collect();
    let clients = match large.kind {
        Kind::Raft => String::new(),
        Kind::Nodes => format!(" and {} of {} clients", small.clients.len(), large.clients.len()),
    };
    let (left, all, judge) = (small.planned.len(), large.planned.len(), violation.judge);
    comment.push(format!("(found by: {judge}; left are {left} of {all} events{clients})"));
    comment
}

struct Smaller<'a> {
    kept: Script,
    violation: Violation,
    kind: String,
    watched: bool,
    time: &'a mut dyn FnMut() -> bool,
    runs: u64,
}

impl Smaller<'_> {
    fn size(&self) -> (usize, usize, u64, u64) {
        let limits = self.kept.clients.iter().map(|part| part.requests.unwrap_or(part.made)).sum();
        (self.kept.planned.len(), self.kept.clients.len(), limits, self.kept.nodes)
    }

    /// Whether a script fails alike, with some luck; then what happened in it is kept.
    fn accept(&mut self, script: &Script) -> bool {
        let luck = match script.kind {
            Kind::Nodes => LUCK[0],
            Kind::Raft => LUCK[1],
        };
        for attempt in 0..luck {
            if !(self.time)() {
                return false;
            }
            self.runs += 1;
            let luck = if attempt == 0 { script.luck } else { self.runs };
            let (violation, happened) = Script { luck, ..script.clone() }.run(self.watched, None);
            if let Some(violation) = violation.filter(|found| found.kind() == self.kind) {
                (self.kept, self.violation) = (happened, violation);
                return true;
            }
        }
        false
    }

    fn drop_deeds(&mut self) {
        let cut = |script: &mut Script, from, to| drop(script.planned.drain(from..to));
        self.thin(|script| script.planned.len(), cut);
    }

    fn drop_clients(&mut self) {
        let cut = |script: &mut Script, from, to| drop(script.clients.drain(from..to));
        self.thin(|script| script.clients.len(), cut);
    }

    /// Leaves out halves, quarters, and so on down to single items, until each is needed. A run may
    /// come back with fewer items than it was given, since what lies behind the failure is gone.
    fn thin(&mut self, len: fn(&Script) -> usize, cut: fn(&mut Script, usize, usize)) {
        let mut size = len(&self.kept).div_ceil(2);
        while size > 0 && (self.time)() {
            let (mut at, before) = (0, len(&self.kept));
            while at < len(&self.kept) {
                let mut fewer = self.kept.clone();
                cut(&mut fewer, at, (at + size).min(len(&self.kept)));
                if !self.accept(&fewer) {
                    at += size;
                }
            }
            let again = size == 1 && len(&self.kept) < before;
            size = if again { 1 } else { size / 2 };
        }
    }

    /// As few requests of each client as do.
    fn drop_requests(&mut self) {
        let clients: Vec<usize> = self.kept.clients.iter().map(|part| part.client).collect();
        for client in clients {
            let Some(part) = self.kept.part(client) else { continue };
            let most = part.requests.map_or(part.made, |requests| requests.min(part.made));
            for requests in (0..=6).rev().map(|halved| most >> halved).filter(|few| *few > 0) {
                if part_of(&mut self.kept, client).requests == Some(requests) {
                    break;
                }
                let mut fewer = self.kept.clone();
                part_of(&mut fewer, client).requests = Some(requests);
                if self.accept(&fewer) {
                    break;
                }
            }
        }
    }

    /// Peace soon after the last thing that happens.
    fn end_early(&mut self) {
        let last = self.kept.planned.last().map_or(0, |planned| planned.at);
        for pause in [20 * MILLISECOND, 100 * MILLISECOND, 500 * MILLISECOND, SECOND, 2 * SECOND] {
            let until = last + pause;
            if until >= self.kept.until || self.accept(&Script { until, ..self.kept.clone() }) {
                break;
            }
        }
    }

    /// A smaller cluster.
    fn drop_nodes(&mut self) {
        while self.kept.nodes > 3 {
            let nodes = self.kept.nodes - 1;
            let mut fewer = Script { nodes, ..self.kept.clone() };
            fewer.planned.retain(|planned| planned.whom.is_none_or(|whom| whom <= nodes));
            if !self.accept(&fewer) || self.kept.nodes > nodes {
                break;
            }
        }
    }
}

fn part_of(script: &mut Script, client: usize) -> &mut crate::script::Part {
    let mut parts = script.clients.iter_mut();
    parts.find(|part| part.client == client).expect("it has a part")
}

impl Script {
    /// Events other than what clients of Raft alone ask for.
    pub fn faults(&self) -> usize {
        let asked = |what: &What| matches!(what, What::Deed(Deed::Append | Deed::Read));
        self.planned.iter().filter(|planned| !asked(&planned.what)).count()
    }
}
