//! Nodes: spec both ways, the object to the API.

use super::{some_text, task_spec::write_platform, time};
use crate::model::{self, node as api};
use std::collections::BTreeSet;
use wsw_api::spec::{Annotations, Availability, NodeRole, NodeSpec};
use wsw_api::{Error, Node, NodeId, Result};

/// A spec from the API; the CLI sends back all that it read.
pub fn read(spec: api::NodeSpec) -> Result<NodeSpec> {
    let role = match spec.role.as_deref() {
        Some("worker") => NodeRole::Worker,
        Some("manager") => NodeRole::Manager,
        other => return Err(Error::invalid(format!("invalid Role: {:?}; use worker or manager", other.unwrap_or_default()))),
    };
    let availability = read_availability(spec.availability.as_deref().unwrap_or_default())?;
    let annotations = Annotations { name: spec.name.unwrap_or_default(), labels: spec.labels.unwrap_or_default() };
    Ok(NodeSpec { annotations, role, availability })
}

/// `active`, `pause` or `drain`.
pub fn read_availability(text: &str) -> Result<Availability> {
    match text {
        "active" => Ok(Availability::Active),
        "pause" => Ok(Availability::Pause),
        "drain" => Ok(Availability::Drain),
        other => Err(Error::invalid(format!("invalid Availability: {other:?}; use active, pause or drain"))),
    }
}

/// The role's word.
pub const fn role(role: NodeRole) -> &'static str {
    match role {
        NodeRole::Worker => "worker",
        NodeRole::Manager => "manager",
    }
}

fn write(spec: &NodeSpec) -> api::NodeSpec {
    let availability = match spec.availability {
        Availability::Active => "active",
        Availability::Pause => "pause",
        Availability::Drain => "drain",
    };
    api::NodeSpec {
        name: some_text(&spec.annotations.name),
        labels: Some(spec.annotations.labels.clone()),
        role: Some(role(spec.role).into()),
        availability: Some(availability.into()),
    }
}

/// The object to the API. `leader` is the manager that leads now, when it is known; managers that are `silent` are not reachable.
pub fn object(node: &Node, leader: Option<NodeId>, silent: &BTreeSet<NodeId>) -> api::Node {
    api::Node {
        id: Some(node.id.to_string()),
        version: model::Version::of(node.meta.version),
        created_at: Some(time::rfc3339(node.meta.created_at)),
        updated_at: Some(time::rfc3339(node.meta.updated_at)),
        spec: Some(write(&node.spec)),
        description: Some(description(node)),
        status: Some(status(node)),
        manager: node.manager.as_ref().map(|manager| api::ManagerStatus {
            leader: (leader == Some(node.id)).then_some(true),
            reachability: Some(if silent.contains(&node.id) { "unreachable" } else { "reachable" }),
            addr: Some(manager.addr.clone()),
        }),
    }
}

fn description(node: &Node) -> api::Description {
    let said = &node.description;
    let plugins = said.plugins.iter().map(|(kind, name)| api::Plugin { kind: Some(kind.clone()), name: Some(name.clone()) });
    api::Description {
        hostname: some_text(&said.hostname),
        platform: Some(write_platform(&said.platform)),
        resources: Some(api::NodeResources {
            nano_cpus: Some(said.resources.nano_cpus),
            memory_bytes: Some(said.resources.memory_bytes),
            generic: super::generic::write_all(&said.generic),
        }),
        engine: Some(api::Engine {
            version: some_text(&said.engine_version),
            labels: (!said.engine_labels.is_empty()).then(|| said.engine_labels.clone()),
            plugins: Some(plugins.collect()),
        }),
        tls: Some(super::tls::node(said)),
    }
}

/// What hinders the node stands in its message, where `docker node inspect --pretty` shows it.
fn status(node: &Node) -> api::NodeStatus {
    let mut words = vec![node.status.message.as_str()];
    words.extend(node.description.problems.iter().map(String::as_str));
    words.retain(|text| !text.is_empty());
    api::NodeStatus { state: Some(node.status.state.as_str()), message: some_text(&words.join("; ")), addr: some_text(&node.status.addr) }
}
