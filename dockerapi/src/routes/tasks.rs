//! `/tasks`.

use crate::call::{self, Call};
use crate::convert::task::Writer;
use crate::error::{Answer, ApiError};
use crate::filters::Filters;
use crate::resolve::{self, service_name};
use std::collections::BTreeSet;
use std::sync::Arc;
use wsw_api::{NodeId, ServiceId, Task};
use wsw_planner::Store;

const FILTERS: &[&str] = &["_up-to-date", "desired-state", "id", "label", "name", "node", "runtime", "service"];
/// Words of the `desired-state` filter: SwarmKit's states, of which only some are ever desired.
const STATES: &[&str] = &[
    "new",
    "allocated",
    "pending",
    "assigned",
    "accepted",
    "preparing",
    "ready",
    "starting",
    "running",
    "complete",
    "shutdown",
    "failed",
    "rejected",
    "remove",
    "orphaned",
];

/// The filters with their objects found.
struct Wanted {
    filters: Filters,
    services: Option<BTreeSet<ServiceId>>,
    nodes: Option<BTreeSet<NodeId>>,
}

/// `GET /tasks`.
pub async fn list(call: Call) -> Answer {
    let filters = call.query.filters(FILTERS)?;
    if let Some(value) = filters.get("desired-state").find(|value| !STATES.contains(&value.to_ascii_lowercase().as_str())) {
        return Err(ApiError::invalid(format!("invalid desired-state filter: '{value}'")));
    }
    let store = call.backend.view().await?;
    let wanted = find(&call, &store, filters)?;
    let mut writer = Writer::new(&store);
    let found: Vec<&Arc<Task>> = match (&wanted.services, &wanted.nodes) {
        (Some(services), _) => services.iter().flat_map(|id| store.tasks_of_service(id)).collect(),
        (None, Some(nodes)) => nodes.iter().flat_map(|id| store.tasks_on_node(id)).collect(),
        (None, None) => store.tasks().collect(),
    };
    let tasks: Vec<_> = found.into_iter().filter(|task| matches(&store, task, &wanted)).map(|task| writer.task(task)).collect();
    call::ok(&tasks)
}

/// A service or node that does not exist is refused, as moby does; the CLI prints it.
fn find(call: &Call, store: &Store, filters: Filters) -> Result<Wanted, ApiError> {
    let services: BTreeSet<_> = filters.get("service").map(|text| Ok(resolve::service(store, text)?.id)).collect::<Result<_, ApiError>>()?;
    let nodes: BTreeSet<_> = filters.get("node").map(|text| Ok(resolve::node(store, &*call.backend, text)?.id)).collect::<Result<_, ApiError>>()?;
    Ok(Wanted { services: filters.has("service").then_some(services), nodes: filters.has("node").then_some(nodes), filters })
}

fn matches(store: &Store, task: &Task, wanted: &Wanted) -> bool {
    let filters = &wanted.filters;
    wanted.nodes.as_ref().is_none_or(|nodes| task.node.is_some_and(|node| nodes.contains(&node)))
        && filters.prefix("id", &task.id.to_string())
        && filters.any("name", |value| task.name(service_name(store, task)).starts_with(value))
        && filters.any("desired-state", |value| value.eq_ignore_ascii_case(task.desired.as_str()))
        && filters.exact("runtime", "container")
        && (!filters.has("label") || has_labels(store, task, filters))
        && (!filters.has("_up-to-date") || is_current(store, task))
}

/// A task has its service's labels (`stack ps` asks for them).
fn has_labels(store: &Store, task: &Task, filters: &Filters) -> bool {
    store.service(&task.service).is_some_and(|service| filters.labels("label", &service.spec.annotations.labels))
}

/// It runs what its service asks for now; of a job, it belongs to the present run.
fn is_current(store: &Store, task: &Task) -> bool {
    store.service(&task.service).is_some_and(|service| match service.job {
        Some(job) => task.job_iteration == job.iteration,
        None => wsw_planner::plan::is_current(store, service, task),
    })
}

/// `GET /tasks/{id}`.
pub async fn inspect(call: Call) -> Answer {
    let store = call.backend.view().await?;
    let task = resolve::task(&store, &call.name)?;
    call::ok(&Writer::new(&store).task(&task))
}
