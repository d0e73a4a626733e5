//! What an entry changed, for those who must look again: the agenda (planner), the sessions (dispatcher), events.
//!
//! Owns: the shape. `apply` fills it in. It only says where to look: whoever looks reads the store.

use std::collections::{BTreeMap, BTreeSet};
use wsw_api::id::{NodeId, ServiceId, TaskId};

/// Objects that one or several entries changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Touched {
    pub cluster: bool,
    /// Services whose record was put, updated or removed.
    pub services: BTreeSet<ServiceId>,
    /// Nodes whose record was put, updated or removed.
    pub nodes: BTreeSet<NodeId>,
    /// Tasks whose intent (place, desired state, existence) changed, by the node that must hear of it.
    pub tasks_by_node: BTreeMap<NodeId, Vec<TaskId>>,
    /// Services with a task whose end, or whose start during a rollout, asks for a decision.
    pub decide: BTreeSet<ServiceId>,
    /// Services whose number of tasks that run, or are to run, changed on some node.
    pub endpoints: BTreeSet<ServiceId>,
    /// A node has more room than before: what waits for a place may fit now.
    pub capacity: bool,
}

impl Touched {
    /// True when nothing was changed that anybody must look at.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Adds what `other` says.
    pub fn merge(&mut self, other: Self) {
        self.cluster |= other.cluster;
        self.capacity |= other.capacity;
        self.services.extend(other.services);
        self.nodes.extend(other.nodes);
        self.decide.extend(other.decide);
        self.endpoints.extend(other.endpoints);
        for (node, tasks) in other.tasks_by_node {
            self.tasks_by_node.entry(node).or_default().extend(tasks);
        }
    }
}
