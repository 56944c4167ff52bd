//! The program, as people call it.

use std::process::Command;

fn said(words: &[&str]) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_underpin-campaign")).args(words).output();
    let output = output.expect("it starts");
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).expect("it speaks UTF-8"))
}

#[test]
fn the_same_seed_is_the_same_run_in_two_processes() {
    let words =
        ["--twice", "--seeds", "6", "--seconds", "4", "--raft-seeds", "60", "--from", "900"];
    let (succeeded, said) = said(&words);
    assert!(succeeded, "{said}");
    assert!(
        said.contains("66 of 66 seeds ran in one process, 66 in another; 0 trace hashes differ")
    );
}

#[test]
fn a_script_is_run_as_it_is_written() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/sim/scripts/");
    let script = format!("{folder}a-vote-that-is-not-written.txt");
    let (succeeded, said) = said(&["--quiet", "--script", &script]);
    assert!(
        !succeeded && said.contains("failed (watch)") && said.contains("had been durable"),
        "{said}"
    );
}
