//! The end of a run: without faults everything settles, and the last state is what the history says.
//!
//! Owns: what "settled" means. Invariants: within [`BOUND`] of virtual time one manager leads, all have the same state, each service has what it
//! asks for, what runs on the workers is what the state says, and a full sweep plans nothing.

use crate::checks::{caught, state_hash};
use crate::cluster::World;
use crate::operator;
use crate::trace::event;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::sleep;
use wsw_api::entry::Change;
use wsw_api::id::ServiceId;
use wsw_api::object::NodeState;
use wsw_api::spec::{NodeRole, ServiceMode};
use wsw_api::task::{DesiredState, TaskState};
use wsw_manager::Leading;
use wsw_planner::{Dirty, Store, checks, plan};

/// Longer than any election, restart delay, rollout and grace that a run has.
const BOUND: Duration = Duration::from_secs(120);
/// Where something is planted less will do: it is to be found, not survived.
const PLANTED: Duration = Duration::from_secs(40);
const LOOK: Duration = Duration::from_millis(500);

/// Waits until all is well; what is not after the bound is the error.
pub async fn settle(world: &mut World) -> Result<(), String> {
    operator::change_availability(world, true).await;
    let mut missing = String::new();
    let bound = if world.common.plant.is_some() { PLANTED } else { BOUND };
    for look in 0..bound.as_millis() / LOOK.as_millis() {
        sleep(LOOK).await;
        operator::follow_roles(world);
        if look % 20 == 19 {
            // The first try may have met an election.
            operator::change_availability(world, true).await;
        }
        if let Some(offence) = world.common.checks.offence() {
            return Err(offence);
        }
        match settled(world) {
            Ok(store) => {
                event!(world.common.trace, "settled at index {}, state {:x}", store.index(), state_hash(&store));
                return caught(|| world.history.check(&store)).map_or(Ok(()), Err);
            }
            Err(what) => missing = what,
        }
    }
    Err(format!("not settled after {bound:?}: {missing}"))
}

fn settled(world: &World) -> Result<Store, String> {
    let doors: Vec<_> = world.hosts.iter().filter_map(|host| world.common.net.door(host.number)).collect();
    let leaders = doors.iter().filter(|door| door.manager.leading() == Leading::Here).count();
    let store = doors.first().map(|door| door.manager.store()).ok_or("no manager is up")?;
    let hash = state_hash(&store);
    if leaders != 1 || doors.iter().any(|door| state_hash(&door.manager.store()) != hash) {
        let at: Vec<u64> = doors.iter().map(|door| door.manager.store().index()).collect();
        return Err(format!("{leaders} managers lead; they are at the indexes {at:?}"));
    }
    for node in store.nodes() {
        let known = world.hosts.iter().find(|host| host.node == node.id).ok_or("a node that nobody is")?;
        let enrolled = node.manager.as_ref().map(|manager| manager.raft_id);
        if node.status.state != NodeState::Ready || enrolled != known.raft || (node.spec.role == NodeRole::Manager) != enrolled.is_some() {
            return Err(format!("host {} is {:?}, {:?} with Raft id {enrolled:?}", known.number, node.status.state, node.spec.role));
        }
    }
    let now = crate::host::now().after(100_000_000_000);
    let sweep = plan(&store, &Dirty::everything(), now.max(store.time()), &mut crate::chance::id);
    if let Some(change) = sweep.changes().find(|change| !matches!(change, Change::Explain { .. })) {
        return Err(format!("something is left to plan: {change:?}"));
    }
    if let Some(offence) = caught(|| checks::check_history(&store)) {
        return Err(offence);
    }
    replicas(&store)?;
    on_workers(world, &store)?;
    Ok(store)
}

/// Each service has what it asks for.
fn replicas(store: &Store) -> Result<(), String> {
    for service in store.services() {
        let tasks = || store.tasks_of_service(&service.id);
        let running = tasks().filter(|task| task.is_runnable() && task.status.state == TaskState::Running).count() as u64;
        let most = service.spec.task.placement.max_replicas.saturating_mul(store.node_count() as u64);
        let wanted = match service.spec.mode {
            ServiceMode::Replicated { replicas } if most > 0 => replicas.min(most),
            ServiceMode::Replicated { replicas } => replicas,
            ServiceMode::Global => store.node_count() as u64,
            ServiceMode::ReplicatedJob { .. } | ServiceMode::GlobalJob => {
                if tasks().any(|task| task.is_runnable()) {
                    return Err(format!("job {} is not complete", service.name()));
                }
                continue;
            }
        };
        if service.pending_delete || running != wanted {
            return Err(format!("service {} has {running} of {wanted} replicas", service.name()));
        }
    }
    Ok(())
}

/// What runs is what the state says.
fn on_workers(world: &World, store: &Store) -> Result<(), String> {
    let mut said: BTreeMap<ServiceId, u64> = BTreeMap::new();
    for task in store.tasks().filter(|task| task.status.state == TaskState::Running && task.desired == DesiredState::Running) {
        *said.entry(task.service).or_default() += 1;
    }
    let mut runs: BTreeMap<ServiceId, u64> = BTreeMap::new();
    for worker in &world.workers {
        for (service, count) in worker.tasks.lock().unwrap().running() {
            *runs.entry(service).or_default() += count;
        }
    }
    if said == runs { Ok(()) } else { Err(format!("what runs ({runs:?}) is not what the state says ({said:?})")) }
}
