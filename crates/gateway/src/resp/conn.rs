//! One connection: its input, its state, and its replies in order.

use super::Resp;
use super::errors::{self, NO_AUTH, Wrong};
use super::kv::Context;
use super::local::seconds_since;
use super::multi::{Multi, Watch};
use super::slot::{Body, Order, Slot, Want};
use super::table::{self, Run, Spec};
use base::key::KEY_BYTES_MAX;
use base::{Bytes, ConnId, Mono, Time};
use bytes::BytesMut;
use node::api::{Answer, BYTES_IN_FLIGHT_MAX, Call, Consistency, FromConn};
use node::api::{REQUESTS_IN_FLIGHT_MAX, Request};
use service::kv::{Batch, Bucket, Op};
use std::collections::VecDeque;
use wire::resp::{Out, Parser, Step};

/// Bytes of answers that a connection should have waiting. It decides, with the size of the last
/// answers, how many requests are consumed ahead of them.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// What an answer is taken for before there was one. A client that begins with a deep pipeline waits
/// for a few of its answers, so that it is not asked in vain for a thousand large values.
const ANSWER_BYTES_GUESS: usize = 512 << 10;

/// Output from which on its memory is given back once it is empty.
const OUTPUT_KEPT_MAX: usize = 64 << 10;

/// Seconds without a byte after which a request that is not whole is the first to be given up.
const SILENCE_S: u64 = 10;

/// A client's connection.
#[derive(Debug)]
pub(super) struct Conn {
    pub(super) id: ConnId,
    pub(super) address: String,
    pub(super) opened: Mono,
    /// When it last sent something.
    pub(super) used: Mono,
    /// The last command's name.
    pub(super) last: &'static str,
    /// What a transaction may change, and change back.
    pub(super) state: State,
    pub(super) multi: Option<Multi>,
    pub(super) watch: Watch,
    pub(super) replies: Replies,

    parser: Parser,
    out: BytesMut,
    /// What follows `out` of a long reply, to be moved there as it empties.
    rest: VecDeque<Bytes>,
    rest_bytes: usize,
    /// Replies to come, with numbers that count up by one.
    slots: VecDeque<Slot>,
    seq_next: u64,
    bytes_in_flight: usize,
    /// Requests without an answer that look at rows, and those that have a place in the log.
    reads_waiting: usize,
    logged_waiting: usize,
    /// A request that must wait for an answer before it can go on, with its bytes.
    stalled: Option<(Vec<Bytes>, usize)>,
    /// Nothing is consumed before this request's answer: it may change the state back.
    barrier: Option<u64>,
    /// About how many bytes an answer takes.
    answer_bytes: usize,
    /// Bytes of replies that are there and not written yet.
    answered_bytes: usize,
    /// The most output that there was since its memory was last given back.
    out_most: usize,
    /// What was counted of it when all that clients hold was last counted.
    pub(super) counted: usize,
    closing: bool,
    killed: bool,
    /// It is on the list of those that the caller should look at.
    pub(super) touched: bool,
}

/// What commands change about a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct State {
    /// It speaks version 3.
    pub(super) three: bool,
    pub(super) db: Bucket,
    pub(super) name: Bytes,
    pub(super) lib_name: Bytes,
    pub(super) lib_version: Bytes,
    /// It said who it is, or need not.
    pub(super) known: bool,
    pub(super) consistency: Consistency,
    pub(super) no_evict: bool,
}

/// Which requests get a reply (CLIENT REPLY).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Replies {
    All,
    None,
    AllButNext,
}

impl State {
    pub(super) fn new(known: bool) -> State {
        State {
            three: false,
            db: Bucket(0),
            name: Bytes::new(),
            lib_name: Bytes::new(),
            lib_version: Bytes::new(),
            known,
            consistency: Consistency::Strong,
            no_evict: false,
        }
    }
}

impl Conn {
    pub(super) fn new(now: Time, id: ConnId, address: String, known: bool) -> Conn {
        Conn {
            id,
            address,
            opened: now.mono,
            used: now.mono,
            last: "NULL",
            state: State::new(known),
            multi: None,
            watch: Watch::default(),
            replies: Replies::All,
            parser: Parser::default(),
            out: BytesMut::new(),
            rest: VecDeque::new(),
            rest_bytes: 0,
            slots: VecDeque::new(),
            seq_next: 1,
            bytes_in_flight: 0,
            reads_waiting: 0,
            logged_waiting: 0,
            stalled: None,
            barrier: None,
            answer_bytes: ANSWER_BYTES_GUESS,
            answered_bytes: 0,
            out_most: 0,
            counted: 0,
            closing: false,
            killed: false,
            touched: false,
        }
    }

