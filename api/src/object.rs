//! Objects: spec + status + what the cluster keeps about them.
//!
//! Owns: cluster, node, service and template records. Tasks are in [`crate::task`].
//! Invariant: `Meta::version` is the Raft index of the entry that last changed the object; guards compare it.

use crate::generic::GenericResource;
use crate::id::{ClusterId, NodeId, ServiceId};
use crate::spec::{Annotations, ClusterSpec, EndpointSpec, NodeRole, NodeSpec, Platform, PortConfig, Resources, ServiceSpec, TaskSpec};
use crate::time::Time;
use crate::trust::{Issuer, RootRotation};
use crate::unlock::UnlockKey;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Version and times of any object.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// Raft index of the last change. `apply` sets it.
    pub version: u64,
    pub created_at: Time,
    pub updated_at: Time,
}

/// The cluster itself: one per store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    pub id: ClusterId,
    pub meta: Meta,
    pub spec: ClusterSpec,
    /// PEM of the root certificate.
    pub root_ca: String,
    /// PEM of the root's private key (the log is encrypted; it never leaves the managers).
    pub root_key: String,
    pub join_tokens: JoinTokens,
    /// Raised by `--force-new-cluster`.
    pub incarnation: u64,
    /// Highest feature level that all managers understand.
    pub feature_level: u32,
    /// What managers seal their keys with while autolock is on.
    #[serde(default)]
    pub unlock_key: Option<UnlockKey>,
    /// The root as an issuer; empty in states from before roots were replaced.
    #[serde(default)]
    pub issuer: Issuer,
    /// PEM of the root's key signed by the root before it: goes with every certificate, so that a node which was away still believes it.
    #[serde(default)]
    pub cross_signed: Option<String>,
    /// The root that is to follow, while nodes get their certificates.
    #[serde(default)]
    pub rotation: Option<Box<RootRotation>>,
}

/// Secrets that let a node join; one for each role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinTokens {
    pub worker: String,
    pub manager: String,
}

/// A node: what its operator wants, what it says of itself, what the cluster saw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    pub id: NodeId,
    pub meta: Meta,
    pub spec: NodeSpec,
    pub description: Arc<NodeDescription>,
    pub status: NodeStatus,
    /// For managers: its Raft id and address.
    pub manager: Option<ManagerStatus>,
}

/// What a worker says of itself when its session begins and when it changes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeDescription {
    pub hostname: String,
    /// The node's own platform; `platforms` lists all that it can run (`linux/amd64` and `wasi/wasm`).
    pub platform: Platform,
    pub platforms: Vec<Platform>,
    pub resources: Resources,
    pub engine_version: String,
    pub engine_labels: BTreeMap<String, String>,
    /// Shims and drivers by name: ("Runtime", "io.wsw.wasm.v1"), ("Log", "json-file").
    pub plugins: Vec<(String, String)>,
    /// How guests are separated from the node: "user, seccomp, landlock, cgroup", as far as it has them; "process only".
    pub wasm_isolation: String,
    /// What hinders the node: "port 8080/tcp (service hello): address already in use".
    pub problems: Vec<String>,
    /// PEM of the root it trusts.
    pub trust_root: String,
    /// What it has beside CPUs and memory.
    pub generic: Vec<GenericResource>,
    /// `IP:PORT` where other nodes dial it.
    pub addr: String,
    /// Who issued its certificate.
    pub issuer: Issuer,
}

/// Whether the leader hears the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum NodeState {
    Unknown,
    Down,
    Ready,
    Disconnected,
}

impl NodeState {
    /// The word in Docker's API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Down => "down",
            Self::Ready => "ready",
            Self::Disconnected => "disconnected",
        }
    }
}

/// The leader's view of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    pub state: NodeState,
    pub message: String,
    /// IP address it was seen at.
    pub addr: String,
}

/// A manager's place in Raft.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManagerStatus {
    pub raft_id: u64,
    /// `IP:PORT` that others dial.
    pub addr: String,
}

impl Node {
    /// The role it should have.
    pub fn role(&self) -> NodeRole {
        self.spec.role
    }
}

/// A service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    pub id: ServiceId,
    pub meta: Meta,
    pub spec: Arc<ServiceSpec>,
    pub previous_spec: Option<Arc<ServiceSpec>>,
    /// Version of the template that `spec` asks for, and the one of `previous_spec`.
    pub template: u64,
    pub previous_template: Option<u64>,
    /// Ports with the published numbers filled in.
    pub ports: Vec<PortConfig>,
    pub update_status: Option<UpdateStatus>,
    /// Removed by its user; goes when its last task has ended.
    pub pending_delete: bool,
    /// For jobs: which run of it is current.
    #[serde(default)]
    pub job: Option<JobStatus>,
}

/// The runs of a job: each update begins a new one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobStatus {
    /// Counts up from 0; a task tells which one it belongs to.
    pub iteration: u64,
    /// When it began.
    pub last_execution: Time,
}

impl Service {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.spec.annotations.name
    }
}

/// How an update goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateStatus {
    pub state: UpdateState,
    pub started_at: Time,
    pub completed_at: Option<Time>,
    pub message: String,
}

/// Docker's update states.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum UpdateState {
    Updating,
    Paused,
    Completed,
    RollbackStarted,
    RollbackPaused,
    RollbackCompleted,
}

/// What tasks run, shared by all tasks that name it. Dropped with its last reference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Template {
    pub service: ServiceId,
    /// Counts up per service.
    pub version: u64,
    pub annotations: Annotations,
    pub spec: Arc<TaskSpec>,
    pub endpoint: EndpointSpec,
}
