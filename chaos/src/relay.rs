//! The network between peers, packet by packet: late, lost, doubled, out of order.
//!
//! TCP lies between this and the servers, and lets no byte be lost; what they feel is what a bad
//! network does to TCP: stalls, retransmissions, slow starts, connections that time out. One thread
//! reads from all devices and holds packets until they are due.

use crate::net::{Link, Net};
use crate::tun;
use base::Random;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::fs::File;
use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What a link does to packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weather {
    /// Every packet takes at least so long.
    pub delay: Duration,
    /// And up to so much longer.
    pub jitter: Duration,
    /// Whether later packets may overtake.
    pub reorders: bool,
    /// So many of a thousand are lost.
    pub lost: u64,
    /// So many of a thousand come twice.
    pub doubled: u64,
}

/// What happened to packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Taken in.
    pub packets: u64,
    /// Lost on purpose.
    pub lost: u64,
    /// Delivered twice.
    pub doubled: u64,
    /// Delivered after one that was sent later.
    pub overtaken: u64,
}

/// A network that runs.
#[derive(Debug)]
pub struct Relay {
    weather: Arc<Mutex<BTreeMap<Link, Weather>>>,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<Counts>>,
}

impl Relay {
    /// Gives each node a device and carries packets between them, at first in fair weather.
    pub fn start(net: &Net, nodes: usize, seed: u64) -> Result<Relay, String> {
        let mut devices = Vec::new();
        for node in 0..nodes {
            let opened = tun::open(&net.name(node), "peers");
            devices.push(opened.map_err(|error| format!("a TUN device: {error}"))?);
            net.relayed(node)?;
        }
        let (weather, ends) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let (forecast, end) = (Arc::clone(&weather), Arc::clone(&ends));
        let carry = move || {
            let sky = Sky::new(seed);
            carry(devices, sky, &forecast, &end)
        };
        Ok(Relay { weather, ends, thread: Some(std::thread::spawn(carry)) })
    }

    /// From now on these links are so, and all others fair.
    pub fn set(&self, weather: BTreeMap<Link, Weather>) {
        *self.weather.lock().unwrap_or_else(PoisonError::into_inner) = weather;
    }

