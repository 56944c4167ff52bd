//! The guide is true: every `sh` block of every page runs, in order, against a dev cluster.
//!
//! In a block, a line that begins with `# →` is what the commands before it print; lines of output
//! that no such line follows are free. `$PORT1` to `$PORT3` are the nodes' ports,
//! `$UNDERPIN_ENDPOINT` all of their addresses, `underpin` is the binary, and each page starts with
//! an empty cluster and an empty folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use underpin_e2e::cluster::Dev;
use underpin_e2e::place;

/// A part of a block: shell lines, and what they print if the page says so.
#[derive(Debug, PartialEq, Eq)]
struct Step {
    script: String,
    expected: Vec<String>,
    line: usize,
}

/// The steps of a page's `sh` blocks.
fn steps(page: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut inside = None;
    let mut script: Vec<&str> = Vec::new();
    let mut expected: Vec<String> = Vec::new();
    let mut flush = |script: &mut Vec<&str>, expected: &mut Vec<String>, line: usize| {
        if !script.is_empty() {
            let line = line - script.len() - expected.len();
            let script = std::mem::take(script).join("\n");
            steps.push(Step { script, expected: std::mem::take(expected), line });
        }
    };
    for (index, line) in page.lines().enumerate() {
        match (line.strip_prefix("```"), inside) {
            (Some(mark), None) => inside = Some(mark.trim() == "sh"),
            (Some(_), Some(_)) => {
                flush(&mut script, &mut expected, index + 1);
                inside = None;
            }
            (None, Some(true)) => match line.strip_prefix("# →") {
                Some(output) => expected.push(output.trim().to_string()),
                None => {
                    if !expected.is_empty() {
                        flush(&mut script, &mut expected, index + 1);
                    }
                    script.push(line);
                }
            },
            _ => {}
        }
    }
    steps
}

/// Runs a step; the complaint if it does not do what the page says.
fn run(step: &Step, dev: &Dev, path: &str) -> Option<String> {
    let mut shell = Command::new("bash");
    shell.args(["-euo", "pipefail", "-c", &step.script]).current_dir(dev.folder().path());
    for (index, address) in dev.addresses().iter().enumerate() {
        shell.env(format!("PORT{}", index + 1), address.port().to_string());
    }
    let endpoints: Vec<String> = dev.addresses().iter().map(ToString::to_string).collect();
    shell.env("UNDERPIN_ENDPOINT", endpoints.join(","));
    let output = shell.env("PATH", path).output().expect("bash runs");
    let printed = String::from_utf8_lossy(&output.stdout);
    let printed: Vec<&str> = printed.lines().map(str::trim).collect();
    let right = step.expected.is_empty() || printed == step.expected;
    (!output.status.success() || !right).then(|| {
        format!(
            "line {}: {}\n  {}, printed {printed:?}, expected {:?}\n  {}",
            step.line,
            step.script,
            output.status,
            step.expected,
            String::from_utf8_lossy(&output.stderr)
        )
    })
}

/// The guide's pages.
fn pages() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/guide");
    let mut pages: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    pages.sort();
    pages
}

#[test]
fn every_block_of_the_guide_does_what_it_says() {
    let binaries = place::underpin().parent().unwrap().to_string_lossy().into_owned();
    let path = format!("{binaries}:{}", std::env::var("PATH").unwrap_or_default());
    let mut complaints = Vec::new();
    let mut count = 0;
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        let steps = steps(&text);
        if steps.is_empty() {
            continue;
        }
        let dev = Dev::start();
        count += steps.len();
        let name = page.file_name().unwrap().to_string_lossy();
        let found = steps.iter().filter_map(|step| run(step, &dev, &path));
        complaints.extend(found.map(|complaint| format!("{name} {complaint}")));
    }
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
    println!("{count} steps of the guide run");
}

#[test]
fn a_block_is_cut_where_its_output_ends() {
    let page = "```sh\na\nb\n# → x\n# → y\nc\n```\n```json\nd\n```\n";
    assert_eq!(
        steps(page),
        [
            Step { script: "a\nb".into(), expected: vec!["x".into(), "y".into()], line: 2 },
            Step { script: "c".into(), expected: vec![], line: 6 },
        ]
    );
}
