//! The card that `dev` prints once the cluster is ready: what runs where, and one command to copy
//! for each address.

use serde_json::{Value, json};
use std::fmt::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Everything that the card says.
#[derive(Clone, Debug)]
pub struct Card {
    /// How long it took to become ready.
    pub ready: Duration,
    /// Each node's id and its addresses for Redis clients and for HTTP.
    pub nodes: Vec<(u64, SocketAddr, SocketAddr)>,
    /// Where the data is.
    pub data: PathBuf,
    /// Whether it stays after the end.
    pub kept: bool,
    /// Whether clients need a password.
    pub password: bool,
    /// Ports that are not the usual ones, and why.
    pub notes: Vec<String>,
    /// The leader and its term.
    pub leader: Option<(u64, u64)>,
    /// Whether keys are read from the terminal.
    pub keys: bool,
}

/// What each key does.
pub const KEYS: &str = "k kill the leader   h heal   l logs   ? help   q quit";

impl Card {
    /// As text.
    pub fn text(&self) -> String {
        let mut out = self.head();
        self.facts(&mut out);
        self.addresses(&mut out);
        for note in &self.notes {
            line(&mut out, &format!("  note  {note}"));
        }
        if !self.notes.is_empty() {
            line(&mut out, "");
        }
        if let Some((node, term)) = self.leader {
            line(&mut out, &format!("  Leader n{node} · term {term}"));
        }
        if self.keys {
            line(&mut out, &format!("  {KEYS}"));
        }
        out
    }

    fn head(&self) -> String {
        let nodes = match self.nodes.len() {
            1 => "1 node".to_owned(),
            count => format!("{count} nodes in one process"),
        };
        let left = format!("underpin {} · dev cluster · {nodes}", env!("CARGO_PKG_VERSION"));
        format!("{left:72} ready in {:.2} s\n\n", self.ready.as_secs_f64())
    }

    fn facts(&self, out: &mut String) {
        let data = match self.kept {
            true => format!("{}   (kept on exit)", self.data.display()),
            false => {
                "temporary, deleted on exit   keep it:  underpin dev --data ./underpin-data".into()
            }
        };
        let password = if self.password { "with a password" } else { "no password" };
        let http = self.nodes[0].2;
        line(out, &format!("  Data     {data}"));
        line(
            out,
            &format!(
                "  Safety   synced to disk before it is acknowledged · no TLS, {password}, loopback only"
            ),
        );
        line(out, &format!("  Health   http://{http}/readyz   Metrics  http://{http}/metrics"));
        line(out, "");
    }

    fn addresses(&self, out: &mut String) {
        let tries = ["set hello world", "get hello", "incr visits"];
        let password = if self.password { " -a PASSWORD" } else { "" };
        line(out, "  Node   Redis clients       Try");
        for (n, (node, resp, _)) in self.nodes.iter().enumerate() {
            let (port, try_it) = (resp.port(), tries[n % tries.len()]);
            let (node, resp) = (format!("n{node}"), resp.to_string());
            line(out, &format!("  {node:6} {resp:19} redis-cli -p {port}{password} {try_it}"));
        }
        line(out, "");
        let endpoints: Vec<_> = self.nodes.iter().map(|(_, resp, _)| resp.to_string()).collect();
        line(out, &format!("  export UNDERPIN_ENDPOINT={}", endpoints.join(",")));
        line(out, "  underpin status             underpin kv put hello world");
        line(out, "");
    }

    /// As one object.
    pub fn json(&self) -> Value {
        let nodes: Vec<_> = self
            .nodes
            .iter()
            .map(|(node, resp, http)| {
                json!({ "node": node, "resp": resp.to_string(), "http": http.to_string() })
            })
            .collect();
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "process": std::process::id(),
            "ready_ms": self.ready.as_millis() as u64,
            "data": self.data.display().to_string(),
            "kept": self.kept,
            "password": self.password,
            "nodes": nodes,
            "leader": self.leader.map(|(node, _)| node),
            "term": self.leader.map(|(_, term)| term),
            "notes": self.notes,
        })
    }
}

fn line(out: &mut String, text: &str) {
    writeln!(out, "{text}").expect("a String takes everything");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card() -> Card {
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        Card {
            ready: Duration::from_millis(421),
            nodes: (1..=3).map(|n| (n, at(6378 + n as u16), at(7479 + n as u16))).collect(),
            data: "/tmp/underpin-dev-1".into(),
            kept: false,
            password: false,
            notes: vec!["port 6379 is in use by redis-server (process 812), so n1 listens on 6399   (change: --resp-port)".into()],
            leader: Some((2, 1)),
            keys: true,
        }
    }

    #[test]
    fn the_card_reads_like_this() {
        let expected = "\
underpin 0.1.0 · dev cluster · 3 nodes in one process                    ready in 0.42 s

  Data     temporary, deleted on exit   keep it:  underpin dev --data ./underpin-data
  Safety   synced to disk before it is acknowledged · no TLS, no password, loopback only
  Health   http://127.0.0.1:7480/readyz   Metrics  http://127.0.0.1:7480/metrics

  Node   Redis clients       Try
  n1     127.0.0.1:6379      redis-cli -p 6379 set hello world
  n2     127.0.0.1:6380      redis-cli -p 6380 get hello
  n3     127.0.0.1:6381      redis-cli -p 6381 incr visits

  export UNDERPIN_ENDPOINT=127.0.0.1:6379,127.0.0.1:6380,127.0.0.1:6381
  underpin status             underpin kv put hello world

  note  port 6379 is in use by redis-server (process 812), so n1 listens on 6399   (change: --resp-port)

  Leader n2 · term 1
  k kill the leader   h heal   l logs   ? help   q quit
";
        assert_eq!(card().text(), expected);
    }

    #[test]
    fn with_a_password_the_commands_say_so_and_no_word_shows_it() {
        let text = Card { password: true, kept: true, keys: false, ..card() }.text();
        assert!(text.contains("redis-cli -p 6379 -a PASSWORD set hello world"));
        assert!(text.contains("/tmp/underpin-dev-1   (kept on exit)"));
        assert!(!text.contains("k kill"));
    }

    #[test]
    fn as_json_it_is_one_object() {
        let json = card().json();
        assert_eq!(json["nodes"][2]["resp"], "127.0.0.1:6381");
        assert_eq!(json["leader"], 2);
    }
}
