//! Redis as the oracle.

use crate::place::{self, Folder};
use crate::process::Process;
use crate::{resp, wait};
use std::net::SocketAddr;
use std::process::Command;

/// A `redis-server` with an empty folder of its own.
#[derive(Debug)]
pub struct Redis {
    /// Where it listens.
    pub address: SocketAddr,
    /// The process.
    pub process: Process,
    _folder: Folder,
}

impl Redis {
    /// Starts one and waits until it answers. `options` are words of its command line.
    pub fn start(options: &[&str]) -> Redis {
        let folder = Folder::new("redis");
        let address = SocketAddr::from(([127, 0, 0, 1], place::ports(1)));
        let mut command = Command::new(place::redis_server());
        command.args(["--port", &address.port().to_string(), "--bind", "127.0.0.1"]);
        command.args(["--dir", &folder.path().to_string_lossy(), "--save", ""]);
        let process = Process::start(command.args(options), &folder.join("log"));
        let redis = Redis { address, process, _folder: folder };
        wait::until("an answer of Redis", wait::READY, || {
            let pong = resp::ask(address, &["PING"]).ok()?;
            (pong.text() == "PONG").then_some(())
        });
        redis
    }
}
