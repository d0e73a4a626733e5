//! The log store: openraft's `RaftLogStorage` over segment files.
//!
//! Owns: the `raft/` folder's log. An append is readable at once and acknowledged after the sync. Never: blocks on a write itself
//! (the writer thread does).

use super::disk::Folder;
use super::index::{Index, Listed, read_pieces};
use super::segment::{EXTENSION, Segment};
use super::space::Space;
use super::stored::{State, StoredId, StoredVote};
use super::types::{LogId, RaftEntry, Types, Vote};
use super::writer::{Done, MAX_QUEUED, Op, Writer, lock};
use futures_util::Stream;
use openraft::alias::{JoinHandleOf, MpscSenderOf};
use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::type_config::TypeConfigExt;
use openraft::type_config::async_runtime::{AsyncRuntime, MpscSender};
use openraft::{LogState, OptionalSend, RaftLogReader};
use std::any::Any;
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use tracing::{info, warn};

/// Encoded bytes that one bounded read returns: a message to a follower, a step of the state machine.
pub const MAX_READ_BYTES: usize = 4 * 1024 * 1024;

/// The log. Clones share it.
pub struct LogStore<RT: AsyncRuntime> {
    index: Arc<Mutex<Index>>,
    operations: Operations<RT>,
}

/// The way to the writer.
enum Operations<RT: AsyncRuntime> {
    Thread(SyncSender<Op<RT>>),
    Task(MpscSenderOf<Types<RT>, Op<RT>>),
}

impl<RT: AsyncRuntime> Clone for Operations<RT> {
    fn clone(&self) -> Self {
        match self {
            Self::Thread(sender) => Self::Thread(sender.clone()),
            Self::Task(sender) => Self::Task(sender.clone()),
        }
    }
}

impl<RT: AsyncRuntime> Clone for LogStore<RT> {
    fn clone(&self) -> Self {
        Self { index: self.index.clone(), operations: self.operations.clone() }
    }
}

/// The writer, to wait for its end; it ends when all clones of the store are gone.
pub enum Writing<RT: AsyncRuntime> {
    Thread(JoinHandle<()>),
    /// In a mutex only to be shareable.
    Task(Mutex<JoinHandleOf<Types<RT>, ()>>),
}

impl<RT: AsyncRuntime> Writing<RT> {
    /// Waits for the thread. Blocks; a task is not waited for.
    pub fn join(self) {
        if let Self::Thread(thread) = self
            && thread.join().is_err()
        {
            warn!("the log's writer panicked");
        }
    }

    /// Waits.
    pub async fn end(self) -> io::Result<()> {
        let panicked = match self {
            Self::Thread(thread) => Types::<RT>::spawn_blocking(move || thread.join().is_err()).await?,
            Self::Task(task) => task.into_inner().unwrap_or_else(PoisonError::into_inner).await.is_err(),
        };
        if panicked {
            warn!("the log's writer panicked");
        }
        Ok(())
    }
}

impl<RT: AsyncRuntime> LogStore<RT> {
    /// Opens the log in a folder, or begins one.
    pub fn open(folder: &Folder, space: Arc<Space>) -> io::Result<(Self, Writing<RT>)> {
        let lock = hold(folder)?;
        folder.remove_temporary()?;
        let mut listed = Vec::new();
        let paths = folder.with_extension(EXTENSION)?;
        let (mut sealed, mut sequence) = (true, 0);
        for (place, path) in paths.iter().enumerate() {
            let opened = Segment::open(folder, path, place + 1 == paths.len())?;
            if opened.cut > 0 {
                info!(path = %path.display(), bytes = opened.cut, "cut a torn end of the log: nothing in it was acknowledged");
            }
            (sealed, sequence) = (opened.sealed, opened.segment.sequence + 1);
            listed.push(Listed { segment: Arc::new(opened.segment), contents: opened.contents, end: opened.end });
        }
        if sealed {
            let state = listed.last().map_or(State::default(), |newest| newest.contents.state);
            let (segment, end) = Segment::create(folder, sequence, &state)?;
            listed.push(Listed { segment: Arc::new(segment), contents: super::segment::Contents { state, ..Default::default() }, end });
        }
        let index = Index::assemble(listed)?;
        let Some((active, end)) = index.active().map(|active| (active.segment.clone(), active.end)) else {
            return Err(io::Error::other("the log has no segment"));
        };
        let index = Arc::new(Mutex::new(index));
        let writer = Writer::new(folder.clone(), index.clone(), space, active, end);
        if folder.disk.pace().is_some() {
            let (operations, queue) = Types::<RT>::mpsc(MAX_QUEUED);
            let task = Types::<RT>::spawn(async move {
                writer.run_here::<RT>(queue).await;
                drop(lock);
            });
            return Ok((Self { index, operations: Operations::Task(operations) }, Writing::Task(Mutex::new(task))));
        }
        let (operations, queue) = sync_channel(MAX_QUEUED);
        let thread = std::thread::Builder::new().name("raft-log".into()).spawn(move || {
            writer.run(&queue);
            drop(lock);
        })?;
        Ok((Self { index, operations: Operations::Thread(operations) }, Writing::Thread(thread)))
    }

