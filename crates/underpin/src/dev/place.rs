//! Where a dev cluster keeps its data: a temporary folder, or one that stays.
//!
//! A kept folder holds one data directory per node and, written last, `cluster.json` with what they
//! share. Once that is there nothing is ever formatted again: a data directory that went missing is
//! a lost disk, and pretending that the node is new could lose what it had promised.

use crate::format::{Founding, draw_cluster, draw_secret, format};
use crate::local::Tuning;
use crate::report::{Exit, Failed};
use base::{ClusterId, NodeId};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The folder, ready to start nodes in.
#[derive(Debug)]
pub struct Place {
    /// The folder.
    pub path: PathBuf,
    /// Whether it stays.
    pub kept: bool,
    /// How many nodes it has.
    pub nodes: u64,
    /// What its nodes prove to each other.
    pub secret: String,
}

const SHARED: &str = "cluster.json";

impl Place {
    /// Opens the folder or makes it. `nodes`: how many, if that was asked for; `peers`: where they
    /// will reach each other, should it be made.
    pub fn open(
        data: Option<&Path>,
        nodes: Option<u64>,
        peers: impl FnOnce(u64) -> BTreeMap<NodeId, String>,
    ) -> Result<Place, Failed> {
        let temporary =
            || std::env::temp_dir().join(format!("underpin-dev-{}", std::process::id()));
        let path = data.map_or_else(temporary, Path::to_owned);
        let kept = data.is_some();
        let shared = path.join(SHARED);
        if kept && shared.exists() {
            let place = Place::read(path, &shared)?;
            return place.checked(nodes);
        }
        let nodes = nodes.unwrap_or(NODES);
        let place = Place { path, kept, nodes, secret: draw_secret()? };
        place.make(&shared, peers(nodes))?;
        Ok(place)
    }

    /// A node's data directory.
    pub fn data(&self, node: NodeId) -> PathBuf {
        self.path.join(node.to_string())
    }

    /// Every node.
    pub fn ids(&self) -> impl Iterator<Item = NodeId> + use<> {
        (1..=self.nodes).map(NodeId)
    }

    fn read(path: PathBuf, shared: &Path) -> Result<Place, Failed> {
        let text = std::fs::read_to_string(shared);
        let text = text.map_err(|error| Failed::file("read", shared, &error))?;
        let value: Option<Value> = serde_json::from_str(&text).ok();
        let facts = value.as_ref().and_then(|value| {
            Some((value["nodes"].as_u64()?, value["secret"].as_str()?.to_owned()))
        });
        let (nodes, secret) = facts.ok_or_else(|| {
            Failed::new(Exit::No, format!("{} is not what dev wrote there", shared.display()))
        })?;
        Ok(Place { path, kept: true, nodes, secret })
    }

    fn checked(self, nodes: Option<u64>) -> Result<Place, Failed> {
        match nodes {
            Some(asked) if asked != self.nodes => {
                let seen =
                    format!("{} holds a cluster of {} nodes", self.path.display(), self.nodes);
                Err(Failed::new(Exit::Conflict, format!("{seen}, not {asked}"))
                    .help("leave --nodes out, or choose another folder with --data"))
            }
            _ => Ok(self),
        }
    }

    fn make(&self, shared: &Path, members: BTreeMap<NodeId, String>) -> Result<(), Failed> {
        let path = &self.path;
        std::fs::create_dir_all(path).map_err(|error| Failed::file("make", path, &error))?;
        let mut entries =
            std::fs::read_dir(path).map_err(|error| Failed::file("read", path, &error))?;
        if entries.next().is_some() {
            let what = format!("{} is not empty, and dev did not make it", path.display());
            return Err(Failed::new(Exit::Conflict, what).help("choose another with --data"));
        }
        let cluster = draw_cluster()?;
        for node in self.ids() {
            let founding = Founding { cluster, node, members: members.clone() };
            format(&self.data(node), founding, &Tuning::default().disk)?;
        }
        self.write_shared(shared, cluster).map_err(|error| Failed::file("write", shared, &error))
    }

    fn write_shared(&self, shared: &Path, cluster: ClusterId) -> std::io::Result<()> {
        let facts = json!({
            "about": "a cluster of `underpin dev`: what its nodes share",
            "cluster": cluster.to_string(),
            "nodes": self.nodes,
            "secret": self.secret,
        });
        let mut file =
            std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(shared)?;
        writeln!(file, "{facts}")?;
        file.sync_all()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.kept {
            // What can't be removed now is the system's to clean up: it is in its temporary folder.
            drop(std::fs::remove_dir_all(&self.path));
        }
    }
}

/// How many nodes a new cluster has: the fewest that outlive one.
pub const NODES: u64 = 3;
