//! `apply`: the only way in which the store changes.
//!
//! Owns: what each change does. Deterministic; guards first, then changes in order, which cannot fail: a change that names
//! something unknown, or would move a state back, does nothing.
//! Never: panics, whatever the entry says.

use super::{Store, TemplateRow, Touched};
use std::collections::BTreeSet;
use std::sync::Arc;
use wsw_api::entry::{Applied, Change, Entry, NewTasks, Outcome, REMEMBERED_REQUESTS};
use wsw_api::generic::GenericResource;
use wsw_api::id::{NodeId, RequestId, ServiceId, SessionId, TaskId};
use wsw_api::object::{Cluster, Meta, Node, Service, UpdateState};
use wsw_api::registry::ServiceAuth;
use wsw_api::spec::{PortConfig, PublishMode, ServiceMode};
use wsw_api::task::{DesiredState, Task, TaskState, TaskStatus};

/// SwarmKit's words for a task that waits for a node, and for one that has one.
const WAITS: &str = "pending task scheduling";
const ASSIGNED: &str = "scheduler assigned task to node";

/// Templates that may have lost their last reference in this entry.
type Loose = BTreeSet<(ServiceId, u64)>;

impl Store {
    /// Applies the entry at this index of the log.
    pub fn apply(&mut self, index: u64, entry: &Entry) -> Applied {
        self.apply_touching(index, entry, &mut Touched::default())
    }

    /// Applies the entry, and adds to `touched` where somebody must look again.
    pub fn apply_touching(&mut self, index: u64, entry: &Entry, touched: &mut Touched) -> Applied {
        self.index = self.index.max(index);
        if let Some(refused) = entry.guards.iter().find_map(|guard| self.check(guard).err()) {
            return Applied::Refused(refused);
        }
        self.time = self.time.max(entry.time);
        for (id, outcome) in &entry.requests {
            self.remember(*id, outcome);
        }
        let mut loose = Loose::new();
        for change in &entry.changes {
            self.change(change, touched, &mut loose);
        }
        for key in loose {
            self.drop_template(key);
        }
        Applied::Done
    }

    fn change(&mut self, change: &Change, touched: &mut Touched, loose: &mut Loose) {
        match change {
            Change::PutCluster(cluster) => {
                let mut cluster = (**cluster).clone();
                cluster.meta = self.stamp(self.cluster.as_ref().map(|old| old.meta));
                self.cluster = Some(Arc::new(cluster));
                touched.cluster = true;
            }
            Change::FinishRotation { root_ca } => self.finish_rotation(root_ca, touched),
            Change::PutNode(node) => {
                let mut node = (**node).clone();
                node.meta = self.stamp(self.nodes.get(&node.id).map(|old| old.meta));
                touched.nodes.insert(node.id);
                self.nodes.insert(node.id, Arc::new(node));
            }
            Change::NodeStatus { id, status } => self.change_node(id, touched, |node| node.status = status.clone()),
            Change::NodeDescription { id, description } => self.change_node(id, touched, |node| node.description = description.clone()),
            Change::RemoveNode(id) => {
                touched.nodes.insert(*id);
                self.nodes.remove(id);
                self.sessions.remove(id);
                self.forget_failures_on(id);
            }
            Change::NodeSession { id, session } => self.set_session(*id, *session),
            Change::PutTemplate(template) => {
                let key = (template.service, template.version);
                loose.insert(key);
                self.templates.entry(key).or_insert_with(|| TemplateRow { template: template.clone(), tasks: 0 });
            }
            Change::PutService(service) => self.put_service(service, touched, loose),
            Change::ServiceUpdateStatus { id, status } => {
                if let Some(old) = self.services.get(id).cloned() {
                    let mut service = (*old).clone();
                    service.update_status = status.clone();
                    // The version stays: a rollout that goes on must not make its user's next write "out of sequence".
                    service.meta.updated_at = self.time;
                    touched.services.insert(*id);
                    self.services.insert(*id, Arc::new(service));
                }
            }
            Change::RemoveService(id) => self.remove_service(id, touched, loose),
            Change::CreateTasks(new) => self.create_tasks(new, false, touched),
            Change::CreateWaiting(new) => self.create_tasks(new, true, touched),
            Change::Claim { resources, tasks } => tasks.iter().for_each(|id| self.claim(id, resources, touched)),
            Change::RegistryAuth { service, auth } => self.put_auth(*service, auth),
            Change::AssignTasks { nodes, rows } => {
                let placed = rows.iter().filter_map(|(id, node)| Some((id, *nodes.get(*node as usize)?)));
                placed.for_each(|(id, node)| self.assign(id, node, touched));
            }
            Change::SetDesired { desired, tasks } => tasks.iter().for_each(|id| self.set_desired(id, *desired, touched)),
            Change::Explain { reason, tasks } => tasks.iter().for_each(|id| self.explain(id, reason, touched)),
            Change::RemoveTasks(tasks) => {
                for id in tasks {
                    if let Some(task) = self.remove_task(id, touched) {
                        loose.insert((task.service, task.template));
                        if let Some(node) = task.node {
                            touched.tasks_by_node.entry(node).or_default().push(*id);
                        }
                    }
                }
            }
            Change::Statuses { node, session, rows } => self.statuses(node, session, rows, touched),
            Change::Judge { status, tasks } => {
                let status = self.texts.share_status(status);
                tasks.iter().for_each(|id| self.merge_status(id, status.clone(), touched));
            }
            Change::PutNetwork(network) => self.put_network(network),
            Change::RemoveNetwork(id) => self.remove_network(id),
        }
    }

