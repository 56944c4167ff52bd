//! Store liveness: which node vouches for which, by heartbeats per pair of nodes.
//!
//! Textbook Raft sends heartbeats per group. A node with ten thousand idle shards would spend its
//! day on them. The idea here, after CockroachDB's store liveness: leases need not be granted shard
//! by shard. Nodes grant *support* to one another, for all their shards at once, and a shard only
//! says once per term that it leans on its node's support ([`crate::raft`] calls that *binding*).
//!
//! Node A asks every 100 ms: "I am alive; support me". Node B answers: "you have my support for
//! 600 ms, under epoch 7". As long as A keeps asking, the epoch stays the same and its end moves on.
//! When A falls silent, B's support lapses; when A comes back it gets support anew, under epoch 8,
//! so that nobody takes the new support for the old one, in whose pause anything may have happened.
//!
//! ```text
//! A                                         B
//! | -- heartbeat, sent at a=10.000 -------> |  supports A under e7 until b=77.600 (now b=77.000)
//! | <- support e7 for 600 ms, a=10.000 ---- |
//!   supported by B under e7 until a=10.5988
//! ```
//!
//! The two sides never compare clocks. B counts 600 ms from the moment the heartbeat *arrived*, on
//! its own monotonic clock; A counts from the moment it *sent* it, on its own, and a little less, so
//! that even if A's clock is slow and B's is fast (each within `drift_ppm`) A always stops believing
//! before B stops granting. That is all a lease needs.
//!
//! What B has granted lives in B's memory only. So a node that has just started does not know what
//! it has promised; it waits one whole support period before it takes part in any election
//! ([`Liveness::grants_votes`]). A directory that was never started before has promised nothing, and
//! needs no wait: pass `fresh`. The granted period travels in the message, so nodes with different
//! settings stay safe; but a node whose own setting is *lowered* must be stopped for longer than the
//! old period before it starts with the new one.
//!
//! Every message carries its sender's wall clock as an aside; [`Liveness::clock_of`] and
//! [`median`] turn these into the time that a quorum agrees on, for [`crate::clock`].
//!
//! Invariants: support is never withdrawn before its time; an epoch that lapsed never comes back;
//! `supported_by` at A ends, in true time, before `supports` at B ends.

use base::codec::{DecodeError, Reader, Writer};
use base::time::MILLISECOND;
use base::{Mono, NodeId, Time, Wall};
use std::collections::{BTreeMap, BTreeSet};

/// Settings of a [`Liveness`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Options {
    /// Pause between two heartbeats to a peer. Default 100 ms: six chances per support period, and
    /// even a hundred nodes exchange no more than two thousand small messages a second each.
    pub heartbeat_ns: u64,
    /// How long support lasts from the arrival of a heartbeat. Default 600 ms: it, an election
    /// timeout and a few syncs make up the pause after a leader's death, which is to stay under a
    /// second; much less, and a slow disk or a busy machine costs leases.
    pub support_ns: u64,
    /// How far any node's monotonic clock may run too fast or too slow, in millionths. Default 1000
    /// (0.1 %): ten times what a computer's crystal does at its worst.
    pub drift_ppm: u64,
}

impl Default for Options {
    fn default() -> Options {
        Options { heartbeat_ns: 100 * MILLISECOND, support_ns: 600 * MILLISECOND, drift_ppm: 1000 }
    }
}

/// Names one unbroken stretch of support by one granter for one requester.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SupportEpoch {
    /// Drawn at random by the granter when its process started.
    pub boot: u64,
    /// Counts the granter's grants within that boot.
    pub counter: u64,
}

/// Support as one side knows it: under which epoch, until when on its own monotonic clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Grant {
    /// The stretch of support.
    pub epoch: SupportEpoch,
    /// The first moment at which it can no longer be relied on, unless it is extended.
    pub until: Mono,
}

