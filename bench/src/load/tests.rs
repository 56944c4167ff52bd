//! The generator against small servers of its own.

use super::*;
use std::collections::BTreeSet;
use std::io::BufReader;
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::thread;
use underpin_e2e::resp::read_reply;

/// A server that keeps keys without their values, and lets `stall` decide how long an answer takes.
fn server(
    stall: impl Fn() -> Duration + Clone + Send + 'static,
) -> (SocketAddr, Arc<Mutex<BTreeSet<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let keys = Arc::new(Mutex::new(BTreeSet::new()));
    let known = keys.clone();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, known, stall) = (stream.unwrap(), known.clone(), stall.clone());
            thread::spawn(move || {
                let mut input = BufReader::new(stream.try_clone().unwrap());
                while let Ok(request) = read_reply(&mut input) {
                    let words = request.items();
                    let key = words[1].text();
                    let answer = match words[0].text().as_str() {
                        "SET" => {
                            known.lock().unwrap().insert(key);
                            "+OK\r\n"
                        }
                        _ if known.lock().unwrap().contains(&key) => "$1\r\nx\r\n",
                        _ => "$-1\r\n",
                    };
                    thread::sleep(stall());
                    if stream.write_all(answer.as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    (address, keys)
}

fn stretch(ms: u64, rate: Option<f64>) -> Stretch {
    let measured = Duration::from_millis(ms);
    Stretch { warmup: Duration::from_millis(100), measured, rate, seed: 1 }
}

#[test]
fn a_load_sets_and_gets_every_key() {
    let (address, known) = server(|| Duration::ZERO);
    let case = Case {
        workload: Workload::YcsbF,
        connections: 4,
        pipeline: 3,
        keys: 100,
        ..Case::default()
    };
    fill(&[address], Protocol::Resp, &case, |_| ()).unwrap();
    assert_eq!(known.lock().unwrap().len(), 100);
    let got = measure(&[address], Protocol::Resp, &case, &stretch(500, None), || ()).unwrap();
    assert!(got.done > 100, "{got:?}");
    assert_eq!((got.errors, got.unsent, got.latency.count()), (0, 0, got.done));
    assert!(got.elapsed >= Duration::from_millis(500));
}

#[test]
fn a_missing_key_is_an_error() {
    let (address, _) = server(|| Duration::ZERO);
    let case = Case { workload: Workload::Get, connections: 1, ..Case::default() };
    let got = measure(&[address], Protocol::Resp, &case, &stretch(50, None), || ());
    assert!(got.unwrap_err().to_string().ends_with("keys were missing"));
}

#[test]
fn an_open_loop_keeps_its_rate() {
    let (address, _) = server(|| Duration::ZERO);
    let case = Case { connections: 4, pipeline: 4, pace: Pace::Rate(200), ..Case::default() };
    let got =
        measure(&[address], Protocol::Resp, &case, &stretch(1_000, Some(200.0)), || ()).unwrap();
    assert_eq!(got.done + got.unsent, 200, "{got:?}");
    assert!(got.late.percentile(50.0) < 50_000, "{}", got.late.percentile(50.0));
}

#[test]
fn who_came_during_a_stall_has_waited_for_its_end() {
    // One connection with room for 64 requests, and every answer takes 50 ms: 20 a second of 100.
    let (address, _) = server(|| Duration::from_millis(50));
    let case = Case { connections: 1, pace: Pace::Rate(100), ..Case::default() };
    let got =
        measure(&[address], Protocol::Resp, &case, &stretch(1_000, Some(100.0)), || ()).unwrap();
    // All hundred are accounted for, those that found no room too, and the waits grew to seconds,
    // though no answer took longer than it should.
    assert_eq!(got.latency.count(), 100, "{got:?}");
    assert!(got.unsent >= 5, "{got:?}");
    assert!(got.latency.percentile(50.0) > 250_000, "{}", got.latency.percentile(50.0));
    let closed =
        measure(&[address], Protocol::Resp, &case.closed(), &stretch(500, None), || ()).unwrap();
    assert!(closed.latency.percentile(50.0) < 200_000, "the closed loop does not see it");
}

#[test]
fn a_server_that_goes_is_noticed_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut stream = stream;
            let mut input = BufReader::new(stream.try_clone().unwrap());
            for _ in 0..100 {
                let _ = read_reply(&mut input);
                let _ = stream.write_all(b"+OK\r\n");
            }
            // The last answer and the end may come as one event.
        }
    });
    let case = Case { connections: 1, ..Case::default() };
    let started = Instant::now();
    let got = measure(&[address], Protocol::Resp, &case, &stretch(20_000, None), || ());
    assert!(got.is_err() && started.elapsed() < Duration::from_secs(15), "{got:?}");
}
