//! Runs the stories in `tests/raft/*.txt`: what happens, `---`, what comes of it. A story is a small
//! cluster whose time, links and disks move only when it says so. `UPDATE=1` writes the outcomes
//! anew; read the diff.
//!
//! ```text
//! cluster 3                 replicas r1.. on nodes n1.., all voters; `cluster 3 of 4` adds spares
//! elect 1                   r1's timeout comes, and everything is delivered until nothing moves
//! propose 1 x               and flush; nothing is delivered yet
//! read 1                    ask for a strong read, and flush
//! lease 1                   what the lease allows now
//! deliver [1 2]             deliver what is under way, all of it or on one link, once
//! drop [1 2]                lose it instead
//! copy 1 2 / again 1 2      what is on a link now comes a second time / when this is said
//! sync 1                    finish r1's writes; `disk 1 manual` stops doing that by itself
//! settle                    deliver and sync until nothing moves, in no time
//! advance 100               let milliseconds pass with heartbeats; `quiet 100` without any
//! run 100                   let milliseconds pass with heartbeats, and deliver what is sent
//! beat 1 2                  r1's node asks r2's for support once
//! tick 1                    r1's deadline counts as come if it has
//! cut 1 2 / heal            a link that loses everything, both ways / all links again
//! mute 1 2                  nothing that r1 says reaches r2
//! transfer 1 2              r1 hands over to r2
//! change 1 +4 ^4 -1 v2      add, promote, remove, demote
//! compact 1 5               r1's state is durable up to 5
//! snapshot 1 2              r1 streams its state to r2 ; `snapshot 1 2 at 3` an old one
//! restart 1 / stop 1        a crash that loses what was not synced / the replica ends
//! clock 1 -3600             r1's wall clock is an hour slow from now on
//! time 1                    shard time as r1, leading, has it, beside true time
//! status / log 1            one line per replica / r1's entries
//! ```

// The stories are files; the cores that play in them see none.
#![allow(clippy::disallowed_methods)]

use base::codec::Reader;
use base::time::{MILLISECOND, SECOND};
use base::{
    Entry, EntryKind, HardState, Index, LogStart, Membership, Mono, NodeId, ReplicaId, ShardId,
    Term, Time, Wall,
};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use underpin_protocols::clock::Reading;
use underpin_protocols::liveness::{self, Liveness};
use underpin_protocols::raft::{
    Body, Change, Context, Effect, Feed, Input, Message, Options, Raft, Restored, TimeSource,
};

/// True time at the beginning of a story.
const EPOCH: u64 = 1_000_000 * SECOND;

/// Ticket, hard state, reset and entries.
type Write = (u64, Option<HardState>, Option<LogStart>, Vec<Entry>);

struct Server {
    raft: Raft,
    liveness: Liveness,
    boot: u64,
    manual_disk: bool,
    /// Writes under way.
    writes: Vec<Write>,
    hard_state: HardState,
    log_start: LogStart,
    entries: Vec<Entry>,
    applied: Index,
}

#[derive(Default)]
struct Story {
    now: u64,
    servers: BTreeMap<u64, Server>,
    links: BTreeMap<(u64, u64), Vec<Message>>,
    copies: Vec<Message>,
    cut: BTreeSet<(u64, u64)>,
    /// By how many seconds a server's wall clock is wrong.
    clocks: BTreeMap<u64, i64>,
    out: String,
    /// Whether effects are told.
    told: bool,
    starts: BTreeMap<Index, LogStart>,
}

impl Story {
    fn time(&self) -> Time {
        let mono = Mono((self.now + 1000) * MILLISECOND);
        Time { mono, wall: Wall(EPOCH + self.now * MILLISECOND) }
    }

    /// Time as a server's own clocks show it.
    fn time_at(&self, id: u64) -> Time {
        let Time { mono, wall } = self.time();
        let error_s = self.clocks.get(&id).copied().unwrap_or(0);
        Time { mono, wall: Wall(wall.0.strict_add_signed(error_s * SECOND as i64)) }
    }

    /// How far shard time at a leader is from true time.
    fn shard_time(&mut self, id: u64) {
        let truth = self.time().wall.0;
        let stamp = self.call(id, |raft, ctx, _| raft.shard_time(ctx));
        let off_ms = (stamp.0 as i64 - truth as i64) / MILLISECOND as i64;
        self.say(format_args!("r{id}'s time is {off_ms} ms off"));
    }