/// What nodes say to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Message {
    /// I am alive; support me.
    Heartbeat {
        /// The sender's monotonic time, to be echoed.
        sent_at: Mono,
        /// The sender's boot.
        boot: u64,
        /// The sender's wall clock.
        wall: Wall,
    },
    /// You have my support.
    Support {
        /// Echo of the heartbeat's time.
        sent_at: Mono,
        /// Echo of the heartbeat's boot.
        boot: u64,
        /// The stretch of support that this extends or begins.
        epoch: SupportEpoch,
        /// How long it lasts from the heartbeat's arrival, on the granter's clock.
        support_ns: u64,
        /// The granter's wall clock.
        wall: Wall,
    },
}

impl Message {
    /// Appends the message to `out`.
    pub fn encode(&self, out: &mut Writer) {
        match *self {
            Message::Heartbeat { sent_at, boot, wall } => {
                out.u8(0);
                out.u64(sent_at.0);
                out.u64(boot);
                out.u64(wall.0);
            }
            Message::Support { sent_at, boot, epoch, support_ns, wall } => {
                out.u8(1);
                out.u64(sent_at.0);
                out.u64(boot);
                epoch.encode(out);
                out.u64(support_ns);
                out.u64(wall.0);
            }
        }
    }

    /// The inverse of [`Message::encode`].
    pub fn decode(reader: &mut Reader) -> Result<Message, DecodeError> {
        match reader.u8()? {
            0 => Ok(Message::Heartbeat {
                sent_at: Mono(reader.u64()?),
                boot: reader.u64()?,
                wall: Wall(reader.u64()?),
            }),
            1 => Ok(Message::Support {
                sent_at: Mono(reader.u64()?),
                boot: reader.u64()?,
                epoch: SupportEpoch::decode(reader)?,
                support_ns: reader.u64()?,
                wall: Wall(reader.u64()?),
            }),
            seen => Err(DecodeError::unknown("liveness message", seen)),
        }
    }
}

impl SupportEpoch {
    /// Appends the epoch to `out`.
    pub fn encode(&self, out: &mut Writer) {
        out.u64(self.boot);
        out.u64(self.counter);
    }

    /// The inverse of [`SupportEpoch::encode`].
    pub fn decode(reader: &mut Reader) -> Result<SupportEpoch, DecodeError> {
        Ok(SupportEpoch { boot: reader.u64()?, counter: reader.u64()? })
    }
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Input {
    /// The deadline came.
    Tick,
    /// The nodes to exchange heartbeats with, this one excluded or not.
    Peers(BTreeSet<NodeId>),
    /// A message arrived over an authenticated link.
    Message {
        /// The node at its other end.
        from: NodeId,
        /// What it said.
        message: Message,
    },
}

/// What must follow.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Send a message; before everything else on the link, since leases hang on it.
    Send {
        /// To this node.
        to: NodeId,
        /// This.
        message: Message,
    },
}

/// The support that one node grants and receives.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Liveness {
    options: Options,
    me: NodeId,
    boot: u64,
    /// From when on this node knows all it has promised.
    votes_from: Mono,
    /// Heartbeats go to these.
    wanted: BTreeSet<NodeId>,
    /// All that was granted to, received from and heard of others; outlives `wanted`, since support
    /// is not withdrawn from a node that leaves it.
    peers: BTreeMap<NodeId, Peer>,
    heartbeat_at: Mono,
    /// Grants made in this boot.
    grants: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Peer {
    /// For each of its boots that may still rely on it, newest last. A heartbeat of a process that is
    /// no more may arrive after one of its successor, whose support it must not end.
    granted: Vec<Granted>,
    received: Option<Received>,
    heard: Option<Heard>,
}

/// My support for a peer's boot.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Granted {
    boot: u64,
    grant: Grant,
}

/// A peer's support for me, with the time of the heartbeat it answers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Received {
    sent_at: Mono,
    grant: Grant,
}

/// A peer's wall clock when its last message arrived.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Heard {
    wall: Wall,
    at: Mono,
}

impl Liveness {
    /// A node that has just started. `boot` is random for each start of the process; `fresh` says
    /// that this data directory has never granted support before.
    pub fn new(options: Options, me: NodeId, boot: u64, fresh: bool, now: Mono) -> Liveness {
        assert!(options.drift_ppm < 100_000, "clocks that drift by a tenth can't carry leases");
        let wait = options.support_ns + 2 * drift(options.support_ns, options.drift_ppm);
        Liveness {
            me,
            boot,
            votes_from: if fresh { now } else { Mono(now.0 + wait) },
            wanted: BTreeSet::new(),
            peers: BTreeMap::new(),
            heartbeat_at: now,
            grants: 0,
            options,
        }
    }

