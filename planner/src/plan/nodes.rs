//! Nodes as the planner sees them: what their state means for the tasks they have, and what room they offer to new ones.
//!
//! Owns: [`Verdict`] and the scheduler's table, which is made once per plan and counts what this plan adds.

use crate::Store;
use crate::constraint::Constraint;
use std::collections::BTreeSet;
use std::sync::Arc;
use wsw_api::id::NodeId;
use wsw_api::object::{Node, NodeState};
use wsw_api::spec::{Availability, Protocol, Resources};

/// What the state of a node means for a task that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The task stays.
    Fine,
    /// The node was removed from the cluster.
    Gone,
    Down,
    Drained,
    /// The node no longer satisfies the constraints.
    Unfit,
}

impl Verdict {
    pub(super) fn of(node: Option<&Arc<Node>>, constraints: &[Constraint]) -> Self {
        let Some(node) = node else { return Self::Gone };
        if node.status.state == NodeState::Down {
            Self::Down
        } else if node.spec.availability == Availability::Drain {
            Self::Drained
        } else if !constraints.iter().all(|constraint| constraint.matches(node)) {
            Self::Unfit
        } else {
            Self::Fine
        }
    }

    /// True when nobody waits for a task on such a node to end.
    pub(super) fn is_out_of_reach(self) -> bool {
        matches!(self, Self::Gone | Self::Down)
    }
}

/// Whether new tasks may go to the node.
pub(super) fn takes_tasks(node: &Node) -> bool {
    node.status.state == NodeState::Ready && node.spec.availability == Availability::Active
}

/// One node with its room.
pub(super) struct Row<'a> {
    pub(super) node: &'a Arc<Node>,
    /// Tasks of all services that are, or may come, up.
    pub(super) active: u32,
    free: Resources,
    /// Host ports that tasks of this plan take.
    ports: BTreeSet<(Protocol, u16)>,
}

impl Row<'_> {
    pub(super) fn is_available(&self) -> bool {
        takes_tasks(self.node)
    }

    pub(super) fn has_room(&self, wants: &Resources) -> bool {
        wants.nano_cpus <= self.free.nano_cpus && wants.memory_bytes <= self.free.memory_bytes
    }

    pub(super) fn has_port(&self, view: &Store, port: (Protocol, u16)) -> bool {
        !self.ports.contains(&port) && !view.holds_host_port(&self.node.id, port.0, port.1)
    }

    /// Counts one more task.
    pub(super) fn add(&mut self, wants: &Resources, ports: &[(Protocol, u16)]) {
        self.active = self.active.saturating_add(1);
        self.free.nano_cpus = self.free.nano_cpus.saturating_sub(wants.nano_cpus);
        self.free.memory_bytes = self.free.memory_bytes.saturating_sub(wants.memory_bytes);
        self.ports.extend(ports);
    }
}

/// All nodes, by id.
pub(super) struct Table<'a> {
    pub(super) rows: Vec<Row<'a>>,
}

impl<'a> Table<'a> {
    pub(super) fn new(view: &'a Store) -> Self {
        let rows = view.nodes().map(|node| {
            let (has, load) = (node.description.resources, view.load(&node.id));
            let free = Resources {
                nano_cpus: has.nano_cpus.saturating_sub(load.nano_cpus),
                memory_bytes: has.memory_bytes.saturating_sub(load.memory_bytes),
                pids: 0,
            };
            Row { node, active: load.active, free, ports: BTreeSet::new() }
        });
        Self { rows: rows.collect() }
    }

    /// Where the node is in `rows`.
    pub(super) fn find(&self, id: &NodeId) -> Option<usize> {
        self.rows.binary_search_by(|row| row.node.id.cmp(id)).ok()
    }

    /// Takes tasks that the plan stops off the node's count. What they reserve stays reserved until they have ended.
    pub(super) fn release(&mut self, id: &NodeId, tasks: u32) {
        if let Some(row) = self.find(id).and_then(|at| self.rows.get_mut(at)) {
            row.active = row.active.saturating_sub(tasks);
        }
    }
}
