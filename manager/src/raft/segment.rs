//! One segment file of the log: its header, what is read from it at start, how a torn end is told from damage.
//!
//! ```text
//! header 96 | record | record | … | index record | trailer 16      (the last two only once the segment is sealed)
//! ```
//! Invariants: a segment has its final name only with a whole header and a first state record; only the last segment may end in the
//! middle of a record (a crash before the sync, so nothing of it was acknowledged): that end is cut. Anything else that does not open
//! is damage and refused with the file's name and the place. Never: answers for more than one file (`index`).

use super::crypto::FileKey;
use super::disk::{Folder, Handle};
use super::file_header::{self, FILE_HEADER_BYTES, part};
use super::record::{self, HEADER_BYTES, Header, Kind};
use super::stored::{self, State};
use crate::files;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};

/// A segment is sealed when it is this long: what a start has to read record by record is bounded by it.
pub const SEGMENT_BYTES: u64 = 8 * 1024 * 1024;
/// File name ending of segments.
pub const EXTENSION: &str = "log";
const MAGIC: [u8; 8] = *b"wswLOG\0\x01";
const TRAILER_BYTES: usize = 16;
const TRAILER_MAGIC: [u8; 4] = *b"wswI";
const PURPOSE: &[u8] = b"wsw raft log segment";

/// An open segment file with its key.
pub struct Segment {
    pub sequence: u64,
    pub path: PathBuf,
    pub file: Box<dyn Handle>,
    pub key: FileKey,
    pub key_id: u32,
}

/// What the records of a segment come to. Stored as the index record of a sealed segment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contents {
    /// Index of the first entry; the entry of `offsets[i]` is `first + i`.
    pub first: u64,
    pub offsets: Vec<u32>,
    /// Entries of earlier segments from this index on are gone.
    pub truncated: Option<u64>,
    pub state: State,
}

/// A segment as it was found.
pub struct Opened {
    pub segment: Segment,
    pub contents: Contents,
    /// Bytes of whole records.
    pub end: u64,
    pub sealed: bool,
    /// Bytes that were cut from a torn end.
    pub cut: u64,
}

impl Contents {
    /// Takes in one record. False when an entry is not the next one.
    pub fn take(&mut self, kind: Kind, index: u64, offset: u32, state: Option<State>) -> bool {
        match kind {
            Kind::Entry if self.offsets.is_empty() => {
                self.first = index;
                self.offsets.push(offset);
            }
            Kind::Entry => {
                if index != self.next() {
                    return false;
                }
                self.offsets.push(offset);
            }
            Kind::Truncate => {
                if index <= self.first || self.offsets.is_empty() {
                    self.truncated = Some(self.truncated.map_or(index, |earlier| earlier.min(index)));
                }
                self.cut_from(index);
            }
            Kind::State => {
                self.state = state.unwrap_or(self.state);
                if self.state.purged.is_some_and(|purged| purged.index() + 1 >= self.next()) {
                    self.offsets.clear();
                }
            }
            Kind::Index | Kind::Meta | Kind::Chunk | Kind::LastChunk => {}
        }
        true
    }

    /// Drops entries from `index` on.
    pub fn cut_from(&mut self, index: u64) {
        self.offsets.truncate(index.saturating_sub(self.first).try_into().unwrap_or(usize::MAX));
    }

    /// Index after the last entry.
    pub fn next(&self) -> u64 {
        self.first + self.offsets.len() as u64
    }
}

impl Segment {
    /// Makes a new segment whose first record is `state`. Returns it and its length.
    pub fn create(folder: &Folder, sequence: u64, state: &State) -> io::Result<(Self, u64)> {
        let (mut bytes, file_key) = file_header::make(MAGIC, sequence, &folder.key, PURPOSE)?;
        record::write(&mut bytes, &file_key, (folder.key.id, Kind::State, 0, 0), |out| stored::write(out, state))?;
        let path = folder.path.join(format!("{sequence:016x}.{EXTENSION}"));
        let temporary = files::temporary(&path);
        let file = folder.disk.create(&temporary)?;
        file.write_at(&bytes, 0)?;
        file.sync()?;
        folder.publish(&temporary, &path)?;
        Ok((Self { sequence, path, file, key: file_key, key_id: folder.key.id }, bytes.len() as u64))
    }

