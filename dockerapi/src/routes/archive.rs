//! `/containers/{id}/archive`: files out of this node's containers and into them (`docker cp`).
//!
//! Owns: the requests, moby's words, the header that says what a path is. Invariant: an archive that breaks off ends the connection, so that it never looks whole.

use super::containers::find;
use super::control::{local, runs};
use crate::call::{self, Call};
use crate::convert::{files, task::container_id};
use crate::drain;
use crate::error::{Answer, ApiError};
use axum::body::Body;
use futures_util::StreamExt;
use http::{HeaderName, Response, StatusCode, header};
use wsw_api::files::{Extract, PathStat};
use wsw_api::{Class, Error, TaskId};

const PATH_STAT: HeaderName = HeaderName::from_static("x-docker-container-path-stat");

/// The path that is asked for.
fn path(call: &Call) -> Result<String, ApiError> {
    match call.query.get("path").unwrap_or_default() {
        "" => Err(ApiError::invalid("bad parameter: path cannot be empty")),
        path if path.contains('\0') => Err(ApiError::invalid("bad parameter: path holds a NUL byte")),
        path => Ok(path.to_owned()),
    }
}

/// The task, which has to run: what has ended has no files any more.
async fn running(call: &Call) -> Result<TaskId, ApiError> {
    let id = find(call).await?;
    if runs(&local(call, id)?) { Ok(id) } else { Err(Error::conflict(format!("container {} is not running", container_id(id))).into()) }
}

fn refusal(call: &Call, path: &str) -> impl Fn(Error) -> ApiError {
    let missing = format!("Could not find the file {path} in container {}", call.name);
    move |error| if error.class == Class::NotFound { ApiError::not_found(missing.clone()) } else { error.into() }
}

fn answer(stat: &PathStat, body: Option<Body>) -> Answer {
    let kind = if body.is_some() { "application/x-tar" } else { "application/json" };
    let built = Response::builder().status(StatusCode::OK).header(header::CONTENT_TYPE, kind).header(PATH_STAT, files::header(stat));
    built.body(body.unwrap_or_default()).map_err(|error| Error::internal(format!("answer could not be made: {error}")).into())
}

/// `HEAD /containers/{id}/archive`.
pub async fn stat(call: Call) -> Answer {
    let path = path(&call)?;
    let id = running(&call).await?;
    answer(&call.backend.path_stat(id, &path).await.map_err(refusal(&call, &path))?, None)
}

/// `GET /containers/{id}/archive`.
pub async fn archive(call: Call) -> Answer {
    let path = path(&call)?;
    let id = running(&call).await?;
    let (stat, bytes) = call.backend.path_archive(id, &path).await.map_err(refusal(&call, &path))?;
    answer(&stat, Some(Body::from_stream(bytes)))
}

/// `PUT /containers/{id}/archive`.
pub async fn extract(mut call: Call) -> Answer {
    let path = path(&call)?;
    let how = Extract { keeps_kinds: call.query.flag("noOverwriteDirNonDir"), for_user: call.query.flag("copyUIDGID") };
    let found = running(&call).await;
    let (body, rest) = drain::lend(call.stream());
    let done = match found {
        Ok(id) => {
            let body = body.map(|piece| piece.map_err(std::io::Error::other)).boxed();
            call.backend.path_extract(id, &path, how, body).await.map_err(refusal(&call, &path))
        }
        Err(error) => {
            drop(body);
            Err(error)
        }
    };
    if done.is_err() {
        drain::drain(rest).await;
    }
    done?;
    call::empty()
}
