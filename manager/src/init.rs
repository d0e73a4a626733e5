//! `swarm init`: the identity of the first manager, and the first entry of the log.
//!
//! Owns: what a new cluster consists of. Never: writes the log (`supervisor` proposes the entry).

use crate::config::{Config, InitSpec};
use crate::identity::{Identity, Secret, ca, sealed, token};
use crate::raft::crypto::random;
use crate::raft::types::RaftId;
use std::io;
use std::sync::Arc;
use time::Duration;
use wsw_api::entry::{Change, Entry};
use wsw_api::id::{ClusterId, NodeId};
use wsw_api::object::{Cluster, JoinTokens, ManagerStatus, Meta, Node, NodeState, NodeStatus};
use wsw_api::spec::{Annotations, NodeRole, NodeSpec};
use wsw_api::time::Time;

/// Feature level of this build: what it writes to the log at most.
pub const FEATURE_LEVEL: u32 = 1;

/// Makes the identity of a cluster's first manager, with the root.
pub fn identity(init: &InitSpec) -> io::Result<(Identity, ca::Root)> {
    let root = ca::Root::generate().map_err(io::Error::other)?;
    let (node, cluster) = (NodeId::from_bytes(random()?), ClusterId::from_bytes(random()?));
    let life = Duration::nanoseconds(init.spec.node_cert_expiry.try_into().unwrap_or(i64::MAX));
    let issued = root.issue(node, cluster, life).map_err(io::Error::other)?;
    let mut identity = Identity::new(node, cluster, root.certificate().to_owned(), issued.certificate, Secret(issued.key))?;
    identity.lock = init.spec.autolock.then(sealed::generate).transpose()?;
    Ok((identity, root))
}

/// The first entry: the cluster and its first node.
pub fn entry(config: &Config, init: InitSpec, identity: &Identity, root: &ca::Root, raft_id: RaftId, now: Time) -> io::Result<Entry> {
    let cluster = Cluster {
        id: identity.cluster,
        meta: Meta::default(),
        spec: init.spec,
        root_ca: root.certificate().to_owned(),
        root_key: root.key(),
        join_tokens: JoinTokens { worker: token::make(root.certificate(), random()?), manager: token::make(root.certificate(), random()?) },
        incarnation: 0,
        feature_level: FEATURE_LEVEL,
        unlock_key: identity.lock.clone(),
        issuer: root.issuer().map_err(io::Error::other)?,
        cross_signed: None,
        rotation: None,
    };
    let mut description = config.description.clone();
    description.hostname.clone_from(&config.hostname);
    description.trust_root = root.certificate().to_owned();
    let node = Node {
        id: identity.node,
        meta: Meta::default(),
        spec: NodeSpec { annotations: Annotations::default(), role: NodeRole::Manager, availability: init.availability },
        description: Arc::new(description),
        // Ready once its worker's session has begun.
        status: NodeStatus { state: NodeState::Unknown, message: String::new(), addr: config.advertise_addr.ip().to_string() },
        manager: Some(ManagerStatus { raft_id, addr: config.advertise_addr.to_string() }),
    };
    Ok(Entry { time: now, changes: vec![Change::PutCluster(Box::new(cluster)), Change::PutNode(Box::new(node))], ..Entry::default() })
}
