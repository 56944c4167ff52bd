//! What a seed decides before anything happens. A bug that needs many transfers and no crashes, or a
//! follower that is away until the log it needs is gone, hides from an average world; so each seed
//! draws what happens often, what seldom and what not at all ("swarm testing", Groce et al., 2012).

use super::moods::Moods;
use base::Random;
use base::time::{MILLISECOND, SECOND};
use protocols::liveness;
use protocols::raft::Options;

/// Something that a client, an operator or fate does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Deed {
    /// A process dies, and of what it was writing some prefix is on its disk.
    Crash,
    /// All processes die.
    CrashAll,
    /// A process stands still.
    Pause,
    /// The network falls apart.
    Cut,
    /// It comes together.
    Mend,
    /// A leader is told to hand over.
    Transfer,
    /// Members come and go.
    Change,
    /// Applied state becomes durable, and the log before it may go.
    Compact,
    /// A client reads.
    Read,
    /// A client appends a few values.
    Append,
}

/// Each with how often they happen in an average world, and how a seed may change that.
const WEIGHTS: [(Deed, u64, [u64; 4]); 10] = [
    (Deed::Crash, 4, [0, 1, 1, 3]),
    (Deed::CrashAll, 1, [0, 0, 1, 2]),
    (Deed::Pause, 3, [0, 1, 1, 3]),
    (Deed::Cut, 2, [0, 1, 1, 4]),
    (Deed::Mend, 3, [1, 1, 1, 2]),
    (Deed::Transfer, 5, [0, 1, 1, 3]),
    (Deed::Change, 7, [0, 0, 1, 3]),
    (Deed::Compact, 6, [0, 1, 1, 3]),
    (Deed::Read, 20, [1, 1, 1, 2]),
    (Deed::Append, 50, [1, 1, 1, 2]),
];

/// All of them.
pub const DEEDS: [Deed; 10] = [
    Deed::Crash,
    Deed::CrashAll,
    Deed::Pause,
    Deed::Cut,
    Deed::Mend,
    Deed::Transfer,
    Deed::Change,
    Deed::Compact,
    Deed::Read,
    Deed::Append,
];

/// One seed's world.
#[derive(Clone, Debug)]
pub struct Profile {
    /// Of every replica.
    pub raft: Options,
    /// Of every node. Their clocks drift as far as this allows.
    pub liveness: liveness::Options,
    /// Voters at the beginning.
    pub voters: u64,
    /// Nodes; replicas move among them.
    pub nodes: u64,
    /// How often each deed is done.
    pub weights: Vec<(Deed, u64)>,
    /// Longest pause between two deeds.
    pub deed_ns_max: u64,
    /// Longest time that a process stays down, or stands still.
    pub down_ns_max: u64,
    /// A sync takes up to this; on one node in three up to ten times as long.
    pub sync_ns_max: u64,
    /// Messages lost, and messages that come twice, of a hundred.
    pub loss: u64,
    /// Of forty messages so many take up to `tail_ns` instead of a millisecond.
    pub tails: u64,
    /// See `tails`.
    pub tail_ns: u64,
    /// What else is unusual about it.
    pub moods: Moods,
}

fn log_between(random: &mut Random, low: u64, high: u64) -> u64 {
    let octaves = u64::from((high / low).max(1).ilog2());
    let scaled = low << random.below(octaves + 1);
    random.between(scaled, (scaled * 2).min(high).max(scaled))
}

impl Profile {
    /// What `random` makes of it.
    pub fn draw(random: &mut Random) -> Profile {
        let weigh = |(deed, usual, factors): (Deed, u64, [u64; 4])| {
            (deed, usual * factors[random.below(4) as usize])
        };
        let weights = WEIGHTS.into_iter().map(weigh).collect();
        let voters = [1, 3, 3, 3, 4, 5, 5][random.below(7) as usize];
        let mut profile = Profile {
            weights,
            nodes: voters + random.below(4),
            raft: draw_raft(random),
            liveness: draw_liveness(random),
            voters,
            deed_ns_max: log_between(random, 10 * MILLISECOND, 120 * MILLISECOND),
            down_ns_max: log_between(random, 200 * MILLISECOND, 3 * SECOND),
            sync_ns_max: log_between(random, MILLISECOND / 2, 20 * MILLISECOND),
            loss: random.below(10),
            tails: random.below(8),
            tail_ns: log_between(random, 20 * MILLISECOND, SECOND),
            moods: Moods::default(),
        };
        profile.be_moody(random);
        profile
    }

    /// A deed by its weight.
    pub fn deed(&self, random: &mut Random) -> Deed {
        let all: u64 = self.weights.iter().map(|(_, weight)| weight).sum();
        let mut left = random.below(all);
        for (deed, weight) in &self.weights {
            match left.checked_sub(*weight) {
                Some(rest) => left = rest,
                None => return *deed,
            }
        }
        unreachable!("the draw lies below the sum of the weights")
    }
}

fn draw_raft(random: &mut Random) -> Options {
    let election = log_between(random, 60 * MILLISECOND, 300 * MILLISECOND);
    Options {
        election_ns_min: election,
        election_ns_max: election * random.between(2, 3),
        inflight_messages_max: random.between(1, 8) as usize,
        inflight_bytes_max: random.between(64, 4096) as usize,
        append_bytes_max: random.between(64, 1024) as usize,
        uncommitted_bytes_max: random.between(200, 8192) as usize,
        retain_bytes_max: random.between(0, 2048) as usize,
        resend_ns: random.between(20, 300) * MILLISECOND,
        commit_ns: random.between(0, 20) * MILLISECOND,
        ..Options::default()
    }
}

fn draw_liveness(random: &mut Random) -> liveness::Options {
    let heartbeat_ns = log_between(random, 30 * MILLISECOND, 150 * MILLISECOND);
    liveness::Options {
        heartbeat_ns,
        support_ns: heartbeat_ns * random.between(3, 8),
        drift_ppm: log_between(random, 10, 20_000),
    }
}