    /// The new root is believed; one that has been replaced meanwhile is not.
    fn finish_rotation(&mut self, root_ca: &str, touched: &mut Touched) {
        let Some(old) = self.cluster.as_ref() else { return };
        let Some(rotation) = old.rotation.as_ref().filter(|rotation| rotation.root_ca == root_ca) else { return };
        let rotation = (**rotation).clone();
        let finished = Cluster {
            meta: self.stamp(Some(old.meta)),
            root_ca: rotation.root_ca,
            root_key: rotation.root_key,
            issuer: rotation.issuer,
            cross_signed: Some(rotation.cross_signed),
            join_tokens: rotation.join_tokens,
            rotation: None,
            ..(**old).clone()
        };
        self.cluster = Some(Arc::new(finished));
        touched.cluster = true;
    }

    fn set_session(&mut self, node: NodeId, session: SessionId) {
        if self.nodes.contains_key(&node) {
            self.sessions.insert(node, session);
        }
    }

    fn put_auth(&mut self, service: ServiceId, auth: &Arc<ServiceAuth>) {
        if self.services.contains_key(&service) {
            self.auths.insert(service, auth.clone());
        }
    }

    /// Version and times of an object that this entry changes.
    pub(super) fn stamp(&self, old: Option<Meta>) -> Meta {
        Meta { version: self.index, created_at: old.map_or(self.time, |meta| meta.created_at), updated_at: self.time }
    }

    fn remember(&mut self, id: RequestId, outcome: &Outcome) {
        if self.outcomes.insert(id, Arc::new(outcome.clone())).is_some() {
            return;
        }
        self.request_order.push_back(id);
        while self.request_order.len() > REMEMBERED_REQUESTS {
            if let Some(oldest) = self.request_order.pop_front() {
                self.outcomes.remove(&oldest);
            }
        }
    }

    fn change_node(&mut self, id: &NodeId, touched: &mut Touched, change: impl FnOnce(&mut Node)) {
        let Some(old) = self.nodes.get(id).cloned() else { return };
        let mut node = (*old).clone();
        change(&mut node);
        if node == *old {
            return;
        }
        node.meta = self.stamp(Some(old.meta));
        touched.nodes.insert(*id);
        self.nodes.insert(*id, Arc::new(node));
    }

