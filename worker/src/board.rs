//! The statuses of this node's tasks, and which of them the leader has not confirmed yet.
//!
//! Owns: one row per task. Drivers post, the agent takes batches, the API and the ingress read.
//! Invariants: a status only moves forward; what is not yet committed is one status per task, the newest: bounded by the number
//! of tasks, whatever the leader does; the lock is held for plain memory work only, never across an await.
//! Never: talks to anyone.

use crate::clock;
use crate::events::Ring;
use crate::execs::Execs;
use crate::hands::Hands;
use crate::health::Wards;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;
use wsw_api::event::{TaskEvent, What};
use wsw_api::object::Template;
use wsw_api::session::AssignedTask;
use wsw_api::{NodeId, ServiceId, TaskId, TaskState, TaskStatus, Time};

/// A task of this node, for `ps`, `inspect` and the logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalTask {
    pub id: TaskId,
    pub service: ServiceId,
    pub slot: u32,
    pub status: TaskStatus,
    pub created: Time,
    pub started: Option<Time>,
    pub finished: Option<Time>,
    /// A user removed what was left of it: it is its service's history only.
    pub put_away: bool,
    /// What it runs, once that is known.
    pub template: Option<Arc<Template>>,
}

#[derive(Debug)]
struct Row {
    local: LocalTask,
    /// It was created on this node: its end and its going are told.
    told: bool,
    /// It is wanted up: connections may wait for it.
    wanted: bool,
    /// It is in `pending`.
    queued: bool,
}

#[derive(Debug, Default)]
struct Inner {
    rows: BTreeMap<TaskId, Row>,
    /// Tasks whose status the leader has not been sent, the oldest first; forgotten tasks are skipped when they come up.
    pending: VecDeque<TaskId>,
    /// What hinders a service's published ports here.
    problems: BTreeMap<ServiceId, Arc<str>>,
}

/// See the module's page.
#[derive(Debug, Default)]
pub struct Board {
    inner: Mutex<Inner>,
    /// Woken when there is something to send.
    pub changed: Notify,
    /// What happened to tasks.
    pub events: Ring<TaskEvent>,
    /// Who can reach the tasks that are driven.
    pub hands: Hands,
    /// Commands in tasks.
    pub execs: Execs,
    /// What health checks found.
    pub wards: Wards,
    /// This node, for events.
    pub node: NodeId,
}

impl Inner {
    fn queue(&mut self, id: TaskId) {
        if let Some(row) = self.rows.get_mut(&id).filter(|row| !row.queued) {
            row.queued = true;
            self.pending.push_back(id);
        }
    }
}

impl Row {
    fn event(&self, at: Time, what: What, node: NodeId) -> TaskEvent {
        let LocalTask { id, service, slot, .. } = self.local;
        TaskEvent { at, task: id, service, slot, node, template: self.local.template.clone(), what }
    }

    /// What a change of state is to those outside: some states are nobody's business.
    fn happened(&mut self, before: TaskState) -> Vec<What> {
        let (now, at) = (self.local.status.state, self.local.status.at);
        let ran = before >= TaskState::Starting || self.local.status.exit_code.is_some();
        let mut what = Vec::new();
        if !self.told && (now >= TaskState::Ready) && (now.is_live() || ran) {
            self.told = true;
            what.push(What::Created);
        }
        if before < TaskState::Running && now == TaskState::Running {
            what.push(What::Started);
        }
        if before.is_live() && !now.is_live() && self.told && ran {
            let ran_for = self.local.started.map_or(0, |started| at.since(started));
            what.push(What::Ended { code: self.local.status.exit_code.unwrap_or(1), ran_for });
            what.extend((now == TaskState::Shutdown).then_some(What::Stopped));
        }
        what
    }
}

