//! `underpin dev`: a whole cluster in this process, for a first look and for tests of software that
//! uses one.
//!
//! The nodes are real: each has its data directory, its log, its sockets, and talks to the others
//! over them; only the process is shared. So killing one (`k`) shows what an outage is like, and
//! healing it (`h`) what a recovery is.

mod card;
mod cluster;
mod events;
mod keys;
mod place;
mod ports;

use crate::cli::Done;
use crate::logs::Tape;
use crate::memory;
use crate::report::{put, say};
use crate::signals::{self, Hangups};
use card::KEYS;
use cluster::Cluster;
use keys::Keys;
use std::path::PathBuf;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Run a cluster in this process, for a first look and for tests
///
/// Its data is temporary unless --data names a folder; a later start on the same folder goes on
/// with what is there. It listens on loopback only.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Keep the data in this folder
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// How many nodes [default: 3]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=9))]
    nodes: Option<u64>,
    /// Redis clients connect here and on the next ports; busy ones are replaced by free ones, and 0
    /// asks for free ones
    #[arg(long, value_name = "PORT", default_value_t = 6379)]
    resp_port: u16,
    /// Health and metrics, the first node's here and the others' on the next ports
    #[arg(long, value_name = "PORT", default_value_t = 7480)]
    http_port: u16,
    /// What clients must say [default: nothing]
    #[arg(long)]
    password: Option<String>,
    /// Print one JSON object once it is ready, for programs
    #[arg(long)]
    json: bool,
    /// How much is logged
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    log: tracing::Level,
}

/// Why the main thread wakes.
enum Event {
    Signal,
    Key(u8),
}

/// How often the nodes are looked at for events.
const LOOK: Duration = Duration::from_millis(50);

/// Runs it until it is told to stop.
pub fn run(args: &Args) -> Done {
    let started = Instant::now();
    let keys_wanted = !args.json && Keys::present();
    // On a terminal logs wait for `l`; anywhere else they are all that anyone will see.
    let tape = Tape::new(!keys_wanted && !args.json);
    tape.install(args.log);
    memory::look_after()?;
    let (events_in, events) = channel();
    // Without a terminal whoever started this may want it to stay when they leave (nohup).
    let hangups = if keys_wanted { Hangups::Stop } else { Hangups::AsInherited };
    signals::watch(events_in.clone(), hangups, || Event::Signal)?;

    let mut cluster = Cluster::start(args)?;
    cluster.await_ready()?;
    let card = cluster.card(started.elapsed(), keys_wanted);
    put(&if args.json { card.json().to_string() } else { card.text() })?;
    let keys = if keys_wanted { Keys::read(events_in, Event::Key) } else { None };

    loop {
        match events.recv_timeout(LOOK) {
            Ok(Event::Signal) => break,
            Ok(Event::Key(b'q')) => break,
            Ok(Event::Key(b'k')) => told(cluster.kill_leader()),
            Ok(Event::Key(b'h')) => told(cluster.heal()),
            Ok(Event::Key(b'l')) if !tape.toggle(20) => say("logs are off"),
            Ok(Event::Key(b'?')) => say(KEYS),
            Ok(Event::Key(key)) if key.is_ascii_graphic() => {
                say(&format!("{} does nothing here: {KEYS}", char::from(key)));
            }
            Ok(Event::Key(_)) | Err(RecvTimeoutError::Timeout) => {}
            // The signals' thread holds the other end for as long as we live.
            Err(RecvTimeoutError::Disconnected) => break,
        }
        told(cluster.look());
    }
    drop(keys);
    say(&cluster.stop());
    Ok(())
}

/// Says what happened, each line with the time.
fn told(lines: Vec<String>) {
    for line in lines {
        say(&format!("{}  {line}", time_of_day(SystemTime::now())));
    }
}

/// The time in UTC, as the log has it: `14:02:07Z`.
fn time_of_day(now: SystemTime) -> String {
    let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() % 86_400;
    format!("{:02}:{:02}:{:02}Z", seconds / 3_600, seconds / 60 % 60, seconds % 60)
}
