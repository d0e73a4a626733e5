//! Events of services and nodes, in Docker's words, derived from what an applied entry changed.
//!
//! Owns: the ring of the last events and the broadcast. Invariants: every manager derives the same events from the same entry; an entry that is applied
//! once more (the log was opened again) tells nothing.
//! Never: decides anything; a reader that falls behind loses events and is told so, it never holds up the state machine.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::broadcast;
use wsw_api::entry::{Change, Entry};
use wsw_api::event::{Action, Event, Kind, MAX_BACKLOG};
use wsw_api::id::{NetworkId, NodeId, ServiceId};
use wsw_api::network::Network;
use wsw_api::object::{Node, Service, UpdateState, UpdateStatus};
use wsw_api::spec::{Availability, NodeRole, ServiceMode};
use wsw_api::time::Time;
use wsw_planner::Store;

/// Events kept for `--since`; moby keeps 256, which one stack deployment can exceed.
const MAX_KEPT: usize = MAX_BACKLOG;

#[derive(Default)]
struct Kept {
    events: VecDeque<Event>,
    /// Index of the last entry that told anything.
    told: u64,
}

/// The last events, and those to come.
pub struct Events {
    kept: Mutex<Kept>,
    sender: broadcast::Sender<Event>,
}

impl Default for Events {
    fn default() -> Self {
        Self { kept: Mutex::default(), sender: broadcast::Sender::new(MAX_BACKLOG) }
    }
}

impl Events {
    /// The kept events from a moment on, and all that follow; none is lost or twice in between.
    pub fn subscribe(&self, since: Option<Time>) -> (Vec<Event>, broadcast::Receiver<Event>) {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let past = match since {
            Some(since) => kept.events.iter().filter(|event| event.time >= since).cloned().collect(),
            None => Vec::new(),
        };
        (past, self.sender.subscribe())
    }

    /// Adds the events of the entry at this index; does nothing without any.
    pub fn add(&self, index: u64, events: Vec<Event>) {
        if events.is_empty() {
            return;
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if index <= kept.told {
            return;
        }
        kept.told = index;
        for event in events {
            if kept.events.len() == MAX_KEPT {
                kept.events.pop_front();
            }
            kept.events.push_back(event.clone());
            let _nobody_listens = self.sender.send(event);
        }
    }
}

/// The objects that an entry may change, as they were before it.
pub struct Seen {
    services: BTreeMap<ServiceId, Option<Arc<Service>>>,
    nodes: BTreeMap<NodeId, Option<Arc<Node>>>,
    networks: BTreeMap<NetworkId, Option<Arc<Network>>>,
}

impl Seen {
    /// Looks at what the entry names. Costs nothing for an entry of tasks and statuses.
    pub fn before(store: &Store, entry: &Entry) -> Self {
        let mut seen = Self { services: BTreeMap::new(), nodes: BTreeMap::new(), networks: BTreeMap::new() };
        for change in &entry.changes {
            match change {
                Change::PutService(service) => seen.service(store, service.id),
                Change::ServiceUpdateStatus { id, .. } | Change::RemoveService(id) => seen.service(store, *id),
                Change::PutNode(node) => seen.node(store, node.id),
                Change::NodeStatus { id, .. } | Change::NodeDescription { id, .. } | Change::RemoveNode(id) => seen.node(store, *id),
                Change::PutNetwork(network) => seen.network(store, network.id),
                Change::RemoveNetwork(id) => seen.network(store, *id),
                _ => {}
            }
        }
        seen
    }

    fn service(&mut self, store: &Store, id: ServiceId) {
        self.services.entry(id).or_insert_with(|| store.service(&id).cloned());
    }

    fn node(&mut self, store: &Store, id: NodeId) {
        self.nodes.entry(id).or_insert_with(|| store.node(&id).cloned());
    }

    fn network(&mut self, store: &Store, id: NetworkId) {
        self.networks.entry(id).or_insert_with(|| store.network(&id).cloned());
    }

