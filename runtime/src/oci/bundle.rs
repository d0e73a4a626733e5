//! One folder per container: what the shim reads, and the record by which a later daemon finds it again.
//!
//! ```text
//! b/<task id>/config.json  OCI runtime spec     record.json   ours; written before `Create`, gone when the task is removed
//!             rootfs/      its mounted root     stdin stdout stderr   FIFOs     hosts hostname resolv.conf
//! ```
//!
//! Invariants: a folder with a record exists before the shim hears of the task; one without is debris. Never: mounts anything.

use crate::error::{Error, Result};
use crate::executor::Exit;
use crate::files;
use rustix::fs::{FileType, Mode};
use serde::{Deserialize, Serialize};
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use wsw_api::health::Check;
use wsw_api::{ServiceId, TaskId, Time};

const RECORD: &str = "record.json";
const END: &str = "end.json";
/// runc's shim writes it.
const PID: &str = "init.pid";
const CONFIG: &str = "config.json";
pub(super) const ROOT: &str = "rootfs";
const MAX_FILE: u64 = 1 << 20;

/// What a later daemon has to know of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub task: TaskId,
    pub service: ServiceId,
    pub slot: u32,
    pub template: u64,
    /// Digest of its image.
    pub image: String,
    /// Which tasks share shims; once it was started, which shim it has.
    pub group: String,
    /// After another boot nothing of it runs.
    pub boot: String,
    pub volumes: Vec<String>,
    /// In the node's network.
    pub address: Option<Ipv4Addr>,
    pub tty: bool,
    /// It has an input of its own.
    #[serde(default)]
    pub stdin: bool,
    /// A number.
    pub stop_signal: u32,
    pub log_size: u64,
    pub log_files: u32,
    /// The shim's program.
    pub runtime: PathBuf,
    /// The shim was asked to create it.
    pub started: bool,
    /// Its connections begin with a PROXY header.
    pub proxy_protocol: bool,
    /// Groups that its service adds to each user.
    #[serde(default)]
    pub groups: Vec<String>,
    /// How its health is checked; it takes connections once it is healthy.
    #[serde(default)]
    pub check: Option<Check>,
}

/// How it ended, once that is known: the shim forgets it then.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct End {
    code: u32,
    reason: Option<String>,
    ran: bool,
    at: Time,
}

/// The folder of bundles.
#[derive(Debug)]
pub(super) struct Bundles {
    folder: PathBuf,
}

impl Bundles {
    pub(super) fn open(folder: PathBuf) -> Result<Self> {
        files::folder(&folder, 0o711)?;
        Ok(Self { folder })
    }

    pub(super) fn path(&self, task: TaskId) -> PathBuf {
        self.folder.join(task.to_string())
    }

    /// The first process of a task, as runc's shim noted it; none is 0.
    pub(super) fn pid(&self, task: TaskId) -> u32 {
        let text = files::read_bounded(&self.path(task).join(PID), MAX_FILE).unwrap_or_default();
        String::from_utf8_lossy(&text).trim().parse().unwrap_or_default()
    }

    /// An empty folder for a task; one of an attempt that was cut off is replaced. Nothing may be mounted in it.
    pub(super) fn make(&self, task: TaskId) -> Result<PathBuf> {
        let path = self.path(task);
        let failed = |e: std::io::Error| Error::io(format_args!("make bundle {}", path.display()), &e);
        files::remove_tree(&path).map_err(failed)?;
        // A container's own user has to get through to what is mounted from here.
        files::folder(&path, 0o711)?;
        Ok(path)
    }

    /// Removes a bundle of which nothing is mounted any more.
    pub(super) fn remove(&self, task: TaskId) -> Result<()> {
        let path = self.path(task);
        files::remove_tree(&path).map_err(|e| Error::io(format_args!("remove bundle {}", path.display()), &e))
    }

