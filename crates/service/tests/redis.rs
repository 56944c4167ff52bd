//! Tables of probes, taken from redis-server 7.0.15, that our operations must answer the same way.

#![allow(clippy::disallowed_methods)] // Tests read their tables and stories from files.

mod common;

use base::{Bytes, Refusal};
use common::Shard;
use std::path::Path;
use underpin_service::Machine;
use underpin_service::kv::number::parse_integer;
use underpin_service::kv::{
    Answer, Batch, Bucket, Expiry, ExpiryWhen, LcsWant, Op, Outcome, When, glob,
};

/// The lines of a table; `KV_TABLES` names another folder with larger ones.
fn lines(name: &str) -> Vec<String> {
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/redis");
    let folder = std::env::var("KV_TABLES").map_or(ours, Into::into);
    let text = std::fs::read_to_string(folder.join(name)).expect("the table is there");
    text.lines().filter(|line| !line.starts_with('#')).map(String::from).collect()
}

/// The quoted texts of a line, and what follows the last of them. Nothing is escaped but `\t`
/// and `\n` where `escapes` says so; no text contains a quote.
fn texts(line: &str) -> (Vec<String>, String) {
    let parts: Vec<&str> = line.split('"').collect();
    let texts = parts.iter().skip(1).step_by(2).map(|text| text.to_string()).collect();
    (texts, parts.last().unwrap_or(&"").trim().to_string())
}

fn set(key: &'static str, value: &str) -> Op {
    Op::Set {
        key: Bytes::from_static(key.as_bytes()),
        value: Bytes::copy_from_slice(value.as_bytes()),
        expiry: Expiry::Never,
        when: When::Always,
        old: false,
    }
}

/// The answer to the last of `ops`.
fn last(ops: Vec<Op>) -> Answer {
    let batch =
        Batch { conditions: Vec::new(), ops: ops.into_iter().map(|op| (Bucket(0), op)).collect() };
    match Shard::new(Machine::kv()).log(&underpin_service::Command::Kv(batch)) {
        underpin_service::Reply::Kv(Outcome::Answers(mut answers)) => {
            answers.pop().expect("an answer")
        }
        other => panic!("{other:?}"),
    }
}

fn key(name: &'static str) -> Bytes {
    Bytes::from_static(name.as_bytes())
}

#[test]
fn globs() {
    let mut lines = lines("glob.txt").into_iter();
    let (all, _) = texts(&lines.next().expect("the texts"));
    for line in lines {
        let (mut expected, _) = texts(&line);
        let pattern = expected.remove(0);
        let matching = all.iter().filter(|text| glob::matches(pattern.as_bytes(), text.as_bytes()));
        assert_eq!(matching.cloned().collect::<Vec<_>>(), expected, "pattern {pattern}");
    }
}

#[test]
fn a_glob_with_many_stars_takes_no_time() {
    let (pattern, text) = ("a*".repeat(5_000) + "b", "a".repeat(10_000));
    assert!(!glob::matches(pattern.as_bytes(), text.as_bytes()));
}

#[test]
fn longest_common_subsequences() {
    for line in lines("lcs.txt") {
        let (texts, rest) = texts(&line);
        let ask = |want| {
            let lcs = Op::Lcs { a: key("a"), b: key("b"), want };
            last(vec![set("a", &texts[0]), set("b", &texts[1]), lcs])
        };
        let text = ask(LcsWant::Text);
        assert_eq!(text, Answer::Bytes(Bytes::from(texts[2].clone())), "{line}");
        let mut numbers = rest.split_whitespace();
        let length: i64 = numbers.next().expect("a length").parse().expect("a number");
        assert_eq!(ask(LcsWant::Length), Answer::Integer(length), "{line}");
        let matches = numbers.map(of_match).collect();
        let expected = Answer::List(vec![
            Answer::Text("matches"),
            Answer::List(matches),
            Answer::Text("len"),
            Answer::Integer(length),
        ]);
        let found = ask(LcsWant::Matches { length_min: 0, with_length: true });
        assert_eq!(found, expected, "{line}");
    }
}

