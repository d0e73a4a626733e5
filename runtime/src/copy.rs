//! Copies a folder with owners, modes and times: what an image has where a new volume comes.
//!
//! Invariants: no link is followed, nothing outside the two folders is touched, the number of entries is bounded. Never: overwrites.

use rustix::fs::{AtFlags, Dir, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// Levels: each holds two descriptors.
const MAX_DEPTH: u32 = 256;

/// Copies what is in `from` into `to`, and gives `to` owner and mode of `from`.
pub(crate) fn tree(from: OwnedFd, to: OwnedFd, most: usize) -> io::Result<()> {
    let mut left = most;
    folder(&from, &to, MAX_DEPTH, &mut left)
}

fn folder(from: &OwnedFd, to: &OwnedFd, depth: u32, left: &mut usize) -> io::Result<()> {
    let below = depth.checked_sub(1).ok_or_else(|| io::Error::other("the folder is nested too deeply"))?;
    for entry in Dir::read_from(from)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        *left = left.checked_sub(1).ok_or_else(|| io::Error::other("too many files"))?;
        let status = rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let private = Mode::RUSR | Mode::WUSR;
        match FileType::from_raw_mode(status.st_mode) {
            FileType::Directory => {
                rustix::fs::mkdirat(to, name, Mode::RWXU)?;
                let inner = rustix::fs::openat(from, name, FOLDER, Mode::empty())?;
                folder(&inner, &rustix::fs::openat(to, name, FOLDER, Mode::empty())?, below, left)?;
            }
            FileType::RegularFile => {
                let mut source =
                    File::from(rustix::fs::openat(from, name, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())?);
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let mut target = File::from(rustix::fs::openat(to, name, flags, private)?);
                io::copy(&mut source, &mut target)?;
                dress(&target.into(), &status)?;
            }
            FileType::Symlink => {
                let link = rustix::fs::readlinkat(from, name, Vec::new())?;
                rustix::fs::symlinkat(link, to, name)?;
                rustix::fs::chownat(to, name, owner(&status).0, owner(&status).1, AtFlags::SYMLINK_NOFOLLOW)?;
            }
            // Sockets and devices are made by programs, not copied.
            _ => {}
        }
    }
    dress(to, &rustix::fs::fstat(from)?)
}

fn owner(status: &Stat) -> (Option<Uid>, Option<Gid>) {
    (Some(Uid::from_raw(status.st_uid)), Some(Gid::from_raw(status.st_gid)))
}

fn dress(file: &OwnedFd, status: &Stat) -> io::Result<()> {
    let (uid, gid) = owner(status);
    rustix::fs::fchown(file, uid, gid)?;
    rustix::fs::fchmod(file, Mode::from_raw_mode(status.st_mode & 0o7777))?;
    let at = Timespec { tv_sec: status.st_mtime as _, tv_nsec: status.st_mtime_nsec as _ };
    Ok(rustix::fs::futimens(file, &Timestamps { last_access: at, last_modification: at })?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_tree_is_copied_as_it_is_and_links_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        std::fs::create_dir_all(from.join("a/b")).unwrap();
        std::fs::create_dir(&to).unwrap();
        std::fs::write(from.join("a/b/f"), "x").unwrap();
        std::fs::set_permissions(from.join("a"), std::fs::Permissions::from_mode(0o750)).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", from.join("link")).unwrap();
        let open = |path| rustix::fs::open(path, FOLDER, Mode::empty()).unwrap();
        tree(open(&from), open(&to), 10).unwrap();
        assert_eq!(std::fs::read(to.join("a/b/f")).unwrap(), b"x");
        assert_eq!(std::fs::metadata(to.join("a")).unwrap().permissions().mode() & 0o777, 0o750);
        assert_eq!(std::fs::read_link(to.join("link")).unwrap(), std::path::Path::new("/etc/passwd"));
        assert!(tree(open(&from), open(&dir.path().join("to/a")), 1).unwrap_err().to_string().contains("too many"));
    }
}
