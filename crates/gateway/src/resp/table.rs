//! The commands: their names, arities, flags, keys, and functions. COMMAND and its subcommands show
//! the same table.

use super::conn::Conn;
use super::errors::{Wrong, quotable};
use super::kv::{Context, Plan};
use super::slot::Want;
use super::{Resp, client, command, config, kv, local, multi, once, status, walk};
use base::{Bytes, Time};
use bytes::BytesMut;
use node::api::{Call, FromConn};

/// A command.
#[derive(Debug)]
pub(super) struct Spec {
    /// In lower case; a subcommand's has its family's in front: `client|list`.
    pub(super) name: &'static str,
    /// How many arguments it has, its name included; negative: at least so many.
    pub(super) arity: i8,
    flags: u32,
    /// Where its keys are: first, last (negative: from the end), step. All zero: it has none.
    pub(super) keys: (i8, i8, i8),
    /// What it belongs to.
    pub(super) group: Group,
    /// The version of Redis that had it first.
    pub(super) since: &'static str,
    /// What it does, in a few words.
    pub(super) summary: &'static str,
    /// What to do.
    pub(super) run: Run,
    /// Its subcommands.
    pub(super) children: &'static [Spec],
}

type LocalFn = fn(&mut Conn, &mut Resp, Time, &[Bytes], &mut BytesMut);
type CallFn = fn(&mut Conn, &mut Resp, &Context, &[Bytes]) -> Result<(Call, Want), Wrong>;
type FlowFn = fn(&mut Conn, &mut Resp, &Context, &[Bytes], usize, &mut Vec<FromConn>);

/// What a command is made of.
#[derive(Clone, Copy, Debug)]
pub(super) enum Run {
    /// An operation of the key-value service; may be part of a transaction.
    Op(fn(&Context, &[Bytes]) -> Plan),
    /// Another call of the node; can't be part of a transaction.
    Call(CallFn),
    /// Answered by the connection; in a transaction, when that is executed.
    Local(LocalFn),
    /// Changes how the connection goes on; never queued in a transaction.
    Flow(FlowFn),
}

/// What commands belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Group {
    Connection,
    Server,
    Strings,
    Generic,
    Transactions,
    Underpin,
}

impl Group {
    pub(super) fn name(self) -> &'static str {
        match self {
            Group::Connection => "connection",
            Group::Server => "server",
            Group::Strings => "string",
            Group::Generic => "generic",
            Group::Transactions => "transactions",
            Group::Underpin => "underpin",
        }
    }
}

/// It may change rows.
pub(super) const WRITE: u32 = 1;
const READ: u32 = 1 << 1;
const DENY_OOM: u32 = 1 << 2;
const ADMIN: u32 = 1 << 3;
const NO_SCRIPT: u32 = 1 << 4;
const LOADING: u32 = 1 << 5;
const STALE: u32 = 1 << 6;
const SKIP_SLOWLOG: u32 = 1 << 7;
const FAST: u32 = 1 << 8;
/// Also for clients that have not said who they are.
pub(super) const NO_AUTH: u32 = 1 << 9;
const ALLOW_BUSY: u32 = 1 << 10;
// From here on flags that show as categories only.
const KEYSPACE: u32 = 1 << 16;
const DANGEROUS: u32 = 1 << 17;
const CONNECTION: u32 = 1 << 18;

const FLAG_NAMES: [(u32, &str); 11] = [
    (WRITE, "write"),
    (READ, "readonly"),
    (DENY_OOM, "denyoom"),
    (ADMIN, "admin"),
    (NO_SCRIPT, "noscript"),
    (LOADING, "loading"),
    (STALE, "stale"),
    (SKIP_SLOWLOG, "skip_slowlog"),
    (FAST, "fast"),
    (NO_AUTH, "no_auth"),
    (ALLOW_BUSY, "allow_busy"),
];

