//! The log writer: one thread that does all disk writes of the shim.
//!
//! Owns: the queue and exit reports. Invariants: what a task's guests wrote is on disk before its exit report; a slow disk makes guests
//! wait (a full buffer pushes back) and nobody else. Records gather in a buffer of their log and are written together: with thousands of
//! guests that write now and then the thread wakes a few times a second, not once a line. Never: blocks a caller, touches a log file
//! itself (`log_files`). What is promised: a task's lines are in its files when its end is told, however it ended, and when the shim ends by itself; a
//! shim that is killed loses what came within the last [`GATHER`], and the record that was being written may be cut off: readers leave it out.

use crate::{
    cri::Records,
    log_files::{LOG_MODE, LogFiles},
};
use std::{
    fs::OpenOptions,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};
use tokio::sync::{Notify, oneshot};
use wsw_api::log::Bounds;

/// Bytes of one task that may wait: enough for a burst, small enough that one chatty task cannot fill the queue.
const MAX_PENDING_PER_LOG: usize = 256 << 10;
/// Bytes of all tasks that may wait: with thousands of tasks this is what bounds the shim's memory.
const MAX_PENDING: usize = 8 << 20;
/// How long the first record waits for company; a reader looks ten times a second.
const GATHER: Duration = Duration::from_millis(50);
/// Part of either bound at which the wait is over.
const ENOUGH: usize = 2;
/// A buffer that grew beyond this for a burst is not kept.
const KEEP_BUFFER: usize = 4 << 10;

/// The log of one task.
#[derive(Debug)]
pub struct Log {
    id: u64,
    path: PathBuf,
    bounds: Bounds,
    buffer: Mutex<Records>,
    /// Bytes in the buffer or on their way to the disk.
    pending: AtomicUsize,
    /// The room was used up: somebody may wait for it.
    crowded: AtomicBool,
}

enum Item {
    /// The log has records in its buffer.
    Records(Arc<Log>),
    /// Write `text` into the file `path`, tell.
    Report { path: PathBuf, text: Vec<u8>, done: oneshot::Sender<()> },
    /// The log's task is gone.
    Close(Arc<Log>),
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Thread {
    #[default]
    Works,
    /// Waits for the first item.
    Idle,
    /// Waits for more of them.
    Gathers,
}

#[derive(Default)]
struct Queue {
    items: Vec<Item>,
    thread: Thread,
    /// Do not wait for more.
    urgent: bool,
    closed: bool,
}

/// Handle of the writer.
pub struct Logs {
    queue: Mutex<Queue>,
    wake: Condvar,
    /// Bytes of all logs that wait or are being written.
    pending: AtomicUsize,
    /// Told after each batch, when there is room again.
    room: Notify,
    next_id: AtomicU64,
}

impl Logs {
    /// Starts the writer thread. It ends after [`Self::close`] when everything is written.
    pub fn start() -> io::Result<(Arc<Self>, JoinHandle<()>)> {
        let logs =
            Arc::new(Self { queue: Mutex::default(), wake: Condvar::new(), pending: AtomicUsize::new(0), room: Notify::new(), next_id: AtomicU64::new(0) });
        let own = logs.clone();
        let thread = std::thread::Builder::new().name("logs".to_owned()).stack_size(256 << 10).spawn(move || own.run())?;
        Ok((logs, thread))
    }

    /// A task's log; the file is opened at its first record.
    pub fn open(&self, path: PathBuf, bounds: Bounds) -> Arc<Log> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        Arc::new(Log { id, path, bounds, buffer: Mutex::default(), pending: AtomicUsize::new(0), crowded: AtomicBool::new(false) })
    }

    /// Bytes that may be appended to this log now.
    pub fn room(&self, log: &Log) -> usize {
        let own = MAX_PENDING_PER_LOG.saturating_sub(log.pending.load(Ordering::Relaxed));
        own.min(MAX_PENDING.saturating_sub(self.pending.load(Ordering::Relaxed)))
    }

    /// Ends when there is room in this log.
    pub async fn wait_for_room(&self, log: &Log) {
        loop {
            let told = self.room.notified();
            if self.room(log) > 0 {
                return;
            }
            told.await;
        }
    }

    /// Has `write` append records to the log's buffer. The caller asked [`Self::room`] first; what it adds beyond (stamps, a piece held
    /// back) is taken too. A log that keeps nothing takes nothing.
    pub fn append(&self, log: &Arc<Log>, write: impl FnOnce(&mut Records)) {
        if log.bounds.keeps_nothing() {
            return;
        }
        let mut buffer = log.buffer.lock().unwrap_or_else(PoisonError::into_inner);
        let before = buffer.bytes.len();
        write(&mut buffer);
        let added = buffer.bytes.len() - before;
        if added == 0 {
            return;
        }
        // The buffer stays locked: the thread must not give back what was not counted yet.
        let own = log.pending.fetch_add(added, Ordering::Relaxed) + added;
        let all = self.pending.fetch_add(added, Ordering::Relaxed) + added;
        let full = own >= MAX_PENDING_PER_LOG / ENOUGH || all >= MAX_PENDING / ENOUGH;
        let newly_full = full && !log.crowded.swap(true, Ordering::Relaxed);
        if before == 0 {
            self.push(Item::Records(log.clone()), full);
        } else if newly_full {
            self.hurry();
        }
    }

    /// Writes a small file after everything that was appended before; the receiver is told when it lies there (or could not be written).
    pub fn report(&self, path: PathBuf, text: Vec<u8>) -> oneshot::Receiver<()> {
        let (done, told) = oneshot::channel();
        self.push(Item::Report { path, text, done }, true);
        told
    }

