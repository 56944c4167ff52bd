//! `underpin node`: bringing a node back whose data directory is damaged or gone.
//!
//! A node may never come back empty under its old identity: it would have forgotten votes and
//! entries that it promised to keep. So it gets a fresh directory with a fresh incarnation, and the
//! cluster is told to expect that one instead of the old. Its replicas then start as learners, which
//! promise nothing until they have caught up.

use crate::cli::Done;
use crate::config::Config;
use crate::config_command::From;
use crate::connect::Connect;
use crate::format::format_again;
use crate::report::{Exit, Failed, put};
use base::Incarnation;
use client::{Client, Command};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};
use storage::directory::{self, DirectoryLock, Identity};
use storage::disk::RealDisk;

/// Bring a node back whose disk is damaged or lost
#[derive(Debug, clap::Subcommand)]
pub enum Verb {
    /// Replace a damaged data directory by a fresh one; the damaged one is moved aside, not deleted
    Rebuild(Args),
    /// Make a fresh data directory for a node whose disk is lost
    ///
    /// Running it again is safe: if the directory is there and fresh, only the cluster is told.
    Replace(Args),
}

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    from: From,
    #[command(flatten)]
    connect: Connect,
}

/// Carries it out.
pub fn run(verb: &Verb) -> Done {
    match verb {
        Verb::Rebuild(args) => rebuild(args),
        Verb::Replace(args) => replace(args),
    }
}

fn rebuild(args: &Args) -> Done {
    let config = args.from.config()?;
    if is_missing(&config.data)? {
        return Err(Failed::new(
            Exit::No,
            format!("{} has nothing to rebuild", config.data.display()),
        )
        .help("for a lost disk there is `underpin node replace`"));
    }
    // Whoever holds the lock is a server that still uses the directory.
    let lock = DirectoryLock::take(&config.data)
        .map_err(|error| Failed::new(Exit::Conflict, error.to_string()))?;
    check_owner(&config)?;
    check_cluster(args, &config)?;
    let aside = aside(&config.data);
    std::fs::rename(&config.data, &aside)
        .map_err(|error| Failed::file("move", &config.data, &error))?;
    drop(lock);
    put(&format!("moved {} to {}", config.data.display(), aside.display()))?;
    let incarnation = fresh(&config)?;
    tell(args, &config, incarnation)?;
    put(&format!("\nOnce the node has caught up, {} can be deleted.", aside.display()))
}

fn replace(args: &Args) -> Done {
    let config = args.from.config()?;
    let incarnation = match is_missing(&config.data)? {
        true => {
            check_cluster(args, &config)?;
            fresh(&config)?
        }
        false => existing(&config)?,
    };
    tell(args, &config, incarnation)
}

fn fresh(config: &Config) -> Result<Incarnation, Failed> {
    let incarnation = format_again(config)?;
    put(&format!(
        "formatted {} for {}, incarnation {incarnation}",
        config.data.display(),
        config.node
    ))?;
    Ok(incarnation)
}

/// The incarnation of a directory that an earlier try made.
fn existing(config: &Config) -> Result<Incarnation, Failed> {
    let identity = read_identity(&config.data).map_err(|why| {
        Failed::new(Exit::No, why).help("if it is damaged: `underpin node rebuild`")
    })?;
    if identity.founder || identity.node != config.node || identity.cluster != config.cluster {
        let what = format!("{} is there and is not a replacement", config.data.display());
        return Err(Failed::new(Exit::Conflict, what).help(
            "if it is damaged, or was formatted anew and the other nodes refuse it: `underpin node \
             rebuild`; if not, `underpin server` starts it",
        ));
    }
    put(&format!(
        "{} is there already, incarnation {}",
        config.data.display(),
        identity.incarnation
    ))?;
    Ok(identity.incarnation)
}

/// Before anything is moved: the cluster answers, and it is the node's own.
fn check_cluster(args: &Args, config: &Config) -> Done {
    let answer = client(args, config)?.call(&Command::read(["UNDERPIN.STATUS", "JSON"]));
    let answer = answer.map_err(|error| Failed::call(error).help("nothing was changed"))?;
    let status: Option<serde_json::Value> =
        answer.text().and_then(|text| serde_json::from_str(text).ok());
    let seen = status.as_ref().and_then(|status| status["cluster"].as_str()).unwrap_or("unknown");
    if seen == config.cluster.to_string() {
        return Ok(());
    }
    let what =
        format!("the cluster that answers is {seen}, and {} is of {}", config.node, config.cluster);
    Err(Failed::new(Exit::Conflict, what)
        .help("name nodes of its own cluster with --endpoint; nothing was changed"))
}

/// Tells the cluster which incarnation to expect.
fn tell(args: &Args, config: &Config, incarnation: Incarnation) -> Done {
    let node = config.node.0.to_string();
    // Telling it the same incarnation twice changes nothing.
    let command =
        Command::repeatable(["UNDERPIN.REPLACE".to_owned(), node, incarnation.to_string()]);
    client(args, config)?.call(&command).map_err(|error| {
        Failed::call(error)
            .help("the directory is ready; tell the cluster with `underpin node replace`")
    })?;
    put(&format!("the cluster expects {} under incarnation {incarnation}", config.node))?;
    put(&format!("\nNext:  underpin server --config {}", args.from.config.display()))
}

/// A client; the node's own configuration knows the password.
fn client(args: &Args, config: &Config) -> Result<Client, Failed> {
    let mut options = args.connect.options(0)?;
    options.password = options.password.or_else(|| config.password.clone());
    Ok(Client::new(options))
}

fn read_identity(data: &Path) -> Result<Identity, String> {
    directory::read(&mut RealDisk::new(data)).map_err(|error| error.to_string())
}

/// A directory that says whose it is must be this node's. One too damaged to say is taken on trust.
fn check_owner(config: &Config) -> Done {
    match read_identity(&config.data) {
        Ok(owner) if (owner.node, owner.cluster) != (config.node, config.cluster) => {
            let data = config.data.display();
            let what = format!("{data} belongs to {} of cluster {}", owner.node, owner.cluster);
            Err(Failed::new(Exit::Conflict, what).help("correct `node.data` or `node.id`"))
        }
        Ok(_) | Err(_) => Ok(()),
    }
}

fn is_missing(data: &Path) -> Result<bool, Failed> {
    match std::fs::read_dir(data) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(Failed::file("read", data, &error)),
    }
}

/// Where a damaged directory goes: beside itself, with the time.
fn aside(data: &Path) -> PathBuf {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut name = data.as_os_str().to_owned();
    name.push(format!(".damaged-{seconds}"));
    PathBuf::from(name)
}
