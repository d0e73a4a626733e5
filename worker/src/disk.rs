//! Writes the assignments: one write at a time, what comes up meanwhile forms the next (group commit).
//!
//! Owns: the store while nobody writes, and the next batch. Invariants: tasks start after the batch that holds them was written
//! (or could not be: the worker goes on); a bundle or log goes only after its record was; a failed write is mended by a rewrite
//! of everything, tried again each second. Never: blocks the agent's loop.

use crate::logs::place;
use crate::store::{Error, Record, Store};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use wsw_api::TaskId;

/// Between attempts while the disk refuses.
const RETRY: Duration = Duration::from_secs(1);

/// What belongs to one write.
#[derive(Debug, Default)]
pub struct Batch {
    pub record: Record,
    /// Tasks to start afterwards.
    pub start: Vec<TaskId>,
    /// Tasks whose end is safe afterwards.
    pub settle: Vec<TaskId>,
    /// Logs of forgotten tasks.
    pub delete: Vec<PathBuf>,
}

impl Batch {
    /// That a task runs is asked of its shim after a crash, and no task outlives a power failure: only the rest is worth a sync.
    fn must_sync(&self) -> bool {
        let record = &self.record;
        let statuses_only = record.templates.is_empty() && record.forgotten.is_empty() && record.endpoints.is_empty() && record.removed_endpoints.is_empty();
        !(statuses_only && self.start.is_empty() && self.settle.is_empty() && record.tasks.iter().all(|row| row.status.is_some() && row.finished.is_none()))
    }

    fn is_empty(&self) -> bool {
        self.record.is_empty() && self.start.is_empty() && self.settle.is_empty() && self.delete.is_empty()
    }
}

/// A write that is over.
#[derive(Debug)]
pub struct Written {
    pub start: Vec<TaskId>,
    pub settle: Vec<TaskId>,
    /// Why it did not work.
    pub error: Option<String>,
}

type Answer = (Option<Store>, Batch, Result<(), Error>);

/// See the module's page.
#[derive(Debug)]
pub struct Disk {
    folder: PathBuf,
    store: Option<Store>,
    next: Batch,
    running: Option<JoinHandle<Answer>>,
    retry_at: Option<Instant>,
}

impl Disk {
    /// Takes over an open store.
    pub fn new(folder: &Path, store: Store) -> Self {
        Self { folder: folder.to_owned(), store: Some(store), next: Batch::default(), running: None, retry_at: None }
    }

    /// The batch that is being gathered.
    pub fn batch(&mut self) -> &mut Batch {
        &mut self.next
    }

    /// When a failed write should be tried again.
    pub fn retry_at(&self) -> Option<Instant> {
        self.retry_at
    }

    /// Begins to write what has gathered, unless a write is under way. `everything` is asked for when the file must be rewritten.
    pub fn kick(&mut self, everything: impl FnOnce() -> Record) {
        let resting = self.retry_at.is_some_and(|at| at > Instant::now());
        if self.running.is_some() || (self.next.is_empty() && self.retry_at.is_none()) || resting {
            return;
        }
        let whole = self.store.as_ref().is_none_or(Store::wants_rewrite).then(everything);
        let (folder, store, batch) = (self.folder.clone(), self.store.take(), std::mem::take(&mut self.next));
        self.running = Some(tokio::task::spawn_blocking(move || write(&folder, store, batch, whole)));
    }

    /// The end of the write that is under way; pending for ever when there is none.
    pub async fn written(&mut self) -> Written {
        let Some(handle) = self.running.as_mut() else { return std::future::pending().await };
        let answer = handle.await;
        self.running = None;
        match answer {
            Ok((store, batch, result)) => {
                self.store = store;
                self.finish(batch, result)
            }
            Err(error) => {
                self.retry_at = Some(Instant::now() + RETRY);
                Written { start: Vec::new(), settle: Vec::new(), error: Some(error.to_string()) }
            }
        }
    }

    fn finish(&mut self, mut batch: Batch, result: Result<(), Error>) -> Written {
        let start = std::mem::take(&mut batch.start);
        match result {
            Ok(()) => {
                self.retry_at = None;
                Written { start, settle: batch.settle, error: None }
            }
            Err(error) => {
                self.retry_at = Some(Instant::now() + RETRY);
                // The record itself is not kept: the rewrite that mends the file holds everything.
                self.next.settle.append(&mut batch.settle);
                self.next.delete.append(&mut batch.delete);
                Written { start, settle: Vec::new(), error: Some(error.to_string()) }
            }
        }
    }

    /// True while a write is under way.
    pub fn is_writing(&self) -> bool {
        self.running.is_some()
    }

    /// Where the file is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

fn write(folder: &Path, store: Option<Store>, batch: Batch, everything: Option<Record>) -> Answer {
    let mut store = match store.map_or_else(|| Store::open(folder).map(|(store, _)| store), Ok) {
        Ok(store) => store,
        Err(error) => return (None, batch, Err(error)),
    };
    let result = match everything {
        Some(record) => store.rewrite(&record),
        None if batch.record.is_empty() => Ok(()),
        None => store.append(&batch.record, batch.must_sync()),
    };
    if result.is_ok() {
        place::remove(&batch.delete);
    }
    (Some(store), batch, result)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoredTask;
    use crate::tests::fake::{assigned, task_id};
    use wsw_api::{DesiredState, Time};

    fn record() -> Record {
        let task = assigned(1, DesiredState::Running);
        Record {
            tasks: vec![StoredTask { task, removed: false, status: None, created: Time(1), started: None, finished: None, put_away: false }],
            ..Record::default()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_disk_holds_up_ends_but_no_starts_and_is_mended_by_a_rewrite() {
        let folder = tempfile::tempdir().unwrap();
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let mut disk = Disk::new(folder.path(), Store::open(folder.path()).unwrap().0.with_file(full));
        let log = folder.path().join("log");
        std::fs::write(&log, "x").unwrap();
        *disk.batch() = Batch { record: record(), start: vec![task_id(1)], settle: vec![task_id(2)], delete: vec![log.clone()] };
        disk.kick(|| unreachable!("nothing is broken yet"));
        let written = disk.written().await;
        assert!(written.error.unwrap().contains("No space left"));
        assert_eq!((written.start, written.settle), (vec![task_id(1)], vec![]));
        assert!(log.exists());
        disk.kick(record);
        assert!(!disk.is_writing(), "it is not tried again at once");
        tokio::time::sleep_until(disk.retry_at().unwrap()).await;
        disk.kick(record);
        let written = disk.written().await;
        assert_eq!((written.error, written.settle, log.exists()), (None, vec![task_id(2)], false));
        assert_eq!(Store::open(folder.path()).unwrap().1.tasks.len(), 1);
    }
}
