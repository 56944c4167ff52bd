//! What nodes say to each other, as bodies of the peer protocol's frames.
//!
//! The frame around a body (length, checksum) and the handshake before it are `wire::peer`'s; who
//! may speak at all is [`crate::Node::admits`]'s. A body that does not decode closes the link:
//! peers of one protocol version never send one.

use crate::api::{Answer, Call, Consistency, Reply};
use base::codec::{DecodeError, Reader, Writer};
use base::{Bytes, ConnId, Failure, Incarnation, Index, NodeId, ReplicaId, ShardId, Term};
use protocols::{liveness, raft};
use service::kv::scan::{WalkReply, WalkRequest};
use service::kv::{Batch, Outcome};
use service::meta::ClusterMap;
use service::pack::{decode_failure, encode_failure};

/// One message between nodes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Message {
    /// Heartbeats and support.
    Liveness(liveness::Message),
    /// Raft, from one replica of a shard to another.
    Raft { shard: ShardId, meta: bool, from: ReplicaId, to: ReplicaId, message: raft::Message },
    /// A request that belongs to a shard whose leader the receiver is, or was in `term`.
    Forward { shard: ShardId, term: Term, request: Forwarded },
    /// The answer to a forwarded request, or a part of it.
    Answered(Answer),
    /// Bytes of an [`Message::Answered`] that is too large for one frame, in order; the last one
    /// completes it (over the bulk link).
    Part { conn: ConnId, seq: u64, last: bool, data: Bytes },
    /// Part of a replica's state (over the bulk link).
    Chunk { shard: ShardId, from: ReplicaId, to: ReplicaId, stream: u64, number: u64, data: Bytes },
    /// Chunks below `next` have arrived; `next` of `u64::MAX` refuses the stream.
    ChunkAck { shard: ShardId, to: ReplicaId, stream: u64, next: u64 },
    /// Whether the sender's disk is full; said when a link comes up and whenever it changes.
    DiskFull(bool),
    /// The cluster's map as of an index of the meta shard's log; said when a link comes up and
    /// whenever the sender learns of a newer one.
    Directory { index: Index, map: ClusterMap },
}

/// Answers larger than this travel in parts of this size, in bytes: votes never wait behind them,
/// and no frame is larger than the peer protocol's bound.
pub(crate) const PART_BYTES: usize = 512 << 10;

/// A client's request on its way to another node.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Forwarded {
    /// The connection, as the forwarding node numbers it.
    pub conn: ConnId,
    /// The request's number on it.
    pub seq: u64,
    /// Milliseconds until nobody waits any more.
    pub wait_ms: u64,
    /// What a read must see.
    pub consistency: Consistency,
    /// What is wanted.
    pub call: Call,
}

/// A message between nodes in words, for traces.
pub fn describe_message(body: Bytes) -> String {
    match Message::decode(body) {
        Ok(Message::Chunk { shard, to, stream, number, data, .. }) => {
            format!("Chunk {number} of stream {stream} for {shard} {to}, {} bytes", data.len())
        }
        Ok(message) => format!("{message:?}"),
        Err(error) => error.to_string(),
    }
}

/// The body of a message between nodes, read and written again: what reading it understood, for
/// tests that feed it bytes of their own.
pub fn rewrite_message(body: Bytes) -> Result<Bytes, DecodeError> {
    Message::decode(body).map(|message| message.encode())
}

impl Message {
    /// The message as a frame's body.
    pub fn encode(&self) -> Bytes {
        let mut out = Writer::with_capacity(128);
        match self {
            Message::Liveness(message) => {
                out.u8(1);
                message.encode(&mut out);
            }
            Message::Raft { shard, meta, from, to, message } => {
                out.u8(2);
                out.u64(shard.0);
                out.bool(*meta);
                out.u64(from.0);
                out.u64(to.0);
                message.encode(&mut out);
            }
            Message::Forward { shard, term, request } => {
                out.u8(3);
                out.u64(shard.0);
                out.u64(term.0);
                out.u64(request.conn.0);
                out.u64(request.seq);
                out.u64(request.wait_ms);
                out.bool(request.consistency == Consistency::Eventual);
                encode_call(&request.call, &mut out);
            }
            Message::Answered(answer) => {
                out.u8(4);
                out.u64(answer.conn.0);
                out.u64(answer.seq);
                out.bool(answer.more);
                encode_result(&answer.result, &mut out);
            }
            Message::Part { conn, seq, last, data } => {
                out.u8(7);
                out.u64(conn.0);
                out.u64(*seq);
                out.bool(*last);
                out.bytes(data);
            }
            Message::Chunk { shard, from, to, stream, number, data } => {
                out.u8(5);
                for word in [shard.0, from.0, to.0, *stream, *number] {
                    out.u64(word);
                }
                out.bytes(data);
            }
            Message::ChunkAck { shard, to, stream, next } => {
                out.u8(6);
                for word in [shard.0, to.0, *stream, *next] {
                    out.u64(word);
                }
            }
            Message::DiskFull(full) => {
                out.u8(8);
                out.bool(*full);
            }
            Message::Directory { index, map } => {
                out.u8(9);
                out.u64(index.0);
                map.encode(&mut out);
            }
        }
        out.finish()
    }

