//! Folders with exact modes, and files that are whole or not there.
//!
//! Owns: temporary name, sync, rename. Never: follows a link when it reads what another user could have placed.

use crate::error::{Error, Result};
use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// How names begin that are given up for another when the file is whole.
const TEMPORARY: &str = ".tmp-";

/// A name in `folder` that no other call of this or another process has.
pub(crate) fn temporary(folder: &Path) -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    folder.join(format!("{TEMPORARY}{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)))
}

/// Removes what [`temporary`] names of an earlier process left in a folder that is ours alone.
pub(crate) fn sweep_temporary(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name().to_str().is_some_and(|name| name.starts_with(TEMPORARY)) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Makes the folder when it is missing and gives it this mode.
pub(crate) fn folder(path: &Path, mode: u32) -> Result<()> {
    let made = fs::DirBuilder::new().recursive(true).mode(mode).create(path);
    // `recursive` leaves the mode of an existing folder alone, and the umask cuts that of a new one.
    made.and_then(|()| fs::set_permissions(path, Permissions::from_mode(mode))).map_err(|e| Error::io(format_args!("make folder {}", path.display()), &e))
}

/// Writes a file of this mode as a whole: temporary name, sync, rename, sync of the folder.
pub(crate) fn write_synced(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let parent = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let temp = temporary(parent);
    let written = OpenOptions::new().write(true).create_new(true).mode(mode).open(&temp).and_then(|mut file| {
        file.write_all(bytes)?;
        file.set_permissions(Permissions::from_mode(mode))?;
        file.sync_all()
    });
    let renamed = written.and_then(|()| fs::rename(&temp, path)).and_then(|()| sync_folder(parent));
    if renamed.is_err() {
        let _ = fs::remove_file(&temp);
    }
    renamed
}

/// Gives a finished temporary file its name: sync, mode, rename, sync of the folder.
pub(crate) fn publish(temp: &Path, path: &Path, mode: u32) -> io::Result<()> {
    let file = File::open(temp)?;
    file.set_permissions(Permissions::from_mode(mode))?;
    file.sync_all()?;
    fs::rename(temp, path)?;
    sync_folder(path.parent().ok_or(io::ErrorKind::InvalidInput)?)
}

/// Makes the names in a folder durable.
pub(crate) fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Reads a small file that another user may have written: no links, no devices, at most `max` bytes.
pub(crate) fn read_bounded(path: &Path, max: u64) -> io::Result<Vec<u8>> {
    let flags = (rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK).bits();
    let file = OpenOptions::new().read(true).custom_flags(flags as i32).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "too large"));
    }
    Ok(bytes)
}

/// The numbers that folders in this one have as names.
pub(crate) fn numbered(folder: &Path) -> Vec<u32> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// Removes a file; one that is not there is fine.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Removes a folder with all that is in it, but nothing that is mounted in it: what another folder shows there is not ours to delete.
/// One that is not there is fine.
pub(crate) fn remove_tree(path: &Path) -> io::Result<()> {
    let folder = match rustix::fs::open(path, FOLDER, Mode::empty()) {
        Ok(folder) => folder,
        Err(rustix::io::Errno::NOENT) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    empty_folder(&folder)?;
    fs::remove_dir(path)
}

/// Removes all that is in a folder. What lies too deep for one descent is moved up and taken in the next.
pub(crate) fn empty_folder(folder: &OwnedFd) -> io::Result<()> {
    while empty_level(folder, folder, DESCENT)? {}
    Ok(())
}

/// Levels of one descent: each holds a descriptor and a stack frame.
const DESCENT: u32 = 48;

/// True when something was moved up to `top`.
fn empty_level(top: &OwnedFd, folder: &OwnedFd, left: u32) -> io::Result<bool> {
    let mut moved = false;
    for entry in rustix::fs::Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        match rustix::fs::unlinkat(folder, name, AtFlags::empty()) {
            Err(rustix::io::Errno::ISDIR | rustix::io::Errno::PERM) => {}
            other => {
                other?;
                continue;
            }
        }
        if left == 0 {
            rustix::fs::renameat(folder, name, top, temporary(Path::new("")))?;
            moved = true;
            continue;
        }
        let resolve = ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS;
        let inner = rustix::fs::openat2(folder, name, FOLDER, Mode::empty(), resolve).map_err(|error| match error {
            rustix::io::Errno::XDEV => io::Error::new(io::ErrorKind::ResourceBusy, format!("{} is still mounted", name.to_string_lossy())),
            other => other.into(),
        })?;
        moved |= empty_level(top, &inner, left - 1)?;
        rustix::fs::unlinkat(folder, name, AtFlags::REMOVEDIR)?;
    }
    Ok(moved)
}

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Runs blocking file work off the async threads.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Error::Temporary(format!("file work was cut off: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_as_a_whole_and_keeps_its_mode() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        write_synced(&path, b"one", 0o444).unwrap();
        write_synced(&path, b"two", 0o444).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o444);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_tree_goes_without_what_links_show() {
        let dir = tempfile::tempdir().unwrap();
        let (tree, other) = (dir.path().join("t"), dir.path().join("other"));
        fs::create_dir_all(tree.join("a/b")).unwrap();
        fs::create_dir(&other).unwrap();
        fs::write(other.join("kept"), b"x").unwrap();
        fs::write(tree.join("a/b/f"), b"x").unwrap();
        std::os::unix::fs::symlink(&other, tree.join("a/link")).unwrap();
        remove_tree(&tree).unwrap();
        assert!(!tree.exists() && other.join("kept").exists());
        remove_tree(&tree).unwrap();
    }

    #[test]
    fn what_is_mounted_in_a_tree_is_not_emptied() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let (tree, other) = (dir.path().join("t"), dir.path().join("other"));
        fs::create_dir_all(tree.join("m/0")).unwrap();
        fs::create_dir(&other).unwrap();
        fs::write(other.join("kept"), b"x").unwrap();
        rustix::mount::mount_bind(&other, tree.join("m/0")).unwrap();
        let error = remove_tree(&tree).unwrap_err();
        rustix::mount::unmount(tree.join("m/0"), rustix::mount::UnmountFlags::DETACH).unwrap();
        assert!(error.to_string().contains("0 is still mounted"), "{error}");
        assert!(other.join("kept").exists());
        remove_tree(&tree).unwrap();
    }

    #[test]
    fn links_and_large_files_are_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let (target, link) = (dir.path().join("t"), dir.path().join("l"));
        fs::write(&target, b"12345").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        assert!(read_bounded(&link, 10).is_err());
        assert!(read_bounded(&target, 4).is_err());
        assert_eq!(read_bounded(&target, 5).unwrap(), b"12345");
    }
}
