//! The line format of task logs on disk: CRI's (`<RFC 3339 with nanoseconds> <stdout|stderr> <F|P> <text>\n`).
//!
//! Owns: the tags, the names of the files, the bounds and what of Docker's log drivers is served. Who writes: the Wasm shim for its tasks, the worker for
//! containers; `<task>.log` is the current file, `.log.1`, `.log.2`, … are the older ones. Who reads: the worker. `P` marks a piece of a line longer than
//! [`MAX_LINE`]; the line ends with the next `F`. Invariant: the times of one log strictly increase, so that the first record of a file ([`HEAD`]) tells it
//! from all others of the log: names move on rotation, and inodes are used again. (A clock that was set back by more than [`MAX_DRIFT`] is followed.)

use crate::error::{Error, Result};
use crate::id::{NodeId, ServiceId, TaskId};
use crate::spec::LogDriver;
use crate::time::{Nanos, Time};
use serde::{Deserialize, Serialize};

/// Longest piece of a line in one record: 16 KiB, as Docker's json-file driver cuts.
pub const MAX_LINE: usize = 16 * 1024;

/// Most files of one task: readers look for each of these names, and a service's tasks may be thousands. Docker has no bound; stack files use 3 to 10.
pub const MAX_LOG_FILES: u32 = 100;

/// Bytes of a file's beginning that are its own: the time of its first record, written with all its digits.
pub const HEAD: usize = 30;

/// A clock that was set back by no more than this goes on from the last record's time instead.
pub const MAX_DRIFT: Nanos = 1_000_000_000;

/// The name of an older file: the higher the number, the older.
pub fn older_name(current: &str, number: u32) -> String {
    format!("{current}.{number}")
}

/// What the log of one task may take on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes of one file.
    pub max_size: u64,
    /// The current file and the older ones; none when nothing is kept.
    pub max_files: u32,
}

impl Bounds {
    /// The driver `none`.
    pub const NOTHING: Self = Self { max_size: 1, max_files: 0 };

    /// True when lines are thrown away.
    pub const fn keeps_nothing(self) -> bool {
        self.max_files == 0
    }
}

impl Default for Bounds {
    /// 20 MiB, for whom nothing was said. Docker's `json-file` has no bound, its `local` 100 MB: a node may have thousands of tasks.
    fn default() -> Self {
        Self { max_size: 10 << 20, max_files: 2 }
    }
}

/// What a service's log driver comes to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Driver {
    pub bounds: Bounds,
    /// Container labels and variables that `logs --details` shows.
    pub labels: Vec<String>,
    pub env: Vec<String>,
}

/// Reads a service's log driver: `json-file`, `local` (both are written in this module's format) and `none`.
pub fn driver(given: Option<&LogDriver>) -> Result<Driver> {
    let mut driver = Driver::default();
    let Some(given) = given else { return Ok(driver) };
    let is_json = match given.name.as_str() {
        "none" => return Ok(Driver { bounds: Bounds::NOTHING, ..driver }),
        "" | "json-file" => true,
        // As docker's, when it is asked for by its name.
        "local" => {
            driver.bounds = Bounds { max_size: 20 << 20, max_files: 5 };
            false
        }
        other => return Err(Error::unimplemented(format!("LogDriver.Name: log driver {other:?} is not supported; use json-file, local or none"))),
    };
    // Docker's: who bounds the size and says nothing else has one file.
    if is_json && given.options.contains_key("max-size") {
        driver.bounds.max_files = 1;
    }
    for (name, value) in &given.options {
        option(&mut driver, is_json, name, value)?;
    }
    Ok(driver)
}

fn option(driver: &mut Driver, is_json: bool, name: &str, value: &str) -> Result<()> {
    match name {
        "max-size" => driver.bounds.max_size = size(value).ok_or_else(|| wrong(name, value, "a positive size such as 10m"))?,
        "max-file" => {
            let number = value.parse().ok().filter(|number| (1..=MAX_LOG_FILES).contains(number));
            driver.bounds.max_files = number.ok_or_else(|| wrong(name, value, &format!("a number from 1 to {MAX_LOG_FILES}")))?;
        }
        // Older files stay as they are: the bound holds either way, and reading from the end stays cheap.
        "compress" if ["1", "t", "T", "true", "TRUE", "True", "0", "f", "F", "false", "FALSE", "False"].contains(&value) => {}
        "compress" => return Err(wrong(name, value, "true or false")),
        // What is done anyway.
        "mode" if value.is_empty() || value == "blocking" => {}
        "mode" => return Err(wrong(name, value, "blocking (a task that writes faster than the disk waits)")),
        "labels" if is_json => driver.labels = list(value),
        "env" if is_json => driver.env = list(value),
        _ => {
            let (kind, all) = if is_json { ("json-file", "max-size, max-file, compress, labels, env") } else { ("local", "max-size, max-file, compress") };
            return Err(Error::invalid(format!("LogDriver.Options: unknown log opt '{name}' for {kind} log driver; use {all}")));
        }
    }
    Ok(())
}

