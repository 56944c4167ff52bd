//! What goes into the log is read back, for ever.

use base::codec::{Reader, Writer};
use base::{Bytes, ClusterId, Failure, Incarnation, NodeId, NotDone, Random, Refusal, ShardId};
use underpin_service::kv::scan::{Cursor, Found, Walk, WalkReply, WalkRequest};
use underpin_service::kv::{
    Answer, Batch, Bucket, Condition, Expiry, ExpiryWhen, LcsWant, Op, Outcome, When,
};
use underpin_service::meta::{self, NodeRecord, ShardKind, ShardRecord};
use underpin_service::{Command, pack};

fn b(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

fn every_op() -> Vec<Op> {
    let keys = || vec![b("a"), b(""), b("c")];
    let set = |expiry, when, old| Op::Set { key: b("k"), value: b("v"), expiry, when, old };
    let cas = |value, expiry| Op::CompareAndSet { key: b("k"), version: 7, value, expiry };
    let when = ExpiryWhen { none: true, some: false, later: true, earlier: false };
    let lcs = |want| Op::Lcs { a: b("a"), b: b("b"), want };
    vec![
        Op::Get(b("k")),
        Op::GetMany(keys()),
        Op::GetVersioned(b("k")),
        set(Expiry::Never, When::Always, false),
        set(Expiry::Keep, When::Absent, true),
        set(Expiry::InMs(-3), When::Present, false),
        set(Expiry::AtMs(i64::MAX), When::Version(1 << 60), true),
        cas(None, Expiry::Never),
        cas(Some(b("")), Expiry::InMs(5)),
        Op::SetMany { pairs: vec![(b("a"), b("1")), (b("b"), b(""))], absent: true },
        Op::GetDelete(b("k")),
        Op::GetExpire(b("k"), Expiry::AtMs(9)),
        Op::Append(b("k"), b("v")),
        Op::Length(b("k")),
        Op::GetRange { key: b("k"), start: -1, end: i64::MIN },
        Op::SetRange { key: b("k"), offset: 3, value: b("v") },
        Op::Add(b("k"), -1),
        Op::AddDecimal(b("k"), b("1.5")),
        lcs(LcsWant::Text),
        lcs(LcsWant::Length),
        lcs(LcsWant::Matches { length_min: -1, with_length: true }),
        Op::Delete(keys()),
        Op::Exists(keys()),
        Op::Type(b("k")),
        Op::TimeToLive(b("k")),
        Op::ExpiresAt(b("k")),
        Op::Expire(b("k"), Expiry::Keep, when),
        Op::Rename { from: b("a"), to: b("b"), absent: true },
        Op::Copy { from: b("a"), bucket: Bucket(300), to: b("b"), replace: true },
        Op::Versions(keys()),
        Op::IdleTime(b("k")),
        Op::Encoding(b("k")),
        Op::Flush,
        Op::FlushAll,
        Op::Say(Box::new(Answer::List(every_answer()))),
    ]
}

fn every_answer() -> Vec<Answer> {
    let mut answers = vec![
        Answer::Done,
        Answer::Nil,
        Answer::Integer(i64::MIN),
        Answer::Bytes(b("v")),
        Answer::Text("PONG"),
        Answer::List(vec![Answer::Nil, Answer::List(Vec::new())]),
        Answer::Conflict(u64::MAX),
    ];
    answers.extend(every_refusal().into_iter().map(Answer::Refused));
    answers
}

fn every_refusal() -> Vec<Refusal> {
    vec![
        Refusal::TooLarge { what: "key", seen: 1 << 40, allowed: 16 },
        Refusal::NotAnInteger,
        Refusal::NotANumber,
        Refusal::Overflow,
        Refusal::OutOfRange("offset"),
        Refusal::InvalidExpiry,
        Refusal::NoSuchKey,
        Refusal::NoSuchSession,
        Refusal::NumberForgotten,
        Refusal::NumberReused,
        Refusal::AnswerForgotten,
        Refusal::TooCostly { seen: 2, allowed: 1 },
        Refusal::Unsupported("other"),
        Refusal::Invalid("word"),
    ]
}

fn every_command() -> Vec<Command> {
    let conditions = vec![Condition { bucket: Bucket(15), key: b("k"), version: u64::MAX }];
    let ops = every_op().into_iter().map(|op| (Bucket(2), op)).collect();
    let batch = Batch { conditions, ops };
    let node = NodeRecord {
        node: NodeId(1),
        incarnation: Incarnation(7),
        peer_address: "10.0.0.1:7000".to_string(),
        apply_level: 3,
        ..NodeRecord::default()
    };
    let shards = [(1, ShardKind::Meta), (2, ShardKind::Kv)].map(|(shard, kind)| ShardRecord {
        shard: ShardId(shard),
        kind,
        name: kind.name().to_string(),
    });
    vec![
        Command::Kv(Batch::default()),
        Command::Kv(batch.clone()),
        Command::Once { session: 5, number: 300, batch },
        Command::SessionOpen { ttl_ms: 1_000 },
        Command::SessionClose { session: 5 },
        Command::Sweep { index: vec![b("x"), b("")] },
        Command::Stamp,
        Command::HashMark,
        Command::Meta(meta::Command::Init {
            cluster: ClusterId(1 << 100),
            nodes: vec![node.clone(), NodeRecord::default()],
            shards: shards.to_vec(),
        }),
        Command::Meta(meta::Command::Register(node)),
        Command::Meta(meta::Command::Replace { node: NodeId(3), incarnation: Incarnation(9) }),
    ]
}

#[test]
fn every_command_is_read_back() {
    for command in every_command() {
        assert_eq!(Command::decode(command.encode()), Ok(command));
    }
}

/// These bytes are in logs: they may get company (then the sum changes), they never change.
#[test]
fn the_bytes_of_commands_stay() {
    let set = |expiry, when| Op::Set { key: b("k"), value: b("v"), expiry, when, old: false };
    let one = |op| Command::Kv(Batch::one(Bucket(0), op));
    for (command, bytes) in [
        (one(set(Expiry::Never, When::Always)), &b"\x01\x00\x00\x01\x00\x03\x00\x01k\x01v"[..]),
        (
            one(set(Expiry::InMs(10_000), When::Absent)),
            b"\x01\x00\x00\x01\x00\x03\x06\xa0\x9c\x01\x01k\x01v",
        ),
        (one(Op::Delete(vec![b("k")])), b"\x01\x00\x00\x01\x00\x0f\x01\x01k"),
        (one(Op::Add(b("n"), -1)), b"\x01\x00\x00\x01\x00\x0c\x01n\x01"),
        (Command::SessionOpen { ttl_ms: 1 }, b"\x01\x02\x01"),
        (Command::SessionClose { session: 2 }, b"\x01\x03\x02\0\0\0\0\0\0\0"),
        (Command::Sweep { index: vec![b("i")] }, b"\x01\x04\x01\x01i"),
        (Command::Stamp, b"\x01\x05"),
        (Command::HashMark, b"\x01\x06"),
    ] {
        assert_eq!(command.encode(), bytes, "{command:?}");
    }
    let all: Vec<u8> = every_command().iter().flat_map(|command| command.encode()).collect();
    assert_eq!(base::checksum::crc32c(&all), 2_615_675_541, "an operation's bytes changed");
}

#[test]
fn values_share_the_memory_of_the_entry() {
    let op = Op::Set {
        key: b("k"),
        value: Bytes::from(vec![7; 1000]),
        expiry: Expiry::Never,
        when: When::Always,
        old: false,
    };
    let bytes = Command::Kv(Batch::one(Bucket(0), op)).encode();
    let Ok(Command::Kv(batch)) = Command::decode(bytes.clone()) else { panic!("a batch") };
    let (_, Op::Set { value, .. }) = &batch.ops[0] else { panic!("a set") };
    assert!(bytes.as_ptr_range().contains(&value.as_ptr()));
}

/// Bytes that are cut, changed or made up are read as something or refused; nothing panics, and
/// nothing large is allocated for a length that a few bytes claim.
#[test]
fn hostile_bytes_are_refused() {
    let mut random = Random::new(5);
    for command in every_command() {
        let bytes = command.encode();
        for end in 0..bytes.len() {
            assert!(Command::decode(bytes.slice(..end)).is_err(), "{command:?} cut at {end}");
        }
        for _ in 0..2_000 {
            let mut changed = bytes.to_vec();
            let at = random.below(changed.len() as u64) as usize;
            changed[at] = random.u64() as u8;
            if let Ok(read) = Command::decode(changed.into()) {
                let again = Command::decode(read.encode());
                assert_eq!(again, Ok(read));
            }
        }
    }
    let deep = [vec![1, 0, 0, 1, 0, 28], [5, 1].repeat(100_000)].concat();
    assert!(Command::decode(deep.into()).is_err());
}

#[test]
fn outcomes_failures_and_walks_are_read_back() {
    for outcome in [Outcome::Answers(every_answer()), Outcome::Aborted] {
        let mut out = Writer::new();
        outcome.encode(&mut out);
        assert_eq!(Outcome::decode(&mut Reader::new(out.finish())), Ok(outcome));
    }
    let mut failures: Vec<_> = every_refusal().into_iter().map(Failure::Refused).collect();
    failures.extend([
        Failure::Unknown,
        Failure::NotDone(NotDone::Busy { retry_after_ms: 5 }),
        Failure::NotDone(NotDone::LeaderChanged),
        Failure::NotDone(NotDone::NoQuorum),
        Failure::NotDone(NotDone::Deadline),
        Failure::NotDone(NotDone::DiskFull),
        Failure::NotDone(NotDone::Stopping),
    ]);
    for failure in failures {
        let mut out = Writer::new();
        pack::encode_failure(&failure, &mut out);
        assert_eq!(pack::decode_failure(&mut Reader::new(out.finish())), Ok(failure));
    }
    let page = |matching| Walk::Page { cursor: Cursor(9), matching, count: 10, values: true };
    for walk in [
        page(None),
        page(Some(b("*"))),
        Walk::Keys { matching: b("a*") },
        Walk::Count,
        Walk::Any { from: 7 },
    ] {
        let request = WalkRequest { bucket: Bucket(3), walk };
        let mut out = Writer::new();
        request.encode(&mut out);
        assert_eq!(WalkRequest::decode(&mut Reader::new(out.finish())), Ok(request));
    }
    let found = |value, expires_at_ms| Found { key: b("k"), value, expires_at_ms };
    let found = vec![found(None, None), found(Some(b("v")), Some(8))];
    for reply in [WalkReply::Page { next: Cursor(4), found }, WalkReply::Count(3)] {
        let mut out = Writer::new();
        reply.encode(&mut out);
        assert_eq!(WalkReply::decode(&mut Reader::new(out.finish())), Ok(reply));
    }
}

/// A text that is not among our words, in a refusal that a newer version sends, is still a refusal.
#[test]
fn an_unknown_word_of_a_refusal_becomes_other() {
    let mut out = Writer::new();
    pack::encode_refusal(&Refusal::Invalid("no word of ours"), &mut out);
    let read = pack::decode_refusal(&mut Reader::new(out.finish()));
    assert_eq!(read, Ok(Refusal::Invalid("other")));
}
