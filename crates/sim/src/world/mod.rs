//! The world itself: one queue of events in true time, and everything that events happen to.
//!
//! Nothing here is concurrent and nothing is real but the node: events come out of the queue in
//! order of time, each changes something and may put further events into the queue. So a seed
//! decides everything, and the same seed is the same run.
//!
//! `hosts` are the machines with their process, disk, tables and clocks; `links` the network between
//! them; `sockets` the clients' connections and `wires` what is between their ends; `faults` what goes wrong; `watch` what is true after
//! each event.

mod atlas;
mod beside;
mod damage;
mod disks;
mod ending;
mod faults;
mod hosts;
mod links;
mod moods;
mod plan;
mod room;
mod sockets;
mod watch;
mod wires;

use crate::check::expiry::Judged;
use crate::clock::HostClock;
use crate::judge::Judge;
use crate::marks::{Mark, Marks};
use crate::mutant::Mutant;
use crate::profile::Profile;
use crate::script::{Kind, Script};
use crate::trace::{Line, Trace};
use crate::workload::{Client, Histories};
use atlas::Atlas;
use base::time::SECOND;
use base::{Bytes, ClusterId, ConnId, Index, NodeId, Random};
pub use beside::RealTables;
use faults::Faults;
pub(crate) use hosts::Host;
use hosts::HostInput;
use links::Links;
use node::FetchId;
use plan::Plan;
use sockets::Sockets;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::rc::Rc;
use watch::Watch;
use wires::Wires;

/// The cluster that every world holds.
const CLUSTER: ClusterId = ClusterId(0x5eed);

/// What wires are drawn from is the seed with this.
const WIRES: u64 = 0x7769_7265_7300_0000;
/// Sets the generator of moods apart from all others. Kept scripts are of worlds without moods.
const MOODS: u64 = 0x6d69_6e64;

/// Something that happens at a moment of true time. Those of a process name its life, and are void
/// once that is over.
#[derive(Debug)]
enum Event {
    /// A process starts.
    Start { host: usize },
    /// The log's sync is over.
    Synced { host: usize, life: u64 },
    /// The log does its housekeeping.
    Maintain { host: usize, life: u64 },
    /// A frozen memtable is written.
    Flushed { host: usize, life: u64 },
    /// A question to the tables is answered.
    Fetched { host: usize, life: u64, id: FetchId },
    /// The tables merge.
    Compact { host: usize, life: u64 },
    /// A log on a disk that may be full does its work.
    LogWork { host: usize, life: u64 },
    /// Tables on such a disk are looked after.
    Upkeep { host: usize, life: u64 },
    /// Those who took the room of disks leave.
    RoomBack { fault: u64 },
    /// A process tries to connect.
    Dial { link: usize, life: u64 },
    /// The attempt is decided.
    Connect { link: usize, lives: (u64, u64) },
    /// The next message of a link arrives.
    Arrive { link: usize, epoch: u64 },
    /// The sender sees that a link broke.
    NoticeBreak { link: usize, life: u64 },
    /// A link that was blocked for so long gives up.
    GiveUp { link: usize, epoch: u64 },
    /// A client does its next step.
    Client { client: usize, step: u64 },
    /// A client's bytes reach its node.
    ToHost { conn: ConnId, bytes: Bytes },
    /// A node's bytes reach their client.
    ToClient { conn: ConnId, bytes: Bytes },
    /// A client sees that its connection is gone.
    Hangup { conn: ConnId },
    /// The operator looks after a node whose disk is gone.
    Operator { host: usize },
    /// The power fails in the middle of a sync.
    PowerCut { host: usize, life: u64 },
    /// Something goes wrong: what stands in the plan under this number.
    Fault { number: usize },
    /// It ends.
    Heal { fault: u64 },
    /// A leader has few friends from now on.
    Corner { host: usize },
    /// The faults are over.
    Peace,
    /// Whatever is looked at now and then.
    Look,
}

#[derive(Debug)]
struct Queued {
    at: u64,
    number: u64,
    event: Event,
}

