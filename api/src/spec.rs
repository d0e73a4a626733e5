//! What the user wants: service, node and cluster specs (SwarmKit's `specs.proto`).
//!
//! Owns: shapes and defaults (SwarmKit's `api/defaults/service.go`). Fields that wsw does not serve yet are refused by name in
//! `dockerapi`, so that nothing which a user set is silently lost.
//! Invariants: maps are ordered; durations are nanoseconds; sizes are bytes; CPUs are billionths of a CPU.

pub use crate::confine::{Confinement, Dns, Seccomp, Ulimit};
use crate::generic::GenericReservation;
use crate::health::HealthConfig;
pub use crate::mount::{BindOptions, Mount, MountKind, TmpfsOptions, VolumeDriver, VolumeOptions};
use crate::network::NetworkAttachment;
use crate::time::{Nanos, SECOND};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Replicas above this are refused (a typing error, and a bound on what one request can ask for).
pub const MAX_REPLICAS: u64 = 1_000_000;

/// Name and labels of any object.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Annotations {
    pub name: String,
    pub labels: BTreeMap<String, String>,
}

/// A service as its user described it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceSpec {
    pub annotations: Annotations,
    pub task: TaskSpec,
    pub mode: ServiceMode,
    pub update: Option<UpdateConfig>,
    pub rollback: Option<UpdateConfig>,
    pub endpoint: EndpointSpec,
}

/// How many tasks, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ServiceMode {
    Replicated { replicas: u64 },
    Global,
    ReplicatedJob { max_concurrent: u64, total_completions: u64 },
    GlobalJob,
}

impl ServiceMode {
    /// True for services whose tasks run to completion.
    pub const fn is_job(self) -> bool {
        matches!(self, Self::ReplicatedJob { .. } | Self::GlobalJob)
    }
    /// True for services with one task on each node.
    pub const fn is_global(self) -> bool {
        matches!(self, Self::Global | Self::GlobalJob)
    }
}

/// What each task of a service runs. Part of the template.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskSpec {
    pub container: ContainerSpec,
    pub resources: ResourceRequirements,
    pub restart: RestartPolicy,
    pub placement: Placement,
    #[serde(default)]
    pub log_driver: Option<LogDriver>,
    /// Raised by `--force`: a new template although nothing else changed.
    pub force_update: u64,
    #[serde(default)]
    pub networks: Vec<NetworkAttachment>,
}

/// The program and its surroundings; for Wasm tasks too.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerSpec {
    /// Reference as the user sees it, with the digest when it is known: `app:latest@sha256:…`.
    pub image: String,
    pub labels: BTreeMap<String, String>,
    /// Replaces the image's entrypoint.
    pub command: Vec<String>,
    /// Replaces the image's arguments.
    pub args: Vec<String>,
    /// `NAME=value`, in the user's order.
    pub env: Vec<String>,
    pub hostname: String,
    pub dir: String,
    pub user: String,
    pub groups: Vec<String>,
    pub tty: bool,
    pub open_stdin: bool,
    pub read_only: bool,
    pub init: Option<bool>,
    pub stop_signal: String,
    /// None is the default of 10 s.
    pub stop_grace_period: Option<Nanos>,
    #[serde(default)]
    pub mounts: Vec<Mount>,
    #[serde(default)]
    pub confinement: Confinement,
    /// None: the image's own.
    #[serde(default)]
    pub healthcheck: Option<HealthConfig>,
}

impl ContainerSpec {
    /// Entry point and arguments beside an image's, by Docker's rule: a command replaces the image's entry point and drops its arguments; arguments
    /// alone replace its arguments.
    pub fn process<'a>(&'a self, entrypoint: &'a [String], cmd: &'a [String]) -> (&'a [String], &'a [String]) {
        let own = if self.command.is_empty() { entrypoint } else { &self.command };
        let args = if !self.args.is_empty() || !self.command.is_empty() { &self.args } else { cmd };
        (own, args)
    }

    /// SwarmKit's default: 10 s.
    pub fn stop_grace(&self) -> Nanos {
        self.stop_grace_period.unwrap_or(10 * SECOND)
    }
}

/// Where and within which bounds a task's log is kept ([`crate::log::driver`] reads it).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogDriver {
    pub name: String,
    pub options: BTreeMap<String, String>,
}