    // ---- input

    /// Consumes what it may of `bytes`.
    pub(super) fn receive(
        &mut self,
        resp: &mut Resp,
        now: Time,
        bytes: &[u8],
        out: &mut Vec<FromConn>,
    ) -> usize {
        if self.closing {
            return bytes.len();
        }
        self.used = now.mono;
        self.write_answered(resp);
        let mut rest = bytes;
        while self.may_consume(resp) && !rest.is_empty() {
            let before = self.parser.held();
            let step = self.parser.next(&mut rest, self.state.known, &resp.options.limits);
            resp.partial_bytes = resp.partial_bytes + self.parser.held() - before;
            match step {
                Step::More => self.give_up_if_crowded(resp, now),
                Step::Request(cost) => {
                    resp.stats.commands += 1;
                    let mut args = std::mem::take(self.parser.args());
                    self.request(resp, now, &args, cost, out);
                    args.clear();
                    *self.parser.args() = args;
                }
                Step::TooLarge { what, seen, allowed } => {
                    self.refuse(resp, errors::too_large(what, seen, allowed));
                }
                Step::GivenUp => self.refuse(resp, errors::NO_ROOM),
                Step::Broken(broken) => {
                    self.error(broken.text());
                    self.closing = true;
                }
            }
        }
        if self.closing { bytes.len() } else { bytes.len() - rest.len() }
    }

    fn may_consume(&self, resp: &Resp) -> bool {
        !self.closing
            && self.stalled.is_none()
            && self.barrier.is_none()
            && self.slots.len() < REQUESTS_IN_FLIGHT_MAX
            && self.bytes_in_flight < BYTES_IN_FLIGHT_MAX
            && self.out.len() <= resp.options.output_bytes_max
            && self.rest.is_empty()
            && self.slots.len() * self.answer_bytes <= ANSWER_BYTES_MAX
            && self.answered_bytes <= ANSWER_BYTES_MAX
            // Whoever waits for nothing is never called again, so it must go on.
            && ((self.slots.is_empty() && self.out.is_empty()) || !resp.is_crowded(self, 0))
    }

    /// When all connections together hold too much of requests that are not whole, one gives up: the
    /// one that has been silent for longest, if that is long, or else this one.
    fn give_up_if_crowded(&mut self, resp: &mut Resp, now: Time) {
        if resp.partial_bytes <= resp.options.partial_bytes_max {
            return;
        }
        let silent = resp
            .others()
            .filter(|other| other.parser.held() > 0 && seconds_since(now, other.used) >= SILENCE_S)
            .min_by_key(|other| other.used);
        match silent {
            Some(other) => {
                let freed = other.give_up();
                other.counted -= freed;
                resp.partial_bytes -= freed;
                resp.held -= freed;
            }
            None => resp.partial_bytes -= self.give_up(),
        }
    }

    /// Drops what is kept of a request that is not whole; says how many bytes that were.
    fn give_up(&mut self) -> usize {
        let before = self.parser.held();
        self.parser.give_up();
        before - self.parser.held()
    }

    /// Handles a whole request, or keeps it until it can be handled.
    fn request(
        &mut self,
        resp: &mut Resp,
        now: Time,
        args: &[Bytes],
        cost: usize,
        out: &mut Vec<FromConn>,
    ) {
        if self.bytes_in_flight > 0 && self.bytes_in_flight + cost > BYTES_IN_FLIGHT_MAX {
            return self.stall(args, cost);
        }
        let spec = match table::find(args) {
            Ok(spec) => spec,
            Err(wrong) => return self.refuse(resp, wrong),
        };
        self.last = spec.name;
        if let Err(wrong) = self.admit(spec, args) {
            if spec.name == "exec" {
                self.multi = None;
                self.watch.clear();
                return self.refuse(resp, errors::exec_abort(&wrong));
            }
            return self.refuse(resp, wrong);
        }
        match &mut self.multi {
            Some(_) if !matches!(spec.run, Run::Flow(_)) => {
                match super::multi::queue(self, resp, spec, args, cost) {
                    Ok(()) => self.reply(resp, spec, |_, _, buffer| {
                        Out::new(buffer, false).simple("QUEUED");
                    }),
                    Err(wrong) => self.refuse(resp, wrong),
                }
            }
            _ => self.execute(resp, now, spec, args, cost, out),
        }
    }

