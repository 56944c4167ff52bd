//! The node itself: what comes in goes to the shard it is for, and a turn runs them all.

use crate::api::{Answer, Call, Consistency, FromConn, Reply, Request};
use crate::clients::{Clients, Place};
use crate::core::{Asked, Core, Origin, Wish};
use crate::descriptor::{self, Descriptor};
use crate::effect::{Boot, Effect, FetchId, Fetched, Input, Room};
use crate::flush::Flush;
use crate::options::Options;
use crate::outbox::Outbox;
use crate::peer::{Forwarded, Message};
use crate::room::{Rooms, grows};
use crate::scan::{Found, Scans};
use crate::shard::{Read, Shard, Waiter};
use crate::snapshot::{ChunkMessage, Snapshots};
use crate::work::Work;
use base::log::LogStart;
use base::{Bytes, ClusterId, Failure, Incarnation, Index, Membership, Mono, NodeId, NotDone};
use base::{Random, ReplicaId, ShardId, Time};
use protocols::liveness::{self, Liveness};
use protocols::raft::{self, Raft};
use service::Machine;
use service::command::Command;
use service::meta::ClusterMap;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use storage::directory::Identity;
use storage::engine::Engine;
use storage::wal::Record;

/// The shard of the cluster's own records.
pub const META: ShardId = ShardId(1);
/// The shard that holds the sixteen default buckets.
pub const KV: ShardId = ShardId(2);

/// The connection number of a node's own wishes; no client has it.
const OWN_CONN: base::ConnId = base::ConnId(u64::MAX);

/// How often requests are looked at for passed deadlines, and links for lost answers.
const HOUSEKEEPING: Duration = Duration::from_millis(100);

/// One node.
#[derive(Debug)]
pub struct Node {
    pub(crate) core: Core,
    pub(crate) shards: BTreeMap<ShardId, Shard>,
    pub(crate) clients: Clients,
    pub(crate) scans: Scans,
    pub(crate) snapshots: Snapshots,
    pub(crate) flush: Flush,
    pub(crate) rooms: Rooms,
    pub(crate) map: ClusterMap,
    /// The index of the meta shard's log at which the map was like that.
    pub(crate) map_at: Index,
    pub(crate) identity: Identity,
    pub(crate) boot: BootFacts,
    pub(crate) random: Random,
    pub(crate) links: BTreeSet<NodeId>,
    pub(crate) control_at: Mono,
    pub(crate) stop_by: Option<Mono>,
    ticket: u64,
    owed: BTreeMap<u64, Vec<(ShardId, u64)>>,
    housekeeping_at: Mono,
    /// Requests that wait for a leader may have somewhere to go now.
    routes_changed: bool,
    /// Answers that come in parts, as far as they are here.
    parts: BTreeMap<(NodeId, (base::ConnId, u64)), bytes::BytesMut>,
    taken: Vec<Request>,
}

/// What is known from the start and shown in status.
#[derive(Debug)]
pub(crate) struct BootFacts {
    pub started: Mono,
    pub client_address: String,
    pub version: String,
}

impl Node {
    /// A node as its data directory left it. The error says what is damaged and what to do.
    pub fn new(options: Options, boot: Boot, now: Time) -> Result<Node, String> {
        let me = boot.identity.node;
        let mut random = Random::new(boot.seed);
        let (descriptors, ids) = descriptor::load(boot.system_rows)?;
        let liveness = Liveness::new(options.liveness.clone(), me, boot.boot, boot.fresh, now.mono);
        let core = Core {
            me,
            now,
            liveness,
            heard: 0,
            engine: Engine::new(options.engine.clone(), boot.generation),
            ids,
            effects: Vec::new(),
            outbox: Outbox::default(),
            records: Vec::new(),
            owed: Vec::new(),
            replies: Vec::new(),
            wishes: Vec::new(),
            fetches: BTreeMap::new(),
            fetch_next: 0,
            room: Room::Ample,
            work: Work::default(),
            share: 100,
            stopping: false,
            options,
        };
        let mut node = Node {
            core,
            shards: BTreeMap::new(),
            clients: Clients::default(),
            scans: Scans::default(),
            snapshots: Snapshots::default(),
            flush: Flush::default(),
            rooms: Rooms::default(),
            map: ClusterMap::default(),
            map_at: Index(0),
            boot: BootFacts {
                started: now.mono,
                client_address: boot.client_address,
                version: boot.version,
            },
            links: BTreeSet::new(),
            control_at: now.mono,
            stop_by: None,
            ticket: 0,
            owed: BTreeMap::new(),
            housekeeping_at: now.mono + HOUSEKEEPING,
            routes_changed: false,
            parts: BTreeMap::new(),
            taken: Vec::new(),
            identity: boot.identity,
            random: random.fork(),
        };
        node.restore(descriptors, boot.recovered, &mut random)?;
        node.tell_peers();
        Ok(node)
    }

