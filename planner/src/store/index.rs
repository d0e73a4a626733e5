//! Secondary indexes of tasks: what a task adds to its node's and its service's counts, and how that changes.
//!
//! Owns: [`Load`], [`Placed`], and the two functions through which every change of a task goes.
//! Invariant: an index is the sum of the [`Share`]s of the tasks in the table; a share depends on the task and its (immutable) template only.

use super::{Store, TemplateRow, Touched};
use imbl::OrdMap;
use std::sync::Arc;
use wsw_api::id::{NodeId, ServiceId, TaskId};
use wsw_api::spec::{Protocol, PublishMode};
use wsw_api::task::{Task, TaskState};

/// What the tasks of a node use of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Load {
    /// Tasks that are, or may come, up.
    pub active: u32,
    /// Reserved by tasks that have not ended.
    pub nano_cpus: u64,
    pub memory_bytes: u64,
    /// Tasks among them that reserve generic resources.
    pub claiming: u32,
}

/// Tasks of one service on one node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Placed {
    /// That are, or may come, up.
    pub active: u32,
    /// That run and should go on running: what the ingress balances over.
    pub running: u32,
}

/// What one task adds to the indexes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Share {
    node: Option<NodeId>,
    active: bool,
    running: bool,
    /// Holds its reservations and host ports: it was put on a node and has not ended.
    holds: bool,
    /// Wanted, and waits for a node.
    unplaced: bool,
}

impl Share {
    fn of(task: &Task) -> Self {
        let placed = task.is_placed();
        Self {
            node: task.node,
            active: placed && task.is_runnable(),
            running: placed && task.status.state == TaskState::Running && task.desired.wants_run(),
            holds: placed && task.status.state.is_live(),
            unplaced: !placed && task.is_runnable(),
        }
    }
}

impl Store {
    /// Puts a task that is new to the table.
    pub(super) fn insert_task(&mut self, task: Task, touched: &mut Touched) {
        self.by_service.entry(task.service).or_default().insert((task.slot, task.id));
        if let Some(node) = task.node {
            self.by_node.entry(node).or_default().insert(task.id);
        }
        if let Some(row) = self.templates.get_mut(&(task.service, task.template)) {
            row.tasks = row.tasks.saturating_add(1);
        }
        self.shift(&task, Share::default(), Share::of(&task), 1, touched);
        self.tasks.insert(task.id, Arc::new(task));
    }

    /// Puts new tasks of one service and template, which differ in id, slot and place only: each index is touched once per
    /// node and not once per task. An id that is taken already is left alone.
    pub(super) fn insert_tasks(&mut self, template: (ServiceId, u64), tasks: impl Iterator<Item = Task>, touched: &mut Touched) {
        let service = template.0;
        let slots = self.by_service.entry(service).or_default();
        let mut places: Vec<(Option<NodeId>, TaskId)> = Vec::new();
        for task in tasks {
            let (id, slot, node) = (task.id, task.slot, task.node);
            if let Some(old) = self.tasks.insert(id, Arc::new(task)) {
                self.tasks.insert(id, old);
                continue;
            }
            slots.insert((slot, id));
            places.push((node, id));
        }
        if slots.is_empty() {
            self.by_service.remove(&service);
        }
        if let Some(row) = self.templates.get_mut(&template) {
            row.tasks = row.tasks.saturating_add(to_u32(places.len()));
        }
        places.sort_unstable();
        for group in places.chunk_by(|a, b| a.0 == b.0) {
            let Some((node, sample)) = group.first().and_then(|(node, id)| Some((*node, self.tasks.get(id)?.clone()))) else { continue };
            let share = Share::of(&sample);
            if let Some(node) = node {
                self.by_node.entry(node).or_default().extend(group.iter().map(|(_, id)| *id));
                touched.tasks_by_node.entry(node).or_default().extend(group.iter().map(|(_, id)| *id));
            }
            self.shift(&sample, Share::default(), share, to_u32(group.len()), touched);
        }
    }

    /// Changes a task in place. The closure says whether it changed anything.
    pub(super) fn change_task(&mut self, id: &TaskId, touched: &mut Touched, change: impl FnOnce(&mut Task) -> bool) -> bool {
        let (index, time) = (self.index, self.time);
        let Some(slot) = self.tasks.get_mut(id) else { return false };
        let before = Share::of(slot);
        let task = Arc::make_mut(slot);
        if !change(task) {
            return false;
        }
        task.meta.version = index;
        task.meta.updated_at = time;
        let after = Share::of(task);
        if before == after {
            return true;
        }
        let task = slot.clone();
        if before.node != after.node {
            if let Some(set) = before.node.and_then(|node| self.by_node.get_mut(&node)) {
                set.remove(id);
            }
            if let Some(node) = after.node {
                self.by_node.entry(node).or_default().insert(*id);
            }
        }
        self.shift(&task, before, after, 1, touched);
        true
    }

