//! What goes in and what comes out of a connection, byte by byte.
//!
//! Stories are files in this folder: what clients send, `---`, what they receive. Blocks are
//! separated by empty lines and go on where the last one ended. `UPDATE=1` rewrites what comes out.
//!
//! ```text
//! GET k                 a line is sent as it stands, with its line end
//! 2: GET k              by another client
//! > *1\r\n$4\r\nPI      sent as it stands, without a line end; escapes as in Rust
//! @hold                 the node answers nothing until @answer or @shuffle
//! @answer               the node answers what waits, in order
//! @shuffle              the node does what waits in order, and answers in another order
//! @advance 1500         milliseconds pass
//! @fail busy            every request fails like this; @fail none: no more
//! ```
//!
//! What comes out is shown with its line ends as `|`, and goes on in the next line where it is long.

#![allow(clippy::disallowed_methods)] // A test reads its stories.

mod host;
mod limits;

use base::{ConnId, Failure, NotDone, Random, Refusal};
use host::Host;
use node::api::Gateway;
use std::collections::BTreeSet;
use std::path::Path;
use underpin_gateway::resp::Options;

#[test]
fn stories() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/resp");
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .expect("the folder")
        .map(|file| file.expect("one").path())
        .filter(|path| path.extension().is_some_and(|kind| kind == "txt"))
        .collect();
    paths.sort();
    assert!(!paths.is_empty());
    for path in paths {
        let text = std::fs::read_to_string(&path).expect("a story");
        let told = tell(&text, usize::MAX);
        if std::env::var("UPDATE").is_ok() {
            std::fs::write(&path, &told).expect("it can be written");
            continue;
        }
        assert!(told == text, "{}: it went otherwise:\n{told}", path.display());
        // In whatever pieces the bytes come, what comes out is the same.
        for size in [1, 2, 3, 5, 7] {
            let again = tell(&text, size);
            assert!(again == text, "{} in pieces of {size}:\n{again}", path.display());
        }
    }
}

/// The story with what comes out; bytes go in in pieces of `size`.
fn tell(text: &str, size: usize) -> String {
    let mut story = Story::new(text, size);
    let blocks: Vec<String> =
        text.trim_end().split("\n\n").map(|block| story.block(block)).collect();
    blocks.join("\n\n") + "\n"
}

struct Story {
    host: Host,
    size: usize,
    hold: bool,
    open: BTreeSet<ConnId>,
    random: Random,
}

impl Story {
    fn new(text: &str, size: usize) -> Story {
        let password = text.lines().find_map(|line| line.strip_prefix("# password "));
        let options = Options {
            password: password.map(|word| base::Bytes::copy_from_slice(word.as_bytes())),
            port: 6379,
            version: "0.1.0".to_owned(),
            ..Options::default()
        };
        Story {
            host: Host::new(options),
            size,
            hold: false,
            open: BTreeSet::new(),
            random: Random::new(5),
        }
    }

    fn block(&mut self, block: &str) -> String {
        let (input, _) = block.split_once("\n---").unwrap_or((block, ""));
        let lines: Vec<&str> = input.lines().collect();
        if lines.iter().all(|line| line.starts_with('#')) {
            return input.to_owned();
        }
        lines.iter().for_each(|line| self.line(line));
        if !self.hold {
            self.host.work();
        }
        let mut shown = format!("{input}\n---");
        for conn in self.open.clone() {
            let received = self.host.received(conn);
            if !received.is_empty() {
                shown.push_str(&format!("\n{}{}", prefix(conn), show(&received)));
            }
            if self.host.resp.closing(conn) {
                shown.push_str(&format!("\n{}(closed)", prefix(conn)));
                self.host.close(conn);
                self.open.remove(&conn);
            }
        }
        shown
    }

    fn line(&mut self, line: &str) {
        if line.starts_with('#') {
            return;
        }
        if let Some(order) = line.strip_prefix('@') {
            return self.order(order);
        }
        let (conn, line) = match line.split_once(": ") {
            Some((number, rest)) if number.parse::<u64>().is_ok() => {
                (ConnId(number.parse().expect("a number")), rest)
            }
            _ => (ConnId(1), line),
        };
        let bytes = match line.strip_prefix("> ") {
            Some(escaped) => unescape(escaped),
            None => format!("{line}\r\n").into_bytes(),
        };
        if self.open.insert(conn) {
            self.host.open(conn);
        }
        for piece in bytes.chunks(self.size.min(bytes.len()).max(1)) {
            self.host.send(conn, piece);
            if !self.hold {
                self.host.work();
            }
        }
    }

    fn order(&mut self, order: &str) {
        let words: Vec<&str> = order.split(' ').collect();
        match words.as_slice() {
            ["hold"] => self.hold = true,
            ["answer"] => {
                self.hold = false;
                self.host.work();
            }
            ["shuffle"] => {
                self.hold = false;
                self.host.work_shuffled(&mut self.random);
            }
            ["advance", ms] => {
                self.host.advance(ms.parse::<u64>().expect("milliseconds") * 1_000_000);
            }
            ["fail", how] => self.host.failure = failure(how),
            _ => panic!("unknown order {order}"),
        }
    }
}

fn failure(how: &str) -> Option<Failure> {
    Some(match how {
        "none" => return None,
        "busy" => Failure::NotDone(NotDone::Busy { retry_after_ms: 50 }),
        "leader" => Failure::NotDone(NotDone::LeaderChanged),
        "quorum" => Failure::NotDone(NotDone::NoQuorum),
        "deadline" => Failure::NotDone(NotDone::Deadline),
        "disk" => Failure::NotDone(NotDone::DiskFull),
        "stopping" => Failure::NotDone(NotDone::Stopping),
        "unknown" => Failure::Unknown,
        "forgotten" => Failure::Refused(Refusal::NumberForgotten),
        "reused" => Failure::Refused(Refusal::NumberReused),
        "answer" => Failure::Refused(Refusal::AnswerForgotten),
        other => panic!("unknown failure {other}"),
    })
}

fn prefix(conn: ConnId) -> String {
    if conn == ConnId(1) { String::new() } else { format!("{}: ", conn.0) }
}

fn show(bytes: &[u8]) -> String {
    let text = bytes.escape_ascii().to_string().replace("\\r\\n", "|");
    let text = text.replace("\\'", "'").replace("\\\"", "\"");
    let (mut shown, mut width) = (String::new(), 0);
    for part in text.split_inclusive('|') {
        if width > 0 && width + part.len() > 96 {
            shown.push_str("\n  ");
            width = 0;
        }
        shown.push_str(part);
        width += part.len();
    }
    shown
}

fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        match (first, after) {
            (b'\\', [b'x', high, low, after @ ..]) => {
                let digits = std::str::from_utf8(&[*high, *low]).expect("digits").to_owned();
                bytes.push(u8::from_str_radix(&digits, 16).expect("two digits"));
                rest = after;
            }
            (b'\\', [escaped, after @ ..]) => {
                bytes.push(match escaped {
                    b'r' => b'\r',
                    b'n' => b'\n',
                    b'0' => 0,
                    other => *other,
                });
                rest = after;
            }
            (byte, _) => bytes.push(*byte),
        }
    }
    bytes
}
