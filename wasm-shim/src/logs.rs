//! The log writer: one thread that does all disk writes of the shim.
//!
//! Owns: the queue, the open files, exit reports. Invariants: what a task's guests wrote is on disk before its exit report; a slow disk
//! makes guests wait (a full queue pushes back) and nobody else; a full disk drops records and counts them.
//! Never: blocks a caller.

use std::{
    collections::{HashMap, VecDeque},
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
};
use tokio::sync::{Notify, oneshot};

/// Bytes of one task that may wait: enough for a burst, small enough that one chatty task cannot fill the queue.
const MAX_PENDING_PER_LOG: usize = 256 << 10;
/// Bytes of all tasks that may wait: with thousands of tasks this is what bounds the shim's memory.
const MAX_PENDING: usize = 8 << 20;
/// Log files that are open at once: descriptors are needed for connections.
const MAX_OPEN: usize = 256;
/// Only the shim's user and root read logs.
const LOG_MODE: u32 = 0o600;

/// The log file of one task.
#[derive(Debug)]
pub struct Log {
    id: u64,
    path: PathBuf,
    pending: AtomicUsize,
}

enum Item {
    Append(Arc<Log>, Vec<u8>),
    /// Write `text` into the file `path`, tell.
    Report {
        path: PathBuf,
        text: Vec<u8>,
        done: oneshot::Sender<()>,
    },
    /// The log's task is gone.
    Close(u64),
}

#[derive(Default)]
struct Queue {
    items: VecDeque<Item>,
    /// The thread waits for items.
    idle: bool,
    closed: bool,
}

/// Handle of the writer.
pub struct Logs {
    queue: Mutex<Queue>,
    wake: Condvar,
    /// Bytes that wait in `queue` or are being written.
    pending: AtomicUsize,
    /// Told after each batch, when there is room again.
    room: Notify,
    next_id: AtomicU64,
    dropped: AtomicU64,
}

impl Logs {
    /// Starts the writer thread. It ends after [`Self::close`] when everything is written.
    pub fn start() -> io::Result<(Arc<Self>, JoinHandle<()>)> {
        let logs = Arc::new(Self {
            queue: Mutex::default(),
            wake: Condvar::new(),
            pending: AtomicUsize::new(0),
            room: Notify::new(),
            next_id: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
        });
        let own = logs.clone();
        let thread = std::thread::Builder::new().name("logs".to_owned()).stack_size(256 << 10).spawn(move || Writer::new(own).run())?;
        Ok((logs, thread))
    }

    /// A task's log; the file is opened at its first record.
    pub fn open(&self, path: PathBuf) -> Arc<Log> {
        Arc::new(Log { id: self.next_id.fetch_add(1, Ordering::Relaxed), path, pending: AtomicUsize::new(0) })
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

    /// Queues records. The caller asked [`Self::room`] first; what it adds beyond (stamps, a piece held back) is taken too.
    pub fn append(&self, log: &Arc<Log>, records: Vec<u8>) {
        if records.is_empty() {
            return;
        }
        log.pending.fetch_add(records.len(), Ordering::Relaxed);
        self.pending.fetch_add(records.len(), Ordering::Relaxed);
        self.push(Item::Append(log.clone(), records));
    }

    /// Writes a small file after everything that was queued before; the receiver is told when it lies there (or could not be written).
    pub fn report(&self, path: PathBuf, text: Vec<u8>) -> oneshot::Receiver<()> {
        let (done, told) = oneshot::channel();
        self.push(Item::Report { path, text, done });
        told
    }

    /// The log's task is gone: its file is closed.
    pub fn close_log(&self, log: &Log) {
        self.push(Item::Close(log.id));
    }

    /// No more items: the thread ends once it has written what is queued.
    pub fn close(&self) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.wake.notify_one();
    }

    fn push(&self, item: Item) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.items.push_back(item);
        let idle = std::mem::take(&mut queue.idle);
        drop(queue);
        if idle {
            self.wake.notify_one();
        }
    }

    fn next_batch(&self) -> Option<VecDeque<Item>> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        while queue.items.is_empty() {
            if queue.closed {
                return None;
            }
            queue.idle = true;
            queue = self.wake.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        Some(std::mem::take(&mut queue.items))
    }
}

