//! The restart policy: whether a task that is over gets a successor, and when that may start.
//!
//! Owns: conditions, attempts, the delay, and how long a successor waits for its predecessor (SwarmKit's restart supervisor).
//! Invariants: the delay and the attempts count ends of the task's own; when the node is the cause the successor is wanted at once.

use super::work::{Judgement, Work};
use std::sync::Arc;
use wsw_api::spec::RestartCondition;
use wsw_api::task::{DesiredState, Task, TaskState};
use wsw_api::time::{Nanos, SECOND, Time};

/// SwarmKit's `oldTaskTimeout`: a successor does not wait longer than this for a predecessor that should be over.
const OLD_TASK_TIMEOUT: Nanos = 60 * SECOND;
/// Added to a task's own grace period when that is longer.
const GRACE_MARGIN: Nanos = 10 * SECOND;

/// Why a task is to be replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// It ended by itself.
    Task,
    /// Its node went down, was drained or removed, or no longer fits.
    Node,
}

impl Cause {
    /// The cause, as the status tells it.
    pub(super) fn of(task: &Task) -> Self {
        let own = matches!(task.status.state, TaskState::Complete | TaskState::Failed | TaskState::Rejected);
        if own && &*task.status.err != Judgement::UNFIT { Self::Task } else { Self::Node }
    }
}

/// Whether the policy gives the task a successor.
pub(super) fn should_restart(work: &Work<'_>, slot: &[&Arc<Task>], task: &Task, cause: Cause) -> bool {
    let policy = &work.service.spec.task.restart;
    let allowed = match policy.condition {
        RestartCondition::None => false,
        RestartCondition::OnFailure => task.status.state != TaskState::Complete,
        RestartCondition::Any => true,
    };
    allowed && (cause == Cause::Node || policy.max_attempts == 0 || attempts(slot, task, policy.window) < policy.max_attempts)
}

/// How often the slot was restarted for an end of its own, with this template, within the window before the task ended.
fn attempts(slot: &[&Arc<Task>], ended: &Task, window: Nanos) -> u64 {
    let since = Time(ended.meta.updated_at.0.saturating_sub(window));
    let counts = |task: &&&Arc<Task>| {
        let Some(replaces) = task.replaces.filter(|_| task.template == ended.template) else { return false };
        if window > 0 && task.meta.created_at <= since {
            return false;
        }
        match slot.iter().find(|old| old.id == replaces) {
            // A successor is made when the end is seen; an end that is reported later was not the cause.
            Some(old) => old.template == ended.template && Cause::of(old) == Cause::Task && old.meta.updated_at <= task.meta.created_at,
            None => task.restart_at.is_some(),
        }
    };
    u64::try_from(slot.iter().filter(counts).count()).unwrap_or(u64::MAX)
}

/// Until when a waiting successor must wait, if it must: for its delay, and for the others of its slot to be over.
pub(super) fn waits_until(work: &mut Work<'_>, slot: &[&Arc<Task>], task: &Task) -> Option<Time> {
    let mut until = task.restart_at.filter(|at| *at > work.now);
    for old in slot.iter().filter(|old| old.id != task.id) {
        until = until.max(blocks_until(work, old, old.meta.updated_at));
    }
    until
}

/// The desired state of a successor of `current`, which this plan stops: it waits for `current` and others of the slot to be over.
pub(super) fn successor_state(work: &mut Work<'_>, slot: &[&Arc<Task>], current: &Task) -> DesiredState {
    let now = work.now;
    let mut blocked = None;
    for old in slot {
        let since = if old.id == current.id { now } else { old.meta.updated_at };
        blocked = blocked.max(blocks_until(work, old, since));
    }
    let Some(at) = blocked else { return DesiredState::Running };
    work.wake_at(at);
    DesiredState::Ready
}

/// Until when a task that was told to stop at `since` holds up its successor; none when it is over, out of reach or overdue.
fn blocks_until(work: &mut Work<'_>, old: &Task, since: Time) -> Option<Time> {
    let node = old.node.filter(|_| old.status.state.is_live())?;
    if work.verdict(&node).is_out_of_reach() {
        return None;
    }
    let grace = work.view.template(&old.service, old.template).map_or(0, |template| template.spec.container.stop_grace());
    let at = since.after(OLD_TASK_TIMEOUT.max(grace.saturating_add(GRACE_MARGIN)));
    (at > work.now).then_some(at)
}