impl Spec {
    /// Whether the command may have so many arguments, its name included.
    pub(super) fn takes(&self, count: usize) -> bool {
        let count = count as i64;
        let arity = i64::from(self.arity);
        if arity < 0 { count >= -arity } else { count == arity }
    }

    pub(super) fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }

    /// The keys among the arguments.
    pub(super) fn keys_of<'a>(&self, args: &'a [Bytes]) -> impl Iterator<Item = &'a Bytes> {
        let (first, last, step) = self.keys;
        let end = match last {
            last if last < 0 => args.len().saturating_sub(usize::from(last.unsigned_abs()) - 1),
            last => args.len().min(last as usize + 1),
        };
        let start = if first == 0 { end } else { end.min(first as usize) };
        args[start..end].iter().step_by(usize::from(step.unsigned_abs()).max(1))
    }

    /// The flags' names, in Redis' order.
    pub(super) fn flag_names(&self) -> impl Iterator<Item = &'static str> {
        let flags = self.flags;
        FLAG_NAMES.into_iter().filter(move |(flag, _)| flags & flag != 0).map(|(_, name)| name)
    }

    /// The categories' names, in Redis' order.
    pub(super) fn categories(&self) -> impl Iterator<Item = &'static str> {
        let fast = self.has(FAST);
        [
            (self.has(KEYSPACE), "@keyspace"),
            (self.has(READ), "@read"),
            (self.has(WRITE), "@write"),
            (self.group == Group::Strings, "@string"),
            (self.has(ADMIN), "@admin"),
            (fast, "@fast"),
            (!fast, "@slow"),
            (self.has(DANGEROUS | ADMIN), "@dangerous"),
            (self.has(CONNECTION), "@connection"),
            (self.group == Group::Transactions, "@transaction"),
        ]
        .into_iter()
        .filter_map(|(has, name)| has.then_some(name))
    }

    /// The subcommand of that name.
    pub(super) fn child(&self, name: &[u8]) -> Option<&'static Spec> {
        let of_family = self.name.len() + 1;
        self.children
            .iter()
            .find(|child| name.eq_ignore_ascii_case(&child.name.as_bytes()[of_family..]))
    }

    /// The command, then its subcommands.
    pub(super) fn with_children(&'static self) -> impl Iterator<Item = &'static Spec> {
        std::iter::once(self).chain(self.children)
    }
}

/// The command of that name, in letters of any case.
pub(super) fn command(name: &[u8]) -> Option<&'static Spec> {
    let mut lower = [0u8; 24];
    let lower = lower.get_mut(..name.len())?;
    lower.copy_from_slice(name);
    lower.make_ascii_lowercase();
    let place = COMMANDS.binary_search_by(|spec| spec.name.as_bytes().cmp(lower)).ok()?;
    Some(&COMMANDS[place])
}

/// The command or subcommand that a request asks for.
pub(super) fn find(args: &[Bytes]) -> Result<&'static Spec, Wrong> {
    let name = args.first().map(|name| &name[..]).unwrap_or_default();
    let Some(spec) = command(name) else { return Err(unknown(args)) };
    match args.get(1) {
        Some(child) if !spec.children.is_empty() => spec.child(child).ok_or_else(|| {
            let after = format!("'. Try {} HELP.", spec.name.to_ascii_uppercase());
            Wrong::quoting("ERR unknown subcommand '", child, &after)
        }),
        _ => Ok(spec),
    }
}

/// `ERR unknown command 'x', with args beginning with: 'a' 'b' `, and not more than 128 bytes of
/// either.
fn unknown(args: &[Bytes]) -> Wrong {
    let name = args.first().map(|name| quotable(name, 128)).unwrap_or_default();
    let mut shown: Vec<u8> = Vec::new();
    for arg in args.iter().skip(1) {
        if shown.len() >= 128 {
            break;
        }
        let part = quotable(arg, 128 - shown.len());
        shown.extend([b"'", part, b"' "].concat());
    }
    let head = [b"ERR unknown command '", name, b"', with args beginning with: "].concat();
    [head, shown].concat().into()
}

