//! What the log and the snapshots need of a disk, and the machine's own.
//!
//! Owns: the few calls through which everything in `raft/` reaches its files. Invariants: what was written counts only after `sync`, a name
//! only after `sync_folder`; a simulation brings a disk that loses and tears what was not synced. Never: knows what is in a file.

use super::crypto::DataKey;
use crate::files;
use std::any::Any;
use std::fmt::Debug;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// An open file.
pub trait Handle: Send + Sync {
    /// Fills `bytes` from a place.
    fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<()>;
    /// Writes all of `bytes` at a place.
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()>;
    /// Its length.
    fn length(&self) -> io::Result<u64>;
    /// Cuts it, or fills it with zeros.
    fn set_length(&self, length: u64) -> io::Result<()>;
    /// Takes so much room.
    fn allocate(&self, bytes: u64) -> io::Result<()>;
    /// What was written is durable.
    fn sync(&self) -> io::Result<()>;
}

/// A disk with folders and files.
pub trait Disk: Send + Sync + Debug {
    /// An empty file that only this user may read.
    fn create(&self, path: &Path) -> io::Result<Box<dyn Handle>>;
    /// A file that is there.
    fn open(&self, path: &Path) -> io::Result<Box<dyn Handle>>;
    /// The files of a folder.
    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>>;
    /// Gives a file another name, in one step.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// The names of a folder are durable.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;
    /// Bytes that are free.
    fn free(&self, folder: &Path) -> io::Result<u64>;
    /// Holds a lock file until what is returned is dropped.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Any + Send>>;
    /// How the log's writer works: on a thread of its own, or as a task that takes so long for each write.
    fn pace(&self) -> Option<Duration>;
}

/// How large things grow before something is done about it; a simulation takes small ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// A segment of the log is sealed when it is this long.
    pub segment: u64,
    /// A log shorter than this gets no snapshot.
    pub log: u64,
    /// Bytes of log kept behind the snapshot.
    pub kept: u64,
}

impl Default for Sizes {
    fn default() -> Self {
        Self { segment: super::segment::SEGMENT_BYTES, log: super::compact::MIN_LOG_BYTES, kept: super::compact::KEPT_BYTES }
    }
}

/// A `raft/` folder: where it is, and the key of what is in it.
#[derive(Debug, Clone)]
pub struct Folder {
    pub disk: Arc<dyn Disk>,
    pub path: PathBuf,
    pub key: DataKey,
    pub sizes: Sizes,
}

impl Folder {
    /// One of this machine.
    pub fn of_machine(path: PathBuf, key: DataKey) -> Self {
        Self { disk: Arc::new(Machine), path, key, sizes: Sizes::default() }
    }

    /// Gives a synced file its final name, durably.
    pub fn publish(&self, temporary: &Path, path: &Path) -> io::Result<()> {
        self.disk.rename(temporary, path)?;
        self.disk.sync_folder(&self.path)
    }

    /// The folder's files with this ending, in order of their names.
    pub fn with_extension(&self, extension: &str) -> io::Result<Vec<PathBuf>> {
        let mut paths = self.disk.list(&self.path)?;
        paths.retain(|path| path.extension().is_some_and(|found| found == extension));
        paths.sort();
        Ok(paths)
    }

    /// Deletes files with a temporary name.
    pub fn remove_temporary(&self) -> io::Result<()> {
        let paths = self.disk.list(&self.path)?;
        paths.iter().filter(|path| path.to_str().is_some_and(|name| name.ends_with(files::TEMPORARY))).try_for_each(|path| self.disk.remove(path))
    }
}

/// The machine's disk.
#[derive(Debug)]
pub struct Machine;

impl Disk for Machine {
    fn create(&self, path: &Path) -> io::Result<Box<dyn Handle>> {
        Ok(Box::new(files::create_private(path)?))
    }
    fn open(&self, path: &Path) -> io::Result<Box<dyn Handle>> {
        Ok(Box::new(OpenOptions::new().read(true).write(true).open(path)?))
    }
    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect()
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }
    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        File::open(folder)?.sync_all()
    }
    fn free(&self, folder: &Path) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(folder)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Any + Send>> {
        let file = files::create_private(path)?;
        rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive)?;
        Ok(Box::new(file))
    }
    fn pace(&self) -> Option<Duration> {
        None
    }
}

impl Handle for File {
    fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<()> {
        self.read_exact_at(bytes, at)
    }
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.write_all_at(bytes, at)
    }
    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }
    fn set_length(&self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }
    fn allocate(&self, bytes: u64) -> io::Result<()> {
        Ok(rustix::fs::fallocate(self, rustix::fs::FallocateFlags::empty(), 0, bytes)?)
    }
    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}
