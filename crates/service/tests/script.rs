//! Stories about one shard, in `tests/kv/*.txt`: commands, `---`, what they answer.
//!
//! Every line of a block is one step; blocks are separated by empty lines and go on where the last
//! one ended. `UPDATE=1` rewrites the answers. The shard's time begins at 1000 ms; a version is
//! written as its stamp, `@1000` (or `@1000+2`, two nanoseconds later).
//!
//! ```text
//! set k v [nx|xx|ver=V] [old] [in=MS|at=MS|keep]      operations, see `operation`
//! do set a 1; get a                                   a batch
//! if a=@1000 do set a 2                               with conditions
//! @3 get k                                            in bucket 3
//! advance 10                                          10 ms of shard time pass; nothing is logged
//! open s 1000 | close s | once s 7 set k v            sessions, by names of ours
//! sweep | rows | reads get k | check append k v       what is due goes; all rows; declared rows;
//!                                                     bounds
//! page 0 10 [glob] [values] | keys glob | count | any 5 [in slices of 3 rows]
//! ```

#![allow(clippy::disallowed_methods)] // Tests read their tables and stories from files.

mod common;

use base::{Bytes, Refusal, Stamp};
use common::{MS, Shard};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use underpin_service::kv::scan::{Cursor, Walk, WalkReply, WalkRequest};
use underpin_service::kv::{
    self, Answer, Batch, Bucket, Condition, Expiry, ExpiryWhen, LcsWant, Limits, Op, Outcome,
    Progress, Walker, When,
};
use underpin_service::{Command, Machine, Reply, Space, row};

#[test]
fn stories() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kv");
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .expect("the folder")
        .map(|file| file.expect("one").path())
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "no stories");
    for path in paths {
        let text = std::fs::read_to_string(&path).expect("a story");
        let told = tell(&text);
        if std::env::var("UPDATE").is_ok() {
            std::fs::write(&path, told).expect("written");
        } else {
            assert_eq!(told, text, "{} tells another story; UPDATE=1 rewrites it", path.display());
        }
    }
}

/// The text with the answers that the shard gives.
fn tell(text: &str) -> String {
    let mut story = Story::new();
    let blocks = text.split("\n\n").map(|block| story.block(block.trim_matches('\n')));
    blocks.collect::<Vec<_>>().join("\n\n") + "\n"
}

struct Story {
    shard: Shard,
    sessions: BTreeMap<String, u64>,
}

impl Story {
    fn new() -> Story {
        Story { shard: Shard::new(Machine::kv()), sessions: BTreeMap::new() }
    }

    fn block(&mut self, block: &str) -> String {
        let lines: Vec<&str> = block.lines().take_while(|line| *line != "---").collect();
        let mut told = lines.join("\n");
        let steps: Vec<&str> =
            lines.into_iter().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
        if !steps.is_empty() {
            told += "\n---";
            for step in steps {
                let answer = self.step(step);
                if !answer.is_empty() {
                    let _ = write!(told, "\n{answer}");
                }
            }
        }
        told
    }

    fn step(&mut self, line: &str) -> String {
        let words = words(line);
        let word = |at: usize| words.get(at).map(text).unwrap_or_default();
        match word(0).as_str() {
            "advance" => {
                let ms: u64 = word(1).parse().expect("milliseconds");
                self.shard.now = Stamp(self.shard.now.0 + ms * MS);
                String::new()
            }
            "open" => {
                let ttl_ms = word(2).parse().expect("milliseconds");
                let reply = self.shard.log(&Command::SessionOpen { ttl_ms });
                if let Reply::Session(id) = reply {
                    self.sessions.insert(word(1), id);
                }
                say_reply(&reply)
            }
            "close" => {
                let session = self.session(&word(1));
                say_reply(&self.shard.log(&Command::SessionClose { session }))
            }
            "once" => {
                let session = self.session(&word(1));
                let number = word(2).parse().expect("a number");
                let batch = batch(&words[3..]);
                say_reply(&self.shard.log(&Command::Once { session, number, batch }))
            }
            "sweep" => match self.shard.sweep_command() {
                Some(command) => {
                    let before = self.shard.rows.len();
                    self.shard.log(&command);
                    format!("rows {before} -> {}", self.shard.rows.len())
                }
                None => "nothing due".to_string(),
            },
            "rows" => self.rows(),
            "reads" => format!("{} rows", kv::reads(&batch(&words[1..])).len()),
            "check" => match kv::check(&batch(&words[1..]), &Limits::default()) {
                Ok(()) => "fits".to_string(),
                Err(refusal) => say_refusal(&refusal),
            },
            "page" | "keys" | "count" | "any" => self.walk(&words),
            _ => self.run(&batch(&words)),
        }
    }

