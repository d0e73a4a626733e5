//! Nodes as the planner sees them: what their state means for the tasks they have, and what room they offer to new ones.
//!
//! Owns: [`Verdict`] and the scheduler's table, which is made once per plan and counts what this plan adds.

use super::generic::{Claim, Free};
use crate::Store;
use std::collections::BTreeSet;
use std::sync::Arc;
use wsw_api::generic::GenericReservation;
use wsw_api::id::{NodeId, TaskId};
use wsw_api::object::{Node, NodeState};
use wsw_api::spec::{Availability, Protocol, Resources};
use wsw_api::task::Task;

/// What the state of a node means for a task that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The task stays.
    Fine,
    /// The node was removed from the cluster.
    Gone,
    Down,
    Drained,
    /// The node no longer satisfies the constraints, or no longer has what its tasks reserve.
    Unfit,
}

impl Verdict {
    /// `fits` tells whether the node satisfies the constraints. A paused node keeps what it has (SwarmKit's constraint enforcer).
    pub(super) fn of(node: Option<&Arc<Node>>, fits: bool) -> Self {
        let Some(node) = node else { return Self::Gone };
        if node.status.state == NodeState::Down {
            Self::Down
        } else if node.spec.availability == Availability::Drain {
            Self::Drained
        } else if !fits && node.spec.availability == Availability::Active {
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

/// Tasks for which an active node has no room any more (it says that it has less than before): the youngest go.
pub(super) fn overfull(view: &Store, node: &Node) -> BTreeSet<TaskId> {
    let (has, load) = (&node.description.resources, view.load(&node.id));
    let roomy = load.nano_cpus <= has.nano_cpus && load.memory_bytes <= has.memory_bytes;
    if node.spec.availability != Availability::Active || (roomy && load.claiming == 0) {
        return BTreeSet::new();
    }
    let mut tasks: Vec<&Arc<Task>> = view.tasks_on_node(&node.id).filter(|task| task.is_placed() && task.is_runnable()).collect();
    tasks.sort_by_key(|task| (task.meta.created_at, task.id));
    let (mut free, mut generic) = (*has, Free::all(node));
    let mut keeps = |task: &Task| {
        let Some(template) = view.template(&task.service, task.template) else { return true };
        let wants = &template.spec.resources.reservations;
        let given = task.claims.as_ref().is_none_or(|claim| generic.take(claim));
        let fits = given && wants.nano_cpus <= free.nano_cpus && wants.memory_bytes <= free.memory_bytes;
        if fits {
            free.nano_cpus -= wants.nano_cpus;
            free.memory_bytes -= wants.memory_bytes;
        }
        fits
    };
    tasks.into_iter().filter(|task| !keeps(task)).map(|task| task.id).collect()
}

/// One node with its room.
pub(super) struct Row<'a> {
    pub(super) node: &'a Arc<Node>,
    /// Tasks of all services that are, or may come, up.
    pub(super) active: u32,
    free: Resources,
    /// Tasks that the node holds at most; none when it does not say.
    holds: Option<u64>,
    /// Host ports that tasks of this plan take.
    ports: BTreeSet<(Protocol, u16)>,
    /// What is left of its generic resources, once somebody asked.
    generic: Option<Free<'a>>,
}

impl<'a> Row<'a> {
    pub(super) fn is_available(&self) -> bool {
        takes_tasks(self.node)
    }

    pub(super) fn has_room(&self, wants: &Resources) -> bool {
        let holds_one_more = self.holds.is_none_or(|most| u64::from(self.active) < most);
        holds_one_more && wants.nano_cpus <= self.free.nano_cpus && wants.memory_bytes <= self.free.memory_bytes
    }

    pub(super) fn has_port(&self, view: &Store, port: (Protocol, u16)) -> bool {
        !self.ports.contains(&port) && !view.holds_host_port(&self.node.id, port.0, port.1)
    }

    /// Whether it has what a task reserves beside CPUs and memory.
    pub(super) fn has_generic(&self, wants: &[GenericReservation]) -> bool {
        wants.is_empty() || self.generic.as_ref().is_some_and(|free| free.has(wants))
    }

    /// Counts one more task; the answer is what it is given of the generic resources.
    pub(super) fn add(&mut self, wants: &Resources, ports: &[(Protocol, u16)], generic: &[GenericReservation]) -> Option<Claim> {
        self.active = self.active.saturating_add(1);
        self.free.nano_cpus = self.free.nano_cpus.saturating_sub(wants.nano_cpus);
        self.free.memory_bytes = self.free.memory_bytes.saturating_sub(wants.memory_bytes);
        self.ports.extend(ports);
        self.generic.as_mut().and_then(|free| free.claim(generic))
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
            let holds = Some(has.pids).filter(|most| *most > 0);
            Row { node, active: load.active, free, holds, ports: BTreeSet::new(), generic: None }
        });
        Self { rows: rows.collect() }
    }

    /// Counts what is left of generic resources, for the first service that reserves any.
    pub(super) fn count_generic(&mut self, view: &'a Store) {
        for row in self.rows.iter_mut().filter(|row| row.generic.is_none()) {
            row.generic = Some(Free::on(view, row.node));
        }
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
