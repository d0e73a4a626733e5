//! Scripted surroundings: small ids and objects.

use std::sync::Arc;
use wsw_api::session::{AssignedTask, ServiceEndpoint};
use wsw_api::spec::{Annotations, EndpointSpec, PortConfig, TaskSpec};
use wsw_api::{DesiredState, NodeId, ServiceId, TaskId, Template};

pub(crate) fn task_id(n: u8) -> TaskId {
    TaskId::from_bytes([n; 16])
}

pub(crate) fn service_id(n: u8) -> ServiceId {
    ServiceId::from_bytes([n; 16])
}

pub(crate) fn node_id(n: u8) -> NodeId {
    NodeId::from_bytes([n; 16])
}

/// Task `n` of service 1.
pub(crate) fn assigned(n: u8, desired: DesiredState) -> AssignedTask {
    AssignedTask { id: task_id(n), service: service_id(1), template: 1, slot: u32::from(n), desired, generic: Vec::new() }
}

pub(crate) fn template(service: u8) -> Arc<Template> {
    let annotations = Annotations { name: "web".into(), ..Annotations::default() };
    Arc::new(Template { service: service_id(service), version: 1, annotations, spec: Arc::new(TaskSpec::default()), endpoint: EndpointSpec::default() })
}

pub(crate) fn endpoint(service: u8, published: u16) -> ServiceEndpoint {
    let port = PortConfig { target: 80, published, ..PortConfig::default() };
    ServiceEndpoint { service: service_id(service), name: "web".into(), ports: vec![port], nodes: vec![(node_id(1), 1)] }
}