/// `4-7:5-8:4`
fn of_match(text: &str) -> Answer {
    let parts: Vec<&str> = text.split(':').collect();
    let number = |text: &str| Answer::Integer(text.parse().expect("a number"));
    let span = |text: &str| Answer::List(text.split('-').map(number).collect());
    Answer::List(vec![span(parts[0]), span(parts[1]), number(parts[2])])
}

#[test]
fn ranges() {
    for line in lines("range.txt") {
        let (texts, _) = texts(&line);
        let numbers: Vec<i64> =
            line.split_whitespace().take(3).map(|number| number.parse().expect("one")).collect();
        let value = &"0123456789"[..numbers[0] as usize];
        let range = Op::GetRange { key: key("a"), start: numbers[1], end: numbers[2] };
        let expected = Answer::Bytes(Bytes::from(texts[0].clone()));
        assert_eq!(last(vec![set("a", value), range]), expected, "{line}");
    }
}

#[test]
fn integers() {
    for line in lines("integer.txt") {
        let (texts, expected) = texts(&line);
        let text = texts[0].replace("\\t", "\t").replace("\\n", "\n");
        assert_eq!(parse_integer(text.as_bytes()), expected.parse().ok(), "{line}");
    }
}

#[test]
fn decimals() {
    for line in lines("decimal.txt") {
        let (texts, expected) = texts(&line);
        let by = Bytes::from(texts[1].clone());
        let answer = match last(vec![set("a", &texts[0]), Op::AddDecimal(key("a"), by)]) {
            Answer::Bytes(text) => String::from_utf8(text.to_vec()).expect("digits"),
            Answer::Refused(Refusal::NotANumber) => "no".to_string(),
            Answer::Refused(Refusal::Overflow) => "overflow".to_string(),
            other => panic!("{line}: {other:?}"),
        };
        assert_eq!(answer, expected, "{line}");
    }
}

/// `"text"`, `nil`, numbers, lists and errors as the table has them.
fn say(answer: &Answer) -> String {
    match answer {
        Answer::Done => "+OK".to_string(),
        Answer::Nil => "nil".to_string(),
        Answer::Integer(value) => value.to_string(),
        Answer::Text(text) => format!("\"{text}\""),
        Answer::Bytes(bytes) => {
            let said = bytes.iter().map(|byte| match byte {
                b'"' | b'\\' => format!("\\x{byte:02x}"),
                b' '..=b'~' => char::from(*byte).to_string(),
                byte => format!("\\x{byte:02x}"),
            });
            format!("\"{}\"", said.collect::<String>())
        }
        Answer::List(items) => {
            format!("[{}]", items.iter().map(say).collect::<Vec<_>>().join(", "))
        }
        Answer::Conflict(_) => panic!("{answer:?}"),
        Answer::Refused(refusal) => match refusal {
            Refusal::NotAnInteger => "-ERR value is not an integer or out of range",
            Refusal::NotANumber => "-ERR value is not a valid float",
            Refusal::Overflow => "-ERR overflow",
            Refusal::OutOfRange(_) => "-ERR offset is out of range",
            Refusal::InvalidExpiry => "-ERR invalid expire time",
            Refusal::NoSuchKey => "-ERR no such key",
            Refusal::Invalid(_) => "-ERR source and destination objects are the same",
            other => panic!("{other:?}"),
        }
        .to_string(),
    }
}

/// Errors that say the same in several ways.
fn expected(reply: &str) -> String {
    if reply.starts_with("-ERR invalid expire time") {
        return "-ERR invalid expire time".to_string();
    }
    match reply {
        "-ERR increment would produce NaN or Infinity"
        | "-ERR increment or decrement would overflow" => "-ERR overflow".to_string(),
        other => other.to_string(),
    }
}

