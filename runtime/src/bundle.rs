//! One folder per task below its shim's own: what the shim reads, and the record by which a later daemon finds the task again.
//!
//! ```text
//! x/<shim>/<task id>/config.json   OCI runtime spec     record.json   ours; written before `Create`, gone after `Delete`
//!                    exit.json     how it ended         m/<i>/        what is mounted for the task
//! ```
//!
//! Invariants: a folder with a record exists before the shim hears of the task; a folder without one is debris. As root the folder and
//! all in it but `exit.json` are root's, so that a shim can neither change what is known of its tasks nor put a link where root mounts.
//! Nothing is synced: the exec root does not outlive the machine, and the shims neither (the record carries the boot id).
//! Never: removes what is mounted below a folder, trusts what the shim wrote beyond its shape.

use crate::batch::Batch;
use crate::error::{Error, Result};
use crate::files;
use crate::mounts::Mounts;
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
    /// Its memory limit in bytes.
    pub memory: Option<u64>,
    /// Number of its shim.
    pub shim: u32,
    /// Version of the Task API that the shim speaks.
    pub api: u32,
    /// `/proc/sys/kernel/random/boot_id`: after another boot nothing of it runs.
    pub boot: String,
    /// Volumes that it uses.
    #[serde(default)]
    pub volumes: Vec<String>,
}

/// The folder of bundles.
pub(crate) struct Bundles {
    folder: PathBuf,
    user: Option<User>,
    work: Batch,
}

impl Bundles {
    /// `folder` holds the shims' own folders, which the pool makes.
    pub(crate) fn open(folder: PathBuf, user: Option<User>) -> Self {
        Self { folder, user, work: Batch::default() }
    }

    /// The folder of a task in a shim.
    pub(crate) fn path(&self, shim: u32, task: TaskId) -> PathBuf {
        self.folder.join(shim.to_string()).join(task.to_string())
    }

    /// Makes the bundle. One of an attempt that was cut off is replaced.
    pub(crate) async fn write(&self, record: Record, config: Vec<u8>) -> Result<()> {
        let (path, user) = (self.path(record.shim, record.task), self.user);
        let shown = path.display().to_string();
        let record = serde_json::to_vec(&record).map_err(|error| Error::Invalid(format!("record: {error}")))?;
        self.work.run(move || make(&path, &config, &record, user)).await?.map_err(|e| Error::io(format_args!("write bundle {shown}"), &e))
    }

    /// Removes the bundle; one that is not there is fine.
    pub(crate) async fn remove(&self, shim: u32, task: TaskId) -> Result<()> {
        let path = self.path(shim, task);
        let shown = path.display().to_string();
        self.work.run(move || files::remove_tree(&path)).await?.map_err(|e| Error::io(format_args!("remove bundle {shown}"), &e))
    }

    /// What the shim wrote about the task's end.
    pub(crate) async fn exit_report(&self, shim: u32, task: TaskId) -> Option<ExitReport> {
        let path = self.path(shim, task);
        self.work.run(move || read_json(&path.join(EXIT_REPORT))).await.ok().flatten()
    }

    /// Unmounts what is mounted below folders that are no bundles, or that another boot left.
    pub(crate) async fn unmount_debris(&self) {
        let folder = self.folder.clone();
        let done = self.work.run(move || Mounts::sweep(&folder, |bundle| bundle.join(RECORD).is_file())).await;
        if let Err(error) = done {
            tracing::warn!(%error, "what dead tasks left mounted was not looked for");
        }
    }

    /// All records, with their exit reports. Folders that are none of ours are removed.
    pub(crate) async fn records(&self) -> Result<Vec<(Record, Option<ExitReport>)>> {
        let folder = self.folder.clone();
        self.work.run(move || scan(&folder)).await
    }
}

fn make(path: &Path, config: &[u8], record: &[u8], user: Option<User>) -> std::io::Result<()> {
    // Strangers are kept out by the folder above.
    let create = || fs::DirBuilder::new().mode(0o755).create(path);
    match create() {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            files::remove_tree(path)?;
            create()?;
        }
        other => other?,
    }
    let create = |name: &str, mode| OpenOptions::new().write(true).create_new(true).mode(mode).open(path.join(name));
    create(CONFIG, 0o644)?.write_all(config)?;
    if let Some(user) = user {
        std::os::unix::fs::fchown(create(EXIT_REPORT, 0o600)?, Some(user.uid), Some(user.gid))?;
    }
    create(RECORD, 0o600)?.write_all(record)
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&files::read_bounded(path, MAX_FILE).ok()?).ok()
}

/// A removal that was cut off leaves a folder with or without its record; one without is removed here.
fn scan(folder: &Path) -> Vec<(Record, Option<ExitReport>)> {
    let mut found = Vec::new();
    for shim in files::numbered(folder) {
        for entry in fs::read_dir(folder.join(shim.to_string())).into_iter().flatten().flatten() {
            let path = entry.path();
            let ours = |record: &Record| record.shim == shim && entry.file_name().to_str() == Some(&record.task.to_string());
            match read_json::<Record>(&path.join(RECORD)).filter(ours) {
                Some(record) => found.push((record, read_json(&path.join(EXIT_REPORT)))),
                None => {
                    tracing::warn!(path = %path.display(), "removing a bundle without a usable record");
                    if let Err(error) = files::remove_tree(&path) {
                        tracing::warn!(path = %path.display(), %error, "it cannot be removed");
                    }
                }
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
        Record { task, service, slot: 1, template: 2, image: "sha256:i".into(), memory: None, shim: 3, api: 3, boot: "b".into(), volumes: Vec::new() }
    }

    #[tokio::test]
    async fn records_are_found_again_with_their_ends_and_debris_goes() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("x/3");
        fs::create_dir_all(&home).unwrap();
        let bundles = Bundles::open(dir.path().join("x"), None);
        bundles.write(record(1), b"{}".to_vec()).await.unwrap();
        bundles.write(record(2), b"{}".to_vec()).await.unwrap();
        bundles.write(record(2), b"{}".to_vec()).await.unwrap();
        let report = ExitReport { code: 134, reason: Some("trap".into()), ran: true };
        fs::write(bundles.path(3, record(2).task).join(EXIT_REPORT), serde_json::to_vec(&report).unwrap()).unwrap();
        fs::create_dir_all(home.join("debris/m/0")).unwrap();
        fs::rename(bundles.path(3, record(1).task), home.join("other")).unwrap();
        assert_eq!(bundles.records().await.unwrap(), vec![(record(2), Some(report))]);
        assert_eq!(fs::read_dir(&home).unwrap().count(), 1);
        bundles.remove(3, record(2).task).await.unwrap();
        bundles.remove(3, record(2).task).await.unwrap();
        assert_eq!(bundles.records().await.unwrap(), vec![]);
    }

    /// As an earlier build left it, that build's predecessor, and one that is newer.
    #[test]
    fn stored_records_are_read_as_they_were_meant() {
        let (task, service) = (record(1).task, record(1).service);
        let first = format!(r#"{{"task":"{task}","service":"{service}","slot":1,"template":2,"image":"sha256:i","memory":5,"shim":3,"api":3,"boot":"b""#);
        let read = |rest: &str| serde_json::from_str::<Record>(&format!("{first}{rest}}}")).unwrap();
        let older = Record { memory: Some(5), ..record(1) };
        let today = Record { volumes: vec!["data".into()], ..older.clone() };
        assert_eq!((read(r#","volumes":["data"]"#), read(""), read(r#","colour":{"red":1},"volumes":["data"]"#)), (today.clone(), older, today));
    }
}
