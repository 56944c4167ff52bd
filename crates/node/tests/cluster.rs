//! Nodes wired together by hand: no loss, a fixed delay, logs that are durable after a moment. What
//! happens when things break is the simulator's subject; here is what happens when nothing does.

use base::time::MILLISECOND;
use base::{Bytes, ClusterId, ConnId, Failure, Incarnation, Mono, NodeId, NotDone, Time, Wall};
use service::kv::{self, Batch, Bucket, Expiry, Op, Outcome, When};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use storage::tables::{ModelTables, RangeLimit, Tables};
use underpin_node::api::{Answer, Call, Consistency, FromConn, Reply, Request};
use underpin_node::{Boot, Effect, Fetch, FetchId, Fetched, Identity, Input, Node, Options, Room};

const DELAY: u64 = MILLISECOND / 2;
const CONN: ConnId = ConnId(1);

struct Host {
    node: Node,
    incarnation: Incarnation,
    tables: ModelTables,
}

struct Cluster {
    now: u64,
    hosts: BTreeMap<NodeId, Host>,
    /// What arrives when, in order of time.
    events: BTreeMap<(u64, u64), (NodeId, Input)>,
    numbered: u64,
    answers: VecDeque<(NodeId, Answer)>,
    seq: u64,
    /// Nodes that no message reaches or leaves.
    cut: BTreeSet<NodeId>,
    /// Every message between nodes in words, if somebody listens.
    heard: Option<Vec<String>>,
    /// Until then all bulk links are down.
    bulk_from: u64,
    /// Nodes whose memtables are not written out now, and those that wait.
    slow: BTreeMap<NodeId, Vec<storage::engine::FlushJob>>,
    /// The dead data ids of each compaction that was asked for.
    compactions: Vec<Vec<u64>>,
    /// The oldest generation that each node's tables are to keep.
    oldest: BTreeMap<NodeId, u64>,
    /// A node whose next question about a range is answered later, and that question.
    late: Option<(NodeId, Option<(FetchId, Fetch)>)>,
}

fn time(ns: u64) -> Time {
    Time { mono: Mono(ns), wall: Wall(1_700_000_000_000 * MILLISECOND + ns) }
}

impl Cluster {
    fn new(nodes: u64, options: &Options) -> Cluster {
        let members: BTreeMap<NodeId, String> =
            (1..=nodes).map(|n| (NodeId(n), format!("node{n}:1"))).collect();
        let mut cluster = Cluster {
            now: 0,
            hosts: BTreeMap::new(),
            events: BTreeMap::new(),
            numbered: 0,
            answers: VecDeque::new(),
            seq: 0,
            cut: BTreeSet::new(),
            heard: None,
            bulk_from: 0,
            slow: BTreeMap::new(),
            compactions: Vec::new(),
            oldest: BTreeMap::new(),
            late: None,
        };
        for id in members.keys().copied() {
            cluster.start(id, Incarnation(100 + id.0), true, &members, options);
        }
        cluster
    }

    /// Starts a node on a fresh directory.
    fn start(
        &mut self,
        id: NodeId,
        incarnation: Incarnation,
        founder: bool,
        members: &BTreeMap<NodeId, String>,
        options: &Options,
    ) {
        let (cluster, members) = (ClusterId(7), members.clone());
        let peers: Vec<NodeId> = members.keys().copied().filter(|peer| *peer != id).collect();
        let boot = Boot {
            boot: incarnation.0,
            seed: id.0,
            identity: Identity { cluster, node: id, incarnation, founder, members },
            recovered: Default::default(),
            system_rows: Vec::new(),
            generation: 0,
            fresh: true,
            client_address: String::new(),
            version: "test".into(),
        };
        let node = Node::new(options.clone(), boot, time(self.now)).unwrap();
        self.hosts.insert(id, Host { node, incarnation, tables: ModelTables::new() });
        self.send(self.now, id, Input::Tick);
        for peer in peers {
            self.send(self.now, id, Input::PeerUp(peer));
        }
    }

    fn send(&mut self, at: u64, to: NodeId, input: Input) {
        self.numbered += 1;
        self.events.insert((at, self.numbered), (to, input));
    }

    fn run_until(&mut self, end: u64) {
        while let Some(entry) = self.events.first_entry() {
            if entry.key().0 > end {
                break;
            }
            let ((at, _), (id, input)) = entry.remove_entry();
            self.now = at;
            let host = self.hosts.get_mut(&id).unwrap();
            let mut effects = Vec::new();
            host.node.step(time(at), input, &mut effects);
            host.node.turn(time(at), &mut effects);
            if let Some(deadline) = host.node.deadline() {
                self.send(deadline.0.max(at + 10_000), id, Input::Tick);
            }
            for effect in effects {
                self.carry_out(id, effect);
            }
        }
        self.now = end;
    }

    fn carry_out(&mut self, id: NodeId, effect: Effect) {
        let soon = self.now + DELAY;
        match effect {
            Effect::Log { ticket, .. } => self.send(soon, id, Input::Logged { ticket }),
            Effect::Peer { to, .. } if !self.linked(id, to) => {}
            Effect::Peer { bulk: true, .. } if self.now < self.bulk_from => {}
            Effect::Peer { to, body, .. } => {
                if let Some(heard) = &mut self.heard {
                    heard.push(underpin_node::describe_message(body.clone()));
                }
                self.send(soon, to, Input::Peer(id, body));
            }
            Effect::Answer(answer) => self.answers.push_back((id, answer)),
            Effect::Fetch(fetch, asked @ Fetch::Range { .. })
                if self.late.as_ref().is_some_and(|(of, late)| *of == id && late.is_none()) =>
            {
                self.late = Some((id, Some((fetch, asked))));
            }
            Effect::Fetch(fetch, asked) => {
                let fetched = self.fetch(id, asked);
                self.send(soon, id, Input::Fetched(fetch, fetched));
            }
            Effect::Flush(job) => match self.slow.get_mut(&id) {
                Some(waiting) => waiting.push(job),
                None => self.write_out(id, &job),
            },
            Effect::Compact { oldest, dead } => {
                self.oldest.insert(id, oldest);
                self.compactions.push(dead);
            }
            Effect::Push(_) | Effect::Garbage(_) | Effect::Peers(_) => {}
            Effect::Stopped => {}
            Effect::Fatal(message) => panic!("{id}: {message}"),
            Effect::Unreadable { from, text } => panic!("{id}: from {from}: {text}"),
        }
    }

