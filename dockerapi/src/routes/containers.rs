//! `/containers`: this node's tasks. They are made and ended by their services; what may be done to one is in [`super::control`].

use crate::backend::{Image, LocalTask};
use crate::call::{self, Call};
use crate::convert::container::{Container, Surroundings};
use crate::convert::{system::node_id, task::container_id};
use crate::error::{Answer, ApiError};
use crate::filters::Filters;
use crate::model::container::ContainerSummary;
use crate::volume_store::Volume;
use wsw_api::{TaskId, Time};
use wsw_planner::Store;

const FILTERS: &[&str] =
    &["ancestor", "before", "exited", "expose", "health", "id", "is-task", "isolation", "label", "name", "network", "publish", "since", "status", "volume"];
/// Words of the `status` filter.
const STATES: &[&str] = &["created", "running", "paused", "restarting", "removing", "exited", "dead"];

/// What the node knows, for conversions.
struct Known {
    hostname: String,
    store: Option<Store>,
    tasks: Vec<LocalTask>,
    volumes: Vec<Volume>,
}

impl Known {
    async fn of(call: &Call) -> Self {
        let mut tasks = call.backend.tasks();
        tasks.sort_by_key(|task| (std::cmp::Reverse(task.created), task.id));
        Self { hostname: call.backend.local().hostname, store: call.backend.view().await.ok(), tasks, volumes: call.backend.volumes() }
    }

    fn containers<'a>(&'a self, call: &'a Call, images: &'a [Image]) -> Vec<Container<'a>> {
        let local = call.backend.local();
        let (store, volumes) = (self.store.as_ref(), self.volumes.as_slice());
        let (node, hostname) = (node_id(&local.swarm), self.hostname.as_str());
        let surroundings = Surroundings { store, images, node, hostname, now: local.now, volumes, own_volumes: &*call.backend };
        self.tasks.iter().map(|task| surroundings.container(task)).collect()
    }
}

/// `GET /containers/json`: the newest first.
pub async fn list(call: Call) -> Answer {
    let filters = call.query.filters(FILTERS)?;
    if let Some(value) = filters.get("status").find(|value| !STATES.contains(value)) {
        return Err(filters.bad("status", value));
    }
    filters.bool("is-task")?;
    if let Some(value) = filters.get("exited").find(|value| value.parse::<i64>().is_err()) {
        return Err(filters.bad("exited", value));
    }
    let limit = match call.query.get("limit").unwrap_or_default() {
        "" | "-1" | "0" => None,
        text => Some(text.parse::<usize>().map_err(|_| ApiError::invalid(format!("invalid limit {text:?}: use a number")))?),
    };
    let all = call.query.flag("all") || limit.is_some() || filters.has("status") || filters.has("exited");
    let images = call.backend.images().await.unwrap_or_default();
    let known = Known::of(&call).await;
    let containers = known.containers(&call, &images);
    let (before, since) = (bound(&containers, &filters, "before")?, bound(&containers, &filters, "since")?);
    let shown = containers
        .iter()
        .filter(|found| before.is_none_or(|bound| found.created() < bound) && since.is_none_or(|bound| found.created() > bound))
        .filter(|found| (all || found.is_running()) && found.matches(&filters));
    let lines: Vec<_> = shown.take(limit.unwrap_or(usize::MAX)).map(|found| found.summary(call.query.flag("size"))).collect();
    call::ok(&lines)
}

/// When the container was made that `before` or `since` names.
fn bound(containers: &[Container<'_>], filters: &Filters, key: &str) -> Result<Option<Time>, ApiError> {
    let Some(name) = filters.get(key).next() else { return Ok(None) };
    let found = containers.iter().find(|found| found.name() == name.trim_start_matches('/') || found.id().starts_with(name));
    found.map(|found| Some(found.created())).ok_or_else(|| no_such(name))
}

/// All lines, for `/system/df`.
pub async fn summaries(call: &Call, images: &[Image], all: bool) -> Vec<ContainerSummary> {
    let known = Known::of(call).await;
    known.containers(call, images).into_iter().filter(|found| all || found.is_running()).map(|found| found.summary(true)).collect()
}

/// Ended containers that the filters of a prune mean.
pub async fn ended(call: &Call, filters: &Filters, until: Option<Time>) -> Vec<(TaskId, String)> {
    let known = Known::of(call).await;
    let containers = known.containers(call, &[]);
    let wanted = |found: &Container<'_>| found.is_ended() && until.is_none_or(|until| found.created() < until) && found.is_pruned_by(filters);
    known.tasks.iter().zip(&containers).filter(|(_, found)| wanted(found)).map(|(task, found)| (task.id, found.id())).collect()
}

/// `GET /containers/{id}/json`.
pub async fn inspect(call: Call) -> Answer {
    let id = find(&call).await?;
    let images = call.backend.images().await.unwrap_or_default();
    let known = Known::of(&call).await;
    let wanted = container_id(id);
    match known.containers(&call, &images).into_iter().find(|found| found.id() == wanted) {
        Some(found) => {
            // moby's: null when there are none.
            let running = Some(call.backend.execs_of(id)).filter(|running| !running.is_empty());
            call::ok(&crate::model::container::ContainerInspect {
                exec_ids: Some(running),
                ..found.inspect(call.query.flag("size"), call.backend.task_sandbox(id).as_ref())
            })
        }
        None => Err(no_such(&call.name)),
    }
}

fn no_such(name: &str) -> ApiError {
    ApiError::not_found(format!("No such container: {name}"))
}

/// `hello.1.<task id>`.
pub async fn name_of(call: &Call, task: TaskId) -> String {
    let known = Known::of(call).await;
    let wanted = container_id(task);
    known.containers(call, &[]).iter().find(|found| found.id() == wanted).map_or_else(|| task.to_string(), Container::name)
}

/// What it runs, in one line.
pub async fn command_of(call: &Call, task: TaskId) -> String {
    let images = call.backend.images().await.unwrap_or_default();
    let known = Known::of(call).await;
    let wanted = container_id(task);
    known.containers(call, &images).iter().find(|found| found.id() == wanted).map(Container::command_line).unwrap_or_default()
}

/// What asks it to end, as its service or its image names it; empty: Docker's own.
pub async fn stop_signal_of(call: &Call, task: TaskId) -> String {
    let images = call.backend.images().await.unwrap_or_default();
    let known = Known::of(call).await;
    let wanted = container_id(task);
    known.containers(call, &images).iter().find(|found| found.id() == wanted).map(Container::stop_signal).unwrap_or_default()
}

/// The task of a container: by full id, name, or unique id prefix.
pub async fn find(call: &Call) -> Result<TaskId, ApiError> {
    let known = Known::of(call).await;
    let name = call.name.trim_start_matches('/');
    let containers = known.containers(call, &[]);
    let tasks = || known.tasks.iter().zip(&containers);
    if let Some((task, _)) = tasks().find(|(_, found)| found.id() == name || found.name() == name) {
        return Ok(task.id);
    }
    let by_prefix: Vec<TaskId> = tasks().filter(|(_, found)| !name.is_empty() && found.id().starts_with(name)).map(|(task, _)| task.id).collect();
    match by_prefix.as_slice() {
        [] => Err(no_such(&call.name)),
        [only] => Ok(*only),
        _ => Err(ApiError::invalid(format!("Multiple IDs found with provided prefix: {name}"))),
    }
}
