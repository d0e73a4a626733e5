//! Files that survive a crash: written under a temporary name, synced, renamed; folders that disappear in one step.
//!
//! Invariant: a file with its final name is whole. Never: knows what is in a file.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Suffix of a file that is not whole yet; one found at start is left over from a crash and goes.
pub const TEMPORARY: &str = ".tmp";
/// Middle part of a folder's name that is being deleted.
const REMOVED: &str = ".removed-";
/// Tries to find a free name for a folder that is to be deleted: each left-over of a crash takes one.
const MAX_REMOVED: u32 = 1_000;

/// Writes a file that only this user may read, or replaces it, in one step.
pub fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let temporary = temporary(path);
    let mut file = create_private(&temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    publish(&temporary, path)
}

/// Opens a new empty file that only this user may read.
pub fn create_private(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(path)
}

/// The name under which `path` is written before it is whole.
pub fn temporary(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(TEMPORARY);
    name.into()
}

/// Gives a synced file its final name, durably.
pub fn publish(temporary: &Path, path: &Path) -> io::Result<()> {
    fs::rename(temporary, path)?;
    sync_parent(path)
}

/// Makes the names in a file's folder durable.
pub fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

/// Makes a folder that only this user may enter; one that exists is left as it is.
pub fn create_folder(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    sync_parent(path)
}

/// Makes a folder disappear in one step, then deletes it. A folder that does not exist is fine.
pub fn remove_folder(path: &Path) -> io::Result<()> {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a folder without a name"));
    };
    for number in 0..MAX_REMOVED {
        let away = path.with_file_name(format!("{name}{REMOVED}{number}"));
        match fs::rename(path, &away) {
            Ok(()) => {
                sync_parent(path)?;
                return fs::remove_dir_all(&away);
            }
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(err) if matches!(err.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists) => {}
            Err(err) => return Err(err),
        }
    }
    Err(io::Error::new(io::ErrorKind::AlreadyExists, "too many left-overs of removed folders"))
}

/// Deletes what a crash left of folders that were being removed.
pub fn remove_leftovers(parent: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(parent) {
        Ok(entries) => entries,
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(err) => return Err(err),
    };
    for entry in entries {
        let path = entry?.path();
        if path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.contains(REMOVED)) && path.is_dir() {
            fs::remove_dir_all(&path)?;
        }
    }
    Ok(())
}

/// True for the errors of a file system without room.
pub fn is_full(err: &io::Error) -> bool {
    matches!(err.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_private_file_is_private_and_replaced_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        write_private(&path, b"first").unwrap();
        write_private(&path, b"second").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_folder_goes_even_when_an_earlier_removal_was_cut_short() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("raft");
        fs::create_dir_all(folder.path().join("raft.removed-0/old")).unwrap();
        fs::create_dir_all(path.join("inside")).unwrap();
        remove_folder(&path).unwrap();
        assert!(!path.exists());
        remove_folder(&path).unwrap();
        remove_leftovers(folder.path()).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
