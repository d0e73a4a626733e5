//! Tasks to the API, and their containers' ids.
//!
//! Owns: the object and the id: 64 hexadecimal digits made of the task's own id, so that a prefix of it finds the same task for ever.

use super::{service::write_ports, some_text, task_spec, time};
use crate::model::{self, task as api};
use std::collections::BTreeMap;
use std::sync::Arc;
use wsw_api::object::{NodeState, Template};
use wsw_api::spec::PublishMode;
use wsw_api::{NodeId, ServiceId, Task, TaskId, TaskState, TaskStatus};
use wsw_planner::Store;

/// The container id of a task: its 16 bytes, then the same bytes inverted.
pub fn container_id(task: TaskId) -> String {
    let bytes = task.as_bytes();
    let inverted = bytes.iter().map(|byte| !byte);
    bytes.iter().copied().chain(inverted).map(|byte| format!("{byte:02x}")).collect()
}

/// Converts tasks of one store; a template's spec is converted once and shared.
pub struct Writer<'a> {
    store: &'a Store,
    specs: BTreeMap<(ServiceId, u64), Arc<api::TaskSpec>>,
}

impl<'a> Writer<'a> {
    /// A writer over this state.
    pub fn new(store: &'a Store) -> Self {
        Self { store, specs: BTreeMap::new() }
    }

    fn spec(&mut self, task: &Task) -> Arc<api::TaskSpec> {
        let store = self.store;
        let convert = || {
            let template = store.template(&task.service, task.template);
            // a task always has its template; docker needs a ContainerSpec in any case
            let spec = template.map_or_else(Default::default, |template| task_spec::write(&template.spec, false));
            Arc::new(api::TaskSpec { container: Some(spec.container.clone().unwrap_or_default()), ..spec })
        };
        self.specs.entry((task.service, task.template)).or_insert_with(convert).clone()
    }

    /// One task.
    pub fn task(&mut self, task: &Task) -> api::Task {
        api::Task {
            id: Some(task.id.to_string()),
            version: model::Version::of(task.meta.version),
            created_at: Some(time::rfc3339(task.meta.created_at)),
            updated_at: Some(time::rfc3339(task.meta.updated_at)),
            labels: Some(BTreeMap::new()),
            spec: Some(self.spec(task)),
            service: Some(task.service.to_string()),
            // Go leaves a zero out; the slots of jobs begin with it and are read as zero then
            slot: (task.slot > 0).then_some(task.slot),
            node: task.node.map(|node| node.to_string()),
            status: Some(self.status(task)),
            desired: Some(task.desired.as_str()),
            networks: self.template(task).and_then(|template| super::network::of_task(self.store, &template.spec.networks)),
            generic: super::generic::write_all(task.claims.as_deref().unwrap_or_default()),
            job_iteration: if self.is_job(task) { super::service::iteration(task.job_iteration) } else { None },
        }
    }

    fn template(&self, task: &Task) -> Option<&'a Arc<Template>> {
        self.store.template(&task.service, task.template)
    }

    fn is_job(&self, task: &Task) -> bool {
        self.store.service(&task.service).is_some_and(|service| service.spec.mode.is_job())
    }

    /// Nobody knows what a task of a node does that is down: it is not called running because that was the last that was heard.
    fn status(&self, task: &Task) -> api::TaskStatus {
        let is_down = |id: &NodeId| self.store.node(id).is_some_and(|node| node.status.state == NodeState::Down);
        let lost = task.is_placed() && task.status.state.is_live() && task.node.as_ref().is_some_and(is_down);
        let heard = TaskStatus { state: TaskState::Orphaned, message: "node is down".into(), ..task.status.clone() };
        let status = if lost { &heard } else { &task.status };
        let host_ports = || {
            let template = self.store.template(&task.service, task.template)?;
            let ports: Vec<_> = template.endpoint.ports.iter().filter(|port| port.mode == PublishMode::Host).cloned().collect();
            write_ports(&ports)
        };
        let ports = if status.state == TaskState::Running { host_ports() } else { None };
        api::TaskStatus {
            timestamp: Some(time::rfc3339(status.at)),
            state: Some(status.state.as_str()),
            message: some_text(&status.message),
            err: some_text(&status.err),
            container: has_container(status).then(|| api::ContainerStatus {
                id: Some(container_id(task.id)),
                pid: Some(status.pid.unwrap_or_default()),
                exit_code: Some(status.exit_code.unwrap_or_default()),
            }),
            ports: Some(api::PortStatus { ports }),
        }
    }
}

/// True once a node has begun to make the container.
fn has_container(status: &TaskStatus) -> bool {
    let on_node = (TaskState::Ready..=TaskState::Failed).contains(&status.state);
    on_node || status.exit_code.is_some() || status.pid.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn container_ids_are_stable_and_begin_with_the_task() {
        let mut bytes = [0; 16];
        bytes[0] = 0xab;
        let id = container_id(TaskId::from_bytes(bytes));
        assert_eq!(id.len(), 64);
        assert!(id.starts_with("ab00") && id[32..].starts_with("54ff"));
    }
}