fn list(value: &str) -> Vec<String> {
    value.split(',').filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

fn wrong(name: &str, value: &str, want: &str) -> Error {
    Error::invalid(format!("LogDriver.Options: {name}: {value:?} is not valid; use {want}"))
}

/// As Docker reads the sizes of logs, in powers of 1,000: `10m`, `10 MB`, `1.5g`, `512`, `512b`, `1KiB`.
fn size(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    let at = text.find(|letter: char| letter.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    let power = match unit {
        "" | "b" => 0,
        _ => 1 + ["k", "m", "g", "t", "p"].iter().position(|one| [one.to_string(), format!("{one}b"), format!("{one}ib")].contains(&unit.to_owned()))?,
    };
    let unit = 1_000_u64.checked_pow(u32::try_from(power).ok()?)?;
    let number = number.strip_suffix(' ').unwrap_or(number);
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !is_digits(whole) || part.len() > 9 || !is_digits(part) {
        return None;
    }
    let scale = 10_u64.pow(u32::try_from(part.len()).ok()?);
    let part = if part.is_empty() { 0 } else { part.parse::<u64>().ok()? };
    let below = u64::try_from(u128::from(part) * u128::from(unit) / u128::from(scale)).ok()?;
    whole.parse::<u64>().ok()?.checked_mul(unit)?.checked_add(below).filter(|bytes| *bytes > 0)
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

    fn given(name: &str, options: &[(&str, &str)]) -> Result<Driver> {
        let options = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        driver(Some(&LogDriver { name: name.to_owned(), options }))
    }

    #[test]
    fn bounds_of_the_drivers_are_read() {
        let read = |name, options: &[(&str, &str)]| given(name, options).map(|driver| (driver.bounds.max_size, driver.bounds.max_files));
        assert_eq!(driver(None).unwrap().bounds, Bounds::default());
        assert_eq!(read("json-file", &[]).unwrap(), (10 << 20, 2));
        assert_eq!(read("json-file", &[("max-size", "10m")]).unwrap(), (10_000_000, 1));
        assert_eq!(read("json-file", &[("max-file", "5")]).unwrap(), (10 << 20, 5));
        assert_eq!(read("json-file", &[("max-size", "1.5 GB"), ("max-file", "3"), ("compress", "true")]).unwrap(), (1_500_000_000, 3));
        assert_eq!(read("local", &[]).unwrap(), (20 << 20, 5));
        assert_eq!(read("local", &[("max-size", "1KiB"), ("compress", "false"), ("max-file", "100")]).unwrap(), (1_000, 100));
        assert_eq!(read("", &[("max-size", "512"), ("mode", "blocking")]).unwrap(), (512, 1));
        assert!(given("none", &[("anything", "goes")]).unwrap().bounds.keeps_nothing());
        let details = given("json-file", &[("labels", "tier,com.example.team"), ("env", "A,,B")]).unwrap();
        assert_eq!((details.labels, details.env), (vec!["tier".to_owned(), "com.example.team".to_owned()], vec!["A".to_owned(), "B".to_owned()]));
    }

    #[test]
    fn sizes_are_read_as_docker_does() {
        for (text, bytes) in [("512", 512), ("512b", 512), ("10k", 10_000), ("10KB", 10_000), ("10kib", 10_000), ("2.5m", 2_500_000), ("1 g", 1_000_000_000)] {
            assert_eq!(size(text), Some(bytes), "{text}");
        }
        for bad in ["", "0", "-1", "ten", "10x", "10mm", "1.m.", ".5m", "0.0001", "1e3", "1  g", "99999999999999999999g", "99999999999p", "0x10"] {
            assert_eq!(size(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_is_not_served_is_refused_by_name() {
        for (name, option, value, said) in [
            ("syslog", "x", "y", "\"syslog\" is not supported; use json-file, local or none"),
            ("json-file", "max-size", "0", "max-size: \"0\""),
            ("local", "max-file", "0", "max-file: \"0\" is not valid; use a number from 1 to 100"),
            ("local", "max-file", "101", "max-file"),
            ("local", "compress", "maybe", "compress"),
            ("json-file", "mode", "non-blocking", "mode"),
            ("json-file", "tag", "a", "unknown log opt 'tag' for json-file log driver; use max-size"),
            ("local", "labels", "a", "unknown log opt 'labels' for local log driver; use max-size"),
        ] {
            let error = given(name, &[(option, value)]).unwrap_err();
            assert!(error.message.contains(said), "{error}");
        }
    }
}
