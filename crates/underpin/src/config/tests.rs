//! Configurations, right and wrong.

use super::{Config, Loaded, Problem, Sources};
use crate::local::Tuning;
use std::path::PathBuf;

/// A folder of its own with a secret, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str, toml: &str) -> Folder {
        let path =
            std::env::temp_dir().join(format!("underpin-config-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        std::fs::write(path.join("underpin.secret"), "sesame\n").unwrap();
        std::fs::write(path.join("underpin.toml"), toml).unwrap();
        Folder(path)
    }

    fn sources(&self) -> Sources {
        Sources { file: self.0.join("underpin.toml"), ..Sources::default() }
    }

    fn load(&self) -> Result<Config, Vec<Problem>> {
        Loaded::read(&self.sources())?.config()
    }

    /// What is wrong, with the folder's path left out.
    fn complaint(&self) -> String {
        self.complaint_with(&self.sources())
    }

    fn complaint_with(&self, sources: &Sources) -> String {
        let problems = Loaded::read(sources).and_then(|loaded| loaded.config().map(drop));
        let texts: Vec<_> = problems.unwrap_err().iter().map(Problem::to_string).collect();
        texts.join("\n").replace(&format!("{}/", self.0.display()), "")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

const MINIMAL: &str = r#"
[node]
id = 2
[cluster]
id = "000102030405060708090a0b0c0d0e0f"
peers = { 1 = "db1:7400", 2 = "[::1]:7400" }
"#;

#[test]
fn a_minimal_file_is_enough() {
    let folder = Folder::new("minimal", MINIMAL);
    let config = folder.load().map_err(|problems| format!("{problems:?}")).unwrap();
    assert_eq!(config.node.0, 2);
    assert_eq!(config.peers[&config.node].to_string(), "[::1]:7400");
    assert_eq!(config.secret, "sesame");
    assert_eq!(config.data, folder.0.join("data"), "relative to the file");
    assert_eq!(config.number("limits.value_bytes_max"), 4 << 20);
    assert!(config.warnings().is_empty());
}

/// The table's defaults are those that the parts themselves have, so the commented file tells the
/// truth, and `underpin dev` runs as a server does.
#[test]
fn the_defaults_of_the_table_are_those_of_the_parts() {
    let config = Folder::new("defaults", MINIMAL).load().ok().unwrap();
    let said = |tuning: &Tuning| format!("{tuning:#?}");
    assert_eq!(said(&Tuning::of(&config)), said(&Tuning::default()));
}

#[test]
fn log_storage_and_raft_can_be_set() {
    let set = "[log]\nsegment_bytes = \"10 MiB\"\nretention_bytes = 0\n\
               [storage]\nmemtable_bytes = \"1 MiB\"\nflush_log_bytes = \"512 KiB\"\n\
               row_cache_bytes = 0\nblock_cache_bytes = \"2 MiB\"\n\
               [raft]\nsupport_ms = 1000\nelection_ms = 200\n";
    let config = Folder::new("tuning", &format!("{MINIMAL}{set}")).load().ok().unwrap();
    let Tuning { node, disk, .. } = Tuning::of(&config);
    assert_eq!((disk.wal.segment_bytes, node.raft.retain_bytes_max), (10 << 20, 0));
    assert_eq!((node.engine.memtable_bytes, node.flush_log_bytes), (1 << 20, 512 << 10));
    assert_eq!(node.memtables_bytes_max, 4 << 20);
    assert_eq!((node.engine.cache_bytes, disk.tables.cache_bytes), (0, 2 << 20));
    assert_eq!(node.liveness.support_ns, 1_000_000_000);
    let raft = (node.raft.election_ns_min, node.raft.election_ns_max);
    assert_eq!(raft, (200_000_000, 500_000_000));
}

#[test]
fn a_segment_that_could_not_hold_the_longest_value_is_refused() {
    let toml = format!("{MINIMAL}[log]\nsegment_bytes = \"4 MiB\"\nretention = 5\n");
    let complaint = Folder::new("segment", &toml).complaint();
    assert!(complaint.contains("4194304 is not between 10485760 and 1073741824"), "{complaint}");
    assert!(complaint.contains("did you mean `retention_bytes`?"), "{complaint}");
}

#[test]
fn the_template_is_a_valid_file_that_sets_nothing_but_what_it_must() {
    let set = std::collections::BTreeMap::from([
        ("node.id", "1".to_owned()),
        ("cluster.id", "\"000102030405060708090a0b0c0d0e0f\"".to_owned()),
        ("cluster.peers", "{ 1 = \"127.0.0.1:7400\" }".to_owned()),
    ]);
    let text = super::template(&set);
    let folder = Folder::new("template", &text);
    assert!(folder.load().is_ok());
    // Its comments show defaults that are themselves valid.
    let commented =
        |line: &str| line.starts_with("# ") && line.contains(" = ") && !line.ends_with("\"\"");
    let whole: Vec<_> =
        text.lines().map(|line| if commented(line) { &line[2..] } else { line }).collect();
    let folder = Folder::new("template-whole", &whole.join("\n"));
    assert!(folder.load().is_ok(), "{}", folder.complaint());
}

#[test]
fn an_unknown_key_is_refused_with_its_place_and_what_was_meant() {
    let folder = Folder::new("unknown", &format!("{MINIMAL}[listen]\nreps = \"127.0.0.1:1\"\n"));
    assert_eq!(
        folder.complaint(),
        "unknown key `reps` in underpin.toml
 --> underpin.toml:8:1
  |
8 | reps = \"127.0.0.1:1\"
  | ^^^^ did you mean `resp`?"
    );
}

#[test]
fn an_unknown_section_or_a_key_in_the_wrong_one_is_refused() {
    let folder = Folder::new("section", &format!("{MINIMAL}[lisen]\n[auth]\nresp = \"a:1\"\n"));
    let complaint = folder.complaint();
    assert!(complaint.contains("unknown section `lisen` in underpin.toml"), "{complaint}");
    assert!(complaint.contains("did you mean `listen`?"), "{complaint}");
    assert!(complaint.contains("`resp` belongs to [listen]"), "{complaint}");
}

#[test]
fn a_wrong_type_or_range_is_refused_with_what_was_expected() {
    let complain =
        |name: &str, lines: &str| Folder::new(name, &format!("{MINIMAL}{lines}")).complaint();
    let complaint = complain("type", "[limits]\nconnections_max = \"many\"\n");
    assert!(complaint.contains("^^^^^^ expected a whole number, found text"), "{complaint}");
    let complaint = complain("range", "[limits]\nvalue_bytes_max = \"5 MiB\"\n");
    assert!(complaint.contains("5242880 is not between 1 and 4194304"), "{complaint}");
    let complaint = complain("address", "[listen]\nresp = \"6379\"\n");
    assert!(complaint.contains("`6379` is not an address of the form host:port"), "{complaint}");
}

#[test]
fn all_that_is_wrong_is_said_at_once() {
    let folder = Folder::new("all", "[node]\nid = 0\nname = \"x\"\n[limits]\nrequests_max = 0\n");
    assert_eq!(folder.complaint().matches("-->").count(), 3);
}

#[test]
fn what_must_be_set_and_is_not_is_named_with_the_ways_to_set_it() {
    let folder = Folder::new("missing", "[node]\nid = 1\n");
    let complaint = folder.complaint();
    assert!(complaint.contains("`cluster.id` is not set"), "{complaint}");
    assert!(complaint.contains("UNDERPIN_CLUSTER__PEERS"), "{complaint}");
}

#[test]
fn a_missing_file_names_the_way_to_one() {
    let folder = Folder::new("file", "");
    std::fs::remove_file(folder.0.join("underpin.toml")).unwrap();
    assert_eq!(
        folder.complaint(),
        "there is no underpin.toml\n  help   write one with `underpin init`, or name another with --config"
    );
}

#[test]
fn a_flag_beats_a_variable_beats_the_file_beats_the_default() {
    let folder = Folder::new("layers", &format!("{MINIMAL}[limits]\nconnections_max = 2\n"));
    let mut sources = folder.sources();
    let value = |sources: &Sources| {
        Loaded::read(sources)
            .and_then(|loaded| loaded.config())
            .ok()
            .unwrap()
            .number("limits.connections_max")
    };
    assert_eq!(value(&sources), 2);
    sources.variables.push(("UNDERPIN_LIMITS__CONNECTIONS_MAX".into(), "3".into()));
    sources.variables.push(("UNDERPIN_ENDPOINT".into(), "not ours to read".into()));
    assert_eq!(value(&sources), 3);
    sources.flags.push("limits.connections_max=4".into());
    assert_eq!(value(&sources), 4);
}

#[test]
fn a_misspelt_variable_is_refused_too() {
    let folder = Folder::new("variable", MINIMAL);
    let variables = vec![("UNDERPIN_LISTEN__HTPP".into(), "127.0.0.1:1".into())];
    let sources = Sources { variables, ..folder.sources() };
    assert_eq!(
        folder.complaint_with(&sources),
        "environment variable UNDERPIN_LISTEN__HTPP: there is no key `htpp`\n  help   did you mean `http`?"
    );
}

#[test]
fn off_loopback_without_a_password_is_refused_and_with_one_warned_about() {
    let open = format!("{MINIMAL}[listen]\nresp = \"0.0.0.0:6379\"\n");
    let complaint = Folder::new("open", &open).complaint();
    assert!(
        complaint.contains("which other machines reach, and no password is set"),
        "{complaint}"
    );
    assert!(complaint.contains(":8:8"), "it points at the line: {complaint}");

    let folder = Folder::new("password", &format!("{open}[auth]\npassword = \"x\"\n"));
    let warnings = folder.load().ok().unwrap().warnings();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[1].contains("`listen.resp_advertised`"), "{warnings:?}");
}

#[test]
fn http_off_loopback_needs_a_word_that_everyone_may_see_it() {
    let open = format!("{MINIMAL}[listen]\nhttp = \"0.0.0.0:7480\"\n");
    let complaint = Folder::new("http", &open).complaint();
    assert!(complaint.contains("HTTP asks for no password"), "{complaint}");
    assert!(complaint.contains("http_open_to"), "{complaint}");
    let said = Folder::new("http-said", &format!("{open}http_open_to = \"anyone\"\n"));
    assert_eq!(said.load().ok().unwrap().warnings().len(), 1);
}

#[test]
fn what_is_advertised_is_something_to_connect_to() {
    let listen = |line: &str| {
        let listen = "[auth]\npassword = \"x\"\n[listen]\nresp = \"0.0.0.0:6379\"\n";
        Folder::new("advertised", &format!("{MINIMAL}{listen}{line}\n"))
    };
    assert_eq!(listen("").load().ok().unwrap().resp_advertised, None, "nobody can say");
    let config = listen("resp_advertised = \"db2.example:7000\"").load().ok().unwrap();
    assert_eq!(config.resp_advertised.unwrap().to_string(), "db2.example:7000");
    for wrong in ["0.0.0.0:6379", "[::]:6379", "db2.example:0"] {
        let complaint = listen(&format!("resp_advertised = \"{wrong}\"")).complaint();
        assert!(complaint.contains("which nobody can connect to"), "{complaint}");
    }
    let plain = Folder::new("plain", MINIMAL).load().ok().unwrap();
    assert_eq!(plain.resp_advertised, Some(plain.resp));

    let peers = MINIMAL.replace("db1:7400", "0.0.0.0:7400");
    let complaint = Folder::new("peers", &peers).complaint();
    assert!(complaint.contains("node 1, which nobody can reach"), "{complaint}");
}

#[test]
fn a_secret_is_never_shown() {
    let folder = Folder::new("secret", &format!("{MINIMAL}[auth]\npassword = \"hunter2\"\n"));
    let loaded = Loaded::read(&folder.sources()).ok().unwrap();
    let shown: Vec<_> =
        loaded.settings().filter_map(|(_, value)| Some(value?.0.to_string())).collect();
    assert!(shown.iter().all(|value| !value.contains("hunter2")));
    assert!(shown.contains(&"\"***\"".to_owned()));
}

#[test]
fn a_node_that_is_not_among_the_peers_is_refused() {
    let folder = Folder::new("peers", &MINIMAL.replace("id = 2", "id = 3"));
    assert!(folder.complaint().starts_with("`cluster.peers` has no entry for this node, 3"));
}
