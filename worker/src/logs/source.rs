//! One task's log: its file, and the older part when it was rotated.
//!
//! Owns: how far it was read. Invariants: a file is known by its inode, so a rotation between two reads loses nothing of the part that
//! still exists; at most one chunk is read at a time and nothing is left open. Never: decides which lines are wanted by time.

use super::place;
use super::record::{Joined, Joiner, parse};
use super::tail::{self, Start};
use std::fs::Metadata;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use wsw_api::log::Query;

/// A record that is longer is no record; its bytes are skipped. Far above `api::log::MAX_LINE` and its tags.
const MAX_RECORD: usize = 64 * 1024;

/// See the module's page.
#[derive(Debug)]
pub struct Source {
    path: PathBuf,
    rotated: PathBuf,
    /// Inode of the file that is being read, once it was seen.
    inode: Option<u64>,
    offset: u64,
    /// Where a reader that does not follow stops in the current file.
    limit: Option<u64>,
    /// Whole lines of the wanted streams to pass over: the way `tail` gets at its first line.
    skip: u64,
    carry: Vec<u8>,
    joiner: Joiner,
}

/// What one reading gave.
#[derive(Debug, Default)]
pub struct Chunk {
    pub lines: Vec<Joined>,
    /// Bytes taken from the disk.
    pub bytes: usize,
}

impl Source {
    /// From the beginning, or from where the last lines begin.
    pub fn open(path: PathBuf, rotated: PathBuf, query: &Query) -> io::Result<Self> {
        let mut source = Self { path, rotated, inode: None, offset: 0, limit: None, skip: 0, carry: Vec::new(), joiner: Joiner::default() };
        source.look_for();
        let current = stat(&source.path)?;
        let older = stat(&source.rotated)?;
        if let Some(lines) = query.tail {
            let Start { in_rotated, offset, skip } = tail::start(&source.path, older.is_some().then_some(source.rotated.as_path()), lines, query)?;
            source.inode = if in_rotated { older.as_ref() } else { current.as_ref() }.map(Metadata::ino);
            (source.offset, source.skip) = (offset, skip);
        } else {
            source.inode = older.as_ref().or(current.as_ref()).map(Metadata::ino);
        }
        Ok(source)
    }

    /// Until the log was seen it may come into any of the folders.
    fn look_for(&mut self) {
        let (Some(parent), Some(name), Some(older)) = (self.path.parent(), self.path.file_name(), self.rotated.file_name()) else { return };
        if let Some(folder) = place::find(parent, &[name, older]) {
            (self.path, self.rotated) = (folder.join(name), folder.join(older));
        }
    }

    /// Stops at what is there now.
    pub fn stop_here(&mut self) -> io::Result<()> {
        self.limit = Some(stat(&self.path)?.map_or(0, |meta| meta.len()));
        Ok(())
    }

    /// Goes on beyond what was there.
    pub fn go_on(&mut self) {
        self.limit = None;
    }

    /// Reads up to `budget` bytes; an empty chunk is the end (for now).
    pub fn read(&mut self, budget: usize, query: &Query) -> io::Result<Chunk> {
        let mut current = stat(&self.path)?;
        if current.is_none() && self.inode.is_none() {
            self.look_for();
            current = stat(&self.path)?;
        }
        let Some(current) = current else { return Ok(Chunk::default()) };
        let first = *self.inode.get_or_insert(current.ino());
        if first != current.ino() {
            let bytes = match stat(&self.rotated)?.filter(|older| older.ino() == first) {
                Some(_) => self.take(&self.rotated, budget, None)?,
                None => Vec::new(),
            };
            if !bytes.is_empty() {
                return Ok(self.parse(bytes, query));
            }
            // The older part is read to its end (or gone): on to the current one.
            self.inode = Some(current.ino());
            self.offset = 0;
        }
        if current.len() == self.offset {
            return Ok(Chunk::default());
        }
        if current.len() < self.offset {
            self.offset = 0;
            self.carry.clear();
        }
        let bytes = self.take(&self.path, budget, self.limit)?;
        Ok(self.parse(bytes, query))
    }

    fn take(&self, path: &Path, budget: usize, limit: Option<u64>) -> io::Result<Vec<u8>> {
        let left = limit.map_or(u64::MAX, |limit| limit.saturating_sub(self.offset)).min(budget as u64);
        let mut bytes = Vec::new();
        if left > 0 {
            let mut file = place::open(path)?;
            file.seek(SeekFrom::Start(self.offset))?;
            file.take(left).read_to_end(&mut bytes)?;
        }
        Ok(bytes)
    }

    fn parse(&mut self, bytes: Vec<u8>, query: &Query) -> Chunk {
        self.offset += bytes.len() as u64;
        let mut chunk = Chunk { lines: Vec::new(), bytes: bytes.len() };
        let mut data = std::mem::take(&mut self.carry);
        data.extend_from_slice(&bytes);
        let mut rest = data.as_slice();
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let (record, after) = rest.split_at(end);
            rest = after.get(1..).unwrap_or_default();
            let Some(record) = parse(record).filter(|record| tail::wanted(query, record.stream)) else { continue };
            if let Some(line) = self.joiner.push(record) {
                if self.skip == 0 {
                    chunk.lines.push(line);
                } else if line.text.ends_with(b"\n") {
                    self.skip -= 1;
                }
            }
        }
        if rest.len() <= MAX_RECORD {
            self.carry = rest.to_vec();
        }
        chunk
    }
}

/// None when there is no such file.
fn stat(path: &Path) -> io::Result<Option<Metadata>> {
    match path.symlink_metadata() {
        Ok(meta) => Ok(Some(meta).filter(Metadata::is_file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
