//! Snapshot files: the whole state at one entry, encrypted in chunks.
//!
//! ```text
//! header 96 | meta record | chunk 1 | … | chunk n (its kind says that it is the last)
//! ```
//! Invariants: a snapshot has its final name only when it is whole and synced; a cut or changed one is refused by name; one snapshot is
//! kept, the others go. Never: knows what is in the state (`planner::Store`).

use super::crypto::FileKey;
use super::disk::{Folder, Handle};
use super::file_header::{self, FILE_HEADER_BYTES};
use super::record::{self, HEADER_BYTES, Header, Kind};
use super::stored::{self, Members, StoredId};
use super::types::SnapshotMeta;
use crate::files;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// Plain bytes of a chunk: what a reader holds in memory at once.
const CHUNK_BYTES: usize = 1024 * 1024;
/// File name ending of snapshots.
const EXTENSION: &str = "snapshot";
const MAGIC: [u8; 8] = *b"wswSNAP\x01";
const PURPOSE: &[u8] = b"wsw raft snapshot";

/// A whole snapshot on disk: openraft's snapshot handle.
#[derive(Debug, Clone)]
pub struct SnapshotFile {
    pub path: PathBuf,
    pub bytes: u64,
}

/// What a snapshot says of itself, in stored form.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Meta {
    last: Option<StoredId>,
    members: Members,
    members_at: Option<StoredId>,
}

impl Meta {
    /// From openraft's.
    pub fn of(meta: &SnapshotMeta) -> Self {
        let members_at = meta.last_membership.log_id().as_ref().map(StoredId::of);
        Self { last: meta.last_log_id.as_ref().map(StoredId::of), members: Members::of(meta.last_membership.membership()), members_at }
    }

    /// To openraft's.
    pub fn meta(self) -> io::Result<SnapshotMeta> {
        Ok(SnapshotMeta { last_log_id: self.last.map(StoredId::log_id), last_membership: self.members.stored(self.members_at)? })
    }
}

/// Writes a snapshot of `state` and makes it the only one.
pub fn write<T: Serialize>(folder: &Folder, meta: &SnapshotMeta, state: &T) -> io::Result<SnapshotFile> {
    let path = path_of(folder, meta);
    let temporary = files::temporary(&path);
    let written = write_temporary(folder, &temporary, meta, state).and_then(|bytes| folder.publish(&temporary, &path).map(|()| bytes));
    match written {
        Ok(bytes) => {
            keep_only(folder, &path)?;
            Ok(SnapshotFile { path, bytes })
        }
        Err(err) => {
            let _ = folder.disk.remove(&temporary);
            Err(err)
        }
    }
}

/// The final name of a snapshot.
fn path_of(folder: &Folder, meta: &SnapshotMeta) -> PathBuf {
    let (term, index) = meta.last_log_id.as_ref().map_or((0, 0), |id| (id.leader_id.term, id.index));
    folder.path.join(format!("{index:016x}-{term:016x}.{EXTENSION}"))
}

fn write_temporary<T: Serialize>(folder: &Folder, temporary: &Path, meta: &SnapshotMeta, state: &T) -> io::Result<u64> {
    let mut chunks = Chunks::begin(folder, temporary, meta)?;
    rmp_serde::encode::write(&mut chunks, state).map_err(io_error)?;
    chunks.end()
}

/// A snapshot that another manager sends: its plain bytes come in any pieces. It has a temporary name until it is installed.
pub struct Incoming {
    path: PathBuf,
    chunks: Chunks,
}

impl Incoming {
    /// Begins one.
    pub fn begin(folder: &Folder, meta: &SnapshotMeta) -> io::Result<Self> {
        let chance = u64::from_le_bytes(super::crypto::random()?);
        let path = files::temporary(&folder.path.join(format!("incoming-{chance:016x}")));
        let chunks = Chunks::begin(folder, &path, meta)?;
        Ok(Self { path, chunks })
    }

    /// The next bytes of the state.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.chunks.write_all(bytes)
    }

    /// It is whole.
    pub fn end(self) -> io::Result<SnapshotFile> {
        Ok(SnapshotFile { bytes: self.chunks.end()?, path: self.path })
    }
}

