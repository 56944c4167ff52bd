//! The load generator: one thread, many connections, any of the protocols.
//!
//! A connection has room for some requests ([`Case::room`]). Whenever something happened, requests that are due
//! (see [`crate::pace`]) go to connections with room, one each in turn, and then everything is
//! written that was added. An operation that reads and then writes is two requests and one latency.
//!
//! Of what was due when an open loop ended and no connection had room for, nobody knows how long it
//! would have taken. It is counted as `unsent`, and as having taken as long as it had waited until
//! then, which is too little; a rate with many unsent requests is more than the server can do.

use crate::case::{Case, Pace, Workload};
use crate::histogram::Histogram;
use crate::op::{Chooser, Op, Random};
use crate::pace::Schedule;
use crate::timer::Timer;
use crate::wire::{Answer, Protocol, Wire};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// The timer's token, behind those of all connections.
const TIMER: Token = Token(usize::MAX / 2);
/// How long everything may be silent.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often quiet connections are kept open.
const KEEP: Duration = Duration::from_secs(5);

/// Bytes of values on their way while keys are set.
const FILLING: usize = 8 << 20;

/// What a measured stretch showed.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// Latencies of all operations that were answered without an error, and of unsent ones.
    pub latency: Histogram,
    /// How long after they were due requests were sent.
    pub late: Histogram,
    /// Operations that were answered without an error.
    pub done: u64,
    /// Those among them that found no key.
    pub missing: u64,
    /// Error replies.
    pub errors: u64,
    /// What was due and never sent.
    pub unsent: u64,
    /// How long it took.
    pub elapsed: Duration,
}

/// How a stretch is measured.
#[derive(Clone, Copy, Debug)]
pub struct Stretch {
    /// Before it, not measured.
    pub warmup: Duration,
    /// Measured.
    pub measured: Duration,
    /// Operations a second in the open loop; none in the closed one.
    pub rate: Option<f64>,
    /// What operations are drawn with.
    pub seed: u64,
}

/// Sets every key once, fast.
pub fn fill(
    addresses: &[SocketAddr],
    protocol: Protocol,
    case: &Case,
    mut progress: impl FnMut(u64),
) -> io::Result<()> {
    // Many at once, but of large values few, since servers refuse what they have no memory for.
    let pipeline = (FILLING / (64 * case.value)).clamp(1, 16);
    let wide = Case { connections: 64, pipeline, pace: Pace::Closed, ..case.clone() };
    let mut generator = Generator::connect(addresses, protocol, &wide)?;
    let (mut next, mut schedule) = (0u64, Schedule::new(Instant::now(), None, None));
    generator.run(&mut schedule, &mut || {
        let key = next;
        next += 1;
        if key.is_multiple_of(1024) {
            progress(key);
        }
        (key < case.keys).then_some(Op::Create(key))
    })?;
    match generator.measured.errors {
        0 => Ok(()),
        errors => Err(io::Error::other(format!("{errors} errors while setting the keys"))),
    }
}

/// Runs a case: first the warm-up, then `on_start`, then the measured stretch.
pub fn measure(
    addresses: &[SocketAddr],
    protocol: Protocol,
    case: &Case,
    stretch: &Stretch,
    on_start: impl FnOnce(),
) -> io::Result<Measured> {
    let mut chooser = Chooser::new(case, stretch.seed);
    let mut choose = || Some(chooser.next());
    let mut generator = Generator::connect(addresses, protocol, case)?;
    let schedule = |limit| Schedule::new(Instant::now(), Some(limit), stretch.rate);
    generator.run(&mut schedule(stretch.warmup), &mut choose)?;
    generator.measured = Measured::default();
    on_start();
    let started = Instant::now();
    generator.run(&mut schedule(stretch.measured), &mut choose)?;
    generator.measured.elapsed = started.elapsed();
    // Only reading the latest keys may come before they are there.
    if case.workload != Workload::YcsbD && generator.measured.missing > 0 {
        let missing = generator.measured.missing;
        return Err(io::Error::other(format!("{missing} keys were missing")));
    }
    Ok(generator.measured)
}

/// A request on its way.
#[derive(Clone, Copy)]
struct Flight {
    due: Instant,
    op: Op,
}

/// A connection, its unsent bytes and its unanswered requests by their tickets.
struct Conn {
    stream: TcpStream,
    wire: Box<dyn Wire>,
    out: Vec<u8>,
    sent: usize,
    input: Vec<u8>,
    value: Vec<u8>,
    flights: Vec<Flight>,
    free: Vec<u32>,
    /// Whether it stands in the generator's queue of those with room.
    queued: bool,
}

