//! The load generator: one thread, many connections, a closed loop.
//!
//! Every connection keeps `pipeline` requests in flight: an answer makes room for the next request.
//! Latency is counted from the moment a request is handed to its connection. Such a loop slows down
//! with its server, so it says how fast a server is, not how it does under a load that will not wait.

use crate::histogram::Histogram;
use crate::options::{Options, Workload};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// What a measured stretch showed.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// Latencies of all requests that were answered without an error.
    pub latency: Histogram,
    /// Error replies.
    pub errors: u64,
    /// How long it took.
    pub elapsed: Duration,
}

/// Sets every key once, fast.
pub fn fill(addresses: &[SocketAddr], options: &Options) -> io::Result<()> {
    let mut options = options.clone();
    options.pipeline = options.pipeline.max(32);
    let mut next = 0;
    let mut generator = Generator::connect(addresses, &options)?;
    generator.run(None, |requests| {
        let more = next < options.keys;
        if more {
            requests.set(next);
            next += 1;
        }
        more
    })?;
    match generator.measured.errors {
        0 => Ok(()),
        errors => Err(io::Error::other(format!("{errors} errors while setting the keys"))),
    }
}

/// Runs a workload: first the warm-up, then `on_start`, then the measured stretch.
pub fn measure(
    addresses: &[SocketAddr],
    options: &Options,
    workload: Workload,
    seed: u64,
    on_start: impl FnOnce(),
) -> io::Result<Measured> {
    let mut random = Random(seed | 1);
    let keys = options.keys;
    let mut choose = move |requests: &mut Requests| {
        let draw = random.next();
        let key = (draw >> 8) % keys;
        match workload {
            Workload::Set => requests.set(key),
            Workload::Get => requests.get(key),
            Workload::Mixed if draw & 1 == 0 => requests.set(key),
            Workload::Mixed => requests.get(key),
        }
        true
    };
    let mut generator = Generator::connect(addresses, options)?;
    generator.run(Some(Duration::from_secs(options.warmup)), &mut choose)?;
    generator.measured = Measured::default();
    on_start();
    let started = Instant::now();
    generator.run(Some(Duration::from_secs(options.seconds)), &mut choose)?;
    generator.measured.elapsed = started.elapsed();
    Ok(generator.measured)
}

/// A connection, its unsent bytes and its unanswered requests.
struct Conn {
    stream: TcpStream,
    out: Requests,
    sent: usize,
    input: Vec<u8>,
    waiting: VecDeque<Instant>,
}

/// Requests on their way.
struct Requests {
    bytes: Vec<u8>,
    value: Vec<u8>,
}

impl Requests {
    fn set(&mut self, key: u64) {
        // Values differ from key to key, so that nothing can be shared or compressed away.
        let salt = format!("{key:016x}");
        let length = salt.len().min(self.value.len());
        self.value[..length].copy_from_slice(&salt.as_bytes()[..length]);
        let head = format!("*3\r\n$3\r\nSET\r\n$16\r\nkey:{key:012}\r\n${}\r\n", self.value.len());
        self.bytes.extend_from_slice(head.as_bytes());
        self.bytes.extend_from_slice(&self.value);
        self.bytes.extend_from_slice(b"\r\n");
    }

    fn get(&mut self, key: u64) {
        let request = format!("*2\r\n$3\r\nGET\r\n$16\r\nkey:{key:012}\r\n");
        self.bytes.extend_from_slice(request.as_bytes());
    }
}

struct Generator {
    poll: Poll,
    conns: Vec<Conn>,
    pipeline: usize,
    measured: Measured,
}

impl Generator {
    /// Connects, spread over the addresses.
    fn connect(addresses: &[SocketAddr], options: &Options) -> io::Result<Generator> {
        let poll = Poll::new()?;
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        let mut conns = Vec::new();
        for index in 0..options.connections {
            let stream = std::net::TcpStream::connect(addresses[index % addresses.len()])?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            let mut stream = TcpStream::from_std(stream);
            poll.registry().register(
                &mut stream,
                Token(index),
                Interest::READABLE | Interest::WRITABLE,
            )?;
            let value = (0..options.value).map(|_| b'a' + (random.next() % 26) as u8).collect();
            let out = Requests { bytes: vec![], value };
            conns.push(Conn { stream, out, sent: 0, input: vec![], waiting: VecDeque::new() });
        }
        Ok(Generator { poll, conns, pipeline: options.pipeline, measured: Measured::default() })
    }

