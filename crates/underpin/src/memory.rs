//! The allocator, and who gives memory back to the system.
//!
//! Rows are allocated on a node's thread and freed on a helper's, a hundred thousand at a time. The
//! system's allocator (glibc's) puts those in order in one go, tens of milliseconds of a turn; this
//! one does it page by page.
//!
//! Left to itself it also gives back what has been free for a second, all of it at once, on whichever
//! thread happens to need a page next: after a memtable is gone those are tens of megabytes and 4 to
//! 11 ms of the processor in the middle of some turn. So it is told to wait for ever, and a thread of
//! its own gives back what is free. That is not often: what a node frees it soon needs again, and
//! pages that were given back are cleared by the system when they are touched next, in a turn.

use crate::report::{Exit, Failed};
use std::ffi::c_long;
use std::time::Duration;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How often memory is given back.
const EVERY: Duration = Duration::from_secs(10);
/// `mi_option_purge_delay` of the allocator's version 3, whose binding has no name for it: after how
/// many milliseconds any thread gives back what is free.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;
/// As good as for ever; the allocator adds the time of day to it.
const NEVER_MS: c_long = c_long::MAX / 4;

/// From now on memory is given back by a thread of its own only.
pub fn look_after() -> Result<(), Failed> {
    keep();
    let thread = std::thread::Builder::new().name("memory".into()).spawn(|| {
        loop {
            std::thread::sleep(EVERY);
            give_back();
        }
    });
    thread
        .map(drop)
        .map_err(|error| Failed::new(Exit::No, format!("cannot start a thread: {error}")))
}

/// Whoever allocates gives nothing back any more.
#[allow(unsafe_code)]
fn keep() {
    // SAFETY: sets a word of the allocator's own options, which it only reads. An option that it does
    // not know is ignored.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, NEVER_MS) }
    // What was freed before is due within a second, and would take what is freed until then with it.
    give_back();
}

/// Gives back what is free.
#[allow(unsafe_code)]
fn give_back() {
    // SAFETY: may be called from any thread at any time. It tidies this thread's own heap, and claims
    // free pages of all before it gives them back.
    unsafe { libmimalloc_sys::mi_collect(true) }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    /// Memory of this process, in MiB.
    fn resident_mib() -> usize {
        let status = std::fs::read_to_string("/proc/self/status").expect("a status");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("its memory");
        line.split_whitespace().nth(1).expect("a number").parse::<usize>().expect("kilobytes") >> 10
    }

    /// Allocates and frees so many KiB, as memtables do: here and there.
    fn use_kib(count: usize) {
        let blocks: Vec<Vec<u8>> = (0..count).map(|at| vec![at as u8; 1 << 10]).collect();
        std::thread::spawn(move || drop(blocks)).join().expect("blocks are freed");
    }

    #[test]
    fn nobody_but_its_thread_gives_memory_back() {
        const MIB: usize = 128;
        keep();
        let before = resident_mib();
        use_kib(MIB << 10);
        std::thread::sleep(Duration::from_millis(1_500)); // The allocator's own delay is 1,000.
        for _ in 0..10 {
            use_kib(1 << 10);
        }
        let kept = resident_mib();
        assert!(
            kept > before + MIB / 2,
            "{kept} MiB after {before}: given back by whoever allocated"
        );
        give_back();
        let left = resident_mib();
        assert!(left < before + MIB / 2, "{left} MiB after {before}: not given back");
    }
}
