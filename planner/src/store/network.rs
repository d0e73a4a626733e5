//! Networks in the store: the table's reads, its two changes, who uses a network.
//!
//! Invariant: names are unique. A network has few users and is removed seldom, so its users are looked for, not indexed.

use super::Store;
use std::sync::Arc;
use wsw_api::id::{NetworkId, ServiceId};
use wsw_api::network::Network;

impl Store {
    /// All networks, by id.
    pub fn networks(&self) -> impl Iterator<Item = &Arc<Network>> + '_ {
        self.networks.values()
    }

    /// One network.
    pub fn network(&self, id: &NetworkId) -> Option<&Arc<Network>> {
        self.networks.get(id)
    }

    /// The network of this name.
    pub fn network_by_name(&self, name: &str) -> Option<&Arc<Network>> {
        self.networks.values().find(|network| network.name() == name)
    }

    /// A service that is attached to the network: by its spec, or by the one that it would be rolled back to.
    pub fn network_user(&self, id: &NetworkId) -> Option<ServiceId> {
        let names = |spec: &wsw_api::spec::ServiceSpec| spec.task.networks.iter().any(|attachment| attachment.network == *id);
        let users = self.services().find(|service| names(&service.spec) || service.previous_spec.as_ref().is_some_and(|spec| names(spec)));
        users.map(|service| service.id)
    }

    pub(super) fn put_network(&mut self, network: &Network) {
        if self.network_by_name(network.name()).is_some_and(|other| other.id != network.id) {
            return;
        }
        let mut network = network.clone();
        network.meta = self.stamp(self.networks.get(&network.id).map(|old| old.meta));
        self.networks.insert(network.id, Arc::new(network));
    }

    pub(super) fn remove_network(&mut self, id: &NetworkId) {
        if self.network_user(id).is_none() {
            self.networks.remove(id);
        }
    }
}
