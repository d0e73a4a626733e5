//! `POST /containers/{id}/attach`: what a task writes from now on, over the connection that the request came on.
//!
//! Owns: the change of protocol and the copying. Invariants: at most [`MAX_ATTACHED`] at a time; one that its client closes, or whose task ends, is over.
//! Never: reads from the client: a Wasm task has no standard input.

use super::containers::find;
use super::control::{local, runs};
use super::logs;
use crate::backend::LogStream;
use crate::call::Call;
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
use tokio::sync::Semaphore;
use wsw_api::{Error, log::Query};

/// Clients attached at a time; each holds a connection and a reader of a log.
const MAX_ATTACHED: usize = 256;
static PLACES: Semaphore = Semaphore::const_new(MAX_ATTACHED);

/// `POST /containers/{id}/attach`.
pub async fn attach(mut call: Call) -> Answer {
    let id = find(&call).await?;
    if call.query.flag("stdin") {
        return Err(ApiError::missing("attach with standard input", "a Wasm task has none; attach with --no-stdin"));
    }
    if !runs(&local(&call, id)?) {
        return Err(Error::conflict(format!("container {} is not running", container_id(id))).into());
    }
    let place = PLACES.try_acquire().map_err(|_| Error::unavailable(format!("{MAX_ATTACHED} clients are attached; end one and try again")))?;
    let (stdout, stderr) = (call.query.flag("stdout"), call.query.flag("stderr"));
    let tail = if call.query.flag("logs") { None } else { Some(0) };
    let query = Query { follow: call.query.flag("stream"), stdout, stderr, tail, since: None, until: None };
    let tty = logs::is_terminal(&call, id).await;
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
