//! When the system hands out no connection.
//!
//! As a rule the process has no file descriptor left. The connection then stays where it is, in the
//! system's queue, and its socket goes on being ready: without a pause, accepting would spin. With
//! one, whoever waits there is served once a descriptor is free, and everyone inside is served
//! meanwhile.

use base::NodeId;
use std::io;
use std::time::{Duration, Instant};

const PAUSE: Duration = Duration::from_millis(100);
/// It is told again after so long.
const REPEAT_AFTER: Duration = Duration::from_secs(60);

/// The trouble of one listener.
pub(super) struct Trouble {
    node: NodeId,
    /// "a client", "a peer".
    who: &'static str,
    told: Option<Instant>,
    untold: u64,
}

impl Trouble {
    pub(super) fn new(node: NodeId, who: &'static str) -> Trouble {
        Trouble { node, who, told: None, untold: 0 }
    }

    /// A connection could not be accepted: says so now and then, and waits.
    pub(super) async fn pause(&mut self, error: &io::Error) {
        if let Some(tries) = self.tell() {
            tracing::warn!(
                node = %self.node, %error, tries,
                "{} could not be accepted and waits; {}", self.who, advice(error)
            );
        }
        tokio::time::sleep(PAUSE).await;
    }

    /// How many failed tries there were since this was last told, if it is time to tell.
    fn tell(&mut self) -> Option<u64> {
        self.untold += 1;
        if self.told.is_some_and(|told| told.elapsed() < REPEAT_AFTER) {
            return None;
        }
        self.told = Some(Instant::now());
        Some(std::mem::take(&mut self.untold))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_trouble_is_told_once_a_minute() {
        let mut trouble = Trouble::new(NodeId(1), "a client");
        assert_eq!(trouble.tell(), Some(1));
        assert_eq!((trouble.tell(), trouble.tell()), (None, None));
        trouble.told = Instant::now().checked_sub(REPEAT_AFTER);
        assert_eq!(trouble.tell(), Some(3));
    }
}