/// Stands for a request that is no command.
pub(super) static NONE: Spec =
    spec("", 1, 0, (0, 0, 0), Group::Connection, "", "", Run::Local(local::ping));

#[allow(clippy::too_many_arguments)]
const fn spec(
    name: &'static str,
    arity: i8,
    flags: u32,
    keys: (i8, i8, i8),
    group: Group,
    since: &'static str,
    summary: &'static str,
    run: Run,
) -> Spec {
    Spec { name, arity, flags, keys, group, since, summary, run, children: &[] }
}

const fn family(spec: Spec, children: &'static [Spec]) -> Spec {
    Spec { children, ..spec }
}

use Group::{Connection, Generic, Server, Strings, Transactions, Underpin};
use Run::{Flow, Local, Op};

const NO_KEYS: (i8, i8, i8) = (0, 0, 0);
const KEY: (i8, i8, i8) = (1, 1, 1);
const TWO_KEYS: (i8, i8, i8) = (1, 2, 1);
const ALL_KEYS: (i8, i8, i8) = (1, -1, 1);
const PAIRS: (i8, i8, i8) = (1, -1, 2);
const SECOND_KEY: (i8, i8, i8) = (2, 2, 1);

const ANYTIME: u32 = LOADING | STALE;
const QUIET: u32 = NO_SCRIPT | ANYTIME;

