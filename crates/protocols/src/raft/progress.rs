//! What a leader knows of one follower, and how it feeds it.
//!
//! ```text
//!            rejected, or silent            acknowledged
//! Probe  <-------------------------  Replicate  <----+
//!   |  one message, then wait          stream within the window
//!   |  acknowledged                                  |
//!   +------------------------------------------------+
//!   |  what it needs is compacted
//!   v
//! Snapshot   nothing is sent until the stream's outcome is known
//! ```

use crate::liveness::SupportEpoch;
use base::{Index, Mono, NodeId};
use std::collections::VecDeque;

/// How a follower is being fed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Feed {
    /// Its log's end is not known: one message at a time.
    Probe {
        /// Whether that message is under way.
        sent: bool,
    },
    /// It follows: messages are sent ahead of its answers.
    Replicate,
    /// It needs a snapshot.
    Snapshot {
        /// The index that the snapshot under way covers, once it was taken.
        index: Option<Index>,
    },
}

/// One follower.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Progress {
    /// Where it lives.
    pub node: NodeId,
    /// Its log equals the leader's up to here, durably. Never goes back.
    pub matched: Index,
    /// The next entry to send; always after `matched`.
    pub next: Index,
    /// How it is fed.
    pub feed: Feed,
    /// Messages with entries that are under way: the last index and the bytes of each.
    inflight: VecDeque<(Index, usize)>,
    inflight_bytes: usize,
    /// The commit index that it was told last, and the one it told last.
    pub commit_sent: Index,
    /// See `commit_sent`.
    pub commit_known: Index,
    /// When the last append went out.
    pub sent_at: Mono,
    /// The support that it bound this term to.
    pub bound: Option<SupportEpoch>,
    /// When it was last asked to bind.
    pub bind_sent_at: Option<Mono>,
}

impl Progress {
    /// A follower of whom nothing is known yet, probed at the end of the leader's log.
    pub fn new(node: NodeId, next: Index, now: Mono) -> Progress {
        Progress {
            node,
            matched: Index(0),
            next,
            feed: Feed::Probe { sent: false },
            inflight: VecDeque::new(),
            inflight_bytes: 0,
            commit_sent: Index(0),
            commit_known: Index(0),
            sent_at: now,
            bound: None,
            bind_sent_at: None,
        }
    }

    /// The follower acknowledged `matched`. Says whether that was news.
    pub fn acknowledged(&mut self, matched: Index) -> bool {
        while self.inflight.front().is_some_and(|(last, _)| *last <= matched) {
            let (_, bytes) = self.inflight.pop_front().expect("it was just seen");
            self.inflight_bytes -= bytes;
        }
        let news = matched > self.matched;
        self.matched = self.matched.max(matched);
        self.next = self.next.max(self.matched.next());
        self.check();
        news
    }

    /// The follower is to be probed from `next` on.
    pub fn probe(&mut self, next: Index) {
        self.inflight.clear();
        self.inflight_bytes = 0;
        self.next = next.max(self.matched.next());
        self.feed = Feed::Probe { sent: false };
        self.check();
    }

    /// Entries up to `last` were sent.
    pub fn sent(&mut self, last: Index, bytes: usize) {
        if self.feed == Feed::Replicate {
            self.next = last.next();
            self.inflight.push_back((last, bytes));
            self.inflight_bytes += bytes;
        }
    }

    /// Whether more may be sent ahead.
    pub fn has_room(&self, messages_max: usize, bytes_max: usize) -> bool {
        self.inflight.len() < messages_max && self.inflight_bytes < bytes_max
    }

    /// Whether an answer is awaited.
    pub fn awaits_answer(&self) -> bool {
        match self.feed {
            Feed::Probe { sent } => sent,
            Feed::Replicate => !self.inflight.is_empty() || self.commit_known < self.commit_sent,
            Feed::Snapshot { .. } => false,
        }
    }

    /// Entries after this one may still have to be sent.
    pub fn needs_after(&self) -> Index {
        match self.feed {
            Feed::Snapshot { index: Some(index) } => index.max(self.matched),
            _ => self.matched,
        }
    }

    fn check(&self) {
        assert!(self.next > self.matched, "next {} within matched {}", self.next, self.matched);
    }
}
