//! One layer's tar becomes a folder of an overlay: files with owners, modes, times, attributes; whiteouts in overlayfs's own form.
//!
//! Invariants: nothing is made, changed or linked outside the layer's folder, whatever names and links say (each parent is opened below the
//! folder by the kernel, `RESOLVE_IN_ROOT`, last components are never followed); `trusted.*` attributes of an archive are never set; entries,
//! names, extension records and bytes are bounded; what is read is hashed whole. Never: gives a folder its final name.

use super::archive::{truncated, unreadable};
use crate::error::{Error, Result};
use crate::sparse::Map;
use crate::tarball::{Entry, Kind};
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

const WHITEOUT: &str = ".wh.";
const OPAQUE: &str = ".wh..wh..opq";
/// aufs's own bookkeeping, which some old images carry.
const AUFS: &str = ".wh..wh.";
const OPAQUE_ATTRIBUTE: &str = "trusted.overlay.opaque";
const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
/// Folders of a layer: their times are set at the end, until then they are remembered.
const MAX_FOLDERS: usize = 500_000;

/// A layer that is being unpacked into `root`.
pub(super) struct Target<'a> {
    root: OwnedFd,
    /// Folders of the layers below, the topmost first.
    below: &'a [PathBuf],
    /// The last parent: most entries have the one of the entry before.
    last: Option<(String, OwnedFd)>,
    folders: Vec<(String, i64)>,
}

impl<'a> Target<'a> {
    pub(super) fn open(root: &Path, below: &'a [PathBuf]) -> Result<Self> {
        let root = rustix::fs::open(root, FOLDER, Mode::empty()).map_err(|e| Error::io("open the layer's folder", &e.into()))?;
        Ok(Self { root, below, last: None, folders: Vec::new() })
    }

    /// Takes one entry.
    pub(super) fn take(&mut self, entry: &mut Entry<'_>) -> Result<()> {
        let path = inside(&entry.name)?;
        let doing = |error: io::Error| failed(&path, &error);
        if path.is_empty() {
            // The root itself.
            return self.settle(".", entry).map_err(doing);
        }
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", &path));
        let parent = self.parent(folder).map_err(doing)?;
        if name == OPAQUE {
            return rustix::fs::fsetxattr(&parent, OPAQUE_ATTRIBUTE, b"y", XattrFlags::empty()).map_err(|e| doing(e.into()));
        }
        if name.starts_with(AUFS) {
            return Ok(());
        }
        if let Some(hidden) = name.strip_prefix(WHITEOUT) {
            return whiteout(&parent, hidden, &path).map_err(doing);
        }
        self.make(&parent, name, &path, entry)
    }

