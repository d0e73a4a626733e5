//! One tree that paths are resolved in by the kernel: `openat2` with `RESOLVE_IN_ROOT`, so that no link leads out of it, however it is moved while somebody looks.
//!
//! Owns: opening, looking, which file systems are left alone. Invariant: what is opened without being looked at first is a handle (`O_PATH`), which opens no device and waits
//! for no pipe. Never: reads or writes a file.

use super::path;
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use wsw_api::Time;
use wsw_api::files::PathStat;

/// A handle on whatever stands there; a link is not followed.
pub(super) const HANDLE: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
pub(super) const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
/// The kernel asks to try again when something was moved while it looked; one that moves things all the time does not get us to look for ever.
const MAX_LOOKS: usize = 128;
/// Links on the way of one path, as with Docker.
const MAX_LINKS: usize = 255;
/// File systems that show the kernel, not files: they are neither entered nor written to, whoever mounted them where. Reading one may never end, and what is
/// written to one counts for the whole machine.
const PSEUDO: [u32; 18] = [
    0x0000_9fa0, // proc
    0x6265_6572, // sysfs
    0x0027_e0eb, // cgroup
    0x6367_7270, // cgroup2
    0x0000_1cd1, // devpts
    0x1980_0202, // mqueue
    0x6462_6720, // debugfs
    0x7472_6163, // tracefs
    0x7363_6673, // securityfs
    0xcafe_4a11, // bpf
    0x6265_6570, // configfs
    0xde5e_81e4, // efivarfs
    0x6165_676c, // pstore
    0x4249_4e4d, // binfmt_misc
    0xf97c_ff8c, // selinuxfs
    0x6e73_6673, // nsfs
    0x0bad_1dea, // futexfs
    0x5049_5045, // pipefs
];

/// Why something could not be copied.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// Nothing stands there.
    #[error("no such file or directory")]
    NotThere,
    /// What was asked is wrong: the path is no folder, the archive is none, kinds that do not replace each other.
    #[error("{0}")]
    Wrong(String),
    /// It may not be written to.
    #[error("{0}")]
    ReadOnly(&'static str),
    /// The other end is gone.
    #[error("{0}")]
    Gone(String),
    /// Anything else, in Go's form: what was done, to what, and why not.
    #[error("{0}")]
    Failed(String),
}

/// The error's text as Go prints it.
pub fn said(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

impl Fault {
    /// `open /etc/x: permission denied`.
    pub(super) fn of(doing: &str, path: &str, error: impl Into<io::Error>) -> Self {
        let error = error.into();
        if error.kind() == io::ErrorKind::NotFound { Self::NotThere } else { Self::Failed(format!("{doing} {path}: {}", said(&error))) }
    }
}

/// See the module's page.
#[derive(Debug)]
pub struct Root {
    fd: OwnedFd,
    /// Pseudo file systems are left alone: the tree is somebody else's.
    guarded: bool,
}

impl Root {
    /// A container's.
    pub fn of_stranger(fd: OwnedFd) -> Self {
        Self { fd, guarded: true }
    }

    /// One that its user copies from and to, with nothing but their own rights.
    pub fn of_user(fd: OwnedFd) -> Self {
        Self { fd, guarded: false }
    }

    /// Opens a path below the root.
    pub(super) fn open(&self, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        self.open_with(path, flags, ResolveFlags::empty())
    }

    fn open_with(&self, path: &str, flags: OFlags, more: ResolveFlags) -> Result<OwnedFd, Errno> {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | more;
        let path = if path.is_empty() { "." } else { path };
        for _ in 0..MAX_LOOKS {
            match rustix::fs::openat2(&self.fd, path, flags, Mode::empty(), resolve) {
                Err(Errno::AGAIN | Errno::INTR) => {}
                other => return other,
            }
        }
        Err(Errno::AGAIN)
    }

    /// A folder, links followed; never one of a pseudo file system.
    pub(super) fn folder(&self, path: &str) -> Result<OwnedFd, Errno> {
        let folder = self.open(path, FOLDER)?;
        if self.shuns(folder.as_fd())? { Err(Errno::ACCESS) } else { Ok(folder) }
    }

    /// Whether it is on a file system that is left alone.
    pub(super) fn shuns(&self, fd: BorrowedFd<'_>) -> Result<bool, Errno> {
        Ok(self.guarded && PSEUDO.contains(&(rustix::fs::fstatfs(fd)?.f_type as u32)))
    }

    /// Whether a folder is the root's own file system, not mounted in it.
    pub(super) fn is_own(&self, path: &str) -> bool {
        self.open_with(path, HANDLE, ResolveFlags::NO_XDEV).is_ok()
    }

    /// Device and number of the folder of devices, where that is a mount: what the kernel shows there is no file of the tree.
    pub(super) fn devices(&self) -> Option<(u64, u64)> {
        if !self.guarded || self.is_own("dev") {
            return None;
        }
        let status = rustix::fs::fstat(self.open("dev", HANDLE).ok()?).ok()?;
        Some((status.st_dev, status.st_ino))
    }

    /// What a path (as [`path::inside`] makes it) is, and a handle on it.
    pub fn look(&self, path: &str) -> Result<(OwnedFd, PathStat), Fault> {
        let flags = if path::names_folder(path) { OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC } else { HANDLE };
        let fd = self.open(path, flags).map_err(|error| Fault::of("lstat", path, error))?;
        let failed = |error: Errno| Fault::of("lstat", path, error);
        if self.shuns(fd.as_fd()).map_err(failed)? {
            return Err(Fault::NotThere);
        }
        let status = rustix::fs::fstat(&fd).map_err(failed)?;
        let link_target = if kind(&status) == FileType::Symlink { self.follow(path).map_err(failed)? } else { String::new() };
        let at = u64::try_from(status.st_mtime).unwrap_or_default().saturating_mul(wsw_api::time::SECOND);
        let stat = PathStat {
            name: path::base(path).to_owned(),
            size: u64::try_from(status.st_size).unwrap_or_default(),
            mode: status.st_mode,
            modified: Time(at.saturating_add(status.st_mtime_nsec as u64)),
            link_target,
        };
        Ok((fd, stat))
    }

    /// Where a link leads, as a path of the tree, as far as it leads anywhere. It is told to a client only: nothing is opened by it.
    fn follow(&self, path: &str) -> Result<String, Errno> {
        let mut left: Vec<String> = path.split('/').rev().filter(|part| !part.is_empty()).map(str::to_owned).collect();
        let (mut done, mut links) = (String::new(), 0);
        while let Some(part) = left.pop() {
            match part.as_str() {
                "" | "." => continue,
                ".." => {
                    done.truncate(done.rfind('/').unwrap_or_default());
                    continue;
                }
                _ => {}
            }
            let next = format!("{done}/{part}");
            let target = match self.open(&next, HANDLE).and_then(|fd| rustix::fs::readlinkat(&fd, "", Vec::new())) {
                Ok(target) => String::from_utf8_lossy(target.as_bytes()).into_owned(),
                // No link, or nothing at all.
                Err(_) => {
                    done = next;
                    continue;
                }
            };
            links += 1;
            if links > MAX_LINKS {
                return Err(Errno::LOOP);
            }
            if target.starts_with('/') {
                done.clear();
            }
            left.extend(target.split('/').rev().map(str::to_owned));
        }
        Ok(if done.is_empty() { "/".into() } else { done })
    }
}

pub(super) fn kind(status: &Stat) -> FileType {
    FileType::from_raw_mode(status.st_mode)
}

/// The name under which the kernel shows what a descriptor holds: it opens that and nothing else.
pub(super) fn magic(fd: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}
