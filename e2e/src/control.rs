//! What a machine adds to the processor's time of a thread that always does the same.
//!
//! A kernel may charge a thread for interrupts that came in its time, and a virtual machine for the
//! time in which it did not run at all. Beside turns of nodes that took long, this tells how many
//! pieces of a work that can't take long did so too.

use crate::turns::{BOUNDS_MS, Counts};
use rustix::time::{ClockId, clock_gettime};
use std::thread;
use std::time::{Duration, Instant};

/// Random changes to a table of a few megabytes, a fifth of a millisecond of today's processors.
const CHANGES: usize = 15_000;
/// Places in that table; a power of two.
const PLACES: usize = 1 << 22;

/// Lets so many threads do nothing but such pieces for a while, and counts those whose processor's
/// time exceeded each of [`BOUNDS_MS`].
pub fn measure(threads: usize, time: Duration) -> Counts {
    let threads: Vec<_> = (0..threads).map(|_| thread::spawn(move || pieces(time))).collect();
    let mut sum = Counts::default();
    for thread in threads {
        let counts = thread.join().expect("nothing in it fails");
        sum.all += counts.all;
        sum.over.iter_mut().zip(counts.over).for_each(|(sum, more)| *sum += more);
    }
    sum
}

fn pieces(time: Duration) -> Counts {
    let mut table: Vec<u32> = (0..PLACES as u32).collect();
    let (mut counts, mut x) = (Counts::default(), 1_u32);
    let started = Instant::now();
    while started.elapsed() < time {
        let before = thread_cpu();
        for _ in 0..CHANGES {
            // The linear congruential generator of Numerical Recipes, section 7.1.
            x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            table[(x >> 8) as usize % PLACES] ^= x;
        }
        let took = thread_cpu() - before;
        counts.all += 1;
        for (over, bound) in counts.over.iter_mut().zip(BOUNDS_MS) {
            *over += u64::from(took > Duration::from_millis(bound));
        }
    }
    counts
}

fn thread_cpu() -> Duration {
    let spent = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(spent.tv_sec as u64, spent.tv_nsec as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn most_pieces_are_short() {
        let counts = measure(1, Duration::from_millis(200));
        assert!(counts.all > 10, "{counts:?}");
        assert!(counts.over[0] < counts.all / 2, "{counts:?}");
    }
}