/// Limits are enforced on the task, reservations are what the scheduler counts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceRequirements {
    pub limits: Resources,
    pub reservations: Resources,
    /// Reserved beside CPUs and memory, in the user's order.
    #[serde(default)]
    pub generic: Vec<GenericReservation>,
}

/// Amounts; zero means "not said".
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    pub nano_cpus: u64,
    pub memory_bytes: u64,
    pub pids: u64,
}

/// When a finished task is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RestartCondition {
    None,
    OnFailure,
    Any,
}

/// SwarmKit's restart policy; the numbers are nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestartPolicy {
    pub condition: RestartCondition,
    pub delay: Nanos,
    /// Zero: no bound.
    pub max_attempts: u64,
    /// An attempt counts for so long; zero: for as long as the task runs the same.
    pub window: Nanos,
}

impl Default for RestartPolicy {
    fn default() -> Self {
        Self { condition: RestartCondition::Any, delay: 5 * SECOND, max_attempts: 0, window: 0 }
    }
}

/// Where tasks may run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// `node.labels.zone==east`, as the user wrote them.
    pub constraints: Vec<String>,
    /// Spread descriptors: `node.labels.zone`.
    pub spread: Vec<String>,
    /// Zero: no bound.
    pub max_replicas: u64,
    pub platforms: Vec<Platform>,
}

/// An operating system and a processor, in Docker's words (`linux`/`amd64`, `wasi`/`wasm`); empty matches any.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Platform {
    pub os: String,
    pub architecture: String,
}

/// What an update does when a task of it fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailureAction {
    Pause,
    Continue,
    Rollback,
}

/// In which order an update stops and starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum UpdateOrder {
    StopFirst,
    StartFirst,
}

/// How an update proceeds. The ratio is in millionths: nothing stored is a float.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateConfig {
    pub parallelism: u64,
    pub delay: Nanos,
    pub failure_action: FailureAction,
    pub monitor: Nanos,
    pub max_failure_ratio_ppm: u32,
    pub order: UpdateOrder,
}

impl Default for UpdateConfig {
    fn default() -> Self {
        Self { parallelism: 1, delay: 0, failure_action: FailureAction::Pause, monitor: 5 * SECOND, max_failure_ratio_ppm: 0, order: UpdateOrder::StopFirst }
    }
}

/// Transport of a published port.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Protocol {
    #[default]
    Tcp,
    Udp,
    Sctp,
}

impl Protocol {
    /// The word in Docker's output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }
}

/// Where a port is published.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum PublishMode {
    /// On every node, balanced over all tasks.
    #[default]
    Ingress,
    /// On the task's own node only.
    Host,
}

/// How clients find a service's tasks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum EndpointMode {
    #[default]
    Vip,
    DnsRoundRobin,
}

/// One published port. `published` is 0 in a spec when the allocator chooses.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortConfig {
    pub name: String,
    pub protocol: Protocol,
    pub target: u16,
    pub published: u16,
    pub mode: PublishMode,
}

/// The service's face to its clients.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointSpec {
    pub mode: EndpointMode,
    pub ports: Vec<PortConfig>,
}

/// What a node is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum NodeRole {
    Worker,
    Manager,
}

/// Whether a node takes tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Availability {
    Active,
    Pause,
    Drain,
}

/// A node as its operator wants it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeSpec {
    pub annotations: Annotations,
    pub role: NodeRole,
    pub availability: Availability,
}

/// Settings of the whole cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterSpec {
    pub annotations: Annotations,
    /// Finished tasks kept per slot; negative keeps all. SwarmKit: 5.
    pub task_history_limit: i64,
    /// As `swarm init` sent it; wsw takes snapshots by bytes.
    pub snapshot_interval: u64,
    /// A worker with nothing to say is heard this often; three periods of silence and it is down.
    pub heartbeat_period: Nanos,
    /// Life of a node certificate. SwarmKit: 90 days.
    pub node_cert_expiry: Nanos,
    pub autolock: bool,
    /// A change of this number asks for a new root.
    #[serde(default)]
    pub force_rotate: u64,
}

impl Default for ClusterSpec {
    fn default() -> Self {
        Self {
            annotations: Annotations { name: "default".into(), labels: BTreeMap::new() },
            task_history_limit: 5,
            snapshot_interval: 10_000,
            // SwarmKit: 5 s (DESIGN section 6)
            heartbeat_period: SECOND,
            node_cert_expiry: 2_160 * 3_600 * SECOND,
            autolock: false,
            force_rotate: 0,
        }
    }
}
