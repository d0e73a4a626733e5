//! What must hold of any state that the planner leaves: the properties of DESIGN section 5, as plain checks.
//!
//! Owns: the checks. The histories that they are held against are in `properties.rs` and in the simulation (`tests/sim`). A check panics with what
//! it found: this file is built for tests only (feature `checks`).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::constraint::Constraint;
use crate::store::Store;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use wsw_api::Task;
use wsw_api::generic::GenericResource;
use wsw_api::id::{NodeId, ServiceId, TaskId};
use wsw_api::object::{Node, NodeState, Service};
use wsw_api::spec::{Availability, PublishMode, RestartCondition, ServiceMode};
use wsw_api::task::{DesiredState, TaskState};

/// At most one runnable task per slot, or per node for global services.
pub fn check_slots(store: &Store) {
    let mut seen: BTreeMap<(ServiceId, u32, Option<NodeId>), TaskId> = BTreeMap::new();
    for task in store.tasks().filter(|task| task.is_runnable()) {
        let global = store.service(&task.service).is_some_and(|service| service.spec.mode.is_global());
        let other = seen.insert((task.service, task.slot, task.node.filter(|_| global)), task.id);
        assert_eq!(other, None, "two runnable tasks in slot {} of {}", task.slot, task.service);
    }
}

/// Tasks that were placed between two states are on nodes that every filter allows.
pub fn check_places(before: &Store, after: &Store) {
    let is_there = |task: &Task| task.is_placed() && task.status.state.is_live();
    for task in after.tasks().filter(|task| is_there(task) && before.task(&task.id).is_none_or(|old| !old.is_placed())) {
        let node = after.node(&task.node.unwrap()).expect("placed on a node that exists");
        assert_eq!((node.status.state, node.spec.availability), (NodeState::Ready, Availability::Active), "placed on a node that takes no tasks");
        let template = after.template(&task.service, task.template).unwrap();
        let constraints = Constraint::parse_all(&template.spec.placement.constraints).unwrap();
        assert!(constraints.iter().all(|constraint| constraint.matches(node)), "placed against a constraint");
        let max = template.spec.placement.max_replicas;
        let active = after.placed(&task.service).find(|(id, _)| *id == node.id).map_or(0, |(_, placed)| placed.active);
        assert!(max == 0 || u64::from(active) <= max, "more than {max} replicas on a node");
    }
    for node in after.nodes() {
        let (reserved, had) = (after.load(&node.id).memory_bytes, before.load(&node.id).memory_bytes);
        assert!(reserved <= node.description.resources.memory_bytes.max(had), "more reserved than there is");
        let held = after.tasks_on_node(&node.id).filter(|task| task.is_placed() && task.status.state.is_live());
        check_claims(before, after, node);
        let mut ports = BTreeSet::new();
        let published = held.flat_map(|task| &after.template(&task.service, task.template).unwrap().endpoint.ports);
        for port in published.filter(|port| port.mode == PublishMode::Host) {
            assert!(ports.insert(port.published), "one host port twice on a node");
        }
    }
}

/// Nothing is given twice; what a node says that it has bounds what is given of it, until its tasks are gone.
pub fn check_claims(before: &Store, after: &Store, node: &Node) {
    let live = || after.tasks_on_node(&node.id).filter(|task| task.is_placed() && task.status.state.is_live());
    let fresh = |id: &TaskId| before.task(id).is_none_or(|old| !old.is_placed());
    let (mut names, mut total, mut given) = (BTreeSet::new(), 0, false);
    for (task, resource) in live().flat_map(|task| task.claims.iter().flat_map(|claim| claim.iter()).map(move |resource| (task, resource))) {
        given |= fresh(&task.id);
        match resource {
            GenericResource::Discrete { value, .. } => total += value,
            GenericResource::Named { name, .. } => assert!(names.insert(name), "{name} is given twice"),
        }
        assert!(!fresh(&task.id) || node.description.generic.iter().any(|has| has.kind() == resource.kind()), "given what is not there");
    }
    for has in node.description.generic.iter().filter(|_| given && names.is_empty()) {
        assert!(!matches!(has, GenericResource::Discrete { value, .. } if *value < total), "more is given than there is: {total} of {has:?}");
    }
    for task in live().filter(|task| fresh(&task.id)) {
        let wanted: u64 = after.template(&task.service, task.template).unwrap().spec.resources.generic.iter().map(|want| want.value).sum();
        let got: u64 =
            task.claims.iter().flat_map(|claim| claim.iter()).map(|one| if let GenericResource::Discrete { value, .. } = one { *value } else { 1 }).sum();
        assert_eq!(got, wanted, "a task is given what it reserves");
    }
}

