//! Numbers for Prometheus: seconds and bytes, totals that only grow, one series per node and per
//! shard, never one per client or key.

use crate::Site;
use crate::health::ANSWER_MAX;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use node::api::Status;
use runtime::Metrics;
use runtime::metrics::{BOUNDS_US, Histogram};
use std::collections::BTreeMap;
use std::fmt::{Display, Write};
use std::sync::Arc;

const FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(crate) async fn all(State(site): State<Arc<Site>>) -> Response {
    let mut page = Page::default();
    for cluster in &site.nodes {
        let node = cluster.node().to_string();
        page.counted(&node, cluster.metrics());
        let status = cluster.status(ANSWER_MAX).await;
        page.gauge(
            "underpin_up",
            "Whether the node answers.",
            &[("node", &node)],
            status.is_some(),
        );
        if let Some(status) = status {
            page.status(&node, &status);
        }
    }
    ([(header::CONTENT_TYPE, FORMAT)], page.finish()).into_response()
}

/// The page as it grows: per metric its description and its samples, since those of all nodes must
/// stand together.
#[derive(Default)]
struct Page {
    families: BTreeMap<&'static str, (&'static str, &'static str, String)>,
}

impl Page {
    fn family(
        &mut self,
        name: &'static str,
        kind: &'static str,
        help: &'static str,
    ) -> &mut String {
        &mut self.families.entry(name).or_insert((kind, help, String::new())).2
    }

    fn sample(out: &mut String, name: &str, labels: &[(&str, &str)], value: impl Display) {
        out.push_str(name);
        for (at, (label, value)) in labels.iter().enumerate() {
            let open = if at == 0 { '{' } else { ',' };
            let _ = write!(out, "{open}{label}=\"{}\"", escaped(value));
        }
        let close = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(out, "{close} {value}");
    }

    fn counter(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: &[(&str, &str)],
        value: u64,
    ) {
        Page::sample(self.family(name, "counter", help), name, labels, value);
    }

    fn gauge(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: &[(&str, &str)],
        value: impl Into<u64>,
    ) {
        Page::sample(self.family(name, "gauge", help), name, labels, value.into());
    }

    fn histogram(&mut self, name: &'static str, help: &'static str, node: &str, it: &Histogram) {
        let out = self.family(name, "histogram", help);
        let counts = it.cumulative();
        let bounds = BOUNDS_US.iter().map(|&us| seconds(us * 1_000)).chain(["+Inf".into()]);
        for (bound, count) in bounds.zip(counts) {
            let labels = [("node", node), ("le", &*bound)];
            Page::sample(out, &format!("{name}_bucket"), &labels, count);
        }
        let labels = [("node", node)];
        let sum = seconds(it.sum().as_nanos() as u64);
        Page::sample(out, &format!("{name}_sum"), &labels, sum);
        Page::sample(out, &format!("{name}_count"), &labels, counts[BOUNDS_US.len()]);
    }

    fn finish(self) -> String {
        let mut page = String::new();
        for (name, (kind, help, samples)) in self.families {
            let _ = write!(page, "# HELP {name} {help}\n# TYPE {name} {kind}\n{samples}");
        }
        page
    }
}

/// What the runtime counts.
impl Page {
    fn counted(&mut self, node: &str, metrics: &Metrics) {
        self.counted_of_clients(node, metrics);
        self.counted_of_peers(node, metrics);
        self.counted_of_disks(node, metrics);
        let turn = &metrics.turn;
        self.histogram("underpin_turn_seconds", "How long turns of the node took.", node, turn);
        let cpu = &metrics.turn_cpu;
        self.histogram(
            "underpin_turn_cpu_seconds",
            "Processor time of turns of the node.",
            node,
            cpu,
        );
        for (name, help, turn) in [
            ("underpin_turn_longest_seconds", "The longest turn since the start.", turn),
            (
                "underpin_turn_cpu_longest_seconds",
                "The most processor time of a turn since the start.",
                cpu,
            ),
        ] {
            let longest = seconds(turn.max().as_nanos() as u64);
            Page::sample(self.family(name, "gauge", help), name, &[("node", node)], longest);
        }
        self.counter(
            "underpin_elections_won_total",
            "Times that a replica here became its shard's leader.",
            &[("node", node)],
            metrics.elections_won.get(),
        );
    }

    fn counted_of_clients(&mut self, node: &str, metrics: &Metrics) {
        let labels = [("node", node)];
        let counters = [
            ("underpin_requests_total", "Requests of clients.", &metrics.requests),
            ("underpin_answers_total", "Answers to clients.", &metrics.answers),
            ("underpin_failures_total", "Answers that were failures.", &metrics.failures),
            (
                "underpin_client_connections_accepted_total",
                "Client connections accepted.",
                &metrics.connections_accepted,
            ),
            (
                "underpin_client_connections_refused_total",
                "Client connections turned away at the limit.",
                &metrics.connections_refused,
            ),
            (
                "underpin_client_connections_stalled_total",
                "Client connections ended because they made no progress.",
                &metrics.connections_stalled,
            ),
            (
                "underpin_client_received_bytes_total",
                "Bytes received from clients.",
                &metrics.client_bytes_received,
            ),
            (
                "underpin_client_sent_bytes_total",
                "Bytes sent to clients.",
                &metrics.client_bytes_sent,
            ),
        ];
        for (name, help, counter) in counters {
            self.counter(name, help, &labels, counter.get());
        }
        self.gauge(
            "underpin_client_connections",
            "Client connections open now.",
            &labels,
            metrics.connections.get(),
        );
        self.gauge(
            "underpin_client_held_bytes",
            "Bytes of large unfinished requests held now.",
            &labels,
            metrics.client_bytes_held.get(),
        );
    }

