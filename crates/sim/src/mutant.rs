//! Broken worlds, to prove that a broken world is noticed.
//!
//! Each mutant is a bug that some system has had, put into the machinery around the node: a disk
//! that says "durable" too early, a directory that was wiped and is let in under its old name. The
//! shipped crates stay as they are. A test runs each one until it is found, within a budget of
//! seeds.

use crate::profile::{Fault, Profile};
use crate::world::Host;
use base::{Bytes, ConnId};
use node::Effect;
use node::api::{Answer, Call, Consistency, FromConn, Reply};
use service::kv::{self, Op, Outcome};
use std::collections::BTreeMap;
use storage::disk::SimDisk;
use storage::tables::ModelTables;
use storage::wal::Record;

/// What the gateway puts behind a read, so that it takes its place among the writes before it.
fn is_no_deed(op: &Op) -> bool {
    matches!(op, Op::Delete(keys) if keys.is_empty())
}

/// Whether an answer is that of a GET.
fn is_of_read(answer: &Answer) -> bool {
    let Ok(Reply::Kv(Outcome::Answers(answers))) = &answer.result else { return false };
    matches!(answers[..], [kv::Answer::Bytes(_) | kv::Answer::Nil])
}

/// One bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// The log says that it is durable before it is (etcd 14370, NATS).
    AcksBeforeDurable,
    /// A node that dies loses its directory and comes back as if it never had one, under its old
    /// identity.
    ForgetsVote,
    /// Terms and votes are never written.
    LosesHardState,
    /// A node takes part in elections at once after a start, whatever it promised before.
    ForgetsPromise,
    /// Two nodes' clocks run far slower than the drift bound allows.
    SlowLeaseClock,
    /// A table that was reported as durable is gone after a power loss.
    LosesTable,
    /// The network changes bytes and nobody notices.
    Corrupts,
    /// The network delivers messages twice.
    Duplicates,
    /// Reads are answered by whoever is asked.
    StaleReads,
    /// Shard time jumps to the quorum's clocks at any time.
    JumpsToClocks,
    /// A gateway gives two reads of one pipeline each other's answers.
    SwapsAnswers,
    /// A read does not wait for the writes before it on its connection.
    OvertakesWrites,
    /// What is left of a connection that broke within a request is read as the beginning of the next
    /// connection.
    KeepsHalfRequest,
    /// While disks are full, a write that was done is answered with "the disk is full: not done".
    RefusesAndLogs,
    /// A full disk takes what it has no room for, says that it is durable, and forgets it.
    DropsWhenFull,
}

impl Mutant {
    /// All of them.
    pub const ALL: [Mutant; 15] = [
        Mutant::AcksBeforeDurable,
        Mutant::ForgetsVote,
        Mutant::LosesHardState,
        Mutant::ForgetsPromise,
        Mutant::SlowLeaseClock,
        Mutant::LosesTable,
        Mutant::Corrupts,
        Mutant::Duplicates,
        Mutant::StaleReads,
        Mutant::JumpsToClocks,
        Mutant::SwapsAnswers,
        Mutant::OvertakesWrites,
        Mutant::KeepsHalfRequest,
        Mutant::RefusesAndLogs,
        Mutant::DropsWhenFull,
    ];

    /// Those that the world of Raft alone can hold too.
    pub const RAFT: [Mutant; 1] = [Mutant::AcksBeforeDurable];

    /// Makes a world's faults such that the bug can show.
    pub(crate) fn suit(self, profile: &mut Profile) {
        let faults: &[Fault] = match self {
            Mutant::AcksBeforeDurable | Mutant::ForgetsVote | Mutant::LosesTable => {
                &[Fault::PowerLoss, Fault::PowerLossOfAll, Fault::Isolate]
            }
            Mutant::LosesHardState => &[Fault::PowerLoss, Fault::Kill, Fault::Halves],
            Mutant::ForgetsPromise => &[Fault::LeaderAlone],
            Mutant::SlowLeaseClock => &[Fault::Isolate, Fault::Transfer],
            Mutant::JumpsToClocks => &[Fault::ClockStep, Fault::ClockStepOfLeader],
            Mutant::RefusesAndLogs => &[Fault::DiskFull],
            Mutant::DropsWhenFull => &[Fault::DiskFull, Fault::PowerLoss, Fault::Kill],
            Mutant::Corrupts | Mutant::Duplicates | Mutant::StaleReads => &[Fault::Isolate],
            _ => &[Fault::Isolate, Fault::Transfer],
        };
        profile.faults = faults.to_vec();
        profile.fault_every_ns = profile.fault_every_ns.min(1_500_000_000);
        profile.down_ns_max = profile.down_ns_max.min(800_000_000);
        if self == Mutant::JumpsToClocks {
            profile.options.raft.clock_slew_ppm = u64::MAX;
            profile.steppers = 5;
        }
        if matches!(self, Mutant::ForgetsPromise | Mutant::SlowLeaseClock) {
            // Long leases, short elections, and one key that many look at.
            let options = &mut profile.options;
            let slow = self == Mutant::SlowLeaseClock;
            options.liveness.heartbeat_ns = if slow { 50_000_000 } else { 200_000_000 };
            options.liveness.support_ns = 8 * options.liveness.heartbeat_ns;
            options.raft.election_ns_min = 60_000_000;
            options.raft.election_ns_max = 120_000_000;
            profile.registers = 1;
            profile.clients[0] = 5;
            profile.think_ns_max = 30_000_000;
            profile.fault_every_ns = if slow { 1_200_000_000 } else { 2_500_000_000 };
            profile.patience_ns = 500_000_000;
            profile.latency_ns = profile.latency_ns.min(1_000_000);
        }
    }

