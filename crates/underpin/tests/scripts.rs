//! Transcripts of commands that need no cluster. How they are written: `support/mod.rs`.

mod support;

use support::script;

#[test]
fn help() {
    script("help.txt", &[]);
}

#[test]
fn configuration() {
    script("config.txt", &[]);
}

#[test]
fn wrong_usage() {
    script("usage.txt", &[]);
}

#[test]
fn unreachable() {
    script("unreachable.txt", &[]);
}

#[test]
fn completions() {
    script("completions.txt", &[]);
}
