//! Writes to nodes: availability, labels, role, removal.
//!
//! Owns: when a node may be demoted or removed. What happens to its tasks afterwards is the planner's.

use super::{Code, Decision, out_of_sequence, refuse};
use crate::Store;
use wsw_api::entry::{Change, Guard, MAX_ROWS, Outcome};
use wsw_api::error::{Error, Result};
use wsw_api::id::{NodeId, TaskId};
use wsw_api::object::{Node, NodeState};
use wsw_api::spec::{NodeRole, NodeSpec};
use wsw_api::task::{TaskState, TaskStatus};
use wsw_api::time::Time;

/// SwarmKit's words for tasks of a removed node.
const ORPHANED: &str = "Task belonged to a node that has been deleted";

fn find<'a>(view: &'a Store, id: &NodeId) -> Result<&'a Node> {
    view.node(id).map(|node| &**node).ok_or_else(|| Error::not_found(format!("node {id} not found")))
}

pub(super) fn update(view: &Store, id: &NodeId, version: u64, spec: &NodeSpec) -> Result<Decision> {
    let old = find(view, id)?;
    if old.spec.role == NodeRole::Manager && spec.role == NodeRole::Worker {
        let managers = view.nodes().filter(|node| node.spec.role == NodeRole::Manager).count();
        if managers <= 1 {
            return Err(refuse(Code::FailedPrecondition, "attempting to demote the last manager of the swarm"));
        }
    }
    if old.meta.version != version {
        return Err(out_of_sequence());
    }
    let mut node = old.clone();
    node.spec = spec.clone();
    Ok(Decision { guards: vec![Guard::NodeVersion(*id, version)], changes: vec![Change::PutNode(Box::new(node))], outcome: Outcome::Done })
}

pub(super) fn remove(view: &Store, id: &NodeId, force: bool, now: Time) -> Result<Decision> {
    let node = find(view, id)?;
    if node.spec.role == NodeRole::Manager && node.manager.is_some() {
        let text = format!("node {id} is a cluster manager and is a member of the raft cluster. It must be demoted to worker before removal");
        return Err(refuse(Code::FailedPrecondition, text));
    }
    if !force && node.status.state == NodeState::Ready {
        return Err(refuse(Code::FailedPrecondition, format!("node {id} is not down and can't be removed")));
    }
    let live: Vec<TaskId> = view.tasks_on_node(id).filter(|task| task.status.state.is_live()).map(|task| task.id).collect();
    let status = TaskStatus::new(TaskState::Orphaned, now, ORPHANED);
    let mut changes: Vec<Change> = live.chunks(MAX_ROWS).map(|tasks| Change::Judge { status: status.clone(), tasks: tasks.to_vec() }).collect();
    changes.push(Change::RemoveNode(*id));
    Ok(Decision { guards: vec![Guard::NodeExists(*id)], changes, outcome: Outcome::Done })
}
