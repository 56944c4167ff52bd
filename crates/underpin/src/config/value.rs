//! What a setting can be set to, read from a file's TOML or from the text of a variable or flag.

use super::settings::Kind;
use std::collections::BTreeMap;
use std::fmt;
use toml::de::DeValue;

/// A host and a port. Names are resolved when they are used.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    /// A name or an IP address (version 6 without brackets).
    pub host: String,
    /// The port.
    pub port: u16,
}

impl Address {
    /// Reads `host:port`, `1.2.3.4:5` or `[::1]:5`.
    pub fn parse(text: &str) -> Result<Address, String> {
        let wrong = || format!("`{text}` is not an address of the form host:port");
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let host = bare.unwrap_or(host);
        if host.is_empty() || (bare.is_none() && host.contains(':')) {
            return Err(wrong());
        }
        let port = port.parse().map_err(|_| format!("`{port}` is not a port (0 to 65535)"))?;
        Ok(Address { host: host.to_owned(), port })
    }

    /// Whether only this machine can connect to it.
    pub fn is_loopback(&self) -> bool {
        match self.host.parse::<std::net::IpAddr>() {
            Ok(address) => address.is_loopback(),
            Err(_) => self.host == "localhost",
        }
    }

    /// Whether it stands for every interface, so that nobody can connect to it under this name.
    pub fn is_unspecified(&self) -> bool {
        self.host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_unspecified())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// A setting's value.
#[derive(Clone, PartialEq, Eq)]
pub enum Value {
    /// Of [`Kind::Number`] and [`Kind::Bytes`].
    Number(u64),
    /// Of [`Kind::Address`].
    Address(Address),
    /// Of [`Kind::Path`] and [`Kind::Choice`].
    Text(String),
    /// Of [`Kind::Secret`].
    Secret(String),
    /// Of [`Kind::Cluster`].
    Cluster(u128),
    /// Of [`Kind::Peers`].
    Peers(BTreeMap<u64, Address>),
}

/// As a file would have it, but secrets stay secret.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Number(number) => write!(f, "{number}"),
            Value::Address(address) => write!(f, "\"{address}\""),
            Value::Text(text) => f.write_str(&quoted(text)),
            Value::Secret(_) => f.write_str("\"***\""),
            Value::Cluster(id) => write!(f, "\"{id:032x}\""),
            Value::Peers(peers) => {
                let pairs: Vec<_> =
                    peers.iter().map(|(node, address)| format!("{node} = \"{address}\"")).collect();
                write!(f, "{{ {} }}", pairs.join(", "))
            }
        }
    }
}

/// A TOML string of `text`.
pub fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

impl Value {
    /// Reads the text of an environment variable or a flag.
    pub fn from_text(kind: Kind, text: &str) -> Result<Value, String> {
        match kind {
            Kind::Number(min, max) => Value::number(text.parse().ok(), text, min, max),
            Kind::Bytes(min, max) => Value::number(bytes(text), text, min, max),
            Kind::Address => Address::parse(text).map(Value::Address),
            Kind::Path if text.is_empty() => Err("is empty".into()),
            Kind::Path => Ok(Value::Text(text.to_owned())),
            Kind::Secret if text.is_empty() => Err("is empty".into()),
            Kind::Secret => Ok(Value::Secret(text.to_owned())),
            Kind::Cluster => Value::cluster(text),
            Kind::Peers => Value::peers(text.split(',').map(|pair| {
                pair.split_once('=')
                    .ok_or_else(|| format!("`{pair}` is not of the form 1=host:port"))
            })),
            Kind::Choice(words) if words.contains(&text) => Ok(Value::Text(text.to_owned())),
            Kind::Choice(words) => Err(format!("`{text}` is none of {}", words.join(", "))),
        }
    }

    /// Reads what stands in a file.
    pub fn from_toml(kind: Kind, value: &DeValue<'_>) -> Result<Value, String> {
        match (kind, value) {
            (Kind::Number(min, max) | Kind::Bytes(min, max), DeValue::Integer(integer)) => {
                let number = u64::from_str_radix(integer.as_str(), integer.radix()).ok();
                Value::number(number, integer.as_str(), min, max)
            }
            (Kind::Peers, DeValue::Table(table)) => {
                Value::peers(table.iter().map(|(node, address)| match address.get_ref() {
                    DeValue::String(address) => Ok((node.get_ref().as_ref(), address.as_ref())),
                    other => {
                        Err(format!("node {}: {}", node.get_ref(), mismatch(Kind::Address, other)))
                    }
                }))
            }
            (Kind::Number(..), other) => Err(mismatch(kind, other)),
            (kind, DeValue::String(text)) if kind != Kind::Peers => Value::from_text(kind, text),
            (kind, other) => Err(mismatch(kind, other)),
        }
    }

    fn number(number: Option<u64>, text: &str, min: u64, max: u64) -> Result<Value, String> {
        match number {
            Some(number) if (min..=max).contains(&number) => Ok(Value::Number(number)),
            Some(number) => Err(format!("{number} is not between {min} and {max}")),
            None => Err(format!("`{text}` is not a number between {min} and {max}")),
        }
    }

    fn cluster(text: &str) -> Result<Value, String> {
        match u128::from_str_radix(text, 16) {
            Ok(id) if text.len() == 32 => Ok(Value::Cluster(id)),
            _ => Err(format!("`{text}` is not a cluster's id (32 hexadecimal digits)")),
        }
    }

    fn peers<'a>(
        pairs: impl Iterator<Item = Result<(&'a str, &'a str), String>>,
    ) -> Result<Value, String> {
        let mut peers = BTreeMap::new();
        for pair in pairs {
            let (node, address) = pair?;
            let id = node.trim().parse().ok().filter(|id| (1..=65_535).contains(id));
            let id = id.ok_or_else(|| format!("`{node}` is not a node's number (1 to 65535)"))?;
            let address =
                Address::parse(address.trim()).map_err(|why| format!("node {id}: {why}"))?;
            if peers.insert(id, address).is_some() {
                return Err(format!("node {id} is there twice"));
            }
        }
        Ok(Value::Peers(peers))
    }
}

/// `4096`, `64 KiB`, `4MiB`.
fn bytes(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let shift = match unit.trim() {
        "" | "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(1 << shift)
}

fn mismatch(kind: Kind, found: &DeValue<'_>) -> String {
    let expected = match kind {
        Kind::Number(..) => "a whole number",
        Kind::Bytes(..) => "a number of bytes, such as 4096 or \"4 MiB\"",
        Kind::Address => "\"host:port\"",
        Kind::Path => "a path in quotes",
        Kind::Secret | Kind::Choice(_) => "text in quotes",
        Kind::Cluster => "32 hexadecimal digits in quotes",
        Kind::Peers => "a table such as { 1 = \"db1:7400\", 2 = \"db2:7400\" }",
    };
    let found = match found {
        DeValue::String(_) => "text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a decimal number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    };
    format!("expected {expected}, found {found}")
}
