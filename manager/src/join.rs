//! A node joins: its token is held against the cluster's, its key gets a certificate.
//!
//! Invariants: nothing changes for a wrong token; the role comes from the token, the id from the key, so that a request which is sent twice
//! makes one node; the node is in the state before its certificate leaves.

use crate::asking;
use crate::identity::ca::{Request, Root};
use crate::identity::token;
use crate::manager::{Manager, internal};
use std::io;
use time::Duration;
use wsw_api::control::Write;
use wsw_api::id::{ClusterId, NodeId};
use wsw_api::join::{JoinRequest, Joined};
use wsw_api::object::Cluster;
use wsw_api::spec::NodeRole;
use wsw_api::time::Time;
use wsw_api::{Error, Result};
use wsw_net::Peer;
use wsw_planner::Store;
use wsw_planner::dispatcher::REMOVED;

const WRONG_REQUEST: &str = "the certificate request cannot be used: it is damaged, or not for an ECDSA P-256 key";
/// SwarmKit's words for a token that is not, or no longer, the cluster's.
const WRONG_TOKEN: &str = "rpc error: code = InvalidArgument desc = A valid join token is necessary to join this cluster";

impl Manager {
    /// Lets a node in, or says why not.
    pub async fn admit(&self, request: JoinRequest) -> Result<Joined> {
        let store = self.read().await?;
        let cluster = store.cluster().ok_or_else(|| Error::unavailable("this node is not part of a swarm"))?;
        let role = role_of(cluster, &request.token)?;
        let key = Request::read(&request.csr).map_err(|_| Error::invalid(WRONG_REQUEST))?;
        let node = key.node();
        let write = Write::AddNode { id: node, role, availability: request.availability, hostname: request.hostname, addr: request.addr };
        self.write(write).await?;
        let certificate = sign(cluster, &key, node, role, self.store().time()).map_err(internal)?;
        tracing::info!(%node, ?role, "a node joined");
        Ok(joined(node, cluster.id, role, certificate, &store))
    }

    /// A new certificate for the key of a node that showed its old one.
    pub async fn renew(&self, peer: &Peer, request: &JoinRequest) -> Result<Joined> {
        if peer.cluster != self.cluster_id() {
            return Err(Error::forbidden("this is another cluster"));
        }
        self.renew_node(peer.node, request).await
    }

    /// The same for this node itself.
    pub async fn renew_own(&self, request: &JoinRequest) -> Result<Joined> {
        self.renew_node(self.node_id(), request).await
    }

    /// In the role that the state gives it: a state that may be stale gives nobody a certificate.
    async fn renew_node(&self, node: NodeId, request: &JoinRequest) -> Result<Joined> {
        let store = self.read_surely().await?;
        let cluster = store.cluster().ok_or_else(|| Error::unavailable("this node is not part of a swarm"))?;
        let key = Request::read(&request.csr).map_err(|_| Error::invalid(WRONG_REQUEST))?;
        if store.node(&node).is_none() {
            return Err(Error::forbidden(REMOVED));
        }
        let role = asking::role(&store, &node);
        let certificate = sign(cluster, &key, node, role, store.time()).map_err(internal)?;
        tracing::info!(%node, ?role, "a node has a new certificate");
        Ok(joined(node, cluster.id, role, certificate, &store))
    }
}

fn role_of(cluster: &Cluster, text: &str) -> Result<NodeRole> {
    let tokens = &cluster.join_tokens;
    match (token::same(text, &tokens.worker), token::same(text, &tokens.manager)) {
        (true, _) => Ok(NodeRole::Worker),
        (_, true) => Ok(NodeRole::Manager),
        _ => Err(Error::invalid(WRONG_TOKEN)),
    }
}

fn joined(node: NodeId, cluster: ClusterId, role: NodeRole, certificate: String, store: &Store) -> Joined {
    let (manager_nodes, managers) = asking::peers(store).into_iter().map(|peer| (peer.node, peer.addr)).unzip();
    Joined { node, cluster, role, certificate, managers, manager_nodes }
}

fn sign(cluster: &Cluster, key: &Request, node: NodeId, role: NodeRole, time: Time) -> io::Result<String> {
    let life = Duration::nanoseconds(cluster.spec.node_cert_expiry.try_into().unwrap_or(i64::MAX));
    let root = Root::of(cluster).map_err(io::Error::other)?;
    root.sign(key, node, cluster.id, role, (time, life)).map_err(io::Error::other)
}