    /// Records with the ends that are known; and the folders that have none.
    pub(super) fn scan(&self) -> (Vec<(Record, Option<Exit>)>, Vec<PathBuf>) {
        let (mut found, mut debris) = (Vec::new(), Vec::new());
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let ours = |record: &Record| entry.file_name().to_str() == Some(&record.task.to_string());
            match read::<Record>(&path.join(RECORD)).filter(ours) {
                Some(record) => {
                    found.push((record, read::<End>(&path.join(END)).map(|end| Exit { code: end.code, reason: end.reason, ran: end.ran, at: end.at })))
                }
                None => debris.push(path),
            }
        }
        (found, debris)
    }

    /// Remembers an end.
    pub(super) fn write_end(&self, task: TaskId, exit: &Exit) -> Result<()> {
        let end = End { code: exit.code, reason: exit.reason.clone(), ran: exit.ran, at: exit.at };
        write(&self.path(task), END, &end)
    }
}

/// The task's record: from now on a later daemon takes it up.
pub(super) fn write_record(bundle: &Path, record: &Record) -> Result<()> {
    write(bundle, RECORD, record)
}

/// The spec that the shim reads.
pub(super) fn write_config(bundle: &Path, config: &serde_json::Value) -> Result<()> {
    write(bundle, CONFIG, config)
}

/// The spec that the shim was given.
pub(super) fn read_config(bundle: &Path) -> Result<serde_json::Value> {
    read(&bundle.join(CONFIG)).ok_or_else(|| Error::Temporary(format!("cannot read {}", bundle.join(CONFIG).display())))
}

pub(super) fn write(bundle: &Path, name: &str, value: &impl Serialize) -> Result<()> {
    let (temp, path) = (files::temporary(bundle), bundle.join(name));
    let bytes = serde_json::to_vec(value).map_err(|error| Error::Invalid(format!("{name}: {error}")))?;
    fs::write(&temp, bytes).and_then(|()| fs::rename(&temp, &path)).map_err(|e| Error::io(format_args!("write {}", path.display()), &e))
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&files::read_bounded(path, MAX_FILE).ok()?).ok()
}

/// A FIFO in a bundle; one that is there stays.
pub(super) fn fifo(bundle: &Path, name: &str) -> Result<PathBuf> {
    let path = bundle.join(name);
    match rustix::fs::mknodat(rustix::fs::CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(path),
        Err(error) => Err(Error::io(format_args!("make {}", path.display()), &error.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As an earlier build left it, that build's predecessor, and one that is newer.
    #[test]
    fn stored_records_are_read_as_they_were_meant() {
        let (task, service) = (TaskId::from_bytes([1; 16]), ServiceId::from_bytes([9; 16]));
        let first = format!(
            r#"{{"task":"{task}","service":"{service}","slot":1,"template":2,"image":"sha256:i","group":"g","boot":"b","volumes":["data"],"address":"10.88.0.2",
            "tty":true,"stop_signal":2,"log_size":100,"log_files":3,"runtime":"/usr/bin/containerd-shim-runc-v2","started":true,"proxy_protocol":true"#
        );
        let later = r#","groups":["4"],"check":{"args":["true"],"interval":1,"timeout":2,"start_period":3,"start_interval":4,"retries":5}"#;
        let check = Check { args: vec!["true".into()], interval: 1, timeout: 2, start_period: 3, start_interval: 4, retries: 5 };
        let older = Record {
            task,
            service,
            slot: 1,
            template: 2,
            image: "sha256:i".into(),
            group: "g".into(),
            boot: "b".into(),
            volumes: vec!["data".into()],
            address: Some(Ipv4Addr::new(10, 88, 0, 2)),
            tty: true,
            stdin: false,
            stop_signal: 2,
            log_size: 100,
            log_files: 3,
            runtime: "/usr/bin/containerd-shim-runc-v2".into(),
            started: true,
            proxy_protocol: true,
            groups: Vec::new(),
            check: None,
        };
        let today = Record { groups: vec!["4".into()], check: Some(check), ..older.clone() };
        let read = |rest: &str| serde_json::from_str::<Record>(&format!("{first}{rest}}}")).unwrap();
        assert_eq!((read(later), read(""), read(&format!(r#"{later},"colour":{{"red":1}}"#))), (today.clone(), older, today));
        let end: End = serde_json::from_str(r#"{"code":137,"reason":"killed","ran":true,"at":5}"#).unwrap();
        assert_eq!((end.code, end.reason.as_deref(), end.ran, end.at), (137, Some("killed"), true, Time(5)));
    }
}
