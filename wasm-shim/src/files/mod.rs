//! What guests do with files, counted: how many they have open, and how many of their calls are under way.
//!
//! ```text
//! component ── wasi:filesystem ──► component (counted, in turn) ──► wasmtime-wasi ──► threads that may block ──► kernel
//! module ───── fd_*, path_open ──► module (counted)             ──┘
//! ```
//! Owns: a task's open files and its share of the threads. Invariants: a file is counted before it is opened and until nothing of the guest
//! holds it, streams included; calls of one task wait for each other before they hold up those of others; a FIFO is refused, since opening
//! one waits for its other end. Never: resolves a path; that a guest stays in its folders is wasmtime-wasi's doing.

pub mod component;
pub mod module;
mod streams;

use crate::{
    quota::{Full, Permit, TaskQuota},
    stdio::Sink,
};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Calls of one task that may block at the same time. Where a file system hangs each of them holds a thread, of which a shim has
/// [`BLOCKING_THREADS`]: other tasks' files are still read when some tasks' hang.
const MAX_CALLS: usize = 16;
/// Threads for calls that block. They are made when they are needed and end when they are not.
pub const BLOCKING_THREADS: usize = 512;

/// The files of one task.
pub struct TaskFiles {
    quota: TaskQuota,
    calls: Arc<Semaphore>,
    sink: Sink,
    told: AtomicBool,
}

impl TaskFiles {
    pub fn new(quota: TaskQuota, sink: Sink) -> Arc<Self> {
        Arc::new(Self { quota, calls: Arc::new(Semaphore::new(MAX_CALLS)), sink, told: AtomicBool::new(false) })
    }

    /// Room for one more open file. The first refusal is told in the task's log.
    fn open(&self) -> Result<Arc<Permit>, Full> {
        self.quota.file().map(Arc::new).inspect_err(|full| {
            if !self.told.swap(true, Ordering::Relaxed) {
                self.sink.note(&format!("wsw: a file was not opened: {full}"));
            }
        })
    }

    /// The right to make one call that may block.
    async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        self.calls.clone().acquire_owned().await.ok()
    }
}
