//! What goes to a person rather than a program: a progress bar, and whether anyone is looking.

use crate::report::say;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// Progress on stderr. A bar shows only on a terminal and only once the work takes longer than a
/// blink; the last line stays in every case.
pub struct Progress {
    bar: ProgressBar,
    started: Instant,
    doing: &'static str,
    keys: u64,
    shown: bool,
}

const BLINK: Duration = Duration::from_millis(300);

impl Progress {
    /// Progress of `doing` ("imported", "exported"); `bytes` if the total is known.
    pub fn new(doing: &'static str, bytes: Option<u64>) -> Progress {
        let bar = ProgressBar::with_draw_target(bytes, ProgressDrawTarget::hidden());
        let style = match bytes {
            Some(_) => "{bar:32} {percent}%  {msg}  {binary_bytes_per_sec}, {eta} left",
            None => "{spinner} {msg}",
        };
        bar.set_style(ProgressStyle::with_template(style).expect("a valid template"));
        Progress { bar, started: Instant::now(), doing, keys: 0, shown: false }
    }

    /// So many more keys, and bytes of the total.
    pub fn add(&mut self, keys: u64, bytes: u64) {
        self.keys += keys;
        self.bar.inc(bytes);
        if !self.shown && self.started.elapsed() > BLINK {
            self.shown = true;
            if std::io::stderr().is_terminal() {
                self.bar.set_draw_target(ProgressDrawTarget::stderr());
            }
        }
        if self.shown {
            self.bar.set_message(format!("{} keys", self.keys));
        }
    }

    /// The last line.
    pub fn finish(self) {
        self.bar.finish_and_clear();
        let took = self.started.elapsed().as_secs_f64();
        let keys = if self.keys == 1 { "key" } else { "keys" };
        let rate = self.keys as f64 / took.max(0.001);
        say(&format!("{} {} {keys} in {took:.1} s, {rate:.0} a second", self.doing, self.keys));
    }
}
