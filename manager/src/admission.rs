//! Who may open a connection with this manager, and keep it: plain functions of its state.
//!
//! Owns: those two decisions. Invariants: only the leader's state is the last word. One that has not come as far as this manager's own entry in
//! it says nothing about others: until then those count that this manager was told of when it joined. One that is older than a manager's
//! certificate cannot know that manager, which may be the leader that brings the rest: it is heard. Else a node that is not in the state gets
//! nothing, whatever its certificate says. Never: verifies a certificate, which `wsw-net` has done.

use crate::asking::role;
use crate::manager::Manager;
use crate::raft::types::RaftId;
use openraft::type_config::async_runtime::AsyncRuntime;
use std::time::{Duration, UNIX_EPOCH};
use wsw_api::id::NodeId;
use wsw_api::spec::NodeRole;
use wsw_api::time::{Nanos, SECOND, Time};
use wsw_api::trust::BACKDATE_SECONDS;
use wsw_net::{Error, Gate, Peer, Protocol};
use wsw_planner::dispatcher::REMOVED;
use wsw_planner::store::Store;

/// A certificate names seconds, the state nanoseconds.
const ROUNDED: Nanos = SECOND;

/// Who asks, as its certificate says.
#[derive(Debug, Clone, Copy)]
pub struct Asks {
    pub node: NodeId,
    pub role: NodeRole,
    /// When the certificate was made, in cluster time: never before the entry that made the node what the certificate says.
    pub issued: Time,
}

impl Asks {
    fn of(peer: &Peer) -> Self {
        let from = peer.from.duration_since(UNIX_EPOCH).unwrap_or_default() + Duration::from_secs(BACKDATE_SECONDS);
        Self { node: peer.node, role: peer.role, issued: Time(from.as_nanos().try_into().unwrap_or(u64::MAX)) }
    }

    /// True when the state is of before the certificate.
    fn is_newer(&self, store: &Store) -> bool {
        self.issued.after(ROUNDED) > store.time()
    }
}

/// This manager, as far as it matters here.
#[derive(Clone, Copy)]
struct Own<'a> {
    node: NodeId,
    raft_id: RaftId,
    /// Its state is the last word.
    leads: bool,
    /// Those that it was told of when it joined; after a start it knows of none, and hears every manager.
    trusted: &'a [NodeId],
}

impl Own<'_> {
    /// True when the state is of before this manager was part of it.
    fn is_behind(&self, store: &Store) -> bool {
        store.node(&self.node).and_then(|own| own.manager.as_ref()).is_none_or(|record| record.raft_id != self.raft_id)
    }

    /// True when a manager counts though the state does not know it as one.
    fn hears(&self, store: &Store, asks: &Asks) -> bool {
        let trusted = self.trusted.is_empty() || self.trusted.contains(&asks.node);
        asks.role == NodeRole::Manager && !self.leads && if self.is_behind(store) { trusted } else { asks.is_newer(store) }
    }

    fn lets_in(&self, store: &Store, asks: &Asks, protocol: Protocol) -> Result<(), Error> {
        if protocol == Protocol::Raft && asks.role != NodeRole::Manager {
            return Err(Error::Refused("a manager's certificate is needed".into()));
        }
        if protocol == Protocol::Raft && self.hears(store, asks) {
            return Ok(());
        }
        if store.cluster().is_none() {
            return Err(Error::Busy("this manager's state is not loaded yet".into()));
        }
        match store.node(&asks.node) {
            Some(known) if protocol == Protocol::Logs && known.manager.is_none() => Err(Error::Refused("only managers read the logs of other nodes".into())),
            Some(_) if protocol != Protocol::Raft || role(store, &asks.node) == NodeRole::Manager => Ok(()),
            // This one may not have heard of the node, or its new role, yet.
            _ if !self.leads => Err(Error::Busy("this manager does not know the node yet".into())),
            Some(_) => Err(Error::Refused("this node is not a manager of the swarm any more".into())),
            None => Err(Error::Refused(REMOVED.into())),
        }
    }

    /// Whom the state knew when it was admitted, and does not know now, was removed; the same with its role. So not only the leader closes.
    fn keep(&self, store: &Store, asks: &Asks, protocol: Protocol) -> Result<(), Error> {
        if self.is_behind(store) || protocol == Protocol::Raft && self.hears(store, asks) {
            return Ok(());
        }
        match store.node(&asks.node) {
            None => Err(Error::Refused(REMOVED.into())),
            Some(_) if protocol == Protocol::Raft && role(store, &asks.node) != NodeRole::Manager => {
                Err(Error::Refused("this node is not a manager of the swarm any more".into()))
            }
            Some(_) => self.lets_in(store, asks, protocol),
        }
    }
}