    fn session(&self, name: &str) -> u64 {
        self.sessions.get(name).copied().unwrap_or(99)
    }

    fn run(&mut self, batch: &Batch) -> String {
        if batch.writes() {
            return say_reply(&self.shard.log(&Command::Kv(batch.clone())));
        }
        let (outcome, due) = self.shard.read(batch);
        format!("{}{}", if due { "after a stamp: " } else { "" }, say_outcome(&outcome))
    }

    fn rows(&self) -> String {
        let lines = self.shard.rows.iter().map(|(at, bytes)| {
            if at.space == Space::SHARD {
                return format!("shard {}", say_bytes(&at.key));
            }
            let (_, key) = row::key_of_place(&at.key).expect("a key");
            let row = row::Row::decode(bytes.clone()).expect("a row");
            let end = row.expires_at_ms.map(|end| format!(" ends {end}")).unwrap_or_default();
            let (key, value) = (say_bytes(&key), say_bytes(&row.value));
            format!("space {} {key} = {value} {}{end}", at.space.0, say_stamp(row.stamp.0))
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    /// Walks in slices of three rows.
    fn walk(&self, words: &[Vec<u8>]) -> String {
        let word = |at: usize| words.get(at).map(text).unwrap_or_default();
        let glob = |at: usize| words.get(at).map(|glob| Bytes::from(glob.clone()));
        let walk = match word(0).as_str() {
            "page" => Walk::Page {
                cursor: Cursor(word(1).parse().expect("a cursor")),
                count: word(2).parse().expect("a count"),
                matching: glob(3),
                values: word(4) == "values",
            },
            "keys" => Walk::Keys { matching: glob(1).expect("a glob") },
            "count" => Walk::Count,
            _ => Walk::Any { from: word(1).parse().expect("a slot") },
        };
        let mut walker = Walker::new(WalkRequest { bucket: Bucket(0), walk }, self.shard.applied);
        let mut said = Vec::new();
        loop {
            let rows = self.shard.scan(walker.space(), &walker.range());
            let until = rows.get(3).map(|(at, _)| at.key.clone());
            let slice = rows.into_iter().take(3).map(|(at, row)| (at.key, row));
            match walker.feed(slice, until) {
                Progress::More => {}
                Progress::Chunk(reply) => said.push(say_walk(&reply)),
                Progress::Finished(reply) => {
                    said.push(say_walk(&reply));
                    return said.join("\n");
                }
            }
        }
    }
}

/// The words of a line; a word in quotes may hold `\xNN`, and `big(N)` is N times `x`.
fn words(line: &str) -> Vec<Vec<u8>> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while !rest.is_empty() {
        if let Some(quoted) = rest.strip_prefix('"') {
            let (word, after) = quoted.split_once('"').expect("a closing quote");
            words.push(unescape(word));
            rest = after;
        } else {
            let end = rest.find([' ', ';']).unwrap_or(rest.len()).max(1);
            words.push(big(&rest[..end]));
            rest = &rest[end..];
        }
        rest = rest.trim_start();
    }
    words
}

fn unescape(word: &str) -> Vec<u8> {
    let mut parts = word.split("\\x");
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        bytes.push(u8::from_str_radix(&part[..2], 16).expect("two hexadecimal digits"));
        bytes.extend(&part.as_bytes()[2..]);
    }
    bytes
}

fn big(word: &str) -> Vec<u8> {
    match word.strip_prefix("big(").and_then(|rest| rest.strip_suffix(')')) {
        Some(length) => vec![b'x'; length.parse().expect("a length")],
        None => word.as_bytes().to_vec(),
    }
}

fn text(word: impl AsRef<[u8]>) -> String {
    String::from_utf8_lossy(word.as_ref()).into_owned()
}

/// `[if key=version ..] [do] operation [; operation ..]`
fn batch(mut words: &[Vec<u8>]) -> Batch {
    let mut batch = Batch::default();
    if words[0] == b"if" {
        let end = words.iter().position(|word| word == b"do").expect("if .. do");
        batch.conditions = words[1..end].iter().map(|word| condition(&text(word))).collect();
        words = &words[end..];
    }
    if words[0] == b"do" {
        words = &words[1..];
    }
    for op in words.split(|word| word == b";") {
        batch.ops.push(match text(&op[0]).strip_prefix('@') {
            Some(bucket) => (Bucket(bucket.parse().expect("a bucket")), operation(&op[1..])),
            None => (Bucket(0), operation(op)),
        });
    }
    batch
}

fn condition(text: &str) -> Condition {
    let (key, seen) = text.split_once('=').expect("key=version");
    Condition { bucket: Bucket(0), key: Bytes::from(key.to_string()), version: version(seen) }
}

/// `0`, `@1000` or `@1000+2`
fn version(text: &str) -> u64 {
    let Some(stamp) = text.strip_prefix('@') else { return text.parse().expect("a version") };
    let (ms, more) = stamp.split_once('+').unwrap_or((stamp, "0"));
    ms.parse::<u64>().expect("ms") * MS + more.parse::<u64>().expect("ns")
}

/// The options that follow an operation's fixed words.
struct Options(Vec<String>);

impl Options {
    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|option| option == name)
    }
    fn value(&self, name: &str) -> Option<&str> {
        self.0.iter().find_map(|option| option.strip_prefix(name)?.strip_prefix('='))
    }
    fn number(&self, name: &str) -> Option<i64> {
        self.value(name).map(|value| value.parse().expect("a number"))
    }
    fn expiry(&self, otherwise: Expiry) -> Expiry {
        match (self.number("in"), self.number("at")) {
            (Some(ms), _) => Expiry::InMs(ms),
            (_, Some(ms)) => Expiry::AtMs(ms),
            _ if self.has("keep") => Expiry::Keep,
            _ if self.has("persist") => Expiry::Never,
            _ => otherwise,
        }
    }
    fn when(&self) -> When {
        match self.value("ver") {
            Some(seen) => When::Version(version(seen)),
            None if self.has("nx") => When::Absent,
            None if self.has("xx") => When::Present,
            None => When::Always,
        }
    }
}

