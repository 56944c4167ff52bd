//! ZooKeeper: three servers of Debian's `zookeeper`, each with the log synced before it answers
//! (`forceSync`, its default).

use super::{NODES, Trio};
use crate::op::Op;
use crate::wire::blocking::once;
use crate::wire::{Answer, Protocol};
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;
use underpin_e2e::wait;

/// Where Debian has it; the manifest of its archive names the others that it needs.
pub const CLASS_PATH: &str = "/usr/share/java/zookeeper.jar";
/// As much heap as its own scripts give it.
const HEAP: &str = "-Xmx1000m";

/// Its own sample's times.
pub const SAMPLE: [(&str, u32); 3] = [("tickTime", 2000), ("initLimit", 10), ("syncLimit", 5)];

/// A running ensemble.
pub struct ZooKeeper {
    trio: Trio,
}

impl ZooKeeper {
    /// Starts one and waits until every server serves.
    pub fn start(settings: &[(&str, u32)]) -> ZooKeeper {
        let mut zookeeper = ZooKeeper { trio: Trio::new("zookeeper", 3) };
        for node in 0..NODES {
            zookeeper.configure(node, settings);
            zookeeper.spawn(node);
        }
        zookeeper.serves();
        zookeeper
    }

    fn configure(&self, node: usize, settings: &[(&str, u32)]) {
        let (trio, home) = (&self.trio, self.trio.home(node));
        let mut text = format!(
            "dataDir={}\nclientPort={}\nclientPortAddress=127.0.0.1\nmaxClientCnxns=0\n\
             admin.enableServer=false\n4lw.commands.whitelist=srvr\n",
            home.join("data").display(),
            trio.port(node, 0),
        );
        settings.iter().for_each(|(name, value)| text += &format!("{name}={value}\n"));
        for other in 0..NODES {
            let (peer, election) = (trio.port(other, 1), trio.port(other, 2));
            text += &format!("server.{}=127.0.0.1:{peer}:{election}\n", other + 1);
        }
        let logging = "log4j.rootLogger=WARN, err\nlog4j.appender.err=org.apache.log4j.ConsoleAppender\n\
                       log4j.appender.err.target=System.err\n\
                       log4j.appender.err.layout=org.apache.log4j.SimpleLayout\n";
        fs::create_dir_all(home.join("data")).expect("a node's folder");
        let write = |name: &str, text: &str| fs::write(home.join(name), text).expect("a file");
        write("zoo.cfg", &text);
        write("log4j.properties", logging);
        write("data/myid", &(node + 1).to_string());
    }

    fn spawn(&mut self, node: usize) {
        let mut command = Command::new("java");
        command.args([HEAP, "-Dzookeeper.jmx.log4j.disable=true"]);
        command.args(["-Dlog4j.configuration=file:log4j.properties", "-cp", CLASS_PATH]);
        command.args(["org.apache.zookeeper.server.quorum.QuorumPeerMain", "zoo.cfg"]);
        self.trio.spawn(node, &mut command);
    }

    /// Waits until every server carries out writes.
    fn serves(&self) {
        for address in self.addresses() {
            wait::until(&format!("ZooKeeper at {address}"), wait::READY, || {
                let made = once(address, Protocol::ZooKeeper, Op::Create(0));
                matches!(made, Ok(Answer::Fine)).then_some(())
            });
        }
    }

    /// Where clients reach each server.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.trio.addresses()
    }

    /// The running processes.
    pub fn processes(&self) -> Vec<u32> {
        self.trio.processes()
    }

    /// The server that says it leads.
    pub fn leader(&self) -> usize {
        wait::until("a leader of ZooKeeper", wait::READY, || {
            (0..NODES).find(|node| {
                said(self.trio.address(*node, 0)).is_some_and(|said| said.contains("Mode: leader"))
            })
        })
    }

    /// `kill -9` of one.
    pub fn kill(&mut self, node: usize) {
        self.trio.kill(node);
    }

    /// Starts a killed one again and waits until all serve.
    pub fn restart(&mut self, node: usize) {
        self.spawn(node);
        self.serves();
    }
}

/// What a server says about itself when asked by the four letters `srvr`.
pub fn said(address: SocketAddr) -> Option<String> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
    stream.write_all(b"srvr").ok()?;
    let mut said = String::new();
    stream.read_to_string(&mut said).ok()?;
    Some(said)
}
