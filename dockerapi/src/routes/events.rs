//! `GET /events`: one JSON object a line, for as long as the client listens or until `until`.

use crate::call::Call;
use crate::convert::event;
use crate::error::Answer;
use axum::body::Body;
use axum::response::IntoResponse;
use bytes::Bytes;
use futures_util::{StreamExt, future::ready};
use http::header;
use std::time::Duration;
use wsw_api::Time;

/// `GET /events`.
pub async fn stream(call: Call) -> Answer {
    let filters = call.query.filters(event::FILTERS)?;
    let (since, until) = (call.query.time("since")?, call.query.time("until")?);
    let remaining = until.map(|until| Duration::from_nanos(until.since(call.backend.local().now)));
    let end = async move {
        match remaining {
            Some(remaining) => tokio::time::sleep(remaining).await,
            None => std::future::pending().await,
        }
    };
    let last = until.unwrap_or(Time(u64::MAX));
    let events = call.backend.events(since).await;
    let lines = events.filter(move |found| ready(found.time <= last && event::wanted(found, &filters))).map(|found| {
        let mut line = serde_json::to_vec(&event::write(&found)).map_err(std::io::Error::other)?;
        line.push(b'\n');
        Ok::<_, std::io::Error>(Bytes::from(line))
    });
    Ok(([(header::CONTENT_TYPE, "application/json")], Body::from_stream(until_end(lines, end))).into_response())
}

/// What is there already comes before the end, even when the end is now.
fn until_end<S: futures_util::Stream>(lines: S, end: impl Future<Output = ()>) -> impl futures_util::Stream<Item = S::Item> {
    futures_util::stream::unfold((Box::pin(lines), Box::pin(end)), |(mut lines, mut end)| async move {
        let next = tokio::select! {
            biased;
            next = lines.next() => next,
            () = &mut end => None,
        };
        next.map(|line| (line, (lines, end)))
    })
}