struct Generator {
    poll: Poll,
    timer: Timer,
    conns: Vec<Conn>,
    pipeline: usize,
    /// Connections with room, in turn.
    room: VecDeque<usize>,
    in_flight: usize,
    measured: Measured,
    /// Whether `choose` has nothing more.
    dry: bool,
    answers: Vec<(u32, Answer)>,
    /// Where sockets are read into; kept, since clearing it for each read took time from servers.
    buffer: Box<[u8]>,
}

impl Generator {
    /// Connects, spread over the addresses, and waits until every connection is ready.
    fn connect(addresses: &[SocketAddr], protocol: Protocol, case: &Case) -> io::Result<Generator> {
        let poll = Poll::new()?;
        let timer = Timer::new(poll.registry(), TIMER)?;
        let mut random = Random::new(0x9e37_79b9);
        let mut conns = Vec::new();
        for index in 0..case.connections {
            let address = addresses[index % addresses.len()];
            let mut conn = Conn::open(address, protocol.wire())?;
            let both = Interest::READABLE | Interest::WRITABLE;
            poll.registry().register(&mut conn.stream, Token(index), both)?;
            conn.value = (0..case.value).map(|_| b'a' + (random.next() % 26) as u8).collect();
            conns.push(conn);
        }
        let mut generator = Generator {
            poll,
            timer,
            conns,
            pipeline: case.room(),
            room: VecDeque::new(),
            in_flight: 0,
            measured: Measured::default(),
            dry: false,
            answers: Vec::new(),
            buffer: vec![0; 64 * 1024].into(),
        };
        generator.greet()?;
        Ok(generator)
    }

    /// Waits until every connection is ready.
    fn greet(&mut self) -> io::Result<()> {
        for conn in &mut self.conns {
            conn.wire.open(&mut conn.out)?;
            conn.write()?;
        }
        let started = Instant::now();
        let mut events = Events::with_capacity(1024);
        while !self.conns.iter().all(|conn| conn.wire.ready()) {
            self.wait(&mut events, None)?;
            if started.elapsed() > PATIENCE {
                return Err(io::Error::other("connections are not ready after 30 s"));
            }
        }
        (0..self.conns.len()).for_each(|index| self.enqueue(index));
        Ok(())
    }

    /// Sends what is due until nothing more is, and then waits until all is answered.
    fn run(
        &mut self,
        schedule: &mut Schedule,
        choose: &mut impl FnMut() -> Option<Op>,
    ) -> io::Result<()> {
        self.dry = false;
        let mut events = Events::with_capacity(1024);
        let (mut heard, mut kept) = (Instant::now(), Instant::now());
        loop {
            self.send(schedule, choose)?;
            let now = Instant::now();
            if schedule.over(now) {
                self.give_up(schedule, now);
            }
            if self.in_flight == 0 && (self.dry || schedule.over(now)) {
                return Ok(());
            }
            let pause = schedule.pause(now).filter(|_| !self.room.is_empty() && !self.dry);
            if self.wait(&mut events, pause)? || self.in_flight == 0 {
                heard = Instant::now();
            }
            if heard.elapsed() > PATIENCE {
                return Err(io::Error::other("no answer for 30 s"));
            }
            if kept.elapsed() > KEEP {
                kept = Instant::now();
                self.keep()?;
            }
        }
    }

    /// Hands what is due to connections with room, and writes it.
    fn send(
        &mut self,
        schedule: &mut Schedule,
        choose: &mut impl FnMut() -> Option<Op>,
    ) -> io::Result<()> {
        let mut touched = VecDeque::new();
        while let Some(index) = self.room.front().copied() {
            let now = Instant::now();
            let Some(due) = schedule.due(now) else { break };
            let Some(op) = (if self.dry { None } else { choose() }) else {
                self.dry = true;
                break;
            };
            schedule.take();
            self.room.pop_front();
            let conn = &mut self.conns[index];
            conn.queued = false;
            conn.start(Flight { due, op }, self.pipeline)?;
            self.in_flight += 1;
            self.measured.late.add(now - due);
            if touched.back() != Some(&index) {
                touched.push_back(index);
            }
            self.enqueue(index);
        }
        for index in touched {
            self.conns[index].write()?;
        }
        Ok(())
    }

    /// Counts what was due before the end and found no room.
    fn give_up(&mut self, schedule: &mut Schedule, now: Instant) {
        // In the closed loop nothing is due behind the end.
        while let Some(due) = schedule.due(now) {
            schedule.take();
            self.measured.unsent += 1;
            self.measured.latency.add(now - due);
        }
    }

    /// Puts a connection into the queue of those with room, if it has some.
    fn enqueue(&mut self, index: usize) {
        let conn = &mut self.conns[index];
        if !conn.queued && conn.in_flight() < self.pipeline {
            conn.queued = true;
            self.room.push_back(index);
        }
    }

