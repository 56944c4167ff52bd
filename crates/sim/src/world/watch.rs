//! What must hold after every event, looked at from outside.
//!
//! - One leader at most per shard and term.
//! - Terms and commit indexes of a replica never go back while its process lives, and its applied
//!   index never goes back but over a restart.
//! - Nothing is applied that no replica holds committed.
//! - What any replica holds committed at an index, every other one holds there too: term and
//!   content. A new leader's log holds all that was committed.
//! - A process that starts again knows the term and vote that its log had said to be durable.
//! - Every request is answered by its deadline.
//!
//! For this each log is mirrored as one hash per entry, from the very records that the nodes write.

use super::World;
use crate::clock::EPOCH_NS;
use crate::judge::Judge;
use crate::marks::{Mark, Marks};
use base::checksum::hash64;
use base::codec::Writer;
use base::time::MILLISECOND;
use base::{ConnId, Entry, HardState, Mono, ShardId, Term};
use node::api::{Answer, FromConn};
use node::{KV, ReadCounts};
use protocols::raft::TimeSource;
use std::collections::{BTreeMap, BTreeSet};
use storage::wal::{Record, Recovered};

/// How long after a deadline an answer may come: the node looks ten times a second.
const GRACE_NS: u64 = 300 * MILLISECOND;

/// One replica's log, from `start` (excluded) on.
#[derive(Debug, Default)]
struct Mirror {
    start: u64,
    entries: Vec<(Term, u64)>,
}

impl Mirror {
    fn at(&self, index: u64) -> Option<(Term, u64)> {
        let offset = index.checked_sub(self.start + 1)?;
        self.entries.get(offset as usize).copied()
    }

    /// Whether they replaced others.
    fn put(&mut self, entries: &[Entry]) -> bool {
        let Some(first) = entries.first() else { return false };
        if first.index.0 <= self.start || first.index.0 > self.start + self.entries.len() as u64 + 1
        {
            // Before its start or behind a gap: the log itself refuses to write such a thing.
            self.reset(first.index.0 - 1);
        }
        let kept = (first.index.0 - self.start - 1) as usize;
        let replaced = self.entries.get(kept).is_some_and(|(term, _)| *term != first.term);
        self.entries.truncate(kept);
        self.entries.extend(entries.iter().map(|entry| (entry.term, hash_of(entry))));
        replaced
    }

    fn start_at(&mut self, index: u64) {
        if index > self.start {
            let gone = ((index - self.start) as usize).min(self.entries.len());
            self.entries.drain(..gone);
            self.start = index;
        }
    }

    fn reset(&mut self, index: u64) {
        self.entries.clear();
        self.start = index;
    }
}

fn hash_of(entry: &Entry) -> u64 {
    let mut out = Writer::with_capacity(entry.data.len() + 64);
    entry.encode(&mut out);
    hash64(&out.finish(), 0)
}

/// How a replica was last seen.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    /// All of it, to see that nothing changed.
    all: Option<node::Observed>,
    term: Term,
    commit: u64,
    applied: u64,
    leads: bool,
    joint: bool,
    reads: ReadCounts,
    /// The lease was not enough for a read of this term.
    doubted: bool,
}

/// An entry that is committed.
#[derive(Clone, Copy, Debug)]
struct Committed {
    entry: (Term, u64),
    /// The term in which that was first seen. A leader of an earlier one may lack it: it was elected
    /// by votes that came late, and nobody listens to it.
    by: Term,
}

