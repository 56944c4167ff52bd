//! How keys and values look in files.
//!
//! `jsonl`: one object a line. Bytes that are not UTF-8 go in fields of their own, in base64.
//!
//! ```text
//! {"key":"hello","value":"world"}
//! {"key":"session:7","value_base64":"/wA=","ttl_ms":60000}
//! ```
//!
//! `raw`: one pair a line, key and value in base64 and the time to live in milliseconds, with tabs
//! in between. For programs that have no JSON.

use super::base64;
use serde_json::{Map, Value};

/// A key with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The key.
    pub key: Vec<u8>,
    /// Its value.
    pub value: Vec<u8>,
    /// How long it still lives, if it ends.
    pub ttl_ms: Option<u64>,
}

/// A file's format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// One JSON object a line: key, value, ttl_ms; key_base64 and value_base64 for binary
    Jsonl,
    /// Key, value and ttl_ms a line with tabs in between, key and value in base64
    Raw,
}

impl Pair {
    /// As one line, without its end.
    pub fn line(&self, format: Format) -> String {
        match format {
            Format::Jsonl => Value::Object(self.object()).to_string(),
            Format::Raw => {
                let mut line =
                    format!("{}\t{}", base64::encode(&self.key), base64::encode(&self.value));
                if let Some(ttl_ms) = self.ttl_ms {
                    line.push_str(&format!("\t{ttl_ms}"));
                }
                line
            }
        }
    }

    /// As a JSON object.
    pub fn object(&self) -> Map<String, Value> {
        let mut object = Map::new();
        insert(&mut object, "key", &self.key);
        insert(&mut object, "value", &self.value);
        if let Some(ttl_ms) = self.ttl_ms {
            object.insert("ttl_ms".into(), ttl_ms.into());
        }
        object
    }

    /// Reads a line.
    pub fn parse(line: &str, format: Format) -> Result<Pair, String> {
        match format {
            Format::Jsonl => Pair::parse_json(line),
            Format::Raw => Pair::parse_raw(line),
        }
    }

    fn parse_json(line: &str) -> Result<Pair, String> {
        let value: Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
        let Value::Object(object) = value else { return Err("is not an object".into()) };
        for name in object.keys() {
            if !["key", "key_base64", "value", "value_base64", "ttl_ms"].contains(&name.as_str()) {
                return Err(format!("has an unknown field `{name}`"));
            }
        }
        let ttl_ms = match object.get("ttl_ms") {
            None | Some(Value::Null) => None,
            Some(ttl) => Some(positive(ttl.as_u64())?),
        };
        Ok(Pair { key: take(&object, "key")?, value: take(&object, "value")?, ttl_ms })
    }

    fn parse_raw(line: &str) -> Result<Pair, String> {
        let fields: Vec<_> = line.split('\t').collect();
        let (key, value, ttl_ms) = match fields[..] {
            [key, value] => (key, value, None),
            [key, value, ttl] => (key, value, Some(positive(ttl.parse().ok())?)),
            _ => return Err("is not key, value and time to live with tabs in between".into()),
        };
        let decode = |text| base64::decode(text).ok_or_else(|| format!("`{text}` is not base64"));
        Ok(Pair { key: decode(key)?, value: decode(value)?, ttl_ms })
    }
}

/// A key alone, as a JSON object.
pub fn key_object(key: &[u8]) -> Value {
    let mut object = Map::new();
    insert(&mut object, "key", key);
    Value::Object(object)
}

fn positive(ttl_ms: Option<u64>) -> Result<u64, String> {
    ttl_ms.filter(|ttl| *ttl > 0).ok_or_else(|| "ttl_ms is not a whole number above zero".into())
}

fn insert(object: &mut Map<String, Value>, name: &str, bytes: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(text) => object.insert(name.into(), text.into()),
        Err(_) => object.insert(format!("{name}_base64"), base64::encode(bytes).into()),
    };
}

fn take(object: &Map<String, Value>, name: &str) -> Result<Vec<u8>, String> {
    let encoded = format!("{name}_base64");
    match (object.get(name), object.get(&encoded)) {
        (Some(Value::String(text)), None) => Ok(text.as_bytes().to_vec()),
        (None, Some(Value::String(text))) => {
            base64::decode(text).ok_or_else(|| format!("`{encoded}` is not base64"))
        }
        (Some(_), None) => Err(format!("`{name}` is not a string")),
        (None, Some(_)) => Err(format!("`{encoded}` is not a string")),
        (None, None) => Err(format!("has no `{name}`")),
        (Some(_), Some(_)) => Err(format!("has both `{name}` and `{encoded}`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_reads_back_from_either_format() {
        let pairs = [
            Pair { key: b"hello".into(), value: "wörld\n\"".into(), ttl_ms: None },
            Pair { key: vec![0xff, 0], value: vec![], ttl_ms: Some(60_000) },
        ];
        for pair in pairs {
            for format in [Format::Jsonl, Format::Raw] {
                assert_eq!(Pair::parse(&pair.line(format), format), Ok(pair.clone()));
            }
        }
    }

    #[test]
    fn a_wrong_line_says_why() {
        let why = |line| Pair::parse(line, Format::Jsonl).unwrap_err();
        assert_eq!(why(r#"{"value":"v"}"#), "has no `key`");
        assert_eq!(why(r#"{"key":1,"value":"v"}"#), "`key` is not a string");
        assert_eq!(why(r#"{"key":"k","value":"v","ttl":1}"#), "has an unknown field `ttl`");
        assert_eq!(
            why(r#"{"key":"k","key_base64":"aw==","value":"v"}"#),
            "has both `key` and `key_base64`"
        );
        assert_eq!(
            Pair::parse("aw==", Format::Raw).unwrap_err(),
            "is not key, value and time to live with tabs in between"
        );
    }
}