    /// The inverse of [`Message::encode`].
    pub fn decode(body: Bytes) -> Result<Message, DecodeError> {
        let mut r = Reader::new(body);
        let message = match r.u8()? {
            1 => Message::Liveness(liveness::Message::decode(&mut r)?),
            2 => Message::Raft {
                shard: ShardId(r.u64()?),
                meta: r.bool()?,
                from: ReplicaId(r.u64()?),
                to: ReplicaId(r.u64()?),
                message: raft::Message::decode(&mut r)?,
            },
            3 => Message::Forward {
                shard: ShardId(r.u64()?),
                term: Term(r.u64()?),
                request: Forwarded {
                    conn: ConnId(r.u64()?),
                    seq: r.u64()?,
                    wait_ms: r.u64()?,
                    consistency: match r.bool()? {
                        true => Consistency::Eventual,
                        false => Consistency::Strong,
                    },
                    call: decode_call(&mut r)?,
                },
            },
            4 => Message::Answered(Answer {
                conn: ConnId(r.u64()?),
                seq: r.u64()?,
                more: r.bool()?,
                result: decode_result(&mut r)?,
            }),
            5 => Message::Chunk {
                shard: ShardId(r.u64()?),
                from: ReplicaId(r.u64()?),
                to: ReplicaId(r.u64()?),
                stream: r.u64()?,
                number: r.u64()?,
                data: r.bytes()?,
            },
            6 => Message::ChunkAck {
                shard: ShardId(r.u64()?),
                to: ReplicaId(r.u64()?),
                stream: r.u64()?,
                next: r.u64()?,
            },
            7 => Message::Part {
                conn: ConnId(r.u64()?),
                seq: r.u64()?,
                last: r.bool()?,
                data: r.bytes()?,
            },
            8 => Message::DiskFull(r.bool()?),
            9 => Message::Directory { index: Index(r.u64()?), map: ClusterMap::decode(&mut r)? },
            seen => return Err(DecodeError::unknown("peer message", seen)),
        };
        r.end()?;
        Ok(message)
    }
}

fn encode_call(call: &Call, out: &mut Writer) {
    match call {
        Call::Kv(batch) => {
            out.u8(1);
            batch.encode(out);
        }
        Call::Once { session, number, batch } => {
            out.u8(2);
            out.u64(*session);
            out.u64(*number);
            batch.encode(out);
        }
        Call::Walk(walk) => {
            out.u8(3);
            walk.encode(out);
        }
        Call::SessionOpen { ttl_ms } => {
            out.u8(4);
            out.u64(*ttl_ms);
        }
        Call::SessionClose { session } => {
            out.u8(5);
            out.u64(*session);
        }
        Call::Status => out.u8(6),
        Call::HashMark => out.u8(7),
        Call::Transfer { shard, to } => {
            out.u8(8);
            out.u64(shard.0);
            out.option(*to, |out, to| out.u64(to.0));
        }
        Call::NodeReplace { node, incarnation } => {
            out.u8(9);
            out.u64(node.0);
            out.u64(incarnation.0);
        }
        Call::Register(record) => {
            out.u8(10);
            record.encode(out);
        }
    }
}

fn decode_call(r: &mut Reader) -> Result<Call, DecodeError> {
    Ok(match r.u8()? {
        1 => Call::Kv(Batch::decode(r)?),
        2 => Call::Once { session: r.u64()?, number: r.u64()?, batch: Batch::decode(r)? },
        3 => Call::Walk(WalkRequest::decode(r)?),
        4 => Call::SessionOpen { ttl_ms: r.u64()? },
        5 => Call::SessionClose { session: r.u64()? },
        6 => Call::Status,
        7 => Call::HashMark,
        8 => Call::Transfer { shard: ShardId(r.u64()?), to: r.option(|r| Ok(NodeId(r.u64()?)))? },
        9 => Call::NodeReplace { node: NodeId(r.u64()?), incarnation: Incarnation(r.u64()?) },
        10 => Call::Register(service::meta::NodeRecord::decode(r)?),
        seen => return Err(DecodeError::unknown("call", seen)),
    })
}

fn encode_result(result: &Result<Reply, Failure>, out: &mut Writer) {
    match result {
        Ok(Reply::Kv(outcome)) => {
            out.u8(1);
            outcome.encode(out);
        }
        Ok(Reply::Walk(reply)) => {
            out.u8(2);
            reply.encode(out);
        }
        Ok(Reply::Session(session)) => {
            out.u8(4);
            out.u64(*session);
        }
        Ok(Reply::Done) => out.u8(5),
        Ok(Reply::Index(index)) => {
            out.u8(6);
            out.u64(index.0);
        }
        // Status is never forwarded: every node answers for itself.
        Ok(Reply::Status(_)) => out.u8(5),
        Err(failure) => {
            out.u8(7);
            encode_failure(failure, out);
        }
    }
}

fn decode_result(r: &mut Reader) -> Result<Result<Reply, Failure>, DecodeError> {
    Ok(match r.u8()? {
        1 => Ok(Reply::Kv(Outcome::decode(r)?)),
        2 => Ok(Reply::Walk(WalkReply::decode(r)?)),
        4 => Ok(Reply::Session(r.u64()?)),
        5 => Ok(Reply::Done),
        6 => Ok(Reply::Index(Index(r.u64()?))),
        7 => Err(decode_failure(r)?),
        seen => return Err(DecodeError::unknown("answer", seen)),
    })
}
