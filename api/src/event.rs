//! Events for `GET /events`: what changed, in Docker's words.
//!
//! Owns: the shapes. The manager derives them from applied entries, a worker from its tasks' states; nothing decides on them.

use crate::id::{NodeId, ServiceId, TaskId};
use crate::object::Template;
use crate::time::{Nanos, Time};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Events a slow reader may be behind before it is told that it lost some.
pub const MAX_BACKLOG: usize = 1_024;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    pub time: Time,
    pub kind: Kind,
    pub action: Action,
    /// Id of the object.
    pub id: String,
    /// What Docker has behind the action's word: the words of a command, a state of health.
    pub detail: String,
    /// `name`, `replicas.old`, `replicas.new`, …
    pub attributes: BTreeMap<String, String>,
}

/// What kind of object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Kind {
    Service,
    Node,
    Network,
    Secret,
    Config,
    Image,
    Container,
    Volume,
}

/// What happened to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Action {
    Create,
    Update,
    Remove,
    Load,
    Pull,
    Push,
    Tag,
    Untag,
    Delete,
    Start,
    Die,
    Import,
    Save,
    Kill,
    Stop,
    Destroy,
    Mount,
    Unmount,
    Prune,
    ExecCreate,
    ExecStart,
    ExecDie,
    ExecDetach,
    HealthStatus,
    ArchivePath,
    ExtractToDir,
    Attach,
    Detach,
}

/// One moment of a task's life on this node.
#[derive(Debug, Clone)]
pub struct TaskEvent {
    pub at: Time,
    pub task: TaskId,
    pub service: ServiceId,
    pub slot: u32,
    pub node: NodeId,
    /// What it runs; unknown for a task that ended in an earlier life of the daemon.
    pub template: Option<Arc<Template>>,
    pub what: What,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    Created,
    Started,
    Signalled(u32),
    Ended {
        code: u32,
        ran_for: Nanos,
    },
    /// It ended because the cluster or a user asked it to.
    Stopped,
    /// A command in it: which one, what it runs, and what became of it.
    Exec {
        id: String,
        line: String,
        step: ExecStep,
    },
    /// A client looks at it, and left it by the keys of its terminal.
    Attached,
    Detached,
    /// Files went out of it or came into it.
    Copied(CopyStep),
    /// What its health check says now, in Docker's word.
    Health(&'static str),
    /// Nothing is left of it.
    Destroyed,
}

/// Which way files went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyStep {
    Out,
    In,
}

/// One moment of a command's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExecStep {
    Created,
    Started,
    /// Its client left; it goes on.
    Detached,
    Ended {
        code: u32,
    },
}
