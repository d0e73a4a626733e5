//! From what a user typed to an object: full id, then exact name, then a prefix of the id that only one object has.
//!
//! Owns: the order and moby's words for "not found" and "ambiguous". Never: shows a service that is being removed.

use crate::backend::Backend;
use crate::convert::system::node_id;
use crate::error::ApiError;
use std::sync::Arc;
use wsw_api::network::Network;
use wsw_api::{Node, NodeId, Service, Task};
use wsw_planner::Store;

/// One of the objects, or why none.
fn pick<T>(kind: &str, text: &str, by_name: Vec<T>, by_prefix: impl FnOnce() -> Vec<T>) -> Result<T, ApiError> {
    let mut found = if by_name.is_empty() { by_prefix() } else { by_name };
    match (found.pop(), found.len()) {
        (Some(only), 0) => Ok(only),
        (None, _) => Err(ApiError::not_found(format!("{kind} {text} not found"))),
        (Some(_), others) => Err(ApiError::invalid(format!("{kind} {text} is ambiguous ({} matches found)", others + 1))),
    }
}

/// A service by id, name or id prefix.
pub fn service(store: &Store, text: &str) -> Result<Arc<Service>, ApiError> {
    let by_id = text.parse().ok().and_then(|id| store.service(&id)).filter(|service| !service.pending_delete);
    if let Some(service) = by_id.or_else(|| store.service_by_name(text)) {
        return Ok(service.clone());
    }
    pick("service", text, Vec::new(), || store.services().filter(|service| has_prefix(&service.id, text)).cloned().collect())
}

/// A node by id, host name, id prefix, or `self`.
pub fn node(store: &Store, backend: &dyn Backend, text: &str) -> Result<Arc<Node>, ApiError> {
    let own: Option<NodeId> = if text == "self" { node_id(&backend.local().swarm) } else { text.parse().ok() };
    if let Some(node) = own.and_then(|id| store.node(&id)) {
        return Ok(node.clone());
    }
    let named = |node: &&Arc<Node>| node.description.hostname == text || (!text.is_empty() && node.spec.annotations.name == text);
    let by_name = store.nodes().filter(named).cloned().collect();
    pick("node", text, by_name, || store.nodes().filter(|node| has_prefix(&node.id, text)).cloned().collect())
}

/// A network by id, name or id prefix.
pub fn network(store: &Store, text: &str) -> Result<Arc<Network>, ApiError> {
    let by_id = text.parse().ok().and_then(|id| store.network(&id));
    if let Some(network) = by_id.or_else(|| store.network_by_name(text)) {
        return Ok(network.clone());
    }
    pick("network", text, Vec::new(), || store.networks().filter(|network| has_prefix(&network.id, text)).cloned().collect())
}

/// A task by id, name or id prefix.
pub fn task(store: &Store, text: &str) -> Result<Arc<Task>, ApiError> {
    if let Some(task) = text.parse().ok().and_then(|id| store.task(&id)) {
        return Ok(task.clone());
    }
    let by_name = named_task(store, text).into_iter().collect();
    pick("task", text, by_name, || store.tasks().filter(|task| has_prefix(&task.id, text)).cloned().collect())
}

/// A task's name ends with its id, so there is nothing to search.
fn named_task(store: &Store, text: &str) -> Option<Arc<Task>> {
    let (_, id) = text.rsplit_once('.')?;
    let task = store.task(&id.parse().ok()?)?;
    (task.name(service_name(store, task)) == text).then(|| task.clone())
}

/// The name of a task's service, also of one that is being removed.
pub fn service_name<'a>(store: &'a Store, task: &Task) -> &'a str {
    store.service(&task.service).map_or("", |service| service.name())
}

/// An empty text is the prefix of everything and names nothing.
fn has_prefix(id: &impl ToString, text: &str) -> bool {
    !text.is_empty() && id.to_string().starts_with(text)
}
