//! What a shard's log holds: the commands of its service, as bytes.
//!
//! The first byte is the format, the second says which command; a batch follows in the form that
//! [`crate::pack`] describes. A command that this version can't read means that the apply level was
//! raised without this node: it must stop, not skip.

use crate::kv::Batch;
use crate::meta;
use base::Bytes;
use base::codec::{DecodeError, Reader, Writer};

const FORMAT: u8 = 1;

/// A command of a shard's log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    /// Operations that take effect together.
    Kv(Batch),
    /// The same, once per session and number.
    Once {
        /// The session.
        session: u64,
        /// The client's number for this request.
        number: u64,
        /// What to do.
        batch: Batch,
    },
    /// Opens a session; its id is the entry's stamp.
    SessionOpen {
        /// Milliseconds without use after which it ends.
        ttl_ms: u64,
    },
    /// Ends a session.
    SessionClose {
        /// The session.
        session: u64,
    },
    /// Removes what these rows of the expiry and session indexes show to be past due. Logged by the
    /// leader.
    Sweep {
        /// Keys of index rows in [`crate::Space::SHARD`].
        index: Vec<Bytes>,
    },
    /// Commits a stamp and changes nothing: after it, a key that is past due is gone for everybody.
    Stamp,
    /// Every replica hashes its rows here. Changes nothing.
    HashMark,
    /// A command of the `meta` shard.
    Meta(meta::Command),
}

impl Command {
    /// About how much work applying it is, next to a `SET` of few bytes.
    pub fn cost(&self) -> usize {
        match self {
            Command::Kv(batch) | Command::Once { batch, .. } => batch.cost().div_ceil(2) as usize,
            Command::Sweep { index } => 1 + index.len(),
            _ => 1,
        }
    }

    /// The command's bytes.
    pub fn encode(&self) -> Bytes {
        let mut out = Writer::with_capacity(self.bytes_about());
        out.u8(FORMAT);
        match self {
            Command::Kv(batch) => {
                out.u8(0);
                batch.encode(&mut out);
            }
            Command::Once { session, number, batch } => {
                out.u8(1);
                out.u64(*session);
                out.varint(*number);
                batch.encode(&mut out);
            }
            Command::SessionOpen { ttl_ms } => {
                out.u8(2);
                out.varint(*ttl_ms);
            }
            Command::SessionClose { session } => {
                out.u8(3);
                out.u64(*session);
            }
            Command::Sweep { index } => {
                out.u8(4);
                out.varint(index.len() as u64);
                index.iter().for_each(|key| out.blob(key));
            }
            Command::Stamp => out.u8(5),
            Command::HashMark => out.u8(6),
            Command::Meta(command) => {
                out.u8(7);
                command.encode(&mut out);
            }
        }
        out.finish()
    }

    /// The inverse of [`Command::encode`]; keys and values share the memory of `bytes`.
    pub fn decode(bytes: Bytes) -> Result<Command, DecodeError> {
        let mut reader = Reader::new(bytes);
        let format = reader.u8()?;
        if format != FORMAT {
            return Err(DecodeError::unknown("command format", format));
        }
        let command = match reader.u8()? {
            0 => Command::Kv(Batch::decode(&mut reader)?),
            1 => Command::Once {
                session: reader.u64()?,
                number: reader.varint()?,
                batch: Batch::decode(&mut reader)?,
            },
            2 => Command::SessionOpen { ttl_ms: reader.varint()? },
            3 => Command::SessionClose { session: reader.u64()? },
            4 => {
                let count = reader.varint()?;
                if count > reader.left() as u64 {
                    return Err(DecodeError::Invalid("sweep: longer than its bytes"));
                }
                let index = (0..count).map(|_| reader.blob()).collect::<Result<_, _>>()?;
                Command::Sweep { index }
            }
            5 => Command::Stamp,
            6 => Command::HashMark,
            7 => Command::Meta(meta::Command::decode(&mut reader)?),
            seen => return Err(DecodeError::unknown("command", seen)),
        };
        reader.end()?;
        Ok(command)
    }

    /// Bytes that the encoding takes, about; a little too much rather than too little.
    fn bytes_about(&self) -> usize {
        match self {
            Command::Kv(batch) | Command::Once { batch, .. } => 32 + batch.bytes(),
            Command::Sweep { index } => 16 + index.iter().map(|key| 3 + key.len()).sum::<usize>(),
            _ => 32,
        }
    }
}
