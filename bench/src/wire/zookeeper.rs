//! ZooKeeper's wire, as far as it is needed: connect, create, setData, getData, ping.
//!
//! Each packet is its length and then fields of fixed size, big-endian; strings and buffers carry
//! their own length (ZooKeeper's `zookeeper.jute`). A session's requests are answered in order, and
//! their answers bear the number that the client gave: here, the ticket.

use super::{Answer, Wire, strange, unsupported};
use crate::op::{Op, write_key};
use std::io;

/// How long the server keeps a silent session, in milliseconds.
const SESSION_MS: i32 = 30_000;
/// The number of a ping, by ZooKeeper's rule.
const PING: i32 = -2;
/// `ZNONODE` and `ZNODEEXISTS`.
const NO_NODE: i32 = -101;
const NODE_EXISTS: i32 = -110;

/// One session.
#[derive(Default)]
pub struct ZooKeeper {
    connected: bool,
}

impl Wire for ZooKeeper {
    fn open(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        packet(out, |out| {
            int(out, 0); // the protocol's version
            long(out, 0); // the last change seen
            int(out, SESSION_MS);
            long(out, 0); // no session yet
            buffer(out, &[0; 16]);
            out.push(0); // not content with a server that only reads
        });
        Ok(())
    }

    fn ready(&self) -> bool {
        self.connected
    }

    fn request(&mut self, ticket: u32, op: Op, value: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        let (kind, key) = match op {
            Op::Create(key) => (1, key),
            Op::Get(key) => (4, key),
            Op::Set(key) => (5, key),
            Op::GetThenSet(_) | Op::Scan(..) => return Err(unsupported(op)),
        };
        packet(out, |out| {
            int(out, ticket as i32);
            int(out, kind);
            path(out, key);
            match op {
                Op::Create(_) => {
                    buffer(out, value);
                    anyone(out);
                    int(out, 0); // a plain node
                }
                Op::Get(_) => out.push(0), // no watch
                _ => {
                    buffer(out, value);
                    int(out, -1); // whatever the version
                }
            }
        });
        Ok(())
    }

    fn receive(
        &mut self,
        input: &[u8],
        _: &mut Vec<u8>,
        answers: &mut Vec<(u32, Answer)>,
    ) -> io::Result<usize> {
        let mut used = 0;
        while let Some(length) = read_int(&input[used..], 0) {
            let length = usize::try_from(length).map_err(|_| strange("a negative length"))?;
            let Some(packet) = input.get(used + 4..used + 4 + length) else { break };
            used += 4 + length;
            self.take(packet, answers)?;
        }
        Ok(used)
    }

    fn keep(&mut self, out: &mut Vec<u8>) {
        packet(out, |out| {
            int(out, PING);
            int(out, 11);
        });
    }
}

impl ZooKeeper {
    fn take(&mut self, packet: &[u8], answers: &mut Vec<(u32, Answer)>) -> io::Result<()> {
        if !self.connected {
            // Version, timeout, session: one that is 0 was refused.
            let timeout = read_int(packet, 4).ok_or_else(|| strange("half a connect response"))?;
            self.connected = timeout > 0;
            return if self.connected { Ok(()) } else { Err(strange("the session was refused")) };
        }
        let half = || strange("half a reply");
        let (number, error) =
            (read_int(packet, 0).ok_or_else(half)?, read_int(packet, 12).ok_or_else(half)?);
        // Other negative numbers are watches, which nobody asked for.
        if number == PING {
            return Ok(());
        }
        let ticket = u32::try_from(number).map_err(|_| strange("an unasked event"))?;
        let answer = match error {
            0 | NODE_EXISTS => Answer::Fine,
            NO_NODE => Answer::Missing,
            _ => Answer::Failed,
        };
        answers.push((ticket, answer));
        Ok(())
    }
}

/// Adds what `body` adds, with its length before it.
fn packet(out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    int(out, 0);
    body(out);
    let length = (out.len() - start - 4) as i32;
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

fn int(out: &mut Vec<u8>, number: i32) {
    out.extend_from_slice(&number.to_be_bytes());
}

fn long(out: &mut Vec<u8>, number: i64) {
    out.extend_from_slice(&number.to_be_bytes());
}

fn buffer(out: &mut Vec<u8>, bytes: &[u8]) {
    int(out, bytes.len() as i32);
    out.extend_from_slice(bytes);
}

/// `/key:…`, a child of the root.
fn path(out: &mut Vec<u8>, key: u64) {
    int(out, 17);
    out.push(b'/');
    write_key(out, key);
}

/// A list of one: everyone may do everything.
fn anyone(out: &mut Vec<u8>) {
    int(out, 1);
    int(out, 31);
    buffer(out, b"world");
    buffer(out, b"anyone");
}

fn read_int(bytes: &[u8], at: usize) -> Option<i32> {
    Some(i32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(number: i32, error: i32, rest: &[u8]) -> Vec<u8> {
        let mut out = vec![];
        packet(&mut out, |out| {
            int(out, number);
            long(out, 77);
            int(out, error);
            out.extend_from_slice(rest);
        });
        out
    }

    fn connected() -> ZooKeeper {
        let mut response = vec![];
        packet(&mut response, |out| {
            int(out, 0);
            int(out, SESSION_MS);
            long(out, 1);
            buffer(out, &[1; 16]);
            out.push(0);
        });
        let mut session = ZooKeeper::default();
        assert!(!session.ready());
        assert_eq!(session.receive(&response, &mut vec![], &mut vec![]).unwrap(), response.len());
        assert!(session.ready());
        session
    }

    #[test]
    fn the_first_packet_is_as_long_as_servers_expect() {
        let mut out = vec![];
        ZooKeeper::default().open(&mut out).unwrap();
        assert_eq!((out.len(), &out[..4]), (49, &[0, 0, 0, 45][..]));
    }

    #[test]
    fn a_set_reads_like_this() {
        let mut out = vec![];
        connected().request(6, Op::Set(1), b"ab", &mut out).unwrap();
        let mut want = vec![0, 0, 0, 39, 0, 0, 0, 6, 0, 0, 0, 5, 0, 0, 0, 17];
        want.extend_from_slice(b"/key:000000000001\0\0\0\x02ab\xff\xff\xff\xff");
        assert_eq!(out, want);
    }

    #[test]
    fn answers_bear_their_tickets_and_pings_none() {
        let mut session = connected();
        let mut input = reply(4, 0, b"some data");
        input.extend(reply(PING, 0, b""));
        input.extend(reply(5, NO_NODE, b""));
        input.extend(reply(6, -4, b""));
        let whole = input.len();
        input.extend_from_slice(&reply(7, 0, b"")[..9]);
        let mut answers = vec![];
        assert_eq!(session.receive(&input, &mut vec![], &mut answers).unwrap(), whole);
        assert_eq!(answers, [(4, Answer::Fine), (5, Answer::Missing), (6, Answer::Failed)]);
    }

    #[test]
    fn nonsense_is_refused() {
        let mut refused = vec![];
        packet(&mut refused, |out| out.extend_from_slice(&[0; 37]));
        assert!(ZooKeeper::default().receive(&refused, &mut vec![], &mut vec![]).is_err());
        for bytes in [&[0xff; 8][..], &[0, 0, 0, 2, 1, 1]] {
            assert!(connected().receive(bytes, &mut vec![], &mut vec![]).is_err(), "{bytes:?}");
        }
    }
}
