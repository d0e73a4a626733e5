//! What all prunes share: the question before, the list of what went, the last line.
//!
//! Owns: their wording. What counts as unused is the daemon's to say.

use serde_json::Value;

use super::{confirm, errors::Error, format::units, output, task::text};

/// What a prune took: lines to show (none for nothing), and bytes.
pub struct Report {
    lines: String,
    bytes: u64,
}

impl Report {
    /// Names below a title.
    pub fn listed(report: &Value, key: &str, title: &str) -> Report {
        let names: Vec<&str> = report[key].as_array().into_iter().flatten().map(text).collect();
        let lines = if names.is_empty() { String::new() } else { format!("{title}\n{}\n", names.join("\n")) };
        Report { lines, bytes: bytes(report) }
    }

    pub fn containers(report: &Value) -> Report {
        Report::listed(report, "ContainersDeleted", "Deleted Containers:")
    }

    pub fn networks(report: &Value) -> Report {
        Report::listed(report, "NetworksDeleted", "Deleted Networks:")
    }

    pub fn volumes(report: &Value) -> Report {
        Report::listed(report, "VolumesDeleted", "Deleted Volumes:")
    }

    /// Images lose names and content, each a line.
    pub fn images(report: &Value) -> Report {
        let line = |gone: &Value| match text(&gone["Untagged"]) {
            "" => format!("deleted: {}\n", text(&gone["Deleted"])),
            untagged => format!("untagged: {untagged}\n"),
        };
        let lines: String = report["ImagesDeleted"].as_array().into_iter().flatten().map(line).collect();
        let lines = if lines.is_empty() { lines } else { format!("Deleted Images:\n{lines}") };
        Report { lines, bytes: bytes(report) }
    }

    /// Shows what went, if anything did; answers the bytes.
    pub fn print(self) -> Result<u64, Error> {
        if !self.lines.is_empty() {
            output::line(&self.lines)?;
        }
        Ok(self.bytes)
    }
}

fn bytes(report: &Value) -> u64 {
    report["SpaceReclaimed"].as_u64().unwrap_or(0)
}

/// Asks before anything is removed, unless the user said `--force`.
pub fn ask(forced: bool, warning: &str) -> Result<(), Error> {
    if forced { Ok(()) } else { confirm::ask(&format!("{warning}\nAre you sure you want to continue?")) }
}

/// The last line.
pub fn reclaimed(bytes: u64) -> Result<(), Error> {
    output::line(&format!("Total reclaimed space: {}", units::human_size(bytes as f64)))
}