    /// Keeps every connection busy with what `choose` adds, until it adds nothing or the time is
    /// over, and then until all is answered.
    fn run(
        &mut self,
        limit: Option<Duration>,
        mut choose: impl FnMut(&mut Requests) -> bool,
    ) -> io::Result<()> {
        let started = Instant::now();
        let mut more = true;
        let mut choose = move |requests: &mut Requests| {
            more = more && limit.is_none_or(|limit| started.elapsed() < limit) && choose(requests);
            more
        };
        let Generator { poll, conns, pipeline, measured } = self;
        for conn in conns.iter_mut() {
            conn.refill(*pipeline, &mut choose);
            conn.write()?;
        }
        let mut events = Events::with_capacity(1024);
        let mut last_answer = Instant::now();
        while conns.iter().any(|conn| !conn.waiting.is_empty()) {
            poll.poll(&mut events, Some(Duration::from_secs(1)))?;
            for event in &events {
                let conn = &mut conns[event.token().0];
                if conn.read(measured)? {
                    last_answer = Instant::now();
                }
                conn.refill(*pipeline, &mut choose);
                conn.write()?;
            }
            if last_answer.elapsed() > Duration::from_secs(30) {
                return Err(io::Error::other("no answer for 30 s"));
            }
        }
        Ok(())
    }
}

impl Conn {
    /// Adds requests up to the pipeline's length.
    fn refill(&mut self, pipeline: usize, choose: &mut impl FnMut(&mut Requests) -> bool) {
        while self.waiting.len() < pipeline && choose(&mut self.out) {
            self.waiting.push_back(Instant::now());
        }
    }

    /// Writes what the socket takes.
    fn write(&mut self) -> io::Result<()> {
        while self.sent < self.out.bytes.len() {
            match self.stream.write(&self.out.bytes[self.sent..]) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        self.out.bytes.clear();
        self.sent = 0;
        Ok(())
    }

    /// Reads what there is and counts the answers; tells whether there were any.
    fn read(&mut self, measured: &mut Measured) -> io::Result<bool> {
        let mut buffer = [0; 64 * 1024];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(io::Error::other("the server closed a connection")),
                Ok(count) => self.input.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        let mut used = 0;
        let now = Instant::now();
        while let Some((length, fine)) = reply(&self.input[used..]) {
            used += length;
            let sent =
                self.waiting.pop_front().ok_or_else(|| io::Error::other("unasked answer"))?;
            if fine {
                measured.latency.add(now - sent);
            } else {
                measured.errors += 1;
            }
        }
        self.input.drain(..used);
        Ok(used > 0)
    }
}

/// The length of the reply at the start of `bytes`, if it is whole, and whether it is no error.
fn reply(bytes: &[u8]) -> Option<(usize, bool)> {
    let line = bytes.windows(2).position(|pair| pair == b"\r\n")?;
    if bytes[0] != b'$' {
        return Some((line + 2, bytes[0] != b'-'));
    }
    let length = std::str::from_utf8(&bytes[1..line]).ok()?.parse::<i64>().ok()?;
    let whole = if length < 0 { line + 2 } else { line + 2 + length as usize + 2 };
    (bytes.len() >= whole).then_some((whole, true))
}

/// A small generator of numbers (xorshift64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::io::BufReader;
    use std::net::TcpListener;
    use std::sync::{Arc, Mutex};
    use std::thread;
    use underpin_e2e::resp::read_reply;

    /// A server that keeps keys without their values.
    fn server() -> (SocketAddr, Arc<Mutex<BTreeSet<String>>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let keys = Arc::new(Mutex::new(BTreeSet::new()));
        let known = keys.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut stream, known) = (stream.unwrap(), known.clone());
                thread::spawn(move || {
                    let mut input = BufReader::new(stream.try_clone().unwrap());
                    while let Ok(request) = read_reply(&mut input) {
                        let words = request.items();
                        let key = words[1].text();
                        let mut known = known.lock().unwrap();
                        let answer = match words[0].text().as_str() {
                            "SET" => {
                                known.insert(key);
                                "+OK\r\n"
                            }
                            _ if known.contains(&key) => "$1\r\nx\r\n",
                            _ => "-ERR no such key\r\n",
                        };
                        if stream.write_all(answer.as_bytes()).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        (address, keys)
    }

    #[test]
    fn replies_are_cut_where_they_end() {
        assert_eq!(reply(b"+OK\r\n+OK\r\n"), Some((5, true)));
        assert_eq!(reply(b"-ERR no\r\n"), Some((9, false)));
        assert_eq!(reply(b"$3\r\na\r\n\r\n+"), Some((9, true)));
        assert_eq!(reply(b"$-1\r\n"), Some((5, true)));
        for half in [&b""[..], b"+O", b"$3\r\nab", b"$3\r\nabc\r"] {
            assert_eq!(reply(half), None, "{half:?}");
        }
    }

    #[test]
    fn a_load_sets_and_gets_every_key() {
        let (address, known) = server();
        let options = Options {
            connections: 4,
            pipeline: 3,
            keys: 100,
            seconds: 1,
            warmup: 1,
            ..Options::default()
        };
        fill(&[address], &options).unwrap();
        assert_eq!(known.lock().unwrap().len(), 100);
        let got = measure(&[address], &options, Workload::Mixed, 1, || ()).unwrap();
        assert!(got.latency.count() > 100, "{got:?}");
        assert_eq!(got.errors, 0);
        assert!(got.elapsed >= Duration::from_secs(1));
    }
}
