//! `/services/{id}/logs`, `/tasks/{id}/logs`, `/containers/{id}/logs`: lines as docker frames, flushed one by one.

use crate::backend::LogsOf;
use crate::call::Call;
use crate::error::{Answer, ApiError};
use crate::resolve;
use crate::stdcopy::{self, Layout};
use axum::body::Body;
use axum::response::IntoResponse;
use bytes::Bytes;
use futures_util::StreamExt;
use http::header;
use std::convert::Infallible;
use wsw_api::log::Query;
use wsw_api::{ServiceId, Task};
use wsw_planner::Store;

const MULTIPLEXED: &str = "application/vnd.docker.multiplexed-stream";
const RAW: &str = "application/vnd.docker.raw-stream";

/// Logs of all tasks of a service.
pub async fn service(call: Call) -> Answer {
    let store = call.backend.view().await?;
    let found = resolve::service(&store, &call.name)?;
    stream(&call, LogsOf::Service(found.id), has_tty(&store, found.id, found.template)).await
}

/// Logs of one task.
pub async fn task(call: Call) -> Answer {
    let store = call.backend.view().await?;
    of_task(&call, &store, &*resolve::task(&store, &call.name)?).await
}

/// Logs of one task, asked for as a container of this node.
pub async fn container(call: Call) -> Answer {
    let id = super::containers::find(&call).await?;
    let store = call.backend.view().await?;
    of_task(&call, &store, &*resolve::task(&store, &id.to_string())?).await
}

async fn of_task(call: &Call, store: &Store, task: &Task) -> Answer {
    stream(call, LogsOf::Task(task.id), has_tty(store, task.service, task.template)).await
}

/// A terminal's output has no frames.
fn has_tty(store: &Store, service: ServiceId, template: u64) -> bool {
    store.template(&service, template).is_some_and(|template| template.spec.container.tty)
}

fn query(call: &Call) -> Result<Query, ApiError> {
    let (stdout, stderr) = (call.query.flag("stdout"), call.query.flag("stderr"));
    if !stdout && !stderr {
        return Err(ApiError::invalid("Bad parameters: you must choose at least one stream"));
    }
    let tail = match call.query.get("tail").unwrap_or_default() {
        "" | "all" => None,
        // as moby: what is not a number asks for all
        text => text.parse().ok(),
    };
    Ok(Query { follow: call.query.flag("follow"), stdout, stderr, tail, since: call.query.time("since")?, until: call.query.time("until")? })
}

async fn stream(call: &Call, of: LogsOf, tty: bool) -> Answer {
    let layout = Layout { framed: !tty, timestamps: call.query.flag("timestamps"), details: call.query.flag("details") };
    let lines = call.backend.logs(of, query(call)?).await?;
    let frames = lines.map(move |line| {
        Ok::<Bytes, Infallible>(match line {
            Ok(line) => stdcopy::line(&line, layout),
            Err(warning) => stdcopy::warning(&warning.message, layout),
        })
    });
    // the frames are the same in both; clients before 1.42 know one name only
    let content_type = if !tty && call.version.has(42) { MULTIPLEXED } else { RAW };
    Ok(([(header::CONTENT_TYPE, content_type)], Body::from_stream(frames)).into_response())
}
