//! Commands that walk over a database's keys: SCAN, KEYS, DBSIZE, RANDOMKEY.

use super::Resp;
use super::args::{integer, is};
use super::conn::Conn;
use super::errors::{SYNTAX, Wrong};
use super::kv::Context;
use super::slot::Want;
use base::Bytes;
use bytes::BytesMut;
use node::api::{Call, Reply};
use service::kv::scan::{Cursor, Walk, WalkReply, WalkRequest};
use std::collections::VecDeque;
use wire::resp::Out;

type Plan = Result<(Call, Want), Wrong>;

fn walk(context: &Context, walk: Walk, want: Want) -> Plan {
    Ok((Call::Walk(WalkRequest { bucket: context.db, walk }), want))
}

/// SCAN cursor [MATCH pattern] [COUNT count] [TYPE type]
pub(super) fn scan(_: &mut Conn, _: &mut Resp, context: &Context, args: &[Bytes]) -> Plan {
    let cursor = std::str::from_utf8(&args[1]).ok().and_then(|text| text.parse().ok());
    let cursor = Cursor(cursor.ok_or("ERR invalid cursor")?);
    let (mut matching, mut count, mut keys) = (None, 10, true);
    let mut rest = args[2..].iter();
    while let Some(option) = rest.next() {
        let value = rest.next().ok_or(SYNTAX)?;
        if is(option, "count") {
            count = u64::try_from(integer(value)?).ok().filter(|&count| count > 0).ok_or(SYNTAX)?;
        } else if is(option, "match") {
            matching = (value != "*").then(|| value.clone());
        } else if is(option, "type") {
            keys = is(value, "string");
        } else {
            return Err(SYNTAX);
        }
    }
    walk(context, Walk::Page { cursor, matching, count, values: false }, Want::Scan { keys })
}

/// KEYS pattern
pub(super) fn keys(_: &mut Conn, _: &mut Resp, context: &Context, args: &[Bytes]) -> Plan {
    walk(context, Walk::Keys { matching: args[1].clone() }, Want::Keys(Keys::default()))
}

pub(super) fn dbsize(_: &mut Conn, _: &mut Resp, context: &Context, _: &[Bytes]) -> Plan {
    walk(context, Walk::Count, Want::Count)
}

pub(super) fn randomkey(_: &mut Conn, resp: &mut Resp, context: &Context, _: &[Bytes]) -> Plan {
    walk(context, Walk::Any { from: resp.random.u64() >> 1 }, Want::Any)
}

/// Bytes from which on a piece of a long reply is not grown any more.
const PIECE_BYTES: usize = 64 << 10;

/// The reply to KEYS as it comes in, in pieces: as one buffer it would be copied as it grows, and
/// again when it is sent, in one turn of the node.
#[derive(Debug, Default)]
pub(super) struct Keys {
    count: usize,
    full_bytes: usize,
    full: VecDeque<Bytes>,
    last: BytesMut,
}

impl Keys {
    /// Adds a chunk of the answer to what was written of it so far.
    pub(super) fn collect(&mut self, reply: &Reply, allowed: usize) -> Result<(), Wrong> {
        let Reply::Walk(WalkReply::Page { found, .. }) = reply else { return Ok(()) };
        for found in found {
            if self.bytes() + found.key.len() > allowed {
                return Err(format!(
                    "ERR the keys that match take more than the {allowed} bytes that one answer \
                     may have; use SCAN"
                )
                .into());
            }
            if self.last.is_empty() {
                self.last.reserve(PIECE_BYTES + 256);
            }
            Out::new(&mut self.last, false).bulk(&found.key);
            self.count += 1;
            if self.last.len() >= PIECE_BYTES {
                self.close_piece();
            }
        }
        Ok(())
    }

    /// Bytes of all pieces.
    pub(super) fn bytes(&self) -> usize {
        self.full_bytes + self.last.len()
    }

    fn close_piece(&mut self) {
        self.full_bytes += self.last.len();
        self.full.push_back(std::mem::take(&mut self.last).freeze());
    }

    /// Writes the head of the reply; what follows it is left in `rest`.
    pub(super) fn write(mut self, out: &mut Out, rest: &mut VecDeque<Bytes>) {
        out.array(self.count);
        self.close_piece();
        rest.append(&mut self.full);
    }
}

pub(super) fn write_page(reply: WalkReply, keys: bool, out: &mut Out) {
    let WalkReply::Page { next, found } = reply else { return out.null() };
    out.array(2);
    out.bulk(next.0.to_string().as_bytes());
    let shown = if keys { &found[..] } else { &[] };
    out.array(shown.len());
    shown.iter().for_each(|found| out.bulk(&found.key));
}

pub(super) fn write_count(reply: WalkReply, out: &mut Out) {
    match reply {
        WalkReply::Count(count) => out.integer(count as i64),
        WalkReply::Page { .. } => out.null(),
    }
}

pub(super) fn write_any(reply: WalkReply, out: &mut Out) {
    match reply {
        WalkReply::Page { found, .. } => match found.first() {
            Some(found) => out.bulk(&found.key),
            None => out.null(),
        },
        WalkReply::Count(_) => out.null(),
    }
}
