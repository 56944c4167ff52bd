//! CLIENT: this connection and the others of this node.

use super::Resp;
use super::args::is;
use super::conn::{Conn, Replies};
use super::errors::{SYNTAX, Wrong};
use super::local::{answer, positive, seconds_since, valid_name};
use base::{Bytes, ConnId, Time};
use bytes::BytesMut;
use std::fmt::Write;
use wire::resp::Out;

pub(super) fn id(conn: &mut Conn, _: &mut Resp, _: Time, _: &[Bytes], buffer: &mut BytesMut) {
    Out::new(buffer, conn.state.three).integer(conn.id.0 as i64);
}

pub(super) fn getname(conn: &mut Conn, _: &mut Resp, _: Time, _: &[Bytes], buffer: &mut BytesMut) {
    let mut out = Out::new(buffer, conn.state.three);
    if conn.state.name.is_empty() { out.null() } else { out.bulk(&conn.state.name) }
}

pub(super) fn setname(
    conn: &mut Conn,
    _: &mut Resp,
    _: Time,
    args: &[Bytes],
    buffer: &mut BytesMut,
) {
    let result = valid_name(&args[2]).map(|name| {
        conn.state.name = name;
        "OK"
    });
    answer(conn, buffer, result);
}

/// CLIENT SETINFO LIB-NAME|LIB-VER text (Redis 7.2)
pub(super) fn setinfo(
    conn: &mut Conn,
    _: &mut Resp,
    _: Time,
    args: &[Bytes],
    buffer: &mut BytesMut,
) {
    let result = set_info(conn, &args[2], &args[3]).map(|()| "OK");
    answer(conn, buffer, result);
}

fn set_info(conn: &mut Conn, what: &Bytes, text: &Bytes) -> Result<(), Wrong> {
    let place = if is(what, "lib-name") {
        &mut conn.state.lib_name
    } else if is(what, "lib-ver") {
        &mut conn.state.lib_version
    } else {
        return Err(Wrong::quoting("ERR Unrecognized option '", what, "'"));
    };
    *place = valid_name(text).map_err(|_| {
        let after = " cannot contain spaces, newlines or special characters.";
        Wrong::quoting("ERR ", what, after)
    })?;
    Ok(())
}

/// CLIENT NO-EVICT ON|OFF: connections are never closed for memory here, so both are true.
pub(super) fn no_evict(
    conn: &mut Conn,
    _: &mut Resp,
    _: Time,
    args: &[Bytes],
    buffer: &mut BytesMut,
) {
    let result = match () {
        () if is(&args[2], "on") => Ok(true),
        () if is(&args[2], "off") => Ok(false),
        () => Err(SYNTAX),
    };
    let result = result.map(|on| {
        conn.state.no_evict = on;
        "OK"
    });
    answer(conn, buffer, result);
}

/// CLIENT REPLY ON|OFF|SKIP
pub(super) fn reply(conn: &mut Conn, _: &mut Resp, _: Time, args: &[Bytes], buffer: &mut BytesMut) {
    if is(&args[2], "on") {
        conn.replies = Replies::All;
        answer(conn, buffer, Ok("OK"));
    } else if is(&args[2], "off") {
        conn.replies = Replies::None;
    } else if is(&args[2], "skip") {
        if conn.replies == Replies::All {
            conn.replies = Replies::AllButNext;
        }
    } else {
        answer(conn, buffer, Err(SYNTAX));
    }
}

/// One line about a connection, in the fields of Redis that mean something here.
fn describe(conn: &Conn, now: Time, text: &mut String) {
    let state = &conn.state;
    let flags = match (&conn.multi, conn.closing()) {
        (_, true) => "c",
        (Some(_), _) => "x",
        (None, _) => "N",
    };
    let multi = conn.multi.as_ref().map_or(-1, |multi| multi.len() as i64);
    let written = write!(
        text,
        "id={} addr={} name={} age={} idle={} flags={flags} db={} sub=0 psub=0 ssub=0 \
         multi={multi} watch={} qbuf={} qbuf-free=0 argv-mem=0 multi-mem=0 obl={} oll={} \
         omem={} tot-mem={} cmd={} user=default redir=-1 resp={} \
         lib-name={} lib-ver={}",
        conn.id.0,
        conn.address,
        String::from_utf8_lossy(&state.name),
        seconds_since(now, conn.opened),
        seconds_since(now, conn.used),
        state.db.0,
        i32::from(!conn.watch.is_empty()),
        conn.partial_bytes(),
        conn.unsent_bytes(),
        conn.waiting(),
        conn.unsent_bytes(),
        conn.partial_bytes() + conn.unsent_bytes(),
        conn.last,
        if state.three { 3 } else { 2 },
        String::from_utf8_lossy(&state.lib_name),
        String::from_utf8_lossy(&state.lib_version),
    );
    assert!(written.is_ok());
    text.push('\n');
}

