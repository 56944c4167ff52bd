//! How a run goes: faults, peace, and then everything must come right.

use super::World;
use crate::check::{self, bank, counter, expiry, invented, linear};
use crate::marks::Mark;
use crate::workload::{Client, Closer, Histories};
use base::time::{MILLISECOND, SECOND};
use base::{Failure, Index};
use node::KV;
use node::api::{Answer, Call, Reply};
use protocols::raft;
use std::collections::BTreeMap;

/// Faults being over, every node must serve writes after this long.
const RECOVERY_NS: u64 = 20 * SECOND;
/// How far shard time may lag behind, by messages that waited for a process that stood still or a link
/// that was cut, and by clocks that drift.
const LAG_NS_MAX: u64 = 8 * SECOND;
/// And whatever is under way must come to an end after this long.
const SETTLING_NS: u64 = 40 * SECOND;

impl World<'_> {
    /// Runs to the end; what was violated, if anything.
    pub fn run(&mut self, fault_ns: u64) -> Option<String> {
        self.run_until(fault_ns, |_| false);
        match self.atlas.is_beyond() {
            true => self.judge_inventions(),
            false => self.come_right(fault_ns),
        }
        self.count();
        self.violation.take()
    }

    fn come_right(&mut self, fault_ns: u64) {
        self.run_until(fault_ns + MILLISECOND, |_| false);
        let until = self.now + RECOVERY_NS;
        self.run_until(until, |world| world.clients.iter().all(Client::served));
        self.expect_all("still without service since peace", Client::served);
        let until = self.now + SETTLING_NS;
        self.run_until(until, |world| world.clients.iter().all(Client::finished));
        self.expect_all("still unfinished since peace", Client::finished);
        self.close();
        self.expect_room();
        self.compare_states();
        self.judge();
    }

    fn count(&mut self) {
        self.totals.leaders = self.watch.leaders();
        self.totals.time_sources = self.watch.source_counts();
        self.totals.entries = self.watch.entries();
        self.totals.marks.add(&self.watch.marks);
        self.totals.marks.hits(Mark::TimeByAllClocks, self.totals.time_sources[1]);
        self.totals.marks.hits(Mark::TimeByQuorum, self.totals.time_sources[2]);
        self.totals.marks.add(&self.histories.marks);
    }

    fn expect_all(&mut self, what: &str, fine: impl Fn(&Client) -> bool) {
        let late: Vec<usize> =
            (0..self.clients.len()).filter(|number| !fine(&self.clients[*number])).collect();
        if !late.is_empty() {
            let statuses = self.statuses();
            self.violated(format!("clients {late:?} are {what}; {statuses}"));
        }
    }

    /// Every shard on every node, for reports.
    fn statuses(&self) -> String {
        let mut text = String::new();
        for host in &self.hosts {
            let Some(node) = &host.node else {
                text.push_str(&format!("\n    n{} is down", host.number + 1));
                continue;
            };
            for shard in node.status(host.clock.at(self.now)).shards {
                text.push_str(&format!(
                    "\n    n{} {}: {} of term {}, leader {:?}, log from {} to {}, commit {}, applied {}, hash {:x?}",
                    host.number + 1,
                    shard.kind,
                    shard.role,
                    shard.term,
                    shard.leader.map(|leader| leader.0),
                    shard.first,
                    shard.last,
                    shard.commit,
                    shard.applied,
                    shard.hash
                ));
            }
        }
        text
    }

    /// Reads everything once more.
    fn close(&mut self) {
        let random = self.random.clients.fork();
        let closer = Box::new(Closer::new(self.profile.registers));
        let closer = Client::new("closer", closer, None, random);
        self.clients.push(closer);
        let number = self.clients.len() - 1;
        self.at(self.now, super::Event::Client { client: number, step: 0 });
        let until = self.now + RECOVERY_NS;
        self.run_until(until, |world| world.clients[number].work.finished());
        self.expect_all("still reading what is left", Client::finished);
    }

    /// All replicas hold the same rows at one index. One that was behind may jump over the mark by a
    /// snapshot; then there is another one.
    fn compare_states(&mut self) {
        for _ in 0..10 {
            let Some(index) = self.mark() else { break };
            let until = self.now + 2 * SECOND;
            self.run_until(until, |world| world.hashes_at(index).len() == world.hosts.len());
            let hashes = self.hashes_at(index);
            let first = hashes.values().next();
            if hashes.values().any(|hash| Some(hash) != first) {
                return self.violated(format!("states differ at {index}: {hashes:?}"));
            }
            if hashes.len() == self.hosts.len() {
                return;
            }
        }
        let statuses = self.statuses();
        self.violated(format!("not all replicas reach a hash mark: {statuses}"));
    }

    /// Logs a hash mark; its index.
    fn mark(&mut self) -> Option<Index> {
        for _ in 0..8 {
            self.marked = None;
            let host = self.random.faults.below(self.hosts.len() as u64) as usize;
            self.ask_own(host, Call::HashMark);
            self.run_until(self.now + 3 * SECOND, |world| world.marked.is_some());
            if self.violation.is_some() {
                return None;
            }
            if let Some(index) = self.marked.take().flatten() {
                return Some(index);
            }
        }
        None
    }

    fn hashes_at(&self, index: Index) -> BTreeMap<usize, u64> {
        let at_index = |(host, (at, hash))| (at == index).then_some((host, hash));
        self.hashes().into_iter().filter_map(at_index).collect()
    }

    fn hashes(&self) -> BTreeMap<usize, (Index, u64)> {
        let mut hashes = BTreeMap::new();
        for host in &self.hosts {
            let Some(node) = &host.node else { continue };
            let status = node.status(host.clock.at(self.now));
            let kv = status.shards.iter().find(|shard| shard.shard == KV);
            if let Some(hash) = kv.and_then(|shard| shard.hash) {
                hashes.insert(host.number, hash);
            }
        }
        hashes
    }

    /// An answer to a request of the world itself.
    pub(super) fn own_answer(&mut self, answer: Answer) {
        if let Some(host) = self.faults.replacing.remove(&answer.seq) {
            if answer.result == Ok(Reply::Done) {
                self.replaced(host);
            }
            return;
        }
        self.marked = Some(match answer.result {
            Ok(Reply::Index(index)) => Some(index),
            Err(Failure::Refused(_)) => {
                self.hit(Mark::TransferRefused);
                None
            }
            _ => None,
        });
    }

    fn told(&mut self) -> Histories {
        let mut histories = Histories::default();
        for client in &mut self.clients {
            client.work.report(&mut histories);
        }
        histories
    }

    /// Where nothing is promised, nothing may be made up all the same.
    fn judge_inventions(&mut self) {
        let histories = self.told();
        for (key, ops) in &histories.registers {
            if let Err(wrong) = invented::check(ops, &histories.values) {
                self.violated(format!("register {key}: {wrong}"));
            }
        }
        for (key, ops) in &histories.pipelined {
            let ops: Vec<linear::Op> = ops.iter().map(|(op, _)| *op).collect();
            if let Err(wrong) = invented::check(&ops, &histories.values) {
                self.violated(format!("pipelined {key}: {wrong}"));
            }
        }
        self.histories = histories;
    }

    /// What was asked for without waiting is linearizable too, and in the order of each connection.
    fn judge_pipelines(&mut self, histories: &Histories) {
        for (key, ops) in &histories.pipelined {
            match linear::check_in_lines(ops) {
                linear::Verdict::Fine => {}
                linear::Verdict::TooHard => self.totals.unjudged += 1,
                linear::Verdict::Impossible(near) => {
                    let near: Vec<String> = near.iter().map(|op| format!("\n    {op}")).collect();
                    let near = near.concat();
                    self.violated(format!(
                        "pipelined {key} is not linearizable in order near{near}"
                    ));
                }
            }
        }
    }

    fn judge(&mut self) {
        if self.violation.is_some() {
            return;
        }
        let mut histories = self.told();
        for (key, ops) in &histories.registers {
            match linear::check(ops) {
                linear::Verdict::Fine => {}
                linear::Verdict::TooHard => self.totals.unjudged += 1,
                linear::Verdict::Impossible(near) => {
                    let near: Vec<String> = near.iter().map(|op| format!("\n    {op}")).collect();
                    let near = near.concat();
                    self.violated(format!("register {key} is not linearizable near{near}"));
                }
            }
        }
        self.judge_pipelines(&histories);
        let counters = histories.counters.iter().map(|of| ("counter", of));
        let exact = histories.exact.iter().map(|of| ("counter with sessions", of));
        for (what, (key, (increments, last))) in counters.chain(exact) {
            let Some(last) = last else { continue };
            if let Err(wrong) = counter::check(increments, *last) {
                self.violated(format!("{what} {key}: {wrong}"));
            }
        }
        self.judge_ends(&mut histories);
        self.judge_sessions(&histories);
        match bank::check(&histories.looks) {
            Ok(looks) => self.totals.looks += looks,
            Err(wrong) => self.violated(wrong),
        }
        self.totals.walks += histories.walks;
        self.histories = histories;
    }

    /// Sessions whose reads are all as strong as can be, and ones that read the nearest replica: these
    /// may be late, but never go back nor see things out of order.
    fn judge_sessions(&mut self, histories: &Histories) {
        let verdicts = check::of_sessions(&histories.sessions);
        for (number, (name, verdict)) in verdicts.into_iter().enumerate() {
            match verdict {
                Ok(pairs) => self.totals.session_pairs[number] += pairs,
                Err(wrong) => self.violated(format!("{name}: {wrong}")),
            }
        }
    }

    /// Keys that end. A step makes up for a lag; one that no delay explains must come from slow clocks
    /// that a leader had to go by. Where most clocks are set at will it may go anywhere.
    fn judge_ends(&mut self, histories: &mut Histories) {
        let (few, right) = (self.watch.went_by_few_clocks(KV), self.most_clocks_are_right());
        for spell in histories.spells.iter_mut().flatten() {
            let until = spell.returned.unwrap_or(self.now);
            let lag = self.watch.lag(KV, spell.invoked, until);
            let known = right && (lag <= LAG_NS_MAX || !few);
            spell.lag_ns = known.then_some(lag.min(LAG_NS_MAX));
        }
        let time = expiry::ShardTime {
            fast_ppm: raft::Options::default().clock_slew_ppm + self.profile.drift_ppm * 101 / 100,
            steps: self.watch.steps(KV),
            ahead_ns: 2 * self.profile.wall_spread_ns,
        };
        for spells in &histories.spells {
            match expiry::check(spells, &time) {
                Ok(judged) => self.totals.ends.add(judged),
                Err(wrong) => self.violated(format!("a key that ends: {wrong}")),
            }
        }
    }
}
