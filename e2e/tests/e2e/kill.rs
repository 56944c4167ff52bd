//! `kill -9` and SIGSTOP under load: nothing acknowledged is lost, nothing is done twice, and work
//! goes on within a second.
//!
//! CI runs a few rounds; `cargo xtask chaos-kill` runs the full count (UNDERPIN_KILLS,
//! UNDERPIN_STOPS, UNDERPIN_POWER_CUTS).

use std::thread;
use std::time::{Duration, Instant};
use underpin_e2e::cluster::{self, Cluster, Servers};
use underpin_e2e::outage::Outages;
use underpin_e2e::place::number;
use underpin_e2e::writers::{self, Diary, Writers};

const WRITERS: usize = 32;
/// How long a leader is frozen: longer than any lease.
const FROZEN: Duration = Duration::from_secs(5);
/// The longest time without acknowledged writes that 99 of 100 faults may cause.
const OUTAGE_MAX: Duration = Duration::from_secs(1);

/// Asserts that the cluster kept its word, asked at every node.
fn kept(cluster: &dyn Cluster, diaries: &[Diary]) {
    println!("{}", writers::summary(diaries));
    for address in cluster.addresses() {
        let wrong = writers::verify(address, diaries);
        assert!(wrong.is_empty(), "asked at {address}:\n{}", wrong.join("\n"));
    }
}

/// What is done to the leader.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Kill,
    Freeze,
}

#[test]
fn a_leader_killed_or_frozen_under_load_loses_nothing() {
    let kills = number("UNDERPIN_KILLS", 3) as usize;
    let freezes = number("UNDERPIN_STOPS", 2) as usize;
    let mut faults = vec![Fault::Kill; kills];
    // Spread the freezes between the kills.
    for index in 0..freezes {
        faults.insert((index * faults.len() / freezes).min(faults.len()), Fault::Freeze);
    }
    let mut cluster = Servers::start(3);
    let load = Writers::start(&cluster.addresses(), WRITERS);
    load.everyone(10);
    let mut times = Vec::new();
    for (round, fault) in faults.iter().enumerate() {
        let leader = cluster::leader(&cluster);
        // Not always at the same point of a batch.
        thread::sleep(Duration::from_millis(37 * (round as u64 % 7)));
        times.push(Instant::now());
        match fault {
            Fault::Kill => {
                cluster.kill(leader);
                load.everyone(10);
                cluster.start(leader);
            }
            Fault::Freeze => {
                cluster.freeze(leader);
                thread::sleep(FROZEN);
                cluster.thaw(leader);
            }
        }
        load.everyone(10);
        cluster::ready(&cluster);
        // One fault at a time: whoever is killed before the one before has caught up is another's
        // subject, which costs as long as the one who is left takes to catch up.
        cluster::caught_up(&cluster);
    }
    let end = Instant::now();
    let diaries = load.finish();
    kept(&cluster, &diaries);

    let acknowledged = diaries.iter().flat_map(|diary| diary.times.iter().copied()).collect();
    let outages = Outages::find(&times, acknowledged, end);
    println!("{outages}");
    let p99 = outages.percentile(99.0);
    assert!(p99 <= OUTAGE_MAX, "p99 of the time without acknowledged writes is {p99:?}");
}

#[test]
fn all_nodes_killed_at_once_under_load_lose_nothing() {
    let mut cluster = Servers::start(3);
    let load = Writers::start(&cluster.addresses(), WRITERS);
    for round in 0..number("UNDERPIN_POWER_CUTS", 3) {
        load.everyone(10);
        thread::sleep(Duration::from_millis(53 * (round % 5)));
        cluster.kill_all();
        for node in 0..3 {
            cluster.start(node);
        }
        cluster::ready(&cluster);
    }
    load.everyone(10);
    let diaries = load.finish();
    kept(&cluster, &diaries);
}
