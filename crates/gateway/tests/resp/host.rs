//! A node of one shard without a log: what the gateway asks for is done at once, or when told.

use base::{
    Bytes, ClusterId, ConnId, Failure, Incarnation, Index, Mono, NodeId, NotDone, ReplicaId,
    ShardId, Stamp, Term, Time, Wall,
};
use node::api::{Answer, Call, FromConn, Gateway, NodeStatus, Reply, Request, ShardStatus, Status};
use service::kv::{self, Batch, Progress, ReadOutcome, Walker, scan::WalkRequest};
use service::{Change, Changes, Command, Machine, RowKey, Rows};
use std::collections::BTreeMap;
use underpin_gateway::resp::{Options, Resp};

/// All rows.
struct All<'a>(&'a BTreeMap<RowKey, Bytes>);

impl Rows for All<'_> {
    fn get(&self, key: &RowKey) -> Option<Bytes> {
        self.0.get(key).cloned()
    }
}

/// A gateway and the shard behind it.
pub struct Host {
    /// The gateway.
    pub resp: Resp,
    /// What it asked for and was not given yet.
    pub waiting: Vec<Request>,
    /// What connections did not consume yet.
    pub unread: BTreeMap<ConnId, Vec<u8>>,
    /// Every request fails like this, if it is set.
    pub failure: Option<Failure>,
    machine: Machine,
    rows: BTreeMap<RowKey, Bytes>,
    applied: Stamp,
    now: Time,
}

impl Host {
    /// An empty shard. Its time begins at 1,700,000,000 s.
    pub fn new(options: Options) -> Host {
        Host {
            resp: Resp::new(options),
            waiting: Vec::new(),
            unread: BTreeMap::new(),
            failure: None,
            machine: Machine::kv(),
            rows: BTreeMap::new(),
            applied: Stamp(0),
            now: Time { mono: Mono(1), wall: Wall(1_700_000_000_000_000_000) },
        }
    }

    /// Lets time pass.
    pub fn advance(&mut self, ns: u64) {
        self.now.mono.0 += ns;
        self.now.wall.0 += ns;
    }

    /// Sets the time.
    #[allow(dead_code)] // Used by hosts that have a clock.
    pub fn at(&mut self, now: Time) {
        self.now = now;
    }

    /// A client connects.
    pub fn open(&mut self, conn: ConnId) {
        self.resp.open(self.now, conn, format!("127.0.0.1:{}", 50_000 + conn.0));
        self.unread.insert(conn, Vec::new());
    }

    /// A client is gone.
    #[allow(dead_code)] // Used by hosts that have sockets.
    pub fn close(&mut self, conn: ConnId) {
        self.resp.close(conn, &mut Vec::new());
        self.unread.remove(&conn);
    }

    /// A client sends bytes; the gateway takes what it wants.
    pub fn send(&mut self, conn: ConnId, bytes: &[u8]) {
        if let Some(unread) = self.unread.get_mut(&conn) {
            unread.extend_from_slice(bytes);
        }
        self.offer(conn);
    }

    /// Offers a connection what it did not consume yet.
    pub fn offer(&mut self, conn: ConnId) {
        let Some(unread) = self.unread.get_mut(&conn) else { return };
        let mut out = Vec::new();
        let taken = self.resp.receive(self.now, conn, unread, &mut out);
        assert!(taken <= unread.len());
        unread.drain(..taken);
        self.take(out);
    }

    fn take(&mut self, out: Vec<FromConn>) {
        for from in out {
            match from {
                FromConn::Request(request) => self.waiting.push(request),
                FromConn::Cancel(conn, seq) => {
                    self.waiting.retain(|waiting| (waiting.conn, waiting.seq) != (conn, seq));
                }
                FromConn::Close(_) => {}
            }
        }
    }

    /// Answers everything that waits, in order of asking, until nothing does. A request takes
    /// effect when it is answered.
    pub fn work(&mut self) {
        loop {
            while !self.waiting.is_empty() {
                let request = self.waiting.remove(0);
                let answers = self.execute(request);
                answers.into_iter().for_each(|answer| self.give(answer));
            }
            let conns: Vec<ConnId> = self.unread.keys().copied().collect();
            conns.into_iter().for_each(|conn| self.offer(conn));
            if self.waiting.is_empty() {
                return;
            }
        }
    }

    /// Does everything that waits in order of asking, and answers in another order.
    #[allow(dead_code)] // Used by tests of the order of answers.
    pub fn work_shuffled(&mut self, random: &mut base::Random) {
        let waiting = std::mem::take(&mut self.waiting);
        let mut answers: Vec<Vec<Answer>> =
            waiting.into_iter().map(|request| self.execute(request)).collect();
        while !answers.is_empty() {
            let place = random.below(answers.len() as u64) as usize;
            answers.remove(place).into_iter().for_each(|answer| self.give(answer));
        }
        let conns: Vec<ConnId> = self.unread.keys().copied().collect();
        conns.into_iter().for_each(|conn| self.offer(conn));
    }

    /// Lets what is logged overtake what is not: a node may do so.
    #[allow(dead_code)] // Used by tests of the order of effects.
    pub fn writes_first(&mut self) {
        let logged = |request: &Request| match &request.call {
            Call::Kv(batch) => batch.writes(),
            Call::Walk(_) => false,
            _ => true,
        };
        self.waiting.sort_by_key(|request| !logged(request));
    }

    fn give(&mut self, answer: Answer) {
        let mut out = Vec::new();
        self.resp.answer(self.now, answer, &mut out);
        self.take(out);
    }

