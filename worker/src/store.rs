//! The assignments on disk: an append-only file that is rewritten when most of it is history.
//!
//! ```text
//! tasks/assignments    "wswtasks" u32 version · { u32 length · u32 crc · MessagePack record }*      (little endian)
//! ```
//! Owns: the file's format. Invariants: one append and one sync per change of the set, whatever its size; a rewrite goes to a
//! temporary name, is synced, then renamed; a torn tail (killed while appending) is cut off, damage before it is reported.
//! Never: decides what is kept. Blocking: the agent calls it on a blocking thread and owns it otherwise.

use crate::board::LocalTask;
use crate::set::Set;
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use wsw_api::session::{AssignedTask, PeerNode, ServiceEndpoint};
use wsw_api::{NodeId, ServiceId, TaskId, TaskStatus, Template, Time};

const MAGIC: &[u8; 8] = b"wswtasks";
/// Raised when an older build could misread the file; a newer one is refused.
const VERSION: u32 = 1;
const HEADER: usize = MAGIC.len() + 4;
const FRAME: usize = 8;
/// History that may pile up before the file is rewritten, beside as much again as the file had when it was last rewritten.
const REWRITE_SLACK: u64 = 1024 * 1024;

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("{path}: written by a newer version of wsw (format {found}, this build reads up to {VERSION})")]
    Newer { path: PathBuf, found: u32 },
    #[error("{path}: not a file of assignments")]
    Foreign { path: PathBuf },
    #[error("cannot encode a record: {0}")]
    Encode(#[from] rmp_serde::encode::Error),
    #[error("a record of {0} bytes is too large")]
    TooLarge(usize),
}

/// One task as the disk remembers it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredTask {
    pub task: AssignedTask,
    #[serde(default)]
    pub removed: bool,
    /// The last status that is committed and was running or an end.
    #[serde(default)]
    pub status: Option<TaskStatus>,
    pub created: Time,
    #[serde(default)]
    pub started: Option<Time>,
    #[serde(default)]
    pub finished: Option<Time>,
    #[serde(default)]
    pub put_away: bool,
}

/// One change of the set; whole rows, later ones replace earlier ones.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    pub templates: Vec<Arc<Template>>,
    pub tasks: Vec<StoredTask>,
    pub forgotten: Vec<TaskId>,
    pub endpoints: Vec<ServiceEndpoint>,
    pub removed_endpoints: Vec<ServiceId>,
    pub peers: Vec<PeerNode>,
    pub removed_peers: Vec<NodeId>,
}

impl Record {
    /// True when there is nothing to write.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What was found at start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Loaded {
    pub set: Set,
    pub tasks: BTreeMap<TaskId, StoredTask>,
}

impl Loaded {
    fn apply(&mut self, record: Record) {
        for template in record.templates {
            self.set.templates.insert((template.service, template.version), template);
        }
        for row in record.tasks {
            self.set.insert(row.task.clone(), row.removed);
            if let Some(entry) = self.set.tasks.get_mut(&row.task.id) {
                entry.removed = row.removed;
            }
            self.tasks.insert(row.task.id, row);
        }
        for id in record.forgotten {
            self.set.forget(id);
            self.tasks.remove(&id);
        }
        for row in record.endpoints {
            self.set.endpoints.insert(row.service, row);
        }
        for id in record.removed_endpoints {
            self.set.endpoints.remove(&id);
        }
        for row in record.peers {
            self.set.peers.insert(row.node, row);
        }
        for id in record.removed_peers {
            self.set.peers.remove(&id);
        }
    }
}

impl StoredTask {
    /// The row that the board keeps; `fallback` when no status was stored.
    pub fn local(&self, fallback: TaskStatus) -> LocalTask {
        LocalTask {
            id: self.task.id,
            service: self.task.service,
            slot: self.task.slot,
            status: self.status.clone().unwrap_or(fallback),
            created: self.created,
            started: self.started,
            finished: self.finished,
            put_away: self.put_away,
            template: None,
        }
    }
}

/// The open file.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    file: File,
    length: u64,
    /// Length after the last rewrite (or at start).
    base: u64,
    /// An append failed: the end of the file is not known to be whole, only a rewrite mends it.
    broken: bool,
}

