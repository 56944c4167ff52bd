//! The table of all settings.

use super::value::Value;

/// What a setting takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A whole number from the first to the second.
    Number(u64, u64),
    /// A number of bytes from the first to the second; `"4 MiB"` is understood too.
    Bytes(u64, u64),
    /// `host:port`.
    Address,
    /// A path; in a file, relative to that file.
    Path,
    /// Any text that isn't empty, never shown.
    Secret,
    /// A cluster's id: 32 hexadecimal digits.
    Cluster,
    /// Nodes and their peer addresses.
    Peers,
    /// One of these words.
    Choice(&'static [&'static str]),
}

/// One setting.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// `section.key`.
    pub full_name: &'static str,
    /// Its section in the file.
    pub section: &'static str,
    /// Its key there.
    pub key: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// Its default, as a file would have it; empty if it has none.
    pub default: &'static str,
    /// What it is for and why the default is what it is; one line per entry.
    pub about: &'static [&'static str],
}

impl Setting {
    /// Its environment variable.
    pub fn variable(&self) -> String {
        format!("UNDERPIN_{}__{}", self.section.to_uppercase(), self.key.to_uppercase())
    }

    /// Its default, if it has one.
    pub fn default_value(&self) -> Option<Value> {
        if self.default.is_empty() {
            return None;
        }
        let value = Value::from_text(self.kind, self.default);
        Some(value.unwrap_or_else(|why| panic!("default of {}: {why}", self.full_name)))
    }
}

/// The setting of this name.
pub fn find(section: &str, key: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.section == section && setting.key == key)
}

/// The sections, in the table's order.
pub fn sections() -> Vec<&'static str> {
    let mut sections: Vec<&str> = SETTINGS.iter().map(|setting| setting.section).collect();
    sections.dedup();
    sections
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// Half a segment holds the longest entry whatever the settings of the node that wrote it: a value
/// of 4 MiB, its key and its frame.
const LOG_SEGMENT_BYTES_MIN: u64 = 10 * MIB;

