//! The floor of sockets: a server that understands just enough of RESP to answer, and stores
//! nothing. What it does is what the generator and the system's sockets allow to a server of one
//! thread that waits as our runtime waits, with tokio on its current thread.

use std::io;
use std::net::SocketAddr;
use std::process::Command;
use std::rc::Rc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use underpin_e2e::place::{self, Folder};
use underpin_e2e::process::Process;
use underpin_e2e::{resp, wait};

/// A running echo server, in a process of its own so that its CPU is counted apart.
pub struct Echo {
    /// Where it listens.
    pub address: SocketAddr,
    /// The process.
    pub process: Process,
    _folder: Folder,
}

impl Echo {
    /// Starts one that answers reads with `value` bytes, and waits until it answers.
    pub fn start(value: usize) -> Echo {
        let folder = Folder::new("echo");
        let address = SocketAddr::from(([127, 0, 0, 1], place::ports(1)));
        // Itself, also if its file has been replaced since.
        let mut command = Command::new("/proc/self/exe");
        command.args(["echo", &address.to_string(), &value.to_string()]);
        let process = Process::start(&mut command, &folder.join("log"));
        wait::until("the echo server", wait::READY, || {
            resp::ask(address, &["SET", "k", "v"]).is_ok().then_some(())
        });
        Echo { address, process, _folder: folder }
    }
}

/// Serves for good.
pub fn serve(address: SocketAddr, value: usize) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let mut bulk = format!("${value}\r\n").into_bytes();
    bulk.resize(bulk.len() + value, b'v');
    bulk.extend_from_slice(b"\r\n");
    let bulk: Rc<[u8]> = bulk.into();
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async move {
        let listener = TcpListener::bind(address).await?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let bulk = bulk.clone();
            tokio::task::spawn_local(async move {
                // A client that went is no news.
                let _ = converse(stream, &bulk).await;
            });
        }
    })
}

/// Answers until the client goes.
async fn converse(mut stream: TcpStream, bulk: &[u8]) -> io::Result<()> {
    let (mut input, mut out) = (Vec::with_capacity(64 * 1024), Vec::new());
    while stream.read_buf(&mut input).await? > 0 {
        let mut used = 0;
        while let Some((length, words)) = request(&input[used..]) {
            used += length;
            out.extend_from_slice(if words == 2 { bulk } else { b"+OK\r\n" });
        }
        input.drain(..used);
        stream.write_all(&out).await?;
        out.clear();
    }
    Ok(())
}

/// The length of the request at the start of `bytes` and its number of words, if it is whole.
fn request(bytes: &[u8]) -> Option<(usize, usize)> {
    let (words, mut at) = header(bytes, b'*')?;
    for _ in 0..words {
        let (length, start) = header(bytes.get(at..)?, b'$')?;
        at += start + length + 2;
    }
    (bytes.len() >= at).then_some((at, words))
}

/// The number in a line that starts with `mark`, and where the next line starts.
fn header(bytes: &[u8], mark: u8) -> Option<(usize, usize)> {
    let end = bytes.iter().position(|byte| *byte == b'\r')?;
    if bytes.first() != Some(&mark) || bytes.len() < end + 2 {
        return None;
    }
    Some((std::str::from_utf8(&bytes[1..end]).ok()?.parse().ok()?, end + 2))
}

#[cfg(test)]
mod tests {
    use super::*;
    use underpin_e2e::resp::encode;

    #[test]
    fn requests_are_cut_where_they_end() {
        let set = encode(&["SET", "key", "a\r\nb"]);
        let both = [&set[..], &encode(&["GET", "key"])].concat();
        assert_eq!(request(&both), Some((set.len(), 3)));
        assert_eq!(request(&both[set.len()..]), Some((both.len() - set.len(), 2)));
        for length in 0..set.len() {
            assert_eq!(request(&set[..length]), None, "{length}");
        }
    }

    #[test]
    fn it_answers_what_it_does_not_keep() {
        let address = SocketAddr::from(([127, 0, 0, 1], place::ports(1)));
        std::thread::spawn(move || serve(address, 5));
        wait::until("the echo", wait::READY, || resp::ask(address, &["SET", "a", "b"]).ok());
        assert_eq!(resp::ask(address, &["GET", "a"]).unwrap().text(), "vvvvv");
    }
}
