//! What nodes say to each other beside sessions: a node that joins, and parts of images.
//!
//! Owns: the shapes and their bounds (MessagePack, named fields). `manager` answers joins, whoever has a blob answers for it.

use crate::error::Error;
use crate::id::{ClusterId, NodeId};
use crate::spec::{Availability, NodeRole};
use serde::{Deserialize, Serialize};

/// A request to join, and its answer: certificates are about 1 KiB each.
pub const MAX_JOIN_FRAME: usize = 16 << 10;
/// A request for a blob, and what comes before its bytes.
pub const MAX_BLOB_FRAME: usize = 4 << 10;

/// A node that has no certificate yet, or one that wants a new one (then it shows the old one, and its token is empty).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinRequest {
    pub token: String,
    /// PEM of a certificate signing request; only its public key counts.
    pub csr: String,
    pub hostname: String,
    /// `IP:PORT` where it listens, for other nodes.
    pub addr: String,
    pub availability: Availability,
}

impl std::fmt::Debug for JoinRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The token is a secret.
        f.debug_struct("JoinRequest").field("hostname", &self.hostname).field("addr", &self.addr).finish_non_exhaustive()
    }
}

/// A new member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Joined {
    pub node: NodeId,
    pub cluster: ClusterId,
    pub role: NodeRole,
    /// PEM.
    pub certificate: String,
    /// `IP:PORT` of the managers.
    pub managers: Vec<String>,
    /// Their ids: a new manager, which knows no state yet, hears nobody else.
    #[serde(default)]
    pub manager_nodes: Vec<NodeId>,
}

/// What a manager answers.
pub type JoinAnswer = Result<Joined, Error>;

/// A part of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlobRequest {
    pub digest: String,
    /// What is there already.
    pub offset: u64,
    /// Only whether it could be had now: no bytes follow.
    #[serde(default)]
    pub look: bool,
}

/// What comes before the bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum BlobAnswer {
    /// The whole blob's size; the bytes from the offset on follow.
    Found {
        size: u64,
    },
    Missing,
    /// It is here, but enough nodes are being given something: ask another, or again.
    Busy,
}