    fn make(&mut self, parent: &OwnedFd, name: &str, path: &str, entry: &mut Entry<'_>) -> Result<()> {
        let doing = |error: io::Error| failed(path, &error);
        clear(parent, name, entry.kind == Kind::Folder).map_err(doing)?;
        let mode = Mode::from_raw_mode(entry.mode & 0o7777);
        match &entry.kind {
            Kind::File => {
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let file = rustix::fs::openat(parent, name, flags, Mode::RUSR | Mode::WUSR).map_err(|e| doing(e.into()))?;
                let mut file = File::from(file);
                match &entry.map {
                    None => exactly(&mut *entry.content, entry.size, &mut file, path)?,
                    Some(map) => pieces(&mut *entry.content, map, &mut file, path)?,
                }
                dress(file.as_fd(), entry).map_err(doing)
            }
            Kind::Folder => {
                match rustix::fs::mkdirat(parent, name, Mode::RWXU) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(error) => return Err(doing(error.into())),
                }
                self.settle(path, entry).map_err(doing)
            }
            Kind::Link(to) => {
                rustix::fs::symlinkat(to.as_str(), parent, name).map_err(|e| doing(e.into()))?;
                self.dress_at(parent, name, entry, None).map_err(doing)
            }
            Kind::Hard(to) => self.hard(parent, name, path, to),
            Kind::Device { block, major, minor } => {
                let kind = if *block { FileType::BlockDevice } else { FileType::CharacterDevice };
                let device = rustix::fs::makedev(*major, *minor);
                rustix::fs::mknodat(parent, name, kind, Mode::RUSR | Mode::WUSR, device).map_err(|e| doing(e.into()))?;
                self.dress_at(parent, name, entry, Some(mode)).map_err(doing)
            }
            Kind::Pipe => {
                rustix::fs::mknodat(parent, name, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).map_err(|e| doing(e.into()))?;
                self.dress_at(parent, name, entry, Some(mode)).map_err(doing)
            }
        }
    }

    /// The folder of a path below the root; one that no entry made gets owner and mode of the layers below, else root's 0755.
    fn parent(&mut self, folder: &str) -> io::Result<OwnedFd> {
        if let Some((known, fd)) = &self.last
            && known == folder
        {
            return fd.try_clone();
        }
        let fd = match self.open_below(folder) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => {
                let mut made = String::new();
                for part in folder.split('/') {
                    let above = self.open_below(&made).map_err(leads_nowhere)?;
                    if !made.is_empty() {
                        made.push('/');
                    }
                    made.push_str(part);
                    match rustix::fs::mkdirat(&above, part, Mode::RWXU) {
                        Ok(()) => self.inherit(&above, part, &made)?,
                        Err(Errno::EXIST) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
                self.open_below(folder).map_err(leads_nowhere)?
            }
            Err(error) => return Err(error.into()),
        };
        self.last = Some((folder.to_owned(), fd.try_clone()?));
        Ok(fd)
    }

    fn open_below(&self, folder: &str) -> rustix::io::Result<OwnedFd> {
        let folder = if folder.is_empty() { "." } else { folder };
        rustix::fs::openat2(&self.root, folder, FOLDER, Mode::empty(), ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV)
    }

    /// A folder that the archive takes for granted looks as it does below.
    fn inherit(&self, above: &OwnedFd, name: &str, path: &str) -> io::Result<()> {
        let folder = rustix::fs::openat(above, name, FOLDER | OFlags::NOFOLLOW, Mode::empty())?;
        let (mut owner, mut mode) = ((0, 0), 0o755);
        for layer in self.below {
            if let Some(status) = look(layer, path) {
                if FileType::from_raw_mode(status.st_mode) == FileType::Directory {
                    (owner, mode) = ((status.st_uid, status.st_gid), status.st_mode & 0o7777);
                }
                break;
            }
        }
        rustix::fs::fchown(&folder, Some(Uid::from_raw(owner.0)), Some(Gid::from_raw(owner.1)))?;
        Ok(rustix::fs::fchmod(&folder, Mode::from_raw_mode(mode))?)
    }

    /// A second name of an earlier entry, or of a file of a layer below, which is copied then.
    fn hard(&mut self, parent: &OwnedFd, name: &str, path: &str, to: &str) -> Result<()> {
        let to = inside(to)?;
        let doing = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => Error::Invalid(format!("entry {path:?}: the hard link leads to {to:?}, which is not in the image")),
            _ => Error::io(format_args!("link {path:?} to {to:?}"), &error),
        };
        let (folder, file) = to.rsplit_once('/').unwrap_or(("", &to));
        match self.open_below(folder).and_then(|holder| rustix::fs::linkat(&holder, file, parent, name, AtFlags::empty())) {
            Ok(()) => return Ok(()),
            Err(Errno::NOENT) => {}
            Err(error) => return Err(doing(error.into())),
        }
        for layer in self.below {
            match look(layer, &to).map(|status| FileType::from_raw_mode(status.st_mode)) {
                Some(FileType::RegularFile) => return copy_up(layer, &to, parent, name).map_err(doing),
                Some(_) => break,
                None => {}
            }
        }
        Err(doing(io::ErrorKind::NotFound.into()))
    }

    /// Owner, mode and attributes of a folder now, its time at the end.
    fn settle(&mut self, path: &str, entry: &Entry<'_>) -> io::Result<()> {
        let folder = self.open_below(path)?;
        dress(folder.as_fd(), entry)?;
        if self.folders.len() >= MAX_FOLDERS {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("more than {MAX_FOLDERS} folders in a layer")));
        }
        self.folders.push((path.to_owned(), entry.modified));
        Ok(())
    }

    fn dress_at(&self, parent: &OwnedFd, name: &str, entry: &Entry<'_>, mode: Option<Mode>) -> io::Result<()> {
        rustix::fs::chownat(parent, name, Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid)), AtFlags::SYMLINK_NOFOLLOW)?;
        if let Some(mode) = mode {
            rustix::fs::chmodat(parent, name, mode, AtFlags::empty())?;
        }
        Ok(rustix::fs::utimensat(parent, name, &times(entry.modified), AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// The last step: times of folders, which each entry in them had changed, and all on the disk.
    pub(super) fn finish(self) -> Result<()> {
        for (path, modified) in self.folders.iter().rev() {
            // One that a later entry of its name replaced has no time of its own.
            if let Ok(folder) = self.open_below(path) {
                let _ = rustix::fs::futimens(&folder, &times(*modified));
            }
        }
        rustix::fs::syncfs(&self.root).map_err(|e| Error::io("write a layer to the disk", &e.into()))
    }
}

/// Whose fault it was: a name that no file system takes, or the disk's.
fn failed(path: &str, error: &io::Error) -> Error {
    let names = [Errno::NAMETOOLONG, Errno::LOOP, Errno::NOTDIR, Errno::INVAL, Errno::ISDIR];
    let shown = path.chars().take(100).collect::<String>();
    let wrong = matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof);
    if wrong || names.iter().any(|name| error.raw_os_error() == Some(name.raw_os_error())) {
        return Error::Invalid(format!("entry {shown:?}: {error}"));
    }
    Error::io(format_args!("unpack {shown:?}"), error)
}