    /// Waits for sockets, at most `pause`, and takes what has come; whether there were answers.
    fn wait(&mut self, events: &mut Events, pause: Option<Duration>) -> io::Result<bool> {
        if let Some(pause) = pause {
            self.timer.set(pause)?;
        }
        match self.poll.poll(events, Some(Duration::from_secs(1))) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(false),
            polled => polled?,
        }
        let mut heard = false;
        for event in events.iter().filter(|event| event.token() != TIMER) {
            let index = event.token().0;
            let conn = &mut self.conns[index];
            conn.read(&mut self.buffer, event.is_read_closed(), &mut self.answers)?;
            heard |= !self.answers.is_empty();
            let now = Instant::now();
            for (ticket, answer) in self.answers.drain(..) {
                if conn.settle(ticket, answer, now, &mut self.measured)? {
                    self.in_flight -= 1;
                }
            }
            conn.write()?;
            self.enqueue(index);
        }
        Ok(heard)
    }

    /// Keeps quiet connections open.
    fn keep(&mut self) -> io::Result<()> {
        for conn in &mut self.conns {
            conn.wire.keep(&mut conn.out);
            conn.write()?;
        }
        Ok(())
    }
}

impl Conn {
    fn open(address: SocketAddr, wire: Box<dyn Wire>) -> io::Result<Conn> {
        let stream = std::net::TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Conn {
            stream: TcpStream::from_std(stream),
            wire,
            out: vec![],
            sent: 0,
            input: vec![],
            value: vec![],
            flights: vec![],
            free: vec![],
            queued: false,
        })
    }

    fn in_flight(&self) -> usize {
        self.flights.len() - self.free.len()
    }

    /// Gives a request a ticket and adds its bytes.
    fn start(&mut self, flight: Flight, pipeline: usize) -> io::Result<()> {
        let ticket = self.free.pop().unwrap_or(self.flights.len() as u32);
        match self.flights.get_mut(ticket as usize) {
            Some(place) => *place = flight,
            None => self.flights.push(flight),
        }
        assert!(self.in_flight() <= pipeline, "more than a connection has room for");
        self.ask(ticket, flight.op)
    }

    /// Adds a request's bytes.
    fn ask(&mut self, ticket: u32, op: Op) -> io::Result<()> {
        let op = match op {
            Op::GetThenSet(key) => Op::Get(key),
            other => other,
        };
        if let Op::Create(key) | Op::Set(key) = op {
            // Values differ from key to key, so that nothing can be shared or compressed away.
            let salt = key.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
            self.value.iter_mut().zip(salt).for_each(|(byte, salt)| *byte = b'a' + salt % 26);
        }
        self.wire.request(ticket, op, &self.value, &mut self.out)
    }

    /// Takes an answer; whether its operation is over with it.
    fn settle(
        &mut self,
        ticket: u32,
        answer: Answer,
        now: Instant,
        measured: &mut Measured,
    ) -> io::Result<bool> {
        let strange = || io::Error::other("an answer to nothing");
        let flight = *self.flights.get(ticket as usize).ok_or_else(strange)?;
        if let (Op::GetThenSet(key), Answer::Fine | Answer::Missing) = (flight.op, answer) {
            let op = Op::Set(key);
            self.flights[ticket as usize].op = op;
            measured.missing += u64::from(answer == Answer::Missing);
            return self.ask(ticket, op).map(|()| false);
        }
        self.free.push(ticket);
        measured.missing += u64::from(answer == Answer::Missing);
        if answer == Answer::Failed {
            measured.errors += 1;
        } else {
            measured.done += 1;
            measured.latency.add(now - flight.due);
        }
        Ok(true)
    }

    /// Writes what the socket takes.
    fn write(&mut self) -> io::Result<()> {
        while self.sent < self.out.len() {
            match self.stream.write(&self.out[self.sent..]) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        self.out.clear();
        self.sent = 0;
        Ok(())
    }

    /// Reads what there is. A read that leaves room has read all: epoll tells when more comes, and
    /// asking again would cost a call for each answer. Only the end must be read for.
    fn read(
        &mut self,
        buffer: &mut [u8],
        closed: bool,
        answers: &mut Vec<(u32, Answer)>,
    ) -> io::Result<()> {
        loop {
            match self.stream.read(buffer) {
                Ok(0) => return Err(io::Error::other("the server closed a connection")),
                Ok(count) => {
                    self.input.extend_from_slice(&buffer[..count]);
                    if count < buffer.len() && !closed {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        if !self.input.is_empty() {
            let used = self.wire.receive(&self.input, &mut self.out, answers)?;
            self.input.drain(..used);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
