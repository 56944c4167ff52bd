//! Underpin answers as Redis 7.0.15 does.

use std::net::SocketAddr;
use underpin_e2e::cluster::Dev;
use underpin_e2e::oracle;
use underpin_e2e::place::number;
use underpin_e2e::redis::Redis;

/// UNDERPIN_ORACLE_ADDRESS compares with a server that runs already; UNDERPIN_ORACLE_SEED and
/// UNDERPIN_ORACLE_REQUESTS choose the run.
#[test]
fn oracle_finds_no_unexplained_difference() {
    let redis = Redis::start(&[]);
    let running = std::env::var("UNDERPIN_ORACLE_ADDRESS").ok();
    let dev = running.is_none().then(Dev::start);
    let ours: SocketAddr = match (&running, &dev) {
        (Some(address), _) => address.parse().expect("an address"),
        (None, Some(dev)) => dev.addresses()[0],
        (None, None) => unreachable!("one of the two is there"),
    };
    let seed = number("UNDERPIN_ORACLE_SEED", 1);
    let requests = number("UNDERPIN_ORACLE_REQUESTS", 100_000);
    let report = oracle::compare(redis.address, ours, seed, requests).expect("both answer");
    println!("{report}");
    assert_eq!(report.different, 0, "{report}");
    let total = report.total();
    assert!(total.succeeded * 2 >= total.sent, "most requests must make sense: {report}");
}
