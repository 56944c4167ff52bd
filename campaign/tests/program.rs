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

#[test]
fn worlds_beyond_the_promise_are_run_and_counted_apart() {
    let (succeeded, said) = said(&["--beyond", "--seeds", "12", "--seconds", "10"]);
    assert!(succeeded, "{said}");
    assert!(said.contains("whole nodes beyond the promise: 12 seeds"), "{said}");
    let count = |name: &str| {
        let begin = said.find(&format!("{name} ")).expect(name) + name.len() + 1;
        let digits: String = said[begin..].chars().take_while(char::is_ascii_digit).collect();
        digits.parse::<u64>().expect(name)
    };
    assert!(count("rolled-back") > 0 && count("too-many-lost") > 0, "{said}");
}
