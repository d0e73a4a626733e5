//! Services that their users removed: their tasks stop, are forgotten as they end, and the service goes with the last of them.
//!
//! Invariant: nothing is ever started here.

use super::history;
use super::work::{Op, Work};
use std::sync::Arc;
use wsw_api::entry::Change;
use wsw_api::task::{DesiredState, Task};

pub(super) fn reconcile(work: &mut Work<'_>) {
    let tasks: Vec<&Arc<Task>> = work.view.tasks_of_service(&work.service.id).collect();
    for (group, task) in (0..).zip(&tasks) {
        work.group = group;
        if history::lost(work, task).is_some() {
            work.reap(task);
        } else {
            work.desire(task, DesiredState::Remove);
        }
    }
    let reaped = work.ops.iter().filter(|(_, op)| matches!(op, Op::Reap(_))).count();
    if reaped == tasks.len() {
        work.tail.push(Change::RemoveService(work.service.id));
    }
}