    /// The log's task is gone: its file is closed.
    pub fn close_log(&self, log: &Arc<Log>) {
        self.push(Item::Close(log.clone()), false);
    }

    /// No more items: the thread ends once it has written what is queued.
    pub fn close(&self) {
        self.lock().closed = true;
        self.wake.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, item: Item, urgent: bool) {
        let mut queue = self.lock();
        queue.items.push(item);
        self.wake(queue, urgent);
    }

    fn hurry(&self) {
        self.wake(self.lock(), true);
    }

    fn wake(&self, mut queue: MutexGuard<'_, Queue>, urgent: bool) {
        queue.urgent |= urgent;
        let waits = queue.thread == Thread::Idle || (urgent && queue.thread == Thread::Gathers);
        if waits {
            queue.thread = Thread::Works;
        }
        drop(queue);
        if waits {
            self.wake.notify_one();
        }
    }

    fn next_batch(&self) -> Option<Vec<Item>> {
        let mut queue = self.lock();
        while queue.items.is_empty() {
            if queue.closed {
                return None;
            }
            queue.thread = Thread::Idle;
            queue = self.wake.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        if !queue.urgent && !queue.closed {
            queue.thread = Thread::Gathers;
            queue = self.wake.wait_timeout_while(queue, GATHER, |queue| !queue.urgent && !queue.closed).unwrap_or_else(PoisonError::into_inner).0;
        }
        queue.thread = Thread::Works;
        queue.urgent = false;
        Some(std::mem::take(&mut queue.items))
    }

    /// The thread.
    fn run(&self) {
        let mut files = LogFiles::default();
        let mut spare = Vec::new();
        while let Some(batch) = self.next_batch() {
            // Reports after all records: theirs were appended before them.
            let (records, others): (Vec<_>, Vec<_>) = batch.into_iter().partition(|item| matches!(item, Item::Records(_)));
            let mut crowded = false;
            for item in records {
                if let Item::Records(log) = item {
                    crowded |= self.write(&log, &mut files, &mut spare);
                }
            }
            if crowded {
                self.room.notify_waiters();
            }
            for item in others {
                match item {
                    Item::Records(_) => {}
                    Item::Report { path, text, done } => {
                        if let Err(error) = write_whole(&path, &text) {
                            tracing::error!("{}: {error}", path.display());
                        }
                        let _ = done.send(());
                    }
                    Item::Close(log) => files.forget(log.id),
                }
            }
        }
    }

    /// Writes what is in the buffer; true when somebody may have waited for that.
    fn write(&self, log: &Log, files: &mut LogFiles, spare: &mut Vec<u8>) -> bool {
        spare.clear();
        std::mem::swap(&mut log.buffer.lock().unwrap_or_else(PoisonError::into_inner).bytes, spare);
        files.append(log.id, &log.path, log.bounds, spare);
        log.pending.fetch_sub(spare.len(), Ordering::Relaxed);
        self.pending.fetch_sub(spare.len(), Ordering::Relaxed);
        if spare.capacity() > KEEP_BUFFER {
            *spare = Vec::new();
        }
        log.crowded.swap(false, Ordering::Relaxed)
    }
}

fn write_whole(path: &Path, text: &[u8]) -> io::Result<()> {
    // In place: the folder is not ours to write in. Who finds a part of a report takes it for none.
    OpenOptions::new().write(true).create(true).truncate(true).mode(LOG_MODE).custom_flags(libc::O_NOFOLLOW).open(path)?.write_all(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_before_the_report() {
        let folder = tempfile::tempdir().unwrap();
        let (logs, thread) = Logs::start().unwrap();
        let all: Vec<_> = (0..300).map(|n| logs.open(folder.path().join(format!("{n}.log")), Bounds::default())).collect();
        for round in 0..3 {
            all.iter().for_each(|log| logs.append(log, |buffer| buffer.bytes.extend_from_slice(format!("{round}\n").as_bytes())));
        }
        logs.report(folder.path().join("exit.json"), b"{}".to_vec()).blocking_recv().unwrap();
        for log in &all {
            assert_eq!(std::fs::read_to_string(&log.path).unwrap(), "0\n1\n2\n");
            assert_eq!(log.pending.load(Ordering::Relaxed), 0);
        }
        assert_eq!(std::fs::read_to_string(folder.path().join("exit.json")).unwrap(), "{}");
        logs.close();
        thread.join().unwrap();
    }

    #[test]
    fn what_cannot_be_written_gives_its_room_back() {
        let (logs, thread) = Logs::start().unwrap();
        let log = logs.open(PathBuf::from("/nonexistent/folder/x.log"), Bounds::default());
        logs.append(&log, |buffer| buffer.bytes.resize(MAX_PENDING_PER_LOG, b'x'));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(logs.wait_for_room(&log));
        assert_eq!(logs.room(&log), MAX_PENDING_PER_LOG);
        logs.close();
        thread.join().unwrap();
    }

    #[test]
    fn a_record_that_comes_alone_is_written_before_long_and_the_last_one_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let (logs, thread) = Logs::start().unwrap();
        let log = logs.open(folder.path().join("x.log"), Bounds::default());
        logs.append(&log, |buffer| buffer.bytes.extend_from_slice(b"one\n"));
        while log.pending.load(Ordering::Relaxed) > 0 {
            std::thread::yield_now();
        }
        assert_eq!(std::fs::read_to_string(&log.path).unwrap(), "one\n");
        logs.append(&log, |buffer| buffer.bytes.extend_from_slice(b"two\n"));
        logs.close();
        thread.join().unwrap();
        assert_eq!(std::fs::read_to_string(&log.path).unwrap(), "one\ntwo\n");
    }
}
