//! What all clients hold together, and who gives way when it is too much.
//!
//! Each connection is bounded by itself, but ten thousand times sixteen megabytes is more than any
//! machine has. So one number, [`Options::held_bytes_max`](super::Options), bounds all of them
//! together: requests that are not whole, or not answered; transactions that are being told; answers
//! that are not taken. Whoever holds less than its *share*, the bound divided by the connections, never
//! notices; the others give way in this order:
//!
//! ```text
//! from half of the bound on   who holds more than its share is not read from until it has answers,
//!                             and what it adds to a transaction is refused: TRYAGAIN
//! at the bound                who left most answers untaken loses those to reads: TRYAGAIN
//! a quarter beyond it         the connection that holds most is closed
//! ```
//!
//! The first step holds for requests, whose size is known before they are taken. The size of answers
//! is not; but a read can be answered "not done" at any time. Only answers that tell of a change are
//! kept in any case, and only a client that asks for many of those and takes none comes to the last
//! step, which Redis calls the eviction of clients.

use super::Resp;
use super::conn::Conn;
use super::slot::Want;
use super::table::{Spec, WRITE};
use base::ConnId;

impl Resp {
    /// Takes note of what a connection holds now.
    pub(super) fn count(&mut self, conn: &mut Conn) {
        let held = conn.held();
        self.held = self.held + held - std::mem::replace(&mut conn.counted, held);
    }

    /// Whether all would hold more than `part`, and this connection more than its share of it, if it
    /// held `more`.
    fn exceeds(&self, conn: &Conn, more: usize, part: usize) -> bool {
        let held = conn.held() + more;
        self.held - conn.counted + held > part && held > part / self.conns.len().max(1)
    }

    /// Whether a connection should not begin with so many bytes more before others are done.
    pub(super) fn is_crowded(&self, conn: &Conn, more: usize) -> bool {
        self.exceeds(conn, more, self.options.held_bytes_max / 2)
    }

    /// Whether an answer that comes bit by bit should end here.
    pub(super) fn is_full(&self, conn: &Conn, more: usize) -> bool {
        self.exceeds(conn, more, self.options.held_bytes_max)
    }

    /// Makes room, if all hold too much: whoever left most answers untaken loses those that can be
    /// asked for again.
    pub(super) fn relieve(&mut self) {
        let allowed = self.options.held_bytes_max;
        if self.held <= allowed {
            self.relieved_at = allowed;
            return;
        }
        // Looking costs time, so not at every request.
        if self.held <= self.relieved_at + allowed / 64 {
            return;
        }
        while self.held > allowed && self.take_back() {}
        while self.held > allowed / 4 * 5 && self.evict() {}
        self.relieved_at = self.held.max(allowed);
    }

    /// The connection that is worst by some measure.
    fn worst(&self, measure: impl Fn(&Conn) -> usize) -> Option<ConnId> {
        let there = self.conns.iter().filter_map(|(id, conn)| Some((id, conn.as_ref()?)));
        there.max_by_key(|(_, conn)| measure(conn)).map(|(id, _)| *id)
    }

    /// Takes back what the connection with most untaken answers may ask for again; whether that
    /// freed anything.
    fn take_back(&mut self) -> bool {
        let worst = self.worst(Conn::untaken_bytes);
        let Some(mut conn) = worst.and_then(|id| self.conns.get_mut(&id)?.take()) else {
            return false;
        };
        let before = conn.counted;
        conn.take_back();
        self.count(&mut conn);
        let freed = conn.counted < before;
        self.conns.insert(conn.id, Some(conn));
        freed
    }

    /// Closes the connection that holds most; whether that freed anything.
    fn evict(&mut self) -> bool {
        let worst = self.worst(|conn| conn.counted);
        let Some(mut conn) = worst.and_then(|id| self.conns.get_mut(&id)?.take()) else {
            return false;
        };
        let (id, before) = (conn.id, conn.counted);
        self.partial_bytes -= conn.partial_bytes();
        conn.drop_everything();
        self.count(&mut conn);
        self.stats.evicted += 1;
        let freed = conn.counted < before;
        self.conns.insert(id, Some(conn));
        self.kill(id);
        freed
    }
}

/// Whether the client may be told "not done" although there is an answer: nothing changed by it.
pub(super) fn may_be_taken_back(spec: &Spec, want: &Want) -> bool {
    match want {
        Want::Kv(_) => !spec.has(WRITE),
        Want::Scan { .. } | Want::Keys { .. } | Want::Count | Want::Any | Want::Status(_) => true,
        Want::Exec(_) | Want::Watch { .. } | Want::Plain | Want::Done => false,
    }
}
