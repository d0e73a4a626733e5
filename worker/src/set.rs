//! The assignments of this node: tasks, the templates they name, the published ports. Plain data, no I/O.
//!
//! Owns: how assignment frames change the set. Invariants: a desired state only moves forward; a task that is no longer in the
//! set stays here as `removed` until it has ended; a template is kept as long as a task names it.
//! Never: knows how a task is doing ([`crate::board`]).

use std::collections::BTreeMap;
use std::sync::Arc;
use wsw_api::registry::RegistryAuth;
use wsw_api::session::{AssignedTask, Assignments, PeerNode, ServiceEndpoint};
use wsw_api::{DesiredState, NodeId, ServiceId, TaskId, Template};

/// One task as the leader wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assigned {
    pub task: AssignedTask,
    /// The leader does not know it any more: stop it, then forget it.
    pub removed: bool,
}

impl Assigned {
    /// What is wanted of it.
    pub fn desired(&self) -> DesiredState {
        if self.removed { DesiredState::Remove } else { self.task.desired }
    }
}

/// The whole set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Set {
    pub tasks: BTreeMap<TaskId, Assigned>,
    pub templates: BTreeMap<(ServiceId, u64), Arc<Template>>,
    pub endpoints: BTreeMap<ServiceId, ServiceEndpoint>,
    /// The nodes of the cluster.
    pub peers: BTreeMap<NodeId, PeerNode>,
    /// What the services' tasks pull with: never on the disk, so after a start not known until the leader says it again.
    pub auths: BTreeMap<ServiceId, RegistryAuth>,
    /// Tasks by template.
    uses: BTreeMap<(ServiceId, u64), u32>,
}

/// What one set of frames changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change {
    pub added: Vec<TaskId>,
    /// Desired state moved on, or the task is no longer in the set.
    pub changed: Vec<TaskId>,
    pub templates: Vec<Arc<Template>>,
    pub endpoints: Vec<ServiceEndpoint>,
    pub removed_endpoints: Vec<ServiceId>,
    pub peers: Vec<PeerNode>,
    pub removed_peers: Vec<NodeId>,
}

impl Change {
    /// True when the set is as it was.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
    /// True when published ports changed.
    pub fn touches_endpoints(&self) -> bool {
        !(self.endpoints.is_empty() && self.removed_endpoints.is_empty())
    }
}

impl Set {
    /// Takes over a whole set (all its frames put together) or a difference.
    pub fn apply(&mut self, frame: Assignments) -> Change {
        let mut change = Change::default();
        let mut gone = frame.removed;
        let mut gone_endpoints = frame.removed_endpoints;
        let mut gone_peers = frame.removed_peers;
        if frame.complete {
            let kept: std::collections::BTreeSet<_> = frame.tasks.iter().map(|task| task.id).collect();
            gone.extend(self.tasks.keys().filter(|id| !kept.contains(id)));
            let kept: std::collections::BTreeSet<_> = frame.endpoints.iter().map(|row| row.service).collect();
            gone_endpoints.extend(self.endpoints.keys().filter(|id| !kept.contains(id)));
            let kept: std::collections::BTreeSet<_> = frame.peers.iter().map(|row| row.node).collect();
            gone_peers.extend(self.peers.keys().filter(|id| !kept.contains(id)));
        }
        let mut brought = frame.templates;
        brought.retain(|template| {
            let known = self.templates.insert((template.service, template.version), Arc::clone(template));
            known.as_ref() != Some(template)
        });
        for (service, auth) in frame.auths {
            match auth {
                Some(auth) => drop(self.auths.insert(service, auth)),
                None => drop(self.auths.remove(&service)),
            }
        }
        for task in frame.tasks {
            self.assign(task, &mut change);
        }
        for template in brought {
            let key = (template.service, template.version);
            if self.uses.contains_key(&key) { change.templates.push(template) } else { drop(self.templates.remove(&key)) }
        }
        for id in gone {
            if let Some(entry) = self.tasks.get_mut(&id).filter(|entry| !entry.removed) {
                entry.removed = true;
                change.changed.push(id);
            }
        }
        for row in frame.endpoints {
            if self.endpoints.get(&row.service) != Some(&row) {
                self.endpoints.insert(row.service, row.clone());
                change.endpoints.push(row);
            }
        }
        for service in gone_endpoints {
            if self.endpoints.remove(&service).is_some() {
                change.removed_endpoints.push(service);
            }
        }
        for row in frame.peers {
            if self.peers.get(&row.node) != Some(&row) {
                self.peers.insert(row.node, row.clone());
                change.peers.push(row);
            }
        }
        for node in gone_peers {
            if self.peers.remove(&node).is_some() {
                change.removed_peers.push(node);
            }
        }
        change
    }