    fn run(&mut self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |at: usize| words.get(at).map(|word| word.parse::<u64>().expect(line));
        self.told = true;
        match words[0] {
            "cluster" => self.cluster(number(1).unwrap(), number(3)),
            "elect" => self.elect(number(1).unwrap()),
            "propose" => self.propose(number(1).unwrap(), words[2]),
            "read" => self.read(number(1).unwrap()),
            "lease" => self.lease(number(1).unwrap()),
            "deliver" => drop(self.deliver(number(1).zip(number(2)))),
            "drop" => {
                self.links.retain(|link, _| number(1).zip(number(2)).is_some_and(|l| l != *link))
            }
            "copy" => {
                let link = number(1).zip(number(2)).unwrap();
                self.copies = self.links.get(&link).cloned().unwrap_or_default();
            }
            "again" => {
                let link = number(1).zip(number(2)).unwrap();
                let copies = std::mem::take(&mut self.copies);
                self.links.entry(link).or_default().extend(copies);
                self.deliver(Some(link));
            }
            "sync" => self.sync(number(1).unwrap()),
            "disk" => self.server(number(1).unwrap()).manual_disk = words[2] == "manual",
            "settle" => self.settle(),
            "advance" => self.advance(number(1).unwrap(), true),
            "run" => {
                for _ in 0..number(1).unwrap() / 10 {
                    self.advance(10, true);
                    self.settle();
                }
            }
            "quiet" => self.advance(number(1).unwrap(), false),
            "beat" => self.beat(number(1).unwrap(), number(2).unwrap()),
            "tick" => self.tick(number(1).unwrap()),
            "cut" => {
                let (a, b) = (number(1).unwrap(), number(2).unwrap());
                self.cut.extend([(a, b), (b, a)]);
            }
            "mute" => drop(self.cut.insert((number(1).unwrap(), number(2).unwrap()))),
            "heal" => self.cut.clear(),
            "transfer" => self.transfer(number(1).unwrap(), number(2).map(ReplicaId)),
            "change" => self.change(number(1).unwrap(), &words[2..]),
            "compact" => {
                let to = Index(number(2).unwrap());
                self.call(number(1).unwrap(), |raft, _, effects| raft.compact(to, effects));
            }
            "snapshot" => self.snapshot(number(1).unwrap(), number(2).unwrap(), number(4)),
            "restart" => self.restart(number(1).unwrap()),
            "stop" => self.call(number(1).unwrap(), |raft, ctx, effects| raft.stop(ctx, effects)),
            "clock" => drop(self.clocks.insert(number(1).unwrap(), words[2].parse().expect(line))),
            "time" => self.shard_time(number(1).unwrap()),
            "status" => self.status(),
            "log" => self.log(number(1).unwrap()),
            _ => panic!("unknown: {line}"),
        }
    }

    fn server(&mut self, id: u64) -> &mut Server {
        self.servers.get_mut(&id).unwrap_or_else(|| panic!("there is no r{id}"))
    }

    fn say(&mut self, text: std::fmt::Arguments) {
        if self.told {
            writeln!(self.out, "{text}").unwrap();
        }
    }

    fn cluster(&mut self, voters: u64, of: Option<u64>) {
        let members = Membership::of_voters((1..=voters).map(|id| (ReplicaId(id), NodeId(id))));
        for id in 1..=of.unwrap_or(voters) {
            let membership = if id <= voters { members.clone() } else { Membership::default() };
            let log_start = LogStart { membership, ..LogStart::default() };
            self.starts.entry(Index(0)).or_insert_with(|| log_start.clone());
            let liveness = self.liveness(id, id, true);
            let restored = Restored { log_start: log_start.clone(), ..Restored::default() };
            let server = Server {
                raft: self.raft(id, restored),
                liveness,
                boot: id,
                manual_disk: false,
                writes: Vec::new(),
                hard_state: HardState::default(),
                log_start,
                entries: Vec::new(),
                applied: Index(0),
            };
            self.servers.insert(id, server);
        }
        self.advance(0, true);
    }

