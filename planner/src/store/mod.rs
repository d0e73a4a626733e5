//! The store: one ordered, structurally shared map per object type, and the indexes that the planner and readers need.
//!
//! Owns: the tables and every read. `apply` (the only writer) is in `apply.rs`, guards in `guard.rs`, indexes in `index.rs`.
//! Invariants: a clone costs a few reference counts and never changes afterwards; an index says nothing that a table does not.
//! Never: decides anything, reads a clock.

mod apply;
mod failures;
mod guard;
mod index;
mod network;
mod snapshot;
mod text;
mod touched;

#[cfg(test)]
mod tests;

pub use failures::Failures;
pub use index::{Load, Placed};
pub use snapshot::{SNAPSHOT_VERSION, Snapshot};
pub use touched::Touched;

use imbl::{OrdMap, OrdSet, Vector};
use std::sync::Arc;
use wsw_api::entry::Outcome;
use wsw_api::id::{NetworkId, NodeId, RequestId, ServiceId, SessionId, TaskId};
use wsw_api::network::Network;
use wsw_api::object::{Cluster, Node, Service, Template};
use wsw_api::registry::ServiceAuth;
use wsw_api::spec::Protocol;
use wsw_api::task::Task;
use wsw_api::time::Time;

/// The cluster's state at one index of the log. Cloning it is taking a snapshot.
#[derive(Debug, Clone, Default)]
pub struct Store {
    index: u64,
    time: Time,
    cluster: Option<Arc<Cluster>>,
    nodes: OrdMap<NodeId, Arc<Node>>,
    sessions: OrdMap<NodeId, SessionId>,
    services: OrdMap<ServiceId, Arc<Service>>,
    templates: OrdMap<(ServiceId, u64), TemplateRow>,
    auths: OrdMap<ServiceId, Arc<ServiceAuth>>,
    tasks: OrdMap<TaskId, Arc<Task>>,
    outcomes: OrdMap<RequestId, Arc<Outcome>>,
    /// Request ids in the order in which they came, the oldest first.
    request_order: Vector<RequestId>,
    names: OrdMap<Arc<str>, ServiceId>,
    ports: OrdMap<(Protocol, u16), ServiceId>,
    by_service: OrdMap<ServiceId, OrdSet<(u32, TaskId)>>,
    by_node: OrdMap<NodeId, OrdSet<TaskId>>,
    placed: OrdMap<ServiceId, OrdMap<NodeId, Placed>>,
    loads: OrdMap<NodeId, Load>,
    host_ports: OrdMap<(NodeId, Protocol, u16), u32>,
    unplaced: OrdMap<ServiceId, u32>,
    globals: OrdSet<ServiceId>,
    texts: text::Texts,
    networks: OrdMap<NetworkId, Arc<Network>>,
    failures: OrdMap<ServiceId, Failures>,
}

/// A template and how many tasks name it.
#[derive(Debug, Clone)]
struct TemplateRow {
    template: Arc<Template>,
    tasks: u32,
}

impl Store {
    /// Index of the last applied entry.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// Cluster time of the last applied entry.
    pub fn time(&self) -> Time {
        self.time
    }

    /// The cluster object; none before `swarm init`.
    pub fn cluster(&self) -> Option<&Arc<Cluster>> {
        self.cluster.as_ref()
    }

