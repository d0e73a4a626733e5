//! The working copy of one service while its plan is made: the decisions so far, in small steps with their slot.
//!
//! Owns: the steps ([`Op`]) and the rules that hold for each of them (a desired state moves forward only, a task that never had
//! a node leaves no history).

use super::generic::Claim;
use super::nodes::{self, Verdict};
use super::stale::Difference;
use crate::Store;
use crate::constraint::Constraint;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use wsw_api::entry::Change;
use wsw_api::id::{NodeId, TaskId};
use wsw_api::object::{Service, Template};
use wsw_api::task::{DesiredState, Task, TaskState};
use wsw_api::time::Time;

/// Statuses that the planner gives, by kind: their texts are SwarmKit's where it has any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Judgement {
    /// The node no longer satisfies the constraints.
    Unfit,
    /// The node was removed.
    Deleted,
    /// The node has been down for too long.
    Lost,
}

impl Judgement {
    /// What `service ps` shows as the error of a task that lost its place.
    pub(super) const UNFIT: &'static str = "assigned node no longer meets constraints";

    pub(super) fn state(self) -> TaskState {
        if self == Self::Unfit { TaskState::Rejected } else { TaskState::Orphaned }
    }

    /// Message and error.
    pub(super) fn texts(self) -> (&'static str, &'static str) {
        match self {
            Self::Unfit => ("task rejected by constraint enforcer", Self::UNFIT),
            Self::Deleted => ("Task belonged to a node that has been deleted", ""),
            Self::Lost => ("node has been down for too long", ""),
        }
    }
}

/// One step, about one task.
#[derive(Debug, Clone)]
pub(super) enum Op {
    Judge(TaskId, Judgement),
    Desired(TaskId, DesiredState),
    Reap(TaskId),
    /// Index into [`Work::creates`].
    Create(u32),
    Assign(TaskId, NodeId),
    /// What a task that is assigned in this plan is given.
    Claim(TaskId, Claim),
    Explain(TaskId, Arc<str>),
}

/// A task to be made from the service's template.
#[derive(Debug, Clone)]
pub(super) struct Create {
    pub(super) slot: u32,
    pub(super) desired: DesiredState,
    pub(super) restart_at: Option<Time>,
    pub(super) replaces: Option<TaskId>,
    /// Restarts for ends of its own that led to it.
    pub(super) attempts: u32,
    pub(super) node: Option<NodeId>,
    /// What it is given of its node's generic resources.
    pub(super) claim: Option<Claim>,
    /// Why it waits: it has no node, or (a global service's) does not fit the one that it must be on.
    pub(super) reason: Option<Arc<str>>,
}

/// One service's decisions.
pub(super) struct Work<'a> {
    pub(super) view: &'a Store,
    pub(super) now: Time,
    pub(super) service: &'a Arc<Service>,
    pub(super) template: Option<&'a Arc<Template>>,
    /// For jobs: the iteration that counts.
    pub(super) job: Option<u64>,
    /// The slot (for global services: the node) that steps belong to from now on. A plan is cut between groups only.
    pub(super) group: u32,
    /// Steps with their groups; sorted by group before they are cut into pieces.
    pub(super) ops: Vec<(u32, Op)>,
    pub(super) creates: Vec<Create>,
    /// Wanted tasks that are on no node yet, each with its group.
    pub(super) waiting: Vec<(u32, &'a Arc<Task>)>,
    /// Tasks that this plan stops, by node: they no longer count as active there.
    pub(super) retired: BTreeMap<NodeId, u32>,
    /// Changes of the service itself, after all steps.
    pub(super) tail: Vec<Change>,
    pub(super) wake: Option<Time>,
    constraints: Option<Vec<Constraint>>,
    seen: BTreeMap<NodeId, Seen>,
    differences: BTreeMap<u64, Difference>,
}

/// What was found out about a node.
struct Seen {
    verdict: Verdict,
    /// Whether it satisfies the service's constraints, whatever its state.
    fits: bool,
    /// Tasks that it has no room for any more.
    overfull: BTreeSet<TaskId>,
}

impl<'a> Work<'a> {
    pub(super) fn new(view: &'a Store, service: &'a Arc<Service>, now: Time) -> Self {
        let template = view.template(&service.id, service.template);
        // Validated when written; a text that does not parse is one that nothing satisfies, which is for the scheduler to say.
        let constraints = template.and_then(|template| Constraint::parse_all(&template.spec.placement.constraints).ok());
        Self {
            view,
            now,
            service,
            template,
            job: service.spec.mode.is_job().then(|| service.job.map_or(0, |job| job.iteration)),
            group: 0,
            ops: Vec::new(),
            creates: Vec::new(),
            waiting: Vec::new(),
            retired: BTreeMap::new(),
            tail: Vec::new(),
            wake: None,
            constraints,
            seen: BTreeMap::new(),
            differences: BTreeMap::new(),
        }
    }