    fn liveness(&self, id: u64, boot: u64, fresh: bool) -> Liveness {
        let options = liveness::Options::default();
        Liveness::new(options, NodeId(id), boot, fresh, self.time().mono)
    }

    fn raft(&self, id: u64, restored: Restored) -> Raft {
        let options = Options { retain_bytes_max: 300, ..Options::default() };
        Raft::new(options, ShardId(1), ReplicaId(id), NodeId(id), id, restored, self.time())
    }

    /// Calls a replica and carries out, or notes, what it wants.
    fn call<T>(&mut self, id: u64, f: impl FnOnce(&mut Raft, Context, &mut Vec<Effect>) -> T) -> T {
        let now = self.time_at(id);
        let server = self.server(id);
        let mut effects = Vec::new();
        let ctx = Context { now, liveness: &server.liveness };
        let result = f(&mut server.raft, ctx, &mut effects);
        let manual = server.manual_disk;
        for effect in effects {
            self.carry_out(id, effect);
        }
        if !manual {
            self.sync(id);
        }
        result
    }

    fn carry_out(&mut self, id: u64, effect: Effect) {
        match effect {
            Effect::Persist { ticket, hard_state, reset, entries } => {
                if self.server(id).manual_disk {
                    self.say(format_args!("r{id} writes {ticket}"));
                }
                self.server(id).writes.push((ticket, hard_state, reset, entries));
            }
            Effect::Send { to, message } => {
                if !self.cut.contains(&(id, to.0)) {
                    self.links.entry((id, to.0)).or_default().push(message);
                }
            }
            Effect::Commit { index } => {
                self.say(format_args!("r{id} commits {index}"));
                let server = self.server(id);
                let entries = server.raft.entries(server.applied, index, usize::MAX);
                server.raft.applied(index);
                server.applied = index;
                for entry in entries {
                    self.note_start(&entry);
                }
            }
            Effect::Truncated { from } => self.say(format_args!("r{id} drops entries from {from}")),
            Effect::ReadReady { id: read, index } => {
                self.say(format_args!("r{id} reads up to #{} see {index}", read.0));
            }
            Effect::ReadsFailed => self.say(format_args!("r{id} fails its reads")),
            Effect::NeedSnapshot { to } => {
                self.say(format_args!("r{id} has to send {to} a snapshot"))
            }
            Effect::Compact { log_start } => {
                self.say(format_args!("r{id} starts its log after {}", log_start.index));
                let server = self.server(id);
                server.entries.retain(|entry| entry.index > log_start.index);
                server.log_start = log_start;
            }
            Effect::Role { role, term, leader } => {
                let leader = leader.map_or("nobody".to_string(), |leader| leader.to_string());
                let role = format!("{role:?}").to_lowercase();
                self.say(format_args!("r{id} is {role} of {leader} in term {term}"));
            }
            Effect::MembershipChanged(membership) => {
                self.say(format_args!("r{id} sees {}", members(&membership)));
            }
            Effect::TimeSet(source) => {
                let source = match source {
                    TimeSource::Carried => "runs on",
                    TimeSource::AllClocks => "is the median of all clocks",
                    TimeSource::QuorumClocks => "is what a quorum's clocks reached",
                };
                self.say(format_args!("r{id}'s time {source}"));
            }
        }
    }

    /// What a snapshot taken at this entry would say.
    fn note_start(&mut self, entry: &Entry) {
        let mut start = self.starts.values().next_back().unwrap().clone();
        if entry.index <= start.index {
            return;
        }
        (start.index, start.term, start.stamp) = (entry.index, entry.term, entry.stamp);
        if entry.kind == EntryKind::Membership {
            start.membership = Membership::decode(&mut Reader::new(entry.data.clone())).unwrap();
        }
        self.starts.insert(entry.index, start);
    }

    fn sync(&mut self, id: u64) {
        let server = self.server(id);
        let Some((last, ..)) = server.writes.last() else { return };
        let ticket = *last;
        for (_, hard_state, reset, entries) in std::mem::take(&mut server.writes) {
            server.hard_state = hard_state.unwrap_or(server.hard_state);
            if let Some(start) = reset {
                server.log_start = start;
                server.entries.clear();
            }
            if let Some(first) = entries.first() {
                server.entries.retain(|entry| entry.index < first.index);
            }
            server.entries.extend(entries);
        }
        self.call(id, |raft, ctx, effects| raft.step(ctx, Input::Persisted { ticket }, effects));
    }