/// What a gateway makes of a command of the table.
fn op_of(words: &[&str]) -> Op {
    let word = |at: usize| Bytes::from(words[at].trim_matches('"').to_string());
    let number = |at: usize| words[at].parse().expect("a number");
    let has = |name: &str| words[1..].contains(&name);
    let many = || (1..words.len()).map(word).collect::<Vec<_>>();
    let pairs = || (1..words.len()).step_by(2).map(|at| (word(at), word(at + 1))).collect();
    let expiry = |otherwise| match words.iter().position(|word| *word == "pxat") {
        Some(at) => Expiry::AtMs(number(at + 1)),
        None if has("keepttl") => Expiry::Keep,
        None if has("persist") => Expiry::Never,
        None => otherwise,
    };
    match words[0] {
        "get" => Op::Get(word(1)),
        "set" => Op::Set {
            key: word(1),
            value: word(2),
            expiry: expiry(Expiry::Never),
            when: match (has("nx"), has("xx")) {
                (true, _) => When::Absent,
                (_, true) => When::Present,
                _ => When::Always,
            },
            old: has("get"),
        },
        "getdel" => Op::GetDelete(word(1)),
        "getex" => Op::GetExpire(word(1), expiry(Expiry::Keep)),
        "append" => Op::Append(word(1), word(2)),
        "setrange" => Op::SetRange { key: word(1), offset: number(2), value: word(3) },
        "getrange" => Op::GetRange { key: word(1), start: number(2), end: number(3) },
        "incrby" => Op::Add(word(1), number(2)),
        "incrbyfloat" => Op::AddDecimal(word(1), word(2)),
        "mset" => Op::SetMany { pairs: pairs(), absent: false },
        "msetnx" => Op::SetMany { pairs: pairs(), absent: true },
        "del" => Op::Delete(many()),
        "exists" => Op::Exists(many()),
        "mget" => Op::GetMany(many()),
        "strlen" => Op::Length(word(1)),
        "pexpireat" => {
            let when = ExpiryWhen {
                none: has("nx"),
                some: has("xx"),
                later: has("gt"),
                earlier: has("lt"),
            };
            Op::Expire(word(1), Expiry::AtMs(number(2)), when)
        }
        "persist" => Op::Expire(word(1), Expiry::Never, ExpiryWhen::default()),
        "pexpiretime" => Op::ExpiresAt(word(1)),
        "rename" | "renamenx" => {
            Op::Rename { from: word(1), to: word(2), absent: words[0] == "renamenx" }
        }
        "copy" => {
            let replace = has("replace");
            Op::Copy { from: word(1), bucket: Bucket(0), to: word(2), replace }
        }
        "lcs" => {
            let min = words.iter().position(|word| *word == "minmatchlen");
            let want = match (has("len"), has("idx")) {
                (true, _) => LcsWant::Length,
                (_, true) => LcsWant::Matches {
                    length_min: min.map_or(0, |at| number(at + 1)),
                    with_length: has("withmatchlen"),
                },
                _ => LcsWant::Text,
            };
            Op::Lcs { a: word(1), b: word(2), want }
        }
        other => panic!("no command {other}"),
    }
}

#[test]
fn commands_in_order() {
    let mut shard = Shard::new(Machine::kv());
    // A wall clock of 2026, so that the table's small times are past.
    shard.now = base::Stamp(1_780_000_000_000 * common::MS);
    for line in lines("commands.txt") {
        let (command, reply) = line.split_once(" -> ").expect("a reply");
        let words: Vec<&str> = command.split(' ').collect();
        let command = underpin_service::Command::Kv(Batch::one(Bucket(0), op_of(&words)));
        let answer = match shard.log(&command) {
            underpin_service::Reply::Kv(Outcome::Answers(answers)) => say(&answers[0]),
            other => panic!("{other:?}"),
        };
        assert_eq!(answer, expected(reply), "{line}");
    }
}
