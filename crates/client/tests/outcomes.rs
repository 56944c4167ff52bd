//! A server that breaks off at nasty moments, and what the client says about the outcome.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::{sleep, spawn};
use std::time::Duration;
use underpin_client::{Client, Command, Error, Options, Value};

/// What the server does with the next request of a connection.
#[derive(Clone, Copy)]
enum Act {
    /// Reads it and sends this.
    Reply(&'static str),
    /// Reads it and closes.
    Close,
    /// Reads it, sends this much of a reply, and closes.
    Part(&'static str),
    /// Reads it and never answers.
    Silence,
}
use Act::{Close, Part, Reply, Silence};

/// A server whose connections follow a script each; past the last script it closes at once. What it
/// was asked is kept as one line per request.
struct Server {
    address: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn start(connections: &[&[Act]]) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let scripts: Vec<Vec<Act>> = connections.iter().map(|acts| acts.to_vec()).collect();
        let seen = asked.clone();
        spawn(move || {
            for script in scripts {
                let (stream, _) = listener.accept().unwrap();
                let seen = seen.clone();
                spawn(move || follow(stream, &script, &seen));
            }
        });
        Server { address, asked }
    }

    fn client(&self) -> Client {
        Client::new(options([self.address.clone()]))
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn options<const N: usize>(endpoints: [String; N]) -> Options {
    Options { timeout: Duration::from_millis(400), ..Options::new(endpoints) }
}

fn follow(mut stream: TcpStream, script: &[Act], seen: &Mutex<Vec<String>>) {
    for act in script {
        let Some(request) = read_request(&mut stream) else { return };
        seen.lock().unwrap().push(request);
        match act {
            Reply(reply) => stream.write_all(reply.as_bytes()).unwrap(),
            Part(reply) => return stream.write_all(reply.as_bytes()).unwrap(),
            Close => return,
            Silence => sleep(Duration::from_secs(2)),
        }
    }
}

fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut words = Vec::new();
    let count: usize = read_line(stream)?.strip_prefix('*')?.parse().ok()?;
    for _ in 0..count {
        let length: usize = read_line(stream)?.strip_prefix('$')?.parse().ok()?;
        let mut word = vec![0; length + 2];
        stream.read_exact(&mut word).ok()?;
        words.push(String::from_utf8_lossy(&word[..length]).into_owned());
    }
    Some(words.join(" "))
}

fn read_line(stream: &mut TcpStream) -> Option<String> {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        line.push(byte[0]);
    }
    line.truncate(line.len() - 2);
    String::from_utf8(line).ok()
}

fn incr() -> Command {
    Command::write(["INCR", "visits"])
}

fn is_unknown(result: Result<Value, Error>) -> bool {
    matches!(result, Err(Error::Unknown { .. }))
}

#[test]
fn an_answer_is_an_answer() {
    let server =
        Server::start(&[&[Reply(":1\r\n"), Reply("$-1\r\n"), Reply("*1\r\n$2\r\nhi\r\n")]]);
    let mut client = server.client();
    assert_eq!(client.call(&incr()), Ok(Value::Integer(1)));
    assert_eq!(client.call(&Command::read(["GET", "gone"])), Ok(Value::Null));
    let list = client.call(&Command::read(["KEYS", "*"])).unwrap();
    assert_eq!(list.items().unwrap()[0].text(), Some("hi"));
}

#[test]
fn a_write_that_left_and_was_not_answered_is_unknown_and_not_sent_again() {
    for act in [Close, Part(":"), Part(":1"), Part(":1\r"), Silence] {
        let server = Server::start(&[&[act], &[Reply(":1\r\n")]]);
        assert!(is_unknown(server.client().call(&incr())));
        assert_eq!(server.asked(), ["INCR visits"]);
    }
}

#[test]
fn a_read_is_sent_again_until_it_is_answered() {
    let server = Server::start(&[&[Close], &[Part("$2\r\nh")], &[Reply("$2\r\nhi\r\n")]]);
    let answer = server.client().call(&Command::read(["GET", "k"]));
    assert_eq!(answer.unwrap().text(), Some("hi"));
}

#[test]
fn a_write_that_the_cluster_did_not_take_is_sent_again() {
    let server = Server::start(&[
        &[Reply("-TRYAGAIN the leader changed\r\n"), Reply("-CLUSTERDOWN no quorum\r\n")],
        &[Reply(":1\r\n")],
    ]);
    assert_eq!(server.client().call(&incr()), Ok(Value::Integer(1)));
    assert_eq!(server.asked().len(), 3);
}

#[test]
fn the_next_endpoint_takes_over_and_the_error_names_them_all() {
    let dead = || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().to_string()
    };
    let server = Server::start(&[&[Reply(":1\r\n")]]);
    let mut client = Client::new(options([dead(), server.address.clone()]));
    assert_eq!(client.call(&incr()), Ok(Value::Integer(1)));

