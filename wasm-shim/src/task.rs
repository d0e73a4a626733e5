//! One task: what it is, where it stands, how it is told to stop, how it ended.
//!
//! ```text
//! Created --start--> Running --guest ends, signal--> Stopped        (forward only)
//!    '------------------kill-----------------------> Stopped
//! ```
//! Invariants: the exit is set once; `exit.json` lies in the bundle and the guest's last lines are in the log before anyone sees it.
//! Never: runs a guest (`command`, `replica`).

use crate::{
    bundle::TaskSpec,
    cpu::TaskCpu,
    files::TaskFiles,
    limits::TaskMemory,
    logs::Logs,
    net::{self, TaskNet},
    quota::{Descriptors, TaskQuota},
    stdio::Sink,
};
use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};
use tokio::sync::Notify;
use wsw_api::shim::{EXIT_REPORT, ExitReport};

/// The exit of a task is shown after this even if the disk does not take its report: `Wait` must not hang with the disk.
const REPORT_WAIT: Duration = Duration::from_secs(5);

/// A guest that runs in the background when its task ends is gone at the end of its slice, on a busy machine a while later; nobody waits
/// for it longer than this.
const GUESTS_WAIT: Duration = Duration::from_millis(200);

/// Exit codes that are not the guest's own.
pub const TRAPPED: u32 = 134;
pub const KILLED: u32 = 137;
/// Docker's code for "could not be started".
pub const NOT_STARTED: u32 = 125;

/// How a task is told to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stop {
    /// With this signal's number: commands are interrupted, servers drain.
    Ask(u8),
    /// At once.
    Kill,
}

impl Stop {
    const SIGKILL: u8 = 9;

    const fn number(self) -> u8 {
        match self {
            Self::Ask(signal) => signal,
            Self::Kill => Self::SIGKILL,
        }
    }

    /// 128 + signal.
    pub fn code(self) -> u32 {
        128 + u32::from(self.number())
    }
}

/// How and when a task ended.
#[derive(Debug, Clone)]
pub struct Exit {
    pub code: u32,
    pub at: SystemTime,
}

/// One task.
pub struct Task {
    pub id: String,
    pub bundle: PathBuf,
    pub stdout: String,
    pub stderr: String,
    pub spec: TaskSpec,
    pub sink: Sink,
    pub memory: Arc<TaskMemory>,
    pub cpu: Arc<TaskCpu>,
    /// Descriptors of its guests.
    pub quota: TaskQuota,
    pub files: Arc<TaskFiles>,
    pub net: Arc<TaskNet>,
    logs: Arc<Logs>,
    started: AtomicBool,
    /// Zero, or the number of the signal that it was sent; `SIGKILL` overrides others.
    signal: AtomicU8,
    signalled: Notify,
    /// Until it has ended.
    place: Mutex<Option<Place>>,
    exit: OnceLock<Exit>,
    exited: Notify,
}

/// A place among the tasks that live in this shim; given back when dropped.
pub struct Place(Arc<AtomicUsize>);

impl Place {
    /// One of `capacity`, if one is free.
    pub fn take(living: &Arc<AtomicUsize>, capacity: usize) -> Option<Self> {
        let more = |living: usize| (living < capacity).then_some(living.saturating_add(1));
        living.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more).ok().map(|_| Self(living.clone()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// What `Create` brings.
pub struct NewTask {
    pub place: Place,
    pub id: String,
    pub bundle: PathBuf,
    pub stdout: String,
    pub stderr: String,
    pub spec: TaskSpec,
    pub log: PathBuf,
}

impl Task {
    pub fn new(mut new: NewTask, logs: &Arc<Logs>, shared: Arc<net::Shared>, descriptors: &Descriptors) -> Self {
        let sink = Sink::new(logs.clone(), logs.open(new.log, new.spec.log));
        let quota = TaskQuota::new(descriptors);
        let net = TaskNet::new(std::mem::take(&mut new.spec.net), shared, sink.clone(), quota.clone());
        Self {
            id: new.id,
            bundle: new.bundle,
            stdout: new.stdout,
            stderr: new.stderr,
            memory: Arc::new(TaskMemory::new(new.spec.memory)),
            cpu: Arc::new(TaskCpu::new(new.spec.cpu)),
            files: TaskFiles::new(quota.clone(), sink.clone()),
            quota,
            spec: new.spec,
            sink,
            net,
            logs: logs.clone(),
            started: AtomicBool::new(false),
            signal: AtomicU8::new(0),
            signalled: Notify::new(),
            place: Mutex::new(Some(new.place)),
            exit: OnceLock::new(),
            exited: Notify::new(),
        }
    }

    /// Marks it running; false when it was before.
    pub fn start(&self) -> bool {
        !self.started.swap(true, Ordering::SeqCst)
    }

    pub fn is_started(&self) -> bool {
        self.started.load(Ordering::SeqCst)
    }

    pub fn exit(&self) -> Option<&Exit> {
        self.exit.get()
    }

    /// Ends when the task has ended.
    pub async fn wait(&self) -> &Exit {
        loop {
            let told = self.exited.notified();
            if let Some(exit) = self.exit.get() {
                return exit;
            }
            told.await;
        }
    }

    /// Tells it to stop. The first request stays, except that `Kill` overrides.
    pub fn stop(&self, stop: Stop) {
        let _ = self.signal.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |now| (now == 0 || stop == Stop::Kill).then_some(stop.number()));
        self.signalled.notify_waiters();
    }

    /// Ends when the task is told to stop.
    pub async fn stopped(&self) -> Stop {
        loop {
            let told = self.signalled.notified();
            match self.signal.load(Ordering::SeqCst) {
                0 => told.await,
                Stop::SIGKILL => return Stop::Kill,
                signal => return Stop::Ask(signal),
            }
        }
    }

    /// Ends when the task is told to stop at once.
    pub async fn killed(&self) {
        loop {
            let told = self.signalled.notified();
            if self.signal.load(Ordering::SeqCst) == Stop::SIGKILL {
                return;
            }
            told.await;
        }
    }

    /// Gives its place to another: before its exit is shown, since whoever sees that may ask for the next task at once.
    pub fn leave(&self) {
        drop(self.place.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    /// The end: writes the report after the guest's last lines, then shows the exit.
    pub async fn finish(&self, report: ExitReport) {
        let at = SystemTime::now();
        if tokio::time::timeout(GUESTS_WAIT, self.cpu.all_gone()).await.is_err() {
            tracing::warn!(task = self.id, "ended, but a guest of it is still held up");
        }
        self.sink.tell_dropped();
        match serde_json::to_vec(&report) {
            Ok(text) => {
                let written = self.logs.report(self.bundle.join(EXIT_REPORT), text);
                if tokio::time::timeout(REPORT_WAIT, written).await.is_err() {
                    tracing::error!(task = self.id, "the exit report could not be written in time");
                }
            }
            Err(error) => tracing::error!(task = self.id, "exit report: {error}"),
        }
        tracing::debug!(task = self.id, code = report.code, reason = report.reason, "ended");
        self.leave();
        let _ = self.exit.set(Exit { code: report.code, at });
        self.exited.notify_waiters();
    }
}