fn operation(words: &[Vec<u8>]) -> Op {
    let name = text(&words[0]);
    let word = |at: usize| Bytes::from(words.get(at).expect("another word").clone());
    let number = |at: usize| text(&words[at]).parse().expect("a number");
    let options = |from: usize| Options(words.iter().skip(from).map(text).collect());
    let many = || words[1..].iter().map(|word| Bytes::from(word.clone())).collect::<Vec<_>>();
    let pairs = || words[1..].chunks(2).map(|it| (it[0].clone().into(), it[1].clone().into()));
    match name.as_str() {
        "get" => Op::Get(word(1)),
        "mget" => Op::GetMany(many()),
        "getv" => Op::GetVersioned(word(1)),
        "set" => Op::Set {
            key: word(1),
            value: word(2),
            expiry: options(3).expiry(Expiry::Never),
            when: options(3).when(),
            old: options(3).has("old"),
        },
        "cas" => Op::CompareAndSet {
            key: word(1),
            version: version(&text(&words[2])),
            value: (words[3] != b"-").then(|| word(3)),
            expiry: options(4).expiry(Expiry::Never),
        },
        "mset" => Op::SetMany { pairs: pairs().collect(), absent: false },
        "msetnx" => Op::SetMany { pairs: pairs().collect(), absent: true },
        "getdel" => Op::GetDelete(word(1)),
        "getex" => Op::GetExpire(word(1), options(2).expiry(Expiry::Keep)),
        "append" => Op::Append(word(1), word(2)),
        "strlen" => Op::Length(word(1)),
        "getrange" => Op::GetRange { key: word(1), start: number(2), end: number(3) },
        "setrange" => Op::SetRange { key: word(1), offset: number(2), value: word(3) },
        "add" => Op::Add(word(1), number(2)),
        "addfloat" => Op::AddDecimal(word(1), word(2)),
        "lcs" => Op::Lcs { a: word(1), b: word(2), want: want(&options(3)) },
        "del" => Op::Delete(many()),
        "exists" => Op::Exists(many()),
        "type" => Op::Type(word(1)),
        "ttl" => Op::TimeToLive(word(1)),
        "ends" => Op::ExpiresAt(word(1)),
        "expire" => {
            let options = options(2);
            let when = ExpiryWhen {
                none: options.has("nx"),
                some: options.has("xx"),
                later: options.has("gt"),
                earlier: options.has("lt"),
            };
            Op::Expire(word(1), options.expiry(Expiry::Keep), when)
        }
        "rename" => Op::Rename { from: word(1), to: word(2), absent: options(3).has("nx") },
        "copy" => Op::Copy {
            from: word(1),
            to: word(2),
            bucket: Bucket(options(3).number("to").unwrap_or(0) as u16),
            replace: options(3).has("replace"),
        },
        "versions" => Op::Versions(many()),
        "idle" => Op::IdleTime(word(1)),
        "encoding" => Op::Encoding(word(1)),
        "flush" => Op::Flush,
        "flushall" => Op::FlushAll,
        "pong" => Op::Say(Box::new(Answer::Text("PONG"))),
        "oddword" => Op::Say(Box::new(Answer::Text("not one of ours"))),
        other => panic!("no operation {other}"),
    }
}