pub(super) fn info(conn: &mut Conn, _: &mut Resp, now: Time, _: &[Bytes], buffer: &mut BytesMut) {
    let mut text = String::new();
    describe(conn, now, &mut text);
    Out::new(buffer, conn.state.three).verbatim(text.as_bytes());
}

/// CLIENT LIST [TYPE type | ID id [id ...]]
pub(super) fn list(
    conn: &mut Conn,
    resp: &mut Resp,
    now: Time,
    args: &[Bytes],
    buffer: &mut BytesMut,
) {
    match wanted(&args[2..]) {
        Ok(wanted) => {
            let mut text = String::new();
            let me: &Conn = conn;
            let mut all: Vec<&Conn> = resp.conns.values().filter_map(|c| c.as_deref()).collect();
            all.push(me);
            all.sort_by_key(|conn| conn.id);
            all.iter()
                .filter(|conn| wanted(conn.id))
                .for_each(|conn| describe(conn, now, &mut text));
            Out::new(buffer, conn.state.three).verbatim(text.as_bytes());
        }
        Err(wrong) => answer(conn, buffer, Err(wrong)),
    }
}

fn wanted(args: &[Bytes]) -> Result<Box<dyn Fn(ConnId) -> bool>, Wrong> {
    match args {
        [] => Ok(Box::new(|_| true)),
        [word, kind] if is(word, "type") => {
            let normal = normal(kind)?;
            Ok(Box::new(move |_| normal))
        }
        [word, ids @ ..] if is(word, "id") && !ids.is_empty() => {
            let ids = ids
                .iter()
                .map(|id| match wire::resp::integer(id) {
                    Some(id) => Ok(u64::try_from(id).map(ConnId).ok()),
                    None => Err("ERR Invalid client ID".into()),
                })
                .collect::<Result<Vec<_>, Wrong>>()?;
            Ok(Box::new(move |id| ids.contains(&Some(id))))
        }
        _ => Err(SYNTAX),
    }
}

/// Whether the type is that of ordinary clients, the only ones here.
fn normal(kind: &Bytes) -> Result<bool, Wrong> {
    if is(kind, "normal") {
        return Ok(true);
    }
    if ["master", "replica", "slave", "pubsub"].iter().any(|other| is(kind, other)) {
        return Ok(false);
    }
    Err(Wrong::quoting("ERR Unknown client type '", kind, "'"))
}

/// Whom CLIENT KILL means. All that is given must fit.
#[derive(Default)]
struct Target {
    id: Option<u64>,
    address: Option<Bytes>,
    /// A type or a local address that nobody here has.
    nobody: bool,
    with_me: bool,
}

impl Target {
    fn of(args: &[Bytes]) -> Result<Target, Wrong> {
        let mut target = Target::default();
        for pair in args.chunks(2) {
            let [word, value] = pair else { return Err(SYNTAX) };
            if is(word, "id") {
                target.id = Some(positive(value, "ERR client-id should be greater than 0")?);
            } else if is(word, "addr") {
                target.address = Some(value.clone());
            } else if is(word, "laddr") {
                target.nobody = true;
            } else if is(word, "type") {
                target.nobody |= !normal(value)?;
            } else if is(word, "user") {
                if value != "default" {
                    return Err(Wrong::quoting("ERR No such user '", value, "'"));
                }
            } else if is(word, "skipme") {
                target.with_me = match () {
                    () if is(value, "yes") => false,
                    () if is(value, "no") => true,
                    () => return Err(SYNTAX),
                };
            } else {
                return Err(SYNTAX);
            }
        }
        Ok(target)
    }

    fn fits(&self, conn: &Conn) -> bool {
        !self.nobody
            && self.id.is_none_or(|id| id == conn.id.0)
            && self.address.as_ref().is_none_or(|address| address == conn.address.as_bytes())
    }
}

/// CLIENT KILL address | ID id | ADDR address | TYPE type | USER user | SKIPME yes|no ...
pub(super) fn kill(
    conn: &mut Conn,
    resp: &mut Resp,
    _: Time,
    args: &[Bytes],
    buffer: &mut BytesMut,
) {
    let old_style = args.len() == 3;
    let target = match old_style {
        true => Ok(Target { address: Some(args[2].clone()), with_me: true, ..Target::default() }),
        false => Target::of(&args[2..]),
    };
    let target = match target {
        Ok(target) => target,
        Err(wrong) => return answer(conn, buffer, Err(wrong)),
    };
    let killed: Vec<ConnId> =
        resp.others().filter(|other| target.fits(other)).map(|other| other.id).collect();
    killed.iter().for_each(|id| resp.kill(*id));
    let me = target.with_me && target.fits(conn);
    if me {
        conn.quit();
    }
    let count = killed.len() + usize::from(me);
    match (old_style, count) {
        (true, 0) => answer(conn, buffer, Err("ERR No such client".into())),
        (true, _) => answer(conn, buffer, Ok("OK")),
        (false, count) => Out::new(buffer, conn.state.three).integer(count as i64),
    }
}
