//! A disk in memory that loses and tears what was not synced when its machine loses power.
//!
//! Owns: the files of one host; they outlive its machines. Invariants: what was synced is there after any crash, to the byte; of what was
//! not, each 512-byte sector is there or not, as chance has it; of names that were not synced a first part is there. A handle of an
//! earlier start does nothing. A full disk takes a first part of a write and refuses the rest.

use crate::chance;
use crate::plant::{Plant, is_vote};
use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use wsw_manager::raft::disk::{Disk, Handle};
use wsw_manager::raft::space::RESERVE_BYTES;

const SECTOR: usize = 512;
/// Linux's number for a full disk.
const NO_SPACE: i32 = 28;

/// One host's disk, as one start of its machine has it.
#[derive(Debug, Clone)]
pub struct SimDisk {
    inner: Arc<Mutex<Inner>>,
    epoch: u64,
    plant: Option<Plant>,
}

#[derive(Default)]
struct Inner {
    /// Counts the starts; handles of earlier ones are dead.
    epoch: u64,
    names: BTreeMap<PathBuf, u64>,
    synced_names: BTreeMap<PathBuf, u64>,
    journal: Vec<Name>,
    files: BTreeMap<u64, Content>,
    next: u64,
    locks: BTreeSet<PathBuf>,
    /// Calls until the power fails, and what happens then.
    fuse: Option<u64>,
    fails: Option<Box<dyn Fn() + Send>>,
    /// The same, counted from the next vote that is written.
    vote_fuse: Option<u64>,
    slow: bool,
    /// Bytes that it holds at most, while it is full.
    capacity: Option<u64>,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "disk({} files)", self.names.len())
    }
}

enum Name {
    Put(PathBuf, u64),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
}

#[derive(Default)]
struct Content {
    /// Room that was taken without writing.
    allocated: u64,
    bytes: Vec<u8>,
    synced: Vec<u8>,
    /// What came since the sync, in order.
    writes: Vec<Change>,
}

enum Change {
    Write(u64, Vec<u8>),
    Length(u64),
}

impl SimDisk {
    /// An empty one.
    pub fn new(plant: Option<Plant>) -> Self {
        Self { inner: Arc::default(), epoch: 0, plant }
    }

    /// The same disk for a new start of its machine; `fails` is called when the power fails.
    pub fn start(&self, fails: impl Fn() + Send + 'static) -> Self {
        let mut inner = self.lock();
        inner.epoch += 1;
        (inner.fuse, inner.vote_fuse) = (None, None);
        inner.fails = Some(Box::new(fails));
        inner.locks.clear();
        Self { inner: self.inner.clone(), epoch: inner.epoch, plant: self.plant }
    }

    /// The power goes: what was not synced is lost or torn.
    pub fn crash(&self) {
        self.lock().crash();
    }

    /// The power will go at the nth call from now.
    pub fn set_fuse(&self, calls: u64) {
        self.lock().fuse = Some(calls);
    }

    /// The power will go at the nth call after the next vote is written.
    pub fn set_vote_fuse(&self, calls: u64) {
        self.lock().vote_fuse = Some(calls);
    }

    /// Syncs take long, or not any more.
    pub fn set_slow(&self, slow: bool) {
        self.lock().slow = slow;
    }

    /// There is room for so many bytes more and, when `taken`, none for what is given up either: others take it at once.
    pub fn fill(&self, left: u64, taken: bool) {
        let mut inner = self.lock();
        let used = inner.used();
        inner.capacity = Some((used + left).saturating_sub(if taken { RESERVE_BYTES as u64 } else { 0 }));
    }

    /// There is room again.
    pub fn make_room(&self) {
        self.lock().capacity = None;
    }

    /// Nothing is wrong with it, nor will be.
    pub fn heal(&self) {
        let mut inner = self.lock();
        (inner.fuse, inner.vote_fuse, inner.slow, inner.capacity) = (None, None, false, None);
    }

    /// All files as they are.
    pub fn files(&self) -> Vec<(String, Vec<u8>)> {
        let inner = self.lock();
        let bytes = |id: &u64| inner.files.get(id).map(|content| content.bytes.clone()).unwrap_or_default();
        inner.names.iter().map(|(path, id)| (path.display().to_string(), bytes(id))).filter(|(_, bytes)| !bytes.is_empty()).collect()
    }

