//! A tar becomes files below a folder of a tree that somebody else may change meanwhile, as docker unpacks it.
//!
//! Owns: one entry after the other. Invariants: each parent is opened below the root by the kernel, what is made is made new in it and dressed through a handle on it; no pipe,
//! device or existing file is ever opened for writing; `trusted.*` attributes are never set; a pseudo file system is written to by nobody.

use super::path;
use super::root::{FOLDER, Fault, HANDLE, Root, kind, magic, said};
use crate::tarball::{Entry, Kind, walk};
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, StatVfsMountFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Bytes of folders' names that are remembered: their times are set at the end, since each entry in them changes those. Past them a folder's time is set at once.
const MAX_FOLDER_BYTES: usize = 16 << 20;
const BUFFER: usize = 128 << 10;

/// moby's words.
const ROOT_READ_ONLY: &str = "container rootfs is marked read-only";
const MOUNT_READ_ONLY: &str = "mounted volume is marked read-only";

/// Whose what is made will be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// Of those whom the archive names.
    Archive,
    Of(u32, u32),
    /// Of whoever unpacks it.
    Own,
}

/// How an archive is unpacked.
#[derive(Debug, Clone, Copy)]
pub struct Unpacker<'a> {
    /// A folder of the root, by its path.
    pub to: &'a str,
    /// The same as its user calls it.
    pub shown: &'a str,
    pub owner: Owner,
    /// A folder never replaces another kind of file, nor the other way round.
    pub keeps_kinds: bool,
}

/// How names of an archive are changed on their way: docker's replacements of their first part, one after the other, each once a name.
#[derive(Debug, Clone, Default)]
pub struct Renames(pub Vec<(String, String)>);

impl Renames {
    fn apply(&self, name: &mut String) {
        for (old, new) in &self.0 {
            *name = name.replacen(old.as_str(), new, 1);
        }
    }
}

/// Unpacks all of it. The folder has to be there.
pub fn unpack(root: &Root, how: Unpacker<'_>, renames: &Renames, reader: &mut impl Read) -> Result<(), Fault> {
    let to = root.folder(how.to).map_err(|error| match error {
        Errno::NOENT => Fault::NotThere,
        Errno::NOTDIR => Fault::Wrong("extraction point is not a directory".into()),
        error => Fault::of("open", how.to, error),
    })?;
    if rustix::fs::fstatvfs(&to).is_ok_and(|found| found.f_flag.contains(StatVfsMountFlags::RDONLY)) {
        return Err(read_only(root, how.to));
    }
    let mut target = Target { root, how, last: None, folders: Vec::new(), folder_bytes: 0 };
    let mut fault = None;
    let walked = walk(reader, u64::MAX, |entry| {
        renames.apply(&mut entry.name);
        if let Kind::Hard(to) = &mut entry.kind {
            renames.apply(to);
        }
        target.take(entry).map_err(|found| {
            fault = Some(found);
            crate::Error::Invalid(String::new())
        })
    });
    match (fault, walked) {
        (Some(fault), _) => Err(fault),
        (None, Err(error)) => Err(Fault::Wrong(error.to_string())),
        (None, Ok(())) => {
            target.finish();
            Ok(())
        }
    }
}

fn read_only(root: &Root, path: &str) -> Fault {
    Fault::ReadOnly(if root.is_own(path) { ROOT_READ_ONLY } else { MOUNT_READ_ONLY })
}

struct Target<'a> {
    root: &'a Root,
    how: Unpacker<'a>,
    /// The last parent: most entries have the one of the entry before.
    last: Option<(String, OwnedFd)>,
    folders: Vec<(String, i64)>,
    folder_bytes: usize,
}