    let mut client = Client::new(options([dead(), dead()]));
    let Err(Error::NotDone { tried, timeout }) = client.call(&incr()) else { panic!() };
    assert!(!timeout, "every endpoint refused, so there was nothing to wait for");
    assert_eq!(tried.len(), 2);
    assert!(tried.iter().all(|attempt| attempt.reason == "connection refused"), "{tried:?}");
}

#[test]
fn unknown_from_the_cluster_is_unknown() {
    let server = Server::start(&[&[Reply("-UNKNOWN the leader was lost\r\n")]]);
    assert!(is_unknown(server.client().call(&incr())));
}

#[test]
fn once_unknown_a_later_not_done_does_not_make_it_known() {
    let down = "-CLUSTERDOWN no quorum\r\n";
    let server = Server::start(&[&[Close], &[Reply(down)], &[Reply(down)], &[Reply(down)]]);
    let mut client = server.client();
    assert!(is_unknown(client.call(&Command::repeatable(["SET", "k", "v"]))));
    assert!(server.asked().len() > 1, "a repeatable write is repeated");
}

#[test]
fn a_session_repeats_an_unknown_write_under_its_number() {
    let server = Server::start(&[
        &[Reply(":7\r\n"), Reply(":1\r\n"), Close],
        &[Reply("-UNKNOWN\r\n"), Reply("-TRYAGAIN\r\n"), Reply(":2\r\n"), Reply("$1\r\n2\r\n")],
    ]);
    let mut client = server.client();
    client.open_session(Duration::from_secs(60)).unwrap();
    assert_eq!(client.call(&incr()), Ok(Value::Integer(1)));
    assert_eq!(client.call(&incr()), Ok(Value::Integer(2)));
    assert_eq!(client.call(&Command::read(["GET", "visits"])).unwrap().integer(), Some(2));
    assert_eq!(
        server.asked(),
        [
            "UNDERPIN.SESSION OPEN 60000",
            "UNDERPIN.ONCE 7 1 INCR visits",
            "UNDERPIN.ONCE 7 2 INCR visits",
            "UNDERPIN.ONCE 7 2 INCR visits",
            "UNDERPIN.ONCE 7 2 INCR visits",
            "UNDERPIN.ONCE 7 2 INCR visits",
            "GET visits",
        ]
    );
}

#[test]
fn a_session_that_ended_in_between_leaves_the_write_unknown() {
    let gone = "-NOSESSION the session is not open\r\n";
    let server = Server::start(&[&[Reply(":7\r\n"), Close], &[Reply(gone)]]);
    let mut client = server.client();
    client.open_session(Duration::from_secs(60)).unwrap();
    assert!(is_unknown(client.call(&incr())));
}

#[test]
fn a_refusal_is_final() {
    let server = Server::start(&[&[Reply("-WRONGTYPE not a number\r\n")]]);
    let Err(Error::Refused { code, message }) = server.client().call(&incr()) else { panic!() };
    assert_eq!((code.as_str(), message.as_str()), ("WRONGTYPE", "not a number"));
}

#[test]
fn a_wrong_password_is_told_apart() {
    let server = Server::start(&[&[Reply("-WRONGPASS invalid username-password pair\r\n")]]);
    let with_password = Options { password: Some("x".into()), ..options([server.address.clone()]) };
    assert!(matches!(Client::new(with_password).call(&incr()), Err(Error::Denied { .. })));

    let server = Server::start(&[&[Reply("-NOAUTH Authentication required.\r\n")]]);
    assert!(matches!(server.client().call(&incr()), Err(Error::Denied { .. })));
}

#[test]
fn something_that_is_not_resp_is_named_as_such() {
    let server = Server::start(&[&[Reply("HTTP/1.1 400 Bad Request\r\n\r\n")]]);
    let Err(Error::Unknown { reason, .. }) = server.client().call(&incr()) else { panic!() };
    assert!(reason.starts_with("not a RESP server"), "{reason}");
}

#[test]
fn a_pipeline_that_breaks_is_known_up_to_the_break() {
    let server = Server::start(&[&[Reply(":1\r\n"), Close]]);
    let mut client = server.client();
    let results = client.pipeline(&[incr(), incr(), incr()]);
    assert_eq!(results[0], Ok(Value::Integer(1)));
    assert!(results[1..].iter().all(|result| is_unknown(result.clone())));
}

#[test]
fn a_pipeline_of_repeatable_writes_is_completed() {
    let ok = Reply("+OK\r\n");
    let server = Server::start(&[&[ok, Close], &[ok, ok]]);
    let set = |key: &'static str| Command::repeatable(["SET", key, "v"]);
    let results = server.client().pipeline(&[set("a"), set("b"), set("c")]);
    assert!(results.iter().all(|result| result.is_ok()), "{results:?}");
    assert_eq!(server.asked(), ["SET a v", "SET b v", "SET b v", "SET c v"]);
}