    fn counted_of_peers(&mut self, node: &str, metrics: &Metrics) {
        let labels = [("node", node)];
        let counters = [
            (
                "underpin_peer_received_bytes_total",
                "Bytes received from peers.",
                &metrics.peer_bytes_received,
            ),
            ("underpin_peer_sent_bytes_total", "Bytes sent to peers.", &metrics.peer_bytes_sent),
            (
                "underpin_peer_received_messages_total",
                "Messages received from peers.",
                &metrics.peer_messages_received,
            ),
            (
                "underpin_peer_sent_messages_total",
                "Messages sent to peers.",
                &metrics.peer_messages_sent,
            ),
            (
                "underpin_peer_dropped_messages_total",
                "Messages for peers that were dropped, since their link was down or full.",
                &metrics.peer_messages_dropped,
            ),
            (
                "underpin_peer_unreadable_messages_total",
                "Messages from peers that could not be read, and ended their links.",
                &metrics.peer_messages_unreadable,
            ),
            (
                "underpin_links_connected_total",
                "Links to peers that came up.",
                &metrics.links_connected,
            ),
            (
                "underpin_links_refused_total",
                "Links that either side refused.",
                &metrics.links_refused,
            ),
            (
                "underpin_links_overflowed_total",
                "Links given up because their queue was full.",
                &metrics.links_overflowed,
            ),
        ];
        for (name, help, counter) in counters {
            self.counter(name, help, &labels, counter.get());
        }
        let up = metrics.links_up.get();
        self.gauge("underpin_links_up", "Outgoing links that are up.", &labels, up);
    }

    fn counted_of_disks(&mut self, node: &str, metrics: &Metrics) {
        let labels = [("node", node)];
        let counters = [
            ("underpin_log_syncs_total", "Syncs of the log.", &metrics.log_syncs),
            (
                "underpin_log_batches_total",
                "Batches given to the log; several share a sync.",
                &metrics.log_batches,
            ),
            ("underpin_log_records_total", "Records given to the log.", &metrics.log_records),
            ("underpin_fetches_total", "Questions to the tables.", &metrics.fetches),
            ("underpin_flushes_total", "Memtables written out.", &metrics.flushes),
            ("underpin_compactions_total", "Pieces of merging done.", &metrics.compactions),
        ];
        for (name, help, counter) in counters {
            self.counter(name, help, &labels, counter.get());
        }
        let histograms = [
            ("underpin_log_sync_seconds", "Writing and syncing the log.", &metrics.log_sync),
            ("underpin_fetch_seconds", "Questions to the tables.", &metrics.fetch),
            ("underpin_flush_seconds", "Writing a memtable out.", &metrics.flush),
            ("underpin_compaction_seconds", "Pieces of merging.", &metrics.compaction),
        ];
        for (name, help, histogram) in histograms {
            self.histogram(name, help, node, histogram);
        }
        let full = metrics.log_full.get();
        self.gauge("underpin_log_full", "Whether the log has no room.", &labels, full);
    }
}

/// What the node says of itself.
impl Page {
    fn status(&mut self, node: &str, status: &Status) {
        let labels = [("node", node)];
        let uptime = seconds(status.uptime_ms * 1_000_000);
        let out = self.family("underpin_uptime_seconds", "gauge", "Since the node started.");
        Page::sample(out, "underpin_uptime_seconds", &labels, uptime);
        let out = self.family("underpin_info", "gauge", "The version that runs.");
        let info = [("node", node), ("version", &*status.version)];
        Page::sample(out, "underpin_info", &info, 1);
        self.gauge(
            "underpin_disk_full",
            "Whether writes are refused since the disk is full.",
            &labels,
            status.disk_full,
        );
        self.gauge(
            "underpin_requests_waiting",
            "Requests waiting in the node.",
            &labels,
            status.requests_waiting,
        );
        self.gauge(
            "underpin_memory_rows_bytes",
            "Bytes in memtables and row cache.",
            &labels,
            status.memory_bytes,
        );
        self.gauge(
            "underpin_memtables_unflushed_bytes",
            "Bytes in memtables that are in no table yet.",
            &labels,
            status.unflushed_bytes,
        );
        self.gauge(
            "underpin_memtables_full",
            "Whether writes are refused until memtables are written out.",
            &labels,
            status.memtables_full,
        );
        self.peers(node, status);
        self.shards(node, status);
    }

