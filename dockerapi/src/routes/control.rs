//! `/containers/{id}/kill`, `stop`, `wait`, `DELETE /containers/{id}`, and `/containers/prune`: what may be done to one task past its service.
//!
//! A task that ends here has ended by itself: its service replaces it as its restart policy says, as with Docker's swarm.
//! Invariant: a stop waits for the end with a bound; `wait` answers its head at once.

use super::containers::{self, find, name_of};
use crate::backend::{LocalTask, Until};
use crate::call::{self, Call};
use crate::convert::task::container_id;
use crate::error::{Answer, ApiError};
use crate::model::answers;
use crate::signals;
use axum::body::Body;
use axum::response::IntoResponse;
use bytes::Bytes;
use futures_util::stream;
use http::{StatusCode, header};
use std::convert::Infallible;
use std::time::Duration;
use wsw_api::event::Kind;
use wsw_api::time::SECOND;
use wsw_api::{Class, Error, TaskId, TaskState};

/// A killed guest is dropped at its next point of interruption; what takes longer is told to the caller.
const KILL_LIMIT: Duration = Duration::from_secs(30);
/// Keys of `docker container prune --filter`.
const PRUNE_FILTERS: &[&str] = &["label", "label!", "until"];

answers! {
    /// `POST /containers/prune`.
    Pruned { deleted: Vec<String> = "ContainersDeleted", reclaimed: u64 = "SpaceReclaimed" }
    /// `POST /containers/{id}/wait`.
    Waited { error: WaitError = "Error", code: u32 = "StatusCode" }
    /// Why there is no exit code.
    WaitError { message: String = "Message" }
}

pub(super) fn runs(task: &LocalTask) -> bool {
    matches!(task.status.state, TaskState::Starting | TaskState::Running)
}

pub(super) fn local(call: &Call, id: TaskId) -> Result<LocalTask, ApiError> {
    call.backend.tasks().into_iter().find(|task| task.id == id).ok_or_else(|| ApiError::not_found(format!("No such container: {}", call.name)))
}