    /// Something happened at `now`; whatever must follow is pushed onto `effects`.
    pub fn step(&mut self, now: Time, input: Input, effects: &mut Vec<Effect>) {
        match input {
            Input::Tick => self.tick(now, effects),
            Input::Peers(peers) => self.meet(now, peers, effects),
            Input::Message { from, message } => match message {
                Message::Heartbeat { sent_at, boot, wall } => {
                    self.hear(from, wall, now.mono);
                    let epoch = self.grant(from, boot, now.mono);
                    let support_ns = self.options.support_ns;
                    let wall = now.wall;
                    let message = Message::Support { sent_at, boot, epoch, support_ns, wall };
                    effects.push(Effect::Send { to: from, message });
                }
                Message::Support { sent_at, boot, epoch, support_ns, wall } => {
                    self.hear(from, wall, now.mono);
                    if boot == self.boot && sent_at <= now.mono {
                        self.receive(from, sent_at, epoch, support_ns);
                    }
                }
            },
        }
    }

    /// When to call [`Liveness::step`] with [`Input::Tick`] if nothing else happens first.
    pub fn deadline(&self) -> Option<Mono> {
        (!self.wanted.is_empty()).then_some(self.heartbeat_at)
    }

    /// This node.
    pub fn me(&self) -> NodeId {
        self.me
    }

    /// How far any node's monotonic clock may run too fast or too slow, in millionths.
    pub fn drift_ppm(&self) -> u64 {
        self.options.drift_ppm
    }

    /// The support that this node grants to `node` now; to the boot heard of last, if there are several.
    pub fn supports(&self, node: NodeId, now: Mono) -> Option<Grant> {
        self.grants_to(node, now).last()
    }

    /// The same under an epoch of which the caller was told.
    pub fn supports_under(&self, node: NodeId, epoch: SupportEpoch, now: Mono) -> Option<Grant> {
        self.grants_to(node, now).find(|grant| grant.epoch == epoch)
    }

    fn grants_to(&self, node: NodeId, now: Mono) -> impl Iterator<Item = Grant> {
        let granted = self.peers.get(&node).into_iter().flat_map(|peer| &peer.granted);
        granted.map(|granted| granted.grant).filter(move |grant| now < grant.until)
    }

    /// The support by `node` that this node can rely on now.
    pub fn supported_by(&self, node: NodeId, now: Mono) -> Option<Grant> {
        let grant = self.peers.get(&node)?.received.as_ref()?.grant;
        (now < grant.until).then_some(grant)
    }

    /// Whether this node may vote: whatever it promised before it started has run out.
    pub fn grants_votes(&self, now: Mono) -> bool {
        now >= self.votes_from
    }

    /// From when on [`Liveness::grants_votes`] is true.
    pub fn votes_from(&self) -> Mono {
        self.votes_from
    }

    /// The wall clock of `node` as far as its last message tells; forgotten after a few support
    /// periods without one. It lags by the message's time on the way.
    pub fn clock_of(&self, node: NodeId, now: Mono) -> Option<Wall> {
        let heard = self.peers.get(&node)?.heard.as_ref()?;
        let elapsed = now.since(heard.at);
        (elapsed <= 3 * self.options.support_ns).then(|| Wall(heard.wall.0.saturating_add(elapsed)))
    }

    fn tick(&mut self, now: Time, effects: &mut Vec<Effect>) {
        if now.mono < self.heartbeat_at {
            return;
        }
        for &to in &self.wanted {
            effects.push(Effect::Send { to, message: self.heartbeat(now) });
        }
        self.heartbeat_at = Mono(now.mono.0 + self.options.heartbeat_ns);
        self.forget(now.mono);
    }