    fn restore(
        &mut self,
        mut descriptors: BTreeMap<ShardId, Descriptor>,
        recovered: storage::wal::Recovered,
        random: &mut Random,
    ) -> Result<(), String> {
        let mut logs = recovered.shards;
        if self.identity.founder && logs.is_empty() && descriptors.is_empty() {
            for shard in [META, KV] {
                descriptors.insert(shard, self.founding(shard));
            }
        }
        // A log without a descriptor: the shard was never flushed, so it starts at the log's start.
        for (shard, log) in &logs {
            let Some((replica, about)) = &log.replica else { continue };
            descriptors.entry(*shard).or_insert_with(|| Descriptor {
                shard: *shard,
                meta: about[..] == [1],
                replica: *replica,
                applied: log.log_start.clone(),
                spaces: BTreeMap::new(),
            });
        }
        for (id, descriptor) in descriptors {
            let log = logs.remove(&id);
            self.restore_shard(descriptor, log, random.u64())?;
        }
        Ok(())
    }

    /// A replica of a shard as the founding members hold it: nothing applied, all of them voters.
    fn founding(&self, shard: ShardId) -> Descriptor {
        let voters = self.identity.members.keys().map(|node| (ReplicaId(node.0), *node));
        let membership = Membership::of_voters(voters);
        Descriptor {
            shard,
            meta: shard == META,
            replica: ReplicaId(self.identity.node.0),
            applied: LogStart { membership, ..LogStart::default() },
            spaces: BTreeMap::new(),
        }
    }

    fn restore_shard(
        &mut self,
        descriptor: Descriptor,
        log: Option<storage::wal::RecoveredShard>,
        seed: u64,
    ) -> Result<(), String> {
        let applied = descriptor.applied.clone();
        let (known, hard_state, log_start, entries) = match log {
            Some(log) => (true, log.hard_state, log.log_start, log.entries),
            None => (false, base::HardState::default(), applied.clone(), Vec::new()),
        };
        // The rows may be ahead of the log: a snapshot was installed and flushed, but the log's own
        // reset was not written before a crash. Then the log begins where the rows are.
        let reaches = applied.index <= log_start.index
            || entries.iter().any(|e| e.index == applied.index && e.term == applied.term);
        if applied.index < log_start.index {
            return Err(format!(
                "{}: rows reach entry {}, the log begins after {}: entries between are missing; run \
                 \"underpin node rebuild\"",
                descriptor.shard, applied.index, log_start.index
            ));
        }
        let (log_start, entries) =
            if reaches { (log_start, entries) } else { (applied.clone(), Vec::new()) };
        if !known || !reaches {
            self.note_replica(&descriptor, log_start.clone());
        }
        let last = entries.last().map_or(log_start.index, |entry| entry.index);
        let committed = hard_state.commit.max(applied.index).min(last);
        let restored = raft::Restored { hard_state, log_start, entries, applied: applied.index };
        self.add_shard(descriptor, restored, committed, seed);
        Ok(())
    }

    /// Notes in the log which replica lives here, and where its log starts.
    fn note_replica(&mut self, descriptor: &Descriptor, start: LogStart) {
        let (shard, replica) = (descriptor.shard, descriptor.replica);
        let about = Bytes::copy_from_slice(&[u8::from(descriptor.meta)]);
        self.core.records.push(Record::Replica { shard, replica, about });
        self.core.records.push(Record::Reset { shard, start });
    }

    /// Hosts a replica from now on.
    pub(crate) fn add_shard(
        &mut self,
        descriptor: Descriptor,
        restored: raft::Restored,
        committed: Index,
        seed: u64,
    ) {
        let raft = Raft::new(
            self.core.options.raft.clone(),
            descriptor.shard,
            descriptor.replica,
            self.core.me,
            seed,
            restored,
            self.core.now,
        );
        let id = descriptor.shard;
        let machine = if descriptor.meta { Machine::meta() } else { Machine::kv() };
        let mut shard = Shard::new(raft, machine, descriptor, committed);
        // What the machine keeps in memory is in the rows; a shard without rows has nothing to load.
        if shard.descriptor.meta && !shard.descriptor.spaces.is_empty() {
            shard.loading = true;
            let spans = shard.machine.memory_spans();
            self.scans.load(&mut self.core, &shard.descriptor, spans);
        }
        self.shards.insert(id, shard);
    }

