//! `underpin kv`: the key-value store from a shell.

mod base64;
mod pairs;
mod transfer;

use crate::cli::Done;
use crate::connect::{Connect, duration};
use crate::report::{Exit, Failed, put, say};
use client::{Client, Command, Value};
use pairs::Pair;
use std::io::{IsTerminal, Read, Write};
use std::time::Duration;

/// Read and write keys
#[derive(Debug, clap::Subcommand)]
pub enum Verb {
    /// Print a key's value
    Get(Get),
    /// Store a value under a key
    Put(Put),
    /// Delete keys, and print how many there were
    Del(Del),
    /// Store or delete if the key's version is still the one seen; prints the new version
    ///
    /// `kv get -o json` shows a key's version. A conflict exits with 5 and names the version that
    /// the key has.
    Cas(Cas),
    /// Print keys
    Scan(Scan),
    /// Store many keys from a file
    Import(transfer::Import),
    /// Print many keys with their values
    Export(transfer::Export),
}

/// What all verbs take.
#[derive(Debug, clap::Args)]
struct Common {
    /// The bucket, what Redis calls the database
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=15))]
    bucket: u8,
    #[command(flatten)]
    connect: Connect,
}

impl Common {
    fn client(&self) -> Result<Client, Failed> {
        self.connect.client(self.bucket)
    }

    /// A client whose writes are carried out once, if that is wanted.
    fn writer(&self, once: bool) -> Result<Client, Failed> {
        let mut client = self.client()?;
        if once {
            client.open_session(SESSION).map_err(Failed::call)?;
        }
        Ok(client)
    }
}

/// How long a session of ours is kept without use: longer than any request may take.
const SESSION: Duration = Duration::from_secs(300);

#[derive(Debug, clap::Args)]
pub struct Get {
    /// The key
    key: String,
    /// text ends the value with a line end, raw does not, json adds version and key
    #[arg(short, long, value_enum, default_value = "text")]
    output: Output,
    #[command(flatten)]
    common: Common,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    Text,
    Raw,
    Json,
}