/// Jobs: bounds on what runs at a time and in all, nothing is run twice, nothing of an earlier iteration is wanted.
pub fn check_jobs(store: &Store) {
    for service in store.services().filter(|service| service.spec.mode.is_job()) {
        let iteration = service.job.expect("a job has a status").iteration;
        let (current, past): (Vec<_>, Vec<_>) = store.tasks_of_service(&service.id).partition(|task| task.job_iteration == iteration);
        assert!(!past.iter().any(|task| task.is_runnable()), "a task of an earlier iteration is wanted");
        let place = |task: &&Arc<Task>| (task.slot, task.node.filter(|_| service.spec.mode.is_global()));
        let done: BTreeSet<_> = current.iter().copied().filter(|task| task.status.state == TaskState::Complete).map(|task| place(&task)).collect();
        let up: Vec<_> = current.iter().copied().filter(|task| task.is_runnable()).collect();
        assert!(!up.iter().any(|task| done.contains(&place(task))), "run again although it is complete");
        if let ServiceMode::ReplicatedJob { max_concurrent, total_completions } = service.spec.mode {
            let count = |n: usize| u64::try_from(n).unwrap();
            assert!(count(up.len()) <= max_concurrent, "{} at a time, {max_concurrent} allowed", up.len());
            assert!(count(up.len() + done.len()) <= total_completions);
            assert!(current.iter().all(|task| u64::from(task.slot) < total_completions));
        }
    }
}

pub fn check_forward(before: &Store, after: &Store) {
    for old in before.tasks() {
        if let Some(new) = after.task(&old.id) {
            assert!(new.desired >= old.desired && new.status.state >= old.status.state, "a task moved back");
            assert!(old.node.is_none() || new.node == old.node, "a task moved to another node");
        }
    }
}

/// No slot keeps more than its history, its one wanted task and what is still stopping.
pub fn check_history(store: &Store) {
    let limit = store.cluster().map_or(5, |cluster| cluster.spec.task_history_limit);
    for service in store.services() {
        let attempts = service.spec.task.restart.max_attempts;
        let keeps = if attempts > 0 { i64::try_from(attempts).unwrap() + 1 } else { limit };
        let Ok(keeps) = usize::try_from(keeps) else { continue };
        let global = service.spec.mode.is_global();
        let mut slots: BTreeMap<(u32, Option<NodeId>), (usize, usize)> = BTreeMap::new();
        for task in store.tasks_of_service(&service.id) {
            let (all, live) = slots.entry((task.slot, task.node.filter(|_| global))).or_default();
            *all += 1;
            // What the policy gives no successor stands for its slot and stays.
            *live += usize::from(task.status.state.is_live() || (task.status.state == TaskState::Complete && task.desired == DesiredState::Complete));
        }
        for ((slot, node), (all, live)) in slots {
            let records = if service.spec.task.restart.window > 0 { usize::try_from(attempts).unwrap() } else { 0 };
            // What is stopping of a job's earlier iterations is beside its slot's history; elsewhere the last task stays although others are stopping.
            let bound = if service.spec.mode.is_job() { keeps + live + 1 } else { keeps.max(live + records + 1) };
            assert!(all <= bound, "slot {slot} {node:?} of {} keeps {all} tasks, {live} of them live, with a limit of {keeps}", service.name());
        }
    }
}

/// The attempts that tasks of the present template tell of are never more than the policy allows, whatever drains and updates came between.
pub fn check_attempts(store: &Store) {
    for service in store.services() {
        let policy = &service.spec.task.restart;
        let tasks = || store.tasks_of_service(&service.id).filter(|task| task.template == service.template);
        if policy.max_attempts > 0 && policy.window == 0 {
            let most = tasks().map(|task| u64::from(task.attempts)).max().unwrap_or(0);
            assert!(most <= policy.max_attempts, "{most} attempts of {}", service.name());
        }
        for task in tasks() {
            assert_eq!(task.ended_at.is_some(), !task.status.state.is_live(), "{task:?}");
        }
    }
}

/// A job is complete, but for slots that it gave up and what fits nowhere.
pub fn check_completed(store: &Store, service: &Service, total: u64) {
    let iteration = service.job.expect("a job has a status").iteration;
    let current = || store.tasks_of_service(&service.id).filter(|task| task.job_iteration == iteration);
    let done: BTreeSet<u32> = current().filter(|task| task.status.state == TaskState::Complete).map(|task| task.slot).collect();
    let policy = &service.spec.task.restart;
    let waits = current().any(|task| task.is_runnable() && !task.is_placed() && !task.status.err.is_empty());
    if policy.condition != RestartCondition::None && policy.max_attempts == 0 && !waits {
        assert_eq!(u64::try_from(done.len()).unwrap(), total, "{}: complete are {done:?}", service.name());
    }
}