    /// Delivers what is under way now, and tells it. Says whether there was anything.
    fn deliver(&mut self, link: Option<(u64, u64)>) -> bool {
        let links = std::mem::take(&mut self.links);
        let mut any = false;
        for ((from, to), messages) in links {
            if link.is_some_and(|link| link != (from, to)) {
                self.links.entry((from, to)).or_default().extend(messages);
                continue;
            }
            for message in messages {
                any = true;
                self.say(format_args!("r{from} -> r{to} {}", brief(&message)));
                let input = Input::Message { from: ReplicaId(from), message };
                self.call(to, |raft, ctx, effects| raft.step(ctx, input, effects));
            }
        }
        any
    }

    fn settle(&mut self) {
        for round in 0.. {
            assert!(round < 1000, "this never settles");
            let ids: Vec<u64> = self.servers.keys().copied().collect();
            ids.into_iter().for_each(|id| self.tick(id));
            if !self.deliver(None) {
                return;
            }
        }
    }

    fn tick(&mut self, id: u64) {
        let now = self.time();
        let server = self.server(id);
        let ctx = Context { now, liveness: &server.liveness };
        if server.raft.deadline(ctx).is_some_and(|deadline| deadline <= now.mono) {
            self.call(id, |raft, ctx, effects| raft.step(ctx, Input::Tick, effects));
        }
    }

    /// One heartbeat and its answer, in no time.
    fn beat(&mut self, a: u64, b: u64) {
        if self.cut.contains(&(a, b)) {
            return;
        }
        let (now, theirs, boot) = (self.time_at(a), self.time_at(b), self.servers[&a].boot);
        let heartbeat = liveness::Message::Heartbeat { sent_at: now.mono, boot, wall: now.wall };
        let mut effects = Vec::new();
        let input = liveness::Input::Message { from: NodeId(a), message: heartbeat };
        self.server(b).liveness.step(theirs, input, &mut effects);
        if self.cut.contains(&(b, a)) {
            return;
        }
        for liveness::Effect::Send { message, .. } in effects {
            let input = liveness::Input::Message { from: NodeId(b), message };
            self.server(a).liveness.step(now, input, &mut Vec::new());
        }
    }

    /// Time passes in steps of ten milliseconds; only messages between nodes move, and timers.
    fn advance(&mut self, ms: u64, beats: bool) {
        let ids: Vec<u64> = self.servers.keys().copied().collect();
        for step in 0..=ms / 10 {
            self.now += if step == 0 { ms % 10 } else { 10 };
            if beats {
                for a in &ids {
                    ids.iter().filter(|b| *b != a).for_each(|b| self.beat(*a, *b));
                }
            }
            ids.iter().for_each(|id| self.tick(*id));
        }
    }

    fn elect(&mut self, id: u64) {
        self.told = false;
        for _ in 0..100 {
            if self.servers[&id].raft.leader() == Some(ReplicaId(id)) {
                break;
            }
            self.now += 10;
            let ids: Vec<u64> = self.servers.keys().copied().collect();
            for a in &ids {
                ids.iter().filter(|b| *b != a).for_each(|b| self.beat(*a, *b));
            }
            self.tick(id);
            while self.deliver(None) {}
        }
        // Let the last commit index go out.
        self.advance(10, true);
        while self.deliver(None) {}
        self.told = true;
        let raft = &self.servers[&id].raft;
        let (leader, term) = (raft.leader(), raft.term());
        assert_eq!(leader, Some(ReplicaId(id)), "r{id} was not elected");
        self.say(format_args!("r{id} leads in term {term}"));
    }

    fn propose(&mut self, id: u64, text: &str) {
        let data = Bytes::copy_from_slice(text.as_bytes());
        let result = self.call(id, |raft, ctx, effects| {
            let result = raft.propose(ctx, data, 1);
            raft.flush(ctx, effects);
            result
        });
        match result {
            Ok((index, _)) => self.say(format_args!("r{id} puts {text} at {index}")),
            Err(error) => self.say(format_args!("r{id} refuses: {error}")),
        }
    }

