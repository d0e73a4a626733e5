//! One slot: what it is in, and the step that brings it forward.
//!
//! Owns: replacing tasks (restart, update, node trouble) and starting successors.
//! Invariants: S1 at most one task of a slot is wanted after a step; S2 a successor starts when its predecessor is over,
//! out of reach, or overdue; S3 a task of an old template is not left wanted where it can be replaced.
//! ```text
//!   wanted ──ends──────────> shutdown + successor (ready, after the delay) ──> running
//!   wanted ──old template──> shutdown + successor (ready, when it is over)  ──> running
//!   wanted ──node is down──> shutdown + successor (running at once)
//! ```

use super::nodes::Verdict;
use super::restart::{self, After, Cause};
use super::work::{Create, Judgement, Work};
use super::{history, update::Rollout};
use std::cmp::Reverse;
use std::sync::Arc;
use wsw_api::id::NodeId;
use wsw_api::task::{DesiredState, Task, TaskState};

/// What a slot is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// It has a task that is wanted.
    Wanted,
    /// Its last task is over and the policy gives it no successor, or a job is complete in it: the slot counts as taken.
    Settled,
    /// It has nothing but history.
    Empty,
}

/// Tells what the slot is in.
pub(super) fn kind(work: &mut Work<'_>, tasks: &[&Arc<Task>]) -> Kind {
    if is_done(work, tasks) {
        return Kind::Settled;
    }
    if tasks.iter().any(|task| task.desired.wants_run()) {
        return Kind::Wanted;
    }
    let newest = tasks.iter().filter(|task| task.desired != DesiredState::Remove).max_by_key(|task| (task.meta.created_at, task.id));
    match newest {
        Some(task) if !work.is_stale(task) && !restart::should_restart(work, tasks, task, Cause::of(task)) => Kind::Settled,
        _ => Kind::Empty,
    }
}

/// True when a job has come to its end in this slot.
fn is_done(work: &Work<'_>, tasks: &[&Arc<Task>]) -> bool {
    work.job.is_some() && tasks.iter().any(|task| task.status.state == TaskState::Complete)
}

/// What becomes of the wanted task.
enum Next {
    Stays,
    Replaced(Create),
    /// It goes, and nothing takes its place.
    Goes,
}

/// What a slot has after a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Held {
    /// No task that is, or may come, up.
    Nothing,
    /// The task that it had.
    Kept,
    /// A new one.
    Renewed,
}

/// Brings a slot one step forward. `home` is the node that a global service's task must be on.
pub(super) fn step<'a>(work: &mut Work<'a>, tasks: &[&'a Arc<Task>], home: Option<NodeId>, rollout: &mut Rollout) -> Held {
    let mut wanted: Vec<&'a Arc<Task>> = tasks.iter().copied().filter(|task| task.desired.wants_run()).collect();
    if is_done(work, tasks) {
        // A node that was given up came back with the end: nobody else needs to get there.
        wanted.iter().filter(|task| task.status.state.is_live()).for_each(|task| work.desire(task, DesiredState::Shutdown));
        clean(work, tasks);
        return Held::Nothing;
    }
    wanted.sort_by_cached_key(|task| rank(work, task));
    let mut held = Held::Nothing;
    if let Some((current, extra)) = wanted.split_first() {
        for task in extra {
            work.desire(task, DesiredState::Shutdown);
        }
        match advance(work, tasks, current, home, rollout) {
            Next::Stays => held = Held::Kept,
            Next::Goes => {}
            Next::Replaced(create) => {
                held = Held::Renewed;
                if work.is_stale(current) {
                    rollout.replaced()
                } else {
                    rollout.pending()
                }
                work.create(Create { node: home, ..create });
            }
        }
    }
    clean(work, tasks);
    held
}

/// Makes a task in a slot that has nothing but history.
pub(super) fn refill(work: &mut Work<'_>, tasks: &[&Arc<Task>], slot: u32, home: Option<NodeId>, rollout: &mut Rollout) {
    rollout.pending();
    let create = restart::first(work, tasks, slot);
    work.create(Create { node: home, ..create });
    clean(work, tasks);
}

/// Whether a global service's node takes a new task; other services find one.
fn takes_tasks(work: &Work<'_>, home: Option<NodeId>) -> bool {
    home.is_none_or(|home| work.view.node(&home).is_some_and(|node| super::nodes::takes_tasks(node)))
}

/// Which of several wanted tasks stays: of the current template, alive, placed, furthest, oldest.
fn rank(work: &mut Work<'_>, task: &Task) -> impl Ord + use<> {
    let stale = work.is_stale(task);
    (stale, !task.status.state.is_live(), !task.is_placed(), Reverse(task.status.state), task.meta.created_at, task.id)
}

