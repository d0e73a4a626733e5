//! The restart policy: whether a task that is over gets a successor, and when that may start.
//!
//! Owns: conditions, attempts, the delay, and how long a successor waits for its predecessor (SwarmKit's restart supervisor).
//! Invariants: the delay and the attempts count ends of the task's own; when the node is the cause the successor is wanted at once. A
//! task that ends while it still waits for its delay is not replaced before that has passed: nothing is tried more often than the delay says.

use super::work::{Create, Judgement, Work};
use std::collections::BTreeSet;
use std::sync::Arc;
use wsw_api::object::Service;
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

/// How a successor follows its predecessor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum After {
    /// This plan stops the predecessor.
    Stop,
    /// The predecessor is over, and nothing but that is waited for.
    End,
    /// The predecessor ended by itself: the delay applies; `counts` says whether it is an attempt of the policy.
    Delay { counts: bool },
}

/// Whether the policy gives the task a successor.
pub(super) fn should_restart(work: &Work<'_>, slot: &[&Arc<Task>], task: &Task, cause: Cause) -> bool {
    let policy = &work.service.spec.task.restart;
    let allowed = match policy.condition {
        RestartCondition::None => false,
        RestartCondition::Any if work.job.is_none() => true,
        // A job that is complete is done: "any" is "on-failure" for it, as in Swarm.
        RestartCondition::OnFailure | RestartCondition::Any => task.status.state != TaskState::Complete,
    };
    allowed && (cause == Cause::Node || policy.max_attempts == 0 || attempts(slot, task, policy.window) < policy.max_attempts)
}

/// How often the slot was restarted for an end of its own with this template: ever, or within the window before the task ended.
fn attempts(slot: &[&Arc<Task>], ended: &Task, window: Nanos) -> u64 {
    if window == 0 {
        return ended.attempts.into();
    }
    let since = Time(ended.ended_at.unwrap_or(ended.meta.updated_at).0.saturating_sub(window));
    let recent = slot.iter().filter(|task| task.template == ended.template && is_attempt(task) && task.meta.created_at > since);
    // What a drained node made anew bears the number of the attempt that it stands for.
    let numbers: BTreeSet<u32> = recent.map(|task| task.attempts).collect();
    u64::try_from(numbers.len()).unwrap_or(u64::MAX)
}

/// True for a task that was made because its predecessor ended by itself.
fn is_attempt(task: &Task) -> bool {
    task.restart_at.is_some() && task.attempts > 0
}

/// True for a task by which the attempts of the slot are counted within the policy's window: of the service's template, or of that of the
/// slot's last task, which may be kept although the service names another one (`stale`). Without a window successors bear their number.
pub(super) fn is_record(service: &Service, last: Option<u64>, task: &Task) -> bool {
    service.spec.task.restart.window > 0 && (task.template == service.template || Some(task.template) == last) && is_attempt(task)
}

/// [`is_record`] of a task that this plan makes.
pub(super) fn will_be_record(service: &Service, create: &Create) -> bool {
    service.spec.task.restart.window > 0 && create.restart_at.is_some() && create.attempts > 0
}

/// Until when a task that ended during its delay is left as it is (a missing image is found out long before the task may start).
pub(super) fn rests_until(work: &Work<'_>, task: &Task) -> Option<Time> {
    let waited = task.desired == DesiredState::Ready && Cause::of(task) == Cause::Task;
    task.restart_at.filter(|at| waited && *at > work.now)
}

/// Until when a waiting successor must wait, if it must: for its delay, and for the others of its slot to be over.
pub(super) fn waits_until(work: &mut Work<'_>, slot: &[&Arc<Task>], task: &Task) -> Option<Time> {
    let delay = task.restart_at.filter(|at| *at > work.now);
    delay.max(others_until(work, slot, Some(task)))
}

/// The successor of `current`. It waits for the delay, and for `current` and the others of the slot to be over.
pub(super) fn successor(work: &mut Work<'_>, slot: &[&Arc<Task>], current: &Task, after: After) -> Create {
    let own = if after == After::Stop { blocks_until(work, current, work.now) } else { None };
    let restart_at = matches!(after, After::Delay { .. }).then(|| work.now.after(work.service.spec.task.restart.delay));
    let until = restart_at.filter(|at| *at > work.now).max(own).max(others_until(work, slot, Some(current)));
    let attempts = attempts_after(work, current).saturating_add(u32::from(after == After::Delay { counts: true }));
    Create { restart_at, replaces: Some(current.id), attempts, ..begin(work, current.slot, until) }
}

/// A task for a slot that has nothing but history, some of which may still be stopping.
pub(super) fn first(work: &mut Work<'_>, history: &[&Arc<Task>], slot: u32) -> Create {
    let until = others_until(work, history, None);
    let newest = history.iter().max_by_key(|task| (task.meta.created_at, task.id)).filter(|task| task.desired != DesiredState::Remove);
    let attempts = newest.map_or(0, |task| attempts_after(work, task));
    Create { attempts, ..begin(work, slot, until) }
}

/// Attempts so far, for what comes after the task: another template is tried anew.
fn attempts_after(work: &Work<'_>, task: &Task) -> u32 {
    if task.template == work.service.template { task.attempts } else { 0 }
}

fn begin(work: &mut Work<'_>, slot: u32, until: Option<Time>) -> Create {
    let Some(at) = until else { return Create::new(slot, work.goal()) };
    work.wake_at(at);
    Create::new(slot, DesiredState::Ready)
}

fn others_until(work: &mut Work<'_>, slot: &[&Arc<Task>], task: Option<&Task>) -> Option<Time> {
    let others = slot.iter().filter(|other| task.is_none_or(|task| task.id != other.id));
    others.filter_map(|old| blocks_until(work, old, old.meta.updated_at)).max()
}

/// Until when a task that was told to stop at `since` holds up its successor; none when it is over, out of reach or overdue.
fn blocks_until(work: &mut Work<'_>, old: &Task, since: Time) -> Option<Time> {
    // What is to be removed belongs to an earlier life of the slot (before it was scaled away); nobody waits for it.
    let node = old.node.filter(|_| old.is_placed() && old.status.state.is_live() && old.desired != DesiredState::Remove)?;
    if work.verdict(&node).is_out_of_reach() {
        return None;
    }
    let grace = work.view.template(&old.service, old.template).map_or(0, |template| template.spec.container.stop_grace());
    let at = since.after(OLD_TASK_TIMEOUT.max(grace.saturating_add(GRACE_MARGIN)));
    (at > work.now).then_some(at)
}