impl Store {
    /// Opens (or makes) `<folder>/assignments` and reads what is in it.
    pub fn open(folder: &Path) -> Result<(Self, Loaded), Error> {
        let path = folder.join("assignments");
        let at = |source| Error::Io { path: path.clone(), source };
        fs::create_dir_all(folder).map_err(at)?;
        let mut bytes = Vec::new();
        match File::open(&path) {
            Ok(mut file) => file.read_to_end(&mut bytes).map(drop).map_err(at)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(at(error)),
        }
        let (loaded, good) = read(&path, &bytes)?;
        if good < HEADER {
            write_new(&path, &[]).map_err(at)?;
        }
        let file = File::options().append(true).open(&path).map_err(at)?;
        let length = good.max(HEADER) as u64;
        file.set_len(length).map_err(at)?;
        Ok((Self { path, file, length, base: length, broken: false }, loaded))
    }

    /// Adds one record; `sync` when losing it to a power failure would matter.
    pub fn append(&mut self, record: &Record, sync: bool) -> Result<(), Error> {
        let frame = frame(record)?;
        let result = if self.broken {
            Err(io::Error::other("an earlier write failed"))
        } else {
            self.file.write_all(&frame).and_then(|()| if sync { self.file.sync_data() } else { Ok(()) })
        };
        self.broken |= result.is_err();
        self.length += frame.len() as u64;
        result.map_err(|source| self.at(source))
    }

    /// Replaces the file with one record that holds everything.
    pub fn rewrite(&mut self, everything: &Record) -> Result<(), Error> {
        let frame = frame(everything)?;
        self.file = write_new(&self.path, &frame).map_err(|source| self.at(source))?;
        self.length = (HEADER + frame.len()) as u64;
        self.base = self.length;
        self.broken = false;
        Ok(())
    }

    /// True when the next write should be a rewrite.
    pub fn wants_rewrite(&self) -> bool {
        self.broken || self.length > 2 * self.base + REWRITE_SLACK
    }

    /// A store whose writes go elsewhere: a device that is always full.
    #[cfg(test)]
    pub fn with_file(mut self, file: File) -> Self {
        self.file = file;
        self
    }

    fn at(&self, source: io::Error) -> Error {
        Error::Io { path: self.path.clone(), source }
    }
}

fn frame(record: &Record) -> Result<Vec<u8>, Error> {
    let mut bytes = vec![0; FRAME];
    rmp_serde::encode::write_named(&mut bytes, record)?;
    let (head, body) = bytes.split_at_mut(FRAME);
    let length = u32::try_from(body.len()).map_err(|_| Error::TooLarge(body.len()))?;
    let (first, second) = head.split_at_mut(4);
    first.copy_from_slice(&length.to_le_bytes());
    second.copy_from_slice(&crc32fast::hash(body).to_le_bytes());
    Ok(bytes)
}

/// Reads all whole records; also says how many bytes of the file they take up.
fn read(path: &Path, bytes: &[u8]) -> Result<(Loaded, usize), Error> {
    let mut loaded = Loaded::default();
    let Some(header) = bytes.get(..HEADER) else {
        // Nothing, or killed while the header was written: the file is renamed into place whole, so this is an empty folder.
        return if bytes.is_empty() { Ok((loaded, 0)) } else { Err(Error::Foreign { path: path.to_owned() }) };
    };
    let (magic, version) = header.split_at(MAGIC.len());
    if magic != MAGIC {
        return Err(Error::Foreign { path: path.to_owned() });
    }
    let found = number(version);
    if found > VERSION {
        return Err(Error::Newer { path: path.to_owned(), found });
    }
    let mut good = HEADER;
    while let Some(record) = next_record(bytes.get(good..).unwrap_or_default()) {
        loaded.apply(record.0);
        good += record.1;
    }
    if good < bytes.len() {
        tracing::warn!(path = %path.display(), kept = good, cut = bytes.len() - good, "the last change of the assignments was not written whole");
    }
    loaded.set.drop_unused_templates();
    Ok((loaded, good))
}

fn next_record(bytes: &[u8]) -> Option<(Record, usize)> {
    let (head, rest) = bytes.split_at_checked(FRAME)?;
    let (length, crc) = head.split_at(4);
    let body = rest.get(..number(length) as usize)?;
    if crc32fast::hash(body) != number(crc) {
        return None;
    }
    let record = rmp_serde::from_slice(body).inspect_err(|error| tracing::error!(%error, "a record of the assignments cannot be read")).ok()?;
    Some((record, FRAME + body.len()))
}

