//! The statuses of this node's tasks, and which of them the leader has not confirmed yet.
//!
//! Owns: one row per task. Drivers post, the agent takes batches, the API and the ingress read.
//! Invariants: a status only moves forward; what is not yet committed is one status per task, the newest: bounded by the number
//! of tasks, whatever the leader does; the lock is held for plain memory work only, never across an await.
//! Never: talks to anyone.

use crate::clock;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;
use wsw_api::session::AssignedTask;
use wsw_api::{ServiceId, TaskId, TaskState, TaskStatus, Time};

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
}

#[derive(Debug)]
struct Row {
    local: LocalTask,
    image: Arc<str>,
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
}

impl Inner {
    fn queue(&mut self, id: TaskId) {
        if let Some(row) = self.rows.get_mut(&id).filter(|row| !row.queued) {
            row.queued = true;
            self.pending.push_back(id);
        }
    }
}

impl Board {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing in this module can leave a row half written.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new task, not yet reported.
    pub fn add(&self, task: &AssignedTask, wanted: bool) {
        let now = clock::now();
        let status = TaskStatus::new(TaskState::Assigned, now, "assigned");
        let local = LocalTask { id: task.id, service: task.service, slot: task.slot, status, created: now, started: None, finished: None };
        self.lock().rows.entry(task.id).or_insert(Row { local, image: Arc::default(), wanted, queued: false });
    }

    /// A task as the disk remembers it.
    pub fn restore(&self, local: LocalTask, wanted: bool) {
        self.lock().rows.insert(local.id, Row { local, image: Arc::default(), wanted, queued: false });
    }

    /// Whether it should be up.
    pub fn set_wanted(&self, id: TaskId, wanted: bool) {
        if let Some(row) = self.lock().rows.get_mut(&id) {
            row.wanted = wanted;
        }
    }

    /// Takes a status over, unless it would lead back.
    pub fn post(&self, id: TaskId, mut status: TaskStatus) {
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
        row.local.status = status;
        inner.queue(id);
        drop(inner);
        self.changed.notify_one();
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

    /// Which image a task runs.
    pub fn set_image(&self, id: TaskId, image: &str) {
        let mut inner = self.lock();
        if let Some(row) = inner.rows.get_mut(&id) {
            row.image = image.into();
        }
    }

    /// Images of tasks that have not ended.
    pub fn images(&self) -> BTreeSet<Arc<str>> {
        let inner = self.lock();
        let live = inner.rows.values().filter(|row| row.local.status.state.is_live() && !row.image.is_empty());
        live.map(|row| Arc::clone(&row.image)).collect()
    }

    /// Drops a task that is gone for good.
    pub fn forget(&self, id: TaskId) {
        self.lock().rows.remove(&id);
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
