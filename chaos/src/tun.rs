//! TUN devices: a network card whose cable ends in this program.
//!
//! Each node's namespace gets one in place of its card to the peers; whatever packet it sends can be
//! read here, and whatever is written here it receives. That is how a user-space program becomes the
//! network between real TCP stacks, without a kernel that can delay or lose packets by itself.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;

/// Opens a TUN device of this name in a network namespace. The device is gone when it is closed.
pub fn open(namespace: &str, name: &str) -> io::Result<File> {
    let (namespace, name) = (format!("/run/netns/{namespace}"), name.to_owned());
    // A thread of its own enters the namespace, and ends there; the device stays with it.
    let there = std::thread::spawn(move || {
        let place = File::open(&namespace)?;
        let kind = rustix::thread::LinkNameSpaceType::Network;
        rustix::thread::move_into_link_name_space(place.as_fd(), Some(kind))?;
        device(&name)
    });
    there.join().unwrap_or_else(|_| Err(io::Error::other("a thread in a namespace failed")))
}

/// `struct ifreq` as TUNSETIFF reads it: a name, flags, and room for what other requests need.
#[repr(C)]
struct Request {
    name: [u8; 16],
    flags: u16,
    rest: [u8; 22],
}

/// Whole IP packets, without a header before them.
const TUN_NO_HEADER: u16 = 0x0001 | 0x1000;
const TUNSETIFF: rustix::ioctl::Opcode = rustix::ioctl::opcode::write::<i32>(b'T', 202);

fn device(name: &str) -> io::Result<File> {
    let file = File::options().read(true).write(true).open("/dev/net/tun")?;
    let mut request = Request { name: [0; 16], flags: TUN_NO_HEADER, rest: [0; 22] };
    assert!(name.len() < request.name.len(), "{name} is too long for a device");
    request.name[..name.len()].copy_from_slice(name.as_bytes());
    set_device(&file, request)?;
    let flags = rustix::fs::fcntl_getfl(&file)?;
    rustix::fs::fcntl_setfl(&file, flags | rustix::fs::OFlags::NONBLOCK)?;
    Ok(file)
}

#[allow(unsafe_code)]
fn set_device(file: &File, request: Request) -> io::Result<()> {
    // SAFETY: TUNSETIFF takes a pointer to a `struct ifreq`, which is 40 bytes on 64-bit Linux and
    // whose first 18 `Request` lays out as the kernel does; it stays alive through the call. The
    // kernel writes the device's name back into it, which `Updater` allows.
    unsafe {
        let mut request = request;
        let update = rustix::ioctl::Updater::<TUNSETIFF, Request>::new(&mut request);
        rustix::ioctl::ioctl(file, update)?;
    }
    Ok(())
}

const _: () = assert!(size_of::<Request>() == 40);
