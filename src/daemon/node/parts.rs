//! What a membership consists of: worker, manager's settings, network handlers, the link to the cluster.
//!
//! Owns: how each part is made from the node's stores and the record, and how they are tied together.
//! Never: decides when a membership begins or ends.

use super::super::blob_sources::Others;
use super::super::link::Link;
use super::super::member::{Control, Member, Membership, Record, Trouble};
use super::super::network::{self, Listen, Network};
use super::super::{anew, autolock, blobs, logs, role, trust};
use super::Node;
use anyhow::Result;
use std::sync::{Arc, Mutex, PoisonError};
use tokio_util::task::AbortOnDropHandle;
use wsw_api::NodeId;
use wsw_api::object::NodeDescription;
use wsw_manager::Manager;
use wsw_manager::identity::Identity;
use wsw_net::Protocol;
use wsw_worker::Worker;
use wsw_worker::relay::{self, Relay, Shims};

impl Node {
    /// A node asks the others for images.
    pub(super) fn with_peers(&self, record: &Arc<Record>, network: Network) -> Arc<Network> {
        let network = Arc::new(network);
        let relay = self.relay(record.get().node);
        relay.dial_from(network.bulk().cloned());
        self.wasm.images().set_peers(Some(Arc::new(Others { network: network.clone(), record: record.clone(), relay })));
        network
    }

    /// Made when it is first needed: before the worker, before the port.
    pub(super) fn relay(&self, node: NodeId) -> Arc<Relay> {
        let mut relay = self.relay.lock().unwrap_or_else(PoisonError::into_inner);
        match &*relay {
            Some(relay) if relay.node() == node => relay.clone(),
            _ => relay.insert(Relay::new(node, self.host.memory_bytes, Box::new(Shims(self.runtime.clone())))).clone(),
        }
    }

    pub(in crate::daemon) fn listen(&self, record: &Membership, identity: &Identity, control: &Control) -> Result<Listen> {
        let manager = if let Control::Manager(manager) = control { Some(manager.clone()) } else { None };
        let mut handlers = manager.as_ref().map(Manager::handlers).unwrap_or_default();
        handlers.insert(Protocol::Blob, Arc::new(blobs::Giver::new(self.wasm.clone())));
        let relay = self.relay(record.node);
        handlers.insert(Protocol::Logs, Arc::new(logs::Giver(self.workers.subscribe())));
        handlers.insert(Protocol::Relay, Arc::new(relay::Server(relay.clone())));
        Ok(Listen { addr: record.listen, credentials: network::credentials(identity)?, handlers, manager, relay })
    }

    pub(in crate::daemon) fn manager_config(&self, record: &Membership) -> wsw_manager::Config {
        wsw_manager::Config {
            data_root: self.paths.data_root.clone(),
            advertise_addr: record.advertise,
            hostname: self.host.hostname.clone(),
            description: self.host.description(),
            managers: record.managers.clone(),
            timing: self.flags.timing,
            unlock: self.seal.key(),
        }
    }

    pub(super) async fn start_worker(&self, record: &Membership, identity: Option<&Identity>) -> Result<Worker> {
        let (trust_root, issuer) = identity.map_or_else(|| (Identity::root_of(&self.paths.data_root).unwrap_or_default(), Default::default()), trust::of);
        let description = NodeDescription { addr: record.advertise.to_string(), trust_root, issuer, ..self.host.description() };
        let config = wsw_worker::Config {
            node: record.node,
            hostname: self.host.hostname.clone(),
            data_root: self.paths.data_root.clone(),
            // All addresses, but a node that is only for this machine publishes only to this machine.
            publish_addr: Some(record.advertise.ip()).filter(|ip| ip.is_loopback()),
            description,
            relay: self.relay(record.node),
        };
        Worker::start(config, self.runtime.clone(), self.runtime.clone()).await.map_err(anyhow::Error::from)
    }

    pub(in crate::daemon) fn install(self: &Arc<Self>, record: Arc<Record>, worker: Worker, control: Control, network: Arc<Network>) {
        let trouble = Arc::new(Trouble::default());
        let manager = if let Control::Manager(manager) = &control { Some(manager.clone()) } else { None };
        if let Some(manager) = manager.clone() {
            let network = network.clone();
            tokio::spawn(async move {
                if let (Some(control), Some(bulk)) = (network.control().await, network.bulk()) {
                    manager.open(control, bulk.clone());
                }
            });
        }
        let _following = manager.iter().flat_map(|manager| [autolock::follow(self, manager), anew::follow(self, manager)]).collect();
        let managing = manager.clone();
        let link = Link {
            node: record.get().node,
            worker: worker.clone(),
            manager,
            network: network.clone(),
            record: record.clone(),
            trouble: trouble.clone(),
            role: role::follow(self),
            trust: self.trust.clone(),
        };
        let workers = worker.clone();
        let link = (!matches!(control, Control::Broken(_) | Control::Locked)).then(|| AbortOnDropHandle::new(tokio::spawn(link.keep())));
        let member = Arc::new(Member { record, worker, control, network, trouble, _following, link: Mutex::new(link) });
        *self.member.write().unwrap_or_else(PoisonError::into_inner) = Some(member);
        self.workers.send_replace(Some(workers));
        self.managers.send_replace(managing);
    }
}