    /// Whether it shows in pipelines, or where connections break.
    pub(crate) fn is_of_wires(self) -> bool {
        use Mutant::{KeepsHalfRequest, OvertakesWrites, SwapsAnswers};
        matches!(self, SwapsAnswers | OvertakesWrites | KeepsHalfRequest)
    }

    /// The rate of a node's clock.
    pub(crate) fn rate(self, host: usize, drawn: i64) -> i64 {
        match self {
            Mutant::SlowLeaseClock if host >= 3 => -700_000,
            _ => drawn,
        }
    }

    /// What a dead node's disks keep.
    pub(crate) fn after_death(self, host: &mut Host, power_loss: bool) {
        match self {
            Mutant::ForgetsVote => {
                host.disk = SimDisk::new();
                host.tables = ModelTables::new();
                host.used = false;
            }
            Mutant::LosesTable if power_loss => {
                if let Some(older) = host.older_tables.take() {
                    host.tables = older;
                }
            }
            _ => {}
        }
    }

    /// What is written of what is to be written.
    pub(crate) fn written(self, records: Vec<Record>) -> Vec<Record> {
        match self {
            Mutant::LosesHardState => {
                let kept = |record: &Record| !matches!(record, Record::HardState { .. });
                records.into_iter().filter(kept).collect()
            }
            _ => records,
        }
    }

    /// What a client's request becomes.
    pub(crate) fn asked(self, from: FromConn) -> FromConn {
        match from {
            FromConn::Request(mut request) if self == Mutant::StaleReads => {
                if matches!(&request.call, Call::Kv(batch) if !batch.writes()) {
                    request.consistency = Consistency::Eventual;
                }
                FromConn::Request(request)
            }
            FromConn::Request(mut request) if self == Mutant::OvertakesWrites => {
                if let Call::Kv(batch) = &mut request.call
                    && batch.ops.len() > 1
                    && is_no_deed(&batch.ops[batch.ops.len() - 1].1)
                {
                    batch.ops.pop();
                }
                FromConn::Request(request)
            }
            other => other,
        }
    }

    /// What a node's turn comes to.
    pub(crate) fn done(self, effects: &mut [Effect]) {
        let mut last: BTreeMap<ConnId, usize> = BTreeMap::new();
        let of_reads = |effect: &Effect| match effect {
            Effect::Answer(answer) => is_of_read(answer).then_some(answer.conn),
            _ => None,
        };
        for at in 0..effects.len() {
            let Some(conn) = of_reads(&effects[at]).filter(|_| self == Mutant::SwapsAnswers) else {
                continue;
            };
            let Some(before) = last.insert(conn, at) else { continue };
            let (front, back) = effects.split_at_mut(at);
            if let (Effect::Answer(one), Effect::Answer(other)) = (&mut front[before], &mut back[0])
            {
                std::mem::swap(&mut one.result, &mut other.result);
            }
        }
    }

    /// What a message becomes on its way.
    pub(crate) fn arrived(self, body: Bytes, chance: u64) -> Bytes {
        if self != Mutant::Corrupts || !chance.is_multiple_of(10) {
            return body;
        }
        // The padding of values, where nothing else would notice.
        match body.windows(4).position(|four| four == b"xxxx") {
            Some(at) => {
                let mut changed = body.to_vec();
                changed[at] = b'y';
                Bytes::from(changed)
            }
            None => body,
        }
    }
}