/// Everything that is watched.
#[derive(Debug, Default)]
pub struct Watch {
    mirrors: BTreeMap<(usize, ShardId), Mirror>,
    seen: BTreeMap<(usize, ShardId), Seen>,
    leaders: BTreeMap<(ShardId, Term), usize>,
    /// How many of these a shard has.
    led: BTreeMap<ShardId, usize>,
    /// What is committed, from index 1 on.
    committed: BTreeMap<ShardId, Vec<Option<Committed>>>,
    /// Hard states with the ticket they went to the log under, oldest first; the first is durable.
    hard_states: BTreeMap<(usize, ShardId), Vec<(u64, HardState)>>,
    /// The highest applied index of each shard.
    newest: BTreeMap<ShardId, u64>,
    /// When a new index was first applied in a shard, and how far its stamp lay behind true time.
    lags: BTreeMap<ShardId, Vec<(u64, u64)>>,
    /// How the leaders of each shard came to know its time, and when.
    sources: BTreeMap<(ShardId, Term), (u64, TimeSource)>,
    waiting: BTreeMap<usize, BTreeSet<(Mono, ConnId, u64)>>,
    deadlines: BTreeMap<(usize, ConnId, u64), Mono>,
    /// Leaders that were asked for since the last election.
    wishes: BTreeMap<ShardId, Option<usize>>,
    /// States that were reached.
    pub marks: Marks,
}

impl Watch {
    /// A process starts from what its log held.
    pub fn started(&mut self, host: usize, recovered: &Recovered) -> Result<(), String> {
        let known: Vec<(ShardId, HardState)> = self
            .hard_states
            .iter()
            .filter(|((of, _), states)| *of == host && states[0].0 == 0)
            .map(|((_, shard), states)| (*shard, states[0].1))
            .collect();
        self.hard_states.retain(|(of, _), _| *of != host);
        for (shard, durable) in known {
            let found = recovered.shards.get(&shard).map(|log| log.hard_state).unwrap_or_default();
            let forgot = found.term < durable.term
                || found.term == durable.term
                    && durable.vote.is_some()
                    && found.vote != durable.vote;
            if forgot {
                return Err(format!(
                    "n{} {shard} starts with {found:?}, {durable:?} had been durable",
                    host + 1
                ));
            }
            self.hard_states.insert((host, shard), vec![(0, found)]);
        }
        self.mirrors.retain(|(of, _), _| *of != host);
        for (shard, log) in &recovered.shards {
            let mut mirror = Mirror { start: log.log_start.index.0, entries: Vec::new() };
            mirror.put(&log.entries);
            self.mirrors.insert((host, *shard), mirror);
        }
        Ok(())
    }

    /// The log says that everything up to a ticket is durable.
    pub fn durable(&mut self, host: usize, ticket: u64) {
        let range = (host, ShardId(0))..=(host, ShardId(u64::MAX));
        for (_, states) in self.hard_states.range_mut(range) {
            let done = states.partition_point(|(of, _)| *of <= ticket);
            if done > 0 {
                states.drain(..done - 1);
                states[0].0 = 0;
            }
        }
    }

    /// A process is over.
    pub fn ended(&mut self, host: usize) {
        self.seen.retain(|(of, _), _| *of != host);
        self.waiting.remove(&host);
        self.deadlines.retain(|(of, _, _), _| *of != host);
    }

    /// A host's disk is gone, and with it all that was durable on it.
    pub fn forget(&mut self, host: usize) {
        self.hard_states.retain(|(of, _), _| *of != host);
        self.mirrors.retain(|(of, _), _| *of != host);
    }

    /// A node has its records written.
    pub fn logged(&mut self, host: usize, ticket: u64, records: &[Record]) {
        for record in records {
            match record {
                Record::Entries { shard, entries } => {
                    if self.mirrors.entry((host, *shard)).or_default().put(entries) {
                        self.marks.hit(Mark::SuffixCut);
                    }
                }
                Record::LogStart { shard, start } => {
                    self.mirrors.entry((host, *shard)).or_default().start_at(start.index.0);
                }
                Record::Reset { shard, start } => {
                    if start.index.0 > 0 {
                        self.marks.hit(Mark::SnapshotInstalled);
                    }
                    self.mirrors.entry((host, *shard)).or_default().reset(start.index.0);
                }
                Record::Drop { shard } => {
                    self.mirrors.remove(&(host, *shard));
                }
                Record::HardState { shard, state } => {
                    self.hard_states.entry((host, *shard)).or_default().push((ticket, *state));
                }
                Record::Replica { .. } => {}
            }
        }
    }