    fn read(&mut self, id: u64) {
        let result = self.call(id, |raft, ctx, effects| {
            let result = raft.read_index(ctx);
            raft.flush(ctx, effects);
            result
        });
        match result {
            Ok(read) => self.say(format_args!("r{id} takes read #{}", read.0)),
            Err(error) => self.say(format_args!("r{id} refuses: {error}")),
        }
    }

    fn lease(&mut self, id: u64) {
        let server = &self.servers[&id];
        let ctx = Context { now: self.time(), liveness: &server.liveness };
        match server.raft.lease_read(ctx) {
            Some(index) => self.say(format_args!("r{id} may read {index} from its lease")),
            None => self.say(format_args!("r{id} has no lease")),
        }
    }

    fn transfer(&mut self, id: u64, to: Option<ReplicaId>) {
        if let Err(error) = self.call(id, |raft, ctx, effects| raft.transfer(ctx, to, effects)) {
            self.say(format_args!("r{id} refuses: {error}"));
        }
    }

    fn change(&mut self, id: u64, words: &[&str]) {
        let mut change = Change::default();
        for word in words {
            let (verb, number) = word.split_at(1);
            let number: u64 = number.parse().unwrap();
            let replica = ReplicaId(number);
            match verb {
                "+" => drop(change.add_learners.insert(replica, NodeId(number))),
                "^" => drop(change.promote.insert(replica)),
                "-" => drop(change.remove.insert(replica)),
                "v" => drop(change.demote.insert(replica)),
                _ => panic!("unknown change {word}"),
            }
        }
        let result = self.call(id, |raft, ctx, effects| {
            let result = raft.propose_membership(ctx, &change);
            raft.flush(ctx, effects);
            result
        });
        if let Err(error) = result {
            self.say(format_args!("r{id} refuses: {error}"));
        }
    }

    fn snapshot(&mut self, from: u64, to: u64, at: Option<u64>) {
        let index = at.map_or(self.servers[&from].applied, Index);
        let start = self.starts[&index].clone();
        self.call(from, |raft, _, _| raft.snapshot_started(ReplicaId(to), index));
        let taken = self.call(to, |raft, ctx, effects| raft.snapshot_received(ctx, start, effects));
        if taken {
            self.server(to).applied = index;
        }
        let verb = if taken { "installs" } else { "refuses" };
        self.say(format_args!("r{to} {verb} the snapshot at {index}"));
        self.call(from, |raft, ctx, effects| {
            raft.snapshot_outcome(ctx, ReplicaId(to), index, true, effects);
        });
    }

    fn restart(&mut self, id: u64) {
        let boot = self.servers[&id].boot + 100;
        let liveness = self.liveness(id, boot, false);
        let server = self.server(id);
        server.writes.clear();
        let applied = server.log_start.index;
        let restored = Restored {
            hard_state: server.hard_state,
            log_start: server.log_start.clone(),
            entries: server.entries.clone(),
            applied,
        };
        let raft = self.raft(id, restored);
        let server = self.server(id);
        (server.raft, server.liveness, server.boot, server.applied) =
            (raft, liveness, boot, applied);
        self.links.retain(|(from, to), _| *from != id && *to != id);
    }

    fn status(&mut self) {
        let ids: Vec<u64> = self.servers.keys().copied().collect();
        for id in ids {
            let status = self.servers[&id].raft.status();
            let mut line = format!(
                "r{id} {} term {} log {}..{} commit {}",
                format!("{:?}", status.role).to_lowercase(),
                status.term,
                status.start,
                status.last,
                status.commit
            );
            for (follower, progress) in &status.progress {
                let feed = match progress.feed {
                    Feed::Probe { .. } => "probe",
                    Feed::Replicate => "replicate",
                    Feed::Snapshot { .. } => "snapshot",
                };
                let bound = if progress.bound.is_some() { " bound" } else { "" };
                write!(line, " [{follower} {feed} {}{bound}]", progress.matched).unwrap();
            }
            self.say(format_args!("{line}"));
        }
    }

    fn log(&mut self, id: u64) {
        let raft = &self.servers[&id].raft;
        let entries = raft.entries(raft.log_start().index, Index(u64::MAX), usize::MAX);
        let mut line = format!("r{id} log:");
        for entry in entries {
            write!(line, " {}/{} {}", entry.index, entry.term, content(&entry)).unwrap();
        }
        self.say(format_args!("{line}"));
    }
}