    /// All nodes, by id.
    pub fn nodes(&self) -> impl Iterator<Item = &Arc<Node>> + '_ {
        self.nodes.values()
    }

    /// How many nodes there are.
    pub fn node_count(&self) -> usize {
        self.nodes.len()
    }

    /// One node.
    pub fn node(&self, id: &NodeId) -> Option<&Arc<Node>> {
        self.nodes.get(id)
    }

    /// The session whose statuses count for the node.
    pub fn session(&self, node: &NodeId) -> Option<SessionId> {
        self.sessions.get(node).copied()
    }

    /// The services that a user sees, by id: without those that are being removed.
    pub fn services(&self) -> impl Iterator<Item = &Arc<Service>> + '_ {
        self.services.values().filter(|service| !service.pending_delete)
    }

    /// All services, also those that go as soon as their last task has ended.
    pub fn all_services(&self) -> impl Iterator<Item = &Arc<Service>> + '_ {
        self.services.values()
    }

    /// One service, also one that is being removed (`pending_delete`): its tasks still need its name.
    pub fn service(&self, id: &ServiceId) -> Option<&Arc<Service>> {
        self.services.get(id)
    }

    /// The service of this name; never one that is being removed.
    pub fn service_by_name(&self, name: &str) -> Option<&Arc<Service>> {
        self.names.get(name).and_then(|id| self.services.get(id))
    }

    /// The service that publishes this port on the ingress.
    pub fn port_owner(&self, protocol: Protocol, published: u16) -> Option<ServiceId> {
        self.ports.get(&(protocol, published)).copied()
    }

    /// Ids of the global services.
    pub(crate) fn global_services(&self) -> impl Iterator<Item = ServiceId> + '_ {
        self.globals.iter().copied()
    }

    /// All tasks, by id.
    pub fn tasks(&self) -> impl Iterator<Item = &Arc<Task>> + '_ {
        self.tasks.values()
    }

    /// How many tasks there are, ended ones included.
    pub fn task_count(&self) -> usize {
        self.tasks.len()
    }

    /// One task.
    pub fn task(&self, id: &TaskId) -> Option<&Arc<Task>> {
        self.tasks.get(id)
    }

    /// The service's tasks, ordered by slot, then id.
    pub fn tasks_of_service(&self, service: &ServiceId) -> impl Iterator<Item = &Arc<Task>> + '_ {
        self.by_service.get(service).into_iter().flatten().filter_map(|(_, id)| self.tasks.get(id))
    }

    /// How many tasks the service has, ended ones included.
    pub fn task_count_of_service(&self, service: &ServiceId) -> usize {
        self.by_service.get(service).map_or(0, OrdSet::len)
    }

    /// The tasks of the node, ended ones included, ordered by id.
    pub fn tasks_on_node(&self, node: &NodeId) -> impl Iterator<Item = &Arc<Task>> + '_ {
        self.by_node.get(node).into_iter().flatten().filter_map(|id| self.tasks.get(id))
    }

    /// The template of this version.
    pub fn template(&self, service: &ServiceId, version: u64) -> Option<&Arc<Template>> {
        self.templates.get(&(*service, version)).map(|row| &row.template)
    }

    /// What the service's tasks pull with.
    pub fn registry_auth(&self, service: &ServiceId) -> Option<&Arc<ServiceAuth>> {
        self.auths.get(service)
    }

    /// The highest template version that the service has, zero when it has none.
    pub fn last_template(&self, service: &ServiceId) -> u64 {
        self.templates.get_prev(&(*service, u64::MAX)).filter(|((owner, _), _)| owner == service).map_or(0, |((_, version), _)| *version)
    }

    /// What a request brought about, when it was one of the last [`wsw_api::entry::REMEMBERED_REQUESTS`].
    pub fn outcome(&self, request: &RequestId) -> Option<Outcome> {
        self.outcomes.get(request).map(|outcome| (**outcome).clone())
    }

    /// What the tasks of a node use of it.
    pub fn load(&self, node: &NodeId) -> Load {
        self.loads.get(node).copied().unwrap_or_default()
    }

    /// How many tasks of the service each node has; nodes without any are left out.
    pub fn placed(&self, service: &ServiceId) -> impl Iterator<Item = (NodeId, Placed)> + '_ {
        self.placed.get(service).into_iter().flatten().map(|(node, placed)| (*node, *placed))
    }

    /// Tasks of the service that run and should go on running.
    pub fn running_tasks(&self, service: &ServiceId) -> u64 {
        self.placed(service).map(|(_, placed)| u64::from(placed.running)).sum()
    }

    /// True when a task that holds this host port is on the node.
    pub(crate) fn holds_host_port(&self, node: &NodeId, protocol: Protocol, port: u16) -> bool {
        self.host_ports.contains_key(&(*node, protocol, port))
    }

    /// Services with tasks that wait for a node.
    pub(crate) fn services_waiting(&self) -> impl Iterator<Item = ServiceId> + '_ {
        self.unplaced.keys().copied()
    }
}