/// All folders on the way were made, or are there: what still leads nowhere is a link.
fn leads_nowhere(error: Errno) -> io::Error {
    match error {
        Errno::NOENT => io::Error::new(io::ErrorKind::InvalidData, "its folder is a link that leads nowhere in the image"),
        other => other.into(),
    }
}

/// Names within the layer, without what leads out of it.
fn inside(name: &str) -> Result<String> {
    let parts = name.split('/').filter(|part| !part.is_empty() && *part != ".").collect::<Vec<_>>();
    if parts.iter().any(|part| *part == ".." || part.contains('\0')) {
        return Err(Error::Invalid(format!("entry {name:?} leads out of the image")));
    }
    Ok(parts.join("/"))
}

fn whiteout(parent: &OwnedFd, hidden: &str, path: &str) -> io::Result<()> {
    if matches!(hidden, "" | "." | "..") {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("{path:?} hides no name")));
    }
    match rustix::fs::mknodat(parent, hidden, FileType::CharacterDevice, Mode::empty(), 0) {
        // It hides what lower layers have; this layer's own stays.
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Makes room for an entry: a later one of the same name replaces the earlier. A folder stays where a folder comes.
fn clear(parent: &OwnedFd, name: &str, is_folder: bool) -> io::Result<()> {
    let status = match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(status) => status,
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    if FileType::from_raw_mode(status.st_mode) != FileType::Directory {
        return Ok(rustix::fs::unlinkat(parent, name, AtFlags::empty())?);
    }
    if is_folder {
        return Ok(());
    }
    let folder = rustix::fs::openat(parent, name, FOLDER | OFlags::NOFOLLOW, Mode::empty())?;
    crate::files::empty_folder(&folder)?;
    Ok(rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)?)
}

/// Owner first: a change of owner takes set-user-id bits and capabilities away.
fn dress(file: BorrowedFd<'_>, entry: &Entry<'_>) -> io::Result<()> {
    rustix::fs::fchown(file, Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid)))?;
    rustix::fs::fchmod(file, Mode::from_raw_mode(entry.mode & 0o7777))?;
    for (name, value) in &entry.attributes {
        match rustix::fs::fsetxattr(file, name.as_str(), value, XattrFlags::empty()) {
            // A file system without them; docker leaves them out, too.
            Ok(()) | Err(Errno::OPNOTSUPP) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(rustix::fs::futimens(file, &times(entry.modified))?)
}

fn times(seconds: i64) -> Timestamps {
    let at = Timespec { tv_sec: seconds, tv_nsec: 0 };
    Timestamps { last_access: at, last_modification: at }
}

/// A file with holes: the disk has none of them either.
fn pieces(from: &mut dyn Read, map: &Map, to: &mut File, path: &str) -> Result<()> {
    for (offset, length) in &map.pieces {
        to.seek(SeekFrom::Start(*offset)).map_err(|error| failed(path, &error))?;
        exactly(from, *length, to, path)?;
    }
    to.set_len(map.size).map_err(|error| failed(path, &error))
}

fn exactly(from: &mut dyn Read, size: u64, to: &mut File, path: &str) -> Result<()> {
    if copy(&mut from.take(size), to, path)? == size { Ok(()) } else { Err(truncated()) }
}

fn copy(from: &mut dyn Read, to: &mut File, path: &str) -> Result<u64> {
    let mut buffer = vec![0_u8; 128 << 10];
    let mut copied = 0;
    loop {
        let read = match from.read(&mut buffer) {
            Ok(0) => return Ok(copied),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(unreadable(error)),
        };
        let written = io::Write::write_all(to, buffer.get(..read).unwrap_or_default());
        written.map_err(|e| Error::io(format_args!("unpack {path:?}"), &e))?;
        copied += read as u64;
    }
}

/// What a layer has at a path; links on the way stay inside.
fn look(layer: &Path, path: &str) -> Option<rustix::fs::Stat> {
    let root = rustix::fs::open(layer, FOLDER, Mode::empty()).ok()?;
    let found = rustix::fs::openat2(&root, path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty(), ResolveFlags::IN_ROOT).ok()?;
    rustix::fs::fstat(&found).ok()
}

fn copy_up(layer: &Path, path: &str, parent: &OwnedFd, name: &str) -> io::Result<()> {
    let root = rustix::fs::open(layer, FOLDER, Mode::empty())?;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let from = rustix::fs::openat2(&root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT)?;
    let status = rustix::fs::fstat(&from)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut to = File::from(rustix::fs::openat(parent, name, flags, Mode::RUSR | Mode::WUSR)?);
    io::copy(&mut File::from(from), &mut to)?;
    rustix::fs::fchown(&to, Some(Uid::from_raw(status.st_uid)), Some(Gid::from_raw(status.st_gid)))?;
    rustix::fs::fchmod(&to, Mode::from_raw_mode(status.st_mode & 0o7777))?;
    Ok(rustix::fs::futimens(&to, &times(status.st_mtime as i64))?)
}
