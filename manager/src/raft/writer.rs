//! The log's writer: the only one that writes its files. A thread of its own, or (in a simulation) a task.
//!
//! Owns: the active segment, the order of writes. Operations that wait together are one write and one sync (group commit); an operation is
//! answered after its sync, never before. Invariants: a segment is sealed and synced before the next begins; a failed write
//! is cut off again; after a failed sync nothing more is written (what the page cache then says cannot be trusted) and the log is
//! opened anew. A full disk costs the reserve first (`space`), then it is a failed write.

use super::disk::Folder;
use super::index::Index;
use super::record::{self, Kind};
use super::segment::Segment;
use super::space::Space;
use super::stored::{self, State, StoredId, StoredVote};
use super::types::{RaftEntry, Types};
use crate::files;
use openraft::alias::{MpscReceiverOf, OneshotSenderOf};
use openraft::storage::IOFlushed;
use openraft::type_config::TypeConfigExt;
use openraft::type_config::async_runtime::{AsyncRuntime, MpscReceiver, OneshotSender};
use std::io;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tracing::{error, warn};

/// Operations that wait before the sender is held back: the disk is then seconds behind.
pub const MAX_QUEUED: usize = 4_096;
/// Encoded bytes that go into one write and sync; more waits for the next.
const MAX_BATCH_BYTES: usize = 4 * 1024 * 1024;

/// Where an operation's result goes.
pub type Done<RT> = OneshotSenderOf<Types<RT>, io::Result<()>>;

/// What the writer is asked.
pub enum Op<RT: AsyncRuntime> {
    Append {
        entries: Vec<RaftEntry>,
        callback: IOFlushed<Types<RT>>,
    },
    Vote(StoredVote, Done<RT>),
    /// Written with the next operation that is synced.
    Committed(StoredId),
    /// Entries from this index on go.
    Truncate(u64, Done<RT>),
    Purge(StoredId, Done<RT>),
    /// Everything is written; the writer ends.
    Close(Done<RT>),
}

/// What a written operation changes in the index.
enum Effect {
    Entry { index: u64, offset: u64, bytes: usize },
    Truncated(u64),
    Stated(State),
}

/// What one write consists of.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    effects: Vec<Effect>,
    purged: Option<u64>,
}

/// The writer's state.
pub struct Writer {
    folder: Folder,
    index: Arc<Mutex<Index>>,
    space: Arc<Space>,
    active: Arc<Segment>,
    /// Synced bytes of the active segment.
    end: u64,
    state: State,
    /// `state.committed` is newer than the last state record.
    stale: bool,
    failed: Option<String>,
}

impl Writer {
    /// Goes on after `end` in the active segment of the index.
    pub fn new(folder: Folder, index: Arc<Mutex<Index>>, space: Arc<Space>, active: Arc<Segment>, end: u64) -> Self {
        let state = lock(&index).state;
        Self { folder, index, space, active, end, state, stale: false, failed: None }
    }

    /// Works until it is closed or all senders are gone.
    pub fn run<RT: AsyncRuntime>(mut self, operations: &Receiver<Op<RT>>) {
        while let Ok(first) = operations.recv() {
            if self.turn(first, || operations.try_recv().ok()) {
                return;
            }
        }
    }

    /// The same as a task, at the pace of the folder's disk.
    pub async fn run_here<RT: AsyncRuntime>(mut self, mut operations: MpscReceiverOf<Types<RT>, Op<RT>>) {
        while let Some(first) = operations.recv().await {
            Types::<RT>::sleep(self.folder.disk.pace().unwrap_or_default()).await;
            if self.turn(first, || operations.try_recv().ok()) {
                return;
            }
        }
    }

    /// Writes what waits, syncs and answers. True when it was closed.
    fn turn<RT: AsyncRuntime>(&mut self, first: Op<RT>, mut next: impl FnMut() -> Option<Op<RT>>) -> bool {
        let mut waiting = vec![first];
        let mut batch = Batch::default();
        let mut built = self.begin(&mut batch).and_then(|()| self.add(&mut batch, &waiting[0]));
        while built.is_ok() && batch.bytes.len() < MAX_BATCH_BYTES && !matches!(waiting.last(), Some(Op::Close(_))) {
            let Some(next) = next() else { break };
            built = self.add(&mut batch, &next);
            waiting.push(next);
        }
        let closing = matches!(waiting.last(), Some(Op::Close(_)));
        let result = built.and_then(|()| self.commit(batch, closing));
        if let Err(err) = &result {
            self.fail(err);
        }
        waiting.into_iter().for_each(|op| answer(op, &result));
        closing
    }

    /// Starts a new segment when the active one is full.
    fn begin(&mut self, batch: &mut Batch) -> io::Result<()> {
        if let Some(failed) = &self.failed {
            return Err(io::Error::other(format!("the log was closed by an earlier error: {failed}")));
        }
        if self.end >= self.folder.sizes.segment {
            self.roll()?;
        }
        batch.bytes.reserve(4096);
        Ok(())
    }

