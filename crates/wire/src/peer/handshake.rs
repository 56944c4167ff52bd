//! The handshake: who is there, and does it know the cluster's secret?
//!
//! Both sides say [`Hello`], then both prove that they know the secret, the dialer first: a proof is
//! `HMAC-SHA256(secret, label | dialer's Hello | listener's Hello)`, where the label differs per
//! direction. The Hellos go in byte for byte as they were sent, so nothing that was said in clear
//! (identities, version ranges, the link's kind) can have been altered on the way; each holds a fresh
//! nonce, so an old proof is worth nothing; and the label keeps a side's own proof from being sent
//! back to it.
//!
//! What this does not do: it neither hides nor signs what follows. Whoever can alter packets between
//! two nodes can wait for the handshake and then take the connection over. Links over a network that
//! is not trusted need TLS around them.
//!
//! The machine takes frames and answers with a [`Step`]; the caller owns the socket and the clock
//! (a handshake that is not over after [`TIMEOUT_MS`] is given up). One decision is the caller's too:
//! whether a peer that proved itself is one the cluster knows under this incarnation. So a proof
//! leads to [`Step::Proven`], and the caller calls [`Handshake::admit`] or [`Handshake::refuse`].
//!
//! A refusal travels as text, because at the other end is an operator with a wrong setting. Before
//! the proof it says only what both Hellos said anyway.

use super::frame::{self, Frame, Kind};
use base::codec::{DecodeError, Reader, Writer};
use base::{Bytes, ClusterId, Incarnation, NodeId};
use bytes::BytesMut;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use std::fmt;

/// Milliseconds after which an unfinished handshake is given up.
pub const TIMEOUT_MS: u64 = 5_000;
/// Characters of a refusal that are shown.
const TEXT_MAX: usize = 600;

const MAGIC: [u8; 8] = *b"UNDERPIN";
const LABEL_DIALER: &[u8] = b"underpin peer 1, dialer";
const LABEL_LISTENER: &[u8] = b"underpin peer 1, listener";

/// What every node of a cluster knows and nobody else does. Its Debug shows nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret([u8; 32]);

impl Secret {
    /// Of 32 random bytes.
    pub fn new(bytes: [u8; 32]) -> Secret {
        Secret(bytes)
    }

    /// Of the text in a configuration, however long. It should be random: at least 16 bytes of it,
    /// since whoever sees one handshake may try texts at leisure.
    pub fn from_text(text: &str) -> Secret {
        let mut hash = Sha256::new();
        hash.update(b"underpin cluster secret 1");
        hash.update(text.as_bytes());
        Secret(hash.finalize().into())
    }

    fn mac(&self, label: &[u8], dialer: &[u8], listener: &[u8]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes any key");
        for part in [label, dialer, listener] {
            mac.update(&(part.len() as u64).to_le_bytes());
            mac.update(part);
        }
        mac
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// What a link is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LinkKind {
    /// Everything but bulk.
    #[default]
    Normal,
    /// Snapshots.
    Bulk,
}

impl fmt::Display for LinkKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LinkKind::Normal => "normal",
            LinkKind::Bulk => "bulk",
        })
    }
}

/// Who a side is and what it speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The oldest and the newest protocol version that it speaks.
    pub protocol: (u16, u16),
    /// Its cluster.
    pub cluster: ClusterId,
    /// Its node.
    pub node: NodeId,
    /// Its data directory's life.
    pub incarnation: Incarnation,
    /// What the dialer wants the link for; the listener says the same.
    pub link: LinkKind,
    /// 32 fresh random bytes.
    pub nonce: [u8; 32],
}

impl Hello {
    /// Its bytes.
    pub fn encode(&self) -> Bytes {
        let mut out = Writer::with_capacity(80);
        out.raw(&MAGIC);
        out.u16(self.protocol.0);
        out.u16(self.protocol.1);
        out.u128(self.cluster.0);
        out.u64(self.node.0);
        out.u64(self.incarnation.0);
        out.u8(match self.link {
            LinkKind::Normal => 0,
            LinkKind::Bulk => 1,
        });
        out.raw(&self.nonce);
        out.finish()
    }