    /// Whether a peer that proved to be this node of this cluster may speak. The error is shown to
    /// the operator of the refused node.
    pub fn admits(
        &self,
        cluster: ClusterId,
        node: NodeId,
        incarnation: Incarnation,
    ) -> Result<(), String> {
        if cluster != self.identity.cluster {
            let ours = self.identity.cluster;
            return Err(format!("this is cluster {ours}, and you belong to {cluster}"));
        }
        if self.shards.values().any(|shard| shard.loading) {
            return Err("still starting; try again".into());
        }
        match self.map.nodes.get(&node) {
            Some(_) if self.map.is_pinned(node, incarnation) => Ok(()),
            Some(known) => Err(format!(
                "{node} is known with incarnation {}, not {incarnation}: its data directory was \
                 replaced or wiped; run \"underpin node replace\" on it to join with the new one",
                known.incarnation
            )),
            None if self.identity.members.contains_key(&node) => Ok(()),
            None => Err(format!("{node} is not a member of this cluster")),
        }
    }

    /// When to call [`Node::step`] with [`Input::Tick`] and [`Node::turn`], if nothing else happens
    /// first.
    pub fn deadline(&self) -> Option<Mono> {
        if self.busy() {
            return Some(self.core.now.mono);
        }
        let shards = self.shards.values().filter_map(|shard| shard.raft.deadline(&self.core));
        let own = [self.core.liveness.deadline(), Some(self.housekeeping_at)];
        own.into_iter().flatten().chain(shards).min()
    }

    fn busy(&self) -> bool {
        self.clients.has_queued()
            || self.shards.values().any(Shard::busy)
            || self.scans.busy()
            || self.core.outbox.is_busy()
            || !self.core.effects.is_empty()
            || !self.core.records.is_empty()
    }

    /// Takes one input. What follows from it is done in the next [`Node::turn`], except for what
    /// consensus answers at once.
    pub fn step(&mut self, now: Time, input: Input, effects: &mut Vec<Effect>) {
        self.core.now = now;
        match input {
            Input::Tick => {}
            Input::Client(from) => self.client(from),
            Input::PeerUp(node) => {
                self.links.insert(node);
                self.routes_changed = true;
                self.snapshots.link_up(&mut self.core, node);
                self.tell_room(node);
                self.tell_map(node);
            }
            Input::PeerDown(node) => self.link_down(node),
            Input::Backlog { peer, bulk, bytes } => self.core.outbox.told(peer, bulk, bytes),
            Input::Peer(from, body) => match Message::decode(body) {
                Ok(message) => self.message(from, message),
                Err(error) => self.unreadable(from, error.to_string()),
            },
            Input::Logged { ticket } => self.logged(ticket),
            Input::Room(room) => self.room_changed(room),
            Input::Fetched(id, fetched) => self.fetched(id, fetched),
            Input::Flushed { id, generation } => self.flushed(id, generation),
            Input::Stop => self.stop(),
        }
        effects.append(&mut self.core.effects);
    }

    /// Works off what has gathered, up to a budget.
    pub fn turn(&mut self, now: Time, effects: &mut Vec<Effect>) {
        self.core.now = now;
        self.routes_changed |= self.core.outbox.may_go_on();
        self.tick();
        self.take_requests();
        self.run_shards();
        self.run_scans();
        self.grant_wishes();
        self.flush_if_due();
        self.deliver_replies();
        self.stop_if_ready();
        self.drop_garbage();
        self.write_log();
        self.core.outbox.go_on(&mut self.core.effects);
        effects.append(&mut self.core.effects);
        self.core.outbox.handed_over();
    }

    /// How much turns do from now on, in percent of what [`Options`] say, which suits a machine of
    /// today that is not busy otherwise. A driver that has a clock knows better.
    pub fn set_share(&mut self, percent: usize) {
        self.core.share = percent.clamp(1, 100);
    }

    /// What was done since this was last asked.
    pub fn take_work(&mut self) -> Work {
        std::mem::take(&mut self.core.work)
    }