/// All settings, by section.
pub const SETTINGS: &[Setting] = &[
    Setting {
        full_name: "node.id",
        section: "node",
        key: "id",
        kind: Kind::Number(1, 65_535),
        default: "",
        about: &["This node's number in the cluster, from 1; a key of [cluster] peers."],
    },
    Setting {
        full_name: "node.data",
        section: "node",
        key: "data",
        kind: Kind::Path,
        default: "data",
        about: &["Where it keeps everything. Made by `underpin format`, never by `server`."],
    },
    Setting {
        full_name: "listen.resp",
        section: "listen",
        key: "resp",
        kind: Kind::Address,
        default: "127.0.0.1:6379",
        about: &["Redis clients connect here. Off loopback it needs [auth] password."],
    },
    Setting {
        full_name: "listen.resp_advertised",
        section: "listen",
        key: "resp_advertised",
        kind: Kind::Address,
        default: "",
        about: &[
            "Where clients reach this node, as status tells them; `resp` if not set. Needed if that",
            "is every interface (0.0.0.0), or behind a port mapping.",
        ],
    },
    Setting {
        full_name: "listen.peer",
        section: "listen",
        key: "peer",
        kind: Kind::Address,
        default: "127.0.0.1:7400",
        about: &["The other nodes connect here; each proves that it knows the cluster's secret."],
    },
    Setting {
        full_name: "listen.http",
        section: "listen",
        key: "http",
        kind: Kind::Address,
        default: "127.0.0.1:7480",
        about: &["/livez, /readyz and /metrics. Off loopback it needs `http_open_to`."],
    },
    Setting {
        full_name: "listen.http_open_to",
        section: "listen",
        key: "http_open_to",
        kind: Kind::Choice(&["loopback", "anyone"]),
        default: "loopback",
        about: &[
            "HTTP asks for no password. It shows numbers and states, never data; whoever reaches it",
            "may see them once this says so, and only then may `http` be off loopback.",
        ],
    },
    Setting {
        full_name: "cluster.id",
        section: "cluster",
        key: "id",
        kind: Kind::Cluster,
        default: "",
        about: &["Drawn by `underpin init`; the same on every node of the cluster."],
    },
    Setting {
        full_name: "cluster.peers",
        section: "cluster",
        key: "peers",
        kind: Kind::Peers,
        default: "",
        about: &["Every node and where the others reach it, this one included."],
    },
    Setting {
        full_name: "cluster.secret_file",
        section: "cluster",
        key: "secret_file",
        kind: Kind::Path,
        default: "underpin.secret",
        about: &[
            "What the nodes prove to each other; the same on every node, readable by none else.",
        ],
    },
    Setting {
        full_name: "auth.password",
        section: "auth",
        key: "password",
        kind: Kind::Secret,
        default: "",
        about: &["What clients must say (AUTH). Without it only loopback is listened on."],
    },
    Setting {
        full_name: "auth.password_file",
        section: "auth",
        key: "password_file",
        kind: Kind::Path,
        default: "",
        about: &["The same from a file, so that this one holds no secret."],
    },
    Setting {
        full_name: "limits.value_bytes_max",
        section: "limits",
        key: "value_bytes_max",
        kind: Kind::Bytes(1, 4 * MIB),
        default: "4 MiB",
        about: &["The largest value. Larger ones are refused before they reach the log."],
    },
    Setting {
        full_name: "limits.connections_max",
        section: "limits",
        key: "connections_max",
        kind: Kind::Number(1, 1_000_000),
        default: "10000",
        about: &["Client connections. Further ones are told so and closed."],
    },
    Setting {
        full_name: "limits.client_bytes_max",
        section: "limits",
        key: "client_bytes_max",
        kind: Kind::Bytes(32 * MIB, 1 << 40),
        default: "512 MiB",
        about: &[
            "What all clients together may hold: requests that are not whole or not answered, and",
            "answers that are not taken. Near it those that hold most wait, or are told TRYAGAIN.",
        ],
    },
    Setting {
        full_name: "limits.requests_max",
        section: "limits",
        key: "requests_max",
        kind: Kind::Number(1, 10_000_000),
        default: "65536",
        about: &["Requests waiting in this node; beyond it clients are told to try again."],
    },
    Setting {
        full_name: "log.segment_bytes",
        section: "log",
        key: "segment_bytes",
        kind: Kind::Bytes(LOG_SEGMENT_BYTES_MIN, 1 << 30),
        default: "16 MiB",
        about: &[
            "One file of the log; one is kept in reserve for a full disk. Not below 10 MiB, since",
            "half of one must hold the longest value.",
        ],
    },
    Setting {
        full_name: "log.retention_bytes",
        section: "log",
        key: "retention_bytes",
        kind: Kind::Bytes(0, 1 << 34),
        default: "16 MiB",
        about: &[
            "Entries kept per shard, in memory too, for a replica that was away; one that missed",
            "more gets all rows sent instead, which is cheaper from about here on.",
        ],
    },
    Setting {
        full_name: "storage.memtable_bytes",
        section: "storage",
        key: "memtable_bytes",
        kind: Kind::Bytes(256 * KIB, 1 << 32),
        default: "32 MiB",
        about: &[
            "New rows gather in memory until there are so many; then they become a table. While a",
            "slow disk leaves four times as many in memory, writes are refused as busy.",
        ],
    },
    Setting {
        full_name: "storage.flush_log_bytes",
        section: "storage",
        key: "flush_log_bytes",
        kind: Kind::Bytes(64 * KIB, 1 << 34),
        default: "16 MiB",
        about: &[
            "They also do when a shard's log holds so many bytes: a node that starts again has to",
            "apply about as much before it serves.",
        ],
    },
    Setting {
        full_name: "storage.row_cache_bytes",
        section: "storage",
        key: "row_cache_bytes",
        kind: Kind::Bytes(0, 1 << 40),
        default: "64 MiB",
        about: &["Rows kept in memory since they were read or written lately."],
    },
    Setting {
        full_name: "storage.block_cache_bytes",
        section: "storage",
        key: "block_cache_bytes",
        kind: Kind::Bytes(0, 1 << 40),
        default: "32 MiB",
        about: &["Blocks of tables kept in memory; hot rows are in the row cache."],
    },
    Setting {
        full_name: "raft.support_ms",
        section: "raft",
        key: "support_ms",
        kind: Kind::Number(300, 60_000),
        default: "500",
        about: &[
            "How long a silent node counts as alive: its leaderships move after this and an election.",
            "Before you lower it, stop the node for longer than the old value: it keeps its promises.",
        ],
    },
    Setting {
        full_name: "raft.election_ms",
        section: "raft",
        key: "election_ms",
        kind: Kind::Number(10, 60_000),
        default: "100",
        about: &[
            "A replica without a leader waits from so long to 2.5 times that, then campaigns.",
        ],
    },
    Setting {
        full_name: "logging.level",
        section: "logging",
        key: "level",
        kind: Kind::Choice(&["error", "warn", "info", "debug", "trace"]),
        default: "info",
        about: &["How much is written to stderr."],
    },
];