    /// All of it goes.
    pub fn wipe(&self) {
        let mut inner = self.lock();
        *inner = Inner { epoch: inner.epoch + 1, ..Inner::default() };
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    /// How many of the last writes a sync leaves out: none, unless that is planted.
    fn held(&self, writes: &[Change]) -> usize {
        let votes = || writes.iter().all(|write| matches!(write, Change::Write(_, bytes) if is_vote(bytes)));
        match self.plant {
            Some(Plant::LosesSynced) if chance::below(2) == 0 => writes.len(),
            Some(Plant::AcknowledgesEarly) => writes.len().min(1),
            Some(Plant::VotesUnsynced) if votes() => writes.len(),
            _ => 0,
        }
    }

    /// One call: an error when this start is over.
    fn call(&self) -> io::Result<MutexGuard<'_, Inner>> {
        let mut inner = self.lock();
        if inner.epoch == self.epoch && inner.fuse == Some(0) {
            inner.crash();
            if let Some(fails) = &inner.fails {
                fails();
            }
        }
        if inner.epoch != self.epoch {
            return Err(io::Error::other("the power is off"));
        }
        inner.fuse = inner.fuse.map(|calls| calls - 1);
        Ok(inner)
    }
}

impl Inner {
    fn crash(&mut self) {
        self.epoch += 1;
        self.fuse = None;
        let kept = chance::below(self.journal.len() + 1);
        for name in self.journal.drain(..).take(kept) {
            apply(&mut self.synced_names, name);
        }
        self.names = self.synced_names.clone();
        let named: BTreeSet<u64> = self.names.values().copied().collect();
        self.files.retain(|id, _| named.contains(id));
        for content in self.files.values_mut() {
            content.crash();
        }
    }

    fn used(&self) -> u64 {
        self.names.values().filter_map(|id| self.files.get(id)).map(Content::size).sum()
    }

    fn free(&self) -> u64 {
        self.capacity.map_or(1 << 30, |capacity| capacity.saturating_sub(self.used()))
    }

    fn file(&mut self, id: u64) -> io::Result<&mut Content> {
        self.files.get_mut(&id).ok_or_else(not_found)
    }

    fn change(&mut self, name: Name) {
        if let Name::Put(path, id) = &name {
            self.names.insert(path.clone(), *id);
        } else if let Name::Rename(from, to) = &name {
            if let Some(id) = self.names.remove(from) {
                self.names.insert(to.clone(), id);
            }
        } else if let Name::Remove(path) = &name {
            self.names.remove(path);
        }
        self.journal.push(name);
    }
}

fn apply(names: &mut BTreeMap<PathBuf, u64>, name: Name) {
    match name {
        Name::Put(path, id) => drop(names.insert(path, id)),
        Name::Rename(from, to) => {
            if let Some(id) = names.remove(&from) {
                names.insert(to, id);
            }
        }
        Name::Remove(path) => drop(names.remove(&path)),
    }
}

impl Content {
    fn size(&self) -> u64 {
        self.allocated.max(self.bytes.len() as u64)
    }

    fn crash(&mut self) {
        for write in std::mem::take(&mut self.writes) {
            match write {
                Change::Write(at, bytes) => {
                    // All of it, nothing, or some of its sectors.
                    let fate = chance::below(3);
                    for (number, sector) in bytes.chunks(SECTOR).enumerate() {
                        if fate == 0 || (fate == 1 && chance::below(2) == 0) {
                            put(&mut self.synced, at + (number * SECTOR) as u64, sector);
                        }
                    }
                }
                Change::Length(length) if chance::below(2) == 0 => self.synced.resize(length as usize, 0),
                Change::Length(_) => {}
            }
        }
        self.bytes = self.synced.clone();
    }
}

fn put(bytes: &mut Vec<u8>, at: u64, data: &[u8]) {
    let (start, end) = (at as usize, at as usize + data.len());
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[start..end].copy_from_slice(data);
}

fn full() -> io::Error {
    io::Error::from_raw_os_error(NO_SPACE)
}

fn not_found() -> io::Error {
    io::Error::from(io::ErrorKind::NotFound)
}