/// Gives a snapshot that came from another manager its final name.
pub fn adopt(folder: &Folder, meta: &SnapshotMeta, snapshot: SnapshotFile) -> io::Result<SnapshotFile> {
    let path = path_of(folder, meta);
    if snapshot.path != path {
        folder.publish(&snapshot.path, &path)?;
    }
    Ok(SnapshotFile { path, ..snapshot })
}

/// `rmp_serde` hides the I/O error that stopped it: a full disk must stay one.
fn io_error(err: rmp_serde::encode::Error) -> io::Error {
    match err {
        rmp_serde::encode::Error::InvalidValueWrite(rmp_serde_write) => rmp_serde_write.into(),
        other => io::Error::other(other),
    }
}

struct Chunks {
    file: Box<dyn Handle>,
    length: u64,
    key: FileKey,
    key_id: u32,
    plain: Vec<u8>,
    number: u64,
    sealed: Vec<u8>,
}

impl Chunks {
    fn begin(folder: &Folder, path: &Path, meta: &SnapshotMeta) -> io::Result<Self> {
        let file = folder.disk.create(path)?;
        let (header, file_key) = file_header::make(MAGIC, 0, &folder.key, PURPOSE)?;
        file.write_at(&header, 0)?;
        let mut chunks = Self { file, length: header.len() as u64, key: file_key, key_id: folder.key.id, plain: Vec::new(), number: 0, sealed: Vec::new() };
        stored::write(&mut chunks.plain, &Meta::of(meta))?;
        chunks.seal(Kind::Meta)?;
        Ok(chunks)
    }

    fn end(mut self) -> io::Result<u64> {
        self.seal(Kind::LastChunk)?;
        self.file.sync()?;
        Ok(self.length)
    }

    fn seal(&mut self, kind: Kind) -> io::Result<()> {
        self.sealed.clear();
        record::write(&mut self.sealed, &self.key, (self.key_id, kind, self.number, 0), |out| {
            out.extend_from_slice(&self.plain);
            Ok(())
        })?;
        self.number += 1;
        self.plain.clear();
        self.file.write_at(&self.sealed, self.length)?;
        self.length += self.sealed.len() as u64;
        Ok(())
    }
}

impl Write for Chunks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.plain.len() >= CHUNK_BYTES {
            self.seal(Kind::Chunk)?;
        }
        let taken = bytes.len().min(CHUNK_BYTES - self.plain.len());
        self.plain.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A snapshot that is being read.
pub struct Reader {
    path: PathBuf,
    file: Box<dyn Handle>,
    at: u64,
    key: FileKey,
    number: u64,
    chunk: Vec<u8>,
    /// Plain bytes of the chunk that are not handed out yet.
    ready: std::ops::Range<usize>,
    last: bool,
    pub meta: SnapshotMeta,
}

impl Reader {
    /// Opens a snapshot and reads what it says of itself.
    pub fn open(folder: &Folder, path: &Path) -> io::Result<Self> {
        let file = folder.disk.open(path)?;
        let mut header = [0; FILE_HEADER_BYTES];
        file.read_at(&mut header, 0)?;
        let (_, key) = file_header::check(&header, MAGIC, &folder.key, PURPOSE)
            .map_err(|what| io::Error::new(io::ErrorKind::InvalidData, format!("snapshot {}: {what}", path.display())))?;
        let mut reader = Self {
            path: path.to_owned(),
            file,
            at: header.len() as u64,
            key,
            number: 0,
            chunk: Vec::new(),
            ready: 0..0,
            last: false,
            meta: SnapshotMeta::default(),
        };
        reader.next(&[Kind::Meta])?;
        let meta: Meta = stored::read(&reader.chunk[reader.ready.clone()])?;
        reader.ready = 0..0;
        reader.meta = meta.meta()?;
        Ok(reader)
    }

