//! `GET /containers/{id}/top`: the line of a task.
//!
//! A Wasm task is no process: it is one of many in its shim. What is shown is the shim's process with what this task has used of it.

use super::containers::find;
use super::control::{local, runs};
use crate::call::{self, Call};
use crate::convert::{task::container_id, time};
use crate::error::{Answer, ApiError};
use crate::model::answers;
use wsw_api::Error;
use wsw_api::time::SECOND;

answers! {
    /// The processes of a container.
    Top { titles: Vec<&'static str> = "Titles", processes: Vec<Vec<String>> = "Processes" }
}

/// The columns of `ps -ef`, which is what docker asks for when the user asks for nothing else.
const TITLES: [&str; 8] = ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"];

/// `GET /containers/{id}/top`.
pub async fn top(call: Call) -> Answer {
    let id = find(&call).await?;
    let task = local(&call, id)?;
    if !runs(&task) {
        return Err(Error::conflict(format!("container {} is not running", container_id(id))).into());
    }
    let options = call.query.get("ps_args").unwrap_or_default();
    if !["", "-ef"].contains(&options) {
        return Err(ApiError::missing(&format!("top with {options:?}"), "a Wasm task is one line of ps -ef, its shim's; leave the options out"));
    }
    let pid = task.status.pid.unwrap_or_default();
    let (user, parent) = call.backend.process(pid).unwrap_or_default();
    let spent = call.backend.task_usage(id).await.map(|usage| usage.cpu_nanos / SECOND).unwrap_or_default();
    let started = task.started.map_or_else(String::new, |at| time::rfc3339(at).get(11..16).unwrap_or_default().to_owned());
    let clock = format!("{:02}:{:02}:{:02}", spent / 3_600, spent / 60 % 60, spent % 60);
    let command = super::containers::command_of(&call, id).await;
    let line = vec![user.to_string(), pid.to_string(), parent.to_string(), "0".into(), started, "?".into(), clock, command];
    call::ok(&Top { titles: Some(TITLES.to_vec()), processes: Some(vec![line]) })
}
