//! Is it alive, has it started, is it ready?
//!
//! Alive means that the node's thread answers; nothing else is worth a restart. Ready means that
//! requests get done: every shard with a replica here has a leader that this node knows. What only
//! makes the node poorer (a full disk, a peer that is away) is told by `?verbose` and in the
//! metrics, and does not take the node out of rotation: its neighbours would get no better.

use crate::Site;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use node::api::Status;
use runtime::{Cluster, LinkStatus};
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How long a node may take to say how it is.
pub(crate) const ANSWER_MAX: Duration = Duration::from_secs(2);
/// Committed entries that wait to be applied, beyond which a node is not ready.
const APPLY_LAG_MAX: u64 = 100_000;

/// One look at one thing.
#[derive(Debug, PartialEq, Eq)]
enum Check {
    Good(String),
    /// Worse than it could be, but requests are served.
    Poor(String),
    Bad(String),
}

pub(crate) async fn live(State(site): State<Arc<Site>>, uri: Uri) -> Response {
    let mut checks = Vec::new();
    for cluster in &site.nodes {
        checks.push(answers(cluster.node(), cluster.status(ANSWER_MAX).await.is_some()));
    }
    respond("livez", &checks, &uri)
}

pub(crate) async fn ready(State(site): State<Arc<Site>>, uri: Uri) -> Response {
    let checks = look(&site).await;
    respond("readyz", &checks, &uri)
}

pub(crate) async fn started(State(site): State<Arc<Site>>, uri: Uri) -> Response {
    if site.started.load(Ordering::Relaxed) {
        return respond("startupz", &[Check::Good("started".into())], &uri);
    }
    let checks = look(&site).await;
    respond("startupz", &checks, &uri)
}

async fn look(site: &Site) -> Vec<Check> {
    let mut checks = Vec::new();
    for cluster in &site.nodes {
        checks.extend(look_at(cluster).await);
    }
    if !checks.iter().any(|check| matches!(check, Check::Bad(_))) {
        site.started.store(true, Ordering::Relaxed);
    }
    checks
}

async fn look_at(cluster: &Cluster) -> Vec<Check> {
    let status = cluster.status(ANSWER_MAX).await;
    let mut checks = vec![answers(cluster.node(), status.is_some())];
    if let Some(status) = status {
        checks.extend(judge(&status, &cluster.links()));
    }
    checks
}

fn answers(node: impl std::fmt::Display, does: bool) -> Check {
    match does {
        true => Check::Good(format!("{node} answers")),
        false => Check::Bad(format!("{node} does not answer")),
    }
}

fn judge(status: &Status, links: &[LinkStatus]) -> Vec<Check> {
    let node = status.node;
    let mut checks: Vec<Check> = status
        .shards
        .iter()
        .map(|shard| {
            let name = format!("{node} shard {} ({})", shard.shard, shard.kind);
            let lag = shard.commit.0.saturating_sub(shard.applied.0);
            match shard.leader {
                None => Check::Bad(format!("{name}: no leader is known, so no quorum is reached")),
                Some(_) if lag > APPLY_LAG_MAX => {
                    Check::Bad(format!("{name}: {lag} committed entries wait to be applied"))
                }
                Some(leader) => Check::Good(format!("{name}: leader {leader}")),
            }
        })
        .collect();
    checks.push(match status.disk_full {
        true => Check::Poor(format!("{node} disk: full, so writes are refused")),
        false => Check::Good(format!("{node} disk: has room")),
    });
    checks.extend(links.iter().map(|link| {
        let name = format!("{node} link to {} ({})", link.peer, link.kind);
        match link.up {
            true => Check::Good(format!("{name}: up")),
            false => Check::Poor(format!("{name}: down, {} ({})", link.trouble, link.address)),
        }
    }));
    checks
}

/// The usual form: "ok", or one line per check if asked for or needed.
fn respond(what: &str, checks: &[Check], uri: &Uri) -> Response {
    let good = !checks.iter().any(|check| matches!(check, Check::Bad(_)));
    let query = uri.query().unwrap_or_default();
    let verbose = query.split('&').any(|part| part == "verbose" || part.starts_with("verbose="));
    if good && !verbose {
        return (StatusCode::OK, "ok\n").into_response();
    }
    let mut text = String::new();
    for check in checks {
        let (sign, line) = match check {
            Check::Good(line) => ('+', line),
            Check::Poor(line) => ('!', line),
            Check::Bad(line) => ('-', line),
        };
        let _ = writeln!(text, "[{sign}] {line}");
    }
    let (code, verdict) = match good {
        true => (StatusCode::OK, "passed"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "failed"),
    };
    let _ = writeln!(text, "{what} {verdict}");
    (code, text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::{Index, NodeId, ShardId};
    use node::api::ShardStatus;
    use runtime::LinkKind;

    fn status() -> Status {
        let shard = ShardStatus {
            shard: ShardId(2),
            kind: "kv",
            leader: Some(NodeId(3)),
            ..ShardStatus::default()
        };
        Status { node: NodeId(1), shards: vec![shard], ..Status::default() }
    }

    fn bad(checks: &[Check]) -> usize {
        checks.iter().filter(|check| matches!(check, Check::Bad(_))).count()
    }

    #[test]
    fn a_node_with_a_leader_for_each_shard_is_ready() {
        assert_eq!(bad(&judge(&status(), &[])), 0);
    }

    #[test]
    fn without_a_leader_or_far_behind_it_is_not() {
        let mut status = status();
        status.shards[0].leader = None;
        assert_eq!(bad(&judge(&status, &[])), 1);
        status.shards[0].leader = Some(NodeId(1));
        status.shards[0].commit = Index(APPLY_LAG_MAX + 1);
        assert_eq!(bad(&judge(&status, &[])), 1);
    }

    #[test]
    fn a_full_disk_and_a_lost_peer_are_told_but_do_not_take_it_out_of_rotation() {
        let mut status = status();
        status.disk_full = true;
        let link = LinkStatus {
            peer: NodeId(2),
            kind: LinkKind::Normal,
            address: "127.0.0.1:1".into(),
            up: false,
            trouble: "connecting: refused".into(),
        };
        let checks = judge(&status, &[link]);
        assert_eq!(bad(&checks), 0);
        assert_eq!(checks.iter().filter(|check| matches!(check, Check::Poor(_))).count(), 2);
    }
}