impl<RT: AsyncRuntime> Manager<RT> {
    fn own(&self) -> Own<'_> {
        Own { node: self.node_id(), raft_id: self.raft_id(), leads: self.leads(), trusted: self.trusted() }
    }

    /// Whether a node with this certificate may open such a connection.
    pub fn lets_in(&self, asks: &Asks, protocol: Protocol) -> Result<(), Error> {
        self.own().lets_in(&self.store(), asks, protocol)
    }
}

impl Gate for Manager {
    fn admit(&self, peer: &Peer, protocol: Protocol) -> Result<(), Error> {
        self.lets_in(&Asks::of(peer), protocol)
    }

    fn keep(&self, peer: &Peer, protocol: Protocol) -> Result<(), Error> {
        self.own().keep(&self.store(), &Asks::of(peer), protocol)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use wsw_api::entry::{Change, Entry};
    use wsw_api::id::ClusterId;
    use wsw_api::object::{Cluster, JoinTokens, ManagerStatus, Meta, Node, NodeDescription, NodeState, NodeStatus};
    use wsw_api::spec::{Annotations, Availability, ClusterSpec, NodeSpec};
    use wsw_api::trust::Issuer;

    const OWN: u8 = 1;
    const OWN_RAFT: RaftId = 10;

    fn id(number: u8) -> NodeId {
        NodeId::from_bytes([number; 16])
    }

    /// A node, and its Raft id when it is a manager.
    fn node(number: u8, raft_id: Option<RaftId>) -> Change {
        let role = if raft_id.is_some() { NodeRole::Manager } else { NodeRole::Worker };
        Change::PutNode(Box::new(Node {
            id: id(number),
            meta: Meta::default(),
            spec: NodeSpec { annotations: Annotations::default(), role, availability: Availability::Active },
            description: Arc::new(NodeDescription::default()),
            status: NodeStatus { state: NodeState::Ready, message: String::new(), addr: String::new() },
            manager: raft_id.map(|raft_id| ManagerStatus { raft_id, addr: String::new() }),
        }))
    }

    fn state(nodes: &[(u8, Option<RaftId>)]) -> Store {
        let cluster = Change::PutCluster(Box::new(Cluster {
            id: ClusterId::default(),
            meta: Meta::default(),
            spec: ClusterSpec::default(),
            root_ca: String::new(),
            root_key: String::new(),
            join_tokens: JoinTokens { worker: String::new(), manager: String::new() },
            incarnation: 0,
            feature_level: 1,
            unlock_key: None,
            issuer: Issuer::default(),
            cross_signed: None,
            rotation: None,
        }));
        let changes = [cluster].into_iter().chain(nodes.iter().map(|(number, raft_id)| node(*number, *raft_id))).collect();
        let mut store = Store::default();
        store.apply(1, &Entry { time: NOW, changes, ..Entry::default() });
        store
    }

    /// When the state of these tests is from.
    const NOW: Time = Time(1_000 * SECOND);

    /// A node with a certificate of long before.
    fn asks(node: NodeId, role: NodeRole) -> Asks {
        Asks { node, role, issued: Time(0) }
    }

    fn own(trusted: &[NodeId]) -> Own<'_> {
        Own { node: id(OWN), raft_id: OWN_RAFT, leads: false, trusted }
    }

