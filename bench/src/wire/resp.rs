//! RESP: SET and GET, answered in order.

use super::{Answer, Wire, strange, unsupported};
use crate::op::{Op, write_key};
use std::collections::VecDeque;
use std::io::{self, Write};

/// One connection's side.
#[derive(Default)]
pub struct Resp {
    asked: VecDeque<u32>,
}

impl Wire for Resp {
    fn open(&mut self, _: &mut Vec<u8>) -> io::Result<()> {
        Ok(())
    }

    fn ready(&self) -> bool {
        true
    }

    fn request(&mut self, ticket: u32, op: Op, value: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        match op {
            Op::Create(key) | Op::Set(key) => {
                out.extend_from_slice(b"*3\r\n$3\r\nSET\r\n$16\r\n");
                write_key(out, key);
                write!(out, "\r\n${}\r\n", value.len())?;
                out.extend_from_slice(value);
            }
            Op::Get(key) => {
                out.extend_from_slice(b"*2\r\n$3\r\nGET\r\n$16\r\n");
                write_key(out, key);
            }
            Op::GetThenSet(_) | Op::Scan(..) => return Err(unsupported(op)),
        }
        out.extend_from_slice(b"\r\n");
        self.asked.push_back(ticket);
        Ok(())
    }

    fn receive(
        &mut self,
        input: &[u8],
        _: &mut Vec<u8>,
        answers: &mut Vec<(u32, Answer)>,
    ) -> io::Result<usize> {
        let mut used = 0;
        while let Some((length, answer)) = reply(&input[used..])? {
            used += length;
            let ticket = self.asked.pop_front().ok_or_else(|| strange("an unasked answer"))?;
            answers.push((ticket, answer));
        }
        Ok(used)
    }
}

/// The length of the reply at the start of `bytes`, if it is whole, and what it says.
fn reply(bytes: &[u8]) -> io::Result<Option<(usize, Answer)>> {
    let Some(line) = bytes.windows(2).position(|pair| pair == b"\r\n") else { return Ok(None) };
    let answer = match bytes[0] {
        b'+' | b':' => Answer::Fine,
        b'-' => Answer::Failed,
        b'_' => Answer::Missing,
        b'$' => {
            let length =
                std::str::from_utf8(&bytes[1..line]).ok().and_then(|n| n.parse::<i64>().ok());
            let Ok(length) = usize::try_from(length.ok_or_else(|| strange("no length"))?) else {
                return Ok(Some((line + 2, Answer::Missing)));
            };
            let whole = line + 2 + length + 2;
            return Ok((bytes.len() >= whole).then_some((whole, Answer::Fine)));
        }
        _ => return Err(strange("no reply of RESP")),
    };
    Ok(Some((line + 2, answer)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_read_like_this() {
        let (mut resp, mut out) = (Resp::default(), vec![]);
        resp.request(0, Op::Set(7), b"ab", &mut out).unwrap();
        resp.request(1, Op::Get(7), b"", &mut out).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "*3\r\n$3\r\nSET\r\n$16\r\nkey:000000000007\r\n$2\r\nab\r\n\
             *2\r\n$3\r\nGET\r\n$16\r\nkey:000000000007\r\n"
        );
        assert!(resp.request(2, Op::Scan(1, 2), b"", &mut vec![]).is_err());
    }

    #[test]
    fn replies_are_cut_where_they_end() {
        let fine = |bytes: &[u8]| reply(bytes).unwrap();
        assert_eq!(fine(b"+OK\r\n+OK\r\n"), Some((5, Answer::Fine)));
        assert_eq!(fine(b"-ERR no\r\n"), Some((9, Answer::Failed)));
        assert_eq!(fine(b"$3\r\na\r\n\r\n+"), Some((9, Answer::Fine)));
        assert_eq!(fine(b"$-1\r\n"), Some((5, Answer::Missing)));
        for half in [&b""[..], b"+O", b"$3\r\nab", b"$3\r\nabc\r"] {
            assert_eq!(fine(half), None, "{half:?}");
        }
        assert!(reply(b"HTTP/1.1 400\r\n").is_err() && reply(b"$x\r\n").is_err());
    }

    #[test]
    fn answers_belong_to_requests_in_their_order() {
        let (mut resp, mut out, mut answers) = (Resp::default(), vec![], vec![]);
        for ticket in [5, 3, 9] {
            resp.request(ticket, Op::Get(1), b"", &mut out).unwrap();
        }
        let used = resp.receive(b"$1\r\nx\r\n-ERR\r\n$-1\r", &mut out, &mut answers).unwrap();
        assert_eq!((used, &answers[..]), (13, &[(5, Answer::Fine), (3, Answer::Failed)][..]));
        resp.receive(b"$-1\r\n", &mut out, &mut answers).unwrap();
        assert_eq!(answers[2], (9, Answer::Missing));
        assert!(resp.receive(b"+OK\r\n", &mut out, &mut answers).is_err(), "nobody asked");
    }
}
