//! A timer that epoll waits for with everything else, more exactly than its own milliseconds.

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use std::io;
use std::time::Duration;

/// One alarm at a time.
pub struct Timer(OwnedFd);

impl Timer {
    /// One that wakes a poll under `token`.
    pub fn new(registry: &Registry, token: Token) -> io::Result<Timer> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        registry.register(&mut SourceFd(&timer.as_raw_fd()), token, Interest::READABLE)?;
        Ok(Timer(timer))
    }

    /// Wakes the poll after so long, instead of at an earlier time set.
    pub fn set(&self, after: Duration) -> io::Result<()> {
        // Zero would switch it off.
        let after = after.max(Duration::from_nanos(1));
        let value =
            Timespec { tv_sec: after.as_secs() as i64, tv_nsec: i64::from(after.subsec_nanos()) };
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: value };
        timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &once)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mio::{Events, Poll};
    use std::time::Instant;

    #[test]
    fn it_wakes_again_and_again_without_being_read() {
        let (mut poll, mut events) = (Poll::new().unwrap(), Events::with_capacity(8));
        let timer = Timer::new(poll.registry(), Token(7)).unwrap();
        for _ in 0..3 {
            let started = Instant::now();
            timer.set(Duration::from_micros(300)).unwrap();
            poll.poll(&mut events, Some(Duration::from_secs(20))).unwrap();
            assert!(events.iter().any(|event| event.token() == Token(7)));
            assert!(started.elapsed() >= Duration::from_micros(300));
        }
    }
}
