//! The commented file that `underpin init` writes: every setting, those with a default commented
//! out, each with what it is for.

use super::settings::{Kind, SETTINGS, Setting, sections};
use super::value::quoted;
use std::collections::BTreeMap;
use std::fmt::Write;

/// A file that sets `set` (full names and TOML values) and shows the rest as comments.
pub fn template(set: &BTreeMap<&str, String>) -> String {
    let mut out = String::from(
        "# Configuration of one Underpin node. Commented lines show defaults. Each setting can also\n\
         # come from an environment variable, UNDERPIN_SECTION__KEY, or from --set section.key=value.\n\
         # `underpin config check` reads it over; `underpin config show --origin` says what holds.\n",
    );
    for section in sections() {
        write!(out, "\n[{section}]\n").expect("a String takes everything");
        for setting in SETTINGS.iter().filter(|setting| setting.section == section) {
            for line in setting.about {
                writeln!(out, "# {line}").expect("a String takes everything");
            }
            let line = match set.get(setting.full_name) {
                Some(value) => format!("{} = {value}", setting.key),
                None => format!("# {} = {}", setting.key, shown_default(setting)),
            };
            writeln!(out, "{line}").expect("a String takes everything");
        }
    }
    out
}

fn shown_default(setting: &Setting) -> String {
    match setting.kind {
        Kind::Number(..) => setting.default.to_owned(),
        _ => quoted(setting.default),
    }
}