    /// Takes a task out of the table and says which template may be unused now.
    pub(super) fn remove_task(&mut self, id: &TaskId, touched: &mut Touched) -> Option<Arc<Task>> {
        let task = self.tasks.remove(id)?;
        if let Some(set) = self.by_service.get_mut(&task.service) {
            set.remove(&(task.slot, task.id));
            if set.is_empty() {
                self.by_service.remove(&task.service);
            }
        }
        if let Some(node) = task.node
            && let Some(set) = self.by_node.get_mut(&node)
        {
            set.remove(id);
            if set.is_empty() {
                self.by_node.remove(&node);
            }
        }
        if let Some(row) = self.templates.get_mut(&(task.service, task.template)) {
            row.tasks = row.tasks.saturating_sub(1);
        }
        self.shift(&task, Share::of(&task), Share::default(), 1, touched);
        Some(task)
    }

    /// Moves the counts from what `tasks` tasks like this one added before to what they add now.
    fn shift(&mut self, task: &Task, before: Share, after: Share, tasks: u32, touched: &mut Touched) {
        if before.unplaced != after.unplaced {
            count(&mut self.unplaced, task.service, after.unplaced, tasks);
        }
        if before.node == after.node {
            if let Some(node) = after.node {
                self.shift_on(node, task, before, after, tasks, touched);
            }
            return;
        }
        if let Some(node) = before.node {
            self.shift_on(node, task, before, Share::default(), tasks, touched);
        }
        if let Some(node) = after.node {
            self.shift_on(node, task, Share::default(), after, tasks, touched);
        }
    }

    fn shift_on(&mut self, node: NodeId, task: &Task, before: Share, after: Share, tasks: u32, touched: &mut Touched) {
        if before.active != after.active || before.running != after.running {
            let of_service = self.placed.entry(task.service).or_default();
            let placed = of_service.entry(node).or_default();
            step(&mut placed.active, before.active, after.active, tasks);
            step(&mut placed.running, before.running, after.running, tasks);
            if *placed == Placed::default() {
                of_service.remove(&node);
                if of_service.is_empty() {
                    self.placed.remove(&task.service);
                }
            }
            if before.running != after.running || before.active != after.active {
                touched.endpoints.insert(task.service);
            }
        }
        if before.active != after.active || before.holds != after.holds {
            let load = self.loads.entry(node).or_default();
            step(&mut load.active, before.active, after.active, tasks);
            if before.holds != after.holds
                && let Some(row) = self.templates.get(&(task.service, task.template))
            {
                hold(load, row, after.holds, tasks);
                for (protocol, port) in host_ports(row) {
                    count(&mut self.host_ports, (node, protocol, port), after.holds, tasks);
                }
            }
            if *load == Load::default() {
                self.loads.remove(&node);
            }
            touched.capacity |= before.holds && !after.holds;
        }
    }
}

fn hold(load: &mut Load, row: &TemplateRow, holds: bool, tasks: u32) {
    let wants = row.template.spec.resources.reservations;
    let change = if holds { u64::saturating_add } else { u64::saturating_sub };
    load.nano_cpus = change(load.nano_cpus, wants.nano_cpus.saturating_mul(u64::from(tasks)));
    load.memory_bytes = change(load.memory_bytes, wants.memory_bytes.saturating_mul(u64::from(tasks)));
    if !row.template.spec.resources.generic.is_empty() {
        step(&mut load.claiming, !holds, holds, tasks);
    }
}

/// The ports that a task of the template binds on its own node.
fn host_ports(row: &TemplateRow) -> impl Iterator<Item = (Protocol, u16)> + '_ {
    let ports = row.template.endpoint.ports.iter();
    ports.filter(|port| port.mode == PublishMode::Host && port.published != 0).map(|port| (port.protocol, port.published))
}

fn step(counter: &mut u32, before: bool, after: bool, tasks: u32) {
    *counter = counter.saturating_add(u32::from(after) * tasks).saturating_sub(u32::from(before) * tasks);
}

fn to_u32(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// So many more or less; a count of zero is not kept.
fn count<K: Ord + Clone>(map: &mut OrdMap<K, u32>, key: K, more: bool, tasks: u32) {
    let counter = map.entry(key.clone()).or_default();
    step(counter, !more, more, tasks);
    if *counter == 0 {
        map.remove(&key);
    }
}
