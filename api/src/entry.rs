//! What the Raft log carries: guards and changes, in columns where there are many rows.
//!
//! Owns: the shapes. `planner::store` owns what they do. Stored as MessagePack arrays, so a field can only be added with a new
//! variant and a higher feature level.
//! Invariants: a refused entry changes nothing; ids and times come inside; at most [`MAX_ENTRY_BYTES`] encoded.

use crate::error::Error;
use crate::generic::GenericResource;
use crate::id::{NetworkId, NodeId, RequestId, ServiceId, SessionId, TaskId};
use crate::network::Network;
use crate::object::{Cluster, Node, NodeDescription, NodeStatus, Service, Template, UpdateStatus};
use crate::registry::ServiceAuth;
use crate::task::{DesiredState, TaskStatus};
use crate::time::Time;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Bound on one encoded entry (DESIGN section 4).
pub const MAX_ENTRY_BYTES: usize = 1024 * 1024;
/// Rows in one bulk change: 10,000 rows of at most 64 bytes stay well below [`MAX_ENTRY_BYTES`].
pub const MAX_ROWS: usize = 10_000;
/// Request ids whose results `apply` remembers.
pub const REMEMBERED_REQUESTS: usize = 4_096;

/// One entry of the log.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Cluster time of the decision.
    pub time: Time,
    /// API writes that this entry carries out, with what each is answered once the entry is applied.
    pub requests: Vec<(RequestId, Outcome)>,
    pub guards: Vec<Guard>,
    pub changes: Vec<Change>,
}

/// What an API write brought about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    Done,
    ServiceCreated { id: ServiceId, warnings: Vec<String> },
    Warnings(Vec<String>),
    NetworkCreated { id: NetworkId },
}

/// What must hold when the entry is applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Guard {
    /// The request was not applied before (a retry of it is answered from memory).
    RequestNew(RequestId),
    ClusterVersion(u64),
    ServiceExists(ServiceId),
    ServiceVersion(ServiceId, u64),
    ServiceNameAbsent(String),
    /// No other service than this one publishes the ingress port.
    PortFree(ServiceId, crate::spec::Protocol, u16),
    TemplateExists(ServiceId, u64),
    NodeExists(NodeId),
    NodeVersion(NodeId, u64),
    TaskExists(TaskId),
    NetworkNameAbsent(String),
    NetworkExists(NetworkId),
    /// No service is attached to it.
    NetworkUnused(NetworkId),
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    PutCluster(Box<Cluster>),
    PutNode(Box<Node>),
    NodeStatus {
        id: NodeId,
        status: NodeStatus,
    },
    NodeDescription {
        id: NodeId,
        description: Arc<NodeDescription>,
    },
    RemoveNode(NodeId),
    /// The node's session from now on: statuses of an older one are ignored.
    NodeSession {
        id: NodeId,
        session: SessionId,
    },
    PutTemplate(Arc<Template>),
    PutService(Box<Service>),
    ServiceUpdateStatus {
        id: ServiceId,
        status: Option<UpdateStatus>,
    },
    RemoveService(ServiceId),
    /// What the service's tasks pull with from now on; goes with the service.
    RegistryAuth {
        service: ServiceId,
        auth: Arc<ServiceAuth>,
    },
    CreateTasks(NewTasks),
    /// Rows of (task, index into `nodes`).
    AssignTasks {
        nodes: Vec<NodeId>,
        rows: Vec<(TaskId, u32)>,
    },
    SetDesired {
        desired: DesiredState,
        tasks: Vec<TaskId>,
    },
    /// Why these cannot be placed (pending tasks only; an empty text clears it).
    Explain {
        reason: Arc<str>,
        tasks: Vec<TaskId>,
    },
    RemoveTasks(Vec<TaskId>),
    /// What a worker says of its tasks; merged forward only, rows of unknown tasks or of an old session are ignored.
    Statuses {
        node: NodeId,
        session: SessionId,
        rows: Vec<(TaskId, TaskStatus)>,
    },
    /// Statuses that the planner itself gives: tasks of a node that was removed (orphaned), that lost their place (rejected).
    Judge {
        status: TaskStatus,
        tasks: Vec<TaskId>,
    },
    PutNetwork(Box<Network>),
    RemoveNetwork(NetworkId),
    /// New tasks of a global service that have their node and do not fit there yet: they wait for it, pending.
    CreateWaiting(NewTasks),
    /// What tasks that are put on their nodes in this entry are given of these.
    Claim {
        resources: Arc<[GenericResource]>,
        tasks: Vec<TaskId>,
    },
    /// Every node has a certificate of the root that is to follow: it is believed from now on, and its join tokens count. Does nothing
    /// unless this root (PEM) is still the one that is to follow.
    FinishRotation {
        root_ca: String,
    },
}

/// New tasks of one service and template, as columns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewTasks {
    pub service: ServiceId,
    pub template: u64,
    pub desired: DesiredState,
    pub restart_at: Option<Time>,
    pub job_iteration: u64,
    /// Nodes that `rows` refer to.
    pub nodes: Vec<NodeId>,
    pub rows: Vec<NewTask>,
    /// See [`crate::Task::attempts`].
    #[serde(default)]
    pub attempts: u32,
}

/// One row of [`NewTasks`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewTask {
    pub id: TaskId,
    pub slot: u32,
    /// Index into `nodes` when it is placed at once.
    pub node: Option<u32>,
    pub replaces: Option<TaskId>,
}

/// What `apply` answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Applied {
    Done,
    /// A guard failed; nothing changed.
    Refused(Error),
}
