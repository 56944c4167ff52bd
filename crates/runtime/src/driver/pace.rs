//! How much of the thread's time each part of a turn may take.
//!
//! The time is the wall's: looking at it costs next to nothing, and if somebody else had the
//! processor meanwhile the turn is over early, which does no harm. What turns are judged by is the
//! processor's time, from the end of one turn to the end of the next, so that what sockets brought
//! in between counts too.
//!
//! The node counts its work instead of timing it, since it knows no clock. What a count costs depends
//! on the machine and on who else uses it: the same 512 commands take 1 ms of a processor by itself,
//! and 4 ms of one whose caches four others sweep. So the node is told how much of its usual work a
//! turn may do ([`Share`]): less after a turn that took long, more after one that did not although it
//! was full.

use std::cell::{Cell, RefCell};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

/// For what sockets bring and take between two turns.
const SOCKETS: Duration = Duration::from_millis(1);
/// For messages of peers.
pub(super) const PEERS: Duration = Duration::from_millis(1);
/// For what clients want, as far as it is only put in line.
pub(super) const CLIENTS: Duration = Duration::from_micros(500);

/// A turn that takes longer than this of the processor's time has too much to do.
const TOO_LONG: Duration = Duration::from_micros(2_500);
/// A full turn that takes less could do more.
const SHORT: Duration = Duration::from_micros(1_500);
/// The smallest share, in percent: below it a turn is little but its own overhead.
const SHARE_MIN: usize = 10;

/// How much of its usual work the node may do in a turn, in percent.
#[derive(Debug)]
pub(super) struct Share(usize);

impl Default for Share {
    fn default() -> Share {
        Share(100)
    }
}

impl Share {
    /// A turn took so long, and was full or not. Returns the share of the next one.
    pub fn after(&mut self, cpu: Duration, full: bool) -> usize {
        if cpu > TOO_LONG {
            self.0 = (self.0 * 3 / 4).max(SHARE_MIN);
        } else if full && cpu < SHORT {
            self.0 = (self.0 + 5).min(100);
        }
        self.0
    }
}

/// The time between turns.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// When a socket was first worked on since the last turn.
    since: Cell<Option<Instant>>,
    /// Sockets that wait until the next turn is over.
    waiting: RefCell<Vec<Waker>>,
}

impl Pace {
    /// Whether a socket may be worked on before the next turn; otherwise it is woken after it.
    pub fn go_on(&self, cx: &Context<'_>) -> bool {
        if self.since.get().is_none_or(|since| since.elapsed() < SOCKETS) {
            return true;
        }
        self.waiting.borrow_mut().push(cx.waker().clone());
        false
    }

    /// A socket is being worked on.
    pub fn working(&self) {
        if self.since.get().is_none() {
            self.since.set(Some(Instant::now()));
        }
    }

    /// A turn is over: the sockets have theirs. Returns whether they were worked on before it.
    pub fn turn_over(&self) -> bool {
        let sockets = self.since.take().is_some();
        self.waiting.borrow_mut().drain(..).for_each(Waker::wake);
        sockets
    }
}

/// Takes from the front of a queue until the time is over, at least one; the rest stays.
pub(super) fn some<T>(queue: &mut Vec<T>, until: Instant, mut take: impl FnMut(T)) {
    let mut rest = std::mem::take(queue).into_iter();
    for it in rest.by_ref() {
        take(it);
        if Instant::now() >= until {
            break;
        }
    }
    *queue = rest.collect();
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    #[test]
    fn what_there_is_no_time_for_stays_in_order() {
        let (mut queue, mut taken) = (vec![1, 2, 3, 4], Vec::new());
        some(&mut queue, Instant::now(), |it| taken.push(it));
        assert_eq!((&taken[..], &queue[..]), (&[1][..], &[2, 3, 4][..]));
        some(&mut queue, Instant::now() + Duration::from_secs(60), |it| taken.push(it));
        assert_eq!((&taken[..], queue.len()), (&[1, 2, 3, 4][..], 0));
    }

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_node_whose_turns_take_long_gets_less_to_do_until_they_are_short_again() {
        let (long, short) = (Duration::from_millis(4), Duration::from_millis(1));
        let mut share = Share::default();
        assert_eq!((share.after(short, true), share.after(long, true)), (100, 75));
        assert_eq!(share.after(short, false), 75, "it had nothing more to do");
        assert_eq!(share.after(Duration::from_millis(2), true), 75, "as long as it should be");
        for _ in 0..20 {
            share.after(long, true);
        }
        assert_eq!(share.after(long, true), SHARE_MIN);
        for _ in 0..20 {
            share.after(short, true);
        }
        assert_eq!(share.after(short, true), 100);
    }

    #[test]
    fn sockets_that_used_up_their_time_wait_for_the_turn() {
        let (pace, woken) = (Pace::default(), Arc::new(Woken::default()));
        let waker = Waker::from(Arc::clone(&woken));
        let cx = Context::from_waker(&waker);
        std::thread::sleep(SOCKETS);
        assert!(pace.go_on(&cx), "nothing was done yet");
        pace.working();
        std::thread::sleep(SOCKETS);
        assert!(!pace.go_on(&cx));
        assert_eq!(woken.0.load(Ordering::Relaxed), 0);
        assert!(pace.turn_over(), "sockets were worked on");
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
        assert!(pace.go_on(&cx));
        assert!(!pace.turn_over());
    }
}