    fn tick(&mut self) {
        let now = self.core.now;
        if self.core.liveness.deadline().is_some_and(|at| at <= now.mono) {
            self.core.step_liveness(liveness::Input::Tick);
        }
        for shard in self.shards.values_mut() {
            let due = shard.raft.deadline(&self.core).is_some_and(|at| at <= now.mono);
            if due {
                shard.drive(&mut self.core, |raft, context, effects| {
                    raft.step(context, raft::Input::Tick, effects);
                });
            }
        }
        if self.housekeeping_at <= now.mono {
            self.housekeeping_at = now.mono + HOUSEKEEPING;
            self.routes_changed = true;
            let clients = &self.clients;
            self.parts.retain(|(_, (conn, seq)), _| clients.wants(*conn, *seq));
            // At once: whoever was told "not done" must not be sent on by this same turn.
            for (conn, seq, failure) in self.clients.overdue(now.mono) {
                self.answer_client(Origin::Client(conn, seq), false, Err(failure));
            }
            self.control();
        }
    }

    // ---- peers -------------------------------------------------------------------------------

    fn message(&mut self, from: NodeId, message: Message) {
        self.core.work.messages += 1;
        match message {
            Message::Liveness(message) => {
                self.core.step_liveness(liveness::Input::Message { from, message });
            }
            Message::Raft { shard, meta, from: sender, to, message } => {
                self.raft_message(from, shard, meta, sender, to, message);
            }
            Message::Forward { shard, term, request } => {
                self.forwarded(from, shard, term, request);
            }
            Message::Answered(answer) => self.answered(answer),
            Message::Part { conn, seq, last, data } => self.part(from, (conn, seq), last, data),
            Message::Chunk { shard, to, stream, number, data, .. } => {
                self.chunk(from, ChunkMessage { shard, to, stream, number, data });
            }
            Message::ChunkAck { shard, to, stream, next } => {
                self.acknowledged(shard, to, stream, next);
            }
            Message::DiskFull(full) => self.peer_room(from, full),
            Message::Directory { index, map } => self.learn_map(index, map),
        }
    }

    fn raft_message(
        &mut self,
        node: NodeId,
        id: ShardId,
        meta: bool,
        from: ReplicaId,
        to: ReplicaId,
        message: raft::Message,
    ) {
        let ours = to == ReplicaId(self.identity.incarnation.0);
        if !self.shards.contains_key(&id) && ours && !self.identity.founder {
            self.found_replica(id, meta, to);
        }
        let Some(shard) = self.shards.get_mut(&id) else { return };
        if shard.descriptor.replica != to {
            tracing::debug!(%node, shard = %id, "message for {to}, here is {}", shard.descriptor.replica);
            return;
        }
        shard.heard(from, node);
        if self.too_much(&message) {
            return;
        }
        let shard = self.shards.get_mut(&id).expect("it is here");
        shard.drive(&mut self.core, |raft, context, effects| {
            raft.step(context, raft::Input::Message { from, message }, effects);
        });
    }

    /// A leader speaks to a replica that this node should have and does not know: it is new here,
    /// empty, and learns everything from the leader.
    fn found_replica(&mut self, id: ShardId, meta: bool, replica: ReplicaId) {
        let descriptor = Descriptor {
            shard: id,
            meta,
            replica,
            applied: LogStart::default(),
            spaces: BTreeMap::new(),
        };
        let log_start = LogStart::default();
        self.note_replica(&descriptor, log_start.clone());
        let restored = raft::Restored {
            hard_state: base::HardState::default(),
            log_start,
            entries: Vec::new(),
            applied: Index(0),
        };
        let seed = self.random.u64();
        tracing::info!(node = %self.core.me, shard = %id, "hosting replica {replica}");
        self.add_shard(descriptor, restored, Index(0), seed);
    }

    /// Another node answers a request that was sent there.
    fn answered(&mut self, answer: Answer) {
        let Answer { conn, seq, more, result } = answer;
        match result {
            Err(failure @ Failure::NotDone(NotDone::LeaderChanged)) => {
                self.redo_or_fail(conn, seq, failure);
            }
            result => self.answer_client(Origin::Client(conn, seq), more, result),
        }
    }

