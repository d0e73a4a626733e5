//! What one worker was sent, and the frames that bring it up to date.
//!
//! Owns: the sent set, the templates that the worker holds, the pace of the tables' differences.
//! Invariants: a template comes before, or with, the first task that names it; both sides forget it with its last task;
//! no frame is larger than its bounds. Within a frame a worker takes templates, then tasks, then removals.

use super::endpoints::{Seen, Tables};
use crate::Store;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use wsw_api::id::{NodeId, ServiceId, SessionId, TaskId};
use wsw_api::object::Template;
use wsw_api::registry::RegistryAuth;
use wsw_api::session::{AssignedTask, Assignments, MAX_TASKS};
use wsw_api::task::{DesiredState, Task, TaskState};
use wsw_api::time::{MILLISECOND, Nanos, Time};

/// Differences of the tables that all workers have are at least so far apart in one session (DESIGN section 8).
const TABLES_EVERY: Nanos = 100 * MILLISECOND;
/// Templates in one frame: a frame is then about the size of a log entry.
const MAX_TEMPLATE_BYTES: usize = 1024 * 1024;
/// Removed ids and endpoint rows in one frame; both are small, but neither may be without bound.
const MAX_REMOVED: usize = 10_000;
const MAX_ENDPOINTS: usize = 500;
const MAX_PEERS: usize = 2_000;
/// Credentials in one frame: each may be 64 KiB.
const MAX_AUTHS: usize = 64;

/// One session's view of the set.
#[derive(Debug)]
pub(super) struct Sent {
    boot: SessionId,
    fresh: bool,
    tasks: BTreeMap<TaskId, (DesiredState, ServiceId, u64)>,
    /// Templates with the number of sent tasks that name them.
    templates: BTreeMap<(ServiceId, u64), u32>,
    /// Credentials as the worker has them.
    auths: BTreeMap<ServiceId, Option<RegistryAuth>>,
    /// Tasks that may have changed.
    dirty: BTreeSet<TaskId>,
    seen: Seen,
    tables_at: Time,
}

impl Sent {
    pub(super) fn new(boot: SessionId) -> Self {
        Self {
            boot,
            fresh: true,
            tasks: BTreeMap::new(),
            templates: BTreeMap::new(),
            auths: BTreeMap::new(),
            dirty: BTreeSet::new(),
            seen: Seen::default(),
            tables_at: Time(0),
        }
    }

    pub(super) fn boot(&self) -> SessionId {
        self.boot
    }

    pub(super) fn seen(&self) -> Seen {
        self.seen
    }

    pub(super) fn mark(&mut self, tasks: &[TaskId]) {
        // The complete set reads everything anyway.
        if !self.fresh {
            self.dirty.extend(tasks);
        }
    }

    /// When the next difference of the tables may go, if there is one.
    pub(super) fn flush_at(&self, tables: &Tables) -> Option<Time> {
        (self.seen != tables.last()).then_some(self.tables_at)
    }

    pub(super) fn is_pending(&self, tables: &Tables, now: Time) -> bool {
        self.fresh || !self.dirty.is_empty() || self.flush_at(tables).is_some_and(|at| at <= now)
    }

    /// Everything that the worker has not been told.
    pub(super) fn frames(&mut self, view: &Store, node: NodeId, tables: &Tables, now: Time) -> Vec<Assignments> {
        let mut frames = Frames { complete: std::mem::take(&mut self.fresh), ..Frames::default() };
        if frames.complete {
            for task in view.tasks_on_node(&node) {
                self.task(view, task, &mut frames);
            }
        } else {
            for id in std::mem::take(&mut self.dirty) {
                match view.task(&id).filter(|task| task.node == Some(node)) {
                    Some(task) => self.task(view, task, &mut frames),
                    None => self.removed(id, &mut frames),
                }
            }
        }
        if self.flush_at(tables).is_some_and(|at| at <= now) {
            self.tables(tables, &mut frames);
            self.tables_at = now.after(TABLES_EVERY);
        }
        frames.finish()
    }