    /// Whether a command can be queued or executed at all.
    fn admit(&self, spec: &Spec, args: &[Bytes]) -> Result<(), Wrong> {
        if !spec.takes(args.len()) {
            return Err(errors::arity(spec.name));
        }
        if !self.state.known && !spec.has(table::NO_AUTH) {
            return Err(NO_AUTH);
        }
        match spec.keys_of(args).find(|key| key.len() > KEY_BYTES_MAX) {
            Some(key) => Err(errors::too_large("key", key.len() as u64, KEY_BYTES_MAX as u64)),
            None => Ok(()),
        }
    }

    fn execute(
        &mut self,
        resp: &mut Resp,
        now: Time,
        spec: &'static Spec,
        args: &[Bytes],
        cost: usize,
        out: &mut Vec<FromConn>,
    ) {
        let context = Context { now, db: self.state.db, spec };
        match spec.run {
            Run::Op(plan) => match plan(&context, args) {
                Ok((op, _)) if op.writes() && self.reads_wait() => self.stall(args, cost),
                Ok((op, shape)) => {
                    let call = Call::Kv(Batch::one(context.db, op));
                    self.send(resp, now, spec, call, Want::Kv(shape), cost, out);
                }
                Err(wrong) => self.error(wrong),
            },
            Run::Call(plan) => match plan(self, resp, &context, args) {
                Ok((call, want)) => {
                    self.send(resp, now, spec, call, want, cost, out);
                }
                Err(wrong) => self.error(wrong),
            },
            Run::Local(answer) => {
                self.reply(resp, spec, |conn, resp, buffer| answer(conn, resp, now, args, buffer));
            }
            Run::Flow(go) => go(self, resp, &context, args, cost, out),
        }
    }

    /// Keeps a request until an answer has come.
    pub(super) fn stall(&mut self, args: &[Bytes], cost: usize) {
        assert!(self.stalled.is_none(), "two requests of {} wait for answers", self.id);
        self.stalled = Some((args.to_vec(), cost));
    }

    /// Whether reads wait for their answers, so that a write behind them must wait too: they would
    /// see what it did.
    pub(super) fn reads_wait(&self) -> bool {
        self.reads_waiting > 0
    }