    /// Whoever a request was sent to can't be heard any more.
    fn fail_sent(&mut self, lost: Vec<(base::ConnId, u64, Failure)>) {
        for (conn, seq, failure) in lost {
            match failure {
                Failure::NotDone(_) => self.redo_or_fail(conn, seq, failure),
                failure => self.answer_client(Origin::Client(conn, seq), false, Err(failure)),
            }
        }
    }

    /// Shards have new leaders: the old ones may never answer what was sent to them.
    fn fail_outlived(&mut self) {
        let leaders: Vec<_> =
            self.shards.iter().filter_map(|(id, shard)| Some((*id, shard.leader?))).collect();
        for (shard, leader) in leaders {
            let lost = self.clients.outlived(shard, leader);
            self.fail_sent(lost);
        }
    }

    /// A request that was sent to another node did not happen there.
    fn redo_or_fail(&mut self, conn: base::ConnId, seq: u64, failure: Failure) {
        match self.clients.redo(conn, seq, self.core.now.mono) {
            Some(request) => {
                let shard = self.shards.get_mut(&shard_of(&request.call));
                shard.expect("it was sent for a shard here").parked.push_back(request);
            }
            None => self.answer_client(Origin::Client(conn, seq), false, Err(failure)),
        }
    }

    /// Part of an answer that is larger than a frame.
    fn part(&mut self, from: NodeId, request: (base::ConnId, u64), last: bool, data: Bytes) {
        if !self.clients.wants(request.0, request.1) {
            self.parts.remove(&(from, request));
            return;
        }
        let gathered = self.parts.entry((from, request)).or_default();
        gathered.extend_from_slice(&data);
        if !last {
            return;
        }
        let whole = self.parts.remove(&(from, request)).unwrap_or_default();
        match Message::decode(whole.freeze()) {
            Ok(message @ Message::Answered(_)) => self.message(from, message),
            Ok(_) => self.unreadable(from, "parts of something that is no answer".into()),
            Err(error) => self.unreadable(from, format!("parts of an answer: {error}")),
        }
    }

    /// A peer of our version never sends this, so its links are not to be trusted further.
    fn unreadable(&mut self, from: NodeId, text: String) {
        self.core.effects.push(Effect::Unreadable { from, text });
    }

    fn link_down(&mut self, node: NodeId) {
        self.links.remove(&node);
        self.core.outbox.forget(node);
        self.rooms.link_down(node);
        self.parts.retain(|(from, _), _| *from != node);
        let lost = self.clients.lost(node);
        self.fail_sent(lost);
    }

    // ---- clients -----------------------------------------------------------------------------

    fn client(&mut self, from: FromConn) {
        match from {
            FromConn::Request(request) => {
                if self.clients.waiting() >= self.core.options.requests_max {
                    let busy = NotDone::Busy { retry_after_ms: 100 };
                    self.answer(request.conn, request.seq, Err(Failure::NotDone(busy)));
                } else {
                    self.clients.enqueue(request);
                }
            }
            FromConn::Cancel(conn, seq) => {
                self.clients.answered(conn, seq, false);
            }
            FromConn::Close(conn) => self.clients.close(conn),
        }
    }

    fn answer(&mut self, conn: base::ConnId, seq: u64, result: Result<Reply, Failure>) {
        self.core.effects.push(Effect::Answer(Answer { conn, seq, more: false, result }));
    }

    fn take_requests(&mut self) {
        let mut budget = self.core.share_of(self.core.options.turn_requests);
        let mut taken = std::mem::take(&mut self.taken);
        while budget > 0 && self.clients.take(budget.min(16), &mut taken) > 0 {
            self.core.work.requests += taken.len();
            for request in taken.drain(..) {
                budget = budget.saturating_sub(cost(&request.call));
                self.dispatch(request);
            }
        }
        self.core.work.full |= budget == 0;
        self.taken = taken;
    }

    /// Sends a request of an own connection where it belongs.
    fn dispatch(&mut self, request: Request) {
        let origin = Origin::Client(request.conn, request.seq);
        if matches!(request.call, Call::Status) {
            let status = Box::new(self.status(self.core.now));
            return self.core.reply(origin, Ok(Reply::Status(status)));
        }
        if let Err(refusal) = self.check(&request.call) {
            return self.core.reply(origin, Err(Failure::Refused(refusal)));
        }
        let id = shard_of(&request.call);
        let Some(shard) = self.shards.get_mut(&id) else {
            // With every shard on every founding node, only a node that is just joining lacks one.
            return self.core.reply(origin, Err(Failure::NotDone(NotDone::NoQuorum)));
        };
        if !shard.parked.is_empty() {
            shard.parked.push_back(request);
        } else {
            self.route(id, request);
        }
    }