/// All commands, in order of their names.
pub(super) static COMMANDS: &[Spec] = &[
    spec(
        "append",
        3,
        WRITE | DENY_OOM | FAST,
        KEY,
        Strings,
        "2.0.0",
        "Appends to a value.",
        Op(kv::append),
    ),
    spec(
        "auth",
        -2,
        QUIET | FAST | NO_AUTH | ALLOW_BUSY | CONNECTION,
        NO_KEYS,
        Connection,
        "1.0.0",
        "Says who the client is.",
        Local(local::auth),
    ),
    family(
        spec(
            "client",
            -2,
            0,
            NO_KEYS,
            Connection,
            "2.4.0",
            "About this node's connections.",
            Local(local::help),
        ),
        CLIENT,
    ),
    family(
        spec(
            "command",
            -1,
            ANYTIME | CONNECTION,
            NO_KEYS,
            Server,
            "2.8.13",
            "About the commands.",
            Local(command::all),
        ),
        COMMAND,
    ),
    family(
        spec("config", -2, 0, NO_KEYS, Server, "2.0.0", "About the settings.", Local(local::help)),
        CONFIG,
    ),
    spec(
        "copy",
        -3,
        WRITE | DENY_OOM | KEYSPACE,
        TWO_KEYS,
        Generic,
        "6.2.0",
        "Copies a key.",
        Op(kv::copy),
    ),
    spec(
        "dbsize",
        1,
        READ | FAST | KEYSPACE,
        NO_KEYS,
        Server,
        "1.0.0",
        "How many keys there are.",
        Run::Call(walk::dbsize),
    ),
    spec(
        "decr",
        2,
        WRITE | DENY_OOM | FAST,
        KEY,
        Strings,
        "1.0.0",
        "Subtracts one from an integer.",
        Op(kv::decr),
    ),
    spec(
        "decrby",
        3,
        WRITE | DENY_OOM | FAST,
        KEY,
        Strings,
        "1.0.0",
        "Subtracts from an integer.",
        Op(kv::decrby),
    ),
    spec("del", -2, WRITE | KEYSPACE, ALL_KEYS, Generic, "1.0.0", "Deletes keys.", Op(kv::del)),
    spec(
        "discard",
        1,
        QUIET | FAST | ALLOW_BUSY,
        NO_KEYS,
        Transactions,
        "2.0.0",
        "Gives a transaction up.",
        Flow(multi::discard),
    ),
    spec(
        "echo",
        2,
        ANYTIME | FAST | CONNECTION,
        NO_KEYS,
        Connection,
        "1.0.0",
        "Answers what it is given.",
        Local(local::echo),
    ),
    spec(
        "exec",
        1,
        QUIET | SKIP_SLOWLOG,
        NO_KEYS,
        Transactions,
        "1.2.0",
        "Executes a transaction.",
        Flow(multi::exec),
    ),
    spec(
        "exists",
        -2,
        READ | FAST | KEYSPACE,
        ALL_KEYS,
        Generic,
        "1.0.0",
        "How many of the keys exist.",
        Op(kv::exists),
    ),
    spec(
        "expire",
        -3,
        WRITE | FAST | KEYSPACE,
        KEY,
        Generic,
        "1.0.0",
        "Lets a key end after seconds.",
        Op(kv::expire),
    ),
    spec(
        "expireat",
        -3,
        WRITE | FAST | KEYSPACE,
        KEY,
        Generic,
        "1.2.0",
        "Lets a key end at a second.",
        Op(kv::expireat),
    ),
    spec(
        "expiretime",
        2,
        READ | FAST | KEYSPACE,
        KEY,
        Generic,
        "7.0.0",
        "The second at which a key ends.",
        Op(kv::expiretime),
    ),
    spec(
        "flushall",
        -1,
        WRITE | KEYSPACE | DANGEROUS,
        NO_KEYS,
        Server,
        "1.0.0",
        "Empties all databases.",
        Op(kv::flush),
    ),
    spec(
        "flushdb",
        -1,
        WRITE | KEYSPACE | DANGEROUS,
        NO_KEYS,
        Server,
        "1.0.0",
        "Empties the database.",
        Op(kv::flush),
    ),
    spec("get", 2, READ | FAST, KEY, Strings, "1.0.0", "A key's value.", Op(kv::get)),
    spec(
        "getdel",
        2,
        WRITE | FAST,
        KEY,
        Strings,
        "6.2.0",
        "A key's value, and the key is gone.",
        Op(kv::getdel),
    ),
    spec(
        "getex",
        -2,
        WRITE | FAST,
        KEY,
        Strings,
        "6.2.0",
        "A key's value, and when it ends is changed.",
        Op(kv::getex),
    ),
    spec("getrange", 4, READ, KEY, Strings, "2.4.0", "A part of a value.", Op(kv::getrange)),
    spec(
        "getset",
        3,
        WRITE | DENY_OOM | FAST,
        KEY,
        Strings,
        "1.0.0",
        "Stores a value and answers the old one.",
        Op(kv::getset),
    ),
    spec(
        "hello",
        -1,
        QUIET | FAST | NO_AUTH | ALLOW_BUSY | CONNECTION,
        NO_KEYS,
        Connection,
        "6.0.0",
        "Agrees on the protocol.",
        Local(local::hello),
    ),
    spec(
        "incr",
        2,
        WRITE | DENY_OOM | FAST,
        KEY,
        Strings,
        "1.0.0",
        "Adds one to an integer.",
        Op(kv::incr),
    ),
    spec(
        "incrby",
        3,
        WRITE | DENY_OOM | FAST,
        KEY,
        Strings,
        "1.0.0",
        "Adds to an integer.",
        Op(kv::incrby),
    ),
    spec(
        "incrbyfloat",
        3,
        WRITE | DENY_OOM | FAST,
        KEY,
        Strings,
        "2.6.0",
        "Adds to a decimal number, exactly.",
        Op(kv::incrbyfloat),
    ),
    spec(
        "info",
        -1,
        ANYTIME | DANGEROUS,
        NO_KEYS,
        Server,
        "1.0.0",
        "How this node is.",
        Run::Call(status::info),
    ),
    spec(
        "keys",
        2,
        READ | KEYSPACE | DANGEROUS,
        NO_KEYS,
        Generic,
        "1.0.0",
        "All keys that match a pattern.",
        Run::Call(walk::keys),
    ),
    spec(
        "lcs",
        -3,
        READ,
        TWO_KEYS,
        Strings,
        "7.0.0",
        "The longest common subsequence of two values.",
        Op(kv::lcs),
    ),
    spec(
        "mget",
        -2,
        READ | FAST,
        ALL_KEYS,
        Strings,
        "1.0.0",
        "Several keys' values.",
        Op(kv::mget),
    ),
    spec(
        "mset",
        -3,
        WRITE | DENY_OOM,
        PAIRS,
        Strings,
        "1.0.1",
        "Stores several values.",
        Op(kv::mset),
    ),
    spec(
        "msetnx",
        -3,
        WRITE | DENY_OOM,
        PAIRS,
        Strings,
        "1.0.1",
        "Stores several values if none of the keys exists.",
        Op(kv::mset),
    ),
    spec(
        "multi",
        1,
        QUIET | FAST | ALLOW_BUSY,
        NO_KEYS,
        Transactions,
        "1.2.0",
        "Begins a transaction.",
        Flow(multi::multi),
    ),
    family(
        spec(
            "object",
            -2,
            0,
            NO_KEYS,
            Generic,
            "2.2.3",
            "About how a value is kept.",
            Local(local::help),
        ),
        OBJECT,
    ),
    spec(
        "persist",
        2,
        WRITE | FAST | KEYSPACE,
        KEY,
        Generic,
        "2.2.0",
        "Lets a key never end.",
        Op(kv::persist),
    ),
    spec(
        "pexpire",
        -3,
        WRITE | FAST | KEYSPACE,
        KEY,
        Generic,
        "2.6.0",
        "Lets a key end after milliseconds.",
        Op(kv::pexpire),
    ),
    spec(
        "pexpireat",
        -3,
        WRITE | FAST | KEYSPACE,
        KEY,
        Generic,
        "2.6.0",
        "Lets a key end at a millisecond.",
        Op(kv::pexpireat),
    ),
    spec(
        "pexpiretime",
        2,
        READ | FAST | KEYSPACE,
        KEY,
        Generic,
        "7.0.0",
        "The millisecond at which a key ends.",
        Op(kv::pexpiretime),
    ),
    spec(
        "ping",
        -1,
        FAST | CONNECTION,
        NO_KEYS,
        Connection,
        "1.0.0",
        "Answers PONG, or what it is given.",
        Local(local::ping),
    ),
    spec(
        "psetex",
        4,
        WRITE | DENY_OOM,
        KEY,
        Strings,
        "2.6.0",
        "Stores a value that ends after milliseconds.",
        Op(kv::psetex),
    ),
    spec(
        "pttl",
        2,
        READ | FAST | KEYSPACE,
        KEY,
        Generic,
        "2.6.0",
        "Milliseconds until a key ends.",
        Op(kv::pttl),
    ),
    spec(
        "quit",
        -1,
        QUIET | FAST | NO_AUTH | ALLOW_BUSY | CONNECTION,
        NO_KEYS,
        Connection,
        "1.0.0",
        "Ends the connection.",
        Flow(local::quit),
    ),
    spec(
        "randomkey",
        1,
        READ | KEYSPACE,
        NO_KEYS,
        Generic,
        "1.0.0",
        "Some key.",
        Run::Call(walk::randomkey),
    ),
    spec(
        "rename",
        3,
        WRITE | KEYSPACE,
        TWO_KEYS,
        Generic,
        "1.0.0",
        "Gives a key another name.",
        Op(kv::rename),
    ),
    spec(
        "renamenx",
        3,
        WRITE | FAST | KEYSPACE,
        TWO_KEYS,
        Generic,
        "1.0.0",
        "Gives a key another name that is free.",
        Op(kv::rename),
    ),
    spec(
        "reset",
        1,
        QUIET | FAST | NO_AUTH | ALLOW_BUSY | CONNECTION,
        NO_KEYS,
        Connection,
        "6.2.0",
        "Makes the connection as new.",
        Flow(local::reset),
    ),
    spec(
        "scan",
        -2,
        READ | KEYSPACE,
        NO_KEYS,
        Generic,
        "2.8.0",
        "Walks over the keys.",
        Run::Call(walk::scan),
    ),
    spec(
        "select",
        2,
        ANYTIME | FAST | CONNECTION,
        NO_KEYS,
        Connection,
        "1.0.0",
        "Chooses the database.",
        Local(local::select),
    ),
    spec("set", -3, WRITE | DENY_OOM, KEY, Strings, "1.0.0", "Stores a value.", Op(kv::set)),
    spec(
        "setex",
        4,
        WRITE | DENY_OOM,
        KEY,
        Strings,
        "2.0.0",
        "Stores a value that ends after seconds.",
        Op(kv::setex),
    ),
    spec(
        "setnx",
        3,
        WRITE | DENY_OOM | FAST,
        KEY,
        Strings,
        "1.0.0",
        "Stores a value if the key does not exist.",
        Op(kv::setnx),
    ),
    spec(
        "setrange",
        4,
        WRITE | DENY_OOM,
        KEY,
        Strings,
        "2.2.0",
        "Overwrites a part of a value.",
        Op(kv::setrange),
    ),
    spec("strlen", 2, READ | FAST, KEY, Strings, "2.2.0", "A value's length.", Op(kv::strlen)),
    spec(
        "substr",
        4,
        READ,
        KEY,
        Strings,
        "1.0.0",
        "A part of a value; the old name of GETRANGE.",
        Op(kv::getrange),
    ),
    spec(
        "time",
        1,
        ANYTIME | FAST,
        NO_KEYS,
        Server,
        "2.6.0",
        "This node's clock.",
        Local(local::time),
    ),
    spec(
        "touch",
        -2,
        READ | FAST | KEYSPACE,
        ALL_KEYS,
        Generic,
        "3.2.1",
        "How many of the keys exist.",
        Op(kv::exists),
    ),
    spec(
        "ttl",
        2,
        READ | FAST | KEYSPACE,
        KEY,
        Generic,
        "1.0.0",
        "Seconds until a key ends.",
        Op(kv::ttl),
    ),
    spec(
        "type",
        2,
        READ | FAST | KEYSPACE,
        KEY,
        Generic,
        "1.0.0",
        "What kind of value a key has.",
        Op(kv::kind),
    ),
    spec(
        "underpin.cas",
        -4,
        WRITE | DENY_OOM | FAST,
        KEY,
        Underpin,
        "0.1.0",
        "Stores or deletes if the key's version is this one.",
        Op(kv::compare_and_set),
    ),
    spec(
        "underpin.consistency",
        2,
        ANYTIME | FAST | CONNECTION,
        NO_KEYS,
        Underpin,
        "0.1.0",
        "What this connection's reads must see.",
        Local(local::consistency),
    ),
    spec(
        "underpin.get",
        2,
        READ | FAST,
        KEY,
        Underpin,
        "0.1.0",
        "A key's version and value.",
        Op(kv::get_versioned),
    ),
    spec(
        "underpin.once",
        -4,
        WRITE,
        NO_KEYS,
        Underpin,
        "0.1.0",
        "Executes a command once per session and number.",
        Flow(once::once),
    ),
    spec(
        "underpin.replace",
        3,
        ADMIN,
        NO_KEYS,
        Underpin,
        "0.1.0",
        "Takes a node's fresh data directory for its old one.",
        Run::Call(status::replace),
    ),
    spec(
        "underpin.session",
        3,
        WRITE | CONNECTION,
        NO_KEYS,
        Underpin,
        "0.1.0",
        "Opens or closes a session.",
        Run::Call(once::session),
    ),
    spec(
        "underpin.status",
        -1,
        ANYTIME | ADMIN,
        NO_KEYS,
        Underpin,
        "0.1.0",
        "How this node and its shards are.",
        Run::Call(status::status),
    ),
    spec(
        "underpin.transfer",
        -2,
        ADMIN,
        NO_KEYS,
        Underpin,
        "0.1.0",
        "Hands a shard's leadership over.",
        Run::Call(status::transfer),
    ),
    spec(
        "unlink",
        -2,
        WRITE | FAST | KEYSPACE,
        ALL_KEYS,
        Generic,
        "4.0.0",
        "Deletes keys.",
        Op(kv::del),
    ),
    spec(
        "unwatch",
        1,
        QUIET | FAST | ALLOW_BUSY,
        NO_KEYS,
        Transactions,
        "2.2.0",
        "Forgets the watched keys.",
        Local(multi::unwatch),
    ),
    spec(
        "wait",
        3,
        NO_SCRIPT | CONNECTION,
        NO_KEYS,
        Generic,
        "3.0.0",
        "How many other replicas have every acknowledged write.",
        Run::Call(status::wait),
    ),
    spec(
        "watch",
        -2,
        QUIET | FAST | ALLOW_BUSY,
        ALL_KEYS,
        Transactions,
        "2.2.0",
        "Lets a transaction depend on keys.",
        Flow(multi::watch),
    ),
];

