//! `GET /containers/{id}/stats`: the shim's counters of one task, once or once a second.
//!
//! Owns: the pace, and that a rate has two readings. Invariants: one reading is under way a stream; a stream ends with its task.

use super::containers::find;
use crate::backend::Backend;
use crate::call::{self, Call};
use crate::convert::{task::container_id, time};
use crate::error::Answer;
use crate::model::{Empty, stats as api};
use axum::body::Body;
use axum::response::IntoResponse;
use bytes::Bytes;
use futures_util::stream;
use http::header;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use wsw_api::usage::{Traffic, Usage};
use wsw_api::{TaskId, Time};

/// docker's pace.
const PERIOD: Duration = Duration::from_secs(1);

/// What a container calls its link.
const LINK: &str = "eth0";

/// What is read at one moment.
#[derive(Clone, Copy)]
struct Reading {
    at: Time,
    usage: Usage,
    machine_nanos: u64,
}

/// Whose numbers.
struct Source {
    backend: Arc<dyn Backend>,
    task: TaskId,
    name: String,
}

impl Source {
    /// None when the task does not run (any more).
    async fn read(&self) -> Option<Reading> {
        let usage = self.backend.task_usage(self.task).await.ok()?;
        Some(Reading { at: self.backend.local().now, usage, machine_nanos: self.backend.machine_nanos() })
    }

    fn write(&self, before: Option<Reading>, now: Option<Reading>) -> api::Stats {
        let local = self.backend.local();
        let moment = |reading: Option<Reading>| Some(reading.map_or_else(|| time::ZERO.to_owned(), |reading| time::rfc3339(reading.at)));
        let usage = now.map(|reading| reading.usage).unwrap_or_default();
        api::Stats {
            name: Some(format!("/{}", self.name)),
            id: Some(container_id(self.task)),
            read: moment(now),
            preread: moment(before),
            pids: Some(api::Pids { current: (usage.pids > 0).then_some(usage.pids) }),
            block: Some(block(now)),
            processes: Some(0),
            storage: Some(Empty {}),
            cpu: Some(cpu(now, local.cpus)),
            precpu: Some(cpu(before, local.cpus)),
            memory: Some(match now {
                Some(_) => {
                    api::Memory { usage: Some(usage.memory_bytes), stats: Some(BTreeMap::new()), limit: Some(usage.memory_limit.unwrap_or(local.memory_bytes)) }
                }
                None => api::Memory::default(),
            }),
            networks: usage.traffic.map(|traffic| BTreeMap::from([(LINK, network(traffic))])),
        }
    }
}

/// One line for reading and one for writing, of no device in particular: docker adds them up.
fn block(reading: Option<Reading>) -> api::Block {
    let usage = reading.map(|reading| reading.usage).unwrap_or_default();
    if (usage.read_bytes, usage.written_bytes) == (0, 0) {
        return api::Block::default();
    }
    let line = |op, value| api::BlockEntry { major: Some(0), minor: Some(0), op: Some(op), value: Some(value) };
    api::Block { bytes: Some(vec![line("read", usage.read_bytes), line("write", usage.written_bytes)]), served: None }
}

fn network(traffic: Traffic) -> api::Network {
    let (received, sent) = (traffic.received, traffic.sent);
    api::Network {
        rx_bytes: Some(received.bytes),
        rx_packets: Some(received.packets),
        rx_errors: Some(received.errors),
        rx_dropped: Some(received.dropped),
        tx_bytes: Some(sent.bytes),
        tx_packets: Some(sent.packets),
        tx_errors: Some(sent.errors),
        tx_dropped: Some(sent.dropped),
    }
}

fn cpu(reading: Option<Reading>, online: u64) -> api::Cpu {
    let total = reading.map_or(0, |reading| reading.usage.cpu_nanos);
    api::Cpu {
        usage: Some(api::CpuUsage { total: Some(total), kernel: Some(0), user: Some(total) }),
        system: reading.map(|reading| reading.machine_nanos),
        online: reading.map(|_| online),
        throttling: Some(api::Throttling { periods: Some(0), throttled: Some(0), time: Some(0) }),
    }
}

/// Where a stream stands.
enum Step {
    First,
    After(Reading),
    Over,
}

/// `GET /containers/{id}/stats`.
pub async fn stats(call: Call) -> Answer {
    let task = find(&call).await?;
    let name = super::containers::name_of(&call, task).await;
    let source = Source { backend: call.backend.clone(), task, name };
    let streams = call.query.get("stream").is_none_or(str::is_empty) || call.query.flag("stream");
    if !streams {
        let mut before = None;
        let mut now = source.read().await;
        if now.is_some() && !call.query.flag("one-shot") {
            // A rate needs two readings.
            before = now;
            tokio::time::sleep(PERIOD).await;
            now = source.read().await;
        }
        return call::ok(&source.write(before, now));
    }
    let readings = stream::unfold((source, Step::First), |(source, step)| async move {
        let before = match step {
            Step::First => None,
            Step::After(reading) => {
                tokio::time::sleep(PERIOD).await;
                Some(reading)
            }
            Step::Over => return None,
        };
        let now = source.read().await;
        let mut line = serde_json::to_vec(&source.write(before, now)).ok()?;
        line.push(b'\n');
        let next = now.map_or(Step::Over, Step::After);
        Some((Ok::<_, std::convert::Infallible>(Bytes::from(line)), (source, next)))
    });
    Ok(([(header::CONTENT_TYPE, "application/json")], Body::from_stream(readings)).into_response())
}