    fn check(&self, call: &Call) -> Result<(), base::Refusal> {
        match call {
            Call::Kv(batch) | Call::Once { batch, .. } => {
                service::kv::check(batch, &self.core.options.limits)
            }
            Call::SessionOpen { ttl_ms } => service::session::check_ttl(*ttl_ms),
            _ => Ok(()),
        }
    }

    fn route(&mut self, id: ShardId, request: Request) {
        let shard = self.shards.get_mut(&id).expect("the caller found it");
        let local = request.consistency == Consistency::Eventual && reads_only(&request.call);
        let links = &self.links;
        match shard.leader {
            _ if local || shard.raft.takes_proposals() => {
                let place =
                    if local || reads_only(&request.call) { Place::Here } else { Place::Logged };
                self.clients.place(request.conn, request.seq, place);
                let origin = Origin::Client(request.conn, request.seq);
                self.execute(id, origin, request.consistency, request.call);
            }
            Some(leader)
                if leader != self.core.me
                    && links.contains(&leader)
                    && self.core.outbox.takes_requests(leader) =>
            {
                self.forward(id, leader, request);
            }
            _ => shard.parked.push_back(request),
        }
    }

    fn forward(&mut self, id: ShardId, leader: NodeId, request: Request) {
        let writes = !reads_only(&request.call);
        self.clients.sent(&request, leader, id, writes);
        let term = self.shards[&id].raft.term();
        let wait_ms = request.deadline.since(self.core.now.mono) / 1_000_000;
        let Request { conn, seq, consistency, call, .. } = request;
        let request = Forwarded { conn, seq, wait_ms, consistency, call };
        self.core.send(leader, &Message::Forward { shard: id, term, request });
    }

    fn forwarded(&mut self, from: NodeId, id: ShardId, term: base::Term, request: Forwarded) {
        self.core.work.forwarded += 1;
        let origin = Origin::Peer(from, request.conn, request.seq);
        let open = self
            .shards
            .get(&id)
            .is_some_and(|shard| shard.raft.takes_proposals() && shard.raft.term() == term);
        if !open {
            // Never taken up under another leadership: a later request of the same connection may
            // have overtaken this one.
            return self.core.reply(origin, Err(Failure::NotDone(NotDone::LeaderChanged)));
        }
        self.execute(id, origin, request.consistency, request.call);
    }

    /// Carries out a request on a shard of this node; a write only at its leader.
    fn execute(&mut self, id: ShardId, origin: Origin, consistency: Consistency, call: Call) {
        if grows(&call) && !self.has_room(id) {
            return self.core.reply(origin, Err(Failure::NotDone(NotDone::DiskFull)));
        }
        if self.memtables_refuse(&call) {
            let busy = NotDone::Busy { retry_after_ms: 100 };
            return self.core.reply(origin, Err(Failure::NotDone(busy)));
        }
        if matches!(call, Call::NodeReplace { .. }) && self.map.nodes.is_empty() {
            // An operator may be faster than the first map, without which no node is known.
            self.propose_first_map();
        }
        let shard = self.shards.get_mut(&id).expect("the caller found it");
        match call {
            Call::Kv(batch) if batch.writes() => shard.propose(origin, &Command::Kv(batch)),
            Call::Kv(batch) => {
                let read = Read { origin, batch, consistency };
                shard.wait(Waiter::Read(read), consistency);
            }
            Call::Walk(walk) => shard.wait(Waiter::Walk(origin, walk), consistency),
            Call::Once { session, number, batch } => {
                shard.propose(origin, &Command::Once { session, number, batch });
            }
            Call::SessionOpen { ttl_ms } => {
                shard.propose(origin, &Command::SessionOpen { ttl_ms });
            }
            Call::SessionClose { session } => {
                shard.propose(origin, &Command::SessionClose { session });
            }
            Call::HashMark => shard.propose(origin, &Command::HashMark),
            Call::NodeReplace { node, incarnation } => {
                let command = service::meta::Command::Replace { node, incarnation };
                shard.propose(origin, &Command::Meta(command));
            }
            Call::Register(record) => {
                let command = service::meta::Command::Register(record);
                shard.propose(origin, &Command::Meta(command));
            }
            Call::Transfer { to, .. } => self.transfer(id, origin, to),
            Call::Status => self.core.reply(origin, Err(Failure::NotDone(NotDone::LeaderChanged))),
        }
    }