/// The thread's own side.
struct Writer {
    logs: Arc<Logs>,
    open: HashMap<u64, (File, u64)>,
    /// Counts uses, so that the file that was not used for longest is closed first.
    uses: u64,
}

impl Writer {
    fn new(logs: Arc<Logs>) -> Self {
        Self { logs, open: HashMap::new(), uses: 0 }
    }

    fn run(mut self) {
        while let Some(batch) = self.logs.next_batch() {
            let mut reports = Vec::new();
            let mut closed = Vec::new();
            // One write per file and batch; the order within a file is kept.
            let mut texts: HashMap<u64, (Arc<Log>, Vec<u8>)> = HashMap::new();
            for item in batch {
                match item {
                    Item::Append(log, records) => match texts.entry(log.id) {
                        std::collections::hash_map::Entry::Occupied(mut text) => text.get_mut().1.extend_from_slice(&records),
                        std::collections::hash_map::Entry::Vacant(text) => drop(text.insert((log, records))),
                    },
                    Item::Report { path, text, done } => reports.push((path, text, done)),
                    Item::Close(id) => closed.push(id),
                }
            }
            for (log, text) in texts.into_values() {
                if let Err(error) = self.write(&log, &text) {
                    self.drop_records(&log, &error);
                }
                log.pending.fetch_sub(text.len(), Ordering::Relaxed);
                self.logs.pending.fetch_sub(text.len(), Ordering::Relaxed);
            }
            self.logs.room.notify_waiters();
            for (path, text, done) in reports {
                if let Err(error) = write_whole(&path, &text) {
                    tracing::error!("{}: {error}", path.display());
                }
                let _ = done.send(());
            }
            for id in closed {
                self.open.remove(&id);
            }
        }
    }

    fn write(&mut self, log: &Log, text: &[u8]) -> io::Result<()> {
        self.uses += 1;
        if let Some((file, used)) = self.open.get_mut(&log.id) {
            *used = self.uses;
            return file.write_all(text);
        }
        if self.open.len() >= MAX_OPEN
            && let Some(oldest) = self.open.iter().min_by_key(|(_, (_, used))| *used).map(|(id, _)| *id)
        {
            self.open.remove(&oldest);
        }
        let mut file = OpenOptions::new().append(true).create(true).mode(LOG_MODE).custom_flags(libc::O_NOFOLLOW).open(&log.path)?;
        file.write_all(text)?;
        self.open.insert(log.id, (file, self.uses));
        Ok(())
    }

    fn drop_records(&mut self, log: &Log, error: &io::Error) {
        // A file that failed is opened again next time: it may have been replaced, or the disk may have room then.
        self.open.remove(&log.id);
        let before = self.logs.dropped.fetch_add(1, Ordering::Relaxed);
        // Each power of two: a full disk must not fill the shim's own log too.
        if (before + 1).is_power_of_two() {
            tracing::error!(dropped = before + 1, "log records dropped: {}: {error}", log.path.display());
        }
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
    fn records_come_before_the_report_and_many_files_share_few_descriptors() {
        let folder = tempfile::tempdir().unwrap();
        let (logs, thread) = Logs::start().unwrap();
        let all: Vec<_> = (0..MAX_OPEN + 50).map(|n| logs.open(folder.path().join(format!("{n}.log")))).collect();
        for round in 0..3 {
            all.iter().for_each(|log| logs.append(log, format!("{round}\n").into_bytes()));
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
    fn what_cannot_be_written_is_counted_and_gives_its_room_back() {
        let (logs, thread) = Logs::start().unwrap();
        let log = logs.open(PathBuf::from("/nonexistent/folder/x.log"));
        logs.append(&log, vec![b'x'; MAX_PENDING_PER_LOG]);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(logs.wait_for_room(&log));
        assert_eq!(logs.dropped.load(Ordering::Relaxed), 1);
        logs.close();
        thread.join().unwrap();
    }
}
