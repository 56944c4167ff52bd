//! CONFIG GET: the settings of Redis that have a meaning here, with the values that are true.

use super::Resp;
use super::args::matches;
use super::conn::Conn;
use base::{Bytes, Time};
use bytes::BytesMut;
use service::kv::BUCKETS;
use wire::resp::Out;

fn settings(resp: &Resp) -> Vec<(String, String)> {
    let options = &resp.options;
    let mut all: Vec<(String, String)> = [
        ("appendonly", "yes".to_owned()),
        ("appendfsync", "always".to_owned()),
        ("databases", BUCKETS.to_string()),
        ("maxclients", options.connections_max.to_string()),
        ("maxmemory", "0".to_owned()),
        ("maxmemory-policy", "noeviction".to_owned()),
        ("port", options.port.to_string()),
        ("proto-max-bulk-len", options.limits.arg_bytes_max.to_string()),
        ("save", String::new()),
        ("timeout", "0".to_owned()),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect();
    all.extend(options.config.iter().cloned());
    all.sort();
    all.dedup_by(|later, earlier| later.0 == earlier.0);
    all
}

/// CONFIG GET pattern [pattern ...]
pub(super) fn get(
    conn: &mut Conn,
    resp: &mut Resp,
    _: Time,
    args: &[Bytes],
    buffer: &mut BytesMut,
) {
    let all = settings(resp);
    let fits = |name: &str| args[2..].iter().any(|pattern| matches(pattern, name));
    let shown: Vec<_> = all.iter().filter(|(name, _)| fits(name)).collect();
    let mut out = Out::new(buffer, conn.state.three);
    out.map(shown.len());
    for (name, value) in shown {
        out.bulk(name.as_bytes());
        out.bulk(value.as_bytes());
    }
}
