//! `underpin config`: reads a configuration over, and says what holds and why.

use crate::cli::Done;
use crate::config::{Loaded, Problem, Sources};
use crate::report::{Failed, put, say};
use std::path::PathBuf;

/// Read a configuration over, or show what holds
#[derive(Debug, clap::Subcommand)]
pub enum Verb {
    /// Say all that is wrong with it
    Check(From),
    /// Print every setting that holds
    Show {
        #[command(flatten)]
        from: From,
        /// Say where each value comes from
        #[arg(long)]
        origin: bool,
    },
}

/// Which configuration.
#[derive(Clone, Debug, clap::Args)]
pub struct From {
    /// The configuration file
    #[arg(long, value_name = "FILE", default_value = "underpin.toml")]
    pub config: PathBuf,
    /// Set something over file and environment (may be repeated)
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    pub set: Vec<String>,
}

impl From {
    /// Its settings, each valid by itself.
    pub fn load(&self) -> Result<Loaded, Failed> {
        Loaded::read(&Sources::of_process(&self.config, &self.set)).map_err(wrong)
    }

    /// The whole, valid together.
    pub fn config(&self) -> Result<crate::config::Config, Failed> {
        self.load()?.config().map_err(wrong)
    }
}

fn wrong(problems: Vec<Problem>) -> Failed {
    Failed::config(&problems)
}

/// Carries it out.
pub fn run(verb: &Verb) -> Done {
    match verb {
        Verb::Check(from) => {
            let config = from.config()?;
            for warning in config.warnings() {
                say(&format!("warning: {warning}"));
            }
            put(&format!("{} is fine", from.config.display()))
        }
        Verb::Show { from, origin } => show(&from.load()?, *origin),
    }
}

fn show(loaded: &Loaded, origin: bool) -> Done {
    let mut section = "";
    for (setting, value) in loaded.settings() {
        if setting.section != section {
            put(&format!("{}[{}]", if section.is_empty() { "" } else { "\n" }, setting.section))?;
            section = setting.section;
        }
        match value {
            None => put(&format!("# {} is not set", setting.key))?,
            Some((value, from)) => {
                let line = format!("{} = {value}", setting.key);
                put(&if origin { format!("{line:50} # {from}") } else { line })?;
            }
        }
    }
    Ok(())
}