static CLIENT: &[Spec] = &[
    spec(
        "client|getname",
        2,
        QUIET | CONNECTION,
        NO_KEYS,
        Connection,
        "2.6.9",
        "This connection's name.",
        Local(client::getname),
    ),
    spec(
        "client|help",
        2,
        ANYTIME | CONNECTION,
        NO_KEYS,
        Connection,
        "5.0.0",
        "Shows this.",
        Local(local::help),
    ),
    spec(
        "client|id",
        2,
        QUIET | CONNECTION,
        NO_KEYS,
        Connection,
        "5.0.0",
        "This connection's number on this node.",
        Local(client::id),
    ),
    spec(
        "client|info",
        2,
        QUIET | CONNECTION,
        NO_KEYS,
        Connection,
        "6.2.0",
        "About this connection.",
        Local(client::info),
    ),
    spec(
        "client|kill",
        -3,
        ADMIN | QUIET | CONNECTION,
        NO_KEYS,
        Connection,
        "2.4.0",
        "Ends connections of this node.",
        Local(client::kill),
    ),
    spec(
        "client|list",
        -2,
        ADMIN | QUIET | CONNECTION,
        NO_KEYS,
        Connection,
        "2.4.0",
        "About all connections of this node.",
        Local(client::list),
    ),
    spec(
        "client|no-evict",
        3,
        ADMIN | QUIET | CONNECTION,
        NO_KEYS,
        Connection,
        "7.0.0",
        "Accepted; no connection is closed to save memory.",
        Local(client::no_evict),
    ),
    spec(
        "client|reply",
        3,
        QUIET | CONNECTION,
        NO_KEYS,
        Connection,
        "3.2.0",
        "Which requests get a reply.",
        Local(client::reply),
    ),
    spec(
        "client|setinfo",
        4,
        QUIET | CONNECTION,
        NO_KEYS,
        Connection,
        "7.2.0",
        "Names the client's library.",
        Local(client::setinfo),
    ),
    spec(
        "client|setname",
        3,
        QUIET | CONNECTION,
        NO_KEYS,
        Connection,
        "2.6.9",
        "Names this connection.",
        Local(client::setname),
    ),
];

