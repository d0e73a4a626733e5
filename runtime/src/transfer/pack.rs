//! A file or a folder with all below it becomes a tar, as docker packs it.
//!
//! Owns: the walk. Invariants: each name is looked at by a handle first, and only what is a folder or a regular file then is opened, through that handle; the names of a
//! folder are read as it is walked, never collected; a file has as many bytes in the archive as its header says, whatever becomes of it meanwhile; file systems that show
//! the kernel, and the folder of devices, are empty folders. Sockets are left out, as docker does it.

use super::head::{BLOCK, Head, pad};
use super::root::{FOLDER, HANDLE, Root, kind, magic, said};
use rustix::fs::{Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use std::collections::HashMap;
use std::ffi::CStr;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use tar::EntryType;

/// Folders within each other: one descriptor each. A path of so many has no name that a client could make.
const MAX_DEPTH: usize = 512;
/// Bytes of names that are remembered for files with several: past them such a file is packed again for each.
const MAX_LINK_BYTES: usize = 16 << 20;
const BUFFER: usize = 64 << 10;

/// One archive that is written to `out`.
pub struct Packer<'a, W> {
    root: &'a Root,
    out: W,
    /// The folder of devices.
    devices: Option<(u64, u64)>,
    links: HashMap<(u64, u64), Vec<u8>>,
    link_bytes: usize,
    buffer: Vec<u8>,
}

/// A folder that is walked.
struct Level {
    entries: Dir,
    device: u64,
    /// How long its own name is.
    name: usize,
}

impl<'a, W: Write> Packer<'a, W> {
    pub fn new(root: &'a Root, out: W) -> Self {
        Self { root, out, devices: root.devices(), links: HashMap::new(), link_bytes: 0, buffer: vec![0; BUFFER] }
    }

    /// Packs what a handle holds under this name; an empty one stands for a whole tree.
    pub fn pack(&mut self, node: OwnedFd, name: &[u8]) -> io::Result<()> {
        let mut path = name.to_vec();
        let mut levels = Vec::new();
        levels.extend(self.node(node, &path, None)?);
        while let Some(level) = levels.last_mut() {
            path.truncate(level.name);
            let device = level.device;
            let Some(entry) = level.entries.next() else {
                levels.pop();
                continue;
            };
            let entry = entry?;
            if matches!(entry.file_name().to_bytes(), b"." | b"..") {
                continue;
            }
            let Some(node) = handle(level, entry.file_name())? else { continue };
            path.push(b'/');
            path.extend_from_slice(entry.file_name().to_bytes());
            if let Some(inner) = self.node(node, &path, Some(device))? {
                if levels.len() >= MAX_DEPTH {
                    return Err(io::Error::other(format!("more than {MAX_DEPTH} folders within each other")));
                }
                levels.push(inner);
            }
        }
        Ok(())
    }

    /// The archive's end.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.write_all(&[0; 2 * BLOCK])?;
        self.out.flush()?;
        Ok(self.out)
    }

    /// Packs one; a folder that is to be walked comes back.
    fn node(&mut self, node: OwnedFd, path: &[u8], above: Option<u64>) -> io::Result<Option<Level>> {
        let status = rustix::fs::fstat(&node)?;
        let mut head = head(&status, path);
        match kind(&status) {
            FileType::Directory => {
                let name = [path, b"/"].concat();
                Head { name: &name, kind: EntryType::Directory, ..head }.write(&mut self.out)?;
                self.enter(&node, &status, path, above)
            }
            FileType::RegularFile => self.file(node, &status, path, above).map(|()| None),
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(&node, "", Vec::new())?;
                (head.kind, head.link) = (EntryType::Symlink, target.as_bytes());
                head.write(&mut self.out).map(|()| None)
            }
            other => {
                let kind = match other {
                    FileType::Fifo => EntryType::Fifo,
                    FileType::CharacterDevice => EntryType::Char,
                    FileType::BlockDevice => EntryType::Block,
                    _ => return Ok(None),
                };
                let device = (rustix::fs::major(status.st_rdev), rustix::fs::minor(status.st_rdev));
                Head { kind, device, ..head }.write(&mut self.out).map(|()| None)
            }
        }
    }

    fn enter(&self, node: &OwnedFd, status: &Stat, path: &[u8], above: Option<u64>) -> io::Result<Option<Level>> {
        let other = above != Some(status.st_dev);
        if other && self.root.shuns(node.as_fd())? || above.is_some() && self.devices == Some((status.st_dev, status.st_ino)) {
            return Ok(None);
        }
        let folder = rustix::fs::openat(node, ".", FOLDER, Mode::empty()).map_err(|error| unreadable(path, error))?;
        Ok(Some(Level { entries: Dir::new(folder)?, device: status.st_dev, name: path.len() }))
    }

    fn file(&mut self, node: OwnedFd, status: &Stat, path: &[u8], above: Option<u64>) -> io::Result<()> {
        if above != Some(status.st_dev) && self.root.shuns(node.as_fd())? {
            return Ok(());
        }
        let head = head(status, path);
        let key = (status.st_dev, status.st_ino);
        if status.st_nlink > 1 {
            if let Some(first) = self.links.get(&key) {
                return Head { kind: EntryType::Link, link: first, size: 0, ..head }.write(&mut self.out);
            }
            if self.link_bytes + path.len() <= MAX_LINK_BYTES {
                self.link_bytes += path.len();
                self.links.insert(key, path.to_vec());
            }
        }
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::open(magic(node.as_fd()), flags, Mode::empty()).map_err(|error| unreadable(path, error))?;
        let mut value = vec![0; 256];
        let capability = rustix::fs::fgetxattr(&file, "security.capability", value.as_mut_slice()).ok().map(|length| {
            value.truncate(length);
            value
        });
        Head { capability, ..head }.write(&mut self.out)?;
        self.content(file.into(), head.size)
    }

    /// Exactly so many bytes: what grew is cut off, what shrank ends with zeros.
    fn content(&mut self, mut file: std::fs::File, size: u64) -> io::Result<()> {
        let mut left = size;
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(BUFFER).min(BUFFER);
            let read = match file.read(&mut self.buffer[..most]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Ok(0) => {
                    self.buffer[..most].fill(0);
                    most
                }
                other => other?,
            };
            self.out.write_all(&self.buffer[..read])?;
            left -= read as u64;
        }
        pad(&mut self.out, size)
    }
}

/// A handle on what a folder names; none when it is gone.
fn handle(level: &Level, name: &CStr) -> io::Result<Option<OwnedFd>> {
    match rustix::fs::openat(level.entries.fd()?, name, HANDLE, Mode::empty()) {
        Ok(node) => Ok(Some(node)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn unreadable(path: &[u8], error: Errno) -> io::Error {
    io::Error::new(io::Error::from(error).kind(), format!("open {}: {}", String::from_utf8_lossy(path), said(&error.into())))
}

fn head<'n>(status: &Stat, name: &'n [u8]) -> Head<'n> {
    let size = if kind(status) == FileType::RegularFile { u64::try_from(status.st_size).unwrap_or_default() } else { 0 };
    Head {
        name,
        link: b"",
        kind: EntryType::Regular,
        mode: status.st_mode,
        uid: status.st_uid,
        gid: status.st_gid,
        size,
        modified: status.st_mtime,
        device: (0, 0),
        capability: None,
    }
}
