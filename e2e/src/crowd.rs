//! Crowds of strangers: many connections that all send the same, at their own pace, and never read.
//!
//! One thread keeps a crowd going: it writes to whichever sockets take something, so a server that
//! stops reading costs the test nothing either.

use std::io::{ErrorKind, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// What each of a crowd sends.
#[derive(Clone, Debug)]
pub struct Script {
    /// In a test's output.
    pub name: &'static str,
    /// Sent once per connection, from the beginning.
    pub bytes: Arc<[u8]>,
    /// At most so many bytes at a time, a hundred times a second.
    pub pace: usize,
}

impl Script {
    /// As fast as the server takes it.
    pub fn fast(name: &'static str, bytes: Vec<u8>) -> Script {
        Script { name, bytes: bytes.into(), pace: usize::MAX }
    }

    /// Byte by byte.
    pub fn slow(name: &'static str, bytes: Vec<u8>) -> Script {
        Script { name, bytes: bytes.into(), pace: 1 }
    }
}

/// A crowd; it leaves when it is dropped.
#[derive(Debug)]
pub struct Crowd {
    name: &'static str,
    over: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    turned_away: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

struct Stranger {
    stream: TcpStream,
    sent: usize,
}

impl Crowd {
    /// `count` connections.
    pub fn gather(address: SocketAddr, count: usize, script: Script) -> Crowd {
        let over = Arc::new(AtomicBool::new(false));
        let sent = Arc::new(AtomicU64::new(0));
        let turned_away = Arc::new(AtomicU64::new(0));
        let (stop, total, away) = (Arc::clone(&over), Arc::clone(&sent), Arc::clone(&turned_away));
        let name = script.name;
        let thread = thread::spawn(move || {
            let connect = |_| {
                let stream = TcpStream::connect(address).ok()?;
                stream.set_nonblocking(true).ok()?;
                Some(Stranger { stream, sent: 0 })
            };
            let mut strangers: Vec<Stranger> = (0..count).filter_map(connect).collect();
            while !stop.load(Ordering::Relaxed) {
                let before = strangers.len();
                strangers.retain_mut(|stranger| stranger.go_on(&script, &total));
                away.fetch_add((before - strangers.len()) as u64, Ordering::Relaxed);
                thread::sleep(Duration::from_millis(10));
            }
        });
        Crowd { name, over, sent, turned_away, thread: Some(thread) }
    }
}

impl Stranger {
    /// Sends more, if the server takes it. False: the server closed the connection.
    fn go_on(&mut self, script: &Script, total: &AtomicU64) -> bool {
        let rest = &script.bytes[self.sent..];
        let rest = &rest[..rest.len().min(script.pace).min(1 << 20)];
        if rest.is_empty() {
            return true;
        }
        match self.stream.write(rest) {
            Ok(count) => {
                self.sent += count;
                total.fetch_add(count as u64, Ordering::Relaxed);
                true
            }
            Err(error) => error.kind() == ErrorKind::WouldBlock,
        }
    }
}

impl std::fmt::Display for Crowd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (sent, away) = (&self.sent, &self.turned_away);
        let (mib, away) = (sent.load(Ordering::Relaxed) >> 20, away.load(Ordering::Relaxed));
        write!(f, "{}: {mib} MiB taken, {away} closed", self.name)
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
