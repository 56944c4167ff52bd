//! Sessions, and requests that take effect once: UNDERPIN.SESSION, UNDERPIN.ONCE.
//!
//! A client that must send a request again because the first answer got lost can't know whether the
//! first one took effect. In a session it can: requests carry numbers, and a number that was seen
//! before gets the first one's answer.
//!
//! ```text
//! UNDERPIN.SESSION OPEN 60000            -> 7
//! UNDERPIN.ONCE 7 1 INCRBY balance -5    -> 95        (the answer is lost)
//! UNDERPIN.ONCE 7 1 INCRBY balance -5    -> 95        (nothing is taken twice)
//! MULTI, ..., UNDERPIN.ONCE 7 2 EXEC                  (a whole transaction)
//! ```

use super::Resp;
use super::args::{is, natural};
use super::conn::Conn;
use super::errors::{self, SYNTAX, Wrong};
use super::kv::Context;
use super::multi;
use super::slot::Want;
use super::table::{self, Run};
use base::Bytes;
use base::key::KEY_BYTES_MAX;
use node::api::{Call, FromConn};
use service::kv::Batch;

/// UNDERPIN.SESSION OPEN ttl-ms | CLOSE session
pub(super) fn session(
    _: &mut Conn,
    _: &mut Resp,
    _: &Context,
    args: &[Bytes],
) -> Result<(Call, Want), Wrong> {
    let number = natural(&args[2])?;
    if is(&args[1], "open") {
        return Ok((Call::SessionOpen { ttl_ms: number }, Want::Plain));
    }
    if is(&args[1], "close") {
        return Ok((Call::SessionClose { session: number }, Want::Done));
    }
    Err(SYNTAX)
}

/// UNDERPIN.ONCE session number command [argument ...]
pub(super) fn once(
    conn: &mut Conn,
    resp: &mut Resp,
    context: &Context,
    args: &[Bytes],
    cost: usize,
    out: &mut Vec<FromConn>,
) {
    if let Err(wrong) = try_once(conn, resp, context, args, cost, out) {
        conn.refuse(resp, wrong);
    }
}

fn try_once(
    conn: &mut Conn,
    resp: &mut Resp,
    context: &Context,
    args: &[Bytes],
    cost: usize,
    out: &mut Vec<FromConn>,
) -> Result<(), Wrong> {
    let (session, number) = (natural(&args[1])?, natural(&args[2])?);
    let inner = &args[3..];
    let spec = table::find(inner)?;
    if !spec.takes(inner.len()) {
        return Err(errors::arity(spec.name));
    }
    if let Some(key) = spec.keys_of(inner).find(|key| key.len() > KEY_BYTES_MAX) {
        return Err(errors::too_large("key", key.len() as u64, KEY_BYTES_MAX as u64));
    }
    if spec.name == "exec" {
        multi::run(conn, resp, context, Some((session, number)), args, cost, out);
        return Ok(());
    }
    if conn.multi.is_some() {
        return Err("ERR inside MULTI only EXEC can be UNDERPIN.ONCE".into());
    }
    let Run::Op(plan) = spec.run else {
        return Err(
            format!("ERR '{}' can't be UNDERPIN.ONCE: it works on no keys", spec.name).into()
        );
    };
    let inner_context = Context { now: context.now, db: context.db, spec };
    match plan(&inner_context, inner) {
        Ok(_) if conn.reads_wait() => conn.stall(args, cost),
        Ok((op, shape)) => {
            let batch = Batch::one(context.db, op);
            let call = Call::Once { session, number, batch };
            conn.send(resp, context.now, spec, call, Want::Kv(shape), cost, out);
        }
        Err(wrong) => conn.error(wrong),
    }
    Ok(())
}