impl Target<'_> {
    fn take(&mut self, entry: &mut Entry<'_>) -> Result<(), Fault> {
        let name = path::clean(&entry.name);
        let full = path::join(self.how.shown, &name);
        if leads_out(&name) {
            return Err(Fault::Wrong(format!("{name:?} is outside of {:?}", self.how.shown)));
        }
        let name = name.trim_start_matches('/');
        if matches!(name, "." | "") {
            // The folder itself stays as it is.
            return Ok(());
        }
        let (folder, last) = name.rsplit_once('/').unwrap_or(("", name));
        let parent = self.parent(folder)?;
        let done = self.make(&parent, last, name, &full, entry);
        done.map_err(|fault| self.explained(fault, folder))
    }

    /// Docker's words where a mount forbids it.
    fn explained(&self, fault: Fault, folder: &str) -> Fault {
        match fault {
            Fault::Failed(text) if text.ends_with("read-only file system") => read_only(self.root, &path::join(self.how.to, folder)),
            Fault::NotThere => Fault::Failed("a file or folder was taken away meanwhile".into()),
            other => other,
        }
    }

    /// The folder of a path below where it is unpacked; those that are missing are made.
    fn parent(&mut self, folder: &str) -> Result<OwnedFd, Fault> {
        if let Some((known, fd)) = &self.last
            && known == folder
        {
            return fd.try_clone().map_err(|error| Fault::of("open", folder, error));
        }
        let full = path::join(self.how.to, folder);
        let fd = match self.root.folder(&full) {
            Err(Errno::NOENT) => self.make_folders(folder)?,
            other => other.map_err(|error| Fault::of("mkdir", &full, error))?,
        };
        self.last = Some((folder.to_owned(), fd.try_clone().map_err(|error| Fault::of("open", &full, error))?));
        Ok(fd)
    }

    fn make_folders(&self, folder: &str) -> Result<OwnedFd, Fault> {
        let mut made = self.how.to.to_owned();
        for part in folder.split('/') {
            let failed = |error: Errno| self.explained(Fault::Failed(format!("mkdir {made}/{part}: {}", said(&error.into()))), "");
            let above = self.root.folder(&made).map_err(failed)?;
            match rustix::fs::mkdirat(&above, part, Mode::from_raw_mode(0o755)) {
                Ok(()) => {
                    let new = rustix::fs::openat(&above, part, FOLDER | OFlags::NOFOLLOW, Mode::empty()).map_err(failed)?;
                    if let Owner::Of(uid, gid) = self.how.owner {
                        own(new.as_fd(), uid, gid).map_err(failed)?;
                    }
                }
                Err(Errno::EXIST) => {}
                Err(error) => return Err(failed(error)),
            }
            made = path::join(&made, part);
        }
        self.root.folder(&made).map_err(|error| Fault::Failed(format!("mkdir {made}: {}", said(&error.into()))))
    }

    fn make(&mut self, parent: &OwnedFd, last: &str, name: &str, full: &str, entry: &mut Entry<'_>) -> Result<(), Fault> {
        self.clear(parent, last, full, &entry.kind)?;
        let mode = Mode::from_raw_mode(entry.mode & 0o7777);
        match &entry.kind {
            Kind::File => {
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let file = rustix::fs::openat(parent, last, flags, Mode::RUSR | Mode::WUSR).map_err(|e| Fault::of("open", full, e))?;
                let mut file = File::from(file);
                if entry.map.is_some() {
                    return Err(Fault::Wrong("sparse entries are not supported".into()));
                }
                copy(&mut entry.content, &mut file, full, entry.size)?;
                self.dress(file.as_fd(), full, entry)?;
                times(file.as_fd(), entry.modified).map_err(|e| Fault::of("chtimes", full, e))
            }
            Kind::Folder => {
                match rustix::fs::mkdirat(parent, last, Mode::RWXU) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(error) => return Err(Fault::of("mkdir", full, error)),
                }
                self.settle(parent, last, name, full, entry)
            }
            Kind::Link(to) => {
                // Docker's rule, and its words. (It is no guard: nothing is ever opened through a link that leads out of the root.)
                if !path::join(&path::parent(full), to).starts_with(self.how.shown) {
                    return Err(Fault::Wrong(format!("invalid symlink {full:?} -> {to:?}")));
                }
                rustix::fs::symlinkat(to.as_str(), parent, last).map_err(|e| Fault::of("symlink", full, e))?;
                self.dress_at(parent, last, full, entry, None)
            }
            Kind::Hard(to) => self.hard(parent, last, full, to),
            Kind::Device { block, major, minor } => {
                let kind = if *block { FileType::BlockDevice } else { FileType::CharacterDevice };
                let device = rustix::fs::makedev(*major, *minor);
                rustix::fs::mknodat(parent, last, kind, Mode::RUSR | Mode::WUSR, device).map_err(|e| Fault::of("mknod", full, e))?;
                self.dress_at(parent, last, full, entry, Some((kind, mode)))
            }
            Kind::Pipe => {
                rustix::fs::mknodat(parent, last, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).map_err(|e| Fault::of("mknod", full, e))?;
                self.dress_at(parent, last, full, entry, Some((FileType::Fifo, mode)))
            }
        }
    }

    /// What stands there goes, but for a folder where a folder comes.
    fn clear(&self, parent: &OwnedFd, last: &str, full: &str, coming: &Kind) -> Result<(), Fault> {
        let status = match rustix::fs::statat(parent, last, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(()),
            other => other.map_err(|error| Fault::of("lstat", full, error))?,
        };
        let (is_folder, wants_folder) = (kind(&status) == FileType::Directory, *coming == Kind::Folder);
        let refused = |what: &str, by: &str| Fault::Wrong(format!("cannot overwrite {what} {full:?} with {by} {:?}", self.how.shown));
        match (is_folder, wants_folder) {
            (true, true) => return Ok(()),
            (true, false) if self.how.keeps_kinds => return Err(refused("directory", "non-directory")),
            (false, true) if self.how.keeps_kinds => return Err(refused("non-directory", "directory")),
            (false, _) => return rustix::fs::unlinkat(parent, last, AtFlags::empty()).map_err(|error| Fault::of("unlinkat", full, error)),
            (true, false) => {}
        }
        let failed = |error: io::Error| Fault::of("unlinkat", full, error);
        let folder = rustix::fs::openat(parent, last, FOLDER | OFlags::NOFOLLOW, Mode::empty()).map_err(|error| failed(error.into()))?;
        if self.root.shuns(folder.as_fd()).map_err(|error| failed(error.into()))? {
            return Err(failed(Errno::ACCESS.into()));
        }
        crate::files::empty_folder(&folder).map_err(failed)?;
        rustix::fs::unlinkat(parent, last, AtFlags::REMOVEDIR).map_err(|error| failed(error.into()))
    }

    /// A second name of what the archive brought, or of what is below the same folder.
    fn hard(&self, parent: &OwnedFd, last: &str, full: &str, to: &str) -> Result<(), Fault> {
        let name = path::clean(to);
        if leads_out(&name) {
            return Err(Fault::Wrong(format!("invalid hardlink {full:?} -> {to:?}")));
        }
        let target = path::join(self.how.to, &name);
        let (folder, file) = target.rsplit_once('/').unwrap_or((".", &target));
        let failed = |error: Errno| Fault::Failed(format!("link {target} {full}: {}", said(&error.into())));
        let holder = self.root.folder(if folder.is_empty() { "/" } else { folder }).map_err(failed)?;
        rustix::fs::linkat(&holder, file, parent, last, AtFlags::empty()).map_err(failed)
    }

    /// Owner, mode and attributes of a folder now, its time at the end.
    fn settle(&mut self, parent: &OwnedFd, last: &str, name: &str, full: &str, entry: &Entry<'_>) -> Result<(), Fault> {
        let folder = rustix::fs::openat(parent, last, FOLDER | OFlags::NOFOLLOW, Mode::empty()).map_err(|e| Fault::of("open", full, e))?;
        if self.root.shuns(folder.as_fd()).map_err(|e| Fault::of("open", full, e))? {
            return Err(Fault::of("chmod", full, Errno::ACCESS));
        }
        self.dress(folder.as_fd(), full, entry)?;
        if self.folder_bytes + name.len() > MAX_FOLDER_BYTES {
            return times(folder.as_fd(), entry.modified).map_err(|e| Fault::of("chtimes", full, e));
        }
        self.folder_bytes += name.len();
        self.folders.push((path::join(self.how.to, name), entry.modified));
        Ok(())
    }

    fn ids(&self, entry: &Entry<'_>) -> Option<(u32, u32)> {
        match self.how.owner {
            Owner::Archive => Some((entry.uid, entry.gid)),
            Owner::Of(uid, gid) => Some((uid, gid)),
            Owner::Own => None,
        }
    }

    /// Owner first: a change of owner takes set-user-id bits and capabilities away.
    fn dress(&self, file: BorrowedFd<'_>, full: &str, entry: &Entry<'_>) -> Result<(), Fault> {
        if let Some((uid, gid)) = self.ids(entry) {
            own(file, uid, gid).map_err(|e| Fault::Failed(format!("failed to Lchown {full:?} for UID {uid}, GID {gid}: {}", said(&e.into()))))?;
        }
        rustix::fs::fchmod(file, Mode::from_raw_mode(entry.mode & 0o7777)).map_err(|e| Fault::of("chmod", full, e))?;
        for (name, value) in &entry.attributes {
            match rustix::fs::fsetxattr(file, name.as_str(), value, XattrFlags::empty()) {
                // A file system without them, or a user who may not.
                Ok(()) | Err(Errno::OPNOTSUPP | Errno::PERM) => {}
                Err(error) => return Err(Fault::of("lsetxattr", full, error)),
            }
        }
        Ok(())
    }

    /// The same for what cannot be opened. The mode goes through a handle, for a name may be a link by now.
    fn dress_at(&self, parent: &OwnedFd, last: &str, full: &str, entry: &Entry<'_>, mode: Option<(FileType, Mode)>) -> Result<(), Fault> {
        let failed = |error: Errno| Fault::of("chown", full, error);
        if let Some((uid, gid)) = self.ids(entry) {
            rustix::fs::chownat(parent, last, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)), AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
        }
        if let Some((made, mode)) = mode {
            let node = rustix::fs::openat(parent, last, HANDLE, Mode::empty()).map_err(failed)?;
            if kind(&rustix::fs::fstat(&node).map_err(failed)?) != made {
                return Err(Fault::Failed(format!("chmod {full}: it was replaced meanwhile")));
            }
            rustix::fs::chmod(magic(node.as_fd()), mode).map_err(failed)?;
        }
        rustix::fs::utimensat(parent, last, &both(entry.modified), AtFlags::SYMLINK_NOFOLLOW).map_err(failed)
    }

    fn finish(self) {
        for (folder, modified) in self.folders.iter().rev() {
            // One that somebody took away meanwhile has no time of its own.
            if let Ok(folder) = self.root.folder(folder) {
                let _ = times(folder.as_fd(), *modified);
            }
        }
    }
}

