//! Guards: what must hold before an entry may change anything.
//!
//! Owns: their meaning. Evaluated on the state before the entry's first change.

use super::Store;
use wsw_api::entry::Guard;
use wsw_api::error::{Error, Result};

impl Store {
    /// Whether the guard holds; the error says which one failed, for the user.
    pub fn check(&self, guard: &Guard) -> Result<()> {
        let (holds, what) = match guard {
            Guard::RequestNew(id) => (!self.outcomes.contains_key(id), format!("request {id} was applied before")),
            Guard::ClusterVersion(version) => {
                (self.cluster.as_ref().is_some_and(|c| c.meta.version == *version), "the cluster changed in the meantime".to_owned())
            }
            Guard::ServiceExists(id) => (self.services.get(id).is_some_and(|s| !s.pending_delete), format!("service {id} was removed in the meantime")),
            Guard::ServiceVersion(id, version) => {
                (self.services.get(id).is_some_and(|s| s.meta.version == *version), format!("service {id} changed in the meantime"))
            }
            Guard::ServiceNameAbsent(name) => (!self.names.contains_key(name.as_str()), format!("service {name} already exists")),
            Guard::PortFree(service, protocol, port) => (
                self.ports.get(&(*protocol, *port)).is_none_or(|owner| owner == service),
                format!("port '{port}/{}' was taken by another service in the meantime", protocol.as_str()),
            ),
            Guard::TemplateExists(service, version) => {
                (self.templates.contains_key(&(*service, *version)), format!("template {version} of service {service} is gone"))
            }
            Guard::NodeExists(id) => (self.nodes.contains_key(id), format!("node {id} was removed in the meantime")),
            Guard::NodeVersion(id, version) => (self.nodes.get(id).is_some_and(|n| n.meta.version == *version), format!("node {id} changed in the meantime")),
            Guard::TaskExists(id) => (self.tasks.contains_key(id), format!("task {id} is gone")),
            Guard::NetworkNameAbsent(name) => (self.network_by_name(name).is_none(), format!("network with name {name} already exists")),
            Guard::NetworkExists(id) => (self.networks.contains_key(id), format!("network {id} was removed in the meantime")),
            Guard::NetworkUnused(id) => (self.network_user(id).is_none(), format!("network {id} is in use by a service")),
        };
        if holds { Ok(()) } else { Err(Error::conflict(what)) }
    }
}