    fn transfer(&mut self, id: ShardId, origin: Origin, to: Option<NodeId>) {
        let shard = self.shards.get_mut(&id).expect("the caller found it");
        let membership = shard.raft.membership().clone();
        let replica = to.map(|node| {
            membership.voters.iter().find(|(_, home)| **home == node).map(|(replica, _)| *replica)
        });
        let result = match replica {
            Some(None) => Err(Failure::Refused(base::Refusal::Invalid(
                "that node has no voting replica of the shard",
            ))),
            Some(Some(replica)) => shard.transfer(&mut self.core, Some(replica)),
            None => shard.transfer(&mut self.core, None),
        };
        self.core.reply(origin, result.map(|()| Reply::Done));
    }

    /// Requests that waited for a leader go on.
    fn unpark(&mut self) {
        let ids: Vec<ShardId> = self.shards.keys().copied().collect();
        for id in ids {
            let shard = self.shards.get_mut(&id).expect("just listed");
            if shard.parked.is_empty() {
                continue;
            }
            let parked = std::mem::take(&mut shard.parked);
            for request in parked {
                if !self.clients.wants(request.conn, request.seq) {
                    continue;
                }
                let shard = self.shards.get_mut(&id).expect("just listed");
                match shard.parked.is_empty() {
                    true => self.route(id, request),
                    false => shard.parked.push_back(request),
                }
            }
        }
    }

    /// A wish of this node itself for a shard that another one leads; nobody waits for the answer.
    pub(crate) fn forward_own(&mut self, id: ShardId, leader: NodeId, call: Call) {
        let term = self.shards[&id].raft.term();
        let consistency = Consistency::Strong;
        let request = Forwarded { conn: OWN_CONN, seq: 0, wait_ms: 0, consistency, call };
        self.core.send(leader, &Message::Forward { shard: id, term, request });
    }

    // ---- a turn ------------------------------------------------------------------------------

    fn run_scans(&mut self) {
        let mut found = Vec::new();
        let budget = self.core.share_of(self.core.options.turn_rows);
        self.scans.run(&mut self.core, budget, &mut found);
        for found in found {
            self.found(found);
        }
    }

    fn found(&mut self, found: Found) {
        match found {
            Found::Walk { origin, more, reply } => {
                self.core.replies.push((origin, more, Ok(Reply::Walk(reply))));
            }
            Found::Hash { shard, index, hash } => {
                if let Some(shard) = self.shards.get_mut(&shard) {
                    shard.hash = Some((index, hash));
                }
            }
            Found::Load { shard, rows } => self.load_machine(shard, rows),
            Found::Sweep { shard, found } => {
                if let Some(shard) = self.shards.get_mut(&shard)
                    && shard.leads()
                    && let Some(command) = shard.machine.sweep_command(found)
                {
                    shard.propose(Origin::Own, &command);
                }
            }
            Found::Snapshot { shard, to, scan, rows, last } => {
                self.send_rows(shard, to, scan, rows, last);
            }
        }
    }

    fn load_machine(&mut self, id: ShardId, rows: Vec<(Bytes, Bytes)>) {
        let Some(shard) = self.shards.get_mut(&id) else { return };
        if let Err(error) = shard.machine.load(rows.into_iter()) {
            let text = format!("rows of {id}: {error}; run \"underpin node rebuild\"");
            return self.core.effects.push(Effect::Fatal(text));
        }
        shard.loading = false;
        self.map_changed();
    }

    fn run_shards(&mut self) {
        let budget = self.core.share_of(self.core.options.turn_commands);
        for shard in self.shards.values_mut() {
            shard.flush_proposals(&mut self.core);
            shard.start_waiters(&mut self.core);
            shard.flush(&mut self.core);
            let left = shard.apply(&mut self.core, budget);
            self.core.work.full |= left == 0;
            shard.run_waiting(&mut self.core);
            for (origin, request) in std::mem::take(&mut shard.walks) {
                self.scans.walk(&mut self.core, &shard.descriptor, origin, request);
            }
        }
    }

