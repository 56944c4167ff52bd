//! The models by name: what each is about, its bounds, what it must reach, and which deliberate
//! mistakes of the harness it must find.
//!
//! The small bounds are for every change, the large ones for a command. Each is explored breadth
//! first, whole or up to a number of steps.

use crate::law::{Law, Mark};
use crate::world::{Bounds, Budget, Mutation, Time};
use base::ReplicaId;
use protocols::raft::Change;

/// Steps for every change: two to three seconds.
const SMALL: usize = 400_000;

/// A model.
#[derive(Clone, Debug)]
pub struct Case {
    /// Its name on the command line.
    pub name: &'static str,
    /// Bounds for every change.
    pub small: Bounds,
    /// Bounds for a command.
    pub large: Bounds,
    /// What must be reached.
    pub marks: Vec<Mark>,
    /// Steps after which the small bounds are explored far enough, if not whole before.
    pub steps_max_small: usize,
    /// Steps after which the large ones are.
    pub steps_max_large: usize,
    /// Mistakes, each with the law by which it must be found within the small bounds.
    pub mutations: Vec<(Mutation, Law)>,
}

/// All models.
pub fn all() -> Vec<Case> {
    vec![
        elections(),
        replication(),
        membership(),
        snapshots(),
        reads(),
        leases(),
        transfer(),
        late(),
    ]
}

/// Three voters led by the first, clocks apart, no leases, disks at once, and nothing to happen.
fn quiet() -> Bounds {
    Bounds {
        nodes: 3,
        voters: 3,
        time: Time::Apart,
        rates: Vec::new(),
        binding: false,
        slow_beats: false,
        timers: vec![1, 2, 3],
        crashers: vec![1, 2, 3],
        slow_disks: Vec::new(),
        support_steps: 2,
        led: true,
        handed_over: false,
        unbound: None,
        term_max: 3,
        changes: Vec::new(),
        budget: Budget::default(),
    }
}

/// From a fresh cluster: pre-votes, votes that wait for the disk, crashes between them.
fn elections() -> Case {
    let small = Bounds {
        led: false,
        term_max: 1,
        timers: vec![1, 3],
        crashers: vec![2],
        slow_disks: vec![2],
        budget: Budget { steps: 2, crashes: 1, ..Budget::default() },
        ..quiet()
    };
    let large = Bounds {
        timers: vec![1, 2, 3],
        crashers: vec![1, 2, 3],
        slow_disks: vec![1, 2, 3],
        term_max: 3,
        budget: Budget { steps: 3, crashes: 1, ..Budget::default() },
        ..small.clone()
    };
    Case {
        name: "elections",
        small,
        large,
        marks: vec![Mark::FirstLeader, Mark::LostWrites],
        steps_max_small: SMALL,
        steps_max_large: 14_500_000,
        mutations: vec![(Mutation::ForgetsVotes, Law::ElectionSafety)],
    }
}

/// Conflicting suffixes, crashes that lose what was not synced, restarts.
fn replication() -> Case {
    let small = Bounds {
        timers: vec![2, 3],
        crashers: vec![2],
        slow_disks: vec![2],
        term_max: 2,
        budget: Budget { steps: 2, proposals: 1, crashes: 1, ..Budget::default() },
        ..quiet()
    };
    let large = Bounds {
        timers: vec![1, 2, 3],
        crashers: vec![1, 2, 3],
        slow_disks: vec![1, 2, 3],
        term_max: 3,
        budget: Budget { steps: 3, proposals: 2, crashes: 1, ..Budget::default() },
        ..small.clone()
    };
    Case {
        name: "replication",
        small,
        large,
        marks: vec![Mark::LaterLeader, Mark::TwoLeaders, Mark::Truncated, Mark::LostWrites],
        steps_max_small: SMALL,
        steps_max_large: 17_500_000,
        mutations: vec![(Mutation::ReportsEarly, Law::LeaderCompleteness)],
    }
}

/// A learner becomes a voter and the leader leaves, by a joint change; leaders change meanwhile.
fn membership() -> Case {
    let replace = Change {
        promote: [ReplicaId(4)].into(),
        remove: [ReplicaId(1)].into(),
        ..Change::default()
    };
    let small = Bounds {
        nodes: 4,
        timers: vec![3],
        crashers: vec![3],
        term_max: 2,
        changes: vec![replace],
        budget: Budget { steps: 1, changes: 1, crashes: 1, ..Budget::default() },
        ..quiet()
    };
    let large = Bounds {
        timers: vec![1, 2, 3, 4],
        crashers: vec![1, 2, 3, 4],
        term_max: 3,
        budget: Budget { steps: 3, changes: 2, crashes: 1, ..Budget::default() },
        ..small.clone()
    };
    Case {
        name: "membership",
        small,
        large,
        marks: vec![Mark::LaterLeader, Mark::JointCommitted, Mark::JointLeft, Mark::Promoted],
        steps_max_small: SMALL,
        steps_max_large: 20_500_000,
        mutations: vec![(Mutation::ForgetsOthers, Law::LeaderCompleteness)],
    }
}

