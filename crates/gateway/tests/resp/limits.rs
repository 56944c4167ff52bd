//! What a connection can't do to a node: take memory without bound, or hold up its own order.

use crate::host::Host;
use base::{ConnId, Random};
use node::api::{BYTES_IN_FLIGHT_MAX, Gateway, REQUESTS_IN_FLIGHT_MAX};
use underpin_gateway::resp::Options;
use wire::resp::Limits;

const CONN: ConnId = ConnId(1);

fn host(options: Options) -> Host {
    let mut host = Host::new(options);
    host.open(CONN);
    host
}

/// A host whose client is known for small answers.
fn seasoned_host() -> Host {
    let mut host = host(Options::default());
    host.send(CONN, "GET none\r\n".repeat(100).as_bytes());
    host.work();
    host.received(CONN);
    host
}

fn frame(words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend(format!("${}\r\n", word.len()).into_bytes());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

#[test]
fn a_thousand_commands_in_one_piece_are_answered_in_order() {
    let mut host = host(Options::default());
    let commands: String = (0..3000).map(|i| format!("SET k{i} {i}\r\nGET k{i}\r\n")).collect();
    host.send(CONN, commands.as_bytes());
    host.work();
    let mut random = Random::new(3);
    while !host.waiting.is_empty() {
        host.work_shuffled(&mut random);
    }
    let expected: String =
        (0..3000).map(|i| format!("+OK\r\n${}\r\n{i}\r\n", i.to_string().len())).collect();
    assert_eq!(String::from_utf8_lossy(&host.received(CONN)), expected);
}

#[test]
fn answers_in_any_order_leave_as_replies_in_order() {
    for seed in 0..50 {
        let mut random = Random::new(seed);
        let mut host = host(Options::default());
        let mut expected = String::new();
        for i in 0..40 {
            host.send(CONN, format!("SET k{i} v{i}\r\nPING {i}\r\nGET k{i}\r\n").as_bytes());
            let number = i.to_string();
            let (one, two) = (number.len(), number.len() + 1);
            expected += &format!("+OK\r\n${one}\r\n{number}\r\n${two}\r\nv{number}\r\n");
            if random.chance(1, 5) {
                host.work_shuffled(&mut random);
            }
        }
        host.work_shuffled(&mut random);
        assert_eq!(String::from_utf8_lossy(&host.received(CONN)), expected, "seed {seed}");
    }
}

/// The node runs reads when it gets to them: here after all writes that it was sent.
#[test]
fn a_read_never_sees_a_write_behind_it() {
    for seed in 0..100 {
        let mut random = Random::new(seed);
        let mut host = host(Options::default());
        let (mut expected, mut value) = (String::new(), None::<u64>);
        for i in 0..60 {
            match random.below(5) {
                0 => {
                    host.send(CONN, format!("SET k {i}\r\n").as_bytes());
                    value = Some(i);
                    expected += "+OK\r\n";
                }
                1 => {
                    host.send(CONN, b"MULTI\r\nGET k\r\nINCR k\r\nEXEC\r\n");
                    let before = value.map_or("$-1\r\n".into(), bulk);
                    value = Some(value.map_or(1, |value| value + 1));
                    let after = value.unwrap_or(0);
                    expected += &format!("+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n{before}:{after}\r\n");
                }
                2 => {
                    host.send(CONN, b"DBSIZE\r\n");
                    expected += &format!(":{}\r\n", u8::from(value.is_some()));
                }
                _ => {
                    host.send(CONN, b"GET k\r\n");
                    expected += &value.map_or("$-1\r\n".into(), bulk);
                }
            }
            if random.chance(1, 8) {
                host.writes_first();
                host.work_shuffled(&mut random);
            }
        }
        while !host.waiting.is_empty() {
            host.writes_first();
            host.work_shuffled(&mut random);
        }
        assert_eq!(String::from_utf8_lossy(&host.received(CONN)), expected, "seed {seed}");
    }
}

fn bulk(number: u64) -> String {
    format!("${}\r\n{number}\r\n", number.to_string().len())
}

#[test]
fn a_pipeline_of_reads_and_writes_by_turns_waits_once() {
    let mut host = seasoned_host();
    host.send(CONN, "GET k\r\nSET k v\r\n".repeat(100).as_bytes());
    assert_eq!(host.waiting.len(), 1);
    host.work_shuffled(&mut Random::new(1));
    assert_eq!(host.waiting.len(), 199);
}

#[test]
fn credits_bound_what_is_in_flight() {
    let mut host = seasoned_host();
    host.send(CONN, "GET k\r\n".repeat(5000).as_bytes());
    assert_eq!(host.waiting.len(), REQUESTS_IN_FLIGHT_MAX);
    assert_eq!(host.unread[&CONN].len(), (5000 - REQUESTS_IN_FLIGHT_MAX) * 7);
    host.work();
    assert_eq!(host.received(CONN), b"$-1\r\n".repeat(5000));

    let value = vec![b'x'; 4 << 20];
    let set = frame(&[b"SET", b"k", &value]);
    host.send(CONN, &set.repeat(6));
    let in_flight: usize = host.waiting.len() * value.len();
    assert!((1..=BYTES_IN_FLIGHT_MAX).contains(&in_flight), "{in_flight} bytes in flight");
    host.work();
    assert_eq!(host.received(CONN), b"+OK\r\n".repeat(6));
}

#[test]
fn large_answers_are_not_asked_for_ahead_of_time() {
    let mut host = host(Options::default());
    host.send(CONN, &frame(&[b"SET", b"k", &vec![b'x'; 4 << 20]]));
    host.send(CONN, b"GET k\r\n");
    host.work();
    host.received(CONN);
    host.send(CONN, "GET k\r\n".repeat(50).as_bytes());
    assert!(host.waiting.len() <= 5, "{} answers of 4 MiB each", host.waiting.len());
    host.work();
    assert!(host.resp.output(CONN).expect("a connection").len() < 6 << 20);
    let mut received = 0;
    while received < 50 * ((4 << 20) + 12) {
        let before = received;
        received += host.received(CONN).len();
        host.work();
        assert!(received > before, "no more comes after {received} bytes");
    }
}

/// A stranger's answers might be large, so few are asked for ahead; no answer is lost by it.
#[test]
fn a_stranger_begins_with_few_requests_in_flight() {
    let mut host = host(Options::default());
    host.send(CONN, "GET k\r\n".repeat(5000).as_bytes());
    assert_eq!(host.waiting.len(), 33);
    host.work();
    assert_eq!(host.received(CONN), b"$-1\r\n".repeat(5000));
}

const MIB: usize = 1 << 20;

/// A bound of 8 MiB for all clients, and one value of 1 MiB.
fn crowded_host(conns: u64) -> Host {
    let mut host = host(Options { held_bytes_max: 8 * MIB, ..Options::default() });
    host.send(CONN, &frame(&[b"SET", b"large", &vec![b'x'; MIB]]));
    host.work();
    host.received(CONN);
    for number in 2..=conns {
        host.open(ConnId(number));
    }
    host
}

#[test]
fn who_leaves_most_answers_untaken_is_told_to_try_again_and_others_are_served() {
    let mut host = crowded_host(5);
    for number in 1..=4 {
        host.send(ConnId(number), "GET large\r\n".repeat(20).as_bytes());
    }
    // Nobody reads; the node answers all the same.
    host.work();
    host.send(ConnId(5), b"SET k v\r\nGET k\r\n");
    host.work();
    assert_eq!(host.received(ConnId(5)), b"+OK\r\n$1\r\nv\r\n");
    let mut told = 0;
    for number in 1..=4 {
        let received = read_all(&mut host, ConnId(number));
        let text = String::from_utf8_lossy(&received);
        let (values, refused) =
            (text.matches("$1048576").count(), text.matches("-TRYAGAIN").count());
        assert_eq!(values + refused, 20, "each request has one reply");
        told += refused;
    }
    assert!(told > 0, "four clients hold more than all may hold");
    // Once there is room all are served again.
    host.send(CONN, b"GET large\r\n");
    host.work();
    assert_eq!(host.received(CONN).len(), MIB + 12);
}

fn read_all(host: &mut Host, conn: ConnId) -> Vec<u8> {
    let mut all = Vec::new();
    loop {
        let more = host.received(conn);
        if more.is_empty() && host.waiting.is_empty() {
            return all;
        }
        all.extend(more);
        host.work();
    }
}

#[test]
fn transactions_without_an_end_are_refused_before_they_fill_the_node() {
    let mut host = crowded_host(20);
    let mut refused = 0;
    for number in 1..=20 {
        host.send(ConnId(number), b"MULTI\r\n");
        host.send(ConnId(number), &frame(&[b"SET", b"k", &vec![b'x'; MIB]]));
        let text = String::from_utf8_lossy(&host.received(ConnId(number))).into_owned();
        refused += text.matches("-TRYAGAIN").count();
    }
    assert!((12..20).contains(&refused), "{refused} of 20 refused");
    host.send(ConnId(20), b"EXEC\r\nDISCARD\r\nGET none\r\n");
    host.work();
    let text = String::from_utf8_lossy(&host.received(ConnId(20))).into_owned();
    assert!(text.starts_with("-EXECABORT"), "{text}");
    assert!(text.ends_with("$-1\r\n"), "the connection goes on: {text}");
}

/// Answers that tell of a change can't be taken back: who collects those is closed in the end.
#[test]
fn who_holds_most_is_closed_when_nothing_else_helps() {
    let mut host = crowded_host(3);
    for _ in 0..20 {
        let swap = frame(&[b"SET", b"large", &vec![b'x'; MIB], b"GET"]);
        host.send(ConnId(2), &swap);
        host.work();
    }
    host.send(ConnId(3), b"GET none\r\n");
    host.work();
    assert_eq!(host.received(ConnId(3)), b"$-1\r\n");
    assert!(!host.resp.closing(CONN) && !host.resp.closing(ConnId(3)));
}

#[test]
fn a_client_that_reads_nothing_is_not_read() {
    let options = Options::default();
    let bound = options.output_bytes_max + 70_000;
    let mut host = host(options);
    let echo = frame(&[b"ECHO", &vec![b'x'; 65_536]]);
    for _ in 0..1000 {
        if host.unread[&CONN].len() < 1 << 20 {
            host.send(CONN, &echo);
        }
    }
    let output = host.resp.output(CONN).expect("a connection").len();
    assert!(output <= bound, "{output} bytes that nobody reads");
}

#[test]
fn a_value_that_is_too_large_is_read_past_and_told() {
    let limits = Limits { arg_bytes_max: 1000, ..Limits::default() };
    let mut host = host(Options { limits, ..Options::default() });
    host.send(CONN, &frame(&[b"SET", b"k", &[b'x'; 1001]]));
    host.send(CONN, b"PING\r\n");
    assert_eq!(
        String::from_utf8_lossy(&host.received(CONN)),
        "-ERR value of 1001 bytes is larger than the 1000 bytes allowed\r\n+PONG\r\n"
    );
    let key = vec![b'k'; 16_385];
    let mut host = self::host(Options::default());
    host.send(CONN, &frame(&[b"GET", &key]));
    assert_eq!(
        String::from_utf8_lossy(&host.received(CONN)),
        "-ERR key of 16385 bytes is larger than the 16384 bytes allowed\r\n"
    );
}

#[test]
fn half_requests_of_all_connections_together_are_bounded() {
    let mut host = host(Options { partial_bytes_max: 1 << 20, ..Options::default() });
    for number in 1..=100 {
        if number > 1 {
            host.open(ConnId(number));
        }
        let mut half = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$100000\r\n".to_vec();
        half.extend(vec![b'x'; 99_999]);
        host.send(ConnId(number), &half);
    }
    // The last one was given up. It is told when its request is over, and is well again.
    let last = ConnId(100);
    host.send(last, b"x\r\nPING\r\n");
    let received = host.received(last);
    let received = String::from_utf8_lossy(&received);
    assert!(received.starts_with("-TRYAGAIN "), "{received}");
    assert!(received.ends_with("+PONG\r\n"), "{received}");
    // The first one was not.
    host.send(CONN, b"x\r\n");
    host.work();
    assert_eq!(host.received(CONN), b"+OK\r\n");
    // Of those that were silent for long, the first is given up in place of who goes on sending.
    host.advance(11_000_000_000);
    let mut half = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$200000\r\n".to_vec();
    half.extend(vec![b'x'; 199_999]);
    host.send(CONN, &half);
    host.send(CONN, b"x\r\n");
    host.work();
    assert_eq!(host.received(CONN), b"+OK\r\n");
    host.send(ConnId(2), b"x\r\n");
    let received = host.received(ConnId(2));
    assert!(received.starts_with(b"-TRYAGAIN "), "{}", received.escape_ascii());
    // Whoever goes gives back what it held.
    for number in 1..=100 {
        host.close(ConnId(number));
    }
    assert_eq!(host.resp.connections(), 0);
}

#[test]
fn keys_are_collected_up_to_a_bound() {
    let mut host = host(Options { keys_bytes_max: 100_000, ..Options::default() });
    let fill = |host: &mut Host, from: u64, to: u64| {
        for i in from..to {
            host.send(CONN, format!("SET key:{i:08} x\r\n").as_bytes());
            host.work();
        }
        host.received(CONN);
    };
    fill(&mut host, 0, 3000);
    host.send(CONN, b"KEYS *\r\nPING\r\n");
    host.work();
    let received = host.received(CONN);
    assert!(received.starts_with(b"*3000\r\n") && received.ends_with(b"+PONG\r\n"));
    fill(&mut host, 3000, 6000);
    host.send(CONN, b"KEYS *\r\nPING\r\nKEYS key:0000000?\r\n");
    host.work();
    let received = host.received(CONN);
    let received = String::from_utf8_lossy(&received);
    assert!(received.starts_with("-ERR the keys that match take more than"), "{received}");
    assert!(received.contains("use SCAN\r\n+PONG\r\n*10\r\n"), "{received}");
}

#[test]
fn random_bytes_never_panic_and_are_answered_alike_in_every_cut() {
    let words: Vec<&[u8]> = vec![
        b"GET",
        b"SET",
        b"k",
        b"MULTI",
        b"EXEC",
        b"WATCH",
        b"KEYS",
        b"*",
        b"SCAN",
        b"0",
        b"HELLO",
        b"3",
        b"CLIENT",
        b"REPLY",
        b"OFF",
        b"ON",
        b"SKIP",
        b"LIST",
        b"COMMAND",
        b"INFO",
        b"DOCS",
        b"GETKEYS",
        b"UNDERPIN.ONCE",
        b"1",
        b"UNDERPIN.CAS",
        b"UNDERPIN.STATUS",
        b"JSON",
        b"INCR",
        b"SELECT",
        b"5",
        b"-1",
        b"",
        b"EX",
        b"10",
        b"LCS",
        b"IDX",
        b"RESET",
        b"DISCARD",
        b"KILL",
        b"ID",
        b"QUIT",
        b"UNDERPIN.SESSION",
        b"OPEN",
        b"1000",
        b"OBJECT",
        b"ENCODING",
        b"CONFIG",
    ];
    for seed in 0..300 {
        let mut random = Random::new(seed);
        let mut input = Vec::new();
        for _ in 0..random.between(1, 40) {
            let count = random.between(1, 5);
            let chosen: Vec<&[u8]> =
                (0..count).map(|_| *random.pick(&words).expect("a word")).collect();
            match random.below(12) {
                0 => input.extend(chosen.join(&b' ')),
                1 => input.extend((0..random.below(30)).map(|_| random.u64() as u8)),
                2 => input.extend(b"*3\r\n$5\r\n"),
                _ => input.extend(frame(&chosen)),
            }
        }
        let whole = answers(&input, input.len());
        let size = random.between(1, 50) as usize;
        assert_eq!(answers(&input, size), whole, "seed {seed}");
    }
}

fn answers(input: &[u8], size: usize) -> String {
    let mut host = host(Options::default());
    let mut received = Vec::new();
    for piece in input.chunks(size) {
        host.send(CONN, piece);
        host.work();
        received.extend(host.received(CONN));
    }
    // What is counted when a client asks depends on the cut.
    let text = String::from_utf8_lossy(&received).into_owned();
    let counted = ["id=1 addr=", "$", "=", "total_"];
    let same = |line: &&str| {
        !counted.iter().any(|start| line.trim_start_matches("txt:").starts_with(start))
    };
    text.lines().filter(same).collect::<Vec<_>>().join("\n")
}