static COMMAND: &[Spec] = &[
    spec(
        "command|count",
        2,
        ANYTIME | CONNECTION,
        NO_KEYS,
        Server,
        "2.8.13",
        "How many commands there are.",
        Local(command::count),
    ),
    spec(
        "command|docs",
        -2,
        ANYTIME | CONNECTION,
        NO_KEYS,
        Server,
        "7.0.0",
        "What commands do.",
        Local(command::docs),
    ),
    spec(
        "command|getkeys",
        -4,
        ANYTIME | CONNECTION,
        NO_KEYS,
        Server,
        "2.8.13",
        "The keys in a request.",
        Local(command::getkeys),
    ),
    spec(
        "command|help",
        2,
        ANYTIME | CONNECTION,
        NO_KEYS,
        Server,
        "5.0.0",
        "Shows this.",
        Local(local::help),
    ),
    spec(
        "command|info",
        -2,
        ANYTIME | CONNECTION,
        NO_KEYS,
        Server,
        "2.8.13",
        "Arity, flags and keys of commands.",
        Local(command::info),
    ),
    spec(
        "command|list",
        -2,
        ANYTIME | CONNECTION,
        NO_KEYS,
        Server,
        "7.0.0",
        "The commands' names.",
        Local(command::list),
    ),
];