    /// A request goes into a node.
    pub fn asked(&mut self, host: usize, from: &FromConn) {
        match from {
            FromConn::Request(request) => {
                let (conn, seq, deadline) = (request.conn, request.seq, request.deadline);
                self.waiting.entry(host).or_default().insert((deadline, conn, seq));
                self.deadlines.insert((host, conn, seq), deadline);
            }
            FromConn::Cancel(conn, seq) => self.forget_request(host, *conn, *seq),
            FromConn::Close(conn) => {
                let range = (host, *conn, 0)..=(host, *conn, u64::MAX);
                let gone: Vec<u64> =
                    self.deadlines.range(range).map(|((_, _, seq), _)| *seq).collect();
                for seq in gone {
                    self.forget_request(host, *conn, seq);
                }
            }
        }
    }

    fn forget_request(&mut self, host: usize, conn: ConnId, seq: u64) {
        if let Some(deadline) = self.deadlines.remove(&(host, conn, seq))
            && let Some(waiting) = self.waiting.get_mut(&host)
        {
            waiting.remove(&(deadline, conn, seq));
        }
    }

    /// An answer comes out of a node.
    pub fn answered(&mut self, host: usize, answer: &Answer) {
        if !answer.more {
            self.forget_request(host, answer.conn, answer.seq);
        }
    }

    /// Where a shard's newest leader is.
    pub fn leader_of(&self, shard: ShardId) -> Option<usize> {
        let range = (shard, Term(0))..=(shard, Term(u64::MAX));
        self.leaders.range(range).next_back().map(|(_, host)| *host)
    }

    /// Where its newest leader but one was.
    pub fn leader_before(&self, shard: ShardId) -> Option<usize> {
        let range = (shard, Term(0))..=(shard, Term(u64::MAX));
        self.leaders.range(range).nth_back(1).map(|(_, host)| *host)
    }

    /// Terms of a shard with a leader so far.
    pub fn leaders_of(&self, shard: ShardId) -> usize {
        self.led.get(&shard).copied().unwrap_or_default()
    }

    /// Somebody wants another leader.
    pub fn wished(&mut self, shard: ShardId, to: Option<usize>) {
        self.wishes.insert(shard, to);
    }

    /// Terms with a leader so far.
    pub fn leaders(&self) -> u64 {
        self.leaders.len() as u64
    }

    /// Committed entries so far.
    pub fn entries(&self) -> u64 {
        self.committed.values().map(|entries| entries.len() as u64).sum()
    }

    fn check_committed(
        &mut self,
        host: usize,
        shard: ShardId,
        term: Term,
        (from, to): (u64, u64),
    ) -> Result<(), String> {
        let Some(mirror) = self.mirrors.get(&(host, shard)) else { return Ok(()) };
        let committed = self.committed.entry(shard).or_default();
        if committed.len() < to as usize {
            committed.resize(to as usize, None);
        }
        for index in from + 1..=to {
            let Some(mine) = mirror.at(index) else { continue };
            let place = &mut committed[index as usize - 1];
            match place {
                Some(Committed { entry: known, .. }) if *known != mine => {
                    return Err(format!(
                        "n{} holds {shard} entry {index} of term {} committed, another held one of \
                         term {}{}",
                        host + 1,
                        mine.0,
                        known.0,
                        if known.0 == mine.0 { " with other content" } else { "" }
                    ));
                }
                Some(_) => {}
                None => *place = Some(Committed { entry: mine, by: term }),
            }
        }
        Ok(())
    }

    /// Whether a replica is just as it was after the turn before.
    fn is_as_before(&self, host: usize, seen: &node::Observed) -> bool {
        self.seen.get(&(host, seen.shard)).is_some_and(|before| before.all == Some(*seen))
    }

