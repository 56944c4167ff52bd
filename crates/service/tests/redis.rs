//! Tables of probes, taken from redis-server 7.0.15, that our operations must answer the same way.

#![allow(clippy::disallowed_methods)] // Tests read their tables and stories from files.

mod common;

use base::Bytes;
use common::Shard;
use std::path::Path;
use underpin_service::Machine;
use underpin_service::kv::number::parse_integer;
use underpin_service::kv::{Answer, Batch, Bucket, Expiry, LcsWant, Op, Outcome, When, glob};

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
            Answer::Refused(base::Refusal::NotANumber) => "no".to_string(),
            Answer::Refused(base::Refusal::Overflow) => "overflow".to_string(),
            other => panic!("{line}: {other:?}"),
        };
        assert_eq!(answer, expected, "{line}");
    }
}
