//! What happened, as a hash of all of it and as text for the last of it.

use base::Bytes;
use base::checksum::hash64;
use base::time::{MILLISECOND, SECOND};
use std::collections::VecDeque;
use std::fmt;
use std::hash::Hasher;

/// How many happenings are kept for a report.
const KEPT: usize = 4000;

/// Hashes what happens onto what happened before. No guard against whoever wants two runs to look
/// the same; a run has millions of small numbers, and this takes a multiplication for each.
pub struct Mixer(pub u64);

impl Hasher for Mixer {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = hash64(bytes, self.0);
    }

    fn write_u8(&mut self, number: u8) {
        self.write_u64(u64::from(number));
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(u64::from(number));
    }

    fn write_u64(&mut self, number: u64) {
        let product = u128::from(self.0.rotate_left(23) ^ number) * 0x9e37_79b9_7f4a_7c15;
        self.0 = (product as u64) ^ ((product >> 64) as u64) ^ number.rotate_left(41);
    }

    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// One thing that happened; turned into text only when somebody wants to read it.
#[derive(Clone, Debug)]
pub enum Line {
    /// In words.
    Text(String),
    /// A message arrived.
    Message {
        /// From this node,
        from: u64,
        /// at that one.
        to: u64,
        /// The message.
        body: Bytes,
    },
    /// A client sent a command, or got a reply.
    Client {
        /// Its number.
        client: usize,
        /// The node.
        node: u64,
        /// Whether it is the reply.
        reply: bool,
        /// The bytes.
        bytes: Bytes,
    },
    /// A log became durable.
    Logged {
        /// On this node.
        node: u64,
        /// Up to this ticket.
        ticket: u64,
    },
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Line::Text(text) => f.write_str(text),
            Line::Message { from, to, body } => {
                write!(f, "n{from} -> n{to}: {}", node::describe_message(body.clone()))
            }
            Line::Client { client, node, reply, bytes } => {
                let arrow = if *reply { "<-" } else { "->" };
                write!(f, "client {client} {arrow} n{node}: {}", words(bytes))
            }
            Line::Logged { node, ticket } => write!(f, "n{node} logged through {ticket}"),
        }
    }
}

/// RESP on one line, without the lengths.
fn words(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let parts: Vec<&str> =
        text.split("\r\n").filter(|part| !part.starts_with(['*', '$'])).collect();
    let line = parts.join(" ");
    match line.char_indices().nth(120) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// The trace of one run.
pub struct Trace<'a> {
    hash: u64,
    kept: VecDeque<(u64, Line)>,
    reader: Option<&'a mut dyn FnMut(&str)>,
}

impl<'a> Trace<'a> {
    /// An empty trace; `reader` is given each line as it happens.
    pub fn new(reader: Option<&'a mut dyn FnMut(&str)>) -> Trace<'a> {
        Trace { hash: 0, kept: VecDeque::with_capacity(KEPT), reader }
    }

    /// Mixes numbers into the hash.
    pub fn mix(&mut self, numbers: [u64; 4]) {
        for number in numbers {
            self.hash = (self.hash ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
        }
    }

    /// Mixes bytes into the hash.
    pub fn mix_bytes(&mut self, bytes: &[u8]) {
        self.hash = hash64(bytes, self.hash);
    }

    /// Takes note of what happened.
    pub fn line(&mut self, now: u64, line: Line) {
        if let Some(reader) = &mut self.reader {
            reader(&shown(now, &line));
        }
        if self.kept.len() == KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back((now, line));
    }

    /// Takes note of something in words.
    pub fn text(&mut self, now: u64, text: String) {
        self.mix_bytes(text.as_bytes());
        self.line(now, Line::Text(text));
    }

    /// The hash of everything so far.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// The last lines, readable.
    pub fn tail(&self, lines: usize) -> Vec<String> {
        let skip = self.kept.len().saturating_sub(lines);
        self.kept.iter().skip(skip).map(|(now, line)| shown(*now, line)).collect()
    }
}

fn shown(now: u64, line: &Line) -> String {
    format!("{:>3}.{:06} {line}", now / SECOND, now % SECOND / (MILLISECOND / 1000))
}