    /// Sends a request to the node and takes a slot for its reply.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn send(
        &mut self,
        resp: &mut Resp,
        now: Time,
        spec: &'static Spec,
        mut call: Call,
        want: Want,
        cost: usize,
        out: &mut Vec<FromConn>,
    ) -> u64 {
        let consistency = match &want {
            Want::Watch { .. } => Consistency::Strong,
            _ => self.state.consistency,
        };
        if self.logged_waiting > 0
            && consistency == Consistency::Strong
            && let Call::Kv(batch) = &mut call
            && !batch.writes()
        {
            // Behind a write: its place among the writes is a place in the log. Deleting nothing is
            // what takes it there.
            batch.ops.push((self.state.db, Op::Delete(Vec::new())));
        }
        let order = Order::of(&call);
        match order {
            Order::Reads => self.reads_waiting += 1,
            Order::Logged => self.logged_waiting += 1,
            Order::None => {}
        }
        let (conn, seq) = (self.id, self.seq_next);
        let deadline = now.mono + resp.options.deadline;
        out.push(FromConn::Request(Request { conn, seq, deadline, consistency, call }));
        self.bytes_in_flight += cost;
        self.push(spec, cost, order, Body::Waiting(want));
        seq
    }

    /// Nothing more is consumed before the answer to `seq`.
    pub(super) fn wait_for(&mut self, seq: u64) {
        self.barrier = Some(seq);
    }

    fn push(&mut self, spec: &'static Spec, cost: usize, order: Order, body: Body) {
        let silent = self.silence();
        let seq = self.seq_next;
        self.seq_next += 1;
        let three = self.state.three;
        let slot = Slot { seq, spec, three, silent, cost, order, body };
        self.answered_bytes += slot.weight();
        self.slots.push_back(slot);
    }

    /// Whether a reply can be written at once, since none is before it.
    fn all_written(&self) -> bool {
        self.slots.is_empty() && self.rest.is_empty()
    }

    /// Whether the reply that is about to be made is unwanted.
    fn silence(&mut self) -> bool {
        match self.replies {
            Replies::All => false,
            Replies::None => true,
            Replies::AllButNext => {
                self.replies = Replies::All;
                true
            }
        }
    }

    // ---- replies that are made here

    /// A reply that `write` writes, in its place among the others.
    pub(super) fn reply(
        &mut self,
        resp: &mut Resp,
        spec: &'static Spec,
        write: impl FnOnce(&mut Conn, &mut Resp, &mut BytesMut),
    ) {
        if self.all_written() && self.replies == Replies::All {
            let mut buffer = std::mem::take(&mut self.out);
            write(self, resp, &mut buffer);
            self.out = buffer;
            return;
        }
        let mut buffer = BytesMut::new();
        let before = self.replies;
        write(self, resp, &mut buffer);
        // CLIENT REPLY itself: what it sets begins with its own reply, and SKIP with the next one.
        if self.replies != before && spec.name == "client|reply" {
            if self.replies == Replies::All {
                self.out_or_slot(spec, buffer);
            }
            return;
        }
        match self.all_written() {
            true => {
                if !self.silence() {
                    self.out.extend_from_slice(&buffer);
                }
            }
            false => self.push(spec, 0, Order::None, Body::Written(buffer.freeze())),
        }
    }

    fn out_or_slot(&mut self, spec: &'static Spec, buffer: BytesMut) {
        match self.all_written() {
            true => self.out.extend_from_slice(&buffer),
            false => self.push(spec, 0, Order::None, Body::Written(buffer.freeze())),
        }
    }

    /// An error of a request that was not even queued: a transaction will not take place.
    pub(super) fn refuse(&mut self, resp: &mut Resp, wrong: Wrong) {
        resp.stats.errors += 1;
        if let Some(multi) = &mut self.multi {
            multi.spoil();
        }
        self.error(wrong);
    }

    /// An error in its place among the replies.
    pub(super) fn error(&mut self, wrong: impl Into<Wrong>) {
        let mut buffer = BytesMut::new();
        Out::new(&mut buffer, self.state.three).error(wrong.into().as_bytes());
        match self.all_written() {
            true => {
                if !self.silence() {
                    self.out.extend_from_slice(&buffer);
                }
            }
            false => self.push(&table::NONE, 0, Order::None, Body::Written(buffer.freeze())),
        }
    }

    // ---- answers

    pub(super) fn answer(
        &mut self,
        resp: &mut Resp,
        now: Time,
        answer: Answer,
        out: &mut Vec<FromConn>,
    ) {
        let Some(at) = self.slot_of(answer.seq) else { return };
        let full = resp.is_full(self, node::api::weight(&answer.result));
        let slot = &mut self.slots[at];
        let before = slot.weight();
        let Body::Waiting(want) = &mut slot.body else { return };
        let kept = match (&mut *want, &answer.result) {
            (Want::Keys(_), Ok(_)) if full => Err(errors::NO_ROOM_FOR_ANSWERS),
            (Want::Keys(keys), Ok(reply)) => keys.collect(reply, resp.options.keys_bytes_max),
            _ => Ok(()),
        };
        let whole = match kept {
            Ok(()) if answer.more => false,
            Ok(()) => {
                match want {
                    Want::Watch { generation, keys } => {
                        self.watch.answered(*generation, keys, &answer.result);
                    }
                    Want::Exec(exec) => {
                        if let Some(state) = exec.undone(&answer.result) {
                            self.state = state;
                        }
                    }
                    _ => {}
                }
                slot.answered(answer.result);
                true
            }
            Err(wrong) => {
                slot.refused(&wrong);
                out.push(FromConn::Cancel(self.id, answer.seq));
                true
            }
        };
        self.answered_bytes = self.answered_bytes + slot.weight() - before;
        if whole {
            let (cost, order) = (slot.cost, slot.order);
            self.settle(answer.seq, cost, order);
            self.go_on(resp, now, out);
        }
    }

    fn slot_of(&self, seq: u64) -> Option<usize> {
        let place = usize::try_from(seq.checked_sub(self.slots.front()?.seq)?).ok()?;
        (place < self.slots.len()).then_some(place)
    }

    /// A request waits no more.
    fn settle(&mut self, seq: u64, cost: usize, order: Order) {
        self.bytes_in_flight -= cost;
        match order {
            Order::Reads => self.reads_waiting -= 1,
            Order::Logged => self.logged_waiting -= 1,
            Order::None => {}
        }
        if self.barrier == Some(seq) {
            self.barrier = None;
        }
    }

    /// After an answer: writes what can be written, and handles the request that waited.
    fn go_on(&mut self, resp: &mut Resp, now: Time, out: &mut Vec<FromConn>) {
        self.write_answered(resp);
        if self.barrier.is_none()
            && let Some((args, cost)) = self.stalled.take()
        {
            self.request(resp, now, &args, cost, out);
        }
    }

    /// Writes replies from the front, as long as their answers are there and the output has room.
    pub(super) fn write_answered(&mut self, resp: &mut Resp) {
        while self.out.len() <= resp.options.output_bytes_max {
            if let Some(piece) = self.rest.pop_front() {
                self.rest_bytes -= piece.len();
                self.out.extend_from_slice(&piece);
                continue;
            }
            if !self.slots.front().is_some_and(Slot::ready) {
                break;
            }
            let Some(slot) = self.slots.pop_front() else { break };
            self.answered_bytes -= slot.weight();
            if slot.silent {
                continue;
            }
            let before = self.out.len();
            slot.write(resp, &mut self.out, &mut self.rest);
            self.rest_bytes = self.rest.iter().map(Bytes::len).sum();
            self.answer_bytes = (self.answer_bytes / 8 * 7).max(self.out.len() - before);
        }
    }

    // ---- what the caller asks

    pub(super) fn output(&mut self) -> &mut BytesMut {
        self.out_most = self.out_most.max(self.out.len());
        if self.out.is_empty() && self.out_most > OUTPUT_KEPT_MAX {
            (self.out, self.out_most) = (BytesMut::new(), 0);
        }
        &mut self.out
    }

    /// What the caller may want to know has changed when this has.
    pub(super) fn look(&self) -> (usize, bool) {
        (self.out.len(), self.closing())
    }

    /// Whether the connection is over once its output is sent.
    pub(super) fn closing(&self) -> bool {
        self.killed || self.closing && self.all_written()
    }

    /// Ends the connection once what was asked before is answered.
    pub(super) fn quit(&mut self) {
        self.closing = true;
    }

    /// Ends the connection at once.
    pub(super) fn kill(&mut self) {
        (self.closing, self.killed) = (true, true);
        self.out.clear();
        (self.rest, self.rest_bytes) = (VecDeque::new(), 0);
    }

    /// All that it takes of what clients may hold together.
    pub(super) fn held(&self) -> usize {
        let stalled = self.stalled.as_ref().map_or(0, |(_, cost)| *cost);
        let told = self.multi.as_ref().map_or(0, Multi::bytes);
        let requests = self.parser.held() + stalled + self.bytes_in_flight + told;
        requests + self.answered_bytes + self.out.len() + self.rest_bytes
    }

    /// Bytes of answers that the client has not taken.
    pub(super) fn untaken_bytes(&self) -> usize {
        self.answered_bytes
    }

    /// Lets go of answers that the client may ask for again.
    pub(super) fn take_back(&mut self) {
        for slot in &mut self.slots {
            let before = slot.weight();
            slot.take_back();
            self.answered_bytes = self.answered_bytes + slot.weight() - before;
        }
    }

    /// Lets go of everything; the connection is about to be closed.
    pub(super) fn drop_everything(&mut self) {
        self.parser = Parser::default();
        self.slots.clear();
        (self.stalled, self.multi, self.out) = (None, None, BytesMut::new());
        (self.bytes_in_flight, self.answered_bytes) = (0, 0);
        (self.rest, self.rest_bytes) = (VecDeque::new(), 0);
        self.closing = true;
    }

    pub(super) fn partial_bytes(&self) -> usize {
        self.parser.held()
    }

    pub(super) fn unsent_bytes(&self) -> usize {
        self.out.len() + self.rest_bytes
    }

    pub(super) fn waiting(&self) -> usize {
        self.slots.len()
    }
}
