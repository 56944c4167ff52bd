//! Breaks every rule of the pure crates' `clippy.toml` on purpose and expects clippy to say so.
//!
//! All violations stand in one crate, one a line, so that clippy runs once. A rule without its
//! violation here fails the test, and so does a violation that clippy passes.

use std::fs;
use std::path::Path;
use std::process::Command;
use xtask::tidy::{Repository, purity};

/// A line of Rust for each rule that breaks it.
const VIOLATIONS: &[(&str, &str)] = &[
    ("std::time::Instant", "pub fn f(_: std::time::Instant) {}"),
    ("std::time::SystemTime", "pub fn f(_: std::time::SystemTime) {}"),
    ("std::net::TcpListener", "pub fn f(_: std::net::TcpListener) {}"),
    ("std::net::TcpStream", "pub fn f(_: std::net::TcpStream) {}"),
    ("std::net::UdpSocket", "pub fn f(_: std::net::UdpSocket) {}"),
    ("std::os::unix::net::UnixDatagram", "pub fn f(_: std::os::unix::net::UnixDatagram) {}"),
    ("std::os::unix::net::UnixListener", "pub fn f(_: std::os::unix::net::UnixListener) {}"),
    ("std::os::unix::net::UnixStream", "pub fn f(_: std::os::unix::net::UnixStream) {}"),
    ("std::process::Command", "pub fn f(_: std::process::Command) {}"),
    ("std::thread::Builder", "pub fn f(_: std::thread::Builder) {}"),
    ("std::thread::JoinHandle", "pub fn f(_: std::thread::JoinHandle<()>) {}"),
    ("std::fs::DirBuilder", "pub fn f(_: std::fs::DirBuilder) {}"),
    ("std::fs::File", "pub fn f(_: std::fs::File) {}"),
    ("std::fs::OpenOptions", "pub fn f(_: std::fs::OpenOptions) {}"),
    ("std::fs::ReadDir", "pub fn f(_: std::fs::ReadDir) {}"),
    ("std::collections::HashMap", "pub fn f(_: std::collections::HashMap<u8, u8>) {}"),
    ("std::collections::HashSet", "pub fn f(_: std::collections::HashSet<u8>) {}"),
    ("std::hash::RandomState", "pub fn f(_: std::hash::RandomState) {}"),
    ("std::time::Instant::now", "pub fn f() { let _ = std::time::Instant::now().elapsed(); }"),
    (
        "std::time::SystemTime::now",
        "pub fn f() { let _ = std::time::SystemTime::now().elapsed(); }",
    ),
    ("std::process::abort", "pub fn f() { std::process::abort() }"),
    ("std::process::exit", "pub fn f() { std::process::exit(1) }"),
    (
        "std::thread::park_timeout",
        "pub fn f() { std::thread::park_timeout(std::time::Duration::ZERO) }",
    ),
    ("std::thread::scope", "pub fn f() { std::thread::scope(|_| ()) }"),
    ("std::thread::sleep", "pub fn f() { std::thread::sleep(std::time::Duration::ZERO) }"),
    ("std::thread::spawn", "pub fn f() { let _ = std::thread::spawn(|| ()).thread(); }"),
    (
        "std::net::ToSocketAddrs::to_socket_addrs",
        "pub fn f() { let _ = std::net::ToSocketAddrs::to_socket_addrs(\"x:1\").is_ok(); }",
    ),
    ("std::fs::canonicalize", "pub fn f() { let _ = std::fs::canonicalize(\"x\"); }"),
    ("std::fs::copy", "pub fn f() { let _ = std::fs::copy(\"x\", \"y\"); }"),
    ("std::fs::create_dir", "pub fn f() { let _ = std::fs::create_dir(\"x\"); }"),
    ("std::fs::create_dir_all", "pub fn f() { let _ = std::fs::create_dir_all(\"x\"); }"),
    ("std::fs::exists", "pub fn f() { let _ = std::fs::exists(\"x\"); }"),
    ("std::fs::hard_link", "pub fn f() { let _ = std::fs::hard_link(\"x\", \"y\"); }"),
    ("std::fs::metadata", "pub fn f() { let _ = std::fs::metadata(\"x\"); }"),
    ("std::fs::read", "pub fn f() { let _ = std::fs::read(\"x\"); }"),
    ("std::fs::read_dir", "pub fn f() { let _ = std::fs::read_dir(\"x\").is_ok(); }"),
    ("std::fs::read_link", "pub fn f() { let _ = std::fs::read_link(\"x\"); }"),
    ("std::fs::read_to_string", "pub fn f() { let _ = std::fs::read_to_string(\"x\"); }"),
    ("std::fs::remove_dir", "pub fn f() { let _ = std::fs::remove_dir(\"x\"); }"),
    ("std::fs::remove_dir_all", "pub fn f() { let _ = std::fs::remove_dir_all(\"x\"); }"),
    ("std::fs::remove_file", "pub fn f() { let _ = std::fs::remove_file(\"x\"); }"),
    ("std::fs::rename", "pub fn f() { let _ = std::fs::rename(\"x\", \"y\"); }"),
    (
        "std::fs::set_permissions",
        "pub fn f(p: std::fs::Permissions) { let _ = std::fs::set_permissions(\"x\", p); }",
    ),
    ("std::fs::symlink_metadata", "pub fn f() { let _ = std::fs::symlink_metadata(\"x\"); }"),
    ("std::fs::write", "pub fn f() { let _ = std::fs::write(\"x\", \"y\"); }"),
];

