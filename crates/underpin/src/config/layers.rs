//! From four sources to one valid configuration, with the origin of every value.

use super::problem::{Place, Problem, suggest_key, suggest_section};
use super::settings::{Kind, SETTINGS, Setting, find, sections};
use super::{Address, Config, Value};
use base::{ClusterId, NodeId};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Where the settings are to be taken from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The file.
    pub file: PathBuf,
    /// Environment variables; only those with our names count.
    pub variables: Vec<(String, String)>,
    /// `--set section.key=value`.
    pub flags: Vec<String>,
}

impl Sources {
    /// This file, this process' variables and these flags.
    pub fn of_process(file: &Path, flags: &[String]) -> Sources {
        let text = |word: std::ffi::OsString| word.to_string_lossy().into_owned();
        let variables = std::env::vars_os().map(|(name, value)| (text(name), text(value)));
        Sources { file: file.to_owned(), variables: variables.collect(), flags: flags.to_vec() }
    }
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The table's default.
    Default,
    /// A line of the file.
    File(Place),
    /// An environment variable.
    Variable(String),
    /// A flag.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File(place) => write!(f, "{}:{}", place.file, place.line),
            Origin::Variable(name) => f.write_str(name),
            Origin::Flag(flag) => write!(f, "--set {flag}"),
        }
    }
}

/// All settings with their values and origins, before they were checked against each other.
#[derive(Default)]
pub struct Loaded {
    /// By full name: the table's setting, its value and its origin.
    values: BTreeMap<&'static str, (Value, Origin)>,
    /// The file's directory: what paths in it are relative to.
    directory: PathBuf,
    file: String,
}

impl Loaded {
    /// Reads the sources. All that is wrong with single settings is reported at once.
    pub fn read(sources: &Sources) -> Result<Loaded, Vec<Problem>> {
        let directory = sources.file.parent().map(Path::to_owned).unwrap_or_default();
        let file = sources.file.display().to_string();
        let mut loaded = Loaded { values: BTreeMap::new(), directory, file };
        let mut problems = Vec::new();
        for setting in SETTINGS {
            if let Some(value) = setting.default_value() {
                loaded.values.insert(setting.full_name, (value, Origin::Default));
            }
        }
        loaded.read_file(sources, &mut problems);
        loaded.read_variables(&sources.variables, &mut problems);
        loaded.read_flags(&sources.flags, &mut problems);
        if problems.is_empty() { Ok(loaded) } else { Err(problems) }
    }

    /// Every setting in the table's order, with its value and origin if it has one.
    pub fn settings(&self) -> impl Iterator<Item = (&'static Setting, Option<&(Value, Origin)>)> {
        SETTINGS.iter().map(|setting| (setting, self.values.get(setting.full_name)))
    }

