//! `underpin kv import` and `export`.
//!
//! An import sends a window of keys at a time, all on their way at once, and repeats what was not
//! answered: storing the same value again does no harm unless someone else writes the same keys
//! meanwhile. An export is not one moment's picture: keys that change while it runs may be in it
//! as before or as after.

use super::pairs::{Format, Pair};
use super::{Common, walk};
use crate::cli::Done;
use crate::report::{Exit, Failed};
use crate::terminal::Progress;
use client::{Client, Command, Value};
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

#[derive(Debug, clap::Args)]
pub struct Import {
    /// The file; - is stdin
    #[arg(default_value = "-")]
    file: PathBuf,
    /// How it is written
    #[arg(long, value_enum, default_value = "jsonl")]
    format: Format,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
pub struct Export {
    /// Which keys: * stands for anything, ? for one letter, [abc] for one of these
    #[arg(default_value = "*")]
    pattern: String,
    /// How to write them
    #[arg(long, value_enum, default_value = "jsonl")]
    format: Format,
    #[command(flatten)]
    common: Common,
}

/// A window is sent when it holds so many keys or so many bytes, whichever comes first.
const WINDOW_KEYS: usize = 512;
const WINDOW_BYTES: usize = 1 << 20;
/// Values fetched at once: at most this many times the largest value is held.
const FETCH_KEYS: usize = 16;

/// Stores a file's keys.
pub fn import(args: &Import) -> Done {
    let mut client = args.common.client()?;
    let (mut input, size) = open(&args.file)?;
    let mut progress = Progress::new("imported", size);
    let mut window = Window::default();
    let mut line = String::new();
    for number in 1.. {
        line.clear();
        let read = input.read_line(&mut line);
        let read = read.map_err(|error| Failed::file("read", &args.file, &error))?;
        let text = line.trim_end_matches(['\r', '\n']);
        if !text.is_empty() {
            let pair = Pair::parse(text, args.format).map_err(|why| {
                let at = format!("{}:{number}", args.file.display());
                Failed::new(Exit::Usage, format!("{at}: the line {why}"))
                    .help("the lines before it were stored; importing them again does no harm")
            })?;
            window.push(pair);
        }
        window.bytes += read;
        if read == 0 || window.commands.len() >= WINDOW_KEYS || window.bytes >= WINDOW_BYTES {
            progress.add(window.commands.len() as u64, window.bytes as u64);
            window.send(&mut client)?;
        }
        if read == 0 {
            break;
        }
    }
    progress.finish();
    Ok(())
}

#[derive(Default)]
struct Window {
    commands: Vec<Command>,
    bytes: usize,
}

impl Window {
    fn push(&mut self, pair: Pair) {
        let mut command = Command::repeatable(["SET".into(), pair.key, pair.value]);
        if let Some(ttl_ms) = pair.ttl_ms {
            command = command.word("PX").word(ttl_ms.to_string());
        }
        self.commands.push(command);
    }

    fn send(&mut self, client: &mut Client) -> Done {
        for result in client.pipeline(&self.commands) {
            result.map_err(Failed::call)?;
        }
        *self = Window::default();
        Ok(())
    }
}

fn open(path: &Path) -> Result<(Box<dyn BufRead>, Option<u64>), Failed> {
    if path == Path::new("-") {
        return Ok((Box::new(BufReader::new(std::io::stdin())), None));
    }
    let file = File::open(path).map_err(|error| Failed::file("read", path, &error))?;
    let size = file.metadata().ok().filter(|facts| facts.is_file()).map(|facts| facts.len());
    Ok((Box::new(BufReader::new(file)), size))
}

/// Prints keys with their values.
pub fn export(args: &Export) -> Done {
    let mut client = args.common.client()?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    let mut progress = Progress::new("exported", None);
    walk(&mut client, &args.pattern, |client, keys| {
        for keys in keys.chunks(FETCH_KEYS) {
            let pairs = fetch(client, keys)?;
            for pair in &pairs {
                let line = pair.line(args.format);
                writeln!(out, "{line}").map_err(|error| Failed::stdout(&error))?;
            }
            progress.add(pairs.len() as u64, 0);
        }
        Ok(true)
    })?;
    out.flush().map_err(|error| Failed::stdout(&error))?;
    progress.finish();
    Ok(())
}

/// The pairs of those of `keys` that still exist.
fn fetch(client: &mut Client, keys: &[Vec<u8>]) -> Result<Vec<Pair>, Failed> {
    let ask = |name: &str, key: &[u8]| Command::read([name.as_bytes().to_vec(), key.to_vec()]);
    let commands: Vec<_> =
        keys.iter().flat_map(|key| [ask("GET", key), ask("PTTL", key)]).collect();
    let mut answers = client.pipeline(&commands).into_iter();
    let mut pairs = Vec::new();
    for key in keys {
        let mut next = || answers.next().expect("an answer to each").map_err(Failed::call);
        let (value, ttl) = (next()?, next()?);
        if let Value::Bulk(value) = value {
            let ttl_ms = ttl.integer().and_then(|ttl| u64::try_from(ttl).ok());
            pairs.push(Pair {
                key: key.clone(),
                value: value.to_vec(),
                ttl_ms: ttl_ms.filter(|ttl| *ttl > 0),
            });
        }
    }
    Ok(pairs)
}
