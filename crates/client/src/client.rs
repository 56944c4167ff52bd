//! The client: endpoints, sessions, and the loop that turns attempts into one honest outcome.

use crate::command::Command;
use crate::connection::{Connection, Lost, Unusable};
use crate::error::{Attempt, Error, Verdict, split, verdict};
use bytes::Bytes;
use std::thread::sleep;
use std::time::{Duration, Instant};
use wire::resp::Value;

/// How a client behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where nodes answer, as `host:port`. Any node takes any request, so one is enough; with more,
    /// the client moves on when one fails. Default: none, and a client needs at least one.
    pub endpoints: Vec<String>,
    /// The password, if the cluster has one. Default: none.
    pub password: Option<String>,
    /// The bucket, what Redis calls the database: 0 to 15. Default: 0.
    pub bucket: u8,
    /// How long a call may take, retries included. Default: 5 seconds, several elections long.
    pub timeout: Duration,
    /// How long one connection may take to come up. Default: 1 second, so that an endpoint that
    /// swallows packets leaves time for the others.
    pub connect_timeout: Duration,
    /// A call gives up before its timeout when every endpoint was unreachable this many times in a
    /// row. Default: 2, so that a mistyped address is reported at once. A program that would rather
    /// wait for a restarting cluster raises it.
    pub rounds_max: u32,
}

impl Options {
    /// The defaults with these endpoints.
    pub fn new<E: Into<String>>(endpoints: impl IntoIterator<Item = E>) -> Options {
        Options {
            endpoints: endpoints.into_iter().map(Into::into).collect(),
            password: None,
            bucket: 0,
            timeout: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(1),
            rounds_max: 2,
        }
    }
}

/// The shortest and the longest pause before trying again.
const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_millis(200);

/// One connection to a cluster, used by one thread. See the [crate's page](crate).
#[derive(Debug)]
pub struct Client {
    options: Options,
    connection: Option<Connection>,
    /// The endpoint in use, or to be tried next.
    at: usize,
    /// The last failure of each endpoint, by its place in the options.
    failures: Vec<Option<String>>,
    session: Option<Session>,
}

/// An open session: its id as the server gave it, and the last number used.
#[derive(Debug)]
struct Session {
    id: String,
    number: u64,
}

/// How one attempt failed.
enum Failure {
    /// The endpoint could not be reached, so it did nothing.
    Unreachable,
    /// It was reached and did nothing.
    NotDone,
    /// It may have done something: where it went, and why nobody knows.
    Open { sent_to: String, reason: String },
    /// No further attempt would do better.
    Final(Error),
}

impl Client {
    /// A client; it connects with its first call.
    ///
    /// # Panics
    ///
    /// If the options have no endpoint.
    pub fn new(options: Options) -> Client {
        assert!(!options.endpoints.is_empty(), "a client needs at least one endpoint");
        let failures = vec![None; options.endpoints.len()];
        Client { options, connection: None, at: 0, failures, session: None }
    }

    /// The endpoint in use, or to be tried next.
    pub fn endpoint(&self) -> &str {
        &self.options.endpoints[self.at]
    }

    /// Opens a session, so that writes are carried out once however often they are sent. It ends
    /// when it was not used for `ttl`.
    pub fn open_session(&mut self, ttl: Duration) -> Result<(), Error> {
        let ttl_ms = ttl.as_millis().to_string();
        // Repeating this at worst leaves a session behind that nobody uses and that soon ends.
        let open = Command::repeatable(["UNDERPIN.SESSION".into(), "OPEN".into(), ttl_ms]);
        self.session = None;
        let id = match self.call(&open)? {
            Value::Integer(id) => id.to_string(),
            other => other.text().map(str::to_owned).ok_or_else(|| Error::Refused {
                code: "ERR".into(),
                message: format!("the server answered {other:?} where a session was expected"),
            })?,
        };
        self.session = Some(Session { id, number: 0 });
        Ok(())
    }

    /// Carries out `command` and returns its answer.
    pub fn call(&mut self, command: &Command) -> Result<Value, Error> {
        let before = self.number(command);
        let deadline = Instant::now() + self.options.timeout;
        let first = self.attempt(command, &before, deadline);
        self.conclude(command, &before, deadline, first)
    }

