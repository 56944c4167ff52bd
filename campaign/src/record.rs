//! Results of a campaign: a file for programs, and a part of `docs/verification.md` for people.

use crate::sum::{Sum, World, name};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

const PAGE: &str = "docs/verification.md";
const BEGIN: &str = "<!-- campaign: written by `cargo xtask sim --hours H --record` -->";
const END: &str = "<!-- end of campaign -->";

/// The repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("it lies in the repository").into()
}

/// Where cargo builds.
pub fn target() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    root().join(target)
}

/// Where results and scripts of failures are put.
pub fn folder() -> PathBuf {
    target().join("sim")
}

/// Which state of the sources ran, and when.
pub struct Origin {
    pub commit: String,
    pub date: String,
    pub options: String,
}

impl Origin {
    pub fn now(options: &[String]) -> Origin {
        let said = |program: &str, words: &[&str]| {
            let output = Command::new(program).args(words).current_dir(root()).output();
            let said = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
            said.unwrap_or_default().trim().to_string()
        };
        let changed = !said("git", &["status", "--porcelain", "--untracked-files=no"]).is_empty();
        let commit = said("git", &["rev-parse", "--short", "HEAD"]);
        let commit = if changed { format!("{commit} with changes") } else { commit };
        Origin {
            commit,
            date: said("date", &["-u", "+%Y-%m-%d %H:%M"]),
            options: options.join(" "),
        }
    }
}

/// Writes the results file.
pub fn write(sum: &Sum, origin: &Origin) -> Result<PathBuf, String> {
    let path = folder().join("campaign.json");
    let told = |error: std::io::Error| format!("{}: {error}", path.display());
    std::fs::create_dir_all(folder()).map_err(told)?;
    std::fs::write(&path, json(sum, origin)).map_err(told)?;
    Ok(path)
}

fn json(sum: &Sum, origin: &Origin) -> String {
    let mut text = String::from("{\n");
    for (key, value) in
        [("commit", &origin.commit), ("date", &origin.date), ("options", &origin.options)]
    {
        let _ = writeln!(text, "  \"{key}\": {},", quoted(value));
    }
    let _ = writeln!(text, "  \"wall_seconds\": {:.1},", sum.started.elapsed().as_secs_f64());
    text.push_str("  \"worlds\": {\n");
    let worlds: Vec<String> = sum
        .worlds
        .iter()
        .map(|(kind, world)| format!("    {}: {}", quoted(name(*kind)), json_of(world)))
        .collect();
    let _ = writeln!(text, "{}\n  }},\n  \"failures\": [", worlds.join(",\n"));
    let failures: Vec<String> = sum
        .failures
        .iter()
        .map(|(kind, failure)| {
            format!(
                "    {{\"kind\": {}, \"world\": {}, \"seed\": {}, \"times\": {}, \"what\": {}, \"script\": {}}}",
                quoted(kind),
                quoted(name(failure.first.kind)),
                failure.first.seed,
                failure.times,
                quoted(&failure.what),
                quoted(failure.script.as_deref().unwrap_or_default())
            )
        })
        .collect();
    let _ = writeln!(text, "{}\n  ]\n}}", failures.join(",\n"));
    text
}

fn json_of(world: &World) -> String {
    let group = |counts: &BTreeMap<String, u64>| {
        let lines: Vec<String> =
            counts.iter().map(|(name, count)| format!("{}: {count}", quoted(name))).collect();
        format!("{{{}}}", lines.join(", "))
    };
    let unseen: Vec<String> = world.counts.unseen().into_iter().map(quoted).collect();
    format!(
        "{{\"seeds\": {}, \"virtual_seconds\": {:.0}, \"events\": {}, \"thread_seconds\": {:.1}, \
         \"unjudged\": {},\n      \"faults\": {},\n      \"marks\": {},\n      \"work\": {},\n      \
         \"never_seen\": [{}]}}",
        world.seeds,
        world.counts.time_ns as f64 / 1e9,
        world.counts.events,
        world.spent.as_secs_f64(),
        world.counts.unjudged,
        group(&world.counts.faults),
        group(&world.counts.marks),
        group(&world.counts.work),
        unseen.join(", ")
    )
}

fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            letter if letter.is_control() => quoted.push(' '),
            letter => quoted.push(letter),
        }
    }
    quoted + "\""
}

/// Brings the page up to date.
pub fn update_page(sum: &Sum, origin: &Origin) -> Result<(), String> {
    let path = root().join(PAGE);
    let text = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    let begin = text.find(BEGIN).ok_or_else(|| format!("{PAGE} lacks {BEGIN}"))?;
    let end = text.find(END).ok_or_else(|| format!("{PAGE} lacks {END}"))?;
    let made = format!("{}{BEGIN}\n\n{}\n{}", &text[..begin], page(sum, origin), &text[end..]);
    std::fs::write(&path, made).map_err(|e| format!("{}: {e}", path.display()))
}

fn page(sum: &Sum, origin: &Origin) -> String {
    let minutes = sum.started.elapsed().as_secs_f64() / 60.0;
    let Origin { commit, date, options } = origin;
    let mut text = format!(
        "{date} UTC, commit {commit}, `cargo xtask sim {options}`: {minutes:.0} minutes, {} kinds of \
         failure.\n\n| | seeds | hours of their time | events | failures |\n| --- | --- | --- | --- | --- |\n",
        sum.failures.len()
    );
    for (kind, world) in &sum.worlds {
        let failed = sum.failures.values().filter(|failure| failure.first.kind == *kind);
        let _ = writeln!(
            text,
            "| {} | {} | {:.1} | {} | {} |",
            name(*kind),
            world.seeds,
            world.counts.time_ns as f64 / 3.6e12,
            world.counts.events,
            failed.map(|failure| failure.times).sum::<u64>()
        );
    }
    for (kind, world) in &sum.worlds {
        let list = |counts: &BTreeMap<String, u64>| {
            let seen: Vec<String> =
                counts.iter().map(|(name, count)| format!("{name} {count}")).collect();
            seen.join(", ")
        };
        let counts = &world.counts;
        let unseen = match counts.unseen().join(", ") {
            unseen if unseen.is_empty() => "nothing".into(),
            unseen => unseen,
        };
        let name = name(*kind);
        let _ = write!(
            text,
            "\n**{name}.** Faults: {}.\n\nReached: {}.\n\nDone: {}. {} histories were not judged. Never seen: {unseen}.\n",
            list(&counts.faults),
            list(&counts.marks),
            list(&counts.work),
            counts.unjudged
        );
    }
    for failure in sum.failures.values() {
        let (world, seed) = (name(failure.first.kind), failure.first.seed);
        let _ = write!(
            text,
            "\n- {world}, first seed {seed}, {} times: {}\n",
            failure.times, failure.what
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_can_be_read_by_programs() {
        let origin = Origin { commit: "abc".into(), date: "today".into(), options: "\"x\"".into() };
        let text = json(&Sum::new(), &origin);
        assert!(text.contains("\"options\": \"\\\"x\\\"\""), "{text}");
        assert_eq!(text.matches('{').count(), text.matches('}').count());
        assert!(page(&Sum::new(), &origin).contains("| Raft alone | 0 | 0.0 | 0 | 0 |"));
    }
}