    fn read_file(&mut self, sources: &Sources, problems: &mut Vec<Problem>) {
        let file = self.file.clone();
        let source = match std::fs::read_to_string(&sources.file) {
            Ok(source) => source,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let problem = Problem::new(format!("there is no {file}"));
                return problems.push(
                    problem.help("write one with `underpin init`, or name another with --config"),
                );
            }
            Err(error) => {
                return problems.push(Problem::new(format!("cannot read {file}: {error}")));
            }
        };
        let tables = match DeTable::parse(&source) {
            Ok(tables) => tables,
            Err(error) => {
                let place = Place::new(&file, &source, error.span().unwrap_or(0..0), "");
                let what = format!("{file} is not valid TOML: {}", error.message());
                return problems.push(Problem::new(what).at(place));
            }
        };
        for (section, value) in tables.get_ref().iter() {
            self.read_section(&source, section, value, problems);
        }
        // In the file's order, whatever the parser's.
        problems
            .sort_by_key(|problem| problem.place.as_ref().map(|place| (place.line, place.column)));
    }

    fn read_section(
        &mut self,
        source: &str,
        section: &Spanned<impl AsRef<str>>,
        value: &Spanned<DeValue<'_>>,
        problems: &mut Vec<Problem>,
    ) {
        let name = section.get_ref().as_ref();
        let place = |remark: String| Place::new(&self.file, source, section.span(), remark);
        if !sections().contains(&name) {
            let what = format!("unknown section `{name}` in {}", self.file);
            return problems.push(Problem::new(what).at(place(suggest_section(name))));
        }
        let DeValue::Table(table) = value.get_ref() else {
            let what = format!("`{name}` in {} is a section, not a key", self.file);
            return problems.push(Problem::new(what).at(place(format!("write [{name}]"))));
        };
        for (key, value) in table.iter() {
            self.read_key(source, name, key, value, problems);
        }
    }

    fn read_key(
        &mut self,
        source: &str,
        section: &str,
        key: &Spanned<impl AsRef<str>>,
        value: &Spanned<DeValue<'_>>,
        problems: &mut Vec<Problem>,
    ) {
        let name = key.get_ref().as_ref();
        let Some(setting) = find(section, name) else {
            let remark = suggest_key(section, name);
            let place = Place::new(&self.file, source, key.span(), remark);
            let what = format!("unknown key `{name}` in {}", self.file);
            return problems.push(Problem::new(what).at(place));
        };
        match Value::from_toml(setting.kind, value.get_ref()) {
            Ok(read) => {
                let place = Place::new(&self.file, source, value.span(), "");
                self.values.insert(setting.full_name, (read, Origin::File(place)));
            }
            Err(why) => {
                let place = Place::new(&self.file, source, value.span(), why);
                let what = format!("wrong value for `{}` in {}", setting.full_name, self.file);
                problems.push(Problem::new(what).at(place));
            }
        }
    }

    fn read_variables(&mut self, variables: &[(String, String)], problems: &mut Vec<Problem>) {
        for (variable, text) in variables {
            // Names without two underscores in a row are not settings: UNDERPIN_ENDPOINT, say.
            let Some(name) = variable.strip_prefix("UNDERPIN_") else { continue };
            let Some((section, key)) = name.split_once("__") else { continue };
            let (section, key) = (section.to_lowercase(), key.to_lowercase());
            let origin = Origin::Variable(variable.clone());
            let whose = format!("environment variable {variable}");
            self.read_text(&section, &key, text, origin, &whose, problems);
        }
    }

    fn read_flags(&mut self, flags: &[String], problems: &mut Vec<Problem>) {
        for flag in flags {
            let parts = flag.split_once('=').and_then(|(name, text)| {
                let (section, key) = name.split_once('.')?;
                Some((section, key, text))
            });
            let Some((section, key, text)) = parts else {
                let what = format!("--set {flag} is not of the form section.key=value");
                problems.push(Problem::new(what));
                continue;
            };
            let shown = format!("{section}.{key}");
            let whose = format!("--set {shown}");
            self.read_text(section, key, text, Origin::Flag(shown), &whose, problems);
        }
    }

    fn read_text(
        &mut self,
        section: &str,
        key: &str,
        text: &str,
        origin: Origin,
        whose: &str,
        problems: &mut Vec<Problem>,
    ) {
        if !sections().contains(&section) {
            let problem = Problem::new(format!("{whose}: there is no section `{section}`"));
            return problems.push(problem.help(suggest_section(section)));
        }
        let Some(setting) = find(section, key) else {
            let problem = Problem::new(format!("{whose}: there is no key `{key}`"));
            return problems.push(problem.help(suggest_key(section, key)));
        };
        match Value::from_text(setting.kind, text) {
            Ok(value) => {
                self.values.insert(setting.full_name, (value, origin));
            }
            // A secret's text is not repeated, not even a wrong one's.
            Err(_) if setting.kind == Kind::Secret => {
                problems.push(Problem::new(format!("{whose}: not a valid secret")));
            }
            Err(why) => problems.push(Problem::new(format!("{whose}: {why}"))),
        }
    }

    /// Checks the settings against each other, reads the files they name, and gives the result.
    pub fn config(&self) -> Result<Config, Vec<Problem>> {
        let mut problems = Vec::new();
        for (setting, value) in self.settings() {
            let optional =
                setting.section == "auth" || setting.full_name == "listen.resp_advertised";
            if value.is_none() && !optional {
                problems.push(self.missing(setting));
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let node = NodeId(self.number("node.id"));
        let peers: BTreeMap<NodeId, Address> =
            self.peers().iter().map(|(id, address)| (NodeId(*id), address.clone())).collect();
        if !peers.contains_key(&node) {
            problems.push(self.about(
                "cluster.peers",
                format!("`cluster.peers` has no entry for this node, {}", node.0),
                format!("add {} = \"host:port\", or correct `node.id`", node.0),
            ));
        }
        let secret = self.secret(&mut problems);
        let password = self.password(&mut problems);
        self.check_exposure(password.is_some(), &mut problems);
        let resp_advertised = self.advertised(&mut problems);
        self.check_peers(&mut problems);
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Config {
            node,
            data: self.path("node.data").expect("checked above"),
            resp: self.address("listen.resp"),
            resp_advertised,
            peer: self.address("listen.peer"),
            http: self.address("listen.http"),
            cluster: ClusterId(self.cluster()),
            peers,
            secret,
            password,
            numbers: self.numbers(),
            log_level: self.text("logging.level").parse().expect("a choice of the table"),
        })
    }

    fn missing(&self, setting: &Setting) -> Problem {
        let problem = Problem::new(format!("`{}` is not set", setting.full_name));
        problem.help(format!(
            "add `{}` to [{}] in {}, or set {}",
            setting.key,
            setting.section,
            self.file,
            setting.variable()
        ))
    }

    /// A problem with a value: where it was set is shown, if in the file.
    fn about(&self, name: &str, what: String, remark: String) -> Problem {
        match self.values.get(name) {
            Some((_, Origin::File(place))) => {
                Problem::new(what).at(Place { remark, ..place.clone() })
            }
            Some((_, origin)) => Problem::new(format!("{what} (from {origin})")).help(remark),
            None => Problem::new(what).help(remark),
        }
    }

    /// Everyone who reaches the port for clients may read and write everything, so without a password
    /// only this machine reaches it. HTTP shows less and has no password: somebody must have said
    /// that everyone may see it.
    fn check_exposure(&self, password: bool, problems: &mut Vec<Problem>) {
        let address = self.address("listen.resp");
        if !address.is_loopback() && !password {
            problems.push(self.about(
                "listen.resp",
                format!(
                    "`listen.resp` is {address}, which other machines reach, and no password is set"
                ),
                "set `auth.password` or `auth.password_file`, or listen on 127.0.0.1".into(),
            ));
        }
        let http = self.address("listen.http");
        if !http.is_loopback() && self.text("listen.http_open_to") != "anyone" {
            problems.push(self.about(
                "listen.http",
                format!(
                    "`listen.http` is {http}, which other machines reach, and HTTP asks for no \
                     password"
                ),
                "set `listen.http_open_to` to \"anyone\" if whoever reaches it may see metrics and \
                 health, or listen on 127.0.0.1"
                    .into(),
            ));
        }
    }

    /// What others are told of `listen.resp`, if it is something to connect to.
    fn advertised(&self, problems: &mut Vec<Problem>) -> Option<Address> {
        let name = "listen.resp_advertised";
        let Some((Value::Address(address), _)) = self.values.get(name) else {
            let listening = self.address("listen.resp");
            return (!listening.is_unspecified()).then_some(listening);
        };
        if address.is_unspecified() || address.port == 0 {
            problems.push(
                self.about(
                    name,
                    format!("`{name}` is {address}, which nobody can connect to"),
                    "give the name or address, and the port, under which clients reach this node"
                        .into(),
                ),
            );
        }
        Some(address.clone())
    }

    fn check_peers(&self, problems: &mut Vec<Problem>) {
        for (node, address) in self.peers() {
            if address.is_unspecified() {
                problems.push(self.about(
                    "cluster.peers",
                    format!("`cluster.peers` has {address} for node {node}, which nobody can reach"),
                    "give the address under which the others reach it; 0.0.0.0 is for `listen.peer`"
                        .into(),
                ));
            }
        }
    }

    fn secret(&self, problems: &mut Vec<Problem>) -> String {
        let path = self.path("cluster.secret_file").expect("it has a default");
        match read_secret(&path) {
            Ok(secret) => return secret,
            Err(why) => problems.push(self.about(
                "cluster.secret_file",
                format!("the cluster's secret, {}: {why}", path.display()),
                "copy it from another node, or make a cluster with `underpin init`".into(),
            )),
        }
        String::new()
    }

    fn password(&self, problems: &mut Vec<Problem>) -> Option<String> {
        let inline = match self.values.get("auth.password") {
            Some((Value::Secret(password), _)) => Some(password.clone()),
            _ => None,
        };
        let Some(path) = self.path("auth.password_file") else { return inline };
        if inline.is_some() {
            let what = "both `auth.password` and `auth.password_file` are set".to_owned();
            problems.push(self.about("auth.password_file", what, "keep one of them".into()));
            return None;
        }
        match read_secret(&path) {
            Ok(password) => Some(password),
            Err(why) => {
                problems.push(self.about(
                    "auth.password_file",
                    format!("the password file, {}: {why}", path.display()),
                    "write the password there, readable by this user alone".into(),
                ));
                None
            }
        }
    }

    fn value(&self, name: &str) -> &Value {
        &self.values.get(name).unwrap_or_else(|| panic!("`{name}` is not set")).0
    }

    fn number(&self, name: &str) -> u64 {
        match self.value(name) {
            Value::Number(number) => *number,
            other => panic!("`{name}` is {other}, not a number"),
        }
    }

    fn numbers(&self) -> BTreeMap<&'static str, u64> {
        let numbers = self.settings().filter_map(|(setting, value)| match value {
            Some((Value::Number(number), _)) if setting.section != "node" => {
                Some((setting.full_name, *number))
            }
            _ => None,
        });
        numbers.collect()
    }

    fn address(&self, name: &str) -> Address {
        match self.value(name) {
            Value::Address(address) => address.clone(),
            other => panic!("`{name}` is {other}, not an address"),
        }
    }

    fn text(&self, name: &str) -> &str {
        match self.value(name) {
            Value::Text(text) => text,
            other => panic!("`{name}` is {other}, not a text"),
        }
    }

    fn cluster(&self) -> u128 {
        match self.value("cluster.id") {
            Value::Cluster(id) => *id,
            other => panic!("`cluster.id` is {other}"),
        }
    }

    fn peers(&self) -> &BTreeMap<u64, Address> {
        match self.value("cluster.peers") {
            Value::Peers(peers) => peers,
            other => panic!("`cluster.peers` is {other}"),
        }
    }

    /// A path: one from the file or a default is relative to the file, any other to where we are.
    fn path(&self, name: &str) -> Option<PathBuf> {
        let (value, origin) = self.values.get(name)?;
        let Value::Text(text) = value else { panic!("`{name}` is {value}, not a path") };
        match origin {
            Origin::Default | Origin::File(_) => Some(self.directory.join(text)),
            Origin::Variable(_) | Origin::Flag(_) => Some(PathBuf::from(text)),
        }
    }
}

/// A secret's file without the line end that editors add.
fn read_secret(path: &Path) -> Result<String, String> {
    let text = std::fs::read_to_string(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
        _ => error.to_string(),
    })?;
    let secret = text.trim_end_matches(['\r', '\n']);
    if secret.is_empty() { Err("is empty".into()) } else { Ok(secret.to_owned()) }
}
