//! What a seed decides before anything happens: the nodes' options, the speed of disks and links,
//! how much goes wrong and what, who works on what.
//!
//! Every seed draws a world of its own ("swarm testing", Groce et al., ISSTA 2012): some have tiny
//! memtables and no clock steps, some have slow disks and nothing else, some have it all. A bug
//! that needs five faults at rest to show hides from an average world and not from these.

use crate::moods::Moods;
use base::Random;
use base::time::{MILLISECOND, SECOND};
use node::Options;
use storage::wal::WalOptions;

/// What can go wrong in a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The power of one node fails; what was not synced is torn.
    PowerLoss,
    /// One process is killed; the operating system keeps what it wrote.
    Kill,
    /// A process dies while it carries out a turn's effects, somewhere in the middle.
    DieInTurn,
    /// The power of all nodes fails at once.
    PowerLossOfAll,
    /// A node is told to stop in good order, and comes back.
    Stop,
    /// A process stands still and then goes on.
    Pause,
    /// One node is cut off from all others.
    Isolate,
    /// The nodes fall into two halves.
    Halves,
    /// Two halves see each other through one node only.
    Bridge,
    /// Nothing gets through from one node to another; the other way is open.
    OneWay,
    /// Nothing that one node sends gets through, all that it is sent does.
    Mute,
    /// Links break, and are made again.
    Reset,
    /// A disk is slow.
    SlowDisk,
    /// The power of one node fails while it syncs its log.
    PowerLossInSync,
    /// A sync fails: the process has to stop.
    SyncError,
    /// A read of the log's disk fails: the process has to stop.
    ReadError,
    /// A bit of the log flips at rest.
    LogFlip,
    /// A bit of a table flips at rest.
    TableFlip,
    /// A write to the log lands elsewhere.
    Misdirect,
    /// A disk is lost with all that it held.
    DiskLoss,
    /// A disk is put back to an old image; only beyond what is promised.
    RollBack,
    /// A wall clock is set by up to an hour.
    ClockStep,
    /// A leader's wall clock is set by an hour.
    ClockStepOfLeader,
    /// A leader is asked to hand over.
    Transfer,
    /// A leader is cut off, and all others are killed and start again at once.
    LeaderAlone,
    /// Others take all the room of some disks.
    DiskFull,
}

/// So many of them are drawn first.
const USUAL: usize = 18;

/// All of them.
pub const FAULTS: [Fault; 26] = [
    Fault::PowerLoss,
    Fault::Kill,
    Fault::DieInTurn,
    Fault::PowerLossOfAll,
    Fault::Stop,
    Fault::Pause,
    Fault::Isolate,
    Fault::Halves,
    Fault::Bridge,
    Fault::OneWay,
    Fault::Mute,
    Fault::Reset,
    Fault::SlowDisk,
    Fault::SyncError,
    Fault::ClockStep,
    Fault::ClockStepOfLeader,
    Fault::Transfer,
    Fault::LeaderAlone,
    Fault::PowerLossInSync,
    Fault::ReadError,
    Fault::LogFlip,
    Fault::TableFlip,
    Fault::Misdirect,
    Fault::DiskLoss,
    Fault::RollBack,
    Fault::DiskFull,
];

impl Fault {
    /// Whether it damages a disk, so that its node has to be replaced.
    pub fn damages(self) -> bool {
        use Fault::{DiskLoss, LogFlip, Misdirect, RollBack, TableFlip};
        matches!(self, LogFlip | TableFlip | Misdirect | DiskLoss | RollBack)
    }
}