    /// A replica as it is after a turn.
    fn observe(&mut self, host: usize, seen: &node::Observed) -> Result<(), String> {
        let (shard, name) = (seen.shard, format_args!("n{} {}", host + 1, seen.shard));
        let before = self.seen.get(&(host, shard)).copied();
        let first = before.is_none();
        let before = before.unwrap_or_default();
        let now = self.note_states(&before, seen);
        self.seen.insert((host, shard), now);
        if now.term < before.term {
            return Err(format!("{name}: the term went back from {} to {}", before.term, now.term));
        }
        if now.commit < before.commit || now.applied < before.applied {
            return Err(format!(
                "{name}: commit {} or applied {} went back from {} and {}",
                now.commit, now.applied, before.commit, before.applied
            ));
        }
        if now.leads {
            match self.leaders.get(&(shard, now.term)) {
                Some(known) if *known != host => {
                    return Err(format!(
                        "{name} leads term {}, and so does n{}",
                        now.term,
                        known + 1
                    ));
                }
                Some(_) => {}
                None => {
                    self.marks.hit(Mark::LeaderElected);
                    let wish = self.wishes.remove(&shard);
                    if wish.is_some_and(|to| to.is_none_or(|to| to == host)) {
                        self.marks.hit(Mark::TransferDone);
                    }
                    self.leaders.insert((shard, now.term), host);
                    *self.led.entry(shard).or_default() += 1;
                }
            }
            if !before.leads || before.term != now.term {
                self.check_new_leader(host, shard, now.term)?;
            }
        }
        if now.commit > before.commit {
            let from = if first { 0 } else { before.commit };
            self.check_committed(host, shard, now.term, (from, now.commit))?;
        }
        // Its own commit index may lag a little behind an installed snapshot.
        let committed = self.committed.get(&shard).map_or(0, |entries| entries.len() as u64);
        if now.applied > committed {
            return Err(format!("{name}: applied {}, committed are {committed}", now.applied));
        }
        Ok(())
    }

    /// Marks the states that a replica came to.
    fn note_states(&mut self, before: &Seen, seen: &node::Observed) -> Seen {
        let same_term = before.leads && seen.leads && before.term == seen.term;
        let mut doubted = same_term && before.doubted;
        let (reads, then) = (seen.reads, before.reads);
        self.marks.hits(Mark::ReadByRound, reads.confirmed - then.confirmed);
        self.marks.hits(Mark::ReadRefused, reads.refused - then.refused);
        if reads.leased > then.leased {
            self.marks.hits(Mark::ReadByLease, reads.leased - then.leased);
            self.marks.hits(Mark::LeaseRegained, u64::from(doubted && same_term));
            doubted = false;
        }
        // A round that confirms what the lease was enough for before.
        doubted |= same_term && then.leased > 0 && reads.confirmed > then.confirmed;
        if seen.joint != before.joint {
            self.marks.hit(if seen.joint { Mark::JointEntered } else { Mark::JointLeft });
        }
        Seen {
            all: Some(*seen),
            term: seen.term,
            commit: seen.commit.0,
            applied: seen.applied.0,
            leads: seen.leads,
            joint: seen.joint,
            reads,
            doubted,
        }
    }

    /// A new leader's log holds everything that was committed before its term.
    fn check_new_leader(&self, host: usize, shard: ShardId, term: Term) -> Result<(), String> {
        let Some(mirror) = self.mirrors.get(&(host, shard)) else { return Ok(()) };
        let Some(committed) = self.committed.get(&shard) else { return Ok(()) };
        for (offset, entry) in committed.iter().enumerate() {
            let index = offset as u64 + 1;
            let Some(Committed { entry, by }) = entry else { continue };
            if index > mirror.start && *by < term && mirror.at(index) != Some(*entry) {
                return Err(format!(
                    "n{} leads {shard} in term {term} without the committed entry {index} of term {}",
                    host + 1,
                    entry.0
                ));
            }
        }
        Ok(())
    }

    /// When leaders stepped a shard's time up to the wall clocks.
    pub fn steps(&self, shard: ShardId) -> Vec<u64> {
        let stepped = self.sources_of(shard).filter(|(_, source)| *source != TimeSource::Carried);
        let mut steps: Vec<u64> = stepped.map(|(at, _)| at).collect();
        steps.sort_unstable();
        steps
    }

