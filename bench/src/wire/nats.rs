//! NATS' text protocol: messages published to a stream, each acknowledged by JetStream.
//!
//! A publish names a subject to answer to, below an inbox of the connection's own; its last word is
//! the ticket. JetStream answers in JSON when a majority of the stream's replicas has the message,
//! and in the versions that Debian has before any of them has synced it.

use super::{Answer, Wire, strange, unsupported};
use crate::op::{Op, write_key};
use std::io::{self, Write};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};

/// What the stream takes: one subject for each key below this.
pub const SUBJECT: &str = "bench";

/// One connection.
pub struct Nats {
    inbox: String,
    ready: bool,
}

impl Default for Nats {
    fn default() -> Nats {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        Nats { inbox: format!("_INBOX.{}-{count}", process::id()), ready: false }
    }
}

impl Nats {
    /// Adds a request to any subject, answered with a ticket.
    pub fn publish(&self, ticket: u32, subject: &str, body: &[u8], out: &mut Vec<u8>) {
        write!(out, "PUB {subject} {}.{ticket} {}\r\n", self.inbox, body.len())
            .expect("a Vec takes everything");
        out.extend_from_slice(body);
        out.extend_from_slice(b"\r\n");
    }
}

impl Wire for Nats {
    fn open(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        write!(
            out,
            "CONNECT {{\"verbose\":false,\"pedantic\":false,\"lang\":\"rust\",\"version\":\"1\",\
             \"name\":\"bench\",\"protocol\":1,\"headers\":true,\"no_responders\":true}}\r\n\
             SUB {}.* 1\r\nPING\r\n",
            self.inbox
        )
    }

    fn ready(&self) -> bool {
        self.ready
    }

    fn request(&mut self, ticket: u32, op: Op, value: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        let (Op::Create(key) | Op::Set(key)) = op else { return Err(unsupported(op)) };
        write!(out, "PUB {SUBJECT}.")?;
        write_key(out, key);
        write!(out, " {}.{ticket} {}\r\n", self.inbox, value.len())?;
        out.extend_from_slice(value);
        out.extend_from_slice(b"\r\n");
        Ok(())
    }

    fn receive(
        &mut self,
        input: &[u8],
        out: &mut Vec<u8>,
        answers: &mut Vec<(u32, Answer)>,
    ) -> io::Result<usize> {
        let mut used = 0;
        while let Some((length, said)) = said(&input[used..])? {
            used += length;
            match said {
                Said::Ping => out.extend_from_slice(b"PONG\r\n"),
                Said::Pong => self.ready = true,
                Said::Nothing => {}
                Said::Message { subject, body, plain } => {
                    let ticket = subject.rsplit_once('.').and_then(|(_, last)| last.parse().ok());
                    let ticket = ticket.ok_or_else(|| strange("a message of no inbox"))?;
                    // JetStream's errors are `{"error":{…},…}`; without a responder there are only headers.
                    let error = !plain || body.windows(8).any(|word| word == b"\"error\":");
                    answers.push((ticket, if error { Answer::Failed } else { Answer::Fine }));
                }
            }
        }
        Ok(used)
    }
}

/// What a server says.
#[derive(Debug, PartialEq, Eq)]
pub enum Said<'a> {
    /// It wants to hear that we are there.
    Ping,
    /// An answer to our ping.
    Pong,
    /// What needs no answer.
    Nothing,
    /// A message, with headers unless it is plain.
    Message {
        /// Where it was sent.
        subject: &'a str,
        /// Its headers and its body.
        body: &'a [u8],
        /// Whether it has no headers.
        plain: bool,
    },
}

/// What stands at the start of `bytes`, if it is whole, and its length.
pub fn said(bytes: &[u8]) -> io::Result<Option<(usize, Said<'_>)>> {
    let Some(end) = bytes.windows(2).position(|pair| pair == b"\r\n") else { return Ok(None) };
    let line = std::str::from_utf8(&bytes[..end]).map_err(|_| strange("a line of no text"))?;
    let mut words = line.split(' ');
    let said = match words.next().unwrap_or_default() {
        "PING" => Said::Ping,
        "PONG" => Said::Pong,
        "INFO" | "+OK" => Said::Nothing,
        verb @ ("MSG" | "HMSG") => {
            let subject = words.next().ok_or_else(|| strange("a message without a subject"))?;
            let length = words.next_back().and_then(|word| word.parse::<usize>().ok());
            let length = length.ok_or_else(|| strange("a message without a length"))?;
            let start = end + 2;
            let Some(body) = bytes.get(start..start + length) else { return Ok(None) };
            let whole = start + length + 2;
            let message = Said::Message { subject, body, plain: verb == "MSG" };
            return Ok((bytes.len() >= whole).then_some((whole, message)));
        }
        _ => return Err(strange(line)),
    };
    Ok(Some((end + 2, said)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready() -> Nats {
        let mut nats = Nats::default();
        let mut out = vec![];
        let info = b"INFO {\"server_id\":\"x\"}\r\nPONG\r\n";
        assert_eq!(nats.receive(info, &mut out, &mut vec![]).unwrap(), info.len());
        assert!(nats.ready() && out.is_empty());
        nats
    }

    #[test]
    fn a_publish_reads_like_this() {
        let (mut nats, mut out) = (ready(), vec![]);
        nats.request(12, Op::Set(3), b"ab", &mut out).unwrap();
        let want = format!("PUB bench.key:000000000003 {}.12 2\r\nab\r\n", nats.inbox);
        assert_eq!(String::from_utf8(out).unwrap(), want);
        assert!(nats.request(1, Op::Get(3), b"", &mut vec![]).is_err());
    }

    #[test]
    fn acknowledgements_and_errors_are_told_apart() {
        let (mut nats, mut out, mut answers) = (ready(), vec![], vec![]);
        let body = "{\"stream\":\"bench\",\"seq\":1}";
        let error = "{\"error\":{\"code\":503}}";
        let headers = "NATS/1.0 503\r\n\r\n";
        let input = format!(
            "MSG _INBOX.a.4 1 {}\r\n{body}\r\nPING\r\nMSG _INBOX.a.5 1 {}\r\n{error}\r\n\
             HMSG _INBOX.a.6 1 {2} {2}\r\n{headers}\r\n",
            body.len(),
            error.len(),
            headers.len()
        );
        let half = format!("{input}MSG _INBOX.a.7 1 5\r\nabcde");
        assert_eq!(nats.receive(half.as_bytes(), &mut out, &mut answers).unwrap(), input.len());
        assert_eq!(answers, [(4, Answer::Fine), (5, Answer::Failed), (6, Answer::Failed)]);
        assert_eq!(out, b"PONG\r\n");
    }

    #[test]
    fn complaints_are_errors() {
        for bytes in
            [&b"-ERR 'Unknown'\r\n"[..], b"MSG\r\n", b"MSG a 1 x\r\n", b"MSG ab 1 0\r\n\r\n"]
        {
            assert!(ready().receive(bytes, &mut vec![], &mut vec![]).is_err(), "{bytes:?}");
        }
    }
}