fn number(bytes: &[u8]) -> u32 {
    bytes.try_into().map_or(0, u32::from_le_bytes)
}

fn write_new(path: &Path, frames: &[u8]) -> io::Result<File> {
    let temporary = path.with_extension("new");
    let mut file = File::create(&temporary)?;
    file.write_all(MAGIC)?;
    file.write_all(&VERSION.to_le_bytes())?;
    file.write_all(frames)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    if let Some(folder) = path.parent() {
        File::open(folder)?.sync_all()?;
    }
    // The handle was opened for writing at its end; from here on it only appends.
    rustix::fs::fcntl_setfl(&file, rustix::fs::fcntl_getfl(&file)? | OFlags::APPEND)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::fake::{assigned, endpoint, service_id, task_id, template};
    use wsw_api::{DesiredState, TaskState};

    fn stored(n: u8) -> StoredTask {
        StoredTask { task: assigned(n, DesiredState::Running), removed: false, status: None, created: Time(1), started: None, finished: None, put_away: false }
    }

    fn first() -> Record {
        Record { templates: vec![template(1)], tasks: vec![stored(1), stored(2)], endpoints: vec![endpoint(1, 8080)], ..Record::default() }
    }

    #[test]
    fn what_was_written_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let (mut store, loaded) = Store::open(folder.path()).unwrap();
        assert_eq!(loaded, Loaded::default());
        store.append(&first(), true).unwrap();
        let ended = StoredTask { status: Some(TaskStatus::new(TaskState::Failed, Time(9), "started")), finished: Some(Time(9)), ..stored(2) };
        store.append(&Record { tasks: vec![ended.clone()], forgotten: vec![task_id(1)], ..Record::default() }, true).unwrap();
        let (mut store, loaded) = Store::open(folder.path()).unwrap();
        assert_eq!(loaded.tasks, BTreeMap::from([(task_id(2), ended.clone())]));
        assert_eq!(loaded.set.endpoints.len() + loaded.set.templates.len(), 2);
        store.rewrite(&Record { tasks: vec![ended], ..Record::default() }).unwrap();
        store.append(&Record { endpoints: vec![endpoint(1, 81)], ..Record::default() }, true).unwrap();
        let (_, loaded) = Store::open(folder.path()).unwrap();
        assert_eq!(loaded.tasks.len(), 1);
        assert_eq!(loaded.set.endpoints[&service_id(1)], endpoint(1, 81));
        assert!(loaded.set.templates.is_empty());
    }

    #[test]
    fn a_torn_tail_is_cut_off_at_every_length() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("assignments");
        let (mut store, _) = Store::open(folder.path()).unwrap();
        store.append(&first(), true).unwrap();
        let whole = fs::read(&path).unwrap();
        store.append(&Record { tasks: vec![stored(3)], ..Record::default() }, true).unwrap();
        let longer = fs::read(&path).unwrap();
        for cut in whole.len()..longer.len() {
            fs::write(&path, &longer[..cut]).unwrap();
            let (mut store, loaded) = Store::open(folder.path()).unwrap();
            assert_eq!(loaded.tasks.len(), 2, "cut at {cut}");
            store.append(&Record { tasks: vec![stored(4)], ..Record::default() }, true).unwrap();
            assert_eq!(Store::open(folder.path()).unwrap().1.tasks.len(), 3);
        }
    }

    #[test]
    fn a_newer_or_foreign_file_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("assignments");
        for (bytes, text) in [(b"wswtasks\x09\0\0\0".as_slice(), "newer version"), (b"something else", "not a file of assignments"), (b"x", "not a file")] {
            fs::write(&path, bytes).unwrap();
            let error = Store::open(folder.path()).unwrap_err().to_string();
            assert!(error.contains(text) && error.contains("assignments"), "{error}");
        }
    }

    #[test]
    fn history_makes_it_ask_for_a_rewrite() {
        let folder = tempfile::tempdir().unwrap();
        let (mut store, _) = Store::open(folder.path()).unwrap();
        while !store.wants_rewrite() {
            store.append(&Record { tasks: (0..200).map(stored).collect(), ..Record::default() }, true).unwrap();
        }
        store.rewrite(&first()).unwrap();
        assert!(!store.wants_rewrite());
        assert!(fs::metadata(folder.path().join("assignments")).unwrap().len() < REWRITE_SLACK);
    }
}
