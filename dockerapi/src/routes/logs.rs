//! `/services/{id}/logs`, `/tasks/{id}/logs`, `/containers/{id}/logs`: lines as docker frames, flushed one by one.

use crate::backend::{Backend, LogsOf};
use crate::call::Call;
use crate::convert::log_details;
use crate::error::{Answer, ApiError};
use crate::resolve;
use crate::stdcopy::{self, Layout};
use axum::body::Body;
use axum::response::IntoResponse;
use bytes::Bytes;
use futures_util::StreamExt;
use http::header;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use wsw_api::log::{self, Line, Query};
use wsw_api::{Error, ServiceId, Task, TaskId};
use wsw_planner::Store;

const MULTIPLEXED: &str = "application/vnd.docker.multiplexed-stream";
const RAW: &str = "application/vnd.docker.raw-stream";
/// Tasks whose details one stream remembers: a service's that restart go on for ever.
const MAX_KNOWN: usize = 1_024;

/// Logs of all tasks of a service.
pub async fn service(call: Call) -> Answer {
    let store = call.backend.view().await?;
    let found = resolve::service(&store, &call.name)?;
    let query = query(&call, service_tail(&call)?)?;
    stream(&call, LogsOf::Service(found.id), query, true, has_tty(&store, found.id, found.template)).await
}

/// Logs of one task.
pub async fn task(call: Call) -> Answer {
    let store = call.backend.view().await?;
    let task = resolve::task(&store, &call.name)?;
    let query = query(&call, service_tail(&call)?)?;
    stream(&call, LogsOf::Task(task.id), query, true, has_tty(&store, task.service, task.template)).await
}

/// Logs of one task, asked for as a container of this node.
pub async fn container(call: Call) -> Answer {
    let id = super::containers::find(&call).await?;
    let store = call.backend.view().await?;
    let task = resolve::task(&store, &id.to_string())?;
    let query = query(&call, container_tail(&call))?;
    if keeps_nothing(&store, &task) {
        return Err(Error::unimplemented("configured logging driver does not support reading").into());
    }
    stream(&call, LogsOf::Task(task.id), query, false, has_tty(&store, task.service, task.template)).await
}

/// Whether a task writes to a terminal; one that is not known does not.
pub async fn is_terminal(call: &Call, task: wsw_api::TaskId) -> bool {
    let Ok(store) = call.backend.view().await else { return false };
    store.task(&task).is_some_and(|task| has_tty(&store, task.service, task.template))
}

/// The frames are the same in both; clients before 1.42 know one name only.
pub fn content_type(call: &Call, tty: bool) -> &'static str {
    if !tty && call.version.has(42) { MULTIPLEXED } else { RAW }
}

/// A terminal's output has no frames.
fn has_tty(store: &Store, service: ServiceId, template: u64) -> bool {
    store.template(&service, template).is_some_and(|template| template.spec.container.tty)
}

fn keeps_nothing(store: &Store, task: &Task) -> bool {
    let template = store.template(&task.service, task.template);
    template.is_some_and(|template| log::driver(template.spec.log_driver.as_ref()).is_ok_and(|driver| driver.bounds.keeps_nothing()))
}

/// As moby: what is not a number asks for all.
fn container_tail(call: &Call) -> Option<u64> {
    call.query.get("tail").unwrap_or_default().parse().ok()
}

/// As moby, whose words these are: here it has to be one.
fn service_tail(call: &Call) -> Result<Option<u64>, ApiError> {
    match call.query.get("tail").unwrap_or_default() {
        "" | "all" => Ok(None),
        text => match text.parse::<i64>() {
            Ok(lines) => u64::try_from(lines).map(Some).map_err(|_| ApiError::invalid("negative tail values not supported")),
            Err(_) => Err(ApiError::invalid("tail value must be a positive integer or \"all\"")),
        },
    }
}

fn query(call: &Call, tail: Option<u64>) -> Result<Query, ApiError> {
    let (stdout, stderr) = (call.query.flag("stdout"), call.query.flag("stderr"));
    if !stdout && !stderr {
        return Err(ApiError::invalid("Bad parameters: you must choose at least one stream"));
    }
    Ok(Query { follow: call.query.flag("follow"), stdout, stderr, tail, since: call.query.time("since")?, until: call.query.time("until")? })
}

/// Writes the lines as asked. `context`: the details say of which task each one is.
async fn stream(call: &Call, of: LogsOf, query: Query, context: bool, tty: bool) -> Answer {
    let layout = Layout { framed: !tty, timestamps: call.query.flag("timestamps") };
    let details = call.query.flag("details").then(|| Details { backend: call.backend.clone(), context, known: BTreeMap::new() });
    let lines = call.backend.logs(of, query).await?;
    let frames = futures_util::stream::unfold((lines, details), move |(mut lines, mut details)| async move {
        let frame = match lines.next().await? {
            Ok(line) => {
                let text = match &mut details {
                    Some(details) => Some(details.of(&line).await),
                    None => None,
                };
                stdcopy::line(&line, text, layout)
            }
            Err(warning) => stdcopy::warning(&warning.message, layout),
        };
        Some((Ok::<Bytes, Infallible>(frame), (lines, details)))
    });
    Ok(([(header::CONTENT_TYPE, content_type(call, tty))], Body::from_stream(frames)).into_response())
}

/// The details of each task, looked up once.
struct Details {
    backend: Arc<dyn Backend>,
    context: bool,
    known: BTreeMap<TaskId, String>,
}

impl Details {
    async fn of(&mut self, line: &Line) -> &str {
        if !self.known.contains_key(&line.task) {
            if self.known.len() >= MAX_KNOWN {
                self.known.clear();
            }
            // Not kept: a follower would hold an old state for as long as it reads.
            let task = match self.backend.view().await {
                Ok(store) => store.task(&line.task).map(|task| log_details::of_task(&store, task)),
                Err(_) => None,
            };
            let own = task.unwrap_or_default();
            let all = if self.context { log_details::with_context(own, line) } else { own };
            self.known.insert(line.task, log_details::text(&all));
        }
        self.known.get(&line.task).map_or("", String::as_str)
    }
}
