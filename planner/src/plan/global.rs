//! Global services and jobs: one task on each node that may have one.
//!
//! Owns: which nodes those are. A node is the slot: its task is replaced there or not at all.
//! A job's task is not begun again once it is complete there, and earlier iterations go without a trace.
//! Paused nodes keep their task and get no new one; a node that is down, drained or no longer fits loses it.

use super::nodes::{Verdict, takes_tasks};
use super::slot::{self, Kind};
use super::update::Rollout;
use super::work::Work;
use std::collections::BTreeMap;
use std::sync::Arc;
use wsw_api::id::NodeId;
use wsw_api::task::{DesiredState, Task};

/// Global tasks have no slot number.
const SLOT: u32 = 0;

pub(super) fn reconcile(work: &mut Work<'_>) {
    let view = work.view;
    let mut by_node: BTreeMap<Option<NodeId>, Vec<&Arc<Task>>> = BTreeMap::new();
    for task in view.tasks_of_service(&work.service.id) {
        by_node.entry(task.node).or_default().push(task);
    }
    for task in by_node.remove(&None).unwrap_or_default() {
        work.desire(task, DesiredState::Remove);
    }
    let mut rollout = Rollout::default();
    for node in view.nodes() {
        by_node.entry(Some(node.id)).or_default();
    }
    for (group, (home, tasks)) in (0..).zip(&by_node) {
        work.group = group;
        let Some(home) = home else { continue };
        let (past, tasks): (Vec<_>, Vec<_>) = tasks.iter().copied().partition(|task| work.is_past(task));
        slot::drop_all(work, &past);
        let tasks = tasks.as_slice();
        let node = view.node(home);
        let free = slot::kind(work, tasks) == Kind::Empty;
        // What rests until its delay is over need not where its node is gone.
        let over = || tasks.iter().all(|task| !task.status.state.is_live());
        if node.is_none() && (free || over()) {
            slot::drop_all(work, tasks);
        } else if free && node.is_some_and(|node| takes_tasks(node)) && work.verdict(home) == Verdict::Fine {
            slot::refill(work, tasks, SLOT, Some(*home), &mut rollout);
        } else {
            slot::step(work, tasks, Some(*home), &mut rollout);
        }
    }
    rollout.conclude(work);
}
