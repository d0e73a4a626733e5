//! Tasks: states, statuses and the record the store keeps.
//!
//! Owns: the order of states (SwarmKit's `types.proto`) and the rule by which statuses merge.
//! Invariants: a state only moves forward; desired state only moves forward; the planner writes the intent, the worker the status.

use crate::generic::GenericResource;
use crate::id::{NodeId, ServiceId, TaskId};
use crate::object::Meta;
use crate::time::Time;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Where a task is; the numbers are SwarmKit's, with room between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(u16)]
pub enum TaskState {
    New = 0,
    /// Allocated, waiting for a node.
    Pending = 64,
    /// The scheduler chose a node.
    Assigned = 192,
    /// The worker has it.
    Accepted = 256,
    Preparing = 320,
    /// Prepared, waits for desired state running.
    Ready = 384,
    Starting = 448,
    Running = 512,
    /// Ended by itself with exit code 0.
    Complete = 576,
    /// Ended because it was told to.
    Shutdown = 640,
    /// Ended with an error after it was started.
    Failed = 704,
    /// Could not be started.
    Rejected = 768,
    /// Its node has been gone for too long.
    Orphaned = 832,
}

impl TaskState {
    /// True for states from which a task can still run.
    pub fn is_live(self) -> bool {
        self <= Self::Running
    }
    /// The word in Docker's API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Pending => "pending",
            Self::Assigned => "assigned",
            Self::Accepted => "accepted",
            Self::Preparing => "preparing",
            Self::Ready => "ready",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Complete => "complete",
            Self::Shutdown => "shutdown",
            Self::Failed => "failed",
            Self::Rejected => "rejected",
            Self::Orphaned => "orphaned",
        }
    }
}

/// What the planner wants of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(u16)]
pub enum DesiredState {
    /// Prepare, do not start yet (a replacement that waits for its delay or its predecessor).
    Ready = 384,
    Running = 512,
    /// Jobs: run to completion.
    Complete = 576,
    Shutdown = 640,
    /// Stop, and forget when it has ended.
    Remove = 800,
}

impl DesiredState {
    /// The word in Docker's API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Running => "running",
            Self::Complete => "complete",
            Self::Shutdown => "shutdown",
            Self::Remove => "remove",
        }
    }
    /// True when the task should be up or come up.
    pub fn wants_run(self) -> bool {
        self <= Self::Complete
    }
}

/// What the worker says of a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskStatus {
    pub state: TaskState,
    /// When it came into this state or when what is said of it changed (worker's clock, for display and for the merge).
    pub at: Time,
    /// What is going on: "started", "preparing", "finished".
    pub message: Arc<str>,
    /// Why it failed, or what hinders it (a port that cannot be bound); empty when nothing does.
    pub err: Arc<str>,
    pub exit_code: Option<u32>,
    /// Process id that runs it (the shim's for Wasm).
    pub pid: Option<u32>,
}

impl TaskStatus {
    /// A status with nothing but a state.
    pub fn new(state: TaskState, at: Time, message: &str) -> Self {
        Self { state, at, message: message.into(), err: "".into(), exit_code: None, pid: None }
    }

    /// The merge rule: a later state always wins, an earlier one never; the same state counts when it is newer.
    pub fn supersedes(&self, old: &Self) -> bool {
        self.state > old.state || (self.state == old.state && self.at > old.at)
    }
}

/// One attempt to run one slot of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    pub id: TaskId,
    pub meta: Meta,
    pub service: ServiceId,
    /// From 1 for replicated services, from 0 for jobs, 0 for global ones.
    pub slot: u32,
    /// Version of the service's template that it runs.
    pub template: u64,
    pub node: Option<NodeId>,
    pub desired: DesiredState,
    /// A replacement with desired state ready starts at this moment, when its predecessor has ended.
    pub restart_at: Option<Time>,
    /// The task of the slot that this one replaces.
    pub replaces: Option<TaskId>,
    /// The job's iteration; 0 for services.
    pub job_iteration: u64,
    pub status: TaskStatus,
    /// How many restarts for ends of their own led to it since its slot runs this template: the policy's attempts.
    #[serde(default)]
    pub attempts: u32,
    /// Cluster time at which its end was applied; the restart policy's window is reckoned back from it.
    #[serde(default)]
    pub ended_at: Option<Time>,
    /// What it was given of its node's generic resources; none when it reserves none.
    #[serde(default)]
    pub claims: Option<Arc<[GenericResource]>>,
}

impl Task {
    /// True when the scheduler has put it on its node. A global service's task names its node before it is known to fit there.
    pub fn is_placed(&self) -> bool {
        self.node.is_some() && self.status.state >= TaskState::Assigned
    }
    /// True when the task is, or may come, up: it is wanted and has not ended.
    pub fn is_runnable(&self) -> bool {
        self.desired.wants_run() && self.status.state.is_live()
    }
    /// `<service>.<slot>.<id>`, or `<service>.<node>.<id>` for global services (SwarmKit's `api/naming`).
    pub fn name(&self, service_name: &str) -> String {
        match (self.slot, self.node) {
            (0, Some(node)) => format!("{service_name}.{node}.{}", self.id),
            (slot, _) => format!("{service_name}.{slot}.{}", self.id),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_merge_forward_only() {
        let running = TaskStatus::new(TaskState::Running, Time(5), "started");
        let failed = TaskStatus::new(TaskState::Failed, Time(1), "finished");
        assert!(failed.supersedes(&running));
        assert!(!running.supersedes(&failed));
        assert!(!running.supersedes(&running.clone()));
        assert!(TaskStatus::new(TaskState::Running, Time(6), "started").supersedes(&running));
    }
}
