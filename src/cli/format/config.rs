//! Formats that a user keeps in docker's `config.json` (`psFormat`, `servicesFormat`, …): what a list looks like without `--format`.
//!
//! Owns: where the file is and how a key counts. A file that cannot be read is warned about and counts as empty, as with docker.

use std::{io::ErrorKind, path::PathBuf};

use serde_json::Value;

use crate::cli::{args::Matches, output};

/// A settings file is small; a larger one is none.
const LARGEST: u64 = 1 << 20;

/// The format of a list: the flag's, else (unless only ids are wanted) the one of this key.
pub fn format(matches: &Matches, key: &str) -> Option<String> {
    let given = matches.text("format").filter(|given| !given.is_empty());
    match given {
        Some(given) => Some(given.to_owned()),
        None if matches.on("quiet") => None,
        None => configured(key),
    }
}

/// `$DOCKER_CONFIG/config.json`, or the one in `~/.docker`.
fn path() -> Option<PathBuf> {
    let of = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let folder = of("DOCKER_CONFIG").or_else(|| Some(of("HOME")?.join(".docker")))?;
    Some(folder.join("config.json"))
}

fn configured(key: &str) -> Option<String> {
    let path = path()?;
    let text = match std::fs::metadata(&path).and_then(|about| if about.len() > LARGEST { Ok(String::new()) } else { std::fs::read_to_string(&path) }) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return None,
        Err(error) => {
            output::warn(&format!("WARNING: Error loading config file: {}: {error}", path.display()));
            return None;
        }
    };
    match serde_json::from_str::<Value>(&text) {
        Ok(settings) => settings[key].as_str().filter(|format| !format.is_empty()).map(str::to_owned),
        Err(error) => {
            output::warn(&format!("WARNING: Error loading config file: {}: {error}", path.display()));
            None
        }
    }
}
