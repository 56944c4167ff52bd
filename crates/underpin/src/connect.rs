//! Flags of the commands that talk to a cluster.

use crate::report::{Exit, Failed};
use client::{Client, Options};
use std::path::PathBuf;
use std::time::Duration;

/// How to reach the cluster.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Connection")]
pub struct Connect {
    /// A node's address for Redis clients; several may follow each other or be split by commas
    /// [default: UNDERPIN_ENDPOINT, or 127.0.0.1:6379]
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',')]
    endpoint: Vec<String>,
    /// A file that holds the password [default: the password in UNDERPIN_PASSWORD]
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// How long a request may take, retries included
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration)]
    timeout: Duration,
}

impl Connect {
    /// The client's options.
    pub fn options(&self, bucket: u8) -> Result<Options, Failed> {
        let password = match &self.password_file {
            Some(path) => {
                let text = std::fs::read_to_string(path);
                let text = text.map_err(|error| Failed::file("read", path, &error))?;
                Some(text.trim_end_matches(['\r', '\n']).to_owned())
            }
            None => std::env::var("UNDERPIN_PASSWORD").ok(),
        };
        let timeout = self.timeout;
        Ok(Options { password, bucket, timeout, ..Options::new(self.endpoints()?) })
    }

    /// A client.
    pub fn client(&self, bucket: u8) -> Result<Client, Failed> {
        Ok(Client::new(self.options(bucket)?))
    }

    /// The endpoints.
    pub fn endpoints(&self) -> Result<Vec<String>, Failed> {
        let mut endpoints = self.endpoint.clone();
        if endpoints.is_empty() {
            let variable = std::env::var("UNDERPIN_ENDPOINT").unwrap_or_default();
            endpoints = variable.split(',').map(str::trim).map(str::to_owned).collect();
            endpoints.retain(|endpoint| !endpoint.is_empty());
        }
        if endpoints.is_empty() {
            endpoints.push("127.0.0.1:6379".to_owned());
        }
        for endpoint in &endpoints {
            crate::config::Address::parse(endpoint).map_err(|why| {
                Failed::new(Exit::Usage, why).help("an endpoint is, for example, db1:6379")
            })?;
        }
        Ok(endpoints)
    }
}

/// Reads `250ms`, `10s`, `5m`, `2h`, `7d`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err("write a number and ms, s, m, h or d: 10s".to_owned()),
    };
    let ms = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit_ms));
    match ms {
        Some(0) => Err("must be more than nothing".to_owned()),
        Some(ms) => Ok(Duration::from_millis(ms)),
        None => Err(format!("`{number}` is not a number of {unit} in range")),
    }
}
