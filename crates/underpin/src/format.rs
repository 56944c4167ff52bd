//! `underpin format`: makes a node's data directory, once.

use crate::cli::Done;
use crate::config::Config;
use crate::config_command::From;
use crate::init::random;
use crate::local::Tuning;
use crate::report::{Exit, Failed, put};
use base::{ClusterId, Incarnation, NodeId};
use node::Identity;
use runtime::DiskOptions;
use std::collections::BTreeMap;
use std::path::Path;

/// Make a node's data directory, as a founding member of its cluster
///
/// To be run once for every node of a new cluster. A node whose disk was lost or damaged comes back
/// with `underpin node replace` or `underpin node rebuild` instead: founding it a second time could
/// lose what it had promised.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    from: From,
}

/// Carries it out.
pub fn run(args: &Args) -> Done {
    let config = args.from.config()?;
    let incarnation = format(&config.data, founding(&config), &Tuning::of(&config).disk)?;
    put(&format!("formatted {} for {}", config.data.display(), config.node))?;
    put(&format!("  cluster      {}", config.cluster))?;
    put(&format!("  incarnation  {incarnation}"))?;
    put(&format!("\nNext:  underpin server --config {}", args.from.config.display()))
}

/// What a founding member is told.
pub struct Founding {
    /// The cluster.
    pub cluster: ClusterId,
    /// The node.
    pub node: NodeId,
    /// All founding members and their peer addresses.
    pub members: BTreeMap<NodeId, String>,
}

fn founding(config: &Config) -> Founding {
    let members = config.peers.iter().map(|(node, peer)| (*node, peer.to_string())).collect();
    Founding { cluster: config.cluster, node: config.node, members }
}

/// Makes the directory of a founding member.
pub fn format(path: &Path, founding: Founding, disk: &DiskOptions) -> Result<Incarnation, Failed> {
    make(path, founding, disk, true)
}

/// Makes the directory of a node that had another one before.
pub fn format_again(config: &Config) -> Result<Incarnation, Failed> {
    make(&config.data, founding(config), &Tuning::of(config).disk, false)
}

fn make(
    path: &Path,
    founding: Founding,
    disk: &DiskOptions,
    founder: bool,
) -> Result<Incarnation, Failed> {
    let Founding { cluster, node, members } = founding;
    let incarnation = Incarnation(u64::from_le_bytes(random()?));
    let identity = Identity { cluster, node, incarnation, founder, members };
    runtime::format(path, &identity, disk).map_err(|why| Failed::new(Exit::Conflict, why))?;
    Ok(incarnation)
}

/// A new cluster's id.
pub fn draw_cluster() -> Result<ClusterId, Failed> {
    Ok(ClusterId(u128::from_le_bytes(random()?)))
}

/// A new cluster's secret.
pub fn draw_secret() -> Result<String, Failed> {
    Ok(random::<32>()?.iter().map(|byte| format!("{byte:02x}")).collect())
}