    /// Reads it back. Bytes after the ones we know are a newer version's and mean nothing to us;
    /// the proofs cover them all the same.
    pub fn decode(bytes: Bytes) -> Result<Hello, DecodeError> {
        let mut reader = Reader::new(bytes);
        if reader.raw(MAGIC.len())? != MAGIC[..] {
            return Err(DecodeError::Invalid("magic number"));
        }
        let protocol = (reader.u16()?, reader.u16()?);
        if protocol.0 > protocol.1 {
            return Err(DecodeError::Invalid("protocol range"));
        }
        Ok(Hello {
            protocol,
            cluster: ClusterId(reader.u128()?),
            node: NodeId(reader.u64()?),
            incarnation: Incarnation(reader.u64()?),
            link: match reader.u8()? {
                0 => LinkKind::Normal,
                1 => LinkKind::Bulk,
                seen => return Err(DecodeError::unknown("link kind", seen)),
            },
            nonce: *reader.raw(32)?.first_chunk().expect("32 bytes were read"),
        })
    }
}

/// The other side, once it proved itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its cluster (ours).
    pub cluster: ClusterId,
    /// Its node.
    pub node: NodeId,
    /// Its data directory's life.
    pub incarnation: Incarnation,
    /// What the link is for.
    pub link: LinkKind,
    /// The protocol version to speak: the highest that both do.
    pub protocol: u16,
}

/// Why there is no link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Whether the other side refused us (rather than we it).
    pub by_peer: bool,
    /// What to tell the operator.
    pub text: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.by_peer {
            true => write!(f, "the other side refused: {}", self.text),
            false => f.write_str(&self.text),
        }
    }
}

impl std::error::Error for Refused {}

/// Where a handshake is after a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Frames are missing.
    Waiting,
    /// The peer proved itself. It is for the caller to [`admit`](Handshake::admit) or to
    /// [`refuse`](Handshake::refuse) it.
    Proven(Peer),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// Nothing came yet.
    Hello,
    /// Both Hellos are known (as bytes: the dialer's, the listener's), the peer's proof is not.
    Proof { dialer: Bytes, listener: Bytes, peer: Peer },
    /// The peer proved itself; the caller decides.
    Proven { answer: Option<[u8; 32]> },
    /// Over.
    Done,
}

/// One side of one handshake.
#[derive(Clone, Debug)]
pub struct Handshake {
    ours: Hello,
    secret: Secret,
    /// Who should be at the other end: the dialer knows, the listener does not.
    expected: Option<NodeId>,
    dialer: bool,
    state: State,
}

impl Handshake {
    /// The side that connected, and expects to find `expected` there. Writes its Hello.
    pub fn dial(ours: Hello, secret: Secret, expected: NodeId, out: &mut BytesMut) -> Handshake {
        frame::encode(Kind::Hello, &ours.encode(), out);
        Handshake { ours, secret, expected: Some(expected), dialer: true, state: State::Hello }
    }

    /// The side that was connected to. It says nothing before the dialer's Hello was good.
    pub fn listen(ours: Hello, secret: Secret) -> Handshake {
        Handshake { ours, secret, expected: None, dialer: false, state: State::Hello }
    }

    /// A frame came; what must be sent goes to `out`, also when the answer is a refusal.
    pub fn receive(&mut self, frame: Frame, out: &mut BytesMut) -> Result<Step, Refused> {
        let step = match (frame.kind, std::mem::replace(&mut self.state, State::Done)) {
            (Kind::Refuse, _) => return Err(refused_by_peer(&frame.body)),
            (Kind::Hello, State::Hello) => self.hello(frame.body, out),
            (Kind::Proof, State::Proof { dialer, listener, peer }) => {
                self.proof(&frame.body, &dialer, &listener, peer)
            }
            (kind, _) => Err(format!("unexpected {kind:?} frame in a handshake")),
        };
        step.map_err(|text| self.refuse(text, out))
    }

    /// The peer is welcome: the link is up, for the listener once `out` is sent.
    ///
    /// # Panics
    ///
    /// Unless the last step was [`Step::Proven`].
    pub fn admit(&mut self, out: &mut BytesMut) {
        match std::mem::replace(&mut self.state, State::Done) {
            State::Proven { answer: Some(answer) } => frame::encode(Kind::Proof, &answer, out),
            State::Proven { answer: None } => {}
            other => panic!("a peer that proved nothing was admitted in {other:?}"),
        }
    }

