//! The harness itself, against Redis: a checker that finds nothing is worth nothing.

use underpin_e2e::redis::Redis;
use underpin_e2e::resp::{Conn, Outcome, Reply};
use underpin_e2e::wait;
use underpin_e2e::writers::{self, Kind, Writers};

fn connect(redis: &Redis) -> Conn {
    Conn::open(redis.address, wait::READY).unwrap()
}

#[test]
fn the_client_speaks_with_redis() {
    let redis = Redis::start(&[]);
    let mut conn = connect(&redis);
    assert_eq!(conn.call(&["SET", "k", "a\r\nb"]).unwrap(), Reply::Simple("OK".into()));
    assert_eq!(conn.call(&["GET", "k"]).unwrap(), Reply::Bulk(b"a\r\nb".to_vec()));
    assert_eq!(conn.call(&["GET", "none"]).unwrap(), Reply::Nil);
    assert!(matches!(conn.once(&["INCR", "k"]), Outcome::Refused(_)));
    assert_eq!(conn.call(&["MGET", "k", "none"]).unwrap().items().len(), 2);
}

#[test]
fn a_store_that_loses_an_acknowledged_write_is_found_out() {
    let redis = Redis::start(&[]);
    // Two writers: one of keys, one of a counter. Redis knows no numbered requests.
    let load = Writers::start(&[redis.address], 2);
    load.everyone(100);
    let diaries = load.finish();
    assert_eq!(writers::verify(redis.address, &diaries), [""; 0]);

    let mut conn = connect(&redis);
    let keys = diaries.iter().find(|diary| diary.kind == Kind::Keys).unwrap();
    let lost = format!("{}:{}", keys.name, keys.acknowledged[50]);
    conn.call(&["DEL", &lost]).unwrap();
    let counter = diaries.iter().find(|diary| diary.kind == Kind::Counter).unwrap();
    conn.call(&["DECR", &counter.name]).unwrap();
    let wrong = writers::verify(redis.address, &diaries);
    assert_eq!(wrong.len(), 2, "{wrong:?}");
    assert!(wrong[0].starts_with(&lost), "{wrong:?}");
    assert!(wrong[1].starts_with(&counter.name), "{wrong:?}");
}

/// Loads a Redis, kills it twice, and compares.
fn complaints_after_kills(options: &[&str]) -> Vec<String> {
    let mut redis = Redis::start(options);
    let load = Writers::start(&[redis.address], 2);
    for _ in 0..2 {
        load.everyone(100);
        redis.kill_and_restart();
    }
    load.everyone(100);
    let diaries = load.finish();
    assert!(diaries.iter().any(|diary| diary.unknown > 0), "no request met a kill: {diaries:?}");
    writers::verify(redis.address, &diaries)
}

#[test]
fn a_store_that_keeps_its_word_over_kills_passes() {
    let wrong = complaints_after_kills(&["--appendonly", "yes", "--appendfsync", "always"]);
    assert_eq!(wrong, [""; 0]);
}

#[test]
fn a_store_that_forgets_when_killed_is_found_out() {
    let wrong = complaints_after_kills(&[]);
    assert!(wrong.len() >= 100, "only {wrong:?}");
}