fn content(entry: &Entry) -> String {
    match entry.kind {
        EntryKind::Noop => "noop".to_string(),
        EntryKind::Command => String::from_utf8_lossy(&entry.data).into_owned(),
        EntryKind::Membership => "membership".to_string(),
    }
}

fn members(membership: &Membership) -> String {
    let mut text = String::new();
    for (name, set) in [
        ("voters", &membership.voters),
        ("outgoing", &membership.outgoing),
        ("learners", &membership.learners),
        ("to be learners", &membership.learners_next),
    ] {
        if !set.is_empty() {
            let ids: Vec<String> = set.keys().map(ReplicaId::to_string).collect();
            let gap = if text.is_empty() { "" } else { ", " };
            write!(text, "{gap}{name} {}", ids.join(" ")).unwrap();
        }
    }
    text
}

fn brief(message: &Message) -> String {
    let term = message.term;
    let text = match &message.body {
        Body::PreVote { last, .. } => {
            format!("would you vote for me? {}/{}", last.index, last.term)
        }
        Body::PreVoted { granted, removed, .. } => match (granted, removed) {
            (true, _) => "I would".to_string(),
            (_, true) => "I would not: you were removed".to_string(),
            _ => "I would not".to_string(),
        },
        Body::Vote { last, transfer } => {
            let asked = if *transfer { ", asked to take over" } else { "" };
            format!("vote for me: {}/{}{asked}", last.index, last.term)
        }
        Body::Voted { granted: true } => "my vote".to_string(),
        Body::Voted { granted: false } => "no vote".to_string(),
        Body::Append { prev, commit, entries, .. } => {
            let entries: Vec<String> = entries.iter().map(content).collect();
            format!(
                "append [{}] after {}/{}, commit {commit}",
                entries.join(" "),
                prev.index,
                prev.term
            )
        }
        Body::Appended { matched, commit } => format!("have {matched}, commit {commit}"),
        Body::Rejected { prev, hint } => {
            format!("lack {prev}, perhaps {}/{}", hint.index, hint.term)
        }
        Body::ReadRound { round } => format!("do I lead? round {round}"),
        Body::ReadAnswer { round } => format!("you do, round {round}"),
        Body::Bind { epoch, .. } => format!("bind to {}.{}", epoch.boot, epoch.counter),
        Body::Bound { epoch } => format!("bound to {}.{}", epoch.boot, epoch.counter),
        Body::Release { led } => format!("you are free of term {led}"),
        Body::Released { led } => format!("I am free of term {led}"),
        Body::TimeoutNow => "take over".to_string(),
        Body::Newer => "that term is over".to_string(),
    };
    format!("t{term} {text}")
}

/// Plays a script and returns it with the outcomes as they are.
fn play(script: &str) -> String {
    let mut story = Story::default();
    let mut result = String::new();
    let mut skipping = false;
    let mut commands = 0;
    for line in script.lines().chain([""]) {
        if line == "---" {
            skipping = true;
        } else if line.is_empty() {
            if commands > 0 {
                let out = std::mem::take(&mut story.out);
                writeln!(result, "---\n{}", if out.is_empty() { "nothing\n" } else { &out })
                    .unwrap();
            } else if !result.is_empty() {
                result.push('\n');
            }
            (skipping, commands) = (false, 0);
        } else if !skipping {
            writeln!(result, "{line}").unwrap();
            if !line.starts_with('#') {
                story.run(line);
                commands += 1;
            }
        }
    }
    format!("{}\n", result.trim_end())
}

#[test]
fn the_stories_end_as_they_are_told() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/raft");
    let mut paths: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() >= 20, "stories are missing");
    for path in paths {
        let told = std::fs::read_to_string(&path).unwrap();
        let seen = play(&told);
        if std::env::var("UPDATE").is_ok() {
            std::fs::write(&path, &seen).unwrap();
        } else {
            assert!(told == seen, "{}:\n{seen}", path.display());
        }
    }
}

#[test]
fn terms_of_messages_are_what_stories_show() {
    let message = Message { term: Term(3), time: Reading::default(), body: Body::TimeoutNow };
    assert_eq!(brief(&message), "t3 take over");
}