    /// Opens a segment and takes in its records; only the `last` one may have a torn end.
    pub fn open(folder: &Folder, path: &Path, last: bool) -> io::Result<Opened> {
        let segment = Self::open_header(folder, path)?;
        if let Some((contents, end)) = segment.read_index()? {
            return Ok(Opened { segment, contents, end, sealed: true, cut: 0 });
        }
        let length = segment.file.length()?;
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
        segment.file.read_at(&mut bytes, 0)?;
        let (contents, end) = segment.scan(&mut bytes, last)?;
        if end < length {
            segment.file.set_length(end)?;
        }
        if last {
            // What a killed process had written may still be in memory only, and from now on it counts.
            segment.file.sync()?;
        }
        Ok(Opened { segment, contents, end, sealed: false, cut: length - end })
    }

    fn open_header(folder: &Folder, path: &Path) -> io::Result<Self> {
        let file = folder.disk.open(path)?;
        let mut bytes = [0; FILE_HEADER_BYTES];
        let damaged = |what: &str| io::Error::new(io::ErrorKind::InvalidData, format!("log segment {}: {what}", path.display()));
        file.read_at(&mut bytes, 0).map_err(|_| damaged("it is too short"))?;
        let (sequence, file_key) = file_header::check(&bytes, MAGIC, &folder.key, PURPOSE).map_err(|what| damaged(&what))?;
        Ok(Self { sequence, path: path.to_owned(), file, key: file_key, key_id: folder.key.id })
    }

    /// The index of a sealed segment.
    fn read_index(&self) -> io::Result<Option<(Contents, u64)>> {
        let length = self.file.length()?;
        let Some(at) = length.checked_sub(TRAILER_BYTES as u64) else { return Ok(None) };
        let mut trailer = [0; TRAILER_BYTES];
        self.file.read_at(&mut trailer, at)?;
        let offset = u64::from_le_bytes(part(&trailer, 0));
        if trailer[8..12] != TRAILER_MAGIC || crc32fast::hash(&trailer[..12]).to_le_bytes() != trailer[12..] || offset >= at {
            return Ok(None);
        }
        let mut bytes = vec![0; usize::try_from(at - offset).unwrap_or(usize::MAX)];
        self.file.read_at(&mut bytes, offset)?;
        match record::open(&mut bytes, &self.key) {
            Some((header, body)) if header.kind == Kind::Index && header.index == offset => Ok(Some((stored::read(body)?, offset))),
            _ => Ok(None),
        }
    }

    /// Bytes that seal a segment which is `end` long.
    pub fn seal_bytes(&self, contents: &Contents, end: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        record::write(&mut bytes, &self.key, (self.key_id, Kind::Index, end, end), |out| stored::write(out, contents))?;
        let mut trailer = [0; TRAILER_BYTES];
        trailer[..8].copy_from_slice(&end.to_le_bytes());
        trailer[8..12].copy_from_slice(&TRAILER_MAGIC);
        let crc = crc32fast::hash(&trailer[..12]);
        trailer[12..].copy_from_slice(&crc.to_le_bytes());
        bytes.extend_from_slice(&trailer);
        Ok(bytes)
    }

    fn scan(&self, bytes: &mut [u8], last: bool) -> io::Result<(Contents, u64)> {
        let mut contents = Contents::default();
        let mut at = FILE_HEADER_BYTES;
        while at < bytes.len() {
            let taken = match record::open(&mut bytes[at..], &self.key) {
                None => None,
                Some((header, body)) => {
                    let state = if header.kind == Kind::State { Some(stored::read(body)?) } else { None };
                    let genuine = contents.take(header.kind, header.index, at as u32, state);
                    genuine.then(|| header.record())
                }
            };
            match taken {
                Some(length) => at += length,
                None if last && !self.genuine_after(bytes, at) => break,
                None => return Err(self.damaged(at as u64)),
            }
        }
        Ok((contents, at as u64))
    }

    /// True when a later record says that the bytes at `at` had been synced: then they are damaged, not torn.
    fn genuine_after(&self, bytes: &[u8], at: usize) -> bool {
        (at + 1..bytes.len().saturating_sub(HEADER_BYTES)).any(|place| match Header::read(&bytes[place..]) {
            Some(header) if header.durable > at as u64 => {
                bytes.get(place..place + header.record()).is_some_and(|found| record::open(&mut found.to_vec(), &self.key).is_some())
            }
            _ => false,
        })
    }

    /// The error for a record that does not open.
    pub fn damaged(&self, at: u64) -> io::Error {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("log segment {} is damaged at byte {at}; restore it, or remove this manager and join it again", self.path.display()),
        )
    }
}
