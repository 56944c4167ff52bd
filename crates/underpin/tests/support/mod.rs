//! Transcripts of a shell, kept as text in `tests/cli`, run against the real binary.
//!
//! ```text
//! > underpin.toml          a file with the lines that follow, each after "| "
//! | [node]
//! $ underpin config check  a command; below it, what it printed:
//! fine                     its stdout,
//! ! error: …               its stderr,
//! = 2                      its exit code unless that is 0
//! ```
//!
//! What differs from run to run stands as `<…>`. `UPDATE=1 cargo test -p underpin` writes down what
//! the commands print now; the difference is then for a person to read.

#![allow(dead_code, reason = "not every test uses all of it")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A folder of its own, removed at the end.
pub struct Folder(pub PathBuf);

impl Folder {
    /// An empty folder.
    pub fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("underpin-cli-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// Runs a script in a folder of its own, and compares or rewrites it.
pub fn script(name: &str, variables: &[(&str, &str)]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli").join(name);
    let written = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
    let folder = Folder::new(name);
    let seen = transcript(&written, &folder.0, variables);
    if std::env::var_os("UPDATE").is_some() {
        return fs::write(&path, seen).unwrap();
    }
    if seen != written {
        let differ = seen.lines().zip(written.lines()).position(|(seen, written)| seen != written);
        let line = differ.unwrap_or_else(|| seen.lines().count().min(written.lines().count()));
        panic!("tests/cli/{name} differs from line {}:\n{seen}", line + 1);
    }
}

fn transcript(script: &str, folder: &Path, variables: &[(&str, &str)]) -> String {
    let mut out = String::new();
    let mut file: Option<PathBuf> = None;
    let mut printed = false;
    for line in script.lines() {
        // What a command printed when this was written goes on to the next empty line.
        printed &= !line.is_empty();
        if printed {
            continue;
        }
        if let (Some(path), Some(text)) =
            (&file, line.strip_prefix("| ").or((line == "|").then_some("")))
        {
            let before = fs::read_to_string(path).unwrap_or_default();
            fs::write(path, format!("{before}{text}\n")).unwrap();
        } else if let Some(name) = line.strip_prefix("> ") {
            let path = folder.join(name);
            fs::write(&path, "").unwrap();
            file = Some(path);
        } else if let Some(command) = line.strip_prefix("$ ") {
            out.push_str(&format!("{line}\n"));
            out.push_str(&run(command, folder, variables));
            out.push('\n');
            printed = true;
            continue;
        } else if !line.starts_with('#') {
            continue;
        }
        out.push_str(&format!("{line}\n"));
    }
    while out.ends_with("\n\n") {
        out.pop();
    }
    out
}

fn run(command: &str, folder: &Path, variables: &[(&str, &str)]) -> String {
    let binary = Path::new(env!("CARGO_BIN_EXE_underpin"));
    let path = format!("{}:{}", binary.parent().unwrap().display(), std::env::var("PATH").unwrap());
    let output = Command::new("sh")
        .args(["-c", command])
        .current_dir(folder)
        .env_clear()
        .env("PATH", path)
        .env("HOME", folder)
        .env("LC_ALL", "C.UTF-8")
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let mut out = String::new();
    for line in text(&output.stdout, folder).lines() {
        // An empty line would end the output in a script.
        let line = line.trim_end();
        out.push_str(if line.is_empty() { "." } else { line });
        out.push('\n');
    }
    for line in text(&output.stderr, folder).lines() {
        out.push_str(format!("! {line}").trim_end());
        out.push('\n');
    }
    match output.status.code() {
        Some(0) => {}
        Some(code) => out.push_str(&format!("= {code}\n")),
        None => out.push_str("= signal\n"),
    }
    out
}

/// The text with what differs from run to run left out.
fn text(bytes: &[u8], folder: &Path) -> String {
    let text = String::from_utf8_lossy(bytes).replace(&folder.display().to_string(), "<folder>");
    let mut out = String::new();
    let mut word = String::new();
    for c in text.chars().chain(['\n']) {
        if c.is_ascii_hexdigit() {
            word.push(c);
            continue;
        }
        // Ids and secrets are drawn at random.
        out.push_str(match word.len() {
            16 => "<incarnation>",
            32 => "<cluster>",
            64 => "<secret>",
            _ => &word,
        });
        word.clear();
        out.push(c);
    }
    out.pop();
    out
}
