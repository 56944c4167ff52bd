//! What a node counts about itself: plain atomics, written by the node's threads and read by
//! whoever shows them. Nothing here is looked up by name on a hot path.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub fn one(&self) {
        self.add(1);
    }
    /// `more` more.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }
    /// Its value.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// Its new value.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }
    /// Its value.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Upper bounds of a [`Histogram`]'s buckets, in microseconds; one more bucket holds the rest.
pub const BOUNDS_US: [u64; 18] = [
    10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000,
    500_000, 1_000_000, 2_000_000, 5_000_000,
];

/// How often something took how long.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; BOUNDS_US.len() + 1],
    sum_ns: AtomicU64,
    max_ns: AtomicU64,
}

impl Histogram {
    /// It took so long once.
    pub fn observe(&self, took: Duration) {
        let ns = took.as_nanos().min(u128::from(u64::MAX)) as u64;
        let bucket = BOUNDS_US.partition_point(|&bound_us| bound_us * 1_000 < ns);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum_ns.fetch_add(ns, Ordering::Relaxed);
        self.max_ns.fetch_max(ns, Ordering::Relaxed);
    }

    /// Per bucket, how often it took no longer than its bound; the last one counts everything.
    pub fn cumulative(&self) -> [u64; BOUNDS_US.len() + 1] {
        let mut total = 0;
        std::array::from_fn(|at| {
            total += self.buckets[at].load(Ordering::Relaxed);
            total
        })
    }

    /// All of it together.
    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.sum_ns.load(Ordering::Relaxed))
    }

    /// The longest.
    pub fn max(&self) -> Duration {
        Duration::from_nanos(self.max_ns.load(Ordering::Relaxed))
    }

    /// How often.
    pub fn count(&self) -> u64 {
        self.cumulative()[BOUNDS_US.len()]
    }
}

/// Everything that a node counts.
#[derive(Debug, Default)]
pub struct Metrics {
    /// How long turns of the node took on the wall's clock, those that had something to do.
    pub turn: Histogram,
    /// The time that the processor spent on them: without the time that other threads and processes
    /// had it meanwhile.
    pub turn_cpu: Histogram,
    /// Requests of clients.
    pub requests: Counter,
    /// Answers to clients.
    pub answers: Counter,
    /// Answers that were failures.
    pub failures: Counter,
    /// Client connections open now.
    pub connections: Gauge,
    /// Client connections accepted.
    pub connections_accepted: Counter,
    /// Client connections turned away at the limit.
    pub connections_refused: Counter,
    /// Client connections ended because they made no progress.
    pub connections_stalled: Counter,
    /// Bytes received from clients.
    pub client_bytes_received: Counter,
    /// Bytes sent to clients.
    pub client_bytes_sent: Counter,
    /// Bytes of unfinished requests held for clients now.
    pub client_bytes_held: Gauge,
    /// Bytes received from peers.
    pub peer_bytes_received: Counter,
    /// Bytes sent to peers.
    pub peer_bytes_sent: Counter,
    /// Messages received from peers.
    pub peer_messages_received: Counter,
    /// Messages sent to peers.
    pub peer_messages_sent: Counter,
    /// Messages for peers that were dropped, since their link was down.
    pub peer_messages_dropped: Counter,
    /// Messages from peers that could not be read; their links were ended.
    pub peer_messages_unreadable: Counter,
    /// Outgoing links that are up now.
    pub links_up: Gauge,
    /// Links that came up.
    pub links_connected: Counter,
    /// Links refused, by us or by the other side.
    pub links_refused: Counter,
    /// Links that were given up because their queue was full.
    pub links_overflowed: Counter,
    /// Syncs of the log.
    pub log_syncs: Counter,
    /// How long a write of the log and its sync took.
    pub log_sync: Histogram,
    /// Batches that turns gave to the log; several share a sync.
    pub log_batches: Counter,
    /// Records that turns gave to the log.
    pub log_records: Counter,
    /// 1 while the log has no room.
    pub log_full: Gauge,
    /// Questions to the tables.
    pub fetches: Counter,
    /// How long a question to the tables took.
    pub fetch: Histogram,
    /// Memtables written out as tables.
    pub flushes: Counter,
    /// How long writing one out took.
    pub flush: Histogram,
    /// Compactions.
    pub compactions: Counter,
    /// How long one took.
    pub compaction: Histogram,
    /// Times that a replica here became its shard's leader.
    pub elections_won: Counter,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_counts_up_to_each_bound() {
        let histogram = Histogram::default();
        for us in [1, 10, 11, 1_000, 9_000_000] {
            histogram.observe(Duration::from_micros(us));
        }
        let counts = histogram.cumulative();
        assert_eq!((counts[0], counts[1], counts[6], counts[17], counts[18]), (2, 3, 4, 4, 5));
        assert_eq!(histogram.max(), Duration::from_secs(9));
        assert_eq!(histogram.sum(), Duration::from_micros(9_001_022));
    }
}