    /// Whether messages go from a node to another: nothing is cut, and each knows the other's life.
    fn linked(&self, from: NodeId, to: NodeId) -> bool {
        let (Some(here), Some(there)) = (self.hosts.get(&from), self.hosts.get(&to)) else {
            return false;
        };
        !self.cut.contains(&from)
            && !self.cut.contains(&to)
            && here.node.admits(ClusterId(7), to, there.incarnation).is_ok()
            && there.node.admits(ClusterId(7), from, here.incarnation).is_ok()
    }

    /// A node can be reached again: links to it come up where they are let in.
    fn mend(&mut self, id: NodeId) {
        self.cut.remove(&id);
        let linked = |peer: &NodeId| *peer != id && self.linked(id, *peer);
        let peers: Vec<NodeId> = self.hosts.keys().copied().filter(linked).collect();
        for peer in peers {
            self.send(self.now, id, Input::PeerUp(peer));
            self.send(self.now, peer, Input::PeerUp(id));
        }
    }

    /// What a node tells of the cluster's map.
    fn directory_of(&mut self, id: NodeId) -> Bytes {
        let (peer, now, mut effects) = (NodeId(5), time(self.now), Vec::new());
        self.hosts.get_mut(&id).unwrap().node.step(now, Input::PeerUp(peer), &mut effects);
        let told = effects.into_iter().filter_map(|effect| match effect {
            Effect::Peer { body, .. } => Some(body),
            _ => None,
        });
        let is_map =
            |body: &Bytes| underpin_node::describe_message(body.clone()).starts_with("Directory");
        told.into_iter().find(is_map).expect("a link came up")
    }

    /// A machine is gone.
    fn lose(&mut self, id: NodeId) {
        self.hosts.remove(&id);
        self.events.retain(|_, (to, _)| *to != id);
    }

    fn write_out(&mut self, id: NodeId, job: &storage::engine::FlushJob) {
        let generation = ingest(&self.hosts[&id].tables, job);
        self.send(self.now + DELAY, id, Input::Flushed { id: job.id, generation });
    }

    /// A node whose disk was slow has written everything out.
    fn fast_again(&mut self, id: NodeId) {
        for job in self.slow.remove(&id).unwrap_or_default() {
            self.write_out(id, &job);
        }
    }

    fn status(&self, id: NodeId) -> underpin_node::api::Status {
        self.hosts[&id].node.status(time(self.now))
    }

    fn fetch(&self, id: NodeId, asked: Fetch) -> Fetched {
        let tables = &self.hosts[&id].tables;
        match asked {
            Fetch::Keys { generation, keys } => {
                Fetched::Keys(tables.get(&keys, generation).unwrap())
            }
            Fetch::Range { generation, range, rows_max, bytes_max } => {
                let limit = RangeLimit { rows: rows_max, bytes: bytes_max };
                let slice = tables.range(&range, generation, limit).unwrap();
                Fetched::Range(slice.rows, slice.covered_until)
            }
        }
    }

    /// Asks `node` and waits up to ten seconds.
    fn call(&mut self, node: u64, call: Call) -> Result<Reply, base::Failure> {
        self.seq += 1;
        let seq = self.seq;
        let deadline = Mono(self.now + 10_000 * MILLISECOND);
        let consistency = Consistency::Strong;
        let request = Request { conn: CONN, seq, deadline, consistency, call };
        self.send(self.now, NodeId(node), Input::Client(FromConn::Request(request)));
        let end = self.now + 12_000 * MILLISECOND;
        while self.now < end {
            self.run_until(self.now + MILLISECOND);
            if let Some((from, answer)) = self.answers.pop_front() {
                assert_eq!((from, answer.seq), (NodeId(node), seq));
                return answer.result;
            }
        }
        panic!("no answer in twelve seconds");
    }

    fn kv(&mut self, node: u64, op: Op) -> kv::Answer {
        match self.call(node, Call::Kv(Batch::one(Bucket(0), op))) {
            Ok(Reply::Kv(Outcome::Answers(mut answers))) => answers.remove(0),
            other => panic!("{other:?}"),
        }
    }

    fn set(&mut self, node: u64, key: &str, value: &str) {
        let (key, value) = (text(key), text(value));
        let set = Op::Set { key, value, expiry: Expiry::Never, when: When::Always, old: false };
        assert_eq!(self.kv(node, set), kv::Answer::Done);
    }

    fn get(&mut self, node: u64, key: &str) -> kv::Answer {
        self.kv(node, Op::Get(text(key)))
    }

    fn leader(&self) -> NodeId {
        let mut leaders = self.hosts.iter().filter(|(_, host)| {
            let status = host.node.status(time(self.now));
            status.shards.iter().any(|s| s.kind == "kv" && s.role == "leader")
        });
        *leaders.next_back().expect("somebody leads").0
    }
}

fn ingest(tables: &ModelTables, job: &storage::engine::FlushJob) -> u64 {
    let rows: Vec<_> = job.rows.rows().collect();
    tables.ingest(&mut rows.into_iter()).unwrap()
}