fn no_content() -> Answer {
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `POST /containers/{id}/kill`.
pub async fn kill(call: Call) -> Answer {
    let wrap = |error: ApiError| ApiError { message: format!("cannot kill container: {}: {}", call.name, error.message), ..error };
    let signal = match call.query.get("signal").unwrap_or_default() {
        "" => signals::SIGKILL,
        text => signals::parse(text).map_err(wrap)?,
    };
    let id = find(&call).await.map_err(wrap)?;
    if !runs(&local(&call, id)?) {
        return Err(wrap(Error::conflict(format!("container {} is not running", container_id(id))).into()));
    }
    call.backend.task_kill(id, signal).await.map_err(|error| wrap(error.into()))?;
    no_content()
}

/// `POST /containers/{id}/stop`: the signal, the grace period, SIGKILL; 304 when it does not run.
pub async fn stop(call: Call) -> Answer {
    let grace = match call.query.get("t").unwrap_or_default() {
        "" => None,
        text => Some(text.parse::<i64>().map_err(|_| ApiError::invalid(format!("invalid value for \"t\": {text:?}: use seconds, or -1 for no limit")))?),
    };
    let asked = call.query.get("signal").filter(|text| !text.is_empty()).map(signals::parse).transpose()?;
    let id = find(&call).await?;
    if !runs(&local(&call, id)?) {
        return Ok(StatusCode::NOT_MODIFIED.into_response());
    }
    let (own_signal, own_grace) = settings(&call, id).await;
    ask(&call, id, asked.unwrap_or(own_signal)).await?;
    let grace = match grace {
        None => Some(own_grace),
        Some(seconds) => u64::try_from(seconds).ok().map(Duration::from_secs),
    };
    let ended = call.backend.task_wait(id, Until::NotRunning);
    let in_time = match grace {
        Some(grace) => tokio::time::timeout(grace, ended).await.is_ok(),
        None => {
            ended.await;
            true
        }
    };
    if !in_time {
        ask(&call, id, signals::SIGKILL).await?;
        if tokio::time::timeout(KILL_LIMIT, call.backend.task_wait(id, Until::NotRunning)).await.is_err() {
            return Err(Error::internal(format!("cannot stop container: {}: it did not end within {} s of SIGKILL", call.name, KILL_LIMIT.as_secs())).into());
        }
    }
    no_content()
}

/// A signal on the way to its end; one that has just ended by itself needs none.
async fn ask(call: &Call, id: TaskId, signal: u32) -> Result<(), ApiError> {
    match call.backend.task_kill(id, signal).await {
        Err(error) if error.class == Class::Conflict => Ok(()),
        done => Ok(done?),
    }
}

/// The stop signal of a task's spec or image, and its grace period.
async fn settings(call: &Call, id: TaskId) -> (u32, Duration) {
    let store = call.backend.view().await.ok();
    let template = store.as_ref().and_then(|store| store.task(&id).and_then(|task| store.template(&task.service, task.template)));
    let spec = template.map(|template| template.spec.container.clone()).unwrap_or_default();
    let signal = containers::stop_signal_of(call, id).await;
    (signals::parse(&signal).unwrap_or(signals::SIGTERM), Duration::from_nanos(spec.stop_grace().min(u64::from(u32::MAX) * SECOND)))
}

/// `POST /containers/{id}/wait`.
pub async fn wait(call: Call) -> Answer {
    let (until, running_first) = match call.query.get("condition").unwrap_or_default() {
        "" | "not-running" => (Until::NotRunning, false),
        // A task is started once: after its end there is no next exit but its going.
        "next-exit" => (Until::NotRunning, true),
        "removed" => (Until::Gone, false),
        other => return Err(ApiError::invalid(format!("invalid condition: {other:?}"))),
    };
    let id = find(&call).await?;
    let over = running_first && !local(&call, id)?.status.state.is_live();
    let until = if over { Until::Gone } else { until };
    let backend = call.backend.clone();
    let answer = async move {
        let last = backend.task_wait(id, until).await;
        let waited = match last {
            Some(task) => Waited { code: Some(exit_code(&task)), error: None },
            None => Waited { code: Some(0), error: Some(WaitError { message: Some(format!("No such container: {}", container_id(id))) }) },
        };
        let mut line = serde_json::to_vec(&waited).unwrap_or_default();
        line.push(b'\n');
        Ok::<_, Infallible>(Bytes::from(line))
    };
    Ok(([(header::CONTENT_TYPE, "application/json")], Body::from_stream(stream::once(answer))).into_response())
}

fn exit_code(task: &LocalTask) -> u32 {
    let failed = matches!(task.status.state, TaskState::Failed | TaskState::Rejected | TaskState::Orphaned);
    task.status.exit_code.unwrap_or(u32::from(failed))
}

/// `DELETE /containers/{id}`: a running one only by force (its service starts another). What has ended stays its service's history, with its logs.
pub async fn remove(call: Call) -> Answer {
    if call.query.flag("link") {
        return Err(ApiError::missing("link", "tasks have no links; services find each other by name"));
    }
    let id = find(&call).await?;
    if runs(&local(&call, id)?) {
        if !call.query.flag("force") {
            let name = name_of(&call, id).await;
            let why = "container is running: stop the container before removing or force remove";
            return Err(Error::conflict(format!("cannot remove container \"/{name}\": {why}")).into());
        }
        ask(&call, id, signals::SIGKILL).await?;
        if tokio::time::timeout(KILL_LIMIT, call.backend.task_wait(id, Until::NotRunning)).await.is_err() {
            let limit = KILL_LIMIT.as_secs();
            return Err(Error::internal(format!("cannot remove container: {}: it did not end within {limit} s of SIGKILL", call.name)).into());
        }
    }
    call.backend.task_put_away(id).await?;
    no_content()
}

/// `POST /containers/prune`: all that have ended.
pub async fn prune(call: Call) -> Answer {
    let filters = call.query.filters(PRUNE_FILTERS)?;
    let until = filters.until(call.backend.local().now)?;
    let mut deleted = Vec::new();
    for (task, id) in containers::ended(&call, &filters, until).await {
        call.backend.task_put_away(task).await?;
        deleted.push(id);
    }
    // Their logs are their service's history.
    call.backend.pruned(Kind::Container, 0);
    call::ok(&Pruned { deleted: Some(deleted), reclaimed: Some(0) })
}