    /// Whether a leader had to go by the clocks of a bare quorum.
    pub fn went_by_few_clocks(&self, shard: ShardId) -> bool {
        self.sources_of(shard).any(|(_, source)| source == TimeSource::QuorumClocks)
    }

    fn sources_of(&self, shard: ShardId) -> impl Iterator<Item = (u64, TimeSource)> {
        self.sources.range((shard, Term(0))..=(shard, Term(u64::MAX))).map(|(_, source)| *source)
    }

    /// Leaders who ran on with shard time, who stepped to all clocks, and to a quorum's.
    pub fn source_counts(&self) -> [u64; 3] {
        [TimeSource::Carried, TimeSource::AllClocks, TimeSource::QuorumClocks]
            .map(|kind| self.sources.values().filter(|(_, source)| *source == kind).count() as u64)
    }

    /// Shard time never runs ahead of what a majority's clocks may show.
    fn check_stamp(
        &mut self,
        seen: &node::Observed,
        now: u64,
        ahead: Option<u64>,
    ) -> Result<(), String> {
        if let Some(source) = seen.time_source {
            self.sources.entry((seen.shard, seen.term)).or_insert((now, source));
        }
        let newest = self.newest.entry(seen.shard).or_default();
        if seen.applied.0 <= *newest {
            return Ok(());
        }
        *newest = seen.applied.0;
        let truth = EPOCH_NS + now;
        let lags = self.lags.entry(seen.shard).or_default();
        lags.push((now, truth.saturating_sub(seen.stamp.0)));
        let Some(ahead) = ahead else { return Ok(()) };
        if seen.stamp.0 > truth + ahead {
            return Err(format!(
                "the time of {} is {} ms ahead, {} ms were allowed",
                seen.shard,
                (seen.stamp.0 - truth) / MILLISECOND,
                ahead / MILLISECOND
            ));
        }
        Ok(())
    }

    /// How far a shard's time lay behind true time at most while something was applied.
    pub fn lag(&self, shard: ShardId, from: u64, to: u64) -> u64 {
        let Some(lags) = self.lags.get(&shard) else { return 0 };
        let first = lags.partition_point(|(at, _)| *at < from);
        // The first one after the window may be a batch that began within it.
        let end = (lags.partition_point(|(at, _)| *at <= to) + 1).min(lags.len());
        lags[first.min(end)..end].iter().map(|(_, lag)| *lag).max().unwrap_or(0)
    }

    fn overdue(&self, host: usize, now: Mono) -> Option<String> {
        let (deadline, conn, seq) = self.waiting.get(&host)?.first()?;
        let late = now.since(*deadline);
        (late > GRACE_NS).then(|| {
            format!(
                "n{}: request {seq} of {conn} has no answer {} ms after its deadline",
                host + 1,
                late / MILLISECOND
            )
        })
    }
}

impl World<'_> {
    /// Whether nobody sets the wall clocks of a majority.
    pub(super) fn most_clocks_are_right(&self) -> bool {
        self.profile.steppers <= (self.hosts.len() as u64 - 1) / 2
    }

    /// Looks at a node after its turn.
    pub(super) fn observe(&mut self, number: usize) {
        let host = &self.hosts[number];
        let Some(node) = &host.node else { return };
        let drift_ns = self.now / 1_000_000 * self.profile.drift_ppm;
        let sane = self.most_clocks_are_right();
        let ahead = sane.then_some(self.profile.wall_spread_ns + drift_ns + MILLISECOND);
        let leaders = self.watch.leaders_of(KV);
        let mut wrong = None;
        for seen in node.observe() {
            if self.watch.is_as_before(number, &seen) {
                continue;
            }
            let watched = self.watch.observe(number, &seen);
            let watched = watched.and_then(|()| self.watch.check_stamp(&seen, self.now, ahead));
            wrong = watched.err().or(wrong);
        }
        let now = host.clock.at(self.now).mono;
        let wrong = wrong.or_else(|| self.watch.overdue(number, now));
        if let Some(what) = wrong {
            self.violated_for(Judge::Watch, what);
        }
        if self.watch.leaders_of(KV) > leaders {
            self.doom(number);
        }
    }
}
