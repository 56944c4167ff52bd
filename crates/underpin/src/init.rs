//! `underpin init`: writes commented configurations and a secret; never over anything.

use crate::cli::Done;
use crate::config::template;
use crate::report::{Exit, Failed, put};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Write commented configurations and a secret for a new cluster
///
/// One node gets underpin.toml; of several, each gets a file of its own (underpin-1.toml, …) with
/// ports of its own, ready to run on one machine. For several machines, change the addresses and
/// take each node's file and the secret there. Nothing that exists is overwritten.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How many nodes the cluster starts with
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=9))]
    nodes: u16,
    /// Where to write
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
}

const SECRET: &str = "underpin.secret";

/// Carries it out.
pub fn run(args: &Args) -> Done {
    let cluster = hex(&random::<16>()?);
    let files: Vec<(u16, String)> = match args.nodes {
        1 => vec![(1, "underpin.toml".to_owned())],
        nodes => (1..=nodes).map(|node| (node, format!("underpin-{node}.toml"))).collect(),
    };
    let names = files.iter().map(|(_, name)| name.as_str()).chain([SECRET]);
    for name in names {
        if args.dir.join(name).exists() {
            let what = format!("{} exists already", shown(&args.dir, name));
            return Err(Failed::new(Exit::Conflict, what)
                .help("nothing was written; choose another place with --dir"));
        }
    }
    std::fs::create_dir_all(&args.dir).map_err(|error| Failed::file("make", &args.dir, &error))?;
    write(&args.dir.join(SECRET), 0o600, &format!("{}\n", hex(&random::<32>()?)))?;
    for (node, name) in &files {
        // A password may come to stand in it.
        write(&args.dir.join(name), 0o600, &file(*node, args.nodes, &cluster))?;
    }
    tell(&args.dir, &files)
}

/// The file of one of `nodes` nodes.
fn file(node: u16, nodes: u16, cluster: &str) -> String {
    let peers: Vec<_> =
        (1..=nodes).map(|node| format!("{node} = \"127.0.0.1:{}\"", 7399 + node)).collect();
    let mut set = BTreeMap::from([
        ("node.id", node.to_string()),
        ("cluster.id", format!("\"{cluster}\"")),
        ("cluster.peers", format!("{{ {} }}", peers.join(", "))),
        ("cluster.secret_file", format!("\"{SECRET}\"")),
    ]);
    let data = if nodes == 1 { "data".to_owned() } else { format!("data/n{node}") };
    set.insert("node.data", format!("\"{data}\""));
    for (name, base) in [("listen.resp", 6378), ("listen.peer", 7399), ("listen.http", 7479)] {
        set.insert(name, format!("\"127.0.0.1:{}\"", base + node));
    }
    template(&set)
}

fn tell(dir: &Path, files: &[(u16, String)]) -> Done {
    for (_, name) in files {
        put(&format!("wrote {}", shown(dir, name)))?;
    }
    put(&format!("wrote {} (give it to no one but the nodes)", shown(dir, SECRET)))?;
    put("\nNext, for each node:")?;
    for (_, name) in files {
        put(&format!("  underpin format --config {}", shown(dir, name)))?;
        put(&format!("  underpin server --config {}", shown(dir, name)))?;
    }
    Ok(())
}

/// A file as a person would call it from here.
fn shown(dir: &Path, name: &str) -> String {
    match dir == Path::new(".") {
        true => name.to_owned(),
        false => dir.join(name).display().to_string(),
    }
}

fn write(path: &Path, mode: u32, text: &str) -> Done {
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|error| Failed::file("write", path, &error))
}

/// Random bytes from the operating system.
pub fn random<const N: usize>() -> Result<[u8; N], Failed> {
    let mut bytes = [0; N];
    let path = Path::new("/dev/urandom");
    std::fs::File::open(path)
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(|error| Failed::file("read", path, &error))?;
    Ok(bytes)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