    /// Carries out commands that do not depend on each other's order, all on their way at once.
    /// One that failed in a way that allows it is sent again by itself, after the others.
    pub fn pipeline(&mut self, commands: &[Command]) -> Vec<Result<Value, Error>> {
        let before: Vec<_> = commands.iter().map(|command| self.number(command)).collect();
        let deadline = Instant::now() + self.options.timeout;
        let first = self.attempt_all(commands, &before, deadline);
        let mut results = Vec::with_capacity(commands.len());
        for ((command, before), first) in commands.iter().zip(&before).zip(first) {
            results.push(self.conclude(command, before, deadline, first));
        }
        results
    }

    /// The words that make `command` a numbered one of the session: none without one, or for a read.
    fn number(&mut self, command: &Command) -> Vec<Bytes> {
        match &mut self.session {
            Some(session) if command.is_write() => {
                session.number += 1;
                vec![
                    "UNDERPIN.ONCE".into(),
                    session.id.clone().into(),
                    session.number.to_string().into(),
                ]
            }
            _ => Vec::new(),
        }
    }

    /// Goes on after the first attempt until there is an outcome or the time is over.
    fn conclude(
        &mut self,
        command: &Command,
        before: &[Bytes],
        deadline: Instant,
        first: Result<Value, Failure>,
    ) -> Result<Value, Error> {
        let may_repeat = command.may_repeat() || !before.is_empty();
        // Where and why an attempt's outcome became unknown: that it was is never forgotten.
        let mut open: Option<(String, String)> = None;
        let mut unreachable = 0;
        let mut pause = PAUSE_MIN;
        let mut result = first;
        loop {
            match result {
                Ok(value) => return Ok(value),
                Err(Failure::Final(error)) => return Err(self.blame(open, error)),
                Err(Failure::Unreachable) => unreachable += 1,
                Err(Failure::NotDone) => unreachable = 0,
                Err(Failure::Open { sent_to, reason }) => {
                    unreachable = 0;
                    open = Some((sent_to, reason));
                }
            }
            let stop = open.is_some() && !may_repeat;
            let gone = unreachable >= self.options.rounds_max as usize * self.failures.len();
            let timeout = Instant::now() + pause >= deadline;
            if stop || gone || timeout {
                let error = Error::NotDone { tried: self.tried(), timeout: timeout && !gone };
                return Err(self.blame(open, error));
            }
            // The first walk past the other endpoints is not slowed down.
            if unreachable == 0 || unreachable >= self.failures.len() {
                sleep(pause);
                pause = (pause * 2).min(PAUSE_MAX);
            }
            result = self.attempt(command, before, deadline);
        }
    }

    /// The error to report: what happened last, unless an earlier attempt may have succeeded.
    fn blame(&self, open: Option<(String, String)>, error: Error) -> Error {
        match (open, error) {
            (None, error) => error,
            // The session's memory of this number gave a definite answer.
            (Some(_), error @ Error::Refused { .. }) if !forgets(&error) => error,
            (Some((sent_to, reason)), _) => Error::Unknown { sent_to, reason, tried: self.tried() },
        }
    }

    /// Sends `command` once and waits for its reply.
    fn attempt(
        &mut self,
        command: &Command,
        before: &[Bytes],
        deadline: Instant,
    ) -> Result<Value, Failure> {
        let mut bytes = Vec::new();
        command.encode(before, &mut bytes);
        let connection = self.connect(deadline)?;
        let reply = connection.send(&bytes, deadline).and_then(|()| connection.receive(deadline));
        self.judge(reply)
    }

