//! Where the logs of tasks lie: in a folder per shim, which is all that the shim reaches of them.
//!
//! ```text
//! <data root>/logs/<shim>/<task id>.log      and  <task id>.log.1, .log.2, …, its older parts
//! ```
//! Owns: finding them again by the task alone: which shim had a task is forgotten before its log is. Files directly in the folder are
//! found first. Never: follows what a shim could have put in a log's place.

use super::files;
use rustix::fs::OFlags;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use wsw_api::TaskId;
use wsw_api::log::MAX_LOG_FILES;

/// Name of a task's log, as if it lay directly in the folder.
pub fn log_path(folder: &Path, task: TaskId) -> PathBuf {
    folder.join(format!("{task}.log"))
}

/// The folders in which logs may lie.
pub fn folders(folder: &Path) -> Vec<PathBuf> {
    let mut all = vec![folder.to_owned()];
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    all.extend(entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()));
    all
}

/// The folder in which one of these names is a file; none while nobody has written one.
pub fn find(folder: &Path, names: &[&OsStr]) -> Option<PathBuf> {
    folders(folder).into_iter().find(|folder| names.iter().any(|name| is_file(&folder.join(name))))
}

/// A link or a pipe in a log's place is none.
fn is_file(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|meta| meta.is_file())
}

/// Opens a log: neither a link nor a pipe, which a shim could have put there.
pub fn open(path: &Path) -> io::Result<File> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
    OpenOptions::new().read(true).custom_flags(i32::try_from(flags).unwrap_or_default()).open(path)
}

/// Removes logs with their older parts, wherever below the folder they lie; what is not there is fine.
pub fn remove(logs: &[PathBuf]) {
    let parents = logs.iter().filter_map(|path| path.parent()).collect::<BTreeSet<_>>();
    for parent in parents {
        let names = || logs.iter().filter(|path| path.parent() == Some(parent)).filter_map(|path| path.file_name());
        folders(parent).iter().flat_map(|folder| names().map(|name| folder.join(name))).for_each(|path| remove_one(&path));
    }
}

/// Goes on until the names end: one may be missing, when the log's writer was killed while it rotated.
fn remove_one(current: &Path) {
    let mut missing = 0;
    for path in (0..=MAX_LOG_FILES).map(|number| files::path(current, number)) {
        match std::fs::remove_file(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => missing += 1,
            Err(error) => tracing::warn!(path = %path.display(), %error, "log not removed"),
        }
        if missing > files::MAX_GAP {
            return;
        }
    }
}

/// Removes all logs. The folders stay: running shims are confined to them by their inodes.
pub fn remove_all(folder: &Path) -> io::Result<()> {
    for folder in folders(folder) {
        let entries = match std::fs::read_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            if !entry.file_type()?.is_dir() {
                std::fs::remove_file(entry.path())?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_are_found_by_their_names_alone_and_go_by_them() {
        let dir = tempfile::tempdir().unwrap();
        let file = |shim: &str, name: &str| dir.path().join(shim).join(name);
        ["1", "2"].iter().for_each(|shim| std::fs::create_dir(dir.path().join(shim)).unwrap());
        for path in [file("1", "a.log"), file("2", "b.log.1"), file("2", "b.log.2"), file("2", "b.log.3"), file("2", "c.log"), file("", "d.log")] {
            std::fs::write(path, "").unwrap();
        }
        std::os::unix::fs::symlink("/etc/passwd", file("2", "e.log")).unwrap();
        let found = |name: &str| find(dir.path(), &[OsStr::new(name)]);
        assert_eq!((found("a.log"), found("b.log.1")), (Some(dir.path().join("1")), Some(dir.path().join("2"))));
        assert_eq!((found("d.log"), found("e.log")), (Some(dir.path().to_owned()), None));
        remove(&["a.log", "b.log", "d.log", "e.log", "f.log"].map(|name| dir.path().join(name)));
        assert!(["a.log", "b.log.1", "b.log.2", "b.log.3", "d.log"].iter().all(|name| found(name).is_none()));
        assert!(found("c.log").is_some() && Path::new("/etc/passwd").exists());
        remove_all(dir.path()).unwrap();
        assert!(found("c.log").is_none() && dir.path().join("2").is_dir());
    }
}
