//! What is kept of tasks that are over, and tasks whose node will never report their end (SwarmKit's task reaper).
//!
//! Owns: the retention limit per slot and the day after which tasks of a lost node count as orphaned.

use super::nodes::Verdict;
use super::restart;
use super::work::{Create, Judgement, Op, Work};
use std::sync::Arc;
use wsw_api::task::{DesiredState, Task};
use wsw_api::time::{Nanos, SECOND};

/// SwarmKit's limit when there is no cluster object.
const DEFAULT_LIMIT: i64 = 5;
/// Records of attempts that a slot keeps at most: a policy that allows more of them within its window is not held to the number.
const MAX_RECORDS: u64 = 1_000;
/// SwarmKit: tasks of a node that has been down for a day are orphaned. Any change of the node's record starts the day anew.
const ORPHANED_AFTER: Nanos = 24 * 3_600 * SECOND;

/// Forgets the oldest ended tasks of a slot above the limit; a task that this plan adds to the slot counts.
pub(super) fn trim(work: &mut Work<'_>, tasks: &[&Arc<Task>]) {
    let limit = limit(work);
    if limit < 0 {
        return;
    }
    let limit = limit.max(1);
    let created = created(work);
    // The last task always stays: it is what tells that a slot whose policy gives it no successor is taken.
    let last = tasks.iter().filter(|task| task.desired != DesiredState::Remove).max_by_key(|task| (task.meta.created_at, task.id));
    let last = last.filter(|_| created.is_none());
    let total = i64::try_from(tasks.len()).unwrap_or(i64::MAX).saturating_add(i64::from(created.is_some()));
    let Ok(mut excess) = usize::try_from(total - limit) else { return };
    if excess == 0 {
        return;
    }
    let mut over: Vec<&Arc<Task>> = tasks.iter().copied().filter(|task| !task.status.state.is_live() && is_left(work, task)).collect();
    over.retain(|task| last.is_none_or(|last| last.id != task.id));
    // Attempts within a window are counted on what is kept: as many records stay as the policy asks for, whatever else is above the limit.
    let is_record = |task: &Task| restart::is_record(work.service, last.map(|last| last.template), task);
    let new = created.is_some_and(|create| restart::will_be_record(work.service, create));
    let records = tasks.iter().filter(|task| is_record(task)).count() + usize::from(new);
    let needed = work.service.spec.task.restart.max_attempts.min(MAX_RECORDS);
    let mut spare = records.saturating_sub(usize::try_from(needed).unwrap_or(usize::MAX));
    over.sort_by_cached_key(|task| (is_record(task), task.meta.created_at, task.id));
    let ordered: Vec<(bool, &Arc<Task>)> = over.into_iter().map(|task| (is_record(task), task)).collect();
    for (record, task) in ordered {
        if excess == 0 || (record && spare == 0) {
            return;
        }
        spare -= usize::from(record);
        work.reap(task);
        excess -= 1;
    }
}

/// The task that this plan adds to the slot.
fn created<'w>(work: &'w Work<'_>) -> Option<&'w Create> {
    let of_slot = work.ops.iter().rev().take_while(|(group, _)| *group == work.group);
    let index = of_slot.filter_map(|(_, op)| if let Op::Create(index) = op { Some(*index) } else { None }).next()?;
    work.creates.get(usize::try_from(index).ok()?)
}

/// Of a job's earlier iterations as many ended tasks stay in a slot as the limit leaves beside those of the present one and what is stopping.
pub(super) fn trim_past(work: &mut Work<'_>, past: &[&Arc<Task>], current: usize) {
    // A negative limit keeps all.
    let Ok(limit) = usize::try_from(limit(work)) else { return };
    let mut over: Vec<&Arc<Task>> = past.iter().copied().filter(|task| !task.status.state.is_live() && task.desired != DesiredState::Remove).collect();
    over.sort_by_key(|task| (std::cmp::Reverse(task.meta.created_at), task.id));
    let beside = current + past.iter().filter(|task| task.status.state.is_live()).count();
    for task in over.into_iter().skip(limit.saturating_sub(beside)) {
        work.reap(task);
    }
    for task in past.iter().filter(|task| !task.status.state.is_live() && task.desired == DesiredState::Remove) {
        work.reap(task);
    }
}

/// An ended task that nobody wants (any more, with this plan) and that this plan does not forget already.
fn is_left(work: &Work<'_>, task: &Task) -> bool {
    let of_slot = || work.ops.iter().rev().take_while(|(group, _)| *group == work.group);
    let reaped = of_slot().any(|(_, op)| matches!(op, Op::Reap(id) if *id == task.id));
    let stopped = !task.desired.wants_run() || of_slot().any(|(_, op)| matches!(op, Op::Desired(id, desired) if *id == task.id && !desired.wants_run()));
    !reaped && stopped
}

/// With a bound on attempts that many tasks and one are kept, as Swarm does: they are the record of the attempts.
fn limit(work: &Work<'_>) -> i64 {
    let attempts = work.service.spec.task.restart.max_attempts;
    if attempts > 0 {
        return i64::try_from(attempts.min(MAX_RECORDS)).unwrap_or(i64::MAX).saturating_add(1);
    }
    work.view.cluster().map_or(DEFAULT_LIMIT, |cluster| cluster.spec.task_history_limit)
}

/// Whether a live task's worker will never report its end: at once when the node was removed, after a day when it is down.
pub(super) fn lost(work: &mut Work<'_>, task: &Task) -> Option<Judgement> {
    let node = task.node.filter(|_| task.is_placed() && task.status.state.is_live())?;
    match work.verdict(&node) {
        Verdict::Gone => Some(Judgement::Deleted),
        Verdict::Down => {
            let since = work.view.node(&node).map_or(work.now, |node| node.meta.updated_at);
            let at = since.after(ORPHANED_AFTER);
            if at <= work.now {
                return Some(Judgement::Lost);
            }
            work.wake_at(at);
            None
        }
        Verdict::Fine | Verdict::Drained | Verdict::Unfit => None,
    }
}
