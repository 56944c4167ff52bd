//! `underpin dev` at a terminal: what a newcomer sees and presses.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;
use underpin_e2e::place::{self, Folder};
use underpin_e2e::process::Process;
use underpin_e2e::resp::{self, Conn, Outcome};
use underpin_e2e::terminal::{CTRL_C, Terminal};
use underpin_e2e::wait;

/// `underpin dev` as README has it, but for ports that tests don't share, with its temporary data
/// below `folder`.
fn dev(folder: &Folder) -> Command {
    let (resp, http) = (place::ports(3).to_string(), place::ports(3).to_string());
    let mut command = Command::new(place::underpin());
    command.args(["dev", "--resp-port", &resp, "--http-port", &http]);
    command.env("TMPDIR", folder.path());
    command
}

/// The nodes' addresses for clients, as a card shows them.
fn addresses(card: &str) -> Vec<SocketAddr> {
    let address =
        |line: &str| line.trim().strip_prefix('n')?.split_whitespace().nth(1)?.parse().ok();
    card.lines().filter_map(address).collect()
}

/// The node that a line such as `14:02:07Z  n2 killed` tells of, counted from 0.
fn told_of(lines: &str, what: &str) -> usize {
    let line = lines.lines().rev().find(|line| line.contains(what)).unwrap();
    let word = line.split_whitespace().find(|word| word.starts_with('n')).unwrap();
    word[1..].parse::<usize>().unwrap() - 1
}

/// One write and one read, tried until they are done.
fn works(address: SocketAddr, value: &str) {
    wait::until(&format!("work through {address}"), wait::READY, || {
        let mut conn = Conn::open(address, Duration::from_secs(5)).ok()?;
        matches!(conn.once(&["SET", "k", value]), Outcome::Done(_)).then_some(())?;
        matches!(conn.once(&["GET", "k"]), Outcome::Done(reply) if reply.text() == value)
            .then_some(())
    });
}

fn is_empty(folder: &Folder) -> bool {
    std::fs::read_dir(folder.path()).unwrap().next().is_none()
}

/// README's first minute: read the card, write through each node, kill one, go on, heal it, leave.
#[test]
fn a_killed_node_is_named_the_others_go_on_and_healing_brings_it_back() {
    let folder = Folder::new("keys");
    let mut terminal = Terminal::start(&dev(&folder));
    let card = terminal.shows("q quit");
    let nodes = addresses(&card);
    assert_eq!(nodes.len(), 3, "{card}");
    assert!(!terminal.sane(), "single keys are read");
    for node in &nodes {
        works(*node, "before");
    }

    terminal.press("k");
    let killed = told_of(&terminal.shows("killed (leader of"), "killed");
    assert!(resp::ask(nodes[killed], &["PING"]).is_err(), "n{} still answers", killed + 1);
    let left: Vec<SocketAddr> = nodes.iter().copied().filter(|it| *it != nodes[killed]).collect();
    for node in &left {
        works(*node, "without it");
    }
    assert_ne!(told_of(&terminal.shows("leads kv"), "leads kv"), killed);

    terminal.press("h");
    assert_eq!(told_of(&terminal.shows("started again"), "started"), killed);
    works(nodes[killed], "with it");
    terminal.press("h");
    terminal.shows("every node lives");

    terminal.press("q");
    terminal.shows("stopped · temporary data removed");
    assert!(terminal.ends(wait::READY).success());
    assert!(terminal.sane(), "the shell gets its terminal back");
    assert!(is_empty(&folder), "something was left behind");
}

/// Whoever kills more than may be lost is told what that means, in words and on the wire; nothing is
/// lost by it.
#[test]
fn without_a_quorum_it_says_so_and_healing_brings_everything_back() {
    let folder = Folder::new("quorum");
    let mut terminal = Terminal::start(&dev(&folder));
    let nodes = addresses(&terminal.shows("q quit"));
    works(nodes[0], "kept");
    terminal.press("k");
    let first = told_of(&terminal.shows("killed"), "killed");
    terminal.press("k");
    let lines = terminal.shows("1 of 3 left is no quorum: nothing is done until `h` heals");
    let second = told_of(&lines, "killed");
    let third = 3 - first - second;
    let mut conn = Conn::open(nodes[third], wait::READY).unwrap();
    let refused = conn.call(&["SET", "k", "lost"]).unwrap().text();
    assert!(refused.starts_with("CLUSTERDOWN") || refused.starts_with("TRYAGAIN"), "{refused}");

    terminal.press("k");
    assert_eq!(told_of(&terminal.shows("no node is left"), "killed"), third);
    terminal.press("k");
    terminal.shows("there is no node left to kill");
    terminal.press("h");
    for _ in 0..3 {
        terminal.shows("started again");
    }
    let value = wait::until("the value", wait::READY, || {
        let reply = resp::ask(nodes[first], &["GET", "k"]).ok()?;
        matches!(Outcome::of(reply.clone()), Outcome::Done(_)).then_some(reply.text())
    });
    assert_eq!(value, "kept");

    terminal.press(CTRL_C);
    terminal.shows("stopped · temporary data removed");
    assert!(terminal.ends(wait::READY).success());
    assert!(terminal.sane() && is_empty(&folder));
}

#[test]
fn a_key_that_means_nothing_is_answered_with_those_that_do() {
    let folder = Folder::new("unknown");
    let mut terminal = Terminal::start(&dev(&folder));
    let nodes = addresses(&terminal.shows("q quit"));
    terminal.press("x");
    terminal.shows("x does nothing here: k kill the leader   h heal");
    terminal.press("\n \u{1b}[A?");
    terminal.shows("k kill the leader   h heal   l logs   ? help   q quit");
    terminal.press("l");
    terminal.press("l");
    terminal.shows("logs are off");
    nodes.iter().for_each(|node| works(*node, "all live"));
    assert!(!terminal.screen().contains("killed"));
}

/// The window is closed: nobody is there to press anything, and nothing stays behind.
#[test]
fn a_closed_window_ends_it_and_its_data() {
    let folder = Folder::new("window");
    let mut terminal = Terminal::start(&dev(&folder));
    let nodes = addresses(&terminal.shows("q quit"));
    works(nodes[0], "temporary");
    terminal.close();
    terminal.ends(wait::READY);
    assert!(is_empty(&folder), "its data stayed");
    assert!(resp::ask(nodes[0], &["PING"]).is_err());
}

/// In a script there is no terminal: input is not for it, and the card offers no keys.
#[test]
fn input_that_is_no_terminal_presses_no_keys() {
    let folder = Folder::new("piped");
    std::fs::write(folder.join("keys"), "kkkq").unwrap();
    let keys = std::fs::File::open(folder.join("keys")).unwrap();
    let mut process = Process::start_reading(&mut dev(&folder), &folder.join("log"), keys.into());
    let card = wait::until("the card", wait::READY, || {
        Some(process.out()).filter(|card| card.contains("Leader"))
    });
    assert!(!card.contains("q quit"), "{card}");
    let nodes = addresses(&card);
    nodes.iter().for_each(|node| works(*node, "all live"));
    assert_eq!(process.ended(), None);
}