impl Disk for SimDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn Handle>> {
        let mut inner = self.call()?;
        let file = inner.next;
        inner.next += 1;
        inner.files.insert(file, Content::default());
        inner.change(Name::Put(path.to_owned(), file));
        Ok(Box::new(SimFile { disk: self.clone(), file }))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Handle>> {
        let file = *self.call()?.names.get(path).ok_or_else(not_found)?;
        Ok(Box::new(SimFile { disk: self.clone(), file }))
    }

    fn list(&self, _: &Path) -> io::Result<Vec<PathBuf>> {
        Ok(self.call()?.names.keys().cloned().collect())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut inner = self.call()?;
        inner.names.contains_key(from).then_some(()).ok_or_else(not_found)?;
        inner.change(Name::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut inner = self.call()?;
        inner.names.contains_key(path).then_some(()).ok_or_else(not_found)?;
        inner.change(Name::Remove(path.to_owned()));
        Ok(())
    }

    fn sync_folder(&self, _: &Path) -> io::Result<()> {
        let mut inner = self.call()?;
        if self.plant != Some(Plant::LosesNames) || chance::below(2) == 0 {
            inner.synced_names = inner.names.clone();
            inner.journal.clear();
        }
        Ok(())
    }

    fn free(&self, _: &Path) -> io::Result<u64> {
        self.call().map(|inner| inner.free())
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Any + Send>> {
        let mut inner = self.call()?;
        if !inner.locks.insert(path.to_owned()) {
            return Err(io::Error::from(io::ErrorKind::WouldBlock));
        }
        Ok(Box::new(Lock { disk: self.clone(), path: path.to_owned() }))
    }

    fn pace(&self) -> Option<Duration> {
        let (from, to) = if self.lock().slow { (60, 400) } else { (0, 6) };
        Some(chance::millis(from, to))
    }
}

struct Lock {
    disk: SimDisk,
    path: PathBuf,
}

impl Drop for Lock {
    fn drop(&mut self) {
        let mut inner = self.disk.lock();
        if inner.epoch == self.disk.epoch {
            inner.locks.remove(&self.path);
        }
    }
}

struct SimFile {
    disk: SimDisk,
    file: u64,
}

impl Handle for SimFile {
    fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<()> {
        let mut inner = self.disk.call()?;
        let content = inner.file(self.file)?;
        let found = content.bytes.get(at as usize..at as usize + bytes.len()).ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
        bytes.copy_from_slice(found);
        Ok(())
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        // The power may fail in the middle: the write has begun then, and is torn like any other.
        let write = |inner: &mut Inner| {
            let free = inner.free();
            let content = inner.file(self.file)?;
            // A full disk takes what fits.
            let fits = (content.size() + free).saturating_sub(at).min(bytes.len() as u64) as usize;
            put(&mut content.bytes, at, &bytes[..fits]);
            content.writes.push(Change::Write(at, bytes[..fits].to_vec()));
            if fits == bytes.len() { Ok(()) } else { Err(full()) }
        };
        {
            let mut inner = self.disk.lock();
            if inner.epoch == self.disk.epoch && inner.fuse == Some(0) {
                write(&mut inner)?;
            }
        }
        let mut inner = self.disk.call()?;
        if is_vote(bytes)
            && let Some(calls) = inner.vote_fuse.take()
        {
            inner.fuse = Some(calls);
        }
        write(&mut inner)
    }

    fn length(&self) -> io::Result<u64> {
        let mut inner = self.disk.call()?;
        inner.file(self.file).map(|content| content.size())
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        let mut inner = self.disk.call()?;
        let content = inner.file(self.file)?;
        content.bytes.resize(length as usize, 0);
        content.writes.push(Change::Length(length));
        Ok(())
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        let mut inner = self.disk.call()?;
        let free = inner.free();
        let content = inner.file(self.file)?;
        if bytes > content.size() + free {
            return Err(full());
        }
        content.allocated = bytes;
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut inner = self.disk.call()?;
        let content = inner.file(self.file)?;
        let held = self.disk.held(&content.writes);
        let later = content.writes.split_off(content.writes.len() - held);
        // Only what has changed is copied.
        for write in std::mem::replace(&mut content.writes, later) {
            match write {
                Change::Write(at, bytes) => put(&mut content.synced, at, &bytes),
                Change::Length(length) => content.synced.resize(length as usize, 0),
            }
        }
        Ok(())
    }
}