/// Logs are compacted under followers that need them.
fn snapshots() -> Case {
    let small = Bounds {
        timers: vec![1],
        crashers: vec![3],
        term_max: 2,
        budget: Budget { steps: 1, proposals: 1, compactions: 1, ..Budget::default() },
        ..quiet()
    };
    let large = Bounds {
        timers: vec![1, 2, 3],
        crashers: vec![1, 2, 3],
        slow_disks: vec![3],
        term_max: 3,
        budget: Budget { steps: 3, proposals: 2, compactions: 2, crashes: 1, ..Budget::default() },
        ..small.clone()
    };
    Case {
        name: "snapshots",
        small,
        large,
        marks: vec![Mark::SnapshotInstalled],
        steps_max_small: SMALL,
        steps_max_large: 19_000_000,
        mutations: vec![(Mutation::SnapshotAhead, Law::StateMachineSafety)],
    }
}

/// Read rounds, with later leaders that the asked one has not heard of.
fn reads() -> Case {
    let small = Bounds {
        timers: vec![2, 3],
        term_max: 2,
        budget: Budget { steps: 2, reads: 2, ..Budget::default() },
        ..quiet()
    };
    let large = Bounds {
        timers: vec![1, 2, 3],
        term_max: 3,
        budget: Budget { steps: 3, proposals: 1, reads: 2, ..Budget::default() },
        ..small.clone()
    };
    Case {
        name: "reads",
        small,
        large,
        marks: vec![Mark::LaterLeader, Mark::TwoLeaders, Mark::RoundRead],
        steps_max_small: SMALL,
        steps_max_large: 27_000_000,
        mutations: vec![(Mutation::AnswersAnyRound, Law::NoStaleRead)],
    }
}

/// Leases under clocks that drift as far as they may: support lapses, comes back, is bound anew.
fn leases() -> Case {
    let small = Bounds {
        time: Time::Together,
        binding: true,
        rates: vec![vec![19, 21, 21], vec![21, 19, 19]],
        timers: vec![1, 3],
        crashers: vec![2],
        unbound: Some(3),
        term_max: 2,
        budget: Budget { steps: 2, beats: 1, crashes: 1, ..Budget::default() },
        ..quiet()
    };
    let large = Bounds {
        slow_beats: true,
        timers: vec![1, 2, 3],
        crashers: vec![1, 2, 3],
        term_max: 3,
        budget: Budget { steps: 3, beats: 2, proposals: 1, crashes: 1, ..Budget::default() },
        ..small.clone()
    };
    Case {
        name: "leases",
        small,
        large,
        marks: vec![
            Mark::LeaseRead,
            Mark::LaterLeader,
            Mark::StaleLeaseRefused,
            Mark::SupportRegained,
        ],
        steps_max_small: SMALL,
        steps_max_large: 18_500_000,
        mutations: vec![
            (Mutation::IgnoresDrift, Law::NoStaleRead),
            (Mutation::ForgetsPromises, Law::NoStaleRead),
        ],
    }
}

/// Handovers while followers are bound.
fn transfer() -> Case {
    let small = Bounds {
        time: Time::Together,
        binding: true,
        support_steps: 4,
        timers: vec![1, 3],
        term_max: 2,
        budget: Budget { steps: 1, transfers: 1, ..Budget::default() },
        ..quiet()
    };
    let large = Bounds {
        timers: vec![1, 2, 3],
        term_max: 3,
        budget: Budget { steps: 2, transfers: 2, proposals: 1, ..Budget::default() },
        ..small.clone()
    };
    Case {
        name: "transfer",
        small,
        large,
        marks: vec![Mark::LeaseRead, Mark::LaterLeader, Mark::Transferred],
        steps_max_small: SMALL,
        steps_max_large: 16_000_000,
        mutations: vec![(Mutation::BypassesLeader, Law::NoStaleRead)],
    }
}

/// Whatever was said during a handover comes late, and again.
fn late() -> Case {
    let small = Bounds {
        time: Time::Together,
        binding: true,
        support_steps: 4,
        handed_over: true,
        unbound: Some(1),
        timers: vec![1],
        budget: Budget { steps: 2, ..Budget::default() },
        ..quiet()
    };
    let large = Bounds {
        unbound: None,
        timers: vec![1, 2],
        term_max: 4,
        budget: Budget { steps: 3, crashes: 1, beats: 1, ..Budget::default() },
        ..small.clone()
    };
    Case {
        name: "late",
        small,
        large,
        marks: vec![Mark::LeaseRead],
        steps_max_small: 2 * SMALL,
        steps_max_large: 16_000_000,
        mutations: vec![(Mutation::BypassesLeader, Law::NoStaleRead)],
    }
}
