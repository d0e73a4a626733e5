//! One folder per task below the exec root: what the shim reads, and the record by which a later daemon finds the task again.
//!
//! ```text
//! b/<task id>/config.json   OCI runtime spec          record.json   ours; written before `Create`, gone after `Delete`
//!             exit.json     how it ended, written by the shim
//! ```
//!
//! Invariants: a folder with a record exists before the shim hears of the task; a folder without one is debris. Nothing is synced:
//! the exec root does not outlive the machine, and the shims neither (the record carries the boot id).
//! Never: trusts what it reads beyond its shape: the folder belongs to the shims' user.

use crate::batch::Batch;
use crate::error::{Error, Result};
use crate::files;
use crate::users::User;
use serde::{Deserialize, Serialize};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use wsw_api::shim::{EXIT_REPORT, ExitReport};
use wsw_api::{ServiceId, TaskId};

const RECORD: &str = "record.json";
const CONFIG: &str = "config.json";
/// Far above what any of the files has.
const MAX_FILE: u64 = 1 << 20;

/// What a later daemon has to know of a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub task: TaskId,
    pub service: ServiceId,
    pub slot: u32,
    pub template: u64,
    /// Digest of its image: it is in use.
    pub image: String,
    /// Number of its shim.
    pub shim: u32,
    /// Version of the Task API that the shim speaks.
    pub api: u32,
    /// `/proc/sys/kernel/random/boot_id`: after another boot nothing of it runs.
    pub boot: String,
}

/// The folder of bundles.
pub(crate) struct Bundles {
    folder: PathBuf,
    user: Option<User>,
    work: Batch,
}

impl Bundles {
    pub(crate) fn open(folder: PathBuf, user: Option<User>) -> Result<Self> {
        files::folder(&folder, 0o711)?;
        Ok(Self { folder, user, work: Batch::default() })
    }

    pub(crate) fn path(&self, task: TaskId) -> PathBuf {
        self.folder.join(task.to_string())
    }

    /// Makes the bundle. One of an attempt that was cut off is replaced.
    pub(crate) async fn write(&self, record: Record, config: Vec<u8>) -> Result<()> {
        let (path, user) = (self.path(record.task), self.user);
        let shown = path.display().to_string();
        let record = serde_json::to_vec(&record).map_err(|error| Error::Invalid(format!("record: {error}")))?;
        self.work.run(move || make(&path, &config, &record, user)).await?.map_err(|e| Error::io(format_args!("write bundle {shown}"), &e))
    }

    /// Removes the bundle; one that is not there is fine.
    pub(crate) async fn remove(&self, task: TaskId) -> Result<()> {
        let path = self.path(task);
        let shown = path.display().to_string();
        self.work.run(move || discard(&path)).await?.map_err(|e| Error::io(format_args!("remove bundle {shown}"), &e))
    }

    /// What the shim wrote about the task's end.
    pub(crate) async fn exit_report(&self, task: TaskId) -> Option<ExitReport> {
        let path = self.path(task);
        self.work.run(move || read_json(&path.join(EXIT_REPORT))).await.ok().flatten()
    }

    /// All records, with their exit reports. Folders that are none of ours are removed.
    pub(crate) async fn records(&self) -> Result<Vec<(Record, Option<ExitReport>)>> {
        let folder = self.folder.clone();
        self.work.run(move || scan(&folder)).await
    }
}

fn make(path: &Path, config: &[u8], record: &[u8], user: Option<User>) -> std::io::Result<()> {
    let create = || fs::DirBuilder::new().mode(0o700).create(path);
    match create() {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            discard(path)?;
            create()?;
        }
        other => other?,
    }
    // Readable for the folder's owner, who is not the files' owner when the daemon is root.
    let write = |name: &str, bytes: &[u8]| OpenOptions::new().write(true).create_new(true).mode(0o644).open(path.join(name))?.write_all(bytes);
    write(CONFIG, config)?;
    write(RECORD, record)?;
    user.map_or(Ok(()), |user| std::os::unix::fs::chown(path, Some(user.uid), Some(user.gid)))
}

/// A removal that was cut off leaves a folder with or without its record; either way `scan` deals with it.
fn discard(path: &Path) -> std::io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&files::read_bounded(path, MAX_FILE).ok()?).ok()
}

fn scan(folder: &Path) -> Vec<(Record, Option<ExitReport>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let record = read_json::<Record>(&path.join(RECORD)).filter(|record| entry.file_name().to_str() == Some(&record.task.to_string()));
        match record {
            Some(record) => found.push((record, read_json(&path.join(EXIT_REPORT)))),
            None => {
                tracing::warn!(path = %path.display(), "removing a bundle without a usable record");
                let _ = discard(&path);
            }
        }
    }
    found
}

/// This boot's id; empty where the kernel does not tell.
pub(crate) fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(byte: u8) -> Record {
        let (task, service) = (TaskId::from_bytes([byte; 16]), ServiceId::from_bytes([9; 16]));
        Record { task, service, slot: 1, template: 2, image: "sha256:i".into(), shim: 3, api: 3, boot: "b".into() }
    }

    #[tokio::test]
    async fn records_are_found_again_with_their_ends_and_debris_goes() {
        let dir = tempfile::tempdir().unwrap();
        let bundles = Bundles::open(dir.path().join("b"), None).unwrap();
        bundles.write(record(1), b"{}".to_vec()).await.unwrap();
        bundles.write(record(2), b"{}".to_vec()).await.unwrap();
        bundles.write(record(2), b"{}".to_vec()).await.unwrap();
        let report = ExitReport { code: 134, reason: Some("trap".into()), ran: true };
        fs::write(bundles.path(record(2).task).join(EXIT_REPORT), serde_json::to_vec(&report).unwrap()).unwrap();
        fs::create_dir(dir.path().join("b/debris")).unwrap();
        fs::rename(bundles.path(record(1).task), dir.path().join("b/other")).unwrap();
        assert_eq!(bundles.records().await.unwrap(), vec![(record(2), Some(report))]);
        assert_eq!(fs::read_dir(dir.path().join("b")).unwrap().count(), 1);
        bundles.remove(record(2).task).await.unwrap();
        bundles.remove(record(2).task).await.unwrap();
        assert_eq!(bundles.records().await.unwrap(), vec![]);
    }
}