    /// Ends it; what it did.
    pub fn end(mut self) -> Counts {
        self.ends.store(true, Ordering::Relaxed);
        self.thread.take().and_then(|thread| thread.join().ok()).unwrap_or_default()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Longest time without a look at whether the run is over.
const NAP: Duration = Duration::from_millis(50);
/// Packets taken from one device before the next has its turn.
const BURST: usize = 64;
const PACKET_BYTES_MAX: usize = 65_536;

fn carry(
    mut devices: Vec<File>,
    mut sky: Sky,
    weather: &Mutex<BTreeMap<Link, Weather>>,
    ends: &AtomicBool,
) -> Counts {
    let mut buffer = vec![0; PACKET_BYTES_MAX];
    let started = Instant::now();
    while !ends.load(Ordering::Relaxed) {
        let wait = sky.due().map_or(NAP, |due| due.saturating_sub(started.elapsed()).min(NAP));
        let wait = Timespec { tv_sec: 0, tv_nsec: wait.as_nanos() as i64 };
        let mut waited: Vec<PollFd> =
            devices.iter().map(|device| PollFd::new(device, PollFlags::IN)).collect();
        // Interrupted or not: what is readable is read below.
        let _ = poll(&mut waited, Some(&wait));
        let links = weather.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for (from, device) in devices.iter().enumerate() {
            let mut device = device;
            for _ in 0..BURST {
                let Ok(length) = device.read(&mut buffer) else { break };
                let packet = &buffer[..length];
                let Some(to) = addressee(packet).filter(|to| *to < devices.len()) else { continue };
                let fair = Weather::default();
                let link = links.get(&(from, to)).copied().unwrap_or(fair);
                sky.send((from, to), link, started.elapsed(), packet);
            }
        }
        while let Some((to, packet)) = sky.deliver(started.elapsed()) {
            // A device that takes nothing now loses it, as networks do.
            let _ = devices[to].write(&packet);
        }
    }
    sky.counts
}

/// The node that an IPv4 packet is for, by the last part of its address.
fn addressee(packet: &[u8]) -> Option<usize> {
    let version = packet.first()? >> 4;
    let last = *packet.get(19)?;
    (version == 4 && last > 0).then(|| usize::from(last) - 1)
}

/// Packets under way.
struct Sky {
    /// When due, in which order taken in, on which link.
    flying: BinaryHeap<Reverse<(Duration, u64, Link)>>,
    packets: BTreeMap<u64, Vec<u8>>,
    taken: u64,
    /// When the last packet of a link that keeps order is due.
    last_due: BTreeMap<Link, Duration>,
    /// The latest packet of each link that was delivered.
    delivered: BTreeMap<Link, u64>,
    random: Random,
    counts: Counts,
}

impl Sky {
    fn new(seed: u64) -> Sky {
        Sky {
            flying: BinaryHeap::new(),
            packets: BTreeMap::new(),
            taken: 0,
            last_due: BTreeMap::new(),
            delivered: BTreeMap::new(),
            random: Random::new(seed),
            counts: Counts::default(),
        }
    }

    /// When the next packet is due.
    fn due(&self) -> Option<Duration> {
        self.flying.peek().map(|Reverse((due, ..))| *due)
    }

    /// Takes a packet in.
    fn send(&mut self, link: Link, weather: Weather, now: Duration, packet: &[u8]) {
        self.counts.packets += 1;
        if self.random.chance(weather.lost, 1000) {
            self.counts.lost += 1;
            return;
        }
        self.fly(link, weather, now, packet);
        if self.random.chance(weather.doubled, 1000) {
            self.counts.doubled += 1;
            self.fly(link, weather, now, packet);
        }
    }

    fn fly(&mut self, link: Link, weather: Weather, now: Duration, packet: &[u8]) {
        let jitter = self.random.below(weather.jitter.as_nanos() as u64 + 1);
        let mut due = now + weather.delay + Duration::from_nanos(jitter);
        if !weather.reorders {
            due = due.max(self.last_due.get(&link).copied().unwrap_or_default());
        }
        self.last_due.insert(link, due);
        self.taken += 1;
        self.flying.push(Reverse((due, self.taken, link)));
        self.packets.insert(self.taken, packet.to_vec());
    }

    /// The next packet that is due by now, and to whom.
    fn deliver(&mut self, now: Duration) -> Option<(usize, Vec<u8>)> {
        let Reverse((_, number, link)) = self.flying.peek().copied()?;
        if self.due()? > now {
            return None;
        }
        self.flying.pop();
        let latest = self.delivered.entry(link).or_default();
        self.counts.overtaken += u64::from(number < *latest);
        *latest = number.max(*latest);
        let packet = self.packets.remove(&number).expect("a packet under way");
        Some((link.1, packet))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn all(sky: &mut Sky, at: Duration) -> Vec<u8> {
        std::iter::from_fn(|| sky.deliver(at)).map(|(_, packet)| packet[0]).collect()
    }

    #[test]
    fn in_fair_weather_packets_come_at_once_and_in_order() {
        let mut sky = Sky::new(1);
        for number in 0..100 {
            sky.send((0, 1), Weather::default(), MS, &[number]);
        }
        assert_eq!(all(&mut sky, MS), (0..100).collect::<Vec<u8>>());
        assert_eq!(sky.counts, Counts { packets: 100, ..Counts::default() });
    }

    #[test]
    fn a_late_link_keeps_order_unless_it_is_told_not_to() {
        let late = Weather { delay: 10 * MS, jitter: 50 * MS, ..Weather::default() };
        let mut sky = Sky::new(1);
        for number in 0..100 {
            sky.send((0, 1), late, u32::from(number) * MS, &[number]);
        }
        assert!(all(&mut sky, 9 * MS).is_empty());
        assert_eq!(all(&mut sky, 500 * MS), (0..100).collect::<Vec<u8>>());
        for number in 0..100 {
            let mixed = Weather { reorders: true, ..late };
            sky.send((0, 1), mixed, (600 + u32::from(number)) * MS, &[number]);
        }
        assert_ne!(all(&mut sky, 900 * MS), (0..100).collect::<Vec<u8>>());
        assert!(sky.counts.overtaken > 10, "{:?}", sky.counts);
    }

    #[test]
    fn some_are_lost_and_some_come_twice() {
        let bad = Weather { lost: 300, doubled: 200, ..Weather::default() };
        let mut sky = Sky::new(1);
        for _ in 0..1000 {
            sky.send((0, 1), bad, MS, &[0]);
        }
        let Counts { lost, doubled, .. } = sky.counts;
        assert!((200..400).contains(&lost) && (70..230).contains(&doubled), "{:?}", sky.counts);
        assert_eq!(all(&mut sky, MS).len() as u64, 1000 - lost + doubled);
    }

    #[test]
    fn packets_go_to_the_node_of_their_address() {
        let mut packet = [0; 20];
        packet[0] = 0x45;
        packet[16..].copy_from_slice(&[10, 2, 0, 3]);
        assert_eq!(addressee(&packet), Some(2));
        packet[0] = 0x60;
        assert_eq!(addressee(&packet), None);
        assert_eq!(addressee(&[0x45]), None);
    }
}
