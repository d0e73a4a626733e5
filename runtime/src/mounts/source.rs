//! What a mount shows: found once, held by a descriptor from then on.
//!
//! Owns: what may be a source (a folder; a regular file as root), Docker's words for what is not there, and who may enter it.

use super::kernel;
use crate::error::{Error, Result};
use crate::users::User;
use rustix::fs::{FileType, Stat};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// A source that was found.
pub(crate) struct Source {
    pub fd: OwnedFd,
    pub status: Stat,
}

impl Source {
    pub(super) fn is_file(&self) -> bool {
        FileType::from_raw_mode(self.status.st_mode) == FileType::RegularFile
    }
}

/// Finds a bind's source; makes a missing folder where the user asked for it.
pub(super) fn bind(path: &Path, create: bool) -> Result<Source> {
    let mut found = kernel::open_source(path);
    if create && found.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
        let wrong = |why: io::Error| invalid("bind", format_args!("create mount point {}: {why}", path.display()));
        std::fs::create_dir_all(path).map_err(wrong)?;
        found = kernel::open_source(path);
    }
    let fd = found.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => invalid("bind", format_args!("bind source path does not exist: {}", path.display())),
        _ => invalid("bind", format_args!("bind source {}: {error}", path.display())),
    })?;
    let status = kernel::status(fd.as_fd()).map_err(|error| invalid("bind", format_args!("bind source {}: {error}", path.display())))?;
    let what = match FileType::from_raw_mode(status.st_mode) {
        FileType::Directory | FileType::RegularFile => return Ok(Source { fd, status }),
        FileType::Fifo => "a FIFO",
        FileType::Socket => "a socket",
        FileType::BlockDevice | FileType::CharacterDevice => "a device",
        _ => "no folder and no file",
    };
    Err(invalid("bind", format_args!("bind source {} is {what}; a Wasm task can have folders and regular files only", path.display())))
}

/// The same check for a container, which may have whatever is there.
pub(crate) fn exists(path: &Path, create: bool) -> Result<()> {
    let wrong = |why: io::Error| invalid("bind", format_args!("create mount point {}: {why}", path.display()));
    if create && !path.exists() {
        std::fs::create_dir_all(path).map_err(wrong)?;
    }
    match path.metadata() {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(invalid("bind", format_args!("bind source path does not exist: {}", path.display()))),
        Err(error) => Err(invalid("bind", format_args!("bind source {}: {error}", path.display()))),
    }
}

/// Finds a volume's folder, or a part of it.
pub(crate) fn volume(name: &str, data: &Path, subpath: &str) -> Result<Source> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound if !subpath.is_empty() => {
            invalid("volume", format_args!("volume {name}: cannot access path {subpath}: no such file or directory"))
        }
        _ if !subpath.is_empty() => invalid("volume", format_args!("volume {name}: cannot access path {subpath}: {error}")),
        _ => Error::Temporary(format!("volume {name}: {}: {error}", data.display())),
    };
    let mut fd = kernel::open_source(data).map_err(failed)?;
    if !subpath.is_empty() {
        fd = kernel::open_below(fd.as_fd(), Path::new(subpath)).map_err(failed)?;
    }
    let status = kernel::status(fd.as_fd()).map_err(failed)?;
    Ok(Source { fd, status })
}

/// Refuses what the guest's user could not even open, with what to do about it. `runs_as` is that user as the source's owners count.
pub(super) fn check_entry(what: &str, path: &Path, status: &Stat, runs_as: User, shown_user: u32) -> Result<()> {
    let mode = status.st_mode;
    let folder = FileType::from_raw_mode(mode) == FileType::Directory;
    let wanted = if folder { 0o5 } else { 0o4 };
    let shift = match (status.st_uid == runs_as.uid, status.st_gid == runs_as.gid) {
        (true, _) => 6,
        (false, true) => 3,
        (false, false) => 0,
    };
    if mode >> shift & wanted == wanted {
        return Ok(());
    }
    let (path, owner, group, bits) = (path.display(), status.st_uid, status.st_gid, mode & 0o7777);
    let (verb, grant) = if folder { ("read and enter it", "o+rx") } else { ("read it", "o+r") };
    Err(Error::Invalid(format!(
        "{what} {path} belongs to {owner}:{group} (mode {bits:04o}): Wasm runs as user {shown_user}, which cannot {verb}; run: chown {shown_user} {path} (or chmod {grant} {path})"
    )))
}

pub(super) fn invalid(kind: &str, why: impl std::fmt::Display) -> Error {
    Error::Invalid(format!("invalid mount config for type \"{kind}\": {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_folders_and_files_are_sources() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        std::fs::write(path("file"), "x").unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, path("fifo"), FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(path("socket")).unwrap();
        std::os::unix::fs::symlink("file", path("link")).unwrap();
        assert!(bind(&path("file"), false).unwrap().is_file() && bind(&path("link"), false).unwrap().is_file());
        assert!(!bind(dir.path(), false).unwrap().is_file());
        let said = |path: &Path| bind(path, false).err().unwrap().to_string();
        assert_eq!(said(&path("no")), format!("invalid mount config for type \"bind\": bind source path does not exist: {}", path("no").display()));
        for (name, what) in [("fifo", "is a FIFO;"), ("socket", "is a socket;")] {
            assert!(said(&path(name)).contains(what), "{name}");
        }
        assert!(said(Path::new("/dev/null")).contains("is a device;"));
        assert!(bind(Path::new("/proc/self/root"), false).is_err(), "no magic links");
        assert!(!bind(&path("made/deep"), true).unwrap().is_file());
    }

    #[test]
    fn a_part_of_a_volume_is_never_outside_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("v/_data");
        std::fs::create_dir_all(data.join("in/side")).unwrap();
        std::os::unix::fs::symlink("in/side", data.join("link")).unwrap();
        std::os::unix::fs::symlink("../..", data.join("out")).unwrap();
        std::os::unix::fs::symlink("/etc", data.join("abs")).unwrap();
        for good in ["", "in", "in/side", "link"] {
            assert!(volume("v", &data, good).is_ok(), "{good}");
        }
        for bad in ["out", "abs", "..", "in/../..", "missing"] {
            assert!(volume("v", &data, bad).err().unwrap().to_string().contains("volume v: cannot access path"), "{bad}");
        }
    }

    #[test]
    fn a_closed_folder_is_refused_with_owner_mode_and_remedy() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        let found = bind(dir.path(), false).unwrap();
        let (owner, group) = (found.status.st_uid, found.status.st_gid);
        let stranger = User { uid: owner + 7, gid: group + 7 };
        let error = check_entry("bind source", dir.path(), &found.status, stranger, stranger.uid).unwrap_err().to_string();
        let (path, uid) = (dir.path().display(), stranger.uid);
        assert_eq!(
            error,
            format!(
                "bind source {path} belongs to {owner}:{group} (mode 0700): Wasm runs as user {uid}, which cannot read and enter it; run: chown {uid} {path} (or chmod o+rx {path})"
            )
        );
        assert!(check_entry("bind source", dir.path(), &found.status, User { uid: owner, gid: group }, owner).is_ok());
    }
}
