//! Replicated jobs: so many tasks run to completion, some of them at a time.
//!
//! Owns: which slots of the current iteration are begun with, and what becomes of earlier iterations. Slots count from 0; at the end each has
//! one complete task. What happens inside a slot is in `slot.rs`; global jobs are in `global.rs`.
//! Invariants: no more tasks are up at a time than the job allows; a slot that is complete is not begun again; a slot that its policy
//! gives up stays so, and the others go on. An update begins a new iteration: tasks of earlier ones stop, none of them counts.

use super::history;
use super::slot::{self, Held, Kind};
use super::update::Rollout;
use super::work::Work;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use wsw_api::task::Task;

struct Slot<'a> {
    number: u32,
    past: Vec<&'a Arc<Task>>,
    current: Vec<&'a Arc<Task>>,
}

pub(super) fn reconcile(work: &mut Work<'_>, max_concurrent: u64, total: u64) {
    let view = work.view;
    let tasks: Vec<&Arc<Task>> = view.tasks_of_service(&work.service.id).collect();
    let total = u32::try_from(total).unwrap_or(u32::MAX);
    let mut rollout = Rollout::default();
    let (mut taken, mut up) = (BTreeSet::new(), 0);
    let mut free = BTreeMap::new();
    for group in tasks.chunk_by(|a, b| a.slot == b.slot) {
        let number = group.first().map_or(0, |task| task.slot);
        let (past, current) = group.iter().copied().partition(|task| work.is_past(task));
        let slot = Slot { number, past, current };
        work.group = number;
        if number >= total {
            slot::drop_all(work, &slot.current);
            retire(work, &slot, false);
        } else if slot::kind(work, &slot.current) == Kind::Empty {
            free.insert(number, slot);
        } else {
            taken.insert(number);
            let held = slot::step(work, &slot.current, None, &mut rollout);
            up += usize::from(held != Held::Nothing);
            retire(work, &slot, held == Held::Renewed);
        }
    }
    // What gives up in this plan makes room for the next one in this plan.
    let room = usize::try_from(max_concurrent).unwrap_or(usize::MAX).saturating_sub(up);
    for number in (0..total).filter(|number| !taken.contains(number)).take(room) {
        work.group = number;
        let slot = free.remove(&number);
        slot::refill(work, slot.as_ref().map_or(&[], |slot| &slot.current), number, None, &mut rollout);
        slot.iter().for_each(|slot| retire(work, slot, true));
    }
    for slot in free.values() {
        work.group = slot.number;
        slot::clean(work, &slot.current);
        retire(work, slot, false);
    }
    rollout.conclude(work);
}

/// Tasks of earlier iterations stop; those that have ended are history. `begun`: the slot gets a task in this plan.
fn retire(work: &mut Work<'_>, slot: &Slot<'_>, begun: bool) {
    let live: Vec<&Arc<Task>> = slot.past.iter().copied().filter(|task| task.status.state.is_live()).collect();
    slot::drop_all(work, &live);
    history::trim_past(work, &slot.past, slot.current.len() + usize::from(begun));
}
