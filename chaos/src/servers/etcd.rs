//! A stranger: etcd 3.4, asked by its gateway for JSON over HTTP. The register's commands say the
//! same there: a version is a key's modification revision, compare-and-set a transaction.

use super::base64::{decode, encode};
use super::{Breed, Clock, Place};
use crate::speak::{Speaker, dial};
use base::Bytes;
use serde_json::{Value as Json, json};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;
use wire::resp::Value;

/// `etcd`.
pub struct Etcd;

const CLIENT: u16 = 2379;
const PEER: u16 = 2380;

impl Breed for Etcd {
    fn prepare(&self, _: &Place) -> Result<(), String> {
        Ok(())
    }

    fn command(&self, place: &Place, node: usize, _: Clock) -> Command {
        let peer = |node: usize| format!("http://{}:{PEER}", place.net.peer_address(node));
        let client = format!("http://{}:{CLIENT}", place.net.client_address(node));
        let all = (0..place.nodes).map(|node| format!("n{node}={}", peer(node)));
        let all = all.collect::<Vec<_>>().join(",");
        let mut command = place.net.command(node, "etcd");
        command.current_dir(place.disk(node)).args(["--name", &format!("n{node}")]);
        command.args(["--data-dir", "data", "--initial-cluster", &all]);
        command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
        command.args(["--listen-peer-urls", &peer(node)]);
        command.args(["--initial-advertise-peer-urls", &peer(node)]);
        command
    }

    fn dial(&self, place: &Place, node: usize, patience: Duration) -> io::Result<Box<dyn Speaker>> {
        Ok(Box::new(Conn::open(place, node, patience)?))
    }

    fn leader(&self, place: &Place) -> Option<usize> {
        let leads = |node: &usize| {
            let patience = Duration::from_millis(500);
            let mut conn = Conn::open(place, *node, patience).ok()?;
            let status = conn.post("/v3/maintenance/status", &json!({})).ok()?;
            (status["leader"].is_string() && status["leader"] == status["header"]["member_id"])
                .then(|| status["raftTerm"].as_str()?.parse::<u64>().ok())?
        };
        (0..place.nodes).filter_map(|node| Some((leads(&node)?, node))).max().map(|it| it.1)
    }
}

/// A connection that stays open from request to request.
struct Conn {
    stream: BufReader<TcpStream>,
    host: SocketAddr,
}

impl Conn {
    fn open(place: &Place, node: usize, patience: Duration) -> io::Result<Conn> {
        let host = SocketAddr::from((place.net.client_address(node), CLIENT));
        Ok(Conn { stream: BufReader::new(dial(host, patience)?), host })
    }

    /// What the gateway answers. Whatever is not a success is an error: etcd's errors do not say for
    /// sure that nothing was done.
    fn post(&mut self, path: &str, body: &Json) -> io::Result<Json> {
        let (host, body) = (self.host, body.to_string());
        let head = format!("POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: ");
        let request = format!("{head}{}\r\n\r\n{body}", body.len());
        self.stream.get_mut().write_all(request.as_bytes())?;
        let (status, answer) = read_response(&mut self.stream)?;
        let text = String::from_utf8_lossy(&answer).into_owned();
        if status != 200 {
            return Err(io::Error::other(format!("{status}: {text}")));
        }
        serde_json::from_str(&text).map_err(io::Error::other)
    }
}

impl Speaker for Conn {
    fn call(&mut self, words: &[Bytes]) -> io::Result<Value> {
        let unknown = || io::Error::other(format!("etcd has no word for {words:?}"));
        let (path, body) = request(words).ok_or_else(unknown)?;
        let answer = self.post(path, &body)?;
        reply(&words[0], &answer).ok_or_else(|| io::Error::other(format!("{path}: {answer}")))
    }
}

/// A command in etcd's words.
fn request(words: &[Bytes]) -> Option<(&'static str, Json)> {
    let key = |word: &Bytes| json!(encode(word));
    Some(match words {
        [verb, it] if **verb == *b"GET" || **verb == *b"UNDERPIN.GET" => {
            ("/v3/kv/range", json!({ "key": key(it) }))
        }
        [verb, it] if **verb == *b"DEL" => ("/v3/kv/deleterange", json!({ "key": key(it) })),
        [verb, it, value] if **verb == *b"SET" => {
            ("/v3/kv/put", json!({ "key": key(it), "value": encode(value) }))
        }
        [verb, it, version, set, value] if **verb == *b"UNDERPIN.CAS" && **set == *b"SET" => {
            let version = std::str::from_utf8(version).ok()?;
            let compare = json!([{
                "key": key(it), "target": "MOD", "result": "EQUAL", "modRevision": version
            }]);
            let put = json!([{ "requestPut": { "key": key(it), "value": encode(value) } }]);
            ("/v3/kv/txn", json!({ "compare": compare, "success": put }))
        }
        _ => return None,
    })
}