    /// Everything is written and synced, and nothing more can be.
    pub async fn close(&self) -> io::Result<()> {
        self.ask(Op::Close).await
    }

    /// Bytes of the log after an entry.
    pub fn bytes_after(&self, index: Option<u64>) -> u64 {
        lock(&self.index).bytes_after(index)
    }

    /// The last entry before the newest `bytes` of the log.
    pub fn before_newest(&self, bytes: u64) -> Option<u64> {
        lock(&self.index).before_newest(bytes)
    }

    /// True when purging up to this entry frees a whole segment.
    pub fn purge_is_worth(&self, upto: u64) -> bool {
        lock(&self.index).frees(upto)
    }

    async fn ask(&self, op: impl FnOnce(Done<RT>) -> Op<RT>) -> io::Result<()> {
        let (done, answer) = Types::<RT>::oneshot();
        self.send(op(done)).await?;
        answer.await.map_err(|_| closed())?
    }

    /// Vote, commit and purge as they were last.
    pub fn state(&self) -> State {
        lock(&self.index).state
    }

    /// A full queue holds the sender back.
    async fn send(&self, op: Op<RT>) -> io::Result<()> {
        match &self.operations {
            Operations::Thread(sender) => sender.send(op).map_err(|_| closed()),
            Operations::Task(sender) => sender.send(op).await.map_err(|_| closed()),
        }
    }

    /// Entries from `from` on, as far as the bytes go.
    pub fn read(&self, from: u64, to: u64, bytes: usize) -> io::Result<Vec<RaftEntry>> {
        let pieces = lock(&self.index).pieces(from, to, bytes);
        read_pieces(pieces)
    }
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the log is closed")
}

/// Two writers of one log would destroy it: the folder belongs to whoever holds this lock, until its writer thread ends.
fn hold(folder: &Folder) -> io::Result<Box<dyn Any + Send>> {
    let lock = folder.disk.lock(&folder.path.join("lock"));
    lock.map_err(|err| io::Error::new(io::ErrorKind::WouldBlock, format!("the log in {} is in use: {err}", folder.path.display())))
}

fn bounds(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let from = match range.start_bound() {
        Bound::Included(from) => *from,
        Bound::Excluded(before) => before.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let to = match range.end_bound() {
        Bound::Included(last) => last.saturating_add(1),
        Bound::Excluded(to) => *to,
        Bound::Unbounded => u64::MAX,
    };
    (from, to)
}

impl<RT: AsyncRuntime> RaftLogReader<Types<RT>> for LogStore<RT> {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(&mut self, range: RB) -> io::Result<Vec<RaftEntry>> {
        let (from, to) = bounds(&range);
        self.read(from, to, usize::MAX)
    }

    async fn entries_stream<RB>(&mut self, range: RB) -> impl Stream<Item = io::Result<RaftEntry>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (from, to) = bounds(&range);
        let start = (self.clone(), from, Vec::new().into_iter());
        let stream = futures_util::stream::try_unfold(start, move |(log, mut from, mut ready)| async move {
            if ready.len() == 0 && from < to {
                ready = log.read(from, to, MAX_READ_BYTES)?.into_iter();
            }
            let next: Option<RaftEntry> = ready.next();
            Ok(next.map(|entry| {
                from = entry.log_id.index + 1;
                (entry, (log, from, ready))
            }))
        });
        Box::pin(stream)
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        Ok(lock(&self.index).state.vote.map(StoredVote::vote))
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<RaftEntry>> {
        self.read(start, end, MAX_READ_BYTES)
    }
}

impl<RT: AsyncRuntime> RaftLogStorage<Types<RT>> for LogStore<RT> {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<Types<RT>>> {
        let index = lock(&self.index);
        Ok(LogState { last_purged_log_id: index.state.purged.map(StoredId::log_id), last_log_id: index.last.map(StoredId::log_id) })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        let vote = StoredVote::of(vote);
        self.ask(|done| Op::Vote(vote, done)).await?;
        lock(&self.index).state.vote = Some(vote);
        Ok(())
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        let Some(id) = committed.as_ref().map(StoredId::of) else { return Ok(()) };
        lock(&self.index).state.committed = Some(id);
        self.send(Op::Committed(id)).await
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        Ok(lock(&self.index).state.committed.map(StoredId::log_id))
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types<RT>>) -> io::Result<()>
    where
        I: IntoIterator<Item = RaftEntry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<RaftEntry> = entries.into_iter().collect();
        {
            let mut index = lock(&self.index);
            entries.iter().try_for_each(|entry| index.append(entry.clone()))?;
        }
        self.send(Op::Append { entries, callback }).await
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> io::Result<()> {
        let last = last_log_id.as_ref().map(StoredId::of);
        let from = last.map_or(0, |last| last.index() + 1);
        lock(&self.index).truncate(from, last);
        self.ask(|done| Op::Truncate(from, done)).await
    }

    async fn purge(&mut self, log_id: LogId) -> io::Result<()> {
        let purged = StoredId::of(&log_id);
        lock(&self.index).purge(purged);
        self.ask(|done| Op::Purge(purged, done)).await
    }
}