/// Decides about the wanted task.
fn advance<'a>(work: &mut Work<'a>, tasks: &[&'a Arc<Task>], task: &'a Arc<Task>, home: Option<NodeId>, rollout: &mut Rollout) -> Next {
    let replaced = |create: Option<Create>| create.map_or(Next::Goes, Next::Replaced);
    let stale = work.is_stale(task);
    if !task.status.state.is_live() {
        if let Some(at) = restart::rests_until(work, task).filter(|_| !stale) {
            work.wake_at(at);
            return Next::Stays;
        }
        work.desire(task, DesiredState::Shutdown);
        return replaced(after_end(work, tasks, task, home));
    }
    match work.verdict_of(task) {
        // What could not be replaced on its node (a global service's, paused or unknown) goes on as it is.
        Some(Verdict::Fine) | None if stale && takes_tasks(work, home) => {
            work.desire(task, DesiredState::Shutdown);
            Next::Replaced(restart::successor(work, tasks, task, After::Stop))
        }
        // New constraints of the service take a global task off a paused node too; new labels of the node do not.
        Some(Verdict::Fine) if home.is_some() && work.is_misplaced(task) => {
            work.desire(task, DesiredState::Shutdown);
            Next::Goes
        }
        Some(Verdict::Fine) | None => {
            stay(work, tasks, task, rollout);
            Next::Stays
        }
        Some(trouble) => replaced(leave(work, tasks, task, trouble, home)),
    }
}

/// The task is over.
fn after_end(work: &mut Work<'_>, tasks: &[&Arc<Task>], task: &Task, home: Option<NodeId>) -> Option<Create> {
    if !takes_tasks(work, home) || home.is_some_and(|home| work.verdict(&home) != Verdict::Fine) {
        return None;
    }
    if work.is_stale(task) {
        return Some(restart::successor(work, tasks, task, After::End));
    }
    let cause = Cause::of(task);
    if !restart::should_restart(work, tasks, task, cause) {
        return None;
    }
    // Nobody told a wanted task to stop: an end in shutdown counts no attempt, but waits like any other end of its own.
    let after = match cause {
        Cause::Task => After::Delay { counts: true },
        Cause::Node if task.status.state == TaskState::Shutdown => After::Delay { counts: false },
        Cause::Node => After::End,
    };
    Some(restart::successor(work, tasks, task, after))
}

/// The task stays: it may wait for its node or for its moment.
fn stay<'a>(work: &mut Work<'a>, tasks: &[&Arc<Task>], task: &'a Arc<Task>, rollout: &mut Rollout) {
    if !task.is_placed() {
        work.waiting.push((work.group, task));
    }
    if task.desired == DesiredState::Ready {
        match restart::waits_until(work, tasks, task) {
            Some(at) => work.wake_at(at),
            None => work.desire(task, work.goal()),
        }
    }
    if task.status.state != TaskState::Running || work.is_stale(task) {
        rollout.pending();
    }
}

/// The task's node is the reason that it must go. Tasks of global services get no successor: their node is the slot.
fn leave(work: &mut Work<'_>, tasks: &[&Arc<Task>], task: &Task, trouble: Verdict, home: Option<NodeId>) -> Option<Create> {
    let judgement = match trouble {
        Verdict::Unfit => Some(Judgement::Unfit),
        _ => history::lost(work, task),
    };
    if let Some(judgement) = judgement {
        work.judge(task, judgement);
    }
    work.desire(task, DesiredState::Shutdown);
    let stale = work.is_stale(task);
    if home.is_some() || !(stale || restart::should_restart(work, tasks, task, Cause::Node)) {
        return None;
    }
    // What was judged is over. A drained node stops its task first.
    Some(restart::successor(work, tasks, task, if judgement.is_none() { After::Stop } else { After::End }))
}

/// History: what is over and to be removed goes, what its node will never report is judged, the rest is kept up to the limit.
pub(super) fn clean(work: &mut Work<'_>, tasks: &[&Arc<Task>]) {
    for task in tasks.iter().filter(|task| !task.desired.wants_run()) {
        match history::lost(work, task) {
            Some(judgement) if task.desired != DesiredState::Remove => work.judge(task, judgement),
            Some(_) => work.reap(task),
            None if task.desired == DesiredState::Remove => work.desire(task, DesiredState::Remove),
            None => {}
        }
    }
    history::trim(work, tasks);
}

/// The slot is not wanted any more: all its tasks go.
pub(super) fn drop_all(work: &mut Work<'_>, tasks: &[&Arc<Task>]) {
    for task in tasks {
        if history::lost(work, task).is_some() {
            work.reap(task);
        } else {
            work.desire(task, DesiredState::Remove);
        }
    }
}