    fn peers(&mut self, node: &str, status: &Status) {
        for peer in &status.nodes {
            let name = peer.node.to_string();
            let labels = [("node", node), ("peer", &*name)];
            self.gauge(
                "underpin_peer_live",
                "Whether the peer was heard of within a support period.",
                &labels,
                peer.live,
            );
            if let Some(offset_ms) = peer.clock_offset_ms {
                let out = self.family(
                    "underpin_peer_clock_offset_seconds",
                    "gauge",
                    "How far the peer's wall clock is ahead of this node's.",
                );
                let offset = offset_ms as f64 / 1_000.0;
                Page::sample(out, "underpin_peer_clock_offset_seconds", &labels, offset);
            }
        }
    }

    fn shards(&mut self, node: &str, status: &Status) {
        for shard in &status.shards {
            let name = shard.shard.to_string();
            let labels = [("node", node), ("shard", &*name), ("kind", shard.kind)];
            let gauges = [
                ("underpin_shard_term", "Raft's term.", shard.term.0),
                ("underpin_shard_commit_index", "Highest committed index.", shard.commit.0),
                ("underpin_shard_applied_index", "Highest applied index.", shard.applied.0),
                ("underpin_shard_first_index", "First index in the log.", shard.first.0),
                ("underpin_shard_last_index", "Last index in the log.", shard.last.0),
                (
                    "underpin_shard_leader",
                    "The leader's node; 0 if none is known.",
                    shard.leader.map_or(0, |leader| leader.0),
                ),
            ];
            for (name, help, value) in gauges {
                self.gauge(name, help, &labels, value);
            }
            let counters = [
                (
                    "underpin_shard_snapshots_sent_total",
                    "Snapshots that other replicas received from here whole.",
                    shard.snapshots_sent,
                ),
                (
                    "underpin_shard_snapshots_installed_total",
                    "Snapshots that took the place of this replica's state.",
                    shard.snapshots_installed,
                ),
            ];
            for (name, help, value) in counters {
                self.counter(name, help, &labels, value);
            }
            let [node_label, shard_label, kind_label] = labels;
            let role = [node_label, shard_label, kind_label, ("role", shard.role)];
            self.gauge("underpin_shard_role", "The replica's role, as a label.", &role, 1u64);
        }
    }
}

/// Nanoseconds as a decimal number of seconds, without rounding.
fn seconds(ns: u64) -> String {
    let text = format!("{}.{:09}", ns / 1_000_000_000, ns % 1_000_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_string()
}

/// A label's value as the format wants it.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::{NodeId, ShardId, Term};
    use node::api::{NodeStatus, ShardStatus};
    use std::time::Duration;

    #[test]
    fn nanoseconds_become_seconds_exactly() {
        assert_eq!(seconds(0), "0");
        assert_eq!(seconds(10_000), "0.00001");
        assert_eq!(seconds(2_500_000_000), "2.5");
        assert_eq!(seconds(10_000_000_000), "10");
    }

    #[test]
    fn the_page_is_what_prometheus_reads() {
        let metrics = Metrics::default();
        metrics.requests.add(7);
        metrics.turn.observe(Duration::from_micros(15));
        let mut page = Page::default();
        page.counted("n1", &metrics);
        page.counted("n2", &metrics);
        let shard = ShardStatus {
            shard: ShardId(2),
            kind: "kv",
            role: "leader",
            term: Term(3),
            ..ShardStatus::default()
        };
        let peer = NodeStatus {
            node: NodeId(2),
            live: true,
            clock_offset_ms: Some(-1_500),
            ..NodeStatus::default()
        };
        let status = Status {
            version: "a\"b".into(),
            shards: vec![shard],
            nodes: vec![peer],
            ..Status::default()
        };
        page.status("n1", &status);
        let page = page.finish();
        for line in [
            "# TYPE underpin_requests_total counter\n\
             underpin_requests_total{node=\"n1\"} 7\n\
             underpin_requests_total{node=\"n2\"} 7\n",
            "underpin_turn_seconds_bucket{node=\"n1\",le=\"0.00001\"} 0\n\
             underpin_turn_seconds_bucket{node=\"n1\",le=\"0.00002\"} 1\n",
            "underpin_turn_seconds_bucket{node=\"n1\",le=\"+Inf\"} 1\n\
             underpin_turn_seconds_sum{node=\"n1\"} 0.000015\n\
             underpin_turn_seconds_count{node=\"n1\"} 1\n",
            "underpin_info{node=\"n1\",version=\"a\\\"b\"} 1\n",
            "underpin_peer_clock_offset_seconds{node=\"n1\",peer=\"n2\"} -1.5\n",
            "underpin_shard_term{node=\"n1\",shard=\"s2\",kind=\"kv\"} 3\n",
            "underpin_shard_role{node=\"n1\",shard=\"s2\",kind=\"kv\",role=\"leader\"} 1\n",
        ] {
            assert!(page.contains(line), "{line} is missing in\n{page}");
        }
        let types = page.lines().filter(|line| line.starts_with("# TYPE ")).count();
        let mut names: Vec<&str> = page
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
            .collect();
        names.dedup();
        assert_eq!(names.len(), types, "a metric is described twice");
    }
}
