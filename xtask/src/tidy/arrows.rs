//! Which crate may use which (DESIGN section 2).
//!
//! A crate uses only crates above it, and fewer than that: `protocols`, `storage` and `wire` never
//! see each other, nor do `gateway` and `runtime`; `sim` sees neither `runtime`, `web` nor `client`.
//! Every allowed arrow is listed here; a test that needs another one is a reason to talk.

use super::{Problem, Source, manifest};

/// Each crate with all that it may use, top down.
pub const ALLOWED: &[(&str, &[&str])] = &[
    ("base", &[]),
    ("protocols", &["base"]),
    ("storage", &["base"]),
    ("wire", &["base"]),
    ("service", &["base"]),
    ("node", &["base", "protocols", "storage", "wire", "service"]),
    ("gateway", &["base", "wire", "service", "node"]),
    ("runtime", &["base", "storage", "wire", "service", "node"]),
    ("web", &["base", "service", "node", "runtime"]),
    ("client", &["base", "wire"]),
    ("sim", &["base", "protocols", "storage", "wire", "service", "node", "gateway"]),
    (
        "underpin",
        &[
            "base", "storage", "wire", "service", "node", "gateway", "runtime", "web", "client",
            "sim",
        ],
    ),
    // Bodies that feed bytes to every parser.
    ("fuzz", &["base", "storage", "wire", "service", "node", "gateway"]),
    // The same under libFuzzer; a workspace of its own.
    ("fuzz-targets", &["fuzz"]),
    // Beside the shipped crates: it explores two cores.
    ("models", &["base", "protocols"]),
    // A workspace of its own: it feeds one core beside a stranger's.
    ("opponent", &["base", "protocols"]),
    // Real tables for a few of the simulator's worlds come from here, since they are files.
    ("campaign", &["base", "storage", "sim"]),
    // Outside: they see processes and clients, not crates.
    ("xtask", &[]),
    ("zoo", &["base", "sim"]),
    ("e2e", &[]),
    // The harness that starts and stops clusters is e2e's.
    ("bench", &["e2e"]),
    // It sees processes, with the simulator's clients and judges.
    ("chaos", &["base", "wire", "sim", "e2e"]),
];

/// Checks every manifest.
pub fn check(manifests: &[&Source]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for source in manifests {
        let manifest = manifest::parse(&source.text);
        let Some(package) = &manifest.package else { continue };
        let name = room(package);
        if !manifest.workspace_lints && !manifest.workspace_root {
            problems.push(Problem::in_file(
                &source.path,
                "takes no part in the workspace's lints; add [lints] workspace = true",
            ));
        }
        let Some((_, allowed)) = ALLOWED.iter().find(|(room, _)| *room == name) else {
            problems.push(Problem::in_file(
                &source.path,
                format!("{package} has no place in the order of crates; give it one in arrows.rs"),
            ));
            continue;
        };
        for (dependency, line) in &manifest.dependencies {
            let target = room(dependency);
            if is_room(target) && !allowed.contains(&target) {
                problems.push(Problem::in_line(
                    &source.path,
                    *line,
                    format!("{name} must not know {target}; it may use: {}", allowed.join(", ")),
                ));
            }
        }
    }
    problems
}

/// `underpin-wire` and `wire` are the same room.
fn room(name: &str) -> &str {
    name.strip_prefix("underpin-").unwrap_or(name)
}

/// Whether a dependency of that name is a crate of ours.
pub fn is_room(name: &str) -> bool {
    ALLOWED.iter().any(|(known, _)| *known == room(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(name: &str, dependencies: &str) -> Source {
        let text = format!(
            "[package]\nname = \"{name}\"\n[lints]\nworkspace = true\n[dependencies]\n{dependencies}"
        );
        Source::new("crates/x/Cargo.toml", &text)
    }

    #[test]
    fn an_arrow_upwards_is_a_problem() {
        let found = check(&[&manifest("underpin-wire", "service.workspace = true\n")]);
        assert_eq!(found.len(), 1);
        assert_eq!(
            found[0].to_string(),
            "crates/x/Cargo.toml:6: wire must not know service; it may use: base"
        );
    }

    #[test]
    fn neighbours_do_not_see_each_other_even_in_tests() {
        for (name, dependency) in [
            ("underpin-protocols", "storage"),
            ("underpin-storage", "wire"),
            ("underpin-wire", "protocols"),
            ("underpin-gateway", "runtime"),
            ("underpin-runtime", "gateway"),
            ("underpin-sim", "runtime"),
            ("underpin-sim", "web"),
            ("underpin-sim", "client"),
            ("underpin-sim", "underpin"),
            ("underpin-e2e", "node"),
        ] {
            let source = manifest(name, &format!("[dev-dependencies]\n{dependency} = \"1\"\n"));
            assert_eq!(check(&[&source]).len(), 1, "{name} -> {dependency}");
        }
    }

    #[test]
    fn the_other_spelling_does_not_help() {
        let source = manifest("underpin-wire", "underpin-node = { path = \"../node\" }\n");
        assert_eq!(check(&[&source]).len(), 1);
    }

    #[test]
    fn a_crate_without_a_place_is_a_problem() {
        let found = check(&[&manifest("underpin-helpers", "")]);
        assert!(found[0].message.contains("no place in the order"), "{found:?}");
    }

    #[test]
    fn a_crate_without_the_lints_is_a_problem() {
        let source = Source::new("crates/x/Cargo.toml", "[package]\nname = \"underpin-wire\"\n");
        assert!(check(&[&source])[0].message.contains("lints"));
    }

    #[test]
    fn a_workspace_of_its_own_has_no_lints_to_take_over() {
        let text = "[package]\nname = \"underpin-fuzz-targets\"\n[workspace]\n";
        assert_eq!(check(&[&Source::new("fuzz/Cargo.toml", text)]), []);
    }

    #[test]
    fn allowed_arrows_pass() {
        let source =
            manifest("underpin-node", "base.workspace = true\nprotocols.workspace = true\n");
        assert_eq!(check(&[&source]), []);
    }
}
