//! Transactions: MULTI, EXEC, DISCARD, WATCH, UNWATCH.
//!
//! MULTI queues commands on the connection; EXEC sends them as one batch, which takes effect as a
//! whole or not at all, on every replica at the same place in the log. WATCH asks for the keys'
//! versions and remembers them; EXEC hands them over as the batch's conditions. If one has changed,
//! the batch changes nothing and EXEC answers null.
//!
//! ```text
//! WATCH a          -> Versions([a])         answer: 17
//! MULTI, SET b 1, PING, INCR c, EXEC
//!                  -> Batch { conditions: [a is 17], ops: [Set b, Add c 1] }
//!                     answers: [Done, 5]    reply: [OK, PONG, 5]
//! ```
//!
//! Commands that need no rows (PING, SELECT, CLIENT ...) run at EXEC, in their place: a SELECT
//! decides about the operations behind it. If the batch is then aborted, what they changed is
//! changed back, and nothing more of the connection's input is looked at before that is known.
//!
//! What walks over many keys or asks the node (KEYS, SCAN, DBSIZE, RANDOMKEY, INFO, WAIT ...) can't
//! be part of a batch and is refused when it is queued.

use super::Resp;
use super::conn::{Conn, State};
use super::errors::{self, EXEC_ABORT, Wrong};
use super::kv::Context;
use super::shape::{self, Shape};
use super::slot::Want;
use super::table::{Run, Spec, WRITE};
use base::{Bytes, Failure, Key};
use bytes::BytesMut;
use node::api::{Call, FromConn, Reply};
use service::kv::{self, Batch, Bucket, Condition, Op, Outcome};
use std::ops::Range;
use wire::resp::Out;

/// Commands that a transaction may have.
const COMMANDS_MAX: usize = 1 << 16;
/// Request bytes that a transaction may have.
const BYTES_MAX: usize = 16 << 20;

/// A transaction that is being told.
#[derive(Debug, Default)]
pub(super) struct Multi {
    queue: Vec<(&'static Spec, Vec<Bytes>)>,
    bytes: usize,
    /// A command was wrong: EXEC will refuse.
    spoilt: bool,
}

impl Multi {
    /// EXEC will refuse; what was queued is not needed any more.
    pub(super) fn spoil(&mut self) {
        *self = Multi { spoilt: true, ..Multi::default() };
    }

    /// Bytes of the commands that are queued.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many commands are queued.
    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }
}

/// What WATCH saw.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// Counts UNWATCHes, so that an answer to an earlier WATCH is not taken for a later one's.
    generation: u64,
    /// WATCHes without an answer.
    waiting: usize,
    /// A WATCH failed, so EXEC must not go on as if nothing had changed.
    failed: bool,
    seen: Vec<Condition>,
}

impl Watch {
    /// Forgets all keys.
    pub(super) fn clear(&mut self) {
        *self = Watch { generation: self.generation + 1, ..Watch::default() };
    }

    pub(super) fn is_empty(&self) -> bool {
        self.seen.is_empty() && self.waiting == 0 && !self.failed
    }

    /// The versions that a WATCH asked for.
    pub(super) fn answered(
        &mut self,
        generation: u64,
        keys: &[(Bucket, Key)],
        result: &Result<Reply, Failure>,
    ) {
        if generation != self.generation {
            return;
        }
        self.waiting -= 1;
        let versions = match result {
            Ok(Reply::Kv(Outcome::Answers(answers))) => match answers.as_slice() {
                [kv::Answer::List(versions), ..] if versions.len() == keys.len() => versions,
                _ => return self.failed = true,
            },
            _ => return self.failed = true,
        };
        for ((bucket, key), version) in keys.iter().zip(versions) {
            let kv::Answer::Integer(version) = version else { return self.failed = true };
            let (bucket, version) = (*bucket, *version as u64);
            // The first look counts: a change after it must not be forgotten by a second one.
            if !self.seen.iter().any(|seen| seen.bucket == bucket && seen.key == *key) {
                self.seen.push(Condition { bucket, key: key.clone(), version });
            }
        }
    }
}