fn text(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

#[test]
fn what_is_set_through_any_node_is_read_through_any_other() {
    let mut cluster = Cluster::new(3, &Options::default());
    for writer in 1..=3 {
        cluster.set(writer, "k", &format!("v{writer}"));
        for reader in 1..=3 {
            let expected = kv::Answer::Bytes(text(&format!("v{writer}")));
            assert_eq!(cluster.get(reader, "k"), expected);
        }
    }
    assert_eq!(cluster.get(1, "absent"), kv::Answer::Nil);
}

#[test]
fn one_node_is_a_cluster() {
    let mut cluster = Cluster::new(1, &Options::default());
    cluster.set(1, "k", "v");
    assert_eq!(cluster.get(1, "k"), kv::Answer::Bytes(text("v")));
}

#[test]
fn rows_that_went_to_tables_are_found_there() {
    let mut options = Options::default();
    options.engine.memtable_bytes = 4 << 10;
    options.engine.cache_bytes = 1 << 10;
    let mut cluster = Cluster::new(3, &options);
    for n in 0..200 {
        cluster.set(1 + n % 3, &format!("key{n}"), &"x".repeat(64));
    }
    assert!(cluster.hosts.values().all(|host| host.tables.stats().tables > 0));
    for n in 0..200 {
        let found = cluster.get(1 + n % 3, &format!("key{n}"));
        assert_eq!(found, kv::Answer::Bytes(text(&"x".repeat(64))), "key{n}");
    }
    // A write that needs the old row waits for it on every replica.
    let appended = cluster.kv(2, Op::Append(text("key7"), text("y")));
    assert_eq!(appended, kv::Answer::Integer(65));
    let walk = kv::scan::WalkRequest { bucket: Bucket(0), walk: kv::scan::Walk::Count };
    let counted = cluster.call(3, Call::Walk(walk)).unwrap();
    assert_eq!(counted, Reply::Walk(kv::scan::WalkReply::Count(200)));
}

#[test]
fn a_key_ends_when_its_time_has_come_and_is_swept() {
    let mut cluster = Cluster::new(3, &Options::default());
    let (key, value) = (text("k"), text("v"));
    let expiry = Expiry::InMs(500);
    cluster.kv(1, Op::Set { key, value, expiry, when: When::Always, old: false });
    assert_eq!(cluster.get(2, "k"), kv::Answer::Bytes(text("v")));
    cluster.run_until(cluster.now + 600 * MILLISECOND);
    assert_eq!(cluster.get(2, "k"), kv::Answer::Nil);
}

#[test]
fn every_node_hashes_the_same_state_at_a_mark() {
    let mut cluster = Cluster::new(3, &Options::default());
    for n in 0..50 {
        cluster.set(1, &format!("key{n}"), "v");
    }
    let Ok(Reply::Index(index)) = cluster.call(2, Call::HashMark) else { panic!("no mark") };
    cluster.set(1, "key0", "another");
    cluster.run_until(cluster.now + 1000 * MILLISECOND);
    let hashes: Vec<_> = cluster
        .hosts
        .values()
        .map(|host| host.node.status(time(cluster.now)).shards[1].hash.expect("a hash"))
        .collect();
    assert!(hashes.iter().all(|hash| *hash == hashes[0] && hash.0 == index), "{hashes:?}");
}

#[test]
fn leadership_is_handed_over_and_clients_notice_nothing() {
    let mut cluster = Cluster::new(3, &Options::default());
    cluster.set(1, "k", "v");
    let old = cluster.leader();
    cluster.call(1, Call::Transfer { shard: underpin_node::KV, to: None }).unwrap();
    cluster.run_until(cluster.now + 1000 * MILLISECOND);
    assert_ne!(cluster.leader(), old);
    assert_eq!(cluster.get(old.0, "k"), kv::Answer::Bytes(text("v")));
}

#[test]
fn a_node_that_missed_what_the_log_has_dropped_comes_back_by_snapshot() {
    comes_back_by_snapshot(0, 4);
}

#[test]
fn a_snapshot_that_began_before_the_bulk_link_was_up_is_sent_all_the_same() {
    comes_back_by_snapshot(1000, 4);
}

#[test]
fn a_snapshot_whose_last_chunk_fills_the_window_is_over_when_that_is_acknowledged() {
    comes_back_by_snapshot(0, 1);
}

/// Three nodes, of which the first is cut off and needs a snapshot, and another one of them.
fn one_behind_the_log(chunks: usize) -> (Cluster, NodeId, NodeId) {
    let mut options = Options { snapshot_chunks: chunks, ..Options::default() };
    options.engine.memtable_bytes = 8 << 10;
    options.raft.retain_bytes_max = 4 << 10;
    let mut cluster = Cluster::new(3, &options);
    cluster.set(1, "before", "v");
    let lost = *cluster.hosts.keys().find(|id| **id != cluster.leader()).unwrap();
    let other = *cluster.hosts.keys().find(|id| **id != lost).unwrap();
    cluster.cut.insert(lost);
    for n in 0..500 {
        cluster.set(other.0, &format!("key{n}"), &"x".repeat(100));
    }
    (cluster, lost, other)
}

/// The bulk links come up so many milliseconds after the others, and so many chunks may be under way.
fn comes_back_by_snapshot(bulk_late_ms: u64, chunks: usize) {
    let (mut cluster, lost, other) = one_behind_the_log(chunks);
    cluster.cut.clear();
    cluster.bulk_from = cluster.now + bulk_late_ms * MILLISECOND;
    cluster.run_until(cluster.now + 3 * bulk_late_ms * MILLISECOND + 3000 * MILLISECOND);
    let Ok(Reply::Index(index)) = cluster.call(other.0, Call::HashMark) else { panic!("no mark") };
    cluster.run_until(cluster.now + 1000 * MILLISECOND);
    for (id, host) in &cluster.hosts {
        let status = host.node.status(time(cluster.now));
        let kv = &status.shards[1];
        assert_eq!(kv.hash.map(|(at, _)| at), Some(index), "{id}");
        assert_eq!(kv.hash, cluster.hosts[&other].node.status(time(cluster.now)).shards[1].hash);
    }
    let kv = |id: &NodeId| cluster.hosts[id].node.status(time(cluster.now)).shards[1].clone();
    let first = kv(&lost).first;
    assert!(first > base::Index(100), "the log of {lost} begins at {first}, so no snapshot came");
    assert_eq!(kv(&lost).snapshots_installed, 1);
    let sent: u64 = cluster.hosts.keys().map(|id| kv(id).snapshots_sent).sum();
    assert_eq!(sent, 1);
}

/// What the memtable that is being written out refers to is needed after a crash, so rows that died
/// since must not be dropped before the next one is on the disk.
#[test]
fn rows_die_no_sooner_than_their_death_is_on_the_disk() {
    let mut options = Options::default();
    options.engine.memtable_bytes = 4 << 10;
    let mut cluster = Cluster::new(1, &options);
    cluster.slow.insert(NodeId(1), Vec::new());
    let fill = |cluster: &mut Cluster| {
        (0..5).for_each(|n| cluster.set(1, &format!("key{n}"), &"x".repeat(1_000)));
    };
    fill(&mut cluster);
    assert_eq!(cluster.kv(1, Op::FlushAll), kv::Answer::Done);
    let frozen = cluster.slow.remove(&NodeId(1)).expect("it was slow");
    assert_eq!(frozen.len(), 1, "a flush was to be under way");
    frozen.iter().for_each(|job| cluster.write_out(NodeId(1), job));
    fill(&mut cluster);
    cluster.run_until(cluster.now + 1_500 * MILLISECOND);
    let deaths: Vec<usize> = cluster.compactions.iter().map(Vec::len).collect();
    assert_eq!(deaths[..2], [0, 1], "{:?}", cluster.compactions);
}

fn room(cluster: &mut Cluster, node: NodeId, room: Room) {
    cluster.send(cluster.now, node, Input::Room(room));
    cluster.run_until(cluster.now + 10 * MILLISECOND);
}

#[test]
fn what_takes_space_is_refused_unless_a_quorum_of_disks_has_room() {
    let mut cluster = Cluster::new(3, &Options::default());
    cluster.set(1, "k", "v");
    let leader = cluster.leader();
    let followers: Vec<NodeId> = cluster.hosts.keys().copied().filter(|id| *id != leader).collect();
    room(&mut cluster, followers[0], Room::Reserve);
    cluster.set(1, "k", "one full disk of three");
    room(&mut cluster, followers[1], Room::Reserve);
    let value = text("two");
    let set =
        Op::Set { key: text("k"), value, expiry: Expiry::Never, when: When::Always, old: false };
    for node in 1..=3 {
        let refused = cluster.call(node, Call::Kv(Batch::one(Bucket(0), set.clone())));
        assert_eq!(refused, Err(Failure::NotDone(NotDone::DiskFull)));
        assert_eq!(cluster.get(node, "k"), kv::Answer::Bytes(text("one full disk of three")));
    }
    assert_eq!(cluster.kv(1, Op::Delete(vec![text("k")])), kv::Answer::Integer(1));
    room(&mut cluster, followers[0], Room::Ample);
    cluster.set(1, "k", "v");
}

#[test]
fn a_leader_whose_disk_stays_full_hands_over_to_one_with_room() {
    let mut cluster = Cluster::new(3, &Options::default());
    cluster.set(1, "k", "v");
    let full = cluster.leader();
    let other = *cluster.hosts.keys().find(|id| **id != full).unwrap();
    let third = *cluster.hosts.keys().find(|id| **id != full && **id != other).unwrap();
    room(&mut cluster, full, Room::Reserve);
    cluster.run_until(cluster.now + 1_000 * MILLISECOND);
    assert_eq!(cluster.leader(), full, "a merge may be about to make room");
    cluster.run_until(cluster.now + 2_000 * MILLISECOND);
    assert_ne!(cluster.leader(), full);
    cluster.set(full.0, "k", "w");
    // With two full disks there is nobody to hand over to.
    let leader = cluster.leader();
    room(&mut cluster, leader, Room::Reserve);
    cluster.run_until(cluster.now + 5_000 * MILLISECOND);
    assert_eq!(cluster.leader(), leader, "{other} or {third}");
}

#[test]
fn an_answer_larger_than_a_frame_reaches_a_client_of_another_node() {
    let mut cluster = Cluster::new(3, &Options::default());
    let keys: Vec<String> = (0..6).map(|n| format!("key{n}")).collect();
    for key in &keys {
        cluster.set(1, key, &"x".repeat(3 << 20));
    }
    let keys: Vec<Bytes> = keys.iter().map(|key| text(key)).collect();
    for node in 1..=3 {
        let kv::Answer::List(values) = cluster.kv(node, Op::GetMany(keys.clone())) else {
            panic!()
        };
        assert_eq!(values, vec![kv::Answer::Bytes(text(&"x".repeat(3 << 20))); 6]);
    }
}

#[test]
fn a_lost_disk_is_refused_under_its_old_name_and_joins_anew_once_it_is_replaced() {
    let options = Options::default();
    let mut cluster = Cluster::new(3, &options);
    for n in 0..100 {
        cluster.set(1, &format!("key{n}"), "v");
    }
    cluster.run_until(cluster.now + 1000 * MILLISECOND);
    let (lost, fresh) = (NodeId(3), Incarnation(999));
    let members = (1..=3).map(|n| (NodeId(n), format!("node{n}:1"))).collect();
    cluster.hosts.remove(&lost);
    cluster.events.retain(|_, (to, _)| *to != lost);
    cluster.cut.insert(lost);
    cluster.run_until(cluster.now + 2000 * MILLISECOND);

    let refused = cluster.hosts[&NodeId(1)].node.admits(ClusterId(7), lost, fresh).unwrap_err();
    assert!(refused.contains("underpin node replace"), "{refused}");
    let other = cluster.hosts[&NodeId(1)].node.admits(ClusterId(8), lost, fresh).unwrap_err();
    assert!(other.contains("cluster"), "{other}");

    let replaced = cluster.call(1, Call::NodeReplace { node: lost, incarnation: fresh });
    assert!(replaced.is_ok(), "{replaced:?}");
    cluster.run_until(cluster.now + 1000 * MILLISECOND);
    assert_eq!(cluster.hosts[&NodeId(1)].node.admits(ClusterId(7), lost, fresh), Ok(()));
    let old = cluster.hosts[&NodeId(1)].node.admits(ClusterId(7), lost, Incarnation(103));
    assert!(old.is_err(), "the old directory is dead");

    cluster.start(lost, fresh, false, &members, &options);
    cluster.cut.clear();
    cluster.run_until(cluster.now + 10_000 * MILLISECOND);
    let Ok(Reply::Index(index)) = cluster.call(3, Call::HashMark) else { panic!("no mark") };
    cluster.run_until(cluster.now + 1000 * MILLISECOND);
    let leader = cluster.leader();
    let at = |id: NodeId| cluster.hosts[&id].node.status(time(cluster.now)).shards[1].clone();
    let parts: Vec<_> =
        at(leader).replicas.iter().map(|(_, node, part, _)| (*node, *part)).collect();
    assert_eq!(parts.len(), 3, "{parts:?}");
    assert!(parts.iter().all(|(_, part)| *part == "voter"), "{parts:?}");
    for id in [1, 2, 3].map(NodeId) {
        assert_eq!(at(id).hash, at(leader).hash, "{id}");
        assert_eq!(at(id).hash.map(|(index, _)| index), Some(index), "{id}");
    }
}

/// The new life of a node is there already when its old replicas leave: the node can be reached, and
/// the old replicas, who never heard of their removal, never will.
#[test]
fn a_replica_that_is_gone_is_not_spoken_to_any_more() {
    let options = Options::default();
    let mut cluster = Cluster::new(3, &options);
    let (lost, fresh) = (NodeId(3), Incarnation(999));
    cluster.set(1, "k", "v");
    cluster.lose(lost);
    cluster.run_until(cluster.now + 3000 * MILLISECOND);
    let members = (1..=3).map(|n| (NodeId(n), format!("node{n}:1"))).collect();
    cluster.start(lost, fresh, false, &members, &options);
    cluster.call(1, Call::NodeReplace { node: lost, incarnation: fresh }).unwrap();
    cluster.mend(lost);
    cluster.run_until(cluster.now + 5000 * MILLISECOND);
    let leader = cluster.status(cluster.leader());
    assert!(leader.shards[1].replicas.iter().any(|(id, ..)| id.0 == fresh.0), "{leader:?}");

    cluster.heard = Some(Vec::new());
    cluster.run_until(cluster.now + 3000 * MILLISECOND);
    let heard = cluster.heard.take().unwrap();
    let to_gone: Vec<_> = heard.iter().filter(|text| text.contains(" to: ReplicaId(3),")).collect();
    assert!(!heard.is_empty() && to_gone.is_empty(), "{} messages: {to_gone:?}", to_gone.len());
}

/// While the third node is away the second one loses its disk, is replaced, and comes to lead both
/// shards. The third one knows only the life that is dead, so it lets the leader not in; the others,
/// whom it knows, tell it.
#[test]
fn a_node_that_slept_through_a_replacement_learns_of_it_from_any_member() {
    let options = Options::default();
    let mut cluster = Cluster::new(5, &options);
    let (lost, sleeper, fresh) = (NodeId(2), NodeId(3), Incarnation(999));
    cluster.set(1, "k", "before");
    cluster.run_until(cluster.now + 1000 * MILLISECOND);
    let before = cluster.directory_of(NodeId(1));
    cluster.cut.insert(sleeper);
    cluster.lose(lost);
    cluster.run_until(cluster.now + 3000 * MILLISECOND);
    cluster.call(1, Call::NodeReplace { node: lost, incarnation: fresh }).unwrap();
    let members = (1..=5).map(|n| (NodeId(n), format!("node{n}:1"))).collect();
    cluster.start(lost, fresh, false, &members, &options);
    cluster.mend(lost);
    cluster.run_until(cluster.now + 5000 * MILLISECOND);
    for shard in [underpin_node::META, underpin_node::KV] {
        cluster.call(1, Call::Transfer { shard, to: Some(lost) }).unwrap();
    }
    cluster.run_until(cluster.now + 1000 * MILLISECOND);
    let leads = cluster.status(lost).shards.iter().filter(|s| s.role == "leader").count();
    assert_eq!(leads, 2, "the new life leads all");
    cluster.set(1, "k", "after");
    let admits =
        |cluster: &Cluster| cluster.hosts[&sleeper].node.admits(ClusterId(7), lost, fresh).is_ok();
    assert!(!admits(&cluster), "the sleeper knows nothing");

    cluster.mend(sleeper);
    cluster.run_until(cluster.now + 10 * MILLISECOND);
    assert!(admits(&cluster), "somebody told it");
    cluster.send(cluster.now, sleeper, Input::Peer(NodeId(4), before));
    cluster.run_until(cluster.now + 10 * MILLISECOND);
    assert!(admits(&cluster), "an older map takes no newer one's place");
    let dead = cluster.hosts[&sleeper].node.admits(ClusterId(7), lost, Incarnation(102));
    assert!(dead.is_err(), "a life that was replaced is dead for the sleeper, too");
    cluster.mend(sleeper);
    cluster.run_until(cluster.now + 3000 * MILLISECOND);
    assert_eq!(cluster.get(sleeper.0, "k"), kv::Answer::Bytes(text("after")));
    let applied = |id: NodeId| cluster.status(id).shards[1].applied;
    assert_eq!(applied(sleeper), applied(lost), "it follows the new life");
}

/// The third founder's machine was lost before it ever started: the other two have a quorum, and a
/// fresh directory takes its place.
#[test]
fn a_founder_that_never_came_is_replaced() {
    let options = Options::default();
    let mut cluster = Cluster::new(3, &options);
    let (lost, fresh) = (NodeId(3), Incarnation(999));
    cluster.hosts.remove(&lost);
    cluster.events.retain(|_, (to, _)| *to != lost);
    cluster.cut.insert(lost);
    cluster.set(1, "k", "v");
    cluster.run_until(cluster.now + 1000 * MILLISECOND);

    let replaced = cluster.call(1, Call::NodeReplace { node: lost, incarnation: fresh });
    assert!(replaced.is_ok(), "{replaced:?}");
    let members = (1..=3).map(|n| (NodeId(n), format!("node{n}:1"))).collect();
    cluster.start(lost, fresh, false, &members, &options);
    cluster.cut.clear();
    cluster.run_until(cluster.now + 10_000 * MILLISECOND);

    let leader = cluster.leader();
    let status = cluster.hosts[&leader].node.status(time(cluster.now));
    let kv = &status.shards[1];
    let parts: Vec<_> =
        kv.replicas.iter().map(|(id, node, part, _)| (id.0, node.0, *part)).collect();
    assert!(parts.contains(&(fresh.0, 3, "voter")) && parts.len() == 3, "{parts:?}");
    let first = cluster.hosts[&leader].node.admits(ClusterId(7), lost, Incarnation(103));
    assert!(first.is_err(), "the directory that never came is too late");
}

#[test]
fn a_request_whose_client_was_told_not_done_goes_nowhere_any_more() {
    let mut cluster = Cluster::new(3, &Options::default());
    cluster.set(1, "k", "v");
    let leader = cluster.leader();
    let other = *cluster.hosts.keys().find(|id| **id != leader).unwrap();
    let start = cluster.now;
    let host = cluster.hosts.get_mut(&other).unwrap();
    let mut effects = Vec::new();
    host.node.step(time(start), Input::PeerDown(leader), &mut effects);
    let (key, value) = (text("k"), text("late"));
    let set = Op::Set { key, value, expiry: Expiry::Never, when: When::Always, old: false };
    let request = Request {
        conn: CONN,
        seq: 1000,
        deadline: Mono(start + 50 * MILLISECOND),
        consistency: Consistency::Strong,
        call: Call::Kv(Batch::one(Bucket(0), set)),
    };
    host.node.step(time(start), Input::Client(FromConn::Request(request)), &mut effects);
    host.node.turn(time(start), &mut effects);
    effects.clear();
    // The process stood still; the way to the leader opens in the very turn that finds it overdue.
    let late = time(start + 200 * MILLISECOND);
    host.node.step(late, Input::PeerUp(leader), &mut effects);
    host.node.turn(late, &mut effects);
    let refused = base::Failure::NotDone(base::NotDone::Deadline);
    let told =
        |effect: &Effect| matches!(effect, Effect::Answer(a) if a.result == Err(refused.clone()));
    assert!(effects.iter().any(told), "{effects:?}");
    let sent = effects.iter().filter_map(|effect| match effect {
        Effect::Peer { body, .. } => Some(underpin_node::describe_message(body.clone())),
        _ => None,
    });
    let forwarded: Vec<String> = sent.filter(|text| text.starts_with("Forward")).collect();
    assert!(forwarded.is_empty(), "{forwarded:?}");
}

#[test]
fn a_message_that_can_not_be_read_ends_its_link() {
    let mut cluster = Cluster::new(3, &Options::default());
    let host = cluster.hosts.get_mut(&NodeId(1)).unwrap();
    for wrong in [&b""[..], b"\xff", b"\x04\x01"] {
        let mut effects = Vec::new();
        let input = Input::Peer(NodeId(2), Bytes::copy_from_slice(wrong));
        host.node.step(time(0), input, &mut effects);
        let from = |effect: &Effect| match effect {
            Effect::Unreadable { from, .. } => Some(*from),
            _ => None,
        };
        assert_eq!(effects.iter().find_map(from), Some(NodeId(2)), "{wrong:?}");
    }
}

/// Memtables of 8 KiB, and no more than 32 KiB of them unwritten.
fn small_memtables() -> Options {
    let mut options = Options { memtables_bytes_max: 32 << 10, ..Options::default() };
    options.engine.memtable_bytes = 8 << 10;
    options
}

fn put(n: u64) -> Call {
    let (key, value) = (text(&format!("key{n}")), text(&"x".repeat(200)));
    let set = Op::Set { key, value, expiry: Expiry::Never, when: When::Always, old: false };
    Call::Kv(Batch::one(Bucket(0), set))
}

#[test]
fn a_leader_whose_memtables_are_not_written_out_refuses_writes_and_still_reads() {
    let mut cluster = Cluster::new(3, &small_memtables());
    cluster.set(1, "k", "v");
    let leader = cluster.leader();
    cluster.slow.insert(leader, Vec::new());
    let refused = (0..400).find_map(|n| cluster.call(1 + n % 3, put(n)).err());
    let busy = base::Failure::NotDone(base::NotDone::Busy { retry_after_ms: 100 });
    assert_eq!(refused, Some(busy), "nothing was refused");
    let status = cluster.status(leader);
    assert!(status.memtables_full);
    assert!(status.unflushed_bytes < (32 << 10) + 1024, "{} bytes", status.unflushed_bytes);
    assert_eq!(cluster.get(2, "k"), kv::Answer::Bytes(text("v")));

    cluster.fast_again(leader);
    cluster.run_until(cluster.now + 100 * MILLISECOND);
    assert!(!cluster.status(leader).memtables_full);
    cluster.set(2, "k", "w");
}

/// What may fill a memtable is refused while memtables are full; if the disk is full as well deletes
/// are not, for what they delete is the room that memtables wait for.
#[test]
fn deletes_pass_where_full_memtables_wait_for_a_full_disk() {
    let mut cluster = Cluster::new(3, &small_memtables());
    cluster.set(1, "k", "v");
    let leader = cluster.leader();
    let nodes: Vec<NodeId> = cluster.hosts.keys().copied().collect();
    for node in &nodes {
        cluster.slow.insert(*node, Vec::new());
    }
    let taken = (0..400).take_while(|n| cluster.call(1 + n % 3, put(*n)).is_ok()).count();
    let delete =
        |n: usize| Call::Kv(Batch::one(Bucket(0), Op::Delete(vec![text(&format!("key{n}"))])));
    let busy = Err(Failure::NotDone(NotDone::Busy { retry_after_ms: 100 }));
    assert_eq!(cluster.call(leader.0, delete(0)), busy, "the disk is only slow");

    for node in &nodes {
        room(&mut cluster, *node, Room::Reserve);
    }
    let full = Err(Failure::NotDone(NotDone::DiskFull));
    assert_eq!(cluster.call(leader.0, put(0)), full);
    for n in 0..taken {
        let answer = cluster.call(1 + n as u64 % 3, delete(n));
        assert!(answer.is_ok(), "{n}: {answer:?}");
    }
    assert_eq!(cluster.get(2, "key0"), kv::Answer::Nil);
    // All replicas took them up, though each has memtables enough.
    cluster.run_until(cluster.now + 1_000 * MILLISECOND);
    let applied: Vec<_> =
        nodes.iter().map(|node| cluster.status(*node).shards[1].applied).collect();
    assert!(applied.iter().all(|index| *index == applied[0]), "{applied:?}");

    for node in &nodes {
        cluster.fast_again(*node);
        room(&mut cluster, *node, Room::Ample);
    }
    cluster.run_until(cluster.now + 2_000 * MILLISECOND);
    assert!(!cluster.status(leader).memtables_full);
    cluster.set(3, "k", "w");
    assert_eq!(cluster.get(1, "key1"), kv::Answer::Nil);
}

/// However long a flush takes, none behind it is of more than about a memtable: a full disk keeps
/// room for no more.
#[test]
fn full_memtables_behind_a_slow_flush_become_tables_of_their_own() {
    let mut cluster = Cluster::new(3, &small_memtables());
    cluster.set(1, "k", "v");
    let leader = cluster.leader();
    cluster.slow.insert(leader, Vec::new());
    for n in 0..60 {
        cluster.call(leader.0, put(n)).unwrap();
    }
    assert_eq!(cluster.slow[&leader].len(), 1, "one flush at a time");
    let mut sizes = Vec::new();
    while let Some(job) = cluster.slow.get_mut(&leader).unwrap().pop() {
        sizes.push(job.rows.bytes());
        cluster.write_out(leader, &job);
        cluster.run_until(cluster.now + 10 * MILLISECOND);
    }
    assert!(sizes.len() >= 2, "{sizes:?}");
    assert!(sizes.iter().all(|bytes| *bytes < 12 << 10), "{sizes:?}");
    cluster.slow.remove(&leader);
    assert_eq!(cluster.get(2, "key59"), kv::Answer::Bytes(text(&"x".repeat(200))));
}

/// A snapshot of more would take up what a full disk has in reserve, and nothing could become
/// durable there any more. What does not fit is refused without a trace, as often as it comes.
#[test]
fn a_full_disk_takes_a_snapshot_of_one_memtable_and_no_larger_one() {
    let (mut cluster, lost, other) = one_behind_the_log(1);
    room(&mut cluster, lost, Room::Reserve);
    cluster.run_until(cluster.now + 2_000 * MILLISECOND);
    cluster.cut.clear();
    let rows = |cluster: &Cluster| cluster.hosts[&lost].tables.stats().rows;
    let before = rows(&cluster);
    cluster.run_until(cluster.now + 12_000 * MILLISECOND);
    assert_eq!(cluster.status(lost).shards[1].snapshots_installed, 0);
    let (status, after) = (cluster.status(lost), rows(&cluster));
    assert!(status.unflushed_bytes < 1024, "{} bytes wait", status.unflushed_bytes);
    assert!(after < before + 20, "{before} rows before, {after} after");

    let keys = (20..500).map(|n| text(&format!("key{n}"))).collect();
    assert_eq!(cluster.kv(other.0, Op::Delete(keys)), kv::Answer::Integer(480));
    cluster.run_until(cluster.now + 8_000 * MILLISECOND);
    let status = cluster.status(lost);
    assert!(status.disk_full);
    assert_eq!(status.shards[1].snapshots_installed, 1);
    assert_eq!(status.shards[1].applied, cluster.status(other).shards[1].applied);
}

/// Were a table merged away that is still to be asked, the answer would pass for damage, and the node
/// would end.
#[test]
fn tables_keep_what_they_are_asked_for_though_nobody_wants_the_snapshot_any_more() {
    let (mut cluster, lost, _) = one_behind_the_log(1);
    let leader = cluster.leader();
    cluster.late = Some((leader, None));
    cluster.cut.clear();
    let asked = loop {
        cluster.run_until(cluster.now + MILLISECOND);
        if let Some((_, Some((id, asked)))) = &cluster.late {
            break (*id, asked.clone());
        }
    };
    cluster.cut.insert(lost);
    let more = |cluster: &mut Cluster| {
        for n in 0..300 {
            cluster.set(leader.0, &format!("more{n}"), &"x".repeat(100));
        }
        cluster.oldest[&leader]
    };
    cluster.run_until(cluster.now + 60_000 * MILLISECOND);
    let Fetch::Range { generation, .. } = asked.1 else { panic!("{asked:?}") };
    assert!(more(&mut cluster) <= generation, "generation {generation} may be merged away");
    let fetched = cluster.fetch(leader, asked.1);
    cluster.send(cluster.now, leader, Input::Fetched(asked.0, fetched));
    assert!(more(&mut cluster) > generation, "it is kept for good");
}

#[test]
fn a_snapshot_that_a_full_disk_refused_comes_again_once_there_is_room() {
    let (mut cluster, lost, other) = one_behind_the_log(4);
    room(&mut cluster, lost, Room::Reserve);
    cluster.cut.clear();
    cluster.run_until(cluster.now + 12_000 * MILLISECOND);
    assert_eq!(cluster.status(lost).shards[1].snapshots_installed, 0);
    room(&mut cluster, lost, Room::Ample);
    cluster.run_until(cluster.now + 8_000 * MILLISECOND);
    let status = cluster.status(lost);
    assert_eq!(status.shards[1].snapshots_installed, 1);
    assert_eq!(status.shards[1].applied, cluster.status(other).shards[1].applied);
}

/// The disk becomes full on the way. What is there of the snapshot may be all that the next flush
/// lacks the room for, so it is let go without waiting for that one.
#[test]
fn what_a_full_disk_has_of_a_refused_snapshot_is_merged_away_before_the_next_flush() {
    let (mut cluster, lost, other) = one_behind_the_log(1);
    for n in 0..100 {
        cluster.set(other.0, &format!("large{n}"), &"x".repeat(10_000));
    }
    cluster.cut.clear();
    let generation = cluster.hosts[&lost].tables.generation();
    while cluster.hosts[&lost].tables.generation() == generation {
        cluster.run_until(cluster.now + MILLISECOND);
    }
    assert_eq!(cluster.status(lost).shards[1].snapshots_installed, 0, "all came at once");
    cluster.slow.insert(lost, Vec::new());
    let known: BTreeSet<u64> = cluster.compactions.drain(..).flatten().collect();
    room(&mut cluster, lost, Room::Reserve);
    cluster.run_until(cluster.now + 1_000 * MILLISECOND);
    let dead: BTreeSet<u64> = cluster.compactions.drain(..).flatten().collect();
    assert!(!dead.is_subset(&known), "only {dead:?}, as before");
    // It stays so when flushes get through again, whose memtables were frozen before.
    cluster.fast_again(lost);
    cluster.run_until(cluster.now + 1_000 * MILLISECOND);
    assert!(!cluster.compactions.is_empty());
    assert!(cluster.compactions.iter().flatten().any(|id| !known.contains(id)));
}

/// Few deletes fill no memtable; but on a full disk they are wanted in a table, to free something.
#[test]
fn on_a_full_disk_deletes_become_a_table_soon() {
    let mut cluster = Cluster::new(3, &Options::default());
    cluster.set(1, "k", "v");
    cluster.run_until(cluster.now + 2_000 * MILLISECOND);
    assert_eq!(cluster.hosts[&NodeId(1)].tables.generation(), 0, "there is no hurry");
    room(&mut cluster, NodeId(1), Room::Reserve);
    cluster.run_until(cluster.now + 1_000 * MILLISECOND);
    let first = cluster.hosts[&NodeId(1)].tables.generation();
    assert!(first > 0);
    assert_eq!(cluster.kv(1, Op::Delete(vec![text("k")])), kv::Answer::Integer(1));
    cluster.run_until(cluster.now + 2_000 * MILLISECOND);
    assert_eq!(cluster.hosts[&NodeId(1)].tables.generation(), first + 1);
    // Nothing new, nothing to write; and a disk with room has time.
    cluster.run_until(cluster.now + 5_000 * MILLISECOND);
    assert_eq!(cluster.hosts[&NodeId(1)].tables.generation(), first + 1);
    assert_eq!(cluster.hosts[&NodeId(2)].tables.generation(), 0);
}

#[test]
fn a_follower_whose_memtables_are_not_written_out_takes_no_more_and_catches_up_later() {
    let mut cluster = Cluster::new(3, &small_memtables());
    cluster.set(1, "k", "v");
    let leader = cluster.leader();
    let follower = NodeId(leader.0 % 3 + 1);
    cluster.slow.insert(follower, Vec::new());
    for n in 0..400 {
        cluster.call(leader.0, put(n)).expect("the other two are a majority");
    }
    let status = cluster.status(follower);
    assert!(status.memtables_full);
    // What its log held already is applied; of that there is little here.
    assert!(status.unflushed_bytes < 40 << 10, "{} bytes", status.unflushed_bytes);

    cluster.fast_again(follower);
    cluster.run_until(cluster.now + 3_000 * MILLISECOND);
    let applied = |id| cluster.status(id).shards[1].applied;
    assert_eq!(applied(follower), applied(leader));
}
