//! Answers of the key-value service to replies.

use super::errors::{self, Wrong};
use super::table::Spec;
use service::kv::Answer;
use wire::resp::Out;

/// How an answer is written where its type alone does not say it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// As its type says: done is OK, nil is null, a list an array.
    Plain,
    /// A word as a status rather than a byte string.
    Status,
    /// Done as 1 and nil as 0.
    OneOrZero,
    /// Milliseconds as seconds, rounded to the nearest; negative numbers are signs and stay.
    Seconds,
    /// Milliseconds as seconds, rounded down.
    WholeSeconds,
    /// A list as a map.
    Map,
    /// A count: zero as null, otherwise this error.
    ErrorIfExists(Wrong),
    /// A count: zero as null, otherwise 1.
    OneIfExists,
    /// Version, expiry and value: version and value.
    VersionAndValue,
}

/// Writes the answer to a command.
pub(super) fn write(shape: &Shape, answer: &Answer, spec: &Spec, out: &mut Out) {
    match (shape, answer) {
        (_, Answer::Refused(refusal)) => out.error(errors::refusal(spec, refusal).as_bytes()),
        (Shape::Status, Answer::Text(word)) => out.simple(word),
        (Shape::OneOrZero, Answer::Done) => out.integer(1),
        (Shape::OneOrZero, Answer::Nil) => out.integer(0),
        (Shape::Seconds, Answer::Integer(ms @ 0..)) => out.integer(ms.saturating_add(500) / 1000),
        (Shape::WholeSeconds, Answer::Integer(ms)) => out.integer(ms / 1000),
        (Shape::Map, Answer::List(list)) => {
            out.map(list.len() / 2);
            list.iter().for_each(|answer| plain(answer, out));
        }
        (Shape::ErrorIfExists(_) | Shape::OneIfExists, Answer::Integer(0)) => out.null(),
        (Shape::ErrorIfExists(wrong), Answer::Integer(_)) => out.error(wrong.as_bytes()),
        (Shape::OneIfExists, Answer::Integer(_)) => out.integer(1),
        (Shape::VersionAndValue, Answer::List(list)) if list.len() == 3 => {
            out.array(2);
            plain(&list[0], out);
            plain(&list[2], out);
        }
        (_, answer) => plain(answer, out),
    }
}

fn plain(answer: &Answer, out: &mut Out) {
    match answer {
        Answer::Done => out.simple("OK"),
        Answer::Nil => out.null(),
        Answer::Integer(number) => out.integer(*number),
        Answer::Bytes(bytes) => out.bulk(bytes),
        Answer::Text(word) => out.bulk(word.as_bytes()),
        Answer::List(list) => {
            out.array(list.len());
            list.iter().for_each(|answer| plain(answer, out));
        }
        Answer::Conflict(version) => {
            out.error(format!("CONFLICT the key's version is {version}").as_bytes());
        }
        // Only the command's own answer can be refused, and that was looked at first.
        Answer::Refused(refusal) => out.error(format!("ERR {refusal:?}").as_bytes()),
    }
}