    fn roll(&mut self) -> io::Result<()> {
        let seal = match lock(&self.index).active() {
            Some(active) => self.active.seal_bytes(&active.contents, self.end)?,
            None => Vec::new(),
        };
        self.write(&seal)?;
        let create = || Segment::create(&self.folder, self.active.sequence + 1, &self.state);
        let (segment, end) = match create() {
            Err(err) if files::is_full(&err) && self.space.release() => create()?,
            created => created?,
        };
        self.active = Arc::new(segment);
        self.end = end;
        self.stale = false;
        lock(&self.index).push(self.active.clone(), end, self.state);
        Ok(())
    }

    /// Adds an operation's records to the batch.
    fn add<RT: AsyncRuntime>(&mut self, batch: &mut Batch, op: &Op<RT>) -> io::Result<()> {
        match op {
            Op::Append { entries, .. } => {
                if self.stale {
                    self.add_state(batch)?;
                }
                for entry in entries {
                    let start = batch.bytes.len();
                    let index = entry.log_id.index;
                    self.add_record(batch, Kind::Entry, index, |out| stored::write_entry(out, entry))?;
                    batch.effects.push(Effect::Entry { index, offset: self.end + start as u64, bytes: batch.bytes.len() - start });
                }
                Ok(())
            }
            Op::Vote(vote, _) => {
                self.state.vote = Some(*vote);
                self.add_state(batch)
            }
            Op::Committed(id) => {
                self.state.committed = Some(*id);
                self.stale = true;
                Ok(())
            }
            Op::Truncate(from, _) => {
                self.add_record(batch, Kind::Truncate, *from, |_| Ok(()))?;
                batch.effects.push(Effect::Truncated(*from));
                Ok(())
            }
            Op::Purge(id, _) => {
                self.state.purged = Some(*id);
                batch.purged = Some(id.index());
                self.add_state(batch)
            }
            Op::Close(_) if self.stale => self.add_state(batch),
            Op::Close(_) => Ok(()),
        }
    }

    fn add_state(&mut self, batch: &mut Batch) -> io::Result<()> {
        let state = self.state;
        self.add_record(batch, Kind::State, 0, |out| stored::write(out, &state))?;
        batch.effects.push(Effect::Stated(state));
        self.stale = false;
        Ok(())
    }

    fn add_record(&self, batch: &mut Batch, kind: Kind, index: u64, body: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> io::Result<()> {
        record::write(&mut batch.bytes, &self.active.key, (self.folder.key.id, kind, index, self.end), body)
    }

    /// Writes and syncs the batch, then lets readers know.
    fn commit(&mut self, batch: Batch, closing: bool) -> io::Result<()> {
        if !batch.bytes.is_empty() {
            self.write(&batch.bytes)?;
            self.end += batch.bytes.len() as u64;
        } else if closing {
            self.active.file.sync()?;
        }
        let mut index = lock(&self.index);
        for effect in batch.effects {
            match effect {
                Effect::Entry { index: at, offset, bytes } => index.written(at, u32::try_from(offset).unwrap_or(u32::MAX), bytes),
                Effect::Truncated(from) => index.truncated(from),
                Effect::Stated(state) => index.stated(state),
            }
        }
        index.grown(self.end);
        let dead = batch.purged.map(|purged| index.take_dead(purged)).unwrap_or_default();
        drop(index);
        for segment in dead {
            if let Err(err) = self.folder.disk.remove(&segment.path) {
                warn!(path = %segment.path.display(), %err, "a purged log segment stays until the next start");
            }
        }
        Ok(())
    }

    /// Writes after the synced end and syncs. A full disk costs the reserve; what is not synced for certain is cut off.
    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let written = match self.active.file.write_at(bytes, self.end) {
            Err(err) if files::is_full(&err) && self.space.release() => self.active.file.write_at(bytes, self.end),
            written => written,
        };
        let synced = written.and_then(|()| self.active.file.sync());
        if synced.is_err()
            && let Err(err) = self.active.file.set_length(self.end)
        {
            warn!(path = %self.active.path.display(), %err, "the end of the log could not be cut; the next start does it");
        }
        synced
    }

    fn fail(&mut self, err: &io::Error) {
        if self.failed.is_none() {
            error!(path = %self.active.path.display(), %err, "the log cannot be written");
            self.failed = Some(err.to_string());
            if files::is_full(err) {
                self.space.release();
            }
        }
    }
}

fn answer<RT: AsyncRuntime>(op: Op<RT>, result: &io::Result<()>) {
    let result = match result {
        Ok(()) => Ok(()),
        Err(err) => Err(io::Error::new(err.kind(), err.to_string())),
    };
    match op {
        Op::Append { callback, .. } => callback.io_completed(result),
        Op::Vote(_, done) | Op::Truncate(_, done) | Op::Purge(_, done) | Op::Close(done) => {
            let _ = done.send(result);
        }
        Op::Committed(_) => {}
    }
}

/// The index, also after a panic of another holder: it is only read and extended, so it is never half changed in a harmful way.
pub fn lock(index: &Mutex<Index>) -> MutexGuard<'_, Index> {
    index.lock().unwrap_or_else(PoisonError::into_inner)
}
