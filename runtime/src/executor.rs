//! The seam between the worker and whatever runs a task (SwarmKit's `exec`): one [`Executor`] per kind, one [`Controller`] per task.
//!
//! Owns: the two traits and what goes through them. The worker's driver calls a controller's steps in order and keeps the state;
//! a step that fails with a temporary error may be called again, each step that was done before answers the same again.

use crate::error::{Error, Result};
use crate::oci::exec::{Exec, Streams};
use crate::transfer::Inside;
use async_trait::async_trait;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::mpsc;
use wsw_api::exec::{Command, NO_SHELL, NO_TERMINAL, Size};
use wsw_api::files::NO_FILES;
use wsw_api::generic::GenericResource;
use wsw_api::health::Check;
use wsw_api::log::Stream;
use wsw_api::network::Sandbox;
use wsw_api::registry::RegistryAuth;
use wsw_api::spec::{Platform, PortConfig, TaskSpec};
use wsw_api::usage::Usage;
use wsw_api::{NodeId, ServiceId, TaskId, Time};

/// All that is needed to run one task.
#[derive(Debug, Clone)]
pub struct TaskRequest {
    pub task: TaskId,
    pub service: ServiceId,
    pub service_name: String,
    pub service_labels: BTreeMap<String, String>,
    pub slot: u32,
    pub node: NodeId,
    pub hostname: String,
    pub template: u64,
    pub spec: Arc<TaskSpec>,
    pub ports: Vec<PortConfig>,
    /// What it was given of the node's generic resources.
    pub generic: Vec<GenericResource>,
    /// For the registry of its image.
    pub auth: Option<RegistryAuth>,
}

/// What this node can run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Capabilities {
    pub platforms: Vec<Platform>,
    /// Kind and name: ("Runtime", "io.wsw.wasm.v1").
    pub plugins: Vec<(String, String)>,
    /// How Wasm guests are separated from the node and from each other.
    pub isolation: String,
    /// What runs containers, or `none` and why; empty when nothing is known of them.
    pub containers: String,
}

/// Makes controllers, and finds the tasks of an earlier life of the daemon.
#[async_trait]
pub trait Executor: Send + Sync + 'static {
    fn describe(&self) -> Capabilities;
    fn controller(&self, task: TaskRequest) -> Arc<dyn Controller>;
    /// Called once, before any `controller`: what the records of an earlier daemon say, checked against the shims.
    async fn adopt(&self) -> Vec<Adopted>;
}

/// The steps of one task's life.
#[async_trait]
pub trait Controller: Send + Sync + 'static {
    /// Everything up to the moment before the guest runs.
    async fn prepare(&self) -> Result<()>;
    async fn start(&self) -> Result<Started>;
    /// Answers when the task has ended; after that at once, always the same.
    async fn wait(&self) -> Result<Exit>;
    /// Asks the task to end (SIGTERM): no new connections from now on. Done when the shim has taken the signal.
    async fn shutdown(&self) -> Result<()>;
    /// Ends it (SIGKILL).
    async fn terminate(&self) -> Result<()>;
    /// A signal that a user sent: the task ends by it, or it is refused because it means nothing to the task.
    async fn kill(&self, signal: u32) -> Result<()>;
    /// What it uses now.
    async fn usage(&self) -> Result<Usage>;
    /// Its processes on the node; none for one that is no process of its own.
    async fn pids(&self) -> Result<Option<Vec<u32>>> {
        Ok(None)
    }
    /// How its health is checked, once it is prepared: it is healthy before it counts as running.
    fn check(&self) -> Option<Check> {
        None
    }
    /// It counts as running: connections from now on.
    fn serve(&self) {}
    /// Whether commands can be run in it now.
    fn admits(&self) -> Result<()> {
        Err(Error::Unsupported(NO_SHELL.into()))
    }
    /// Runs a command in it, beside what it runs already.
    async fn exec(&self, _id: &str, _command: &Command, _size: Option<Size>) -> Result<(Arc<Exec>, Streams)> {
        Err(Error::Unsupported(NO_SHELL.into()))
    }
    /// Commands of an earlier daemon's life that still run in it.
    async fn execs(&self) -> Vec<(String, Arc<Exec>)> {
        Vec::new()
    }
    /// Its output from now on, and its input where it has one and it is asked for; none for a Wasm task, whose log is all there is.
    async fn attach(&self, _input: bool) -> Result<Option<Attached>> {
        Ok(None)
    }
    /// Tells its terminal its size.
    async fn resize(&self, _size: Size) -> Result<()> {
        Err(Error::Unsupported(NO_TERMINAL.into()))
    }
    /// Its files, while it runs.
    async fn inside(&self) -> Result<Inside> {
        Err(Error::Unsupported(NO_FILES.into()))
    }
    /// Frees everything but its log. A task that still runs is killed first.
    async fn remove(&self) -> Result<()>;
    /// The process that runs it (the shim's for Wasm), once it is started.
    fn pid(&self) -> Option<u32>;
    /// Its place in the node's network while it runs; none for a Wasm task, which has no address.
    fn sandbox(&self) -> Option<Sandbox> {
        None
    }
}

/// The streams of a running task.
#[derive(Debug)]
pub struct Attached {
    /// Dropped: nothing more is typed; the task reads no end by it.
    pub input: Option<mpsc::Sender<Bytes>>,
    /// Ends with the task's output.
    pub output: mpsc::Receiver<(Stream, Bytes)>,
}

/// The task runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Started {
    pub pid: u32,
}

/// How a task ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// The guest's own code, 128 + signal when stopped, 134 for a trap, 137 for killed.
    pub code: u32,
    /// Which limit was hit or which trap it was; none for an ordinary end.
    pub reason: Option<String>,
    /// False when no guest code ran.
    pub ran: bool,
    /// When it ended (this machine's wall clock).
    pub at: Time,
}

/// A task of an earlier daemon's life.
pub struct Adopted {
    pub task: TaskId,
    pub service: ServiceId,
    pub slot: u32,
    pub template: u64,
    pub state: AdoptedState,
    pub controller: Arc<dyn Controller>,
}

/// Where such a task is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdoptedState {
    /// Prepared, not started.
    Created,
    Running(Started),
    Exited(Exit),
}
