//! The configuration of a node: one file, every setting in one table, and four places a setting can
//! come from.
//!
//! A flag beats an environment variable, which beats the file, which beats the default. The table
//! in [`settings`] says for each setting its name, what it takes, its default and what it is for;
//! the commented file that `underpin init` writes, the names of the environment variables,
//! `config show` and every complaint about a wrong value are made from it, so they can't disagree.
//!
//! ```text
//! [listen]                             UNDERPIN_LISTEN__RESP=0.0.0.0:6379
//! resp = "127.0.0.1:6379"              --set listen.resp=0.0.0.0:6379
//! ```
//!
//! A key that isn't in the table is an error that points at its place and says what was probably
//! meant: a misspelt `fsync` that is silently ignored costs more than a refusal. All that is wrong
//! is reported at once. A path in a file is relative to the file.

mod layers;
mod problem;
mod settings;
mod template;
mod value;

pub use layers::{Loaded, Sources};
pub use problem::Problem;
pub use template::template;
pub use value::{Address, Value};

use base::{ClusterId, NodeId};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// What a node is told, complete and valid.
#[derive(Clone, PartialEq, Eq)]
pub struct Config {
    /// The node's id.
    pub node: NodeId,
    /// Its data directory.
    pub data: PathBuf,
    /// Where Redis clients connect.
    pub resp: Address,
    /// Where Redis clients reach it, as others are told; `None` if nobody can say.
    pub resp_advertised: Option<Address>,
    /// Where the other nodes connect.
    pub peer: Address,
    /// Health and metrics.
    pub http: Address,
    /// The cluster.
    pub cluster: ClusterId,
    /// Every node's peer address, this one's included.
    pub peers: BTreeMap<NodeId, Address>,
    /// What the nodes prove to each other.
    pub secret: String,
    /// What clients must say.
    pub password: Option<String>,
    /// Settings without a field of their own here: limits and tuning, by their full name.
    pub numbers: BTreeMap<&'static str, u64>,
    /// How much is logged.
    pub log_level: tracing::Level,
}

impl Config {
    /// The value of a numeric setting.
    ///
    /// # Panics
    ///
    /// If the table has no such setting.
    pub fn number(&self, name: &str) -> u64 {
        *self.numbers.get(name).unwrap_or_else(|| panic!("no numeric setting is called {name}"))
    }

    /// What is allowed and yet worth a word.
    pub fn warnings(&self) -> Vec<String> {
        let names =
            [("listen.resp", &self.resp), ("listen.peer", &self.peer), ("listen.http", &self.http)];
        let open = names.iter().filter(|(_, address)| !address.is_loopback());
        let mut warnings: Vec<String> = open.map(|(name, address)| {
            format!("`{name}` is {address}, which other machines reach, and without TLS whoever is in between can read and change what passes")
        })
        .collect();
        if self.resp_advertised.is_none() {
            warnings.push(format!(
                "`listen.resp` is {}, which is no address to connect to: set \
                 `listen.resp_advertised`, so that status can say where clients reach this node",
                self.resp
            ));
        }
        warnings
    }
}

#[cfg(test)]
mod tests;
