//! The tasks of a model worker: they start, run, fail, stop, as chance and the leader have it.
//!
//! Owns: what runs on one node, and what the leader does not know yet. It outlives the worker's process, as shims do. Invariants: a
//! state only moves forward; a task that was not assigned never runs; a status is kept until it is committed.

use crate::chance;
use crate::host;
use crate::plant::Plant;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use wsw_api::id::{ServiceId, TaskId};
use wsw_api::session::Assignments;
use wsw_api::task::{DesiredState, TaskState, TaskStatus};

/// One task here.
#[derive(Debug, Clone)]
pub struct Local {
    pub service: ServiceId,
    pub desired: DesiredState,
    pub state: TaskState,
    next: Instant,
}

/// All tasks of a node.
#[derive(Debug, Default)]
pub struct Tasks {
    pub here: BTreeMap<TaskId, Local>,
    pending: BTreeMap<TaskId, TaskStatus>,
    sent: BTreeMap<u64, Vec<(TaskId, TaskStatus)>>,
    /// In the complete set that is coming.
    set: Option<BTreeMap<TaskId, ()>>,
    /// How many in a thousand steps fail.
    pub flaky: u64,
    pub plant: Option<Plant>,
}

impl Tasks {
    /// A session begins: what was sent and not committed is sent again, and the set comes anew.
    pub fn begin(&mut self) {
        if self.plant == Some(Plant::LosesStatuses) {
            self.pending.clear();
        }
        self.sent.clear();
        self.set = None;
    }

    /// Takes in what the leader wants.
    pub fn assign(&mut self, assignments: Assignments) {
        if assignments.complete {
            self.set.get_or_insert_default();
        }
        for task in assignments.tasks {
            if let Some(set) = &mut self.set {
                set.insert(task.id, ());
            }
            let new = || Local { service: task.service, desired: task.desired, state: TaskState::Assigned, next: Instant::now() };
            let here = self.here.entry(task.id).or_insert_with(new);
            here.desired = here.desired.max(task.desired);
        }
        for task in assignments.removed {
            self.forget(&task);
        }
        if !assignments.more
            && let Some(set) = self.set.take()
        {
            let gone: Vec<TaskId> = self.here.keys().filter(|task| !set.contains_key(task)).copied().collect();
            gone.iter().for_each(|task| self.forget(task));
        }
    }

    fn forget(&mut self, task: &TaskId) {
        if self.plant == Some(Plant::StartsRemoved)
            && let Some(task) = self.here.get_mut(task).filter(|_| chance::below(4) == 0)
        {
            (task.state, task.desired) = (TaskState::Running, DesiredState::Running);
            return;
        }
        self.here.remove(task);
        self.pending.remove(task);
    }

    /// A moment passes.
    pub fn advance(&mut self) {
        let now = Instant::now();
        let mut said = Vec::new();
        for (id, task) in self.here.iter_mut().filter(|(_, task)| task.state.is_live() && task.next <= now) {
            let failed = chance::per_mille(self.flaky);
            let Some(next) = next(task, failed) else { continue };
            task.state = next;
            task.next = now + pause(next);
            said.push((*id, next));
        }
        for (id, state) in said {
            let mut status = TaskStatus::new(state, host::now(), state.as_str());
            status.exit_code = (!state.is_live()).then_some(u32::from(state == TaskState::Failed));
            self.pending.insert(id, status);
        }
    }

    /// What the leader is to be told now; it is told once a session.
    pub fn statuses(&mut self, seq: u64) -> Option<Vec<(TaskId, TaskStatus)>> {
        let told = |id: &TaskId, status: &TaskStatus| self.sent.values().flatten().any(|(other, said)| other == id && said == status);
        let rows: Vec<_> = self.pending.iter().filter(|(id, status)| !told(id, status)).map(|(id, status)| (*id, status.clone())).collect();
        (!rows.is_empty()).then(|| {
            self.sent.insert(seq, rows.clone());
            rows
        })
    }

    /// The leader has what was said up to a number.
    pub fn committed(&mut self, seq: u64) {
        let later = self.sent.split_off(&(seq + 1));
        for (id, status) in std::mem::replace(&mut self.sent, later).into_values().flatten() {
            if self.pending.get(&id) == Some(&status) {
                self.pending.remove(&id);
            }
        }
    }

    /// How many run of each service.
    pub fn running(&self) -> BTreeMap<ServiceId, u64> {
        let mut running = BTreeMap::new();
        for task in self.here.values().filter(|task| task.state == TaskState::Running) {
            *running.entry(task.service).or_default() += 1;
        }
        running
    }
}

fn next(task: &Local, failed: bool) -> Option<TaskState> {
    if !task.desired.wants_run() {
        return Some(TaskState::Shutdown);
    }
    let next = match task.state {
        TaskState::Assigned => TaskState::Accepted,
        TaskState::Accepted => TaskState::Preparing,
        TaskState::Preparing if failed => TaskState::Rejected,
        TaskState::Preparing => TaskState::Ready,
        TaskState::Ready if task.desired == DesiredState::Ready => return None,
        TaskState::Ready => TaskState::Starting,
        TaskState::Starting if failed => TaskState::Failed,
        TaskState::Starting => TaskState::Running,
        TaskState::Running if task.desired == DesiredState::Complete => TaskState::Complete,
        TaskState::Running if failed => TaskState::Failed,
        _ => return None,
    };
    Some(next)
}

/// How long a task stays in a state.
fn pause(state: TaskState) -> Duration {
    match state {
        TaskState::Preparing => chance::millis(5, 400),
        TaskState::Running => chance::millis(200, 1_500),
        _ => chance::millis(1, 60),
    }
}

/// The node's tasks, shared by the starts of its worker.
pub type Shared = Arc<std::sync::Mutex<Tasks>>;
