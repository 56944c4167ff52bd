//! SIGTERM and SIGINT as events: asked to stop, and asked again by someone who can't wait.

use crate::report::{Exit, Failed};
use std::sync::mpsc::Sender;
use tokio::signal::unix::{SignalKind, signal};

/// Sends `event` for each signal that asks this process to stop. The third one ends it at once.
pub fn watch<T: Send + 'static>(
    to: Sender<T>,
    event: impl Fn() -> T + Send + 'static,
) -> Result<(), Failed> {
    let failed =
        |error: std::io::Error| Failed::new(Exit::No, format!("cannot watch for signals: {error}"));
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_io().build().map_err(failed)?;
    let (mut terminate, mut interrupt) = {
        let _inside = runtime.enter();
        let terminate = signal(SignalKind::terminate()).map_err(failed)?;
        (terminate, signal(SignalKind::interrupt()).map_err(failed)?)
    };
    let watching = async move {
        for count in 1.. {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
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