fn want(options: &Options) -> LcsWant {
    if options.has("len") {
        return LcsWant::Length;
    }
    if !options.has("idx") {
        return LcsWant::Text;
    }
    let length_min = options.number("min").unwrap_or(0);
    LcsWant::Matches { length_min, with_length: options.has("withlen") }
}

fn say_reply(reply: &Reply) -> String {
    match reply {
        Reply::Kv(outcome) => say_outcome(outcome),
        Reply::Session(id) => format!("session {}", say_stamp(*id)),
        Reply::Done => "done".to_string(),
        Reply::Failed(base::Failure::Refused(refusal)) => say_refusal(refusal),
        other => format!("{other:?}"),
    }
}

fn say_outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Answers(answers) => answers.iter().map(say_answer).collect::<Vec<_>>().join("; "),
        Outcome::Aborted => "aborted".to_string(),
    }
}

fn say_answer(answer: &Answer) -> String {
    match answer {
        Answer::Done => "done".to_string(),
        Answer::Nil => "nil".to_string(),
        Answer::Integer(value) => match u64::try_from(*value) {
            Ok(stamp @ 1_000_000_000..1_000_000_000_000) => say_stamp(stamp),
            _ => value.to_string(),
        },
        Answer::Bytes(bytes) => say_bytes(bytes),
        Answer::Text(text) => text.to_string(),
        Answer::List(items) => {
            format!("[{}]", items.iter().map(say_answer).collect::<Vec<_>>().join(", "))
        }
        Answer::Conflict(version) => format!("conflict {}", say_stamp(*version)),
        Answer::Refused(refusal) => say_refusal(refusal),
    }
}

fn say_refusal(refusal: &Refusal) -> String {
    format!("refused {refusal:?}")
}

fn say_stamp(stamp: u64) -> String {
    match (stamp / MS, stamp % MS) {
        (0, 0) => "0".to_string(),
        (ms, 0) => format!("@{ms}"),
        (ms, more) => format!("@{ms}+{more}"),
    }
}

fn say_bytes(bytes: &[u8]) -> String {
    if bytes.len() > 64 {
        return format!("{} bytes", bytes.len());
    }
    let said = bytes.iter().map(|byte| match byte {
        b' '..=b'~' => char::from(*byte).to_string(),
        byte => format!("\\x{byte:02x}"),
    });
    format!("\"{}\"", said.collect::<String>())
}

fn say_walk(reply: &WalkReply) -> String {
    match reply {
        WalkReply::Count(count) => count.to_string(),
        WalkReply::Page { next, found } => {
            let found = found.iter().map(|found| {
                let value = found.value.as_ref().map(|value| format!("={}", say_bytes(value)));
                let end = found.expires_at_ms.map(|end| format!(" ends {end}"));
                say_bytes(&found.key) + &value.unwrap_or_default() + &end.unwrap_or_default()
            });
            format!("next {} [{}]", next.0, found.collect::<Vec<_>>().join(", "))
        }
    }
}