/// One seed's world.
#[derive(Clone, Debug)]
pub struct Profile {
    /// Of every node.
    pub options: Options,
    /// Of every node's log; the owner is set per node.
    pub wal: WalOptions,
    /// What a turn of a node takes, and more for each input, in ns.
    pub turn_ns: u64,
    /// A sync on a healthy disk takes from this to four times as long.
    pub sync_ns: u64,
    /// A message takes at least so long.
    pub latency_ns: u64,
    /// One message in so many takes up to fifty times as long.
    pub tail_one_in: u64,
    /// How far a node's monotonic clock may run fast or slow, in millionths.
    pub drift_ppm: u64,
    /// How far wall clocks differ while nobody steps them, in ns.
    pub wall_spread_ns: u64,
    /// How many nodes' wall clocks may be stepped; with a majority, a step of shard time may be wrong.
    pub steppers: u64,
    /// What goes wrong.
    pub faults: Vec<Fault>,
    /// Whether disks may be damaged.
    pub damages: bool,
    /// Whether disks become full.
    pub fills: bool,
    /// Average pause between two faults.
    pub fault_every_ns: u64,
    /// Longest time that a node stays down.
    pub down_ns_max: u64,
    /// Clients per kind of work: registers, counters, counters with sessions, expiring keys.
    pub clients: [usize; 4],
    /// Clients that remember versions: so many that write, and as many that only read.
    pub sessions: u64,
    /// Clients of the bank.
    pub bankers: u64,
    /// Clients that walk over all keys.
    pub scanners: u64,
    /// Clients that fill disks.
    pub fillers: u64,
    /// Keys of registers.
    pub registers: u64,
    /// Clients that send several requests without waiting, and the keys that they share.
    pub pipeliners: u64,
    /// See there.
    pub pipelined: u64,
    /// Longest pause of a client between two requests.
    pub think_ns_max: u64,
    /// How long a client waits for an answer.
    pub patience_ns: u64,
    /// Largest padding of a value.
    pub value_bytes_max: u64,
    /// What else is unusual about it.
    pub moods: Moods,
}

fn log_between(random: &mut Random, low: u64, high: u64) -> u64 {
    let octaves = u64::from((high / low.max(1)).max(1).ilog2());
    let scaled = low << random.below(octaves + 1);
    random.between(scaled.min(high), (scaled * 2).min(high))
}

impl Profile {
    /// What `random` makes of a cluster of so many nodes.
    pub fn draw(random: &mut Random, nodes: u64) -> Profile {
        let options = draw_options(random);
        let drift_ppm = options.liveness.drift_ppm;
        let minority = (nodes - 1) / 2;
        let mut profile = Profile {
            wal: draw_wal(random, &options),
            turn_ns: log_between(random, 5_000, 400_000),
            sync_ns: log_between(random, 50_000, 8 * MILLISECOND),
            latency_ns: log_between(random, 50_000, 4 * MILLISECOND),
            tail_one_in: log_between(random, 10, 2000),
            drift_ppm,
            wall_spread_ns: random.below(100 * MILLISECOND),
            steppers: if random.chance(1, 8) { nodes } else { minority },
            faults: draw_faults(random),
            damages: false,
            fills: false,
            fault_every_ns: log_between(random, 150 * MILLISECOND, 6 * SECOND),
            down_ns_max: log_between(random, 50 * MILLISECOND, 5 * SECOND),
            clients: [
                random.between(2, 5),
                random.between(1, 3),
                random.between(1, 3),
                random.between(1, 2),
            ]
            .map(|count| count as usize),
            sessions: if random.chance(1, 2) { random.between(2, 3) } else { 0 },
            bankers: if random.chance(1, 2) { random.between(2, 3) } else { 0 },
            scanners: u64::from(random.chance(1, 2)),
            fillers: 0,
            registers: random.between(1, 10),
            pipeliners: 0,
            pipelined: 1,
            think_ns_max: log_between(random, 30 * MILLISECOND, 600 * MILLISECOND),
            patience_ns: log_between(random, 200 * MILLISECOND, 6 * SECOND),
            value_bytes_max: log_between(random, 1, 1024),
            moods: Moods::default(),
            options,
        };
        profile.draw_disks(random);
        if profile.damages && profile.steppers < nodes {
            // While a minority of nodes is being replaced the others are all voters there are, and of
            // these, too, most clocks must be right.
            profile.steppers = (nodes - minority - 1) / 2;
        }
        profile
    }

    /// Faults of disks. They are drawn last, so that the rest of a world is what it was before there
    /// were any: kept scripts rest on that.
    fn draw_disks(&mut self, random: &mut Random) {
        let gentle = [Fault::PowerLossInSync, Fault::ReadError];
        self.faults.extend(gentle.into_iter().filter(|_| random.chance(1, 2)));
        // A world in which nodes are replaced now and then is dear; most have none of it.
        if random.chance(1, 4) {
            let damaging = FAULTS.into_iter().filter(|fault| fault.damages());
            self.faults.extend(damaging.filter(|_| random.chance(1, 2)));
        }
        self.damages = self.faults.iter().any(|fault| fault.damages());
        // After everything else, as these came later still.
        if random.chance(1, 8) {
            self.faults.push(Fault::DiskFull);
        }
    }