#[derive(Debug, clap::Args)]
pub struct Put {
    /// The key
    key: String,
    /// Its value; - reads it from stdin
    value: String,
    /// When it is to end: 10s, 5m, …
    #[arg(long, value_name = "TIME", value_parser = duration)]
    ttl: Option<Duration>,
    /// Only if the key does not exist
    #[arg(long, conflicts_with = "if_present")]
    if_absent: bool,
    /// Only if the key exists
    #[arg(long)]
    if_present: bool,
    /// Send it until the outcome is known; it is still carried out only once
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
pub struct Del {
    /// The keys
    #[arg(required = true)]
    keys: Vec<String>,
    /// Send it until the outcome is known; it is still carried out only once
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
pub struct Cas {
    /// The key
    key: String,
    /// The version it must have; 0 if it must not exist
    version: u64,
    /// Its new value; - reads it from stdin
    #[arg(required_unless_present = "delete")]
    value: Option<String>,
    /// Delete it instead
    #[arg(long, conflicts_with = "value")]
    delete: bool,
    /// When it is to end: 10s, 5m, …
    #[arg(long, value_name = "TIME", value_parser = duration)]
    ttl: Option<Duration>,
    /// Send it until the outcome is known; it is still carried out only once
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
pub struct Scan {
    /// Which keys: * stands for anything, ? for one letter, [abc] for one of these
    #[arg(default_value = "*")]
    pattern: String,
    /// At most so many
    #[arg(long)]
    limit: Option<u64>,
    /// text writes one key a line, with \x.. for bytes that are not printable; json one object a line
    #[arg(short, long, value_enum, default_value = "text")]
    output: ScanOutput,
    #[command(flatten)]
    common: Common,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum ScanOutput {
    Text,
    Json,
}

/// Carries it out.
pub fn run(verb: &Verb) -> Done {
    match verb {
        Verb::Get(args) => get(args),
        Verb::Put(args) => store(args),
        Verb::Del(args) => delete(args),
        Verb::Cas(args) => compare_and_set(args),
        Verb::Scan(args) => scan(args),
        Verb::Import(args) => transfer::import(args),
        Verb::Export(args) => transfer::export(args),
    }
}

fn get(args: &Get) -> Done {
    let mut client = args.common.client()?;
    if args.output == Output::Json {
        return get_json(args, &mut client);
    }
    let value = client.call(&Command::read(["GET".to_owned(), args.key.clone()]));
    let value = value.map_err(Failed::call)?;
    let bytes = value.bytes().ok_or_else(|| absent(&args.key))?;
    let mut out = std::io::stdout().lock();
    let end: &[u8] = if args.output == Output::Text { b"\n" } else { b"" };
    out.write_all(bytes).and_then(|()| out.write_all(end)).map_err(|error| Failed::stdout(&error))
}

fn get_json(args: &Get, client: &mut Client) -> Done {
    let answer = client.call(&Command::read(["UNDERPIN.GET".to_owned(), args.key.clone()]));
    let answer = answer.map_err(Failed::call)?;
    let [version, value] = answer.items().unwrap_or_default() else {
        return Err(absent(&args.key));
    };
    let value = value.bytes().ok_or_else(|| absent(&args.key))?;
    let pair = Pair { key: args.key.clone().into(), value: value.to_vec(), ttl_ms: None };
    let mut object = pair.object();
    object.insert("version".into(), version.integer().unwrap_or_default().into());
    put(&serde_json::Value::Object(object).to_string())
}

fn absent(key: &str) -> Failed {
    Failed::new(Exit::No, format!("there is no key `{key}`"))
}

fn store(args: &Put) -> Done {
    let mut words = vec!["SET".into(), args.key.clone().into(), given(&args.value)?.into()];
    words.extend(expiry(args.ttl));
    match (args.if_absent, args.if_present) {
        (true, _) => words.push("NX".into()),
        (_, true) => words.push("XX".into()),
        _ => {}
    }
    let answer =
        args.common.writer(args.once)?.call(&Command::write(words)).map_err(Failed::call)?;
    if answer == Value::Null {
        let why = if args.if_absent { "exists already" } else { "does not exist" };
        return Err(Failed::new(Exit::Conflict, format!("key `{}` {why}", args.key)));
    }
    if std::io::stderr().is_terminal() {
        say("stored");
    }
    Ok(())
}

fn delete(args: &Del) -> Done {
    let words = std::iter::once("DEL".to_owned()).chain(args.keys.iter().cloned());
    let answer =
        args.common.writer(args.once)?.call(&Command::write(words)).map_err(Failed::call)?;
    let deleted = answer.integer().unwrap_or_default();
    put(&deleted.to_string())?;
    if deleted == 0 { Err(Failed::silent(Exit::No)) } else { Ok(()) }
}

fn compare_and_set(args: &Cas) -> Done {
    let version = args.version.to_string();
    let mut words = vec!["UNDERPIN.CAS".into(), args.key.clone().into(), version.into()];
    match &args.value {
        Some(value) => {
            words.extend(["SET".into(), given(value)?.into()]);
            words.extend(expiry(args.ttl));
        }
        None => words.push("DEL".into()),
    }
    let answer =
        args.common.writer(args.once)?.call(&Command::write(words)).map_err(Failed::call)?;
    put(&answer.integer().unwrap_or_default().to_string())
}

fn expiry(ttl: Option<Duration>) -> Vec<bytes::Bytes> {
    ttl.map(|ttl| vec!["PX".into(), ttl.as_millis().to_string().into()]).unwrap_or_default()
}

/// A value from the command line, or stdin's bytes.
fn given(value: &str) -> Result<Vec<u8>, Failed> {
    if value != "-" {
        return Ok(value.as_bytes().to_vec());
    }
    let mut bytes = Vec::new();
    let read = std::io::stdin().read_to_end(&mut bytes);
    read.map_err(|error| Failed::new(Exit::No, format!("cannot read stdin: {error}")))?;
    Ok(bytes)
}

fn scan(args: &Scan) -> Done {
    let mut client = args.common.client()?;
    let mut left = args.limit.unwrap_or(u64::MAX);
    let mut out = std::io::stdout().lock();
    walk(&mut client, &args.pattern, |_, keys| {
        for key in keys {
            if left == 0 {
                return Ok(false);
            }
            left -= 1;
            let line = match args.output {
                ScanOutput::Text => printable(key),
                ScanOutput::Json => pairs::key_object(key).to_string(),
            };
            writeln!(out, "{line}").map_err(|error| Failed::stdout(&error))?;
        }
        Ok(left > 0)
    })
}

/// Walks over the keys that match, some at a time, until `each` answers false or there are no more.
/// As with Redis, a key may come twice if the set changes meanwhile; one that stays always comes.
fn walk(
    client: &mut Client,
    pattern: &str,
    mut each: impl FnMut(&mut Client, &[Vec<u8>]) -> Result<bool, Failed>,
) -> Done {
    let mut cursor = "0".to_owned();
    loop {
        let words = ["SCAN", &cursor, "MATCH", pattern, "COUNT", "1000"].map(str::to_owned);
        let answer = client.call(&Command::read(words)).map_err(Failed::call)?;
        let (next, keys) = match answer.items() {
            Some([next, Value::Array(keys)]) => (next.text().unwrap_or("0").to_owned(), keys),
            _ => return Err(Failed::new(Exit::Usage, "SCAN was not answered with keys")),
        };
        let keys: Vec<_> = keys.iter().filter_map(Value::bytes).map(<[u8]>::to_vec).collect();
        if !each(client, &keys)? || next == "0" {
            return Ok(());
        }
        cursor = next;
    }
}

/// A key on one line: what is not printable text as `\x..`, so that a terminal stays safe.
fn printable(bytes: &[u8]) -> String {
    let mut out = String::new();
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => out.push_str("\\\\"),
                c if c.is_control() => {
                    c.to_string().bytes().for_each(|byte| out.push_str(&format!("\\x{byte:02x}")));
                }
                c => out.push(c),
            }
        }
        chunk.invalid().iter().for_each(|byte| out.push_str(&format!("\\x{byte:02x}")));
    }
    out
}