    fn grant_wishes(&mut self) {
        let mut leaders_changed = false;
        for wish in std::mem::take(&mut self.core.wishes) {
            match wish {
                Wish::Snapshot { shard, to } => self.start_snapshot(shard, to),
                Wish::Hash { shard, index, view } => {
                    let descriptor = &self.shards[&shard].descriptor;
                    self.scans.hash(descriptor, index, view);
                }
                Wish::Map => self.map_changed(),
                Wish::Routes => leaders_changed = true,
            }
        }
        if leaders_changed {
            self.fail_outlived();
            self.routes_changed = true;
        }
        if std::mem::take(&mut self.routes_changed) {
            self.unpark();
        }
    }

    fn deliver_replies(&mut self) {
        let mut replies = std::mem::take(&mut self.core.replies);
        self.core.work.answers += replies.len();
        for (origin, more, result) in replies.drain(..) {
            self.answer_client(origin, more, result);
        }
        self.core.replies = replies;
    }

    fn answer_client(&mut self, origin: Origin, more: bool, result: Result<Reply, Failure>) {
        match origin {
            Origin::Client(conn, seq) => {
                if self.clients.answered(conn, seq, more) {
                    let answer = Answer { conn, seq, more, result };
                    self.core.effects.push(Effect::Answer(answer));
                }
            }
            Origin::Peer(node, conn, seq) => {
                self.core.answer_peer(node, Answer { conn, seq, more, result });
            }
            Origin::Own => {}
        }
    }

    /// Everything that this turn must make durable goes out as one batch.
    fn write_log(&mut self) {
        if self.core.records.is_empty() && self.core.owed.is_empty() {
            return;
        }
        self.ticket += 1;
        let records = std::mem::take(&mut self.core.records);
        self.owed.insert(self.ticket, std::mem::take(&mut self.core.owed));
        self.core.effects.push(Effect::Log { ticket: self.ticket, records });
        self.flush.logged_through(self.ticket);
    }

    fn drop_garbage(&mut self) {
        let garbage = self.core.engine.take_garbage();
        if !garbage.is_empty() {
            self.core.effects.push(Effect::Garbage(garbage));
        }
    }

    fn logged(&mut self, ticket: u64) {
        let later = self.owed.split_off(&(ticket + 1));
        for (id, ticket) in std::mem::replace(&mut self.owed, later).into_values().flatten() {
            if let Some(shard) = self.shards.get_mut(&id) {
                shard.drive(&mut self.core, |raft, context, effects| {
                    raft.step(context, raft::Input::Persisted { ticket }, effects);
                });
            }
        }
        self.flush.durable_through(&mut self.core, ticket);
    }

    fn fetched(&mut self, id: FetchId, fetched: Fetched) {
        let Some(asked) = self.core.fetches.remove(&id) else { return };
        match (asked, fetched) {
            (_, Fetched::Damaged(message)) => self.core.effects.push(Effect::Fatal(message)),
            (Asked::Rows { shard, rows: fetch, keys }, Fetched::Keys(rows)) => {
                if let Some(shard) = self.shards.get_mut(&shard) {
                    shard.fetched(&mut self.core, fetch, keys, rows);
                }
            }
            (Asked::Slice { scan }, Fetched::Range(rows, until)) => {
                self.scans.sliced(&mut self.core, scan, rows, until);
            }
            (asked, fetched) => panic!("asked {asked:?}, answered {fetched:?}"),
        }
    }
}

/// About how much work a request is, next to a `SET` of few bytes.
fn cost(call: &Call) -> usize {
    match call {
        Call::Kv(batch) | Call::Once { batch, .. } => {
            1 + batch.cost() as usize / 2 + batch.bytes() / 1024
        }
        _ => 1,
    }
}

/// Whether a request changes nothing, so that repeating or losing it does no harm.
pub(crate) fn reads_only(call: &Call) -> bool {
    match call {
        Call::Kv(batch) => !batch.writes(),
        Call::Walk(_) | Call::Status => true,
        Call::Once { .. }
        | Call::SessionOpen { .. }
        | Call::SessionClose { .. }
        | Call::HashMark
        | Call::Transfer { .. }
        | Call::Register(_)
        | Call::NodeReplace { .. } => false,
    }
}

/// The shard that a request belongs to.
fn shard_of(call: &Call) -> ShardId {
    match call {
        Call::Kv(_)
        | Call::Once { .. }
        | Call::Walk(_)
        | Call::SessionOpen { .. }
        | Call::SessionClose { .. }
        | Call::HashMark
        | Call::Status => KV,
        Call::Transfer { shard, .. } => *shard,
        Call::NodeReplace { .. } | Call::Register(_) => META,
    }
}