impl Board {
    /// The board of this node.
    pub fn of(node: NodeId) -> Self {
        Self { node, ..Self::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing in this module can leave a row half written.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new task, not yet reported.
    pub fn add(&self, task: &AssignedTask, wanted: bool) {
        let now = clock::now();
        let status = TaskStatus::new(TaskState::Assigned, now, "assigned");
        let (id, service, slot) = (task.id, task.service, task.slot);
        let local = LocalTask { id, service, slot, status, created: now, started: None, finished: None, put_away: false, template: None };
        self.lock().rows.entry(task.id).or_insert(Row { local, told: false, wanted, queued: false });
    }

    /// A task as the disk remembers it.
    pub fn restore(&self, local: LocalTask, wanted: bool) {
        let told = local.status.state >= TaskState::Running && !local.put_away;
        self.lock().rows.insert(local.id, Row { local, told, wanted, queued: false });
    }

    /// Whether it should be up.
    pub fn set_wanted(&self, id: TaskId, wanted: bool) {
        if let Some(row) = self.lock().rows.get_mut(&id) {
            row.wanted = wanted;
        }
    }

    /// Takes a status over, unless it would lead back.
    pub fn post(&self, id: TaskId, mut status: TaskStatus) {
        let node = self.node;
        let mut inner = self.lock();
        let Inner { rows, problems, .. } = &mut *inner;
        let Some(row) = rows.get_mut(&id) else { return };
        if status.state < row.local.status.state {
            return;
        }
        if status.state == TaskState::Running && status.err.is_empty() {
            status.err = problems.get(&row.local.service).cloned().unwrap_or_default();
        }
        if status.state == TaskState::Running && row.local.started.is_none() {
            row.local.started = Some(status.at);
        }
        if !status.state.is_live() && row.local.finished.is_none() {
            row.local.finished = Some(status.at);
        }
        let before = std::mem::replace(&mut row.local.status, status).state;
        // Below the lock: events of one task come in the order of its states.
        for what in row.happened(before) {
            self.events.send(row.event(row.local.status.at, what, node));
        }
        inner.queue(id);
        drop(inner);
        self.changed.notify_one();
    }

    /// Tells what happened to a task apart from its states.
    pub fn tell(&self, id: TaskId, what: What) {
        if let Some(row) = self.lock().rows.get(&id) {
            self.events.send(row.event(clock::now(), what, self.node));
        }
    }

    /// Queues what is known again: a session began and the leader may not have it.
    pub fn requeue(&self, ids: impl IntoIterator<Item = TaskId>) {
        let mut inner = self.lock();
        ids.into_iter().for_each(|id| inner.queue(id));
        drop(inner);
        self.changed.notify_one();
    }

    /// What hinders the published ports of services; a running task's status says it, and no longer when it is over.
    pub fn set_problems(&self, problems: BTreeMap<ServiceId, Arc<str>>) {
        let mut inner = self.lock();
        if inner.problems == problems {
            return;
        }
        let mut touched = Vec::new();
        for row in inner.rows.values_mut().filter(|row| row.local.status.state == TaskState::Running) {
            let text = problems.get(&row.local.service).cloned().unwrap_or_default();
            if row.local.status.err != text {
                row.local.status.err = text;
                row.local.status.at = clock::now();
                touched.push(row.local.id);
            }
        }
        inner.problems = problems;
        touched.into_iter().for_each(|id| inner.queue(id));
        drop(inner);
        self.changed.notify_one();
    }

    /// True when a status waits to be sent.
    pub fn has_pending(&self) -> bool {
        !self.lock().pending.is_empty()
    }

    /// The next statuses to send, the oldest first.
    pub fn take(&self, limit: usize) -> Vec<(TaskId, TaskStatus)> {
        let mut inner = self.lock();
        let mut batch = Vec::with_capacity(limit.min(inner.pending.len()));
        while batch.len() < limit {
            let Some(id) = inner.pending.pop_front() else { break };
            if let Some(row) = inner.rows.get_mut(&id) {
                row.queued = false;
                batch.push((id, row.local.status.clone()));
            }
        }
        batch
    }

    /// Of statuses that are committed, the rows that the disk should remember: running or ended, and nothing newer waits.
    pub fn committed(&self, sent: &[(TaskId, Time)]) -> Vec<LocalTask> {
        let inner = self.lock();
        let current = sent.iter().filter_map(|(id, at)| inner.rows.get(id).filter(|row| row.local.status.at == *at));
        current.filter(|row| row.local.status.state >= TaskState::Running).map(|row| row.local.clone()).collect()
    }

    /// One task.
    pub fn get(&self, id: TaskId) -> Option<LocalTask> {
        self.lock().rows.get(&id).map(|row| row.local.clone())
    }

    /// All tasks.
    pub fn tasks(&self) -> Vec<LocalTask> {
        self.lock().rows.values().map(|row| row.local.clone()).collect()
    }

    /// The tasks of one service.
    pub fn of_service(&self, service: ServiceId) -> Vec<TaskId> {
        self.lock().rows.values().filter(|row| row.local.service == service).map(|row| row.local.id).collect()
    }

    /// True when the service has a task here that can take connections, now or soon.
    pub fn may_serve(&self, service: ServiceId) -> bool {
        self.lock().rows.values().any(|row| row.local.service == service && row.wanted && row.local.status.state.is_live())
    }

    /// Tasks that run and should, for ports that are published on the task's own node.
    pub fn running(&self) -> Vec<TaskId> {
        let inner = self.lock();
        let running = inner.rows.values().filter(|row| row.wanted && row.local.status.state == TaskState::Running);
        running.map(|row| row.local.id).collect()
    }

    /// What a task runs.
    pub fn set_template(&self, id: TaskId, template: &Arc<Template>) {
        if let Some(row) = self.lock().rows.get_mut(&id) {
            row.local.template = Some(Arc::clone(template));
        }
    }

    /// Images of tasks that have not ended, each with one of them.
    pub fn images(&self) -> BTreeMap<Arc<str>, TaskId> {
        let inner = self.lock();
        let templates: BTreeMap<_, _> = inner
            .rows
            .iter()
            .filter(|(_, row)| row.local.status.state.is_live())
            .filter_map(|(id, row)| row.local.template.as_ref().map(|template| ((template.service, template.version), (template, *id))))
            .collect();
        templates.values().map(|(template, id)| (template.spec.container.image.as_str().into(), *id)).collect()
    }

    /// A user removes what is left of an ended task; false when there is no such task.
    pub fn put_away(&self, id: TaskId) -> bool {
        let mut inner = self.lock();
        let Some(row) = inner.rows.get_mut(&id).filter(|row| !row.local.status.state.is_live() && !row.local.put_away) else { return false };
        row.local.put_away = true;
        if std::mem::take(&mut row.told) {
            self.events.send(row.event(clock::now(), What::Destroyed, self.node));
        }
        true
    }

    /// Drops a task that is gone for good.
    pub fn forget(&self, id: TaskId) {
        let gone = self.lock().rows.remove(&id);
        if let Some(row) = gone.filter(|row| row.told) {
            self.events.send(row.event(clock::now(), What::Destroyed, self.node));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::fake::{assigned, service_id, task_id};
    use wsw_api::DesiredState;

    fn board(tasks: u8) -> Board {
        let board = Board::default();
        (1..=tasks).for_each(|n| board.add(&assigned(n, DesiredState::Running), true));
        board
    }

    fn post(board: &Board, n: u8, state: TaskState) {
        board.post(task_id(n), TaskStatus::new(state, clock::now(), state.as_str()));
    }

    #[test]
    fn only_the_newest_status_of_a_task_waits() {
        let board = board(2);
        for state in [TaskState::Accepted, TaskState::Running, TaskState::Preparing] {
            post(&board, 1, state);
        }
        post(&board, 2, TaskState::Accepted);
        let states: Vec<_> = board.take(10).into_iter().map(|(id, status)| (id, status.state)).collect();
        assert_eq!(states, [(task_id(1), TaskState::Running), (task_id(2), TaskState::Accepted)]);
        assert!(!board.has_pending());
    }

    #[test]
    fn only_what_is_still_so_counts_as_committed() {
        let board = board(2);
        post(&board, 1, TaskState::Running);
        post(&board, 2, TaskState::Running);
        let sent: Vec<_> = board.take(10).into_iter().map(|(id, status)| (id, status.at)).collect();
        post(&board, 2, TaskState::Failed);
        assert_eq!(board.committed(&sent).into_iter().map(|row| row.id).collect::<Vec<_>>(), [task_id(1)]);
        assert_eq!(board.take(10).len(), 1);
        board.requeue(sent.iter().map(|(id, _)| *id));
        assert_eq!(board.take(10).len(), 2);
    }

    #[test]
    fn a_port_that_cannot_be_bound_shows_in_running_tasks_until_it_can() {
        let board = board(2);
        post(&board, 1, TaskState::Running);
        let before = board.take(10)[0].1.clone();
        board.set_problems(BTreeMap::from([(service_id(1), Arc::from("port 80/tcp: address already in use"))]));
        let (_, during) = board.take(10).remove(0);
        assert!(during.supersedes(&before));
        assert_eq!(&*during.err, "port 80/tcp: address already in use");
        post(&board, 2, TaskState::Running);
        assert_eq!(&*board.take(10)[0].1.err, "port 80/tcp: address already in use");
        board.set_problems(BTreeMap::new());
        let after = board.take(10);
        assert!(after.len() == 2 && after.iter().all(|(_, status)| status.err.is_empty()));
        assert!(after[0].1.supersedes(&during));
    }
}