    fn put_service(&mut self, service: &Service, touched: &mut Touched, loose: &mut Loose) {
        if self.is_taken(service) {
            return;
        }
        let mut service = service.clone();
        if let Some(old) = self.services.get(&service.id).cloned() {
            self.unindex_service(&old);
            loose.extend(templates_of(&old));
            service.meta = self.stamp(Some(old.meta));
            // A removal is final: no later write brings the service back.
            service.pending_delete |= old.pending_delete;
        } else {
            service.meta = self.stamp(None);
        }
        self.index_service(&service);
        touched.services.insert(service.id);
        self.services.insert(service.id, Arc::new(service));
    }

    /// True when another service has the name or a port. Guards say so first; here it keeps names and ports unique whatever comes.
    fn is_taken(&self, service: &Service) -> bool {
        let other = |owner: Option<&ServiceId>| owner.is_some_and(|owner| *owner != service.id);
        let ports = || service.ports.iter().filter(|port| is_ingress(port)).any(|port| other(self.ports.get(&(port.protocol, port.published))));
        !service.pending_delete && (other(self.names.get(service.name())) || ports())
    }

    /// A service goes when its last task is gone; with tasks left this does nothing.
    fn remove_service(&mut self, id: &ServiceId, touched: &mut Touched, loose: &mut Loose) {
        if self.by_service.contains_key(id) {
            return;
        }
        self.auths.remove(id);
        self.forget_failures(id);
        if let Some(old) = self.services.remove(id) {
            self.unindex_service(&old);
            loose.extend(templates_of(&old));
            touched.services.insert(*id);
        }
    }

    pub(super) fn index_service(&mut self, service: &Service) {
        if service.pending_delete {
            return;
        }
        self.names.entry(service.name().into()).or_insert(service.id);
        for port in service.ports.iter().filter(|port| is_ingress(port)) {
            self.ports.entry((port.protocol, port.published)).or_insert(service.id);
        }
        if matches!(service.spec.mode, ServiceMode::Global | ServiceMode::GlobalJob) {
            self.globals.insert(service.id);
        }
    }

    fn unindex_service(&mut self, service: &Service) {
        if self.names.get(service.name()) == Some(&service.id) {
            self.names.remove(service.name());
        }
        for port in &service.ports {
            let key = (port.protocol, port.published);
            if self.ports.get(&key) == Some(&service.id) {
                self.ports.remove(&key);
            }
        }
        self.globals.remove(&service.id);
    }

    /// Drops a template that no task and no spec names.
    fn drop_template(&mut self, key: (ServiceId, u64)) {
        let named = self.services.get(&key.0).is_some_and(|service| service.template == key.1 || service.previous_template == Some(key.1));
        if !named && self.templates.get(&key).is_some_and(|row| row.tasks == 0) {
            self.templates.remove(&key);
        }
    }

    /// Puts new tasks; those with a node are assigned to it, unless they wait for room there (`wait`).
    fn create_tasks(&mut self, new: &NewTasks, wait: bool, touched: &mut Touched) {
        let wanted = self.services.get(&new.service).is_some_and(|service| !service.pending_delete);
        if !wanted || !self.templates.contains_key(&(new.service, new.template)) {
            return;
        }
        let meta = self.stamp(None);
        let [waits, assigned] = [(TaskState::Pending, WAITS), (TaskState::Assigned, ASSIGNED)]
            .map(|(state, message)| self.texts.share_status(&TaskStatus::new(state, self.time, message)));
        let nodes: Vec<Option<NodeId>> = new.nodes.iter().map(|id| self.nodes.contains_key(id).then_some(*id)).collect();
        let tasks = new.rows.iter().map(|row| {
            let node = row.node.and_then(|at| nodes.get(at as usize).copied().flatten());
            Task {
                id: row.id,
                meta,
                service: new.service,
                slot: row.slot,
                template: new.template,
                node,
                desired: new.desired,
                restart_at: new.restart_at,
                replaces: row.replaces,
                job_iteration: new.job_iteration,
                status: if node.is_some() && !wait { assigned.clone() } else { waits.clone() },
                attempts: new.attempts,
                ended_at: None,
                claims: None,
            }
        });
        self.insert_tasks((new.service, new.template), tasks, touched);
    }