    /// New peers get a heartbeat at once; the others at their time.
    fn meet(&mut self, now: Time, mut peers: BTreeSet<NodeId>, effects: &mut Vec<Effect>) {
        peers.remove(&self.me);
        for &to in peers.difference(&self.wanted) {
            effects.push(Effect::Send { to, message: self.heartbeat(now) });
        }
        if self.wanted.is_empty() {
            self.heartbeat_at = Mono(now.mono.0 + self.options.heartbeat_ns);
        }
        self.wanted = peers;
    }

    fn heartbeat(&self, now: Time) -> Message {
        Message::Heartbeat { sent_at: now.mono, boot: self.boot, wall: now.wall }
    }

    fn hear(&mut self, from: NodeId, wall: Wall, now: Mono) {
        self.peers.entry(from).or_default().heard = Some(Heard { wall, at: now });
    }

    /// Extends the support for this boot of `to`, or begins it anew under an epoch of its own.
    fn grant(&mut self, to: NodeId, boot: u64, now: Mono) -> SupportEpoch {
        let until = Mono(now.0 + self.options.support_ns);
        let peer = self.peers.entry(to).or_default();
        if let Some(granted) = peer.granted.iter_mut().find(|granted| granted.boot == boot)
            && now < granted.grant.until
        {
            assert!(until >= granted.grant.until, "support for {to} was cut short");
            granted.grant.until = until;
            return granted.grant.epoch;
        }
        self.grants += 1;
        let epoch = SupportEpoch { boot: self.boot, counter: self.grants };
        peer.granted.retain(|granted| granted.boot != boot && granted.grant.until > now);
        peer.granted.push(Granted { boot, grant: Grant { epoch, until } });
        epoch
    }

    /// The latest heartbeat that was answered counts: its support ends last, whatever the order of
    /// the answers.
    fn receive(&mut self, from: NodeId, sent_at: Mono, epoch: SupportEpoch, support_ns: u64) {
        let relied_on = support_ns.saturating_sub(2 * drift(support_ns, self.options.drift_ppm));
        let grant = Grant { epoch, until: Mono(sent_at.0.saturating_add(relied_on)) };
        let received = &mut self.peers.entry(from).or_default().received;
        if received.as_ref().is_none_or(|before| before.sent_at <= sent_at) {
            *received = Some(Received { sent_at, grant });
        }
    }

    /// Drops what is known of nodes that are no peers any more, once nothing is promised to them.
    fn forget(&mut self, now: Mono) {
        let wanted = &self.wanted;
        self.peers.retain(|node, peer| {
            wanted.contains(node) || peer.granted.iter().any(|granted| now < granted.grant.until)
        });
    }
}

fn drift(span_ns: u64, ppm: u64) -> u64 {
    (u128::from(span_ns) * u128::from(ppm)).div_ceil(1_000_000) as u64
}