/// Its answer in ours.
fn reply(verb: &[u8], answer: &Json) -> Option<Value> {
    let row = &answer["kvs"][0];
    let value = || decode(row["value"].as_str().unwrap_or_default()).map(Bytes::from);
    let number = |json: &Json| json.as_str()?.parse().ok();
    Some(match verb {
        b"GET" | b"UNDERPIN.GET" if row.is_null() => Value::Null,
        b"GET" => Value::Bulk(value()?),
        b"UNDERPIN.GET" => {
            Value::Array(vec![Value::Integer(number(&row["mod_revision"])?), Value::Bulk(value()?)])
        }
        b"DEL" => Value::Integer(number(&answer["deleted"]).unwrap_or(0)),
        b"SET" => Value::Simple("OK".into()),
        _ if answer["succeeded"] == true => Value::Integer(number(&answer["header"]["revision"])?),
        _ => Value::Error("CONFLICT the key's revision is another one".into()),
    })
}

/// Status and body of an answer, of known length or in chunks.
fn read_response(stream: &mut impl BufRead) -> io::Result<(u16, Vec<u8>)> {
    let bad = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let first = read_line(stream)?;
    let status = first.split(' ').nth(1).and_then(|word| word.parse().ok());
    let status = status.ok_or_else(|| bad(&first))?;
    let (mut length, mut chunked) = (None, false);
    loop {
        let line = read_line(stream)?.to_ascii_lowercase();
        match line.split_once(": ") {
            None => break,
            Some(("content-length", number)) => length = number.parse().ok(),
            Some(("transfer-encoding", how)) => chunked = how == "chunked",
            Some(_) => {}
        }
    }
    let mut body = Vec::new();
    if !chunked {
        let length: u64 = length.ok_or_else(|| bad("an answer of no known length"))?;
        stream.take(length).read_to_end(&mut body)?;
        let whole = body.len() as u64 == length;
        return if whole { Ok((status, body)) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
    }
    loop {
        let line = read_line(stream)?;
        let size = u64::from_str_radix(&line, 16).map_err(|_| bad(&line))?;
        stream.take(size).read_to_end(&mut body)?;
        read_line(stream)?;
        if size == 0 {
            return Ok((status, body));
        }
    }
}

fn read_line(stream: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    stream.read_line(&mut line)?;
    match line.strip_suffix("\r\n") {
        Some(line) => Ok(line.to_owned()),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sim::workload::command;

    #[test]
    fn the_registers_commands_in_etcds_words() {
        let said =
            |words: &[&str]| request(&command(words)).map(|(path, body)| format!("{path} {body}"));
        let get = said(&["GET", "k"]).unwrap();
        assert_eq!(get, r#"/v3/kv/range {"key":"aw=="}"#);
        let set = said(&["SET", "k", "1:x"]).unwrap();
        assert_eq!(set, r#"/v3/kv/put {"key":"aw==","value":"MTp4"}"#);
        let cas = said(&["UNDERPIN.CAS", "k", "7", "SET", "1:x"]).unwrap();
        assert!(cas.contains(r#""modRevision":"7""#) && cas.contains("requestPut"), "{cas}");
        assert_eq!(said(&["INCR", "k"]), None);
    }

    #[test]
    fn its_answers_in_ours() {
        let row = json!({ "kvs": [{ "mod_revision": "9", "value": "MTp4" }] });
        let value = Value::Bulk(Bytes::from_static(b"1:x"));
        assert_eq!(reply(b"GET", &row), Some(value.clone()));
        let versioned = Value::Array(vec![Value::Integer(9), value]);
        assert_eq!(reply(b"UNDERPIN.GET", &row), Some(versioned));
        assert_eq!(reply(b"GET", &json!({})), Some(Value::Null));
        assert_eq!(reply(b"DEL", &json!({ "deleted": "1" })), Some(Value::Integer(1)));
        let done = json!({ "succeeded": true, "header": { "revision": "12" } });
        assert_eq!(reply(b"UNDERPIN.CAS", &done), Some(Value::Integer(12)));
        let other = reply(b"UNDERPIN.CAS", &json!({ "header": {} }));
        assert!(matches!(other, Some(Value::Error(text)) if text.starts_with("CONFLICT")));
    }

    #[test]
    fn answers_come_whole_or_in_chunks_or_not_at_all() {
        let whole = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
        assert_eq!(read_response(&mut &whole[..]).unwrap(), (200, b"{}".to_vec()));
        let chunks =
            b"HTTP/1.1 503 No\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n";
        assert_eq!(read_response(&mut &chunks[..]).unwrap(), (503, b"abc".to_vec()));
        for end in 0..whole.len() {
            read_response(&mut &whole[..end]).unwrap_err();
        }
    }
}