    /// Sends all of `commands` at once and then reads their replies.
    fn attempt_all(
        &mut self,
        commands: &[Command],
        before: &[Vec<Bytes>],
        deadline: Instant,
    ) -> Vec<Result<Value, Failure>> {
        let mut bytes = Vec::new();
        for (command, before) in commands.iter().zip(before) {
            command.encode(before, &mut bytes);
        }
        let sent = match self.connect(deadline) {
            Ok(connection) => connection.send(&bytes, deadline),
            Err(_) => return commands.iter().map(|_| Err(Failure::NotDone)).collect(),
        };
        // Of a batch that left in part, some commands may have left whole.
        let mut lost =
            sent.err().map(|(Lost::BeforeSent(why) | Lost::AfterSent(why))| self.lose(why));
        let mut results = Vec::with_capacity(commands.len());
        for _ in commands {
            let reply = match (&mut self.connection, &lost) {
                (Some(connection), None) => connection.receive(deadline),
                _ => {
                    let (sent_to, reason) = lost.clone().unwrap_or_default();
                    results.push(Err(Failure::Open { sent_to, reason }));
                    continue;
                }
            };
            let result = self.judge(reply);
            if let (None, Err(Failure::Open { sent_to, reason })) = (&self.connection, &result) {
                lost = Some((sent_to.clone(), reason.clone()));
            }
            results.push(result);
        }
        results
    }

    /// The connection in use, or a new one to the next endpoint.
    fn connect(&mut self, deadline: Instant) -> Result<&mut Connection, Failure> {
        if self.connection.is_none() {
            let deadline = deadline.min(Instant::now() + self.options.connect_timeout);
            let endpoint = self.endpoint().to_owned();
            let Options { password, bucket, .. } = &self.options;
            match Connection::open(&endpoint, password.as_deref(), *bucket, deadline) {
                Ok(connection) => self.connection = Some(connection),
                Err(Unusable::Denied(message)) => {
                    return Err(Failure::Final(Error::Denied { endpoint, message }));
                }
                Err(Unusable::Unreachable(reason)) => {
                    self.lose(reason);
                    return Err(Failure::Unreachable);
                }
            }
        }
        Ok(self.connection.as_mut().expect("a connection was just made"))
    }

    /// What a reply, or its absence, says about its request.
    fn judge(&mut self, reply: Result<Value, Lost>) -> Result<Value, Failure> {
        match reply {
            Ok(Value::Error(text)) => Err(self.judge_error(&text)),
            Ok(value) => Ok(value),
            Err(Lost::BeforeSent(reason)) => {
                self.lose(reason);
                Err(Failure::NotDone)
            }
            Err(Lost::AfterSent(reason)) => {
                let (sent_to, reason) = self.lose(reason);
                Err(Failure::Open { sent_to, reason })
            }
        }
    }

    fn judge_error(&mut self, text: &str) -> Failure {
        let (code, message) = split(text);
        match verdict(code) {
            Verdict::NotDone if code == "TRYAGAIN" => {
                self.failures[self.at] = Some(text.to_owned());
                Failure::NotDone
            }
            Verdict::NotDone => {
                // A node that sees no quorum may be cut off while another is not.
                self.lose(text.to_owned());
                Failure::NotDone
            }
            Verdict::Unknown => {
                Failure::Open { sent_to: self.endpoint().to_owned(), reason: text.to_owned() }
            }
            Verdict::Denied => Failure::Final(Error::Denied {
                endpoint: self.endpoint().to_owned(),
                message: text.to_owned(),
            }),
            Verdict::Refused => Failure::Final(Error::Refused {
                code: code.to_owned(),
                message: message.to_owned(),
            }),
        }
    }

    /// Drops the connection, remembers why, and turns to the next endpoint. Returns where it was.
    fn lose(&mut self, reason: String) -> (String, String) {
        let endpoint = self.endpoint().to_owned();
        self.failures[self.at] = Some(reason.clone());
        self.connection = None;
        self.at = (self.at + 1) % self.options.endpoints.len();
        (endpoint, reason)
    }

    /// The last failure of each endpoint that had one.
    fn tried(&self) -> Vec<Attempt> {
        let pairs = self.options.endpoints.iter().zip(&self.failures);
        pairs
            .filter_map(|(endpoint, reason)| {
                let reason = reason.clone()?;
                Some(Attempt { endpoint: endpoint.clone(), reason })
            })
            .collect()
    }
}

/// Whether a refusal only says that the session can no longer tell.
fn forgets(error: &Error) -> bool {
    matches!(error, Error::Refused { code, .. } if code == "NOSESSION")
}
