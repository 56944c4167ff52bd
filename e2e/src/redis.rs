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
    options: Vec<String>,
    folder: Folder,
}

impl Redis {
    /// Starts one and waits until it answers. `options` are words of its command line.
    pub fn start(options: &[&str]) -> Redis {
        let folder = Folder::new("redis");
        let address = SocketAddr::from(([127, 0, 0, 1], place::ports(1)));
        let options: Vec<String> = options.iter().map(ToString::to_string).collect();
        let process = spawn(address, &folder, &options);
        Redis { address, process, options, folder }
    }

    /// `kill -9`, and a start with what is left on the disk.
    pub fn kill_and_restart(&mut self) {
        self.process.kill();
        self.process = spawn(self.address, &self.folder, &self.options);
    }
}

fn spawn(address: SocketAddr, folder: &Folder, options: &[String]) -> Process {
    let mut command = Command::new(place::redis_server());
    command.args(["--port", &address.port().to_string(), "--bind", "127.0.0.1"]);
    command.args(["--dir", &folder.path().to_string_lossy(), "--save", ""]);
    let process = Process::start(command.args(options), &folder.join("log"));
    wait::until("an answer of Redis", wait::READY, || {
        let pong = resp::ask(address, &["PING"]).ok()?;
        (pong.text() == "PONG").then_some(())
    });
    process
}
