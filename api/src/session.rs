//! The worker's session with the leader: typed frames, the same in process and over QUIC (MessagePack, named fields).
//!
//! Owns: the frames and their bounds. `planner::dispatcher` decides what to send, `manager` and `worker` carry it.
//! Invariants: a session is fenced by (boot nonce, number), the newer wins; a worker keeps a status until it is committed;
//! the complete set comes once, then differences, in order.

use crate::generic::GenericResource;
use crate::id::{NodeId, ServiceId, SessionId, TaskId};
use crate::object::{NodeDescription, Template};
use crate::registry::RegistryAuth;
use crate::spec::{NodeRole, PortConfig};
use crate::task::{DesiredState, TaskStatus};
use crate::trust::Trust;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::sync::Arc;

/// Statuses in one frame.
pub const MAX_STATUSES: usize = 2_000;
/// Tasks in one assignment frame; a larger set is cut, `more` says so.
pub const MAX_TASKS: usize = 2_000;
/// One frame of a worker: a full batch of statuses whose texts are as long as they may be, several times over.
pub const MAX_WORKER_FRAME: usize = 8 << 20;
/// One frame of the leader: templates and credentials at their bounds, and rows of 500 services on 1,000 nodes each.
pub const MAX_MANAGER_FRAME: usize = 32 << 20;
/// Frames in flight in either direction before the sender waits.
pub const MAX_FRAMES: usize = 64;

/// From the worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum WorkerFrame {
    /// Before a session over the network: of which incarnation of the cluster the manager beside this worker is, where there is one, and the
    /// latest that it has heard of. Not part of the session.
    Incarnation {
        manager: Option<u64>,
        heard: u64,
    },
    /// First frame of a session.
    Hello {
        node: NodeId,
        boot: SessionId,
        description: Arc<NodeDescription>,
    },
    /// Nothing else to say; any frame counts as a heartbeat.
    Heartbeat,
    Describe(Arc<NodeDescription>),
    /// Numbered from 1 within the session; answered by [`ManagerFrame::Committed`].
    Statuses {
        seq: u64,
        rows: Vec<(TaskId, TaskStatus)>,
    },
    Goodbye(Goodbye),
}

/// Why a worker ends its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Goodbye {
    /// Its tasks should be replaced at once.
    Leaving,
    /// It will be back; no new tasks until then.
    Restarting,
}

/// From the leader.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ManagerFrame {
    Welcome {
        session: SessionId,
        heartbeat_ns: u64,
    },
    Assignments(Assignments),
    /// The cluster's heartbeat period changed.
    Heartbeat {
        heartbeat_ns: u64,
    },
    /// All statuses up to this number are in the log.
    Committed {
        seq: u64,
    },
    /// The session is over (a newer one of the same node, a removal); the text says why.
    Refused {
        reason: String,
    },
    /// Who manages the cluster: after the welcome and when it changes; from a manager that does not lead it is all that comes.
    Managers(Managers),
}

/// The managers, and what the node itself is to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Managers {
    pub peers: Vec<ManagerPeer>,
    /// The one that leads, as far as the sender knows.
    pub leader: Option<NodeId>,
    /// The role of the node that is told this.
    pub role: NodeRole,
    /// Raised by `--force-new-cluster`: managers of an earlier one are not listened to any more.
    #[serde(default)]
    pub incarnation: u64,
    /// Said by the one that leads only.
    #[serde(default)]
    pub trust: Option<Trust>,
}

/// One manager.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManagerPeer {
    pub node: NodeId,
    /// `IP:PORT` that others dial.
    pub addr: String,
}

/// The set of tasks that a worker should have, or what changed of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Assignments {
    /// True in the first frames: what is not in the set is not wanted. The set is whole once `more` is false.
    pub complete: bool,
    /// Another frame of the same set follows.
    pub more: bool,
    pub templates: Vec<Arc<Template>>,
    pub tasks: Vec<AssignedTask>,
    /// What tasks of these services pull with; kept in memory only, replaced as a whole.
    pub auths: Vec<(ServiceId, Option<RegistryAuth>)>,
    /// Tasks that the worker may forget once they have ended.
    pub removed: Vec<TaskId>,
    /// Published services, whole rows; only those that changed.
    pub endpoints: Vec<ServiceEndpoint>,
    pub removed_endpoints: Vec<ServiceId>,
    /// The nodes of the cluster, whole rows; only those that changed.
    pub peers: Vec<PeerNode>,
    /// Nodes that are not in the cluster any more.
    pub removed_peers: Vec<NodeId>,
}

/// Where a node of the cluster is reached, and what it may ask of others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerNode {
    pub node: NodeId,
    pub addr: SocketAddr,
    pub role: NodeRole,
}

/// One task for a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssignedTask {
    pub id: TaskId,
    pub service: ServiceId,
    pub template: u64,
    pub slot: u32,
    pub desired: DesiredState,
    /// What it was given of the node's generic resources.
    #[serde(default)]
    pub generic: Vec<GenericResource>,
}

/// Where the published ports of a service lead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceEndpoint {
    pub service: ServiceId,
    pub name: String,
    pub ports: Vec<PortConfig>,
    /// Running tasks by node; zero where some are to run and none does yet.
    pub nodes: Vec<(NodeId, u32)>,
}