static CONFIG: &[Spec] = &[
    spec(
        "config|get",
        -3,
        ADMIN | QUIET,
        NO_KEYS,
        Server,
        "2.0.0",
        "Settings that match patterns.",
        Local(config::get),
    ),
    spec("config|help", 2, ANYTIME, NO_KEYS, Server, "5.0.0", "Shows this.", Local(local::help)),
];

static OBJECT: &[Spec] = &[
    spec(
        "object|encoding",
        3,
        READ | KEYSPACE,
        SECOND_KEY,
        Generic,
        "2.2.3",
        "How Redis would keep the value.",
        Op(kv::object_encoding),
    ),
    spec(
        "object|freq",
        3,
        READ | KEYSPACE,
        SECOND_KEY,
        Generic,
        "4.0.0",
        "Answers that frequencies are not counted.",
        Op(kv::object_freq),
    ),
    spec(
        "object|help",
        2,
        ANYTIME | KEYSPACE,
        NO_KEYS,
        Generic,
        "6.2.0",
        "Shows this.",
        Local(local::help),
    ),
    spec(
        "object|idletime",
        3,
        READ | KEYSPACE,
        SECOND_KEY,
        Generic,
        "2.2.3",
        "Seconds since the key was last written.",
        Op(kv::object_idletime),
    ),
    spec(
        "object|refcount",
        3,
        READ | KEYSPACE,
        SECOND_KEY,
        Generic,
        "2.2.3",
        "1 if the key exists.",
        Op(kv::object_refcount),
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_found_by_its_name_in_any_case() {
        for spec in COMMANDS {
            let name = spec.name.to_ascii_uppercase();
            assert_eq!(command(name.as_bytes()).map(|found| found.name), Some(spec.name));
            for child in spec.children {
                let name = child.name.split('|').nth(1).unwrap_or_default();
                assert_eq!(spec.child(name.as_bytes()).map(|found| found.name), Some(child.name));
            }
        }
        assert!(command(b"").is_none() && command(&[b'x'; 1000]).is_none());
    }

    #[test]
    fn keys_are_where_the_table_says() {
        let keys = |line: &str| -> Vec<String> {
            let args: Vec<Bytes> =
                line.split(' ').map(|arg| Bytes::copy_from_slice(arg.as_bytes())).collect();
            let spec = find(&args).expect("a command");
            spec.keys_of(&args).map(|key| String::from_utf8_lossy(key).into_owned()).collect()
        };
        assert_eq!(keys("GET a"), ["a"]);
        assert_eq!(keys("GET"), Vec::<String>::new());
        assert_eq!(keys("DEL a b c"), ["a", "b", "c"]);
        assert_eq!(keys("MSET a 1 b 2"), ["a", "b"]);
        assert_eq!(keys("OBJECT ENCODING a"), ["a"]);
        assert_eq!(keys("PING a"), Vec::<String>::new());
    }
}