    /// The peer is not welcome: `text` says to its operator and ours why.
    pub fn refuse(&mut self, text: String, out: &mut BytesMut) -> Refused {
        self.state = State::Done;
        frame::encode(Kind::Refuse, shown(&text).as_bytes(), out);
        Refused { by_peer: false, text }
    }

    fn hello(&mut self, theirs_bytes: Bytes, out: &mut BytesMut) -> Result<Step, String> {
        let theirs = Hello::decode(theirs_bytes.clone())
            .map_err(|error| format!("this is no Underpin node's greeting: {error}"))?;
        let peer = self.check(&theirs)?;
        // The listener speaks about the dialer's link.
        self.ours.link = peer.link;
        let ours_bytes = self.ours.encode();
        let (dialer, listener) = match self.dialer {
            true => (ours_bytes, theirs_bytes),
            false => (theirs_bytes, ours_bytes),
        };
        match self.dialer {
            true => {
                let proof = self.secret.mac(LABEL_DIALER, &dialer, &listener).finalize();
                frame::encode(Kind::Proof, &proof.into_bytes(), out);
            }
            false => frame::encode(Kind::Hello, &listener, out),
        }
        self.state = State::Proof { dialer, listener, peer };
        Ok(Step::Waiting)
    }

    /// What can be told before any proof, and only from what both sides said in clear.
    fn check(&self, theirs: &Hello) -> Result<Peer, String> {
        let ours = &self.ours;
        if theirs.cluster != ours.cluster {
            return Err(format!(
                "different clusters: {} is of cluster {}, {} of {}; a data directory belongs to \
                 the cluster it was formatted for, so check the peer addresses, or format this \
                 node's directory for the right cluster",
                ours.node, ours.cluster, theirs.node, theirs.cluster
            ));
        }
        if theirs.node == ours.node {
            return Err(format!(
                "both ends say that they are {}: an address points back at its own node, or two \
                 data directories were formatted with the same node id",
                ours.node
            ));
        }
        if let Some(expected) = self.expected.filter(|&expected| expected != theirs.node) {
            return Err(format!(
                "{expected} was expected at this address, but {} answers there: check the peer \
                 addresses",
                theirs.node
            ));
        }
        if self.dialer && theirs.link != ours.link {
            return Err(format!("a {} link was asked for, not a {} one", ours.link, theirs.link));
        }
        let protocol = ours.protocol.1.min(theirs.protocol.1);
        if protocol < ours.protocol.0.max(theirs.protocol.0) {
            return Err(format!(
                "no common protocol version: {} speaks {} to {}, {} speaks {} to {}; upgrade the \
                 older one, one release at a time",
                ours.node,
                ours.protocol.0,
                ours.protocol.1,
                theirs.node,
                theirs.protocol.0,
                theirs.protocol.1
            ));
        }
        Ok(Peer {
            cluster: theirs.cluster,
            node: theirs.node,
            incarnation: theirs.incarnation,
            link: theirs.link,
            protocol,
        })
    }

    fn proof(
        &mut self,
        proof: &[u8],
        dialer: &[u8],
        listener: &[u8],
        peer: Peer,
    ) -> Result<Step, String> {
        let label = if self.dialer { LABEL_LISTENER } else { LABEL_DIALER };
        // verify_slice compares in constant time.
        if self.secret.mac(label, dialer, listener).verify_slice(proof).is_err() {
            return Err(format!(
                "{} and {} do not have the same cluster secret: give both the same one in their \
                 configuration",
                self.ours.node, peer.node
            ));
        }
        let answer = (!self.dialer).then(|| {
            self.secret.mac(LABEL_LISTENER, dialer, listener).finalize().into_bytes().into()
        });
        self.state = State::Proven { answer };
        Ok(Step::Proven(peer))
    }
}

/// The text of a refusal that a peer sent, fit for a log line.
pub fn refused_by_peer(body: &[u8]) -> Refused {
    Refused { by_peer: true, text: shown(&String::from_utf8_lossy(body)) }
}

/// Bounded, and without control characters that would play tricks on a terminal.
fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(TEXT_MAX).collect::<String>().trim().to_string()
}

#[cfg(test)]
mod tests;
