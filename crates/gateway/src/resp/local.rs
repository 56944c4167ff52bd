//! Commands about the connection itself, answered without asking the node.

use super::Resp;
use super::args::{database, integer, is};
use super::conn::{Conn, State};
use super::errors::{self, NO_PASSWORD, SYNTAX, WRONG_PASS, Wrong};
use super::kv::Context;
use base::time::{MILLISECOND, SECOND};
use base::{Bytes, Time};
use bytes::BytesMut;
use node::api::{Consistency, FromConn};
use wire::resp::Out;

/// The Redis version whose behaviour this is.
pub(super) const REDIS_VERSION: &str = "7.0.15";

pub(super) fn answer(conn: &Conn, buffer: &mut BytesMut, result: Result<&'static str, Wrong>) {
    let mut out = Out::new(buffer, conn.state.three);
    match result {
        Ok(text) => out.simple(text),
        Err(wrong) => out.error(wrong.as_bytes()),
    }
}

pub(super) fn ping(conn: &mut Conn, _: &mut Resp, _: Time, args: &[Bytes], buffer: &mut BytesMut) {
    match &args[1..] {
        [] => answer(conn, buffer, Ok("PONG")),
        [text] => Out::new(buffer, conn.state.three).bulk(text),
        _ => answer(conn, buffer, Err(errors::arity("ping"))),
    }
}

pub(super) fn echo(conn: &mut Conn, _: &mut Resp, _: Time, args: &[Bytes], buffer: &mut BytesMut) {
    Out::new(buffer, conn.state.three).bulk(&args[1]);
}

/// TIME: seconds and microseconds of this node's clock.
pub(super) fn time(conn: &mut Conn, _: &mut Resp, now: Time, _: &[Bytes], buffer: &mut BytesMut) {
    let mut out = Out::new(buffer, conn.state.three);
    out.array(2);
    out.bulk_integer((now.wall.0 / SECOND) as i64);
    out.bulk_integer((now.wall.0 % SECOND / (MILLISECOND / 1000)) as i64);
}

pub(super) fn select(
    conn: &mut Conn,
    _: &mut Resp,
    _: Time,
    args: &[Bytes],
    buffer: &mut BytesMut,
) {
    let result = database(&args[1]).map(|db| {
        conn.state.db = db;
        "OK"
    });
    answer(conn, buffer, result);
}

/// AUTH [username] password
pub(super) fn auth(
    conn: &mut Conn,
    resp: &mut Resp,
    _: Time,
    args: &[Bytes],
    buffer: &mut BytesMut,
) {
    let result = match &args[1..] {
        [_] if resp.options.password.is_none() => Err(NO_PASSWORD),
        [password] => prove(resp, b"default", password),
        [user, password] => prove(resp, user, password),
        _ => Err(SYNTAX),
    };
    let result = result.map(|()| {
        conn.state.known = true;
        "OK"
    });
    answer(conn, buffer, result);
}

/// Whether a client knows what it must know. There is one user, `default`.
fn prove(resp: &Resp, user: &[u8], password: &[u8]) -> Result<(), Wrong> {
    let right = match &resp.options.password {
        None => true,
        Some(expected) => same(expected, password),
    };
    if right && user == b"default" { Ok(()) } else { Err(WRONG_PASS) }
}

/// Whether two secrets are the same, in a time that depends on the length of `given` alone.
fn same(expected: &[u8], given: &[u8]) -> bool {
    let mut different = usize::from(expected.len() != given.len());
    for (at, byte) in given.iter().enumerate() {
        let other = expected.get(at % expected.len().max(1)).copied().unwrap_or(0);
        different |= usize::from(byte ^ other);
    }
    std::hint::black_box(different) == 0
}

/// HELLO [version [AUTH username password] [SETNAME name]]
pub(super) fn hello(
    conn: &mut Conn,
    resp: &mut Resp,
    _: Time,
    args: &[Bytes],
    buffer: &mut BytesMut,
) {
    match greet(&mut conn.state, resp, args) {
        Ok(()) => introduce(conn, buffer),
        Err(wrong) => answer(conn, buffer, Err(wrong)),
    }
}

/// Changes the connection's state as HELLO asks. If that fails, the version stays as it was; a name
/// that was given is kept, as in Redis.
fn greet(state: &mut State, resp: &Resp, args: &[Bytes]) -> Result<(), Wrong> {
    let mut three = state.three;
    if let Some(version) = args.get(1) {
        let version = wire::resp::integer(version)
            .ok_or("ERR Protocol version is not an integer or out of range")?;
        if !(2..=3).contains(&version) {
            return Err("NOPROTO unsupported protocol version".into());
        }
        three = version == 3;
    }
    let mut proof: Option<(&Bytes, &Bytes)> = None;
    let mut rest = args.get(2..).unwrap_or_default();
    loop {
        rest = match rest {
            [] => break,
            [word, user, password, after @ ..] if is(word, "auth") => {
                proof = Some((user, password));
                after
            }
            [word, name, after @ ..] if is(word, "setname") => {
                state.name = valid_name(name)?;
                after
            }
            [word, ..] => {
                return Err(Wrong::quoting("ERR Syntax error in HELLO option '", word, "'"));
            }
        };
    }
    if let Some((user, password)) = proof {
        prove(resp, user, password)?;
        state.known = true;
    }
    if !state.known {
        return Err(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise \
                    the HELLO AUTH <user> <pass> option can be used to authenticate the \
                    client and select the RESP protocol version at the same time"
                .into(),
        );
    }
    state.three = three;
    Ok(())
}

