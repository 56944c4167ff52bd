//! What can be set about a node; the simulator draws each from its whole range.

use base::time::MILLISECOND;
use protocols::{liveness, raft};

/// Settings of a node. Every field says its default and why.
#[derive(Clone, Debug)]
pub struct Options {
    /// Raft's own settings.
    pub raft: raft::Options,
    /// Heartbeats and support between nodes.
    pub liveness: liveness::Options,
    /// Memtables and row cache.
    pub engine: storage::engine::EngineOptions,
    /// Bounds on keys, values and batches: DESIGN section 6's; may be set lower.
    pub limits: service::kv::Limits,
    /// Requests that may wait in this node over all connections. Default 65,536: at 20 us a request
    /// that is more than a second of work; beyond it "busy" is the better answer.
    pub requests_max: usize,
    /// Client requests taken up per turn, counted like `turn_commands`. Default 256: about 1 ms of
    /// work.
    pub turn_requests: usize,
    /// Commands applied per turn and shard, where one with many keys counts as that many and every
    /// KiB as another. Default 256: about 1 ms of work.
    pub turn_commands: usize,
    /// Rows that scans visit per turn. Default 2,000: below 1 ms of work.
    pub turn_rows: usize,
    /// Commands that share one log entry, which is applied in one go. Default 128; fewer only cost
    /// per-entry overhead.
    pub entry_commands_max: usize,
    /// Bytes of commands that share one log entry; a larger command has its own. Default 128 KiB,
    /// so that one entry never delays a heartbeat by more than a fraction of a millisecond.
    pub entry_bytes_max: usize,
    /// How often the leader looks for what is due (expired keys, unused sessions), in ns.
    /// Default 250 ms.
    pub sweep_ns: u64,
    /// A memtable is frozen early when a shard's log since the last flush holds so many bytes.
    /// Default 16 MiB: a replica that starts again has no more than that to apply before it serves,
    /// and it may be elected meanwhile.
    pub flush_log_bytes: u64,
    /// Bytes of memtables that are in no table yet, from which on this node takes nothing more:
    /// its clients' writes are refused as busy, its leaders' entries dropped until there is room.
    /// Default 128 MiB, four memtables: a disk that stays so far behind will not catch up by itself.
    pub memtables_bytes_max: usize,
    /// Snapshot chunks in flight. Default 4 of 256 KiB: fills a link without filling memory.
    pub snapshot_chunks: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            // A leader's death costs its support's rest and an election timeout; with these, 0.5 to
            // 0.75 s. Shorter would take a node for dead that its disk or its neighbours held up.
            raft: raft::Options {
                election_ns_min: 100 * MILLISECOND,
                election_ns_max: 250 * MILLISECOND,
                ..raft::Options::default()
            },
            liveness: liveness::Options {
                support_ns: 500 * MILLISECOND,
                ..liveness::Options::default()
            },
            engine: storage::engine::EngineOptions::default(),
            limits: service::kv::Limits::default(),
            requests_max: 65_536,
            turn_requests: 256,
            turn_commands: 256,
            turn_rows: 2_000,
            entry_commands_max: 128,
            entry_bytes_max: 128 << 10,
            sweep_ns: 250 * MILLISECOND,
            flush_log_bytes: 16 << 20,
            memtables_bytes_max: 128 << 20,
            snapshot_chunks: 4,
        }
    }
}
