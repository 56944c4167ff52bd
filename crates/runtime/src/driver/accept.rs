//! When the system hands out no connection.
//!
//! As a rule the process has no file descriptor left. The connection then stays where it is, in the
//! system's queue, and its socket goes on being ready: without a pause, accepting would spin. With
//! one, whoever waits there is served once a descriptor is free, and everyone inside is served
//! meanwhile.

use super::seldom::Seldom;
use base::NodeId;
use std::io;
use std::time::Duration;

const PAUSE: Duration = Duration::from_millis(100);

/// The trouble of one listener.
pub(super) struct Trouble {
    node: NodeId,
    /// "a client", "a peer".
    who: &'static str,
    seldom: Seldom,
}

impl Trouble {
    pub(super) fn new(node: NodeId, who: &'static str) -> Trouble {
        Trouble { node, who, seldom: Seldom::default() }
    }

    /// A connection could not be accepted: says so now and then, and waits.
    pub(super) async fn pause(&mut self, error: &io::Error) {
        if let Some(tries) = self.seldom.due() {
            tracing::warn!(
                node = %self.node, %error, tries,
                "{} could not be accepted and waits; {}", self.who, advice(error)
            );
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn advice(error: &io::Error) -> &'static str {
    use rustix::io::Errno;
    match Errno::from_io_error(error) {
        Some(Errno::MFILE) => {
            "this process has no file descriptor left: raise its limit (ulimit -n)"
        }
        Some(Errno::NFILE) => "this machine has no file descriptor left",
        _ => "it is tried again",
    }
}
