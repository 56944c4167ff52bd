//! A store that is known to break its word, to show that this notices: Redis with replicas that
//! follow when they like, read by clients, and no log. A read at a replica may be old, and a primary
//! that is killed comes back empty.
//!
//! Redis knows no versions. Values are used once, so a value's own number serves as one, and
//! compare-and-set is a script.

use super::{Breed, Clock, Place};
use crate::speak::{Resp, Speaker};
use base::Bytes;
use sim::workload::{command, number_in};
use std::io;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;
use underpin_e2e::place;
use wire::resp::Value;

/// `redis-server`: node 0 is the primary.
pub struct Redis;

const PORT: u16 = 6379;

const COMPARE_AND_SET: &str = "local value = redis.call('GET', KEYS[1])
if not value or string.match(value, '^%d+') ~= ARGV[1] then
  return redis.error_reply('CONFLICT another value')
end
redis.call('SET', KEYS[1], ARGV[2])
return 1";

impl Breed for Redis {
    fn prepare(&self, _: &Place) -> Result<(), String> {
        Ok(())
    }

    fn command(&self, place: &Place, node: usize, _: Clock) -> Command {
        let mut redis = place.net.command(node, &place::redis_server().to_string_lossy());
        let (clients, peers) = (place.net.client_address(node), place.net.peer_address(node));
        redis.current_dir(place.disk(node)).args(["--port", &PORT.to_string()]);
        redis.args(["--bind", &clients.to_string(), &peers.to_string()]);
        redis.args(["--protected-mode", "no", "--save", "", "--appendonly", "no"]);
        redis.args(["--repl-diskless-sync-delay", "0", "--repl-timeout", "5"]);
        if node != 0 {
            let primary = place.net.peer_address(0);
            redis.args(["--replicaof", &primary.to_string(), &PORT.to_string()]);
        }
        redis
    }

    fn dial(&self, place: &Place, node: usize, patience: Duration) -> io::Result<Box<dyn Speaker>> {
        let address = SocketAddr::from((place.net.client_address(node), PORT));
        Ok(Box::new(Conn(Resp::open(address, patience)?)))
    }

    fn leader(&self, _: &Place) -> Option<usize> {
        Some(0)
    }
}

struct Conn(Resp);

impl Speaker for Conn {
    fn call(&mut self, words: &[Bytes]) -> io::Result<Value> {
        let reply = self.0.call(&translated(words))?;
        Ok(match reply {
            // Nothing was done; another node may do it.
            Value::Error(text) if refuses(&text) => Value::Error(format!("TRYAGAIN {text}")),
            Value::Bulk(value) if *words[0] == *b"UNDERPIN.GET" => {
                let version = number_in(&value).unwrap_or_default() as i64;
                Value::Array(vec![Value::Integer(version), Value::Bulk(value)])
            }
            reply => reply,
        })
    }
}

fn refuses(text: &str) -> bool {
    ["READONLY", "LOADING", "MASTERDOWN", "NOREPLICAS"].iter().any(|word| text.starts_with(word))
}

fn translated(words: &[Bytes]) -> Vec<Bytes> {
    match words {
        [verb, key] if **verb == *b"UNDERPIN.GET" => vec![command(&["GET"]).remove(0), key.clone()],
        [verb, key, version, _, value] if **verb == *b"UNDERPIN.CAS" => {
            let mut script = command(&["EVAL", COMPARE_AND_SET, "1"]);
            script.extend([key.clone(), version.clone(), value.clone()]);
            script
        }
        other => other.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_become_values() {
        let get = translated(&command(&["UNDERPIN.GET", "k"]));
        assert_eq!(get, command(&["GET", "k"]));
        let cas = translated(&command(&["UNDERPIN.CAS", "k", "7", "SET", "8:x"]));
        assert_eq!(cas[2..], command(&["1", "k", "7", "8:x"]));
        assert_eq!(translated(&command(&["DEL", "k"])), command(&["DEL", "k"]));
    }

    #[test]
    fn a_replicas_refusal_changes_nothing() {
        assert!(refuses("READONLY You can't write against a read only replica."));
        assert!(!refuses("ERR syntax error"));
    }
}
