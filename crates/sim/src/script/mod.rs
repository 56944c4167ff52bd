//! A run, written down: what goes wrong when, who works, and for how long.
//!
//! A seed decides everything, but it can't be made smaller: take one draw away and all that follow
//! are others. So whatever goes wrong is drawn from a generator of its own and put into a list, with
//! the moment, whom it hits, and a number from which the rest of it is drawn (how long, which half).
//! The list can be written down, read by a person, thinned out, and run again: with all of its lines
//! it is the same run down to the hash, with fewer it is another run of the same world, in which the
//! remaining things happen to the same nodes at the same moments.
//!
//! ```text
//! # Two clients read what a third one has overwritten.
//! world nodes
//! seed 17
//! nodes 5
//! until 4.500000s
//! client 0 register from 0.412000s requests 12
//! client 1 register from 0.102345s
//! at 3.201000s isolate n2 with 8f3a66d10e2b9c47    # isolated n2 for 300 ms
//! ```
//!
//! What a script does not hold is drawn from its seed as ever: how long messages take, what is left
//! of a torn sector, what clients ask for. A client that is not named is not there; one with
//! `requests` stops after so many. A line `luck 3` draws the same options of the world from the seed,
//! and everything else from elsewhere. Without a line `wires` clients' connections only end between
//! requests, and no byte of them waits for another. In the world of Raft alone clients are nobody, and what they do is
//! in the list as well.
//!
//! `crate::shrink` thins scripts out, `text` reads and writes them.

mod text;

use crate::judge::Violation;
use crate::mutant::Mutant;
use crate::profile::Fault;
use crate::raft::profile::Deed;

/// Which world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Raft alone.
    Raft,
    /// Whole nodes.
    Nodes,
}

/// Something that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// To whole nodes.
    Fault(Fault),
    /// To Raft alone.
    Deed(Deed),
}

/// One line of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// When, in ns of true time; whole microseconds.
    pub at: u64,
    /// What.
    pub what: What,
    /// Whom it is aimed at, counted from 1; none if nobody in particular, or not known yet.
    pub whom: Option<u64>,
    /// The rest of it is drawn from this.
    pub draw: u64,
    /// What it came to, for readers.
    pub words: String,
}

/// A client's part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its number.
    pub client: usize,
    /// What it does, for readers.
    pub work: String,
    /// From when on, in ns.
    pub from: u64,
    /// After so many requests it rests; none for no end.
    pub requests: Option<u64>,
    /// So many it made before peace.
    pub made: u64,
}

/// A whole run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// What somebody has to say about it; each line begins with `#` in the text.
    pub comment: Vec<String>,
    /// Which world.
    pub kind: Kind,
    /// Decides what is not in the list.
    pub seed: u64,
    /// Another number decides it in the same world; zero for none.
    pub luck: u64,
    /// How many nodes.
    pub nodes: u64,
    /// A bug to put in.
    pub mutant: Option<Mutant>,
    /// Whether more goes wrong than is promised to be stood.
    pub beyond: bool,
    /// Whether clients' bytes come in pieces, and their connections end between any two of them, as
    /// the seed has it; see `world::wires`.
    pub wires: bool,
    /// When all is mended, in ns.
    pub until: u64,
    /// Who works.
    pub clients: Vec<Part>,
    /// What happens, in order of time.
    pub planned: Vec<Planned>,
}

impl Script {
    /// A world in which nothing happens.
    pub fn empty(kind: Kind, seed: u64, nodes: u64) -> Script {
        Script {
            comment: Vec::new(),
            kind,
            seed,
            luck: 0,
            nodes,
            mutant: None,
            beyond: false,
            wires: false,
            until: 0,
            clients: Vec::new(),
            planned: Vec::new(),
        }
    }

    /// Runs it; what was violated, and what happened until then.
    pub fn run(
        &self,
        watched: bool,
        reader: Option<&mut dyn FnMut(&str)>,
    ) -> (Option<Violation>, Script) {
        let (violation, mut script) = match self.kind {
            Kind::Raft => {
                let report = crate::raft::replay(self, watched, reader);
                (report.violation, report.script)
            }
            Kind::Nodes => {
                let report = crate::replay(self, watched, reader);
                (report.finding(), report.script)
            }
        };
        script.comment.clone_from(&self.comment);
        (violation, script)
    }

    /// The part of a client, if it has one.
    pub fn part(&self, client: usize) -> Option<&Part> {
        self.clients.iter().find(|part| part.client == client)
    }
}
