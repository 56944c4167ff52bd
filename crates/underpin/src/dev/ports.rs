//! Ports for a cluster on one machine: the wanted ones, or free ones where those are taken, with
//! a word on who has them.

use crate::report::{Exit, Failed};
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;

/// A bound port, and why it is not the wanted one.
#[derive(Debug)]
pub struct Bound {
    /// The socket.
    pub listener: TcpListener,
    /// Its address.
    pub address: SocketAddr,
    /// Why another port was wanted and not taken.
    pub note: Option<String>,
}

/// Binds `wanted` on loopback, or any free port if it is taken. `what` is named in the note, `flag`
/// is how to choose.
pub fn bind(wanted: u16, what: &str, flag: &str) -> Result<Bound, Failed> {
    match TcpListener::bind((Ipv4Addr::LOCALHOST, wanted)) {
        Ok(listener) => bound(listener, None),
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            let mut bound = bound(any()?, None)?;
            let whose = owner(wanted).map(|owner| format!(" by {owner}")).unwrap_or_default();
            let port = bound.address.port();
            bound.note = Some(format!(
                "port {wanted} is in use{whose}, so {what} listens on {port}   (change: {flag})"
            ));
            Ok(bound)
        }
        Err(error) => {
            Err(Failed::new(Exit::No, format!("cannot listen on port {wanted}: {error}"))
                .help(format!("choose another with {flag}")))
        }
    }
}

/// Binds any free port on loopback.
pub fn any() -> Result<TcpListener, Failed> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .map_err(|error| Failed::new(Exit::No, format!("cannot listen on any port: {error}")))
}

fn bound(listener: TcpListener, note: Option<String>) -> Result<Bound, Failed> {
    let address = listener.local_addr();
    let address = address
        .map_err(|error| Failed::new(Exit::No, format!("a socket without an address: {error}")))?;
    Ok(Bound { listener, address, note })
}

/// Who listens on a port of this machine, as far as Linux tells: its name and process id.
fn owner(port: u16) -> Option<String> {
    let inodes: Vec<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|table| std::fs::read_to_string(table).ok())
        .flat_map(|table| listening_inodes(&table, port))
        .collect();
    let processes = std::fs::read_dir("/proc").ok()?.flatten();
    processes.map(|process| process.path()).find_map(|process| {
        let id = process.file_name()?.to_str()?.parse::<u32>().ok()?;
        if !holds(&process, &inodes) {
            return None;
        }
        let name = std::fs::read_to_string(process.join("comm")).ok()?;
        Some(format!("{} (process {id})", name.trim()))
    })
}

/// The socket inodes that listen on `port` in a table of `/proc/net/tcp`'s form.
fn listening_inodes(table: &str, port: u16) -> Vec<String> {
    const LISTEN: &str = "0A";
    let rows = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    rows.filter(|row| row.len() > 9 && row[3] == LISTEN)
        .filter(|row| row[1].ends_with(&format!(":{port:04X}")))
        .map(|row| row[9].to_owned())
        .collect()
}

fn holds(process: &Path, inodes: &[String]) -> bool {
    let Ok(files) = std::fs::read_dir(process.join("fd")) else { return false };
    files.flatten().filter_map(|file| std::fs::read_link(file.path()).ok()).any(|target| {
        let target = target.to_string_lossy();
        inodes.iter().any(|inode| target == format!("socket:[{inode}]"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_free_port_is_taken_as_it_is() {
        let free = any().unwrap().local_addr().unwrap().port();
        let bound = bind(free, "n1", "--resp-port").unwrap();
        assert_eq!((bound.address.port(), bound.note), (free, None));
    }

    #[test]
    fn a_busy_port_falls_back_and_says_who_has_it() {
        let holder = any().unwrap();
        let busy = holder.local_addr().unwrap().port();
        let bound = bind(busy, "n1", "--resp-port").unwrap();
        assert_ne!(bound.address.port(), busy);
        let note = bound.note.unwrap();
        assert!(note.starts_with(&format!("port {busy} is in use")), "{note}");
        assert!(note.contains(&format!("(process {})", std::process::id())), "{note}");
    }
}