fn introduce(conn: &Conn, buffer: &mut BytesMut) {
    let mut out = Out::new(buffer, conn.state.three);
    out.map(7);
    out.bulk(b"server");
    out.bulk(b"redis");
    out.bulk(b"version");
    out.bulk(REDIS_VERSION.as_bytes());
    out.bulk(b"proto");
    out.integer(if conn.state.three { 3 } else { 2 });
    out.bulk(b"id");
    out.integer(conn.id.0 as i64);
    out.bulk(b"mode");
    out.bulk(b"standalone");
    out.bulk(b"role");
    out.bulk(b"master");
    out.bulk(b"modules");
    out.array(0);
}

/// A client's name for itself: printable, without spaces.
pub(super) fn valid_name(name: &Bytes) -> Result<Bytes, Wrong> {
    if name.iter().all(|byte| (b'!'..=b'~').contains(byte)) {
        return Ok(Bytes::copy_from_slice(name));
    }
    Err("ERR Client names cannot contain spaces, newlines or special characters.".into())
}

/// QUIT: OK, and the connection ends once that is sent.
pub(super) fn quit(
    conn: &mut Conn,
    resp: &mut Resp,
    context: &Context,
    _: &[Bytes],
    _: usize,
    _: &mut Vec<FromConn>,
) {
    conn.reply(resp, context.spec, |conn, _, buffer| answer(conn, buffer, Ok("OK")));
    conn.quit();
}

/// RESET: the connection is as it was when it began.
pub(super) fn reset(
    conn: &mut Conn,
    resp: &mut Resp,
    context: &Context,
    _: &[Bytes],
    _: usize,
    _: &mut Vec<FromConn>,
) {
    conn.multi = None;
    conn.watch.clear();
    conn.replies = super::conn::Replies::All;
    let lib = (conn.state.lib_name.clone(), conn.state.lib_version.clone());
    conn.state = State::new(resp.options.password.is_none());
    (conn.state.lib_name, conn.state.lib_version) = lib;
    conn.reply(resp, context.spec, |conn, _, buffer| answer(conn, buffer, Ok("RESET")));
}

/// UNDERPIN.CONSISTENCY level: what this connection's reads must see.
pub(super) fn consistency(
    conn: &mut Conn,
    _: &mut Resp,
    _: Time,
    args: &[Bytes],
    buffer: &mut BytesMut,
) {
    let later = ["sequential", "causal", "session", "monotonic-reads", "monotonic-writes"];
    let result = if is(&args[1], "strong") {
        conn.state.consistency = Consistency::Strong;
        Ok("OK")
    } else if is(&args[1], "eventual") {
        conn.state.consistency = Consistency::Eventual;
        Ok("OK")
    } else if let Some(level) = later.iter().find(|level| is(&args[1], level)) {
        Err(format!("ERR level '{level}' comes with a later version; now: strong, eventual").into())
    } else {
        Err("ERR unknown level; there are: strong, eventual".into())
    };
    answer(conn, buffer, result);
}

/// A number of milliseconds as whole seconds, for lists of clients.
pub(super) fn seconds_since(now: Time, then: base::Mono) -> u64 {
    now.mono.since(then) / SECOND
}

/// The answer to `HELP` of a command with subcommands.
pub(super) fn write_help(conn: &Conn, buffer: &mut BytesMut, family: &super::table::Spec) {
    let mut out = Out::new(buffer, conn.state.three);
    let children = family.children;
    out.array(1 + 2 * children.len());
    out.simple(&format!(
        "{} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        family.name.to_ascii_uppercase()
    ));
    for child in children {
        let name = child.name.split('|').nth(1).unwrap_or(child.name);
        out.simple(&name.to_ascii_uppercase());
        out.simple(&format!("    {}", child.summary));
    }
}

/// `HELP` of CLIENT, COMMAND, CONFIG and OBJECT.
pub(super) fn help(conn: &mut Conn, _: &mut Resp, _: Time, args: &[Bytes], buffer: &mut BytesMut) {
    match super::table::find(&args[..1]) {
        Ok(family) => write_help(conn, buffer, family),
        Err(wrong) => answer(conn, buffer, Err(wrong)),
    }
}

/// A strict integer for filters.
pub(super) fn positive(arg: &[u8], otherwise: &'static str) -> Result<u64, Wrong> {
    match integer(arg) {
        Ok(number @ 1..) => Ok(number as u64),
        _ => Err(otherwise.into()),
    }
}
