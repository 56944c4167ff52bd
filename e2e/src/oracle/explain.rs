//! Why Redis and Underpin may answer differently: the whole list. Each entry has the same heading in
//! `docs/compat/redis.md`.

use super::Replies;
use super::generate::Item;
use super::raw::{bulk, integer, parts};

/// A reason, and whether it is the one for a request and the two replies.
struct Explanation {
    reason: &'static str,
    fits: fn(&Request, &[u8], &[u8]) -> bool,
}

/// A single request.
struct Request {
    /// Its command, or command and subcommand, in upper case.
    command: String,
    words: Vec<Vec<u8>>,
}

impl Request {
    fn is(&self, command: &str) -> bool {
        self.command == command
    }
}

const EXPLANATIONS: &[Explanation] = &[
    Explanation { reason: "order of keys", fits: order_of_keys },
    Explanation { reason: "cursors", fits: cursors },
    Explanation { reason: "some key", fits: some_key },
    Explanation { reason: "the clock moves on", fits: clock },
    Explanation { reason: DECIMALS, fits: decimals },
    Explanation { reason: "encodings", fits: encodings },
    Explanation { reason: "shared integers", fits: shared_integers },
    Explanation { reason: "idle time", fits: idle_time },
    Explanation { reason: "keys that ended", fits: ended_keys },
    Explanation { reason: "numbers of connections", fits: connection_numbers },
    Explanation { reason: "fields of connections", fits: connection_fields },
    Explanation { reason: "settings and state of a server", fits: server },
    Explanation { reason: "the table of commands", fits: commands },
    Explanation { reason: "bounds", fits: bounds },
];

/// The reason that [`decimals`] stands for.
pub(super) const DECIMALS: &str = "exact decimals";
/// What both say of a value that is no number to them.
pub(super) const NOT_A_FLOAT: &[u8] = b"-ERR value is not a valid float\r\n";

/// The reasons of all differences of an item, or the first reply without one.
pub fn explain(item: &Item, redis: &Replies, ours: &Replies) -> Result<Vec<&'static str>, usize> {
    if redis.len() != ours.len() {
        return Err(redis.len().min(ours.len()));
    }
    let upper = |word: &Vec<u8>| String::from_utf8_lossy(word).to_ascii_uppercase();
    let mut command = item.words.first().map(upper).unwrap_or_default();
    if ["CLIENT", "COMMAND", "CONFIG", "OBJECT"].contains(&command.as_str()) {
        command = item.words.iter().take(2).map(upper).collect::<Vec<_>>().join(" ");
    }
    let request = Request { command, words: item.words.clone() };
    let mut reasons = Vec::new();
    for (at, (redis, ours)) in redis.iter().zip(ours).enumerate() {
        if redis == ours {
            continue;
        }
        let found = EXPLANATIONS.iter().find(|entry| (entry.fits)(&request, redis, ours));
        reasons.push(found.ok_or(at)?.reason);
    }
    Ok(reasons)
}

fn sorted(reply: &[u8]) -> Option<Vec<&[u8]>> {
    let mut parts = parts(reply)?;
    parts.sort_unstable();
    Some(parts)
}

/// KEYS and SCAN answer the same keys in another order.
fn order_of_keys(request: &Request, redis: &[u8], ours: &[u8]) -> bool {
    if request.is("KEYS") {
        return sorted(redis).is_some() && sorted(redis) == sorted(ours);
    }
    request.is("SCAN")
        && match (parts(redis).as_deref(), parts(ours).as_deref()) {
            (Some([redis_next, redis_keys]), Some([our_next, our_keys])) => {
                redis_next == our_next && sorted(redis_keys) == sorted(our_keys)
            }
            _ => false,
        }
}

/// SCAN stops elsewhere when it does not reach the end; and cursors are numbers without a sign, of
/// which nothing else is made.
fn cursors(request: &Request, redis: &[u8], ours: &[u8]) -> bool {
    let page = |reply: &[u8]| parts(reply).is_some_and(|parts| parts.len() == 2);
    let from_start = request.words.get(1).is_some_and(|word| word == b"0");
    let at_once = from_start && request.words.iter().any(|word| word == b"100000");
    let refused = !from_start && ours == b"-ERR invalid cursor\r\n";
    request.is("SCAN") && !at_once && page(redis) && (page(ours) || refused)
}

/// RANDOMKEY answers some key.
fn some_key(request: &Request, redis: &[u8], ours: &[u8]) -> bool {
    request.is("RANDOMKEY") && bulk(redis).is_some() && bulk(ours).is_some()
}

/// The two servers are asked one after the other.
fn clock(request: &Request, redis: &[u8], ours: &[u8]) -> bool {
    let allowed = match request.command.as_str() {
        "TTL" | "EXPIRETIME" => 1,
        "PTTL" | "PEXPIRETIME" => 1000,
        "TIME" => return parts(redis).is_some() && parts(ours).is_some_and(|p| p.len() == 2),
        _ => return false,
    };
    match (integer(redis), integer(ours)) {
        (Some(redis @ 0..), Some(ours @ 0..)) => redis.abs_diff(ours) <= allowed,
        _ => false,
    }
}

/// INCRBYFLOAT is exact where Redis' binary numbers are not; and it takes no hexadecimal ones, which
/// may also be what the key holds.
fn decimals(request: &Request, redis: &[u8], ours: &[u8]) -> bool {
    if !request.is("INCRBYFLOAT") {
        return false;
    }
    match (bulk(redis), bulk(ours)) {
        (Some(redis), Some(ours)) => nearly(redis, ours),
        (Some(_), None) => {
            let hexadecimal = |word: &Vec<u8>| word.to_ascii_lowercase().contains(&b'x');
            let beyond = ours == b"-ERR increment would produce NaN or Infinity\r\n";
            let not_decimal = ours == NOT_A_FLOAT;
            beyond || not_decimal && request.words.iter().any(hexadecimal)
        }
        // Too large to be a number there, and too large to be added here.
        _ => redis == NOT_A_FLOAT && ours == b"-ERR increment would produce NaN or Infinity\r\n",
    }
}

