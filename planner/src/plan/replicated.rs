//! Replicated services: keep exactly `replicas` slots taken.
//!
//! Owns: which slots exist and which go (SwarmKit's order). What happens inside a slot is in `slot.rs`, places are the scheduler's.

use super::slot::{self, Kind};
use super::update::Rollout;
use super::work::Work;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use wsw_api::id::NodeId;
use wsw_api::task::{Task, TaskState};

struct Slot<'t, 'a> {
    number: u32,
    tasks: &'t [&'a Arc<Task>],
    kind: Kind,
}

pub(super) fn reconcile(work: &mut Work<'_>, replicas: u64) {
    let view = work.view;
    let tasks: Vec<&Arc<Task>> = view.tasks_of_service(&work.service.id).collect();
    let groups = tasks.chunk_by(|a, b| a.slot == b.slot);
    let slots: Vec<Slot<'_, '_>> =
        groups.map(|tasks| Slot { number: tasks.first().map_or(0, |task| task.slot), tasks, kind: slot::kind(work, tasks) }).collect();
    let taken = slots.iter().filter(|slot| slot.kind != Kind::Empty).count();
    let replicas = usize::try_from(replicas).unwrap_or(usize::MAX);
    let surplus: BTreeSet<u32> = if taken > replicas { surplus(&slots, replicas) } else { BTreeSet::new() };
    let mut missing: BTreeSet<u32> = missing(&slots, replicas.saturating_sub(taken));
    let mut rollout = Rollout::default();
    for slot in &slots {
        work.group = slot.number;
        if missing.remove(&slot.number) {
            slot::refill(work, slot.tasks, slot.number, None, &mut rollout);
        } else if surplus.contains(&slot.number) || slot.kind == Kind::Empty {
            slot::drop_all(work, slot.tasks);
        } else {
            slot::step(work, slot.tasks, None, &mut rollout);
        }
    }
    for number in missing {
        work.group = number;
        slot::refill(work, &[], number, None, &mut rollout);
    }
    rollout.conclude(work);
}

/// The lowest slot numbers that are not taken.
fn missing(slots: &[Slot<'_, '_>], count: usize) -> BTreeSet<u32> {
    let mut taken = slots.iter().filter(|slot| slot.kind != Kind::Empty).map(|slot| slot.number).peekable();
    let free = (1..=u32::MAX).filter(|number| {
        while taken.next_if(|next| next < number).is_some() {}
        taken.next_if_eq(number).is_none()
    });
    free.take(count).collect()
}

/// Which taken slots go: first those without a node, then from the nodes with most copies; of equals those that do not run,
/// then the highest number.
fn surplus(slots: &[Slot<'_, '_>], replicas: usize) -> BTreeSet<u32> {
    let mut order: Vec<(bool, u32, Option<NodeId>)> = slots.iter().filter(|slot| slot.kind != Kind::Empty).map(place).collect();
    order.sort_unstable();
    let mut copies: BTreeMap<NodeId, u32> = BTreeMap::new();
    let mut ranked: Vec<(u32, bool, u32)> = Vec::with_capacity(order.len());
    for (idle, number, node) in order {
        let nth = node.map_or(u32::MAX, |node| {
            let nth = copies.entry(node).or_default();
            *nth += 1;
            *nth
        });
        ranked.push((nth, idle, number));
    }
    ranked.sort_unstable();
    ranked.into_iter().skip(replicas).map(|(_, _, number)| number).collect()
}

/// Whether the slot does not run, its number, and its node when it has exactly one wanted task with a place.
fn place(slot: &Slot<'_, '_>) -> (bool, u32, Option<NodeId>) {
    let mut wanted = slot.tasks.iter().filter(|task| task.desired.wants_run());
    let first = wanted.next();
    let node = first.and_then(|task| task.node).filter(|_| wanted.next().is_none());
    let runs = slot.tasks.iter().any(|task| task.desired.wants_run() && task.status.state == TaskState::Running);
    (!runs, slot.number, node)
}