    fn assign(&mut self, id: &TaskId, node: NodeId, touched: &mut Touched) {
        if !self.nodes.contains_key(&node) {
            return;
        }
        let status = self.texts.share_status(&TaskStatus::new(TaskState::Assigned, self.time, ASSIGNED));
        let changed = self.change_task(id, touched, |task| {
            let waits = task.node.is_none_or(|own| own == node) && task.is_runnable() && task.status.state < TaskState::Assigned;
            if waits {
                task.node = Some(node);
                task.status = status;
            }
            waits
        });
        if changed {
            touched.tasks_by_node.entry(node).or_default().push(*id);
        }
    }

    /// A task is given what it reserves once, when it is put on its node.
    fn claim(&mut self, id: &TaskId, resources: &Arc<[GenericResource]>, touched: &mut Touched) {
        let mut node = None;
        self.change_task(id, touched, |task| {
            let open = task.is_placed() && task.status.state == TaskState::Assigned && task.claims.is_none();
            if open {
                node = task.node;
                task.claims = Some(resources.clone());
            }
            open
        });
        if let Some(node) = node {
            touched.tasks_by_node.entry(node).or_default().push(*id);
        }
    }

    fn set_desired(&mut self, id: &TaskId, desired: DesiredState, touched: &mut Touched) {
        let mut node = None;
        let changed = self.change_task(id, touched, |task| {
            node = task.node;
            let forward = desired > task.desired;
            if forward {
                task.desired = desired;
            }
            forward
        });
        if let Some(node) = node.filter(|_| changed) {
            touched.tasks_by_node.entry(node).or_default().push(*id);
        }
    }

    fn explain(&mut self, id: &TaskId, reason: &Arc<str>, touched: &mut Touched) {
        let (reason, time) = (self.texts.share(reason), self.time);
        self.change_task(id, touched, |task| {
            let differs = task.status.state < TaskState::Assigned && task.status.err != reason;
            if differs {
                task.status.err = reason;
                task.status.at = time;
            }
            differs
        });
    }

    fn statuses(&mut self, node: &NodeId, session: &SessionId, rows: &[(TaskId, TaskStatus)], touched: &mut Touched) {
        if self.sessions.get(node) != Some(session) {
            return;
        }
        for (id, status) in rows {
            let theirs = self.tasks.get(id).is_some_and(|task| task.node == Some(*node) && task.is_placed());
            // Orphaned is the planner's word about a node that is gone; a node cannot say it of itself.
            if theirs && status.state != TaskState::Orphaned {
                let was_live = self.tasks.get(id).is_some_and(|task| task.status.state.is_live());
                let status = self.texts.share_status(status);
                self.merge_status(id, status, touched);
                if was_live {
                    self.note_failure(id);
                }
            }
        }
    }

    fn merge_status(&mut self, id: &TaskId, status: TaskStatus, touched: &mut Touched) {
        let (state, time) = (status.state, self.time);
        let mut service = None;
        let changed = self.change_task(id, touched, |task| {
            let moved = task.status.state != status.state;
            // An end is final: no later word makes another end of it.
            let open = task.status.state.is_live() || !moved;
            let forward = open && status.supersedes(&task.status);
            if forward {
                if task.status.state.is_live() && !status.state.is_live() {
                    task.ended_at = Some(time);
                }
                task.status = status;
                service = moved.then_some(task.service);
            }
            forward
        });
        let Some(service) = service.filter(|_| changed) else { return };
        if !state.is_live() || (state == TaskState::Running && self.is_rolling(&service)) {
            touched.decide.insert(service);
        }
    }

    /// True while an update of the service goes on.
    fn is_rolling(&self, id: &ServiceId) -> bool {
        let status = self.services.get(id).and_then(|service| service.update_status.as_ref());
        status.is_some_and(|status| matches!(status.state, UpdateState::Updating | UpdateState::RollbackStarted))
    }
}

fn is_ingress(port: &PortConfig) -> bool {
    port.mode == PublishMode::Ingress && port.published != 0
}

fn templates_of(service: &Service) -> impl Iterator<Item = (ServiceId, u64)> {
    let id = service.id;
    std::iter::once(service.template).chain(service.previous_template).map(move |version| (id, version))
}
