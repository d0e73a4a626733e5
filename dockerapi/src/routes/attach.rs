//! `POST /containers/{id}/attach`: what a task writes from now on, and what is typed for it, over the connection that the request came on. `POST /containers/{id}/resize`.
//!
//! Owns: the requests, and the copying of a log where that is all there is (a Wasm task; `logs=1`). Invariants: at most [`MAX_ATTACHED`] at a time; one that its client closes, or
//! whose task ends, is over; input that the task does not take (its service does not ask for any) is read and thrown away, as with Docker.

use super::containers::find;
use super::control::{local, runs};
use super::talk::{End, Talk};
use super::{hijack, logs};
use crate::backend::LogStream;
use crate::call::{self, Call};
use crate::convert::task::container_id;
use crate::error::{Answer, ApiError};
use crate::stdcopy::{self, Layout};
use axum::body::Body;
use bytes::Bytes;
use futures_util::StreamExt;
use http::{Response, StatusCode, header};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Semaphore, SemaphorePermit};
use wsw_api::exec::Escape;
use wsw_api::{Error, TaskId, log::Query};

/// Clients attached at a time; each holds a connection and a reader of a log.
const MAX_ATTACHED: usize = 256;
static PLACES: Semaphore = Semaphore::const_new(MAX_ATTACHED);

/// `POST /containers/{id}/attach`.
pub async fn attach(mut call: Call) -> Answer {
    let keys = super::exec::keys(call.query.get("detachKeys"))?;
    let id = find(&call).await?;
    if !runs(&local(&call, id)?) {
        return Err(Error::conflict(format!("container {} is not running", container_id(id))).into());
    }
    let place = PLACES.try_acquire().map_err(|_| Error::unavailable(format!("{MAX_ATTACHED} clients are attached; end one and try again")))?;
    let tty = logs::is_terminal(&call, id).await;
    let takes_over = call.headers.contains_key(header::UPGRADE) && call.query.flag("stream") && !call.query.flag("logs");
    let stdin = call.query.flag("stdin");
    let streams = if takes_over { call.backend.attach(id, stdin).await? } else { None };
    let Some(streams) = streams else {
        if stdin {
            return Err(ApiError::missing("attach with standard input", "a Wasm task has none, and a log cannot be written to; attach with --no-stdin"));
        }
        return of_log(call, id, tty, place).await;
    };
    let talk = Talk {
        framed: !tty,
        stdout: call.query.flag("stdout"),
        stderr: call.query.flag("stderr"),
        escape: (tty && stdin).then(|| Escape::new(&keys)),
        ends_with_input: streams.input.is_some(),
    };
    let (kind, backend) = (logs::content_type(&call, tty), call.backend.clone());
    hijack::take(&mut call, kind, move |wire| async move {
        let _place = place;
        if talk.run(wire, streams).await == End::Detached {
            backend.detached(id);
        }
    })
}

/// What a task writes, from its log.
async fn of_log(mut call: Call, id: TaskId, tty: bool, place: SemaphorePermit<'static>) -> Answer {
    let (stdout, stderr) = (call.query.flag("stdout"), call.query.flag("stderr"));
    let tail = if call.query.flag("logs") { None } else { Some(0) };
    let query = Query { follow: call.query.flag("stream"), stdout, stderr, tail, since: None, until: None };
    let lines = call.backend.logs(crate::backend::LogsOf::Task(id), query).await?;
    let layout = Layout { framed: !tty, timestamps: false };
    let kind = logs::content_type(&call, tty);
    let asked = call.headers.get(header::UPGRADE).is_some();
    let Some(upgrade) = call.upgrade.take().filter(|_| asked) else {
        // Old clients take the answer's body for it.
        let frames = lines.map(move |line| {
            let _held = &place;
            Ok::<Bytes, std::convert::Infallible>(frame(line, layout))
        });
        return answer(StatusCode::OK, kind, Body::from_stream(frames));
    };
    tokio::spawn(async move {
        let _place = place;
        if let Err(error) = copy(upgrade, lines, layout).await {
            tracing::debug!(%error, "an attached client is gone");
        }
    });
    answer(StatusCode::SWITCHING_PROTOCOLS, kind, Body::empty())
}

/// `POST /containers/{id}/resize`.
pub async fn resize(call: Call) -> Answer {
    let size = super::exec::window(&call)?;
    let id = find(&call).await?;
    if !runs(&local(&call, id)?) {
        return Err(Error::conflict(format!("container {} is not running", container_id(id))).into());
    }
    call.backend.resize(id, size).await?;
    call::empty()
}

fn answer(status: StatusCode, kind: &'static str, body: Body) -> Answer {
    let mut builder = Response::builder().status(status).header(header::CONTENT_TYPE, kind);
    if status == StatusCode::SWITCHING_PROTOCOLS {
        builder = builder.header(header::CONNECTION, "Upgrade").header(header::UPGRADE, "tcp");
    }
    builder.body(body).map_err(|error| Error::internal(format!("answer could not be made: {error}")).into())
}

fn frame(line: wsw_api::Result<wsw_api::log::Line>, layout: Layout) -> Bytes {
    match line {
        Ok(line) => stdcopy::line(&line, None, layout),
        Err(warning) => stdcopy::warning(&warning.message, layout),
    }
}

async fn copy(upgrade: OnUpgrade, mut lines: LogStream, layout: Layout) -> std::io::Result<()> {
    let upgraded = upgrade.await.map_err(std::io::Error::other)?;
    let (mut reader, mut writer) = tokio::io::split(TokioIo::new(upgraded));
    let mut ignored = [0_u8; 1_024];
    let mut listens = true;
    loop {
        tokio::select! {
            line = lines.next() => match line {
                Some(line) => writer.write_all(&frame(line, layout)).await?,
                None => break,
            },
            // Half a connection may be closed by a client that has nothing to say.
            read = reader.read(&mut ignored), if listens => listens = read? > 0,
        }
    }
    writer.shutdown().await
}
