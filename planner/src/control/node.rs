//! Writes to nodes: joining, availability, labels, role, removal.
//!
//! Owns: when a node may be added, demoted or removed. What happens to its tasks afterwards is the planner's.

use super::{Code, Decision, invalid, out_of_sequence, refuse};
use crate::Store;
use crate::membership::{Seen, can_lose};
use std::collections::BTreeSet;
use std::sync::Arc;
use wsw_api::control::Write;
use wsw_api::entry::{Change, Guard, MAX_ROWS, Outcome};
use wsw_api::error::{Error, Result};
use wsw_api::id::{NodeId, TaskId};
use wsw_api::object::{ManagerStatus, Meta, Node, NodeDescription, NodeState, NodeStatus};
use wsw_api::spec::{Annotations, Availability, NodeRole, NodeSpec};
use wsw_api::task::{TaskState, TaskStatus};
use wsw_api::time::Time;

/// SwarmKit's words for tasks of a removed node.
const ORPHANED: &str = "Task belonged to a node that has been deleted";

/// Nodes of one cluster: each has a session, a deadline and its tasks in every manager's memory.
const MAX_NODES: usize = 10_000;
/// Linux's own bound on a host's name, and what an address with port has.
const MAX_TEXT: usize = 255;

/// A node that joins. Unknown until its session begins. The same node again is no error: its first answer may have been lost.
pub(super) fn add(view: &Store, id: &NodeId, role: NodeRole, availability: Availability, hostname: &str, addr: &str) -> Result<Decision> {
    if hostname.len() > MAX_TEXT || addr.len() > MAX_TEXT {
        return Err(invalid(format!("hostname and address of a node have at most {MAX_TEXT} bytes")));
    }
    if let Some(known) = view.node(id) {
        if known.spec.role != role {
            return Err(refuse(Code::AlreadyExists, format!("node {id} is part of this swarm in another role")));
        }
        return Ok(Decision { guards: vec![Guard::NodeExists(*id)], changes: Vec::new(), outcome: Outcome::Done });
    }
    if view.node_count() >= MAX_NODES {
        return Err(refuse(Code::FailedPrecondition, format!("a swarm has at most {MAX_NODES} nodes; remove some first")));
    }
    let node = Node {
        id: *id,
        meta: Meta::default(),
        spec: NodeSpec { annotations: Annotations::default(), role, availability },
        description: Arc::new(NodeDescription { hostname: hostname.to_owned(), addr: addr.to_owned(), ..NodeDescription::default() }),
        status: NodeStatus { state: NodeState::Unknown, message: "Node is joining".to_owned(), addr: ip(addr).to_owned() },
        manager: None,
    };
    Ok(Decision { guards: Vec::new(), changes: vec![Change::PutNode(Box::new(node))], outcome: Outcome::Done })
}

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

/// SwarmKit's safeguard: whoever is demoted must leave a quorum of managers that are heard. Asked by the leader, which hears them.
pub fn check_demotion(view: &Store, seen: &Seen, write: &Write) -> Result<()> {
    let Write::UpdateNode { id, spec, .. } = write else { return Ok(()) };
    let managers = || view.nodes().filter(|node| node.spec.role == NodeRole::Manager);
    let demoted = managers().find(|node| node.id == *id).filter(|_| spec.role == NodeRole::Worker && managers().count() > 1);
    let Some(record) = demoted.and_then(|node| node.manager.as_ref()) else { return Ok(()) };
    // Those that are demoted already do not count any more.
    let stays: BTreeSet<u64> = managers().filter_map(|node| Some(node.manager.as_ref()?.raft_id)).collect();
    let seen = Seen { voters: seen.voters.intersection(&stays).copied().collect(), ..seen.clone() };
    if seen.voters.contains(&record.raft_id) && !can_lose(&seen, record.raft_id) {
        return Err(refuse(Code::FailedPrecondition, "can't remove member from the raft: this would result in a loss of quorum"));
    }
    Ok(())
}

/// A manager is there, or there again with another Raft id (its folder was lost) or address. The leader then makes it a member of Raft.
pub(super) fn enroll(view: &Store, id: &NodeId, raft_id: u64, addr: &str) -> Result<Decision> {
    let old = find(view, id)?;
    if old.spec.role != NodeRole::Manager {
        return Err(refuse(Code::FailedPrecondition, format!("node {id} is not a manager")));
    }
    if addr.len() > MAX_TEXT || addr.parse::<std::net::SocketAddr>().is_err() {
        return Err(invalid(format!("address of manager {id}: it must be IP:PORT")));
    }
    if raft_id == 0 || view.nodes().any(|other| other.id != *id && other.manager.as_ref().is_some_and(|manager| manager.raft_id == raft_id)) {
        return Err(invalid(format!("Raft id {raft_id} of manager {id} cannot be used")));
    }
    let manager = Some(ManagerStatus { raft_id, addr: addr.to_owned() });
    let mut changes = Vec::new();
    if old.manager != manager {
        let mut node = old.clone();
        node.manager = manager;
        node.status.addr = ip(addr).to_owned();
        changes.push(Change::PutNode(Box::new(node)));
    }
    Ok(Decision { guards: vec![Guard::NodeVersion(*id, old.meta.version)], changes, outcome: Outcome::Done })
}

/// The address without its port.
fn ip(addr: &str) -> &str {
    addr.rsplit_once(':').map_or(addr, |(ip, _)| ip.trim_start_matches('[').trim_end_matches(']'))
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
