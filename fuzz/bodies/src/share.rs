//! What share of a campaign's inputs got past the first parse.
#![allow(unsafe_code, clippy::print_stderr)]

use std::sync::atomic::{AtomicU64, Ordering};

static ALL: AtomicU64 = AtomicU64::new(0);
static PAST: AtomicU64 = AtomicU64::new(0);

/// Counts an input.
pub fn count(past_first_parse: bool) {
    ALL.fetch_add(1, Ordering::Relaxed);
    PAST.fetch_add(u64::from(past_first_parse), Ordering::Relaxed);
}

unsafe extern "C" {
    fn atexit(run: extern "C" fn()) -> i32;
}

extern "C" fn print() {
    let (all, past) = (ALL.load(Ordering::Relaxed), PAST.load(Ordering::Relaxed));
    let share = 100.0 * past as f64 / all.max(1) as f64;
    eprintln!("past the first parse: {past} of {all} executions ({share:.1} %)");
}

/// Has the share printed when the process ends.
pub fn print_at_the_end() {
    // SAFETY: it is given a function that lives as long as the program.
    let registered = unsafe { atexit(print) };
    assert_eq!(registered, 0, "there is room for one more function at exit");
}