    fn tables(&mut self, tables: &Tables, frames: &mut Frames) {
        for (id, row) in tables.peers.since(self.seen.peers) {
            frames.room(|open| open.peers.len() + open.removed_peers.len() < MAX_PEERS);
            match row {
                Some(row) => frames.open.peers.push(row.clone()),
                None => frames.open.removed_peers.push(id),
            }
        }
        for (id, row) in tables.endpoints.since(self.seen.endpoints) {
            frames.room(|open| open.endpoints.len() + open.removed_endpoints.len() < MAX_ENDPOINTS);
            match row {
                Some(row) => frames.open.endpoints.push(row.clone()),
                None => frames.open.removed_endpoints.push(id),
            }
        }
        self.seen = tables.last();
    }

    fn task(&mut self, view: &Store, task: &Task, frames: &mut Frames) {
        let key = (task.service, task.template);
        let news = (task.desired, task.service, task.template);
        if task.status.state < TaskState::Assigned || self.tasks.get(&task.id) == Some(&news) {
            return;
        }
        frames.room(|open| open.tasks.len() < MAX_TASKS);
        if self.tasks.insert(task.id, news).is_none() {
            self.auth(view, task.service, frames);
            let count = self.templates.entry(key).or_default();
            *count += 1;
            if let Some(template) = view.template(&key.0, key.1).filter(|_| *count == 1) {
                frames.template(template);
            }
        }
        frames.open.tasks.push(AssignedTask {
            id: task.id,
            service: key.0,
            template: key.1,
            slot: task.slot,
            desired: task.desired,
            generic: task.claims.as_deref().unwrap_or_default().to_vec(),
        });
    }

    /// Credentials go where a task of the service goes, and again when they changed since.
    fn auth(&mut self, view: &Store, service: ServiceId, frames: &mut Frames) {
        let auth = view.registry_auth(&service).and_then(|row| row.current.clone());
        let known = self.auths.get(&service).cloned().flatten();
        if auth == known {
            return;
        }
        frames.room(|open| open.auths.len() < MAX_AUTHS);
        frames.open.auths.push((service, auth.clone()));
        self.auths.insert(service, auth);
    }

    fn removed(&mut self, id: TaskId, frames: &mut Frames) {
        let Some((_, service, template)) = self.tasks.remove(&id) else { return };
        if let Some(count) = self.templates.get_mut(&(service, template)) {
            *count -= 1;
            if *count == 0 {
                self.templates.remove(&(service, template));
                // The worker forgets them with the service's last task.
                if !self.templates.keys().any(|(owner, _)| *owner == service) {
                    self.auths.remove(&service);
                }
            }
        }
        frames.room(|open| open.removed.len() < MAX_REMOVED);
        frames.open.removed.push(id);
    }
}

/// Frames in the making.
#[derive(Default)]
struct Frames {
    complete: bool,
    done: Vec<Assignments>,
    open: Assignments,
    template_bytes: usize,
}

impl Frames {
    /// Begins a new frame unless the open one has room.
    fn room(&mut self, has_room: impl FnOnce(&Assignments) -> bool) {
        if !has_room(&self.open) {
            self.close();
        }
    }

    fn template(&mut self, template: &Arc<Template>) {
        let bytes = crate::size::encoded(&**template);
        if !self.open.templates.is_empty() && self.template_bytes + bytes > MAX_TEMPLATE_BYTES {
            self.close();
        }
        self.template_bytes += bytes;
        self.open.templates.push(template.clone());
    }

    fn close(&mut self) {
        self.template_bytes = 0;
        let frame = std::mem::take(&mut self.open);
        self.done.push(Assignments { complete: self.complete, more: true, ..frame });
    }

    fn finish(mut self) -> Vec<Assignments> {
        let empty = self.open == Assignments::default();
        if !empty || (self.complete && self.done.is_empty()) {
            self.close();
        }
        if let Some(last) = self.done.last_mut() {
            last.more = false;
        }
        self.done
    }
}
