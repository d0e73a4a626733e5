//! What this node knows of the others: which run a published service, how many tasks each, and where a node is reached.
//!
//! Owns: the tables, as the leader said last. Never: knows whether a node answers; that is [`crate::relay`]'s.

use crate::set::{Change, Set};
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use tokio::sync::watch;
use wsw_api::session::{PeerNode, ServiceEndpoint};
use wsw_api::{NodeId, ServiceId};

/// Running tasks by node; zero where some are to run and none does yet.
pub type Row = Arc<[(NodeId, u32)]>;

/// The tables.
#[derive(Debug, Default)]
pub struct Routes {
    services: RwLock<BTreeMap<ServiceId, Row>>,
    peers: watch::Sender<BTreeMap<NodeId, PeerNode>>,
}

impl Routes {
    /// Everything anew: what the disk remembers.
    pub fn restore(&self, set: &Set) {
        let rows = set.endpoints.values().map(row).collect();
        *self.services.write().unwrap_or_else(PoisonError::into_inner) = rows;
        self.peers.send_replace(set.peers.clone());
    }

    /// What changed.
    pub fn apply(&self, change: &Change) {
        if change.touches_endpoints() {
            let mut services = self.services.write().unwrap_or_else(PoisonError::into_inner);
            services.extend(change.endpoints.iter().map(row));
            change.removed_endpoints.iter().for_each(|id| drop(services.remove(id)));
        }
        if !(change.peers.is_empty() && change.removed_peers.is_empty()) {
            self.peers.send_modify(|peers| {
                peers.extend(change.peers.iter().map(|row| (row.node, row.clone())));
                peers.retain(|node, _| !change.removed_peers.contains(node));
            });
        }
    }

    /// The nodes that run a service.
    pub fn nodes(&self, service: ServiceId) -> Row {
        self.services.read().unwrap_or_else(PoisonError::into_inner).get(&service).cloned().unwrap_or_default()
    }

    /// A node of the cluster.
    pub fn peer(&self, node: NodeId) -> Option<PeerNode> {
        self.peers.borrow().get(&node).cloned()
    }

    /// The nodes of the cluster, as they change; none is known before the first leader was heard.
    pub fn peers(&self) -> watch::Receiver<BTreeMap<NodeId, PeerNode>> {
        self.peers.subscribe()
    }
}

fn row(endpoint: &ServiceEndpoint) -> (ServiceId, Row) {
    (endpoint.service, endpoint.nodes.as_slice().into())
}