    fn assign(&mut self, task: AssignedTask, change: &mut Change) {
        let id = task.id;
        match self.tasks.get_mut(&id) {
            None => {
                self.insert(task, false);
                change.added.push(id);
            }
            Some(entry) if task.desired > entry.task.desired => {
                entry.task.desired = task.desired;
                change.changed.push(id);
            }
            Some(_) => {}
        }
    }

    /// Takes a task over as it is.
    pub fn insert(&mut self, task: AssignedTask, removed: bool) {
        let key = (task.service, task.template);
        if self.tasks.insert(task.id, Assigned { task, removed }).is_none() {
            *self.uses.entry(key).or_default() += 1;
        }
    }

    /// Drops a task that has ended for good, and its template with the last task that names it.
    pub fn forget(&mut self, id: TaskId) {
        let Some(entry) = self.tasks.remove(&id) else { return };
        let key = (entry.task.service, entry.task.template);
        let left = self.uses.get_mut(&key).map_or(0, |uses| {
            *uses = uses.saturating_sub(1);
            *uses
        });
        if left == 0 {
            self.uses.remove(&key);
            self.templates.remove(&key);
            if !self.uses.keys().any(|(service, _)| *service == key.0) {
                self.auths.remove(&key.0);
            }
        }
    }

    /// Drops templates that no task names: what is read from the disk may hold some.
    pub fn drop_unused_templates(&mut self) {
        let Self { templates, uses, .. } = self;
        templates.retain(|key, _| uses.contains_key(key));
    }

    /// The template that a task names.
    pub fn template(&self, task: &AssignedTask) -> Option<&Arc<Template>> {
        self.templates.get(&(task.service, task.template))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::fake::{assigned, endpoint, service_id, task_id, template};
    use DesiredState as D;

    #[test]
    fn a_difference_adds_and_moves_forward_only() {
        let mut set = Set::default();
        let first = Assignments { tasks: vec![assigned(1, D::Running)], templates: vec![template(1)], ..Assignments::default() };
        assert_eq!(set.apply(first.clone()).added, [task_id(1)]);
        assert!(set.apply(first.clone()).is_empty());
        assert_eq!(set.apply(Assignments { tasks: vec![assigned(1, D::Shutdown)], ..Assignments::default() }).changed, [task_id(1)]);
        assert!(set.apply(first).is_empty(), "desired state moved back");
        assert_eq!(set.tasks[&task_id(1)].desired(), D::Shutdown);
    }

    #[test]
    fn what_a_complete_set_lacks_is_removed_but_kept_until_it_has_ended() {
        let mut set = Set::default();
        set.apply(Assignments { tasks: vec![assigned(1, D::Running), assigned(2, D::Running)], endpoints: vec![endpoint(1, 80)], ..Assignments::default() });
        let change = set.apply(Assignments { complete: true, tasks: vec![assigned(2, D::Running)], ..Assignments::default() });
        assert_eq!((change.changed, change.removed_endpoints), (vec![task_id(1)], vec![service_id(1)]));
        assert_eq!(set.tasks[&task_id(1)].desired(), D::Remove);
        set.forget(task_id(1));
        assert_eq!(set.tasks.len(), 1);
    }

    #[test]
    fn templates_go_with_their_last_task() {
        let mut set = Set::default();
        set.apply(Assignments { tasks: vec![assigned(1, D::Running)], templates: vec![template(1)], ..Assignments::default() });
        set.apply(Assignments { tasks: vec![assigned(2, D::Running)], templates: vec![template(2)], ..Assignments::default() });
        assert_eq!(set.templates.len(), 1, "a template that nothing names is not kept");
        set.forget(task_id(1));
        assert_eq!(set.templates.len(), 1);
        set.forget(task_id(2));
        assert!(set.templates.is_empty());
    }
}