/// Whether two decimal numbers agree as far as Redis' digits go: to 17 places behind the point, and
/// in their first 15 digits.
fn nearly(redis: &[u8], ours: &[u8]) -> bool {
    let number =
        |text: &[u8]| std::str::from_utf8(text).ok().and_then(|text| text.parse::<f64>().ok());
    let (Some(one), Some(other)) = (number(redis), number(ours)) else { return false };
    if one.is_finite() && other.is_finite() {
        return (one - other).abs() <= 1e-15 * one.abs().max(1.0);
    }
    redis.len() == ours.len() && redis[..15] == ours[..15]
}

/// We tell the encoding from the value; in Redis it also depends on how the value came about.
fn encodings(request: &Request, redis: &[u8], ours: &[u8]) -> bool {
    let known = |reply: &[u8]| {
        bulk(reply).is_some_and(|word| [&b"int"[..], b"embstr", b"raw"].contains(&word))
    };
    request.is("OBJECT ENCODING") && known(redis) && known(ours)
}

/// Redis shares small integers and answers a number that stands for "many".
fn shared_integers(request: &Request, redis: &[u8], ours: &[u8]) -> bool {
    request.is("OBJECT REFCOUNT") && redis == b":2147483647\r\n" && ours == b":1\r\n"
}

/// We know when a key was last written, not when it was last read.
fn idle_time(request: &Request, redis: &[u8], ours: &[u8]) -> bool {
    request.is("OBJECT IDLETIME")
        && matches!((integer(redis), integer(ours)), (Some(0..), Some(0..)))
}

/// Redis counts keys that ended until it happens to remove them.
fn ended_keys(request: &Request, redis: &[u8], ours: &[u8]) -> bool {
    request.is("DBSIZE")
        && match (integer(redis), integer(ours)) {
            (Some(redis), Some(ours)) => (1..=5).contains(&(redis - ours)),
            _ => false,
        }
}

/// CLIENT ID and HELLO tell the connection's number.
fn connection_numbers(request: &Request, redis: &[u8], ours: &[u8]) -> bool {
    match request.command.as_str() {
        "CLIENT ID" => integer(redis).is_some() && integer(ours).is_some(),
        "HELLO" => match (parts(redis), parts(ours)) {
            (Some(redis), Some(ours)) => {
                let number = 7;
                redis.len() == ours.len()
                    && redis.len() > number
                    && (0..redis.len()).all(|at| at == number || redis[at] == ours[at])
            }
            _ => false,
        },
        _ => false,
    }
}

/// CLIENT LIST and CLIENT INFO tell what there is to tell.
fn connection_fields(request: &Request, redis: &[u8], ours: &[u8]) -> bool {
    let lists = request.is("CLIENT LIST") || request.is("CLIENT INFO");
    lists && redis[0] == ours[0] && bulk(redis).is_some() && bulk(ours).is_some()
}

/// INFO, CONFIG GET and WAIT tell about another server.
fn server(request: &Request, redis: &[u8], ours: &[u8]) -> bool {
    match request.command.as_str() {
        "INFO" => redis[0] == ours[0] && bulk(ours).is_some(),
        "CONFIG GET" => parts(redis).is_some() && parts(ours).is_some(),
        "WAIT" => integer(redis).is_some() && integer(ours).is_some(),
        _ => false,
    }
}

/// There are fewer commands; tips, key specifications and arguments are not told.
fn commands(request: &Request, redis: &[u8], ours: &[u8]) -> bool {
    match request.command.as_str() {
        "COMMAND COUNT" => integer(redis).is_some() && integer(ours).is_some(),
        "COMMAND LIST" if request.words.len() > 2 => sorted(redis) == sorted(ours),
        "COMMAND DOCS" | "COMMAND LIST" | "COMMAND" => {
            redis[0] == ours[0] && parts(redis).is_some() && parts(ours).is_some()
        }
        "COMMAND INFO" if request.words.len() == 2 => redis[0] == ours[0],
        "COMMAND INFO" => match (parts(redis), parts(ours)) {
            (Some(redis), Some(ours)) => {
                redis.len() == ours.len()
                    && redis.iter().zip(&ours).all(|(redis, ours)| same_entry(redis, ours))
            }
            _ => false,
        },
        _ => false,
    }
}

/// The first seven fields are the same: name, arity, flags, keys, categories.
fn same_entry(redis: &[u8], ours: &[u8]) -> bool {
    match (parts(redis), parts(ours)) {
        (Some(redis), Some(ours)) if redis.len() >= 7 && ours.len() >= 7 => {
            let sets = [2, 6];
            (0..7).all(|at| match sets.contains(&at) {
                true => sorted(redis[at]) == sorted(ours[at]),
                false => redis[at] == ours[at],
            })
        }
        _ => redis == ours,
    }
}

/// Keys, and values by SETRANGE and APPEND, past our bounds, and LCS past what one turn may cost.
fn bounds(request: &Request, _: &[u8], ours: &[u8]) -> bool {
    if ours.starts_with(b"-ERR key of ") {
        return true;
    }
    if request.is("LCS") {
        return ours.starts_with(b"-ERR this would cost ");
    }
    (request.is("SETRANGE") || request.is("APPEND"))
        && ours.starts_with(b"-ERR string exceeds maximum allowed size (proto-max-bulk-len)")
}
