//! How far a run is: a bar on a terminal, lines elsewhere.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{IsTerminal, stderr};

/// A bar of steps.
pub struct Progress {
    bar: ProgressBar,
    terminal: bool,
}

impl Progress {
    /// One with so many steps before it.
    pub fn new(steps: u64) -> Progress {
        let terminal = stderr().is_terminal();
        let target =
            if terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(steps), target);
        let style = ProgressStyle::with_template("{bar:24} {pos}/{len}, {eta} left  {wide_msg}");
        bar.set_style(style.expect("a template of known words"));
        Progress { bar, terminal }
    }

    /// What goes on right now; only a terminal wants to know.
    pub fn say(&self, what: &str) {
        self.bar.set_message(what.to_owned());
        self.bar.tick();
    }

    /// A step is done; `line` stays.
    pub fn step(&self, line: &str) {
        if self.terminal {
            self.bar.println(line);
        } else {
            eprintln!("{line}");
        }
        self.bar.inc(1);
    }

    /// Everything is done.
    pub fn end(&self) {
        self.bar.finish_and_clear();
    }
}
