//! File descriptors: each connection takes one, and systems start programs with few.
//!
//! The usual soft limit is 1,024, so that ancient programs which can't count further don't break; the
//! hard limit is what the administrator allows. A server raises the one to the other. If even that
//! is too little for the connections it may have, it takes fewer: a client that is told so is better
//! off than one that waits in the system's queue, and files and peers need descriptors too.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What each node keeps for its files, its peers and HTTP.
const KEPT: u64 = 512;

/// Raises the soft limit to the hard one; how many descriptors this process may have then.
pub fn raise() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => count(limit.maximum),
        Err(error) => {
            // Some systems have a smaller limit of their own beside an unlimited hard one.
            tracing::debug!(%error, "the limit on file descriptors stays as it is");
            count(limit.current)
        }
    }
}

fn count(limit: Option<u64>) -> u64 {
    limit.unwrap_or(u64::MAX)
}

/// How many of `wanted` client connections a node can have, if `nodes` of them share `descriptors`.
pub fn connections(wanted: usize, descriptors: u64, nodes: u64) -> usize {
    let share = descriptors / nodes.max(1);
    let room = share - KEPT.min(share / 2);
    let granted = wanted.min(usize::try_from(room).unwrap_or(usize::MAX));
    if granted < wanted {
        tracing::warn!(
            descriptors,
            "room for {granted} client connections of {wanted}: raise the limit on open files \
             (ulimit -Hn, or LimitNOFILE of the service)"
        );
    }
    granted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_peers_keep_their_share() {
        assert_eq!(connections(10_000, 1 << 20, 1), 10_000);
        assert_eq!(connections(10_000, 1_024, 1), 512);
        assert_eq!(connections(10_000, 20_000, 3), 6_154);
        assert_eq!(connections(100, 60, 1), 30);
        assert_eq!(connections(10_000, u64::MAX, 3), 10_000);
    }
}
