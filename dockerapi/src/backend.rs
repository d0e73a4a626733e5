//! What the Engine API needs of the daemon: one trait, our own types.
//!
//! Owns: the seam. Routes call nothing else. The daemon (`src/daemon/backend.rs`) implements it over manager, worker and images.
//! Never: Docker's spellings; those are in `convert/`.

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use wsw_api::control::Write;
use wsw_api::entry::Outcome;
use wsw_api::event::{Event, Kind};
use wsw_api::health::Health;
use wsw_api::network::Sandbox;
use wsw_api::object::NodeDescription;
use wsw_api::spec::{Availability, ClusterSpec, Platform};
use wsw_api::usage::Usage;
use wsw_api::{ClusterId, NodeId, Result, ServiceId, TaskId, Template, Time, log};
use wsw_planner::Store;

pub use crate::exec_store::{ExecStore, ExecStreams};
pub use crate::file_store::{ArchiveStream, FileStore};
pub use crate::image_store::{Image, ImageStore, Removed};
pub use crate::volume_store::VolumeStore;

/// A stream of task log lines; an `Err` is a warning at its end ("incomplete log stream: …").
pub type LogStream = BoxStream<'static, Result<log::Line>>;

/// moby's words for what a locked manager does not do.
pub const LOCKED: &str = "Swarm is encrypted and needs to be unlocked before it can be used. Please use \"docker swarm unlock\" to unlock it.";
/// moby's words for unlocking what is open.
pub const NOT_LOCKED: &str = "swarm is not locked";

/// Whether and how this node is part of a swarm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SwarmState {
    Inactive,
    Manager {
        node: NodeId,
        cluster: ClusterId,
        addr: SocketAddr,
    },
    Worker {
        node: NodeId,
        cluster: ClusterId,
        addr: SocketAddr,
    },
    /// A manager whose keys are sealed until somebody gives the unlock key.
    Locked,
    /// It should be a manager but its state cannot be used; the text says why.
    Error {
        message: String,
    },
}

/// Facts of this node for `/info` and `/version`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalNode {
    /// Random name of this installation (`/info` ID).
    pub installation_id: String,
    pub hostname: String,
    pub swarm: SwarmState,
    pub data_root: String,
    pub operating_system: String,
    pub kernel_version: String,
    /// `linux`/`amd64`.
    pub platform: Platform,
    pub cpus: u64,
    pub memory_bytes: u64,
    /// Tasks of this node: running, stopped.
    pub running: u64,
    pub stopped: u64,
    pub images: u64,
    /// What it can run, and what hinders it.
    pub description: NodeDescription,
    /// 1 or 2; none when no control groups are mounted.
    pub cgroup_version: Option<u8>,
    pub version: String,
    /// Wall clock for relative times and `/info` SystemTime.
    pub now: Time,
}

/// What `swarm init` asks; fields as the client sent them, the daemon's own flags win over docker's defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InitRequest {
    pub listen_addr: String,
    pub advertise_addr: String,
    pub force_new_cluster: bool,
    pub spec: ClusterSpec,
    pub availability: Availability,
}

/// What `swarm join` asks; fields as the client sent them, the daemon's own flags win over docker's defaults.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinSwarm {
    pub listen_addr: String,
    pub advertise_addr: String,
    pub remote_addrs: Vec<String>,
    /// A secret: not printed.
    pub join_token: String,
    pub availability: Availability,
}

/// What `swarm update` makes anew.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rotate {
    pub worker_token: bool,
    pub manager_token: bool,
    pub unlock_key: bool,
    pub root: GivenRoot,
}

/// A root that the user gives, PEM; empty where nothing is given.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct GivenRoot {
    pub certificate: String,
    /// A secret: not printed.
    pub key: String,
}

impl std::fmt::Debug for GivenRoot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GivenRoot").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

/// A task of this node as a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalTask {
    pub id: TaskId,
    pub service: ServiceId,
    /// 0 for a task of a global service.
    pub slot: u32,
    /// What it runs, once that is known.
    pub template: Option<Arc<Template>>,
    pub status: wsw_api::TaskStatus,
    /// When it was created on this node, when it was started, when it ended.
    pub created: Time,
    pub started: Option<Time>,
    pub finished: Option<Time>,
    /// None without a health check.
    pub health: Option<Health>,
}

/// Whose logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogsOf {
    Service(ServiceId),
    Task(TaskId),
}

/// What `container wait` waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// It does not run (a task that was never started does not either).
    NotRunning,
    /// Nothing is left of it on this node.
    Gone,
}

/// The daemon as the API sees it. Reads of the cluster go through [`Backend::view`]: a snapshot that costs nothing.
#[async_trait]
pub trait Backend: ImageStore + VolumeStore + ExecStore + FileStore {
    fn local(&self) -> LocalNode;
    /// The cluster's state, or why this node cannot show it (`Class::Unavailable`, moby's words).
    async fn view(&self) -> Result<Store>;
    async fn write(&self, write: Write) -> Result<Outcome>;
    /// The manager that leads now, when this node knows it. A swarm of one is led by its only manager.
    async fn leader(&self) -> Option<NodeId> {
        match self.local().swarm {
            SwarmState::Manager { node, .. } => Some(node),
            SwarmState::Inactive | SwarmState::Locked | SwarmState::Worker { .. } | SwarmState::Error { .. } => None,
        }
    }
    /// Managers that are not heard.
    async fn unreachable(&self) -> BTreeSet<NodeId> {
        BTreeSet::new()
    }
    async fn swarm_init(&self, request: InitRequest) -> Result<NodeId>;
    async fn swarm_join(&self, request: JoinSwarm) -> Result<()>;
    /// `swarm unlock`: the key as its user typed it.
    async fn swarm_unlock(&self, key: &str) -> Result<()>;
    async fn swarm_leave(&self, force: bool) -> Result<()>;
    async fn swarm_update(&self, version: u64, spec: ClusterSpec, rotate: Rotate) -> Result<()>;
    /// Events from now on; earlier ones from the bounded memory come first when `since` says so.
    async fn events(&self, since: Option<Time>) -> BoxStream<'static, Event>;
    async fn logs(&self, of: LogsOf, query: log::Query) -> Result<LogStream>;
    fn tasks(&self) -> Vec<LocalTask>;
    /// A task's place in the node's network; none when it does not run or has no address.
    fn task_sandbox(&self, _id: TaskId) -> Option<Sandbox> {
        None
    }
    /// Sends a signal to a task of this node. One that ends by it has ended by itself: its service replaces it as its policy says.
    async fn task_kill(&self, id: TaskId, signal: u32) -> Result<()>;
    /// What a running task of this node uses.
    async fn task_usage(&self, id: TaskId) -> Result<Usage>;
    /// Waits for it; answers what was last known of the task, none when this node does not know it.
    async fn task_wait(&self, id: TaskId, until: Until) -> Option<LocalTask>;
    /// Shows an ended task of this node no more; it stays its service's history.
    async fn task_put_away(&self, id: TaskId) -> Result<()>;
    /// User and parent of a process of this node; none where that cannot be looked up.
    fn process(&self, _pid: u32) -> Option<(u32, u32)> {
        None
    }
    /// A prune of this node's objects is over: those who watch events are told.
    fn pruned(&self, kind: Kind, reclaimed: u64);
    /// Nanoseconds of processor time that this machine has spent since it started, idle time included, all processors together.
    fn machine_nanos(&self) -> u64;
}