    /// A world in which disks become full has small ones, and clients whose values fill them.
    pub fn suit_full_disks(&mut self) {
        self.fills = true;
        self.fillers = 2;
        let options = &mut self.options;
        options.entry_bytes_max = options.entry_bytes_max.min(16 << 10);
        options.engine.memtable_bytes = options.engine.memtable_bytes.min(64 << 10);
        options.memtables_bytes_max = options.engine.memtable_bytes * 8;
        self.wal.segment_bytes = 256 << 10;
        (self.wal.spares, self.wal.spares_max) = (1, 2);
    }

    /// Clients that pipeline, in a quarter of the worlds; from a generator of their own.
    pub fn draw_pipelines(&mut self, random: &mut Random) {
        self.pipeliners = if random.chance(1, 4) { random.between(1, 2) } else { 0 };
        self.pipelined = random.between(1, 4);
    }

    /// A world beyond what is promised: all that damages disks, and often.
    pub fn go_beyond(&mut self) {
        self.faults.retain(|fault| !fault.damages());
        self.faults.truncate(6);
        self.faults.extend(FAULTS.into_iter().filter(|fault| fault.damages()));
        self.faults.extend([Fault::DiskLoss, Fault::RollBack, Fault::PowerLoss]);
        self.fault_every_ns = self.fault_every_ns.min(SECOND);
        self.damages = true;
        // These look for what must not be lost.
        (self.bankers, self.scanners) = (0, 0);
    }
}

fn draw_faults(random: &mut Random) -> Vec<Fault> {
    let share = random.between(1, 4);
    let usual = FAULTS[..USUAL].iter().copied();
    let mut faults: Vec<Fault> = usual.filter(|_| random.chance(share, 4)).collect();
    if faults.is_empty() {
        faults.push(Fault::PowerLoss);
    }
    faults
}

fn draw_wal(random: &mut Random, options: &Options) -> WalOptions {
    let least = (4 * options.entry_bytes_max as u64).next_power_of_two().max(64 << 10);
    WalOptions {
        // A batch fits half a segment, and some command is larger than an entry should be: 39 KiB seen.
        segment_bytes: log_between(random, least, 4 << 20).max(128 << 10) & !4095,
        segments_soft: random.between(2, 8) as usize,
        spares: random.between(1, 2) as usize,
        spares_max: random.between(2, 4) as usize,
        step_bytes: log_between(random, 16 << 10, 1 << 20) as usize,
        owner: 0,
    }
}

fn draw_options(random: &mut Random) -> Options {
    let mut options = Options::default();
    let heartbeat = log_between(random, 30 * MILLISECOND, 200 * MILLISECOND);
    options.liveness.heartbeat_ns = heartbeat;
    options.liveness.support_ns = heartbeat * random.between(3, 8);
    options.liveness.drift_ppm = log_between(random, 10, 20_000);
    let election = log_between(random, 60 * MILLISECOND, 400 * MILLISECOND);
    options.raft.election_ns_min = election;
    options.raft.election_ns_max = election * random.between(2, 3);
    options.raft.resend_ns = log_between(random, 50 * MILLISECOND, 300 * MILLISECOND);
    options.raft.commit_ns = log_between(random, MILLISECOND, 20 * MILLISECOND);
    options.raft.inflight_messages_max = log_between(random, 1, 256) as usize;
    options.raft.inflight_bytes_max = log_between(random, 1 << 10, 8 << 20) as usize;
    options.raft.append_bytes_max = log_between(random, 256, 1 << 20) as usize;
    options.raft.uncommitted_bytes_max = log_between(random, 8 << 10, 32 << 20) as usize;
    options.raft.retain_bytes_max = log_between(random, 1 << 10, 16 << 20) as usize;
    options.raft.clock_wait_ns = log_between(random, 200 * MILLISECOND, 2 * SECOND);
    options.engine.memtable_bytes = log_between(random, 2 << 10, 1 << 20) as usize;
    options.engine.cache_bytes = log_between(random, 256, 1 << 20) as usize;
    options.engine.cache_seed = random.u64();
    options.requests_max = log_between(random, 8, 65_536) as usize;
    options.turn_requests = log_between(random, 1, 512) as usize;
    options.turn_commands = log_between(random, 1, 1024) as usize;
    options.turn_rows = log_between(random, 4, 2000) as usize;
    options.entry_commands_max = log_between(random, 1, 256) as usize;
    options.entry_bytes_max = log_between(random, 256, 128 << 10) as usize;
    options.sweep_ns = log_between(random, 50 * MILLISECOND, SECOND);
    options.flush_log_bytes = log_between(random, 4 << 10, 4 << 20);
    options.snapshot_chunks = random.between(1, 4) as usize;
    options.memtables_bytes_max = options.engine.memtable_bytes * random.between(4, 64) as usize;
    options
}
