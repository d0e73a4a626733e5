//! What every worker knows of the cluster: where the published ports of each service lead, and where each node is reached.
//!
//! Owns: how the rows are made from the store. Invariant: a node that is in the state has a row as soon as its address is known, whatever
//! state it is in: what goes on between two nodes does not end because the managers do not hear one of them.

use super::rows::Rows;
use crate::Store;
use std::net::SocketAddr;
use wsw_api::id::{NodeId, ServiceId};
use wsw_api::object::Node;
use wsw_api::session::{PeerNode, ServiceEndpoint};
use wsw_api::spec::{NodeRole, PortConfig, PublishMode};

/// The rows as they were last made.
#[derive(Debug, Default)]
pub(super) struct Tables {
    pub(super) endpoints: Rows<ServiceId, ServiceEndpoint>,
    pub(super) peers: Rows<NodeId, PeerNode>,
}

/// The numbers of the last changes that somebody knows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) endpoints: u64,
    pub(super) peers: u64,
}

impl Tables {
    pub(super) fn last(&self) -> Seen {
        Seen { endpoints: self.endpoints.last(), peers: self.peers.last() }
    }

    /// Makes the service's row anew.
    pub(super) fn service(&mut self, view: &Store, id: &ServiceId) {
        self.endpoints.put(*id, service_row(view, id));
    }

    /// Makes the node's row anew.
    pub(super) fn node(&mut self, view: &Store, id: &NodeId) {
        self.peers.put(*id, view.node(id).and_then(|node| peer_row(node)));
    }

    /// Forgets what all of these have been told of.
    pub(super) fn prune(&mut self, seen: impl Iterator<Item = Seen> + Clone) {
        self.endpoints.prune(seen.clone().map(|seen| seen.endpoints).min());
        self.peers.prune(seen.map(|seen| seen.peers).min());
    }
}

fn service_row(view: &Store, id: &ServiceId) -> Option<ServiceEndpoint> {
    let service = view.service(id).filter(|service| !service.pending_delete)?;
    let ports: Vec<PortConfig> = service.ports.iter().filter(|port| port.mode == PublishMode::Ingress).cloned().collect();
    if ports.is_empty() {
        return None;
    }
    // Also where none runs yet: a client may wait a moment for one.
    let nodes = view.placed(id).filter(|(_, placed)| placed.active > 0).map(|(node, placed)| (node, placed.running)).collect();
    Some(ServiceEndpoint { service: *id, name: service.name().to_owned(), ports, nodes })
}

/// The address that the node announces; where it announces none of its own, the one that it is seen at.
fn peer_row(node: &Node) -> Option<PeerNode> {
    let announced: SocketAddr = node.description.addr.parse().ok()?;
    let seen = announced.ip().is_unspecified().then(|| node.status.addr.parse().ok()).flatten();
    let addr = SocketAddr::new(seen.unwrap_or(announced.ip()), announced.port());
    (!addr.ip().is_unspecified()).then_some(PeerNode { node: node.id, addr, role: if node.manager.is_some() { NodeRole::Manager } else { NodeRole::Worker } })
}