    /// What a client would have received by now.
    pub fn received(&mut self, conn: ConnId) -> Vec<u8> {
        let mut received = Vec::new();
        while let Some(output) = self.resp.output(conn) {
            if output.is_empty() {
                break;
            }
            received.extend_from_slice(&output.split());
            // Room in the output lets the connection go on.
            self.offer(conn);
        }
        received
    }

    fn execute(&mut self, request: Request) -> Vec<Answer> {
        let (conn, seq) = (request.conn, request.seq);
        let one = |result| vec![Answer { conn, seq, more: false, result }];
        if let Some(failure) = &self.failure {
            return one(Err(failure.clone()));
        }
        match request.call {
            Call::Kv(batch) if batch.writes() => one(self.checked(batch, Command::Kv)),
            Call::Kv(batch) => one(self.read(&batch)),
            Call::Once { session, number, batch } => {
                one(self.checked(batch, |batch| Command::Once { session, number, batch }))
            }
            Call::Walk(walk) => self.walk(walk, |more, result| Answer { conn, seq, more, result }),
            Call::SessionOpen { ttl_ms } => one(self.log(&Command::SessionOpen { ttl_ms })),
            Call::SessionClose { session } => one(self.log(&Command::SessionClose { session })),
            Call::Status => one(Ok(Reply::Status(Box::new(self.status())))),
            Call::HashMark => one(Ok(Reply::Index(Index(42)))),
            Call::Transfer { .. } | Call::Register(_) => one(Ok(Reply::Done)),
            Call::NodeReplace { .. } => one(Err(Failure::NotDone(NotDone::NoQuorum))),
        }
    }

    fn checked(
        &mut self,
        batch: Batch,
        command: impl FnOnce(Batch) -> Command,
    ) -> Result<Reply, Failure> {
        kv::check(&batch, &kv::Limits::default()).map_err(Failure::Refused)?;
        self.log(&command(batch))
    }

    fn log(&mut self, command: &Command) -> Result<Reply, Failure> {
        self.applied = Stamp(self.now.wall.0.max(self.applied.0 + 1));
        let mut changes = Changes::new();
        let reply = self.machine.apply(self.applied, command, &All(&self.rows), &mut changes);
        for change in changes {
            match change {
                Change::Put(key, row) => {
                    self.rows.insert(key, row);
                }
                Change::Delete(key) => {
                    self.rows.remove(&key);
                }
                Change::Reset(space) => self.rows.retain(|key, _| key.space != space),
            }
        }
        match reply {
            service::Reply::Kv(outcome) => Ok(Reply::Kv(outcome)),
            service::Reply::Session(session) => Ok(Reply::Session(session)),
            service::Reply::Failed(failure) => Err(failure),
            // As a node answers: the place in the log where it was done.
            _ => Ok(Reply::Index(Index(1))),
        }
    }

    fn read(&mut self, batch: &Batch) -> Result<Reply, Failure> {
        kv::check(batch, &kv::Limits::default()).map_err(Failure::Refused)?;
        loop {
            let now = Stamp(self.now.wall.0.max(self.applied.0));
            match kv::read(batch, self.applied, now, &All(&self.rows)) {
                ReadOutcome::Done(outcome) => return Ok(Reply::Kv(outcome)),
                ReadOutcome::Due => self.log(&Command::Stamp)?,
            };
        }
    }

    fn walk(
        &mut self,
        walk: WalkRequest,
        answer: impl Fn(bool, Result<Reply, Failure>) -> Answer,
    ) -> Vec<Answer> {
        self.applied = Stamp(self.now.wall.0.max(self.applied.0));
        let mut walker = Walker::new(walk, self.applied);
        let (mut answers, space) = (Vec::new(), walker.space());
        loop {
            let range = walker.range();
            let start = RowKey { space, key: range.start.clone() };
            let rows = self
                .rows
                .range(start..)
                .take_while(|(at, _)| at.space == space && range.contains(&at.key))
                .map(|(at, row)| (at.key.clone(), row.clone()));
            match walker.feed(rows, None) {
                Progress::More => {}
                Progress::Chunk(reply) => answers.push(answer(true, Ok(Reply::Walk(reply)))),
                Progress::Finished(reply) => {
                    answers.push(answer(false, Ok(Reply::Walk(reply))));
                    return answers;
                }
            }
        }
    }

    fn status(&self) -> Status {
        let node = |id| NodeStatus {
            node: NodeId(id),
            incarnation: Incarnation(0xabc0 + id),
            address: format!("127.0.0.1:{}", 7600 + id),
            client_address: format!("127.0.0.1:{}", 6400 + id),
            live: id != 3,
            clock_offset_ms: (id == 2).then_some(-3),
        };
        let replica = |id| (ReplicaId(id), NodeId(id), "voter", Index(9));
        let shard = ShardStatus {
            shard: ShardId(2),
            kind: "kv",
            replica: ReplicaId(1),
            role: "leader",
            leader: Some(NodeId(1)),
            term: Term(4),
            commit: Index(9),
            applied: Index(9),
            last: Index(10),
            first: Index(1),
            replicas: (1..=3).map(replica).collect(),
            hash: Some((Index(7), 0x1234)),
            snapshots_sent: 1,
            snapshots_installed: 0,
        };
        Status {
            cluster: ClusterId(0xc1),
            node: NodeId(1),
            incarnation: Incarnation(0xabc1),
            version: "0.1.0".to_owned(),
            uptime_ms: 90_061_000,
            nodes: (1..=3).map(node).collect(),
            shards: vec![shard],
            disk_full: false,
            requests_waiting: 0,
            memory_bytes: 1024,
            unflushed_bytes: 512,
            memtables_full: false,
        }
    }
}