#[test]
fn every_rule_has_its_violation_here() {
    let repository = Repository::open();
    let rules = purity::rules(repository.text("crates/base/clippy.toml"));
    let rules: Vec<&str> = rules.into_iter().map(|(_, path)| path).collect();
    let violations: Vec<&str> = VIOLATIONS.iter().map(|(path, _)| *path).collect();
    assert_eq!(rules, violations, "the same rules in the same order");
}

#[test]
fn clippy_catches_every_violation() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("purity");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(folder.join("src")).unwrap();
    let manifest = "[package]\nname = \"impure\"\nedition = \"2024\"\n[workspace]\n\
                    [lints.clippy]\ndisallowed_types = \"deny\"\ndisallowed_methods = \"deny\"\n";
    fs::write(folder.join("Cargo.toml"), manifest).unwrap();
    let rules = fs::read(xtask::root().join("crates/base/clippy.toml")).unwrap();
    fs::write(folder.join("clippy.toml"), rules).unwrap();
    // One violation a line, each in a module of its own; the last line breaks no rule.
    let mut source: String = VIOLATIONS
        .iter()
        .enumerate()
        .map(|(index, (_, line))| format!("pub mod m{index} {{ {line} }}\n"))
        .collect();
    source.push_str("pub fn pure(_: std::collections::BTreeMap<u8, u8>) {}\n");
    fs::write(folder.join("src/lib.rs"), source).unwrap();

    let output = Command::new(env!("CARGO"))
        .args(["clippy", "--offline", "--quiet", "--message-format=short"])
        .current_dir(&folder)
        .env("CARGO_TARGET_DIR", folder.join("target"))
        .env_remove("RUSTFLAGS")
        .output()
        .expect("cargo clippy runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "clippy passed a crate that breaks every rule:\n{said}");
    for (index, (path, _)) in VIOLATIONS.iter().enumerate() {
        let place = format!("src/lib.rs:{}:", index + 1);
        let caught = said.lines().any(|line| {
            line.starts_with(&place)
                && line.contains("disallowed")
                && line.contains(&format!("`{path}`"))
        });
        assert!(caught, "clippy did not catch {path} at {place}\n{said}");
    }
    let pure = format!("src/lib.rs:{}:", VIOLATIONS.len() + 1);
    assert!(!said.contains(&pure), "clippy complained about a line that breaks no rule:\n{said}");
}