/// A transaction whose batch is under way.
#[derive(Debug, Default)]
pub(super) struct Exec {
    parts: Vec<(bool, Part)>,
    /// Replies that were made here, one after the other.
    written: BytesMut,
    /// EXEC itself came in version 3.
    three: bool,
    /// How the connection was, if an aborted transaction must change it back.
    before: Option<State>,
}

/// Where one command's reply comes from, in which version.
#[derive(Debug)]
enum Part {
    Written(Range<usize>),
    Answer(&'static Spec, Shape),
}

impl Exec {
    /// How the connection must be again, if the batch did not take place.
    pub(super) fn undone(&mut self, result: &Result<Reply, Failure>) -> Option<State> {
        match result {
            Ok(Reply::Kv(Outcome::Answers(_))) => None,
            _ => self.before.take(),
        }
    }

    /// Writes the transaction's replies.
    pub(super) fn write(self, outcome: Outcome, out: &mut Out) {
        let Outcome::Answers(answers) = outcome else { return out.null_array() };
        let mut answers = answers.into_iter();
        let mut buffer = BytesMut::new();
        for (three, part) in &self.parts {
            let mut out = Out::new(&mut buffer, *three);
            match part {
                Part::Written(range) => out.raw(&self.written[range.clone()]),
                Part::Answer(spec, shape) => match answers.next() {
                    Some(answer) => shape::write(shape, &answer, spec, &mut out),
                    None => out.error(b"ERR unexpected answer to a transaction"),
                },
            }
        }
        out.array(self.parts.len());
        out.raw(&buffer);
    }
}

/// Queues a command.
pub(super) fn queue(
    conn: &mut Conn,
    resp: &Resp,
    spec: &'static Spec,
    args: &[Bytes],
    cost: usize,
) -> Result<(), Wrong> {
    let crowded = resp.is_crowded(conn, cost);
    let Some(multi) = &mut conn.multi else { return Ok(()) };
    if crowded {
        return Err(errors::NO_ROOM);
    }
    if matches!(spec.run, Run::Call(_)) {
        return Err(format!(
            "ERR '{}' can't be part of a transaction here: it is no operation on single keys",
            spec.name
        )
        .into());
    }
    let allowed = BYTES_MAX.min(resp.options.limits.request_bytes_max);
    if multi.bytes + cost > allowed || multi.queue.len() >= COMMANDS_MAX {
        return Err(format!(
            "ERR a transaction may have {COMMANDS_MAX} commands and {allowed} bytes; this one has \
             more"
        )
        .into());
    }
    if !multi.spoilt {
        multi.bytes += cost;
        multi.queue.push((spec, args.to_vec()));
    }
    Ok(())
}

pub(super) fn multi(
    conn: &mut Conn,
    resp: &mut Resp,
    context: &Context,
    _: &[Bytes],
    _: usize,
    _: &mut Vec<FromConn>,
) {
    if conn.multi.is_some() {
        return conn.error("ERR MULTI calls can not be nested");
    }
    conn.multi = Some(Multi::default());
    ok(conn, resp, context);
}

pub(super) fn discard(
    conn: &mut Conn,
    resp: &mut Resp,
    context: &Context,
    _: &[Bytes],
    _: usize,
    _: &mut Vec<FromConn>,
) {
    if conn.multi.take().is_none() {
        return conn.error("ERR DISCARD without MULTI");
    }
    conn.watch.clear();
    ok(conn, resp, context);
}

fn ok(conn: &mut Conn, resp: &mut Resp, context: &Context) {
    conn.reply(resp, context.spec, |_, _, buffer| Out::new(buffer, false).simple("OK"));
}

/// WATCH key [key ...]
pub(super) fn watch(
    conn: &mut Conn,
    resp: &mut Resp,
    context: &Context,
    args: &[Bytes],
    cost: usize,
    out: &mut Vec<FromConn>,
) {
    if conn.multi.is_some() {
        return conn.error("ERR WATCH inside MULTI is not allowed");
    }
    if conn.watch.seen.len() + args.len() > COMMANDS_MAX {
        return conn.error("ERR too many keys are watched");
    }
    // Copies: a small key must not keep its request's bytes while it is watched.
    let keys: Vec<Key> = args[1..].iter().map(|key| Bytes::copy_from_slice(key)).collect();
    conn.watch.waiting += 1;
    let call = Call::Kv(Batch::one(context.db, Op::Versions(keys.clone())));
    let keys = keys.into_iter().map(|key| (context.db, key)).collect();
    let want = Want::Watch { generation: conn.watch.generation, keys };
    conn.send(resp, context.now, context.spec, call, want, cost, out);
}

/// UNWATCH; inside MULTI it is queued, and then has nothing left to do.
pub(super) fn unwatch(
    conn: &mut Conn,
    _: &mut Resp,
    _: base::Time,
    _: &[Bytes],
    buffer: &mut BytesMut,
) {
    conn.watch.clear();
    Out::new(buffer, conn.state.three).simple("OK");
}

pub(super) fn exec(
    conn: &mut Conn,
    resp: &mut Resp,
    context: &Context,
    args: &[Bytes],
    cost: usize,
    out: &mut Vec<FromConn>,
) {
    run(conn, resp, context, None, args, cost, out);
}

/// EXEC, as a request of a session if `once` names one.
pub(super) fn run(
    conn: &mut Conn,
    resp: &mut Resp,
    context: &Context,
    once: Option<(u64, u64)>,
    args: &[Bytes],
    cost: usize,
    out: &mut Vec<FromConn>,
) {
    let Some(multi) = &conn.multi else { return conn.error("ERR EXEC without MULTI") };
    if multi.spoilt {
        conn.multi = None;
        conn.watch.clear();
        return conn.error(EXEC_ABORT);
    }
    let writes = once.is_some() || multi.queue.iter().any(|(spec, _)| spec.has(WRITE));
    if conn.watch.waiting > 0 || writes && conn.reads_wait() {
        return conn.stall(args, cost);
    }
    let multi = conn.multi.take().unwrap_or_default();
    let conditions = std::mem::take(&mut conn.watch.seen);
    let failed = conn.watch.failed;
    conn.watch.clear();
    if failed {
        return conn.reply(resp, context.spec, |conn, _, buffer| {
            Out::new(buffer, conn.state.three).null_array();
        });
    }
    let before = conn.state.clone();
    let (mut exec, ops) = prepare(conn, resp, context, &multi);
    exec.three = before.three;
    if ops.is_empty() && conditions.is_empty() && once.is_none() {
        return conn.reply(resp, context.spec, |_, _, buffer| {
            let mut out = Out::new(buffer, exec.three);
            exec.write(Outcome::Answers(Vec::new()), &mut out);
        });
    }
    let changed = conn.state != before;
    if changed && (!conditions.is_empty() || once.is_some()) {
        exec.before = Some(before);
    }
    let waits = exec.before.is_some();
    let batch = Batch { conditions, ops };
    let call = match once {
        Some((session, number)) => Call::Once { session, number, batch },
        None => Call::Kv(batch),
    };
    let want = Want::Exec(Box::new(exec));
    let seq = conn.send(resp, context.now, context.spec, call, want, cost + multi.bytes, out);
    if waits {
        conn.wait_for(seq);
    }
}

/// Runs what needs no rows, and makes operations of the rest.
fn prepare(
    conn: &mut Conn,
    resp: &mut Resp,
    context: &Context,
    multi: &Multi,
) -> (Exec, Vec<(Bucket, Op)>) {
    let (mut exec, mut ops) = (Exec::default(), Vec::new());
    for (spec, args) in &multi.queue {
        let start = exec.written.len();
        let three = conn.state.three;
        let mut wrong = |text: Wrong| Out::new(&mut exec.written, three).error(text.as_bytes());
        match spec.run {
            Run::Op(plan) => {
                let context = Context { now: context.now, db: conn.state.db, spec };
                match plan(&context, args) {
                    Ok((op, shape)) => {
                        ops.push((context.db, op));
                        exec.parts.push((three, Part::Answer(spec, shape)));
                        continue;
                    }
                    Err(text) => wrong(text),
                }
            }
            Run::Local(answer) => answer(conn, resp, context.now, args, &mut exec.written),
            Run::Call(_) | Run::Flow(_) => wrong(errors::arity(spec.name)),
        }
        exec.parts.push((three, Part::Written(start..exec.written.len())));
    }
    (exec, ops)
}