    /// What became of them.
    pub fn events(&self, store: &Store, entry: &Entry) -> Vec<Event> {
        let services = self.services.iter().filter_map(|(id, old)| service_event(*id, old.as_deref(), store.service(id).map(|new| &**new)));
        let nodes = self.nodes.iter().filter_map(|(id, old)| node_event(*id, old.as_deref(), store.node(id).map(|new| &**new)));
        let event = |(kind, action, id, attributes)| Event { time: entry.time, kind, action, id, detail: String::new(), attributes };
        let networks = self.networks.iter().filter_map(|(id, old)| network_event(*id, old.as_deref(), store.network(id).map(|new| &**new)));
        services.chain(nodes).chain(networks).map(event).collect()
    }
}

type Attributes = BTreeMap<String, String>;
type Derived = (Kind, Action, String, Attributes);

/// A service that waits for the end of its last tasks is gone for its user.
fn service_event(id: ServiceId, old: Option<&Service>, new: Option<&Service>) -> Option<Derived> {
    let (old, new) = (old.filter(|service| !service.pending_delete), new.filter(|service| !service.pending_delete));
    let name = |service: &Service| Attributes::from([("name".to_owned(), service.name().to_owned())]);
    let (action, attributes) = match (old, new) {
        (None, None) => return None,
        (None, Some(new)) => (Action::Create, name(new)),
        (Some(old), None) => (Action::Remove, name(old)),
        (Some(old), Some(new)) => {
            let mut attributes = name(new);
            if replicas(old) != replicas(new) {
                differ(&mut attributes, "replicas", replicas(old).unwrap_or_default(), replicas(new).unwrap_or_default());
            }
            differ(&mut attributes, "image", &old.spec.task.container.image, &new.spec.task.container.image);
            differ(&mut attributes, "name", old.name(), new.name());
            let [old_state, new_state] = [old, new].map(|service| service.update_status.as_ref().map_or("", update_state));
            differ(&mut attributes, "updatestate", old_state, new_state);
            let changed = old.spec != new.spec || attributes.len() > 1;
            changed.then_some(())?;
            (Action::Update, attributes)
        }
    };
    Some((Kind::Service, action, id.to_string(), attributes))
}

/// A network is made and removed, never changed.
fn network_event(id: NetworkId, old: Option<&Network>, new: Option<&Network>) -> Option<Derived> {
    let (action, network) = match (old, new) {
        (None, Some(new)) => (Action::Create, new),
        (Some(old), None) => (Action::Remove, old),
        _ => return None,
    };
    let attributes = Attributes::from([("name".to_owned(), network.name().to_owned()), ("type".to_owned(), network.spec.driver.clone())]);
    Some((Kind::Network, action, id.to_string(), attributes))
}

fn node_event(id: NodeId, old: Option<&Node>, new: Option<&Node>) -> Option<Derived> {
    let name = |node: &Node| Attributes::from([("name".to_owned(), node.description.hostname.clone())]);
    let (action, attributes) = match (old, new) {
        (None, None) => return None,
        (None, Some(new)) => (Action::Create, name(new)),
        (Some(old), None) => (Action::Remove, name(old)),
        (Some(old), Some(new)) => {
            let mut attributes = name(new);
            differ(&mut attributes, "state", old.status.state.as_str(), new.status.state.as_str());
            differ(&mut attributes, "availability", availability(old), availability(new));
            differ(&mut attributes, "role", role(old), role(new));
            let changed = old.spec != new.spec || attributes.len() > 1;
            changed.then_some(())?;
            (Action::Update, attributes)
        }
    };
    Some((Kind::Node, action, id.to_string(), attributes))
}

/// Adds `<what>.old` and `<what>.new` when they differ; an empty side is left out.
fn differ(attributes: &mut Attributes, what: &str, old: impl ToString, new: impl ToString) {
    let (old, new) = (old.to_string(), new.to_string());
    if old == new {
        return;
    }
    for (side, value) in [("old", old), ("new", new)] {
        if !value.is_empty() {
            attributes.insert(format!("{what}.{side}"), value);
        }
    }
}

fn replicas(service: &Service) -> Option<u64> {
    match service.spec.mode {
        ServiceMode::Replicated { replicas } => Some(replicas),
        _ => None,
    }
}

fn update_state(status: &UpdateStatus) -> &'static str {
    match status.state {
        UpdateState::Updating => "updating",
        UpdateState::Paused => "paused",
        UpdateState::Completed => "completed",
        UpdateState::RollbackStarted => "rollback_started",
        UpdateState::RollbackPaused => "rollback_paused",
        UpdateState::RollbackCompleted => "rollback_completed",
    }
}

fn availability(node: &Node) -> &'static str {
    match node.spec.availability {
        Availability::Active => "active",
        Availability::Pause => "pause",
        Availability::Drain => "drain",
    }
}

fn role(node: &Node) -> &'static str {
    match node.role() {
        NodeRole::Worker => "worker",
        NodeRole::Manager => "manager",
    }
}