impl PartialEq for Queued {
    fn eq(&self, other: &Queued) -> bool {
        self.number == other.number
    }
}
impl Eq for Queued {}
impl PartialOrd for Queued {
    fn partial_cmp(&self, other: &Queued) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Queued {
    fn cmp(&self, other: &Queued) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// A generator for each subject.
struct Randoms {
    network: Random,
    disks: Random,
    crashes: Random,
    clocks: Random,
    faults: Random,
    clients: Random,
    nodes: Random,
    wires: Random,
    moods: Random,
}

/// What was done, in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Events.
    pub events: u64,
    /// Turns of nodes.
    pub turns: u64,
    /// Messages between nodes that arrived.
    pub messages: u64,
    /// Starts of processes.
    pub starts: u64,
    /// Faults.
    pub faults: u64,
    /// Terms with a leader, over all shards.
    pub leaders: u64,
    /// Entries that were applied first by some replica.
    pub entries: u64,
    /// Memtables flushed.
    pub flushes: u64,
    /// Questions to tables.
    pub fetches: u64,
    /// Snapshot chunks and other bulk messages that arrived.
    pub bulk: u64,
    /// Requests by outcome: answered, not done, unknown.
    pub outcomes: [u64; 3],
    /// Histories too hard to judge.
    pub unjudged: u64,
    /// Leaders who ran on with shard time, who stepped to all clocks, and to a quorum's.
    pub time_sources: [u64; 3],
    /// Pairs of events that each guarantee of sessions had something to say about: read your writes,
    /// monotonic reads, monotonic writes, writes follow reads, sequential.
    pub session_pairs: [u64; 5],
    /// Looks at accounts between which money was moved.
    pub looks: u64,
    /// Walks over all keys.
    pub walks: u64,
    /// Keys that ended.
    pub ends: Judged,
    /// What was seen of all that should be.
    pub marks: Marks,
    /// Nanoseconds of true time.
    pub time_ns: u64,
}

impl Totals {
    /// Adds another run's.
    pub fn add(&mut self, other: &Totals) {
        self.events += other.events;
        self.turns += other.turns;
        self.messages += other.messages;
        self.starts += other.starts;
        self.faults += other.faults;
        self.leaders += other.leaders;
        self.entries += other.entries;
        self.flushes += other.flushes;
        self.fetches += other.fetches;
        self.bulk += other.bulk;
        for (outcome, more) in self.outcomes.iter_mut().zip(other.outcomes) {
            *outcome += more;
        }
        self.unjudged += other.unjudged;
        for (source, more) in self.time_sources.iter_mut().zip(other.time_sources) {
            *source += more;
        }
        for (pairs, more) in self.session_pairs.iter_mut().zip(other.session_pairs) {
            *pairs += more;
        }
        self.looks += other.looks;
        self.walks += other.walks;
        self.ends.add(other.ends);
        self.marks.add(&other.marks);
        self.time_ns += other.time_ns;
    }
}

/// What every run is about.
pub(crate) struct Setup<'a> {
    pub seed: u64,
    pub nodes: u64,
    /// How long things go wrong.
    pub fault_ns: u64,
    pub mutant: Option<Mutant>,
    /// Whether the atlas lets everything happen.
    pub beyond: bool,
    /// Whether the observer's findings count.
    pub watched: bool,
    /// What happens, if that is not to be drawn.
    pub script: Option<&'a Script>,
    /// Real tables to be kept beside the model's.
    pub real: Option<Rc<dyn RealTables>>,
}

/// One simulated cluster with its clients.
pub(crate) struct World<'a> {
    now: u64,
    queue: BinaryHeap<Reverse<Queued>>,
    numbered: u64,
    pub profile: Profile,
    mutant: Option<Mutant>,
    random: Randoms,
    hosts: Vec<Host>,
    links: Links,
    sockets: Sockets,
    wires: Option<Wires>,
    real: Option<Rc<dyn RealTables>>,
    clients: Vec<Client>,
    faults: Faults,
    atlas: Atlas,
    plan: Plan,
    watch: Watch,
    pub trace: Trace<'a>,
    pub totals: Totals,
    /// No more faults; clients must get on.
    peace: bool,
    violation: Option<String>,
    /// Who found it.
    pub judge: Judge,
    watched: bool,
    /// The answer to the world's own request.
    marked: Option<Option<Index>>,
    pub histories: Histories,
}

