//! Reads of a `Cargo.toml` what the rules ask for: the package's name and its dependencies' names.
//!
//! Not a TOML parser: it knows tables, and keys at the start of a line, which is how manifests are
//! written here.

/// What the rules want to know of a manifest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    /// The package's name; none for the workspace's own manifest.
    pub package: Option<String>,
    /// The dependencies of all kinds, as they are called in the manifest, each with its line.
    pub dependencies: Vec<(String, usize)>,
    /// The names under `[workspace.dependencies]` that are folders of this repository, with the
    /// folder.
    pub own: Vec<(String, String)>,
    /// Whether it takes over the workspace's lints.
    pub workspace_lints: bool,
    /// Whether it is a workspace of its own, so that it can take over nothing.
    pub workspace_root: bool,
}

/// Reads a manifest.
pub fn parse(text: &str) -> Manifest {
    let mut manifest = Manifest::default();
    let mut table = String::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if let Some(header) = line.strip_prefix('[') {
            table = header.trim_end_matches(']').to_string();
            manifest.workspace_root |= table == "workspace";
            // [dependencies.tokio]: the name is in the header.
            if let Some((of, name)) = table.rsplit_once('.')
                && is_dependencies(of)
            {
                manifest.dependencies.push((name.trim_matches('"').to_string(), index + 1));
            }
            continue;
        }
        let Some((key, value)) = line.split_once('=') else { continue };
        if line.starts_with('#') {
            continue;
        }
        // `bytes.workspace = true`, `bytes = "1"`, `bytes = { … }`
        let name = key.trim().split('.').next().unwrap_or_default().trim_matches('"').to_string();
        if is_dependencies(&table) {
            if let Some(path) = folder(value) {
                manifest.own.push((name.clone(), path));
            }
            manifest.dependencies.push((name, index + 1));
        } else if table == "package" && name == "name" {
            manifest.package = Some(value.trim().trim_matches('"').to_string());
        } else if table == "lints" && name == "workspace" {
            manifest.workspace_lints = value.trim() == "true";
        }
    }
    manifest
}

/// Whether a table lists dependencies.
fn is_dependencies(table: &str) -> bool {
    matches!(table.rsplit('.').next(), Some(last) if last.ends_with("dependencies"))
}

/// The folder in `{ path = "crates/base", … }`.
fn folder(value: &str) -> Option<String> {
    let after = value.split("path = \"").nth(1)?;
    Some(after.split('"').next()?.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_way_to_write_a_dependency() {
        let manifest = parse(
            "[package]\nname = \"underpin-x\"\n\n[lints]\nworkspace = true\n\n\
             [dependencies]\nbase.workspace = true\nbytes = \"1\"\n# not = \"this\"\n\
             near = { path = \"crates/near\" }\n\n\
             [dev-dependencies.far]\nversion = \"2\"\n\n[target.'cfg(unix)'.dependencies]\nnix = \"1\"\n",
        );
        let names: Vec<&str> = manifest.dependencies.iter().map(|(name, _)| &name[..]).collect();
        assert_eq!(names, ["base", "bytes", "near", "far", "nix"]);
        assert_eq!(manifest.package.as_deref(), Some("underpin-x"));
        assert_eq!(manifest.own, [("near".to_string(), "crates/near".to_string())]);
        assert!(manifest.workspace_lints);
    }
}
