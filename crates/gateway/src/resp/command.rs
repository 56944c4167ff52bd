//! COMMAND: what the table says about commands.

use super::Resp;
use super::args::is;
use super::args::matches;
use super::conn::Conn;
use super::errors::{SYNTAX, Wrong};
use super::local::answer;
use super::table::{self, Spec};
use base::{Bytes, Time};
use bytes::BytesMut;
use wire::resp::Out;

fn write_info(spec: &Spec, out: &mut Out) {
    out.array(10);
    out.bulk(spec.name.as_bytes());
    out.integer(i64::from(spec.arity));
    let flags: Vec<&str> = spec.flag_names().collect();
    out.set(flags.len());
    flags.iter().for_each(|flag| out.simple(flag));
    let (first, last, step) = spec.keys;
    out.integer(i64::from(first));
    out.integer(i64::from(last));
    out.integer(i64::from(step));
    let categories: Vec<&str> = spec.categories().collect();
    out.set(categories.len());
    categories.iter().for_each(|category| out.simple(category));
    // Tips and key specifications, which clients of clusters of Redis use.
    out.array(0);
    out.array(0);
    out.array(spec.children.len());
    spec.children.iter().for_each(|child| write_info(child, out));
}

fn write_docs(spec: &Spec, out: &mut Out) {
    out.bulk(spec.name.as_bytes());
    out.map(3 + usize::from(!spec.children.is_empty()));
    out.bulk(b"summary");
    out.bulk(spec.summary.as_bytes());
    out.bulk(b"since");
    out.bulk(spec.since.as_bytes());
    out.bulk(b"group");
    out.bulk(spec.group.name().as_bytes());
    if !spec.children.is_empty() {
        out.bulk(b"subcommands");
        out.map(spec.children.len());
        spec.children.iter().for_each(|child| write_docs(child, out));
    }
}

/// The command or subcommand (`client|list`) of that name.
fn named(name: &[u8]) -> Option<&'static Spec> {
    let mut parts = name.split(|&byte| byte == b'|');
    let family = table::command(parts.next()?)?;
    match (parts.next(), parts.next()) {
        (None, _) => Some(family),
        (Some(child), None) => family.child(child),
        (Some(_), Some(_)) => None,
    }
}

fn write_all(out: &mut Out) {
    out.array(table::COMMANDS.len());
    table::COMMANDS.iter().for_each(|spec| write_info(spec, out));
}

/// COMMAND
pub(super) fn all(conn: &mut Conn, _: &mut Resp, _: Time, _: &[Bytes], buffer: &mut BytesMut) {
    write_all(&mut Out::new(buffer, conn.state.three));
}

/// COMMAND COUNT
pub(super) fn count(conn: &mut Conn, _: &mut Resp, _: Time, _: &[Bytes], buffer: &mut BytesMut) {
    Out::new(buffer, conn.state.three).integer(table::COMMANDS.len() as i64);
}

/// COMMAND INFO [name ...]
pub(super) fn info(conn: &mut Conn, _: &mut Resp, _: Time, args: &[Bytes], buffer: &mut BytesMut) {
    let mut out = Out::new(buffer, conn.state.three);
    if args.len() == 2 {
        return write_all(&mut out);
    }
    out.array(args.len() - 2);
    for name in &args[2..] {
        match named(name) {
            Some(spec) => write_info(spec, &mut out),
            None => out.null(),
        }
    }
}

/// COMMAND DOCS [name ...]
pub(super) fn docs(conn: &mut Conn, _: &mut Resp, _: Time, args: &[Bytes], buffer: &mut BytesMut) {
    let mut out = Out::new(buffer, conn.state.three);
    let shown: Vec<&Spec> = match &args[2..] {
        [] => table::COMMANDS.iter().collect(),
        names => names.iter().filter_map(|name| named(name)).collect(),
    };
    out.map(shown.len());
    shown.iter().for_each(|spec| write_docs(spec, &mut out));
}

/// COMMAND LIST [FILTERBY MODULE name | ACLCAT category | PATTERN pattern]
pub(super) fn list(conn: &mut Conn, _: &mut Resp, _: Time, args: &[Bytes], buffer: &mut BytesMut) {
    match listed(&args[2..]) {
        Ok(names) => {
            let mut out = Out::new(buffer, conn.state.three);
            out.array(names.len());
            names.iter().for_each(|name| out.bulk(name.as_bytes()));
        }
        Err(wrong) => answer(conn, buffer, Err(wrong)),
    }
}

fn listed(filter: &[Bytes]) -> Result<Vec<&'static str>, Wrong> {
    let every = || table::COMMANDS.iter().flat_map(Spec::with_children);
    let fits: Box<dyn Fn(&Spec) -> bool> = match filter {
        [] => Box::new(|_| true),
        [word, kind, _] if is(word, "filterby") && is(kind, "module") => Box::new(|_| false),
        [word, kind, wanted] if is(word, "filterby") && is(kind, "aclcat") => {
            let wanted = wanted.clone();
            Box::new(move |spec| {
                spec.categories()
                    .any(|category| wanted.eq_ignore_ascii_case(&category.as_bytes()[1..]))
            })
        }
        [word, kind, pattern] if is(word, "filterby") && is(kind, "pattern") => {
            let pattern = pattern.clone();
            Box::new(move |spec| matches(&pattern, spec.name))
        }
        _ => return Err(SYNTAX),
    };
    Ok(every().filter(|spec| fits(spec)).map(|spec| spec.name).collect())
}

/// COMMAND GETKEYS command [argument ...]
pub(super) fn getkeys(
    conn: &mut Conn,
    _: &mut Resp,
    _: Time,
    args: &[Bytes],
    buffer: &mut BytesMut,
) {
    match keys(&args[2..]) {
        Ok(keys) => {
            let mut out = Out::new(buffer, conn.state.three);
            out.array(keys.len());
            keys.iter().for_each(|key| out.bulk(key));
        }
        Err(wrong) => answer(conn, buffer, Err(wrong)),
    }
}

fn keys(args: &[Bytes]) -> Result<Vec<&Bytes>, Wrong> {
    let spec = table::find(args).map_err(|_| "ERR Invalid command specified")?;
    if spec.keys.0 == 0 {
        return Err("ERR The command has no key arguments".into());
    }
    if !spec.takes(args.len()) {
        return Err("ERR Invalid number of arguments specified for command".into());
    }
    Ok(spec.keys_of(args).collect())
}