impl<'a> World<'a> {
    pub fn new(setup: &Setup<'_>, reader: Option<&'a mut dyn FnMut(&str)>) -> World<'a> {
        let mut root = Random::new(setup.seed);
        let mut draw = root.fork();
        let luck = setup.script.map_or(0, |script| script.luck);
        if luck > 0 {
            root = Random::new(setup.seed.rotate_left(32) ^ luck);
        }
        let mut random = Randoms {
            network: root.fork(),
            disks: root.fork(),
            crashes: root.fork(),
            clocks: root.fork(),
            faults: root.fork(),
            clients: root.fork(),
            nodes: root.fork(),
            // No fork of the root: worlds are what they were before there were wires.
            wires: Random::new(setup.seed ^ luck.rotate_left(17) ^ WIRES),
            moods: Random::new(setup.seed ^ luck.rotate_left(17) ^ MOODS),
        };
        let mut profile = Profile::draw(&mut draw, setup.nodes);
        profile.be_moody(&mut Random::new(setup.seed ^ MOODS).fork());
        if let Some(mutant) = setup.mutant {
            mutant.suit(&mut profile);
        }
        if setup.beyond {
            profile.go_beyond();
        }
        let hosts = (0..setup.nodes as usize)
            .map(|number| {
                let drift = random.clocks.below(2 * profile.drift_ppm + 1) as i64;
                let rate = drift - profile.drift_ppm as i64;
                let rate = setup.mutant.map_or(rate, |mutant| mutant.rate(number, rate));
                let offset = random.clocks.below(profile.wall_spread_ns + 1) as i64;
                Host::new(number, HostClock::new(rate, offset), &profile)
            })
            .collect();
        let empty = Script {
            wires: true,
            mutant: setup.mutant,
            beyond: setup.beyond,
            until: setup.fault_ns,
            ..Script::empty(Kind::Nodes, setup.seed, setup.nodes)
        };
        let mut plans = root.fork();
        let plan = match setup.script {
            Some(script) => Plan::read(script),
            None => Plan::draw(&mut plans, &profile, empty),
        };
        profile.damages |= plan.damages();
        if plan.fills() {
            profile.suit_full_disks();
        }
        let mut clients = Client::draw_all(&profile, setup.nodes as usize, &mut random.clients);
        // Last, so that those of older scripts keep their numbers.
        let mut draw = Random::new(setup.seed ^ WIRES.reverse_bits());
        profile.draw_pipelines(&mut draw);
        let mut wires = Wires::draw(&mut draw).filter(|_| plan.script.wires);
        if setup.mutant.is_some_and(Mutant::is_of_wires) {
            (profile.pipeliners, profile.pipelined) = (2, 2);
            wires = Some(Wires::rough());
        }
        let bytes_max = profile.value_bytes_max;
        let (count, keys) = (profile.pipeliners, profile.pipelined);
        clients.extend(Client::draw_pipelines(count, keys, bytes_max, &mut random.wires));
        let mut world = World {
            now: 0,
            queue: BinaryHeap::new(),
            numbered: 0,
            links: Links::new(setup.nodes as usize),
            sockets: Sockets::default(),
            wires,
            real: setup.real.clone(),
            faults: Faults::new(setup.nodes as usize),
            atlas: Atlas::new(setup.nodes as usize, setup.beyond),
            plan,
            watch: Watch::default(),
            trace: Trace::new(reader),
            totals: Totals::default(),
            peace: false,
            violation: None,
            judge: Judge::Client,
            watched: setup.watched && !setup.beyond,
            marked: None,
            histories: Histories::default(),
            mutant: setup.mutant,
            random,
            hosts,
            clients,
            profile,
        };
        world.begin(setup.fault_ns, setup.script.is_some());
        world
    }

    fn begin(&mut self, fault_ns: u64, scripted: bool) {
        for host in 0..self.hosts.len() {
            self.equip(host);
            self.at(0, Event::Start { host });
        }
        self.cast(scripted);
        for number in 0..self.plan.script.planned.len() {
            self.at(self.plan.script.planned[number].at, Event::Fault { number });
        }
        self.at(fault_ns, Event::Peace);
        self.at(0, Event::Look);
    }

    fn at(&mut self, at: u64, event: Event) {
        self.numbered += 1;
        let at = at.max(self.now);
        self.queue.push(Reverse(Queued { at, number: self.numbered, event }));
    }

    fn after(&mut self, pause: u64, event: Event) {
        self.at(self.now.saturating_add(pause), event);
    }

    /// Something is not as clients were promised.
    fn violated(&mut self, what: String) {
        self.violated_for(Judge::Client, what);
    }

    fn violated_for(&mut self, judge: Judge, what: String) {
        if self.violation.is_none() && (self.watched || judge != Judge::Watch) {
            self.trace.text(self.now, format!("VIOLATED: {what}"));
            self.violation = Some(what);
            self.judge = judge;
        }
    }

    /// Runs until a moment, or something is violated, or `done`.
    fn run_until(&mut self, end: u64, mut done: impl FnMut(&World) -> bool) {
        while self.violation.is_none() && !done(self) {
            let turn = self.next_turn();
            let event = self.queue.peek().map(|Reverse(next)| (next.at, next.number));
            let Some(at) = turn.map(|(place, _)| place).into_iter().chain(event).min() else {
                break;
            };
            if at.0 > end {
                break;
            }
            self.now = at.0;
            self.totals.events += 1;
            match turn {
                Some((place, host)) if place == at => self.turn(host),
                _ => {
                    let Reverse(next) = self.queue.pop().expect("just seen");
                    self.happen(next.event);
                }
            }
        }
        if self.violation.is_none() && !done(self) {
            self.now = end;
        }
        self.totals.time_ns = self.now;
    }

    /// The next turn that a process takes, in its place among all that happens. Nearly every turn
    /// is planned anew before its time, so these are not in the queue.
    fn next_turn(&self) -> Option<((u64, u64), usize)> {
        let planned = self.hosts.iter().enumerate();
        planned.filter_map(|(number, host)| Some((host.turn_at?, number))).min()
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Start { host } => self.start(host),
            Event::Synced { host, life } => self.synced(host, life),
            Event::Maintain { host, life } => self.maintain(host, life),
            Event::Flushed { host, life } => self.flushed(host, life),
            Event::Fetched { host, life, id } => self.fetched(host, life, id),
            Event::Compact { host, life } => self.compact(host, life),
            Event::LogWork { host, life } => self.work_on_log(host, life),
            Event::Upkeep { host, life } => self.work_on_tables(host, life),
            Event::RoomBack { fault } => self.bring_room(Some(fault)),
            Event::Dial { link, life } => self.dial(link, life),
            Event::Connect { link, lives } => self.connect(link, lives),
            Event::Arrive { link, epoch } => self.arrive(link, epoch),
            Event::NoticeBreak { link, life } => self.notice_break(link, life),
            Event::GiveUp { link, epoch } => self.give_up(link, epoch),
            Event::Client { client, step } => self.client_step(client, step),
            Event::ToHost { conn, bytes } => self.reach_host(conn, bytes),
            Event::ToClient { conn, bytes } => self.reach_client(conn, bytes),
            Event::Hangup { conn } => self.hangup(conn),
            Event::Operator { host } => self.operate(host),
            Event::PowerCut { host, life } => self.power_cut(host, life),
            Event::Fault { number } => self.fault(number),
            Event::Heal { fault } => self.heal(fault),
            Event::Corner { host } => self.corner(host),
            Event::Peace => self.make_peace(),
            Event::Look => self.look(),
        }
    }

    fn look(&mut self) {
        self.look_at_new_disks();
        self.after(SECOND / 2, Event::Look);
    }

    fn node_of(host: usize) -> NodeId {
        NodeId(host as u64 + 1)
    }

    /// Something for a process to look at in its next turn.
    fn give(&mut self, host: usize, input: HostInput) {
        if self.hosts[host].node.is_some() {
            self.hosts[host].inbox.push_back(input);
            self.wake(host, self.now);
        }
    }

    fn note(&mut self, line: Line) {
        self.trace.line(self.now, line);
    }

    /// It was seen.
    fn hit(&mut self, mark: Mark) {
        self.totals.marks.hit(mark);
    }

    fn say(&mut self, text: String) {
        self.plan.tell(&text);
        self.trace.text(self.now, text);
    }
}
