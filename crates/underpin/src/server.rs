//! `underpin server`: one node in the foreground, until it is told to stop.

use crate::cli::Done;
use crate::config::{Address, Config};
use crate::config_command::From;
use crate::descriptors;
use crate::local::{self, Setup, Tuning};
use crate::logs::Tape;
use crate::memory;
use crate::report::{Exit, Failed};
use crate::signals::{self, Hangups};
use runtime::{Bind, ClockTest, Exit as End};
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::mpsc::channel;

/// Run a node on its data directory
///
/// The directory is made by `underpin format`; a server never makes one, so that a wrong path can't
/// start an empty node. SIGTERM and Ctrl-C hand leaderships over and stop.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    from: From,
    /// For tests: the wall clock is off by so many milliseconds
    #[arg(long, hide = true, default_value_t = 0, allow_negative_numbers = true)]
    test_clock_offset_ms: i64,
    /// For tests: the wall clock runs too fast by so many parts per million
    #[arg(long, hide = true, default_value_t = 0, allow_negative_numbers = true)]
    test_clock_rate_ppm: i64,
    /// For tests: the monotonic clock runs too fast by so many parts per million
    #[arg(long, hide = true, default_value_t = 0, allow_negative_numbers = true)]
    test_clock_mono_ppm: i64,
}

/// Why the main thread wakes.
enum Event {
    Signal,
    Ended(End),
}

/// Runs it.
pub fn run(args: &Args) -> Done {
    let config = args.from.config()?;
    Tape::new(true).install(config.log_level);
    for warning in config.warnings() {
        tracing::warn!("{warning}");
    }
    let clock = ClockTest {
        offset_ms: args.test_clock_offset_ms,
        rate_ppm: args.test_clock_rate_ppm,
        mono_ppm: args.test_clock_mono_ppm,
    };
    memory::look_after()?;
    let (events_in, events) = channel();
    signals::watch(events_in.clone(), Hangups::AsInherited, || Event::Signal)?;
    let local = local::start(setup(&config, clock)?)?;
    let server = Arc::clone(&local.server);
    tracing::info!(
        node = %config.node,
        resp = %config.resp,
        peer = %config.peer,
        http = %config.http,
        "version {} is up",
        env!("CARGO_PKG_VERSION"),
    );
    let watched = Arc::clone(&server);
    std::thread::spawn(move || drop(events_in.send(Event::Ended(watched.wait()))));
    let end = match events.recv() {
        Ok(Event::Signal) => {
            tracing::info!(node = %config.node, "asked to stop: handing over");
            server.stop()
        }
        Ok(Event::Ended(end)) => end,
        Err(_) => server.wait(),
    };
    match end {
        End::Stopped => Ok(()),
        End::Killed => Err(Failed::new(Exit::No, "the node was killed")),
        End::Fatal(text) => Err(Failed::new(Exit::No, text)),
    }
}

fn setup(config: &Config, clock: ClockTest) -> Result<Setup, Failed> {
    Ok(Setup {
        data: config.data.clone(),
        resp: Bind::Address(resolve(&config.resp)?),
        peer: Bind::Address(resolve(&config.peer)?),
        http: Bind::Address(resolve(&config.http)?),
        peers: config.peers.iter().map(|(node, peer)| (*node, peer.to_string())).collect(),
        client_address: config.resp_advertised.as_ref().map(Address::to_string).unwrap_or_default(),
        secret: config.secret.clone(),
        password: config.password.clone(),
        tuning: Tuning::of(config).within(descriptors::raise(), 1),
        clock,
    })
}

fn resolve(address: &Address) -> Result<SocketAddr, Failed> {
    let found = (address.host.as_str(), address.port).to_socket_addrs();
    let found = found.ok().and_then(|mut found| found.next());
    found.ok_or_else(|| {
        Failed::new(Exit::Usage, format!("`{}` is not an address of this machine", address.host))
            .help("listen on an IP address, such as 127.0.0.1 or 0.0.0.0")
    })
}
