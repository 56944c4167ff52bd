//! Where log lines go: to stderr as they come, or onto a tape that is shown on demand.

use std::collections::VecDeque;
use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard};
use tracing::Level;
use tracing_subscriber::fmt::MakeWriter;

/// Lines that the tape keeps.
const LINES_MAX: usize = 500;

/// The last log lines; cheap to clone. While it is followed, lines also go to stderr.
#[derive(Clone, Debug, Default)]
pub struct Tape {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    lines: VecDeque<Vec<u8>>,
    followed: bool,
}

impl Tape {
    /// A tape; `followed` from the start or not.
    pub fn new(followed: bool) -> Tape {
        let inner = Inner { lines: VecDeque::new(), followed };
        Tape { inner: Arc::new(Mutex::new(inner)) }
    }

    /// Makes it the place where this process' log lines of `level` and above go.
    pub fn install(&self, level: Level) {
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(level)
            .with_target(false)
            .with_ansi(false)
            .with_writer(self.clone());
        // A second call in one process (tests) keeps the first one's place.
        drop(tracing::subscriber::set_global_default(subscriber.finish()));
    }

    /// Follows it, after the last `lines`, or stops following. Returns which.
    pub fn toggle(&self, lines: usize) -> bool {
        let mut inner = self.lock();
        inner.followed = !inner.followed;
        if inner.followed {
            let skipped = inner.lines.len().saturating_sub(lines);
            inner.lines.iter().skip(skipped).for_each(|line| to_stderr(line));
        }
        inner.followed
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

fn to_stderr(line: &[u8]) {
    // Without stderr there is nobody to tell.
    drop(std::io::stderr().write_all(line));
}

/// One line being written.
pub struct Line {
    tape: Tape,
    bytes: Vec<u8>,
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let mut inner = self.tape.lock();
        if inner.followed {
            to_stderr(&self.bytes);
        }
        if inner.lines.len() == LINES_MAX {
            inner.lines.pop_front();
        }
        inner.lines.push_back(std::mem::take(&mut self.bytes));
    }
}

impl<'a> MakeWriter<'a> for Tape {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line { tape: self.clone(), bytes: Vec::new() }
    }
}