/// A cleaned name that is not below where it is unpacked.
fn leads_out(name: &str) -> bool {
    name == ".." || name.starts_with("../") || name.contains('\0')
}

fn own(file: BorrowedFd<'_>, uid: u32, gid: u32) -> Result<(), Errno> {
    rustix::fs::fchown(file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
}

fn both(seconds: i64) -> Timestamps {
    let at = Timespec { tv_sec: seconds, tv_nsec: 0 };
    Timestamps { last_access: at, last_modification: at }
}

fn times(file: BorrowedFd<'_>, seconds: i64) -> Result<(), Errno> {
    rustix::fs::futimens(file, &both(seconds))
}

fn copy(from: &mut dyn Read, to: &mut File, path: &str, size: u64) -> Result<(), Fault> {
    let mut buffer = vec![0_u8; usize::try_from(size).unwrap_or(BUFFER).clamp(1, BUFFER)];
    let mut copied = 0;
    loop {
        let read = match from.read(&mut buffer) {
            Ok(0) if copied == size => return Ok(()),
            Ok(0) => return Err(Fault::Wrong(crate::images::truncated().to_string())),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Fault::Wrong(crate::images::unreadable(error).to_string())),
        };
        to.write_all(buffer.get(..read).unwrap_or_default()).map_err(|error| Fault::of("write", path, error))?;
        copied += read as u64;
    }
}