    /// What a task that may start is to do: go on, or come to its end.
    pub(super) fn goal(&self) -> DesiredState {
        if self.job.is_some() { DesiredState::Complete } else { DesiredState::Running }
    }

    /// True for tasks of a job's earlier iterations.
    pub(super) fn is_past(&self, task: &Task) -> bool {
        self.job.is_some_and(|iteration| task.job_iteration != iteration)
    }

    /// Looks again at `at`, or earlier.
    pub(super) fn wake_at(&mut self, at: Time) {
        self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
    }

    /// Whether the node is still good for tasks of this service.
    pub(super) fn verdict(&mut self, node: &NodeId) -> Verdict {
        self.see(node).verdict
    }

    /// Whether the task's node is still good for it; none when it has no node.
    pub(super) fn verdict_of(&mut self, task: &Task) -> Option<Verdict> {
        let seen = self.see(&task.node?);
        let evicted = seen.verdict == Verdict::Fine && seen.overfull.contains(&task.id);
        Some(if evicted { Verdict::Unfit } else { seen.verdict })
    }

    /// Whether the task runs something else than its service asks for now. A placement that its node satisfies too is nothing else.
    pub(super) fn is_stale(&mut self, task: &Task) -> bool {
        if task.template == self.service.template {
            return false;
        }
        let (view, template) = (self.view, self.template);
        let difference = self.differences.entry(task.template);
        let difference = *difference.or_insert_with(|| Difference::of(view.template(&task.service, task.template), template));
        match (difference, task.node.filter(|_| task.is_placed())) {
            (Difference::Placement, Some(node)) => !self.see(&node).fits,
            _ => true,
        }
    }

    /// Whether the service's constraints changed since the task was made, and its node does not satisfy the new ones.
    pub(super) fn is_misplaced(&mut self, task: &Task) -> bool {
        task.template != self.service.template && task.node.is_some_and(|node| !self.see(&node).fits)
    }

    fn see(&mut self, id: &NodeId) -> &Seen {
        let (view, constraints) = (self.view, self.constraints.as_deref().unwrap_or_default());
        self.seen.entry(*id).or_insert_with(|| {
            let node = view.node(id);
            let fits = node.is_some_and(|node| constraints.iter().all(|constraint| constraint.matches(node)));
            let overfull = node.map(|node| nodes::overfull(view, node)).unwrap_or_default();
            Seen { verdict: Verdict::of(node, fits), fits, overfull }
        })
    }

    /// Moves the desired state forward; a task that is over or never had a node goes at once when it is to be removed.
    pub(super) fn desire(&mut self, task: &Task, desired: DesiredState) {
        let stops = !desired.wants_run();
        let over = !task.status.state.is_live();
        if stops && (!task.is_placed() || (over && desired == DesiredState::Remove)) {
            self.reap(task);
        } else if desired > task.desired {
            self.ops.push((self.group, Op::Desired(task.id, desired)));
            self.release(task, stops);
        }
    }

    /// Forgets the task.
    pub(super) fn reap(&mut self, task: &Task) {
        self.ops.push((self.group, Op::Reap(task.id)));
        self.release(task, true);
    }

    /// Says of the task what its worker will not.
    pub(super) fn judge(&mut self, task: &Task, judgement: Judgement) {
        if task.is_placed() {
            self.ops.push((self.group, Op::Judge(task.id, judgement)));
        }
    }

    /// Makes a task in the slot; the scheduler gives it a node unless it is said here.
    pub(super) fn create(&mut self, create: Create) {
        self.ops.push((self.group, Op::Create(u32::try_from(self.creates.len()).unwrap_or(u32::MAX))));
        self.creates.push(create);
    }

    fn release(&mut self, task: &Task, stops: bool) {
        if let Some(node) = task.node.filter(|_| stops && task.is_placed() && task.is_runnable()) {
            *self.retired.entry(node).or_default() += 1;
        }
    }
}

impl Create {
    /// A task of the slot, without a place yet.
    pub(super) fn new(slot: u32, desired: DesiredState) -> Self {
        Self { slot, desired, restart_at: None, replaces: None, attempts: 0, node: None, claim: None, reason: None }
    }
}
