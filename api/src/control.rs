//! API writes: what a client asks of the cluster, before anything is decided.
//!
//! Owns: the shapes. `planner::control` turns one into guards and changes on a copy of the applied state; the manager gives it a
//! request id, so that a retry is answered from memory.

use crate::entry::Outcome;
use crate::id::{NetworkId, NodeId, RequestId, ServiceId};
use crate::network::NetworkSpec;
use crate::registry::{AuthFrom, RegistryAuth};
use crate::spec::{Availability, ClusterSpec, NodeRole, NodeSpec, ServiceSpec};
use crate::trust::RootChange;
use crate::unlock::UnlockKey;
use serde::{Deserialize, Serialize};

/// One write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Write {
    CreateService {
        spec: Box<ServiceSpec>,
    },
    /// `version` must be the service's; `Rollback::Previous` ignores `spec` and goes back to the previous one.
    UpdateService {
        id: ServiceId,
        version: u64,
        spec: Box<ServiceSpec>,
        rollback: Rollback,
    },
    RemoveService {
        id: ServiceId,
    },
    /// A creation or update of a service, with what its tasks pull with.
    WithRegistryAuth {
        write: Box<Write>,
        auth: Option<RegistryAuth>,
        from: AuthFrom,
    },
    UpdateNode {
        id: NodeId,
        version: u64,
        spec: Box<NodeSpec>,
    },
    RemoveNode {
        id: NodeId,
        force: bool,
    },
    /// A node whose token was found to be right. Its id comes from its key: the same request twice makes one node.
    AddNode {
        id: NodeId,
        role: NodeRole,
        availability: Availability,
        hostname: String,
        /// `IP:PORT`.
        addr: String,
    },
    /// A manager's place among the managers: its Raft id and where others dial it.
    EnrollManager {
        id: NodeId,
        raft_id: u64,
        /// `IP:PORT`.
        addr: String,
    },
    /// New join tokens and keys are made by the manager and come in whole.
    UpdateCluster {
        version: u64,
        spec: Box<ClusterSpec>,
        worker_token: Option<String>,
        manager_token: Option<String>,
        /// For when autolock is turned on with this write, or the key is to be another one.
        unlock_key: Option<UnlockKey>,
        rotate_unlock_key: bool,
        /// A new root is made by the manager too.
        #[serde(default)]
        root: RootChange,
    },
    CreateNetwork {
        spec: Box<NetworkSpec>,
    },
    RemoveNetwork {
        id: NetworkId,
    },
}

/// The update's direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rollback {
    #[default]
    No,
    Previous,
}

/// A write with the id under which it is retried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    pub id: RequestId,
    pub write: Write,
}

/// Its answer.
pub type Answer = crate::Result<Outcome>;
