//! SIGTERM, SIGINT and, at a terminal, SIGHUP as events: asked to stop, and asked again by someone who can't wait.

use crate::report::{Exit, Failed};
use std::sync::mpsc::Sender;
use tokio::signal::unix::{SignalKind, signal};

/// What SIGHUP means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hangups {
    /// The same as SIGTERM: the terminal is gone, and with it the one who looked.
    Stop,
    /// Whatever this process was started with.
    AsInherited,
}

/// Sends `event` for each signal that asks this process to stop. The third one ends it at once.
pub fn watch<T: Send + 'static>(
    to: Sender<T>,
    hangups: Hangups,
    event: impl Fn() -> T + Send + 'static,
) -> Result<(), Failed> {
    let failed =
        |error: std::io::Error| Failed::new(Exit::No, format!("cannot watch for signals: {error}"));
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_io().build().map_err(failed)?;
    let inside = runtime.enter();
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut hangup = match hangups {
        Hangups::Stop => Some(signal(SignalKind::hangup()).map_err(failed)?),
        Hangups::AsInherited => None,
    };
    drop(inside);
    let watching = async move {
        for count in 1.. {
            let hung_up = async {
                match &mut hangup {
                    Some(hangup) => hangup.recv().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
                _ = hung_up => {}
            }
            if count == 3 {
                std::process::exit(130);
            }
            // Whoever listened may have ended already; the next signal still counts.
            drop(to.send(event()));
        }
    };
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(move || runtime.block_on(watching))
        .map(drop)
        .map_err(failed)
}