/// The latest time that the clocks of a majority of `voters` voters have all reached; `None` unless
/// the clocks of a majority are known. With all clocks known it is their (lower) median; with fewer
/// it is earlier rather than later, so that no minority of wrong clocks can move it ahead.
pub fn median(known: &mut [Wall], voters: usize) -> Option<Wall> {
    let majority = voters / 2 + 1;
    known.sort_unstable_by(|a, b| b.cmp(a));
    known.get(majority - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::Random;

    const A: NodeId = NodeId(1);
    const B: NodeId = NodeId(2);

    fn time(ms: u64) -> Time {
        Time { mono: Mono(ms * MILLISECOND), wall: Wall((1_000_000 + ms) * MILLISECOND) }
    }

    fn node(me: NodeId, boot: u64, now: u64) -> Liveness {
        Liveness::new(Options::default(), me, boot, false, time(now).mono)
    }

    fn deliver(to: &mut Liveness, from: NodeId, message: Message, now: Time) -> Vec<Message> {
        let mut effects = Vec::new();
        to.step(now, Input::Message { from, message }, &mut effects);
        effects.into_iter().map(|Effect::Send { message, .. }| message).collect()
    }

    /// One heartbeat of `a` to `b` and its answer, in no time.
    fn exchange(a: &mut Liveness, b: &mut Liveness, now: u64) {
        let heartbeat = a.heartbeat(time(now));
        for answer in deliver(b, a.me, heartbeat, time(now)) {
            deliver(a, b.me, answer, time(now));
        }
    }

    #[test]
    fn heartbeats_keep_one_epoch_and_silence_ends_it() {
        let (mut a, mut b) = (node(A, 10, 0), node(B, 20, 0));
        exchange(&mut a, &mut b, 0);
        let first = a.supported_by(B, time(0).mono).unwrap();
        assert_eq!(first.epoch, SupportEpoch { boot: 20, counter: 1 });
        assert_eq!(first.until, Mono(598_800_000), "600 ms less twice the drift");
        exchange(&mut a, &mut b, 500);
        assert_eq!(a.supported_by(B, time(1000).mono).unwrap().epoch, first.epoch);
        assert_eq!(a.supported_by(B, time(1099).mono), None);
        assert!(b.supports(A, time(1099).mono).is_some(), "the granter ends later");
        assert_eq!(b.supports(A, time(1100).mono), None);
        exchange(&mut a, &mut b, 1100);
        assert_eq!(a.supported_by(B, time(1100).mono).unwrap().epoch.counter, 2);
    }

    #[test]
    fn a_new_boot_gets_support_of_its_own_and_answers_to_the_old_one_are_ignored() {
        let (a, mut b) = (node(A, 10, 0), node(B, 20, 0));
        let old = a.heartbeat(time(0));
        let answer = deliver(&mut b, A, old, time(0)).remove(0);
        let mut a = node(A, 11, 1);
        deliver(&mut a, B, answer, time(2));
        assert_eq!(a.supported_by(B, time(2).mono), None);
        exchange(&mut a, &mut b, 3);
        assert_eq!(b.supports(A, time(3).mono).unwrap().epoch.counter, 2);
    }

    #[test]
    fn a_heartbeat_of_an_earlier_boot_that_comes_late_ends_no_support() {
        let (a, mut b) = (node(A, 10, 0), node(B, 20, 0));
        let late = a.heartbeat(time(0));
        let mut a = node(A, 11, 1);
        exchange(&mut a, &mut b, 3);
        let relied_on = a.supported_by(B, time(4).mono).unwrap();
        deliver(&mut b, A, late, time(4));
        let granted = b.supports_under(A, relied_on.epoch, time(4).mono);
        assert!(granted.is_some_and(|grant| grant.until > relied_on.until), "{granted:?}");
        exchange(&mut a, &mut b, 100);
        assert_eq!(a.supported_by(B, time(100).mono).unwrap().epoch, relied_on.epoch);
    }

    #[test]
    fn answers_out_of_order_never_shorten_support() {
        let (mut a, mut b) = (node(A, 10, 0), node(B, 20, 0));
        let early = deliver(&mut b, A, a.heartbeat(time(0)), time(1)).remove(0);
        let late = deliver(&mut b, A, a.heartbeat(time(100)), time(101)).remove(0);
        deliver(&mut a, B, late, time(102));
        let before = a.supported_by(B, time(103).mono);
        deliver(&mut a, B, early, time(103));
        assert_eq!(a.supported_by(B, time(103).mono), before);
    }

    #[test]
    fn a_start_waits_one_support_period_unless_the_directory_is_fresh() {
        let old = node(A, 1, 1000);
        assert!(!old.grants_votes(time(1600).mono));
        assert!(old.grants_votes(time(1602).mono));
        let fresh = Liveness::new(Options::default(), A, 1, true, time(1000).mono);
        assert!(fresh.grants_votes(time(1000).mono));
    }

    #[test]
    fn a_peer_that_leaves_keeps_its_support_until_it_lapses() {
        let (mut a, mut b) = (node(A, 10, 0), node(B, 20, 0));
        let mut effects = Vec::new();
        b.step(time(0), Input::Peers([A, B].into()), &mut effects);
        assert_eq!(effects.len(), 1, "a new peer gets a heartbeat at once");
        exchange(&mut a, &mut b, 0);
        b.step(time(1), Input::Peers(BTreeSet::new()), &mut effects);
        b.step(time(200), Input::Tick, &mut effects);
        assert!(b.supports(A, time(200).mono).is_some());
        b.step(time(700), Input::Tick, &mut effects);
        assert!(b.peers.is_empty());
    }

    #[test]
    fn whatever_the_drift_and_delay_the_requester_stops_believing_first() {
        let mut random = Random::new(1);
        for _ in 0..10_000 {
            let (mut a, mut b) = (node(A, 1, 0), node(B, 2, 0));
            // True time in nanoseconds, seen by clocks of different origin and rate.
            let rate = |random: &mut Random| random.between(999_000, 1_001_000);
            let (rate_a, rate_b) = (rate(&mut random), rate(&mut random));
            let at = |t: u64, rate: u64, origin: u64| Time {
                mono: Mono((u128::from(t) * u128::from(rate) / 1_000_000) as u64 + origin),
                wall: Wall(0),
            };
            let sent = 1_000_000_000;
            let arrived = sent + random.below(50 * MILLISECOND);
            let now_a = |t| at(t, rate_a, 0);
            let now_b = |t| at(t, rate_b, 7 << 40);
            let heartbeat = a.heartbeat(now_a(sent));
            let answer = deliver(&mut b, A, heartbeat, now_b(arrived)).remove(0);
            deliver(&mut a, B, answer, now_a(arrived + random.below(50 * MILLISECOND)));
            let t = sent + 590 * MILLISECOND + random.below(70 * MILLISECOND);
            if a.supported_by(B, now_a(t).mono).is_some() {
                assert!(b.supports(A, now_b(t).mono).is_some());
            }
        }
    }

    #[test]
    fn clocks_are_estimated_and_forgotten() {
        let (mut a, mut b) = (node(A, 10, 0), node(B, 20, 0));
        exchange(&mut a, &mut b, 0);
        assert_eq!(a.clock_of(B, time(50).mono), Some(time(50).wall));
        assert_eq!(a.clock_of(B, time(1801).mono), None);
        assert_eq!(a.clock_of(NodeId(9), time(0).mono), None);
    }

    #[test]
    fn no_minority_of_wrong_clocks_moves_the_median_ahead() {
        let walls = |hours: &[u64]| hours.iter().map(|&hour| Wall(hour)).collect::<Vec<_>>();
        assert_eq!(median(&mut walls(&[12, 13, 12]), 3), Some(Wall(12)));
        assert_eq!(median(&mut walls(&[13, 12]), 3), Some(Wall(12)));
        assert_eq!(median(&mut walls(&[11, 12]), 3), Some(Wall(11)));
        assert_eq!(median(&mut walls(&[13]), 3), None);
        assert_eq!(median(&mut walls(&[14, 13, 12]), 5), Some(Wall(12)));
        assert_eq!(median(&mut walls(&[14, 13, 12, 12, 1]), 5), Some(Wall(12)));
        assert_eq!(median(&mut walls(&[14, 13, 12, 11]), 4), Some(Wall(12)));
        assert_eq!(median(&mut walls(&[12]), 1), Some(Wall(12)));
        assert_eq!(median(&mut [], 0), None);
    }

    #[test]
    fn messages_have_these_bytes_and_read_back() {
        let heartbeat = Message::Heartbeat { sent_at: Mono(1), boot: 2, wall: Wall(3) };
        let support = Message::Support {
            sent_at: Mono(1),
            boot: 2,
            epoch: SupportEpoch { boot: 3, counter: 4 },
            support_ns: 5,
            wall: Wall(6),
        };
        for (message, numbers) in [(heartbeat, 1..=3u8), (support, 1..=6)] {
            let mut out = Writer::new();
            message.encode(&mut out);
            let bytes = out.finish();
            let mut golden = vec![u8::from(matches!(message, Message::Support { .. }))];
            numbers.for_each(|number| golden.extend([number, 0, 0, 0, 0, 0, 0, 0]));
            assert_eq!(bytes, golden);
            assert_eq!(Message::decode(&mut Reader::new(bytes.clone())), Ok(message));
            for cut in 0..bytes.len() {
                assert!(Message::decode(&mut Reader::new(bytes.slice(..cut))).is_err());
            }
        }
    }
}
