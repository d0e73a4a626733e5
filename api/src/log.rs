//! The line format of task logs on disk: CRI's (`<RFC 3339 with nanoseconds> <stdout|stderr> <F|P> <text>\n`).
//!
//! Owns: the tags, the bounds and what of Docker's log drivers is served. Who writes: the Wasm shim for its tasks, the worker for
//! containers; `<task>.log` is the current file, `.log.1` the older one. Who reads: the worker. `P` marks a piece of a line longer than [`MAX_LINE`]; the line ends with the next `F`.

use crate::error::{Error, Result};
use crate::id::{NodeId, ServiceId, TaskId};
use crate::spec::LogDriver;
use crate::time::Time;
use serde::{Deserialize, Serialize};

/// Longest piece of a line in one record: 16 KiB, as Docker's json-file driver cuts.
pub const MAX_LINE: usize = 16 * 1024;

/// Most files of one task: the current one and the one before, which readers look for.
pub const MAX_LOG_FILES: u32 = 2;

/// What the log of one task may take on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes of one file.
    pub max_size: u64,
    /// The current file and the older ones.
    pub max_files: u32,
}

impl Default for Bounds {
    /// 20 MiB: Docker's `local` driver keeps 100 MB; a node may have thousands of tasks.
    fn default() -> Self {
        Self { max_size: 10 << 20, max_files: MAX_LOG_FILES }
    }
}

/// Reads a service's log driver: `json-file` and `local` are served, with their bounds; what is written is this module's format.
pub fn bounds(driver: Option<&LogDriver>) -> Result<Bounds> {
    let mut bounds = Bounds::default();
    let Some(driver) = driver else { return Ok(bounds) };
    // Docker's two drivers read sizes by different rules: "10m" is decimal for the first.
    let unit = match driver.name.as_str() {
        "" | "json-file" => 1_000,
        "local" => 1_024,
        other => return Err(Error::unimplemented(format!("LogDriver.Name: log driver {other:?} is not supported; use json-file or local"))),
    };
    for (name, value) in &driver.options {
        match name.as_str() {
            "max-size" => bounds.max_size = size(value, unit).ok_or_else(|| wrong(name, value, "a positive size such as 10m"))?,
            "max-file" => {
                let number = value.parse().ok().filter(|number| (1..=MAX_LOG_FILES).contains(number));
                bounds.max_files = number.ok_or_else(|| wrong(name, value, &format!("a number from 1 to {MAX_LOG_FILES}")))?;
            }
            // What is done anyway.
            "mode" if value == "blocking" => {}
            "compress" if value == "false" => {}
            _ => return Err(Error::invalid(format!("LogDriver.Options: option {name:?} with the value {value:?} is not supported; use max-size, max-file"))),
        }
    }
    Ok(bounds)
}

fn wrong(name: &str, value: &str, want: &str) -> Error {
    Error::invalid(format!("LogDriver.Options: {name}: {value:?} is not valid; use {want}"))
}

/// `10m`, `1g`, `500k`, `512`, with or without a `b`.
fn size(text: &str, unit: u64) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    let text = text.strip_suffix('b').unwrap_or(&text);
    let text = text.strip_suffix('i').unwrap_or(text);
    let (digits, power) = match text.chars().last()? {
        'k' => (text.get(..text.len() - 1)?, 1),
        'm' => (text.get(..text.len() - 1)?, 2),
        'g' => (text.get(..text.len() - 1)?, 3),
        't' => (text.get(..text.len() - 1)?, 4),
        _ => (text, 0),
    };
    digits.parse::<u64>().ok()?.checked_mul(unit.checked_pow(power)?).filter(|bytes| *bytes > 0)
}

/// Which of the guest's streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    /// The word in the record.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// One line (or piece of one) with where it comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    pub time: Time,
    pub stream: Stream,
    pub node: NodeId,
    pub service: ServiceId,
    pub task: TaskId,
    /// The text with its newline when the line is complete.
    pub text: Vec<u8>,
}

/// What a reader asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Query {
    pub follow: bool,
    pub stdout: bool,
    pub stderr: bool,
    /// Only the last so many lines of each task; none for all.
    pub tail: Option<u64>,
    pub since: Option<Time>,
    pub until: Option<Time>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn driver(name: &str, options: &[(&str, &str)]) -> LogDriver {
        let options = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        LogDriver { name: name.to_owned(), options }
    }

    #[test]
    fn bounds_of_the_two_drivers_are_read() {
        let read = |name, options: &[(&str, &str)]| bounds(Some(&driver(name, options))).map(|bounds| (bounds.max_size, bounds.max_files));
        assert_eq!(bounds(None).unwrap(), Bounds::default());
        assert_eq!(read("json-file", &[]).unwrap(), (10 << 20, 2));
        assert_eq!(read("json-file", &[("max-size", "10m"), ("max-file", "1")]).unwrap(), (10_000_000, 1));
        assert_eq!(read("local", &[("max-size", "1KiB"), ("compress", "false")]).unwrap(), (1_024, 2));
        assert_eq!(read("", &[("max-size", "512"), ("mode", "blocking")]).unwrap(), (512, 2));
    }

    #[test]
    fn what_is_not_served_is_refused_by_name() {
        for (name, option, value, said) in [
            ("syslog", "x", "y", "syslog"),
            ("none", "x", "y", "none"),
            ("json-file", "max-size", "0", "max-size"),
            ("json-file", "max-size", "-1", "max-size"),
            ("json-file", "max-size", "ten", "max-size"),
            ("json-file", "max-size", "99999999999999999999g", "max-size"),
            ("local", "max-file", "0", "max-file"),
            ("local", "max-file", "3", "max-file"),
            ("local", "compress", "true", "compress"),
            ("json-file", "labels", "a", "labels"),
        ] {
            let error = bounds(Some(&driver(name, &[(option, value)]))).unwrap_err();
            assert!(error.message.contains(said), "{error}");
        }
    }
}