    /// What an answer means for who is asked: in, later, or no.
    fn said(answer: &Result<(), Error>) -> &'static str {
        match answer {
            Ok(()) => "in",
            Err(Error::Busy(_)) => "later",
            Err(_) => "no",
        }
    }

    #[test]
    fn a_state_of_before_this_manager_does_not_shut_out_who_brings_the_rest() {
        let (told, stranger) = (id(2), id(3));
        let trusted = [told];
        let before = [
            Store::default(),
            // Managers of before: the one that leads now had not joined, or was a worker, or this one had another Raft id.
            state(&[(4, Some(40))]),
            state(&[(2, None), (4, Some(40))]),
            state(&[(OWN, Some(11)), (4, Some(40))]),
        ];
        for store in &before {
            let (own, manager) = (own(&trusted), NodeRole::Manager);
            assert_eq!(said(&own.lets_in(store, &asks(told, manager), Protocol::Raft)), "in");
            assert_eq!(said(&own.keep(store, &asks(told, manager), Protocol::Raft)), "in");
            assert_eq!(said(&own.lets_in(store, &asks(stranger, manager), Protocol::Raft)), "later");
            assert_eq!(said(&own.lets_in(store, &asks(told, NodeRole::Worker), Protocol::Raft)), "no");
            assert_ne!(said(&own.lets_in(store, &asks(stranger, manager), Protocol::Session)), "in");
        }
    }

    #[test]
    fn once_it_knows_itself_only_the_state_counts() {
        let trusted = [id(2), id(5)];
        let store = state(&[(OWN, Some(OWN_RAFT)), (2, Some(20)), (3, None)]);
        let (own, manager) = (own(&trusted), NodeRole::Manager);
        assert_eq!(said(&own.lets_in(&store, &asks(id(2), manager), Protocol::Raft)), "in");
        for gone in [3, 5].map(|gone| asks(id(gone), manager)) {
            assert_eq!(said(&own.lets_in(&store, &gone, Protocol::Raft)), "later", "it may not have heard of it yet");
            assert_eq!(said(&Own { leads: true, ..own }.lets_in(&store, &gone, Protocol::Raft)), "no");
            assert_eq!(said(&own.keep(&store, &gone, Protocol::Raft)), "no", "it was removed, or is no manager any more");
        }
        assert_eq!(said(&own.lets_in(&store, &asks(id(3), NodeRole::Worker), Protocol::Session)), "in");
        assert_eq!(said(&own.lets_in(&store, &asks(id(3), NodeRole::Worker), Protocol::Logs)), "no");
    }

    #[test]
    fn a_manager_of_after_the_state_is_heard_for_it_may_lead() {
        // This one was away while a worker became a manager, and another node joined as one.
        let store = state(&[(OWN, Some(OWN_RAFT)), (2, Some(20)), (3, None)]);
        let own = own(&[]);
        for came in [3, 6] {
            let newer = Asks { node: id(came), role: NodeRole::Manager, issued: NOW.after(SECOND) };
            assert_eq!(said(&own.lets_in(&store, &newer, Protocol::Raft)), "in");
            assert_eq!(said(&own.keep(&store, &newer, Protocol::Raft)), "in", "as long as the state is not as new");
            assert_eq!(said(&Own { leads: true, ..own }.lets_in(&store, &newer, Protocol::Raft)), "no", "a leader knows all there are");
            let as_worker = Asks { role: NodeRole::Worker, ..newer };
            assert_eq!(said(&own.lets_in(&store, &as_worker, Protocol::Raft)), "no");
        }
        let stranger = Asks { node: id(6), role: NodeRole::Manager, issued: NOW.after(SECOND) };
        assert_eq!(said(&own.lets_in(&store, &stranger, Protocol::Logs)), "later");
    }
}