    /// Reads the state.
    pub fn state<T: DeserializeOwned>(mut self) -> io::Result<T> {
        let state =
            rmp_serde::from_read(&mut self).map_err(|err| io::Error::new(io::ErrorKind::InvalidData, format!("snapshot {}: {err}", self.path.display())))?;
        if !self.last || !self.ready.is_empty() {
            return Err(self.damaged());
        }
        Ok(state)
    }

    fn next(&mut self, kinds: &[Kind]) -> io::Result<()> {
        let mut head = [0; HEADER_BYTES];
        self.file.read_at(&mut head, self.at).map_err(|_| self.damaged())?;
        let header = Header::read(&head).filter(|header| kinds.contains(&header.kind) && header.index == self.number).ok_or_else(|| self.damaged())?;
        self.chunk.clear();
        self.chunk.extend_from_slice(&head);
        self.chunk.resize(header.record(), 0);
        self.file.read_at(&mut self.chunk[HEADER_BYTES..], self.at + HEADER_BYTES as u64).map_err(|_| self.damaged())?;
        self.at += self.chunk.len() as u64;
        let plain = record::open(&mut self.chunk, &self.key).map(|(_, plain)| plain.len()).ok_or_else(|| self.damaged())?;
        self.ready = HEADER_BYTES..HEADER_BYTES + plain;
        self.number += 1;
        self.last = header.kind == Kind::LastChunk;
        Ok(())
    }

    fn damaged(&self) -> io::Error {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("snapshot {} is damaged in chunk {}; restore it, or remove this manager and join it again", self.path.display(), self.number),
        )
    }
}

impl Read for Reader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.ready.is_empty() {
            if self.last {
                return Ok(0);
            }
            self.next(&[Kind::Chunk, Kind::LastChunk])?;
        }
        let taken = out.len().min(self.ready.len());
        out[..taken].copy_from_slice(&self.chunk[self.ready.start..self.ready.start + taken]);
        self.ready.start += taken;
        Ok(taken)
    }
}

/// The newest snapshot of a folder.
pub fn newest(folder: &Folder) -> io::Result<Option<SnapshotFile>> {
    let newest = folder.with_extension(EXTENSION)?.pop();
    newest.map(|path| Ok(SnapshotFile { bytes: folder.disk.open(&path)?.length()?, path })).transpose()
}

/// Removes all snapshots of a folder but one.
pub fn keep_only(folder: &Folder, kept: &Path) -> io::Result<()> {
    folder.with_extension(EXTENSION)?.iter().filter(|path| *path != kept).try_for_each(|path| folder.disk.remove(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::crypto::DataKey;

    #[test]
    fn a_snapshot_of_many_chunks_round_trips_and_a_changed_one_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let at = Folder::of_machine(folder.path().to_owned(), DataKey::generate(1).unwrap());
        let meta = SnapshotMeta { last_log_id: Some(StoredId(2, 1, 77).log_id()), ..SnapshotMeta::default() };
        let state: Vec<String> = (0..100_000).map(|n| format!("a line of the state, number {n}")).collect();
        let file = write(&at, &meta, &state).unwrap();
        assert!(file.bytes > 2 * CHUNK_BYTES as u64);
        let older = write(&at, &SnapshotMeta::default(), &state).unwrap();
        assert_eq!(newest(&at).unwrap().map(|found| found.path), Some(older.path), "only the last written one is kept");
        let file = write(&at, &meta, &state).unwrap();
        let reader = Reader::open(&at, &file.path).unwrap();
        assert_eq!(reader.meta, meta);
        assert_eq!(reader.state::<Vec<String>>().unwrap(), state);
        assert!(
            Reader::open(&Folder { key: DataKey::generate(1).unwrap(), ..at.clone() }, &file.path).is_err_and(|err| err.to_string().contains("does not open"))
        );

        let whole = std::fs::read(&file.path).unwrap();
        for cut in [whole.len() - 1, whole.len() / 2, FILE_HEADER_BYTES + 10] {
            std::fs::write(&file.path, &whole[..cut]).unwrap();
            let read = Reader::open(&at, &file.path).and_then(Reader::state::<Vec<String>>);
            assert!(read.is_err_and(|err| err.to_string().contains("damaged")), "{cut}");
        }
    }
}
